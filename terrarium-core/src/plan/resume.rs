//! Resume: a destroyed instance comes back from the graveyard, as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use terrarium_zfs::Guid;

use super::rewind::record_steps;
use super::{Action, Notice, Plan, Purpose, Steps};
use crate::details::Details;
use crate::error::Error;
use crate::instances::{Definition, Device, Profile, SnapshotRecord, Stop};
use crate::intent::{Goal, Intent, ResumeGoal, Target};
use crate::inventory::{Grave, Inventory};
use crate::names::{InstanceRef, OperationId};
use crate::point::{LXD_SNAPSHOT_PREFIX, lxd_record_name};
use crate::property;

/// What is to come back.
#[derive(Clone, Debug)]
pub struct ResumeRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The operation that destroyed the instance.
    pub destroyed_by: OperationId,
    /// Whether it is started in the end.
    pub start: bool,
    /// The profiles of its project.
    pub profiles: Vec<Profile>,
    /// What was saved when it was destroyed, if that is still there.
    pub saved: Option<Details>,
}

/// The destroyed instance that is meant by a name, and by the operation that destroyed it if that is given.
///
/// # Errors
/// [`Error::NothingToResume`]; [`Error::SeveralDestroyed`] if there is more than one.
pub fn find_grave<'a>(
    inventory: &'a Inventory,
    instance: &InstanceRef,
    from: Option<&OperationId>,
) -> Result<&'a Grave, Error> {
    let of_name = |grave: &&Grave| grave.record.instance == *instance;
    let wanted = |grave: &&Grave| from.is_none_or(|from| grave.record.operation == *from);
    let whole: Vec<&Grave> = inventory
        .graveyard
        .iter()
        .filter(of_name)
        .filter(wanted)
        .filter(|grave| !grave.purging)
        .collect();
    match whole.as_slice() {
        [only] => Ok(only),
        [] => {
            let purging = inventory
                .graveyard
                .iter()
                .filter(of_name)
                .filter(wanted)
                .any(|grave| grave.purging);
            let known = inventory.graveyard.iter().filter(|grave| !grave.purging);
            let known = known.map(|grave| grave.record.instance.to_string());
            Err(Error::NothingToResume {
                instance: instance.clone(),
                from: from.cloned(),
                purging,
                nearest: crate::text::nearest(&instance.to_string(), known)
                    .into_iter()
                    .filter(|name| *name != instance.to_string())
                    .collect(),
            })
        }
        several => Err(Error::SeveralDestroyed {
            instance: instance.clone(),
            operations: several
                .iter()
                .map(|grave| (grave.record.operation.clone(), grave.record.destroyed))
                .collect(),
        }),
    }
}

