//! What LXD and ZFS say about every instance at one moment.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::Serialize;
use terrarium_zfs::{Dataset, DatasetKind, DatasetName, Guid, Listing, Snapshot};

use crate::error::Error;
use crate::grave::GraveRecord;
use crate::instances::{InstanceKind, InstanceRecord};
use crate::intent::{Goal, Intent};
use crate::layout::PoolLayout;
use crate::names::{InstanceRef, OperationId};
use crate::point::{Place, RestorePoint};
use crate::property;
use crate::throw_away;

/// Everything that plans are made from, as it was at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inventory {
    /// When it was read.
    pub observed_at: Timestamp,
    /// Every instance that LXD knows, in the order of project and name; throw-away instances of drills are left out.
    pub instances: Vec<Instance>,
    /// Throw-away instances of drills, which are none of those.
    #[serde(skip)]
    pub drills: Vec<InstanceRecord>,
    /// LXD's storage pools on ZFS that could be read.
    #[serde(skip)]
    pub pools: Vec<Pool>,
    /// Storage pools that could not be read.
    pub problems: Vec<PoolProblem>,
    /// Operations that were cut off, wherever their instance is now.
    #[serde(skip)]
    pub pending: Vec<Pending>,
    /// Datasets that a rewind moved aside and that no instance continues from any more, and datasets in the graveyard
    /// that do not say whose they are.
    pub orphans: Vec<DatasetName>,
    /// Destroyed instances that may come back, the one destroyed first first.
    pub graveyard: Vec<Grave>,
}

/// A destroyed instance in the graveyard. Its points are not those of an instance of the same name.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Grave {
    /// The pool it is in.
    #[serde(skip)]
    pub layout: PoolLayout,
    /// Its dataset.
    #[serde(skip)]
    pub dataset: Dataset,
    /// Datasets that rewinds of it had moved aside: they come back with it, or go with it.
    #[serde(skip)]
    pub moved: Vec<Dataset>,
    /// What is written on its dataset.
    pub record: GraveRecord,
    /// A purge has begun: it is not whole any more, and cannot come back.
    pub purging: bool,
    /// An operation that was cut off works on it.
    pub under_way: Option<OperationId>,
    /// Bytes that it holds.
    pub space: u64,
    /// Its restore points, oldest first.
    pub points: Vec<RestorePoint>,
}

/// One of LXD's storage pools on ZFS.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pool {
    /// Where its datasets stand.
    pub layout: PoolLayout,
    /// All that stands there.
    pub listing: Listing,
}

/// A storage pool that could not be read.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PoolProblem {
    /// LXD's name of it.
    pub lxd_pool: String,
    /// What ZFS answered.
    pub why: String,
}

/// An operation that wrote its intent and has not finished.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pending {
    /// The pool it works in.
    pub layout: PoolLayout,
    /// The dataset that carries the intent.
    pub holder: DatasetName,
    /// What it was about to do.
    pub intent: Intent,
}

/// An instance and what can be done for it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Instance {
    /// What LXD says.
    #[serde(skip)]
    pub record: InstanceRecord,
    /// What ZFS says, or why it is left out.
    pub coverage: Coverage,
}

/// Whether an instance can be snapshotted and restored.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "coverage", rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all instances are covered"
)]
pub enum Coverage {
    /// It can.
    Covered(Covered),
    /// It cannot.
    NotCovered {
        /// Why not.
        reason: NotCovered,
    },
}

