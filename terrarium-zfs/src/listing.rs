//! What is there: datasets, snapshots and bookmarks, as one listing saw them.

pub(crate) mod process;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Attempt, Error};
use crate::handle::ZfsCore;
use crate::ids::{Guid, Txg};
use crate::names::{BookmarkName, DatasetName, SnapshotName, pool_of};
use crate::pool::{self, PoolState};
use crate::properties::{UserProperties, check_user_property_name};

/// A filesystem or a volume. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Dataset {
    /// Its name.
    pub name: DatasetName,
    /// Filesystem or volume.
    pub kind: DatasetKind,
    /// Its identity.
    pub guid: Guid,
    /// The transaction group it was created in.
    pub createtxg: Txg,
    /// When it was created, in seconds since 1970.
    pub creation: i64,
    /// Space that destroying it with its snapshots and children would free.
    pub used: u64,
    /// Space left to it.
    pub available: u64,
    /// Space that its data takes, shared or not.
    pub referenced: u64,
    /// Space written since the newest snapshot.
    pub written: u64,
    /// The snapshot it is a clone of.
    pub origin: Option<SnapshotName>,
    /// Whether it is mounted in this process's mount namespace; `false` for a volume.
    pub mounted: bool,
    /// The dataset whose key encrypts it; `None` if it is not encrypted.
    pub encryption_root: Option<DatasetName>,
    /// The token of an interrupted resumable receive into it.
    pub receive_resume_token: Option<String>,
    /// The properties set on it locally, as `zfs get -Hp` prints them; user properties included.
    pub local: BTreeMap<String, String>,
}

/// The kinds of dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DatasetKind {
    /// Holds files.
    Filesystem,
    /// Is a block device.
    Volume,
}

/// A snapshot. Sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// Its identity.
    pub guid: Guid,
    /// The transaction group it was taken in: the order within its pool.
    pub createtxg: Txg,
    /// When it was taken, in seconds since 1970.
    pub creation: i64,
    /// Space that destroying it alone would free.
    pub used: u64,
    /// Space that its data takes, shared or not.
    pub referenced: u64,
    /// Space written between the snapshot before and this one.
    pub written: u64,
    /// The number of holds.
    pub userrefs: u64,
    /// The clones that depend on it, by name; without the hidden one of a receive in progress.
    pub clones: Vec<DatasetName>,
    /// The user properties set on the snapshot itself, of those that were asked for; without what it
    /// inherits from its dataset.
    pub user_properties: UserProperties,
}

/// A bookmark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Bookmark {
    /// Its name.
    pub name: BookmarkName,
    /// The guid of the snapshot it was made of.
    pub guid: Guid,
    /// The transaction group of that snapshot.
    pub createtxg: Txg,
    /// When that snapshot was taken, in seconds since 1970.
    pub creation: i64,
}

/// A dataset and all below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Listing {
    /// By name.
    pub datasets: Vec<Dataset>,
    /// By dataset, then in the order they were taken.
    pub snapshots: Vec<Snapshot>,
    /// By dataset, then in the order of their snapshots.
    pub bookmarks: Vec<Bookmark>,
}

impl Dataset {
    /// A filesystem with that name and identity; sizes and the rest are zero or empty.
    pub fn new(name: DatasetName, guid: Guid, createtxg: Txg, creation: i64) -> Self {
        Self {
            name,
            kind: DatasetKind::Filesystem,
            guid,
            createtxg,
            creation,
            used: 0,
            available: 0,
            referenced: 0,
            written: 0,
            origin: None,
            mounted: false,
            encryption_root: None,
            receive_resume_token: None,
            local: BTreeMap::new(),
        }
    }
}

impl Snapshot {
    /// A snapshot with that name and identity; sizes and the rest are zero or empty.
    pub fn new(name: SnapshotName, guid: Guid, createtxg: Txg, creation: i64) -> Self {
        Self {
            name,
            guid,
            createtxg,
            creation,
            used: 0,
            referenced: 0,
            written: 0,
            userrefs: 0,
            clones: Vec::new(),
            user_properties: UserProperties::new(),
        }
    }
}

impl Bookmark {
    /// A bookmark with that name, of the snapshot with that identity.
    pub fn new(name: BookmarkName, guid: Guid, createtxg: Txg, creation: i64) -> Self {
        Self {
            name,
            guid,
            createtxg,
            creation,
        }
    }
}

impl Listing {
    /// A listing of these, put in order.
    pub fn new(
        mut datasets: Vec<Dataset>,
        mut snapshots: Vec<Snapshot>,
        mut bookmarks: Vec<Bookmark>,
    ) -> Self {
        datasets.sort_by(|a, b| a.name.cmp(&b.name));
        snapshots.sort_by(|a, b| {
            let key = |s: &Snapshot| (s.createtxg, s.name.name().to_owned());
            a.name
                .dataset_str()
                .cmp(b.name.dataset_str())
                .then_with(|| key(a).cmp(&key(b)))
        });
        bookmarks.sort_by(|a, b| {
            let key = |b: &Bookmark| (b.createtxg, b.name.name().to_owned());
            a.name
                .dataset_str()
                .cmp(b.name.dataset_str())
                .then_with(|| key(a).cmp(&key(b)))
        });
        Self {
            datasets,
            snapshots,
            bookmarks,
        }
    }
}

impl ZfsCore {
    /// Lists a dataset and all below it, with snapshots and bookmarks.
    ///
    /// Of snapshots these `user_properties` are told; the local properties of datasets are told all.
    /// Needs no privilege.
    ///
    /// # Errors
    /// [`Error::NotFound`] if `root` does not exist; [`Error::Property`] if a name is no legal name of
    /// a user property; [`Error::Suspended`]; [`Error::Unavailable`] if `zfs` is not installed.
    pub fn list(&self, root: &DatasetName, user_properties: &[&str]) -> Result<Listing, Error> {
        for name in user_properties {
            check_user_property_name(name)?;
        }
        refuse_suspended("list", root.as_str())?;
        process::list(root, user_properties)
    }

    /// The guid of a dataset or snapshot; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error::Name`] if `object` is no name; [`Error::Suspended`]; [`Error::Unavailable`].
    pub fn guid(&self, object: &str) -> Result<Option<Guid>, Error> {
        refuse_suspended("look up", object)?;
        process::guid(object)
    }
}

/// What is not in memory could be waited for without end.
fn refuse_suspended(operation: &'static str, object: &str) -> Result<(), Error> {
    let pool = pool_of(object)?;
    if pool::state(&pool) == Some(PoolState::Suspended) {
        return Err(Error::Suspended(Attempt::new(operation, object)));
    }
    Ok(())
}
