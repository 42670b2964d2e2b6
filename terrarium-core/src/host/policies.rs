//! What the labels of LXD say about every instance.

use std::collections::{BTreeMap, BTreeSet};

use terrarium_zfs::Guid;

use super::Planner;
use crate::error::Error;
use crate::instances::Instances;
use crate::inventory::{Coverage, Inventory};
use crate::names::InstanceRef;
use crate::plan::has_adopted_sanoid;
use crate::policy::{Facts, Layers, Policy, Resolved, Verdict, plan_retention, resolve};
use crate::zfs::Zfs;

/// The project whose config holds what is not of one tenant.
const OURS: &str = "terrarium";

impl<Z: Zfs, I: Instances> Planner<'_, Z, I> {
    /// The policy of every instance that is covered, by the labels of the instance and of its project.
    ///
    /// # Errors
    /// [`Error::Instances`] if LXD does not answer.
    pub async fn policies(&self) -> Result<BTreeMap<InstanceRef, Resolved>, Error> {
        let projects = self.host.instances.projects().await?;
        let config = |name: &str| {
            let project = projects
                .iter()
                .find(|project| project.name.as_str() == name);
            project.map(|project| &project.config)
        };
        let default = Policy::default();
        let covered = self.inventory.instances.iter().filter_map(|instance| {
            let record = &instance.record;
            matches!(instance.coverage, Coverage::Covered(_)).then(|| {
                let resolved = resolve(Layers {
                    default: &default,
                    ours: config(OURS),
                    project: config(record.id.project.as_str()),
                    instance: &record.expanded_config,
                });
                (record.id.clone(), resolved)
            })
        });
        Ok(covered.collect())
    }

    /// What becomes of every point of `instances`, by their policies.
    pub fn retention(
        &self,
        instances: &[InstanceRef],
        policies: &BTreeMap<InstanceRef, Resolved>,
    ) -> BTreeMap<InstanceRef, Vec<Verdict>> {
        self.verdicts(instances, policies, false)
    }

    /// The same, if sanoid's snapshots of them all were adopted.
    pub fn retention_if_adopted(
        &self,
        instances: &[InstanceRef],
        policies: &BTreeMap<InstanceRef, Resolved>,
    ) -> BTreeMap<InstanceRef, Vec<Verdict>> {
        self.verdicts(instances, policies, true)
    }

    fn verdicts(
        &self,
        instances: &[InstanceRef],
        policies: &BTreeMap<InstanceRef, Resolved>,
        adopted: bool,
    ) -> BTreeMap<InstanceRef, Vec<Verdict>> {
        let verdicts = instances.iter().filter_map(|id| {
            let resolved = policies.get(id)?;
            Some((
                id.clone(),
                verdicts(&self.inventory, id, resolved, adopted, &self.now)?,
            ))
        });
        verdicts.collect()
    }
}

fn verdicts(
    inventory: &Inventory,
    id: &InstanceRef,
    resolved: &Resolved,
    adopted: bool,
    now: &jiff::Zoned,
) -> Option<Vec<Verdict>> {
    let (_, covered) = inventory.covered(id).ok()?;
    let facts = Facts {
        adopted: adopted || has_adopted_sanoid(covered),
        ..Facts::default()
    };
    let mut policy = resolved.policy.clone();
    policy.prune &= resolved.enabled;
    Some(plan_retention(&covered.points, &policy, &facts, now))
}

/// The points that go, by instance, as [`Planner::plan_prune`] takes them.
pub fn surplus(
    verdicts: &BTreeMap<InstanceRef, Vec<Verdict>>,
) -> BTreeMap<InstanceRef, BTreeSet<Guid>> {
    let mut surplus = BTreeMap::new();
    for (id, verdicts) in verdicts {
        let gone = verdicts.iter().filter(|verdict| !verdict.keep);
        let gone: BTreeSet<_> = gone.map(|verdict| verdict.guid).collect();
        if !gone.is_empty() {
            surplus.insert(id.clone(), gone);
        }
    }
    surplus
}
