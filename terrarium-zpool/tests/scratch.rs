//! Chains of the kernel's streams (`testbed/streams`), received into pools that nobody sees.

mod support;

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use terrarium_core::scratch::{Chain, Scratch, ScratchError, ScratchOptions, Source};
use terrarium_zfs::ErrorKind;
use terrarium_zfs::stream::StreamError;
use terrarium_zpool::{Content, Engine, OpenError};

fn path(name: &str) -> PathBuf {
    let streams = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams");
    streams.join(format!("{name}.zfs"))
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("a captured stream")
}

fn source(name: &str) -> Source<'static> {
    let bytes = bytes(name);
    Source::new(name, bytes.len() as u64, std::io::Cursor::new(bytes))
}

/// A folder of its own, which must be empty in the end.
struct Room(tempfile::TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn receive(&self, sources: Vec<Source<'_>>) -> Result<Scratch, ScratchError> {
        Scratch::receive(sources, &self.options(), &|_| ControlFlow::Continue(()))
    }

    fn receive_named(&self, names: &[&str]) -> Result<Scratch, ScratchError> {
        self.receive(names.iter().map(|name| source(name)).collect())
    }

    fn options(&self) -> ScratchOptions {
        let mut options = ScratchOptions::default();
        options.folder = self.0.path().to_owned();
        options.engine = support::options();
        options
    }

    fn is_empty(&self) -> bool {
        self.0.path().read_dir().expect("a folder").next().is_none()
    }
}

fn names(engine: &Engine, object: &str) -> Vec<String> {
    let mut walk = engine.walk(object, "", Content::Skip).expect("a walk");
    let mut names = Vec::new();
    while let Some(entry) = walk.next_entry().expect("an entry") {
        names.push(entry.path.to_string_lossy().into_owned());
    }
    names
}

#[test]
fn a_chain_becomes_its_last_snapshot_and_the_ones_before() {
    let room = Room::new();
    let chain = ["content-one", "content-two", "content-three"];
    let scratch = room.receive_named(&chain).expect("received");
    assert!(room.is_empty(), "the pool's file has no name");
    assert_eq!(scratch.points().len(), 3);
    assert_eq!(scratch.last().begin.to_name(), "capture/content@three");
    let first = &scratch.points()[0];
    let found = scratch.point(first.begin.to_guid()).expect("it is there");
    assert_eq!(found.snapshot, first.snapshot);
    let all: Vec<_> = scratch
        .points()
        .iter()
        .map(|point| names(scratch.engine(), point.snapshot.as_str()))
        .collect();
    assert!(all[2].len() > 10, "{:?}", all[2]);
    assert_ne!(all[0], all[1]);
    let guid = scratch.engine().guid(scratch.last().snapshot.as_str());
    assert_eq!(guid, Ok(Some(scratch.last().begin.to_guid())));
}

#[test]
fn a_clone_is_received_onto_its_origin() {
    let room = Room::new();
    let scratch = room.receive_named(&["origin", "clone"]).expect("received");
    let [origin, clone] = scratch.points() else {
        panic!("two points");
    };
    assert_ne!(origin.snapshot.dataset_str(), clone.snapshot.dataset_str());
    assert!(!names(scratch.engine(), clone.snapshot.as_str()).is_empty());
}

#[test]
fn what_is_encrypted_is_received_and_cannot_be_looked_into() {
    let room = Room::new();
    let chain = ["encrypted-one", "encrypted-two"];
    let scratch = room.receive_named(&chain).expect("received");
    assert!(scratch.last().begin.is_raw());
    let last = scratch.last().snapshot.as_str();
    let mut walk = scratch
        .engine()
        .walk(last, "", Content::Skip)
        .expect("a walk");
    let refused = walk.next_entry().expect_err("no key");
    assert_eq!(refused.kind(), ErrorKind::KeyUnavailable, "{refused}");
}

