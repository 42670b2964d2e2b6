//! Policies: how often snapshots are taken, and how long they are kept.
//!
//! ```text
//! label, sanoid_conf   what people have written → Policy
//! hooks                what people have written → commands around a snapshot
//! resolve              the default, a project's and an instance's labels → the policy of one instance
//! due                  points, policy, now → which snapshots are to be taken
//! retention            points, policy, now → which are kept and which are not, each with all its reasons
//! simulate             policy, a start → what there is to go back to after so many days
//! ```
//! All of it is pure: no I/O, no clock. The words and the rule of retention are sanoid's.

mod due;
mod hooks;
mod label;
mod resolve;
mod retention;
#[cfg(test)]
mod sanoid;
mod sanoid_conf;
mod simulate;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

pub use due::{Due, autosnap_name, due, last_preferred, next_preferred, parse_autosnap};
pub use hooks::{HOOK_TIMEOUT, Hooks, POST, PRE, PRE_FAILURE, PreFailure};
pub use label::{
    BACKUP, GROUP, LabelError, RETENTION, TEMPLATE_PREFIX, backup_label, retention_label,
};
pub use resolve::{Layers, Origin, Problem, Resolved, resolve};
pub use retention::{Facts, Reason, Verdict, plan_retention};
pub use sanoid_conf::{Notice, NoticeKind, SanoidConf, SanoidConfError};
pub use simulate::{Day, History, simulate};

/// What a scheduled snapshot is taken for, in sanoid's words.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// Several times an hour.
    Frequently,
    /// Every hour.
    Hourly,
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
    /// Every month.
    Monthly,
    /// Every year.
    Yearly,
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Period; 6] = [
        Period::Frequently,
        Period::Hourly,
        Period::Daily,
        Period::Weekly,
        Period::Monthly,
        Period::Yearly,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Period::Frequently => "frequently",
            Period::Hourly => "hourly",
            Period::Daily => "daily",
            Period::Weekly => "weekly",
            Period::Monthly => "monthly",
            Period::Yearly => "yearly",
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Period {
    type Err = UnknownPeriod;

    fn from_str(text: &str) -> Result<Self, UnknownPeriod> {
        let period = Period::ALL.into_iter().find(|period| period.name() == text);
        period.ok_or_else(|| UnknownPeriod(text.to_owned()))
    }
}

/// No period has this name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no period: frequently, hourly, daily, weekly, monthly or yearly")]
pub struct UnknownPeriod(pub String);

/// The moments that snapshots are preferred at, in the time zone of whoever asks. The defaults are sanoid's.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Schedule {
    /// Minutes from one frequent snapshot to the next: 1 to 60.
    pub frequent_period: u8,
    /// The minute of the hour.
    pub hourly_min: u8,
    /// The time of the day: hour and minute.
    pub daily: (u8, u8),
    /// The day of the week, 1 is Monday and 7 Sunday, and the time of that day.
    pub weekly: (u8, (u8, u8)),
    /// The day of the month, the last one where there is none of that number, and the time of that day.
    pub monthly: (u8, (u8, u8)),
    /// The month, the day of it, and the time of that day.
    pub yearly: (u8, u8, (u8, u8)),
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            frequent_period: 15,
            hourly_min: 0,
            daily: (23, 59),
            weekly: (1, (23, 30)),
            monthly: (1, (0, 0)),
            yearly: (1, 1, (0, 0)),
        }
    }
}

/// How often snapshots of an instance are taken, and how long they are kept.
///
/// Of each period with a count above 0 snapshots are taken. One is kept as long as it is younger than count times the
/// period, or among the newest count of its period; see [`plan_retention`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Policy {
    counts: BTreeMap<Period, u32>,
    keep: Option<u32>,
    /// When snapshots are taken.
    pub schedule: Schedule,
    /// Whether snapshots are taken at all.
    pub take: bool,
    /// Whether scheduled snapshots are removed at all.
    pub prune: bool,
}

impl Default for Policy {
    /// 4 frequently (every 15 minutes), 24 hourly, 14 daily, 3 monthly.
    fn default() -> Self {
        let counts = [
            (Period::Frequently, 4),
            (Period::Hourly, 24),
            (Period::Daily, 14),
            (Period::Monthly, 3),
        ];
        Self {
            counts: counts.into(),
            keep: None,
            schedule: Schedule::default(),
            take: true,
            prune: true,
        }
    }
}

/// Why there is no such policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Every count is 0, or the newest 0 are kept.
    #[error("it would keep nothing")]
    KeepsNothing,
    /// A setting of the schedule is out of range.
    #[error("{setting} is {value}, and must be {allowed}")]
    OutOfRange {
        /// Its name, as in sanoid.conf.
        setting: &'static str,
        /// What it is.
        value: u8,
        /// What it may be.
        allowed: &'static str,
    },
}

