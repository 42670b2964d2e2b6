//! What builds upon what, and so what depends on what is damaged.

use std::collections::{HashMap, HashSet};

use terrarium_zfs::SnapshotName;

use crate::archive::verify::{Damage, PointReport, Problem, State, Verification};
use crate::archive::{Archive, ArchiveError, Catalog, Entry};
use crate::format::{Base, Lineage, ManifestPlace, Place, Verdict};
use crate::store::Store;

/// What stays of a point that was looked at.
pub(super) struct Looked {
    pub(super) entry: Entry,
    pub(super) instance: Option<String>,
    pub(super) snapshot: Option<SnapshotName>,
    pub(super) verdict: Option<Verdict>,
    pub(super) base: Base,
    pub(super) problems: Vec<Problem>,
    pub(super) unread: bool,
}

/// Points, and what builds upon what.
pub(super) struct Graph {
    order: Vec<ManifestPlace>,
    pub(super) points: HashMap<ManifestPlace, Looked>,
    parents: HashMap<ManifestPlace, ManifestPlace>,
}

impl Graph {
    pub(super) fn new(looked: Vec<Looked>, catalog: &Catalog) -> Self {
        let order = looked.iter().map(|looked| looked.entry.place).collect();
        let parents = looked.iter().filter_map(|looked| {
            let place = looked.entry.place;
            let parent = catalog.base(place.lineage, looked.base)?;
            Some((place, parent.place))
        });
        let parents = parents.collect();
        let points = looked
            .into_iter()
            .map(|looked| (looked.entry.place, looked));
        Self {
            order,
            points: points.collect(),
            parents,
        }
    }

    /// Whether all that streams start from is there.
    pub(super) fn check_bases<S: Store>(
        &mut self,
        archive: &Archive<S>,
    ) -> Result<(), ArchiveError> {
        for &place in &self.order {
            let circular = self.ancestors(place).last() == Some(place);
            let Some(looked) = self.points.get_mut(&place) else {
                continue;
            };
            let key = archive.layout.key(&Place::Manifest(place))?;
            if circular {
                looked.problems.push(Problem::Circular { key });
            } else if let Some(base) = looked.base.guid()
                && !self.parents.contains_key(&place)
            {
                looked.problems.push(Problem::Base { key, base });
            }
        }
        Ok(())
    }

    /// All that a point builds upon, the nearest first; ends where it would begin anew.
    fn ancestors(&self, place: ManifestPlace) -> impl Iterator<Item = ManifestPlace> {
        let mut seen = HashSet::new();
        let parent = |place: &ManifestPlace| self.parents.get(place).copied();
        std::iter::successors(parent(&place), parent).take_while(move |&place| seen.insert(place))
    }

    /// The lineages that have points of that name. One of which nothing can be read may be of any name.
    pub(super) fn named(&self, name: &str) -> HashSet<Lineage> {
        let lineage = |looked: &Looked| looked.entry.place.lineage;
        let mut known = HashSet::new();
        let mut named = HashSet::new();
        for looked in self.points.values() {
            if let Some(instance) = &looked.instance {
                known.insert(lineage(looked));
                if instance == name {
                    named.insert(lineage(looked));
                }
            }
        }
        if !named.is_empty() {
            let all = self.points.values().map(lineage);
            named.extend(all.filter(|lineage| !known.contains(lineage)));
        }
        named
    }

    /// The points of some lineages and what they build upon; without any all points.
    pub(super) fn wanted(&self, lineages: Option<&HashSet<Lineage>>) -> Vec<ManifestPlace> {
        let Some(lineages) = lineages else {
            return self.order.clone();
        };
        let is_of_them = |place: &&ManifestPlace| lineages.contains(&place.lineage);
        let mut wanted: HashSet<_> = self.order.iter().filter(is_of_them).copied().collect();
        for place in wanted.clone() {
            wanted.extend(self.ancestors(place));
        }
        let order = self.order.iter().filter(|place| wanted.contains(place));
        order.copied().collect()
    }

    pub(super) fn report(mut self, wanted: &[ManifestPlace]) -> Verification {
        let damaged: HashSet<_> = self
            .points
            .values()
            .filter(|looked| !looked.problems.is_empty())
            .map(|looked| looked.entry.place)
            .collect();
        let mut affected: HashMap<ManifestPlace, Vec<ManifestPlace>> = HashMap::new();
        let mut points = Vec::new();
        for &place in wanted {
            let Some(looked) = self.points.get(&place) else {
                continue;
            };
            let by: Vec<_> = self
                .ancestors(place)
                .filter(|ancestor| *ancestor != place && damaged.contains(ancestor))
                .collect();
            for &ancestor in &by {
                affected.entry(ancestor).or_default().push(place);
            }
            let state = if !looked.problems.is_empty() {
                affected.entry(place).or_default().push(place);
                State::Damaged
            } else if !by.is_empty() {
                State::Affected(by)
            } else if looked.unread {
                State::Unread
            } else {
                State::Whole
            };
            points.push(PointReport {
                place,
                instance: looked.instance.clone(),
                snapshot: looked.snapshot.clone(),
                verdict: looked.verdict,
                state,
            });
        }
        let mut damages = Vec::new();
        for &place in wanted {
            let problems = self.points.get_mut(&place);
            let problems = problems.map(|looked| std::mem::take(&mut looked.problems));
            let mut affects = affected.get(&place).cloned().unwrap_or_default();
            affects.sort_by_key(|place| (place.lineage, place.creation, place.guid));
            for problem in problems.into_iter().flatten() {
                damages.push(Damage {
                    problem,
                    point: place,
                    affects: affects.clone(),
                });
            }
        }
        Verification { points, damages }
    }
}
