//! What a prune is going to remove, and what it has removed.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use terrarium_s3::archive::retention::Reason;
use terrarium_s3::archive::{Outcome, PlannedPoint, PrunePlan, Pruned, StrayKind};
use terrarium_s3::format::{Lineage, ManifestPlace};
use terrarium_zfs::{Guid, SnapshotName};

use crate::exit::Exit;
use crate::render::table::{Align, Table};
use crate::render::{JSON_VERSION, one_line, units};

/// A plan.
pub(crate) struct Shown<'a> {
    pub(crate) plan: &'a PrunePlan,
    pub(crate) dry_run: bool,
}

/// What became of it.
pub(crate) struct Done<'a> {
    pub(crate) plan: &'a PrunePlan,
    pub(crate) pruned: &'a Pruned,
}

#[derive(Serialize)]
pub(crate) struct Json<'a> {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    policy: PolicyJson,
    grace_days: i64,
    points: Vec<PointJson<'a>>,
    /// Objects that nobody names, and that go.
    leftovers: Vec<LeftoverJson<'a>>,
    /// How many are too young to go.
    waiting: usize,
    waiting_bytes: u64,
    /// By the plan.
    frees_bytes: u64,
    /// None before anything was done.
    freed_bytes: Option<u64>,
    leftovers_removed: Option<usize>,
    failures: Vec<FailureJson>,
    /// Why it ended before all was done.
    ended_by: Option<String>,
}

#[derive(Serialize)]
struct PolicyJson {
    daily: usize,
    weekly: usize,
    monthly: usize,
}

#[derive(Serialize)]
struct PointJson<'a> {
    name: Option<&'a str>,
    lineage: Lineage,
    guid: Guid,
    snapshot: Option<&'a SnapshotName>,
    created: Option<Timestamp>,
    alias: Option<&'a str>,
    stored_bytes: u64,
    stays: bool,
    reasons: Vec<ReasonJson>,
    /// Of one that was to go: `removed`, `gone`, `kept`, `failed` or `not-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
struct ReasonJson {
    why: &'static str,
    /// The point that needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    guid: Option<Guid>,
}

#[derive(Serialize)]
struct LeftoverJson<'a> {
    object: &'a str,
    kind: StrayKind,
    bytes: u64,
}

#[derive(Serialize)]
struct FailureJson {
    object: String,
    error: String,
}

impl Shown<'_> {
    pub(crate) fn json(&self) -> Json<'_> {
        json(self.plan, None, self.dry_run, Exit::Done)
    }

    pub(crate) fn text(&self, now: &Zoned) -> String {
        let plan = self.plan;
        let mut text = table(plan, now, |point| match point.reasons.is_empty() {
            true => "goes".to_owned(),
            false => format!("stays: {}", words(&point.reasons)),
        });
        let (going, leftovers) = (plan.order.len(), plan.strays.len());
        let total = plan.points.len();
        match plan.is_empty() {
            true => {
                let _ = writeln!(text, "nothing to remove: {total} restore points stay");
            }
            false => {
                let _ = writeln!(
                    text,
                    "{} {going} of {total} restore points and {leftovers} leftovers: {}",
                    if self.dry_run {
                        "would remove"
                    } else {
                        "removes"
                    },
                    units::size(plan.freed_bytes())
                );
            }
        }
        if plan.waiting > 0 {
            let _ = writeln!(
                text,
                "{} unfinished objects, {}, are not old enough to go",
                plan.waiting,
                units::size(plan.waiting_bytes)
            );
        }
        text
    }
}