/// Plans the resume of a destroyed instance.
///
/// # Errors
/// [`Error::NothingToResume`]; [`Error::NameTaken`]; [`Error::NoProfile`]; [`Error::ResumeBlocked`] if the root disk
/// would be in another pool; [`Error::Changed`] if a dataset stands where it belongs.
pub fn plan_resume(inventory: &Inventory, request: &ResumeRequest) -> Result<Plan, Error> {
    let found = |grave: &&Grave| grave.record.operation == request.destroyed_by;
    let grave = inventory.graveyard.iter().find(found);
    let grave = grave.ok_or_else(|| Error::Changed {
        object: format!("what {} destroyed", request.destroyed_by),
        change: "it is not in the graveyard any more".to_owned(),
    })?;
    let record = &grave.record;
    let instance = &record.instance;
    if inventory.instance(instance).is_some() {
        return Err(Error::NameTaken {
            instance: instance.clone(),
        });
    }
    let layout = &grave.layout;
    let dataset = layout
        .instance(instance)
        .map_err(terrarium_zfs::Error::from)?;
    let exists = inventory.pool(layout).is_some_and(|pool| {
        let mut datasets = pool.listing.datasets.iter();
        datasets.any(|other| other.name == dataset)
    });
    if exists {
        return Err(Error::Changed {
            object: dataset.to_string(),
            change: "it exists, though LXD has no such instance".to_owned(),
        });
    }

    let mut notices = Vec::new();
    let had = match &request.saved {
        Some(saved) => saved.definition.clone(),
        None => {
            notices.push(Notice::warning(
                "LXD's saved definition is gone: what may hold secrets (environment, cloud-init, user keys, \
                 mount options) and the description do not come back",
            ));
            record.definition.clone()
        }
    };
    refuse_missing_profile(instance, &had, &request.profiles)?;
    refuse_other_pool(instance, &had, &request.profiles, &layout.lxd_pool)?;
    let records = records_to_make(grave, &had, request.saved.as_ref(), &mut notices, inventory);
    // A resume that was taken back has left the map that the files have since.
    let since = grave.dataset.local.get(property::IDMAP);
    let idmap = since.or_else(|| had.config.get(property::LXD_IDMAP));
    let idmap = idmap.cloned();
    let protection = had.config.get(property::LXD_PROTECTION).cloned();
    let uuid = had.config.get(property::LXD_UUID).cloned();
    let uuid = uuid.unwrap_or_else(|| uuid_from(&request.operation));
    let mut definition = had;
    definition.config.retain(|key, _| comes_back(key));
    if let Some(idmap) = &idmap {
        definition
            .config
            .insert(property::LXD_IDMAP.to_owned(), idmap.clone());
    }
    definition
        .config
        .insert(property::LXD_UUID.to_owned(), uuid.clone());
    definition.config.insert(
        property::LXD_OPERATION.to_owned(),
        request.operation.to_string(),
    );
    // What is taken back has to be deleted: the protection is set when it is complete.
    definition
        .config
        .insert(property::LXD_PROTECTION.to_owned(), "false".to_owned());

    let safety = grave.points.iter().find(|point| {
        point.snapshot.dataset_str() == grave.dataset.name.as_str() && point.name() == record.safety
    });
    let goal = ResumeGoal {
        dataset: dataset.clone(),
        grave: grave.dataset.name.clone(),
        guid: grave.dataset.guid,
        destroyed_by: record.operation.clone(),
        safety: safety.map(|safety| Target {
            guid: safety.guid,
            name: safety.name().to_owned(),
        }),
        uuid,
        protection,
        records: records.iter().map(|record| record.name.clone()).collect(),
        stop: Stop::ThenForce(Duration::from_secs(30)),
    };
    let intent = Intent {
        version: Intent::VERSION,
        operation: request.operation.clone(),
        at: inventory.observed_at,
        instance: instance.clone(),
        goal: Goal::Resume(Box::new(goal.clone())),
        target: Target {
            guid: grave.dataset.guid,
            name: record.safety.clone(),
        },
        start: request.start,
        idmap,
    };
    let details = Details {
        definition,
        records: Vec::new(),
        records_to_make: records,
    };

    let mut steps = Steps::default();
    steps.then(
        Action::WriteIntent {
            dataset: grave.dataset.name.clone(),
            guid: grave.dataset.guid,
        },
        "whatever cuts this off, the next command on the instance finishes it or takes it back",
    );
    steps.then(
        Action::CreateInstance {
            instance: instance.clone(),
            dataset: dataset.clone(),
        },
        "as LXD had it, with an empty root disk",
    );
    record_steps(&mut steps, instance, &details.definition, &details);
    steps.then(
        Action::DestroyStandIn {
            instance: instance.clone(),
            dataset: dataset.clone(),
            records: goal.records.clone(),
        },
        "the instance's own dataset takes its place",
    );
    steps.then(
        Action::RenameStaged {
            from: goal.grave.clone(),
            to: dataset.clone(),
        },
        "to where LXD looks for it",
    );
    finish_steps(&mut steps, &intent, &goal, Left::All);

    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: format!("resume {instance}"),
        made_at: inventory.observed_at,
        steps: steps.0,
        notices,
        removals: Vec::new(),
        layout: Some(layout.clone()),
        intent: Some(intent),
        details,
    })
}

/// What a recovery finds still to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Left {
    /// Everything.
    All,
    /// All but telling LXD of the ids.
    Start,
    /// It runs already; it still bears the mark.
    Mark,
    /// Tidying up.
    Tidying,
}

/// Makes the instance LXD's own once its dataset is in place, in the first run and in a recovery.
pub(super) fn finish_steps(steps: &mut Steps, intent: &Intent, goal: &ResumeGoal, left: Left) {
    let instance = || intent.instance.clone();
    if left == Left::All && intent.idmap.is_some() {
        steps.then(
            super::rewind::set_idmap(&intent.instance, intent.idmap.clone()),
            "LXD shifts the files from the ids they have on disk",
        );
    }
    if matches!(left, Left::All | Left::Start) && intent.start {
        steps.then(
            Action::Start {
                instance: instance(),
            },
            "it ran when it was destroyed",
        );
    }
    if left != Left::Tidying {
        steps.then(
            Action::SetConfig {
                instance: instance(),
                changes: BTreeMap::from([
                    (property::LXD_OPERATION.to_owned(), None),
                    (property::LXD_PROTECTION.to_owned(), goal.protection.clone()),
                ]),
            },
            "it is complete",
        );
    }
    if let Some(safety) = &goal.safety
        && let Ok(snapshot) = goal.dataset.snapshot(&safety.name)
    {
        steps.then(
            Action::DropSafety {
                snapshot,
                guid: safety.guid,
            },
            "the instance goes on from it",
        );
    }
    if let Some(parent) = goal.grave.parent() {
        steps.then(
            Action::RemoveParent { dataset: parent },
            "nothing is left in it",
        );
    }
    steps.then(
        Action::ForgetDetails {
            operation: goal.destroyed_by.clone(),
        },
        "LXD has them again",
    );
    steps.then(
        Action::Exhume {
            dataset: goal.dataset.clone(),
        },
        "the instance is back",
    );
}

