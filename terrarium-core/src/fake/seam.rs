//! The seam: every call of [`Zfs`] on the ZFS in memory, noted and failed where a test wants that.

use std::collections::BTreeMap;

use terrarium_zfs::{
    Attempt, BatchError, DatasetName, Error, Guid, Listing, PoolHealth, PoolState, Properties,
    SnapshotName, UserProperties,
};

use super::pool::{Births, Pool};
use super::zfs::FakeZfs;
use crate::Zfs;

#[derive(Debug)]
pub(super) struct World {
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) births: Births,
    /// Calls that are to fail: the call's name, and the error.
    pub(super) faults: Vec<(String, Error)>,
    pub(super) calls: Vec<String>,
}

/// What a call needs of the pool.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Need {
    /// That it can be read.
    Read,
    /// That it can be changed. A full pool still can: ZFS keeps some room for calls that may free space.
    Change,
    /// That there is room for something new.
    Room,
}

impl FakeZfs {
    /// One call: noted, failed if it is to fail, else done if the pool of its first object allows it.
    pub(super) fn call<T>(
        &self,
        call: &'static str,
        objects: &[&str],
        need: Need,
        run: impl FnOnce(&mut Pool, &mut Births) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut world = self.lock();
        world.begin(call, objects)?;
        let (pool, births) = world.pool_for(Attempt::new(verb(call), objects[0]), need)?;
        run(pool, births)
    }

    /// Something that others do to a pool, beside the seam: LXD, or a person.
    pub(super) fn by_others<T>(
        &self,
        object: &str,
        run: impl FnOnce(&mut Pool, &mut Births) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut world = self.lock();
        let (pool, births) = world.pool_for(Attempt::new("change", object), Need::Change)?;
        run(pool, births)
    }

    /// One call on several snapshots of one pool.
    fn batch<T: Default>(
        &self,
        call: &'static str,
        names: &[&SnapshotName],
        need: Need,
        run: impl FnOnce(&mut Pool, &mut Births) -> Result<T, Vec<(String, Error)>>,
    ) -> Result<T, BatchError> {
        let what = verb(call);
        let Some(first) = names.first() else {
            return Ok(T::default());
        };
        let whole = |error| BatchError::whole(what, first.pool(), error);
        let attempt = Attempt::new(what, first.as_str());
        let objects: Vec<&str> = names.iter().map(|name| name.as_str()).collect();

        let mut world = self.lock();
        world.begin(call, &objects).map_err(whole)?;
        let strangers = names.iter().filter(|name| name.pool() != first.pool());
        let strangers: Vec<_> = strangers
            .map(|name| {
                let attempt = Attempt::new(what, name.as_str());
                (name.to_string(), Error::CrossesPools(attempt))
            })
            .collect();
        if !strangers.is_empty() {
            return Err(BatchError::new(what, strangers));
        }
        let (pool, births) = world.pool_for(attempt, need).map_err(whole)?;
        run(pool, births).map_err(|failures| BatchError::new(what, failures))
    }
}

impl World {
    fn begin(&mut self, call: &'static str, objects: &[&str]) -> Result<(), Error> {
        self.calls.push(format!("{call} {}", objects.join(" ")));
        let fault = self.faults.iter().position(|(name, _)| name == call);
        match fault {
            Some(fault) => Err(self.faults.remove(fault).1),
            None => Ok(()),
        }
    }

    fn pool_for(
        &mut self,
        attempt: Attempt,
        need: Need,
    ) -> Result<(&mut Pool, &mut Births), Error> {
        let Some(pool) = self.pools.get_mut(pool_of(&attempt.object)) else {
            return Err(Error::NotFound(attempt));
        };
        if pool.state == PoolState::Suspended {
            Err(Error::Suspended(attempt))
        } else if pool.readonly && need != Need::Read {
            Err(Error::ReadOnly(attempt))
        } else if pool.full && need == Need::Room {
            Err(Error::NoSpace(attempt))
        } else {
            Ok((pool, &mut self.births))
        }
    }
}

impl Zfs for FakeZfs {
    fn list(&self, root: &DatasetName) -> Result<Listing, Error> {
        self.call("list", &[root.as_str()], Need::Read, |pool, _| {
            pool.head("list", root)?;
            Ok(pool.list(root))
        })
    }

