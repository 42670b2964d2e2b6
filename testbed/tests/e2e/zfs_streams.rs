//! terrarium-zfs: send streams and receiving them.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use terrarium_zfs::{
    DatasetName, Error, ErrorKind, Properties, PropertyValue, ReceiveOptions, ResumeToken,
    SendFlags, SendSource, SnapshotName, ZfsCore,
};
use testbed::{Pool, run, zfs};

use crate::zfs_support::*;

const PLAIN: SendFlags = SendFlags {
    large_blocks: false,
    embedded: false,
    compressed: false,
    raw: false,
};
const ALL: SendFlags = SendFlags {
    large_blocks: true,
    embedded: true,
    compressed: true,
    raw: false,
};

/// A mounted dataset, and where.
fn mounted(pool: &Pool, path: &str) -> (DatasetName, PathBuf) {
    let dataset = made(pool, path);
    let place = PathBuf::from(format!("/mnt/{}", dataset.as_str().replace('/', "_")));
    zfs([
        "set",
        &format!("mountpoint={}", place.display()),
        dataset.as_str(),
    ]);
    (dataset, place)
}

/// The file `note` of a snapshot.
fn note(core: ZfsCore, snapshot: &SnapshotName) -> String {
    let note = core
        .read_snapshot_file(snapshot, "note", 1 << 24)
        .expect("read");
    String::from_utf8(note.expect("there is a note")).expect("text")
}

/// Sends into an unnamed file and rewinds it.
fn stream(
    core: ZfsCore,
    snapshot: &SnapshotName,
    from: Option<&SendSource>,
    flags: SendFlags,
) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    core.send(snapshot, from, flags, &file).expect("sent");
    file.rewind().expect("rewound");
    file
}

fn receive(core: ZfsCore, target: &SnapshotName, input: impl AsFd) -> Result<(), Error> {
    core.receive(target, &ReceiveOptions::default(), input)
        .map(|_| ())
}

#[test]
fn full_and_incremental_streams_bring_the_contents_over() {
    let (core, pool, other) = (core(), Pool::create(), Pool::create());
    let (source, place) = mounted(&pool, "source x");
    let target = named(&other, "target y");
    std::fs::write(place.join("note"), "one").expect("written");
    let one = taken(&source, "s 1");
    std::fs::write(place.join("note"), "two").expect("written");
    let two = taken(&source, "s 2");
    std::fs::write(place.join("note"), "three".repeat(100_000)).expect("written");
    let three = taken(&source, "s 3");

    let full = stream(core, &one, None, ALL);
    let length = full.metadata().expect("a file").len();
    let options = ReceiveOptions::default();
    let received = core
        .receive(&at(&target, "s 1"), &options, &full)
        .expect("received");
    assert_eq!(received.begin.to_guid(), guid(one.as_str()));
    assert_eq!(received.begin.from_guid(), None);
    assert_eq!(received.begin.to_name(), one.as_str());
    assert_eq!(received.bytes, length);
    assert_eq!(received.failed_properties, [""; 0]);
    assert_eq!(guid(at(&target, "s 1").as_str()), guid(one.as_str()));
    assert_eq!(get(target.as_str(), "mounted"), "no");

    let from = SendSource::Snapshot(one.clone());
    receive(
        core,
        &at(&target, "s 2"),
        stream(core, &two, Some(&from), ALL),
    )
    .expect("received");
    assert_eq!(note(core, &at(&target, "s 2")), "two");

    // From a bookmark, its snapshot being gone.
    let bookmark = source.bookmark("b 2").expect("legal");
    core.bookmark(&[(bookmark.clone(), two.clone())])
        .expect("bookmarked");
    core.destroy_snapshots(&[two], false).expect("destroyed");
    let from = SendSource::Bookmark(bookmark);
    receive(
        core,
        &at(&target, "s 3"),
        stream(core, &three, Some(&from), ALL),
    )
    .expect("received");
    assert_eq!(note(core, &at(&target, "s 3")), "three".repeat(100_000));
    assert_eq!(note(core, &at(&target, "s 1")), "one");
}

