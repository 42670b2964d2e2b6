//! Removing what an archive does not keep, and what nobody ever finished.
//!
//! ```text
//! survey     which points, parts and other objects there are
//! plan       what stays and why, what goes and in which order (pure)
//! carry out  a notice; the survey and the plan once more; then point by point:
//!            manifest, annotations, parts
//! ```
//! A point is there as long as its manifest is: that goes first, so that nothing that is listed is ever half removed.
//! What is left by a prune that died are objects that nobody names; the next one collects them.

mod carry_out;
mod survey;

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use terrarium_zfs::{Guid, SnapshotName};

pub use carry_out::{NotRemoved, Outcome, Pruned};
pub use survey::Survey;

use crate::archive::prune::survey::{Facts, Stray};
use crate::archive::retention::{Judged, Policy, Reason, Standing, plan_retention, removal_order};
use crate::format::{Lineage, ManifestPlace, PartPlace, Place, Removal};
use crate::store::directory::Leftover;

/// The shortest grace time: longer than anybody relies on parts without a manifest
/// ([`JOURNAL_LIFE`](crate::pipeline::JOURNAL_LIFE)).
pub const MIN_GRACE: SignedDuration = SignedDuration::from_hours(4 * 24);

/// The usual grace time.
pub const DEFAULT_GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a prune goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Which points stay.
    pub policy: Policy,
    /// How old an object must be that nobody names. Less than [`MIN_GRACE`] counts as that.
    pub grace: SignedDuration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            grace: DEFAULT_GRACE,
        }
    }
}

/// What is going to be removed, and why the rest stays.
#[derive(Clone, Debug)]
pub struct PrunePlan {
    /// What it goes by.
    pub rules: Rules,
    /// All points: by lineage, then from the oldest to the newest.
    pub points: Vec<PlannedPoint>,
    /// Those that go, in the order in which they do.
    pub order: Vec<ManifestPlace>,
    /// Objects that nobody names, and that are old enough.
    pub strays: Vec<PlannedStray>,
    /// How many objects nobody names that are too young, or of unknown age.
    pub waiting: usize,
    /// Their size in bytes.
    pub waiting_bytes: u64,
}

/// A point, and what becomes of it.
#[derive(Clone, Debug)]
pub struct PlannedPoint {
    /// Where its manifest stands.
    pub place: ManifestPlace,
    /// The name that it is stored under; none if its manifest cannot be read, as those that follow.
    pub instance: Option<String>,
    /// The snapshot.
    pub snapshot: Option<SnapshotName>,
    /// Its alias.
    pub alias: Option<String>,
    /// The size of its parts, in bytes.
    pub stored_bytes: u64,
    /// Why it stays; if there is no reason, it goes.
    pub reasons: Vec<Reason>,
}

/// An object that nobody names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStray {
    /// Its key below the archive's prefix, or its path.
    pub name: String,
    /// What it is.
    pub kind: StrayKind,
    /// Its size in bytes.
    pub size: u64,
    target: Target,
}

/// What can be left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StrayKind {
    /// A part of a stream that was never published, or whose point is gone.
    Part,
    /// An annotation of a point that is gone.
    Annotation,
    /// The notice of a prune that died.
    Notice,
    /// What a store was tried with.
    Probe,
    /// A file that a put into a folder has left.
    Temporary,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Object(crate::store::Key),
    File(Leftover),
}

impl PrunePlan {
    /// Whether nothing is to be removed.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty() && self.strays.is_empty()
    }

    /// The points that go, in the order of [`points`](Self::points).
    pub fn going(&self) -> impl Iterator<Item = &PlannedPoint> {
        self.points.iter().filter(|point| point.reasons.is_empty())
    }

    /// How many bytes are freed by it.
    pub fn freed_bytes(&self) -> u64 {
        let points = self.going().map(|point| point.stored_bytes);
        let strays = self.strays.iter().map(|stray| stray.size);
        points.chain(strays).fold(0, u64::saturating_add)
    }
}

/// Decides what goes. `now` is a time by the store's clock, or one that is not later as far as anybody knows.
pub fn plan_prune(survey: &Survey, rules: Rules, now: Timestamp) -> PrunePlan {
    let strays = Strays::new(survey, rules, now);
    let judged = judge(survey, &strays.built_upon);
    let rulings = plan_retention(&judged, &rules.policy);
    let order = removal_order(&judged, &rulings);
    let points = survey.points.iter().zip(rulings);
    let points = points.map(|(seen, ruling)| {
        let facts = seen.facts.as_ref();
        PlannedPoint {
            place: ruling.place,
            instance: facts.map(|facts| facts.instance.clone()),
            snapshot: facts.map(|facts| facts.snapshot.clone()),
            alias: facts.and_then(|facts| facts.alias.clone()),
            stored_bytes: facts.map_or(0, |facts| facts.stored_bytes),
            reasons: ruling.reasons,
        }
    });
    PrunePlan {
        rules,
        points: points.collect(),
        order,
        strays: strays.going,
        waiting: strays.waiting,
        waiting_bytes: strays.waiting_bytes,
    }
}

