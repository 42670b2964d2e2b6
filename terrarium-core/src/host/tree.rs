//! Trees of this host's snapshots, for comparisons.

use std::sync::Arc;

use terrarium_zfs::{Guid, SnapshotName};

use super::Host;
use crate::instances::Instances;
use crate::inventory::Inventory;
use crate::streams::Streams;
use crate::tree::{DirectoryError, TreeError, TreeListing};

impl<Z: Streams, I: Instances> Host<Z, I> {
    /// Reads every file of the snapshot of a guid, wherever it lies; `None` if this host does not have it.
    ///
    /// # Errors
    /// [`TreeError`].
    pub async fn tree(
        &self,
        inventory: &Inventory,
        guid: Guid,
    ) -> Result<Option<TreeListing>, TreeError> {
        let all = inventory
            .pools
            .iter()
            .flat_map(|pool| &pool.listing.snapshots);
        let found = all.into_iter().find(|snapshot| snapshot.guid == guid);
        match found {
            Some(found) => self.tree_of(found.name.clone()).await.map(Some),
            None => Ok(None),
        }
    }

    /// Reads every file of a snapshot.
    pub(crate) async fn tree_of(&self, snapshot: SnapshotName) -> Result<TreeListing, TreeError> {
        let zfs = Arc::clone(&self.zfs);
        let name = snapshot.clone();
        let reading = tokio::task::spawn_blocking(move || zfs.tree(&name)).await;
        reading.unwrap_or_else(|_| {
            Err(TreeError::Directory(DirectoryError {
                path: snapshot.as_str().into(),
                source: std::io::ErrorKind::Interrupted.into(),
            }))
        })
    }
}
