//! What is going to be done: for `--dry-run`, and for whoever has to agree to it.

use std::fmt::Write;

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use terrarium_core::intent::Goal;
use terrarium_core::plan::Action;
use terrarium_core::{
    Coverage, InstanceRecord, InstanceRef, InstanceState, Inventory, Pending, Plan, RestorePoint,
    Stop, property,
};
use terrarium_zfs::{DatasetName, SnapshotName, UserProperties};

use super::{JSON_VERSION, one_line, units};
use crate::confirm::Question;
use crate::exit::Exit;
use crate::site::Site;

/// A plan with all its steps and their reasons.
pub(crate) fn text(
    plan: &Plan,
    inventory: &Inventory,
    recoveries: &[PendingShown<'_>],
    now: &Zoned,
    site: &Site,
) -> String {
    let mut text = format!("Plan: {}\n", one_line(&plan.title));
    text.push_str(&summary(plan, inventory, recoveries, now, site));
    text.push_str("\nSteps:\n");
    let width = plan.steps.len().to_string().len();
    for (index, step) in plan.steps.iter().enumerate() {
        let action = one_line(&step.action.to_string());
        let _ = writeln!(text, "  {:>width$}  {action}", index + 1);
        let _ = writeln!(text, "  {:>width$}    {}", "", one_line(&step.why));
    }
    text.push_str("\nThis is a dry run: nothing was changed.\n");
    text
}

/// What somebody has to agree to.
pub(crate) fn question(
    plan: &Plan,
    inventory: &Inventory,
    recoveries: &[PendingShown<'_>],
    now: &Zoned,
    site: &Site,
) -> Question {
    let summary = summary(plan, inventory, recoveries, now, site);
    Question {
        text: format!("About to {}\n{}", one_line(&plan.title), summary.trim_end()),
        destroys: plan.stays_buried().is_some_and(|time| time.is_zero())
            || contains(plan, |action| {
                matches!(
                    action,
                    Action::Rollback { .. } | Action::DestroyPoints { .. }
                )
            }),
    }
}

/// What comes out of a plan, one line for each thing that people should know before.
fn summary(
    plan: &Plan,
    inventory: &Inventory,
    recoveries: &[PendingShown<'_>],
    now: &Zoned,
    site: &Site,
) -> String {
    let mut text = String::new();
    for pending in recoveries {
        let _ = writeln!(
            text,
            "  first finished or taken back, for it was cut off: {}",
            pending.text(now)
        );
    }
    if let Some(target) = Target::of(plan, inventory) {
        let _ = writeln!(text, "  {}", target.taken(now));
        if is_in_place(plan) {
            for consequence in consequences(plan, target.record, site) {
                let _ = writeln!(text, "  {consequence}");
            }
        }
    }
    for line in buried(plan, site) {
        let _ = writeln!(text, "  {line}");
    }
    if !contains(plan, |action| {
        matches!(
            action,
            Action::Clone { .. } | Action::Copy { .. } | Action::Bury { .. }
        )
    }) {
        for (snapshot, properties) in taken(plan) {
            let line = snapshot_line(snapshot, properties, inventory, now);
            let _ = writeln!(text, "  {line}");
        }
    }
    let actions = plan.steps.iter().map(|step| &step.action);
    text.push_str(&super::edited::planned(actions, inventory, now));
    for notice in &plan.notices {
        text.push_str(&super::notice(notice));
    }
    text + &super::removals(&plan.removals)
}

/// What a destroy means for the instance.
fn buried(plan: &Plan, site: &Site) -> Vec<String> {
    let Some(time) = plan.stays_buried() else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let stop = plan.steps.iter().find_map(|step| match &step.action {
        Action::Stop { instance, how } => Some((instance, *how)),
        _ => None,
    });
    lines.extend(stop.map(|(id, how)| stop_line(id, how)));
    let instance = plan.steps.iter().find_map(|step| match &step.action {
        Action::ForgetInstance { instance, .. } => Some(instance),
        _ => None,
    });
    if let Some(instance) = instance
        && !time.is_zero()
    {
        lines.push(format!(
            "for {} it comes back by `{}`",
            units::span(time),
            site.command(&format!("instance resume {instance}"))
        ));
    }
    lines
}

fn stop_line(id: &InstanceRef, stop: Stop) -> String {
    match stop {
        Stop::Graceful(limit) => format!(
            "{id} runs and is stopped; if it does not shut down within {}s, nothing is changed",
            limit.as_secs()
        ),
        Stop::ThenForce(limit) => format!(
            "{id} runs and is stopped, by force if it does not shut down within {}s",
            limit.as_secs()
        ),
    }
}

/// What a restore in place means for the instance.
fn consequences(plan: &Plan, record: &InstanceRecord, site: &Site) -> Vec<String> {
    let id = &record.id;
    let mut lines = Vec::new();
    let stop = plan.steps.iter().find_map(|step| match &step.action {
        Action::Stop { how, .. } => Some(*how),
        _ => None,
    });
    lines.extend(stop.map(|stop| stop_line(id, stop)));
    let starts = contains(plan, |action| matches!(action, Action::Start { .. }));
    lines.extend(match (starts, record.state) {
        (true, _) => Some(format!("{id} is started afterwards")),
        (false, InstanceState::Stopped) => None,
        (false, _) => Some(format!(
            "{id} stays stopped afterwards, unless --start is given"
        )),
    });
    // Said as a span: it must not differ between a question and the plan that is carried out.
    lines.extend(undo_until(plan).map(|until| {
        format!(
            "what is there now moves aside; for {} it comes back by `{}`",
            units::span(until.duration_since(plan.made_at)),
            site.command(&format!("backup undo --instance {id}"))
        )
    }));
    lines
}

fn taken(plan: &Plan) -> impl Iterator<Item = &(SnapshotName, UserProperties)> {
    let taken = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Snapshot { snapshots, .. } => Some(snapshots),
        _ => None,
    });
    taken.flatten()
}

/// A snapshot that is taken for somebody, and what they said of it.
pub(crate) fn snapshot_line(
    snapshot: &SnapshotName,
    properties: &UserProperties,
    inventory: &Inventory,
    now: &Zoned,
) -> String {
    let instance = inventory
        .instances
        .iter()
        .find(|instance| match &instance.coverage {
            Coverage::Covered(covered) => covered.live.as_str() == snapshot.dataset_str(),
            Coverage::NotCovered { .. } => false,
        });
    let of = match instance {
        Some(instance) => instance.record.id.to_string(),
        None => one_line(snapshot.dataset_str()),
    };
    let mut line = format!("{} of {of}", one_line(snapshot.name()));
    if let Some(alias) = properties.get(property::ALIAS) {
        let _ = write!(line, ", alias {}", one_line(alias));
    }
    let expires = properties
        .get(property::EXPIRES)
        .and_then(|expires| expires.parse().ok());
    if let Some(expires) = expires {
        let _ = write!(line, ", expires {}", units::time(expires, now.time_zone()));
    }
    line
}

fn is_in_place(plan: &Plan) -> bool {
    !contains(plan, |action| {
        matches!(action, Action::CreateInstance { .. })
    })
}

fn contains(plan: &Plan, wanted: impl Fn(&Action) -> bool) -> bool {
    plan.steps.iter().any(|step| wanted(&step.action))
}

/// Until when a restore in place can be undone, if the plan is one.
pub(crate) fn undo_until(plan: &Plan) -> Option<Timestamp> {
    undo_time(plan.steps.iter().map(|step| &step.action))
}

/// When the safety snapshot among the actions expires.
pub(crate) fn undo_time<'a>(actions: impl IntoIterator<Item = &'a Action>) -> Option<Timestamp> {
    actions.into_iter().find_map(|action| match action {
        Action::Snapshot { snapshots, .. } => snapshots.iter().find_map(|(_, properties)| {
            properties.get(property::OPERATION)?;
            properties.get(property::EXPIRES)?.parse().ok()
        }),
        _ => None,
    })
}

