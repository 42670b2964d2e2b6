//! What an archive holds, and what is wrong with it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use jiff::Zoned;
use serde::Serialize;
use terrarium_s3::archive::{Location, PointReport, State, Verification};
use terrarium_s3::crypto::VerifyingKey;
use terrarium_s3::format::{self, ArchiveId, Base, Lineage, ManifestPlace};
use terrarium_zfs::{Guid, SnapshotName};

use crate::archive::Pinned;
use crate::archive::points::{Listed, Points, Unreadable};
use crate::exit::Exit;
use crate::render::table::{Align, Table};
use crate::render::{JSON_VERSION, one_line, units};

/// The restore points of an archive.
pub(crate) struct Shown<'a> {
    pub(crate) location: &'a Location,
    pub(crate) document: &'a format::Archive,
    pub(crate) pinned: Pinned,
    pub(crate) points: &'a Points,
}

#[derive(Serialize)]
pub(crate) struct ShownJson<'a> {
    version: u32,
    exit_code: u8,
    archive: ArchiveJson<'a>,
    points: &'a [Listed],
    unreadable: &'a [Unreadable],
}

#[derive(Serialize)]
struct ArchiveJson<'a> {
    location: String,
    id: ArchiveId,
    recipients: Vec<&'a str>,
    host_keys: &'a [VerifyingKey],
    pinned: Pinned,
}

impl Shown<'_> {
    pub(crate) fn json(&self, exit: Exit) -> ShownJson<'_> {
        ShownJson {
            version: JSON_VERSION,
            exit_code: exit.code(),
            archive: ArchiveJson {
                location: self.location.to_string(),
                id: self.document.id,
                recipients: self.document.recipients.texts().collect(),
                host_keys: &self.document.host_keys,
                pinned: self.pinned,
            },
            points: &self.points.listed,
            unreadable: &self.points.unreadable,
        }
    }

    pub(crate) fn text(&self, now: &Zoned) -> String {
        let zone = now.time_zone();
        let mut lineages: BTreeMap<(&str, Lineage), Vec<&Listed>> = BTreeMap::new();
        for point in &self.points.listed {
            let of = lineages.entry((&point.name, point.lineage)).or_default();
            of.push(point);
        }
        let mut text = String::new();
        for ((name, lineage), points) in lineages {
            let stored = points.iter().map(|point| point.stored_bytes).sum();
            let _ = writeln!(
                text,
                "{}  lineage {lineage}, {} stored",
                one_line(name),
                units::size(stored)
            );
            let zone_name = units::zone_name(zone, now.timestamp());
            let said = points
                .iter()
                .any(|point| point.pinned || point.note.is_some());
            let mut columns = vec![
                (format!("TIME ({zone_name})"), Align::Left),
                ("STORED".to_owned(), Align::Right),
                ("STREAM".to_owned(), Align::Right),
                ("BASE".to_owned(), Align::Left),
                ("VERDICT".to_owned(), Align::Left),
                ("SNAPSHOT".to_owned(), Align::Left),
                ("ALIAS".to_owned(), Align::Left),
            ];
            if said {
                columns.push(("PINNED".to_owned(), Align::Left));
                columns.push(("NOTE".to_owned(), Align::Left));
            }
            let mut table = Table::new(columns);
            for point in points {
                let mut row = vec![
                    units::short_time(point.created, zone),
                    units::size(point.stored_bytes),
                    units::size(point.stream_bytes),
                    base(point.base).to_owned(),
                    point.verdict.as_str().to_owned(),
                    one_line(point.snapshot.as_str()),
                    point.alias.as_deref().map(one_line).unwrap_or_default(),
                ];
                if said {
                    let note = point.note.as_deref().and_then(|note| note.lines().next());
                    row.push(if point.pinned { "pinned" } else { "" }.to_owned());
                    row.push(note.map(one_line).unwrap_or_default());
                }
                table.row(row);
            }
            text.push_str(&table.text("  "));
        }
        for point in &self.points.unreadable {
            let (object, error) = (&point.object, one_line(&point.error));
            let _ = writeln!(text, "cannot be read: {object}: {error}");
        }
        if text.is_empty() {
            text.push_str("the archive has no restore points\n");
        }
        text
    }
}

fn base(base: Base) -> &'static str {
    match base {
        Base::Full => "full",
        Base::Point(_) => "incremental",
        Base::Origin(_) => "clone",
    }
}

