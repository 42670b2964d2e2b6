//! Extracting to this machine.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use support::Scratch;
use terrarium_zfs::tree::{Device, Entry, Kind, Time};
use terrarium_zfs::{DatasetName, Error, UserProperties};
use terrarium_zpool::{Engine, ExtractError, Owners, Part};

fn root() -> DatasetName {
    DatasetName::new("tank").expect("a legal name")
}

fn with_time(mut entry: Entry) -> Entry {
    entry.modified = Time {
        seconds: 1_234_567_890,
        nanoseconds: 987_654_321,
    };
    entry
}

fn write(engine: &Engine, entries: &[(Entry, &[u8])]) {
    let mut tree = engine.write_tree(&root());
    for (entry, content) in entries {
        let mut entry = with_time(entry.clone());
        entry.size = content.len() as u64;
        tree.add(&entry);
        tree.content(0, content);
    }
    tree.finish().expect("written");
}

fn directory(path: &str, mode: u32) -> (Entry, &'static [u8]) {
    (Entry::new(path, Kind::Directory, mode), b"")
}

fn file(path: &str, mode: u32, content: &'static [u8]) -> (Entry, &'static [u8]) {
    (Entry::new(path, Kind::File, mode), content)
}

#[test]
fn a_tree_is_extracted_as_it_was() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let mut symlink = Entry::new("dir/symlink", Kind::Symlink, 0o777);
    symlink.target = Some(PathBuf::from("/etc/passwd"));
    let mut owned = Entry::new("owned", Kind::File, 0o4755);
    (owned.uid, owned.gid) = (100_000, 100_001);
    let mut noted = Entry::new("noted", Kind::File, 0o600);
    noted.attributes = BTreeMap::from([(b"user.note".to_vec(), b"yes".to_vec())]);
    write(
        engine,
        &[
            directory("", 0o750),
            directory("dir", 0o1777),
            directory("read only", 0o555),
            file("read only/file", 0o400, b"within"),
            (symlink, b""),
            (owned, b"owned"),
            (noted, b""),
            (Entry::new("fifo", Kind::Fifo, 0o640), b""),
            (Entry::new("socket", Kind::Socket, 0o640), b""),
        ],
    );
    let mut tree = engine.write_tree(&root());
    tree.link("dir/again", "owned");
    tree.finish().unwrap();

    let into = scratch.folder().join("out");
    let is_root = nix::unistd::geteuid().is_root();
    let extracted = engine
        .extract("tank", "", &into, Owners::as_tar())
        .expect("extracted");
    assert_eq!(extracted.left_out, []);
    assert_eq!((extracted.entries, extracted.bytes), (10, 11));

    let status = |path: &str| fs::symlink_metadata(into.join(path)).expect(path);
    let mode = |path: &str| status(path).permissions().mode() & 0o7777;
    assert_eq!(mode(""), 0o750);
    assert_eq!(mode("dir"), 0o1777);
    assert_eq!(mode("read only"), 0o555);
    assert_eq!(mode("owned"), if is_root { 0o4755 } else { 0o755 });
    for path in ["", "dir", "dir/symlink", "owned", "fifo", "read only/file"] {
        let status = status(path);
        assert_eq!(
            (status.mtime(), status.mtime_nsec()),
            (1_234_567_890, 987_654_321),
            "{path:?}"
        );
    }
    if is_root {
        let status = status("owned");
        assert_eq!((status.uid(), status.gid()), (100_000, 100_001));
    }
    let target = fs::read_link(into.join("dir/symlink")).unwrap();
    assert_eq!(target, Path::new("/etc/passwd"));
    assert!(status("fifo").file_type().is_fifo());
    assert!(status("socket").file_type().is_socket());
    assert_eq!(fs::read(into.join("read only/file")).unwrap(), b"within");
    assert_eq!(status("owned").ino(), status("dir/again").ino());
    assert_eq!(status("owned").nlink(), 2);
    let mut note = [0; 10];
    let length = rustix::fs::lgetxattr(into.join("noted"), "user.note", &mut note[..]).unwrap();
    assert_eq!(&note[..length], b"yes");
}

#[test]
fn a_part_keeps_its_own_name() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    write(
        engine,
        &[
            directory("etc", 0o755),
            directory("etc/deep", 0o755),
            file("etc/deep/a", 0o644, b"a"),
            file("etc/deep/b", 0o644, b"b"),
        ],
    );
    let mut tree = engine.write_tree(&root());
    tree.link("etc/deep/c", "etc/deep/b");
    tree.finish().unwrap();
    let extract = |path: &str, name: &str| {
        let into = scratch.folder().join(name);
        engine.extract("tank", path, &into, Owners::Mine)?;
        Ok::<_, ExtractError>(into)
    };
    let into = extract("etc/deep", "directory").unwrap();
    assert_eq!(fs::read(into.join("deep/c")).unwrap(), b"b");
    let into = extract("/etc/deep/a", "file").unwrap();
    assert_eq!(fs::read(into.join("a")).unwrap(), b"a");
    let refused = extract("etc/absent", "absent").unwrap_err();
    assert_eq!(refused.to_string(), "tank has no etc/absent");
    assert!(!scratch.folder().join("absent").exists());
}

