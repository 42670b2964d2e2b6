//! The pool file: created, closed, opened again; and everything that can be wrong with it.

mod support;

use std::os::unix::fs::MetadataExt;

use support::{SIZE, Scratch, options};
use terrarium_zfs::{DatasetName, Error, Properties, SnapshotName, UserProperties};
use terrarium_zpool::{Engine, MIN_POOL_SIZE, OpenError};

fn web() -> DatasetName {
    DatasetName::new("tank/web").expect("a legal name")
}

fn with_a_file(engine: &Engine) -> SnapshotName {
    let web = web();
    engine.create(&web, &Properties::new()).expect("created");
    engine
        .write_file(&web, "file", 0o640, b"one")
        .expect("it works");
    let point = web.snapshot("s").expect("a legal name");
    let properties = UserProperties::from([("terrarium:kind".to_owned(), "on-demand".to_owned())]);
    engine
        .snapshot(&[(point.clone(), properties)])
        .expect("it works");
    point
}

#[test]
fn what_was_in_a_pool_is_there_when_it_is_opened_again() {
    let scratch = Scratch::new();
    let point = with_a_file(&scratch.engine);
    let listed = |engine: &Engine| {
        let mut listing = engine.list(&web(), &["terrarium:kind"]).unwrap();
        // What is left of the pool changes with what the pool writes for itself.
        for dataset in &mut listing.datasets {
            dataset.available = 0;
        }
        listing
    };
    let before = listed(&scratch.engine);
    scratch.engine.close().expect("closed");

    let again = options().open(&scratch.file()).expect("opened");
    assert_eq!(again.pool(), "tank");
    assert_eq!(listed(&again), before);
    let content = again.read_file(point.as_str(), "file", 3).unwrap();
    assert_eq!(content.as_deref(), Some(&b"one"[..]));
}

#[test]
fn a_pool_file_may_be_moved() {
    let scratch = Scratch::new();
    with_a_file(&scratch.engine);
    scratch.engine.close().expect("closed");
    let moved = scratch.folder().join("moved to here");
    std::fs::rename(scratch.file(), &moved).unwrap();
    let again = options().open(&moved).expect("opened");
    assert!(again.guid("tank/web").unwrap().is_some());
}

#[test]
fn dropping_an_engine_closes_its_pool() {
    let Scratch { engine, folder } = Scratch::new();
    with_a_file(&engine);
    drop(engine);
    let again = options().open(&folder.path().join("pool"));
    let again = again.expect("nobody has it any more");
    assert!(again.guid("tank/web").unwrap().is_some());
}

#[test]
fn a_hold_just_before_does_not_keep_a_pool_from_being_closed() {
    let scratch = Scratch::new();
    let point = with_a_file(&scratch.engine);
    scratch
        .engine
        .hold(&[(point, "tag".to_owned())])
        .expect("held");
    scratch.engine.close().expect("closed");
}

#[test]
fn an_occupied_dataset_keeps_its_pool_open() {
    let scratch = Scratch::new();
    with_a_file(&scratch.engine);
    let occupied = scratch.engine.occupy(&web()).expect("occupied");
    let refused = scratch.engine.close();
    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    drop(occupied);
    scratch.engine.close().expect("closed");
}

#[test]
fn after_a_close_every_call_fails() {
    let scratch = Scratch::new();
    let clone = scratch.engine.clone();
    scratch.engine.close().expect("closed");
    let refused = clone.guid("tank");
    assert!(
        matches!(refused, Err(Error::EngineLost { .. })),
        "{refused:?}"
    );
}

/// Two of them would overwrite each other's changes without a word.
#[test]
fn a_pool_file_is_opened_by_one_process_only() {
    let scratch = Scratch::new();
    let refused = options().open(&scratch.file());
    assert_eq!(refused.err(), Some(OpenError::Locked(scratch.file())));
    with_a_file(&scratch.engine);
}

/// A host's disk that fills up later would make the pool stand still.
/// The kernel's ZFS takes no lock, but has the file open for writing while the pool is imported.
#[test]
fn a_pool_file_that_is_open_for_writing_elsewhere_is_left_alone() {
    let Scratch { engine, folder } = Scratch::new();
    let file = folder.path().join("pool");
    engine.close().expect("closed");
    let writer = std::fs::File::options().write(true).open(&file);
    let writer = writer.expect("opened");
    let refused = options().open(&file);
    assert!(matches!(refused, Err(OpenError::Locked(_))), "{refused:?}");
    drop(writer);
    let reader = std::fs::File::open(&file).expect("opened");
    options().open(&file).expect("a reader is in nobody's way");
    drop(reader);
}

