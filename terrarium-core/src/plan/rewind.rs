//! Rewind in place: the instance continues from a clone of a restore point; what it was is moved aside.
//!
//! An undo is a rewind to the safety snapshot that the last rewind took, so it is planned here too.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use terrarium_zfs::{DatasetName, Guid};

use super::snapshot::{describe, unused_name};
use super::{Action, Notice, Plan, Purpose, Steps, carried_properties, parents};
use crate::details::{Details, SavedRecord};
use crate::error::Error;
use crate::instances::{Definition, InstanceRecord, InstanceState, SnapshotRecord, Stop};
use crate::intent::{ChainLink, Goal, Intent, RewindGoal, Target};
use crate::inventory::{Covered, Inventory};
use crate::names::{InstanceRef, OperationId};
use crate::point::{Kind, LXD_SNAPSHOT_PREFIX, Place, RestorePoint, lxd_record_name};
use crate::property;

/// How long what a rewind moved aside can be brought back.
const UNDO_TIME: SignedDuration = SignedDuration::from_hours(24);

/// What is to be rewound, and how.
#[derive(Clone, Debug)]
pub struct RewindRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The instance.
    pub instance: InstanceRef,
    /// The restore point.
    pub point: Guid,
    /// Whether it undoes the last rewind.
    pub undo: bool,
    /// Whether the instance is started in the end.
    pub start: bool,
    /// How it is stopped.
    pub stop: Stop,
    /// The id map of the point's files; `None` if it is not known.
    pub idmap: Option<String>,
    /// What earlier operations saved of LXD's snapshot records.
    pub saved: Vec<SavedRecord>,
}

/// The safety snapshot of the last rewind that can be undone.
pub fn last_rewind(covered: &Covered) -> Option<&RestorePoint> {
    covered
        .points
        .iter()
        .rfind(|point| match (&point.kind, &point.place) {
            (Kind::Safety(by), Place::Aside(moved_by)) => by == moved_by,
            _ => false,
        })
}

/// Plans a rewind. Nothing is destroyed by it: newer points move aside with the dataset.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`], [`Error::Ephemeral`], [`Error::Changed`] if the point is gone.
pub fn plan_rewind(inventory: &Inventory, request: &RewindRequest) -> Result<Plan, Error> {
    let (record, covered) = inventory.covered(&request.instance)?;
    let point = find_point(covered, request.point)?;
    refuse_ephemeral(record)?;
    let now = inventory.observed_at;
    let layout = &covered.layout;
    let volume = covered.live.leaf();
    let staged = layout
        .staging(&request.operation)
        .map_err(terrarium_zfs::Error::from)?;
    let aside = layout
        .aside(&request.operation)
        .and_then(|parent| parent.child(volume))
        .map_err(terrarium_zfs::Error::from)?;

    let records = Records::reconcile(record, covered, point, &request.saved, now);
    let mut notices = records.notices;
    notices.extend(moved_notice(covered, point));
    let idmap_before = record.definition.config.get(property::LXD_IDMAP).cloned();
    if request.idmap.is_none() && idmap_before.is_some() {
        notices.push(Notice::warning(
            "the id map of the point's files is not on record; LXD keeps today's, which is wrong if it changed since",
        ));
    }

    let history = covered.history(point);
    let chain: Vec<ChainLink> = history
        .chain
        .iter()
        .map(|dataset| ChainLink {
            dataset: dataset.name.clone(),
            guid: dataset.guid,
        })
        .collect();
    let goal = RewindGoal {
        live: covered.live.clone(),
        live_guid: covered.dataset.guid,
        staged: staged.clone(),
        aside: aside.clone(),
        chain,
        undo: request.undo,
        was_running: record.state != InstanceState::Stopped,
        stop: request.stop,
        idmap_before: idmap_before.clone(),
        records_to_make: records
            .to_make
            .iter()
            .map(|record| record.name.clone())
            .collect(),
        records_to_drop: records.to_drop,
    };
    let intent = Intent {
        version: Intent::VERSION,
        operation: request.operation.clone(),
        at: now,
        instance: request.instance.clone(),
        goal: Goal::Rewind(Box::new(goal.clone())),
        target: Target {
            guid: point.guid,
            name: point.name().to_owned(),
        },
        start: request.start,
        idmap: request.idmap.clone(),
    };
    let details = Details {
        definition: record.definition.clone(),
        records: saved_records(record, covered),
        records_to_make: records.to_make,
    };

    let mut steps = Steps::default();
    steps.then(
        Action::MakeParents {
            datasets: parents(layout, &staged),
        },
        "outside LXD's own tree",
    );
    steps.then(
        Action::Clone {
            origin: point.snapshot.clone(),
            guid: point.guid,
            target: staged.clone(),
            properties: carried_properties(&covered.dataset.local, true),
        },
        "the instance will continue from it; the intent is written with it",
    );
    steps.then(
        Action::SaveDetails,
        "an undo rebuilds LXD's snapshot records from it",
    );
    for link in &goal.chain[..goal.chain.len().saturating_sub(1)] {
        steps.then(
            Action::Promote {
                clone: staged.clone(),
            },
            format!(
                "its history up to the point comes over from {}",
                link.dataset
            ),
        );
    }
    steps.then(
        Action::CheckPromote {
            clone: staged.clone(),
        },
        "better to find a busy snapshot now than when the instance is stopped",
    );
    steps.then(
        Action::MakeParents {
            datasets: parents(layout, &aside),
        },
        "what is there now moves below it",
    );
    stop_steps(&mut steps, record, request);
    steps.then(
        Action::CheckUnmounted {
            dataset: covered.live.clone(),
        },
        "what is mounted elsewhere could still be written to",
    );
    record_steps(&mut steps, &request.instance, &record.definition, &details);
    let mut properties = describe(record);
    properties.insert(property::KIND.to_owned(), "on-demand".to_owned());
    properties.insert(
        property::OPERATION.to_owned(),
        request.operation.to_string(),
    );
    if let Ok(expires) = now.checked_add(UNDO_TIME) {
        properties.insert(property::EXPIRES.to_owned(), expires.to_string());
    }
    properties.extend(intent.to_properties());
    let safety = unused_name(covered, now);
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
        "an undo comes back to it",
    );
    steps.then(
        Action::Rename {
            from: covered.live.clone(),
            guid: covered.dataset.guid,
            to: aside,
        },
        "what is there now is kept",
    );
    steps.then(
        Action::RenameStaged {
            from: staged,
            to: covered.live.clone(),
        },
        "the clone takes its place",
    );
    steps.then(
        Action::Promote {
            clone: covered.live.clone(),
        },
        "the history up to the point belongs to the instance again",
    );
    let tell = is_shifted(&intent, idmap_before.as_ref());
    wake_steps(&mut steps, &intent, &goal.live, tell, intent.start);
    finish_steps(&mut steps, &intent, &goal, layout);

    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: if request.undo {
            format!(
                "undo the last rewind of {}: back to {}",
                request.instance,
                point.name()
            )
        } else {
            format!("rewind {} to {}", request.instance, point.name())
        },
        made_at: now,
        steps: steps.0,
        notices,
        removals: Vec::new(),
        layout: Some(layout.clone()),
        intent: Some(intent),
        details,
    })
}

