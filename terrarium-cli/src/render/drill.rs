//! What drills have shown.

use std::fmt::Write;
use std::time::Duration;

use jiff::Zoned;
use serde::Serialize;
use terrarium_core::drill::{DrillReport, Verdict};
use terrarium_core::tree::Difference;
use terrarium_core::{BootReport, BootVerdict};

use super::table::{Align, Table};
use super::{JSON_VERSION, one_line, units};
use crate::command::drill::{Boot, Compared, Record};
use crate::exit::Exit;

/// How many differences are shown.
const SHOWN: usize = 10;
/// How much of what a check printed is shown: the last lines of each stream, and as much of each.
const LINES: usize = 10;
const COLUMNS: usize = 200;
/// How much of it is in an answer for programs, in bytes: the end of each stream.
const OUTPUT: usize = 4 << 10;

#[derive(Serialize)]
pub(crate) struct DrillJson<'a> {
    version: u32,
    exit_code: u8,
    drill: &'a Record,
    differences: Vec<DifferenceJson>,
}

#[derive(Serialize)]
struct DifferenceJson {
    path: String,
    what: &'static str,
}

#[derive(Serialize)]
pub(crate) struct BootJson<'a> {
    version: u32,
    exit_code: u8,
    drill: &'a Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<OutputJson>,
}

/// What a check printed that failed.
#[derive(Serialize)]
struct OutputJson {
    stdout: String,
    stderr: String,
}

#[derive(Serialize)]
pub(crate) struct HistoryJson<'a> {
    version: u32,
    exit_code: u8,
    drills: &'a [Record],
}

pub(crate) fn json<'a>(record: &'a Record, report: &DrillReport, exit: Exit) -> DrillJson<'a> {
    let differences = differences(report).iter().map(|difference| DifferenceJson {
        path: difference.path().display().to_string(),
        what: what(difference),
    });
    DrillJson {
        version: JSON_VERSION,
        exit_code: exit.code(),
        drill: record,
        differences: differences.collect(),
    }
}

pub(crate) fn boot_json<'a>(record: &'a Record, report: &BootReport, exit: Exit) -> BootJson<'a> {
    let end = |bytes: &[u8]| {
        let end = bytes.len().saturating_sub(OUTPUT);
        String::from_utf8_lossy(bytes.get(end..).unwrap_or_default()).into_owned()
    };
    let output = match &report.verdict {
        BootVerdict::CheckFailed(output) => Some(OutputJson {
            stdout: end(&output.stdout),
            stderr: end(&output.stderr),
        }),
        _ => None,
    };
    BootJson {
        version: JSON_VERSION,
        exit_code: exit.code(),
        drill: record,
        output,
    }
}

pub(crate) fn boot_text(record: &Record, report: &BootReport, now: &Zoned) -> String {
    let mut text = headline(record, now);
    received(&mut text, report.streams, record);
    let boot = record.boot.as_ref();
    if let Some(running) = boot.and_then(|boot| boot.running_ms) {
        let _ = write!(text, "  running after {}", seconds(running));
        if let Some(check) = boot.and_then(|boot| boot.check_ms) {
            let _ = write!(text, ", checked in {}", seconds(check));
        }
        text.push('\n');
    }
    if let BootVerdict::CheckFailed(output) = &report.verdict {
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            for line in last_lines(bytes) {
                let _ = writeln!(text, "  {name}: {line}");
            }
        }
    }
    text
}

/// The end of what a check printed, as it may reach a terminal.
fn last_lines(bytes: &[u8]) -> Vec<String> {
    let printed = String::from_utf8_lossy(bytes);
    let mut last: Vec<_> = printed.lines().rev().take(LINES).collect();
    last.reverse();
    let cut = |line: &str| one_line(&line.chars().take(COLUMNS).collect::<String>());
    last.into_iter().map(cut).collect()
}

fn headline(record: &Record, now: &Zoned) -> String {
    format!(
        "{}: {} of {} (guid {}): {}\n",
        one_line(&record.name),
        one_line(record.snapshot.name()),
        units::time(record.created_at, now.time_zone()),
        record.guid,
        verdict(record)
    )
}

fn received(text: &mut String, streams: usize, record: &Record) {
    let plural = if streams == 1 { "" } else { "s" };
    let _ = writeln!(
        text,
        "  {streams} stream{plural}, {}, received in {}",
        units::size(record.stream_bytes),
        seconds(record.receive_ms)
    );
}

