//! A ZFS pool of a test's own.

use std::path::PathBuf;

use crate::guest::{zfs, zpool};
use crate::process::run;
use crate::{keep_for_a_look, next_number};

/// Where the pools' files are.
const DIRECTORY: &str = "/var/tmp";

/// A fresh pool in a file, destroyed when dropped (see `TERRARIUM_KEEP`).
///
/// Its name has every odd character that ZFS allows in a pool's name.
#[derive(Debug)]
pub struct Pool {
    name: String,
    file: PathBuf,
}

impl Pool {
    /// Makes a pool of half a gigabyte, which takes up room only as it is filled.
    ///
    /// # Panics
    /// If it cannot be made.
    #[track_caller]
    #[must_use]
    pub fn create() -> Self {
        Self::create_of_size(512 << 20)
    }

    /// Makes a pool in a file of this many bytes; ZFS wants 64 MiB at least.
    ///
    /// # Panics
    /// If it cannot be made.
    #[track_caller]
    #[must_use]
    pub fn create_of_size(bytes: u64) -> Self {
        crate::assert_in_guest();
        let number = format!("{}.{}", std::process::id(), next_number());
        let file = PathBuf::from(format!("{DIRECTORY}/pool-{number}.img"));
        std::fs::File::create(&file)
            .and_then(|file| file.set_len(bytes))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let name = format!("tp_a-b.c:1 x{number}");
        run("zpool")
            .args(["create", "-O", "mountpoint=none", &name])
            .arg(&file)
            .finish()
            .succeeds();
        Self { name, file }
    }

    /// The pool's name, which is its root dataset's too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The full name of a dataset in this pool: `pool.dataset("a/b")`.
    #[must_use]
    pub fn dataset(&self, path: &str) -> String {
        format!("{}/{path}", self.name)
    }

    /// Makes a dataset, with its parents, and gives its full name.
    ///
    /// # Panics
    /// If it cannot be made.
    #[track_caller]
    #[must_use]
    pub fn create_dataset(&self, path: &str) -> String {
        let dataset = self.dataset(path);
        zfs(["create", "-p", &dataset]);
        dataset
    }

    /// Writes out everything that is pending, so that space figures are current.
    ///
    /// # Panics
    /// If it cannot be done.
    #[track_caller]
    pub fn sync(&self) {
        zpool(["sync", &self.name]);
    }
}

impl Drop for Pool {
    #[allow(clippy::print_stderr, reason = "tells the person at the test run")]
    fn drop(&mut self) {
        if keep_for_a_look() {
            eprintln!("kept: pool '{}' in {}", self.name, self.file.display());
            return;
        }
        let destroyed = run("zpool").args(["destroy", "-f", &self.name]).finish();
        if destroyed.code() != Some(0) {
            eprintln!("not cleaned up: {destroyed}");
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.file) {
            eprintln!("not cleaned up: {}: {error}", self.file.display());
        }
    }
}
