//! One test for each row of the table in docs/retention.md: what sanoid does, and what we do.

use super::*;

const ZONE: &str = "Europe/Berlin";

fn dataset(policy: &Policy, snapshots: &[(&str, Period)]) -> Dataset {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    Dataset {
        policy: policy.clone(),
        snapshots: snapshots
            .iter()
            .map(|&(created, period)| (at(created), period))
            .collect(),
    }
}

fn policy(counts: &[(Period, u32)], schedule: Schedule) -> Policy {
    let counts = counts.iter().copied().collect();
    Policy::new(&counts, None, schedule).unwrap()
}

/// What we do and what sanoid does.
fn both(dataset: &Dataset, now: &str) -> (Decision, Decision) {
    let now: Zoned = format!("{now}[{ZONE}]").parse().unwrap();
    let sanoids = Sanoid::new()
        .ask(std::slice::from_ref(dataset), &now)
        .unwrap();
    (ours(dataset, &now), sanoids.into_iter().next().unwrap())
}

fn takes(periods: &[Period]) -> BTreeSet<Period> {
    periods.iter().copied().collect()
}

#[test]
fn the_newest_point_stays_though_its_period_has_no_count_any_more() {
    let daily = policy(&[(Period::Daily, 7)], Schedule::default());
    let snapshots = [
        ("2028-01-09T22:59:00Z", Period::Daily),
        ("2028-01-10T08:00:00Z", Period::Hourly),
        ("2028-01-10T09:00:00Z", Period::Hourly),
    ];
    let (ours, sanoids) = both(&dataset(&daily, &snapshots), "2028-01-10T11:00:00+01:00");
    assert_eq!(ours.remove, BTreeSet::from([1]));
    assert_eq!(sanoids.remove, BTreeSet::from([1, 2]));
}

#[test]
fn one_that_is_exactly_as_old_as_allowed_stays_for_both() {
    let hourly = policy(&[(Period::Hourly, 1)], Schedule::default());
    let snapshots = [
        ("2028-01-10T09:00:00Z", Period::Hourly),
        ("2028-01-10T09:30:00Z", Period::Hourly),
    ];
    let dataset = dataset(&hourly, &snapshots);
    let (ours, sanoids) = both(&dataset, "2028-01-10T11:00:00+01:00");
    assert_eq!(ours, sanoids);
    assert!(ours.remove.is_empty());
    let (ours, sanoids) = both(&dataset, "2028-01-10T11:00:01+01:00");
    assert_eq!(ours, sanoids);
    assert_eq!(ours.remove, BTreeSet::from([0]));
}

#[test]
fn points_from_the_future_count_for_nothing() {
    let hourly = policy(&[(Period::Hourly, 2)], Schedule::default());
    let snapshots = [
        ("2028-01-10T05:00:00Z", Period::Hourly),
        ("2028-01-10T06:00:00Z", Period::Hourly),
        ("2028-01-12T09:00:00Z", Period::Hourly),
    ];
    let (ours, sanoids) = both(&dataset(&hourly, &snapshots), "2028-01-10T11:00:00+01:00");
    // It waits for two days, and removes for the one to come one that is there.
    assert_eq!(
        (sanoids.take, sanoids.remove),
        (takes(&[]), BTreeSet::from([0]))
    );
    assert_eq!(
        (ours.take, ours.remove),
        (takes(&[Period::Hourly]), BTreeSet::new())
    );
}

#[test]
fn the_hour_that_comes_twice_is_snapshotted_twice() {
    let frequently = policy(&[(Period::Frequently, 4)], Schedule::default());
    // 02:45 for the first time; now it is 02:30 for the second time.
    let snapshots = [("2028-10-29T00:45:00Z", Period::Frequently)];
    let (ours, sanoids) = both(
        &dataset(&frequently, &snapshots),
        "2028-10-29T02:30:00+01:00",
    );
    assert_eq!(sanoids.take, takes(&[]));
    assert_eq!(ours.take, takes(&[Period::Frequently]));
}