impl Done<'_> {
    pub(crate) fn exit(&self) -> Exit {
        match (self.pruned.interrupted, self.pruned.is_done()) {
            (true, _) => Exit::Interrupted,
            (false, true) => Exit::Done,
            (false, false) => Exit::Failed,
        }
    }

    pub(crate) fn json(&self) -> Json<'_> {
        json(self.plan, Some(self.pruned), false, self.exit())
    }

    pub(crate) fn text(&self, now: &Zoned) -> String {
        let outcomes = outcomes(self.pruned);
        let mut text = table(self.plan, now, |point| match outcomes.get(&point.place) {
            None => format!("stays: {}", words(&point.reasons)),
            Some(Outcome::Removed) => "removed".to_owned(),
            Some(Outcome::Gone) => "was gone already".to_owned(),
            Some(Outcome::Kept(reasons)) => format!("stays by now: {}", words(reasons)),
            Some(Outcome::Failed(_)) => "not removed".to_owned(),
            Some(Outcome::NotRun) => "not removed: it ended before".to_owned(),
        });
        let _ = writeln!(
            text,
            "removed {} of {} restore points and {} leftovers: {}",
            self.pruned.removed(),
            self.plan.points.len(),
            self.pruned.strays,
            units::size(self.pruned.freed_bytes)
        );
        text
    }
}

/// What keeps more than it should.
pub(crate) fn warnings(plan: &PrunePlan) -> Vec<String> {
    let unusable = |point: &&PlannedPoint| point.reasons.contains(&Reason::Unusable);
    let unusable = plan.points.iter().filter(unusable);
    let warning = |point: &PlannedPoint| {
        format!(
            "warning: {} cannot be used, so that nothing of its lineage goes; \
             `terrariumctl archive verify` says what is wrong with it",
            point.place
        )
    };
    unusable.map(warning).collect()
}

/// What went wrong, each on a line.
pub(crate) fn not_removed(pruned: &Pruned) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, outcome) in &pruned.points {
        if let Outcome::Failed(error) = outcome {
            lines.push(format!(
                "not removed: {place}: {}",
                one_line(&error.to_string())
            ));
        }
    }
    for failure in &pruned.failures {
        let (name, error) = (
            one_line(&failure.name),
            one_line(&failure.error.to_string()),
        );
        lines.push(format!(
            "not removed: {name}: {error}; the next prune tries it again"
        ));
    }
    if let Some(error) = &pruned.ended_by {
        lines.push(format!(
            "error: it ended before all was done: {}",
            one_line(&error.to_string())
        ));
        lines.extend(error.help().map(|help| format!("help: {help}")));
    }
    if pruned.interrupted {
        lines.push("error: interrupted; run it again to go on".to_owned());
    }
    lines
}

fn outcomes(pruned: &Pruned) -> HashMap<ManifestPlace, &Outcome> {
    let outcomes = pruned.points.iter();
    outcomes.map(|(place, outcome)| (*place, outcome)).collect()
}

fn table(plan: &PrunePlan, now: &Zoned, what: impl Fn(&PlannedPoint) -> String) -> String {
    let zone = now.time_zone();
    let mut lineages: BTreeMap<(String, Lineage), Vec<&PlannedPoint>> = BTreeMap::new();
    for point in &plan.points {
        let name = point.instance.as_deref().map(one_line).unwrap_or_default();
        let of = lineages.entry((name, point.place.lineage)).or_default();
        of.push(point);
    }
    let mut text = String::new();
    for ((name, lineage), points) in lineages {
        let name = if name.is_empty() {
            "(cannot be read)"
        } else {
            &name
        };
        let _ = writeln!(text, "{name}  lineage {lineage}");
        let zone_name = units::zone_name(zone, now.timestamp());
        let mut table = Table::new([
            (format!("TIME ({zone_name})"), Align::Left),
            ("STORED".to_owned(), Align::Right),
            ("SNAPSHOT".to_owned(), Align::Left),
            ("ALIAS".to_owned(), Align::Left),
            ("WHAT".to_owned(), Align::Left),
        ]);
        for point in points {
            let snapshot = point.snapshot.as_ref().map(SnapshotName::as_str);
            let guid = format!("(guid {})", point.place.guid);
            table.row(vec![
                created(point).map_or_else(String::new, |at| units::short_time(at, zone)),
                units::size(point.stored_bytes),
                snapshot.map(one_line).unwrap_or(guid),
                point.alias.as_deref().map(one_line).unwrap_or_default(),
                what(point),
            ]);
        }
        text.push_str(&table.text("  "));
    }
    text
}

