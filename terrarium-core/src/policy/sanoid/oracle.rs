//! Debian's sanoid, asked what it would do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{Timestamp, Zoned};
use tempfile::TempDir;

use super::super::{Period, Policy};

/// What a planner wants to be done with a dataset: periods to take, and numbers of the snapshots to remove.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Decision {
    pub(super) take: BTreeSet<Period>,
    pub(super) remove: BTreeSet<usize>,
}

/// A dataset with snapshots, and what is to hold for it.
#[derive(Clone, Debug)]
pub(super) struct Dataset {
    pub(super) policy: Policy,
    pub(super) snapshots: Vec<(Timestamp, Period)>,
}

/// sanoid, with a clock that stands, and with a `zfs` that answers from a file and a `ps` that sees only sanoid.
pub(super) struct Sanoid {
    folder: TempDir,
}

impl Sanoid {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let found = unpacked();
        let script = fs::read_to_string(found.join("usr/sbin/sanoid")).unwrap_or_else(|error| {
            let found = found.display();
            panic!("sanoid is not in {found}: {error}; `scripts/setup test` puts it there")
        });
        let defaults = "usr/share/sanoid/sanoid.defaults.conf";
        // It is not installed, so that it has to be told where the rest of it is.
        assert_eq!(script.matches(&format!("\"/{defaults}\"")).count(), 1);
        let script = script.replace(
            &format!("/{defaults}"),
            found.join(defaults).to_str().unwrap(),
        );
        fs::write(path.join("sanoid"), script).unwrap();
        let clock = "package FixedClock;\n\
                     BEGIN { *CORE::GLOBAL::time = sub () { $ENV{FIXED_CLOCK} } }\n1;\n";
        fs::write(path.join("FixedClock.pm"), clock).unwrap();
        fs::create_dir(path.join("bin")).unwrap();
        let programs = [("zfs", "exec cat \"$SNAPSHOTS\""), ("ps", "echo sanoid")];
        for (name, command) in programs {
            let program = path.join("bin").join(name);
            fs::write(&program, format!("#!/bin/sh\n{command}\n")).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    /// What it would do with each dataset, or what it says if it ends with an error.
    pub(super) fn ask(&self, datasets: &[Dataset], now: &Zoned) -> Result<Vec<Decision>, String> {
        let path = self.folder.path();
        let (mut conf, mut listed) = (String::new(), String::new());
        for (number, dataset) in datasets.iter().enumerate() {
            write!(conf, "[pool/{number}]\n{}", conf_of(&dataset.policy)).unwrap();
            for (index, (created, period)) in dataset.snapshots.iter().enumerate() {
                let created = created.as_second();
                let name = format!("pool/{number}@autosnap_{index}_{period}");
                writeln!(listed, "{name}\tcreation\t{created}\t-").unwrap();
            }
        }
        fs::write(path.join("sanoid.conf"), conf).unwrap();
        fs::write(path.join("snapshots"), listed).unwrap();
        // What it remembers from the last call.
        let _ = fs::remove_dir_all(path.join("cache"));
        let flag = |name: &str, value: PathBuf| format!("--{name}={}", value.display());
        let zone = now.time_zone().iana_name().unwrap();
        let answer = Command::new("perl")
            .arg(format!("-I{}", path.display()))
            .arg("-MFixedClock")
            .arg(path.join("sanoid"))
            .args([
                "--readonly",
                "--verbose",
                "--take-snapshots",
                "--prune-snapshots",
            ])
            // Nobody sends anything here: it need not look at every snapshot again.
            .arg("--force-prune")
            .arg(flag("configdir", path.to_owned()))
            .arg(flag("cache-dir", path.join("cache")))
            .arg(flag("run-dir", path.join("run")))
            .env("PATH", in_front(&path.join("bin")))
            .env("SNAPSHOTS", path.join("snapshots"))
            .env("FIXED_CLOCK", now.timestamp().as_second().to_string())
            .env("TZ", zone)
            .output()
            .unwrap_or_else(|error| panic!("perl: {error}"));
        let errors = String::from_utf8_lossy(&answer.stderr);
        if !answer.status.success() {
            return Err(errors.into_owned());
        }
        assert_eq!(errors, "");
        let said = String::from_utf8(answer.stdout).unwrap();
        let mut decisions = vec![Decision::default(); datasets.len()];
        for line in said.lines() {
            let (removes, what) = if let Some(what) = line.strip_prefix("taking snapshot ") {
                (false, what)
            } else if let Some(what) = line.strip_prefix("INFO: pruning pool/") {
                (true, what)
            } else {
                let known = ["INFO: cache expired", "INFO: taking", "INFO: pruning snap"];
                assert!(known.iter().any(|known| line.starts_with(known)), "{line}");
                continue;
            };
            let what = what.strip_prefix("pool/").unwrap_or(what);
            let (dataset, snapshot) = what.split_once('@').unwrap();
            let decision = &mut decisions[dataset.parse::<usize>().unwrap()];
            let parts: Vec<_> = snapshot
                .split_whitespace()
                .next()
                .unwrap()
                .split('_')
                .collect();
            if removes {
                assert!(decision.remove.insert(parts[1].parse().unwrap()), "{line}");
            } else {
                assert!(
                    decision.take.insert(parts.last().unwrap().parse().unwrap()),
                    "{line}"
                );
            }
        }
        Ok(decisions)
    }
}

/// Where `scripts/setup` puts it.
fn unpacked() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty());
    cache
        .map_or_else(home, PathBuf::from)
        .join("terrarium-sanoid")
}

fn in_front(folder: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path);
    std::env::join_paths([folder.to_owned()].into_iter().chain(folders)).unwrap()
}

/// A policy in sanoid's words.
pub(super) fn conf_of(policy: &Policy) -> String {
    let schedule = &policy.schedule;
    let (weekday, weekly) = schedule.weekly;
    let (day, monthly) = schedule.monthly;
    let (month, day_of_year, yearly) = schedule.yearly;
    // Sunday is 0 there.
    let mut settings: BTreeMap<String, u32> = [
        ("frequent_period", schedule.frequent_period),
        ("hourly_min", schedule.hourly_min),
        ("daily_hour", schedule.daily.0),
        ("daily_min", schedule.daily.1),
        ("weekly_wday", weekday % 7),
        ("weekly_hour", weekly.0),
        ("weekly_min", weekly.1),
        ("monthly_mday", day),
        ("monthly_hour", monthly.0),
        ("monthly_min", monthly.1),
        ("yearly_mon", month),
        ("yearly_mday", day_of_year),
        ("yearly_hour", yearly.0),
        ("yearly_min", yearly.1),
    ]
    .map(|(key, value)| (key.to_owned(), value.into()))
    .into();
    for period in Period::ALL {
        settings.insert(period.to_string(), policy.count(period));
    }
    let lines = settings
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"));
    lines.collect()
}