#[test]
fn an_hour_after_clocks_were_set_back_a_daily_is_not_late() {
    let schedule = Schedule {
        daily: (4, 0),
        ..Schedule::default()
    };
    let daily = policy(&[(Period::Daily, 4)], schedule);
    let snapshots = [("2028-10-28T02:00:00Z", Period::Daily)];
    let (ours, sanoids) = both(&dataset(&daily, &snapshots), "2028-10-29T04:15:00+01:00");
    assert_eq!(sanoids.take, takes(&[]));
    assert_eq!(ours.take, takes(&[Period::Daily]));
}

#[test]
fn on_the_day_that_clocks_are_set_back_an_hourly_comes_once_an_hour() {
    let schedule = Schedule {
        hourly_min: 30,
        ..Schedule::default()
    };
    let hourly = policy(&[(Period::Hourly, 4)], schedule);
    // Of half past nine; now it is a quarter past ten, and sanoid would take one at every call.
    let snapshots = [("2028-10-29T08:30:00Z", Period::Hourly)];
    let (ours, sanoids) = both(&dataset(&hourly, &snapshots), "2028-10-29T10:15:00+01:00");
    assert_eq!(sanoids.take, takes(&[Period::Hourly]));
    assert_eq!(ours.take, takes(&[]));
}

#[test]
fn on_the_day_that_clocks_are_set_forward_a_moment_before_that_is_no_hour_earlier() {
    let schedule = Schedule {
        daily: (1, 0),
        ..Schedule::default()
    };
    let daily = policy(&[(Period::Daily, 4)], schedule);
    // Half past midnight; sanoid takes one o'clock for midnight.
    let snapshots = [("2028-03-25T23:30:00Z", Period::Daily)];
    let (ours, sanoids) = both(&dataset(&daily, &snapshots), "2028-03-26T04:00:00+02:00");
    assert_eq!(sanoids.take, takes(&[]));
    assert_eq!(ours.take, takes(&[Period::Daily]));
}

#[test]
fn a_week_in_which_clocks_are_set_back_brings_one_weekly() {
    let weekly = policy(&[(Period::Weekly, 4)], Schedule::default());
    // Monday, 23:30; now it is Sunday, and clocks were set back.
    let snapshots = [("2028-10-23T21:30:00Z", Period::Weekly)];
    let (ours, sanoids) = both(&dataset(&weekly, &snapshots), "2028-10-29T12:00:00+01:00");
    assert_eq!(sanoids.take, takes(&[Period::Weekly]));
    assert_eq!(ours.take, takes(&[]));
}

#[test]
fn a_year_that_was_missed_is_caught_up_with() {
    let schedule = Schedule {
        yearly: (12, 24, (18, 0)),
        ..Schedule::default()
    };
    let yearly = policy(&[(Period::Yearly, 4)], schedule);
    // The host was down at Christmas of 2027.
    let snapshots = [("2026-12-24T17:00:00Z", Period::Yearly)];
    let (ours, sanoids) = both(&dataset(&yearly, &snapshots), "2028-01-02T12:00:00+01:00");
    assert_eq!(sanoids.take, takes(&[]));
    assert_eq!(ours.take, takes(&[Period::Yearly]));
}

#[test]
fn a_day_that_a_month_does_not_have_ends_sanoid_and_is_its_last_for_us() {
    let schedule = Schedule {
        monthly: (31, (0, 0)),
        ..Schedule::default()
    };
    let monthly = policy(&[(Period::Monthly, 4)], schedule);
    let dataset = dataset(&monthly, &[("2028-03-31T00:00:00Z", Period::Monthly)]);
    let now: Zoned = "2028-04-30T12:00:00+02:00[Europe/Berlin]".parse().unwrap();
    let error = Sanoid::new()
        .ask(std::slice::from_ref(&dataset), &now)
        .unwrap_err();
    assert!(error.contains("Day '31' out of range"), "{error}");
    assert_eq!(ours(&dataset, &now).take, takes(&[Period::Monthly]));
}
