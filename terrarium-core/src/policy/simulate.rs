//! What history a policy holds after so many days.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use serde::Serialize;
use terrarium_zfs::DatasetName;

use super::{Facts, Period, Policy, autosnap_name, due, next_preferred, plan_retention};
use crate::point::RestorePoint;

/// Seconds from one run of the timer to the next.
const RUNS: i64 = 15 * 60;

/// What was held in the course of a simulation, and what is held in its end.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct History {
    /// When it began: there were no snapshots.
    pub start: Zoned,
    /// When it ended.
    pub end: Zoned,
    /// What was held at the end of each day.
    pub days: Vec<Day>,
    /// How many snapshots of each period were taken.
    pub taken: BTreeMap<Period, u64>,
    /// What is held in the end, the oldest first: when it was taken, and what for.
    pub held: Vec<(Timestamp, Period)>,
}

/// What was held at the end of one day.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Day {
    /// The day.
    pub date: Date,
    /// How many snapshots there were of each period; those of which there were none are left out.
    pub held: BTreeMap<Period, u64>,
}

impl Day {
    /// How many snapshots there were.
    pub fn total(&self) -> u64 {
        self.held.values().sum()
    }
}

impl History {
    /// What is held of one period in the end, the oldest first.
    pub fn of(&self, period: Period) -> impl Iterator<Item = Timestamp> {
        let held = self.held.iter();
        held.filter_map(move |&(created, of)| (of == period).then_some(created))
    }

    /// The most that were held at the end of a day.
    pub fn most(&self) -> u64 {
        self.days.iter().map(Day::total).max().unwrap_or(0)
    }
}

/// Runs the timer every quarter of an hour for so many days, in the time zone of `start`, for one instance that has no
/// snapshots in the beginning and of which none is held or cloned. What is taken and removed is decided by [`due`] and
/// [`plan_retention`]; to be quick, what is outdated is looked for once a day and in the end.
///
/// A start so late that there is no date for the end of it ends at once.
pub fn simulate(policy: &Policy, start: &Zoned, days: u32) -> History {
    let length = Span::new().try_days(days);
    let end = length.and_then(|length| start.checked_add(length));
    let end = end.unwrap_or_else(|_| start.clone());
    let mut history = History {
        start: start.clone(),
        end: end.clone(),
        days: Vec::new(),
        taken: BTreeMap::new(),
        held: Vec::new(),
    };
    let Ok(dataset) = DatasetName::new("pool/instance") else {
        return history;
    };
    let mut points: Vec<RestorePoint> = Vec::new();
    let mut newest: BTreeMap<Period, RestorePoint> = BTreeMap::new();
    let mut next = BTreeMap::new();
    let mut number = 0;
    let mut now = start.clone();
    let mut today = now.date();
    while now.timestamp() <= end.timestamp() {
        if now.date() != today {
            points = kept(points, policy, &now);
            history.days.push(day(today, &points));
            today = now.date();
        }
        for due in due(newest.values(), policy, false, &now) {
            let name = autosnap_name(due.period, now.timestamp());
            let Ok(name) = dataset.snapshot(&name) else {
                continue;
            };
            number += 1;
            let point = RestorePoint::scheduled(name, number, due.period, now.timestamp());
            *history.taken.entry(due.period).or_default() += 1;
            newest.insert(due.period, point.clone());
            points.push(point);
        }
        match next_run(policy, &mut next, &now) {
            Some(next) if policy.take => now = next,
            _ => break,
        }
    }
    points = kept(points, policy, &end);
    history.days.push(day(end.date(), &points));
    let held = |point: &RestorePoint| Some((point.created, point.period?));
    history.held = points.iter().filter_map(held).collect();
    history
}

