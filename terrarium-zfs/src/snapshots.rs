//! Snapshots: take, destroy, hold, release, and the user properties of snapshots and datasets.
#![allow(unsafe_code, reason = "calls libzfs_core")]

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Programs;
use crate::error::{Attempt, BatchError, Error};
use crate::handle::{Batch, CName, ZfsCore, by_errno, done, user_properties_to_nvlist};
use crate::ids::Guid;
use crate::names::SnapshotName;
use crate::nvlist::{NvList, Value};
use crate::program::Limits;
use crate::properties::{UserProperties, check_user_property, check_user_property_name};

/// The longest tag of a hold: the kernel stores it as a name in a ZAP (`ZAP_MAXNAMELEN` less the
/// terminating NUL), yet checks for one byte more.
const MAX_TAG_LEN: usize = 255;

/// What an error of [`ZfsCore::space_of_range`] says was attempted.
const SPACE: &str = "find out the space of";

impl ZfsCore {
    /// Takes snapshots of several datasets of one pool in one transaction group, all or none, all
    /// with the same user properties.
    ///
    /// # Errors
    /// Names the snapshots that failed (if a dataset does not exist, perhaps only those without
    /// one, since the kernel looks for that first): [`Error::Exists`]; [`Error::NotFound`] if its
    /// dataset does not exist; [`Error::QuotaExceeded`] at a `snapshot_limit`; [`Error::CrossesPools`];
    /// [`Error::InvalidArgument`] for a second snapshot of one dataset, which one transaction group
    /// cannot hold. None was taken then.
    pub fn snapshot(
        &self,
        names: &[SnapshotName],
        properties: &UserProperties,
    ) -> Result<(), BatchError> {
        let Some(batch) = one_of_each_dataset(names.iter())? else {
            return Ok(());
        };
        let whole = |error| batch.whole(error);
        let snapshots = names_to_nvlist(names.iter().map(SnapshotName::as_str)).map_err(whole)?;
        let properties = user_properties_to_nvlist(properties).map_err(whole)?;
        batch.call(self, by_errno, |library, errors| {
            // SAFETY: the library is initialised; both lists outlive the call, which keeps
            // neither; `errors` takes the address of a new list or stays null.
            unsafe { (library.lzc_snapshot)(snapshots.as_ptr(), properties.as_ptr(), errors) }
        })
    }

    /// Takes snapshots of several datasets of one pool in one transaction group, all or none, each
    /// with its own user properties.
    ///
    /// A synchronous channel program: everything is checked first, then done; should something
    /// fail even so, what was done is undone in the same transaction group.
    ///
    /// # Errors
    /// As [`ZfsCore::snapshot`]. [`Error::Program`] if the program could not run (the kernel
    /// reports a full pool this way too).
    pub fn snapshot_each(
        &self,
        snapshots: &[(SnapshotName, UserProperties)],
    ) -> Result<(), BatchError> {
        snapshot_each(self, snapshots)
    }

    /// Destroys snapshots of one pool, all or none. One that does not exist counts as destroyed.
    ///
    /// With `defer`, one that is held or has clones is marked instead, and goes when the last hold
    /// or clone does. Snapshots that are automounted below `.zfs/snapshot` are unmounted, even if
    /// the call then fails.
    ///
    /// # Errors
    /// Names each snapshot that stands in the way: [`Error::Busy`] if it is held, being sent or
    /// mounted; [`Error::HasClones`]; [`Error::CrossesPools`]. None was destroyed then.
    pub fn destroy_snapshots(&self, names: &[SnapshotName], defer: bool) -> Result<(), BatchError> {
        let objects = names.iter().map(|name| (name.as_str(), name.pool()));
        let Some(batch) = Batch::new("destroy", objects)? else {
            return Ok(());
        };
        let snapshots = names_to_nvlist(names.iter().map(SnapshotName::as_str))
            .map_err(|error| batch.whole(error))?;
        batch.call(self, destroy_error, |library, errors| {
            // SAFETY: the library is initialised; the list outlives the call; `errors` takes the
            // address of a new list or stays null.
            unsafe { (library.lzc_destroy_snaps)(snapshots.as_ptr(), defer.into(), errors) }
        })
    }

