//! Which snapshots are kept, and why.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use terrarium_zfs::{DatasetName, Guid, SnapshotName};

use super::{Period, Policy};
use crate::point::{Kind, RestorePoint};

/// What else has a say in what may be removed.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether sanoid's snapshots are treated as ours.
    pub adopted: bool,
    /// Points that something depends on which is not seen in them: what does.
    pub needed: BTreeMap<Guid, String>,
}

/// What becomes of one point, and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// The point.
    pub guid: Guid,
    /// Where it stands.
    pub snapshot: SnapshotName,
    /// Whether it is kept.
    pub keep: bool,
    /// All that speaks for keeping it and for removing it. What speaks for keeping it wins.
    pub reasons: Vec<Reason>,
}

/// What speaks for keeping a point, or for removing it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// It is younger than the count of its period times the period.
    Young {
        /// The period.
        period: Period,
        /// The count.
        count: u32,
    },
    /// It is among the newest of its period.
    AmongNewest {
        /// The period.
        period: Period,
        /// How many are kept.
        count: u32,
    },
    /// It is among the newest scheduled ones.
    Rolling {
        /// How many are kept.
        keep: u32,
    },
    /// It is the newest point of its instance.
    Newest,
    /// Somebody holds it.
    Held {
        /// How many holds there are.
        holds: u64,
    },
    /// A dataset was cloned from it.
    OriginOf {
        /// One of them.
        clone: DatasetName,
    },
    /// Something else needs it.
    Needed {
        /// What.
        by: String,
    },
    /// A person took it, and said nothing of an end.
    OnDemand,
    /// Its time is not up.
    NotExpired {
        /// When it will be.
        until: Timestamp,
    },
    /// LXD took it.
    Lxd,
    /// Nobody of us took it.
    Foreign,
    /// A rewind took it; it goes with what that moved aside.
    Safety,
    /// A rewind moved it aside; it goes with all of that.
    Aside,
    /// It was scheduled for no period that there is.
    NoPeriod,
    /// It is from a moment yet to come: a clock was wrong.
    InTheFuture,
    /// Scheduled snapshots of this instance are not removed.
    NotPruned,
    /// Its time is up.
    Expired {
        /// When it was.
        at: Timestamp,
    },
    /// It is older than the count of its period times the period, and there are that many newer ones.
    Outdated {
        /// The period.
        period: Period,
        /// The count.
        count: u32,
    },
    /// There are as many newer scheduled ones as are kept.
    RolledOff {
        /// How many are kept.
        keep: u32,
    },
}

impl Reason {
    /// Whether it speaks for keeping the point.
    pub fn keeps(&self) -> bool {
        !matches!(
            self,
            Reason::Expired { .. } | Reason::Outdated { .. } | Reason::RolledOff { .. }
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Young { period, count } => write!(f, "within {count} {period}"),
            Reason::AmongNewest { period, count } => {
                write!(f, "among the newest {count} {period}")
            }
            Reason::Rolling { keep } => write!(f, "among the newest {keep}"),
            Reason::Newest => write!(f, "the newest point"),
            Reason::Held { holds: 1 } => write!(f, "held"),
            Reason::Held { holds } => write!(f, "held {holds} times"),
            Reason::OriginOf { clone } => write!(f, "{clone} is a clone of it"),
            Reason::Needed { by } => write!(f, "needed by {by}"),
            Reason::OnDemand => write!(f, "on demand, without expiry"),
            Reason::NotExpired { until } => write!(f, "until {until}"),
            Reason::Lxd => write!(f, "LXD's own"),
            Reason::Foreign => write!(f, "not ours"),
            Reason::Safety => write!(f, "a rewind took it"),
            Reason::Aside => write!(f, "moved aside by a rewind"),
            Reason::NoPeriod => write!(f, "scheduled for no known period"),
            Reason::InTheFuture => write!(f, "from the future: a clock was wrong"),
            Reason::NotPruned => write!(f, "not removed on a schedule here"),
            Reason::Expired { at } => write!(f, "expired {at}"),
            Reason::Outdated { period, count } => {
                write!(f, "older than {count} {period}, and {count} are newer")
            }
            Reason::RolledOff { keep } => write!(f, "{keep} are newer"),
        }
    }
}

