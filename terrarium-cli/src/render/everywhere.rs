//! The restore points of instances, on this host and in an archive.

use std::fmt::Write;

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use terrarium_core::{InstanceState, Inventory, PoolProblem};
use terrarium_s3::archive::Location;
use terrarium_s3::format::{self, Lineage};
use terrarium_zfs::{DatasetName, Guid};

use super::points::{PointShown, Reason};
use super::table::{Align, Table};
use super::{ErrorShown, JSON_VERSION, one_line, points, units};
use crate::archive::Pinned;
use crate::archive::points::{Listed, Unreadable};
use crate::command::everywhere::{Held, OfInstance};
use crate::exit::{Exit, Failure};

/// What `backup list` answers if an archive is asked.
pub(crate) struct Shown<'a> {
    pub(crate) location: &'a Location,
    /// None if the archive cannot be reached.
    pub(crate) pinned: Option<Pinned>,
    pub(crate) now: &'a Zoned,
    pub(crate) with_local: bool,
    pub(crate) instances: &'a [OfInstance<'a>],
    pub(crate) unreadable: &'a [&'a Unreadable],
    /// None if this host was not looked at.
    pub(crate) besides: Option<&'a Inventory>,
    pub(crate) unreachable: &'a [Failure],
}

impl Shown<'_> {
    pub(crate) fn text(&self) -> String {
        let mut sections: Vec<_> = self.instances.iter().map(|of| self.section(of)).collect();
        if sections.is_empty() {
            sections.push("there are no restore points\n".to_owned());
        }
        if let Some(besides) = self.besides {
            sections.extend(points::besides(besides, self.now));
        }
        if !self.unreadable.is_empty() {
            let mut section = "Manifests of the archive that cannot be read:\n".to_owned();
            for point in self.unreadable {
                let (object, error) = (&point.object, one_line(&point.error));
                let _ = writeln!(section, "  {object}: {error}");
            }
            sections.push(section);
        }
        sections.join("\n")
    }

    fn section(&self, of: &OfInstance<'_>) -> String {
        let place = match of.here {
            Some((instance, covered)) => format!(
                "{}, {}",
                points::state(instance.record.state),
                one_line(covered.live.as_str())
            ),
            None if self.besides.is_some() => "not on this host".to_owned(),
            None => "archived".to_owned(),
        };
        let mut section = format!("{} ({place})\n", one_line(&of.id()));
        if of.points.is_empty() {
            section.push_str("  no restore points\n");
            return section;
        }
        let mut table = self.table();
        for point in of.points.iter().filter(|point| is_of(point, of.lineage)) {
            table.row(self.cells(point, of));
        }
        let mut others: Vec<Lineage> = Vec::new();
        for point in of.points.iter().filter(|point| !is_of(point, of.lineage)) {
            let lineage = point.archived.map(|point| point.lineage);
            others.extend(lineage.filter(|lineage| !others.contains(lineage)));
        }
        for lineage in others {
            table.across(format!("of another history, lineage {lineage}:"));
            for point in of.points.iter().filter(|point| !is_of(point, of.lineage)) {
                if is_of(point, Some(lineage)) {
                    table.row(self.cells(point, of));
                }
            }
        }
        section.push_str(&table.text("  "));
        section
    }

    fn table(&self) -> Table {
        let zone = units::zone_name(self.now.time_zone(), self.now.timestamp());
        let mut columns = vec![
            ("NAME".to_owned(), Align::Left),
            ("AGE".to_owned(), Align::Right),
            (format!("TAKEN ({zone})"), Align::Left),
            ("KIND".to_owned(), Align::Left),
        ];
        if self.with_local {
            columns.push(("WHERE".to_owned(), Align::Left));
            columns.push(("SIZE".to_owned(), Align::Right));
        }
        columns.push(("STORED".to_owned(), Align::Right));
        columns.push(("VERDICT".to_owned(), Align::Left));
        columns.push(("ALIAS, NOTES".to_owned(), Align::Left));
        Table::new(columns)
    }

    fn cells(&self, point: &Held<'_>, of: &OfInstance<'_>) -> Vec<String> {
        let now = self.now.timestamp();
        let mut cells = vec![
            one_line(name(point)),
            units::age(point.created(), now),
            units::short_time(point.created(), self.now.time_zone()),
            kind(point).to_owned(),
        ];
        if self.with_local {
            let place = match (point.local, point.archived) {
                (Some(_), Some(_)) => "here, archive",
                (Some(_), None) => "here",
                (None, _) => "archive",
            };
            cells.push(place.to_owned());
            let size = point.local.map(|point| units::size(point.size));
            cells.push(size.unwrap_or_else(|| "-".to_owned()));
        }
        let stored = point.archived.map(|point| units::size(point.stored_bytes));
        cells.push(stored.unwrap_or_else(|| "-".to_owned()));
        let verdict = point.archived.map(|point| point.verdict.as_str());
        cells.push(verdict.unwrap_or("-").to_owned());
        cells.push(notes(point, of, now));
        cells
    }

    pub(crate) fn json(&self, exit: Exit) -> ShownJson<'_> {
        let besides = self.besides;
        let not_covered = besides.into_iter().flat_map(|all| &all.instances);
        let not_covered = not_covered.filter_map(|instance| match &instance.coverage {
            terrarium_core::Coverage::Covered(_) => None,
            terrarium_core::Coverage::NotCovered { reason } => Some(NotCoveredJson {
                project: instance.record.id.project.as_str(),
                name: instance.record.id.name.as_str(),
                reason: Reason::new(reason),
            }),
        });
        ShownJson {
            version: JSON_VERSION,
            exit_code: exit.code(),
            observed_at: self.now.timestamp(),
            archive: self.pinned.map(|pinned| ArchiveJson {
                location: self.location.to_string(),
                pinned,
            }),
            instances: self.instances.iter().map(instance_json).collect(),
            not_covered: not_covered.collect(),
            problems: besides.map_or(&[], |besides| &besides.problems),
            orphans: besides.map_or(&[], |besides| &besides.orphans),
            unreadable: self.unreadable,
            unreachable: self.unreachable.iter().map(ErrorShown::new).collect(),
        }
    }
}

