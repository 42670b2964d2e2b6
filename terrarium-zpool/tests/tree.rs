//! Trees: every kind of entry, as it was written, and in order.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::Scratch;
use terrarium_zfs::tree::{Device, Entry, Kind, Time};
use terrarium_zfs::{DatasetName, Error, ErrorKind, Properties, UserProperties};
use terrarium_zpool::{Content, Engine};

fn root() -> DatasetName {
    DatasetName::new("tank").expect("a legal name")
}

fn walked(engine: &Engine, object: &str, path: &str) -> Vec<Entry> {
    let mut walk = engine.walk(object, path, Content::Skip).expect("begun");
    let mut entries = Vec::new();
    while let Some(entry) = walk.next_entry().expect("an entry") {
        entries.push(entry);
    }
    entries
}

fn paths(entries: &[Entry]) -> Vec<String> {
    let shown = |entry: &Entry| entry.path.to_string_lossy().into_owned();
    entries.iter().map(shown).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(done: Result<T, Error>, kind: ErrorKind) {
    match done {
        Ok(done) => panic!("{kind:?} was expected, not {done:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

fn with_times(mut entry: Entry) -> Entry {
    let time = |seconds, nanoseconds| Time {
        seconds,
        nanoseconds,
    };
    entry.accessed = time(1, 2);
    entry.modified = time(-5, 999_999_999);
    entry.changed = time(1 << 40, 0);
    (entry.uid, entry.gid) = (1_000_000, u32::MAX - 1);
    entry
}

/// One of each kind, with everything an entry can have.
fn one_of_each() -> Vec<Entry> {
    let mut directory = Entry::new("dir", Kind::Directory, 0o1777);
    directory
        .attributes
        .insert(b"user.dir".to_vec(), b"yes".to_vec());
    let mut file = Entry::new("dir/file", Kind::File, 0o4755);
    file.attributes = BTreeMap::from([
        (b"user.a".to_vec(), b"".to_vec()),
        (b"security.capability".to_vec(), vec![0, 1, 255]),
        (b"user.large".to_vec(), vec![7; 20_000]),
    ]);
    let mut symlink = Entry::new("symlink", Kind::Symlink, 0o777);
    symlink.target = Some(PathBuf::from("../nowhere"));
    let mut long = Entry::new("symlink, long", Kind::Symlink, 0o777);
    long.target = Some(PathBuf::from("x/".repeat(2000)));
    let mut character = Entry::new("character", Kind::CharacterDevice, 0o600);
    character.device = Some(Device { major: 1, minor: 3 });
    let mut block = Entry::new("block", Kind::BlockDevice, 0o660);
    block.device = Some(Device {
        major: 4095,
        minor: 0xf_ffff,
    });
    let fifo = Entry::new("fifo", Kind::Fifo, 0o644);
    let socket = Entry::new("socket", Kind::Socket, 0o700);
    [
        directory, file, symlink, long, character, block, fifo, socket,
    ]
    .map(with_times)
    .into()
}

#[test]
fn every_kind_of_entry_is_read_as_it_was_written() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let mut tree = engine.write_tree(&root());
    let wanted = one_of_each();
    for entry in &wanted {
        tree.add(entry);
    }
    tree.finish().expect("written");
    let mut read = walked(engine, "tank", "");
    assert_eq!(read.remove(0).path, Path::new(""), "the root comes first");
    let in_order = [
        "block",
        "character",
        "dir",
        "dir/file",
        "fifo",
        "socket",
        "symlink",
        "symlink, long",
    ];
    assert_eq!(paths(&read), in_order);
    for wanted in wanted {
        let mut found = read
            .iter()
            .find(|entry| entry.path == wanted.path)
            .expect("it is there")
            .clone();
        assert!(found.object > 0);
        found.object = 0;
        let mut wanted = wanted;
        match wanted.kind {
            // Two and the number of entries; itself and its name.
            Kind::Directory => (wanted.size, wanted.links) = (3, 2),
            Kind::Symlink => {
                wanted.size = wanted.target.as_ref().unwrap().as_os_str().len() as u64;
            }
            _ => {}
        }
        assert_eq!(found, wanted);
    }
}

#[test]
fn a_second_name_leads_to_the_same_file() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    engine.write_file(&root(), "a", 0o644, b"content").unwrap();
    engine.create_directory(&root(), "dir", 0o755).unwrap();
    let mut tree = engine.write_tree(&root());
    tree.link("dir/b", "a");
    tree.finish().expect("linked");
    let entries = walked(engine, "tank", "");
    assert_eq!(paths(&entries), ["", "a", "dir", "dir/b"]);
    let (a, b) = (&entries[1], &entries[3]);
    assert_eq!((a.object, a.links), (b.object, 2));
    assert!(a.has_other_names());
    assert_eq!(
        engine.read_file("tank", "dir/b", 100).unwrap().as_deref(),
        Some(&b"content"[..])
    );
    let mut tree = engine.write_tree(&root());
    tree.link("c", "dir");
    refused(tree.finish(), ErrorKind::InvalidArgument);
    refused(
        engine.write_file(&root(), "a", 0o644, b"new"),
        ErrorKind::NotSupported,
    );
}

#[test]
fn names_may_be_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let names: [&[u8]; 6] = [b"\xff\xfe", b"\n", b" ", b"-rf", b"a\\b", &[b'x'; 255]];
    let mut tree = engine.write_tree(&root());
    for name in names {
        let path = Path::new(std::ffi::OsStr::from_bytes(name));
        tree.add(&Entry::new(path, Kind::File, 0o644));
    }
    tree.finish().expect("written");
    let mut wanted = names.to_vec();
    wanted.sort_unstable();
    let entries = walked(engine, "tank", "");
    let found: Vec<_> = entries[1..]
        .iter()
        .map(|entry| entry.path.as_os_str().as_bytes())
        .collect();
    assert_eq!(found, wanted, "in the order of their bytes");
}

#[test]
fn a_walk_can_begin_anywhere() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    for path in ["a", "a/b", "a/b/c"] {
        engine.create_directory(&root(), path, 0o755).unwrap();
    }
    engine.write_file(&root(), "a/b/c/d", 0o644, b"d").unwrap();
    engine.write_file(&root(), "a/x", 0o644, b"x").unwrap();
    let from = |path| paths(&walked(engine, "tank", path));
    assert_eq!(from("a/b"), ["a/b", "a/b/c", "a/b/c/d"]);
    assert_eq!(from("/a//b/"), ["a/b", "a/b/c", "a/b/c/d"]);
    assert_eq!(from("a/x"), ["a/x"]);
    assert_eq!(from("a/x/y"), [""; 0], "it leads nowhere");
    assert_eq!(from("b"), [""; 0]);
    let mut one = engine.walk_one("tank", "a/b", Content::Skip).unwrap();
    assert!(one.next_entry().unwrap().is_some());
    assert!(one.next_entry().unwrap().is_none());
    assert!(one.next_entry().unwrap().is_none());
}

