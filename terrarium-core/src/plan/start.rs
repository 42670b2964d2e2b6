//! The start of an instance whose restore was finished by a recovery.

use super::{Action, Plan, Purpose, Steps};
use crate::details::Details;
use crate::instances::InstanceState;
use crate::inventory::Inventory;
use crate::names::{InstanceRef, OperationId};

/// Plans the start of `instance`; `None` if it runs or is not there.
pub(crate) fn plan_start(
    inventory: &Inventory,
    operation: OperationId,
    instance: &InstanceRef,
) -> Option<Plan> {
    let found = inventory.instance(instance)?;
    if found.record.state == InstanceState::Running {
        return None;
    }
    let mut steps = Steps::default();
    steps.then(
        Action::Start {
            instance: instance.clone(),
        },
        "asked for; the restore was finished before",
    );
    Some(Plan {
        operation,
        purpose: Purpose::Request,
        title: format!("start {instance}"),
        made_at: inventory.observed_at,
        steps: steps.0,
        notices: Vec::new(),
        removals: Vec::new(),
        layout: None,
        intent: None,
        details: Details::default(),
    })
}