fn judge(survey: &Survey, built_upon: &HashSet<Guid>) -> Vec<Judged> {
    let base = |lineage: Lineage, facts: &Facts| {
        let base = survey.catalog.base(lineage, facts.base);
        base.map(|entry| entry.place)
    };
    let judge = |seen: &survey::Seen| {
        let place = seen.place;
        Judged {
            place,
            base: seen
                .facts
                .as_ref()
                .and_then(|facts| base(place.lineage, facts)),
            standing: match &seen.facts {
                Some(facts) if !facts.trusted => Standing::Unusable,
                None => Standing::Unusable,
                Some(facts) if facts.pinned => Standing::Pinned,
                Some(_) => Standing::Ordinary,
            },
            built_upon: built_upon.contains(&place.guid),
        }
    };
    survey.points.iter().map(judge).collect()
}

/// What nobody names.
#[derive(Default)]
struct Strays {
    going: Vec<PlannedStray>,
    waiting: usize,
    waiting_bytes: u64,
    /// What streams start from that are being stored, or of which nobody can tell.
    built_upon: HashSet<Guid>,
}

impl Strays {
    fn new(survey: &Survey, rules: Rules, now: Timestamp) -> Self {
        let grace = rules.grace.max(MIN_GRACE);
        let mut strays = Self::default();
        strays.look_at_parts(survey, grace, now);
        let points: HashSet<_> = survey
            .points
            .iter()
            .map(|seen| (seen.place.lineage, seen.place.guid))
            .collect();
        for stray in &survey.annotations {
            if let Some(Place::Annotation(place)) = stray.place
                && !points.contains(&(place.lineage, place.guid))
            {
                strays.add(StrayKind::Annotation, stray, grace, now);
            }
        }
        let life = SignedDuration::try_from(Removal::LIFE).unwrap_or(MIN_GRACE);
        for (kind, list, grace) in [
            (StrayKind::Notice, &survey.notices, life),
            (StrayKind::Probe, &survey.probes, grace),
        ] {
            for stray in list {
                strays.add(kind, stray, grace, now);
            }
        }
        for file in &survey.files {
            let stray = PlannedStray {
                name: file.path.to_string_lossy().into_owned(),
                kind: StrayKind::Temporary,
                size: file.size,
                target: Target::File(file.clone()),
            };
            strays.decide(stray, file.modified, grace, now);
        }
        strays
    }

    /// Parts without a manifest go when no part of their stream is young: a run that is alive stores parts, and one that
    /// is resumed names those of earlier runs.
    fn look_at_parts(&mut self, survey: &Survey, grace: SignedDuration, now: Timestamp) {
        let mut named: HashSet<PartPlace> = HashSet::new();
        let mut unreadable: HashSet<Guid> = HashSet::new();
        for seen in &survey.points {
            match &seen.facts {
                Some(facts) => named.extend(&facts.parts),
                // Nobody knows which parts are its.
                None => {
                    unreadable.insert(seen.place.guid);
                }
            }
        }
        let mut alive: HashMap<(Guid, Option<Guid>), bool> = HashMap::new();
        for (place, stray) in survey.parts() {
            let young = !is_older(stray.modified, grace, now);
            *alive.entry((place.guid, place.from)).or_default() |= young;
        }
        for (place, stray) in survey.parts() {
            if named.contains(&place) {
                continue;
            }
            let stream = (place.guid, place.from);
            let alive = alive.get(&stream).copied().unwrap_or(true);
            if alive || unreadable.contains(&place.guid) {
                self.waiting += 1;
                self.waiting_bytes = self.waiting_bytes.saturating_add(stray.size);
                self.built_upon.extend(place.from);
            } else {
                self.going.push(planned(StrayKind::Part, stray));
            }
        }
    }

    fn add(&mut self, kind: StrayKind, stray: &Stray, grace: SignedDuration, now: Timestamp) {
        self.decide(planned(kind, stray), stray.modified, grace, now);
    }

    fn decide(
        &mut self,
        stray: PlannedStray,
        modified: Timestamp,
        grace: SignedDuration,
        now: Timestamp,
    ) {
        if is_older(modified, grace, now) {
            self.going.push(stray);
        } else {
            self.waiting += 1;
            self.waiting_bytes = self.waiting_bytes.saturating_add(stray.size);
        }
    }
}

fn planned(kind: StrayKind, stray: &Stray) -> PlannedStray {
    PlannedStray {
        name: stray.key.to_string(),
        kind,
        size: stray.size,
        target: Target::Object(stray.key.clone()),
    }
}

/// Whether something is known to be older than that. A time that no archive can be from is none: stores say 1970 where
/// they know nothing.
fn is_older(modified: Timestamp, than: SignedDuration, now: Timestamp) -> bool {
    let known = modified.as_second() > SignedDuration::from_hours(24 * 365).as_secs();
    known && now.duration_since(modified) > than
}
