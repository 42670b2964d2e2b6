//! Why an instance was not exported.

use terrarium_s3::StoreError;
use terrarium_s3::archive::ArchiveError;
use terrarium_s3::crypto::VerifyingKey;
use terrarium_s3::format::{ArchiveId, Lineage};
use terrarium_s3::pipeline::{PublishError, WriteError};
use terrarium_zfs::SnapshotName;

use crate::error::{Class, Error};
use crate::names::InstanceRef;
use crate::tree::TreeError;

/// An instance was not exported. The archive lists nothing of it that is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The instance, LXD or ZFS.
    #[error(transparent)]
    Host(#[from] Error),
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive takes points of other hosts only.
    #[error("the archive {archive} has no host key of this host{}", Named(key))]
    MayNotSign {
        /// The archive.
        archive: ArchiveId,
        /// This host's key, if it has one.
        key: Option<Box<VerifyingKey>>,
    },
    /// Another host has the same history, and exported last.
    #[error(
        "{instance}: the newest point of the lineage {lineage} was exported by another host: {key}"
    )]
    ForeignHost {
        /// The instance.
        instance: InstanceRef,
        /// The history.
        lineage: Lineage,
        /// The other one's key.
        key: Box<VerifyingKey>,
    },
    /// Its files cannot be read for the digest.
    #[error("cannot export {snapshot}: no digest of its files can be made")]
    Tree {
        /// What was to be sent.
        snapshot: SnapshotName,
        /// Why not.
        #[source]
        source: TreeError,
    },
    /// ZFS did not send all of the stream.
    #[error("cannot export {snapshot}: the stream was not sent to its end")]
    Send {
        /// What was sent.
        snapshot: SnapshotName,
        /// Why not.
        #[source]
        source: terrarium_zfs::Error,
    },
    /// The stream was not stored.
    #[error("cannot export {snapshot}")]
    Write {
        /// What was sent.
        snapshot: SnapshotName,
        /// Why not.
        #[source]
        source: Box<WriteError>,
    },
    /// The stream is stored, but its manifest is not.
    #[error("cannot export {snapshot}: it is stored, but not listed")]
    Publish {
        /// What was sent.
        snapshot: SnapshotName,
        /// Why not.
        #[source]
        source: Box<PublishError>,
    },
    /// The point is in the archive; what belongs to it here is not as it should be.
    #[error("{snapshot} is in the archive, but not all is settled here")]
    Unsettled {
        /// The point.
        snapshot: SnapshotName,
        /// Why not.
        #[source]
        source: Box<Error>,
    },
}

impl ExportError {
    /// What the error means for the caller.
    pub fn class(&self) -> Class {
        match self {
            ExportError::Host(error) => error.class(),
            ExportError::Archive(error) => class_of_archive(error),
            ExportError::MayNotSign { .. } | ExportError::ForeignHost { .. } => Class::Refused,
            ExportError::Tree { .. } | ExportError::Send { .. } | ExportError::Unsettled { .. } => {
                Class::Failed
            }
            ExportError::Write { source, .. } => match &**source {
                WriteError::Store { source, .. } => class_of_store(source),
                WriteError::JournalInUse { .. } => Class::Refused,
                _ => Class::Failed,
            },
            ExportError::Publish { source, .. } => match &**source {
                PublishError::Store(source) => class_of_store(source),
                _ => Class::Failed,
            },
        }
    }

    /// What the caller can do about it, where there is something to do.
    pub fn help(&self) -> Option<String> {
        match self {
            ExportError::Host(error) => error.help(),
            ExportError::Archive(error) => error.help(),
            ExportError::MayNotSign { .. } => {
                Some("export from a host that the archive was made for, or make an archive for this one".to_owned())
            }
            ExportError::ForeignHost { .. } => Some(
                "if this host has taken its place, say so once with --adopt; two hosts that go on with one history would \
                 each end the other's chains"
                    .to_owned(),
            ),
            ExportError::Tree { .. } => {
                Some("without --digest it is exported, and what is damaged with it".to_owned())
            }
            ExportError::Send { source, .. } => source.help().map(Into::into),
            ExportError::Write { source, .. } => match &**source {
                WriteError::Store { source, .. } => not_sent_again(source),
                _ => None,
            },
            ExportError::Publish { source, .. } => match &**source {
                PublishError::Store(source) => not_sent_again(source),
                PublishError::Gone { .. } => Some("export again".to_owned()),
                other => other.help(),
            },
            ExportError::Unsettled { .. } => {
                Some("export again: nothing is sent, only what is missing here is made up for".to_owned())
            }
        }
    }
}

fn not_sent_again(error: &StoreError) -> Option<String> {
    let help = error.help();
    help.map(|help| format!("{help}; what is stored already is not sent again"))
}

fn class_of_archive(error: &ArchiveError) -> Class {
    match error {
        ArchiveError::Store(StoreError::Unavailable { .. }) => Class::Unavailable,
        ArchiveError::Store(StoreError::Corrupt { .. } | StoreError::NoSpace { .. })
        | ArchiveError::Random(_)
        | ArchiveError::Interrupted => Class::Failed,
        _ => Class::Refused,
    }
}

/// What a store's error means when something may have been stored before it.
fn class_of_store(error: &StoreError) -> Class {
    match error {
        StoreError::Unavailable { .. } => Class::Unavailable,
        _ => Class::Failed,
    }
}

struct Named<'a>(&'a Option<Box<VerifyingKey>>);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(key) => write!(f, " ({key})"),
            None => Ok(()),
        }
    }
}
