//! terrarium-zpool and the kernel's ZFS: what one writes the other reads, by the kernel's account.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Seek;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use terrarium_core::tree::{hash_directory, hash_snapshot};
use terrarium_zfs::tree::{Device, Entry, Kind, Time};
use terrarium_zfs::{
    DatasetName, Properties, ReceiveOptions, SendFlags, SendSource, SnapshotName, UserProperties,
};
use terrarium_zpool::{Engine, OpenError, Options};
use testbed::{Mount, Pool, Truth, run, unique_name, zfs, zpool};

use crate::zfs_support::*;

const ALL: SendFlags = SendFlags {
    large_blocks: true,
    embedded: true,
    compressed: true,
    raw: false,
};

/// A pool file of the engine's, and what is in it: `<pool>/web@one` with everything.
struct Embedded {
    engine: Engine,
    web: DatasetName,
    one: SnapshotName,
    folder: tempfile::TempDir,
}

impl Embedded {
    fn new() -> Self {
        testbed::assert_in_guest();
        let folder = tempfile::tempdir().expect("a folder");
        let pool = unique_name("embedded");
        let created = Options::default().create(&folder.path().join("pool"), &pool, 256 << 20);
        let engine = created.unwrap_or_else(|error| panic!("{error}: {:?}", error.help()));
        let web = DatasetName::new(&format!("{pool}/web")).expect("a legal name");
        let mut properties = Properties::new();
        properties.set("compression", "lz4").expect("a value");
        engine.create(&web, &properties).expect("created");
        write_everything(&engine, &web);
        let one = at(&web, "one");
        let taken = engine.snapshot(&[(one.clone(), UserProperties::new())]);
        taken.expect("taken");
        Self {
            engine,
            web,
            one,
            folder,
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("pool")
    }
}

/// A tree with every kind of entry, and files of every size around that of a block.
fn write_everything(engine: &Engine, dataset: &DatasetName) {
    let mut tree = engine.write_tree(dataset);
    let mut number = 0;
    let mut add = |mut entry: Entry| {
        number += 1;
        entry.uid = 1_000_000 + number;
        entry.gid = u32::MAX - 1 - number;
        let moment = |seconds| Time {
            seconds,
            nanoseconds: 999_999_999 - number,
        };
        entry.accessed = moment(1_600_000_000);
        entry.modified = moment(if number % 2 == 0 { -5 } else { 4_102_444_800 });
        entry.changed = moment(1_700_000_000);
        tree.add(&entry);
        for (offset, bytes) in content(&entry) {
            tree.content(offset, &bytes);
        }
    };
    add(Entry::new("deep", Kind::Directory, 0o1777));
    add(Entry::new("deep/ü\n", Kind::Directory, 0o2750));
    add(Entry::new("deep/empty", Kind::Directory, 0o755));
    for size in [0, 1, 511, 512, 513, 131_071, 131_072, 131_073, 1_000_000] {
        let mut file = Entry::new(format!("deep/ü\n/{size}"), Kind::File, 0o4755);
        file.size = size;
        add(file);
    }
    let mut sparse = Entry::new("sparse", Kind::File, 0o600);
    sparse.size = (3 << 30) + 5;
    add(sparse);
    let mut hole = Entry::new("hole", Kind::File, 0o000);
    hole.size = 10 << 20;
    add(hole);
    for (name, target) in [("short", "../x".into()), ("long", "y/".repeat(2000))] {
        let mut link = Entry::new(name, Kind::Symlink, 0o777);
        link.target = Some(PathBuf::from(target));
        add(link);
    }
    for (name, kind) in [
        ("character", Kind::CharacterDevice),
        ("block", Kind::BlockDevice),
    ] {
        let mut device = Entry::new(name, kind, 0o660);
        let (major, minor) = (259, 0xf_ffff);
        device.device = Some(Device { major, minor });
        add(device);
    }
    add(Entry::new("fifo", Kind::Fifo, 0o640));
    add(Entry::new("socket", Kind::Socket, 0o777));
    let mut attributes = Entry::new("attributes", Kind::File, 0o750);
    attributes.attributes = BTreeMap::from([
        (b"user.text".to_vec(), b"value".to_vec()),
        (b"user.empty".to_vec(), Vec::new()),
        (b"user.\xff".to_vec(), (0..=255).collect()),
        (b"user.large".to_vec(), vec![b'x'; 20_000]),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"system.posix_acl_access".to_vec(), acl()),
    ]);
    add(attributes);
    let many = (0..200).map(|n| format!("deep/file {n} with a name of some length, so that"));
    for name in many {
        add(Entry::new(name, Kind::File, 0o644));
    }
    tree.link("deep/another name", "attributes");
    tree.link("one more", "attributes");
    tree.finish().expect("written");
}

