//! What a person has said of a restore point is changed: its alias, and when it may be removed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use terrarium_zfs::Guid;

use super::rewind::find_point;
use super::snapshot::refuse_taken;
use super::{Action, Notice, Plan, Purpose, Steps};
use crate::details::Details;
use crate::error::Error;
use crate::inventory::Inventory;
use crate::names::{Alias, InstanceRef, OperationId};
use crate::point::{Kind, RestorePoint};
use crate::property;

/// What becomes of something that a person has set, or not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Setting<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It gets this value.
    Set(T),
    /// It is removed.
    Clear,
}

/// What is to be changed of a restore point.
#[derive(Clone, Debug)]
pub struct EditRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The instance.
    pub instance: InstanceRef,
    /// The restore point.
    pub point: Guid,
    /// Its name, unique among those of the instance, wherever its points lie.
    pub alias: Setting<Alias>,
    /// When it may be removed.
    pub expires: Setting<Timestamp>,
}

/// Plans the change of a point's alias and expiry. Without anything to change, the plan has no step.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`], [`Error::AliasTaken`], [`Error::ExpiryPast`];
/// [`Error::PointRefused`] for the expiry of a point that is removed, or stays, by another rule.
pub fn plan_edit(inventory: &Inventory, request: &EditRequest) -> Result<Plan, Error> {
    let (_, covered) = inventory.covered(&request.instance)?;
    let point = find_point(covered, request.point)?;
    let mut changes = BTreeMap::new();
    match &request.alias {
        Setting::Set(alias) if point.alias.as_deref() != Some(alias.as_str()) => {
            refuse_taken(&request.instance, covered, alias)?;
            changes.insert(property::ALIAS.to_owned(), Some(alias.to_string()));
        }
        Setting::Clear if point.alias.is_some() => {
            changes.insert(property::ALIAS.to_owned(), None);
        }
        _ => {}
    }
    match request.expires {
        Setting::Set(expires) if expires <= inventory.observed_at => {
            return Err(Error::ExpiryPast { expires });
        }
        Setting::Set(expires) if point.expires != Some(expires) => {
            refuse_expiry(point)?;
            changes.insert(property::EXPIRES.to_owned(), Some(expires.to_string()));
        }
        Setting::Clear if point.expires.is_some() => {
            refuse_expiry(point)?;
            changes.insert(property::EXPIRES.to_owned(), None);
        }
        _ => {}
    }

    let mut steps = Steps::default();
    let mut notices = Vec::new();
    if changes.is_empty() {
        notices.push(Notice::info("it is like that already: nothing to change"));
    } else {
        steps.then(
            Action::SetProperties {
                object: point.snapshot.to_string(),
                guid: point.guid,
                changes,
            },
            "asked for",
        );
    }
    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: format!("edit {} of {}", point.name(), request.instance),
        made_at: inventory.observed_at,
        steps: steps.0,
        notices,
        removals: Vec::new(),
        layout: None,
        intent: None,
        details: Details::default(),
    })
}

/// Who expects an expiry to be heeded must not be left in that belief.
fn refuse_expiry(point: &RestorePoint) -> Result<(), Error> {
    let (why, instead) = match &point.kind {
        Kind::OnDemand | Kind::Scheduled => return Ok(()),
        Kind::Safety(_) => (
            "until it expires `backup undo` goes back to it, and that time is fixed",
            "to keep what it holds, restore it as new",
        ),
        Kind::Lxd => (
            "LXD made it, and heeds only its own expiry",
            "set that with `lxc config edit INSTANCE/SNAPSHOT`",
        ),
        Kind::Foreign => (
            "Terrarium did not make it, and never removes it",
            "take one on demand with an expiry",
        ),
    };
    Err(Error::PointRefused {
        operation: "change the expiry of",
        snapshot: point.snapshot.to_string(),
        why: why.to_owned(),
        instead: instead.to_owned(),
    })
}
