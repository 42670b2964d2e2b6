//! Which snapshots are to be taken now.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan, Zoned};
use serde::Serialize;

use super::{Period, Policy, Schedule};
use crate::point::RestorePoint;

/// A snapshot that is to be taken.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Due {
    /// What for.
    pub period: Period,
    /// The moment at which it was to be taken.
    pub preferred: Timestamp,
    /// The newest one of that period, if there is any.
    pub newest: Option<Timestamp>,
}

impl std::fmt::Display for Due {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.newest {
            None => write!(f, "there is no {} snapshot yet", self.period),
            Some(newest) => write!(
                f,
                "the newest {} snapshot, of {newest}, is from before {}",
                self.period, self.preferred
            ),
        }
    }
}

/// Which snapshots of an instance are due, the shortest period first: those of which the newest is older than the last
/// moment at which one was preferred. After a downtime that is one of each period, not one for each moment missed.
///
/// A point in the future says that the clock was wrong; it does not make a snapshot be left out.
pub fn due<'a>(
    points: impl IntoIterator<Item = &'a RestorePoint>,
    policy: &Policy,
    adopted: bool,
    now: &Zoned,
) -> Vec<Due> {
    if !policy.take {
        return Vec::new();
    }
    let at = now.timestamp();
    let mut newest = [None::<Timestamp>; Period::ALL.len()];
    for point in points {
        if point.is_live()
            && point.created <= at
            && let Some(period) = point.scheduled_for(adopted)
            && let Some(slot) = newest.get_mut(period as usize)
        {
            *slot = (*slot).max(Some(point.created));
        }
    }
    let is_due = |(period, _)| {
        let preferred = last_preferred(period, &policy.schedule, now);
        let newest = newest.get(period as usize).copied().flatten();
        newest
            .is_none_or(|newest| newest < preferred)
            .then_some(Due {
                period,
                preferred,
                newest,
            })
    };
    policy.counts().filter_map(is_due).collect()
}

/// The name of a scheduled snapshot, as sanoid would name it in UTC.
pub fn autosnap_name(period: Period, now: Timestamp) -> String {
    let utc = now.to_zoned(TimeZone::UTC);
    format!("autosnap_{}_{period}", utc.strftime("%Y-%m-%d_%H:%M:%S"))
}

/// The period in the name of a snapshot of sanoid's. In the hour that comes twice when daylight saving ends, sanoid
/// writes `dst` behind the time.
pub fn parse_autosnap(name: &str) -> Option<Period> {
    let (time, period) = name.strip_prefix("autosnap_")?.rsplit_once('_')?;
    let (date, clock) = time.split_once('_')?;
    date.parse::<Date>().ok()?;
    let clock = clock.strip_suffix("dst").unwrap_or(clock);
    clock.parse::<Time>().ok()?;
    period.parse().ok()
}

/// The last moment, now included, at which a snapshot of a period was preferred, in the time zone of `now`.
pub fn last_preferred(period: Period, schedule: &Schedule, now: &Zoned) -> Timestamp {
    moments(period, schedule, now)
        .into_iter()
        .rfind(|moment| *moment <= now.timestamp())
        .unwrap_or(Timestamp::MIN)
}

/// The first moment after now at which a snapshot of a period is preferred, in the time zone of `now`.
pub fn next_preferred(period: Period, schedule: &Schedule, now: &Zoned) -> Timestamp {
    moments(period, schedule, now)
        .into_iter()
        .find(|moment| *moment > now.timestamp())
        .unwrap_or(Timestamp::MAX)
}

/// The preferred moments around now, in their order: some that are past, and some to come.
fn moments(period: Period, schedule: &Schedule, now: &Zoned) -> Vec<Timestamp> {
    let today = now.date();
    match period {
        Period::Frequently => {
            let every = i64::from(schedule.frequent_period.max(1));
            // From the full hour on: what is left of the hour after its last whole slice is a shorter one.
            let of = |hour: &Timestamp| {
                let hour = *hour;
                let slices = (0..60).step_by(usize::try_from(every).unwrap_or(60));
                slices.filter_map(move |minute| {
                    hour.checked_add(SignedDuration::from_mins(minute)).ok()
                })
            };
            hours(now).iter().flat_map(of).collect()
        }
        Period::Hourly => {
            let minute = SignedDuration::from_mins(schedule.hourly_min.into());
            let at = |hour: &Timestamp| hour.checked_add(minute).ok();
            hours(now).iter().filter_map(at).collect()
        }
        Period::Daily => around(|n| n.days(), today, |day| at(day, schedule.daily), now),
        Period::Weekly => {
            let (weekday, time) = schedule.weekly;
            let since = today.weekday().to_monday_one_offset() - i8::try_from(weekday).unwrap_or(1);
            let first = today.checked_sub(since.days()).unwrap_or(today);
            around(|n| n.weeks(), first, |day| at(day, time), now)
        }
        Period::Monthly => {
            let (day, time) = schedule.monthly;
            let first = today.first_of_month();
            around(
                |n| n.months(),
                first,
                |first| at(day_of(first, day), time),
                now,
            )
        }
        Period::Yearly => {
            let (month, day, time) = schedule.yearly;
            let month = i8::try_from(month).unwrap_or(1);
            let first = Date::new(today.year(), month, 1).unwrap_or(today);
            around(
                |n| n.years(),
                first,
                |first| at(day_of(first, day), time),
                now,
            )
        }
    }
}