#[test]
fn every_other_full_stream_is_received_too() {
    let room = Room::new();
    for name in [
        "compressed-lz4",
        "compressed-zstd",
        "large-full",
        "dnodes",
        "folded",
        "old-version",
        "volume-one",
    ] {
        let received = room.receive_named(&[name]);
        let scratch = received.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scratch.points().len(), 1, "{name}");
    }
    room.receive_named(&["volume-one", "volume-two"])
        .expect("a volume");
    room.receive_named(&["large-one", "large-two"])
        .expect("large blocks");
}

#[test]
fn a_chain_that_does_not_fit_is_refused_before_anything_is_made() {
    let room = Room::new();
    // It would be noticed if the engine were even started.
    let mut options = room.options();
    options.engine.program = Some("/nonexistent/terrarium-zpool".into());
    let refused = |names: &[&str]| {
        let sources = names.iter().map(|name| source(name)).collect();
        let error = Scratch::receive(sources, &options, &|_| ControlFlow::Continue(()));
        error.expect_err("it does not fit")
    };
    let error = refused(&["content-two"]);
    assert!(
        error.to_string().starts_with("content-two does not fit: "),
        "{error}"
    );
    assert!(error.help().is_some());
    for (names, wrong) in [
        (&["content-one", "content-three"] as &[_], "content-three"),
        (&["content-two", "content-one"], "content-two"),
        (&["clone", "origin"], "clone"),
    ] {
        match refused(names) {
            ScratchError::NoSource { stream, .. } => assert_eq!(stream, wrong),
            other => panic!("{names:?}: {other}"),
        }
    }
    match refused(&["origin", "content-one", "content-two"]) {
        ScratchError::Unrelated { stream, last } => {
            assert_eq!((stream.as_str(), last.as_str()), ("origin", "content-two"));
        }
        other => panic!("{other}"),
    }
    match refused(&["content-one", "content-one"]) {
        ScratchError::Twice { stream, other, .. } => assert_eq!(stream, other),
        other => panic!("{other}"),
    }
    let error = refused(&["package-recursive"]);
    assert!(matches!(error, ScratchError::Package { .. }), "{error}");
    let error = refused(&["content-one-resumed"]);
    assert!(matches!(error, ScratchError::Rest { .. }), "{error}");
    let error = refused(&[]);
    assert!(matches!(error, ScratchError::NoStreams), "{error}");
    assert!(room.is_empty());
}

#[test]
fn a_stream_that_is_damaged_tells_where_and_leaves_nothing() {
    let room = Room::new();
    let sound = bytes("content-two");
    let received = |bytes: &[u8]| {
        let second = Source::new("second", bytes.len() as u64, bytes);
        room.receive(vec![source("content-one"), second])
    };
    let wrong = |bytes: &[u8]| match received(bytes).expect_err("not sound") {
        ScratchError::Damaged { stream, source } => {
            assert_eq!(stream, "second");
            source
        }
        other => panic!("{other}"),
    };
    let middle = sound.len() / 2;
    for end in [0, 1, 100, 312, 400, middle, sound.len() - 1] {
        let offset = end as u64;
        assert_eq!(wrong(&sound[..end]), StreamError::Truncated { offset });
    }
    let mut damaged = sound.clone();
    damaged[middle] ^= 1;
    match wrong(&damaged) {
        StreamError::Checksum { since, offset } => {
            assert!((since..offset).contains(&(middle as u64)));
        }
        other => panic!("{other}"),
    }
    let longer = [&sound[..], &[0; 7]].concat();
    let offset = sound.len() as u64;
    assert_eq!(wrong(&longer), StreamError::Trailing { offset });
    assert_eq!(wrong(&[0x28; 500]), StreamError::NoStream);
    assert!(room.is_empty());
    received(&sound).expect("undamaged it is received");
}