    /// Destroys snapshots of one pool, each only if it still has this guid, in one transaction group: between the look
    /// at a name and its destruction it may have come to mean another snapshot. Those that cannot be destroyed do not
    /// keep the others. One that does not exist counts as destroyed.
    ///
    /// A synchronous channel program: libzfs_core destroys by name only. Nothing is unmounted: a snapshot that somebody
    /// looks at below `.zfs/snapshot` is in use.
    ///
    /// # Errors
    /// Names each snapshot that was not destroyed: [`Error::Replaced`]; [`Error::Busy`] if it is held, being sent or
    /// mounted; [`Error::HasClones`]. The others were, and [`BatchError::others_done`] says so.
    /// [`Error::CrossesPools`], and any error of the call as a whole, leaves them all.
    pub fn destroy_by_guid(&self, snapshots: &[(SnapshotName, Guid)]) -> Result<(), BatchError> {
        destroy_by_guid(self, snapshots)
    }

    /// Holds snapshots of one pool, each under a tag: a held snapshot cannot be destroyed.
    ///
    /// One call holds a snapshot once; a second tag for it takes a second call.
    ///
    /// # Errors
    /// Names each snapshot that failed: [`Error::Exists`] if it has a hold of that tag;
    /// [`Error::TooLarge`] if the tag exceeds 255 bytes; [`Error::InvalidArgument`] if the tag is
    /// empty or the snapshot was named twice: no hold was made then. [`Error::NotFound`] alone
    /// leaves the others held, and [`BatchError::others_done`] says so.
    pub fn hold(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError> {
        let Some((batch, list)) = hold_list(holds)? else {
            return Ok(());
        };
        batch.call(self, by_errno, |library, errors| {
            // SAFETY: the library is initialised; the list outlives the call; -1 asks for lasting
            // holds; `errors` takes the address of a new list or stays null.
            unsafe { (library.lzc_hold)(list.as_ptr(), -1, errors) }
        })
    }

    /// Releases holds on snapshots of one pool. A snapshot whose destruction was deferred goes
    /// with its last hold.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a snapshot that does not exist, or as `snapshot#tag` for a hold that
    /// does not: the others are released even so, and [`BatchError::others_done`] says so. After
    /// any other error no hold was released.
    pub fn release(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError> {
        let Some((batch, list)) = release_list(holds)? else {
            return Ok(());
        };
        batch.call(self, by_errno, |library, errors| {
            // SAFETY: the library is initialised; the list outlives the call; `errors` takes the
            // address of a new list or stays null.
            unsafe { (library.lzc_release)(list.as_ptr(), errors) }
        })
    }

    /// The holds of a snapshot: tags, and when they were made in seconds since 1970.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn holds(&self, snapshot: &SnapshotName) -> Result<BTreeMap<String, i64>, Error> {
        let operation = "list the holds of";
        let name = snapshot.c();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the library is initialised; the name outlives the call; `raw` takes the address
        // of a new list.
        let errno = unsafe { (self.library.lzc_get_holds)(name.as_ptr(), &mut raw) };
        if errno != 0 {
            // Nothing is returned with an error: lzc_get_holds makes its list on success only.
            return Err(Error::from_errno(operation, snapshot.as_str(), errno));
        }
        let list = NvList::adopt(self.nvpair, raw, 0)?;
        let holds = list.iter().map(|(tag, time)| {
            let time = time.integer().unwrap_or_default();
            (tag.to_string_lossy().into_owned(), time)
        });
        Ok(holds.collect())
    }

    /// Bytes that would be free if all snapshots of a dataset from `first` to `last` were destroyed: more than what each
    /// of them holds alone, for what some of them share goes too.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InvalidArgument`] if `first` is not `last` or an earlier one of its dataset.
    pub fn space_of_range(&self, first: &SnapshotName, last: &SnapshotName) -> Result<u64, Error> {
        let (c_first, c_last) = (first.c(), last.c());
        let mut bytes = 0;
        // SAFETY: the library is initialised; the names outlive the call, which writes to `bytes`.
        let errno = unsafe {
            (self.library.lzc_snaprange_space)(c_first.as_ptr(), c_last.as_ptr(), &mut bytes)
        };
        done(SPACE, last.as_str(), errno).map(|()| bytes)
    }

    /// Sets user properties of a dataset or snapshot, or removes those that are `None` (so that
    /// they are inherited again); all or none, in one transaction group.
    ///
    /// A synchronous channel program: libzfs_core has no call to set properties.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Name`] if `object` is no name; [`Error::Property`];
    /// [`Error::Program`] if the program could not run.
    pub fn set_user_properties(
        &self,
        object: &str,
        properties: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Error> {
        set_user_properties(self, object, properties)
    }
}

impl Programs for ZfsCore {
    fn run_synchronous(
        &self,
        pool: &str,
        program: &str,
        arguments: &NvList,
    ) -> Result<NvList, Error> {
        self.channel_program(pool, program, Limits::MAX, arguments)
    }
}

/// [`ZfsCore::snapshot_each`] on any engine.
///
/// # Errors
/// As there.
pub fn snapshot_each(
    zfs: &dyn Programs,
    snapshots: &[(SnapshotName, UserProperties)],
) -> Result<(), BatchError> {
    let names = snapshots.iter().map(|(name, _)| name);
    let Some(batch) = one_of_each_dataset(names)? else {
        return Ok(());
    };
    let failed = || -> Result<Vec<(String, i32)>, Error> {
        let mut arguments = NvList::new()?;
        for (name, properties) in snapshots {
            arguments.add_list(name.as_str(), &user_properties_to_nvlist(properties)?)?;
        }
        let result = zfs.run_synchronous(&batch.pool, SNAPSHOT_EACH, &arguments)?;
        let failed = result.value("return").and_then(|value| value.list());
        let failed = failed.ok_or_else(|| {
            Error::unexpected("snapshot", &batch.pool, "the program returned no table")
        })?;
        Ok(failed
            .iter()
            .map(|(name, errno)| {
                let errno = errno.integer().and_then(|errno| errno.try_into().ok());
                (
                    name.to_string_lossy().into_owned(),
                    errno.unwrap_or(libc::EIO),
                )
            })
            .collect())
    };
    let failed = failed().map_err(|error| batch.whole(error))?;
    if failed.is_empty() {
        return Ok(());
    }
    let failures = failed.into_iter().map(|(name, errno)| {
        let error = Error::from_errno(batch.operation, &name, errno);
        (name, error)
    });
    Err(BatchError::new(batch.operation, failures.collect()))
}

/// [`ZfsCore::destroy_by_guid`] on any engine.
///
/// # Errors
/// As there.
pub fn destroy_by_guid(
    zfs: &dyn Programs,
    snapshots: &[(SnapshotName, Guid)],
) -> Result<(), BatchError> {
    let objects = snapshots
        .iter()
        .map(|(name, _)| (name.as_str(), name.pool()));
    let Some(batch) = Batch::new("destroy", objects)? else {
        return Ok(());
    };
    let failed = || -> Result<Vec<(String, Error)>, Error> {
        let mut arguments = NvList::new()?;
        for (name, guid) in snapshots {
            // Lua's numbers are signed; the bits are what is compared.
            arguments.add_i64(name.as_str(), guid.get().cast_signed())?;
        }
        let result = zfs.run_synchronous(&batch.pool, DESTROY_BY_GUID, &arguments)?;
        let failed = result.value("return").and_then(|value| value.list());
        let failed = failed.ok_or_else(|| {
            Error::unexpected(
                batch.operation,
                &batch.pool,
                "the program returned no table",
            )
        })?;
        let failed = failed.iter().map(|(name, errno)| {
            let name = name.to_string_lossy().into_owned();
            let errno = errno.integer().and_then(|errno| i32::try_from(errno).ok());
            let error = match errno {
                Some(IS_ANOTHER) => Error::Replaced(Attempt::new(batch.operation, &name)),
                errno => destroy_error(batch.operation, &name, errno.unwrap_or(libc::EIO)),
            };
            (name, error)
        });
        Ok(failed.collect())
    };
    let failed = failed().map_err(|error| batch.whole(error))?;
    if failed.is_empty() {
        return Ok(());
    }
    Err(BatchError {
        others_done: true,
        ..BatchError::new(batch.operation, failed)
    })
}

/// The tags of a snapshot's holds, on an engine that has no call for them.
///
/// # Errors
/// [`Error::NotFound`].
pub fn holds(zfs: &dyn Programs, snapshot: &SnapshotName) -> Result<Vec<String>, Error> {
    let operation = "list the holds of";
    let mut arguments = NvList::new()?;
    arguments.add_str("snapshot", snapshot.as_str())?;
    let result = zfs.run_synchronous(snapshot.pool(), HOLDS, &arguments)?;
    match result.value("return") {
        Some(Value::I64(errno)) => {
            let errno = errno.try_into().unwrap_or(libc::EIO);
            Err(Error::from_errno(operation, snapshot.as_str(), errno))
        }
        Some(value) => match value.list() {
            Some(tags) => Ok(tags
                .iter()
                .map(|(tag, _)| tag.to_string_lossy().into_owned())
                .collect()),
            None => Err(Error::unexpected(
                operation,
                snapshot.as_str(),
                format!("{value:?}"),
            )),
        },
        None => Err(Error::unexpected(
            operation,
            snapshot.as_str(),
            "nothing was returned",
        )),
    }
}

/// [`ZfsCore::set_user_properties`] on any engine.
///
/// # Errors
/// As there.
pub fn set_user_properties(
    zfs: &dyn Programs,
    object: &str,
    properties: &BTreeMap<String, Option<String>>,
) -> Result<(), Error> {
    let operation = "set properties of";
    let pool = crate::names::pool_of(object)?;
    let mut set = NvList::new()?;
    let mut remove = NvList::new()?;
    for (name, value) in properties {
        match value {
            Some(value) => {
                check_user_property(name, value)?;
                set.add_str(name, value)?;
            }
            None => {
                check_user_property_name(name)?;
                remove.add_bool(name, true)?;
            }
        }
    }
    let mut arguments = NvList::new()?;
    arguments.add_str("object", object)?;
    arguments.add_list("set", &set)?;
    arguments.add_list("remove", &remove)?;
    let result = zfs.run_synchronous(&pool, SET_USER_PROPERTIES, &arguments)?;
    match result.value("return") {
        Some(Value::I64(0)) => Ok(()),
        Some(Value::I64(errno)) => {
            let errno = errno.try_into().unwrap_or(libc::EIO);
            Err(Error::from_errno(operation, object, errno))
        }
        other => Err(Error::unexpected(operation, object, format!("{other:?}"))),
    }
}

/// The error of one snapshot that was to be destroyed.
pub fn destroy_error(operation: &'static str, object: &str, errno: i32) -> Error {
    match errno {
        libc::EEXIST => Error::HasClones(Attempt::new(operation, object)),
        errno => Error::from_errno(operation, object, errno),
    }
}

/// A call on holds and the list it takes.
pub type HoldList = (Batch, NvList);

/// The call that makes holds; `None` if there are none.
///
/// # Errors
/// What [`ZfsCore::hold`] refuses before it asks ZFS.
pub fn hold_list(holds: &[(SnapshotName, String)]) -> Result<Option<HoldList>, BatchError> {
    let objects = holds.iter().map(|(name, _)| (name.as_str(), name.pool()));
    let Some(batch) = Batch::new("hold", objects)? else {
        return Ok(None);
    };
    let mut seen = BTreeSet::new();
    let mut refused = Vec::new();
    for (name, tag) in holds {
        let attempt = Attempt::new(batch.operation, name.as_str());
        if tag.len() > MAX_TAG_LEN {
            refused.push((name.to_string(), Error::TooLarge(attempt)));
        } else if tag.is_empty() || !seen.insert(name) {
            refused.push((name.to_string(), Error::InvalidArgument(attempt)));
        }
    }
    if !refused.is_empty() {
        return Err(BatchError::new(batch.operation, refused));
    }
    let list = || -> Result<NvList, Error> {
        let mut list = NvList::new()?;
        for (name, tag) in holds {
            list.add_str(name.as_str(), tag)?;
        }
        Ok(list)
    };
    let list = list().map_err(|error| batch.whole(error))?;
    Ok(Some((batch, list)))
}

/// The call that releases holds; `None` if there are none.
///
/// # Errors
/// What [`ZfsCore::release`] refuses before it asks ZFS.
pub fn release_list(holds: &[(SnapshotName, String)]) -> Result<Option<HoldList>, BatchError> {
    let objects = holds.iter().map(|(name, _)| (name.as_str(), name.pool()));
    let Some(batch) = Batch::new("release", objects)? else {
        return Ok(None);
    };
    let mut tags: BTreeMap<&SnapshotName, Vec<&str>> = BTreeMap::new();
    for (name, tag) in holds {
        tags.entry(name).or_default().push(tag);
    }
    let list = || -> Result<NvList, Error> {
        let mut list = NvList::new()?;
        for (name, tags) in tags {
            list.add_list(name.as_str(), &names_to_nvlist(tags)?)?;
        }
        Ok(list)
    };
    let list = list().map_err(|error| batch.whole(error))?;
    Ok(Some((batch, list)))
}

/// Checks first, then acts. The checks run in the syncing context, where they are complete.
const SNAPSHOT_EACH: &str = r"
local wanted = ...
local failed, any = {}, false
for snapshot in pairs(wanted) do
    local errno = zfs.check.snapshot(snapshot)
    if errno ~= 0 then
        failed[snapshot] = errno
        any = true
    end
end
if any then
    return failed
end
local taken = {}
for snapshot, properties in pairs(wanted) do
    local errno = zfs.sync.snapshot(snapshot)
    if errno == 0 then
        taken[#taken + 1] = snapshot
        for name, value in pairs(properties) do
            errno = zfs.sync.set_prop(snapshot, name, value)
            if errno ~= 0 then
                break
            end
        end
    end
    if errno ~= 0 then
        for _, name in ipairs(taken) do
            zfs.sync.destroy(name)
        end
        failed[snapshot] = errno
        return failed
    end
end
return failed
";

/// What [`DESTROY_BY_GUID`] returns for a snapshot of another guid; no error number is negative.
const IS_ANOTHER: i32 = -1;

/// `zfs.sync.destroy` checks what `lzc_destroy_snaps` checks, and does nothing if that fails.
const DESTROY_BY_GUID: &str = r"
local wanted = ...
local failed = {}
for snapshot, guid in pairs(wanted) do
    if zfs.exists(snapshot) then
        local errno = -1
        if zfs.get_prop(snapshot, 'guid') == guid then
            errno = zfs.sync.destroy(snapshot)
        end
        if errno ~= 0 then
            failed[snapshot] = errno
        end
    end
end
return failed
";

const HOLDS: &str = r"
local arguments = ...
if not zfs.exists(arguments.snapshot) then
    return ENOENT
end
local tags = {}
for tag in zfs.list.holds(arguments.snapshot) do
    tags[tag] = true
end
return tags
";

/// `zfs.exists` first: inheriting a user property of what does not exist is not checked by the
/// kernel, it panics.
const SET_USER_PROPERTIES: &str = r"
local arguments = ...
local object = arguments.object
if not zfs.exists(object) then
    return ENOENT
end
for name, value in pairs(arguments.set) do
    local errno = zfs.check.set_prop(object, name, value)
    if errno ~= 0 then
        return errno
    end
end
for name in pairs(arguments.remove) do
    local errno = zfs.check.inherit(object, name)
    if errno ~= 0 then
        return errno
    end
end
for name, value in pairs(arguments.set) do
    local errno = zfs.sync.set_prop(object, name, value)
    if errno ~= 0 then
        return errno
    end
end
for name in pairs(arguments.remove) do
    local errno = zfs.sync.inherit(object, name)
    if errno ~= 0 then
        return errno
    end
end
return 0
";

/// Starts a call that takes one snapshot of each of some datasets.
fn one_of_each_dataset<'a>(
    names: impl Iterator<Item = &'a SnapshotName> + Clone,
) -> Result<Option<Batch>, BatchError> {
    let operation = "snapshot";
    let batch = Batch::new(
        operation,
        names.clone().map(|name| (name.as_str(), name.pool())),
    )?;
    let mut seen = BTreeSet::new();
    let again: Vec<_> = names
        .filter(|name| !seen.insert(name.dataset_str()))
        .map(|name| {
            let error = Error::InvalidArgument(Attempt::new(operation, name.as_str()));
            (name.to_string(), error)
        })
        .collect();
    if again.is_empty() {
        Ok(batch)
    } else {
        Err(BatchError::new(operation, again))
    }
}

/// A list of names without values.
///
/// # Errors
/// [`Error::InvalidArgument`] if a name contains a NUL.
pub fn names_to_nvlist<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<NvList, Error> {
    let mut list = NvList::new()?;
    for name in names {
        list.add_flag(name)?;
    }
    Ok(list)
}