    fn guid(&self, object: &str) -> Result<Option<Guid>, Error> {
        terrarium_zfs::engine::pool_of(object)?;
        let found = self.call("guid", &[object], Need::Read, |pool, _| {
            if object.contains('@') {
                let (head, position) = pool.snapshot("look up", &SnapshotName::new(object)?)?;
                Ok(head.snapshots[position].birth.guid)
            } else {
                Ok(pool.head("look up", &DatasetName::new(object)?)?.birth.guid)
            }
        });
        match found {
            Ok(guid) => Ok(Some(guid)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn mounted_at(&self, dataset: &DatasetName) -> Result<Option<String>, Error> {
        self.call("mounted_at", &[dataset.as_str()], Need::Read, |pool, _| {
            let mounted = pool.heads.get(dataset).is_some_and(|head| head.mounted);
            Ok(mounted.then(|| "on this host at /mnt".to_owned()))
        })
    }

    fn create(&self, dataset: &DatasetName, properties: &Properties) -> Result<(), Error> {
        self.call("create", &[dataset.as_str()], Need::Room, |pool, births| {
            pool.create(births, dataset, properties)
        })
    }

    fn snapshot(&self, snapshots: &[(SnapshotName, UserProperties)]) -> Result<(), BatchError> {
        let names: Vec<&SnapshotName> = snapshots.iter().map(|(name, _)| name).collect();
        self.batch("snapshot", &names, Need::Room, |pool, births| {
            pool.take_snapshots(births, snapshots)
        })
    }

    fn destroy_snapshots(&self, snapshots: &[SnapshotName]) -> Result<(), BatchError> {
        let names: Vec<&SnapshotName> = snapshots.iter().collect();
        self.batch("destroy_snapshots", &names, Need::Change, |pool, _| {
            pool.destroy_snapshots(snapshots)
        })
    }

    fn destroy_by_guid(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<(), BatchError> {
        let names: Vec<&SnapshotName> = snapshots.iter().map(|(name, _)| name).collect();
        let failures = self.batch("destroy_by_guid", &names, Need::Change, |pool, _| {
            Ok(pool.destroy_by_guid(snapshots))
        })?;
        if failures.is_empty() {
            return Ok(());
        }
        Err(BatchError {
            others_done: true,
            ..BatchError::new(verb("destroy_by_guid"), failures)
        })
    }

    fn space_of_range(&self, first: &SnapshotName, last: &SnapshotName) -> Result<u64, Error> {
        let objects = [first.as_str(), last.as_str()];
        self.call("space_of_range", &objects, Need::Read, |pool, _| {
            pool.space_of_range(first, last)
        })
    }

    fn holds(&self, snapshot: &SnapshotName) -> Result<Vec<String>, Error> {
        self.call("holds", &[snapshot.as_str()], Need::Read, |pool, _| {
            let (head, position) = pool.snapshot("list the holds of", snapshot)?;
            Ok(head.snapshots[position].holds.iter().cloned().collect())
        })
    }

    fn clone_snapshot(
        &self,
        target: &DatasetName,
        origin: &SnapshotName,
        properties: &Properties,
    ) -> Result<(), Error> {
        let objects = [target.as_str(), origin.as_str()];
        self.call("clone_snapshot", &objects, Need::Room, |pool, births| {
            pool.clone_snapshot(births, target, origin, properties)
        })
    }

    fn copy_snapshot(
        &self,
        target: &DatasetName,
        origin: &SnapshotName,
        properties: &Properties,
    ) -> Result<(), Error> {
        let objects = [target.as_str(), origin.as_str()];
        self.call("copy_snapshot", &objects, Need::Room, |pool, births| {
            pool.copy_snapshot(births, target, origin, properties)
        })
    }

    fn promote(&self, clone: &DatasetName) -> Result<(), Error> {
        self.call("promote", &[clone.as_str()], Need::Change, |pool, _| {
            pool.promote(clone)
        })
    }

    fn check_promote(&self, clone: &DatasetName) -> Result<(), Error> {
        self.call(
            "check_promote",
            &[clone.as_str()],
            Need::Change,
            |pool, _| pool.check_promote(clone).map(|_| ()),
        )
    }

    fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<(), Error> {
        let objects = [from.as_str(), to.as_str()];
        self.call("rename", &objects, Need::Change, |pool, _| {
            pool.rename(from, to)
        })
    }

    fn destroy(&self, dataset: &DatasetName) -> Result<(), Error> {
        self.call("destroy", &[dataset.as_str()], Need::Change, |pool, _| {
            pool.destroy(dataset)
        })
    }

    fn rollback_to(&self, snapshot: &SnapshotName) -> Result<(), Error> {
        self.call(
            "rollback_to",
            &[snapshot.as_str()],
            Need::Change,
            |pool, _| pool.roll_back_to(snapshot),
        )
    }

    fn set_user_properties(
        &self,
        object: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Error> {
        terrarium_zfs::engine::pool_of(object)?;
        self.call("set_user_properties", &[object], Need::Change, |pool, _| {
            pool.set_user_properties(object, changes)
        })
    }

    fn pool_health(&self, pool: &str) -> Result<PoolHealth, Error> {
        let mut world = self.lock();
        world.begin("pool_health", &[pool])?;
        match world.pools.get(pool) {
            Some(pool) => Ok(PoolHealth::new(pool.state, pool.readonly, pool.free())),
            None => Err(Error::NotFound(Attempt::new("examine pool", pool))),
        }
    }

    fn read_file(
        &self,
        snapshot: &SnapshotName,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.call("read_file", &[snapshot.as_str()], Need::Read, |pool, _| {
            let (head, position) = pool.snapshot("read a file of", snapshot)?;
            match head.snapshots[position].content.read(path) {
                Some(bytes) if bytes.len() > limit => {
                    let attempt = Attempt::new("read a file of", snapshot.as_str());
                    Err(Error::TooLarge(attempt))
                }
                bytes => Ok(bytes.map(<[u8]>::to_vec)),
            }
        })
    }
}

/// The words of the kernel binding for what a call attempts.
fn verb(call: &'static str) -> &'static str {
    match call {
        "destroy_snapshots" | "destroy_by_guid" | "destroy_recursively" => "destroy",
        "holds" => "list the holds of",
        "space_of_range" => "find out the space of",
        "clone_snapshot" => "clone to",
        "copy_snapshot" => "copy to",
        "check_promote" => "promote",
        "guid" => "look up",
        "rollback_to" => "roll back to",
        "set_user_properties" => "set properties of",
        "read_file" => "read a file of",
        call => call,
    }
}

pub(super) fn pool_of(object: &str) -> &str {
    let end = object.find(['/', '@', '#']);
    &object[..end.unwrap_or(object.len())]
}