/// Why an instance can be neither snapshotted nor restored.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "why", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NotCovered {
    /// It consists of two datasets.
    #[error("it is a virtual machine")]
    VirtualMachine,
    /// No device of it is mounted at `/`.
    #[error("it has no root disk device")]
    NoRootDisk,
    /// Its root disk lies elsewhere.
    #[error("its storage pool {pool} uses the driver {driver}, not zfs")]
    PoolNotZfs {
        /// LXD's name of the pool.
        pool: String,
        /// The pool's driver.
        driver: String,
    },
    /// ZFS could not be asked.
    #[error("its storage pool {pool} cannot be read: {problem}")]
    PoolUnreadable {
        /// LXD's name of the pool.
        pool: String,
        /// What ZFS answered.
        problem: String,
    },
    /// LXD knows it, ZFS does not.
    #[error("its dataset {dataset} does not exist")]
    NoDataset {
        /// Where it should be.
        dataset: DatasetName,
    },
    /// One snapshot would not hold all of it.
    #[error("its dataset has children, such as {child}")]
    HasChildren {
        /// One of them.
        child: DatasetName,
    },
    /// It is a volume, not a file system.
    #[error("its dataset {dataset} is a volume, not a file system")]
    IsVolume {
        /// The dataset.
        dataset: DatasetName,
    },
}

/// An instance whose root disk is one file system on ZFS.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Covered {
    /// The pool it is in.
    #[serde(skip)]
    pub layout: PoolLayout,
    /// Where its dataset belongs.
    pub live: DatasetName,
    /// Its dataset. While a rewind is cut off in its middle, the one that is to come back.
    #[serde(skip)]
    pub dataset: Dataset,
    /// Datasets that rewinds moved aside and that hold some of its points.
    #[serde(skip)]
    pub moved: Vec<Dataset>,
    /// Its restore points, oldest first.
    pub points: Vec<RestorePoint>,
}

/// The part of an instance's points that one of them builds on.
#[derive(Clone, Debug)]
pub(crate) struct History<'a> {
    /// The datasets it runs through: that of the point first, the instance's own last.
    pub(crate) chain: Vec<&'a Dataset>,
    /// All points of it, the last included.
    pub(crate) guids: BTreeSet<Guid>,
}

impl Inventory {
    /// The instance of that name.
    pub fn instance(&self, id: &InstanceRef) -> Option<&Instance> {
        self.instances
            .iter()
            .find(|instance| instance.record.id == *id)
    }

    /// The instance of that name, or an error that shows the nearest ones.
    ///
    /// # Errors
    /// [`Error::InstanceNotFound`], or [`Error::NotCovered`] with the reason.
    pub fn covered(&self, id: &InstanceRef) -> Result<(&InstanceRecord, &Covered), Error> {
        let Some(instance) = self.instance(id) else {
            let known = self
                .instances
                .iter()
                .map(|instance| instance.record.id.to_string());
            return Err(Error::InstanceNotFound {
                instance: id.clone(),
                nearest: crate::text::nearest(&id.to_string(), known),
            });
        };
        match &instance.coverage {
            Coverage::Covered(covered) => Ok((&instance.record, covered)),
            Coverage::NotCovered { reason } => Err(Error::NotCovered {
                instance: id.clone(),
                reason: reason.clone(),
            }),
        }
    }

    /// Operations on `id` that were cut off: as the instance restored from, or as the one being made.
    pub fn pending_for<'a>(&'a self, id: &'a InstanceRef) -> impl Iterator<Item = &'a Pending> {
        self.pending.iter().filter(move |pending| {
            let intent = &pending.intent;
            intent.instance == *id || matches!(&intent.goal, Goal::AsNew(goal) if goal.new == *id)
        })
    }

    /// The pool that `layout` describes.
    pub(crate) fn pool(&self, layout: &PoolLayout) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.layout == *layout)
    }
}

