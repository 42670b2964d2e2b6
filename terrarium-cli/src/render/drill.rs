//! What drills have shown.

use std::fmt::Write;
use std::time::Duration;

use jiff::Zoned;
use serde::Serialize;
use terrarium_core::drill::{DrillReport, Verdict};
use terrarium_core::tree::Difference;

use super::table::{Align, Table};
use super::{JSON_VERSION, one_line, units};
use crate::command::drill::{Compared, Record};
use crate::exit::Exit;

/// How many differences are shown.
const SHOWN: usize = 10;

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

pub(crate) fn text(record: &Record, report: &DrillReport, now: &Zoned) -> String {
    let mut text = format!(
        "{}: {} of {} (guid {}): {}\n",
        one_line(&record.name),
        one_line(record.snapshot.name()),
        units::time(record.created_at, now.time_zone()),
        record.guid,
        verdict(record)
    );
    for difference in differences(report).iter().take(SHOWN) {
        let path = one_line(&difference.path().display().to_string());
        let path = if path.is_empty() { "/" } else { &path };
        let _ = writeln!(text, "  {}: {path}", what(difference));
    }
    let more = record.differences.unwrap_or(0).saturating_sub(SHOWN as u64);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    let plural = if record.streams == 1 { "" } else { "s" };
    let _ = writeln!(
        text,
        "  {} stream{plural}, {}, received in {}",
        record.streams,
        units::size(record.stream_bytes),
        seconds(record.receive_ms)
    );
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
            seconds(record.receive_ms.saturating_add(record.read_ms)),
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

fn verdict(record: &Record) -> String {
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
