//! Streams of the kernel's ZFS, received: what arrives is what was sent, by the kernel's own account.

mod support;

use std::fs::File;
use std::io::{Seek, Write};

use support::{Scratch, sent};
use terrarium_zfs::{
    DatasetKind, DatasetName, Error, ErrorKind, Properties, ReceiveOptions, ResumeToken, SendFlags,
    SendSource, SnapshotName, UserProperties,
};
use terrarium_zpool::Engine;
use testbed::{Stream, Truth};

const RAW: SendFlags = SendFlags {
    large_blocks: false,
    embedded: false,
    compressed: false,
    raw: true,
};
const ALL: SendFlags = SendFlags {
    large_blocks: true,
    embedded: true,
    compressed: true,
    raw: false,
};

fn snapshot_named(name: &str) -> SnapshotName {
    SnapshotName::new(name).expect("a legal name")
}

/// Receives it under the name that it had, in the pool of the test.
#[track_caller]
fn received(engine: &Engine, stream: &Stream) -> SnapshotName {
    received_with(engine, stream, &ReceiveOptions::default())
}

#[track_caller]
fn received_with(engine: &Engine, stream: &Stream, options: &ReceiveOptions) -> SnapshotName {
    let name = snapshot_named(&format!("tank/{}", stream.snapshot));
    let done = engine
        .receive(&name, options, stream.file())
        .unwrap_or_else(|error| panic!("{}: {error}", stream.name));
    assert_eq!(done.begin.to_guid(), stream.guid());
    assert_eq!(done.begin.from_guid(), stream.source_guid());
    assert_eq!(done.bytes, stream.bytes().len() as u64);
    assert_eq!(
        engine.guid(name.as_str()).expect("it works"),
        Some(stream.guid())
    );
    name
}

/// Receives full streams and what builds on them; each snapshot is checked once all are there.
#[track_caller]
fn holds_what_was_sent(names: &[&str]) {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let chain: Vec<_> = names.iter().map(|name| Stream::named(name)).collect();
    let points: Vec<_> = chain.iter().map(|each| received(engine, each)).collect();
    for (stream, point) in chain.iter().zip(&points) {
        Truth::demand(&stream.tree(), engine, point.as_str());
    }
    let last = chain.last().expect("there is one");
    let head = points.last().expect("there is one").dataset_str();
    Truth::demand(&last.tree(), engine, head);
}

#[test]
fn a_file_system_of_everything_arrives_with_all_its_changes() {
    holds_what_was_sent(&["content-one", "content-two", "content-three"]);
}

#[test]
fn a_clone_arrives_on_its_origin() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let (origin, clone) = (Stream::named("origin"), Stream::named("clone"));
    let name = snapshot_named("tank/clone@changed");
    let absent = ReceiveOptions {
        origin: Some(snapshot_named("tank/origin@base")),
        ..ReceiveOptions::default()
    };
    let refused = engine.receive(&name, &absent, clone.file());
    assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");

    let base = received(engine, &origin);
    let options = ReceiveOptions {
        origin: Some(base.clone()),
        ..ReceiveOptions::default()
    };
    let point = received_with(engine, &clone, &options);
    Truth::demand(&origin.tree(), engine, base.as_str());
    Truth::demand(&clone.tree(), engine, point.as_str());
    let listing = engine.list(&point.dataset(), &[]).unwrap();
    assert_eq!(listing.datasets[0].origin, Some(base));
}

#[test]
fn compressed_streams_arrive() {
    holds_what_was_sent(&["compressed-lz4"]);
    holds_what_was_sent(&["compressed-zstd"]);
}

#[test]
fn large_blocks_arrive() {
    holds_what_was_sent(&["large-one", "large-two"]);
    holds_what_was_sent(&["large-full"]);
}

#[test]
fn large_dnodes_arrive() {
    holds_what_was_sent(&["dnodes"]);
}

#[test]
fn names_without_case_arrive() {
    holds_what_was_sent(&["folded"]);
}

/// Before version 5 of the file system's format a file's attributes were kept otherwise.
#[test]
fn a_file_system_of_an_old_version_arrives_and_is_not_read() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let point = received(engine, &Stream::named("old-version"));
    let refused = engine.read_file(point.as_str(), "file", 5000);
    assert!(
        matches!(refused, Err(Error::NotSupported(_))),
        "{refused:?}"
    );
}

/// The token that it leaves is the kernel's own, number by number.
#[test]
fn an_interrupted_receive_goes_on_with_what_the_kernel_sent_for_it() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let rest = Stream::named("content-one-resumed");
    let interrupted = rest.continues.clone().expect("it goes on from one");
    let whole = Stream::named(&interrupted.stream);
    let options = ReceiveOptions {
        resumable: true,
        ..ReceiveOptions::default()
    };
    let point = snapshot_named(&format!("tank/{}", whole.snapshot));
    let cut = file_of(&whole.bytes()[..interrupted.after]);
    let broken = engine.receive(&point, &options, cut);
    assert!(matches!(broken, Err(Error::BadStream { .. })), "{broken:?}");
    let listing = engine.list(&point.dataset(), &[]).unwrap();
    let token = listing.datasets[0].receive_resume_token.as_deref();
    let token: ResumeToken = token.expect("there is a token").parse().unwrap();
    assert_eq!(token, interrupted.token.parse().unwrap());

    received_with(engine, &rest, &options);
    Truth::demand(&whole.tree(), engine, point.as_str());
}

