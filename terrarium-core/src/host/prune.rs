//! Prune: what no policy has a use for any more is removed, from whatever instance is free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Zoned;
use serde::Serialize;
use terrarium_zfs::{Guid, SnapshotName};

use super::{Host, Planner, Session};
use crate::error::Error;
use crate::instances::Instances;
use crate::inventory::{Coverage, Covered, Inventory};
use crate::lock::Held;
use crate::names::InstanceRef;
use crate::plan::{Plan, PruneRequest, plan_prune};
use crate::zfs::Zfs;

/// The most ranges of snapshots that ZFS is asked about: each is a look at what every one in it holds.
const MOST_RANGES: usize = 1000;

/// An instance that is left out of a prune, and its turn comes with the next.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Skipped {
    /// The instance.
    pub instance: InstanceRef,
    /// Why.
    pub why: String,
}

/// A prune that has begun: nobody else of ours changes its instances, nor prunes their pools.
#[derive(Debug)]
pub struct Pruning<'a, Z, I> {
    /// The session, with what was found when all locks were taken.
    pub session: Session<'a, Z, I>,
    /// The instances that it has the locks of.
    pub instances: Vec<InstanceRef>,
    /// Those that it has not.
    pub skipped: Vec<Skipped>,
}

impl<Z: Zfs, I: Instances> Host<Z, I> {
    /// Takes the locks of those of `asked` that nobody works on, of all that are covered if `asked` is empty, and reads
    /// everything. Snapshots and exports may go on meanwhile: they only add points, and hold what they need.
    /// What was cut off is not recovered, as a session does: such an instance is left out.
    ///
    /// # Errors
    /// [`Error::InstanceNotFound`], [`Error::NotCovered`] for one that was asked for; [`Error`] if LXD or ZFS cannot be
    /// reached. An instance or a pool that is in use is none.
    pub async fn begin_prune(
        &self,
        asked: &[InstanceRef],
        now: Zoned,
    ) -> Result<Pruning<'_, Z, I>, Error> {
        let inventory = self.observe(&now).await?;
        let (mut locks, mut skipped) = (Vec::new(), Vec::new());
        let mut pools: BTreeMap<&str, Option<Held>> = BTreeMap::new();
        let mut locked = BTreeSet::new();
        let candidates = prune_candidates(&inventory, asked)?;
        for id in &candidates {
            let (_, covered) = inventory.covered(id)?;
            let pool = covered.layout.lxd_pool.as_str();
            if !pools.contains_key(pool) {
                let lock = self.locks.pruning(pool, "prune", now.timestamp());
                let held = match if_free(lock)? {
                    Ok(lock) => {
                        locks.push(lock);
                        None
                    }
                    Err(held) => Some(held),
                };
                pools.insert(pool, held);
            }
            let in_use = match pools.get(pool) {
                Some(Some(held)) => Err(held.clone()),
                _ => if_free(self.locks.share_instance(id, None, now.timestamp()))?,
            };
            match in_use {
                Ok(lock) => {
                    locks.push(lock);
                    locked.insert(id.clone());
                }
                Err(held) => skipped.push(Skipped {
                    instance: id.clone(),
                    why: held.to_string(),
                }),
            }
        }

        let inventory = self.observe(&now).await?;
        locked.retain(|id| {
            let why = match inventory.covered(id) {
                Err(error) => error.to_string(),
                Ok(_) if inventory.pending_for(id).next().is_some() => {
                    "an operation on it was cut off; the next snapshot, restore or undo recovers it"
                        .to_owned()
                }
                Ok(_) => return true,
            };
            let instance = id.clone();
            skipped.push(Skipped { instance, why });
            false
        });
        let planner = Planner {
            host: self,
            inventory,
            recovered: Vec::new(),
            now,
        };
        Ok(Pruning {
            session: Session {
                planner,
                _locks: locks,
            },
            instances: locked.into_iter().collect(),
            skipped,
        })
    }
}

