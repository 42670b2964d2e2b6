//! Destroy: the instance's dataset goes to the graveyard with all its snapshots, then LXD forgets the instance.

use jiff::{SignedDuration, Timestamp};

use super::rewind::saved_records;
use super::snapshot::{describe, unused_name};
use super::{Action, Notice, Plan, Purpose, Steps, parents};
use crate::details::Details;
use crate::error::Error;
use crate::grave::{GraveRecord, GraveSnapshot, without_secrets};
use crate::instances::{InstanceRecord, InstanceState, Stop};
use crate::intent::{DestroyGoal, Goal, Intent, Target};
use crate::inventory::{Covered, Inventory};
use crate::names::{InstanceRef, OperationId};
use crate::property;

/// What is to be destroyed, and how.
#[derive(Clone, Debug)]
pub struct DestroyRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The instance.
    pub instance: InstanceRef,
    /// How it is stopped.
    pub stop: Stop,
    /// How long it can come back; nothing if it is to be purged at once.
    pub stays: SignedDuration,
}

/// When an instance came to be, as far as its datasets and points tell.
pub fn born(covered: &Covered) -> Timestamp {
    let datasets = std::iter::once(&covered.dataset).chain(&covered.moved);
    let datasets = datasets.filter_map(|dataset| Timestamp::from_second(dataset.creation).ok());
    let points = covered.points.iter().map(|point| point.created);
    // What cannot be told is old: it is the young ones that are not kept.
    datasets.chain(points).min().unwrap_or(Timestamp::MIN)
}

/// A clock that was set back and is right again shortens nobody's time: it is counted from the newest moment that the
/// instance's history knows of.
fn expires(covered: &Covered, now: Timestamp, stays: SignedDuration) -> Timestamp {
    let newest = covered.points.iter().map(|point| point.created).max();
    let from = match newest {
        Some(newest) if !stays.is_zero() => now.max(newest),
        _ => now,
    };
    from.checked_add(stays).unwrap_or(Timestamp::MAX)
}

/// Plans the destruction of an instance. No data is destroyed by it: the dataset moves out of LXD's reach before LXD
/// deletes the instance.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`], [`Error::DestroyBlocked`].
pub fn plan_destroy(inventory: &Inventory, request: &DestroyRequest) -> Result<Plan, Error> {
    let (record, covered) = inventory.covered(&request.instance)?;
    refuse_protected(record)?;
    let now = inventory.observed_at;
    let layout = &covered.layout;
    let grave = layout
        .graveyard(&request.operation)
        .and_then(|parent| parent.child(covered.live.leaf()))
        .map_err(terrarium_zfs::Error::from)?;
    let expires = expires(covered, now, request.stays);
    let safety = unused_name(covered, now);
    let was_running = record.state != InstanceState::Stopped;
    let goal = DestroyGoal {
        live: covered.live.clone(),
        live_guid: covered.dataset.guid,
        grave: grave.clone(),
        uuid: record.definition.config.get(property::LXD_UUID).cloned(),
        was_running,
        stop: request.stop,
        record: GraveRecord {
            version: GraveRecord::VERSION,
            operation: request.operation.clone(),
            instance: request.instance.clone(),
            destroyed: now,
            expires,
            running: was_running,
            safety: safety.clone(),
            definition: without_secrets(&record.definition),
            records: record.snapshots.iter().map(GraveSnapshot::from).collect(),
        },
    };
    let intent = Intent {
        version: Intent::VERSION,
        operation: request.operation.clone(),
        at: now,
        instance: request.instance.clone(),
        goal: Goal::Destroy(Box::new(goal.clone())),
        target: Target {
            guid: covered.dataset.guid,
            name: safety.clone(),
        },
        start: false,
        idmap: None,
    };

    let mut steps = Steps::default();
    steps.then(
        Action::WriteIntent {
            dataset: covered.live.clone(),
            guid: covered.dataset.guid,
        },
        "whatever cuts this off, the next command on the instance finishes it or takes it back",
    );
    steps.then(Action::SaveDetails, "a resume makes the instance from it");
    steps.then(
        Action::MakeParents {
            datasets: parents(layout, &grave),
        },
        "outside LXD's own tree",
    );
    if was_running {
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
    let mut properties = describe(record);
    properties.insert(property::KIND.to_owned(), "on-demand".to_owned());
    properties.insert(
        property::OPERATION.to_owned(),
        request.operation.to_string(),
    );
    steps.then(
        Action::Snapshot {
            snapshots: vec![(
                covered
                    .live
                    .snapshot(&safety)
                    .map_err(terrarium_zfs::Error::from)?,
                properties,
            )],
            together: false,
        },
        "the instance as it was in the end",
    );
    steps.then(
        Action::Rename {
            from: covered.live.clone(),
            guid: covered.dataset.guid,
            to: grave.clone(),
        },
        "LXD destroys with an instance all that is in its tree",
    );
    finish_steps(&mut steps, &intent, &goal, true);

    let mut notices = Vec::new();
    let elsewhere = covered.points.iter().filter(|point| !point.is_live());
    let elsewhere = elsewhere.count();
    let here = covered.points.len() - elsewhere;
    if request.stays.is_positive() {
        notices.push(Notice::info(format!(
            "its {here} restore points go to the graveyard with it{}",
            match elsewhere {
                0 => String::new(),
                more => format!("; {more} that restores moved aside stay with them"),
            }
        )));
    } else {
        notices.push(Notice::warning(format!(
            "it does not stay in the graveyard: its dataset and all of its {} restore points are destroyed at once, \
             for ever",
            covered.points.len()
        )));
    }
    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: format!("destroy {}", request.instance),
        made_at: now,
        steps: steps.0,
        notices,
        removals: Vec::new(),
        layout: Some(layout.clone()),
        intent: Some(intent),
        details: Details {
            definition: record.definition.clone(),
            records: saved_records(record, covered),
            records_to_make: Vec::new(),
        },
    })
}

/// What remains to be done once the dataset is in the graveyard: `known` says whether LXD still has the instance.
pub(super) fn finish_steps(steps: &mut Steps, intent: &Intent, goal: &DestroyGoal, known: bool) {
    if known {
        steps.then(
            Action::ForgetInstance {
                instance: intent.instance.clone(),
                live: goal.live.clone(),
                grave: goal.grave.clone(),
                guid: goal.live_guid,
                uuid: goal.uuid.clone(),
            },
            "its dataset is out of LXD's reach",
        );
    }
    steps.then(
        Action::Bury {
            dataset: goal.grave.clone(),
        },
        "the instance is destroyed, and can come back",
    );
}

fn refuse_protected(record: &InstanceRecord) -> Result<(), Error> {
    let instance = &record.id;
    let refused = |obstacle: &str, instead: String| {
        Err(Error::DestroyBlocked {
            instance: instance.clone(),
            obstacle: obstacle.to_owned(),
            instead,
        })
    };
    let value = record.expanded_config.get(property::LXD_PROTECTION);
    let is_set = value.is_some_and(|value| {
        ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
    });
    if is_set {
        let project = match instance.project.is_default() {
            true => String::new(),
            false => format!(" --project '{}'", instance.project),
        };
        return refused(
            "it is protected: security.protection.delete is set",
            format!(
                "if it is to go: `lxc config set {}{project} security.protection.delete=false`",
                instance.name
            ),
        );
    }
    if record.definition.ephemeral {
        return refused(
            "it is ephemeral: LXD deletes it, with its dataset, when it stops",
            "make it permanent with `lxc config edit` first, or let LXD delete it".to_owned(),
        );
    }
    Ok(())
}
