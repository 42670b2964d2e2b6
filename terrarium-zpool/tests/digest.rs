//! The digest of a tree, from the engine and from a directory of this machine.

mod support;

use std::path::{Path, PathBuf};

use support::Scratch;
use terrarium_core::tree::{Difference, TreeListing, hash_directory, hash_snapshot};
use terrarium_zfs::tree::{Entry, Kind};
use terrarium_zfs::{DatasetName, UserProperties};
use terrarium_zpool::{Engine, Owners};

fn root() -> DatasetName {
    DatasetName::new("tank").expect("a legal name")
}

fn digest(engine: &Engine, object: &str) -> TreeListing {
    let tree = hash_snapshot(engine, object).expect("read");
    assert_eq!(tree.damaged, [""; 0].map(PathBuf::from));
    tree.listing
}

/// A bit of everything, owned by whoever runs this, so that no root is needed.
fn write_a_bit_of_everything(engine: &Engine) {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let mut tree = engine.write_tree(&root());
    let mut add = |mut entry: Entry, pieces: &[(u64, &[u8])]| {
        (entry.uid, entry.gid) = (uid.as_raw(), gid.as_raw());
        entry.modified.seconds = 1_700_000_000;
        entry.modified.nanoseconds = 123_456_789;
        for (offset, bytes) in pieces {
            entry.size = entry.size.max(offset + bytes.len() as u64);
        }
        tree.add(&entry);
        for (offset, bytes) in pieces {
            tree.content(*offset, bytes);
        }
    };
    let large: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    add(Entry::new("", Kind::Directory, 0o755), &[]);
    add(Entry::new("a", Kind::Directory, 0o700), &[]);
    add(Entry::new("a b", Kind::Directory, 0o755), &[]);
    add(Entry::new("a/empty", Kind::File, 0o644), &[]);
    add(Entry::new("a/large", Kind::File, 0o600), &[(0, &large)]);
    add(
        Entry::new("a/sparse", Kind::File, 0o644),
        &[(0, b"x"), (3_000_000, b"y"), (9_999_999, b"\0")],
    );
    add(Entry::new("a-file", Kind::File, 0o444), &[(0, b"between")]);
    let mut noted = Entry::new("noted", Kind::File, 0o640);
    noted
        .attributes
        .insert(b"user.note".to_vec(), b"\0\x01".to_vec());
    add(noted, &[(0, b"n")]);
    let mut link = Entry::new("link", Kind::Symlink, 0o777);
    link.target = Some("a/large".into());
    add(link, &[]);
    add(Entry::new("fifo", Kind::Fifo, 0o600), &[]);
    tree.link("second name", "noted");
    tree.finish().expect("written");
}

fn snapshot(engine: &Engine, name: &str) -> String {
    let point = root().snapshot(name).expect("a legal name");
    let points = [(point.clone(), UserProperties::new())];
    engine.snapshot(&points).expect("taken");
    point.as_str().to_owned()
}

#[test]
fn a_tree_has_one_digest_wherever_it_is_read() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    write_a_bit_of_everything(engine);
    let head = digest(engine, "tank");
    let point = snapshot(engine, "s");
    let listing = digest(engine, &point);
    assert_eq!(listing, head, "holes make no difference");
    assert_eq!(listing.len(), 11);

    let into = scratch.folder().join("out");
    let extracted = engine
        .extract(&point, "", &into, Owners::as_tar())
        .expect("extracted");
    assert_eq!(extracted.left_out, []);
    let here = hash_directory(&into).expect("read");
    assert_eq!(listing.differences(&here, 10).first, []);
    assert_eq!(here.digest(), listing.digest());
    assert_eq!(here.bytes(), listing.bytes());
}

#[test]
fn one_byte_makes_another_digest_and_is_found() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    write_a_bit_of_everything(engine);
    let into = scratch.folder().join("out");
    engine
        .extract("tank", "", &into, Owners::as_tar())
        .expect("extracted");
    let before = hash_directory(&into).expect("read");
    let path = into.join("a/large");
    let times = std::fs::metadata(&path).expect("it is there");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[777_777] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("opened");
    file.set_modified(times.modified().expect("a time"))
        .expect("set");
    let after = hash_directory(&into).expect("read");
    assert_ne!(after.digest(), before.digest());
    assert_eq!(
        before.differences(&after, 10).first,
        [Difference::Changed("a/large".into())]
    );
}

#[test]
fn a_directory_that_cannot_be_read_is_named() {
    let error = hash_directory(Path::new("/nowhere")).expect_err("it is not there");
    assert_eq!(
        error.to_string(),
        "cannot read /nowhere: No such file or directory (os error 2)"
    );
}