/// What remains to be done when the goal is reached, in the first run and in a recovery.
pub(super) fn finish_steps(
    steps: &mut Steps,
    intent: &Intent,
    goal: &RewindGoal,
    layout: &crate::layout::PoolLayout,
) {
    for record in &goal.records_to_drop {
        steps.then(
            Action::DropRecord {
                instance: intent.instance.clone(),
                record: record.clone(),
                dataset: goal.live.clone(),
            },
            "its snapshot moved aside",
        );
    }
    if !goal.records_to_make.is_empty() {
        steps.then(
            Action::DestroyDuplicates {
                dataset: goal.aside.clone(),
                records: goal.records_to_make.clone(),
            },
            "LXD's records now stand for the real snapshots",
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
    for link in &goal.chain {
        if layout.is_ours(&link.dataset) {
            steps.then(
                Action::RemoveHusk {
                    dataset: link.dataset.clone(),
                    guid: link.guid,
                },
                "its points belong to the instance again",
            );
            if let Some(parent) = link.dataset.parent() {
                steps.then(
                    Action::RemoveParent { dataset: parent },
                    "nothing else is there",
                );
            }
        }
    }
    steps.then(
        Action::ClearIntent {
            dataset: goal.live.clone(),
        },
        "the rewind is complete",
    );
}

/// Whether the files of the point have other ids than those that LXD knew of `before` the operation. If they have the
/// same, LXD is never told: what it says later is what its own start made of the files.
pub(super) fn is_shifted(intent: &Intent, before: Option<&String>) -> bool {
    intent.idmap.is_some() && intent.idmap.as_ref() != before
}

/// Gives LXD the id map of the point's files, and starts the instance.
///
/// LXD is told once: a start shifts the files and sets the map that they have then, and to tell it again would shift
/// them twice.
pub(super) fn wake_steps(
    steps: &mut Steps,
    intent: &Intent,
    live: &DatasetName,
    tell: bool,
    start: bool,
) {
    if tell {
        steps.then(
            set_idmap(&intent.instance, intent.idmap.clone()),
            "the files have the ids of that time",
        );
        steps.then(
            Action::NoteTold {
                dataset: live.clone(),
            },
            "from now on LXD knows better",
        );
    }
    if start {
        steps.then(
            Action::Start {
                instance: intent.instance.clone(),
            },
            "asked for",
        );
    }
}

pub(super) fn set_idmap(instance: &InstanceRef, idmap: Option<String>) -> Action {
    Action::SetConfig {
        instance: instance.clone(),
        changes: BTreeMap::from([(property::LXD_IDMAP.to_owned(), idmap)]),
    }
}

pub(super) fn find_point(covered: &Covered, guid: Guid) -> Result<&RestorePoint, Error> {
    let found = covered.points.iter().find(|point| point.guid == guid);
    found.ok_or_else(|| Error::Changed {
        object: format!("{}, restore point {guid}", covered.live),
        change: "it does not exist any more".to_owned(),
    })
}

/// Such an instance is gone, dataset and all, when it stops.
pub(super) fn refuse_ephemeral(record: &InstanceRecord) -> Result<(), Error> {
    if record.definition.ephemeral {
        return Err(Error::Ephemeral {
            instance: record.id.clone(),
        });
    }
    Ok(())
}

fn moved_notice(covered: &Covered, point: &RestorePoint) -> Option<Notice> {
    let moved = covered.moved_by_restoring(point);
    let newest = moved.last()?;
    Some(Notice::info(format!(
        "{} newer restore points move aside, {} the newest; they stay restorable",
        moved.len(),
        newest.name()
    )))
}

fn stop_steps(steps: &mut Steps, record: &InstanceRecord, request: &RewindRequest) {
    if record.state != InstanceState::Stopped {
        steps.then(
            Action::Stop {
                instance: request.instance.clone(),
                how: request.stop,
            },
            "its dataset must not be in use",
        );
    }
}

/// Records have to be made while a dataset without their snapshots stands at the instance's name.
pub(super) fn record_steps(
    steps: &mut Steps,
    instance: &InstanceRef,
    own: &Definition,
    details: &Details,
) {
    let own = own.without_volatile();
    let mut assumed = false;
    for missing in &details.records_to_make {
        let differs = missing.definition.without_volatile() != own;
        if differs || assumed {
            assumed = true;
            steps.then(
                Action::AssumeDefinition {
                    instance: instance.clone(),
                    record: missing.name.clone(),
                },
                "LXD records the definition that it finds",
            );
        }
        steps.then(
            Action::MakeRecord {
                instance: instance.clone(),
                record: missing.name.clone(),
            },
            "its snapshot comes back, and LXD has no record of it",
        );
    }
    if assumed {
        steps.then(
            Action::RestoreDefinition {
                instance: instance.clone(),
            },
            "the records are made",
        );
    }
}

/// LXD's records of the instance, each with the snapshot it stands for now.
pub(super) fn saved_records(record: &InstanceRecord, covered: &Covered) -> Vec<SavedRecord> {
    let live: BTreeMap<&str, Guid> = lxd_points(covered, |point| point.is_live());
    record
        .snapshots
        .iter()
        .map(|snapshot| SavedRecord {
            guid: live.get(snapshot.name.as_str()).copied(),
            record: snapshot.clone(),
        })
        .collect()
}

fn lxd_points(covered: &Covered, wanted: impl Fn(&RestorePoint) -> bool) -> BTreeMap<&str, Guid> {
    covered
        .points
        .iter()
        .filter(|point| wanted(point))
        .filter_map(|point| Some((lxd_record_name(&point.snapshot)?, point.guid)))
        .collect()
}

/// What has to happen to LXD's snapshot records so that they fit the instance after the rewind.
struct Records {
    to_make: Vec<SnapshotRecord>,
    to_drop: Vec<String>,
    notices: Vec<Notice>,
}

impl Records {
    fn reconcile(
        record: &InstanceRecord,
        covered: &Covered,
        point: &RestorePoint,
        saved: &[SavedRecord],
        now: Timestamp,
    ) -> Self {
        let history = covered.history(point).guids;
        let after = lxd_points(covered, |point| history.contains(&point.guid));
        let before = lxd_points(covered, |point| point.is_live());
        let known: BTreeSet<&str> = record
            .snapshots
            .iter()
            .map(|snapshot| snapshot.name.as_str())
            .collect();
        let mut records = Self {
            to_make: Vec::new(),
            to_drop: Vec::new(),
            notices: Vec::new(),
        };
        for name in &known {
            match (after.get(name), before.get(name)) {
                (None, _) => records.to_drop.push((*name).to_owned()),
                (Some(after), Some(before)) if after != before => records.notices.push(Notice::warning(format!(
                    "LXD's record {name} will stand for an older snapshot of that name; its config is the newer one's"
                ))),
                _ => {}
            }
        }
        for (name, guid) in &after {
            if known.contains(name) {
                continue;
            }
            if before.contains_key(name) {
                records.notices.push(Notice::warning(format!(
                    "{LXD_SNAPSHOT_PREFIX}{name} exists and LXD does not know it; that stays so"
                )));
                continue;
            }
            let saved = saved.iter().rev().find(|saved| saved.guid == Some(*guid));
            let mut wanted = match saved {
                Some(saved) => saved.record.clone(),
                None => {
                    records.notices.push(Notice::warning(format!(
                        "the config of LXD's snapshot {name} was not saved; its record gets today's"
                    )));
                    SnapshotRecord {
                        name: (*name).to_owned(),
                        definition: record.definition.clone(),
                        created: None,
                        expires: None,
                    }
                }
            };
            if wanted.expires.is_some_and(|expires| expires <= now) {
                wanted.expires = None;
                records.notices.push(Notice::warning(format!(
                    "LXD's snapshot {name} had expired; it comes back without expiry"
                )));
            }
            records.to_make.push(wanted);
        }
        records
    }
}
