//! Restore points whose alias or expiry changes, and those that are destroyed.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Zoned;
use terrarium_core::plan::{Action, DoomedPoint};
use terrarium_core::{
    Coverage, InstanceRecord, Inventory, Outcome, Report, RestorePoint, property,
};
use terrarium_zfs::Guid;
use terrarium_zfs::SnapshotName;

use super::{one_line, units};

/// What a plan does to points that are there, one line for each.
pub(super) fn planned<'a>(
    actions: impl Iterator<Item = &'a Action>,
    inventory: &Inventory,
    now: &Zoned,
) -> String {
    let mut text = String::new();
    let mut doomed = Vec::new();
    for action in actions {
        match action {
            Action::SetProperties { guid, changes, .. } => {
                if let Some(line) = edited_line(inventory, *guid, changes, now) {
                    let _ = writeln!(text, "  {line}");
                }
            }
            Action::DestroyPoints { points } => doomed.extend(points),
            _ => {}
        }
    }
    for point in &doomed {
        let _ = writeln!(text, "  {}", doomed_line(inventory, point, now));
    }
    if !doomed.is_empty() {
        let freed = units::size(size(inventory, doomed.into_iter()));
        let _ = writeln!(
            text,
            "  at least {freed} will be free, more if what is destroyed shared data"
        );
    }
    text
}

/// What was done to points that were there, and what not.
pub(super) fn done(report: &Report, before: &Inventory, now: &Zoned) -> String {
    let mut text = String::new();
    let mut destroyed = Vec::new();
    for step in &report.steps {
        match (&step.step.action, &step.outcome) {
            (Action::SetProperties { guid, changes, .. }, Outcome::Done { .. }) => {
                if let Some(line) = edited_line(before, *guid, changes, now) {
                    let _ = writeln!(text, "Changed {line}");
                }
            }
            (Action::DestroyPoints { points }, outcome) => {
                let gone = points.iter().filter(|point| was_destroyed(point, outcome));
                destroyed.extend(gone);
            }
            _ => {}
        }
    }
    for point in &destroyed {
        let _ = writeln!(text, "Deleted {}", doomed_line(before, point, now));
    }
    if !destroyed.is_empty() {
        let freed = units::size(size(before, destroyed.into_iter()));
        let _ = writeln!(text, "At least {freed} are free again.");
    }
    text
}

/// The snapshots that a plan destroyed.
pub(super) fn destroyed(report: &Report) -> impl Iterator<Item = &SnapshotName> {
    report.steps.iter().flat_map(|step| {
        let points: &[DoomedPoint] = match &step.step.action {
            Action::DestroyPoints { points } => points,
            _ => &[],
        };
        let gone = points
            .iter()
            .filter(|point| was_destroyed(point, &step.outcome));
        gone.map(|point| &point.snapshot)
    })
}

/// Whether the step that was to destroy a point did.
pub(super) fn was_destroyed(point: &DoomedPoint, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done { .. } => true,
        Outcome::Partly { left } => left
            .iter()
            .all(|left| left.object != point.snapshot.as_str()),
        _ => false,
    }
}

/// Whether anything was to be destroyed.
pub(crate) fn destroys(report: &Report) -> bool {
    let mut actions = report.steps.iter().map(|step| &step.step.action);
    actions.any(|action| matches!(action, Action::DestroyPoints { .. }))
}

/// A restore point and the instance that it belongs to.
pub(super) fn find(inventory: &Inventory, guid: Guid) -> Option<(&InstanceRecord, &RestorePoint)> {
    inventory.instances.iter().find_map(|instance| {
        let Coverage::Covered(covered) = &instance.coverage else {
            return None;
        };
        let point = covered.points.iter().find(|point| point.guid == guid)?;
        Some((&instance.record, point))
    })
}

/// A point as it is after the change.
fn edited_line(
    inventory: &Inventory,
    guid: Guid,
    changes: &BTreeMap<String, Option<String>>,
    now: &Zoned,
) -> Option<String> {
    let (record, point) = find(inventory, guid)?;
    let alias = match changes.get(property::ALIAS) {
        Some(changed) => changed.as_ref(),
        None => point.alias.as_ref(),
    };
    let expires = match changes.get(property::EXPIRES) {
        Some(changed) => changed.as_ref().and_then(|text| text.parse().ok()),
        None => point.expires,
    };
    let mut line = format!("{} of {}", one_line(point.name()), record.id);
    match alias {
        Some(alias) => {
            let _ = write!(line, ", alias {}", one_line(alias));
        }
        None => line.push_str(", no alias"),
    }
    match expires {
        Some(expires) => {
            let _ = write!(line, ", expires {}", units::time(expires, now.time_zone()));
        }
        None => line.push_str(", no expiry"),
    }
    Some(line)
}

fn doomed_line(inventory: &Inventory, doomed: &DoomedPoint, now: &Zoned) -> String {
    let Some((record, point)) = find(inventory, doomed.guid) else {
        return one_line(doomed.snapshot.as_str());
    };
    let alias = point.alias.as_ref();
    let alias = alias.map(|alias| format!(" ({})", one_line(alias)));
    format!(
        "{}{} of {}, taken {}, {}",
        one_line(point.name()),
        alias.unwrap_or_default(),
        record.id,
        units::time(point.created, now.time_zone()),
        units::size(point.size)
    )
}

/// What these points hold that no other has. Together they hold what some of them share besides.
fn size<'a>(inventory: &Inventory, points: impl Iterator<Item = &'a DoomedPoint>) -> u64 {
    let sizes = points.filter_map(|point| Some(find(inventory, point.guid)?.1.size));
    sizes.sum()
}
