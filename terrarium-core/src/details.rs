//! The parts of an operation that may hold secrets: LXD's definitions, in files that only root reads.
//!
//! Written and synced before the operation's first change, read by its recovery and by an undo. A file that
//! is lost costs the records' configs, never data: ZFS properties hold everything else.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use terrarium_zfs::Guid;

use crate::instances::{Definition, SnapshotRecord};
use crate::names::OperationId;

/// What LXD had on record about an instance when an operation began.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// The instance's own definition; for a new instance, the one it is created with.
    pub definition: Definition,
    /// LXD's snapshot records of the instance.
    pub records: Vec<SavedRecord>,
    /// Records that are to be made for snapshots that come back to the instance.
    pub records_to_make: Vec<SnapshotRecord>,
}

/// An LXD snapshot record together with the ZFS snapshot it stands for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SavedRecord {
    /// The guid of the ZFS snapshot `@snapshot-<name>`; `None` if there was none.
    pub guid: Option<Guid>,
    /// LXD's record.
    pub record: SnapshotRecord,
}

/// The directory that holds one file for each operation that can still be recovered or undone.
#[derive(Clone, Debug)]
pub struct DetailsDir {
    path: PathBuf,
}

impl DetailsDir {
    /// The directory at `path`; it is created, for root only, when the first file is written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Writes the details of an operation; after the return they outlast a crash of the host.
    ///
    /// # Errors
    /// [`io::Error`] if the directory or file cannot be written.
    pub fn save(&self, operation: &OperationId, details: &Details) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(details)?;
        write_in_full(&self.path, &self.file(operation), &text)
    }

    /// Reads the details of an operation; `None` if there are none.
    ///
    /// # Errors
    /// [`io::Error`] if the file is there and cannot be read or makes no sense.
    pub fn load(&self, operation: &OperationId) -> io::Result<Option<Details>> {
        match fs::read(self.file(operation)) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the details of an operation, if there are any.
    ///
    /// # Errors
    /// [`io::Error`] if the file is there and cannot be removed.
    pub fn remove(&self, operation: &OperationId) -> io::Result<()> {
        match fs::remove_file(self.file(operation)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Where the files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, operation: &OperationId) -> PathBuf {
        self.path.join(format!("{operation}.json"))
    }
}

/// Writes a file of a folder that only root reads, so that it is there in full or as it was, and outlasts a crash of the
/// host.
pub(crate) fn write_in_full(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn details_are_read_back_and_only_root_may_read_them() {
        let parent = tempfile::tempdir().unwrap();
        let dir = DetailsDir::new(parent.path().join("operations"));
        let operation = OperationId::new("op-1").unwrap();
        let mut details = Details::default();
        details
            .definition
            .config
            .insert("user.secret".to_owned(), "hunter2".to_owned());

        assert_eq!(dir.load(&operation).unwrap(), None);
        dir.save(&operation, &details).unwrap();
        assert_eq!(dir.load(&operation).unwrap(), Some(details));

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(mode(&dir.file(&operation)), 0o600);

        dir.remove(&operation).unwrap();
        dir.remove(&operation).unwrap();
        assert_eq!(dir.load(&operation).unwrap(), None);
    }
}