#[test]
fn a_stream_goes_into_and_out_of_any_descriptor() {
    let (core, pool) = (core(), Pool::create());
    let (source, place) = mounted(&pool, "source");
    std::fs::write(place.join("note"), "n".repeat(3 << 20)).expect("written");
    let snapshot = taken(&source, "s");
    let mut whole = Vec::new();
    stream(core, &snapshot, None, PLAIN)
        .read_to_end(&mut whole)
        .expect("read");
    assert!(whole.len() > 3 << 20);

    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let (ours, mut theirs) = UnixStream::pair().expect("a socket");
    std::thread::scope(|scope| {
        let pipe = scope.spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        core.send(&snapshot, None, PLAIN, &writer)
            .expect("sent into a pipe");
        drop(writer);
        assert_eq!(pipe.join().expect("no panic").expect("read"), whole);
        let socket = scope.spawn(move || {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).map(|_| bytes)
        });
        core.send(&snapshot, None, PLAIN, &ours)
            .expect("sent into a socket");
        drop(ours);
        assert_eq!(socket.join().expect("no panic").expect("read"), whole);
    });
    let null = File::options()
        .write(true)
        .open("/dev/null")
        .expect("there is /dev/null");
    core.send(&snapshot, None, PLAIN, &null)
        .expect("sent into nothing");

    // A file is written from where it stands, and read from there.
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(b"header").expect("written");
    core.send(&snapshot, None, PLAIN, &file)
        .expect("sent into a file");
    file.write_all(b"trailer").expect("written");
    file.seek(std::io::SeekFrom::Start(6)).expect("sought");
    receive(core, &at(&named(&pool, "from file"), "s"), &file).expect("received from a file");
    let mut rest = String::new();
    file.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "trailer", "what follows the stream is left unread");

    for (name, socket) in [("from pipe", false), ("from socket", true)] {
        let (input, mut output): (std::os::fd::OwnedFd, Box<dyn Write + Send>) = if socket {
            let (a, b) = UnixStream::pair().expect("a socket");
            (a.into(), Box::new(b))
        } else {
            let (a, b) = std::io::pipe().expect("a pipe");
            (a.into(), Box::new(b))
        };
        let whole = whole.clone();
        let feed = std::thread::spawn(move || output.write_all(&whole));
        receive(core, &at(&named(&pool, name), "s"), &input).expect(name);
        feed.join().expect("no panic").expect("fed");
        assert_eq!(note(core, &at(&named(&pool, name), "s")).len(), 3 << 20);
    }
}

#[test]
fn an_interrupted_receive_is_resumed_from_its_token() {
    let (core, pool) = (core(), Pool::create());
    let (source, place) = mounted(&pool, "source");
    // The token tells of large blocks only if there are any.
    zfs(["set", "recordsize=1M", source.as_str()]);
    std::fs::write(place.join("small"), "s").expect("written");
    let one = taken(&source, "one");
    let noise: Vec<u8> = (0..8u32 << 20)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(place.join("big"), &noise).expect("written");
    std::fs::write(place.join("note"), "end").expect("written");
    let two = taken(&source, "two");
    let target = named(&pool, "target");
    receive(core, &at(&target, "one"), stream(core, &one, None, ALL)).expect("received");

    let from = SendSource::Snapshot(one.clone());
    let whole = stream(core, &two, Some(&from), ALL);
    let length = whole.metadata().expect("a file").len();
    whole.set_len(length / 2).expect("cut");
    let options = ReceiveOptions {
        resumable: true,
        ..ReceiveOptions::default()
    };
    let result = core.receive(&at(&target, "two"), &options, &whole);
    assert_eq!(kind(result), ErrorKind::BadStream);

    let listing = core.list(&target, &[]).expect("listed");
    let token = listing.datasets[0]
        .receive_resume_token
        .clone()
        .expect("a token");
    assert_eq!(
        listing.datasets.len(),
        1,
        "the half-received clone is not listed"
    );
    let token: ResumeToken = token.parse().expect("the token is understood");
    assert_eq!(token.to_guid(), guid(two.as_str()));
    assert_eq!(token.from_guid(), Some(guid(one.as_str())));
    assert_eq!(token.to_name(), two.as_str());
    assert_eq!(token.flags(), ALL);
    assert!(
        (length / 4..length).contains(&token.bytes()),
        "{} of {length}",
        token.bytes()
    );

    // Another receive must not take it for its own.
    let result = receive(
        core,
        &at(&target, "two"),
        stream(core, &two, Some(&from), ALL),
    );
    assert_eq!(kind(result), ErrorKind::Busy);

    let mut rest = tempfile::tempfile().expect("a file");
    core.send_resume(&token, &two, Some(&from), &rest)
        .expect("sent");
    rest.rewind().expect("rewound");
    assert!(
        rest.metadata().expect("a file").len() < length * 3 / 4,
        "only the rest is sent"
    );
    let received = core
        .receive(&at(&target, "two"), &options, &rest)
        .expect("received");
    assert!(received.begin.is_resuming());
    assert_eq!(guid(at(&target, "two").as_str()), guid(two.as_str()));
    let big = core
        .read_snapshot_file(&at(&target, "two"), "big", 9 << 20)
        .expect("read");
    assert!(big.expect("there") == noise);
    assert_eq!(
        core.list(&target, &[]).expect("listed").datasets[0].receive_resume_token,
        None
    );
}