/// Whether a point is of a history: of those that are here no other is known.
fn is_of(point: &Held<'_>, lineage: Option<Lineage>) -> bool {
    match (point.local, point.archived) {
        (None, Some(archived)) => Some(archived.lineage) == lineage,
        _ => true,
    }
}

fn name<'a>(point: &Held<'a>) -> &'a str {
    let local = point.local.map(|point| point.name());
    let archived = point.archived.map(|point| point.snapshot.name());
    local.or(archived).unwrap_or_default()
}

fn kind(point: &Held<'_>) -> &'static str {
    match (point.local, point.archived.map(|point| point.kind)) {
        (Some(local), _) => points::kind(&local.kind),
        (None, Some(format::Kind::Scheduled)) => "scheduled",
        (None, Some(format::Kind::OnDemand)) => "on-demand",
        (None, Some(format::Kind::Safety)) => "safety",
        (None, Some(format::Kind::Lxd)) => "lxd",
        (None, Some(format::Kind::Foreign) | None) => "foreign",
    }
}

fn notes(point: &Held<'_>, of: &OfInstance<'_>, now: Timestamp) -> String {
    let mut notes = Vec::new();
    if let (Some(local), Some((_, covered))) = (point.local, of.here) {
        let said = points::notes(local, covered, now);
        notes.extend(Some(said).filter(|said| !said.is_empty()));
        if !local.is_live() {
            notes.push("moved aside".to_owned());
        }
    }
    if let Some(archived) = point.archived {
        let known = point.local.and_then(|local| local.alias.as_deref());
        let alias = archived
            .alias
            .as_deref()
            .filter(|alias| Some(*alias) != known);
        notes.extend(alias.map(one_line));
        notes.extend(archived.note.as_deref().map(one_line));
        if archived.pinned {
            notes.push("pinned".to_owned());
        }
        if !archived.trusted {
            notes.push("not to be trusted".to_owned());
        }
        if (archived.in_project(), archived.name.as_str()) != (&of.project, &of.name) {
            notes.push(format!("stored as one of {}", one_line(&archived.name)));
        }
    }
    notes.join(", ")
}

/// What `backup list --json` answers if an archive is asked.
#[derive(Serialize)]
pub(crate) struct ShownJson<'a> {
    version: u32,
    exit_code: u8,
    observed_at: Timestamp,
    archive: Option<ArchiveJson>,
    instances: Vec<InstanceJson<'a>>,
    not_covered: Vec<NotCoveredJson<'a>>,
    problems: &'a [PoolProblem],
    orphans: &'a [DatasetName],
    unreadable: &'a [&'a Unreadable],
    unreachable: Vec<ErrorShown<'a>>,
}

#[derive(Serialize)]
struct ArchiveJson {
    location: String,
    pinned: Pinned,
}

#[derive(Serialize)]
struct NotCoveredJson<'a> {
    project: &'a str,
    name: &'a str,
    #[serde(flatten)]
    reason: Reason<'a>,
}

#[derive(Serialize)]
struct InstanceJson<'a> {
    project: &'a str,
    name: &'a str,
    /// None if it is not on this host, or this host was not looked at.
    state: Option<InstanceState>,
    dataset: Option<&'a DatasetName>,
    lineage: Option<Lineage>,
    restore_points: Vec<HeldJson<'a>>,
}

#[derive(Serialize)]
struct HeldJson<'a> {
    name: &'a str,
    guid: Option<Guid>,
    created_at: Timestamp,
    kind: &'static str,
    #[serde(rename = "where")]
    places: Vec<&'static str>,
    local: Option<PointShown<'a>>,
    archived: Option<&'a Listed>,
}

fn instance_json<'a>(of: &'a OfInstance<'a>) -> InstanceJson<'a> {
    let moves = of.here.map(|(_, covered)| points::moves_aside(covered));
    let moves = moves.unwrap_or_default();
    let held = |point: &'a Held<'a>| HeldJson {
        name: name(point),
        guid: point.guid(),
        created_at: point.created(),
        kind: kind(point),
        places: [
            point.local.map(|_| "local"),
            point.archived.map(|_| "archive"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        local: point.local.map(|local| {
            let moves = moves.get(&local.guid).copied().unwrap_or(0);
            PointShown::new(local, moves)
        }),
        archived: point.archived,
    };
    InstanceJson {
        project: &of.project,
        name: &of.name,
        state: of.here.map(|(instance, _)| instance.record.state),
        dataset: of.here.map(|(_, covered)| &covered.live),
        lineage: of.lineage,
        restore_points: of.points.iter().map(held).collect(),
    }
}
