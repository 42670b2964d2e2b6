//! A year on a host, as snapshots remember it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::super::{Facts, Period, Policy, Schedule, plan_retention};
use super::oracle::Dataset;
use super::point;

/// Steps of 15 minutes, from the first of January on.
pub(super) const STEP: i64 = 15 * 60;
const DAY: i64 = 24 * 60 * 60;

/// Random numbers that are the same in every run (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    fn within(&mut self, least: u8, most: u8) -> u8 {
        least + u8::try_from(self.below(u64::from(most - least) + 1)).unwrap()
    }

    /// A policy of one to six periods, a short one among them, with a schedule that sanoid survives: no day after the 28th.
    pub(super) fn policy(&mut self) -> Policy {
        let mut counts = BTreeMap::new();
        for (period, most) in Period::ALL.into_iter().zip([12, 60, 20, 9, 4, 3]) {
            if self.below(5) < 3 {
                counts.insert(period, 1 + u32::try_from(self.below(most)).unwrap());
            }
        }
        // Of what is taken seldom a sample sees little.
        if !counts.contains_key(&Period::Frequently) {
            counts.insert(Period::Hourly, 1 + u32::try_from(self.below(30)).unwrap());
        }
        let [daily, weekly, monthly, yearly] =
            [(); 4].map(|()| (self.within(0, 23), self.within(0, 59)));
        let schedule = Schedule {
            frequent_period: [5, 10, 15, 20, 30, 45][usize::from(self.within(0, 5))],
            hourly_min: self.within(0, 59),
            daily,
            weekly: (self.within(1, 7), weekly),
            monthly: (self.within(1, 28), monthly),
            yearly: (self.within(1, 12), self.within(1, 28), yearly),
        };
        Policy::new(&counts, None, schedule).unwrap()
    }
}

/// What a host goes through in a leap year, step by step.
pub(super) struct Year {
    zone: TimeZone,
    first: i64,
    /// The local clock at each step, in seconds of a clock that never jumps.
    local: Vec<i64>,
    /// The month at each day of that clock, counted through all years.
    months: Vec<i64>,
    troubles: Vec<Trouble>,
}

impl Year {
    pub(super) const YEAR: i16 = 2028;

    pub(super) fn new(zone: &str) -> Self {
        let zone = TimeZone::get(zone).unwrap();
        // Half a year earlier, so that there is something to remove in January.
        let first = date(Self::YEAR - 1, 7, 1).to_zoned(zone.clone()).unwrap();
        let last = date(Self::YEAR + 1, 1, 1).to_zoned(zone.clone()).unwrap();
        let (first, last) = (first.timestamp().as_second(), last.timestamp().as_second());
        let mut year = Self {
            zone,
            first,
            local: Vec::new(),
            months: Vec::new(),
            troubles: Vec::new(),
        };
        for step in 0..(last - first) / STEP {
            let at = year.zoned(first + step * STEP);
            let offset = i64::from(at.offset().seconds());
            year.local.push(at.timestamp().as_second() + offset);
        }
        let day = |day: i64| date(1970, 1, 1).checked_add(day.days()).unwrap();
        let month = |day: Date| i64::from(day.year()) * 12 + i64::from(day.month()) - 1;
        year.months = (0..24_000).map(|number| month(day(number))).collect();
        let troubles = year.troubles();
        let steps = (0..).take(year.local.len());
        year.troubles = steps
            .map(|step: i64| troubles(first + step * STEP))
            .collect();
        year
    }

    pub(super) fn zoned(&self, seconds: i64) -> Zoned {
        Timestamp::from_second(seconds)
            .unwrap()
            .to_zoned(self.zone.clone())
    }

    /// Which slice of a period a moment lies in. It is told by arithmetic, not as the planners do it; where the clock
    /// is changed it may be off by an hour, as a host's timer may be.
    fn slice(&self, period: Period, schedule: &Schedule, local: i64) -> i64 {
        let time = |(hour, minute): (u8, u8)| i64::from(hour) * 3600 + i64::from(minute) * 60;
        let month = |local: i64| {
            let day = usize::try_from(local.div_euclid(DAY)).unwrap();
            self.months[day]
        };
        match period {
            Period::Frequently => {
                let every = i64::from(schedule.frequent_period) * 60;
                local.div_euclid(3600) * 60 + local.rem_euclid(3600) / every
            }
            Period::Hourly => (local - i64::from(schedule.hourly_min) * 60).div_euclid(3600),
            Period::Daily => (local - time(schedule.daily)).div_euclid(DAY),
            Period::Weekly => {
                let (weekday, at) = schedule.weekly;
                // The first of January 1970 was a Thursday.
                let monday = (local - time(at)).div_euclid(DAY) + 3;
                (monday - i64::from(weekday - 1)).div_euclid(7)
            }
            Period::Monthly => {
                let (day, at) = schedule.monthly;
                month(local - time(at) - i64::from(day - 1) * DAY)
            }
            Period::Yearly => {
                let (number, day, at) = schedule.yearly;
                let local = local - time(at) - i64::from(day - 1) * DAY;
                (month(local) - i64::from(number - 1)).div_euclid(12)
            }
        }
    }

