//! What holds of retention whatever the points are, and how long it takes for many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, Zoned};
use proptest::prelude::*;
use proptest::sample::select;
use terrarium_core::fake::scheduled_point;
use terrarium_core::policy::{
    Facts, Period, Policy, Reason, Schedule, Verdict, due, last_preferred, next_preferred,
    plan_retention,
};
use terrarium_core::{Kind, OperationId, Place, RestorePoint};
use terrarium_zfs::{DatasetName, Guid};

const NOW: &str = "2028-03-26T04:30:00+02:00[Europe/Berlin]";

fn now() -> Zoned {
    NOW.parse().expect("a time")
}

/// A point as one of many on a host: who took it when, and what is to be said of it.
fn any_point() -> impl Strategy<Value = RestorePoint> {
    let operation = OperationId::new("20261122-100005-beef").expect("a legal id");
    let kinds = vec![
        Kind::Scheduled,
        Kind::Scheduled,
        Kind::Scheduled,
        Kind::OnDemand,
        Kind::Safety(operation.clone()),
        Kind::Lxd,
        Kind::Foreign,
    ];
    // Mostly of the last months, some of long ago, some of the future.
    let age = prop_oneof![
        6 => 0..100_000_i64,
        3 => 0..9_000_000_i64,
        1 => 0..400_000_000_i64,
        1 => -100_000..0_i64,
    ];
    let rarely = |weight| proptest::bool::weighted(weight);
    let what = (
        select(kinds),
        select(Period::ALL.to_vec()),
        age,
        proptest::option::of(-100_000..100_000_i64),
    );
    let whether = (rarely(0.1), rarely(0.1), rarely(0.1), rarely(0.1));
    (what, whether).prop_map(move |((kind, period, age, expires), whether)| {
        let (is_held, is_cloned, is_aside, is_of_sanoid) = whether;
        let now = now().timestamp();
        let of = |seconds| now - SignedDuration::from_secs(seconds);
        let name = match is_of_sanoid {
            true => format!("autosnap_2028-01-01_10:00:00_{period}"),
            false => "any".to_owned(),
        };
        let dataset = DatasetName::new("tank/containers/web").expect("a legal name");
        let snapshot = dataset.snapshot(&name).expect("a legal name");
        let mut point = scheduled_point(snapshot, 0, period, of(age));
        point.period = (kind == Kind::Scheduled).then_some(period);
        point.expires = expires.filter(|_| kind == Kind::OnDemand).map(of);
        point.kind = kind;
        point.holds = is_held.into();
        if is_cloned {
            point.clones = vec![DatasetName::new("tank/copy").expect("a legal name")];
        }
        if is_aside {
            point.place = Place::Aside(operation.clone());
        }
        point
    })
}

