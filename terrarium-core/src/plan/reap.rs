//! Reap: what the graveyard and the datasets that rewinds moved aside hold, what keeps it, and what is purged.
//!
//! A destroyed instance goes when its time is up, its points with it. What a rewind moved aside goes when the time to
//! undo is over and nothing in it was asked for: no unexpired on-demand point, none of LXD's. Nothing that is held
//! goes, and nothing that something else is cloned from, whoever asks for it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use terrarium_zfs::{Dataset, DatasetName, Guid, Snapshot};

use super::{Action, DoomedPoint, Plan, Purpose, Steps};
use crate::details::Details;
use crate::inventory::{Coverage, Grave, Inventory};
use crate::layout::PoolLayout;
use crate::names::{InstanceRef, OperationId};
use crate::point::{Kind, Place, RestorePoint};

/// How many snapshots are destroyed in one transaction group.
const BATCH: usize = 500;

/// How long what a rewind moved aside stays, unless something in it is needed for longer.
pub const UNDO_TIME: SignedDuration = SignedDuration::from_hours(24);

/// What is to be purged.
#[derive(Clone, Debug)]
pub enum Reap {
    /// What has had its time; with a time, what has been there for so long instead.
    Expired(Option<SignedDuration>),
    /// All destroyed instances, whatever their time; what rewinds moved aside as by [`Reap::Expired`].
    All,
    /// The destroyed instances of these names, and what these operations destroyed or moved aside, whatever its time
    /// and whoever took its points.
    These {
        /// The instances.
        instances: Vec<InstanceRef>,
        /// The operations.
        operations: Vec<OperationId>,
    },
}

/// Everything that is to be purged one day, and what becomes of it now.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Reaping {
    /// What there is, the oldest first.
    pub entries: Vec<Entry>,
    /// Places of operations of long ago that nothing stands in.
    #[serde(skip)]
    leftovers: Vec<DatasetName>,
}

/// A destroyed instance, or a dataset that a rewind moved aside.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// Which of the two.
    pub what: What,
    /// Whose it is; `None` if no instance continues from it any more.
    pub instance: Option<InstanceRef>,
    /// The operation that put it there.
    pub operation: OperationId,
    /// The dataset.
    pub dataset: DatasetName,
    /// Since when it has been there.
    pub since: Timestamp,
    /// When its time is up.
    pub expires: Timestamp,
    /// Bytes that it holds.
    pub space: u64,
    /// How many restore points are in it.
    pub points: usize,
    /// Its purge has begun.
    pub purging: bool,
    /// Whether it is asked for: by its name, or because its time is up.
    pub asked: bool,
    /// What keeps it, though it is asked for; what will keep it, if its time is not up.
    pub kept_by: Vec<KeptBy>,
    #[serde(skip)]
    layout: PoolLayout,
    #[serde(skip)]
    datasets: Vec<Doomed>,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A destroyed instance.
    Destroyed,
    /// A dataset that a rewind moved aside.
    Aside,
}

/// Why something is not purged.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeptBy {
    /// Somebody holds a snapshot.
    Held {
        /// The snapshot, without its dataset.
        snapshot: String,
    },
    /// Something was made from a snapshot.
    Cloned {
        /// The snapshot, without its dataset.
        snapshot: String,
        /// The clone.
        clone: DatasetName,
    },
    /// Somebody asked for a snapshot and it has not expired.
    OnDemand {
        /// The snapshot, without its dataset.
        snapshot: String,
        /// When it expires.
        expires: Option<Timestamp>,
    },
    /// LXD made a snapshot.
    Lxd {
        /// The snapshot, without its dataset.
        snapshot: String,
    },
    /// Other datasets stand below it.
    HasChildren {
        /// One of them.
        child: DatasetName,
    },
    /// An operation that was cut off works on it.
    UnderWay {
        /// The operation.
        operation: OperationId,
    },
}

