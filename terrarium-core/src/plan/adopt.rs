//! Whose snapshots retention may remove besides our own: sanoid's, once somebody has said so.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Notice, Plan, Purpose, Steps};
use crate::details::Details;
use crate::error::Error;
use crate::inventory::{Covered, Inventory};
use crate::names::{InstanceRef, OperationId};
use crate::property;

/// Whose snapshots are to count as scheduled ones of ours.
#[derive(Clone, Debug)]
pub struct AdoptRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The instances.
    pub instances: Vec<InstanceRef>,
    /// They are not to count as ours any more.
    pub undo: bool,
}

/// Plans that sanoid's snapshots of some instances are kept and removed by Terrarium's policy from now on, or that
/// they are left alone again. Where it is like that already, nothing is changed.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`].
pub fn plan_adopt(inventory: &Inventory, request: &AdoptRequest) -> Result<Plan, Error> {
    let instances: BTreeSet<_> = request.instances.iter().collect();
    let value = (!request.undo).then(|| property::ADOPTED_SANOID.to_owned());
    let mut steps = Steps::default();
    let mut notices = Vec::new();
    for id in &instances {
        let (_, covered) = inventory.covered(id)?;
        if has_adopted_sanoid(covered) != request.undo {
            let text = match request.undo {
                true => format!("sanoid's snapshots of {id} are left alone already"),
                false => format!("sanoid's snapshots of {id} count as ours already"),
            };
            notices.push(Notice::info(text));
            continue;
        }
        steps.then(
            Action::SetProperties {
                object: covered.dataset.name.to_string(),
                guid: covered.dataset.guid,
                changes: BTreeMap::from([(property::ADOPTED.to_owned(), value.clone())]),
            },
            format!("sanoid's snapshots of {id}"),
        );
    }
    let verb = if request.undo { "leave alone" } else { "adopt" };
    let names: Vec<_> = instances.iter().map(ToString::to_string).collect();
    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: format!("{verb} sanoid's snapshots of {}", names.join(", ")),
        made_at: inventory.observed_at,
        steps: steps.0,
        notices,
        removals: Vec::new(),
        layout: None,
        intent: None,
        details: Details::default(),
    })
}

/// Whether sanoid's snapshots of an instance count as scheduled ones of ours.
pub fn has_adopted_sanoid(covered: &Covered) -> bool {
    let adopted = covered.dataset.local.get(property::ADOPTED);
    adopted.is_some_and(|adopted| adopted == property::ADOPTED_SANOID)
}
