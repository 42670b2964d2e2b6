//! What the state of an archive means for each instance.

use std::fmt::Write;

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use terrarium_core::RestorePoint;
use terrarium_s3::archive::{PointReport, State};
use terrarium_s3::format::ManifestPlace;
use terrarium_zfs::Guid;

use super::archive::{Verified, VerifiedJson};
use super::{ErrorShown, one_line, units};
use crate::command::everywhere::OfInstance;
use crate::exit::{Exit, Failure};

/// What `backup verify` answers.
pub(crate) struct Shown<'a> {
    pub(crate) verified: Verified<'a>,
    pub(crate) instances: &'a [OfInstance<'a>],
    pub(crate) now: &'a Zoned,
    pub(crate) looked_here: bool,
    pub(crate) unreachable: Option<&'a Failure>,
}

#[derive(Serialize)]
pub(crate) struct ShownJson<'a> {
    #[serde(flatten)]
    verified: VerifiedJson<'a>,
    instances: Vec<InstanceJson<'a>>,
    unreachable: Option<ErrorShown<'a>>,
}

#[derive(Serialize)]
struct InstanceJson<'a> {
    project: &'a str,
    name: &'a str,
    /// Whether it is on this host; none if this host was not looked at.
    here: Option<bool>,
    newest_local: Option<PointJson<'a>>,
    newest_local_is_archived: Option<bool>,
    newest_archived: Option<PointJson<'a>>,
    whole: usize,
    /// The guids of the points that cannot be restored.
    lost: Vec<Guid>,
}

#[derive(Serialize)]
struct PointJson<'a> {
    name: &'a str,
    guid: Guid,
    created_at: Timestamp,
}

impl Shown<'_> {
    pub(crate) fn json(&self, exit: Exit) -> ShownJson<'_> {
        let instances = self.instances.iter().map(|of| self.instance_json(of));
        ShownJson {
            verified: self.verified.json(exit),
            instances: instances.collect(),
            unreachable: self.unreachable.map(ErrorShown::new),
        }
    }

    fn instance_json<'a>(&self, of: &'a OfInstance<'a>) -> InstanceJson<'a> {
        let reports = self.reports(of);
        let newest = newest_local(of);
        InstanceJson {
            project: &of.project,
            name: &of.name,
            here: self.looked_here.then_some(of.here.is_some()),
            newest_local: newest.map(|point| PointJson {
                name: point.name(),
                guid: point.guid,
                created_at: point.created,
            }),
            newest_local_is_archived: newest.map(|newest| is_archived(of, newest)),
            newest_archived: of.newest_archived().map(|point| PointJson {
                name: point.snapshot.name(),
                guid: point.guid,
                created_at: point.created,
            }),
            whole: count(&reports, |state| *state == State::Whole),
            lost: lost(&reports).map(|report| report.place.guid).collect(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for of in self.instances {
            self.instance(of, &mut text);
        }
        // What is damaged, and the sum.
        text.push_str(&self.verified.text());
        text
    }

    fn instance(&self, of: &OfInstance<'_>, text: &mut String) {
        let age = |then| units::age(then, self.now.timestamp());
        let gone = match self.looked_here && of.here.is_none() {
            true => " (not on this host)",
            false => "",
        };
        let archived = of.newest_archived().map(|point| {
            format!(
                "{}, {} old",
                one_line(point.snapshot.name()),
                age(point.created)
            )
        });
        let newest = newest_local(of);
        let said = match (archived, newest) {
            (None, _) => "nothing of it is archived".to_owned(),
            (Some(archived), Some(newest)) if !is_archived(of, newest) => format!(
                "its newest point is not archived: {}, {} old; the newest that is: {archived}",
                one_line(newest.name()),
                age(newest.created)
            ),
            (Some(archived), Some(_)) => format!("its newest point is archived: {archived}"),
            (Some(archived), None) => format!("the newest archived point: {archived}"),
        };
        let _ = writeln!(text, "{}{gone}: {said}", one_line(&of.id()));
        let reports = self.reports(of);
        if reports.is_empty() {
            return;
        }
        let whole = count(&reports, |state| *state == State::Whole);
        let _ = writeln!(
            text,
            "  {whole} of {} archived points are whole",
            reports.len()
        );
        for report in lost(&reports) {
            let snapshot = report.snapshot.as_ref().map(|snapshot| snapshot.name());
            let name = snapshot.map_or("a point that cannot be named".to_owned(), one_line);
            let why = match &report.state {
                State::Affected(by) => format!("it builds upon {}", self.named(by)),
                _ => "it is damaged".to_owned(),
            };
            let _ = writeln!(
                text,
                "  cannot be restored: {name} (guid {}): {why}",
                report.place.guid
            );
        }
    }

    fn named(&self, places: &[ManifestPlace]) -> String {
        let name = |place: &ManifestPlace| {
            let mut reports = self.verified.found.points.iter();
            let report = reports.find(|report| report.place == *place);
            let snapshot = report.and_then(|report| report.snapshot.as_ref());
            snapshot.map_or(place.guid.to_string(), |snapshot| one_line(snapshot.name()))
        };
        places.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// What was found of an instance's points: those of its name, and those that cannot be read of its histories.
    fn reports(&self, of: &OfInstance<'_>) -> Vec<&PointReport> {
        let archived = || of.points.iter().filter_map(|point| point.archived);
        let is_of_it = |report: &&PointReport| {
            let place = report.place;
            archived().any(|point| {
                point.lineage == place.lineage
                    && (point.guid == place.guid || report.instance.is_none())
            })
        };
        self.verified.found.points.iter().filter(is_of_it).collect()
    }
}

fn newest_local<'a>(of: &OfInstance<'a>) -> Option<&'a RestorePoint> {
    of.here.and_then(|(_, covered)| covered.newest_live())
}

fn is_archived(of: &OfInstance<'_>, local: &RestorePoint) -> bool {
    let mut archived = of.points.iter().filter_map(|point| point.archived);
    archived.any(|point| point.guid == local.guid)
}

fn count(reports: &[&PointReport], wanted: fn(&State) -> bool) -> usize {
    reports
        .iter()
        .filter(|report| wanted(&report.state))
        .count()
}

/// Those that cannot be restored.
fn lost<'a>(reports: &[&'a PointReport]) -> impl Iterator<Item = &'a PointReport> {
    let lost = |report: &&PointReport| matches!(report.state, State::Damaged | State::Affected(_));
    reports.iter().copied().filter(lost)
}