pub(crate) fn text(record: &Record, report: &DrillReport, now: &Zoned) -> String {
    let mut text = headline(record, now);
    for difference in differences(report).iter().take(SHOWN) {
        let path = one_line(&difference.path().display().to_string());
        let path = if path.is_empty() { "/" } else { &path };
        let _ = writeln!(text, "  {}: {path}", what(difference));
    }
    let more = record.differences.unwrap_or(0).saturating_sub(SHOWN as u64);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    received(&mut text, record.streams, record);
    if !matches!(report.verdict, Verdict::Failed(_)) {
        let _ = writeln!(
            text,
            "  {} names, {} of files, read in {}",
            record.entries,
            units::size(record.bytes),
            seconds(record.read_ms)
        );
    }
    if let Some(digest) = record.digest {
        let _ = writeln!(text, "  digest {digest}");
    }
    text
}

/// The drills so far, the latest first.
pub(crate) fn history(records: &[Record], now: &Zoned) -> String {
    if records.is_empty() {
        return "there was no drill yet\n".to_owned();
    }
    let zone = units::zone_name(now.time_zone(), now.timestamp());
    let mut table = Table::new([
        (format!("DRILLED ({zone})"), Align::Left),
        ("NAME".to_owned(), Align::Left),
        ("SNAPSHOT".to_owned(), Align::Left),
        ("STREAM".to_owned(), Align::Right),
        ("TOOK".to_owned(), Align::Right),
        ("VERDICT".to_owned(), Align::Left),
    ]);
    for record in records.iter().rev() {
        table.row(vec![
            units::short_time(record.at, now.time_zone()),
            one_line(&record.name),
            one_line(record.snapshot.name()),
            units::size(record.stream_bytes),
            seconds(took(record)),
            verdict(record),
        ]);
    }
    table.text("")
}

pub(crate) fn history_json(records: &[Record]) -> HistoryJson<'_> {
    HistoryJson {
        version: JSON_VERSION,
        exit_code: Exit::Done.code(),
        drills: records,
    }
}

/// How long the drill took, its tidying not counted.
fn took(record: &Record) -> u64 {
    let boot = record.boot.as_ref();
    let of_boot = boot.map(|boot| [boot.running_ms, boot.check_ms]);
    let of_boot = of_boot.into_iter().flatten().flatten();
    of_boot
        .chain([record.read_ms])
        .fold(record.receive_ms, u64::saturating_add)
}

fn verdict(record: &Record) -> String {
    if let Some(boot) = &record.boot
        && let Some(verdict) = boot_verdict(record, boot)
    {
        return verdict;
    }
    let with = match record.compared_with {
        Some(Compared::Sealed) => "what was exported",
        Some(Compared::Local) => "the snapshot on this host",
        Some(Compared::Given) => "the digest that was given",
        None => "",
    };
    match (record.verdict.as_str(), &record.error) {
        ("equal", _) => format!("equal to {with}"),
        ("differs", _) => format!("differs from {with}"),
        ("readable", _) => "readable, not compared".to_owned(),
        (_, Some(error)) => format!("failed: {}", one_line(error)),
        (other, None) => one_line(other),
    }
}

fn boot_verdict(record: &Record, boot: &Boot) -> Option<String> {
    let why = || one_line(record.error.as_deref().unwrap_or_default());
    Some(match record.verdict.as_str() {
        "booted" if boot.check_ms.is_some() => "booted, and the check passed".to_owned(),
        "booted" => "booted".to_owned(),
        "not-started" => format!("did not start: {}", why()),
        "check-failed" => match boot.exit_code {
            Some(code) => format!("booted, but the check failed with code {code}"),
            None => "booted, but the check failed".to_owned(),
        },
        "check-timed-out" => "booted, but the check did not end in time".to_owned(),
        "check-not-run" => format!("booted, but the check could not be run: {}", why()),
        _ => return None,
    })
}

fn seconds(millis: u64) -> String {
    let time = Duration::from_millis(millis);
    match time.as_secs() {
        0..60 => format!("{:.1}s", time.as_secs_f64()),
        secs => units::span(jiff::SignedDuration::from_secs(
            i64::try_from(secs).unwrap_or(i64::MAX),
        )),
    }
}

fn differences(report: &DrillReport) -> &[Difference] {
    match &report.verdict {
        Verdict::Differs(Some(found)) => &found.first,
        _ => &[],
    }
}

fn what(difference: &Difference) -> &'static str {
    match difference {
        Difference::Missing(_) => "missing",
        Difference::Added(_) => "added",
        Difference::Changed(_) => "changed",
    }
}
