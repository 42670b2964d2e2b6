//! Datasets: create, clone, promote, rename, destroy, roll back.

use std::collections::BTreeSet;

use terrarium_zfs::engine::{
    CHECK_PROMOTE, Programs, check_promote_result, pool_of, promote_error, properties_to_nvlist,
};
use terrarium_zfs::nvlist::NvList;
use terrarium_zfs::{
    Attempt, BatchError, Bookmark, BookmarkName, DatasetName, Error, ErrorKind, Guid, Properties,
    SnapshotName,
};

use crate::engine::{Engine, errno, error_of, number, text};

impl Engine {
    /// Creates a file system; its parent must exist.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::NotFound`] without a parent; [`Error::InvalidArgument`] if a
    /// property's value is refused, and then nothing is left behind.
    pub fn create(&self, dataset: &DatasetName, properties: &Properties) -> Result<(), Error> {
        let mut request = for_dataset(dataset)?;
        request.add_list("properties", &properties_to_nvlist(properties)?)?;
        self.call("create", "create", dataset.as_str(), request)
            .map(drop)
    }

    /// Clones a snapshot as a new dataset with these properties.
    ///
    /// # Errors
    /// [`Error::Exists`] if the target exists; [`Error::NotFound`] if the snapshot or the target's
    /// parent does not; [`Error::CrossesPools`]; [`Error::InvalidArgument`] if a property's value is
    /// refused, and then no clone is left behind.
    pub fn clone_snapshot(
        &self,
        target: &DatasetName,
        origin: &SnapshotName,
        properties: &Properties,
    ) -> Result<(), Error> {
        let mut request = for_dataset(target)?;
        request.add_str("origin", origin.as_str())?;
        request.add_list("properties", &properties_to_nvlist(properties)?)?;
        let answer = self.ask("clone", "clone to", target.as_str(), request, None)?;
        match errno(&answer) {
            0 => Ok(()),
            // ZFS does not say which of the two is missing.
            libc::ENOENT if self.guid(origin.as_str())?.is_none() => {
                Err(error_of("clone", origin.as_str(), libc::ENOENT))
            }
            error => Err(error_of("clone to", target.as_str(), error)),
        }
    }

    /// Makes a clone the owner of its origin and of all snapshots and bookmarks before it.
    ///
    /// # Errors
    /// [`Error::Exists`] with the name of the first snapshot or bookmark that both datasets have;
    /// [`Error::Busy`] if one of the snapshots that would move is being sent;
    /// [`Error::InvalidArgument`] if it is no clone.
    pub fn promote(&self, clone: &DatasetName) -> Result<(), Error> {
        self.refuse_bookmark_clash(clone)?;
        let answer = self.ask(
            "promote",
            "promote",
            clone.as_str(),
            for_dataset(clone)?,
            None,
        )?;
        match errno(&answer) {
            0 => Ok(()),
            error => Err(promote_error(clone, error, text(&answer, "conflict"))),
        }
    }

    /// Finds out whether [`Engine::promote`] would succeed, without promoting.
    ///
    /// # Errors
    /// Those of [`Engine::promote`].
    pub fn check_promote(&self, clone: &DatasetName) -> Result<(), Error> {
        self.refuse_bookmark_clash(clone)?;
        let mut arguments = NvList::new()?;
        arguments.add_str("clone", clone.as_str())?;
        let result = self.run_synchronous(clone.pool(), CHECK_PROMOTE, &arguments)?;
        check_promote_result(clone, &result)
    }

