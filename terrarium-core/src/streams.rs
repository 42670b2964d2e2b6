//! The seam to ZFS for what leaves a host and comes back: send streams, and what keeps their snapshots.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;

use terrarium_zfs::{
    BatchError, BookmarkName, Error, ReceiveOptions, Received, SendFlags, SendSource, SnapshotName,
    ZfsCore,
};

use crate::tree::{TreeError, TreeListing, hash_directory};
use crate::zfs::Zfs;

/// The calls that exports and restores from elsewhere are made of, beside those of [`Zfs`]. Every one blocks.
///
/// Implemented by [`ZfsCore`] for the kernel's ZFS, with the feature `embedded` by `terrarium_zpool::Engine`.
pub trait Streams: Zfs {
    /// Writes the stream of a snapshot, full or since `from`, to a pipe or file.
    ///
    /// # Errors
    /// As [`ZfsCore::send`]; only the return without an error says that the stream is complete.
    fn send(
        &self,
        snapshot: &SnapshotName,
        from: Option<&SendSource>,
        flags: SendFlags,
        output: BorrowedFd<'_>,
    ) -> Result<(), Error>;

    /// About how many bytes a stream has, full or since a snapshot. Quick, which it is not always since a bookmark.
    ///
    /// # Errors
    /// As [`ZfsCore::send_space`].
    fn send_space(
        &self,
        snapshot: &SnapshotName,
        from: Option<&SnapshotName>,
        flags: SendFlags,
    ) -> Result<u64, Error>;

    /// Receives the stream of one snapshot as `snapshot`.
    ///
    /// # Errors
    /// As [`ZfsCore::receive`].
    fn receive(
        &self,
        snapshot: &SnapshotName,
        options: &ReceiveOptions,
        input: BorrowedFd<'_>,
    ) -> Result<Received, Error>;

    /// Puts named holds on snapshots of one pool, all or none: they cannot be destroyed until released.
    ///
    /// # Errors
    /// As [`ZfsCore::hold`].
    fn hold(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError>;

    /// Takes holds off.
    ///
    /// # Errors
    /// As [`ZfsCore::release`].
    fn release(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError>;

    /// Bookmarks snapshots of one pool, all or none.
    ///
    /// # Errors
    /// As [`ZfsCore::bookmark`].
    fn bookmark(&self, bookmarks: &[(BookmarkName, SnapshotName)]) -> Result<(), BatchError>;

    /// Destroys bookmarks of one pool. One that does not exist counts as destroyed.
    ///
    /// # Errors
    /// As [`ZfsCore::destroy_bookmarks`].
    fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Result<(), BatchError>;

    /// Reads every file of a snapshot. The kernel's is mounted for that, read-only and where nobody else sees it.
    ///
    /// # Errors
    /// [`TreeError`]: also if anything in it is damaged.
    fn tree(&self, snapshot: &SnapshotName) -> Result<TreeListing, TreeError>;
}

macro_rules! streams_of {
    ($engine:ty, $tree:expr) => {
        impl Streams for $engine {
            fn send(
                &self,
                snapshot: &SnapshotName,
                from: Option<&SendSource>,
                flags: SendFlags,
                output: BorrowedFd<'_>,
            ) -> Result<(), Error> {
                <$engine>::send(self, snapshot, from, flags, output)
            }

            fn send_space(
                &self,
                snapshot: &SnapshotName,
                from: Option<&SnapshotName>,
                flags: SendFlags,
            ) -> Result<u64, Error> {
                let from = from.cloned().map(SendSource::Snapshot);
                <$engine>::send_space(self, snapshot, from.as_ref(), flags)
            }

            fn receive(
                &self,
                snapshot: &SnapshotName,
                options: &ReceiveOptions,
                input: BorrowedFd<'_>,
            ) -> Result<Received, Error> {
                <$engine>::receive(self, snapshot, options, input)
            }

            fn hold(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError> {
                <$engine>::hold(self, holds)
            }

            fn release(&self, holds: &[(SnapshotName, String)]) -> Result<(), BatchError> {
                <$engine>::release(self, holds)
            }

            fn bookmark(
                &self,
                bookmarks: &[(BookmarkName, SnapshotName)],
            ) -> Result<(), BatchError> {
                <$engine>::bookmark(self, bookmarks)
            }

            fn destroy_bookmarks(&self, bookmarks: &[BookmarkName]) -> Result<(), BatchError> {
                <$engine>::destroy_bookmarks(self, bookmarks)
            }

            fn tree(&self, snapshot: &SnapshotName) -> Result<TreeListing, TreeError> {
                $tree(self, snapshot)
            }
        }
    };
}

streams_of!(ZfsCore, of_the_kernel);
#[cfg(feature = "embedded")]
streams_of!(terrarium_zpool::Engine, of_the_engine);

fn of_the_kernel(zfs: &ZfsCore, snapshot: &SnapshotName) -> Result<TreeListing, TreeError> {
    let root = zfs.mount_snapshot(snapshot)?;
    // The dot leads into what the descriptor stands for.
    let path = PathBuf::from(format!("/proc/self/fd/{}/.", root.as_raw_fd()));
    let listing = hash_directory(&path)?;
    drop(root);
    Ok(listing)
}

#[cfg(feature = "embedded")]
fn of_the_engine(
    engine: &terrarium_zpool::Engine,
    snapshot: &SnapshotName,
) -> Result<TreeListing, TreeError> {
    let tree = crate::tree::hash_snapshot(engine, snapshot.as_str())?;
    match tree.damaged.into_iter().next() {
        None => Ok(tree.listing),
        Some(path) => Err(TreeError::Damaged { path }),
    }
}
