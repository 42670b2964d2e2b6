//! The handle that all calls go through.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::error::{Attempt, BatchError, Error};
use crate::listing::{Bookmark, Listing};
use crate::names::{BookmarkName, DatasetName, SnapshotName};
use crate::properties::{Properties, UserProperties};

/// ZFS on this machine, through libzfs_core.
#[derive(Clone, Debug)]
pub struct ZfsCore {}

/// What a stream may contain (zfs-send(8)). Pinned for a chain of increments: changing
/// `large_blocks` between two of them loses data on old receivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendFlags {
    /// Blocks above 128 KiB (`-L`).
    pub large_blocks: bool,
    /// Blocks embedded in block pointers (`-e`).
    pub embedded: bool,
    /// Blocks compressed as they are on disk (`-c`).
    pub compressed: bool,
    /// Encrypted datasets as they are on disk, without their key (`-w`).
    pub raw: bool,
}

/// Where an incremental stream starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendSource {
    /// A snapshot of the same dataset, or of an origin it was cloned from.
    Snapshot(SnapshotName),
    /// A bookmark of such a snapshot.
    Bookmark(BookmarkName),
}

/// How to receive a stream.
#[derive(Clone, Debug, Default)]
pub struct ReceiveOptions {
    /// The local snapshot that a stream of a clone builds on.
    pub origin: Option<SnapshotName>,
    /// Roll the target back, or replace it, if it is in the way (`-F`): *loses data there*.
    pub force: bool,
    /// Keep what has arrived if the stream breaks off, and make a resume token (`-s`).
    pub resumable: bool,
    /// Properties to set on the received dataset (`-o`).
    pub properties: Properties,
}

/// What a receive did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Bytes of stream read.
    pub bytes: u64,
}

/// The state of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolHealth {
    /// Whether its devices are there.
    pub state: PoolState,
    /// Whether it is imported read-only.
    pub readonly: bool,
    /// Bytes that can still be written to its root dataset.
    pub free: u64,
}

impl PoolHealth {
    /// The state of a pool, as a test double reports it.
    pub fn new(state: PoolState, readonly: bool, free: u64) -> Self {
        Self {
            state,
            readonly,
            free,
        }
    }
}

/// Whether a pool's devices are there (zpoolconcepts(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
#[serde(rename_all = "lowercase")]
pub enum PoolState {
    /// All is well.
    Online,
    /// Works with lost redundancy.
    Degraded,
    /// Too many devices are lost or damaged.
    Faulted,
    /// A device was taken offline by hand.
    Offline,
    /// A device was removed while in use.
    Removed,
    /// A device cannot be opened.
    Unavailable,
    /// Input and output stand still until the devices are back.
    Suspended,
}

#[expect(
    unused_variables,
    missing_docs,
    reason = "the surface stands, the calls follow"
)]
impl ZfsCore {
    pub fn open() -> Result<Self, Error> {
        missing("open", "libzfs_core")
    }
    pub fn list(&self, root: &DatasetName) -> Result<Listing, Error> {
        missing("list", root.as_str())
    }
    pub fn create(&self, name: &DatasetName, properties: &Properties) -> Result<(), Error> {
        missing("create", name.as_str())
    }
    pub fn snapshot(
        &self,
        names: &[SnapshotName],
        properties: &UserProperties,
    ) -> Result<(), BatchError> {
        missing_batch("snapshot")
    }
    pub fn snapshot_each(
        &self,
        snapshots: &[(SnapshotName, UserProperties)],
    ) -> Result<(), BatchError> {
        missing_batch("snapshot")
    }
    pub fn destroy_snapshots(&self, names: &[SnapshotName], defer: bool) -> Result<(), BatchError> {
        missing_batch("destroy")
    }
    pub fn hold(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError> {
        missing_batch("hold")
    }
    pub fn release(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError> {
        missing_batch("release")
    }
    pub fn holds(&self, snapshot: &SnapshotName) -> Result<BTreeMap<String, i64>, Error> {
        missing("list holds of", snapshot.as_str())
    }
    pub fn bookmark(&self, bookmarks: &[(BookmarkName, SnapshotName)]) -> Result<(), BatchError> {
        missing_batch("bookmark")
    }
    pub fn bookmarks(&self, dataset: &DatasetName) -> Result<Vec<Bookmark>, Error> {
        missing("list bookmarks of", dataset.as_str())
    }
    pub fn destroy_bookmarks(&self, names: &[BookmarkName]) -> Result<(), BatchError> {
        missing_batch("destroy")
    }
    pub fn clone_snapshot(
        &self,
        target: &DatasetName,
        origin: &SnapshotName,
        properties: &Properties,
    ) -> Result<(), Error> {
        missing("clone", target.as_str())
    }
    pub fn promote(&self, dataset: &DatasetName) -> Result<(), Error> {
        missing("promote", dataset.as_str())
    }
    pub fn check_promote(&self, dataset: &DatasetName) -> Result<(), Error> {
        missing("promote", dataset.as_str())
    }
    pub fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<(), Error> {
        missing("rename", from.as_str())
    }
    pub fn destroy(&self, dataset: &DatasetName) -> Result<(), Error> {
        missing("destroy", dataset.as_str())
    }
    pub fn rollback(&self, dataset: &DatasetName) -> Result<SnapshotName, Error> {
        missing("roll back", dataset.as_str())
    }
    pub fn rollback_to(&self, snapshot: &SnapshotName) -> Result<(), Error> {
        missing("roll back to", snapshot.as_str())
    }
    pub fn set_user_properties(
        &self,
        object: &str,
        properties: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Error> {
        missing("set properties of", object)
    }
    pub fn send(
        &self,
        snapshot: &SnapshotName,
        from: Option<&SendSource>,
        flags: SendFlags,
        output: impl AsFd,
    ) -> Result<(), Error> {
        missing("send", snapshot.as_str())
    }
    pub fn send_resume(&self, token: &str, output: impl AsFd) -> Result<(), Error> {
        missing("send", token)
    }
    pub fn send_space(
        &self,
        snapshot: &SnapshotName,
        from: Option<&SendSource>,
        flags: SendFlags,
    ) -> Result<u64, Error> {
        missing("estimate", snapshot.as_str())
    }
    pub fn receive(
        &self,
        snapshot: &SnapshotName,
        options: &ReceiveOptions,
        input: impl AsFd,
    ) -> Result<Received, Error> {
        missing("receive", snapshot.as_str())
    }
    pub fn pool_health(&self, pool: &str) -> Result<PoolHealth, Error> {
        missing("examine pool", pool)
    }
    pub fn read_file(
        &self,
        dataset: &DatasetName,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        missing("read a file of", dataset.as_str())
    }
}

fn missing<T>(operation: &'static str, object: &str) -> Result<T, Error> {
    let attempt = Attempt::new(operation, object);
    Err(Error::Unavailable {
        attempt,
        reason: "not built yet".to_owned(),
    })
}

fn missing_batch(operation: &'static str) -> Result<(), BatchError> {
    missing(operation, "").map_err(|error| BatchError::whole(operation, "", error))
}
