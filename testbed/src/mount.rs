//! Datasets mounted for a moment.

use std::path::{Path, PathBuf};

use crate::process::run;

/// A file system mounted in a directory of its own until dropped, whoever else has it
/// mounted.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts a dataset whose mount point is `legacy`.
    ///
    /// # Panics
    /// If it cannot be mounted.
    #[track_caller]
    #[must_use]
    pub fn of(dataset: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory").keep();
        let mount = run("mount").args(["-t", "zfs", dataset]);
        mount.arg(&directory).finish().succeeds();
        Self(directory)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    #[allow(clippy::print_stderr, reason = "tells the person at the test run")]
    fn drop(&mut self) {
        let unmounted = run("umount").arg(&self.0).finish();
        if unmounted.code() != Some(0) || std::fs::remove_dir(&self.0).is_err() {
            eprintln!("not cleaned up: {}: {unmounted}", self.0.display());
        }
    }
}