#[test]
fn whoever_watches_sees_the_bytes_and_can_stop_it() {
    let room = Room::new();
    let chain = ["content-one", "content-two"];
    let sum: u64 = chain.iter().map(|name| bytes(name).len() as u64).sum();
    let seen = AtomicU64::new(0);
    let receive = |limit: u64| {
        let sources = chain.iter().map(|name| source(name)).collect();
        Scratch::receive(sources, &room.options(), &|bytes| {
            assert!(bytes >= seen.swap(bytes, Ordering::SeqCst) || bytes == 0);
            match bytes > limit {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
    };
    receive(u64::MAX).expect("received");
    assert_eq!(seen.load(Ordering::SeqCst), sum);
    for limit in [0, 300_000, sum - 1] {
        let error = receive(limit).expect_err("stopped");
        assert!(matches!(error, ScratchError::Interrupted), "{error}");
    }
    assert!(room.is_empty());
}

#[test]
fn a_stream_of_unknown_size_is_put_aside_first() {
    let room = Room::new();
    let bytes = bytes("volume-one");
    let spooled = Source::spooled("-", &bytes[..], room.0.path()).expect("spooled");
    assert!(room.is_empty());
    room.receive(vec![spooled]).expect("received");
    let file = Source::file(&path("volume-one"), room.0.path()).expect("a file");
    room.receive(vec![file]).expect("received");

    let absent = Source::file(Path::new("/nonexistent/stream"), room.0.path()).expect_err("absent");
    assert!(matches!(absent, ScratchError::Read { .. }), "{absent}");
    assert!(
        Source::file(room.0.path(), room.0.path()).is_err(),
        "a folder"
    );
}

/// In files, that is: whatever can be read but once is refused.
#[test]
fn a_package_is_unpacked_and_only_what_leads_to_its_snapshot_is_received() {
    let room = Room::new();
    let file = |name: &str| Source::file(&path(name), room.0.path()).expect("a file");
    let chain = Chain::new(vec![file("package-recursive")]).expect("a chain");
    assert_eq!(chain.last().to_name(), "capture/family@t");
    let left_out: Vec<_> = chain
        .left_out()
        .iter()
        .map(|begin| begin.to_name())
        .collect();
    assert_eq!(
        left_out,
        ["capture/family/child@s", "capture/family/child@t"]
    );
    let scratch = chain
        .receive(&room.options(), &|_| ControlFlow::Continue(()))
        .expect("received");
    let received: Vec<_> = scratch
        .points()
        .iter()
        .map(|point| point.begin.to_name())
        .collect();
    assert_eq!(received, ["capture/family@s", "capture/family@t"]);

    let mut damaged = bytes("package-recursive");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let spooled = Source::spooled("damaged", &damaged[..], room.0.path()).expect("spooled");
    match Chain::new(vec![spooled]) {
        Err(ScratchError::Damaged { source, .. }) => {
            assert!(source.offset() > middle as u64, "{source}");
        }
        other => panic!("{other:?}"),
    }
    assert!(room.is_empty());
}

/// Fails in the middle.
struct Broken<R>(R);

impl<R: Read> Read for Broken<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(std::io::Error::other("the network is gone")),
            length => Ok(length),
        }
    }
}

#[test]
fn a_source_that_fails_is_told_as_that() {
    let room = Room::new();
    let file = File::open(path("content-one")).expect("a file");
    let broken = Source::new("far", 1 << 20, Broken(file.take(500_000)));
    let error = room.receive(vec![broken]).expect_err("it fails");
    assert_eq!(error.to_string(), "cannot read far: the network is gone");
    assert!(room.is_empty());
}

#[test]
fn without_an_engine_or_room_it_says_so() {
    let room = Room::new();
    let mut options = room.options();
    options.engine.program = Some("/nonexistent/terrarium-zpool".into());
    let watch = |_| ControlFlow::Continue(());
    let error = Scratch::receive(vec![source("volume-one")], &options, &watch);
    let error = error.expect_err("no engine");
    assert!(
        matches!(error, ScratchError::Pool(OpenError::Program { .. })),
        "{error}"
    );
    assert!(error.help().is_some());

    let bytes = bytes("volume-one");
    let huge = Source::new("huge", 1 << 60, &bytes[..]);
    let error = room.receive(vec![huge]).expect_err("no disk is that large");
    assert!(matches!(error, ScratchError::Pool(_)), "{error}");

    let mut options = room.options();
    options.folder = "/nonexistent/folder".into();
    let error = Scratch::receive(vec![source("volume-one")], &options, &watch);
    let error = error.expect_err("no folder");
    assert!(matches!(error, ScratchError::Folder { .. }), "{error}");
    assert!(room.is_empty());
}
