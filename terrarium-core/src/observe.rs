//! Observe: LXD and ZFS are read, once.

use std::sync::Arc;

use jiff::Timestamp;
use terrarium_zfs::DatasetName;

use crate::error::Error;
use crate::instances::Instances;
use crate::inventory::{Inventory, Pool, PoolProblem, assemble};
use crate::layout::PoolLayout;
use crate::zfs::Zfs;

/// Reads LXD and ZFS once. A pool that cannot be read becomes a problem of its instances, not of the others.
///
/// # Errors
/// [`Error::Instances`] if LXD does not answer, [`Error::Zfs`] if not one pool could be read.
pub async fn observe<Z: Zfs, I: Instances>(
    zfs: &Arc<Z>,
    instances: &I,
    now: Timestamp,
) -> Result<Inventory, Error> {
    let storage = instances.pools().await?;
    let mut problems = Vec::new();
    let mut on_zfs = Vec::new();
    for pool in storage.iter().filter(|pool| pool.driver == "zfs") {
        match &pool.dataset {
            Some(root) => on_zfs.push((pool, root.clone())),
            // It is being made, or that failed.
            None => problems.push(PoolProblem {
                lxd_pool: pool.name.clone(),
                why: "LXD does not say which dataset it is in".to_owned(),
            }),
        }
    }
    let reading: Vec<_> = on_zfs
        .into_iter()
        .map(|(pool, root)| {
            let zfs = Arc::clone(zfs);
            let listing = tokio::task::spawn_blocking(move || {
                let root = DatasetName::new(&root).map_err(terrarium_zfs::Error::from)?;
                zfs.list(&root).map(|listing| (root, listing))
            });
            (pool, listing)
        })
        .collect();
    let records = instances.list().await?;

    let mut pools = Vec::new();
    let mut last_error = None;
    for (pool, listing) in reading {
        match listing.await.map_err(|_| Error::Interrupted)? {
            Ok((root, listing)) => pools.push(Pool {
                layout: PoolLayout::new(&pool.name, root),
                listing,
            }),
            Err(error) => {
                problems.push(PoolProblem {
                    lxd_pool: pool.name.clone(),
                    why: error.to_string(),
                });
                last_error = Some(error);
            }
        }
    }
    if let (true, Some(error)) = (pools.is_empty(), last_error) {
        return Err(Error::from(error));
    }
    let drivers = storage
        .iter()
        .map(|pool| (pool.name.as_str(), pool.driver.as_str()))
        .collect();
    assemble(records, pools, problems, &drivers, now)
}
