//! `--at`: which restore point a person means.
//!
//! Tried in this order: exact name, guid, alias, time, a fragment that only one name or alias has. The first
//! kind that fits decides; if several points fit it, that is an error that lists them.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, Zoned};
use terrarium_zfs::{Guid, SnapshotName};

use crate::point::{RestorePoint, lxd_record_name};

/// A point that can be selected: a snapshot of this host, or one in an archive.
pub trait Candidate {
    /// The snapshot's name, with its dataset.
    fn snapshot(&self) -> &SnapshotName;
    /// The snapshot's guid.
    fn guid(&self) -> Guid;
    /// The name that a person gave to it.
    fn alias(&self) -> Option<&str>;
    /// When it was taken.
    fn created(&self) -> Timestamp;
    /// What decides between two that were taken in the same second: the later one has the higher number.
    fn order(&self) -> u64;
    /// Whether it lies in the present history, and may be meant without being named.
    fn is_live(&self) -> bool;
}

impl Candidate for RestorePoint {
    fn snapshot(&self) -> &SnapshotName {
        &self.snapshot
    }

    fn guid(&self) -> Guid {
        self.guid
    }

    fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    fn created(&self) -> Timestamp {
        self.created
    }

    fn order(&self) -> u64 {
        self.createtxg.get()
    }

    fn is_live(&self) -> bool {
        RestorePoint::is_live(self)
    }
}

/// The point that was meant, and how it was recognised.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected<'a, P = RestorePoint> {
    /// The point.
    pub point: &'a P,
    /// How the selector was read.
    pub by: SelectedBy,
}

/// How a selector was read.
#[derive(Clone, Debug, PartialEq)]
pub enum SelectedBy {
    /// No selector: the newest point of the instance as it is now.
    Newest,
    /// The name of a snapshot, `dataset@name`, or LXD's own name of one of its snapshots.
    Name,
    /// A guid.
    Guid,
    /// An alias.
    Alias,
    /// A time; the nearest point at or before it.
    Time(Zoned),
    /// Part of a name or alias.
    Fragment,
}

/// No restore point, or more than one, is meant.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// There is nothing to choose from.
    #[error("there is no restore point")]
    NoPoints,
    /// All points are in datasets that were moved aside; none is newest "as it is now".
    #[error("there is no restore point in its present history, only in datasets moved aside")]
    NoneLive,
    /// Nothing fits.
    #[error("no restore point fits {selector:?}")]
    NotFound {
        /// What was asked for.
        selector: String,
        /// Names and aliases like it.
        nearest: Vec<String>,
    },
    /// It is a time before the first point.
    #[error("there is no restore point at or before {time}; the oldest is {oldest}, taken {taken}")]
    NothingBefore {
        /// The time, with its zone.
        time: String,
        /// The name of the oldest point.
        oldest: String,
        /// When that was taken, in the same zone.
        taken: String,
    },
    /// Several points fit.
    #[error("{selector:?} fits {} restore points: {}", candidates.len(), candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        selector: String,
        /// The points that fit, as `dataset@name (guid …)`.
        candidates: Vec<String>,
    },
}

impl SelectError {
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            SelectError::NoPoints => {
                Some("take one with `terrariumctl backup snapshot --instance …`".to_owned())
            }
            SelectError::NoneLive => Some("choose one with --at".to_owned()),
            SelectError::NotFound { nearest, .. } if !nearest.is_empty() => {
                Some(format!("did you mean {}?", nearest.join(" or ")))
            }
            SelectError::NotFound { .. } => {
                Some("`terrariumctl backup list` shows them all".to_owned())
            }
            SelectError::NothingBefore { .. } => None,
            SelectError::Ambiguous { .. } => {
                Some("choose one by its guid, or as dataset@name".to_owned())
            }
        }
    }
}