impl Covered {
    /// The datasets and points that `point` builds on.
    pub(crate) fn history(&self, point: &RestorePoint) -> History<'_> {
        let mut chain = Vec::new();
        let mut guids = BTreeSet::new();
        let mut tip = Some(point);
        while let Some(last) = tip {
            let name = last.snapshot.dataset_str();
            let Some(dataset) = self.family().find(|dataset| dataset.name.as_str() == name) else {
                break;
            };
            chain.push(dataset);
            let up_to_last = |other: &&RestorePoint| {
                other.snapshot.dataset_str() == name && other.createtxg <= last.createtxg
            };
            guids.extend(
                self.points
                    .iter()
                    .filter(up_to_last)
                    .map(|other| other.guid),
            );
            tip = dataset
                .origin
                .as_ref()
                .and_then(|origin| self.points.iter().find(|other| other.snapshot == *origin));
        }
        History { chain, guids }
    }

    /// Points of the instance as it is now that do not lead to `point`: a rewind moves them aside.
    pub fn moved_by_restoring<'a>(&'a self, point: &RestorePoint) -> Vec<&'a RestorePoint> {
        let kept = self.history(point).guids;
        self.points
            .iter()
            .filter(|other| other.is_live() && !kept.contains(&other.guid))
            .collect()
    }

    /// The newest point of the instance as it is now.
    pub fn newest_live(&self) -> Option<&RestorePoint> {
        self.points.iter().rfind(|point| point.is_live())
    }

    fn family(&self) -> impl Iterator<Item = &Dataset> {
        std::iter::once(&self.dataset).chain(&self.moved)
    }
}

/// Puts together what LXD and ZFS said; no I/O.
pub(crate) fn assemble(
    mut records: Vec<InstanceRecord>,
    pools: Vec<Pool>,
    problems: Vec<PoolProblem>,
    drivers: &HashMap<&str, &str>,
    now: Timestamp,
) -> Result<Inventory, Error> {
    let mut pending = Vec::new();
    for pool in &pools {
        for dataset in &pool.listing.datasets {
            if let Some(intent) =
                Intent::from_properties(&dataset.local).map_err(|source| Error::Intent {
                    holder: dataset.name.clone(),
                    source,
                })?
            {
                pending.push(Pending {
                    layout: pool.layout.clone(),
                    holder: dataset.name.clone(),
                    intent,
                });
            }
        }
    }

    records.sort_by(|a, b| a.id.cmp(&b.id));
    let is_of_a_drill = |record: &mut InstanceRecord| throw_away::of_record(record).is_some();
    let drills: Vec<_> = records.extract_if(.., is_of_a_drill).collect();
    let indexes: Vec<Index<'_>> = pools.iter().map(Index::new).collect();
    let mut claimed = BTreeSet::new();
    let mut instances = Vec::new();
    for record in records {
        let coverage = match cover(&record, &indexes, &problems, drivers, &pending) {
            Ok(covered) => {
                claimed.insert(covered.dataset.name.clone());
                claimed.extend(covered.moved.iter().map(|dataset| dataset.name.clone()));
                Coverage::Covered(covered)
            }
            Err(reason) => Coverage::NotCovered { reason },
        };
        instances.push(Instance { record, coverage });
    }
    let graveyard = bury(&indexes, &mut claimed, &pending);
    let orphans = indexes
        .iter()
        .flat_map(|index| {
            index
                .pool
                .listing
                .datasets
                .iter()
                .map(move |dataset| (index, dataset))
        })
        .filter(|(index, dataset)| {
            let layout = &index.pool.layout;
            layout.operation_of(&dataset.name).is_some() || layout.grave_of(&dataset.name).is_some()
        })
        .filter(|(index, dataset)| throw_away::of_dataset(&index.pool.layout, dataset).is_none())
        .map(|(_, dataset)| dataset.name.clone())
        .filter(|name| {
            !claimed.contains(name) && !pending.iter().any(|operation| operation.holder == *name)
        })
        .collect();
    drop(indexes);
    Ok(Inventory {
        observed_at: now,
        instances,
        drills,
        pools,
        problems,
        pending,
        orphans,
        graveyard,
    })
}