#[test]
fn a_raw_stream_of_an_encrypted_dataset_needs_no_key() {
    let (core, pool, other) = (core(), Pool::create(), Pool::create());
    let source = named(&pool, "secret");
    let place = format!("/mnt/{}", pool.name());
    run("zfs")
        .args([
            "create",
            "-o",
            "encryption=on",
            "-o",
            "keyformat=passphrase",
            "-o",
        ])
        .args([&format!("mountpoint={place}"), source.as_str()])
        .stdin("a passphrase\na passphrase\n")
        .finish()
        .succeeds();
    std::fs::write(format!("{place}/note"), "one").expect("written");
    let one = taken(&source, "one");
    std::fs::write(format!("{place}/note"), "two").expect("written");
    let two = taken(&source, "two");
    zfs(["unmount", source.as_str()]);
    zfs(["unload-key", source.as_str()]);

    let file = tempfile::tempfile().expect("a file");
    assert_eq!(
        kind(core.send(&one, None, ALL, &file)),
        ErrorKind::KeyUnavailable
    );
    assert_eq!(
        kind(core.read_snapshot_file(&one, "note", 9)),
        ErrorKind::KeyUnavailable
    );
    let raw = SendFlags { raw: true, ..ALL };
    let target = named(&other, "copy");
    let received = core
        .receive(
            &at(&target, "one"),
            &ReceiveOptions::default(),
            stream(core, &one, None, raw),
        )
        .expect("received");
    assert!(received.begin.is_raw());
    let from = SendSource::Snapshot(one);
    receive(
        core,
        &at(&target, "two"),
        stream(core, &two, Some(&from), raw),
    )
    .expect("received");
    let listing = core.list(&target, &[]).expect("listed");
    assert_eq!(listing.datasets[0].encryption_root.as_ref(), Some(&target));
    assert_eq!(
        kind(core.read_snapshot_file(&at(&target, "two"), "note", 9)),
        ErrorKind::KeyUnavailable
    );
    run("zfs")
        .args(["load-key", target.as_str()])
        .stdin("a passphrase\n")
        .finish()
        .succeeds();
    assert_eq!(note(core, &at(&target, "two")), "two");
    assert_eq!(note(core, &at(&target, "one")), "one");
}

