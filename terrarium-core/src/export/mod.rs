//! Exports: the newest point of an instance goes into an archive.
//!
//! ```text
//! plan     the lineage, the newest snapshot, what the archive has of it → what to send, since what, and why
//! hold     the snapshot, until its manifest stands
//! origin   what the instance was cloned from, if its stream is to start there and the archive does not have it yet
//! send     into a pipe, out of which terrarium-s3 makes parts; what is stored already is in a journal
//! publish  the manifest, only if the sender and the stream both ended well
//! settle   a bookmark for the next increment; the hold goes
//! ```
//! There is no record of an export beside these: whatever is cut off, the next one sees what the archive lists and
//! what the pool holds, and goes on from there.

mod carry_out;
mod digest;
mod error;
mod journals;
mod origin;
mod plan;
mod send;

use jiff::Timestamp;
use serde::Serialize;
use terrarium_s3::Store;
use terrarium_s3::archive::{Archive, Catalog};
use terrarium_s3::crypto::HostKey;
use terrarium_s3::format::Lineage;
use terrarium_s3::pipeline::{Options, Stored};
use terrarium_zfs::{BookmarkName, Guid, SendFlags, SnapshotName};

use crate::instances::InstanceRecord;
use crate::inventory::Covered;
use crate::names::InstanceRef;
use crate::plan::{ChainPolicy, ExportDecision, Notice};
use crate::point::RestorePoint;

pub use error::ExportError;
pub use origin::ExportedOrigin;

/// The tag of the holds that exports put on snapshots.
pub const HOLD: &str = "terrarium-export";

/// What every stream is sent with, and so every chain.
pub const FLAGS: SendFlags = SendFlags {
    large_blocks: true,
    embedded: true,
    compressed: true,
    raw: false,
};

/// Where exports go, and how.
#[derive(Clone, Copy, Debug)]
pub struct ExportTo<'a, S> {
    /// The archive. That it is the one that this host agreed to is for the caller to check.
    pub archive: &'a Archive<S>,
    /// What it has. One listing serves all instances.
    pub catalog: &'a Catalog,
    /// What this host signs with, if the archive's points are signed.
    pub key: Option<&'a HostKey>,
    /// Go on with a lineage that another host has exported last.
    pub adopt: bool,
    /// Seal the digest of the snapshot's tree: a drill anywhere can then compare. It costs reading every file.
    pub digest: bool,
    /// When a chain ends.
    pub policy: ChainPolicy,
    /// How streams are cut and stored. The journal is chosen by the export itself.
    pub options: &'a Options,
}

impl<S: Store> ExportTo<'_, S> {
    /// The key to sign with.
    fn signing_key(&self) -> Result<Option<&HostKey>, ExportError> {
        let hosts = &self.archive.document().host_keys;
        if hosts.is_empty() {
            return Ok(None);
        }
        match self.key {
            Some(key) if hosts.contains(&key.verifying_key()) => Ok(Some(key)),
            key => Err(ExportError::MayNotSign {
                archive: self.archive.document().id,
                key: key.map(|key| Box::new(key.verifying_key())),
            }),
        }
    }
}

/// The history that an instance has in archives; `None` if it has none of its own.
pub fn lineage_of(covered: &Covered, record: &InstanceRecord) -> Option<Lineage> {
    plan::lineage(covered, record).ok()
}

/// What an export of one instance is going to do.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportPlan {
    /// The instance.
    pub instance: InstanceRef,
    /// The history that it is exported to; `None` if one is to be begun.
    pub lineage: Option<Lineage>,
    /// Why one is to be begun.
    pub new_lineage: Option<NewLineage>,
    /// The newest snapshot.
    pub snapshot: SnapshotName,
    /// When that was taken.
    pub created: Timestamp,
    /// What is to be done, and why.
    pub decision: ExportDecision,
    /// About how many bytes of stream it will send, if that can be told quickly.
    pub estimate: Option<u64>,
    /// A bookmark that an earlier export was to make.
    pub missing_bookmark: Option<BookmarkName>,
    /// What else is worth knowing.
    pub notices: Vec<Notice>,
    /// Snapshots with holds: one of ours may be among those.
    #[serde(skip)]
    held: Vec<SnapshotName>,
    #[serde(skip)]
    point: RestorePoint,
    #[serde(skip)]
    covered: Covered,
    #[serde(skip)]
    record: InstanceRecord,
}

impl ExportPlan {
    /// Whether there is nothing to do, neither to store nor to tidy up.
    pub fn is_settled(&self) -> bool {
        matches!(self.decision, ExportDecision::UpToDate { .. })
            && self.missing_bookmark.is_none()
            && self.held.is_empty()
    }

    /// What became of it if nothing was to be done.
    pub fn settled(&self) -> Exported {
        Exported {
            instance: self.instance.clone(),
            lineage: self.lineage,
            new_lineage: None,
            snapshot: self.snapshot.clone(),
            guid: self.point.guid,
            created: self.created,
            decision: self.decision.clone(),
            origin: None,
            stored: None,
            released: Vec::new(),
            notices: self.notices.clone(),
        }
    }
}

/// Why the history of an instance in archives begins anew.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "why", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NewLineage {
    /// It was never exported.
    #[error("it was never exported")]
    First,
    /// It is a copy: the dataset came from another instance, with that one's lineage.
    #[error("it is another instance than the one that was exported as {lineage}")]
    Copy {
        /// The other one's.
        lineage: Lineage,
    },
    /// What the dataset says is no lineage.
    #[error("its dataset says {found:?}, which is no lineage")]
    Illegible {
        /// What it says.
        found: String,
    },
}

/// What an export of one instance has done.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Exported {
    /// The instance.
    pub instance: InstanceRef,
    /// The history that it is in.
    pub lineage: Option<Lineage>,
    /// Why that was begun, if it was.
    pub new_lineage: Option<NewLineage>,
    /// The newest snapshot, which is in the archive now.
    pub snapshot: SnapshotName,
    /// Its guid.
    pub guid: Guid,
    /// When it was taken.
    pub created: Timestamp,
    /// What was done, and why.
    pub decision: ExportDecision,
    /// What the stream started from, if that was an image or another origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<ExportedOrigin>,
    /// What was stored; `None` if it was in the archive already.
    pub stored: Option<StoredStream>,
    /// Snapshots that an earlier export had left held.
    pub released: Vec<SnapshotName>,
    /// What else is worth knowing.
    pub notices: Vec<Notice>,
}

/// How much was stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoredStream {
    /// The size of the stream, in bytes.
    pub stream_bytes: u64,
    /// The size of all its parts as they are stored, in bytes.
    pub stored_bytes: u64,
    /// How many parts it has.
    pub parts: usize,
    /// How many of them an earlier export had stored that was cut off.
    pub reused_parts: usize,
}

impl StoredStream {
    fn of(stored: &Stored) -> Self {
        Self {
            stream_bytes: stored.stream_bytes,
            stored_bytes: stored.stored_bytes(),
            parts: stored.parts.len(),
            reused_parts: stored.reused,
        }
    }
}
