//! Which restore points an archive keeps. Pure: it reads no store and no clock, and removes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::format::{Lineage, ManifestPlace};

/// How many points of a lineage are kept: the newest one of each of so many days, weeks and months in UTC that
/// have points. What has none is not counted: a host that was off for a year loses nothing by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Days.
    pub daily: usize,
    /// Weeks, from Monday.
    pub weekly: usize,
    /// Months.
    pub monthly: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            daily: 7,
            weekly: 4,
            monthly: 12,
        }
    }
}

/// A point that is to be decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Where its manifest stands.
    pub place: ManifestPlace,
    /// The point that its stream starts from, as [`Catalog::base`](super::Catalog::base) finds it.
    pub base: Option<ManifestPlace>,
    /// What it is.
    pub standing: Standing,
    /// Parts are stored, of which no manifest tells yet, of a stream that starts from it.
    pub built_upon: bool,
}

/// What a point is to retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// One of many.
    Ordinary,
    /// Pinned, or aliased or taken on demand without an expiry.
    Pinned,
    /// Its manifest is damaged, or no host of the archive signed it. It is not counted: who can write to the
    /// store must not be able to push good points out.
    Unusable,
}

/// What becomes of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Where its manifest stands.
    pub place: ManifestPlace,
    /// Why it stays; if there is no reason, it goes.
    pub reasons: Vec<Reason>,
}

/// Why a point stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is the newest of its lineage.
    Newest,
    /// It is pinned.
    Pinned,
    /// It is the newest of a day.
    Daily,
    /// It is the newest of a week.
    Weekly,
    /// It is the newest of a month.
    Monthly,
    /// The stream of one that stays starts from it.
    NeededBy(ManifestPlace),
    /// A stream is being stored that starts from it, or was so not long ago.
    BuiltUpon,
    /// It cannot be used, and somebody should look at why.
    Unusable,
    /// One of its lineage cannot be used, or, where it is the origin of clones, any other: what that one starts from
    /// is not known.
    BesideUnusable,
}