/// The next run of the timer at which something is due. `next` are the next moments as they were told before.
fn next_run(policy: &Policy, next: &mut BTreeMap<Period, Timestamp>, now: &Zoned) -> Option<Zoned> {
    for (period, _) in policy.counts() {
        let known = next.entry(period).or_insert(Timestamp::MIN);
        if *known <= now.timestamp() {
            *known = next_preferred(period, &policy.schedule, now);
        }
    }
    let next = next.values().min()?;
    let late = next.as_second().rem_euclid(RUNS);
    let wait = if late == 0 { 0 } else { RUNS - late };
    let run = next.checked_add(SignedDuration::from_secs(wait)).ok()?;
    (run > now.timestamp()).then(|| run.to_zoned(now.time_zone().clone()))
}

fn kept(points: Vec<RestorePoint>, policy: &Policy, now: &Zoned) -> Vec<RestorePoint> {
    let verdicts = plan_retention(&points, policy, &Facts::default(), now);
    let kept = points.into_iter().zip(verdicts);
    kept.filter_map(|(point, verdict)| verdict.keep.then_some(point))
        .collect()
}

fn day(date: Date, points: &[RestorePoint]) -> Day {
    let mut held = BTreeMap::new();
    for period in points.iter().filter_map(|point| point.period) {
        *held.entry(period).or_default() += 1;
    }
    Day { date, held }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Schedule;

    fn after(policy: &Policy, start: &str, days: u32) -> History {
        simulate(policy, &start.parse().unwrap(), days)
    }

    fn held(history: &History) -> Vec<(Period, usize)> {
        let counts = Period::ALL.map(|period| (period, history.of(period).count()));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn the_default_holds_an_hour_a_day_two_weeks_and_three_months() {
        let start = "2026-11-23T09:07:00+01:00[Europe/Berlin]";
        let history = after(&Policy::default(), start, 400);
        let counts = held(&history);
        assert_eq!(
            counts,
            [
                (Period::Frequently, 4),
                (Period::Hourly, 24),
                (Period::Daily, 14),
                (Period::Monthly, 3)
            ]
        );
        assert_eq!(history.taken.get(&Period::Monthly), Some(&14));
        assert_eq!(history.taken.get(&Period::Daily), Some(&401));
        assert_eq!(history.days.len(), 401);
        let is_full = |day: &Day| (45..=50).contains(&day.total());
        assert!(history.days.iter().skip(100).all(is_full));
        assert!((45..=50).contains(&history.most()));
    }

    #[test]
    fn a_history_is_as_fine_as_its_policy_says_across_a_change_of_the_clocks() {
        let start = "2026-10-20T12:00:00+02:00[Europe/Berlin]";
        let history = after(&Policy::default(), start, 10);
        let daily: Vec<_> = history.of(Period::Daily).collect();
        // The first one was taken at once.
        for pair in daily.windows(2).skip(1) {
            let apart = pair[1].duration_since(pair[0]).as_hours();
            assert!((23..=25).contains(&apart), "{pair:?}");
        }
        // Taken with the first run after 23:59 on the wall, on both sides of the change.
        assert!(daily.contains(&"2026-10-23T22:00:00Z".parse().unwrap()));
        assert!(daily.contains(&"2026-10-26T23:00:00Z".parse().unwrap()));
    }

    #[test]
    fn one_without_schedule_takes_nothing() {
        let policy = Policy {
            take: false,
            ..Policy::default()
        };
        let history = after(&policy, "2026-11-23T09:00:00Z[UTC]", 30);
        assert!(history.held.is_empty());
        assert!(history.taken.is_empty());
    }

    #[test]
    fn a_rolling_policy_holds_as_many_as_it_says() {
        let daily = BTreeMap::from([(Period::Daily, 1)]);
        let policy = Policy::new(&daily, Some(5), Schedule::default()).unwrap();
        let history = after(&policy, "2026-11-23T09:00:00Z[UTC]", 30);
        assert_eq!(held(&history), [(Period::Daily, 5)]);
    }

    #[test]
    fn a_start_at_the_end_of_time_ends_at_once() {
        let history = after(&Policy::default(), "9999-12-30T21:00:00Z[UTC]", u32::MAX);
        assert_eq!(history.end, history.start);
        assert_eq!(history.held.len(), 4);
    }
}
