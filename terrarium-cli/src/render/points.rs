//! The restore points of all instances.

use std::collections::HashMap;
use std::fmt::Write;

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use terrarium_core::{
    Coverage, Covered, Instance, InstanceState, Inventory, Kind, NotCovered, OperationId, Place,
    PoolProblem, PreOutcome, RestorePoint,
};
use terrarium_zfs::{DatasetName, Guid, SnapshotName};

use super::plan::PendingShown;
use super::table::{Align, Table};
use super::{JSON_VERSION, one_line, units};
use crate::exit::Exit;
use crate::site::Site;

/// What `backup list` answers.
pub(crate) fn text(inventory: &Inventory, now: &Zoned, site: &Site) -> String {
    let mut sections = Vec::new();
    for instance in &inventory.instances {
        if let Coverage::Covered(covered) = &instance.coverage {
            sections.push(section(instance, covered, now));
        }
    }
    if inventory.instances.is_empty() {
        sections.push(match site {
            Site::Host => "LXD has no instances.\n".to_owned(),
            Site::PoolFile(_) => no_datasets(inventory),
        });
    }
    sections.extend(besides(inventory, now));
    sections.join("\n")
}

/// What there is to say besides the points of instances.
pub(super) fn besides(inventory: &Inventory, now: &Zoned) -> Vec<String> {
    let mut sections = Vec::new();
    let mut left_out = Table::plain();
    for instance in &inventory.instances {
        if let Coverage::NotCovered { reason } = &instance.coverage {
            left_out.row(vec![
                instance.record.id.to_string(),
                one_line(&reason.to_string()),
            ]);
        }
    }
    if !left_out.is_empty() {
        sections.push(format!(
            "Not covered, can be neither snapshotted nor restored:\n{}",
            left_out.text("  ")
        ));
    }
    if !inventory.problems.is_empty() {
        let mut section = "Storage pools that cannot be read:\n".to_owned();
        for problem in &inventory.problems {
            let _ = writeln!(
                section,
                "  {}: {}",
                one_line(&problem.lxd_pool),
                one_line(&problem.why)
            );
        }
        sections.push(section);
    }
    if !inventory.pending.is_empty() {
        let mut section =
            "Cut off; the next snapshot, restore or undo finishes them or takes them back:\n"
                .to_owned();
        for pending in &inventory.pending {
            let _ = writeln!(section, "  {}", PendingShown::new(pending).text(now));
        }
        sections.push(section);
    }
    if !inventory.orphans.is_empty() {
        let mut section =
            "Moved aside for instances that are gone, or that do not continue from them:\n"
                .to_owned();
        for orphan in &inventory.orphans {
            let _ = writeln!(section, "  {}", one_line(orphan.as_str()));
        }
        sections.push(section);
    }
    sections
}

fn no_datasets(inventory: &Inventory) -> String {
    let mut pools = inventory.pools.iter();
    let root = pools.next().map(|pool| pool.layout.root.as_str());
    let containers = one_line(&format!("{}/containers", root.unwrap_or("<pool>")));
    format!("There are no instances: an instance is a dataset below {containers}.\n")
}

fn section(instance: &Instance, covered: &Covered, now: &Zoned) -> String {
    let mut section = format!(
        "{} ({}, {})\n",
        instance.record.id,
        state(instance.record.state),
        one_line(covered.live.as_str())
    );
    let moves = moves_aside(covered);
    let mut groups = groups(covered);
    if groups.is_empty() {
        section.push_str("  no restore points\n");
    }
    // All tables of an instance are one, so that their columns stand below each other.
    let mut table = points_table(now);
    for group in &mut groups {
        group
            .points
            .sort_by_key(|point| std::cmp::Reverse(point.createtxg));
        if let Some(operation) = group.operation {
            table.across(moved_heading(covered, operation, now));
        }
        for point in &group.points {
            table.row(cells(
                point,
                covered,
                moves.get(&point.guid).copied().unwrap_or(0),
                now,
            ));
        }
    }
    if !groups.is_empty() {
        section.push_str(&table.text("  "));
    }
    section
}

fn points_table(now: &Zoned) -> Table {
    let zone = units::zone_name(now.time_zone(), now.timestamp());
    Table::new([
        ("NAME".to_owned(), Align::Left),
        ("AGE".to_owned(), Align::Right),
        (format!("TAKEN ({zone})"), Align::Left),
        ("KIND".to_owned(), Align::Left),
        ("SIZE".to_owned(), Align::Right),
        ("MOVES ASIDE".to_owned(), Align::Right),
        ("ALIAS, NOTES".to_owned(), Align::Left),
    ])
}

