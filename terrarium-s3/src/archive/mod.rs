//! An archive as a whole: made once, opened, looked through, verified.
//!
//! ```text
//! init       a store that is create-only, and archive.json
//! catalog    one listing: which restore points there are, by lineage
//! change     other recipients, other hosts that may sign
//! point      one manifest, who signed it, and what was said of it later
//! annotate   something is said of one later: an alias, a note, that it is pinned
//! chain      the manifests from a full stream to a point
//! verify     every object that every point needs, with what depends on one that is damaged
//! retention  which points stay, and why (a plan only)
//! prune      removes the others, and what nobody ever finished
//! ```
//! Nobody has to believe what `archive.json` says: a host that writes keeps a [`Pin`] of its own.

mod annotate;
mod catalog;
mod change;
mod error;
mod location;
mod prune;
pub mod retention;
mod state;
mod verify;

use std::sync::Arc;

use change::Changes;

pub use annotate::{AnnotateError, Remark};
pub use catalog::{Catalog, Entry, Point};
pub use change::Ignored;
pub use error::{ArchiveError, ChainError};
pub use location::{AnyStore, Location, LocationError, S3Keys, S3Options};
pub use prune::{
    DEFAULT_GRACE, MIN_GRACE, NotRemoved, Outcome, PlannedPoint, PlannedStray, PrunePlan, Pruned,
    Rules, StrayKind, Survey, plan_prune,
};
pub use state::{Difference, HostState, Pin, StateError};
pub use verify::{Damage, Depth, PointReport, Problem, State, Verification};

use crate::format::{self, FormatError, Layout, Place, RunId};
use crate::store::{Key, Store, StoreError, create_or_same, probe_create_only};

/// An archive that is there.
#[derive(Debug)]
pub struct Archive<S> {
    store: Arc<S>,
    layout: Layout,
    document: format::Archive,
    changes: Changes,
}

impl<S> Clone for Archive<S> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            layout: self.layout.clone(),
            document: self.document.clone(),
            changes: self.changes.clone(),
        }
    }
}

impl<S: Store> Archive<S> {
    /// Makes an archive, where there is none: tries with two puts whether the store is create-only, then
    /// creates `archive.json`.
    ///
    /// Killed in between it leaves at most the object that it tried the store with, which nobody reads.
    ///
    /// # Errors
    /// [`ArchiveError::Exists`], [`ArchiveError::Orphaned`], [`ArchiveError::NotCreateOnly`]: nothing was
    /// made. After [`StoreError::Unavailable`] it may have been made.
    pub async fn init(
        store: Arc<S>,
        layout: Layout,
        document: format::Archive,
    ) -> Result<Self, ArchiveError> {
        Self::refuse_what_is_there(&store, &layout).await?;
        let probe = layout.probe(RunId::random().map_err(ArchiveError::Random)?)?;
        if !probe_create_only(&*store, &probe).await? {
            return Err(ArchiveError::NotCreateOnly { key: probe });
        }
        let key = layout.key(&Place::Archive)?;
        let illegal = |source| ArchiveError::Format {
            key: key.clone(),
            source,
        };
        let body = document.write().map_err(illegal)?;
        match create_or_same(&*store, &key, body).await {
            Err(StoreError::Exists { .. }) => {
                Err(ArchiveError::exists(&key, read(&*store, &key).await))
            }
            created => {
                created?;
                Ok(Self {
                    store,
                    layout,
                    document,
                    changes: Changes::default(),
                })
            }
        }
    }

    /// Says whether an archive could be made here, and changes nothing. Whether the store is create-only
    /// is not known before it is tried.
    ///
    /// # Errors
    /// [`ArchiveError::Exists`], [`ArchiveError::Orphaned`], or the store's.
    pub async fn refuse_what_is_there(store: &S, layout: &Layout) -> Result<(), ArchiveError> {
        let key = layout.key(&Place::Archive)?;
        match read(store, &key).await {
            Err(ArchiveError::None { .. }) => {}
            Err(ArchiveError::Store(error)) => return Err(error.into()),
            there => return Err(ArchiveError::exists(&key, there)),
        }
        let manifests = store.list(&layout.manifests()).await?;
        match manifests.len() {
            0 => Ok(()),
            manifests => Err(ArchiveError::Orphaned { key, manifests }),
        }
    }

    /// Opens an archive: reads `archive.json`, then the changes to it one after another until there is none.
    ///
    /// # Errors
    /// [`ArchiveError::None`] if there is none, [`ArchiveError::Format`] if `archive.json` is damaged. A change
    /// that is damaged, or that nobody signed who might, does not count; [`Archive::ignored`] names it.
    pub async fn open(store: Arc<S>, layout: Layout) -> Result<Self, ArchiveError> {
        let key = layout.key(&Place::Archive)?;
        let document = read(&*store, &key).await?;
        let mut archive = Self {
            store,
            layout,
            document,
            changes: Changes::default(),
        };
        archive.read_changes().await?;
        Ok(archive)
    }

    /// What `archive.json` says, with all changes to it.
    pub fn document(&self) -> &format::Archive {
        &self.document
    }

    /// Where its objects are.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// Where they stand in the store.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

async fn read(store: &impl Store, key: &Key) -> Result<format::Archive, ArchiveError> {
    let bytes = match store.read(key).await {
        Err(StoreError::NotFound { attempt }) => {
            let place = attempt.place;
            let key = key.clone();
            return Err(ArchiveError::None { place, key });
        }
        read => read?,
    };
    format::Archive::read(&bytes).map_err(|source: FormatError| ArchiveError::Format {
        key: key.clone(),
        source,
    })
}
