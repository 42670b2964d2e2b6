//! Why a point could not be fetched.

use terrarium_s3::InvalidKey;
use terrarium_s3::format::{Lineage, OpenError};
use terrarium_s3::pipeline::ReadError;
use terrarium_zfs::{Guid, SnapshotName};

use crate::error::{Class, Error};
use crate::instances::InstancesError;
use crate::names::InstanceRef;

/// Why a point could not be fetched. Nothing that was here before is changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// ZFS, LXD or the request.
    #[error(transparent)]
    Host(#[from] Error),
    /// No point was asked for.
    #[error("there is no manifest that leads to a point")]
    Empty,
    /// The chain cannot lead to the point.
    #[error(
        "{snapshot} builds on the snapshot with guid {missing}, which is neither in the archive nor here"
    )]
    Incomplete {
        /// The snapshot whose stream needs it.
        snapshot: SnapshotName,
        /// What is missing.
        missing: Guid,
    },
    /// The instance of that name has another history.
    #[error(
        "{instance} here is not what was archived: its lineage is {here}, that of the point {archived}"
    )]
    OtherLineage {
        /// The instance.
        instance: InstanceRef,
        /// That of its dataset.
        here: String,
        /// That of the point.
        archived: Lineage,
    },
    /// The point cannot come to that storage pool.
    #[error("the storage pool {pool} {why}")]
    StoragePool {
        /// LXD's name of it.
        pool: String,
        /// Why not.
        why: String,
    },
    /// The sealed section of a manifest cannot be read.
    #[error("{snapshot}: {source}")]
    Sealed {
        /// The snapshot.
        snapshot: SnapshotName,
        /// What is wrong.
        #[source]
        source: OpenError,
    },
    /// The archive does not hold how LXD had the instance.
    #[error("how LXD had {instance} cannot be read from the archive: {why}")]
    NoDefinition {
        /// The instance.
        instance: InstanceRef,
        /// What is wrong.
        why: String,
    },
    /// A stream could not be read back whole.
    #[error("{snapshot}: {source}")]
    Read {
        /// The snapshot that it makes.
        snapshot: SnapshotName,
        /// What is wrong.
        #[source]
        source: Box<ReadError>,
    },
    /// A place in the archive that cannot be named.
    #[error(transparent)]
    Key(#[from] InvalidKey),
}

impl FetchError {
    /// What the error means for the caller.
    pub fn class(&self) -> Class {
        match self {
            Self::Host(error) => error.class(),
            Self::Empty
            | Self::Incomplete { .. }
            | Self::OtherLineage { .. }
            | Self::StoragePool { .. } => Class::Refused,
            Self::Read { source, .. } if is_transient(source) => Class::Unavailable,
            Self::NoDefinition { .. } | Self::Sealed { .. } | Self::Read { .. } | Self::Key(_) => {
                Class::Failed
            }
        }
    }

    /// What the caller can do about it, where there is something to do.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Host(error) => error.help(),
            Self::NoDefinition { instance, .. } => Some(format!(
                "create {instance} in LXD as it should be, and restore again: its contents are in the archive"
            )),
            Self::OtherLineage { instance, .. } => Some(format!(
                "restore it under another name (--as-new), or rename or delete {instance} first"
            )),
            Self::StoragePool { .. } => Some(
                "--pool says to which storage pool an instance comes that is not here".to_owned(),
            ),
            Self::Incomplete { .. } => {
                Some("`terrariumctl archive verify` shows which points are whole".to_owned())
            }
            _ => None,
        }
    }
}

impl From<InstancesError> for FetchError {
    fn from(error: InstancesError) -> Self {
        Self::Host(error.into())
    }
}

impl From<terrarium_zfs::Error> for FetchError {
    fn from(error: terrarium_zfs::Error) -> Self {
        Self::Host(error.into())
    }
}

fn is_transient(error: &ReadError) -> bool {
    matches!(error, ReadError::Store { source, .. } if source.is_transient())
}
