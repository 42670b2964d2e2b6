//! Streams: sent, received, damaged.

mod support;

use std::fs::File;
use std::io::{Seek, Write};

use support::{Scratch, sent};
use terrarium_zfs::{
    DatasetName, Error, Properties, ReceiveOptions, ResumeToken, SendFlags, SendSource,
    SnapshotName, UserProperties,
};
use terrarium_zpool::Engine;

fn named(name: &str) -> DatasetName {
    DatasetName::new(name).expect("a legal name")
}

fn taken(engine: &Engine, dataset: &DatasetName, name: &str) -> SnapshotName {
    let point = dataset.snapshot(name).expect("a legal name");
    engine
        .snapshot(&[(point.clone(), UserProperties::new())])
        .expect("taken");
    point
}

fn created(engine: &Engine, name: &str, properties: &[(&str, &str)]) -> DatasetName {
    let name = named(name);
    let mut set = Properties::new();
    for (property, value) in properties {
        set.set(property, value).expect("a legal value");
    }
    engine.create(&name, &set).expect("created");
    name
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

const PLAIN: SendFlags = SendFlags {
    large_blocks: false,
    embedded: false,
    compressed: false,
    raw: false,
};

fn received(engine: &Engine, name: &str, stream: &File) -> SnapshotName {
    let point = SnapshotName::new(name).expect("a legal name");
    let done = engine.receive(&point, &ReceiveOptions::default(), stream);
    let done = done.expect("received");
    assert_eq!(
        engine.guid(name).expect("it works"),
        Some(done.begin.to_guid())
    );
    point
}

fn content(engine: &Engine, object: impl AsRef<str>, path: &str) -> Option<Vec<u8>> {
    engine
        .read_file(object.as_ref(), path, 1 << 30)
        .expect("read")
}

#[test]
fn a_stream_goes_from_one_pool_into_another() {
    let (from, to) = (Scratch::new(), Scratch::new());
    let (from, to) = (&from.engine, &to.engine);
    let web = created(from, "tank/web", &[]);
    from.create_directory(&web, "etc", 0o755).unwrap();
    from.create_directory(&web, "etc/deep", 0o700).unwrap();
    let large = noise(3_000_000);
    for (path, bytes) in [
        ("etc/deep/large", &large[..]),
        ("etc/empty", &[]),
        ("one byte", b"x"),
    ] {
        from.write_file(&web, path, 0o644, bytes).unwrap();
    }
    let point = taken(from, &web, "s");
    let copy = received(to, "tank/copy@s", &sent(from, &point, None, PLAIN));
    assert_eq!(content(to, &copy, "etc/deep/large"), Some(large));
    assert_eq!(content(to, &copy, "etc/empty"), Some(Vec::new()));
    assert_eq!(content(to, "tank/copy", "one byte"), Some(b"x".to_vec()));
    assert_eq!(content(to, &copy, "etc"), None, "a directory is no file");
}

#[test]
fn an_increment_goes_on_from_a_snapshot_and_from_a_bookmark() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let web = created(engine, "tank/web", &[]);
    let points: Vec<_> = ["one", "two", "three"]
        .iter()
        .map(|name| {
            engine
                .write_file(&web, "file", 0o644, name.as_bytes())
                .unwrap();
            taken(engine, &web, name)
        })
        .collect();
    let mark = web.bookmark("two").unwrap();
    engine
        .bookmark(&[(mark.clone(), points[1].clone())])
        .unwrap();

    received(
        engine,
        "tank/copy@one",
        &sent(engine, &points[0], None, PLAIN),
    );
    let from = Some(SendSource::Snapshot(points[0].clone()));
    received(
        engine,
        "tank/copy@two",
        &sent(engine, &points[1], from, PLAIN),
    );
    engine.destroy_snapshots(&points[1..2]).unwrap();
    let from = Some(SendSource::Bookmark(mark));
    received(
        engine,
        "tank/copy@three",
        &sent(engine, &points[2], from, PLAIN),
    );
    for name in ["one", "two", "three"] {
        let object = format!("tank/copy@{name}");
        assert_eq!(content(engine, object, "file"), Some(name.into()));
    }
}

