//! What became of a plan.

use std::fmt::Write;

use jiff::Zoned;
use terrarium_core::plan::{Action, Purpose};
use terrarium_core::{
    Buried, InstanceRef, InstanceState, Inventory, Outcome, Report, Restored, with_causes,
};
use terrarium_zfs::SnapshotName;

use super::plan::{Target, snapshot_line, undo_time};
use super::{capitalised, edited, one_line, units};
use crate::command::Doing;
use crate::exit::{Exit, Failure};
use crate::site::{Site, shell_word};

/// What was done, and what can be done next.
pub(crate) fn success(
    report: &Report,
    doing: Doing,
    before: &Inventory,
    now: &Zoned,
    site: &Site,
) -> String {
    let mut text = match (&report.restored, &report.graveyard) {
        (Some(restored), _) => restored_text(report, restored, doing, before, now),
        (None, Some(buried)) => buried_text(report, buried, now, site),
        (None, None) => {
            snapshots_text(report, before, now)
                + &edited::done(report, before, now)
                + &adopted_text(report, doing)
                + &started_text(report)
        }
    };
    // What follows from what was not done is not so.
    if report.is_effective() {
        for notice in &report.notices {
            text.push_str(&super::notice(notice));
        }
    }
    for step in &report.steps {
        if let Outcome::Done { note: Some(note) } = &step.outcome {
            let action = one_line(&step.step.action.to_string());
            let _ = writeln!(text, "  warning: {action}: {}", one_line(note));
        }
    }
    text.push_str(&super::removals(&report.removals));
    if let Some(restored) = &report.restored {
        text.push_str(&next(report, restored, now, site));
    }
    text
}

fn buried_text(report: &Report, buried: &Buried, now: &Zoned, site: &Site) -> String {
    let instance = &buried.instance;
    if buried.resumed {
        let starts = |action: &Action| matches!(action, Action::Start { .. });
        let started = report.steps.iter().any(|step| starts(&step.step.action));
        return format!("Resumed {instance}: it is as it was when it was destroyed.\n")
            + &match started {
                true => format!("{instance} is running.\n"),
                false => start_hint(instance, site),
            };
    }
    let mut text = format!("Destroyed {instance}.\n");
    if let (Some(at), Some(until)) = (buried.destroyed, buried.expires)
        && until > at
    {
        let _ = writeln!(
            text,
            "To bring it back, until {}:  {}",
            units::time(until, now.time_zone()),
            site.command(&format!(
                "instance resume {instance} --from {}",
                buried.operation
            ))
        );
    }
    text
}

fn restored_text(
    report: &Report,
    restored: &Restored,
    doing: Doing,
    before: &Inventory,
    now: &Zoned,
) -> String {
    let name = one_line(&restored.name);
    let did =
        |action: fn(&Action) -> bool| report.steps.iter().any(|step| action(&step.step.action));
    let mut text = match &restored.new {
        Some(new) if *new == restored.instance => {
            format!("Made {new} anew, as it was at {name}.\n")
        }
        Some(new) => format!("Restored {name} of {} as {new}.\n", restored.instance),
        None if did(|action| matches!(action, Action::Rollback { .. })) => {
            format!("Rolled {} back to {name}.\n", restored.instance)
        }
        None if doing == Doing::Undo => {
            format!(
                "Undid the last restore of {}: it is back at {name}.\n",
                restored.instance
            )
        }
        None => format!("Restored {} to {name}.\n", restored.instance),
    };
    let actions = report.steps.iter().map(|step| &step.step.action);
    if let Some(target) = Target::of_actions(actions, before) {
        let _ = writeln!(text, "  {}", target.taken(now));
    }
    text
}

fn next(report: &Report, restored: &Restored, now: &Zoned, site: &Site) -> String {
    let instance = restored.new.as_ref().unwrap_or(&restored.instance);
    let actions = || report.steps.iter().map(|step| &step.step.action);
    let mut text = if actions().any(|action| matches!(action, Action::Start { .. })) {
        format!("{instance} is running.\n")
    } else {
        start_hint(instance, site)
    };
    if let Some(until) = undo_time(actions()) {
        let _ = writeln!(
            text,
            "To undo this, until {}:  {}",
            units::time(until, now.time_zone()),
            site.command(&format!("backup undo --instance {instance}"))
        );
    }
    text
}

fn start_hint(instance: &InstanceRef, site: &Site) -> String {
    if !site.runs_instances() {
        return String::new();
    }
    let project = if instance.project.is_default() {
        String::new()
    } else {
        format!(" --project {}", shell_word(instance.project.as_str()))
    };
    format!(
        "{instance} is stopped. To start it:  lxc start {}{project}\n",
        instance.name
    )
}

fn snapshots_text(report: &Report, before: &Inventory, now: &Zoned) -> String {
    let mut text = String::new();
    for step in &report.steps {
        if let (Action::Snapshot { snapshots, .. }, Outcome::Done { .. }) =
            (&step.step.action, &step.outcome)
        {
            for (snapshot, properties) in snapshots {
                let taken = snapshot_line(snapshot, properties, before, now);
                let _ = writeln!(text, "Took {taken}");
            }
        }
    }
    text
}

/// What a report says of instances whose snapshots of sanoid's are ours from now on, or are not any more.
fn adopted_text(report: &Report, doing: Doing) -> String {
    if doing != Doing::Adopt || report.steps.is_empty() {
        return String::new();
    }
    format!("Done: {}.\n", one_line(&report.title))
}

/// What a report without a restore says of instances that it started.
fn started_text(report: &Report) -> String {
    let started = report
        .steps
        .iter()
        .filter_map(|step| match &step.step.action {
            Action::Start { instance } => Some(format!("{instance} is running.\n")),
            _ => None,
        });
    started.collect()
}