fn cells(point: &RestorePoint, covered: &Covered, moves: usize, now: &Zoned) -> Vec<String> {
    vec![
        one_line(point.name()),
        units::age(point.created, now.timestamp()),
        units::short_time(point.created, now.time_zone()),
        kind(&point.kind).to_owned(),
        units::size(point.size),
        if moves == 0 {
            "-".to_owned()
        } else {
            moves.to_string()
        },
        notes(point, covered, now.timestamp()),
    ]
}

pub(super) fn notes(point: &RestorePoint, covered: &Covered, now: Timestamp) -> String {
    let mut notes = Vec::new();
    if let Some(alias) = &point.alias {
        notes.push(one_line(alias));
    }
    if let Some(expires) = point.expires {
        let verb = if expires > now { "expires" } else { "expired" };
        notes.push(format!("{verb} {}", units::until(expires, now)));
    }
    if let Some(outcome) = point.pre.filter(|outcome| *outcome != PreOutcome::Done) {
        let outcome = match outcome {
            PreOutcome::TimedOut => "timed out",
            PreOutcome::NotRun => "was not run",
            _ => "failed",
        };
        notes.push(format!("its pre command {outcome}"));
    }
    if point.holds > 0 {
        notes.push("held".to_owned());
    }
    let foreign = point
        .clones
        .iter()
        .filter(|clone| !covered.layout.is_ours(clone) && **clone != covered.live);
    notes.extend(foreign.map(|clone| format!("cloned as {}", one_line(clone.as_str()))));
    notes.join(", ")
}

/// The points of one dataset of an instance.
struct Group<'a> {
    operation: Option<&'a OperationId>,
    points: Vec<&'a RestorePoint>,
}

/// The instance as it is now first, then what was moved aside, the latest first.
fn groups(covered: &Covered) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for point in &covered.points {
        let operation = match &point.place {
            Place::Live => None,
            Place::Aside(operation) => Some(operation),
        };
        match groups.iter_mut().find(|group| group.operation == operation) {
            Some(group) => group.points.push(point),
            None => groups.push(Group {
                operation,
                points: vec![point],
            }),
        }
    }
    groups.sort_by(|a, b| match (a.operation, b.operation) {
        (None, _) => std::cmp::Ordering::Less,
        (_, None) => std::cmp::Ordering::Greater,
        (Some(a), Some(b)) => b.cmp(a),
    });
    groups
}

fn moved_heading(covered: &Covered, operation: &OperationId, now: &Zoned) -> String {
    let by_it =
        |point: &&RestorePoint| matches!(&point.kind, Kind::Safety(safety) if safety == operation);
    match covered.points.iter().find(by_it) {
        Some(safety) => format!(
            "moved aside by the restore of {}:",
            units::time(safety.created, now.time_zone())
        ),
        None => format!("moved aside by operation {operation}:"),
    }
}

/// For each point, how many points of the instance as it is now an in-place restore of it would move aside.
pub(super) fn moves_aside(covered: &Covered) -> HashMap<Guid, usize> {
    let mut moves = HashMap::new();
    let mut live: Vec<_> = covered
        .points
        .iter()
        .filter(|point| point.is_live())
        .collect();
    live.sort_by_key(|point| std::cmp::Reverse(point.createtxg));
    moves.extend(
        live.iter()
            .enumerate()
            .map(|(newer, point)| (point.guid, newer)),
    );
    // All points of one dataset that was moved aside leave the present history at the same place.
    let mut by_dataset: HashMap<&str, usize> = HashMap::new();
    for point in covered.points.iter().filter(|point| !point.is_live()) {
        let dataset = point.snapshot.dataset_str();
        let moved = by_dataset
            .entry(dataset)
            .or_insert_with(|| covered.moved_by_restoring(point).len());
        moves.insert(point.guid, *moved);
    }
    moves
}

pub(crate) fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Scheduled => "scheduled",
        Kind::OnDemand => "on-demand",
        Kind::Safety(_) => "safety",
        Kind::Lxd => "lxd",
        Kind::Foreign => "foreign",
    }
}

pub(super) fn state(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Running => "running",
        InstanceState::Stopped => "stopped",
        InstanceState::Other => "neither running nor stopped",
    }
}

