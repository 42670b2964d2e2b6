//! The settings of a `sanoid.conf`, by their names.

use std::collections::BTreeMap;

use super::{Period, Schedule};

/// What sanoid knows and Terrarium has no use for; besides `hourly_warn` and its like.
const NOT_USED: [&str; 12] = [
    "pre_snapshot_script",
    "post_snapshot_script",
    "pruning_script",
    "script_timeout",
    "no_inconsistent_snapshot",
    "force_post_snapshot_script",
    "prune_defer",
    "monitor",
    "monitor_dont_warn",
    "monitor_dont_crit",
    "capacity_warn",
    "capacity_crit",
];

/// Whether sanoid knows a key that has no effect here.
pub(super) fn is_not_used(key: &str) -> bool {
    let period = key
        .strip_suffix("_warn")
        .or_else(|| key.strip_suffix("_crit"));
    NOT_USED.contains(&key) || period.is_some_and(|period| period.parse::<Period>().is_ok())
}

/// One setting, whose value is what it may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Setting {
    Count(Period, u32),
    Time(Field, u8),
    Take(bool),
    Prune(bool),
}

/// The settings of the schedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field {
    FrequentPeriod,
    HourlyMin,
    DailyHour,
    DailyMin,
    WeeklyDay,
    WeeklyHour,
    WeeklyMin,
    MonthlyDay,
    MonthlyHour,
    MonthlyMin,
    YearlyMonth,
    YearlyDay,
    YearlyHour,
    YearlyMin,
}

/// Their names, their least and greatest values, and how an error says that.
const FIELDS: [(&str, Field, u8, u8, &str); 14] = {
    const HOUR: &str = "0 to 23";
    const MINUTE: &str = "0 to 59";
    const DAY: &str = "1 to 31";
    [
        ("frequent_period", Field::FrequentPeriod, 1, 60, "1 to 60"),
        ("hourly_min", Field::HourlyMin, 0, 59, MINUTE),
        ("daily_hour", Field::DailyHour, 0, 23, HOUR),
        ("daily_min", Field::DailyMin, 0, 59, MINUTE),
        ("weekly_wday", Field::WeeklyDay, 0, 7, "0 to 7"),
        ("weekly_hour", Field::WeeklyHour, 0, 23, HOUR),
        ("weekly_min", Field::WeeklyMin, 0, 59, MINUTE),
        ("monthly_mday", Field::MonthlyDay, 1, 31, DAY),
        ("monthly_hour", Field::MonthlyHour, 0, 23, HOUR),
        ("monthly_min", Field::MonthlyMin, 0, 59, MINUTE),
        ("yearly_mon", Field::YearlyMonth, 1, 12, "1 to 12"),
        ("yearly_mday", Field::YearlyDay, 1, 31, DAY),
        ("yearly_hour", Field::YearlyHour, 0, 23, HOUR),
        ("yearly_min", Field::YearlyMin, 0, 59, MINUTE),
    ]
};

impl Setting {
    /// Reads a setting, if the key is one of those that say what is taken and kept. The error says what would do.
    pub(super) fn read(key: &str, value: &str) -> Result<Option<Self>, &'static str> {
        let switch = || switch(value).ok_or("yes or no");
        if let Ok(period) = key.parse::<Period>() {
            let count = number(value).ok_or("a number from 0 to 4294967295")?;
            return Ok(Some(Setting::Count(period, count)));
        }
        let field = FIELDS.into_iter().find(|(name, ..)| *name == key);
        if let Some((_, field, least, most, allowed)) = field {
            let value = number(value).and_then(|number| u8::try_from(number).ok());
            let value = value.filter(|value| (least..=most).contains(value));
            return Ok(Some(Setting::Time(field, value.ok_or(allowed)?)));
        }
        Ok(match key {
            "autosnap" => Some(Setting::Take(switch()?)),
            "autoprune" => Some(Setting::Prune(switch()?)),
            _ => None,
        })
    }
}

/// A number of digits alone: `parse` would take a sign.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// What sanoid takes for true and for false.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "0" | "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// What holds for a dataset, as far as it has been put together.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) counts: BTreeMap<Period, u32>,
    pub(super) schedule: Schedule,
    pub(super) take: bool,
    pub(super) prune: bool,
}

impl Default for Settings {
    /// What sanoid's own defaults say, which are not Terrarium's.
    fn default() -> Self {
        let counts = [
            (Period::Hourly, 48),
            (Period::Daily, 90),
            (Period::Monthly, 6),
        ];
        Self {
            counts: counts.into(),
            schedule: Schedule::default(),
            take: true,
            prune: true,
        }
    }
}

impl Settings {
    pub(super) fn change(&mut self, settings: &[Setting]) {
        for setting in settings {
            match *setting {
                Setting::Count(period, count) => {
                    self.counts.insert(period, count);
                }
                Setting::Time(field, value) => self.set_time(field, value),
                Setting::Take(take) => self.take = take,
                Setting::Prune(prune) => self.prune = prune,
            }
        }
    }

    fn set_time(&mut self, field: Field, value: u8) {
        let schedule = &mut self.schedule;
        let slot = match field {
            Field::FrequentPeriod => &mut schedule.frequent_period,
            Field::HourlyMin => &mut schedule.hourly_min,
            Field::DailyHour => &mut schedule.daily.0,
            Field::DailyMin => &mut schedule.daily.1,
            Field::WeeklyDay => &mut schedule.weekly.0,
            Field::WeeklyHour => &mut schedule.weekly.1.0,
            Field::WeeklyMin => &mut schedule.weekly.1.1,
            Field::MonthlyDay => &mut schedule.monthly.0,
            Field::MonthlyHour => &mut schedule.monthly.1.0,
            Field::MonthlyMin => &mut schedule.monthly.1.1,
            Field::YearlyMonth => &mut schedule.yearly.0,
            Field::YearlyDay => &mut schedule.yearly.1,
            Field::YearlyHour => &mut schedule.yearly.2.0,
            Field::YearlyMin => &mut schedule.yearly.2.1,
        };
        // The days of the week are those of localtime(3), where Sunday is 0.
        let is_sunday = field == Field::WeeklyDay && value == 0;
        *slot = if is_sunday { 7 } else { value };
    }
}
