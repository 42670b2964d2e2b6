//! What the policies say of restore points, and what a prune removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use terrarium_core::plan::Action;
use terrarium_core::policy::{Reason, Resolved, Verdict};
use terrarium_core::{
    InstanceRef, Inventory, Outcome, Plan, PoolProblem, Report, RestorePoint, Skipped,
};
use terrarium_zfs::Guid;

use super::table::{Align, Table};
use super::{ErrorShown, JSON_VERSION, edited, one_line, points, units};
use crate::exit::{Exit, Failure};

/// What the policy of one instance says of its points.
pub(crate) struct Retention {
    pub(crate) instance: InstanceRef,
    pub(crate) resolved: Resolved,
    /// Of every point, oldest first.
    pub(crate) verdicts: Vec<Verdict>,
}

/// What the policies say, and what follows from it.
pub(crate) struct Shown<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) retention: &'a [Retention],
    pub(crate) plan: &'a Plan,
    /// The points that go.
    pub(crate) doomed: &'a BTreeSet<Guid>,
    /// Bytes that are free without what goes, by ZFS.
    pub(crate) frees: Option<&'a BTreeMap<InstanceRef, u64>>,
    pub(crate) skipped: &'a [Skipped],
}

/// What became of it.
pub(crate) struct Pruned<'a> {
    pub(crate) shown: &'a Shown<'a>,
    pub(crate) report: &'a Report,
}

/// What became of a point that was to go.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Became {
    Removed,
    NotRemoved(String),
}

impl Shown<'_> {
    /// A pool that cannot be read may well be back in a moment.
    pub(crate) fn exit(&self) -> Exit {
        match self.inventory.problems.is_empty() {
            true => Exit::Done,
            false => Exit::Unavailable,
        }
    }

    /// Labels that are not heeded, and pools that cannot be read, one line for each.
    pub(crate) fn problems(&self) -> Vec<String> {
        let labels = self.retention.iter().flat_map(|one| {
            let problems = one.resolved.problems.iter();
            problems.map(|problem| {
                let text = one_line(&terrarium_core::with_causes(problem));
                format!("warning: {}: {text}", one.instance)
            })
        });
        let pools = self.inventory.problems.iter().map(|problem| {
            let (pool, why) = (one_line(&problem.lxd_pool), one_line(&problem.why));
            format!("warning: storage pool {pool} cannot be read: {why}")
        });
        labels.chain(pools).collect()
    }

    /// Every point with all its reasons.
    pub(crate) fn text(&self, now: &Zoned) -> String {
        self.verdicts(now) + "This is a dry run: nothing was changed.\n"
    }

    /// The same, without a word about what it is for.
    pub(crate) fn verdicts(&self, now: &Zoned) -> String {
        let mut text = String::new();
        for one in self.retention {
            let _ = writeln!(text, "{}", heading(one));
            let rows = one.verdicts.iter().rev().map(|verdict| {
                let word = match self.doomed.contains(&verdict.guid) {
                    true => "goes",
                    false => "stays",
                };
                (verdict, format!("{word}: {}", reasons(verdict)))
            });
            let going = one.verdicts.iter();
            let going = going.filter(|verdict| self.doomed.contains(&verdict.guid));
            let _ = match (going.count(), one.verdicts.len()) {
                (_, 0) => writeln!(text, "  no restore points\n"),
                (0, all) => writeln!(
                    text,
                    "{}  would remove none of {all} restore points\n",
                    self.table(rows, now)
                ),
                (going, all) => writeln!(
                    text,
                    "{}  would remove {going} of {all} restore points, {}\n",
                    self.table(rows, now),
                    self.freed(Some(&one.instance), "would free")
                ),
            };
        }
        for notice in &self.plan.notices {
            text.push_str(&super::notice(notice));
        }
        if self.retention.is_empty() {
            text.push_str("There is no instance that could be pruned.\n");
        }
        text
    }

    /// How many of each instance go, each on a line of its own.
    pub(crate) fn question(&self) -> String {
        let mut text = String::new();
        for one in self.retention {
            let going = one.verdicts.iter();
            let going = going.filter(|verdict| self.doomed.contains(&verdict.guid));
            let going = going.count();
            if going > 0 {
                let _ = write!(
                    text,
                    "\n  {}: {going} of {} go, {}",
                    one.instance,
                    one.verdicts.len(),
                    self.freed(Some(&one.instance), "frees")
                );
            }
        }
        for notice in &self.plan.notices {
            let _ = write!(text, "\n{}", super::notice(notice).trim_end());
        }
        text
    }

    /// How much what goes frees, of one instance or of all.
    fn freed(&self, instance: Option<&InstanceRef>, verb: &str) -> String {
        let (bytes, exact) = self.bytes(instance);
        let least = if exact { "" } else { "at least " };
        format!("{verb} {least}{}", units::size(bytes))
    }

    /// Bytes, and whether ZFS said so; else what each point holds alone is added up, which is less.
    fn bytes(&self, instance: Option<&InstanceRef>) -> (u64, bool) {
        let wanted = |id: &InstanceRef| instance.is_none_or(|wanted| wanted == id);
        if let Some(frees) = self.frees {
            let wanted = frees.iter().filter(|(id, _)| wanted(id));
            return (wanted.map(|(_, bytes)| bytes).sum(), true);
        }
        let ours = self.retention.iter().filter(|one| wanted(&one.instance));
        let verdicts = ours.flat_map(|one| &one.verdicts);
        let sizes = verdicts
            .filter(|verdict| self.doomed.contains(&verdict.guid))
            .filter_map(|verdict| Some(edited::find(self.inventory, verdict.guid)?.1.size));
        (sizes.sum(), false)
    }

    fn table<'v>(&self, rows: impl Iterator<Item = (&'v Verdict, String)>, now: &Zoned) -> String {
        let mut table = Table::new([
            ("NAME".to_owned(), Align::Left),
            ("AGE".to_owned(), Align::Right),
            ("KIND".to_owned(), Align::Left),
            ("SIZE".to_owned(), Align::Right),
            ("VERDICT".to_owned(), Align::Left),
        ]);
        let points = self.points();
        for (verdict, verdict_text) in rows {
            let Some(point) = points.get(&verdict.guid) else {
                continue;
            };
            table.row(vec![
                one_line(point.name()),
                units::age(point.created, now.timestamp()),
                points::kind(&point.kind).to_owned(),
                units::size(point.size),
                verdict_text,
            ]);
        }
        table.text("  ")
    }

    fn points(&self) -> HashMap<Guid, &RestorePoint> {
        let covered = self.retention.iter();
        let covered = covered.filter_map(|one| self.inventory.covered(&one.instance).ok());
        let points = covered.flat_map(|(_, covered)| &covered.points);
        points.map(|point| (point.guid, point)).collect()
    }
}