    /// The year of one dataset: what it looks like at each of these moments, before anything is taken or removed then.
    ///
    /// Snapshots are created up to a minute and a half late, or, for every fourth dataset, to the second. The host is
    /// down now and then, its clock is ahead now and then, and what is outdated is removed only every few days.
    pub(super) fn of(&self, policy: &Policy, seed: u64, samples: &[i64]) -> Vec<Dataset> {
        let mut dice = Dice::new(seed);
        let late = if seed.is_multiple_of(4) { 1 } else { 90 };
        let mut last = [i64::MIN; Period::ALL.len()];
        let mut snapshots: Vec<(Timestamp, Period)> = Vec::new();
        let mut there = BTreeSet::new();
        for (period, count) in policy
            .counts()
            .filter(|(period, _)| *period >= Period::Weekly)
        {
            for number in (1..=i64::from(count) + 2).rev() {
                let ago = number * policy.length(period).as_secs();
                snapshots.push((Timestamp::from_second(self.first - ago).unwrap(), period));
            }
        }
        let mut samples = samples.iter().copied().peekable();
        let mut seen = Vec::new();
        let mut next_prune = self.first + DAY;
        for (step, (&local, trouble)) in (0_i64..).zip(self.local.iter().zip(&self.troubles)) {
            let now = self.first + step * STEP;
            while samples.next_if(|sample| *sample <= now).is_some() {
                seen.push(Dataset {
                    policy: policy.clone(),
                    snapshots: snapshots.clone(),
                });
            }
            let &Trouble { is_down, ahead } = trouble;
            if is_down {
                continue;
            }
            let mut taken = now + ahead;
            // Not before the step that it belongs to, and each at a second of its own.
            let lateness = dice.below(late);
            for (period, _) in policy.counts() {
                let slice = self.slice(period, &policy.schedule, local + ahead);
                if last[period as usize] != slice {
                    last[period as usize] = slice;
                    taken += i64::try_from(lateness / 6).unwrap();
                    let created = Timestamp::from_second(taken).unwrap();
                    // Of two of one period and one second sanoid takes either for the newer one.
                    if there.insert((created, period)) {
                        snapshots.push((created, period));
                    }
                }
            }
            if now >= next_prune {
                next_prune = now + i64::try_from(dice.below(2 * 96)).unwrap() * STEP;
                let points: Vec<_> = (1..)
                    .zip(&snapshots)
                    .map(|(number, &(created, period))| point(number, created, period))
                    .collect();
                let verdicts = plan_retention(&points, policy, &Facts::default(), &self.zoned(now));
                let mut kept = verdicts.iter().map(|verdict| verdict.keep);
                // Otherwise no sample would ever see that a yearly is to go.
                let spares_rare = dice.below(40) > 0;
                snapshots.retain(|&(_, period)| {
                    kept.next().unwrap() || spares_rare && period >= Period::Weekly
                });
            }
        }
        seen
    }

    fn troubles(&self) -> impl Fn(i64) -> Trouble + use<> {
        let span = |(month, day, hour), (month_then, day_then, hour_then)| {
            self.at(month, day, hour, 0)..self.at(month_then, day_then, hour_then, 0)
        };
        let down = [
            span((2, 3, 5), (2, 5, 17)),
            span((5, 14, 22), (5, 15, 1)),
            span((7, 10, 9), (7, 24, 9)),
        ];
        let ahead = [
            (span((6, 3, 10), (6, 3, 15)), 5 * 3600),
            (span((9, 5, 0), (9, 6, 12)), 3 * DAY),
        ];
        move |now| Trouble {
            is_down: down.iter().any(|down| down.contains(&now)),
            ahead: ahead
                .iter()
                .find_map(|(span, by)| span.contains(&now).then_some(*by))
                .unwrap_or(0),
        }
    }

    /// A moment of the year by its local clock; the first one of two.
    pub(super) fn at(&self, month: i8, day: i8, hour: i8, minute: i8) -> i64 {
        let local = date(Self::YEAR, month, day).at(hour, minute, 0, 0);
        local
            .to_zoned(self.zone.clone())
            .unwrap()
            .timestamp()
            .as_second()
    }
}

/// What is wrong with the host at a moment.
struct Trouble {
    is_down: bool,
    /// How far its clock is ahead, in seconds.
    ahead: i64,
}
