use std::collections::BTreeMap;

use terrarium_zfs::Txg;

use super::*;
use crate::names::OperationId;
use crate::point::Place;
use crate::policy::Schedule;

const NOW: &str = "2026-04-19T12:00:00Z[UTC]";

/// A scheduled point of so many hours ago, older ones with smaller numbers.
fn scheduled(number: u64, period: Period, hours: i64) -> RestorePoint {
    let now: Zoned = NOW.parse().unwrap();
    let created = now.timestamp() - jiff::SignedDuration::from_hours(hours);
    RestorePoint {
        guid: Guid::new(number),
        snapshot: SnapshotName::new(&format!("tank/containers/web@{number}")).unwrap(),
        place: Place::Live,
        createtxg: Txg::new(number),
        created,
        kind: Kind::Scheduled,
        period: Some(period),
        alias: None,
        expires: None,
        last_used: None,
        pre: None,
        size: 0,
        referenced: 0,
        holds: 0,
        clones: Vec::new(),
        idmap: None,
        stateful: false,
    }
}

/// Hourly points: of 1, 2, … hours ago, the oldest first.
fn hourly(count: u64) -> Vec<RestorePoint> {
    let point = |number| {
        let hours = i64::try_from(count - number).unwrap() + 1;
        scheduled(number, Period::Hourly, hours)
    };
    (1..=count).map(point).collect()
}

fn policy(counts: &[(Period, u32)], keep: Option<u32>) -> Policy {
    let counts: BTreeMap<_, _> = counts.iter().copied().collect();
    Policy::new(&counts, keep, Schedule::default()).unwrap()
}

fn removed(points: &[RestorePoint], policy: &Policy, facts: &Facts) -> Vec<u64> {
    let verdicts = plan_retention(points, policy, facts, &NOW.parse().unwrap());
    assert_eq!(verdicts.len(), points.len());
    for verdict in &verdicts {
        assert!(!verdict.reasons.is_empty(), "{verdict:?}");
    }
    verdicts
        .iter()
        .filter(|verdict| !verdict.keep)
        .map(|verdict| verdict.guid.get())
        .collect()
}

fn three_hourly() -> Policy {
    policy(&[(Period::Hourly, 3)], None)
}

#[test]
fn one_goes_when_it_is_too_old_and_there_are_enough_newer_ones() {
    assert_eq!(
        removed(&hourly(6), &three_hourly(), &Facts::default()),
        [1, 2, 3]
    );
    let mut late = hourly(6);
    for point in &mut late {
        point.created += jiff::SignedDuration::from_hours(1);
    }
    // Of 0, 1, 2, 3 hours ago: sanoid keeps one more than the count on aligned ticks, and so do we.
    assert_eq!(removed(&late, &three_hourly(), &Facts::default()), [1, 2]);
}

#[test]
fn the_newest_of_a_period_stay_however_old_they_are() {
    let mut old = hourly(5);
    for point in &mut old {
        point.created -= jiff::SignedDuration::from_hours(1000);
    }
    assert_eq!(removed(&old, &three_hourly(), &Facts::default()), [1, 2]);
}

#[test]
fn a_period_of_which_none_are_wanted_any_more_goes_but_for_the_newest_point() {
    let weekly = policy(&[(Period::Weekly, 4)], None);
    assert_eq!(removed(&hourly(3), &weekly, &Facts::default()), [1, 2]);
}