impl Pruned<'_> {
    /// What was removed and what was not.
    pub(crate) fn text(&self, now: &Zoned) -> String {
        let shown = self.shown;
        let became = became(self.report);
        let mut text = String::new();
        for one in shown.retention {
            let rows: Vec<_> = one
                .verdicts
                .iter()
                .rev()
                .filter_map(|verdict| {
                    let text = match became.get(&verdict.guid)? {
                        Became::Removed => format!("removed: {}", reasons(verdict)),
                        Became::NotRemoved(why) => format!("not removed: {}", one_line(why)),
                    };
                    Some((verdict, text))
                })
                .collect();
            if !rows.is_empty() {
                let _ = writeln!(text, "{}", heading(one));
                text.push_str(&shown.table(rows.into_iter(), now));
            }
        }
        for skipped in shown.skipped {
            let _ = writeln!(
                text,
                "{} was left out: {}",
                skipped.instance,
                one_line(&skipped.why)
            );
        }
        for notice in &self.report.notices {
            text.push_str(&super::notice(notice));
        }
        let total: usize = shown.retention.iter().map(|one| one.verdicts.len()).sum();
        let _ = match (became.len(), self.report.destroyed()) {
            (0, _) => writeln!(text, "Nothing to remove: {total} restore points stay."),
            (to_go, removed) if to_go == removed => writeln!(
                text,
                "Removed {removed} of {total} restore points, which {}.",
                shown.freed(None, "frees")
            ),
            (to_go, removed) => writeln!(
                text,
                "Removed {removed} of the {to_go} restore points that were to go, of {total}."
            ),
        };
        text
    }
}

fn heading(one: &Retention) -> String {
    let resolved = &one.resolved;
    let policy = format!("{} ({})", resolved.policy, resolved.policy_by);
    match resolved.enabled {
        true => format!("{}: {policy}", one.instance),
        false => format!(
            "{}: backups are off ({})",
            one.instance, resolved.enabled_by
        ),
    }
}

/// All reasons of a verdict: what speaks for it, then what speaks against it.
fn reasons(verdict: &Verdict) -> String {
    let for_it = |reason: &&Reason| reason.keeps() == verdict.keep;
    let (mut said, against): (Vec<_>, Vec<_>) = verdict.reasons.iter().partition(for_it);
    said.extend(against);
    let said: Vec<_> = said
        .iter()
        .map(|reason| one_line(&reason.to_string()))
        .collect();
    said.join("; ")
}

fn became(report: &Report) -> HashMap<Guid, Became> {
    let mut became = HashMap::new();
    for step in &report.steps {
        let Action::DestroyPoints { points } = &step.step.action else {
            continue;
        };
        let reasons: HashMap<&str, &str> = match &step.outcome {
            Outcome::Partly { left } => left
                .iter()
                .map(|left| (left.object.as_str(), left.reason.as_str()))
                .collect(),
            _ => HashMap::new(),
        };
        for point in points {
            let outcome = match (&step.outcome, reasons.get(point.snapshot.as_str())) {
                (_, Some(reason)) => Became::NotRemoved((*reason).to_owned()),
                (Outcome::Done { .. } | Outcome::Partly { .. }, None) => Became::Removed,
                (Outcome::Failed { reason } | Outcome::Skipped { reason }, None) => {
                    Became::NotRemoved(reason.clone())
                }
                (Outcome::NotRun, None) => Became::NotRemoved("it ended before".to_owned()),
            };
            became.insert(point.guid, outcome);
        }
    }
    became
}