impl Ruling {
    /// Whether it stays.
    pub fn stays(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Decides on all points of an archive, in their order. It must be all of them: a clone in one lineage needs its origin
/// in another.
///
/// What was exported as the origin of clones alone ([`Lineage::of_origin`]) is nobody's restore point: it stays as long as
/// one is kept that needs it, and no longer, unless it is pinned.
pub fn plan_retention(points: &[Judged], policy: &Policy) -> Vec<Ruling> {
    let mut reasons: HashMap<ManifestPlace, Vec<Reason>> = HashMap::new();
    let mut lineages: BTreeMap<Lineage, Vec<&Judged>> = BTreeMap::new();
    let is_unusable = |point: &Judged| point.standing == Standing::Unusable;
    let all_usable = !points.iter().any(is_unusable);
    for point in points {
        if is_origin(point.place) && !is_unusable(point) {
            let mut keep = |reason| reasons.entry(point.place).or_default().push(reason);
            if point.standing == Standing::Pinned {
                keep(Reason::Pinned);
            }
            if !all_usable {
                keep(Reason::BesideUnusable);
            }
        } else {
            lineages.entry(point.place.lineage).or_default().push(point);
        }
    }
    for mut of_one in lineages.into_values() {
        of_one.sort_by_key(|point| std::cmp::Reverse((point.place.creation, point.place.guid)));
        let (unusable, usable): (Vec<_>, Vec<_>) =
            of_one.into_iter().partition(|point| is_unusable(point));
        let mut keep = |point: &Judged, reason| {
            reasons.entry(point.place).or_default().push(reason);
        };
        for point in &unusable {
            keep(point, Reason::Unusable);
        }
        if let Some(newest) = usable.first() {
            keep(newest, Reason::Newest);
        }
        for point in &usable {
            if point.standing == Standing::Pinned {
                keep(point, Reason::Pinned);
            }
            if !unusable.is_empty() {
                keep(point, Reason::BesideUnusable);
            }
        }
        for (count, period, reason) in [
            (policy.daily, day as fn(u64) -> i64, Reason::Daily),
            (policy.weekly, week, Reason::Weekly),
            (policy.monthly, month, Reason::Monthly),
        ] {
            let mut seen = HashSet::new();
            for point in &usable {
                if seen.len() < count && seen.insert(period(point.place.creation)) {
                    keep(point, reason);
                }
            }
        }
    }
    for point in points.iter().filter(|point| point.built_upon) {
        let of = reasons.entry(point.place).or_default();
        of.push(Reason::BuiltUpon);
    }
    keep_ancestors(points, &mut reasons);
    let ruling = |point: &Judged| Ruling {
        place: point.place,
        reasons: reasons.get(&point.place).cloned().unwrap_or_default(),
    };
    points.iter().map(ruling).collect()
}

/// Whether it was exported only because clones start from it.
fn is_origin(place: ManifestPlace) -> bool {
    place.lineage == Lineage::of_origin(place.guid)
}

/// What is removed, in an order in which it can be stopped anywhere: no point goes before those that start from it.
pub fn removal_order(points: &[Judged], rulings: &[Ruling]) -> Vec<ManifestPlace> {
    let bases = bases(points);
    let going = rulings.iter().filter(|ruling| !ruling.stays());
    let mut going: Vec<_> = going
        .map(|ruling| (ancestors(&bases, ruling.place).len(), ruling.place))
        .collect();
    going.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
    going.into_iter().map(|(_, place)| place).collect()
}

fn keep_ancestors(points: &[Judged], reasons: &mut HashMap<ManifestPlace, Vec<Reason>>) {
    let bases = bases(points);
    let kept = points.iter().map(|point| point.place);
    let kept: Vec<_> = kept.filter(|place| reasons.contains_key(place)).collect();
    let mut needed = BTreeSet::new();
    for place in kept {
        for ancestor in ancestors(&bases, place) {
            // One reason of this kind says enough.
            let key = (ancestor.lineage, ancestor.creation, ancestor.guid);
            if needed.insert(key) {
                let of = reasons.entry(ancestor).or_default();
                of.push(Reason::NeededBy(place));
            }
        }
    }
}

type Bases = HashMap<ManifestPlace, ManifestPlace>;

fn bases(points: &[Judged]) -> Bases {
    let base = |point: &Judged| Some((point.place, point.base?));
    points.iter().filter_map(base).collect()
}

/// All that a point builds upon, the nearest first. Streams that start from each other end it.
fn ancestors(bases: &Bases, place: ManifestPlace) -> Vec<ManifestPlace> {
    let mut seen = HashSet::from([place]);
    let mut found = Vec::new();
    let mut at = place;
    while let Some(&base) = bases.get(&at) {
        if !seen.insert(base) {
            break;
        }
        found.push(base);
        at = base;
    }
    found
}

fn day(creation: u64) -> i64 {
    i64::try_from(creation / 86_400).unwrap_or(i64::MAX)
}

/// Weeks since the Monday before 1970, which began on a Thursday.
fn week(creation: u64) -> i64 {
    day(creation).saturating_add(3) / 7
}

/// Months since the year 0; all that lies beyond what a calendar knows is one.
fn month(creation: u64) -> i64 {
    let at = i64::try_from(creation).ok();
    let at = at.and_then(|second| Timestamp::from_second(second).ok());
    at.map_or(i64::MAX, |at| {
        let date = at.to_zoned(TimeZone::UTC);
        i64::from(date.year()) * 12 + i64::from(date.month())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use terrarium_zfs::Guid;

    use super::*;

    fn lineage(number: u8) -> Lineage {
        let text = format!("01234567-89ab-4cde-8f01-2345678900{number:02x}");
        text.parse().unwrap()
    }

    fn place(of: u8, at: &str, guid: u64) -> ManifestPlace {
        let at: Timestamp = at.parse().unwrap();
        ManifestPlace {
            lineage: lineage(of),
            creation: at.as_second().unsigned_abs(),
            guid: Guid::new(guid),
        }
    }

    /// A chain: each point starts from the one before.
    fn chain(of: u8, times: &[&str]) -> Vec<Judged> {
        let mut points: Vec<Judged> = Vec::new();
        for (number, at) in times.iter().enumerate() {
            points.push(Judged {
                place: place(of, at, number as u64 + 1),
                base: points.last().map(|point| point.place),
                standing: Standing::Ordinary,
                built_upon: false,
            });
        }
        points
    }

    /// Full streams only.
    fn fulls(of: u8, times: &[&str]) -> Vec<Judged> {
        let chain = chain(of, times);
        let full = |point| Judged {
            base: None,
            ..point
        };
        chain.into_iter().map(full).collect()
    }

    fn kept(points: &[Judged], policy: &Policy) -> Vec<u64> {
        let rulings = plan_retention(points, policy);
        let kept = rulings.iter().filter(|ruling| ruling.stays());
        kept.map(|ruling| ruling.place.guid.get()).collect()
    }

    fn policy(daily: usize, weekly: usize, monthly: usize) -> Policy {
        Policy {
            daily,
            weekly,
            monthly,
        }
    }

    const TIMES: [&str; 6] = [
        "2026-09-30T23:59:59Z", // a Wednesday
        "2026-10-01T00:00:00Z",
        "2026-10-04T22:00:00Z", // a Sunday
        "2026-10-05T01:00:00Z",
        "2026-10-05T22:00:00Z",
        "2026-10-06T01:00:00Z",
    ];

    #[test]
    fn the_newest_of_each_day_week_and_month_stays() {
        let points = fulls(1, &TIMES);
        assert_eq!(kept(&points, &policy(0, 0, 0)), [6], "the newest, always");
        assert_eq!(kept(&points, &policy(2, 0, 0)), [5, 6]);
        assert_eq!(kept(&points, &policy(3, 0, 0)), [3, 5, 6]);
        assert_eq!(kept(&points, &policy(0, 2, 0)), [3, 6]);
        assert_eq!(kept(&points, &policy(0, 0, 2)), [1, 6]);
        assert_eq!(kept(&points, &Policy::default()), [1, 2, 3, 5, 6]);
    }

    #[test]
    fn what_one_that_stays_starts_from_stays() {
        let points = chain(1, &TIMES);
        assert_eq!(kept(&points, &policy(0, 0, 0)), [1, 2, 3, 4, 5, 6]);
        // A new full stream frees the chain before it.
        let mut points = points;
        points[5].base = None;
        assert_eq!(kept(&points, &policy(0, 0, 0)), [6]);
        let rulings = plan_retention(&points, &policy(0, 0, 0));
        let order = removal_order(&points, &rulings);
        let order: Vec<_> = order.iter().map(|place| place.guid.get()).collect();
        assert_eq!(order, [5, 4, 3, 2, 1]);
    }

    #[test]
    fn an_origin_stays_for_a_clone_in_another_lineage() {
        let mut points = fulls(1, &TIMES);
        let mut clone = fulls(2, &TIMES[..1]);
        clone[0].base = Some(points[1].place);
        points.extend(clone);
        let rulings = plan_retention(&points, &policy(0, 0, 0));
        let needed = Reason::NeededBy(points[6].place);
        assert_eq!(rulings[1].reasons, [needed]);
        assert!(!rulings[0].stays());
    }

    #[test]
    fn an_image_goes_with_the_last_point_that_needs_it() {
        let origin = |guid| Judged {
            place: ManifestPlace {
                lineage: Lineage::of_origin(Guid::new(guid)),
                ..place(1, TIMES[0], guid)
            },
            base: None,
            standing: Standing::Ordinary,
            built_upon: false,
        };
        let (image, other) = (origin(100), origin(101));
        // Two containers of one image; the newest points of both are full streams of their own.
        let mut points = vec![image, other];
        for of in [1, 2] {
            let mut container = chain(of, &TIMES[..3]);
            container[0].base = Some(image.place);
            container[2].base = None;
            points.extend(container);
        }
        let never = policy(0, 0, 0);
        assert_eq!(kept(&points, &never), [3, 3], "nobody needs the image");
        assert_eq!(kept(&points, &policy(2, 0, 0)), [100, 1, 2, 3, 1, 2, 3]);
        let rulings = plan_retention(&points, &never);
        let order = removal_order(&points, &rulings);
        let at = |place| order.iter().position(|&other| other == place);
        let clones = points
            .iter()
            .filter(|point| point.base == Some(image.place));
        assert!(clones.clone().count() == 2, "both containers start from it");
        for clone in clones {
            assert!(at(clone.place) < at(image.place));
        }
        points[1].standing = Standing::Pinned;
        assert_eq!(kept(&points, &never), [101, 3, 3]);
        // Nobody knows what this one starts from.
        points[1].standing = Standing::Ordinary;
        points[2].standing = Standing::Unusable;
        points[2].base = None;
        let rulings = plan_retention(&points, &never);
        assert_eq!(rulings[0].reasons, [Reason::BesideUnusable]);
        assert_eq!(rulings[1].reasons, [Reason::BesideUnusable]);
    }

    #[test]
    fn what_is_pinned_stays_and_what_is_unusable_pushes_nothing_out() {
        let mut points = fulls(1, &TIMES);
        points[0].standing = Standing::Pinned;
        assert_eq!(kept(&points, &policy(0, 0, 0)), [1, 6]);
        points[5].standing = Standing::Unusable;
        let rulings = plan_retention(&points, &policy(0, 0, 0));
        assert!(rulings.iter().all(Ruling::stays));
        assert_eq!(rulings[5].reasons, [Reason::Unusable]);
        assert!(rulings[4].reasons.contains(&Reason::Newest));
    }

    fn archives() -> impl Strategy<Value = Vec<Judged>> {
        let point = (
            0..3u8,
            0..200_000_000u64,
            any::<prop::sample::Index>(),
            0..8u8,
        );
        prop::collection::vec(point, 1..40).prop_map(|drawn| {
            let mut points: Vec<Judged> = Vec::new();
            for (number, (of, creation, base, kind)) in drawn.into_iter().enumerate() {
                let base = (kind > 1 && !points.is_empty()).then(|| base.get(&points).place);
                let guid = Guid::new(number as u64 + 1);
                points.push(Judged {
                    place: ManifestPlace {
                        lineage: match kind {
                            0 => Lineage::of_origin(guid),
                            _ => lineage(of),
                        },
                        creation,
                        guid,
                    },
                    base,
                    standing: match kind {
                        2 => Standing::Pinned,
                        3 => Standing::Unusable,
                        _ => Standing::Ordinary,
                    },
                    built_upon: kind == 4,
                });
            }
            points
        })
    }

    proptest! {
        #[test]
        fn nothing_that_is_needed_goes(points in archives(), days in 0..4usize, months in 0..4usize) {
            let rulings = plan_retention(&points, &policy(days, 0, months));
            let stays: HashSet<_> = rulings
                .iter()
                .filter(|ruling| ruling.stays())
                .map(|ruling| ruling.place)
                .collect();
            for point in &points {
                if stays.contains(&point.place) {
                    prop_assert!(point.base.is_none_or(|base| stays.contains(&base)));
                } else {
                    prop_assert_eq!(point.standing, Standing::Ordinary);
                    prop_assert!(!point.built_upon);
                    let newer = points.iter().filter(|other| other.standing != Standing::Unusable
                        && other.place.lineage == point.place.lineage
                        && (other.place.creation, other.place.guid) > (point.place.creation, point.place.guid));
                    prop_assert!(
                        is_origin(point.place) || newer.count() > 0,
                        "the newest of a lineage stays"
                    );
                }
            }
            let order = removal_order(&points, &rulings);
            prop_assert_eq!(order.len() + stays.len(), points.len());
            for (at, place) in order.iter().enumerate() {
                let child = |other: &Judged| other.base == Some(*place) && order[at..].contains(&other.place);
                prop_assert!(!points.iter().any(child), "what starts from it is gone before");
            }
        }

        #[test]
        fn no_time_and_no_circle_makes_it_panic(times in prop::collection::vec(any::<u64>(), 1..5)) {
            let mut points: Vec<Judged> = times
                .iter()
                .enumerate()
                .map(|(number, &creation)| Judged {
                    place: ManifestPlace { lineage: lineage(1), creation, guid: Guid::new(number as u64) },
                    base: None,
                    standing: Standing::Ordinary,
                    built_upon: false,
                })
                .collect();
            let places: Vec<_> = points.iter().map(|point| point.place).collect();
            for (point, base) in points.iter_mut().zip(places.iter().cycle().skip(1)) {
                point.base = Some(*base);
            }
            let rulings = plan_retention(&points, &Policy::default());
            prop_assert!(rulings.iter().all(Ruling::stays));
            prop_assert_eq!(removal_order(&points, &rulings), vec![]);
        }
    }
}
