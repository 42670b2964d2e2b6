//! Send streams, for people and for programs.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use terrarium_zfs::Guid;
use terrarium_zfs::stream::{
    ByteOrder, Contents, Inspector, Package, RecordKind, ResumePoint, StreamSummary,
};

use crate::exit::Failure;
use crate::render::table::{Align, Table};
use crate::render::{ErrorShown, JSON_VERSION, one_line, units};

/// The streams that have ended so far.
#[derive(Default)]
pub(crate) struct Shown {
    streams: Vec<StreamSummary>,
    /// How many were shown as text.
    told: usize,
}

impl Shown {
    pub(crate) fn add(&mut self, inspector: &mut Inspector) {
        self.streams.extend(inspector.take_streams());
    }

    /// The text of what was added since; it is forgotten then, so that a package may be of any size.
    pub(crate) fn take_text(&mut self, zone: &TimeZone) -> String {
        let mut text = String::new();
        for stream in std::mem::take(&mut self.streams) {
            self.tell(&stream, zone, &mut text);
        }
        text
    }

    /// The text of what came last: the stream that did not end, and the sum of a package.
    pub(crate) fn end_of_text(&mut self, inspector: &Inspector, zone: &TimeZone) -> String {
        let mut text = self.take_text(zone);
        if let Some(stream) = inspector.unfinished()
            && !stream.begin.is_package()
        {
            self.tell(stream, zone, &mut text);
        }
        if let Some(package) = inspector.package() {
            text.push_str(&package_text(package, inspector, self.told));
        }
        text
    }

    fn tell(&mut self, stream: &StreamSummary, zone: &TimeZone, text: &mut String) {
        self.told += 1;
        text.push_str(&stream_text(stream, zone));
    }
}

fn stream_text(stream: &StreamSummary, zone: &TimeZone) -> String {
    let begin = &stream.begin;
    let mut kind = match begin.from_guid() {
        None => "full stream",
        Some(_) if begin.is_clone() => "stream of a clone since its origin",
        Some(_) => "incremental stream",
    }
    .to_owned();
    if begin.is_resuming() {
        kind = format!("rest of an interrupted {kind}");
    }
    let mut facts = Table::plain();
    let mut fact = |name: &str, value: String| facts.row(vec![name.to_owned(), value]);
    fact("contents", contents(begin.contents()));
    fact("guid", begin.to_guid().to_string());
    if let Some(guid) = begin.from_guid() {
        fact("from guid", guid.to_string());
    }
    fact(
        "created",
        match created(stream) {
            Some(at) => units::time(at, zone),
            None => "at no time that there is".to_owned(),
        },
    );
    fact("byte order", byte_order(begin.byte_order()).to_owned());
    let features: Vec<String> = begin.features().names().collect();
    fact(
        "features",
        match features.is_empty() {
            true => "none".to_owned(),
            false => features.join(", "),
        },
    );
    if let Some(ResumePoint { object, offset, .. }) = stream.resumes_at {
        fact("goes on at", format!("object {object}, byte {offset}"));
    }
    if stream.offset > 0 {
        fact("at byte", stream.offset.to_string());
    }
    fact("size", size(stream.bytes));
    fact("checksums", checksums(stream).to_owned());

    let mut records = Table::new([
        ("RECORD".to_owned(), Align::Left),
        ("COUNT".to_owned(), Align::Right),
        ("PAYLOAD BYTES".to_owned(), Align::Right),
    ]);
    for (kind, count, payload) in counts(stream) {
        records.row(vec![
            kind.name().to_owned(),
            count.to_string(),
            payload.to_string(),
        ]);
    }
    format!(
        "{kind}: {}\n{}{}",
        one_line(&begin.to_name()),
        facts.text("  "),
        records.text("  ")
    )
}

fn package_text(package: &Package, inspector: &Inspector, streams: usize) -> String {
    let mut text = format!(
        "package of {streams} {}, {}",
        if streams == 1 { "stream" } else { "streams" },
        size(inspector.bytes())
    );
    if inspector.finish().is_err() {
        text.push_str(", not whole");
    }
    let _ = write!(text, ": {}", one_line(&package.begin.to_name()));
    let parts = [
        package.datasets.map(|count| format!("datasets: {count}")),
        package
            .from_snapshot
            .as_ref()
            .map(|name| format!("from @{}", one_line(name))),
        package
            .to_snapshot
            .as_ref()
            .map(|name| format!("up to @{}", one_line(name))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        let _ = write!(text, " ({})", parts.join(", "));
    }
    text + "\n"
}

fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return units::size(bytes);
    }
    format!("{} ({bytes} bytes)", units::size(bytes))
}

