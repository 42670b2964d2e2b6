//! What was destroyed or moved aside, and what became of it.

use std::fmt::Write;

use jiff::Zoned;
use serde::Serialize;
use terrarium_core::plan::Action;
use terrarium_core::plan::Reaping;
use terrarium_core::plan::reap::{Entry, What};
use terrarium_core::{Outcome, Report};

use super::table::{Align, Table};
use super::{JSON_VERSION, one_line, units};
use crate::exit::{Exit, Failure};
use crate::site::Site;

/// What `graveyard list --json` answers.
#[derive(Serialize)]
pub(crate) struct Listed<'a> {
    version: u32,
    exit_code: u8,
    entries: &'a [Entry],
}

impl<'a> Listed<'a> {
    pub(crate) fn new(found: &'a Reaping, exit: Exit) -> Self {
        Self {
            version: JSON_VERSION,
            exit_code: exit.code(),
            entries: &found.entries,
        }
    }
}

/// What `graveyard purge --json` answers.
#[derive(Serialize)]
pub(crate) struct Purge<'a> {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    purged: Vec<&'a Entry>,
    kept: Vec<&'a Entry>,
    reports: &'a [Report],
    failures: Vec<&'a str>,
}

impl<'a> Purge<'a> {
    pub(crate) fn planned(found: &'a Reaping) -> Self {
        Self {
            version: JSON_VERSION,
            exit_code: Exit::Done.code(),
            dry_run: true,
            purged: found.doomed().collect(),
            kept: found.kept().collect(),
            reports: &[],
            failures: Vec::new(),
        }
    }

    pub(crate) fn done(
        found: &'a Reaping,
        reports: &'a [Report],
        failures: &'a [Failure],
        exit: Exit,
    ) -> Self {
        Self {
            exit_code: exit.code(),
            dry_run: false,
            purged: purged(found, reports).collect(),
            reports,
            failures: failures
                .iter()
                .map(|failure| failure.message.as_str())
                .collect(),
            ..Self::planned(found)
        }
    }
}

fn purged<'a>(found: &'a Reaping, reports: &'a [Report]) -> impl Iterator<Item = &'a Entry> {
    found.doomed().filter(|entry| {
        let mut steps = reports.iter().flat_map(|report| &report.steps);
        steps.any(|step| {
            matches!(&step.step.action, Action::PurgeDataset { dataset, .. } if *dataset == entry.dataset)
                && matches!(step.outcome, Outcome::Done { .. })
        })
    })
}

/// The graveyard as a table.
pub(crate) fn list(found: &Reaping, now: &Zoned, site: &Site) -> String {
    if found.entries.is_empty() {
        return "Nothing is in the graveyard, and nothing was moved aside.\n".to_owned();
    }
    let mut table = Table::new([
        ("INSTANCE".to_owned(), Align::Left),
        ("WHAT".to_owned(), Align::Left),
        ("OPERATION".to_owned(), Align::Left),
        ("SINCE".to_owned(), Align::Left),
        ("EXPIRES".to_owned(), Align::Left),
        ("POINTS".to_owned(), Align::Right),
        ("SPACE".to_owned(), Align::Right),
        ("KEPT BY".to_owned(), Align::Left),
    ]);
    for entry in &found.entries {
        let zone = now.time_zone();
        let instance = match &entry.instance {
            Some(instance) => instance.to_string(),
            None => one_line(entry.dataset.as_str()),
        };
        let expires = match entry.purging && entry.what == What::Destroyed {
            true => "being purged".to_owned(),
            false => units::until(entry.expires, now.timestamp()),
        };
        table.row(vec![
            instance,
            what(entry).to_owned(),
            entry.operation.to_string(),
            units::short_time(entry.since, zone),
            expires,
            entry.points.to_string(),
            units::size(entry.space),
            reasons(entry),
        ]);
    }
    let space = found.entries.iter().map(|entry| entry.space).sum();
    let mut text = table.text("");
    let _ = writeln!(text, "\n{} in all.", units::size(space));
    let destroyed = |entry: &&Entry| entry.what == What::Destroyed && !entry.purging;
    if let Some(last) = found.entries.iter().rfind(destroyed)
        && let Some(instance) = &last.instance
    {
        let command = site.command(&format!(
            "instance resume {instance} --from {}",
            last.operation
        ));
        let _ = writeln!(text, "To bring the last one back:  {command}");
    }
    text
}

fn what(entry: &Entry) -> &'static str {
    match entry.what {
        What::Destroyed => "destroyed",
        What::Aside => "moved aside",
    }
}

fn reasons(entry: &Entry) -> String {
    let mut kept = entry.kept_by.iter();
    let Some(first) = kept.next() else {
        return String::new();
    };
    match kept.count() {
        0 => one_line(&first.to_string()),
        more => format!("{}, and {more} more", one_line(&first.to_string())),
    }
}

fn line(entry: &Entry, now: &Zoned) -> String {
    format!(
        "{}, since {}: {} restore points, {}",
        one_line(&entry.title()),
        units::time(entry.since, now.time_zone()),
        entry.points,
        units::size(entry.space)
    )
}

fn kept_lines(found: &Reaping, text: &mut String) {
    for entry in found.kept() {
        let _ = writeln!(
            text,
            "{} stays: {}",
            one_line(&entry.title()),
            reasons(entry)
        );
    }
}

/// What would be purged.
pub(crate) fn plan(found: &Reaping, now: &Zoned) -> String {
    let mut text = String::new();
    for entry in found.doomed() {
        let _ = writeln!(text, "Would be purged: {}", line(entry, now));
    }
    if text.is_empty() {
        text.push_str("Nothing would be purged.\n");
    }
    kept_lines(found, &mut text);
    text.push_str("\nThis is a dry run: nothing was changed.\n");
    text
}

/// What somebody has to agree to.
pub(crate) fn question(found: &Reaping, now: &Zoned) -> String {
    let mut text = "About to destroy for ever\n".to_owned();
    for entry in found.doomed() {
        let _ = writeln!(text, "  {}", line(entry, now));
    }
    text.trim_end().to_owned()
}

/// What was purged, and what stays.
pub(crate) fn done(found: &Reaping, reports: &[Report]) -> String {
    let mut text = String::new();
    for entry in purged(found, reports) {
        let _ = writeln!(
            text,
            "Purged {}: {} are free again.",
            one_line(&entry.title()),
            units::size(entry.space)
        );
    }
    if text.is_empty() {
        text.push_str("Nothing was purged.\n");
    }
    kept_lines(found, &mut text);
    text
}