#[test]
fn properties_are_set_on_what_was_received() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let web = created(engine, "tank/web", &[]);
    let stream = sent(engine, &taken(engine, &web, "s"), None, PLAIN);
    let mut options = ReceiveOptions::default();
    for (name, value) in [
        ("canmount", "noauto"),
        ("t:a", "b"),
        ("refquota", "99999744"),
    ] {
        options.properties.set(name, value).unwrap();
    }
    let point = SnapshotName::new("tank/copy@s").unwrap();
    let done = engine.receive(&point, &options, &stream).unwrap();
    assert_eq!(done.failed_properties, [""; 0]);
    let listing = engine.list(&named("tank/copy"), &[]).unwrap();
    let local = &listing.datasets[0].local;
    assert_eq!(local["canmount"], "noauto");
    assert_eq!(local["t:a"], "b");
    assert_eq!(local["refquota"], "99999744");
}

/// libzpool would abort over it.
#[test]
fn large_blocks_are_sent_as_such_or_refused() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let large = created(engine, "tank/large", &[("recordsize", "1048576")]);
    let bytes = noise(3 << 20);
    engine.write_file(&large, "file", 0o644, &bytes).unwrap();
    let point = taken(engine, &large, "s");
    let output = tempfile::tempfile().unwrap();
    match engine.send(&point, None, PLAIN, &output) {
        Err(error @ Error::BadStream { .. }) => {
            assert!(error.to_string().contains("large blocks (-L)"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let flags = SendFlags {
        large_blocks: true,
        compressed: true,
        embedded: true,
        raw: false,
    };
    let copy = received(engine, "tank/copy@s", &sent(engine, &point, None, flags));
    assert_eq!(content(engine, copy, "file"), Some(bytes));
}

#[test]
fn a_stream_that_does_not_fit_is_refused() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let web = created(engine, "tank/web", &[]);
    let (one, two) = (taken(engine, &web, "one"), taken(engine, &web, "two"));
    let full = || sent(engine, &one, None, PLAIN);
    let increment = || sent(engine, &two, Some(SendSource::Snapshot(one.clone())), PLAIN);
    let receive = |name: &str, stream: File| {
        let name = SnapshotName::new(name).unwrap();
        engine.receive(&name, &ReceiveOptions::default(), &stream)
    };
    let refused = receive("tank/web@x", full());
    assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
    let refused = receive("tank/absent/x@x", full());
    assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    let refused = receive("tank/absent@x", increment());
    assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    created(engine, "tank/other", &[]);
    taken(engine, &named("tank/other"), "x");
    let refused = receive("tank/other@y", increment());
    assert!(matches!(refused, Err(Error::Diverged(_))), "{refused:?}");
    let mut none = tempfile::tempfile().unwrap();
    none.write_all(&[0x5a; 1000]).unwrap();
    none.rewind().unwrap();
    let refused = receive("tank/none@x", none);
    assert!(
        matches!(refused, Err(Error::BadStream { .. })),
        "{refused:?}"
    );
    let backwards = SendSource::Snapshot(two);
    let refused = engine.send(&one, Some(&backwards), PLAIN, tempfile::tempfile().unwrap());
    assert!(matches!(refused, Err(Error::NotAncestor(_))), "{refused:?}");
}

#[test]
fn the_size_of_a_stream_is_known_before_it_is_sent() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let web = created(engine, "tank/web", &[]);
    let size = |point: &SnapshotName, from: Option<&SendSource>| {
        let estimate = engine.send_space(point, from, PLAIN).expect("estimated");
        let sent = sent(engine, point, from.cloned(), PLAIN);
        (estimate, sent.metadata().expect("a file").len())
    };
    let write = |name: &str, length: usize| {
        let written = engine.write_file(&web, name, 0o644, &noise(length));
        written.expect("written");
    };
    write("large", 3 << 20);
    let one = taken(engine, &web, "one");
    write("small", 300 << 10);
    let two = taken(engine, &web, "two");
    let since_one = SendSource::Snapshot(one.clone());
    for (estimate, sent) in [size(&one, None), size(&two, Some(&since_one))] {
        assert!(
            estimate > sent / 2 && estimate < sent * 2,
            "{estimate}, and it is {sent}"
        );
    }
    let since_two = SendSource::Snapshot(two.clone());
    let refused = engine.send_space(&one, Some(&since_two), PLAIN);
    assert!(matches!(refused, Err(Error::NotAncestor(_))), "{refused:?}");
    let absent = web.snapshot("absent").expect("a legal name");
    for (point, from) in [
        (&absent, None),
        (&two, Some(SendSource::Snapshot(absent.clone()))),
    ] {
        let refused = engine.send_space(point, from.as_ref(), PLAIN);
        assert!(matches!(refused, Err(Error::NotFound(_))), "{refused:?}");
    }
}

/// A stream of some files, as bytes.
fn bytes_of_a_stream(engine: &Engine) -> Vec<u8> {
    let web = created(engine, "tank/web", &[]);
    for n in 0..5 {
        let file = format!("file {n}");
        engine
            .write_file(&web, &file, 0o644, &noise(7000 * n))
            .expect("it works");
    }
    let mut stream = sent(engine, &taken(engine, &web, "s"), None, PLAIN);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut bytes).expect("it works");
    bytes
}

