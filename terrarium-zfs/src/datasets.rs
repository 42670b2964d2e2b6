//! Calls on one dataset: create, clone, rename, destroy, roll back.
#![allow(unsafe_code, reason = "calls libzfs_core")]

use std::ffi::CStr;
use std::ptr;

use crate::error::{Attempt, Error};
use crate::handle::{CName, ZfsCore, done, properties_to_nvlist};
use crate::listing::process;
use crate::names::{DatasetName, SnapshotName};
use crate::properties::Properties;

/// Room for a name in a result: `ZFS_MAX_DATASET_NAME_LEN`.
pub(crate) const NAME_LEN: usize = 256;

/// `LZC_DATSET_TYPE_ZFS` (spelled so in libzfs_core.h).
const FILESYSTEM: u32 = 2;

impl ZfsCore {
    /// Whether a dataset or snapshot of that name exists.
    ///
    /// `false` too if the pool is suspended or the caller may not know: there is no error to tell
    /// them apart (`lzc_exists`).
    pub fn exists(&self, object: &str) -> bool {
        let Ok(name) = std::ffi::CString::new(object) else {
            return false;
        };
        // SAFETY: the library is initialised; the name ends in NUL and outlives the call.
        unsafe { (self.library.lzc_exists)(name.as_ptr()) != 0 }
    }

    /// Creates a filesystem with these properties; it is not mounted.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::NotFound`] if the parent does not exist;
    /// [`Error::InvalidArgument`] or [`Error::NotSupported`] if a property's value is refused, and
    /// then nothing is left behind; the pool's errors (no space, quota, read-only, suspended).
    pub fn create(&self, name: &DatasetName, properties: &Properties) -> Result<(), Error> {
        let list = properties_to_nvlist(properties)?;
        let c_name = name.c();
        // SAFETY: the library is initialised; the name and the list outlive the call, which keeps
        // neither; there is no key, hence the null pointer with length 0.
        let errno = unsafe {
            let (name, list) = (c_name.as_ptr(), list.as_ptr());
            (self.library.lzc_create)(name, FILESYSTEM, list, ptr::null_mut(), 0)
        };
        done("create", name.as_str(), errno)
    }

    /// Clones a snapshot as a new dataset with these properties; it is not mounted.
    ///
    /// A clone inherits from the parent of its *name*: what was set locally on the snapshot's
    /// dataset (quotas, say) is not carried over, so give it here.
    ///
    /// # Errors
    /// [`Error::Exists`] if the target exists; [`Error::NotFound`] if the snapshot or the target's
    /// parent does not; [`Error::CrossesPools`]; [`Error::InvalidArgument`] or
    /// [`Error::NotSupported`] if a property's value is refused, and then no clone is left behind.
    pub fn clone_snapshot(
        &self,
        target: &DatasetName,
        origin: &SnapshotName,
        properties: &Properties,
    ) -> Result<(), Error> {
        let list = properties_to_nvlist(properties)?;
        let (c_target, c_origin) = (target.c(), origin.c());
        // SAFETY: the library is initialised; names and list outlive the call, which keeps none.
        let errno = unsafe {
            (self.library.lzc_clone)(c_target.as_ptr(), c_origin.as_ptr(), list.as_ptr())
        };
        match errno {
            // The kernel does not say which of the two is missing.
            libc::ENOENT if !self.exists(origin.as_str()) => done("clone", origin.as_str(), errno),
            errno => done("clone to", target.as_str(), errno),
        }
    }

    /// Renames a dataset, with all below it, within its pool.
    ///
    /// It stays mounted where it is; its snapshots, clones and holds are untouched.
    ///
    /// # Errors
    /// [`Error::Exists`] if the new name is taken; [`Error::NotFound`] if the dataset or the new
    /// parent does not exist; [`Error::CrossesPools`]; [`Error::InvalidArgument`] if it would move
    /// below itself; [`Error::TooLarge`] if a name below would become too long;
    /// [`Error::QuotaExceeded`] if it does not fit its new parent.
    pub fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<(), Error> {
        let (c_from, c_to) = (from.c(), to.c());
        // SAFETY: the library is initialised; both names outlive the call.
        let errno = unsafe { (self.library.lzc_rename)(c_from.as_ptr(), c_to.as_ptr()) };
        match errno {
            0 => Ok(()),
            libc::EEXIST => Err(Error::Exists {
                attempt: Attempt::new("rename", from.as_str()),
                name: to.to_string(),
            }),
            libc::ENOENT if self.exists(from.as_str()) => {
                Err(Error::NotFound(Attempt::new("rename to", to.as_str())))
            }
            errno => Err(Error::from_errno("rename", from.as_str(), errno)),
        }
    }