/// Of LXD's own keys those come back that tell who the instance is, on its networks and to cloud-init, and of which
/// image; what says how it ran does not.
fn comes_back(key: &str) -> bool {
    !key.starts_with("volatile.")
        || [
            "volatile.base_image",
            "volatile.cloud-init.instance-id",
            property::LXD_IDMAP,
            property::LXD_UUID,
        ]
        .contains(&key)
        || (key.ends_with(".hwaddr") && key.matches('.').count() == 2)
}

/// A UUID for an instance that never had one, the same whenever it is asked for.
fn uuid_from(operation: &OperationId) -> String {
    let hash = blake3::hash(operation.as_str().as_bytes()).to_hex();
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default().to_owned();
    format!(
        "{}-{}-4{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

fn refuse_missing_profile(
    instance: &InstanceRef,
    definition: &Definition,
    profiles: &[Profile],
) -> Result<(), Error> {
    let missing = |name: &&String| !profiles.iter().any(|profile| profile.name == **name);
    match definition.profiles.iter().find(missing) {
        Some(profile) => Err(Error::NoProfile {
            project: instance.project.to_string(),
            profile: profile.clone(),
            instance: instance.clone(),
        }),
        None => Ok(()),
    }
}

/// LXD makes the stand-in in the pool of the root disk, which must be where the dataset is.
fn refuse_other_pool(
    instance: &InstanceRef,
    definition: &Definition,
    profiles: &[Profile],
    pool: &str,
) -> Result<(), Error> {
    let is_root = |device: &&Device| {
        device.get("type").is_some_and(|kind| kind == "disk")
            && device.get("path").is_some_and(|path| path == "/")
    };
    let applied = definition.profiles.iter().rev();
    let mut applied =
        applied.filter_map(|name| profiles.iter().find(|profile| profile.name == *name));
    let own = definition.devices.values().find(is_root);
    let root = own.or_else(|| applied.find_map(|profile| profile.devices.values().find(is_root)));
    let obstacle = match root.map(|root| root.get("pool").cloned().unwrap_or_default()) {
        Some(found) if found == pool => return Ok(()),
        Some(found) => format!(
            "its dataset is in the storage pool {pool}, and its profiles now put the root disk into {found}"
        ),
        None => "its profiles have no root disk any more".to_owned(),
    };
    Err(Error::ResumeBlocked {
        instance: instance.clone(),
        obstacle,
    })
}

/// The records that LXD is to have again: those it had, of snapshots that are still there.
fn records_to_make(
    grave: &Grave,
    had: &Definition,
    saved: Option<&Details>,
    notices: &mut Vec<Notice>,
    inventory: &Inventory,
) -> Vec<SnapshotRecord> {
    let own = grave.dataset.name.as_str();
    let mut records = Vec::new();
    for point in &grave.points {
        let Some(name) = lxd_record_name(&point.snapshot) else {
            continue;
        };
        if point.snapshot.dataset_str() != own {
            continue;
        }
        let Some(known) = grave.record.records.iter().find(|known| known.name == name) else {
            notices.push(Notice::warning(format!(
                "{LXD_SNAPSHOT_PREFIX}{name} exists and LXD did not know it; that stays so"
            )));
            continue;
        };
        let wanted = |guid: Option<Guid>| guid == Some(point.guid);
        let saved = saved.and_then(|saved| saved.records.iter().find(|saved| wanted(saved.guid)));
        let mut record = match saved {
            Some(saved) => saved.record.clone(),
            None => SnapshotRecord {
                name: name.to_owned(),
                definition: had.clone(),
                created: None,
                expires: known.expires,
            },
        };
        let expired = |expires: Timestamp| expires <= inventory.observed_at;
        if record.expires.is_some_and(expired) {
            record.expires = None;
            notices.push(Notice::warning(format!(
                "LXD's snapshot {name} had expired; it comes back without expiry"
            )));
        }
        records.push(record);
    }
    records
}