    /// Refuses a promotion that would bring two bookmarks of one name together: OpenZFS misses them and
    /// aborts.
    fn refuse_bookmark_clash(&self, clone: &DatasetName) -> Result<(), Error> {
        let mine = match self.list(clone, &[]) {
            // The call itself says so better.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let origin = mine.datasets.iter().find(|dataset| dataset.name == *clone);
        let Some(origin) = origin.and_then(|dataset| dataset.origin.clone()) else {
            return Ok(());
        };
        let names: BTreeSet<String> = own(mine.bookmarks, clone)
            .map(|bookmark| bookmark.name.name().to_owned())
            .collect();
        let theirs = self.list(&origin.dataset(), &[])?;
        let limit = theirs.snapshots.iter().find(|point| point.name == origin);
        let limit = limit.map(|point| point.createtxg);
        let clash = own(theirs.bookmarks, &origin.dataset()).find(|bookmark| {
            names.contains(bookmark.name.name())
                && limit.is_none_or(|limit| bookmark.createtxg <= limit)
        });
        match clash {
            Some(clash) => {
                let name = clash.name.name().to_owned();
                Err(promote_error(clone, libc::EEXIST, Some(name)))
            }
            None => Ok(()),
        }
    }

    /// Renames a dataset, with all below it, within the pool.
    ///
    /// # Errors
    /// [`Error::Exists`] if the new name is taken; [`Error::NotFound`] if the dataset or the new
    /// parent does not exist; [`Error::InvalidArgument`] if it would move below itself;
    /// [`Error::TooLarge`] if a name below would become too long.
    pub fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<(), Error> {
        let mut request = for_dataset(from)?;
        request.add_str("to", to.as_str())?;
        let answer = self.ask("rename", "rename", from.as_str(), request, None)?;
        match errno(&answer) {
            0 => Ok(()),
            libc::EEXIST => Err(Error::Exists {
                attempt: Attempt::new("rename", from.as_str()),
                name: to.to_string(),
            }),
            libc::ENOENT if self.guid(from.as_str())?.is_some() => {
                Err(Error::NotFound(Attempt::new("rename to", to.as_str())))
            }
            error => Err(error_of("rename", from.as_str(), error)),
        }
    }

    /// Destroys a dataset that has neither snapshots nor children and is not occupied.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Busy`] if it is occupied or has snapshots;
    /// [`Error::HasChildren`].
    pub fn destroy(&self, dataset: &DatasetName) -> Result<(), Error> {
        let answer = self.ask(
            "destroy",
            "destroy",
            dataset.as_str(),
            for_dataset(dataset)?,
            None,
        )?;
        match errno(&answer) {
            0 => Ok(()),
            libc::EEXIST => Err(Error::HasChildren(Attempt::new(
                "destroy",
                dataset.as_str(),
            ))),
            error => Err(error_of("destroy", dataset.as_str(), error)),
        }
    }

    /// Rolls a dataset back to one of its snapshots and *destroys everything newer*: snapshots and
    /// bookmarks.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Busy`] if a newer snapshot is held or being sent, and
    /// [`Error::HasClones`] if one has clones: then nothing was changed.
    pub fn rollback_to(&self, snapshot: &SnapshotName) -> Result<(), Error> {
        let operation = "roll back to";
        let dataset = snapshot.dataset();
        let listing = self.list(&dataset, &[])?;
        let point = listing.snapshots.iter().find(|s| s.name == *snapshot);
        let Some(point) = point.map(|point| point.createtxg) else {
            return Err(Error::NotFound(Attempt::new(operation, snapshot.as_str())));
        };
        let newer = listing.snapshots.iter();
        let newer = newer.filter(|s| s.name.dataset_str() == dataset.as_str());
        let newer = newer.filter(|s| s.createtxg > point);
        let snapshots: Vec<SnapshotName> = newer.map(|s| s.name.clone()).collect();
        let newer = own(listing.bookmarks, &dataset).filter(|b| b.createtxg > point);
        let bookmarks: Vec<BookmarkName> = newer.map(|b| b.name).collect();
        self.destroy_snapshots(&snapshots).map_err(first)?;
        self.destroy_bookmarks(&bookmarks).map_err(first)?;
        let mut request = for_dataset(&dataset)?;
        request.add_str("snapshot", snapshot.as_str())?;
        self.call("rollback", operation, snapshot.as_str(), request)
            .map(drop)
    }

    /// The guid of a dataset or snapshot; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error::Name`] if `object` is no name.
    pub fn guid(&self, object: &str) -> Result<Option<Guid>, Error> {
        let found = self.look_up(object)?;
        Ok(found.map(|found| Guid::new(number(found.view(), "guid"))))
    }

    /// Keeps a dataset from being destroyed, as a mount would, until the guard is dropped. It can be
    /// renamed and rolled back, but not written to.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Busy`] if it is occupied already.
    pub fn occupy(&self, dataset: &DatasetName) -> Result<Occupied, Error> {
        let request = for_dataset(dataset)?;
        let answer = self.call("occupy", "occupy", dataset.as_str(), request)?;
        Ok(Occupied {
            engine: self.clone(),
            dataset: dataset.clone(),
            ticket: number(answer.view(), "ticket"),
        })
    }

    /// Whether somebody occupies a dataset.
    ///
    /// # Errors
    /// [`Error`] if that cannot be found out; a dataset that does not exist is not occupied.
    pub fn is_occupied(&self, dataset: &DatasetName) -> Result<bool, Error> {
        let found = self.look_up(dataset.as_str())?;
        Ok(found.is_some_and(|found| number(found.view(), "occupied") != 0))
    }

    /// What there is to say about a dataset or snapshot without listing it.
    fn look_up(&self, object: &str) -> Result<Option<NvList>, Error> {
        if pool_of(object)? != self.pool() {
            return Ok(None);
        }
        let mut request = NvList::new()?;
        request.add_str("object", object)?;
        match self.call("look-up", "look up", object, request) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Occupies a dataset until it is dropped.
#[derive(Debug)]
pub struct Occupied {
    engine: Engine,
    dataset: DatasetName,
    ticket: u64,
}

impl Drop for Occupied {
    fn drop(&mut self) {
        let leave = || -> Result<(), Error> {
            let mut request = NvList::new()?;
            request.add_u64("ticket", self.ticket)?;
            self.engine
                .call("leave", "leave", self.dataset.as_str(), request)
                .map(drop)
        };
        // Without the process nobody occupies anything.
        _ = leave();
    }
}

pub(crate) fn for_dataset(dataset: &DatasetName) -> Result<NvList, Error> {
    let mut request = NvList::new()?;
    request.add_str("dataset", dataset.as_str())?;
    Ok(request)
}

/// The bookmarks of a dataset itself, without those of its children.
fn own(bookmarks: Vec<Bookmark>, of: &DatasetName) -> impl Iterator<Item = Bookmark> {
    bookmarks
        .into_iter()
        .filter(move |bookmark| bookmark.name.dataset() == *of)
}

/// The error of the first object that failed.
fn first(error: BatchError) -> Error {
    let operation = error.operation;
    let failure = error.failures.into_iter().next();
    failure.map_or_else(
        || Error::Unexpected {
            attempt: Attempt::new(operation, ""),
            detail: "no reason".to_owned(),
        },
        |(_, error)| error,
    )
}
