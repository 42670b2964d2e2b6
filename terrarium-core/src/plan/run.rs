//! The snapshots that are due now, of all instances.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Zoned;
use serde::Serialize;
use terrarium_zfs::{SnapshotName, UserProperties};

use super::Notice;
use super::adopt::has_adopted_sanoid;
use super::snapshot::describe;
use crate::instances::{InstanceRecord, InstanceState};
use crate::inventory::{Coverage, Covered, Inventory};
use crate::names::{InstanceRef, ProjectName};
use crate::policy::{Due, GROUP, Hooks, Period, Resolved, autosnap_name, due};
use crate::property;
use crate::throw_away;

/// What a run of the timer takes, decided from an inventory alone.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RunPlan {
    /// What is taken at one moment each: a batch for every pool and period, as ZFS takes one snapshot of a dataset at a
    /// time.
    pub batches: Vec<Batch>,
    /// Commands that are run in instances before and after.
    pub hooks: Vec<Hooked>,
    /// What else is worth knowing.
    pub notices: Vec<Notice>,
}

/// An instance in which commands are run before and after its snapshots.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Hooked {
    /// The instance.
    pub instance: InstanceRef,
    /// The commands.
    pub hooks: Hooks,
}

impl Hooked {
    /// The commands of an instance; none if it does not run.
    pub(crate) fn of(record: &InstanceRecord) -> Option<Self> {
        let hooks = Hooks::of(&record.expanded_config).0?;
        let runs = record.state == InstanceState::Running;
        runs.then(|| Self {
            instance: record.id.clone(),
            hooks,
        })
    }
}

/// Snapshots of one pool, which are taken in one transaction group.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Batch {
    /// The pool.
    pub pool: String,
    /// What they are for.
    pub period: Period,
    /// What is taken in full or not at all.
    pub bundles: Vec<Bundle>,
}

/// Snapshots that make sense together only: that of one instance, or those of a group.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Bundle {
    /// The label that the instances share.
    pub group: Option<String>,
    /// The snapshots.
    pub snapshots: Vec<Scheduled>,
}

/// A snapshot that is due.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Scheduled {
    /// The instance.
    pub instance: InstanceRef,
    /// What it is called.
    pub snapshot: SnapshotName,
    /// What it is for.
    pub period: Period,
    /// Why it is taken.
    pub why: String,
    /// What it says about itself.
    #[serde(skip)]
    pub(crate) properties: UserProperties,
}

impl Bundle {
    /// The group that it is of, in whatever pool.
    pub(crate) fn family(&self) -> Option<(ProjectName, String)> {
        let group = self.group.clone()?;
        let first = self.snapshots.first()?;
        Some((first.instance.project.clone(), group))
    }

    /// The instances that it has snapshots of.
    pub fn instances(&self) -> BTreeSet<&InstanceRef> {
        self.snapshots.iter().map(|one| &one.instance).collect()
    }
}

/// An instance of which something is due.
struct Candidate<'a> {
    record: &'a InstanceRecord,
    covered: &'a Covered,
    resolved: &'a Resolved,
    due: Vec<Due>,
}

