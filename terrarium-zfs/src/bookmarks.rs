//! Bookmarks: make, list, destroy.
#![allow(unsafe_code, reason = "calls libzfs_core")]

use crate::error::{Attempt, BatchError, Error, zfs_errno};
use crate::handle::{Batch, CName, ZfsCore, by_errno};
use crate::ids::{Guid, Txg};
use crate::listing::Bookmark;
use crate::names::{BookmarkName, DatasetName, SnapshotName};
use crate::nvlist::{NvList, NvListRef, Value};
use crate::snapshots::names_to_nvlist;

impl ZfsCore {
    /// Bookmarks snapshots of one pool, all or none: a bookmark is an incremental source that
    /// takes next to no space and outlives its snapshot.
    ///
    /// # Errors
    /// Names each bookmark that failed: [`Error::Exists`]; [`Error::NotFound`] if the snapshot or
    /// the bookmark's dataset does not exist; [`Error::NotAncestor`] if the snapshot is no earlier
    /// point of the bookmark's dataset; [`Error::CrossesPools`]. None was made then.
    pub fn bookmark(&self, bookmarks: &[(BookmarkName, SnapshotName)]) -> Result<(), BatchError> {
        let objects = bookmarks
            .iter()
            .map(|(name, _)| (name.as_str(), name.pool()));
        let Some(batch) = Batch::new("bookmark", objects)? else {
            return Ok(());
        };
        let list = || -> Result<NvList, Error> {
            let mut list = NvList::new()?;
            for (name, snapshot) in bookmarks {
                list.add_str(name.as_str(), snapshot.as_str())?;
            }
            Ok(list)
        };
        let list = list().map_err(|error| batch.whole(error))?;
        let classify = |operation, object: &str, errno| match errno {
            zfs_errno::BOOKMARK_SOURCE_NOT_ANCESTOR => {
                Error::NotAncestor(Attempt::new(operation, object))
            }
            errno => Error::from_errno(operation, object, errno),
        };
        batch.call(self, classify, |library, errors| {
            // SAFETY: the library is initialised; the list outlives the call; `errors` takes the
            // address of a new list or stays null.
            unsafe { (library.lzc_bookmark)(list.as_ptr(), errors) }
        })
    }

    /// The bookmarks of one dataset, in the order of their snapshots.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn bookmarks(&self, dataset: &DatasetName) -> Result<Vec<Bookmark>, Error> {
        let operation = "list the bookmarks of";
        let wanted = names_to_nvlist(["guid", "createtxg", "creation"])?;
        let name = dataset.c();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the library is initialised; name and list outlive the call; `raw` takes the
        // address of a new list.
        let errno =
            unsafe { (self.library.lzc_get_bookmarks)(name.as_ptr(), wanted.as_ptr(), &mut raw) };
        let list = if raw.is_null() {
            None
        } else {
            Some(NvList::adopt(self.nvpair, raw, 0)?)
        };
        if errno != 0 {
            return Err(Error::from_errno(operation, dataset.as_str(), errno));
        }
        let mut bookmarks = Vec::new();
        for (name, value) in list.iter().flatten() {
            let name = dataset.bookmark(&name.to_string_lossy())?;
            let number = |property| {
                value
                    .list()
                    .and_then(|properties| number(properties, property))
                    .ok_or_else(|| {
                        Error::unexpected(operation, name.as_str(), format!("no {property}"))
                    })
            };
            let guid = Guid::new(number("guid")?);
            let createtxg = Txg::new(number("createtxg")?);
            let creation = number("creation")? as i64;
            bookmarks.push(Bookmark::new(name, guid, createtxg, creation));
        }
        bookmarks.sort_by(|a, b| (a.createtxg, &a.name).cmp(&(b.createtxg, &b.name)));
        Ok(bookmarks)
    }

    /// Destroys bookmarks of one pool, all or none. One that does not exist counts as destroyed.
    ///
    /// # Errors
    /// Names each bookmark that failed; none was destroyed then.
    pub fn destroy_bookmarks(&self, names: &[BookmarkName]) -> Result<(), BatchError> {
        let objects = names.iter().map(|name| (name.as_str(), name.pool()));
        let Some(batch) = Batch::new("destroy", objects)? else {
            return Ok(());
        };
        let list = names_to_nvlist(names.iter().map(BookmarkName::as_str))
            .map_err(|error| batch.whole(error))?;
        batch.call(self, by_errno, |library, errors| {
            // SAFETY: the library is initialised; the list outlives the call; `errors` takes the
            // address of a new list or stays null.
            unsafe { (library.lzc_destroy_bookmarks)(list.as_ptr(), errors) }
        })
    }
}

/// A property in the form `{ value: number }`.
fn number(properties: NvListRef<'_>, name: &str) -> Option<u64> {
    match properties.value(name)?.list()?.value("value")? {
        Value::U64(number) => Some(number),
        _ => None,
    }
}
