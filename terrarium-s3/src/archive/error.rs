//! Why an archive cannot be made, opened or looked through.

use std::io;

use terrarium_zfs::Guid;

use crate::format::{self, ArchiveId, FormatError};
use crate::store::{InvalidKey, Key, StoreError};

/// An archive, or a document of it, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// There is no archive.
    #[error("there is no archive in {place}: it has no {key}")]
    None {
        /// The store.
        place: String,
        /// Where `archive.json` would be.
        key: Key,
    },
    /// There is one already; it stays as it is.
    #[error("there is an archive already: {key}{}", Named(id))]
    Exists {
        /// Where its `archive.json` is.
        key: Key,
        /// Which one, if that can be read.
        id: Option<ArchiveId>,
    },
    /// There are restore points, but what they belong to is gone.
    #[error("{key} is missing, but there are {manifests} manifests of an archive")]
    Orphaned {
        /// Where it would be.
        key: Key,
        /// How many there are.
        manifests: usize,
    },
    /// Another host has changed the archive in the same moment.
    #[error("{key} is there already: another host has changed the archive at the same time")]
    ChangedMeanwhile {
        /// The change that would have been written.
        key: Key,
    },
    /// The store writes one object over another, so that nothing in it would be safe.
    #[error("the store is not create-only: it accepted two objects of the name {key}")]
    NotCreateOnly {
        /// What it was tried with.
        key: Key,
    },
    /// A document is damaged, or of another version, or somewhere that it does not belong.
    #[error("{key}: {source}")]
    Format {
        /// Where it stands.
        key: Key,
        /// What is wrong.
        #[source]
        source: FormatError,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The prefix is so long that an object has no key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The kernel gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[source] io::Error),
    /// These credentials may not delete.
    #[error("nothing can be removed with these credentials: {source}")]
    AppendOnly {
        /// What the store says.
        #[source]
        source: StoreError,
    },
    /// A listing does not have an object that was just created.
    #[error("the store does not list {key}, which was created just now")]
    NotListed {
        /// The object.
        key: Key,
    },
    /// To look through the archive takes longer than a notice of removal counts.
    #[error("to look through the archive takes longer than its points may stand still for")]
    TooSlow,
    /// A task ended without a word.
    #[error("reading was interrupted")]
    Interrupted,
}

impl ArchiveError {
    /// What to do about it, if there is something.
    pub fn help(&self) -> Option<String> {
        match self {
            ArchiveError::None { .. } => Some("`archive init` makes one".to_owned()),
            ArchiveError::Exists { .. } => {
                Some("use it as it is, or choose another prefix".to_owned())
            }
            ArchiveError::ChangedMeanwhile { .. } => {
                Some("look at the archive as it is now, and try again".to_owned())
            }
            ArchiveError::Orphaned { key, .. } => Some(format!(
                "bring {key} back from the store's older versions or a copy, or choose another prefix"
            )),
            ArchiveError::NotCreateOnly { .. } => Some(
                "use a store that honours `If-None-Match: *`; \
                 with this one a lost reply or a second host could destroy what is there"
                    .to_owned(),
            ),
            ArchiveError::AppendOnly { .. } => Some(
                "the archive is append-only from here; prune it from a host whose credentials may delete".to_owned(),
            ),
            ArchiveError::NotListed { .. } => {
                Some("use a store whose listings are up to date".to_owned())
            }
            ArchiveError::Format { source, .. } => source.help().map(Into::into),
            ArchiveError::Store(error) => error.help(),
            _ => None,
        }
    }

    /// Whether it says something of the object itself, not of the way to it.
    pub fn is_damage(&self) -> bool {
        match self {
            ArchiveError::Format { .. } => true,
            ArchiveError::Store(error) => is_damage(error),
            _ => false,
        }
    }

    pub(super) fn exists(key: &Key, there: Result<format::Archive, ArchiveError>) -> Self {
        ArchiveError::Exists {
            key: key.clone(),
            id: there.ok().map(|archive| archive.id),
        }
    }
}

/// Whether a read failed because of what is stored.
pub(super) fn is_damage(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::NotFound { .. } | StoreError::Corrupt { .. }
    )
}

/// A point cannot be restored from what is in the archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// A point that is needed is not in the archive.
    #[error("the snapshot {guid} is not in the archive{}", Needed(needed_by))]
    Missing {
        /// Which one.
        guid: Guid,
        /// The point whose stream starts from it; none if it is the point that was asked for.
        needed_by: Option<Guid>,
    },
    /// The manifest of a point that is needed cannot be used.
    #[error("the snapshot {guid}{}: {source}", Needed(needed_by))]
    Unreadable {
        /// Which one.
        guid: Guid,
        /// The point whose stream starts from it; none if it is the point that was asked for.
        needed_by: Option<Guid>,
        /// Why.
        source: ArchiveError,
    },
    /// It comes back to itself.
    #[error("the streams start from each other: {guid} comes twice")]
    Circular {
        /// Where it comes back to.
        guid: Guid,
    },
}

struct Named<'a>(&'a Option<ArchiveId>);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(id) => write!(f, " of the archive {id}"),
            None => Ok(()),
        }
    }
}

struct Needed<'a>(&'a Option<Guid>);

impl std::fmt::Display for Needed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(guid) => write!(f, " (the snapshot {guid} starts from it)"),
            None => Ok(()),
        }
    }
}