/// Finds the point that `selector` means among `points` (oldest first); without a selector the newest one
/// of the instance as it is now. Times without a zone are read in the zone of `now`.
///
/// # Errors
/// [`SelectError`] if no point fits, or several do.
pub fn select<'a, P: Candidate>(
    points: &'a [P],
    selector: Option<&str>,
    now: &Zoned,
) -> Result<Selected<'a, P>, SelectError> {
    if points.is_empty() {
        return Err(SelectError::NoPoints);
    }
    let Some(selector) = selector else {
        let newest = points.iter().rfind(|point| point.is_live());
        let point = newest.ok_or(SelectError::NoneLive)?;
        return Ok(Selected {
            point,
            by: SelectedBy::Newest,
        });
    };
    let exact = |point: &&P| {
        let snapshot = point.snapshot();
        let lxd_name = lxd_record_name(snapshot);
        [Some(snapshot.name()), Some(snapshot.as_str()), lxd_name].contains(&Some(selector))
    };
    let guid = |point: &&P| point.guid().to_string() == selector;
    let alias = |point: &&P| point.alias() == Some(selector);
    if let Some(found) = only(points.iter().filter(exact), selector, SelectedBy::Name) {
        return found;
    }
    if let Some(found) = only(points.iter().filter(guid), selector, SelectedBy::Guid) {
        return found;
    }
    if let Some(found) = only(points.iter().filter(alias), selector, SelectedBy::Alias) {
        return found;
    }
    if let Some(time) = parse_time(selector, now) {
        return at_or_before(points, time);
    }
    let fragment = |point: &&P| {
        point.snapshot().name().contains(selector)
            || point.alias().is_some_and(|alias| alias.contains(selector))
    };
    if !selector.is_empty()
        && let Some(found) = only(
            points.iter().filter(fragment),
            selector,
            SelectedBy::Fragment,
        )
    {
        return found;
    }
    let known = points
        .iter()
        .flat_map(|point| point.alias().into_iter().chain([point.snapshot().name()]))
        .map(str::to_owned);
    Err(SelectError::NotFound {
        selector: selector.to_owned(),
        nearest: crate::text::nearest(selector, known),
    })
}

fn only<'a, P: Candidate>(
    fitting: impl Iterator<Item = &'a P>,
    selector: &str,
    by: SelectedBy,
) -> Option<Result<Selected<'a, P>, SelectError>> {
    let fitting: Vec<_> = fitting.collect();
    match fitting[..] {
        [] => None,
        [point] => Some(Ok(Selected { point, by })),
        _ => Some(Err(SelectError::Ambiguous {
            selector: selector.to_owned(),
            candidates: fitting
                .iter()
                .map(|point| format!("{} (guid {})", point.snapshot(), point.guid()))
                .collect(),
        })),
    }
}

fn at_or_before<P: Candidate>(points: &[P], time: Zoned) -> Result<Selected<'_, P>, SelectError> {
    let limit = time.timestamp();
    let before = points.iter().filter(|point| point.created() <= limit);
    if let Some(point) = before.max_by_key(|point| (point.created(), point.order())) {
        return Ok(Selected {
            point,
            by: SelectedBy::Time(time),
        });
    }
    // `points` is not empty, and all are later.
    let oldest = points
        .iter()
        .min_by_key(|point| (point.created(), point.order()));
    Err(
        oldest.map_or(SelectError::NoPoints, |oldest| SelectError::NothingBefore {
            oldest: oldest.snapshot().name().to_owned(),
            taken: show(&oldest.created().to_zoned(time.time_zone().clone())),
            time: show(&time),
        }),
    )
}

/// A time with its zone, as in every message.
pub fn show(time: &Zoned) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Reads RFC 3339, `YYYY-MM-DD HH:MM[:SS]`, `YYYY-MM-DD` (its first moment), `HH:MM[:SS]` (the latest one
/// that is past), and spans such as `90m ago` or `2 days ago`.
fn parse_time(text: &str, now: &Zoned) -> Option<Zoned> {
    let zone = now.time_zone();
    if let Some(span) = text.strip_suffix(" ago") {
        return now
            .checked_sub(span.trim().parse::<Span>().ok()?.abs())
            .ok();
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.to_zoned(zone.clone()));
    }
    let begins_with_a_date =
        text.as_bytes().first().is_some_and(u8::is_ascii_digit) && text.contains('-');
    if begins_with_a_date {
        let civil = text.parse::<DateTime>().or_else(|_| {
            text.parse::<Date>()
                .map(|date| date.to_datetime(Time::midnight()))
        });
        return civil.ok()?.to_zoned(zone.clone()).ok();
    }
    if !text.contains(':') {
        return None;
    }
    let time = text.parse::<Time>().ok()?;
    let today = now.date().to_datetime(time).to_zoned(zone.clone()).ok()?;
    if today <= *now {
        return Some(today);
    }
    now.date()
        .yesterday()
        .ok()?
        .to_datetime(time)
        .to_zoned(zone.clone())
        .ok()
}

#[cfg(test)]
mod tests {
    use terrarium_zfs::Txg;

    use super::*;
    use crate::point::{Kind, Place};