/// The snapshots that a report without a restore speaks of: those that were taken, and those that were edited.
pub(crate) fn snapshots(report: &Report) -> Vec<SnapshotName> {
    if report.restored.is_some() {
        return Vec::new();
    }
    let mut spoken_of = Vec::new();
    for step in &report.steps {
        match &step.step.action {
            Action::Snapshot { snapshots, .. } => {
                spoken_of.extend(snapshots.iter().map(|(name, _)| name.clone()));
            }
            Action::SetProperties { object, .. } => {
                spoken_of.extend(SnapshotName::new(object).ok());
            }
            _ => {}
        }
    }
    spoken_of
}

/// A recovery that a session began with, in one line; with all its steps if that is wanted.
pub(crate) fn recovery(report: &Report, verbose: bool) -> String {
    let what = match report.notices.first() {
        Some(notice) => capitalised(&one_line(&notice.text)),
        None => capitalised(&one_line(&report.title)),
    };
    let became = match report.purpose {
        Purpose::TakeBack => "it was taken back",
        _ => "it was finished now",
    };
    let text = format!("{what}; {became}.");
    if verbose {
        format!("{text}\n{}", steps(report))
    } else {
        text
    }
}

/// What to say if a recovery did what was asked for.
pub(crate) fn already_done(
    doing: Doing,
    recovered: &[Report],
    now: &Inventory,
    site: &Site,
) -> String {
    let mut text = format!(
        "The {} was done by that; nothing more to do.\n",
        doing.name()
    );
    let restored = recovered
        .iter()
        .rev()
        .find_map(|report| report.restored.as_ref());
    if let Some(restored) = restored {
        let instance = restored.new.as_ref().unwrap_or(&restored.instance);
        let record = now.instance(instance).map(|instance| &instance.record);
        if record.is_some_and(|record| record.state == InstanceState::Stopped) {
            text.push_str(&start_hint(instance, site));
        }
    }
    text
}

/// What stopped a plan, with the step that it stopped at.
pub(crate) fn failure(report: &Report) -> Option<Failure> {
    let exit = report.class().map_or(Exit::Failed, Exit::from);
    let Some(error) = &report.error else {
        let failed = report.hooks.iter().filter_map(|run| {
            let why = one_line(&run.failure()?);
            Some(format!("{}: {why}", run.instance))
        });
        let failed: Vec<_> = failed.collect();
        return (!failed.is_empty()).then(|| Failure::new(exit, failed.join("; ")));
    };
    let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. });
    let at = report.steps.iter().position(|step| failed(&step.outcome));
    let at = at.map(|index| format!(" (step {} of {})", index + 1, report.steps.len()));
    let cause = Failure::from(error);
    Some(Failure {
        message: format!(
            "{}: {}{}",
            report.title,
            cause.message,
            at.unwrap_or_default()
        ),
        exit,
        ..cause
    })
}

/// A recovery that came to no end.
pub(crate) fn stuck(report: &Report) -> Failure {
    let failure = failure(report);
    let failure = failure.unwrap_or_else(|| Failure::new(Exit::Failed, report.title.clone()));
    let help = failure
        .help
        .clone()
        .unwrap_or_else(|| "remove what is in the way, then try again".to_owned());
    Failure {
        message: format!(
            "an operation was cut off earlier and cannot be recovered: {}",
            failure.message
        ),
        ..failure
    }
    .with_help(help)
}

/// How things stand after a failure.
pub(crate) fn aftermath(report: &Report) -> String {
    let again = "the next snapshot, restore or undo of the instance tries again to recover it";
    if report.is_effective() {
        return format!("What was asked for is done; only tidying up failed: {again}.");
    }
    if report.is_left_to_lxd() {
        return "LXD may be deleting it still, so nothing was put back: its dataset is safe in the graveyard, and the next \
                command on the instance brings this to its end."
            .to_owned();
    }
    let Some(put_back) = &report.put_back else {
        return "Nothing was left changed.".to_owned();
    };
    match (&put_back.error, put_back.purpose) {
        (None, Purpose::TakeBack) => "Everything was put back as it was before.".to_owned(),
        (None, _) => "It could not be taken back, so it was brought to its end.".to_owned(),
        (Some(error), _) => format!(
            "Putting everything back failed as well: {}; {again}.\n{}",
            one_line(&with_causes(error)),
            steps(put_back)
        ),
    }
}

/// Every step and what became of it.
pub(crate) fn steps(report: &Report) -> String {
    let mut text = format!("{}:", capitalised(&one_line(&report.title)));
    let width = report.steps.len().to_string().len();
    for (index, step) in report.steps.iter().enumerate() {
        let action = one_line(&step.step.action.to_string());
        let became = match &step.outcome {
            Outcome::Done { note: None } => "done".to_owned(),
            Outcome::Done { note: Some(note) } => format!("done, but {}", one_line(note)),
            Outcome::Partly { left } => {
                let left: Vec<_> = left.iter().map(|left| one_line(&left.reason)).collect();
                format!("done, but {}", left.join("; "))
            }
            Outcome::Skipped { reason } => format!("skipped, {}", one_line(reason)),
            Outcome::Failed { reason } => format!("failed, {}", one_line(reason)),
            Outcome::NotRun => "not run".to_owned(),
        };
        let _ = write!(text, "\n  {:>width$}  {action}: {became}", index + 1);
    }
    if let Some(put_back) = &report.put_back {
        let _ = write!(text, "\n{}", steps(put_back));
    }
    text
}
