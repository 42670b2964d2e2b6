//! Our planners against Debian's sanoid: the same snapshots, the same configuration, the same clock.
//!
//! Where they differ on purpose is told in docs/retention.md; every row of the table there is a variant of
//! [`Difference`], and has a test of its own in [`differences`].

mod differences;
mod history;
mod oracle;

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Zoned};
use terrarium_zfs::SnapshotName;

use self::history::{Dice, STEP, Year};
use self::oracle::{Dataset, Decision, Sanoid};
use super::{
    Facts, Period, Policy, SanoidConf, Schedule, due, last_preferred, next_preferred,
    plan_retention,
};
use crate::point::RestorePoint;

/// A scheduled point in the instance's own dataset.
fn point(number: u64, created: Timestamp, period: Period) -> RestorePoint {
    let snapshot = SnapshotName::new(&format!("pool/web@{number}")).unwrap();
    RestorePoint::scheduled(snapshot, number, period, created)
}

/// What is done on purpose in another way than sanoid does it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Difference {
    /// The newest point stays, even if its period has no count any more, or a wrong clock made others seem newer.
    NewestStays,
    /// Points from the future count for nothing.
    FutureIgnored,
    /// The hour that comes twice has snapshots twice; nothing comes late or twice on the day on which clocks change.
    ClockChange,
    /// A week or a month that clocks changed in brings one snapshot, not two.
    OncePerPeriod,
    /// A year that was missed is caught up with.
    YearCaughtUp,
}

fn ours(dataset: &Dataset, now: &Zoned) -> Decision {
    let points: Vec<_> = (1..)
        .zip(&dataset.snapshots)
        .map(|(number, &(created, period))| point(number, created, period))
        .collect();
    let verdicts = plan_retention(&points, &dataset.policy, &Facts::default(), now);
    let removed = verdicts
        .iter()
        .enumerate()
        .filter(|(_, verdict)| !verdict.keep);
    Decision {
        take: due(&points, &dataset.policy, false, now)
            .iter()
            .map(|due| due.period)
            .collect(),
        remove: removed.map(|(index, _)| index).collect(),
    }
}

/// A moment of one dataset, and what sanoid does.
struct Case {
    number: usize,
    now: Zoned,
    dataset: Dataset,
    sanoids: Decision,
}

/// Where a planner and sanoid differ, and why, if that is known.
fn compare(
    case: &Case,
    planner: impl Fn(&Dataset, &Zoned) -> Decision,
) -> Vec<(Option<Difference>, String)> {
    let Case {
        number,
        now,
        dataset,
        sanoids,
    } = case;
    let ours = planner(dataset, now);
    let policy = &dataset.policy;
    let tell = |what: String, we_do: bool| {
        let who = if we_do { "us alone" } else { "sanoid alone" };
        format!(
            "dataset {number} at {now}: {what} by {who}; {policy} {:?}",
            policy.schedule
        )
    };
    let mut differences = Vec::new();
    for &period in ours.take.symmetric_difference(&sanoids.take) {
        let we_do = ours.take.contains(&period);
        let told = tell(format!("{period} taken"), we_do);
        differences.push((explain_take(case, period, we_do), told));
    }
    for &index in ours.remove.symmetric_difference(&sanoids.remove) {
        let we_do = ours.remove.contains(&index);
        let told = tell(format!("{:?} removed", dataset.snapshots[index]), we_do);
        differences.push((explain_removal(case, index, we_do), told));
    }
    differences
}