/// The full hours around now. They go by the clock on the wall, as zones may be off by less than an hour.
fn hours(now: &Zoned) -> Vec<Timestamp> {
    let past = SignedDuration::from_mins(now.minute().into())
        + SignedDuration::from_secs(now.second().into())
        + SignedDuration::from_nanos(now.subsec_nanosecond().into());
    let begun = now.timestamp().checked_sub(past);
    let hour = |n: i64| {
        begun
            .clone()
            .ok()?
            .checked_add(SignedDuration::from_hours(n))
            .ok()
    };
    (-2..=2).filter_map(hour).collect()
}

/// The day before, the day itself and the next ones, or weeks, months and years, each at its time.
fn around(
    span: impl Fn(i64) -> Span,
    first: Date,
    moment: impl Fn(Date) -> DateTime,
    now: &Zoned,
) -> Vec<Timestamp> {
    let zone = now.time_zone();
    let on = |n| {
        let day = first.checked_add(span(n)).ok()?;
        // A time that the clock skips is taken as much later as it skips, one that it repeats is the first of the two.
        let moment = moment(day).to_zoned(zone.clone()).ok()?;
        Some(moment.timestamp())
    };
    (-2..=2).filter_map(on).collect()
}

fn at(day: Date, (hour, minute): (u8, u8)) -> DateTime {
    let small = |number: u8| i8::try_from(number).unwrap_or_default();
    let time = Time::new(small(hour), small(minute), 0, 0).unwrap_or(Time::midnight());
    day.to_datetime(time)
}

/// A day of the month that begins at `first`; its last one, if it has none of that number.
fn day_of(first: Date, day: u8) -> Date {
    let day = i8::try_from(day)
        .unwrap_or(1)
        .min(first.days_in_month())
        .max(1);
    Date::new(first.year(), first.month(), day).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(period: Period, now: &str) -> String {
        let now: Zoned = now.parse().unwrap();
        let last = last_preferred(period, &Schedule::default(), &now);
        last.to_zoned(now.time_zone().clone())
            .datetime()
            .to_string()
    }

    fn next(period: Period, now: &str) -> String {
        let now: Zoned = now.parse().unwrap();
        let next = next_preferred(period, &Schedule::default(), &now);
        next.to_zoned(now.time_zone().clone())
            .datetime()
            .to_string()
    }

    #[test]
    fn each_period_has_its_moments() {
        let now = "2026-04-19T10:07:31+02:00[Europe/Berlin]";
        for (period, before, after) in [
            (
                Period::Frequently,
                "2026-04-19T10:00:00",
                "2026-04-19T10:15:00",
            ),
            (Period::Hourly, "2026-04-19T10:00:00", "2026-04-19T11:00:00"),
            (Period::Daily, "2026-04-18T23:59:00", "2026-04-19T23:59:00"),
            // A Sunday.
            (Period::Weekly, "2026-04-13T23:30:00", "2026-04-20T23:30:00"),
            (
                Period::Monthly,
                "2026-04-01T00:00:00",
                "2026-05-01T00:00:00",
            ),
            (Period::Yearly, "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ] {
            assert_eq!(last(period, now), before, "{period}");
            assert_eq!(next(period, now), after, "{period}");
        }
    }

    #[test]
    fn a_moment_itself_counts_as_reached() {
        let now = "2026-05-01T00:00:00Z[UTC]";
        assert_eq!(last(Period::Monthly, now), "2026-05-01T00:00:00");
        assert_eq!(last(Period::Frequently, now), "2026-05-01T00:00:00");
        assert_eq!(next(Period::Frequently, now), "2026-05-01T00:15:00");
    }

    #[test]
    fn a_day_that_a_month_does_not_have_is_its_last() {
        let schedule = Schedule {
            monthly: (31, (4, 0)),
            yearly: (2, 29, (4, 0)),
            ..Schedule::default()
        };
        let last = |period, now: &str| {
            let now: Zoned = now.parse().unwrap();
            last_preferred(period, &schedule, &now).to_string()
        };
        assert_eq!(
            last(Period::Monthly, "2026-03-10T00:00:00Z[UTC]"),
            "2026-02-28T04:00:00Z"
        );
        assert_eq!(
            last(Period::Monthly, "2028-03-10T00:00:00Z[UTC]"),
            "2028-02-29T04:00:00Z"
        );
        assert_eq!(
            last(Period::Yearly, "2028-03-10T00:00:00Z[UTC]"),
            "2028-02-29T04:00:00Z"
        );
        assert_eq!(
            last(Period::Yearly, "2027-03-10T00:00:00Z[UTC]"),
            "2027-02-28T04:00:00Z"
        );
    }

    #[test]
    fn an_hour_that_comes_twice_is_two_hours() {
        // Clocks go back from 03:00 to 02:00.
        assert_eq!(
            last(Period::Hourly, "2026-10-25T02:30:00+02:00[Europe/Berlin]"),
            "2026-10-25T02:00:00"
        );
        let second: Zoned = "2026-10-25T02:30:00+01:00[Europe/Berlin]".parse().unwrap();
        let last = last_preferred(Period::Hourly, &Schedule::default(), &second);
        assert_eq!(last.to_string(), "2026-10-25T01:00:00Z");
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let at: Timestamp = "2026-04-19T10:00:07.5Z".parse().unwrap();
        let name = autosnap_name(Period::Hourly, at);
        assert_eq!(name, "autosnap_2026-04-19_10:00:07_hourly");
        assert_eq!(parse_autosnap(&name), Some(Period::Hourly));
        assert_eq!(
            parse_autosnap("autosnap_2026-10-25_02:00:01dst_hourly"),
            Some(Period::Hourly)
        );
        for other in [
            "autosnap_2026-04-19_10:00:07_often",
            "autosnap_2026-04-19_hourly",
            "autosnap_yesterday_10:00:00_hourly",
            "snap-20260419-100007",
        ] {
            assert_eq!(parse_autosnap(other), None);
        }
    }
}