/// The destroyed instances, each with what rewinds of it had moved aside, unless that is some other instance's now.
fn bury(
    indexes: &[Index<'_>],
    claimed: &mut BTreeSet<DatasetName>,
    pending: &[Pending],
) -> Vec<Grave> {
    let mut graves = Vec::new();
    for index in indexes {
        let layout = &index.pool.layout;
        for dataset in &index.pool.listing.datasets {
            if layout.grave_of(&dataset.name).is_none() {
                continue;
            }
            // One that cannot be read shows up among the orphans.
            let Ok(Some(record)) = GraveRecord::from_properties(&dataset.local) else {
                continue;
            };
            let mut moved = index.moved_from(dataset, None);
            moved.retain(|other| claimed.insert(other.name.clone()));
            claimed.insert(dataset.name.clone());
            let cut_off = pending.iter().find(|cut| cut.holder == dataset.name);
            let family = std::iter::once(dataset).chain(&moved);
            graves.push(Grave {
                layout: layout.clone(),
                points: index.points(dataset, &moved),
                purging: dataset.local.contains_key(property::PURGING),
                under_way: cut_off.map(|cut| cut.intent.operation.clone()),
                space: family.map(|dataset| dataset.used).sum(),
                dataset: dataset.clone(),
                moved,
                record,
            });
        }
    }
    let order = |grave: &Grave| (grave.record.destroyed, grave.record.operation.clone());
    graves.sort_by_key(order);
    graves
}

/// A pool's listing, by name and by origin, so that each instance is looked up and not searched for.
struct Index<'a> {
    pool: &'a Pool,
    datasets: HashMap<&'a str, &'a Dataset>,
    cloned_from: HashMap<&'a str, Vec<&'a Dataset>>,
    children: HashMap<DatasetName, &'a DatasetName>,
    snapshots: HashMap<&'a str, Vec<&'a Snapshot>>,
    /// Datasets moved aside, by their lineage.
    lineages: HashMap<&'a str, Vec<&'a Dataset>>,
}

impl<'a> Index<'a> {
    fn new(pool: &'a Pool) -> Self {
        let mut index = Self {
            pool,
            datasets: HashMap::new(),
            cloned_from: HashMap::new(),
            children: HashMap::new(),
            snapshots: HashMap::new(),
            lineages: HashMap::new(),
        };
        for dataset in &pool.listing.datasets {
            if let Some(lineage) = dataset.local.get(property::LINEAGE)
                && pool.layout.is_aside(&dataset.name)
            {
                index.lineages.entry(lineage).or_default().push(dataset);
            }
            index.datasets.insert(dataset.name.as_str(), dataset);
            if let Some(parent) = dataset.name.parent() {
                index.children.insert(parent, &dataset.name);
            }
            // What a drill received of an origin belongs to nobody's history.
            if let Some(origin) = &dataset.origin
                && throw_away::of_dataset(&pool.layout, dataset).is_none()
            {
                index
                    .cloned_from
                    .entry(origin.dataset_str())
                    .or_default()
                    .push(dataset);
            }
        }
        for snapshot in &pool.listing.snapshots {
            index
                .snapshots
                .entry(snapshot.name.dataset_str())
                .or_default()
                .push(snapshot);
        }
        index
    }

    /// The datasets of ours that were cloned, directly or not, from `root`, or share its lineage: those that rewinds
    /// moved aside, or that were fetched.
    fn moved_from(&self, root: &'a Dataset, pending: Option<&Pending>) -> Vec<Dataset> {
        let layout = &self.pool.layout;
        let mut seen = BTreeSet::from([&root.name]);
        let mut moved = Vec::new();
        let mut queue = vec![root];
        // In the middle of a rewind the instance's dataset is itself still a clone of the one moved aside.
        if let (Some(_), Some(origin)) = (pending, &root.origin)
            && let Some(dataset) = self.datasets.get(origin.dataset_str())
            && layout.is_ours(&dataset.name)
        {
            seen.insert(&dataset.name);
            moved.push((*dataset).clone());
            queue.push(dataset);
        }
        // What came from an archive as a whole, and what such a restore moved aside, are no clones of one another.
        let lineage = root.local.get(property::LINEAGE);
        let same = lineage.and_then(|lineage| self.lineages.get(lineage.as_str()));
        for dataset in same.into_iter().flatten() {
            if seen.insert(&dataset.name) {
                moved.push((*dataset).clone());
                queue.push(dataset);
            }
        }
        while let Some(dataset) = queue.pop() {
            for clone in self
                .cloned_from
                .get(dataset.name.as_str())
                .into_iter()
                .flatten()
            {
                if layout.operation_of(&clone.name).is_some() && seen.insert(&clone.name) {
                    moved.push((*clone).clone());
                    queue.push(clone);
                }
            }
        }
        moved
    }