fn explain_take(case: &Case, period: Period, we_do: bool) -> Option<Difference> {
    let now = case.now.timestamp();
    let of_period = || {
        case.dataset
            .snapshots
            .iter()
            .filter(|of| of.1 == period)
            .map(|of| of.0)
    };
    if we_do && of_period().any(|created| created > now) {
        return Some(Difference::FutureIgnored);
    }
    let schedule = &case.dataset.policy.schedule;
    let last = last_preferred(period, schedule, &case.now);
    let zone = case.now.time_zone();
    let changes = |from: Timestamp, to: Timestamp| zone.to_offset(from) != zone.to_offset(to);
    let midnight = case.now.start_of_day().ok()?;
    let tomorrow = midnight.tomorrow().ok()?;
    let hour = SignedDuration::from_hours(1);
    match period {
        // On the day that clocks change, and until the next daily if its time was skipped.
        Period::Frequently | Period::Hourly | Period::Daily => {
            let is_today = midnight.offset() != tomorrow.offset();
            let was_skipped = period == Period::Daily && changes(last - hour, last);
            (is_today || was_skipped).then_some(Difference::ClockChange)
        }
        // It counts seconds back from a moment to come: an hour late, if clocks are set back in between.
        Period::Weekly | Period::Monthly if !we_do => {
            let from = match period {
                Period::Weekly => tomorrow.timestamp(),
                _ => next_preferred(period, schedule, &case.now),
            };
            let newest = of_period().max()?;
            let is_within = newest >= last && newest < last + hour;
            (is_within && changes(last, from)).then_some(Difference::OncePerPeriod)
        }
        // It goes back 31 years.
        Period::Yearly if we_do => {
            let (month, day, (hour, minute)) = schedule.yearly;
            let small = |number| i8::try_from(number).unwrap();
            let this_year = jiff::civil::date(case.now.year(), small(month), small(day));
            let preferred = this_year.at(small(hour), small(minute), 0, 0);
            let preferred = preferred.to_zoned(zone.clone()).ok()?;
            (preferred > case.now).then_some(Difference::YearCaughtUp)
        }
        _ => None,
    }
}

fn explain_removal(case: &Case, index: usize, we_do: bool) -> Option<Difference> {
    let snapshots = &case.dataset.snapshots;
    let (created, period) = snapshots[index];
    let is_newest = index + 1 == snapshots.len();
    let count = usize::try_from(case.dataset.policy.count(period)).unwrap();
    if we_do {
        return None;
    }
    if is_newest {
        return Some(Difference::NewestStays);
    }
    let now = case.now.timestamp();
    let of_period = || snapshots.iter().filter(|of| of.1 == period).map(|of| of.0);
    // Only as many more as there are in the future, and only those that the future ones make one too many.
    let future = of_period().filter(|created| *created > now).count();
    let newer = of_period()
        .filter(|other| *other > created && *other <= now)
        .count();
    (newer < count && newer + future >= count).then_some(Difference::FutureIgnored)
}

/// When to look, in local time: the ends of months, the leap day, both changes of the clock, after a downtime, while
/// the clock was ahead and when it was set back.
fn moments(year: &Year, dice: &mut Dice, clocks: &[(i8, i8)]) -> Vec<i64> {
    let mut moments = Vec::new();
    for (month, day, hour, minute) in [
        (1, 1, 0, 0),
        (1, 31, 23, 45),
        (2, 5, 17, 0),
        (2, 28, 23, 45),
        (2, 29, 0, 0),
        (2, 29, 12, 15),
        (3, 1, 0, 0),
        (4, 30, 23, 45),
        (5, 1, 0, 0),
        (5, 15, 1, 0),
        (6, 3, 15, 0),
        (6, 3, 20, 15),
        (7, 24, 9, 0),
        (8, 1, 0, 15),
        (9, 6, 12, 0),
        (9, 8, 6, 30),
        (12, 31, 23, 45),
    ] {
        moments.push(year.at(month, day, hour, minute));
    }
    for &(month, day) in clocks {
        let midnight = year.at(month, day, 0, 0);
        for quarters in [2, 7, 9, 10, 13, 16, 50, 97, 140, 500] {
            moments.push(midnight + quarters * STEP);
        }
    }
    let first = year.at(1, 1, 0, 0);
    for _ in 0..6 {
        moments.push(first + i64::try_from(dice.below(366 * 96)).unwrap() * STEP);
    }
    moments.sort_unstable();
    moments.dedup();
    moments
}

