//! Snapshots: take, destroy, hold, release; the user properties of snapshots and datasets.

use std::collections::BTreeMap;

use terrarium_zfs::engine::{
    Batch, by_errno, destroy_error, hold_list, names_to_nvlist, release_list,
};
use terrarium_zfs::nvlist::NvList;
use terrarium_zfs::{BatchError, Error, Guid, SnapshotName, UserProperties};

use crate::engine::{Engine, errno, number};

impl Engine {
    /// Takes snapshots of several datasets in one transaction group, all or none, each with its own
    /// user properties.
    ///
    /// # Errors
    /// Names the snapshots that failed: [`Error::Exists`]; [`Error::NotFound`] if its dataset does not
    /// exist; [`Error::InvalidArgument`] for a second snapshot of one dataset. None was taken then.
    pub fn snapshot(&self, snapshots: &[(SnapshotName, UserProperties)]) -> Result<(), BatchError> {
        terrarium_zfs::engine::snapshot_each(self, snapshots)
    }

    /// Sets user properties of a dataset or snapshot, or removes those that are `None`; all or none.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Name`] if `object` is no name; [`Error::Property`].
    pub fn set_user_properties(
        &self,
        object: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Error> {
        terrarium_zfs::engine::set_user_properties(self, object, changes)
    }

    /// Destroys snapshots, all or none. One that does not exist counts as destroyed.
    ///
    /// # Errors
    /// Names each snapshot that stands in the way: [`Error::Busy`] if it is held or being sent;
    /// [`Error::HasClones`]. None was destroyed then.
    pub fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Result<(), BatchError> {
        let objects = snapshots.iter().map(|name| (name.as_str(), name.pool()));
        let Some(batch) = Batch::new("destroy", objects)? else {
            return Ok(());
        };
        let names = names_to_nvlist(snapshots.iter().map(SnapshotName::as_str))
            .map_err(|error| batch.whole(error))?;
        self.batch("destroy-snapshots", &batch, &names, destroy_error)
    }

    /// Destroys snapshots, each only if it still has this guid; those that cannot be destroyed do not keep the others.
    ///
    /// # Errors
    /// Names each that was not destroyed; see
    /// [`ZfsCore::destroy_by_guid`](terrarium_zfs::ZfsCore::destroy_by_guid).
    pub fn destroy_by_guid(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<(), BatchError> {
        terrarium_zfs::engine::destroy_by_guid(self, snapshots)
    }

    /// Bytes that would be free if all snapshots of a dataset from `first` to `last` were destroyed.
    ///
    /// # Errors
    /// As [`ZfsCore::space_of_range`](terrarium_zfs::ZfsCore::space_of_range).
    pub fn space_of_range(&self, first: &SnapshotName, last: &SnapshotName) -> Result<u64, Error> {
        let mut request = NvList::new()?;
        request.add_str("first", first.as_str())?;
        request.add_str("last", last.as_str())?;
        let answer = self.call("space", "find out the space of", last.as_str(), request)?;
        Ok(number(answer.view(), "bytes"))
    }

    /// The tags of a snapshot's holds.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>, Error> {
        terrarium_zfs::engine::holds(self, snapshot)
    }

    /// Holds snapshots, each under a tag: a held snapshot cannot be destroyed.
    ///
    /// # Errors
    /// Names each snapshot that failed; see [`ZfsCore::hold`](terrarium_zfs::ZfsCore::hold).
    pub fn hold(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError> {
        match hold_list(holds)? {
            Some((batch, list)) => self.batch("hold", &batch, &list, by_errno),
            None => Ok(()),
        }
    }

    /// Releases holds.
    ///
    /// # Errors
    /// Names each hold that does not exist; see [`ZfsCore::release`](terrarium_zfs::ZfsCore::release).
    pub fn release(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError> {
        match release_list(holds)? {
            Some((batch, list)) => self.batch("release", &batch, &list, by_errno),
            None => Ok(()),
        }
    }

    /// A call on several objects, which answers with a list of those that failed.
    pub(crate) fn batch(
        &self,
        op: &str,
        batch: &Batch,
        objects: &NvList,
        classify: fn(&'static str, &str, i32) -> Error,
    ) -> Result<(), BatchError> {
        let ask = || {
            let mut request = NvList::new()?;
            request.add_list("objects", objects)?;
            self.ask(op, batch.operation, &batch.pool, request, None)
        };
        let answer = ask().map_err(|error| batch.whole(error))?;
        let errors = answer.value("errors").and_then(|errors| errors.list());
        batch.outcome(errno(&answer), errors, classify)
    }
}