/// The restore point that a plan starts from, and the instance that it belongs to.
pub(crate) struct Target<'a> {
    pub(crate) record: &'a InstanceRecord,
    pub(crate) point: &'a RestorePoint,
}

impl<'a> Target<'a> {
    pub(crate) fn of(plan: &Plan, inventory: &'a Inventory) -> Option<Self> {
        Self::of_actions(plan.steps.iter().map(|step| &step.action), inventory)
    }

    pub(crate) fn of_actions<'b>(
        actions: impl IntoIterator<Item = &'b Action>,
        inventory: &'a Inventory,
    ) -> Option<Self> {
        let snapshot = actions.into_iter().find_map(|action| match action {
            Action::Clone { origin, .. } | Action::Copy { origin, .. } => Some(origin),
            Action::Rollback { to, .. } => Some(to),
            _ => None,
        })?;
        inventory.instances.iter().find_map(|instance| {
            let Coverage::Covered(covered) = &instance.coverage else {
                return None;
            };
            let point = covered
                .points
                .iter()
                .find(|point| point.snapshot == *snapshot)?;
            Some(Self {
                record: &instance.record,
                point,
            })
        })
    }

    /// When the point was taken.
    pub(crate) fn taken(&self, now: &Zoned) -> String {
        let alias = self
            .point
            .alias
            .as_ref()
            .map(|alias| format!(" ({})", one_line(alias)));
        format!(
            "{}{} was taken {}, {} ago",
            one_line(self.point.name()),
            alias.unwrap_or_default(),
            units::time(self.point.created, now.time_zone()),
            units::age(self.point.created, now.timestamp())
        )
    }
}