fn receive_bytes(engine: &Engine, bytes: &[u8]) -> Result<(), Error> {
    let mut stream = tempfile::tempfile().expect("a file");
    stream.write_all(bytes).expect("written");
    stream.rewind().expect("a file");
    let point = SnapshotName::new("tank/copy@s").expect("a legal name");
    engine
        .receive(&point, &ReceiveOptions::default(), &stream)
        .map(drop)
}

/// And nothing is left of it.
#[test]
fn a_stream_that_is_cut_short_anywhere_is_refused() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let bytes = bytes_of_a_stream(engine);
    let ends = [
        0,
        1,
        311,
        312,
        313,
        624,
        bytes.len() / 2,
        bytes.len() - 312,
        bytes.len() - 1,
    ];
    for end in ends {
        let refused = receive_bytes(engine, &bytes[..end]);
        assert!(
            matches!(refused, Err(Error::BadStream { .. })),
            "cut at {end}: {refused:?}"
        );
        assert_eq!(engine.guid("tank/copy").unwrap(), None, "cut at {end}");
    }
    receive_bytes(engine, &bytes).expect("whole it is taken");
}

/// And nothing is left of it, so that there is room again.
#[test]
fn a_stream_that_finds_no_room_is_refused() {
    let (from, to) = (Scratch::of_size(400 << 20), Scratch::new());
    let (from, to) = (&from.engine, &to.engine);
    let web = created(from, "tank/web", &[]);
    from.write_file(&web, "large", 0o644, &noise(150 << 20))
        .unwrap();
    let stream = sent(from, &taken(from, &web, "s"), None, PLAIN);
    let point = SnapshotName::new("tank/copy@s").unwrap();
    let refused = to.receive(&point, &ReceiveOptions::default(), &stream);
    assert!(matches!(refused, Err(Error::NoSpace(_))), "{refused:?}");
    assert_eq!(to.guid("tank/copy").unwrap(), None);
    let small = created(to, "tank/small", &[]);
    to.write_file(&small, "file", 0o644, &noise(20 << 20))
        .expect("there is room again");
}

/// As the sender needs it to go on.
#[test]
fn a_resumable_receive_that_is_cut_short_leaves_a_token() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let bytes = bytes_of_a_stream(engine);
    let mut stream = tempfile::tempfile().unwrap();
    stream.write_all(&bytes[..bytes.len() / 2]).unwrap();
    stream.rewind().unwrap();
    let options = ReceiveOptions {
        resumable: true,
        ..ReceiveOptions::default()
    };
    let point = SnapshotName::new("tank/copy@s").unwrap();
    let cut = engine.receive(&point, &options, &stream);
    assert!(matches!(cut, Err(Error::BadStream { .. })), "{cut:?}");

    let copy = named("tank/copy");
    let listing = engine.list(&copy, &[]).unwrap();
    let token = listing.datasets[0].receive_resume_token.as_deref();
    let token: ResumeToken = token.expect("there is a token").parse().unwrap();
    let sent = engine.guid("tank/web@s").unwrap();
    assert_eq!(Some(token.to_guid()), sent);
    assert_eq!(token.from_guid(), None);
    engine.destroy(&copy).expect("destroyed");
    receive_bytes(engine, &bytes).expect("whole it is taken");
}

/// A fault that ZFS answers with an abort ends the process, not the caller, and the pool opens again.
#[test]
fn a_stream_with_one_bit_wrong_is_never_taken() {
    let mut scratch = Scratch::new();
    let bytes = bytes_of_a_stream(&scratch.engine);
    let step = bytes.len() / 60;
    let mut lost = 0;
    for position in (0..bytes.len()).step_by(step) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position % 8);
        match receive_bytes(&scratch.engine, &damaged) {
            Ok(()) => panic!("the bit at {position} was not missed"),
            Err(Error::EngineLost { .. }) => {
                lost += 1;
                scratch.engine = support::options()
                    .open(&scratch.file())
                    .expect("opened again");
            }
            Err(_) => {}
        }
        let left = scratch.engine.guid("tank/copy").unwrap();
        assert_eq!(left, None, "something is left after {position}");
    }
    println!("{lost} damaged streams ended the process");
    receive_bytes(&scratch.engine, &bytes).expect("undamaged it is taken");
}
