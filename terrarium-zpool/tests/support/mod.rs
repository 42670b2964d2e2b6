//! A pool file that goes away with the test.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::fs::File;
use std::io::Seek;
use std::path::{Path, PathBuf};
use std::time::Duration;

use terrarium_zfs::{SendFlags, SendSource, SnapshotName};
use terrarium_zpool::{Engine, Options};

/// The program as cargo built it, and limits that no test reaches unless it means to.
pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.program = Some(PathBuf::from(env!("CARGO_BIN_EXE_terrarium-zpool")));
    options.call_limit = Duration::from_secs(50);
    options
}

pub(crate) const SIZE: u64 = 128 << 20;

/// A folder and the pool `tank` in a file in it.
pub(crate) struct Scratch {
    // The engine goes first.
    pub(crate) engine: Engine,
    pub(crate) folder: tempfile::TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self::of_size(SIZE)
    }

    pub(crate) fn of_size(size: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = options()
            .create(&folder.path().join("pool"), "tank", size)
            .unwrap_or_else(|error| panic!("{error} {:?}", error.help()));
        Self { engine, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("pool")
    }
}

/// A stream, from its beginning.
pub(crate) fn sent(
    engine: &Engine,
    point: &SnapshotName,
    from: Option<SendSource>,
    flags: SendFlags,
) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    engine
        .send(point, from.as_ref(), flags, &file)
        .expect("sent");
    file.rewind().expect("a file");
    file
}