/// What lies in a file: numbered lines, and of the sparse one only its end.
fn content(entry: &Entry) -> Vec<(u64, Vec<u8>)> {
    match &*entry.path.to_string_lossy() {
        "sparse" => vec![(3 << 30, b"end\n\n".to_vec())],
        "hole" => Vec::new(),
        _ => {
            let lines = (0..entry.size / 8 + 1).flat_map(|n| format!("{n:7}\n").into_bytes());
            let size = usize::try_from(entry.size).expect("it is small");
            vec![(0, lines.take(size).collect())]
        }
    }
}

/// rwx for the owner, r-x for one more user and the group, nothing for others (acl(5)).
fn acl() -> Vec<u8> {
    let nobody = u32::MAX;
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, allowed, who) in [
        (0x01u16, 7u16, nobody),
        (0x02, 5, 1_000_033),
        (0x04, 5, nobody),
        (0x10, 5, nobody),
        (0x20, 0, nobody),
    ] {
        acl.extend(tag.to_le_bytes());
        acl.extend(allowed.to_le_bytes());
        acl.extend(who.to_le_bytes());
    }
    acl
}

/// What the kernel sees in a snapshot.
fn truth_of(snapshot: &str) -> Vec<Truth> {
    Truth::of(Mount::of(snapshot).path())
}

/// Whoever reads it, a tree has one digest.
fn demand_one_digest(mounted: &str, engine: &Engine, object: &str) {
    let by_the_kernel = hash_directory(Mount::of(mounted).path()).expect("read");
    let by_the_engine = hash_snapshot(engine, object).expect("read").listing;
    let differences = by_the_kernel.differences(&by_the_engine, 10);
    assert_eq!(differences.first, [], "{} in all", differences.in_all);
    assert_eq!(by_the_kernel.digest(), by_the_engine.digest());
}

#[test]
fn what_the_engine_sends_the_kernel_reads_changes_and_sends_back() {
    let (core, pool, embedded) = (core(), Pool::create(), Embedded::new());
    let engine = &embedded.engine;
    let copy = named(&pool, "copy");
    let mut options = ReceiveOptions::default();
    for (property, value) in [("acltype", "posix"), ("mountpoint", "legacy")] {
        options.properties.set(property, value).expect("a value");
    }
    let mut stream = tempfile::tempfile().expect("a file");
    engine
        .send(&embedded.one, None, ALL, &stream)
        .expect("sent");
    stream.rewind().expect("rewound");
    let received = core.receive(&at(&copy, "one"), &options, &stream);
    assert_eq!(received.expect("received").failed_properties, [""; 0]);
    let truth = truth_of(at(&copy, "one").as_str());
    assert!(truth.len() > 200);
    Truth::demand(&truth, engine, embedded.one.as_str());
    demand_one_digest(at(&copy, "one").as_str(), engine, embedded.one.as_str());

    change(Mount::of(copy.as_str()).path());
    let two = taken(&copy, "two");
    let truth = truth_of(two.as_str());
    let changed = two.clone();
    let from = SendSource::Snapshot(at(&copy, "one"));
    let mut stream = tempfile::tempfile().expect("a file");
    core.send(&two, Some(&from), ALL, &stream).expect("sent");
    stream.rewind().expect("rewound");
    let two = at(&embedded.web, "two");
    engine
        .receive(&two, &ReceiveOptions::default(), &stream)
        .expect("received");
    Truth::demand(&truth, engine, two.as_str());
    demand_one_digest(changed.as_str(), engine, two.as_str());

    // Every count in it is right, or something would stay.
    let mount = Mount::of(copy.as_str());
    let script = "rm -r -- * && ls -A";
    let removed = run("sh").args([
        "-c",
        &format!("cd '{}' && {script}", mount.path().display()),
    ]);
    assert_eq!(removed.finish().succeeds().stdout, "");
    let root = fs::metadata(mount.path()).expect("it is there");
    assert_eq!((root.nlink(), root.size()), (2, 2));
}