#[test]
fn a_pool_file_takes_all_its_space_at_once() {
    let scratch = Scratch::new();
    let file = std::fs::metadata(scratch.file()).unwrap();
    assert_eq!(file.len(), SIZE);
    assert!(file.blocks() * 512 >= SIZE, "{}", file.blocks());
    assert_eq!(file.mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_exists_is_not_made_a_pool() {
    let scratch = Scratch::new();
    let file = scratch.folder().join("precious");
    std::fs::write(&file, "precious").unwrap();
    let refused = options().create(&file, "tank", SIZE);
    assert_eq!(refused.err(), Some(OpenError::Exists(file.clone())));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

#[test]
fn a_pool_that_cannot_be_created_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool");
    let refused = options().create(&file, "tank", MIN_POOL_SIZE - 1);
    assert_eq!(refused.err(), Some(OpenError::TooSmall(file.clone())));
    let refused = options().create(&file, "mirror", SIZE);
    assert!(matches!(refused, Err(OpenError::Name(_))), "{refused:?}");
    let refused = options().create(&file, "tank/web", SIZE);
    assert!(matches!(refused, Err(OpenError::Zfs(_))), "{refused:?}");
    let refused = options().create(&file, "tank", 1 << 60);
    assert!(matches!(refused, Err(OpenError::Zfs(_))), "{refused:?}");
    assert!(!file.exists());

    let refused = options().create(&folder.path().join("absent/pool"), "tank", SIZE);
    assert!(
        matches!(refused, Err(OpenError::Zfs(Error::NotFound(_)))),
        "{refused:?}"
    );
    options()
        .create(&file, "tank", MIN_POOL_SIZE)
        .expect("the smallest that there is");
}

/// Found out before anything is written, not when the pool fills up: that would hang it.
#[test]
fn a_pool_finds_no_room_on_a_full_disk() {
    // A file system in memory, which says at once that it has no such room.
    let folder = tempfile::tempdir_in("/dev/shm").expect("a file system in memory");
    let file = folder.path().join("pool");
    let limit = nix::sys::statvfs::statvfs(folder.path()).expect("its size");
    let too_much = (limit.blocks() + 1) * limit.fragment_size();
    let refused = options().create(&file, "tank", too_much);
    assert!(
        matches!(refused, Err(OpenError::Zfs(Error::NoSpace(_)))),
        "{refused:?}"
    );
    assert!(!file.exists());
}

#[test]
fn what_is_no_pool_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool");
    let refused = options().open(&file);
    assert!(
        matches!(refused, Err(OpenError::Zfs(Error::NotFound(_)))),
        "{refused:?}"
    );
    for content in [Vec::new(), b"no pool".to_vec(), vec![0x5a; 2 << 20]] {
        std::fs::write(&file, &content).unwrap();
        let refused = options().open(&file);
        assert_eq!(refused.err(), Some(OpenError::NoPool(file.clone())));
        assert_eq!(std::fs::read(&file).unwrap(), content, "it is as it was");
    }
}

/// The first label is one of four.
#[test]
fn a_pool_with_a_damaged_label_is_opened_and_one_with_nothing_behind_it_is_not() {
    let scratch = Scratch::new();
    let point = with_a_file(&scratch.engine);
    scratch.engine.close().expect("closed");
    let mut content = std::fs::read(scratch.file()).unwrap();
    content[..256 << 10].fill(0);
    std::fs::write(scratch.file(), &content).unwrap();
    let again = options().open(&scratch.file()).expect("opened");
    assert!(again.guid(point.as_str()).unwrap().is_some());
    again.close().expect("closed");

    let mut content = std::fs::read(scratch.file()).unwrap();
    let (labels, end) = (512 << 10, content.len() - (512 << 10));
    content[labels..end].fill(0x5a);
    std::fs::write(scratch.file(), &content).unwrap();
    let refused = options().open(&scratch.file());
    assert_eq!(refused.err(), Some(OpenError::NoPool(scratch.file())));
}

/// It is the cache of the kernel's pools.
#[test]
fn the_cache_of_pools_is_left_alone() {
    let cache = || {
        let found = std::fs::metadata("/etc/zfs/zpool.cache").ok()?;
        Some((found.len(), found.mtime(), found.mtime_nsec()))
    };
    let before = cache();
    let scratch = Scratch::new();
    with_a_file(&scratch.engine);
    scratch.engine.close().expect("closed");
    options()
        .open(&scratch.file())
        .expect("opened")
        .close()
        .expect("closed");
    assert_eq!(cache(), before);
    // Nor is there one in the folder of the pool.
    let files = std::fs::read_dir(scratch.folder()).unwrap();
    assert_eq!(files.count(), 1);
}

/// Whatever was held while it was read is let go.
#[test]
fn a_damaged_file_is_an_error_and_the_pool_can_be_closed() {
    let scratch = Scratch::new();
    with_a_file(&scratch.engine);
    let marked = b"to be found in the pool file".repeat(1000);
    let mut plain = Properties::new();
    plain.set("compression", "off").unwrap();
    let name = DatasetName::new("tank/plain").unwrap();
    scratch.engine.create(&name, &plain).unwrap();
    let write = scratch.engine.write_file(&name, "file", 0o644, &marked);
    write.expect("written");
    scratch.engine.close().expect("closed");

    let mut content = std::fs::read(scratch.file()).unwrap();
    let at = content.windows(1000).position(|w| w == &marked[..1000]);
    content[at.expect("it is there")] ^= 1;
    std::fs::write(scratch.file(), &content).unwrap();
    let again = options().open(&scratch.file()).expect("opened");
    let read = again.read_file(name.as_str(), "file", 1 << 20);
    assert!(matches!(read, Err(Error::Io { .. })), "{read:?}");
    let sound = again.read_file("tank/web", "file", 10).unwrap();
    assert_eq!(sound.as_deref(), Some(&b"one"[..]));
    again.close().expect("closed");
}