#[test]
fn packages_of_streams_are_refused_as_such() {
    let scratch = Scratch::new();
    for name in [
        "package-recursive",
        "package-properties",
        "package-intermediate",
    ] {
        let refused = scratch.engine.receive(
            &snapshot_named("tank/package@s"),
            &ReceiveOptions::default(),
            Stream::named(name).file(),
        );
        match refused {
            Err(error @ Error::BadStream { .. }) => {
                assert!(error.to_string().contains("package of streams"), "{error}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(scratch.engine.guid("tank/package").unwrap(), None);
    }
}

/// Its files cannot be read, but it can be kept and handed on.
#[test]
fn raw_streams_arrive_without_their_key_and_go_on() {
    let (first, second) = (Scratch::new(), Scratch::new());
    let engine = &first.engine;
    let streams = ["encrypted-one", "encrypted-two"].map(Stream::named);
    let [one, two] = streams.each_ref().map(|each| received(engine, each));
    let listing = engine.list(&one.dataset(), &[]).unwrap();
    assert_eq!(listing.datasets[0].encryption_root, Some(one.dataset()));
    for object in [one.as_str(), two.as_str(), one.dataset_str()] {
        let refused = engine.read_file(object, "secret", 10_000);
        assert!(
            matches!(refused, Err(Error::KeyUnavailable(_))),
            "{refused:?}"
        );
    }
    let plain = engine.send(&two, None, ALL, File::create("/dev/null").unwrap());
    assert!(matches!(plain, Err(Error::KeyUnavailable(_))), "{plain:?}");

    for (point, from) in [
        (&one, None),
        (&two, Some(SendSource::Snapshot(one.clone()))),
    ] {
        let stream = sent(engine, point, from, RAW);
        let done = second
            .engine
            .receive(point, &ReceiveOptions::default(), &stream);
        done.expect("received");
        let guid = second.engine.guid(point.as_str()).unwrap();
        assert_eq!(guid, engine.guid(point.as_str()).unwrap());
    }
}

/// What the engine sends of it is the same again.
#[test]
fn what_arrived_from_the_kernel_goes_on_to_another_pool() {
    let (first, second) = (Scratch::new(), Scratch::new());
    let chain = ["content-one", "content-two", "content-three"].map(Stream::named);
    let mut from = None;
    for (stream, flags) in chain.iter().zip([ALL, SendFlags::default(), ALL]) {
        let point = received(&first.engine, stream);
        let onward = sent(&first.engine, &point, from, flags);
        let done = second
            .engine
            .receive(&point, &ReceiveOptions::default(), &onward);
        assert_eq!(done.expect("received").begin.to_guid(), stream.guid());
        Truth::demand(&stream.tree(), &second.engine, point.as_str());
        from = Some(SendSource::Snapshot(point));
    }
}

#[test]
fn a_volume_arrives_and_is_no_file_system() {
    let (first, second) = (Scratch::new(), Scratch::new());
    let engine = &first.engine;
    let [one, two] =
        ["volume-one", "volume-two"].map(|name| received(engine, &Stream::named(name)));
    let volume = one.dataset();
    let listing = engine.list(&volume, &[]).unwrap();
    assert_eq!(listing.datasets[0].kind, DatasetKind::Volume);
    assert_eq!(listing.snapshots.len(), 2);
    for object in [one.as_str(), volume.as_str()] {
        let refused = engine.read_file(object, "file", 1);
        assert!(
            matches!(refused, Err(Error::NotSupported(_))),
            "{refused:?}"
        );
    }
    let refused = engine.write_file(&volume, "file", 0o644, b"x");
    let refused = refused.map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::NotSupported));
    drop(engine.occupy(&volume).expect("occupied"));

    for (point, from) in [
        (&one, None),
        (&two, Some(SendSource::Snapshot(one.clone()))),
    ] {
        let stream = sent(engine, point, from, ALL);
        let done = second
            .engine
            .receive(point, &ReceiveOptions::default(), &stream);
        done.expect("received");
    }
    let clone = DatasetName::new("tank/clone").unwrap();
    engine
        .clone_snapshot(&clone, &one, &Properties::new())
        .expect("cloned");
    engine.promote(&clone).expect("promoted");
    let point = clone.snapshot("three").unwrap();
    engine
        .snapshot(&[(point.clone(), UserProperties::new())])
        .expect("taken");
    engine.rollback_to(&point).expect("rolled back");
    engine
        .bookmark(&[(clone.bookmark("b").unwrap(), point)])
        .expect("bookmarked");
    let moved = DatasetName::new("tank/moved").unwrap();
    engine.rename(&clone, &moved).expect("renamed");
}

/// Blocks are missing from it on purpose: they would be read as zeros.
#[test]
fn a_redacted_stream_arrives_and_is_not_read() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let point = received(engine, &Stream::named("redacted"));
    for path in ["kept", "secret"] {
        let refused = engine.read_file(point.as_str(), path, 5000);
        assert!(
            matches!(refused, Err(Error::NotSupported(_))),
            "{refused:?}"
        );
    }
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file.rewind().expect("a file");
    file
}