/// A stream that was stored, or was there.
pub(crate) fn stored(point: &Listed, stored: bool, reused_parts: usize) -> String {
    let snapshot = one_line(point.snapshot.as_str());
    let (name, guid, lineage) = (one_line(&point.name), point.guid, point.lineage);
    if !stored {
        return format!("{snapshot} (guid {guid}) is there already, as one of {name}\n");
    }
    let mut text = format!(
        "stored {snapshot} (guid {guid}) as one of {name}\n  {}, {} of stream as {}, lineage {lineage}\n",
        base(point.base),
        units::size(point.stream_bytes),
        units::size(point.stored_bytes),
    );
    if reused_parts > 0 {
        let parts = point.parts;
        let _ = writeln!(
            text,
            "  {reused_parts} of {parts} parts were there from an earlier run"
        );
    }
    text
}

/// What was verified.
pub(crate) struct Verified<'a> {
    pub(crate) found: &'a Verification,
    pub(crate) deep: bool,
}

#[derive(Serialize)]
pub(crate) struct VerifiedJson<'a> {
    version: u32,
    exit_code: u8,
    deep: bool,
    points: Vec<PointJson<'a>>,
    damages: Vec<DamageJson>,
}

#[derive(Serialize)]
struct PointJson<'a> {
    name: Option<&'a str>,
    lineage: Lineage,
    guid: Guid,
    snapshot: Option<&'a SnapshotName>,
    verdict: Option<&'static str>,
    state: &'static str,
    /// The guids of the damaged points that it builds upon.
    affected_by: Vec<Guid>,
}

#[derive(Serialize)]
struct DamageJson {
    object: Option<String>,
    reason: String,
    lineage: Lineage,
    guid: Guid,
    /// The guids of all points that cannot be restored because of it.
    affects: Vec<Guid>,
}

impl Verified<'_> {
    pub(crate) fn json(&self, exit: Exit) -> VerifiedJson<'_> {
        let guids = |places: &[ManifestPlace]| places.iter().map(|place| place.guid).collect();
        let point = |report: &'_ PointReport| -> (Option<_>, _) {
            (
                report.verdict.map(|verdict| verdict.as_str()),
                word(&report.state),
            )
        };
        VerifiedJson {
            version: JSON_VERSION,
            exit_code: exit.code(),
            deep: self.deep,
            points: self
                .found
                .points
                .iter()
                .map(|report| {
                    let (verdict, state) = point(report);
                    PointJson {
                        name: report.instance.as_deref(),
                        lineage: report.place.lineage,
                        guid: report.place.guid,
                        snapshot: report.snapshot.as_ref(),
                        verdict,
                        state,
                        affected_by: match &report.state {
                            State::Affected(by) => guids(by),
                            _ => Vec::new(),
                        },
                    }
                })
                .collect(),
            damages: self
                .found
                .damages
                .iter()
                .map(|damage| DamageJson {
                    object: damage.problem.object().map(ToString::to_string),
                    reason: damage.problem.to_string(),
                    lineage: damage.point.lineage,
                    guid: damage.point.guid,
                    affects: guids(&damage.affects),
                })
                .collect(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let found = self.found;
        let names: HashMap<_, _> = found
            .points
            .iter()
            .map(|point| (point.place, point))
            .collect();
        let shown = |place: &ManifestPlace| match names.get(place) {
            Some(PointReport {
                instance: Some(instance),
                snapshot: Some(snapshot),
                ..
            }) => format!(
                "{}: {} (guid {})",
                one_line(instance),
                one_line(snapshot.as_str()),
                place.guid
            ),
            _ => format!("a point that cannot be named (guid {})", place.guid),
        };
        let mut text = String::new();
        for damage in &found.damages {
            let _ = writeln!(text, "damaged: {}", one_line(&damage.problem.to_string()));
            for place in &damage.affects {
                let _ = writeln!(text, "  affects {}", shown(place));
            }
        }
        for point in found
            .points
            .iter()
            .filter(|point| point.state == State::Unread)
        {
            let place = shown(&point.place);
            let _ = writeln!(
                text,
                "not read: {place}: it is encrypted to other recipients"
            );
        }
        let count = |wanted: fn(&State) -> bool| {
            found
                .points
                .iter()
                .filter(|point| wanted(&point.state))
                .count()
        };
        let how = match self.deep {
            true => "read back",
            false => "looked up",
        };
        let whole = count(|state| *state == State::Whole);
        let total = found.points.len();
        let _ = match total - whole {
            0 => writeln!(text, "{total} restore points {how}, all whole"),
            _ => writeln!(
                text,
                "{total} restore points {how}: {whole} whole, {} damaged, {} affected, {} not read",
                count(|state| *state == State::Damaged),
                count(|state| matches!(state, State::Affected(_))),
                count(|state| *state == State::Unread),
            ),
        };
        text
    }
}

fn word(state: &State) -> &'static str {
    match state {
        State::Whole => "whole",
        State::Unread => "not-read",
        State::Damaged => "damaged",
        State::Affected(_) => "affected",
    }
}
