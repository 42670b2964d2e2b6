//! Restore as new: another instance made from a restore point, sharing no identity with its source.

use std::collections::BTreeMap;

use terrarium_zfs::Guid;

use super::identity::{IdentityPolicy, strip_identity};
use super::rewind::find_point;
use super::{Action, Notice, Plan, Purpose, Steps, carried_properties, parents};
use crate::details::Details;
use crate::error::Error;
use crate::instances::Profile;
use crate::intent::{AsNewGoal, Goal, Intent, Target};
use crate::inventory::Inventory;
use crate::names::{InstanceRef, OperationId};
use crate::property;

/// What is to be restored as a new instance.
#[derive(Clone, Debug)]
pub struct AsNewRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The instance whose point it is.
    pub instance: InstanceRef,
    /// The restore point.
    pub point: Guid,
    /// The instance to be made.
    pub new: InstanceRef,
    /// Whether it is started in the end.
    pub start: bool,
    /// The id map of the point's files; `None` if it is not known.
    pub idmap: Option<String>,
    /// The profiles of the target project.
    pub profiles: Vec<Profile>,
    /// What the copy must not share.
    pub identity: IdentityPolicy,
}

/// Plans a new instance. The source is not touched.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`], [`Error::NameTaken`], [`Error::NoProfile`],
/// [`Error::Changed`] if the point is gone.
pub fn plan_as_new(inventory: &Inventory, request: &AsNewRequest) -> Result<Plan, Error> {
    let (record, covered) = inventory.covered(&request.instance)?;
    let point = find_point(covered, request.point)?;
    if inventory.instance(&request.new).is_some() {
        return Err(Error::NameTaken {
            instance: request.new.clone(),
        });
    }
    let layout = &covered.layout;
    let dataset = layout
        .instance(&request.new)
        .map_err(terrarium_zfs::Error::from)?;
    let exists = |pool: &crate::inventory::Pool| {
        pool.listing
            .datasets
            .iter()
            .any(|other| other.name == dataset)
    };
    if inventory.pool(layout).is_some_and(exists) {
        return Err(Error::Changed {
            object: dataset.to_string(),
            change: "it exists, though LXD has no such instance".to_owned(),
        });
    }
    let known = |profile: &&String| !request.profiles.iter().any(|known| known.name == **profile);
    if let Some(missing) = record.definition.profiles.iter().find(known) {
        return Err(Error::NoProfile {
            project: request.new.project.to_string(),
            profile: missing.clone(),
            instance: request.instance.clone(),
        });
    }

    let (mut definition, removals) = strip_identity(record, &request.profiles, &request.identity);
    definition.config.insert(
        property::LXD_OPERATION.to_owned(),
        request.operation.to_string(),
    );
    // A copy that is taken back has to be deleted: the protection is set when it is complete.
    let protection = definition.config.remove(property::LXD_PROTECTION);
    let mut notices = Vec::new();
    let idmap = request
        .idmap
        .clone()
        .or_else(|| record.definition.config.get(property::LXD_IDMAP).cloned());
    if request.idmap.is_none() && idmap.is_some() {
        notices.push(Notice::warning(
            "the id map of the point's files is not on record; today's is taken, which is wrong if it changed since",
        ));
    }

    if let Some(idmap) = &idmap {
        // From the first moment: with another map, a start would shift the files once more.
        definition
            .config
            .insert(property::LXD_IDMAP.to_owned(), idmap.clone());
    }
    let staged = layout
        .staging(&request.operation)
        .map_err(terrarium_zfs::Error::from)?;
    let intent = Intent {
        version: Intent::VERSION,
        operation: request.operation.clone(),
        at: inventory.observed_at,
        instance: request.instance.clone(),
        goal: Goal::AsNew(Box::new(AsNewGoal {
            new: request.new.clone(),
            dataset: dataset.clone(),
            staged: staged.clone(),
            protection,
            copied: request.identity.independent,
        })),
        target: Target {
            guid: point.guid,
            name: point.name().to_owned(),
        },
        start: request.start,
        idmap,
    };

    let mut steps = Steps::default();
    steps.then(
        Action::MakeParents {
            datasets: parents(layout, &staged),
        },
        "outside LXD's own tree",
    );
    let (origin, guid, target) = (point.snapshot.clone(), point.guid, staged.clone());
    let properties = carried_properties(&covered.dataset.local, false);
    let why = "the contents of the new instance; the intent is written with it";
    steps.then(
        if request.identity.independent {
            Action::Copy {
                origin,
                guid,
                target,
                properties,
            }
        } else {
            Action::Clone {
                origin,
                guid,
                target,
                properties,
            }
        },
        why,
    );
    steps.then(
        Action::CreateInstance {
            instance: request.new.clone(),
            dataset: dataset.clone(),
        },
        "limits and profiles as the source, no identity of it",
    );
    steps.then(
        Action::DestroyEmpty {
            instance: request.new.clone(),
            dataset: dataset.clone(),
        },
        "the contents take its place",
    );
    steps.then(
        Action::RenameStaged {
            from: staged.clone(),
            to: dataset.clone(),
        },
        "to where LXD looks for it",
    );
    finish_steps(&mut steps, &intent, true);
    steps.then(
        Action::MarkUsed {
            snapshot: point.snapshot.clone(),
            guid: point.guid,
        },
        "so that people see which points are of use",
    );
    steps.then(
        Action::ClearIntent { dataset },
        "the new instance is complete",
    );

    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: format!(
            "restore {} of {} as {}",
            point.name(),
            request.instance,
            request.new
        ),
        made_at: inventory.observed_at,
        steps: steps.0,
        notices,
        removals,
        layout: Some(layout.clone()),
        intent: Some(intent),
        details: Details {
            definition,
            ..Details::default()
        },
    })
}

/// Makes the instance LXD's own, in the first run and in a recovery: `marked` says whether it still bears the
/// mark of the operation.
pub(super) fn finish_steps(steps: &mut Steps, intent: &Intent, marked: bool) {
    let Goal::AsNew(goal) = &intent.goal else {
        return;
    };
    if marked {
        let mut changes = BTreeMap::from([
            (property::LXD_IDMAP.to_owned(), intent.idmap.clone()),
            (property::LXD_OPERATION.to_owned(), None),
            // What LXD's own copy does: the image's templates set the new host name at the first start. One that
            // comes back under its own name is as it was.
            (
                property::LXD_TEMPLATE.to_owned(),
                (goal.new != intent.instance).then(|| "copy".to_owned()),
            ),
        ]);
        if let Some(protection) = &goal.protection {
            changes.insert(
                property::LXD_PROTECTION.to_owned(),
                Some(protection.clone()),
            );
        }
        steps.then(
            Action::SetConfig {
                instance: goal.new.clone(),
                changes,
            },
            "LXD shifts the files from the ids they have on disk",
        );
    }
    if intent.start {
        steps.then(
            Action::Start {
                instance: goal.new.clone(),
            },
            "asked for",
        );
    }
}