    /// Destroys a dataset that has neither snapshots nor children and is not mounted.
    ///
    /// What an interrupted resumable receive left behind in it is destroyed with it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Busy`] if it is mounted, has snapshots, or is being received
    /// into; [`Error::HasChildren`].
    pub fn destroy(&self, dataset: &DatasetName) -> Result<(), Error> {
        let c_name = dataset.c();
        // SAFETY: the library is initialised; the name outlives the call.
        let errno = unsafe { (self.library.lzc_destroy)(c_name.as_ptr()) };
        match errno {
            libc::EEXIST => Err(Error::HasChildren(Attempt::new(
                "destroy",
                dataset.as_str(),
            ))),
            errno => done("destroy", dataset.as_str(), errno),
        }
    }

    /// Rolls a dataset back to its newest snapshot, mounted or not, and says which that was.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the dataset or any snapshot of it does not exist; [`Error::Exists`]
    /// if a bookmark is newer than the newest snapshot; [`Error::Busy`] if a file cannot be
    /// suspended; [`Error::QuotaExceeded`] if the snapshot exceeds `refquota`.
    pub fn rollback(&self, dataset: &DatasetName) -> Result<SnapshotName, Error> {
        let c_name = dataset.c();
        let mut target = [0u8; NAME_LEN];
        // SAFETY: the library is initialised; the name outlives the call, which writes at most
        // `NAME_LEN` bytes, with a NUL, to `target`.
        let errno = unsafe {
            let (name, target) = (c_name.as_ptr(), target.as_mut_ptr().cast());
            (self.library.lzc_rollback)(name, target, NAME_LEN as i32)
        };
        done("roll back", dataset.as_str(), errno)?;
        Ok(SnapshotName::new(&text(&target))?)
    }

    /// Rolls a dataset back to a snapshot *if that is its newest*, mounted or not.
    ///
    /// # Errors
    /// [`Error::Exists`] if a snapshot or bookmark is newer; otherwise as [`ZfsCore::rollback`].
    pub fn rollback_if_newest(&self, snapshot: &SnapshotName) -> Result<(), Error> {
        let (dataset, target) = (snapshot.dataset().c(), snapshot.c());
        // SAFETY: the library is initialised; both names outlive the call.
        let errno = unsafe { (self.library.lzc_rollback_to)(dataset.as_ptr(), target.as_ptr()) };
        match errno {
            libc::EEXIST => Err(Error::Exists {
                attempt: Attempt::new("roll back to", snapshot.as_str()),
                name: "a newer snapshot or bookmark".to_owned(),
            }),
            errno => done("roll back to", snapshot.as_str(), errno),
        }
    }

    /// Rolls a dataset back to one of its snapshots and *destroys everything newer*: snapshots and
    /// bookmarks.
    ///
    /// Three calls, since libzfs_core refuses to roll back past anything (`zfs rollback -r` does
    /// the same). First all newer snapshots are destroyed, or none; then the newer bookmarks; then
    /// the dataset is rolled back. Cut short in between, the same call again finishes it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Busy`] if a newer snapshot is held, being sent or mounted, and
    /// [`Error::HasClones`] if one has clones: then nothing was changed, and the error names that
    /// snapshot; otherwise as [`ZfsCore::rollback`].
    pub fn rollback_to(&self, snapshot: &SnapshotName) -> Result<(), Error> {
        let first = |error: crate::BatchError| {
            let failure = error.failures.into_iter().next();
            let unknown = || Error::unexpected("roll back to", snapshot.as_str(), "no reason");
            failure.map_or_else(unknown, |(_, error)| error)
        };
        let newer = process::newer_than(self, snapshot)?;
        self.destroy_snapshots(&newer.snapshots, false)
            .map_err(first)?;
        self.destroy_bookmarks(&newer.bookmarks).map_err(first)?;
        self.rollback_if_newest(snapshot)
    }
}

/// The text in a buffer, up to its NUL.
pub(crate) fn text(buffer: &[u8]) -> String {
    CStr::from_bytes_until_nul(buffer)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