/// What `backup list --json` answers.
#[derive(Serialize)]
pub(crate) struct Listing<'a> {
    version: u32,
    exit_code: u8,
    observed_at: Timestamp,
    instances: Vec<InstanceShown<'a>>,
    problems: &'a [PoolProblem],
    pending: Vec<PendingShown<'a>>,
    orphans: &'a [DatasetName],
}

#[derive(Serialize)]
struct InstanceShown<'a> {
    project: &'a str,
    name: &'a str,
    state: InstanceState,
    covered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_covered: Option<Reason<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset: Option<&'a DatasetName>,
    restore_points: Vec<PointShown<'a>>,
}

#[derive(Serialize)]
pub(super) struct Reason<'a> {
    #[serde(flatten)]
    reason: &'a NotCovered,
    message: String,
}

#[derive(Serialize)]
pub(super) struct PointShown<'a> {
    name: &'a str,
    alias: Option<&'a str>,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    stateful: bool,
    size: u64,
    referenced: u64,
    guid: Guid,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pre: Option<PreOutcome>,
    #[serde(flatten)]
    place: &'a Place,
    dataset: &'a str,
    holds: u64,
    clones: &'a [DatasetName],
    moves_aside: usize,
}

/// The same as [`text`], for programs. Points are newest first, wherever they lie.
pub(crate) fn json(inventory: &Inventory, exit: Exit) -> Listing<'_> {
    Listing {
        version: JSON_VERSION,
        exit_code: exit.code(),
        observed_at: inventory.observed_at,
        instances: inventory.instances.iter().map(instance_shown).collect(),
        problems: &inventory.problems,
        pending: inventory.pending.iter().map(PendingShown::new).collect(),
        orphans: &inventory.orphans,
    }
}

fn instance_shown(instance: &Instance) -> InstanceShown<'_> {
    let id = &instance.record.id;
    let (covered, not_covered) = match &instance.coverage {
        Coverage::Covered(covered) => (Some(covered), None),
        Coverage::NotCovered { reason } => (None, Some(reason)),
    };
    InstanceShown {
        project: id.project.as_str(),
        name: id.name.as_str(),
        state: instance.record.state,
        covered: covered.is_some(),
        not_covered: not_covered.map(Reason::new),
        dataset: covered.map(|covered| &covered.live),
        restore_points: covered.map(points_shown).unwrap_or_default(),
    }
}

impl<'a> Reason<'a> {
    pub(super) fn new(reason: &'a NotCovered) -> Self {
        Self {
            reason,
            message: reason.to_string(),
        }
    }
}

fn points_shown(covered: &Covered) -> Vec<PointShown<'_>> {
    let moves = moves_aside(covered);
    let shown = |point| PointShown::new(point, moves.get(&point.guid).copied().unwrap_or(0));
    covered.points.iter().rev().map(shown).collect()
}

/// A restore point and the instance that it belongs to.
#[derive(Serialize)]
pub(crate) struct Taken<'a> {
    project: &'a str,
    instance: &'a str,
    #[serde(flatten)]
    point: PointShown<'a>,
}

/// The points that stand for these snapshots.
pub(crate) fn taken<'a>(inventory: &'a Inventory, snapshots: &[SnapshotName]) -> Vec<Taken<'a>> {
    let covered = inventory
        .instances
        .iter()
        .filter_map(|instance| match &instance.coverage {
            Coverage::Covered(covered) => Some((&instance.record.id, covered)),
            Coverage::NotCovered { .. } => None,
        });
    covered
        .flat_map(|(id, covered)| covered.points.iter().map(move |point| (id, point)))
        .filter(|(_, point)| snapshots.contains(&point.snapshot))
        .map(|(id, point)| Taken {
            project: id.project.as_str(),
            instance: id.name.as_str(),
            point: PointShown::new(point, 0),
        })
        .collect()
}

impl<'a> PointShown<'a> {
    pub(super) fn new(point: &'a RestorePoint, moves_aside: usize) -> Self {
        Self {
            name: point.name(),
            alias: point.alias.as_deref(),
            created_at: point.created,
            last_used_at: point.last_used,
            expires_at: point.expires,
            stateful: point.stateful,
            size: point.size,
            referenced: point.referenced,
            guid: point.guid,
            kind: kind(&point.kind),
            pre: point.pre,
            place: &point.place,
            dataset: point.snapshot.dataset_str(),
            holds: point.holds,
            clones: &point.clones,
            moves_aside,
        }
    }
}