impl Policy {
    /// A policy of these counts; periods that are not named have none. With `keep` the newest so many scheduled
    /// snapshots are kept, whatever their period and age, and the counts only say what is taken.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn new(
        counts: &BTreeMap<Period, u32>,
        keep: Option<u32>,
        schedule: Schedule,
    ) -> Result<Self, PolicyError> {
        let counts: BTreeMap<_, _> = counts
            .iter()
            .filter(|&(_, &count)| count > 0)
            .map(|(&period, &count)| (period, count))
            .collect();
        if counts.is_empty() || keep == Some(0) {
            return Err(PolicyError::KeepsNothing);
        }
        schedule.check()?;
        Ok(Self {
            counts,
            keep,
            schedule,
            take: true,
            prune: true,
        })
    }

    /// How many of a period are kept; 0 if none are taken.
    pub fn count(&self, period: Period) -> u32 {
        self.counts.get(&period).copied().unwrap_or(0)
    }

    /// The periods that snapshots are taken for, the shortest first, and how many of each are kept.
    pub fn counts(&self) -> impl Iterator<Item = (Period, u32)> {
        self.counts.iter().map(|(&period, &count)| (period, count))
    }

    /// If only the newest so many scheduled snapshots are kept, whatever their period: how many.
    pub fn keep(&self) -> Option<u32> {
        self.keep
    }

    /// How long a period is: a month has 31 days here, a year 365 and a quarter, as sanoid counts them.
    pub fn length(&self, period: Period) -> SignedDuration {
        const HOUR: i64 = 60 * 60;
        SignedDuration::from_secs(match period {
            Period::Frequently => 60 * i64::from(self.schedule.frequent_period),
            Period::Hourly => HOUR,
            Period::Daily => 24 * HOUR,
            Period::Weekly => 7 * 24 * HOUR,
            Period::Monthly => 31 * 24 * HOUR,
            Period::Yearly => (365 * 24 + 6) * HOUR,
        })
    }
}

impl fmt::Display for Policy {
    /// As a label would say it. A label changes the default, so what that keeps is named even if nothing of it is kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Policy::default();
        let mut separator = "";
        for period in Period::ALL {
            let count = self.count(period);
            if count == 0 && default.count(period) == 0 {
                continue;
            }
            write!(f, "{separator}{period}={count}")?;
            separator = ",";
        }
        match self.keep {
            Some(keep) => write!(f, "{separator}keep={keep}"),
            None => Ok(()),
        }
    }
}

impl Schedule {
    fn check(&self) -> Result<(), PolicyError> {
        let within = |setting, value, least, most, allowed| {
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err(PolicyError::OutOfRange {
                    setting,
                    value,
                    allowed,
                })
            }
        };
        let time = |hours, minutes, (hour, minute)| {
            within(hours, hour, 0, 23, "0 to 23")?;
            within(minutes, minute, 0, 59, "0 to 59")
        };
        within("frequent_period", self.frequent_period, 1, 60, "1 to 60")?;
        within("hourly_min", self.hourly_min, 0, 59, "0 to 59")?;
        time("daily_hour", "daily_min", self.daily)?;
        let (day, at) = self.weekly;
        within("weekly_wday", day, 1, 7, "1 to 7")?;
        time("weekly_hour", "weekly_min", at)?;
        let (day, at) = self.monthly;
        within("monthly_mday", day, 1, 31, "1 to 31")?;
        time("monthly_hour", "monthly_min", at)?;
        let (month, day, at) = self.yearly;
        within("yearly_mon", month, 1, 12, "1 to 12")?;
        within("yearly_mday", day, 1, 31, "1 to 31")?;
        time("yearly_hour", "yearly_min", at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_would_keep_nothing_is_none() {
        let none = BTreeMap::from([(Period::Daily, 0)]);
        let policy = |counts, keep| Policy::new(counts, keep, Schedule::default());
        assert_eq!(policy(&none, None), Err(PolicyError::KeepsNothing));
        assert_eq!(policy(&none, Some(5)), Err(PolicyError::KeepsNothing));
        let daily = BTreeMap::from([(Period::Daily, 1), (Period::Hourly, 0)]);
        assert_eq!(policy(&daily, Some(0)), Err(PolicyError::KeepsNothing));
        let rolling = policy(&daily, Some(5)).unwrap();
        assert_eq!(
            rolling.to_string(),
            "frequently=0,hourly=0,daily=1,monthly=0,keep=5"
        );
        assert_eq!(rolling.count(Period::Hourly), 0);
    }

    #[test]
    fn a_schedule_outside_of_the_clock_or_the_calendar_is_named() {
        let schedule = Schedule {
            daily: (24, 0),
            ..Schedule::default()
        };
        let counts = BTreeMap::from([(Period::Daily, 1)]);
        let error = Policy::new(&counts, None, schedule).unwrap_err();
        assert_eq!(error.to_string(), "daily_hour is 24, and must be 0 to 23");
        let schedule = Schedule {
            frequent_period: 0,
            ..Schedule::default()
        };
        assert!(Policy::new(&counts, None, schedule).is_err());
    }

    #[test]
    fn the_default_is_what_was_asked_for() {
        assert_eq!(
            Policy::default().to_string(),
            "frequently=4,hourly=24,daily=14,monthly=3"
        );
    }
}
