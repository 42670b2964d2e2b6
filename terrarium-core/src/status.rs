//! Whether every instance has the points that its policy wants, decided from an inventory alone.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, Zoned};
use serde::Serialize;

use crate::inventory::{Coverage, Covered, Inventory, PoolProblem};
use crate::names::InstanceRef;
use crate::plan::reap::What;
use crate::plan::{Reap, has_adopted_sanoid, plan_reap};
use crate::policy::{Period, Resolved, last_preferred, next_preferred};

/// How long after its moment a snapshot may be missing: two calls of the timer.
pub const GRACE: SignedDuration = SignedDuration::from_mins(30);

/// How it stands with all instances.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// When that was.
    pub at: Timestamp,
    /// Every instance that LXD knows.
    pub instances: Vec<InstanceStatus>,
    /// Destroyed instances that can still come back.
    pub graveyard: GraveyardStatus,
    /// Storage pools that could not be read.
    pub problems: Vec<PoolProblem>,
    /// Operations that were cut off and wait for a recovery.
    pub cut_off: Vec<InstanceRef>,
}

/// The destroyed instances.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct GraveyardStatus {
    /// How many there are that can still come back.
    pub instances: usize,
    /// Bytes that all hold, what is being purged included.
    pub space: u64,
    /// When the first of them cannot come back any more.
    pub next_expires: Option<Timestamp>,
}

/// How it stands with one instance.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// The instance.
    pub instance: InstanceRef,
    /// In one word.
    pub state: State,
    /// Why it is not covered, if it is not.
    pub not_covered: Option<String>,
    /// Its policy, as a label would say it.
    pub policy: Option<String>,
    /// Labels that are not heeded.
    pub label_problems: Vec<String>,
    /// Each period of the policy.
    pub periods: Vec<PeriodStatus>,
    /// The newest point of all, whoever took it.
    pub newest: Option<Timestamp>,
    /// How many points there are.
    pub points: usize,
    /// Bytes that only snapshots hold: of its own dataset, and of those moved aside.
    pub snapshot_bytes: u64,
}

/// How it stands with an instance, in one word.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum State {
    /// It has every snapshot that its policy wants.
    Fresh,
    /// Its label says that it is not snapshotted.
    Off,
    /// It cannot be snapshotted.
    NotCovered,
    /// A snapshot is missing.
    Late,
}

/// How it stands with one period of one instance.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PeriodStatus {
    /// The period.
    pub period: Period,
    /// How many the policy wants.
    pub wanted: u32,
    /// How many there are.
    pub there: usize,
    /// The newest.
    pub newest: Option<Timestamp>,
    /// When the next one is to be taken.
    pub next: Timestamp,
    /// Since when one is missing, if it is longer than [`GRACE`].
    pub late_since: Option<Timestamp>,
}

impl Status {
    /// Whether there is nothing that somebody should look at.
    pub fn is_well(&self) -> bool {
        let is_well =
            |one: &InstanceStatus| one.state != State::Late && one.label_problems.is_empty();
        self.problems.is_empty() && self.cut_off.is_empty() && self.instances.iter().all(is_well)
    }
}

/// Finds out how it stands with every instance.
pub fn assess(
    inventory: &Inventory,
    policies: &BTreeMap<InstanceRef, Resolved>,
    now: &Zoned,
) -> Status {
    let instances = inventory.instances.iter().map(|instance| {
        let id = &instance.record.id;
        match (&instance.coverage, policies.get(id)) {
            (Coverage::Covered(covered), Some(resolved)) => of_covered(id, covered, resolved, now),
            (Coverage::NotCovered { reason }, _) => left_out(id, reason.to_string()),
            (Coverage::Covered(_), None) => left_out(id, "its policy is not known".to_owned()),
        }
    });
    let pending = inventory.pending.iter();
    let mut cut_off: Vec<_> = pending.map(|one| one.intent.instance.clone()).collect();
    cut_off.sort();
    cut_off.dedup();
    Status {
        at: now.timestamp(),
        instances: instances.collect(),
        graveyard: of_graveyard(inventory, now.timestamp()),
        problems: inventory.problems.clone(),
        cut_off,
    }
}

fn of_graveyard(inventory: &Inventory, now: Timestamp) -> GraveyardStatus {
    let all = plan_reap(inventory, &Reap::Expired(None), now).entries;
    let destroyed = || all.iter().filter(|entry| entry.what == What::Destroyed);
    let whole = || destroyed().filter(|entry| !entry.purging);
    GraveyardStatus {
        instances: whole().count(),
        space: destroyed().map(|entry| entry.space).sum(),
        next_expires: whole().map(|entry| entry.expires).min(),
    }
}

fn left_out(id: &InstanceRef, why: String) -> InstanceStatus {
    InstanceStatus {
        instance: id.clone(),
        state: State::NotCovered,
        not_covered: Some(why),
        policy: None,
        label_problems: Vec::new(),
        periods: Vec::new(),
        newest: None,
        points: 0,
        snapshot_bytes: 0,
    }
}

fn of_covered(
    id: &InstanceRef,
    covered: &Covered,
    resolved: &Resolved,
    now: &Zoned,
) -> InstanceStatus {
    let adopted = has_adopted_sanoid(covered);
    let at = now.timestamp();
    let live = || covered.points.iter().filter(|point| point.is_live());
    let period = |(period, wanted)| {
        let of_period = live().filter(|point| point.scheduled_for(adopted) == Some(period));
        let taken: Vec<_> = of_period.map(|point| point.created).collect();
        // One from the future says nothing of today.
        let newest = taken.iter().copied().filter(|taken| *taken <= at).max();
        let schedule = &resolved.policy.schedule;
        let preferred = last_preferred(period, schedule, now);
        let missing = newest.is_none_or(|newest| newest < preferred);
        // The first moment that was missed, not the last one.
        let since = match newest {
            Some(newest) => {
                next_preferred(period, schedule, &newest.to_zoned(now.time_zone().clone()))
            }
            None => Timestamp::from_second(covered.dataset.creation).unwrap_or(at),
        };
        let late = at.duration_since(since) > GRACE;
        PeriodStatus {
            period,
            wanted,
            there: taken.len(),
            newest,
            next: match missing {
                true => at,
                false => next_preferred(period, schedule, now),
            },
            late_since: (missing && late).then_some(since),
        }
    };
    let periods: Vec<_> = match resolved.enabled {
        true => resolved.policy.counts().map(period).collect(),
        false => Vec::new(),
    };
    let is_late = periods.iter().any(|period| period.late_since.is_some());
    InstanceStatus {
        instance: id.clone(),
        state: match (resolved.enabled, is_late) {
            (false, _) => State::Off,
            (true, true) => State::Late,
            (true, false) => State::Fresh,
        },
        not_covered: None,
        policy: Some(resolved.policy.to_string()),
        label_problems: resolved.problems.iter().map(ToString::to_string).collect(),
        periods,
        newest: live().map(|point| point.created).max(),
        points: covered.points.len(),
        snapshot_bytes: covered.points.iter().map(|point| point.size).sum(),
    }
}