impl fmt::Display for KeptBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeptBy::Held { snapshot } => write!(f, "{snapshot} is held"),
            KeptBy::Cloned { snapshot, clone } => write!(f, "{clone} is a clone of {snapshot}"),
            KeptBy::OnDemand {
                snapshot,
                expires: None,
            } => write!(f, "{snapshot} was taken on demand"),
            KeptBy::OnDemand {
                snapshot,
                expires: Some(expires),
            } => write!(
                f,
                "{snapshot} was taken on demand and expires {}",
                expires.strftime("%Y-%m-%d %H:%M UTC")
            ),
            KeptBy::Lxd { snapshot } => write!(f, "LXD made {snapshot}"),
            KeptBy::HasChildren { child } => write!(f, "{child} is below it"),
            KeptBy::UnderWay { operation } => {
                write!(f, "the operation {operation} was cut off and works on it")
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Doomed {
    name: DatasetName,
    guid: Guid,
    /// The dataset that it is a clone of, if it is one.
    origin: Option<String>,
    /// The operation that put it there.
    operation: OperationId,
    points: Vec<DoomedPoint>,
}

impl Entry {
    /// Whether it is purged.
    pub fn is_doomed(&self) -> bool {
        self.asked && self.kept_by.is_empty()
    }
}

impl Reaping {
    /// What is purged.
    pub fn doomed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_doomed())
    }

    /// What is asked for and stays.
    pub fn kept(&self) -> impl Iterator<Item = &Entry> {
        let stays = |entry: &&Entry| entry.asked && !entry.kept_by.is_empty();
        self.entries.iter().filter(stays)
    }

    /// The instances that nobody else may change meanwhile.
    pub fn instances(&self) -> Vec<InstanceRef> {
        let instances: BTreeSet<_> = self
            .doomed()
            .filter_map(|entry| entry.instance.clone())
            .collect();
        instances.into_iter().collect()
    }

    /// The purges, one for each storage pool.
    ///
    /// Killed anywhere in between, the next purge goes on: what was begun is marked first, so that it does not look like
    /// something that can come back.
    pub fn to_plans(&self, operation: &OperationId, now: Timestamp) -> Vec<Plan> {
        let mut pools: Vec<(&PoolLayout, Vec<&Entry>)> = Vec::new();
        for entry in self.doomed() {
            match pools
                .iter_mut()
                .find(|(layout, _)| **layout == entry.layout)
            {
                Some((_, entries)) => entries.push(entry),
                None => pools.push((&entry.layout, vec![entry])),
            }
        }
        let plans = pools
            .into_iter()
            .map(|(layout, entries)| plan_purge(layout, &entries, &self.leftovers, operation, now));
        plans.collect()
    }
}

fn plan_purge(
    layout: &PoolLayout,
    entries: &[&Entry],
    leftovers: &[DatasetName],
    operation: &OperationId,
    now: Timestamp,
) -> Plan {
    let going = || entries.iter().flat_map(|entry| &entry.datasets);
    let clones: Vec<DatasetName> = going().map(|dataset| dataset.name.clone()).collect();
    let mut steps = Steps::default();
    for entry in entries {
        steps.then(
            Action::MarkPurging {
                datasets: entry
                    .datasets
                    .iter()
                    .map(|dataset| (dataset.name.clone(), dataset.guid))
                    .collect(),
                clones: clones.clone(),
            },
            match entry.what {
                What::Destroyed => "it cannot come back from now on",
                What::Aside => "what was moved aside is not needed any more",
            },
        );
    }
    for dataset in clones_first(going().collect()) {
        for batch in dataset.points.chunks(BATCH) {
            steps.then(
                Action::PurgePoints {
                    dataset: dataset.name.clone(),
                    guid: dataset.guid,
                    points: batch.to_vec(),
                },
                "their space is given back",
            );
        }
        steps.then(
            Action::PurgeDataset {
                dataset: dataset.name.clone(),
                guid: dataset.guid,
                operation: dataset.operation.clone(),
            },
            "nothing is left in it",
        );
        if let Some(parent) = dataset.name.parent() {
            steps.then(
                Action::RemoveParent { dataset: parent },
                "nothing is left in it",
            );
        }
    }
    for empty in leftovers {
        steps.then(
            Action::RemoveParent {
                dataset: empty.clone(),
            },
            "it was left behind by a purge that was cut off",
        );
    }
    let names: Vec<String> = entries.iter().map(|entry| entry.title()).collect();
    Plan {
        operation: operation.clone(),
        purpose: Purpose::Request,
        title: format!("purge {}", names.join(", ")),
        made_at: now,
        steps: steps.0,
        notices: Vec::new(),
        removals: Vec::new(),
        layout: Some(layout.clone()),
        intent: None,
        details: Details::default(),
    }
}

impl Entry {
    /// What it is called in one line.
    pub fn title(&self) -> String {
        let of = match &self.instance {
            Some(instance) => instance.to_string(),
            None => self.dataset.to_string(),
        };
        match self.what {
            What::Destroyed => format!("{of} (destroyed by {})", self.operation),
            What::Aside => format!("what {} moved aside of {of}", self.operation),
        }
    }
}

/// Surveys what there is to be purged and decides; no I/O.
pub fn plan_reap(inventory: &Inventory, what: &Reap, now: Timestamp) -> Reaping {
    let facts = Facts::new(inventory);
    let mut entries: Vec<Entry> = inventory
        .graveyard
        .iter()
        .map(|grave| facts.destroyed(grave))
        .collect();
    entries.extend(facts.aside());
    for entry in &mut entries {
        entry.asked = is_asked_for(entry, what, now);
        let by_name = matches!(what, Reap::These { .. });
        entry.kept_by = facts.reasons(entry, by_name, now);
    }
    keep_origins(&mut entries, &facts);
    entries.sort_by(|a, b| (a.since, &a.dataset).cmp(&(b.since, &b.dataset)));
    Reaping {
        entries,
        leftovers: facts.leftovers(now),
    }
}

