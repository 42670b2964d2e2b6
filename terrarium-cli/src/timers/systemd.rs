//! What is asked of systemd, by systemctl(1).

use std::collections::BTreeMap;
use std::io;
use std::process::Command;

use serde::Serialize;

use super::units::{SERVICE, TIMER};
use crate::exit::{Exit, Failure};

/// What systemd says of the timer and of its last run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    /// Whether it will be started at boot.
    enabled: bool,
    /// Whether it is waiting or running now.
    active: bool,
    /// When it elapsed last, as systemd writes it.
    last: Option<String>,
    /// When it will elapse next, as systemd writes it.
    next: Option<String>,
    /// What became of the last run: `success`, `exit-code`, `timeout`, …, see systemd.exec(5).
    result: String,
    /// The exit code of the last run.
    code: i32,
}

impl Shown {
    /// Whether it runs and the last run ended well.
    pub(super) fn is_well(&self) -> bool {
        self.enabled && self.active && self.result == "success"
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let is = |yes: bool, what: &str| match yes {
            true => what.to_owned(),
            false => format!("not {what}"),
        };
        let run = match &self.last {
            None => "it has not run yet".to_owned(),
            Some(last) if self.result == "success" => format!("last run {last}: done"),
            Some(last) => format!(
                "last run {last}: {} (exit code {}); `journalctl -u {SERVICE}` shows why",
                self.result, self.code
            ),
        };
        let next = match &self.next {
            Some(next) => format!("next run {next}"),
            None => "no next run: `terrariumctl timers install`, as root".to_owned(),
        };
        vec![
            format!(
                "the timer is {} and {}",
                is(self.enabled, "enabled"),
                is(self.active, "active")
            ),
            run,
            next,
        ]
    }

    fn of(timer: &BTreeMap<String, String>, service: &BTreeMap<String, String>) -> Self {
        let time = |key: &str| {
            let time = timer.get(key).map(String::as_str).unwrap_or_default();
            (!time.is_empty() && time != "n/a").then(|| time.to_owned())
        };
        let is = |key: &str, value: &str| timer.get(key).is_some_and(|found| found == value);
        Self {
            enabled: is("UnitFileState", "enabled"),
            active: is("ActiveState", "active"),
            last: time("LastTriggerUSec"),
            next: time("NextElapseUSecRealtime"),
            result: service.get("Result").cloned().unwrap_or_default(),
            code: service
                .get("ExecMainStatus")
                .and_then(|code| code.parse().ok())
                .unwrap_or_default(),
        }
    }
}

/// Has systemd read its units again.
pub(super) fn reload() -> Result<(), Failure> {
    systemctl(&["daemon-reload"]).map(drop)
}

/// Starts a unit, now and at boot.
pub(super) fn enable(unit: &str) -> Result<(), Failure> {
    systemctl(&["enable", "--now", unit]).map(drop)
}

/// Stops a unit, now and for good.
pub(super) fn disable(unit: &str) -> Result<(), Failure> {
    systemctl(&["disable", "--now", unit]).map(drop)
}

/// Asks about the units.
pub(super) fn show() -> Result<Shown, Failure> {
    let properties = |unit: &str, properties: &str| -> Result<BTreeMap<String, String>, Failure> {
        let text = systemctl(&["show", unit, "--property", properties])?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect())
    };
    let timer = properties(
        TIMER,
        "UnitFileState,ActiveState,LastTriggerUSec,NextElapseUSecRealtime",
    )?;
    let service = properties(SERVICE, "Result,ExecMainStatus")?;
    Ok(Shown::of(&timer, &service))
}

/// Whether a unit is active now, or would be started at boot.
pub(super) fn is_in_use(unit: &str) -> bool {
    let says = |question: &str| {
        let asked = Command::new("systemctl")
            .args([question, "--quiet", unit])
            .status();
        asked.is_ok_and(|status| status.success())
    };
    says("is-active") || says("is-enabled")
}

fn systemctl(arguments: &[&str]) -> Result<String, Failure> {
    let asked = Command::new("systemctl").args(arguments).output();
    let line = format!("systemctl {}", arguments.join(" "));
    let output = asked.map_err(|error| {
        let failure = Failure::new(Exit::Unavailable, format!("cannot run `{line}`: {error}"));
        match error.kind() {
            io::ErrorKind::NotFound => failure.with_help(
                "without systemd, have cron call `terrariumctl run` every quarter of an hour",
            ),
            _ => failure,
        }
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    Err(Failure::new(
        Exit::Failed,
        format!("`{line}` failed: {said}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(text: &str) -> BTreeMap<String, String> {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    #[test]
    fn a_timer_that_runs_and_whose_last_run_was_done_is_well() {
        let timer = properties(
            "UnitFileState=enabled\nActiveState=active\nLastTriggerUSec=Mon 2026-11-23 08:30:00 UTC\n\
             NextElapseUSecRealtime=Mon 2026-11-23 08:45:00 UTC",
        );
        let shown = |service: &str| Shown::of(&timer, &properties(service));
        let well = shown("Result=success\nExecMainStatus=0");
        assert!(well.is_well());
        assert_eq!(
            well.lines(),
            [
                "the timer is enabled and active",
                "last run Mon 2026-11-23 08:30:00 UTC: done",
                "next run Mon 2026-11-23 08:45:00 UTC",
            ]
        );
        let failed = shown("Result=exit-code\nExecMainStatus=1");
        assert!(!failed.is_well());
        assert!(failed.lines()[1].contains("exit-code (exit code 1)"));
    }

    #[test]
    fn a_timer_that_is_not_enabled_is_not_well() {
        let timer = properties("UnitFileState=disabled\nActiveState=inactive\nLastTriggerUSec=n/a");
        let shown = Shown::of(&timer, &properties("Result=success"));
        assert!(!shown.is_well());
        assert_eq!(shown.lines()[1], "it has not run yet");
        assert!(shown.lines()[2].starts_with("no next run"));
    }
}
