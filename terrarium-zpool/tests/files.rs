//! Files and directories of a dataset.

mod support;

use support::Scratch;
use terrarium_zfs::{DatasetName, ErrorKind, Properties, UserProperties};
use terrarium_zpool::Engine;

fn root() -> DatasetName {
    DatasetName::new("tank").expect("a legal name")
}

fn read(engine: &Engine, path: &str) -> Option<Vec<u8>> {
    engine.read_file("tank", path, 1 << 30).expect("read")
}

#[track_caller]
fn refused<T: std::fmt::Debug>(done: Result<T, terrarium_zfs::Error>, kind: ErrorKind) {
    match done {
        Ok(done) => panic!("{kind:?} was expected, not {done:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

/// Around the sizes where a file gets another block.
#[test]
fn a_file_of_any_size_is_read_as_it_was_written() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    for size in [
        0,
        1,
        511,
        512,
        513,
        131_071,
        131_072,
        131_073,
        1 << 20,
        3_333_333,
    ] {
        let content: Vec<u8> = (0..size).map(|n: usize| (n % 251) as u8).collect();
        engine
            .write_file(&root(), "file", 0o600, &content)
            .expect("written");
        assert!(read(engine, "file") == Some(content), "{size} bytes");
    }
}

#[test]
fn directories_hold_files_and_directories() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    engine.create_directory(&root(), "a b", 0o755).unwrap();
    engine.create_directory(&root(), "a b/ü", 0o755).unwrap();
    for n in 0..300 {
        let path = format!("a b/ü/{n}");
        let content = n.to_string();
        engine
            .write_file(&root(), &path, 0o644, content.as_bytes())
            .unwrap();
    }
    assert_eq!(read(engine, "a b/ü/299"), Some(b"299".to_vec()));
    assert_eq!(read(engine, "/a b//ü/7"), Some(b"7".to_vec()));
    assert_eq!(read(engine, "a b/ü/300"), None);
    assert_eq!(read(engine, "a b/ü/7/8"), None, "a file is no directory");
    assert_eq!(read(engine, "a b/ü"), None, "a directory is no file");
}

#[test]
fn a_file_is_refused_where_it_cannot_be() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    engine.create_directory(&root(), "dir", 0o755).unwrap();
    engine.write_file(&root(), "file", 0o644, b"x").unwrap();
    let write = |path: &str| engine.write_file(&root(), path, 0o644, b"y");
    refused(write("absent/file"), ErrorKind::NotFound);
    refused(write("file/file"), ErrorKind::InvalidArgument);
    refused(write("dir"), ErrorKind::InvalidArgument);
    refused(write("dir/"), ErrorKind::InvalidArgument);
    refused(write(".."), ErrorKind::InvalidArgument);
    refused(write(&"x".repeat(256)), ErrorKind::TooLarge);
    refused(
        engine.create_directory(&root(), "dir", 0o755),
        ErrorKind::Exists,
    );
    refused(
        engine.create_directory(&root(), "file", 0o755),
        ErrorKind::Exists,
    );
    assert_eq!(read(engine, "file"), Some(b"x".to_vec()));
}

/// And can be written to again once there is room.
#[test]
fn a_full_pool_refuses_a_file_and_keeps_the_old_one() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let mut plain = Properties::new();
    plain.set("compression", "off").unwrap();
    let name = DatasetName::new("tank/plain").unwrap();
    engine.create(&name, &plain).unwrap();
    engine.write_file(&name, "file", 0o644, b"old").unwrap();
    let large = vec![1; 40 << 20];
    let mut written = 0;
    let error = loop {
        match engine.write_file(&name, &format!("large {written}"), 0o644, &large) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(written > 0);
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    refused(
        engine.write_file(&name, "file", 0o644, &large),
        ErrorKind::NoSpace,
    );
    let old = engine.read_file(name.as_str(), "file", 10).unwrap();
    assert_eq!(old.as_deref(), Some(&b"old"[..]));

    engine.destroy(&name).expect("destroyed");
    let point = root().snapshot("s").unwrap();
    engine
        .snapshot(&[(point, UserProperties::new())])
        .expect("there is room again");
}

#[test]
fn an_occupied_dataset_is_not_written_to() {
    let scratch = Scratch::new();
    let engine = &scratch.engine;
    let name = DatasetName::new("tank/a").unwrap();
    engine.create(&name, &Properties::new()).unwrap();
    let occupied = engine.occupy(&name).expect("occupied");
    refused(engine.occupy(&name), ErrorKind::Busy);
    refused(
        engine.write_file(&name, "file", 0o644, b"x"),
        ErrorKind::Busy,
    );
    drop(occupied);
    engine.write_file(&name, "file", 0o644, b"x").unwrap();
}