    fn point(number: u64, name: &str, created: &str, alias: Option<&str>) -> RestorePoint {
        RestorePoint {
            guid: Guid::new(number),
            snapshot: SnapshotName::new(name).unwrap(),
            place: if name.contains("aside") {
                Place::Aside("op-1".parse().unwrap())
            } else {
                Place::Live
            },
            createtxg: Txg::new(number),
            created: created.parse().unwrap(),
            kind: Kind::Foreign,
            period: None,
            alias: alias.map(str::to_owned),
            expires: None,
            last_used: None,
            pre: None,
            size: 0,
            referenced: 0,
            holds: 0,
            clones: Vec::new(),
            idmap: None,
            stateful: false,
        }
    }

    fn points() -> Vec<RestorePoint> {
        vec![
            point(
                11,
                "p/c/web@autosnap_2026-04-19_10:00:00_hourly",
                "2026-04-19T10:00:00Z",
                None,
            ),
            point(
                12,
                "p/c/web@snap-20260419-101500",
                "2026-04-19T10:15:00Z",
                Some("before upgrade"),
            ),
            point(
                13,
                "p/t/aside/op-1/web@manual",
                "2026-04-19T11:00:00Z",
                Some("12"),
            ),
            point(14, "p/c/web@manual", "2026-04-19T12:00:00Z", None),
            point(
                15,
                "p/t/aside/op-1/web@last",
                "2026-04-19T13:00:00Z",
                Some("before upgrade"),
            ),
            point(
                16,
                "p/t/aside/op-1/web@snapshot-x",
                "2026-04-19T13:10:00Z",
                None,
            ),
        ]
    }

    fn now() -> Zoned {
        "2026-04-19T16:00:00+02:00[Europe/Berlin]".parse().unwrap()
    }

    fn chosen(selector: &str) -> Result<u64, SelectError> {
        select(&points(), Some(selector), &now()).map(|selected| selected.point.guid.get())
    }

    #[test]
    fn without_a_selector_the_newest_point_of_the_present_history_is_meant() {
        assert_eq!(
            select(&points(), None, &now()).unwrap().point.guid,
            Guid::new(14)
        );
    }

    #[test]
    fn name_guid_alias_time_and_fragment_are_tried_in_that_order() {
        assert_eq!(chosen("autosnap_2026-04-19_10:00:00_hourly"), Ok(11));
        assert_eq!(chosen("p/c/web@manual"), Ok(14));
        assert_eq!(chosen("x"), Ok(16), "LXD calls it x");
        assert_eq!(chosen("13"), Ok(13));
        assert_eq!(chosen("12"), Ok(12), "a guid comes before an alias");
        assert_eq!(
            chosen("2026-04-19 12:30"),
            Ok(12),
            "12:30 in Berlin is 10:30 in UTC"
        );
        assert_eq!(chosen("hourly"), Ok(11));
    }

    #[test]
    fn a_time_means_the_nearest_point_at_or_before_it_wherever_it_lies_now() {
        for (time, expected) in [
            ("2026-04-19T10:15:00Z", 12),
            ("2026-04-19T10:14:59Z", 11),
            ("2026-04-19T13:30:00+02:00", 13),
            ("14:05", 14),
            ("15:05", 15),
            ("2026-04-20", 16),
            ("3h ago", 13),
            ("2 hours ago", 14),
        ] {
            assert_eq!(chosen(time), Ok(expected), "{time}");
        }
    }

    #[test]
    fn a_time_of_day_that_is_yet_to_come_means_yesterdays() {
        let error = chosen("16:01").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no restore point at or before 2026-04-18 16:01:00 CEST; the oldest is \
             autosnap_2026-04-19_10:00:00_hourly, taken 2026-04-19 12:00:00 CEST"
        );
    }

    #[test]
    fn whatever_fits_twice_is_an_error_that_lists_the_candidates() {
        for (selector, first, second) in [
            ("manual", 13, 14),
            ("before upgrade", 12, 15),
            ("upgr", 12, 15),
        ] {
            let SelectError::Ambiguous { candidates, .. } = chosen(selector).unwrap_err() else {
                panic!("{selector} should be ambiguous");
            };
            assert_eq!(candidates.len(), 2);
            assert!(
                candidates[0].ends_with(&format!("(guid {first})")),
                "{candidates:?}"
            );
            assert!(
                candidates[1].ends_with(&format!("(guid {second})")),
                "{candidates:?}"
            );
        }
    }

    #[test]
    fn what_fits_nothing_is_an_error_that_shows_what_is_near() {
        let SelectError::NotFound { nearest, .. } = chosen("befor upgrade").unwrap_err() else {
            panic!("nothing should fit");
        };
        assert_eq!(nearest[0], "before upgrade");
        assert!(matches!(chosen(""), Err(SelectError::NotFound { .. })));
        assert_eq!(
            select::<RestorePoint>(&[], Some("x"), &now()),
            Err(SelectError::NoPoints)
        );
    }
}