/// A year of the default policy and of 25 random ones.
fn year_of(zone: &str, clocks: &[(i8, i8)], seed: u64) -> Vec<Case> {
    let mut dice = Dice::new(seed);
    let year = Year::new(zone);
    let moments = moments(&year, &mut dice, clocks);
    let policies: Vec<_> = std::iter::once(Policy::default())
        .chain(std::iter::repeat_with(|| dice.policy()).take(25))
        .collect();
    let histories: Vec<_> = (0..)
        .zip(&policies)
        .map(|(number, policy)| year.of(policy, number, &moments))
        .collect();
    let sanoid = Sanoid::new();
    let mut cases = Vec::new();
    for (sample, &moment) in moments.iter().enumerate() {
        let now = year.zoned(moment);
        let datasets: Vec<_> = histories
            .iter()
            .map(|history| history[sample].clone())
            .collect();
        let decisions = sanoid.ask(&datasets, &now).unwrap();
        for (number, (dataset, sanoids)) in datasets.into_iter().zip(decisions).enumerate() {
            cases.push(Case {
                number,
                now: now.clone(),
                dataset,
                sanoids,
            });
        }
    }
    cases
}

type Planner = Box<dyn Fn(&Dataset, &Zoned) -> Decision>;

/// Planners that are wrong in one point each.
fn wrong_planners() -> Vec<(&'static str, Planner)> {
    /// The rule of retention with one part of it replaced.
    fn by_rule(
        dataset: &Dataset,
        now: &Zoned,
        goes: impl Fn(SignedDuration, SignedDuration, usize, usize) -> bool,
    ) -> Decision {
        let mut decision = ours(dataset, now);
        let snapshots = &dataset.snapshots;
        let goes = |&(created, period): &(Timestamp, Period)| {
            let same = snapshots.iter().filter(|of| of.1 == period);
            let newer = same.filter(|of| of.0 > created).count();
            let count = dataset.policy.count(period);
            let most = dataset.policy.length(period) * i32::try_from(count).unwrap();
            let age = now.timestamp().duration_since(created);
            goes(age, most, newer, usize::try_from(count).unwrap())
        };
        let removed = snapshots
            .iter()
            .enumerate()
            .filter(|(_, snapshot)| goes(snapshot));
        decision.remove = removed.map(|(index, _)| index).collect();
        decision
    }
    fn elsewhere(dataset: &Dataset, now: &Zoned, zone: TimeZone) -> Decision {
        ours(dataset, &now.with_time_zone(zone))
    }
    vec![
        (
            "either condition is enough",
            Box::new(|dataset, now| {
                by_rule(dataset, now, |age, most, newer, count| {
                    age > most || newer >= count
                })
            }),
        ),
        (
            "only the count matters",
            Box::new(|dataset, now| by_rule(dataset, now, |_, _, newer, count| newer >= count)),
        ),
        (
            "only the age matters",
            Box::new(|dataset, now| by_rule(dataset, now, |age, most, _, _| age > most)),
        ),
        (
            "one more is kept",
            Box::new(|dataset, now| {
                by_rule(dataset, now, |age, most, newer, count| {
                    age > most && newer > count
                })
            }),
        ),
        (
            "nothing is removed",
            Box::new(|dataset, now| by_rule(dataset, now, |_, _, _, _| false)),
        ),
        (
            "UTC",
            Box::new(|dataset, now| elsewhere(dataset, now, TimeZone::UTC)),
        ),
        (
            "the oldest is taken for the newest",
            Box::new(|dataset, now| {
                let mut first = dataset.clone();
                first.snapshots.truncate(first.snapshots.len() / 2);
                Decision {
                    take: ours(&first, now).take,
                    ..ours(dataset, now)
                }
            }),
        ),
        (
            "the next moment is taken for the last one",
            Box::new(|dataset, now| {
                let soon = now.checked_add(16.minutes()).unwrap();
                Decision {
                    take: ours(dataset, &soon).take,
                    ..ours(dataset, now)
                }
            }),
        ),
        (
            "nothing is taken",
            Box::new(|dataset, now| Decision {
                take: BTreeSet::new(),
                ..ours(dataset, now)
            }),
        ),
    ]
}