/// What `backup prune --json` answers.
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    instances: Vec<InstanceJson<'a>>,
    /// Left out, for they are in use.
    skipped: &'a [Skipped],
    problems: &'a [PoolProblem],
    /// By the plan.
    frees_bytes: u64,
    /// Whether ZFS said so; else it is the least.
    frees_exactly: bool,
    removed: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorShown<'a>>,
}

#[derive(Serialize)]
pub(crate) struct InstanceJson<'a> {
    project: &'a str,
    name: &'a str,
    policy: String,
    enabled: bool,
    /// Labels that are not heeded.
    problems: Vec<String>,
    restore_points: Vec<PointJson<'a>>,
}

#[derive(Serialize)]
struct PointJson<'a> {
    name: &'a str,
    guid: Guid,
    created_at: Option<Timestamp>,
    kind: Option<&'static str>,
    size: Option<u64>,
    stays: bool,
    reasons: Vec<ReasonJson<'a>>,
    /// Of one that was to go: `removed` or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ReasonJson<'a> {
    #[serde(flatten)]
    reason: &'a Reason,
    message: String,
}

impl<'a> Json<'a> {
    pub(crate) fn of_plan(shown: &'a Shown<'a>) -> Self {
        Self::new(shown, None, None, shown.exit())
    }

    pub(crate) fn of_report(
        pruned: &'a Pruned<'a>,
        failure: Option<&'a Failure>,
        exit: Exit,
    ) -> Self {
        Self::new(pruned.shown, Some(pruned.report), failure, exit)
    }

    fn new(
        shown: &'a Shown<'a>,
        report: Option<&'a Report>,
        failure: Option<&'a Failure>,
        exit: Exit,
    ) -> Self {
        let (frees_bytes, frees_exactly) = shown.bytes(None);
        Self {
            version: JSON_VERSION,
            exit_code: exit.code(),
            dry_run: report.is_none(),
            instances: instances_json(shown, report),
            skipped: shown.skipped,
            problems: &shown.inventory.problems,
            frees_bytes,
            frees_exactly,
            removed: report.map_or(0, Report::destroyed),
            report,
            error: failure.map(ErrorShown::new),
        }
    }
}

/// Every point of every instance, newest first, with its verdict.
pub(crate) fn instances_json<'a>(
    shown: &Shown<'a>,
    report: Option<&Report>,
) -> Vec<InstanceJson<'a>> {
    let became = report.map(became).unwrap_or_default();
    let points = shown.points();
    let point = |verdict: &'a Verdict| {
        let (outcome, error) = match became.get(&verdict.guid) {
            Some(Became::Removed) => (Some("removed"), None),
            Some(Became::NotRemoved(why)) => (Some("failed"), Some(why.clone())),
            None => (None, None),
        };
        let found = points.get(&verdict.guid);
        PointJson {
            name: verdict.snapshot.name(),
            guid: verdict.guid,
            created_at: found.map(|point| point.created),
            kind: found.map(|point| points::kind(&point.kind)),
            size: found.map(|point| point.size),
            stays: !shown.doomed.contains(&verdict.guid),
            reasons: verdict
                .reasons
                .iter()
                .map(|reason| ReasonJson {
                    reason,
                    message: reason.to_string(),
                })
                .collect(),
            outcome,
            error,
        }
    };
    let instance = |one: &'a Retention| InstanceJson {
        project: one.instance.project.as_str(),
        name: one.instance.name.as_str(),
        policy: one.resolved.policy.to_string(),
        enabled: one.resolved.enabled,
        problems: one
            .resolved
            .problems
            .iter()
            .map(|problem| terrarium_core::with_causes(problem))
            .collect(),
        restore_points: one.verdicts.iter().rev().map(point).collect(),
    };
    shown.retention.iter().map(instance).collect()
}

/// What `adopt sanoid --dry-run --json` answers: the plan, and what `backup prune` would do with it.
#[derive(Serialize)]
pub(crate) struct AdoptJson<'a> {
    #[serde(flatten)]
    plan: super::plan::Shown<'a>,
    instances: Vec<InstanceJson<'a>>,
    frees_bytes: u64,
}

impl<'a> AdoptJson<'a> {
    pub(crate) fn new(plan: super::plan::Shown<'a>, shown: &Shown<'a>) -> Self {
        Self {
            plan,
            instances: instances_json(shown, None),
            frees_bytes: shown.bytes(None).0,
        }
    }
}