#[test]
fn a_clone_is_received_onto_its_origin() {
    let (core, pool, other) = (core(), Pool::create(), Pool::create());
    let (image, place) = mounted(&pool, "image");
    std::fs::write(place.join("base"), "b".repeat(2 << 20)).expect("written");
    let readonly = taken(&image, "readonly");
    let clone = named(&pool, "clone");
    let mountpoint = format!("/mnt/{}", pool.name());
    core.clone_snapshot(
        &clone,
        &readonly,
        &properties([("mountpoint", &mountpoint)]),
    )
    .expect("cloned");
    zfs(["mount", clone.as_str()]);
    std::fs::write(format!("{mountpoint}/note"), "mine").expect("written");
    let snapshot = taken(&clone, "s");

    let origin = at(&named(&other, "origins"), "r");
    receive(core, &origin, stream(core, &readonly, None, ALL)).expect("received");
    let from = SendSource::Snapshot(readonly);
    let increment = stream(core, &snapshot, Some(&from), ALL);
    assert!(
        increment.metadata().expect("a file").len() < 1 << 20,
        "the base is not sent"
    );
    let target = named(&other, "target");
    let options = ReceiveOptions {
        origin: Some(origin.clone()),
        ..ReceiveOptions::default()
    };
    let received = core
        .receive(&at(&target, "s"), &options, &increment)
        .expect("received");
    assert!(received.begin.is_clone());
    assert_eq!(get(target.as_str(), "origin"), origin.as_str());
    assert_eq!(note(core, &at(&target, "s")), "mine");
    let base = core
        .read_snapshot_file(&at(&target, "s"), "base", 4 << 20)
        .expect("read");
    assert_eq!(base.expect("there").len(), 2 << 20);

    let absent = ReceiveOptions {
        origin: Some(at(&named(&other, "no"), "r")),
        ..options
    };
    let again = stream(core, &snapshot, Some(&from), ALL);
    assert_eq!(
        kind(core.receive(&at(&named(&other, "x"), "s"), &absent, &again)),
        ErrorKind::NotFound
    );
}

#[test]
fn a_stream_that_does_not_fit_changes_nothing() {
    let (core, pool) = (core(), Pool::create());
    let (source, place) = mounted(&pool, "source");
    let one = taken(&source, "one");
    std::fs::write(place.join("note"), "two").expect("written");
    let two = taken(&source, "two");
    let full = || stream(core, &one, None, PLAIN);
    let from = SendSource::Snapshot(one.clone());
    let increment = || stream(core, &two, Some(&from), PLAIN);

    let target = named(&pool, "target");
    assert_eq!(
        kind(receive(core, &at(&target, "two"), increment())),
        ErrorKind::NotFound,
        "no target"
    );
    assert_eq!(
        kind(receive(core, &at(&named(&pool, "no/x"), "s"), full())),
        ErrorKind::NotFound
    );
    receive(core, &at(&target, "one"), full()).expect("received");
    assert_eq!(
        kind(receive(core, &at(&target, "one"), full())),
        ErrorKind::Exists
    );
    assert_eq!(
        kind(receive(core, &at(&target, "other"), full())),
        ErrorKind::Exists,
        "the dataset"
    );

    // Another snapshot on top is in nobody's way unless something changed before it.
    taken(&target, "its own");
    receive(core, &at(&target, "two"), increment()).expect("received");
    assert_eq!(snapshots(&target), ["one", "its own", "two"]);
    assert_eq!(
        kind(receive(core, &at(&target, "two"), increment())),
        ErrorKind::Exists
    );
    zfs(["rollback", "-r", at(&target, "its own").as_str()]);
    let there = PathBuf::from(format!("/mnt/{} target", pool.name()));
    zfs([
        "set",
        &format!("mountpoint={}", there.display()),
        target.as_str(),
    ]);
    std::fs::write(there.join("own"), "x").expect("written");
    zfs(["unmount", target.as_str()]);
    assert_eq!(
        kind(receive(core, &at(&target, "two"), increment())),
        ErrorKind::Modified
    );
    taken(&target, "changed");
    assert_eq!(
        kind(receive(core, &at(&target, "two"), increment())),
        ErrorKind::Modified
    );
    assert_eq!(
        snapshots(&target),
        ["one", "its own", "changed"],
        "nothing was lost"
    );
    let forced = ReceiveOptions {
        force: true,
        ..ReceiveOptions::default()
    };
    core.receive(&at(&target, "two"), &forced, increment())
        .expect("rolled back and received");
    assert_eq!(snapshots(&target), ["one", "two"]);
    assert_eq!(note(core, &at(&target, "two")), "two");
    let stranger = made(&pool, "stranger");
    taken(&stranger, "one");
    assert_eq!(
        kind(receive(core, &at(&stranger, "two"), increment())),
        ErrorKind::Diverged
    );

    let other = Pool::create();
    let far = taken(&made(&other, "x"), "s");
    let null = File::options()
        .write(true)
        .open("/dev/null")
        .expect("there is /dev/null");
    for (from, expected) in [
        (SendSource::Snapshot(two.clone()), ErrorKind::NotAncestor),
        (
            SendSource::Snapshot(at(&source, "absent")),
            ErrorKind::NotFound,
        ),
        (
            SendSource::Bookmark(source.bookmark("absent").expect("legal")),
            ErrorKind::NotFound,
        ),
        (SendSource::Snapshot(far), ErrorKind::NotAncestor),
    ] {
        assert_eq!(
            kind(core.send(&one, Some(&from), PLAIN, &null)),
            expected,
            "{from:?}"
        );
    }
    assert_eq!(
        kind(core.send(&at(&source, "absent"), None, PLAIN, &null)),
        ErrorKind::NotFound
    );
}