fn contents(contents: Contents) -> String {
    match contents {
        Contents::FileSystem => "file system".to_owned(),
        Contents::Volume => "volume".to_owned(),
        Contents::Other(number) => format!("unknown ({number})"),
        _ => "unknown".to_owned(),
    }
}

fn byte_order(order: ByteOrder) -> &'static str {
    match order {
        ByteOrder::Little => "little-endian",
        ByteOrder::Big => "big-endian",
    }
}

fn checksums(stream: &StreamSummary) -> &'static str {
    match (stream.is_whole, stream.has_every_checksum) {
        (true, true) => "right, of every record",
        (true, false) => "right, of the whole only (an old stream)",
        (false, _) => "not whole: read up to here only",
    }
}

fn created(stream: &StreamSummary) -> Option<Timestamp> {
    Timestamp::from_second(stream.begin.creation()).ok()
}

/// The kinds of records that there are, with their number and the size of their payloads.
fn counts(stream: &StreamSummary) -> impl Iterator<Item = (RecordKind, u64, u64)> {
    RecordKind::ALL.into_iter().filter_map(|kind| {
        let count = stream.count(kind);
        (count.records > 0).then_some((kind, count.records, count.payload))
    })
}

/// What `stream info --json` answers.
#[derive(Serialize)]
pub(crate) struct InfoShown<'a> {
    version: u32,
    exit_code: u8,
    whole: bool,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<PackageShown<'a>>,
    streams: Vec<StreamShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorShown<'a>>,
    /// Where the damage was noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_offset: Option<u64>,
}

#[derive(Serialize)]
struct PackageShown<'a> {
    name: String,
    from_snapshot: Option<&'a str>,
    to_snapshot: Option<&'a str>,
    datasets: Option<usize>,
}

#[derive(Serialize)]
struct StreamShown {
    name: String,
    guid: Guid,
    from_guid: Option<Guid>,
    clone: bool,
    contents: String,
    created_at: Option<Timestamp>,
    byte_order: &'static str,
    features: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumes_at: Option<ResumeShown>,
    offset: u64,
    bytes: u64,
    whole: bool,
    every_record_has_a_checksum: bool,
    records: Vec<CountShown>,
}

#[derive(Serialize)]
struct ResumeShown {
    object: u64,
    offset: u64,
}

#[derive(Serialize)]
struct CountShown {
    kind: &'static str,
    count: u64,
    payload_bytes: u64,
}

impl Shown {
    /// The same as the text, for programs.
    pub(crate) fn json<'a>(
        &self,
        inspector: &'a Inspector,
        failure: Option<&'a Failure>,
    ) -> InfoShown<'a> {
        let unfinished = inspector.unfinished();
        let unfinished = unfinished.filter(|stream| !stream.begin.is_package());
        let verdict = inspector.finish();
        InfoShown {
            version: JSON_VERSION,
            exit_code: failure.map_or(0, |failure| failure.exit.code()),
            whole: verdict.is_ok(),
            bytes: inspector.bytes(),
            package: inspector.package().map(|package| PackageShown {
                name: package.begin.to_name(),
                from_snapshot: package.from_snapshot.as_deref(),
                to_snapshot: package.to_snapshot.as_deref(),
                datasets: package.datasets,
            }),
            streams: self.streams.iter().chain(unfinished).map(shown).collect(),
            error: failure.map(ErrorShown::new),
            error_offset: verdict.err().map(|error| error.offset()),
        }
    }
}

fn shown(stream: &StreamSummary) -> StreamShown {
    let begin = &stream.begin;
    StreamShown {
        name: begin.to_name(),
        guid: begin.to_guid(),
        from_guid: begin.from_guid(),
        clone: begin.is_clone(),
        contents: contents(begin.contents()),
        created_at: created(stream),
        byte_order: byte_order(begin.byte_order()),
        features: begin.features().names().collect(),
        resumes_at: stream.resumes_at.map(|at| ResumeShown {
            object: at.object,
            offset: at.offset,
        }),
        offset: stream.offset,
        bytes: stream.bytes,
        whole: stream.is_whole,
        every_record_has_a_checksum: stream.has_every_checksum,
        records: counts(stream)
            .map(|(kind, count, payload_bytes)| CountShown {
                kind: kind.name(),
                count,
                payload_bytes,
            })
            .collect(),
    }
}