/// Compares, and makes sure that there was something to compare.
fn judge(cases: &[Case]) {
    let (explained, unexplained): (Vec<_>, Vec<_>) = cases
        .iter()
        .flat_map(|case| compare(case, ours))
        .partition(|(difference, _)| difference.is_some());
    let shown: Vec<_> = unexplained
        .iter()
        .take(40)
        .map(|(_, told)| told.as_str())
        .collect();
    assert!(
        shown.is_empty(),
        "{} are unexplained:\n{}",
        unexplained.len(),
        shown.join("\n")
    );

    let mut of_policy: BTreeMap<usize, [usize; 3]> = BTreeMap::new();
    let mut taken: BTreeSet<Period> = BTreeSet::new();
    let mut removed: BTreeSet<Period> = BTreeSet::new();
    for case in cases {
        taken.extend(&case.sanoids.take);
        removed.extend(
            case.sanoids
                .remove
                .iter()
                .map(|&index| case.dataset.snapshots[index].1),
        );
    }
    // A yearly is due at few moments; it has its own test.
    assert!(
        taken.len() >= 5 && removed.len() == 6,
        "{taken:?} {removed:?}"
    );
    for case in cases {
        let removed = case.sanoids.remove.len();
        let [keeps, removes, takes] = of_policy.entry(case.number).or_default();
        *keeps += case.dataset.snapshots.len() - removed;
        *removes += removed;
        *takes += case.sanoids.take.len();
    }
    for (number, did) in of_policy {
        assert!(
            did.iter().all(|&times| times > 0),
            "policy {number}: {did:?}"
        );
    }
    let decisions: usize = cases.iter().map(|case| case.dataset.snapshots.len()).sum();
    let mut times: BTreeMap<Option<Difference>, usize> = BTreeMap::new();
    for (difference, _) in &explained {
        *times.entry(*difference).or_default() += 1;
    }
    println!(
        "{} states with {decisions} snapshots; not as sanoid: {times:?}",
        cases.len()
    );
    // What is explained is the exception; with a wrong clock it is the rule.
    let by_clock = times
        .get(&Some(Difference::FutureIgnored))
        .copied()
        .unwrap_or(0);
    assert!((explained.len() - by_clock) * 100 < decisions, "{times:?}");

    for (fault, planner) in wrong_planners() {
        let is_caught = |case| compare(case, &planner).iter().any(|(why, _)| why.is_none());
        assert!(
            cases.iter().any(is_caught),
            "a planner for which {fault} is not caught"
        );
    }
}

#[test]
fn over_a_year_in_europe_we_decide_as_sanoid_does() {
    judge(&year_of("Europe/Berlin", &[(3, 26), (10, 29)], 1));
}

#[test]
fn over_a_year_in_america_we_decide_as_sanoid_does() {
    judge(&year_of("America/New_York", &[(3, 12), (11, 5)], 2));
}

#[test]
fn the_configuration_that_sanoid_is_told_is_read_as_the_same_policy() {
    let mut dice = Dice::new(3);
    let policies = std::iter::repeat_with(|| dice.policy()).take(200);
    for policy in std::iter::once(Policy::default()).chain(policies) {
        let text = format!("[pool/web]\n{}", oracle::conf_of(&policy));
        let conf = SanoidConf::parse(&text).unwrap();
        assert_eq!(conf.policy_of("pool/web").unwrap(), Some(policy), "{text}");
        assert_eq!(conf.notices(), []);
    }
}