/// An operation that was cut off.
#[derive(Serialize)]
pub(crate) struct PendingShown<'a> {
    operation: &'a str,
    instance: &'a InstanceRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<&'a InstanceRef>,
    goal: &'static str,
    point: &'a str,
    began_at: Timestamp,
    dataset: &'a DatasetName,
}

impl<'a> PendingShown<'a> {
    pub(crate) fn new(pending: &'a Pending) -> Self {
        let intent = &pending.intent;
        let (goal, new) = match &intent.goal {
            Goal::Rewind(_) => ("rewind", None),
            Goal::Rollback(_) => ("rollback", None),
            Goal::AsNew(goal) => ("as-new", Some(&goal.new)),
            Goal::Destroy(_) => ("destroy", None),
            Goal::Resume(_) => ("resume", None),
        };
        Self {
            operation: intent.operation.as_str(),
            instance: &intent.instance,
            new,
            goal,
            point: &intent.target.name,
            began_at: intent.at,
            dataset: &pending.holder,
        }
    }

    /// In one line.
    pub(crate) fn text(&self, now: &Zoned) -> String {
        if let "destroy" | "resume" = self.goal {
            return format!(
                "the {} of {}, begun {}",
                self.goal,
                self.instance,
                units::time(self.began_at, now.time_zone())
            );
        }
        let to = match self.new {
            Some(new) => format!("as {new}"),
            None => format!("to {}", one_line(self.point)),
        };
        format!(
            "the restore of {} {to}, begun {}",
            self.instance,
            units::time(self.began_at, now.time_zone())
        )
    }
}

/// What is recovered before anything else is done to these instances.
pub(crate) fn recoveries_first<'a>(
    inventory: &'a Inventory,
    instances: &'a [InstanceRef],
) -> Vec<PendingShown<'a>> {
    let mut first: Vec<PendingShown<'a>> = Vec::new();
    for pending in instances
        .iter()
        .flat_map(|instance| inventory.pending_for(instance))
    {
        let shown = PendingShown::new(pending);
        if first.iter().all(|known| known.dataset != shown.dataset) {
            first.push(shown);
        }
    }
    first
}

/// What `--dry-run --json` answers.
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    recovered_first: &'a [PendingShown<'a>],
    plan: Option<&'a Plan>,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(plan: Option<&'a Plan>, recovered_first: &'a [PendingShown<'a>]) -> Self {
        Self {
            version: JSON_VERSION,
            exit_code: Exit::Done.code(),
            dry_run: true,
            recovered_first,
            plan,
        }
    }
}
