//! Drills: whether a chain of streams brings back what was there.
//!
//! A stream that is whole can still bring back the wrong thing. A drill receives the chain into a scratch pool, reads
//! every file of the last snapshot, and compares what it finds with what is expected. It needs neither ZFS in the
//! kernel nor root, and leaves nothing behind.

#[cfg(feature = "archive")]
mod archived;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[cfg(feature = "archive")]
use terrarium_s3::{StoreError, format::OpenError, pipeline::ReadError};
#[cfg(feature = "archive")]
use terrarium_zfs::SnapshotName;
use terrarium_zfs::{ErrorKind, Guid};

use crate::error::Class;
use crate::scratch::{Scratch, ScratchError, ScratchOptions, Source};
use crate::tree::{Differences, TreeDigest, TreeListing, hash_snapshot};

#[cfg(feature = "archive")]
pub use archived::drill_archived;

/// How many paths a verdict names.
const NAMED: usize = 100;

/// What the last snapshot of the chain is to hold.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Nobody knows: all that is found out is whether it can be read.
    Unknown,
    /// A tree of this digest.
    Digest(TreeDigest),
    /// This tree. The verdict can then say where it differs.
    Tree(TreeListing),
}

/// What a drill has shown.
#[derive(Debug)]
pub enum Verdict {
    /// Everything was read, and is as expected.
    Equal,
    /// Everything was read, and something is not as expected: where, if the whole tree was known.
    Differs(Option<Differences>),
    /// Everything was read, and there was nothing to compare it with.
    Readable,
    /// It could not be read.
    Failed(DrillError),
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        matches!(self, Verdict::Equal | Verdict::Readable)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Equal => f.write_str("equal"),
            Verdict::Differs(None) => f.write_str("differs"),
            Verdict::Differs(Some(differences)) => {
                let first = differences.first.first();
                let path = first.map(|first| first.path().display().to_string());
                write!(f, "differs: {}", path.unwrap_or_default())?;
                match differences.in_all.saturating_sub(1) {
                    0 => Ok(()),
                    others => write!(f, " and {others} more"),
                }
            }
            Verdict::Readable => f.write_str("readable, not compared"),
            Verdict::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// Why a chain could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrillError {
    /// The chain could not be received.
    #[error(transparent)]
    Receive(#[from] ScratchError),
    /// The snapshot is of a volume, or was redacted.
    #[error("it has no files that could be read: it is a volume, or was redacted")]
    NoFiles,
    /// The snapshot is encrypted, and there is no key.
    #[error("it is encrypted, and without its key no file can be read")]
    Encrypted,
    /// Files or directories that are damaged in the snapshot itself: the first of them.
    #[error("{} cannot be read ({in_all} in all)", first.first().map(|path| path.display().to_string()).unwrap_or_default())]
    Damaged {
        /// Where they are.
        first: Vec<PathBuf>,
        /// How many there are.
        in_all: u64,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(terrarium_zfs::Error),
    /// The sealed section of a manifest cannot be opened.
    #[cfg(feature = "archive")]
    #[error("{snapshot}: {source}")]
    Sealed {
        /// The snapshot whose manifest it is.
        snapshot: SnapshotName,
        /// Why not.
        #[source]
        source: OpenError,
    },
    /// A stream cannot be read back from the archive. The error names the part, if one is to blame.
    #[cfg(feature = "archive")]
    #[error("{snapshot}: {source}")]
    Fetch {
        /// The snapshot whose stream it is.
        snapshot: SnapshotName,
        /// Why not.
        #[source]
        source: Box<ReadError>,
    },
}

impl DrillError {
    /// Whether it says something of the point: not if the archive, the engine or the room for the scratch pool is
    /// missing, or if the drill was ended before its time.
    pub fn is_of_the_point(&self) -> bool {
        match self {
            DrillError::Receive(ScratchError::Folder { .. } | ScratchError::Pool(_)) => false,
            DrillError::Receive(ScratchError::Receive { source, .. }) => {
                source.kind() != ErrorKind::NoSpace
            }
            error => error.class() == Class::Failed,
        }
    }

    /// What the error means for the caller: an archive or an engine that is not there shows nothing of the point.
    pub fn class(&self) -> Class {
        match self {
            DrillError::Receive(error) => error.class(),
            #[cfg(feature = "archive")]
            DrillError::Sealed { .. } => Class::Refused,
            #[cfg(feature = "archive")]
            DrillError::Fetch { source, .. } => match &**source {
                ReadError::Store {
                    source: StoreError::Unavailable { .. },
                    ..
                } => Class::Unavailable,
                _ => Class::Failed,
            },
            _ => Class::Failed,
        }
    }
}

/// What a drill has shown, and what it took.
#[derive(Debug)]
#[non_exhaustive]
pub struct DrillReport {
    /// What it has shown.
    pub verdict: Verdict,
    /// The guid of the last snapshot, as far as the chain was received.
    pub guid: Option<Guid>,
    /// The digest of what was read, if all of it could be.
    pub digest: Option<TreeDigest>,
    /// How many names were read, directories and the root among them.
    pub entries: u64,
    /// The sizes of all files, each counted once.
    pub bytes: u64,
    /// How long it took to receive the chain.
    pub received_in: Duration,
    /// How long it took to read the files.
    pub read_in: Duration,
}

/// Receives a chain of streams into a scratch pool, reads every file of its last snapshot, and compares.
///
/// `watch` is told the sum of the stream's bytes that were read, again and again; if it breaks, so does the drill.
/// Whatever goes wrong is a verdict.
pub fn drill(
    chain: Vec<Source<'_>>,
    expected: &Expected,
    options: &ScratchOptions,
    watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> DrillReport {
    let mut report = DrillReport::begun();
    let began = Instant::now();
    let received = Scratch::receive(chain, options, watch);
    report.received_in = began.elapsed();
    match received {
        Ok(scratch) => report.conclude(&scratch, expected),
        Err(error) => report.verdict = Verdict::Failed(error.into()),
    }
    report
}

impl DrillReport {
    fn begun() -> Self {
        Self {
            verdict: Verdict::Readable,
            guid: None,
            digest: None,
            entries: 0,
            bytes: 0,
            received_in: Duration::ZERO,
            read_in: Duration::ZERO,
        }
    }

    /// Reads what was received, and compares it.
    fn conclude(&mut self, scratch: &Scratch, expected: &Expected) {
        self.guid = Some(scratch.last().begin.to_guid());
        let began = Instant::now();
        let read = read(scratch, self);
        self.read_in = began.elapsed();
        self.verdict = match read {
            Ok(found) => compare(expected, &found),
            Err(error) => Verdict::Failed(error),
        };
    }
}

fn read(scratch: &Scratch, report: &mut DrillReport) -> Result<TreeListing, DrillError> {
    let tree = hash_snapshot(scratch.engine(), scratch.last().snapshot.as_str());
    let tree = tree.map_err(|error| match error.kind() {
        ErrorKind::NotSupported => DrillError::NoFiles,
        ErrorKind::KeyUnavailable => DrillError::Encrypted,
        _ => DrillError::Engine(error),
    })?;
    report.entries = tree.listing.len() as u64;
    report.bytes = tree.listing.bytes();
    if tree.damaged.is_empty() {
        report.digest = Some(tree.listing.digest());
        return Ok(tree.listing);
    }
    let in_all = tree.damaged.len() as u64;
    let mut first = tree.damaged;
    first.truncate(NAMED);
    Err(DrillError::Damaged { first, in_all })
}

fn compare(expected: &Expected, found: &TreeListing) -> Verdict {
    match expected {
        Expected::Unknown => Verdict::Readable,
        Expected::Digest(digest) if *digest == found.digest() => Verdict::Equal,
        Expected::Digest(_) => Verdict::Differs(None),
        Expected::Tree(tree) => {
            let differences = tree.differences(found, NAMED);
            if differences.in_all == 0 {
                Verdict::Equal
            } else {
                Verdict::Differs(Some(differences))
            }
        }
    }
}