#[test]
fn a_directory_with_something_in_it_is_left_alone() {
    let scratch = Scratch::new();
    let extract = |into: &Path| scratch.engine.extract("tank", "", into, Owners::Mine);
    let refused = extract(scratch.folder()).unwrap_err();
    assert!(matches!(refused, ExtractError::NotEmpty(_)), "{refused}");
    let refused = extract(&scratch.file()).unwrap_err();
    assert!(matches!(refused, ExtractError::Target { .. }), "{refused}");
    let refused = extract(&scratch.folder().join("absent/absent")).unwrap_err();
    assert!(matches!(refused, ExtractError::Target { .. }), "{refused}");
    let empty = tempfile::tempdir().unwrap();
    extract(empty.path()).expect("an empty one is taken");
}

/// A name that leads elsewhere while its children are written would write there.
#[test]
fn no_link_leads_out_of_the_directory() {
    let scratch = Scratch::new();
    let outside = tempfile::tempdir().unwrap();
    let mut symlink = Entry::new("link", Kind::Symlink, 0o777);
    symlink.target = Some(outside.path().to_owned());
    write(
        &scratch.engine,
        &[(symlink, b""), file("link2", 0o644, b"x")],
    );
    let into = scratch.folder().join("out");
    scratch
        .engine
        .extract("tank", "", &into, Owners::Mine)
        .unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn holes_stay_holes() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let mut sparse = Entry::new("sparse", Kind::File, 0o644);
    sparse.size = 1 << 33;
    let mut tree = engine.write_tree(&root());
    tree.add(&sparse);
    tree.content(1 << 30, b"in between");
    tree.finish().unwrap();
    let point = root().snapshot("s").unwrap();
    engine
        .snapshot(&[(point.clone(), UserProperties::new())])
        .unwrap();
    let into = scratch.folder().join("out");
    engine
        .extract(point.as_str(), "sparse", &into, Owners::Mine)
        .unwrap();
    let status = fs::metadata(into.join("sparse")).unwrap();
    assert_eq!(status.len(), 1 << 33);
    assert!(status.blocks() * 512 <= 1 << 20, "{}", status.blocks());
}

/// What is damaged is named, never half there.
#[test]
fn a_damaged_file_is_left_out_and_the_rest_is_extracted() {
    let mut scratch = Scratch::new();
    let marked: Vec<u8> = b"damage me ".repeat(20_000);
    let mut plain = terrarium_zfs::Properties::new();
    plain.set("compression", "off").unwrap();
    let name = DatasetName::new("tank/plain").unwrap();
    scratch.engine.create(&name, &plain).unwrap();
    for (path, content) in [
        ("before", &b"before"[..]),
        ("damaged", &marked),
        ("late", b"late"),
    ] {
        scratch
            .engine
            .write_file(&name, path, 0o644, content)
            .unwrap();
    }
    scratch.engine.close().unwrap();
    let mut bytes = fs::read(scratch.file()).unwrap();
    let found = bytes
        .windows(100)
        .position(|window| window == &marked[..100]);
    let at = found.expect("it is on disk as it is");
    bytes[at..at + 100].fill(0);
    fs::write(scratch.file(), bytes).unwrap();

    scratch.engine = support::options().open(&scratch.file()).unwrap();
    let into = scratch.folder().join("out");
    let extracted = scratch
        .engine
        .extract(name.as_str(), "", &into, Owners::Mine)
        .unwrap();
    assert!(extracted.is_damaged());
    let named: Vec<_> = extracted
        .left_out
        .iter()
        .map(|left_out| (left_out.path.as_path(), &left_out.part))
        .collect();
    assert_eq!(named, [(Path::new("damaged"), &Part::Content)]);
    assert!(!into.join("damaged").exists());
    assert_eq!(fs::read(into.join("late")).unwrap(), b"late");
    let read = scratch.engine.read_file(name.as_str(), "damaged", 1 << 20);
    assert!(matches!(read, Err(Error::Io { .. })), "{read:?}");
}

/// The other tests run as root, in the usual surroundings of tests.
#[test]
fn devices_are_created_by_root_and_named_by_others() {
    let scratch = Scratch::new();
    let mut device = Entry::new("null", Kind::CharacterDevice, 0o666);
    device.device = Some(Device { major: 1, minor: 3 });
    write(&scratch.engine, &[(device, b"")]);
    let into = scratch.folder().join("out");
    let extracted = scratch
        .engine
        .extract("tank", "", &into, Owners::as_tar())
        .unwrap();
    match fs::metadata(into.join("null")) {
        Ok(status) => {
            assert!(status.file_type().is_char_device());
            assert_eq!(status.rdev(), rustix::fs::makedev(1, 3));
            assert_eq!(extracted.left_out, []);
        }
        Err(_) => {
            let left_out = &extracted.left_out[0];
            assert_eq!(left_out.part, Part::Entry);
            assert_eq!(left_out.reason, "only root may create devices");
        }
    }
}
