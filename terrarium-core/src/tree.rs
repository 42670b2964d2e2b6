//! Trees of files: what they hold, told by one digest, and where two of them differ.
//!
//! The digest is the same wherever a tree is read: out of a snapshot by the embedded engine, or where the
//! snapshot is mounted. It covers, for every name: path, kind, mode, owner, group, time of modification, extended
//! attributes, target of a symbolic link, number of a device, content, and which names lead to the same file. It
//! does not cover what reading and restoring change: times of access and change, and where a file has holes.

mod digest;
mod directory;

pub use digest::{Difference, Differences, EntryHash, TreeDigest, TreeHasher, TreeListing};
pub use directory::{DirectoryError, hash_directory};

use std::path::PathBuf;

/// The tree of a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// ZFS does not give access to it.
    #[error(transparent)]
    Zfs(#[from] terrarium_zfs::Error),
    /// A file of it cannot be read where it is mounted.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file or directory of it is damaged: the first one.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Where it is in the tree.
        path: PathBuf,
    },
}

#[cfg(feature = "embedded")]
mod engine;
#[cfg(feature = "embedded")]
pub use engine::{EngineTree, hash_snapshot};
