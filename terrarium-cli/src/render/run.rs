//! What a run did, or would do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;
use terrarium_core::plan::RunPlan;
use terrarium_core::plan::reap::Entry;
use terrarium_core::policy::Verdict;
use terrarium_core::{InstanceRef, RunReport, with_causes};
use terrarium_zfs::{Guid, SnapshotName};

use super::{edited, notice, one_line, units};

/// A point that would be removed.
#[derive(Serialize)]
pub(crate) struct Removed {
    instance: InstanceRef,
    snapshot: SnapshotName,
    why: String,
}

/// The points that would be removed, and why.
pub(crate) fn removed(
    verdicts: &BTreeMap<InstanceRef, Vec<Verdict>>,
    surplus: &BTreeMap<InstanceRef, BTreeSet<Guid>>,
) -> Vec<Removed> {
    let of = |(id, verdicts): (&InstanceRef, &Vec<Verdict>)| {
        let gone = surplus.get(id).cloned().unwrap_or_default();
        let gone = verdicts
            .iter()
            .filter(move |verdict| gone.contains(&verdict.guid));
        let id = id.clone();
        gone.map(move |verdict| Removed {
            instance: id.clone(),
            snapshot: verdict.snapshot.clone(),
            why: why(verdict),
        })
        .collect::<Vec<_>>()
    };
    verdicts.iter().flat_map(of).collect()
}

fn why(verdict: &Verdict) -> String {
    let against = verdict.reasons.iter().filter(|reason| !reason.keeps());
    let against: Vec<_> = against.map(ToString::to_string).collect();
    against.join("; ")
}

/// What a run would do.
pub(crate) fn planned(plan: &RunPlan, removed: &[Removed], purged: &[&Entry]) -> String {
    let mut text = String::new();
    for batch in &plan.batches {
        let _ = writeln!(
            text,
            "{}, pool {}, at one moment:",
            batch.period, batch.pool
        );
        for one in batch.bundles.iter().flat_map(|bundle| &bundle.snapshots) {
            let _ = writeln!(text, "  take {}: {}", one.snapshot, one.why);
        }
    }
    for one in &plan.hooks {
        let _ = writeln!(text, "run in {}: {}", one.instance, one.hooks);
    }
    for one in removed {
        let _ = writeln!(text, "remove {}: {}", one.snapshot, one.why);
    }
    for one in purged {
        let title = one_line(&one.title());
        let _ = writeln!(
            text,
            "purge {title}: {} that are kept no longer",
            units::size(one.space)
        );
    }
    if text.is_empty() {
        text.push_str("nothing is due, and nothing is to be removed\n");
    }
    for one in &plan.notices {
        text.push_str(&notice(one));
    }
    text
}

/// What a run did.
pub(crate) fn done(report: &RunReport) -> String {
    let mut text = String::new();
    for one in &report.taken {
        let _ = writeln!(text, "took {}", one.snapshot);
    }
    for run in &report.hooks {
        if run.failure().is_none() {
            let overdue = if run.overdue {
                ", which was overdue"
            } else {
                ""
            };
            let _ = writeln!(text, "ran {} in {}{overdue}", run.hook, run.instance);
        }
    }
    if let Some(pruned) = &report.pruned {
        for snapshot in edited::destroyed(pruned) {
            let _ = writeln!(text, "removed {snapshot}");
        }
    }
    for one in report.purged.iter().filter(|one| one.is_complete()) {
        let _ = writeln!(text, "{}: done", one_line(&one.title));
    }
    let _ = writeln!(
        text,
        "{} taken, {} removed",
        report.taken.len(),
        report.removed()
    );
    for one in &report.skipped {
        let why = one_line(&one.why);
        let _ = writeln!(text, "  left out {}: {why}", one.instance);
    }
    for one in &report.notices {
        text.push_str(&notice(one));
    }
    text
}

/// What failed, a line for each.
pub(crate) fn failures(report: &RunReport) -> Vec<String> {
    let failures = report.failures.iter().map(|failure| {
        let what = one_line(&failure.what);
        match &failure.instance {
            Some(instance) => format!("error: {instance}: {what}"),
            None => format!("error: {what}"),
        }
    });
    let stopped = report.recovered.iter().chain(&report.pruned);
    let stopped = stopped.chain(&report.purged);
    let stopped = stopped.filter_map(|report| {
        let why = with_causes(report.error.as_ref()?);
        Some(format!("error: {}: {}", report.title, one_line(&why)))
    });
    failures.chain(stopped).collect()
}