fn created(point: &PlannedPoint) -> Option<Timestamp> {
    let second = i64::try_from(point.place.creation).ok()?;
    Timestamp::from_second(second).ok()
}

fn words(reasons: &[Reason]) -> String {
    let word = |reason: &Reason| match reason {
        Reason::NeededBy(by) => format!("needed by guid {}", by.guid),
        Reason::BuiltUpon => "a stream is being stored that starts from it".to_owned(),
        Reason::Unusable => "cannot be used".to_owned(),
        Reason::BesideUnusable => "beside one that cannot be used".to_owned(),
        other => why(other).to_owned(),
    };
    reasons.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn why(reason: &Reason) -> &'static str {
    match reason {
        Reason::Newest => "newest",
        Reason::Pinned => "pinned",
        Reason::Daily => "daily",
        Reason::Weekly => "weekly",
        Reason::Monthly => "monthly",
        Reason::NeededBy(_) => "needed-by",
        Reason::BuiltUpon => "built-upon",
        Reason::Unusable => "unusable",
        Reason::BesideUnusable => "beside-unusable",
        // There may be more.
        _ => "other",
    }
}

fn json<'a>(
    plan: &'a PrunePlan,
    pruned: Option<&'a Pruned>,
    dry_run: bool,
    exit: Exit,
) -> Json<'a> {
    let outcomes = pruned.map(outcomes).unwrap_or_default();
    let reasons = |reasons: &[Reason]| {
        let reason = |reason: &Reason| ReasonJson {
            why: why(reason),
            guid: match reason {
                Reason::NeededBy(by) => Some(by.guid),
                _ => None,
            },
        };
        reasons.iter().map(reason).collect()
    };
    let point = |point: &'a PlannedPoint| {
        let outcome = outcomes.get(&point.place).copied();
        let (outcome, kept, error) = match outcome {
            None => (None, None, None),
            Some(Outcome::Removed) => (Some("removed"), None, None),
            Some(Outcome::Gone) => (Some("gone"), None, None),
            Some(Outcome::Kept(reasons)) => (Some("kept"), Some(reasons), None),
            Some(Outcome::Failed(error)) => (Some("failed"), None, Some(error.to_string())),
            Some(Outcome::NotRun) => (Some("not-run"), None, None),
        };
        let why = kept.unwrap_or(&point.reasons);
        PointJson {
            name: point.instance.as_deref(),
            lineage: point.place.lineage,
            guid: point.place.guid,
            snapshot: point.snapshot.as_ref(),
            created: created(point),
            alias: point.alias.as_deref(),
            stored_bytes: point.stored_bytes,
            stays: !why.is_empty(),
            reasons: reasons(why),
            outcome,
            error,
        }
    };
    let policy = plan.rules.policy;
    Json {
        version: JSON_VERSION,
        exit_code: exit.code(),
        dry_run,
        policy: PolicyJson {
            daily: policy.daily,
            weekly: policy.weekly,
            monthly: policy.monthly,
        },
        grace_days: plan.rules.grace.as_hours() / 24,
        points: plan.points.iter().map(point).collect(),
        leftovers: plan
            .strays
            .iter()
            .map(|stray| LeftoverJson {
                object: &stray.name,
                kind: stray.kind,
                bytes: stray.size,
            })
            .collect(),
        waiting: plan.waiting,
        waiting_bytes: plan.waiting_bytes,
        frees_bytes: plan.freed_bytes(),
        freed_bytes: pruned.map(|pruned| pruned.freed_bytes),
        leftovers_removed: pruned.map(|pruned| pruned.strays),
        failures: pruned
            .iter()
            .flat_map(|pruned| &pruned.failures)
            .map(|failure| FailureJson {
                object: failure.name.clone(),
                error: failure.error.to_string(),
            })
            .collect(),
        ended_by: pruned
            .and_then(|pruned| pruned.ended_by.as_ref())
            .map(ToString::to_string),
    }
}