#[test]
fn a_damaged_or_cut_stream_leaves_nothing_behind() {
    let (core, pool) = (core(), Pool::create());
    let (source, place) = mounted(&pool, "source");
    std::fs::write(place.join("note"), "n".repeat(200_000)).expect("written");
    let snapshot = taken(&source, "s");
    let mut whole = Vec::new();
    stream(core, &snapshot, None, PLAIN)
        .read_to_end(&mut whole)
        .expect("read");
    let target = at(&named(&pool, "target"), "s");
    let attempt = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes)
            .and_then(|()| file.rewind())
            .expect("written");
        let error = receive(core, &target, &file).expect_err("the stream is bad");
        assert_eq!(error.kind(), ErrorKind::BadStream, "{error}");
        assert!(!exists(named(&pool, "target").as_str()), "{error}");
        error.to_string()
    };
    for cut in [
        0,
        1,
        311,
        312,
        700,
        whole.len() / 2,
        whole.len() - 312,
        whole.len() - 1,
    ] {
        attempt(&whole[..cut]);
    }
    for place in [400, whole.len() / 2, whole.len() - 100] {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        attempt(&damaged);
    }
    attempt(&[0; 4096]);
    assert!(
        attempt(b"<html>not what you expected</html>".repeat(100).as_slice()).contains("no ZFS")
    );
    let package = run("sh").args(["-c", "exec zfs send -p \"$1\" > /var/tmp/package", "-"]);
    package.arg(snapshot.as_str()).finish().succeeds();
    let package = std::fs::read("/var/tmp/package").expect("read");
    assert!(attempt(&package).contains("package"));
    receive(core, &target, stream(core, &snapshot, None, PLAIN)).expect("the whole one is fine");
}

#[test]
fn a_reader_that_goes_away_fails_the_send_and_not_the_process() {
    let (core, pool) = (core(), Pool::create());
    let (source, place) = mounted(&pool, "source");
    std::fs::write(place.join("big"), vec![1; 8 << 20]).expect("written");
    let snapshot = taken(&source, "s");
    // As in a program that wants to end quietly when its output is cut off.
    let sigpipe = nix::sys::signal::Signal::SIGPIPE;
    let default = nix::sys::signal::SigHandler::SigDfl;
    // SAFETY: setting a default action installs no handler.
    #[allow(unsafe_code, reason = "the test is about this very setting")]
    unsafe { nix::sys::signal::signal(sigpipe, default) }.expect("set");
    let broken = |error: Error| match error {
        Error::Io {
            errno: libc::EPIPE, ..
        } => {}
        other => panic!("{other}"),
    };
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let gone = std::thread::spawn(move || reader.read_exact(&mut [0; 1000]));
    broken(
        core.send(&snapshot, None, PLAIN, &writer)
            .expect_err("the pipe broke"),
    );
    gone.join().expect("no panic").expect("read");
    let (ours, theirs) = UnixStream::pair().expect("a socket");
    drop(theirs);
    broken(
        core.send(&snapshot, None, PLAIN, &ours)
            .expect_err("the socket broke"),
    );
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("there is /dev/full");
    match core
        .send(&snapshot, None, PLAIN, &full)
        .expect_err("no space there")
    {
        Error::Io {
            errno: libc::ENOSPC,
            ..
        } => {}
        other => panic!("{other}"),
    }
    core.destroy_snapshots(&[snapshot], false)
        .expect("a failed send holds nothing");
}

