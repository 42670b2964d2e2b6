//! Restore points are deleted by hand: those that were taken on demand, scheduled ones if that is insisted on.

use std::collections::{BTreeMap, BTreeSet};

use terrarium_zfs::{Guid, SnapshotName};

use super::adopt::has_adopted_sanoid;
use super::rewind::find_point;
use super::{Action, DoomedPoint, Notice, Plan, Purpose, Steps};
use crate::details::Details;
use crate::error::Error;
use crate::instances::InstanceRecord;
use crate::inventory::{Covered, Inventory};
use crate::names::{InstanceRef, OperationId};
use crate::point::{Kind, RestorePoint, lxd_record_name};

/// How many snapshots are destroyed in one transaction group: a pool's other changes wait for it.
const BATCH: usize = 500;

/// Which points are to be deleted.
#[derive(Clone, Debug)]
pub struct DeleteRequest {
    /// Identifies the operation.
    pub operation: OperationId,
    /// The instance.
    pub instance: InstanceRef,
    /// The restore points.
    pub points: Vec<Guid>,
    /// Scheduled ones too, which otherwise go by the retention policy.
    pub force: bool,
    /// The tags of the holds of those that are held, for the message.
    pub holds: BTreeMap<Guid, Vec<String>>,
}

/// Plans the deletion of restore points. Bookmarks stay, so an export continues from a deleted point as before.
///
/// # Errors
/// [`Error::InstanceNotFound`], [`Error::NotCovered`]; [`Error::PointRefused`] with what to do instead for one that
/// Terrarium did not take, that something holds or is cloned from, or that goes by a policy.
pub fn plan_delete(inventory: &Inventory, request: &DeleteRequest) -> Result<Plan, Error> {
    let (record, covered) = inventory.covered(&request.instance)?;
    let wanted: BTreeSet<Guid> = request.points.iter().copied().collect();
    let mut points = Vec::new();
    for guid in &wanted {
        let point = find_point(covered, *guid)?;
        let adopted = has_adopted_sanoid(covered);
        refuse(record, point, adopted, request)?;
        points.push(point);
    }
    points.sort_by_key(|point| point.createtxg);

    let mut steps = Steps::default();
    destroy_steps(&mut steps, &points, "asked for");
    let title = match points.as_slice() {
        [only] => format!("delete {} of {}", only.name(), request.instance),
        several => format!(
            "delete {} restore points of {}",
            several.len(),
            request.instance
        ),
    };
    Ok(Plan {
        operation: request.operation.clone(),
        purpose: Purpose::Request,
        title,
        made_at: inventory.observed_at,
        steps: steps.0,
        notices: newest_notice(&request.instance, covered, &wanted),
        removals: Vec::new(),
        layout: None,
        intent: None,
        details: Details::default(),
    })
}

/// The steps that destroy these points: those of one dataset together, but not too many at once.
pub(super) fn destroy_steps(steps: &mut Steps, points: &[&RestorePoint], why: &str) {
    let mut by_dataset: BTreeMap<&str, Vec<DoomedPoint>> = BTreeMap::new();
    for point in points {
        let doomed = by_dataset.entry(point.snapshot.dataset_str()).or_default();
        doomed.push(DoomedPoint {
            snapshot: point.snapshot.clone(),
            guid: point.guid,
        });
    }
    for batch in by_dataset.values().flat_map(|doomed| doomed.chunks(BATCH)) {
        steps.then(
            Action::DestroyPoints {
                points: batch.to_vec(),
            },
            why,
        );
    }
}

fn refuse(
    record: &InstanceRecord,
    point: &RestorePoint,
    adopted: bool,
    request: &DeleteRequest,
) -> Result<(), Error> {
    let is_scheduled = point.kind == Kind::Scheduled || point.scheduled_for(adopted).is_some();
    let refused = |why: String, instead: String| {
        Err(Error::PointRefused {
            operation: "delete",
            snapshot: point.snapshot.to_string(),
            why,
            instead,
        })
    };
    let by_zfs = || format!("`zfs destroy '{}'` removes it", point.snapshot);
    match &point.kind {
        Kind::OnDemand => {}
        _ if is_scheduled && request.force => {}
        _ if is_scheduled => {
            return refused(
                "it is a scheduled one: `backup prune` removes it by the policy of its instance"
                    .to_owned(),
                "to delete it by hand even so, give --force".to_owned(),
            );
        }
        Kind::Safety(_) => {
            return refused(
                "it is what `backup undo` goes back to".to_owned(),
                "it goes, with what the restore moved aside, when the time to undo is over"
                    .to_owned(),
            );
        }
        Kind::Lxd => {
            let why = "LXD made it, and keeps a record of it".to_owned();
            let known = |name: &&str| record.snapshots.iter().any(|known| known.name == **name);
            return match lxd_record_name(&point.snapshot).filter(known) {
                Some(name) if point.is_live() => {
                    refused(why, format!("`{}` deletes both", lxc_delete(record, name)))
                }
                _ => refused(
                    "LXD made it, though it has no record of it now".to_owned(),
                    by_zfs(),
                ),
            };
        }
        Kind::Foreign | Kind::Scheduled => {
            return refused("Terrarium did not take it".to_owned(), by_zfs());
        }
    }
    if point.holds > 0 {
        let tags = request.holds.get(&point.guid).map(|tags| tags.join(", "));
        let tags = tags.unwrap_or_else(|| format!("{} holds", point.holds));
        return refused(format!("it is held: {tags}"), hold_help(&point.snapshot));
    }
    if !point.clones.is_empty() {
        let clones: Vec<_> = point.clones.iter().map(|clone| clone.as_str()).collect();
        return refused(
            format!("it has clones: {}", clones.join(", ")),
            "what was made from it needs it; delete that first".to_owned(),
        );
    }
    Ok(())
}

fn hold_help(snapshot: &SnapshotName) -> String {
    format!(
        "whoever holds it needs it; when it is not needed any more: `zfs release TAG '{snapshot}'`"
    )
}

fn lxc_delete(record: &InstanceRecord, name: &str) -> String {
    let instance = &record.id;
    let project = match instance.project.is_default() {
        true => String::new(),
        false => format!(" --project '{}'", instance.project),
    };
    format!("lxc delete {}/{name}{project}", instance.name)
}

/// Deleting the newest point is allowed to whoever says so; it must be said what is left.
fn newest_notice(
    instance: &InstanceRef,
    covered: &Covered,
    doomed: &BTreeSet<Guid>,
) -> Vec<Notice> {
    let Some(newest) = covered
        .newest_live()
        .filter(|newest| doomed.contains(&newest.guid))
    else {
        return Vec::new();
    };
    let left = covered
        .points
        .iter()
        .rfind(|point| point.is_live() && !doomed.contains(&point.guid));
    let text = match left {
        Some(left) => format!(
            "{} is the newest restore point of {instance}; after that it is {}",
            newest.name(),
            left.name()
        ),
        None => format!("{instance} has no restore point of its present history after that"),
    };
    vec![Notice::warning(text)]
}