impl<Z: Zfs, I: Instances> Planner<'_, Z, I> {
    /// Those of `asked`, or all that are covered if nothing was asked for.
    ///
    /// # Errors
    /// [`Error::InstanceNotFound`], [`Error::NotCovered`].
    pub fn covered_of(&self, asked: &[InstanceRef]) -> Result<Vec<InstanceRef>, Error> {
        Ok(prune_candidates(&self.inventory, asked)?
            .into_iter()
            .collect())
    }

    /// Plans the removal of what policies have no use for.
    ///
    /// # Errors
    /// As [`plan_prune`].
    pub fn plan_prune(
        &self,
        surplus: BTreeMap<InstanceRef, BTreeSet<Guid>>,
    ) -> Result<Plan, Error> {
        let operation = self.operation();
        plan_prune(&self.inventory, &PruneRequest { operation, surplus })
    }

    /// Bytes that are free without these snapshots, for each instance: what several of them share as well.
    ///
    /// # Errors
    /// [`Error`] if ZFS cannot say.
    pub async fn frees(
        &self,
        doomed: &BTreeSet<Guid>,
    ) -> Result<BTreeMap<InstanceRef, u64>, Error> {
        let mut asked = Vec::new();
        for instance in &self.inventory.instances {
            if let Coverage::Covered(covered) = &instance.coverage {
                let ranges = ranges(covered, doomed);
                asked.extend(
                    ranges
                        .into_iter()
                        .map(|range| (instance.record.id.clone(), range)),
                );
            }
        }
        let zfs = Arc::clone(&self.host.zfs);
        let asking = tokio::task::spawn_blocking(move || {
            let mut frees: BTreeMap<InstanceRef, u64> = BTreeMap::new();
            for (number, (id, range)) in asked.into_iter().enumerate() {
                let bytes = match number {
                    // What each of them holds alone is less, and known.
                    MOST_RANGES.. => range.alone,
                    _ => zfs.space_of_range(&range.first, &range.last)?,
                };
                *frees.entry(id).or_default() += bytes;
            }
            Ok::<_, terrarium_zfs::Error>(frees)
        });
        Ok(asking.await.map_err(|_| Error::Interrupted)??)
    }
}

/// The instances that a prune is about.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`].
pub(crate) fn prune_candidates(
    inventory: &Inventory,
    asked: &[InstanceRef],
) -> Result<BTreeSet<InstanceRef>, Error> {
    for id in asked {
        inventory.covered(id)?;
    }
    if !asked.is_empty() {
        return Ok(asked.iter().cloned().collect());
    }
    let covered = inventory
        .instances
        .iter()
        .filter(|one| matches!(one.coverage, Coverage::Covered(_)));
    Ok(covered.map(|one| one.record.id.clone()).collect())
}

/// A lock, or who has it.
fn if_free<T>(lock: Result<T, Error>) -> Result<Result<T, Held>, Error> {
    match lock {
        Ok(lock) => Ok(Ok(lock)),
        Err(Error::Locked(held)) => Ok(Err(held)),
        Err(error) => Err(error),
    }
}

/// Snapshots of one dataset, one after the other, all of which go.
struct Range {
    first: SnapshotName,
    last: SnapshotName,
    /// Bytes that only one of them has.
    alone: u64,
}

/// The ranges of doomed snapshots of each dataset of an instance. A block that is shared by snapshots of two ranges is
/// shared by those between them, so what the ranges free adds up.
fn ranges(covered: &Covered, doomed: &BTreeSet<Guid>) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut open: BTreeMap<&str, Range> = BTreeMap::new();
    for point in &covered.points {
        let dataset = point.snapshot.dataset_str();
        if !doomed.contains(&point.guid) {
            ranges.extend(open.remove(dataset));
            continue;
        }
        let range = open.entry(dataset).or_insert_with(|| Range {
            first: point.snapshot.clone(),
            last: point.snapshot.clone(),
            alone: 0,
        });
        range.last = point.snapshot.clone();
        range.alone += point.size;
    }
    ranges.extend(open.into_values());
    ranges
}
