//! Bookmarks: make and destroy.

use terrarium_zfs::engine::{Batch, by_errno, names_to_nvlist};
use terrarium_zfs::nvlist::NvList;
use terrarium_zfs::{BatchError, BookmarkName, Error, SnapshotName};

use crate::engine::Engine;

impl Engine {
    /// Makes bookmarks of snapshots, all or none.
    ///
    /// # Errors
    /// Names each bookmark that failed: [`Error::Exists`]; [`Error::NotFound`] if its snapshot does not
    /// exist; [`Error::NotAncestor`](Error::NotAncestor) if that is of another dataset.
    pub fn bookmark(&self, bookmarks: &[(BookmarkName, SnapshotName)]) -> Result<(), BatchError> {
        let objects = bookmarks.iter();
        let objects = objects.map(|(name, _)| (name.as_str(), name.pool()));
        let Some(batch) = Batch::new("bookmark", objects)? else {
            return Ok(());
        };
        let list = || -> Result<NvList, Error> {
            let mut list = NvList::new()?;
            for (bookmark, snapshot) in bookmarks {
                list.add_str(bookmark.as_str(), snapshot.as_str())?;
            }
            Ok(list)
        };
        let list = list().map_err(|error| batch.whole(error))?;
        self.batch(
            "bookmark",
            &batch,
            &list,
            |operation, object, errno| match errno {
                libc::EXDEV => Error::NotAncestor(terrarium_zfs::Attempt::new(operation, object)),
                errno => by_errno(operation, object, errno),
            },
        )
    }

    /// Destroys bookmarks. One that does not exist counts as destroyed.
    ///
    /// # Errors
    /// Names each bookmark that failed.
    pub fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Result<(), BatchError> {
        let objects = bookmarks.iter().map(|name| (name.as_str(), name.pool()));
        let Some(batch) = Batch::new("destroy", objects)? else {
            return Ok(());
        };
        let names = names_to_nvlist(bookmarks.iter().map(BookmarkName::as_str))
            .map_err(|error| batch.whole(error))?;
        self.batch("destroy-bookmarks", &batch, &names, by_errno)
    }
}