fn is_asked_for(entry: &Entry, what: &Reap, now: Timestamp) -> bool {
    let is_over = |time: Option<SignedDuration>| match time {
        Some(time) => entry.since.checked_add(time).is_ok_and(|end| end <= now),
        None => entry.expires <= now,
    };
    // A purge that was begun is brought to its end.
    match what {
        Reap::Expired(time) => entry.purging || is_over(*time),
        Reap::All => entry.what == What::Destroyed || is_over(None),
        Reap::These {
            instances,
            operations,
        } => {
            let named = entry.what == What::Destroyed
                && entry
                    .instance
                    .as_ref()
                    .is_some_and(|instance| instances.contains(instance));
            named || operations.contains(&entry.operation)
        }
    }
}

/// What something else is cloned from stays, unless that goes as well.
fn keep_origins(entries: &mut [Entry], facts: &Facts<'_>) {
    loop {
        let going: BTreeSet<DatasetName> = entries
            .iter()
            .filter(|entry| entry.is_doomed())
            .flat_map(|entry| entry.datasets.iter().map(|dataset| dataset.name.clone()))
            .collect();
        let mut changed = false;
        for entry in entries.iter_mut().filter(|entry| entry.kept_by.is_empty()) {
            let own: BTreeSet<_> = entry.datasets.iter().map(|dataset| &dataset.name).collect();
            let mut all = entry
                .datasets
                .iter()
                .flat_map(|doomed| facts.snapshots(&doomed.name));
            let found = all.find_map(|snapshot| {
                let clones = snapshot.clones.iter();
                let mut others =
                    clones.filter(|clone| !own.contains(clone) && !going.contains(*clone));
                Some((snapshot.name.name().to_owned(), others.next()?.clone()))
            });
            if let Some((snapshot, clone)) = found {
                entry.kept_by.push(KeptBy::Cloned { snapshot, clone });
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

/// The datasets, each before the one that it is a clone of.
fn clones_first(mut left: Vec<&Doomed>) -> Vec<&Doomed> {
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let is_origin = |dataset: &Doomed| {
            let of = Some(dataset.name.as_str());
            left.iter().any(|other| other.origin.as_deref() == of)
        };
        // There are no circles of clones. Where there is a choice, a destroyed instance's own dataset, which is the first
        // of its entry, goes last: it says what belonged together.
        let next = left.iter().rposition(|dataset| !is_origin(dataset));
        ordered.push(left.remove(next.unwrap_or(0)));
    }
    ordered
}

/// The inventory, by name.
struct Facts<'a> {
    inventory: &'a Inventory,
    snapshots: HashMap<&'a str, Vec<&'a Snapshot>>,
    children: HashMap<DatasetName, &'a DatasetName>,
}

impl<'a> Facts<'a> {
    fn new(inventory: &'a Inventory) -> Self {
        let mut snapshots: HashMap<&str, Vec<&Snapshot>> = HashMap::new();
        let mut children = HashMap::new();
        for pool in &inventory.pools {
            for snapshot in &pool.listing.snapshots {
                let of = snapshots.entry(snapshot.name.dataset_str()).or_default();
                of.push(snapshot);
            }
            for dataset in &pool.listing.datasets {
                if let Some(parent) = dataset.name.parent() {
                    children.insert(parent, &dataset.name);
                }
            }
        }
        Self {
            inventory,
            snapshots,
            children,
        }
    }

    fn snapshots(&self, dataset: &DatasetName) -> impl Iterator<Item = &'a Snapshot> {
        let of = self.snapshots.get(dataset.as_str()).into_iter().flatten();
        of.copied().collect::<Vec<_>>().into_iter()
    }

    fn doomed(&self, dataset: &Dataset, layout: &PoolLayout, operation: &OperationId) -> Doomed {
        let own = layout.operation_of(&dataset.name);
        let points = self.snapshots(&dataset.name).map(|snapshot| DoomedPoint {
            snapshot: snapshot.name.clone(),
            guid: snapshot.guid,
        });
        let origin = dataset.origin.as_ref();
        Doomed {
            name: dataset.name.clone(),
            guid: dataset.guid,
            origin: origin.map(|origin| origin.dataset_str().to_owned()),
            operation: own.unwrap_or_else(|| operation.clone()),
            points: points.collect(),
        }
    }

    fn destroyed(&self, grave: &Grave) -> Entry {
        // Its own dataset first: that is what is marked first.
        let family = std::iter::once(&grave.dataset).chain(&grave.moved);
        let record = &grave.record;
        Entry {
            what: What::Destroyed,
            instance: Some(record.instance.clone()),
            operation: record.operation.clone(),
            dataset: grave.dataset.name.clone(),
            since: record.destroyed,
            expires: record.expires,
            space: grave.space,
            points: grave.points.len(),
            purging: grave.purging,
            asked: false,
            kept_by: Vec::new(),
            layout: grave.layout.clone(),
            datasets: family
                .map(|dataset| self.doomed(dataset, &grave.layout, &record.operation))
                .collect(),
        }
    }

    /// Empty places that a purge was about to remove. Those of young operations may be about to be used.
    fn leftovers(&self, now: Timestamp) -> Vec<DatasetName> {
        let mut leftovers = Vec::new();
        for pool in &self.inventory.pools {
            for dataset in &pool.listing.datasets {
                let path = dataset.name.relative_to(&pool.layout.root);
                let path = path.and_then(|path| {
                    let aside = path.strip_prefix("terrarium/aside/");
                    aside.or_else(|| path.strip_prefix("terrarium/graveyard/"))
                });
                let operation = path.and_then(|path| OperationId::new(path).ok());
                let began = operation.and_then(|operation| operation.began());
                let is_old = began
                    .and_then(|began| began.checked_add(UNDO_TIME).ok())
                    .is_some_and(|end| end <= now);
                if is_old && !self.children.contains_key(&dataset.name) {
                    leftovers.push(dataset.name.clone());
                }
            }
        }
        leftovers
    }

    /// What rewinds moved aside of instances that are there, or that no instance continues from any more.
    fn aside(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for instance in &self.inventory.instances {
            let Coverage::Covered(covered) = &instance.coverage else {
                continue;
            };
            for dataset in &covered.moved {
                let id = Some(instance.record.id.clone());
                entries.extend(self.moved_aside(dataset, &covered.layout, id));
            }
        }
        for pool in &self.inventory.pools {
            let orphans = pool.listing.datasets.iter();
            let orphans = orphans.filter(|dataset| self.inventory.orphans.contains(&dataset.name));
            entries.extend(
                orphans.filter_map(|dataset| self.moved_aside(dataset, &pool.layout, None)),
            );
        }
        entries
    }

    fn moved_aside(
        &self,
        dataset: &Dataset,
        layout: &PoolLayout,
        instance: Option<InstanceRef>,
    ) -> Option<Entry> {
        if !layout.is_aside(&dataset.name) {
            return None;
        }
        let operation = layout.operation_of(&dataset.name)?;
        // What was fetched from an archive stands where its guid says, since it was received.
        let since = operation
            .began()
            .or_else(|| Timestamp::from_second(dataset.creation).ok())?;
        Some(Entry {
            what: What::Aside,
            instance,
            expires: since.checked_add(UNDO_TIME).unwrap_or(Timestamp::MAX),
            since,
            dataset: dataset.name.clone(),
            space: dataset.used,
            points: self.snapshots(&dataset.name).count(),
            purging: dataset.local.contains_key(crate::property::PURGING),
            asked: false,
            kept_by: Vec::new(),
            layout: layout.clone(),
            datasets: vec![self.doomed(dataset, layout, &operation)],
            operation,
        })
    }

    /// What keeps an entry, apart from clones.
    fn reasons(&self, entry: &Entry, by_name: bool, now: Timestamp) -> Vec<KeptBy> {
        let mut reasons = Vec::new();
        let stands_in =
            |dataset: &DatasetName| entry.datasets.iter().any(|doomed| doomed.name == *dataset);
        for pending in &self.inventory.pending {
            // Until it is recovered, an operation may still need what it moved.
            if stands_in(&pending.holder) || pending.intent.operation == entry.operation {
                reasons.push(KeptBy::UnderWay {
                    operation: pending.intent.operation.clone(),
                });
            }
        }
        for doomed in &entry.datasets {
            if let Some(child) = self.children.get(&doomed.name) {
                reasons.push(KeptBy::HasChildren {
                    child: (*child).clone(),
                });
            }
            for snapshot in self.snapshots(&doomed.name) {
                let point = RestorePoint::read(snapshot, Place::Aside(entry.operation.clone()));
                let name = || point.name().to_owned();
                if point.holds > 0 {
                    reasons.push(KeptBy::Held { snapshot: name() });
                }
                if entry.what == What::Destroyed || by_name || entry.purging {
                    continue;
                }
                let unexpired = point.expires.is_none_or(|expires| expires > now);
                match &point.kind {
                    Kind::Lxd => reasons.push(KeptBy::Lxd { snapshot: name() }),
                    Kind::OnDemand if unexpired => reasons.push(KeptBy::OnDemand {
                        snapshot: name(),
                        expires: point.expires,
                    }),
                    _ => {}
                }
            }
        }
        reasons
    }
}