#[test]
fn a_walk_of_what_is_not_there_is_an_error() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    for object in ["tank/absent", "tank@absent", "other"] {
        let mut walk = engine.walk(object, "", Content::Read).unwrap();
        refused(walk.next_entry(), ErrorKind::NotFound);
        assert!(walk.next_entry().unwrap().is_none(), "there is no more");
    }
}

/// Holes of a snapshot are not told, whatever the file's size.
#[test]
fn content_is_told_in_pieces_without_holes() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let mut sparse = Entry::new("sparse", Kind::File, 0o644);
    sparse.size = 1 << 40;
    let mut tree = engine.write_tree(&root());
    tree.add(&sparse);
    tree.content(5 << 20, b"five");
    tree.content((1 << 40) - 4, b"last");
    tree.finish().expect("written");
    let point = root().snapshot("s").unwrap();
    engine
        .snapshot(&[(point.clone(), UserProperties::new())])
        .unwrap();

    let mut walk = engine
        .walk_one(point.as_str(), "sparse", Content::Read)
        .unwrap();
    let entry = walk.next_entry().unwrap().expect("it is there");
    assert_eq!(entry.size, 1 << 40);
    let mut found = Vec::new();
    let mut told = 0;
    while let Some((offset, bytes)) = walk.next_content().unwrap() {
        told += bytes.len();
        let text = bytes.iter().position(|&byte| byte != 0);
        if let Some(at) = text {
            let text = bytes[at..at + 4].to_vec();
            found.push((offset + at as u64, text));
        }
    }
    assert_eq!(
        found,
        [
            (5 << 20, b"five".to_vec()),
            ((1 << 40) - 4, b"last".to_vec())
        ]
    );
    assert!(told <= 1 << 20, "{told} bytes were told");
}

#[test]
fn content_that_nobody_asks_for_is_passed_over() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    for name in ["a", "b"] {
        engine
            .write_file(&root(), name, 0o644, &vec![1; 3 << 20])
            .unwrap();
    }
    let mut walk = engine.walk("tank", "", Content::Read).unwrap();
    let mut names = Vec::new();
    while let Some(entry) = walk.next_entry().unwrap() {
        names.push(entry.path.to_string_lossy().into_owned());
        if entry.kind == Kind::File {
            assert!(walk.next_content().unwrap().is_some());
        }
    }
    assert_eq!(names, ["", "a", "b"]);
}

