//! The origins of clones that came from archives: one that has lost its last clone goes.

use std::sync::Arc;
use std::time::Duration;

use terrarium_zfs::{DatasetName, Guid, Listing, SnapshotName};

use super::Session;
use crate::error::Error;
use crate::instances::Instances;
use crate::layout::PoolLayout;
use crate::lock::Lock;
use crate::zfs::Zfs;

/// How often is looked whether another process has done with the origins.
const PAUSE: Duration = Duration::from_millis(200);

impl<Z: Zfs, I: Instances> Session<'_, Z, I> {
    /// Removes the origins that nothing is a clone of any more. Whatever is in the way of that: the next session tries
    /// again.
    ///
    /// Done when a session has done its work, not when it begins: what an interrupted restore has received may have no
    /// clone yet.
    pub(crate) async fn sweep_origins(&self) {
        let pools = &self.planner.inventory.pools;
        let layouts = pools.iter().filter(|pool| {
            let origins = pool.layout.origins();
            origins.is_ok_and(|origins| pool.listing.datasets.iter().any(|one| one.name == origins))
        });
        for pool in layouts {
            let Ok(_lock) = self.try_lock_origins(&pool.layout) else {
                continue;
            };
            let (zfs, layout) = (Arc::clone(&self.planner.host.zfs), pool.layout.clone());
            let sweeping = tokio::task::spawn_blocking(move || sweep(&*zfs, &layout));
            let _ = sweeping.await;
        }
    }

    /// Waits until nobody else works with the origins of a pool.
    #[cfg(feature = "archive")]
    pub(crate) async fn lock_origins(&self, layout: &PoolLayout) -> Result<Lock, Error> {
        loop {
            match self.try_lock_origins(layout) {
                Err(Error::Locked(_)) => tokio::time::sleep(PAUSE).await,
                taken => return taken,
            }
        }
    }

    fn try_lock_origins(&self, layout: &PoolLayout) -> Result<Lock, Error> {
        let planner = &self.planner;
        let now = planner.now.timestamp();
        planner.host.locks.origins(&layout.lxd_pool, "fetch", now)
    }
}

fn sweep<Z: Zfs>(zfs: &Z, layout: &PoolLayout) -> Result<(), Error> {
    let origins = layout.origins().map_err(terrarium_zfs::Error::from)?;
    // An origin may be a clone of another.
    loop {
        let listing = zfs.list(&origins)?;
        let unused = listing.datasets.iter().find_map(|dataset| {
            let snapshots = unused(&listing, layout, &dataset.name)?;
            Some((&dataset.name, snapshots))
        });
        let Some((dataset, snapshots)) = unused else {
            return Ok(());
        };
        if !snapshots.is_empty() {
            zfs.destroy_by_guid(&snapshots)?;
        }
        // One that has got a clone meanwhile, or children, refuses.
        zfs.destroy(dataset)?;
    }
}

/// The snapshots of an origin, if nothing needs it: it has no clones, nobody holds it, and it is what its name says.
fn unused(
    listing: &Listing,
    layout: &PoolLayout,
    dataset: &DatasetName,
) -> Option<Vec<(SnapshotName, Guid)>> {
    let guid = layout.origin_of(dataset)?;
    let of_it = |name: &str| name == dataset.as_str();
    let snapshots = listing.snapshots.iter();
    let snapshots: Vec<_> = snapshots
        .filter(|snapshot| of_it(snapshot.name.dataset_str()))
        .collect();
    let is_free =
        |snapshot: &&terrarium_zfs::Snapshot| snapshot.clones.is_empty() && snapshot.userrefs == 0;
    // A removal that was cut off has left none.
    let is_origin = snapshots.is_empty() || snapshots.iter().any(|one| one.guid == guid);
    (is_origin && snapshots.iter().all(is_free)).then(|| {
        snapshots
            .into_iter()
            .map(|one| (one.name.clone(), one.guid))
            .collect()
    })
}
