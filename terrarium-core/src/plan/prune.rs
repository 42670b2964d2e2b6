//! Restore points that no policy has a use for any more are removed.
//!
//! What has no use is decided by [`crate::policy`]; here it is made a plan. Whatever was decided, what must never be
//! removed is looked for once more: two mistakes are needed to lose a point.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use terrarium_zfs::Guid;

use super::adopt::has_adopted_sanoid;
use super::delete::destroy_steps;
use super::{Notice, Plan, Purpose, Steps};
use crate::details::Details;
use crate::error::Error;
use crate::inventory::{Covered, Inventory};
use crate::names::{InstanceRef, OperationId};
use crate::point::{Kind, RestorePoint};

/// What is to be removed, and from which instances.
#[derive(Clone, Debug)]
pub struct PruneRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The points that the policy of each instance has no use for.
    pub surplus: BTreeMap<InstanceRef, BTreeSet<Guid>>,
}

/// Plans the removal of points. One that must stay is left out, with a warning; one that is gone already, silently.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`].
pub fn plan_prune(inventory: &Inventory, request: &PruneRequest) -> Result<Plan, Error> {
    let mut steps = Steps::default();
    let mut notices = Vec::new();
    let (mut points, mut instances) = (0, 0);
    for (id, surplus) in &request.surplus {
        let (_, covered) = inventory.covered(id)?;
        let adopted = has_adopted_sanoid(covered);
        let newest = newest_that_stays(covered, surplus, inventory.observed_at);
        let mut doomed = Vec::new();
        for point in covered
            .points
            .iter()
            .filter(|point| surplus.contains(&point.guid))
        {
            match stays(point, covered, newest, adopted) {
                None => doomed.push(point),
                Some(why) => notices.push(Notice::warning(format!(
                    "{} stays, though the policy of {id} has no use for it: {why}",
                    point.snapshot
                ))),
            }
        }
        destroy_steps(
            &mut steps,
            &doomed,
            &format!("the policy of {id} has no use for it"),
        );
        points += doomed.len();
        instances += usize::from(!doomed.is_empty());
    }
    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title: format!(
            "prune {points} restore point{} of {instances} instance{}",
            if points == 1 { "" } else { "s" },
            if instances == 1 { "" } else { "s" }
        ),
        made_at: inventory.observed_at,
        steps: steps.0,
        notices,
        removals: Vec::new(),
        layout: None,
        intent: None,
        details: Details::default(),
    })
}

/// The newest point of an instance, unless it has expired and another one is left.
fn newest_that_stays(covered: &Covered, surplus: &BTreeSet<Guid>, now: Timestamp) -> Option<Guid> {
    let newest = covered.newest_live()?;
    let has_expired = newest.expires.is_some_and(|expires| expires <= now);
    let mut live = covered.points.iter().filter(|point| point.is_live());
    let another_is_left = live.any(|point| !surplus.contains(&point.guid));
    (!has_expired || !another_is_left).then_some(newest.guid)
}

/// Why a point is never removed by a policy, if it is not.
fn stays(
    point: &RestorePoint,
    covered: &Covered,
    newest: Option<Guid>,
    adopted: bool,
) -> Option<&'static str> {
    let is_ours = match point.kind {
        Kind::Scheduled | Kind::OnDemand => true,
        Kind::Foreign | Kind::Safety(_) | Kind::Lxd => point.scheduled_for(adopted).is_some(),
    };
    if !is_ours {
        Some("Terrarium did not take it as a backup")
    } else if point.snapshot.dataset_str() != covered.dataset.name.as_str() {
        Some("it was moved aside, and goes with what was moved")
    } else if newest == Some(point.guid) {
        Some("it is the newest of its instance")
    } else if point.holds > 0 {
        Some("it is held")
    } else if !point.clones.is_empty() {
        Some("it has clones")
    } else {
        None
    }
}