/// It leaves nothing behind that keeps a dataset busy.
#[test]
fn a_walk_can_be_dropped_at_any_time() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let name = DatasetName::new("tank/a").unwrap();
    engine.create(&name, &Properties::new()).unwrap();
    engine
        .write_file(&name, "large", 0o644, &vec![1; 30 << 20])
        .unwrap();
    let mut walk = engine.walk(name.as_str(), "", Content::Read).unwrap();
    walk.next_entry().unwrap();
    walk.next_entry().unwrap();
    refused(engine.destroy(&name), ErrorKind::Busy);
    drop(walk);
    engine.destroy(&name).expect("nobody is in it any more");
}

/// A walk that nobody reads on with keeps nobody else from working.
#[test]
fn others_go_on_while_a_walk_stands_still() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    engine
        .write_file(&root(), "large", 0o644, &vec![1; 10 << 20])
        .unwrap();
    let mut walk = engine.walk("tank", "", Content::Read).unwrap();
    walk.next_entry().unwrap();
    let name = DatasetName::new("tank/b").unwrap();
    engine.create(&name, &Properties::new()).unwrap();
    engine.write_file(&name, "file", 0o644, b"x").unwrap();
    let point = name.snapshot("s").unwrap();
    engine.snapshot(&[(point, UserProperties::new())]).unwrap();
    let mut again = engine.walk("tank", "", Content::Read).unwrap();
    while again.next_entry().unwrap().is_some() {}
    while walk.next_entry().unwrap().is_some() {}
}

#[test]
fn a_walk_ends_with_an_error_if_the_engine_does() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    engine
        .write_file(&root(), "large", 0o644, &vec![1; 30 << 20])
        .unwrap();
    let mut walk = engine.walk("tank", "", Content::Read).unwrap();
    walk.next_entry().unwrap();
    let id = nix::unistd::Pid::from_raw(engine.process_id().try_into().unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL).unwrap();
    let error = loop {
        match walk.next_entry() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("half a tree was taken for a whole one"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::EngineLost { .. }), "{error}");
}

#[test]
fn a_tree_that_cannot_be_written_says_at_which_path() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let write = |path: &str, kind: Kind| {
        let mut tree = engine.write_tree(&root());
        tree.add(&Entry::new("before", Kind::File, 0o644));
        tree.add(&Entry::new(path, kind, 0o644));
        for n in 0..100_000 {
            tree.add(&Entry::new(format!("after {n}"), Kind::File, 0o644));
        }
        tree.finish()
    };
    let error = write("absent/file", Kind::File).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot write tank: absent/file: it does not exist"
    );
    refused(write("before/file", Kind::File), ErrorKind::InvalidArgument);
    refused(write("before", Kind::Directory), ErrorKind::Exists);
    refused(write("..", Kind::Directory), ErrorKind::InvalidArgument);
    refused(write("", Kind::File), ErrorKind::InvalidArgument);
    refused(write("link", Kind::Symlink), ErrorKind::InvalidArgument);
    refused(write(&"x".repeat(256), Kind::File), ErrorKind::TooLarge);
    assert_eq!(
        paths(&walked(engine, "tank", "")),
        ["", "before"],
        "what came before stays, nothing after it is written"
    );
    let mut small = Entry::new("small", Kind::File, 0o644);
    small.size = 3;
    let mut tree = engine.write_tree(&root());
    tree.add(&small);
    tree.content(0, b"four");
    refused(tree.finish(), ErrorKind::InvalidArgument);
    let mut tree = engine.write_tree(&DatasetName::new("tank/absent").unwrap());
    tree.add(&small);
    refused(tree.finish(), ErrorKind::NotFound);
}

#[test]
fn many_files_are_written_and_read_in_one_go() {
    let scratch = Scratch::of_size(1 << 30);
    let engine = &scratch.engine;
    let mut tree = engine.write_tree(&root());
    for directory in 0..20 {
        let name = format!("{directory:02}");
        tree.add(&Entry::new(&name, Kind::Directory, 0o755));
        for n in 0..1000 {
            let mut file = Entry::new(format!("{name}/{n:03}"), Kind::File, 0o644);
            let content = format!("{directory} {n}");
            file.size = content.len() as u64;
            tree.add(&file);
            tree.content(0, content.as_bytes());
        }
    }
    tree.finish().expect("written");
    let mut walk = engine.walk("tank", "", Content::Read).unwrap();
    let mut files = 0;
    while let Some(entry) = walk.next_entry().unwrap() {
        if entry.kind == Kind::File {
            files += 1;
            let (offset, content) = walk.next_content().unwrap().expect("content");
            assert_eq!((offset, content.len() as u64), (0, entry.size));
        }
    }
    assert_eq!(files, 20_000);
}
