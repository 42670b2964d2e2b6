//! On-demand snapshots of one or several instances.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use terrarium_zfs::UserProperties;

use super::{Action, Hooked, Notice, Plan, Purpose, Steps};
use crate::details::Details;
use crate::error::Error;
use crate::instances::InstanceRecord;
use crate::inventory::{Covered, Inventory};
use crate::names::{Alias, InstanceRef, OperationId, compact_utc};
use crate::point::RestorePoint;
use crate::policy::Hooks;
use crate::property;

/// What is to be snapshotted, and with which data.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The instances; those of one pool are captured at one moment.
    pub instances: Vec<InstanceRef>,
    /// A name for the points, unique among those of each instance.
    pub alias: Option<Alias>,
    /// When the points may be removed.
    pub expires: Option<Timestamp>,
    /// Those of a pool are all taken, or none is.
    pub together: bool,
}

/// Plans snapshots: one transaction group for each pool.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`], [`Error::AliasTaken`].
pub fn plan_snapshot(inventory: &Inventory, request: &SnapshotRequest) -> Result<Plan, Error> {
    let mut by_pool: BTreeMap<String, Vec<_>> = BTreeMap::new();
    let instances: BTreeSet<_> = request.instances.iter().collect();
    for id in &instances {
        let (record, covered) = inventory.covered(id)?;
        if let Some(alias) = &request.alias {
            refuse_taken(id, covered, alias)?;
        }
        let mut properties = describe(record);
        properties.insert(property::KIND.to_owned(), "on-demand".to_owned());
        if let Some(alias) = &request.alias {
            properties.insert(property::ALIAS.to_owned(), alias.to_string());
        }
        if let Some(expires) = request.expires {
            properties.insert(property::EXPIRES.to_owned(), expires.to_string());
        }
        let name = unused_name(covered, inventory.observed_at);
        let snapshot = covered
            .live
            .snapshot(&name)
            .map_err(terrarium_zfs::Error::from)?;
        by_pool
            .entry(covered.live.pool().to_owned())
            .or_default()
            .push((snapshot, properties));
    }

    let mut steps = Steps::default();
    let mut notices = Vec::new();
    if by_pool.len() > 1 {
        notices.push(Notice::warning(
            "the instances lie in several pools: one moment for each pool",
        ));
    }
    for (pool, snapshots) in by_pool {
        steps.then(
            Action::Snapshot {
                snapshots,
                together: request.together,
            },
            format!("one transaction group of pool {pool}"),
        );
    }
    for id in &instances {
        let (record, _) = inventory.covered(id)?;
        let (_, problems) = Hooks::of(&record.expanded_config);
        let problems = problems.iter();
        notices.extend(problems.map(|problem| Notice::warning(format!("{id}: {problem}"))));
        if let Some(hooked) = Hooked::of(record) {
            notices.push(Notice::info(format!("{id} runs {}", hooked.hooks)));
        }
    }
    let names: Vec<_> = instances.iter().map(ToString::to_string).collect();
    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: format!("snapshot {}", names.join(", ")),
        made_at: inventory.observed_at,
        steps: steps.0,
        notices,
        removals: Vec::new(),
        layout: None,
        intent: None,
        details: Details::default(),
    })
}

/// An alias is unique over all points of an instance, wherever they lie.
pub(super) fn refuse_taken(
    id: &InstanceRef,
    covered: &Covered,
    alias: &Alias,
) -> Result<(), Error> {
    let same = |point: &&RestorePoint| point.alias.as_deref() == Some(alias.as_str());
    match covered.points.iter().find(same) {
        Some(point) => Err(Error::AliasTaken {
            instance: id.clone(),
            alias: alias.to_string(),
            snapshot: point.snapshot.to_string(),
        }),
        None => Ok(()),
    }
}

/// What a snapshot of ours says about its instance at that moment.
pub(super) fn describe(record: &InstanceRecord) -> UserProperties {
    let mut properties = UserProperties::new();
    properties.insert(property::CONFIG.to_owned(), record.definition.hash());
    if let Some(idmap) = record.definition.config.get(property::LXD_IDMAP) {
        properties.insert(property::IDMAP.to_owned(), idmap.clone());
    }
    properties
}

/// `snap-YYYYMMDD-HHMMSS`, with a number behind it if some point of the instance has that name.
pub(super) fn unused_name(covered: &Covered, now: Timestamp) -> String {
    let taken: BTreeSet<_> = covered.points.iter().map(|point| point.name()).collect();
    let name = format!("snap-{}", compact_utc(now));
    let numbered = (2u32..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !taken.contains(name.as_str()))
        .unwrap_or(name)
}
