//! The seam to ZFS: what the time machine asks of a pool, and the binding that answers.

use std::collections::BTreeMap;

use terrarium_zfs::{
    Attempt, BatchError, DatasetName, Error, Guid, Listing, PoolHealth, Properties, SnapshotName,
    UserProperties, ZfsCore,
};

use crate::{copy, mounts, property};

/// The calls that plans are made of. Every one blocks until it has taken effect on the pool.
///
/// Implemented by [`ZfsCore`] for the kernel's ZFS, with the feature `embedded` by `terrarium_zpool::Engine` for
/// OpenZFS in a process, and by a fake in memory; [`crate::conformance`] holds what all must do.
pub trait Zfs: Send + Sync + 'static {
    /// Everything at and below `root`: datasets, snapshots, bookmarks.
    ///
    /// Of a snapshot's user properties those in [`property::OF_SNAPSHOTS`] are told.
    ///
    /// # Errors
    /// [`Error`] if `root` does not exist or the pool cannot be read.
    fn list(&self, root: &DatasetName) -> Result<Listing, Error>;

    /// The guid of the dataset or snapshot `object`; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error`] if that cannot be found out.
    fn guid(&self, object: &str) -> Result<Option<Guid>, Error>;

    /// Creates a file system.
    ///
    /// # Errors
    /// [`Error`] if it exists, or its parent does not.
    fn create(&self, dataset: &DatasetName, properties: &Properties) -> Result<(), Error>;

    /// Takes several snapshots of one pool in one transaction group, each with its own properties, all or none.
    ///
    /// # Errors
    /// [`BatchError`] says which snapshot failed and why; then none was taken.
    fn snapshot(&self, snapshots: &[(SnapshotName, UserProperties)]) -> Result<(), BatchError>;

    /// Destroys snapshots at once, never deferred.
    ///
    /// # Errors
    /// [`BatchError`] says which could not be destroyed and why.
    fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Result<(), BatchError>;

    /// Destroys snapshots of one pool at once, each only if it still has this guid: a name that was looked at may have
    /// come to mean another snapshot. Checked and done in one transaction group. Those that cannot be destroyed do
    /// not keep the others; one that does not exist counts as destroyed.
    ///
    /// # Errors
    /// [`BatchError`] says which were not destroyed and why; [`BatchError::others_done`] whether the others were.
    fn destroy_by_guid(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<(), BatchError>;

    /// Bytes that would be free if all snapshots of a dataset from `first` to `last` were destroyed: more than what each
    /// of them holds alone, for what some of them share goes too.
    ///
    /// # Errors
    /// [`Error`] if one of them does not exist, or `last` is older than `first` or one of another dataset.
    fn space_of_range(&self, first: &SnapshotName, last: &SnapshotName) -> Result<u64, Error>;

    /// The tags of the holds of a snapshot.
    ///
    /// # Errors
    /// [`Error`] if there is no such snapshot.
    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>, Error>;

    /// Clones `origin` as `target`, with `properties` set from the first moment.
    ///
    /// # Errors
    /// [`Error`] if `target` exists or `origin` does not.
    fn clone_snapshot(
        &self,
        target: &DatasetName,
        origin: &SnapshotName,
        properties: &Properties,
    ) -> Result<(), Error>;

    /// Copies `origin` as `target`, which shares nothing with it, with `properties` set before the first byte of
    /// content. The copy has one snapshot, with the name and the guid of `origin`. Nothing is left of one that failed.
    ///
    /// # Errors
    /// [`Error`] if `target` exists or `origin` does not, there is no room, or a property is refused.
    fn copy_snapshot(
        &self,
        target: &DatasetName,
        origin: &SnapshotName,
        properties: &Properties,
    ) -> Result<(), Error>;

    /// Makes a clone own the snapshots up to its origin.
    ///
    /// # Errors
    /// [`Error`] if it is no clone, a name clashes, or one of those snapshots is in use.
    fn promote(&self, clone: &DatasetName) -> Result<(), Error>;

    /// Finds out whether [`Zfs::promote`] would succeed, changing nothing.
    ///
    /// # Errors
    /// [`Error`] that `promote` would answer.
    fn check_promote(&self, clone: &DatasetName) -> Result<(), Error>;

    /// Renames a dataset, its snapshots with it.
    ///
    /// # Errors
    /// [`Error`] if `to` exists, its parent does not, or the dataset is in use.
    fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<(), Error>;

    /// Destroys a dataset without snapshots and children.
    ///
    /// # Errors
    /// [`Error`] if it has any, or is in use.
    fn destroy(&self, dataset: &DatasetName) -> Result<(), Error>;

    /// Rolls a dataset back to one of its snapshots; newer snapshots and bookmarks are destroyed.
    ///
    /// # Errors
    /// [`Error`] if a newer snapshot is held or has clones, or the dataset is in use.
    fn rollback_to(&self, snapshot: &SnapshotName) -> Result<(), Error>;

    /// Sets user properties of a dataset or snapshot, or removes those that are `None`; all or none.
    ///
    /// # Errors
    /// [`Error`] if the object does not exist or a value is too long.
    fn set_user_properties(
        &self,
        object: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Error>;

    /// Where a dataset is mounted, in whatever mount namespace, as text for people; `None` if it is not.
    ///
    /// # Errors
    /// [`Error`] if that cannot be found out.
    fn mounted_at(&self, dataset: &DatasetName) -> Result<Option<String>, Error>;

    /// The state of a pool.
    ///
    /// # Errors
    /// [`Error`] if there is no such pool or ZFS is not there.
    fn pool_health(&self, pool: &str) -> Result<PoolHealth, Error>;

    /// The content of a regular file inside a snapshot, at most `limit` bytes; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`] if the snapshot cannot be mounted or read.
    fn read_file(
        &self,
        snapshot: &SnapshotName,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error>;
}

/// The calls that an engine has under the same name with the same arguments.
macro_rules! same_calls {
    ($engine:ty) => {
        fn guid(&self, object: &str) -> Result<Option<Guid>, Error> {
            <$engine>::guid(self, object)
        }

        fn create(&self, dataset: &DatasetName, properties: &Properties) -> Result<(), Error> {
            <$engine>::create(self, dataset, properties)
        }

        fn clone_snapshot(
            &self,
            target: &DatasetName,
            origin: &SnapshotName,
            properties: &Properties,
        ) -> Result<(), Error> {
            <$engine>::clone_snapshot(self, target, origin, properties)
        }

        fn copy_snapshot(
            &self,
            target: &DatasetName,
            origin: &SnapshotName,
            properties: &Properties,
        ) -> Result<(), Error> {
            copy::copy(
                self,
                target,
                origin,
                properties,
                |to| <$engine>::send(self, origin, None, copy::FLAGS, &to),
                |snapshot, options, from| <$engine>::receive(self, snapshot, options, &from),
            )
        }

        fn promote(&self, clone: &DatasetName) -> Result<(), Error> {
            <$engine>::promote(self, clone)
        }

        fn check_promote(&self, clone: &DatasetName) -> Result<(), Error> {
            <$engine>::check_promote(self, clone)
        }

        fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<(), Error> {
            <$engine>::rename(self, from, to)
        }

        fn destroy(&self, dataset: &DatasetName) -> Result<(), Error> {
            <$engine>::destroy(self, dataset)
        }

        fn rollback_to(&self, snapshot: &SnapshotName) -> Result<(), Error> {
            <$engine>::rollback_to(self, snapshot)
        }

        fn set_user_properties(
            &self,
            object: &str,
            changes: &BTreeMap<String, Option<String>>,
        ) -> Result<(), Error> {
            <$engine>::set_user_properties(self, object, changes)
        }

        fn destroy_by_guid(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<(), BatchError> {
            <$engine>::destroy_by_guid(self, snapshots)
        }

        fn space_of_range(&self, first: &SnapshotName, last: &SnapshotName) -> Result<u64, Error> {
            <$engine>::space_of_range(self, first, last)
        }

        fn pool_health(&self, pool: &str) -> Result<PoolHealth, Error> {
            <$engine>::pool_health(self, pool)
        }
    };
}

impl Zfs for ZfsCore {
    same_calls!(ZfsCore);

    fn list(&self, root: &DatasetName) -> Result<Listing, Error> {
        ZfsCore::list(self, root, &property::OF_SNAPSHOTS)
    }

    fn snapshot(&self, snapshots: &[(SnapshotName, UserProperties)]) -> Result<(), BatchError> {
        self.snapshot_each(snapshots)
    }

    fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Result<(), BatchError> {
        ZfsCore::destroy_snapshots(self, snapshots, false)
    }

    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>, Error> {
        Ok(ZfsCore::holds(self, snapshot)?.into_keys().collect())
    }

    fn mounted_at(&self, dataset: &DatasetName) -> Result<Option<String>, Error> {
        mounts::mounted_at(dataset).map_err(|error| Error::Io {
            attempt: Attempt::new("look for mounts of", dataset.as_str()),
            errno: error.raw_os_error().unwrap_or_default(),
        })
    }

    fn read_file(
        &self,
        snapshot: &SnapshotName,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.read_snapshot_file(snapshot, path, limit)
    }
}

#[cfg(feature = "embedded")]
mod embedded {
    use terrarium_zpool::Engine;

    use super::*;

    /// OpenZFS in a process, on a pool file. Nothing is ever mounted there; a dataset that is occupied
    /// counts as mounted.
    impl Zfs for Engine {
        same_calls!(Engine);

        fn list(&self, root: &DatasetName) -> Result<Listing, Error> {
            Engine::list(self, root, &property::OF_SNAPSHOTS)
        }

        fn snapshot(&self, snapshots: &[(SnapshotName, UserProperties)]) -> Result<(), BatchError> {
            Engine::snapshot(self, snapshots)
        }

        fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Result<(), BatchError> {
            Engine::destroy_snapshots(self, snapshots)
        }

        fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>, Error> {
            Engine::holds(self, snapshot)
        }

        fn mounted_at(&self, dataset: &DatasetName) -> Result<Option<String>, Error> {
            let occupied = self.is_occupied(dataset)?;
            Ok(occupied.then(|| "the embedded engine".to_owned()))
        }

        fn read_file(
            &self,
            snapshot: &SnapshotName,
            path: &str,
            limit: usize,
        ) -> Result<Option<Vec<u8>>, Error> {
            Engine::read_file(self, snapshot.as_str(), path, limit)
        }
    }
}