/// Points in the order of the pool, in which most clocks went forward.
fn any_points() -> impl Strategy<Value = Vec<RestorePoint>> {
    let points = proptest::collection::vec(any_point(), 0..60);
    (points, any::<bool>()).prop_map(|(mut points, in_order)| {
        if in_order {
            points.sort_by_key(|point| point.created);
        }
        for (number, point) in (1..).zip(&mut points) {
            point.guid = Guid::new(number);
            point.createtxg = terrarium_zfs::Txg::new(number);
        }
        points
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let counts = proptest::collection::btree_map(select(Period::ALL.to_vec()), 1_u32..30, 1..6);
    let keep = proptest::option::weighted(0.2, 1_u32..20);
    (counts, keep, proptest::bool::weighted(0.9)).prop_map(|(counts, keep, prune)| {
        let policy = Policy::new(&counts, keep, Schedule::default());
        let mut policy = policy.expect("it keeps something");
        policy.prune = prune;
        policy
    })
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let needed = proptest::collection::btree_set(1_u64..60, 0..4);
    (any::<bool>(), needed).prop_map(|(adopted, needed)| {
        let needed = needed
            .into_iter()
            .map(|guid| (Guid::new(guid), "an export".to_owned()));
        Facts {
            adopted,
            needed: needed.collect(),
        }
    })
}

fn removed(verdicts: &[Verdict]) -> BTreeSet<Guid> {
    let goes = verdicts.iter().filter(|verdict| !verdict.keep);
    goes.map(|verdict| verdict.guid).collect()
}

fn newest(points: &[RestorePoint]) -> Option<&RestorePoint> {
    let live = points.iter().filter(|point| point.is_live());
    live.max_by_key(|point| point.createtxg)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// The promises, told apart from how the planner keeps them.
    #[test]
    fn retention_removes_nothing_that_it_promised_to_leave(
        points in any_points(), policy in any_policy(), facts in any_facts(),
    ) {
        let verdicts = plan_retention(&points, &policy, &facts, &now());
        prop_assert_eq!(verdicts.len(), points.len());
        let goes = removed(&verdicts);
        let at = now().timestamp();
        for (point, verdict) in points.iter().zip(&verdicts) {
            prop_assert_eq!(point.guid, verdict.guid);
            prop_assert!(!verdict.reasons.is_empty() || verdict.keep);
            if verdict.keep {
                continue;
            }
            let has_expired = point.kind == Kind::OnDemand
                && point.expires.is_some_and(|expires| expires <= at);
            let is_scheduled = point.scheduled_for(facts.adopted).is_some();
            prop_assert!(has_expired || is_scheduled, "not ours to remove: {point:?}");
            prop_assert!(point.is_live(), "moved aside: {point:?}");
            prop_assert_eq!(point.holds, 0, "held");
            prop_assert!(point.clones.is_empty(), "a clone's origin");
            prop_assert!(!facts.needed.contains_key(&point.guid), "needed");
            prop_assert!(has_expired || policy.prune, "not to be pruned");
            prop_assert!(has_expired || point.created <= at, "from the future");
            if newest(&points).is_some_and(|newest| newest.guid == point.guid) {
                prop_assert!(has_expired, "the newest point");
            }
        }
        // Of an instance that had points some are left.
        if newest(&points).is_some() {
            let left = points.iter().any(|point| point.is_live() && !goes.contains(&point.guid));
            prop_assert!(left, "nothing is left of {points:?}");
        }
    }

    #[test]
    fn what_is_left_is_left_by_the_next_run_too(
        points in any_points(), policy in any_policy(), facts in any_facts(),
    ) {
        let goes = removed(&plan_retention(&points, &policy, &facts, &now()));
        let left: Vec<_> = points
            .into_iter()
            .filter(|point| !goes.contains(&point.guid))
            .collect();
        let again = plan_retention(&left, &policy, &facts, &now());
        prop_assert_eq!(removed(&again), BTreeSet::new());
    }

    /// What lies in the future by the earlier clock is out of the count, so that others stay for it, and none goes.
    /// The newest point alone, if it has expired, stays when all others go, and goes when one of those stays.
    #[test]
    fn a_clock_that_is_set_back_makes_nothing_go_that_stayed_before(
        points in any_points(), policy in any_policy(), facts in any_facts(), back in 0..10_000_000_i64,
    ) {
        let earlier = now().checked_sub(SignedDuration::from_secs(back)).expect("a time");
        let goes = removed(&plan_retention(&points, &policy, &facts, &now()));
        let then = plan_retention(&points, &policy, &facts, &earlier);
        let newest = newest(&points).map(|point| point.guid);
        for guid in removed(&then).into_iter().filter(|guid| Some(*guid) != newest) {
            prop_assert!(goes.contains(&guid), "{guid} goes {back} s before, and stays now");
        }
    }

    /// Whatever the clock does, what a policy takes is taken: a point of the future does not stand for it.
    #[test]
    fn a_period_is_due_unless_it_has_a_point_since_the_last_moment(
        points in any_points(), policy in any_policy(), adopted in any::<bool>(),
    ) {
        let at = now().timestamp();
        let due: BTreeMap<_, _> = due(&points, &policy, adopted, &now())
            .into_iter()
            .map(|due| (due.period, due))
            .collect();
        for period in Period::ALL {
            let preferred = last_preferred(period, &policy.schedule, &now());
            let stands_for_it = |point: &RestorePoint| {
                point.is_live()
                    && point.scheduled_for(adopted) == Some(period)
                    && (preferred..=at).contains(&point.created)
            };
            let is_due = policy.count(period) > 0 && !points.iter().any(stands_for_it);
            prop_assert_eq!(due.contains_key(&period), is_due, "{}", period);
        }
    }

    /// Between the last moment and the next one there is now, and nothing else in between.
    #[test]
    fn the_moments_of_a_period_follow_each_other_without_a_gap(
        period in select(Period::ALL.to_vec()),
        zone in select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
        seconds in 1_600_000_000_i64..2_200_000_000,
        hour in 0_u8..24, minute in 0_u8..60, day in 1_u8..32, month in 1_u8..13, weekday in 1_u8..8,
    ) {
        let at = |seconds| {
            let at = Timestamp::from_second(seconds).expect("a time");
            at.in_tz(zone).expect("a zone")
        };
        let mut schedule = Schedule::default();
        schedule.hourly_min = minute;
        schedule.daily = (hour, minute);
        schedule.weekly = (weekday, (hour, minute));
        schedule.monthly = (day, (hour, minute));
        schedule.yearly = (month, day, (hour, minute));
        let now = at(seconds);
        let last = last_preferred(period, &schedule, &now);
        let next = next_preferred(period, &schedule, &now);
        prop_assert!(last <= now.timestamp() && now.timestamp() < next);
        let until_next = at(next.as_second() - 1);
        prop_assert_eq!(last_preferred(period, &schedule, &until_next), last);
        prop_assert_eq!(last_preferred(period, &schedule, &at(next.as_second())), next);
    }
}

/// The generator above makes what it is meant for: points of which some go and some stay.
#[test]
fn random_points_are_both_kept_and_removed() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut kept, mut gone, mut expired) = (0, 0, 0);
    for _ in 0..100 {
        let mut value = || {
            let tree = (any_points(), any_policy(), any_facts())
                .new_tree(&mut runner)
                .expect("a value");
            proptest::strategy::ValueTree::current(&tree)
        };
        let (points, policy, facts) = value();
        for verdict in plan_retention(&points, &policy, &facts, &now()) {
            let has_expired = |reason: &Reason| matches!(reason, Reason::Expired { .. });
            match verdict.keep {
                true => kept += 1,
                false => gone += 1,
            }
            if !verdict.keep && verdict.reasons.iter().any(has_expired) {
                expired += 1;
            }
        }
    }
    assert!(
        kept > 500 && gone > 200 && expired > 50,
        "{kept}, {gone}, {expired}"
    );
}

/// In release a million takes under a second (`cargo run --release -p terrarium-core --example million`). This is a
/// tenth of it and without optimisation, where what is quadratic would take hours.
#[test]
fn a_hundred_thousand_points_are_planned_in_seconds() {
    let now = now();
    let dataset = DatasetName::new("tank/containers/web").expect("a legal name");
    let snapshot = dataset.snapshot("any").expect("a legal name");
    let points: Vec<_> = (0..100_000_u64)
        .zip(Period::ALL.into_iter().cycle())
        .map(|(number, period)| {
            let age = SignedDuration::from_mins(i64::try_from(100_000 - number).expect("small"));
            scheduled_point(snapshot.clone(), number, period, now.timestamp() - age)
        })
        .collect();
    let begun = Instant::now();
    let verdicts = plan_retention(&points, &Policy::default(), &Facts::default(), &now);
    let took = begun.elapsed();
    // All of the monthly ones are of the last 93 days.
    assert!(removed(&verdicts).len() > 75_000);
    assert!(took < Duration::from_secs(10), "{took:?}");
}