/// Plans the snapshots that are due. Where one instance of a group needs one, all of the group get it whose policies
/// have that period. An instance that is half-done, or that a drill has made, is left alone.
pub fn plan_run(
    inventory: &Inventory,
    policies: &BTreeMap<InstanceRef, Resolved>,
    now: &Zoned,
) -> RunPlan {
    let mut plan = RunPlan::default();
    let mut groups: BTreeMap<(ProjectName, Option<String>, Option<InstanceRef>), Vec<_>> =
        BTreeMap::new();
    for instance in &inventory.instances {
        let record = &instance.record;
        let group = record.expanded_config.get(GROUP);
        let group = group.filter(|group| !group.is_empty()).cloned();
        let (covered, resolved) = match (&instance.coverage, policies.get(&record.id)) {
            (Coverage::Covered(covered), Some(resolved)) => (covered, resolved),
            (Coverage::NotCovered { reason }, _) => {
                if let Some(group) = group {
                    plan.notices.push(Notice::warning(format!(
                        "{} of group {group} is not covered: {reason}",
                        record.id
                    )));
                }
                continue;
            }
            _ => continue,
        };
        for problem in &resolved.problems {
            plan.notices
                .push(Notice::warning(format!("{}: {problem}", record.id)));
        }
        if !resolved.enabled || is_passing(record) {
            continue;
        }
        let adopted = has_adopted_sanoid(covered);
        let due = due(&covered.points, &resolved.policy, adopted, now);
        let alone = group.is_none().then(|| record.id.clone());
        groups
            .entry((record.id.project.clone(), group, alone))
            .or_default()
            .push(Candidate {
                record,
                covered,
                resolved,
                due,
            });
    }

    let mut batches: BTreeMap<(&str, Reverse<Period>), Vec<Bundle>> = BTreeMap::new();
    for ((_, group, _), members) in groups {
        let periods: BTreeSet<_> = members
            .iter()
            .flat_map(|member| member.due.iter().map(|due| due.period))
            .collect();
        let mut pools = BTreeSet::new();
        for &period in &periods {
            let mut bundles: BTreeMap<&str, Bundle> = BTreeMap::new();
            let with_it = |member: &&Candidate<'_>| member.resolved.policy.count(period) > 0;
            for member in members.iter().filter(with_it) {
                let own = member.due.iter().find(|due| due.period == period);
                let why = match own {
                    Some(due) => due.to_string(),
                    None => "another one of its group is due".to_owned(),
                };
                let Some(scheduled) = scheduled(member, period, why, now) else {
                    plan.notices.push(Notice::warning(format!(
                        "{}: the name of a snapshot would be too long",
                        member.record.id
                    )));
                    continue;
                };
                let bundle = bundles.entry(member.covered.live.pool());
                let bundle = bundle.or_insert_with(|| Bundle {
                    group: group.clone(),
                    snapshots: Vec::new(),
                });
                bundle.snapshots.push(scheduled);
            }
            for (pool, bundle) in bundles {
                pools.insert(pool);
                let batch = batches.entry((pool, Reverse(period)));
                batch.or_default().push(bundle);
            }
        }
        if let (Some(group), 2..) = (&group, pools.len()) {
            plan.notices.push(Notice::warning(format!(
                "group {group} lies in several pools: one moment for each pool"
            )));
        }
    }
    let batch = |((pool, Reverse(period)), bundles): ((&str, _), _)| Batch {
        pool: pool.to_owned(),
        period,
        bundles,
    };
    plan.batches = batches.into_iter().map(batch).collect();
    let bundles = plan.batches.iter().flat_map(|batch| &batch.bundles);
    let taken: BTreeSet<_> = bundles.flat_map(Bundle::instances).collect();
    let taken = taken.into_iter().filter_map(|id| inventory.instance(id));
    plan.hooks = taken
        .filter_map(|instance| Hooked::of(&instance.record))
        .collect();
    plan
}

/// Whether an instance will be gone soon, or is not there yet in full.
fn is_passing(record: &InstanceRecord) -> bool {
    let has = |key| record.definition.config.contains_key(key);
    has(property::LXD_OPERATION) || throw_away::of_record(record).is_some()
}

fn scheduled(
    member: &Candidate<'_>,
    period: Period,
    why: String,
    now: &Zoned,
) -> Option<Scheduled> {
    let mut properties = describe(member.record);
    properties.insert(property::KIND.to_owned(), "scheduled".to_owned());
    properties.insert(property::PERIOD.to_owned(), period.to_string());
    let name = unused_name(member.covered, period, now);
    Some(Scheduled {
        instance: member.record.id.clone(),
        snapshot: member.covered.live.snapshot(&name).ok()?,
        period,
        why,
        properties,
    })
}

/// As sanoid would name it; if a point of the instance has that name, with a number behind the time.
fn unused_name(covered: &Covered, period: Period, now: &Zoned) -> String {
    let name = autosnap_name(period, now.timestamp());
    let is_taken = |name: &str| covered.points.iter().any(|point| point.name() == name);
    if !is_taken(&name) {
        return name;
    }
    let end = format!("_{period}");
    let time = name.strip_suffix(&end).unwrap_or(&name);
    let mut numbered = (2_u32..).map(|number| format!("{time}-{number}{end}"));
    numbered.find(|name| !is_taken(name)).unwrap_or(name)
}