#[test]
fn an_estimate_is_near_the_size_of_the_stream() {
    let (core, pool) = (core(), Pool::create());
    let (source, place) = mounted(&pool, "source");
    std::fs::write(place.join("a"), vec![1; 4 << 20]).expect("written");
    let one = taken(&source, "one");
    std::fs::write(place.join("b"), vec![1; 1 << 20]).expect("written");
    let two = taken(&source, "two");
    let bookmark = source.bookmark("one").expect("legal");
    core.bookmark(&[(bookmark.clone(), one.clone())])
        .expect("bookmarked");
    for from in [
        None,
        Some(SendSource::Snapshot(one.clone())),
        Some(SendSource::Bookmark(bookmark)),
    ] {
        let estimate = core
            .send_space(&two, from.as_ref(), PLAIN)
            .expect("estimated");
        let file = stream(core, &two, from.as_ref(), PLAIN);
        let size = file.metadata().expect("a file").len();
        assert!(
            (size * 9 / 10..size * 11 / 10).contains(&estimate),
            "{from:?}: {estimate} for {size}"
        );
    }
    assert_eq!(
        kind(core.send_space(&at(&source, "absent"), None, PLAIN)),
        ErrorKind::NotFound
    );
    let later = SendSource::Snapshot(two);
    assert_eq!(
        kind(core.send_space(&one, Some(&later), PLAIN)),
        ErrorKind::NotAncestor
    );
}

#[test]
fn a_receive_sets_the_properties_it_is_given() {
    let (core, pool) = (core(), Pool::create());
    let (source, _) = mounted(&pool, "source");
    let one = taken(&source, "one");
    let two = taken(&source, "two");
    let target = named(&pool, "target");
    let wanted = properties([
        ("canmount", "noauto"),
        ("mountpoint", "legacy"),
        ("refquota", "104857600"),
        ("compression", "zstd-fast-10"),
        ("terrarium:lineage", "0123"),
    ]);
    for (resumable, name) in [(false, "target"), (true, "resumable")] {
        let target = named(&pool, name);
        let options = ReceiveOptions {
            resumable,
            properties: wanted.clone(),
            ..Default::default()
        };
        let received = core.receive(&at(&target, "one"), &options, stream(core, &one, None, ALL));
        assert_eq!(received.expect("received").failed_properties, [""; 0]);
        for (property, value) in [
            ("canmount", "noauto"),
            ("mountpoint", "legacy"),
            ("refquota", "104857600"),
            ("compression", "zstd-fast-10"),
            ("terrarium:lineage", "0123"),
        ] {
            assert_eq!(get(target.as_str(), property), value);
            assert!(
                core.list(&target, &[]).expect("listed").datasets[0]
                    .local
                    .contains_key(property)
            );
        }
    }
    // One that the kernel refuses is named, and all else is received.
    let mut some = Properties::new();
    some.set_native("sync", PropertyValue::Number(77));
    some.set_native("atime", PropertyValue::Number(0));
    let options = ReceiveOptions {
        properties: some,
        ..Default::default()
    };
    let from = SendSource::Snapshot(one);
    let input = stream(core, &two, Some(&from), ALL);
    let received = core
        .receive(&at(&target, "two"), &options, input)
        .expect("received");
    assert_eq!(received.failed_properties, ["sync"]);
    assert_eq!(get(target.as_str(), "atime"), "off");
    assert_eq!(snapshots(&target), ["one", "two"]);
}