    fn points(&self, live: &Dataset, moved: &[Dataset]) -> Vec<RestorePoint> {
        let mut points = Vec::new();
        for dataset in std::iter::once(live).chain(moved) {
            let place = match self.pool.layout.operation_of(&dataset.name) {
                Some(operation) => Place::Aside(operation),
                None => Place::Live,
            };
            let snapshots = self
                .snapshots
                .get(dataset.name.as_str())
                .into_iter()
                .flatten();
            points.extend(snapshots.map(|snapshot| RestorePoint::read(snapshot, place.clone())));
        }
        points.sort_by(|a, b| (a.createtxg, &a.snapshot).cmp(&(b.createtxg, &b.snapshot)));
        points
    }
}

fn cover(
    record: &InstanceRecord,
    indexes: &[Index<'_>],
    problems: &[PoolProblem],
    drivers: &HashMap<&str, &str>,
    pending: &[Pending],
) -> Result<Covered, NotCovered> {
    if record.kind == InstanceKind::VirtualMachine {
        return Err(NotCovered::VirtualMachine);
    }
    let is_root = |device: &&crate::instances::Device| {
        device.get("type").is_some_and(|kind| kind == "disk")
            && device.get("path").is_some_and(|path| path == "/")
    };
    let root_disk = record
        .expanded_devices
        .values()
        .find(is_root)
        .ok_or(NotCovered::NoRootDisk)?;
    let pool = root_disk.get("pool").cloned().unwrap_or_default();
    let Some(index) = indexes
        .iter()
        .find(|index| index.pool.layout.lxd_pool == pool)
    else {
        return Err(
            match problems.iter().find(|problem| problem.lxd_pool == pool) {
                Some(problem) => NotCovered::PoolUnreadable {
                    pool,
                    problem: problem.why.clone(),
                },
                None => NotCovered::PoolNotZfs {
                    driver: drivers.get(pool.as_str()).unwrap_or(&"unknown").to_string(),
                    pool,
                },
            },
        );
    };
    let layout = &index.pool.layout;
    let unreadable = |problem: String| NotCovered::PoolUnreadable {
        pool: layout.lxd_pool.clone(),
        problem,
    };
    let live = layout
        .instance(&record.id)
        .map_err(|error| unreadable(error.to_string()))?;
    if let Some(child) = index.children.get(&live) {
        return Err(NotCovered::HasChildren {
            child: (*child).clone(),
        });
    }
    let cut_off = pending.iter().find(|pending| {
        pending.intent.instance == record.id && matches!(pending.intent.goal, Goal::Rewind(_))
    });
    let dataset = match (
        index.datasets.get(live.as_str()),
        cut_off.map(|pending| &pending.intent.goal),
    ) {
        (Some(dataset), _) => *dataset,
        (None, Some(Goal::Rewind(goal))) => {
            let before = |dataset: &&Dataset| dataset.guid == goal.live_guid;
            let before = index.pool.listing.datasets.iter().find(before);
            before.ok_or_else(|| NotCovered::NoDataset {
                dataset: live.clone(),
            })?
        }
        (None, _) => return Err(NotCovered::NoDataset { dataset: live }),
    };
    if dataset.kind != DatasetKind::Filesystem {
        return Err(NotCovered::IsVolume { dataset: live });
    }
    let moved = index.moved_from(dataset, cut_off);
    Ok(Covered {
        layout: layout.clone(),
        live,
        points: index.points(dataset, &moved),
        dataset: dataset.clone(),
        moved,
    })
}
