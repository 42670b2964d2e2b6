//! Recreate: an instance that LXD does not know is made from a point that was fetched, under its own name or another.

use std::collections::BTreeMap;

use terrarium_zfs::{DatasetName, Guid, SnapshotName};

use super::as_new::finish_steps;
use super::identity::{IdentityPolicy, strip_identity};
use super::{Action, Notice, Plan, Purpose, Steps};
use crate::details::Details;
use crate::error::Error;
use crate::instances::{Definition, Device, InstanceKind, InstanceRecord, InstanceState, Profile};
use crate::intent::{AsNewGoal, Goal, Intent, Target};
use crate::inventory::Inventory;
use crate::layout::PoolLayout;
use crate::names::{InstanceRef, OperationId};
use crate::property;

/// What is to be made anew.
#[derive(Clone, Debug)]
pub struct RecreateRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The instance whose point it is.
    pub instance: InstanceRef,
    /// The instance to be made: the same, or a copy.
    pub new: InstanceRef,
    /// What a copy must not share.
    pub identity: IdentityPolicy,
    /// Whether it is started in the end.
    pub start: bool,
    /// The pool that the point was fetched into.
    pub layout: PoolLayout,
    /// The point, in the dataset that it was fetched into.
    pub point: SnapshotName,
    /// Its guid.
    pub guid: Guid,
    /// The guid of that dataset.
    pub staged: Guid,
    /// The instance as LXD had it.
    pub definition: Definition,
    /// The profiles that it had, with what was in each, in their order.
    pub had: Vec<Profile>,
    /// The profiles that are here, in the project of the new instance.
    pub profiles: Vec<Profile>,
}

/// Plans an instance that LXD does not know.
///
/// # Errors
/// [`Error::NameTaken`]; [`Error::Changed`] if a dataset stands where the new one belongs.
pub fn plan_recreate(inventory: &Inventory, request: &RecreateRequest) -> Result<Plan, Error> {
    if inventory.instance(&request.new).is_some() {
        return Err(Error::NameTaken {
            instance: request.new.clone(),
        });
    }
    let layout = &request.layout;
    let dataset = layout
        .instance(&request.new)
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
    let staged =
        DatasetName::new(request.point.dataset_str()).map_err(terrarium_zfs::Error::from)?;

    let mut notices = Vec::new();
    let mut source = request.definition.clone();
    dissolve_missing_profiles(&mut source, request, &mut notices);
    move_root_disk(&mut source, request, &mut notices);
    let idmap = source.config.get(property::LXD_IDMAP).cloned();
    let (mut definition, removals) = if request.new == request.instance {
        let mut same = source;
        same.config.retain(|key, _| is_of_the_instance(key));
        (same, Vec::new())
    } else {
        let record = InstanceRecord {
            id: request.instance.clone(),
            kind: InstanceKind::Container,
            state: InstanceState::Stopped,
            expanded_config: source.config.clone(),
            expanded_devices: source.devices.clone(),
            definition: source,
            snapshots: Vec::new(),
        };
        strip_identity(&record, &request.profiles, &request.identity)
    };
    definition.config.insert(
        property::LXD_OPERATION.to_owned(),
        request.operation.to_string(),
    );
    // What is taken back has to be deleted: the protection is set when it is complete.
    let protection = definition.config.remove(property::LXD_PROTECTION);
    if let Some(idmap) = &idmap {
        // From the first moment: with another map, a start would shift the files once more.
        definition
            .config
            .insert(property::LXD_IDMAP.to_owned(), idmap.clone());
    }
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
            copied: false,
        })),
        target: Target {
            guid: request.guid,
            name: request.point.name().to_owned(),
        },
        start: request.start,
        idmap,
    };

    let mut steps = Steps::default();
    steps.then(
        Action::WriteIntent {
            dataset: staged.clone(),
            guid: request.staged,
        },
        "what was fetched is complete; it is about to become an instance",
    );
    steps.then(
        Action::CreateInstance {
            instance: request.new.clone(),
            dataset: dataset.clone(),
        },
        "as LXD had it when the point was archived",
    );
    steps.then(
        Action::DestroyEmpty {
            instance: request.new.clone(),
            dataset: dataset.clone(),
        },
        "what was fetched takes its place",
    );
    steps.then(
        Action::RenameStaged {
            from: staged,
            to: dataset.clone(),
        },
        "to where LXD looks for it",
    );
    finish_steps(&mut steps, &intent, true);
    steps.then(Action::ClearIntent { dataset }, "the instance is complete");
    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: format!(
            "make {} anew from {} of {}",
            request.new,
            request.point.name(),
            request.instance
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

/// Of LXD's own keys an instance that comes back keeps those that tell who it is on its networks, and which image
/// it is of.
fn is_of_the_instance(key: &str) -> bool {
    !key.starts_with("volatile.")
        || key == "volatile.base_image"
        || (key.ends_with(".hwaddr") && key.matches('.').count() == 2)
}

/// A profile that is not here is replaced by what was in it.
fn dissolve_missing_profiles(
    definition: &mut Definition,
    request: &RecreateRequest,
    notices: &mut Vec<Notice>,
) {
    let here = |name: &str| request.profiles.iter().any(|profile| profile.name == name);
    let (mut config, mut devices) = (BTreeMap::new(), BTreeMap::new());
    for name in &definition.profiles {
        let Some(had) = request.had.iter().find(|had| had.name == *name) else {
            continue;
        };
        if !here(name) {
            config.extend(had.config.clone());
            devices.extend(had.devices.clone());
            notices.push(Notice::warning(format!(
                "there is no profile {name} here: what it held is set on {} itself",
                request.new
            )));
        }
    }
    definition.profiles.retain(|name| here(name));
    config.extend(std::mem::take(&mut definition.config));
    devices.extend(std::mem::take(&mut definition.devices));
    (definition.config, definition.devices) = (config, devices);
}

/// The root disk must be in the pool that the point was fetched into, whatever that was called where it comes from.
fn move_root_disk(
    definition: &mut Definition,
    request: &RecreateRequest,
    notices: &mut Vec<Notice>,
) {
    let is_root = |device: &Device| {
        device.get("type").is_some_and(|kind| kind == "disk")
            && device.get("path").is_some_and(|path| path == "/")
    };
    let applied = definition.profiles.iter().rev();
    let mut applied = applied.filter_map(|name| {
        request
            .profiles
            .iter()
            .find(|profile| profile.name == *name)
    });
    let own = definition
        .devices
        .iter()
        .find(|(_, device)| is_root(device));
    let own = own.map(|(name, device)| (name.clone(), device.clone()));
    let found = own.or_else(|| {
        applied.find_map(|profile| {
            let root = profile.devices.iter().find(|(_, device)| is_root(device));
            root.map(|(name, device)| (name.clone(), device.clone()))
        })
    });
    let pool = &request.layout.lxd_pool;
    let (name, mut device) = found.unwrap_or_else(|| {
        let kind = [("type", "disk"), ("path", "/")];
        let kind = kind.map(|(key, value)| (key.to_owned(), value.to_owned()));
        ("root".to_owned(), Device::from(kind))
    });
    let before = device.insert("pool".to_owned(), pool.clone());
    if before.as_ref() == Some(pool) {
        return;
    }
    if let Some(before) = before {
        notices.push(Notice::info(format!(
            "its root disk was in the storage pool {before}, and comes to {pool}"
        )));
    }
    definition.devices.insert(name, device);
}
