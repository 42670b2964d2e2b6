//! Which restore points there are of each instance, on this host and in an archive.

use std::collections::BTreeMap;

use jiff::Timestamp;
use terrarium_core::export::lineage_of;
use terrarium_core::{Coverage, Covered, Instance, InstanceRef, Inventory, RestorePoint};
use terrarium_s3::format::Lineage;
use terrarium_zfs::Guid;

use crate::archive::points::{Listed, Points};

/// An instance of this host, or one that only the archive knows.
pub(crate) struct OfInstance<'a> {
    pub(crate) project: String,
    pub(crate) name: String,
    /// As it is on this host.
    pub(crate) here: Option<(&'a Instance, &'a Covered)>,
    /// The history that it goes on with; of one that is not here the one that was stored last.
    pub(crate) lineage: Option<Lineage>,
    /// The newest first.
    pub(crate) points: Vec<Held<'a>>,
}

/// A restore point that is here, in the archive, or both.
pub(crate) struct Held<'a> {
    pub(crate) local: Option<&'a RestorePoint>,
    pub(crate) archived: Option<&'a Listed>,
}

impl Held<'_> {
    pub(crate) fn guid(&self) -> Option<Guid> {
        let local = self.local.map(|point| point.guid);
        local.or(self.archived.map(|point| point.guid))
    }

    pub(crate) fn created(&self) -> Timestamp {
        let local = self.local.map(|point| point.created);
        let archived = self.archived.map(|point| point.created);
        local.or(archived).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Of two of the same second, the one of this host has its order within the pool, the archived one the time at
    /// which it was stored.
    fn order(&self) -> (Timestamp, u64, Option<Timestamp>) {
        let txg = self.local.map_or(0, |point| point.createtxg.get());
        let exported = self.archived.map(|point| point.exported);
        (self.created(), txg, exported)
    }
}

impl OfInstance<'_> {
    /// As `--instance` takes it.
    pub(crate) fn id(&self) -> String {
        match self.project == terrarium_core::DEFAULT_PROJECT {
            true => self.name.clone(),
            false => format!("{}/{}", self.project, self.name),
        }
    }

    /// Whether it is meant: by the name that it has here, or by one that it was stored under.
    pub(crate) fn is(&self, wanted: &InstanceRef) -> bool {
        let named = self.project == wanted.project.as_str() && self.name == wanted.name.as_str();
        let mut archived = self.points.iter().filter_map(|point| point.archived);
        named || archived.any(|point| point.is_of(wanted))
    }

    /// The newest point that the archive has.
    pub(crate) fn newest_archived(&self) -> Option<&Listed> {
        self.points.iter().find_map(|point| point.archived)
    }
}

/// Puts together what belongs together: an archived point belongs to the instance here that goes on with its
/// lineage, else to the one here that has its name, else to one that is not here. A point of one guid is one point.
///
/// Instances that are not covered are left out, unless the archive has something of them; so are images.
pub(crate) fn everywhere<'a>(
    inventory: Option<&'a Inventory>,
    points: &'a Points,
) -> Vec<OfInstance<'a>> {
    let mut found: Vec<OfInstance<'a>> = Vec::new();
    for instance in inventory.into_iter().flat_map(|found| &found.instances) {
        let Coverage::Covered(covered) = &instance.coverage else {
            continue;
        };
        let local = covered.points.iter().map(|point| Held {
            local: Some(point),
            archived: None,
        });
        let id = &instance.record.id;
        found.push(OfInstance {
            project: id.project.to_string(),
            name: id.name.to_string(),
            here: Some((instance, covered)),
            lineage: lineage_of(covered, &instance.record),
            points: local.collect(),
        });
    }
    let by_lineage: BTreeMap<_, _> = found
        .iter()
        .enumerate()
        .filter_map(|(n, of)| Some((of.lineage?, n)))
        .collect();
    let mut by_name: BTreeMap<_, _> = found
        .iter()
        .enumerate()
        .map(|(n, of)| ((of.project.clone(), of.name.clone()), n))
        .collect();
    for point in points.listed.iter().filter(|point| !point.is_origin()) {
        let name = (point.in_project().to_owned(), point.name.clone());
        let of = match (by_lineage.get(&point.lineage), by_name.get(&name)) {
            (Some(&n), _) | (None, Some(&n)) => n,
            (None, None) => {
                by_name.insert(name.clone(), found.len());
                found.push(OfInstance {
                    project: name.0,
                    name: name.1,
                    here: None,
                    lineage: None,
                    points: Vec::new(),
                });
                found.len() - 1
            }
        };
        if let Some(of) = found.get_mut(of) {
            of.add(point);
        }
    }
    for of in &mut found {
        of.points
            .sort_by_key(|point| std::cmp::Reverse(point.order()));
        of.lineage = of
            .lineage
            .or(of.newest_archived().map(|point| point.lineage));
    }
    let default = |of: &OfInstance<'_>| of.project != terrarium_core::DEFAULT_PROJECT;
    found.sort_by(|a, b| (default(a), &a.project, &a.name).cmp(&(default(b), &b.project, &b.name)));
    found
}

impl<'a> OfInstance<'a> {
    fn add(&mut self, archived: &'a Listed) {
        let mut there = self.points.iter_mut();
        let same =
            there.find(|point| point.archived.is_none() && point.guid() == Some(archived.guid));
        match same {
            Some(point) => point.archived = Some(archived),
            None => self.points.push(Held {
                local: None,
                archived: Some(archived),
            }),
        }
    }
}
