//! `--destroy-newer`: the plain rollback, which cannot be undone.

use super::rewind::{
    RewindRequest, find_point, is_shifted, refuse_ephemeral, saved_records, wake_steps,
};
use super::{Action, Notice, Plan, Purpose, Steps};
use crate::details::Details;
use crate::error::Error;
use crate::instances::InstanceState;
use crate::intent::{Goal, Intent, RollbackGoal, Target};
use crate::inventory::{Covered, Inventory};
use crate::point::{RestorePoint, lxd_record_name};
use crate::property;

/// Plans a rollback: everything newer than the point is destroyed, bookmarks included.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`], [`Error::Ephemeral`]; [`Error::RollbackBlocked`] if the point lies in a dataset
/// moved aside, or something newer is held or has clones.
pub fn plan_rollback(inventory: &Inventory, request: &RewindRequest) -> Result<Plan, Error> {
    let (record, covered) = inventory.covered(&request.instance)?;
    let point = find_point(covered, request.point)?;
    refuse_ephemeral(record)?;
    let newer = newer_than(covered, point);
    if let Some(obstacle) = obstacle(point, &newer) {
        return Err(Error::RollbackBlocked {
            instance: request.instance.clone(),
            point: point.name().to_owned(),
            obstacle,
        });
    }

    let mut notices: Vec<_> = newer
        .iter()
        .map(|point| Notice::warning(format!("{} will be destroyed", point.snapshot)))
        .collect();
    if let Some(pool) = inventory.pool(&covered.layout) {
        let of_ours = |bookmark: &&terrarium_zfs::Bookmark| {
            bookmark.name.dataset_str() == covered.live.as_str()
                && bookmark.createtxg > point.createtxg
        };
        let bookmarks = pool.listing.bookmarks.iter().filter(of_ours);
        notices.extend(
            bookmarks
                .map(|bookmark| Notice::warning(format!("{} will be destroyed", bookmark.name))),
        );
    }
    notices.push(Notice::warning(
        "what was written since the point will be lost; this cannot be undone",
    ));

    let goal = RollbackGoal {
        live: covered.live.clone(),
        live_guid: covered.dataset.guid,
        was_running: record.state != InstanceState::Stopped,
        stop: request.stop,
        idmap_before: record.definition.config.get(property::LXD_IDMAP).cloned(),
        records_to_drop: record
            .snapshots
            .iter()
            .map(|snapshot| snapshot.name.clone())
            .filter(|name| {
                newer
                    .iter()
                    .any(|point| lxd_record_name(&point.snapshot) == Some(name))
            })
            .collect(),
    };
    let intent = Intent {
        version: Intent::VERSION,
        operation: request.operation.clone(),
        at: inventory.observed_at,
        instance: request.instance.clone(),
        goal: Goal::Rollback(Box::new(goal.clone())),
        target: Target {
            guid: point.guid,
            name: point.name().to_owned(),
        },
        start: request.start,
        idmap: request.idmap.clone(),
    };

    let mut steps = Steps::default();
    steps.then(
        Action::WriteIntent {
            dataset: covered.live.clone(),
            guid: covered.dataset.guid,
        },
        "before the first change",
    );
    if goal.was_running {
        steps.then(
            Action::Stop {
                instance: request.instance.clone(),
                how: request.stop,
            },
            "its dataset must not be in use",
        );
    }
    steps.then(
        Action::CheckUnmounted {
            dataset: covered.live.clone(),
        },
        "what is mounted elsewhere could still be written to",
    );
    steps.then(
        Action::Rollback {
            to: point.snapshot.clone(),
            guid: point.guid,
        },
        "asked for with --destroy-newer",
    );
    let tell = is_shifted(&intent, goal.idmap_before.as_ref());
    finish_steps(&mut steps, &intent, &goal, tell);

    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: format!(
            "roll {} back to {}, destroying what is newer",
            request.instance,
            point.name()
        ),
        made_at: inventory.observed_at,
        steps: steps.0,
        notices,
        removals: Vec::new(),
        layout: Some(covered.layout.clone()),
        intent: Some(intent),
        details: Details {
            definition: record.definition.clone(),
            records: saved_records(record, covered),
            records_to_make: Vec::new(),
        },
    })
}

/// What remains to be done after the rollback, in the first run and in a recovery, LXD told of the ids first if it has
/// to be.
pub(super) fn finish_steps(steps: &mut Steps, intent: &Intent, goal: &RollbackGoal, tell: bool) {
    wake_steps(steps, intent, &goal.live, tell, intent.start);
    for record in &goal.records_to_drop {
        steps.then(
            Action::DropRecord {
                instance: intent.instance.clone(),
                record: record.clone(),
                dataset: goal.live.clone(),
            },
            "its snapshot is destroyed",
        );
    }
    if let Ok(snapshot) = goal.live.snapshot(&intent.target.name) {
        steps.then(
            Action::MarkUsed {
                snapshot,
                guid: intent.target.guid,
            },
            "so that people see which points are of use",
        );
    }
    steps.then(
        Action::ClearIntent {
            dataset: goal.live.clone(),
        },
        "the rollback is complete",
    );
}

fn newer_than<'a>(covered: &'a Covered, point: &RestorePoint) -> Vec<&'a RestorePoint> {
    let newer = |other: &&RestorePoint| other.is_live() && other.createtxg > point.createtxg;
    covered.points.iter().filter(newer).collect()
}

fn obstacle(point: &RestorePoint, newer: &[&RestorePoint]) -> Option<String> {
    if !point.is_live() {
        return Some(format!(
            "it lies in a dataset moved aside, {}",
            point.snapshot.dataset()
        ));
    }
    newer.iter().find_map(|newer| {
        if newer.holds > 0 {
            Some(format!("{} is newer and held", newer.name()))
        } else {
            let clone = newer.clones.first()?;
            Some(format!(
                "{} is newer and {clone} is a clone of it",
                newer.name()
            ))
        }
    })
}