#[test]
fn what_is_not_to_be_removed_never_is() {
    let mut points = hourly(12);
    points[0].holds = 1;
    points[1].clones = vec![DatasetName::new("tank/containers/copy").unwrap()];
    points[2].kind = Kind::Foreign;
    points[3].kind = Kind::Lxd;
    points[4].kind = Kind::Safety(OperationId::new("20261122-100005-beef").unwrap());
    points[5].place = Place::Aside(OperationId::new("20261122-100005-beef").unwrap());
    points[6].kind = Kind::OnDemand;
    points[7].period = None;
    let needed = BTreeMap::from([(Guid::new(9), "an export".to_owned())]);
    let facts = Facts {
        adopted: false,
        needed,
    };
    let none = policy(&[(Period::Yearly, 1)], None);
    assert_eq!(removed(&points, &none, &facts), [10, 11]);
    let verdicts = plan_retention(&points, &none, &facts, &NOW.parse().unwrap());
    let reasons = |index: usize| -> Vec<String> {
        verdicts[index]
            .reasons
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let outdated = "older than 0 hourly, and 0 are newer";
    assert_eq!(reasons(0), [outdated, "held"]);
    assert_eq!(
        reasons(1),
        [outdated, "tank/containers/copy is a clone of it"]
    );
    assert_eq!(reasons(2), ["not ours"]);
    assert_eq!(reasons(8), [outdated, "needed by an export"]);
    assert_eq!(reasons(11), [outdated, "the newest point"]);
}

#[test]
fn a_held_point_does_not_make_a_newer_one_go_in_its_place_nor_an_older_one_stay() {
    let mut points = hourly(6);
    points[4].holds = 1;
    assert_eq!(
        removed(&points, &three_hourly(), &Facts::default()),
        [1, 2, 3]
    );
}

#[test]
fn points_of_the_future_are_kept_and_count_for_nothing() {
    let mut points = hourly(5);
    for hours in [1, 2, 3] {
        let number = 5 + u64::try_from(hours).unwrap();
        points.push(scheduled(number, Period::Hourly, -hours));
    }
    assert_eq!(removed(&points, &three_hourly(), &Facts::default()), [1, 2]);
}

#[test]
fn an_on_demand_point_goes_when_it_has_expired_if_another_one_is_left() {
    let now = NOW.parse::<Zoned>().unwrap().timestamp();
    let on_demand = |number, hours: i64| RestorePoint {
        kind: Kind::OnDemand,
        period: None,
        expires: Some(now + jiff::SignedDuration::from_hours(hours)),
        ..scheduled(number, Period::Hourly, 100 - i64::try_from(number).unwrap())
    };
    let default = Policy::default();
    let points = [on_demand(1, 0), on_demand(2, 1), on_demand(3, -1)];
    assert_eq!(removed(&points, &default, &Facts::default()), [1, 3]);
    let points = [on_demand(1, -2), on_demand(2, -1)];
    assert_eq!(removed(&points, &default, &Facts::default()), [1]);
    let mut held = points.clone();
    held[0].holds = 1;
    assert_eq!(removed(&held, &default, &Facts::default()), [2]);
}

#[test]
fn a_rolling_policy_keeps_the_newest_whatever_their_period_and_age() {
    let rolling = policy(&[(Period::Daily, 1)], Some(2));
    let mut points = hourly(3);
    points.insert(0, scheduled(100, Period::Daily, 1000));
    points.push(scheduled(101, Period::Daily, 0));
    assert_eq!(removed(&points, &rolling, &Facts::default()), [100, 1, 2]);
}

#[test]
fn sanoids_snapshots_are_ours_once_they_were_adopted() {
    let mut points = hourly(5);
    for point in &mut points[..4] {
        point.kind = Kind::Foreign;
        point.period = None;
        let number = point.guid;
        let name = format!("tank/containers/web@autosnap_2026-04-19_0{number}:00:00_hourly");
        point.snapshot = SnapshotName::new(&name).unwrap();
    }
    assert_eq!(removed(&points, &three_hourly(), &Facts::default()), [0; 0]);
    let adopted = Facts {
        adopted: true,
        ..Facts::default()
    };
    assert_eq!(removed(&points, &three_hourly(), &adopted), [1, 2]);
}

#[test]
fn where_nothing_is_removed_on_a_schedule_what_has_expired_goes_all_the_same() {
    let mut off = three_hourly();
    off.prune = false;
    let mut points = hourly(6);
    points[2].kind = Kind::OnDemand;
    points[2].expires = Some("2026-04-19T11:00:00Z".parse().unwrap());
    assert_eq!(removed(&points, &off, &Facts::default()), [3]);
}

#[test]
fn counts_that_no_clock_reaches_do_no_harm() {
    let most = policy(
        &[(Period::Yearly, u32::MAX), (Period::Hourly, u32::MAX)],
        None,
    );
    assert_eq!(removed(&hourly(50), &most, &Facts::default()), [0; 0]);
}