/// Decides about every point of one instance, in the order they are given.
///
/// The rule is sanoid's: a scheduled snapshot goes when it is older than the count of its period times the period *and*
/// there are as many newer ones as the count says. An on-demand one goes when it has expired. Never removed is: what
/// Terrarium did not make, what is held, the origin of a clone, the newest point, and what something else needs. By
/// expiry the newest point may go if another one is left.
pub fn plan_retention(
    points: &[RestorePoint],
    policy: &Policy,
    facts: &Facts,
    now: &Zoned,
) -> Vec<Verdict> {
    let at = now.timestamp();
    let newest = newest_of(points);
    let ranks = Ranks::of(points, facts, at);
    let mut verdicts: Vec<_> = points
        .iter()
        .enumerate()
        .map(|(index, point)| {
            let mut reasons = Vec::new();
            let scheduled = point.scheduled_for(facts.adopted);
            match (&point.kind, scheduled) {
                _ if !point.is_live() => reasons.push(Reason::Aside),
                (_, Some(period)) => {
                    reasons.push(of_schedule(point, index, period, policy, &ranks, at));
                }
                (Kind::Scheduled, None) => reasons.push(Reason::NoPeriod),
                (Kind::OnDemand, None) if point.expires.is_none() => {
                    reasons.push(Reason::OnDemand);
                }
                (Kind::OnDemand, None) => {}
                (Kind::Lxd, None) => reasons.push(Reason::Lxd),
                (Kind::Foreign, None) => reasons.push(Reason::Foreign),
                (Kind::Safety(_), None) => reasons.push(Reason::Safety),
            }
            if matches!(point.kind, Kind::OnDemand | Kind::Scheduled)
                && let Some(expires) = point.expires
            {
                reasons.push(if expires <= at {
                    Reason::Expired { at: expires }
                } else {
                    Reason::NotExpired { until: expires }
                });
            }
            if newest == Some(index) {
                reasons.push(Reason::Newest);
            }
            if point.holds > 0 {
                reasons.push(Reason::Held { holds: point.holds });
            }
            if let Some(clone) = point.clones.first() {
                reasons.push(Reason::OriginOf {
                    clone: clone.clone(),
                });
            }
            if let Some(by) = facts.needed.get(&point.guid) {
                reasons.push(Reason::Needed { by: by.clone() });
            }
            Verdict {
                guid: point.guid,
                snapshot: point.snapshot.clone(),
                keep: is_kept(&reasons),
                reasons,
            }
        })
        .collect();
    leave_one(&mut verdicts, points);
    verdicts
}

/// What has expired goes although its schedule would keep it; all else that speaks for keeping wins.
fn is_kept(reasons: &[Reason]) -> bool {
    let expired = reasons
        .iter()
        .any(|reason| matches!(reason, Reason::Expired { .. }));
    reasons.is_empty()
        || reasons.iter().any(|reason| match reason {
            Reason::Young { .. }
            | Reason::AmongNewest { .. }
            | Reason::Rolling { .. }
            | Reason::NotPruned
            | Reason::Newest => !expired,
            reason => reason.keeps(),
        })
}

/// If nothing of the instance as it is now were left, its newest point is kept.
fn leave_one(verdicts: &mut [Verdict], points: &[RestorePoint]) {
    let live = |(_, point): &(&Verdict, &RestorePoint)| point.is_live();
    let mut of_now = verdicts.iter().zip(points).filter(live);
    if of_now.all(|(verdict, _)| !verdict.keep)
        && let Some(newest) = newest_of(points)
        && let Some(verdict) = verdicts.get_mut(newest)
    {
        verdict.keep = true;
    }
}

/// The newest point of the instance as it is now, by the order of the pool, which no clock disturbs.
fn newest_of(points: &[RestorePoint]) -> Option<usize> {
    let live = points
        .iter()
        .enumerate()
        .filter(|(_, point)| point.is_live());
    live.max_by_key(|(_, point)| point.createtxg)
        .map(|(index, _)| index)
}

fn of_schedule(
    point: &RestorePoint,
    index: usize,
    period: Period,
    policy: &Policy,
    ranks: &Ranks,
    now: Timestamp,
) -> Reason {
    let Some(rank) = ranks.0.get(index).copied().flatten() else {
        return Reason::InTheFuture;
    };
    if !policy.prune {
        return Reason::NotPruned;
    }
    if let Some(keep) = policy.keep() {
        return if rank.of_all < u64::from(keep) {
            Reason::Rolling { keep }
        } else {
            Reason::RolledOff { keep }
        };
    }
    let count = policy.count(period);
    let age = now.duration_since(point.created).as_secs();
    let most = policy.length(period).as_secs().saturating_mul(count.into());
    if rank.of_period < u64::from(count) {
        Reason::AmongNewest { period, count }
    } else if age <= most && count > 0 {
        Reason::Young { period, count }
    } else {
        Reason::Outdated { period, count }
    }
}

/// How many newer scheduled points there are of each, those in the future left out.
struct Ranks(Vec<Option<Rank>>);

#[derive(Clone, Copy)]
struct Rank {
    of_all: u64,
    of_period: u64,
}

impl Ranks {
    fn of(points: &[RestorePoint], facts: &Facts, now: Timestamp) -> Self {
        let scheduled = points.iter().enumerate().filter_map(|(index, point)| {
            let period = point.scheduled_for(facts.adopted)?;
            (point.is_live() && point.created <= now).then_some((index, point, period))
        });
        let mut newest_first: Vec<_> = scheduled.collect();
        newest_first.sort_by_key(|(_, point, _)| Reverse((point.created, point.createtxg)));
        let mut ranks = vec![None; points.len()];
        let mut of_period = [0_u64; Period::ALL.len()];
        for (of_all, (index, _, period)) in (0..).zip(newest_first) {
            if let (Some(rank), Some(newer)) =
                (ranks.get_mut(index), of_period.get_mut(period as usize))
            {
                *rank = Some(Rank {
                    of_all,
                    of_period: *newer,
                });
                *newer += 1;
            }
        }
        Self(ranks)
    }
}

#[cfg(test)]
mod tests;