/// What people do to files, to those that the engine wrote.
fn change(root: &Path) {
    let deep = root.join("deep");
    let sized = deep.join("ü\n");
    let append = |file: PathBuf, bytes: &[u8]| {
        use std::io::Write;
        let file = File::options().append(true).open(file);
        file.and_then(|mut file| file.write_all(bytes))
            .expect("appended");
    };
    append(sized.join("513"), &[b'a'; 200_000]);
    append(sized.join("131072"), b"b");
    append(sized.join("0"), b"c");
    let cut = |file: PathBuf, size| {
        let file = File::options().write(true).open(file);
        file.and_then(|file| file.set_len(size)).expect("cut");
    };
    cut(sized.join("1000000"), 300_001);
    cut(root.join("hole"), 1);
    fs::write(sized.join("512"), "another").expect("written");
    fs::remove_file(sized.join("1")).expect("removed");
    fs::remove_file(root.join("fifo")).expect("removed");
    fs::remove_file(root.join("long")).expect("removed");
    fs::remove_dir(deep.join("empty")).expect("removed");
    fs::rename(&sized, root.join("moved")).expect("renamed");
    symlink("new target", root.join("long")).expect("linked");
    fs::hard_link(root.join("sparse"), deep.join("sparse too")).expect("linked");
    fs::create_dir_all(deep.join("new/newer")).expect("created");
    fs::write(deep.join("new/newer/file"), "new").expect("written");
    fs::remove_file(deep.join("another name")).expect("removed");
    fs::set_permissions(root.join("socket"), Permissions::from_mode(0o4711)).expect("set");
    for change in [
        ["-n", "user.text", "-v", "a longer value than it was"],
        ["-n", "user.new", "-v", "value"],
    ] {
        let attribute = run("setfattr").args(change).arg(root.join("attributes"));
        attribute.finish().succeeds();
    }
    let attribute = run("setfattr").args(["-x", "user.large"]);
    attribute.arg(root.join("attributes")).finish().succeeds();
}

/// A pool of the engine's that the kernel has imported.
struct Imported(String);

impl Imported {
    fn new(embedded: &Embedded) -> Self {
        let name = embedded.engine.pool().to_owned();
        let file = embedded.file();
        let file = file.to_str().expect("a plain path");
        zpool(["import", "-N", "-d", file, &name]);
        Self(name)
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        // What was not exported, because a test failed.
        let _ = run("zpool").args(["export", "-f", &self.0]).finish();
    }
}

#[test]
fn a_pool_of_the_engine_is_imported_by_the_kernel_and_opened_again() {
    let embedded = Embedded::new();
    embedded.engine.close().expect("closed");
    let imported = Imported::new(&embedded);
    let refused = Options::default().open(&embedded.file());
    assert!(
        matches!(refused, Err(OpenError::Locked(_))),
        "the kernel has it: {refused:?}"
    );
    let web = embedded.web.as_str();
    zpool(["scrub", "-w", &imported.0]);
    let status = zpool(["status", "-v", &imported.0]);
    assert!(status.contains("No known data errors"), "{status}");
    assert!(status.contains("repaired 0B"), "{status}");
    zfs(["set", "acltype=posix", web]);
    zfs(["set", "mountpoint=legacy", web]);
    let one = truth_of(embedded.one.as_str());
    change(Mount::of(web).path());
    let two = taken(&embedded.web, "two");
    let changed = truth_of(two.as_str());
    zpool(["export", &imported.0]);
    drop(imported);

    let again = Options::default().open(&embedded.file()).expect("opened");
    Truth::demand(&one, &again, embedded.one.as_str());
    Truth::demand(&changed, &again, two.as_str());
}
