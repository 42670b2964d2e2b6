//! Why a chain could not be received.

use std::io;
use std::path::PathBuf;

use terrarium_zfs::stream::StreamError;
use terrarium_zfs::{ErrorKind, Guid};
use terrarium_zpool::OpenError;

use crate::error::Class;

/// Why a chain of streams could not be received into a scratch pool. Streams are called what their
/// [`Source`](super::Source) calls them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScratchError {
    /// There is no stream.
    #[error("there is no stream to receive")]
    NoStreams,
    /// A stream cannot be read.
    #[error("cannot read {stream}: {source}")]
    Read {
        /// The stream.
        stream: String,
        /// What the system said.
        source: io::Error,
    },
    /// A stream is damaged, cut short, followed by something else, or none at all.
    #[error("{stream}: {source}")]
    Damaged {
        /// The stream.
        stream: String,
        /// What is wrong, and where.
        #[source]
        source: StreamError,
    },
    /// A package of streams (`zfs send -R`, `-I` or `-p`) that is in no file.
    #[error("{stream}: that is a package of streams, not the stream of one snapshot")]
    Package {
        /// The stream.
        stream: String,
    },
    /// The rest of an interrupted stream (`zfs send -t`).
    #[error("{stream}: that is the rest of an interrupted stream, which only its receiver can use")]
    Rest {
        /// The stream.
        stream: String,
    },
    /// An incremental stream, and none before it makes what it starts from.
    #[error(
        "{stream} does not fit: it starts from the snapshot with guid {from}, which no stream before it makes"
    )]
    NoSource {
        /// The stream.
        stream: String,
        /// The guid of the snapshot that it starts from.
        from: Guid,
    },
    /// A stream that does not lead to the last one.
    #[error("{stream} does not fit: {last} does not build on it")]
    Unrelated {
        /// The stream.
        stream: String,
        /// The last stream of the chain.
        last: String,
    },
    /// Two streams make the same snapshot.
    #[error("{stream} does not fit: {other} makes the snapshot with guid {guid} too")]
    Twice {
        /// The second one.
        stream: String,
        /// The first one.
        other: String,
        /// The guid of the snapshot.
        guid: Guid,
    },
    /// The folder for the scratch pool cannot be written to.
    #[error("cannot make a scratch pool in {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The scratch pool cannot be made: the engine is missing, or the disk is full.
    #[error(transparent)]
    Pool(#[from] OpenError),
    /// The engine refused a stream whose checksums are right, or failed.
    #[error("{stream}: {source}")]
    Receive {
        /// The stream.
        stream: String,
        /// What the engine answered.
        #[source]
        source: terrarium_zfs::Error,
    },
    /// Whoever watched wanted no more.
    #[error("interrupted; nothing is left behind")]
    Interrupted,
}

impl ScratchError {
    /// What the error means for the caller.
    pub fn class(&self) -> Class {
        match self {
            ScratchError::NoStreams => Class::Usage,
            ScratchError::Package { .. }
            | ScratchError::Rest { .. }
            | ScratchError::NoSource { .. }
            | ScratchError::Unrelated { .. }
            | ScratchError::Twice { .. } => Class::Refused,
            ScratchError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Class::Refused
            }
            ScratchError::Pool(
                OpenError::Program { .. }
                | OpenError::Unavailable { .. }
                | OpenError::WrongVersion { .. },
            ) => Class::Unavailable,
            ScratchError::Interrupted => Class::Interrupted,
            _ => Class::Failed,
        }
    }

    /// What to do about it, where there is something to do.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            ScratchError::NoSource { .. } => {
                "give all streams of the chain, the full one first, in the order in which they were sent"
            }
            ScratchError::Package { .. } => "put it into a file first",
            ScratchError::Folder { .. } => "name another folder for the scratch pool",
            ScratchError::Pool(error) if self.is_disk_full(error) => {
                "name a folder with more room for the scratch pool"
            }
            ScratchError::Pool(error) => return error.help(),
            ScratchError::Receive { source, .. } if source.kind() == ErrorKind::NoSpace => {
                return None;
            }
            ScratchError::Receive { source, .. } => return source.help(),
            _ => return None,
        })
    }

    fn is_disk_full(&self, error: &OpenError) -> bool {
        matches!(error, OpenError::Zfs(error) if error.kind() == ErrorKind::NoSpace)
    }
}
