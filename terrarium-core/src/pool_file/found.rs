//! The instances that are found in a pool at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use terrarium_zfs::{Attempt, Dataset, DatasetName, Error, Listing};

use super::kept::{Kept, KeptSnapshot, undefined};
use crate::instances::{Device, InstanceKind, InstanceRecord, InstanceState, SnapshotRecord};
use crate::intent::{Goal, Intent};
use crate::layout::PoolLayout;
use crate::names::InstanceRef;
use crate::point::lxd_record_name;

/// What was found in the pool at one moment.
pub(super) struct Found<'a> {
    layout: &'a PoolLayout,
    pub(super) listing: Listing,
    pub(super) kept: Kept,
    /// The datasets that are instances.
    pub(super) datasets: BTreeMap<InstanceRef, Dataset>,
    /// Instances that an operation under way has made or is about to bring back: their dataset may be elsewhere.
    under_way: BTreeSet<InstanceRef>,
    /// LXD's names of the snapshots of each dataset, with their creation.
    snapshots: HashMap<String, Vec<(String, i64)>>,
}

impl<'a> Found<'a> {
    /// Finds the instances in a listing of the whole pool: the children of `containers`.
    ///
    /// # Errors
    /// [`Error::Unexpected`] if what is kept of them makes no sense.
    pub(super) fn read(
        layout: &'a PoolLayout,
        containers: &DatasetName,
        listing: Listing,
    ) -> Result<Self, Error> {
        let mut datasets = listing.datasets.iter();
        let kept = match datasets.find(|dataset| dataset.name == *containers) {
            Some(dataset) => Kept::from_properties(dataset)?,
            None => Kept::default(),
        };
        let mut datasets = BTreeMap::new();
        let mut under_way = BTreeSet::new();
        for dataset in &listing.datasets {
            if dataset.name.parent().as_ref() == Some(containers)
                && let Ok(id) = InstanceRef::of_volume(dataset.name.leaf())
            {
                datasets.insert(id, dataset.clone());
            }
            // One that makes no sense is told by whoever has to act upon it.
            let intent = Intent::from_properties(&dataset.local).ok().flatten();
            match intent.map(|intent| (intent.instance, intent.goal)) {
                Some((instance, Goal::Rewind(_))) => {
                    under_way.insert(instance);
                }
                Some((_, Goal::AsNew(goal)))
                    if kept.instances.contains_key(&goal.new.volume_name()) =>
                {
                    under_way.insert(goal.new);
                }
                // Between the stand-in that was made for it and its own dataset it has none.
                Some((instance, Goal::Resume(_)))
                    if kept.instances.contains_key(&instance.volume_name()) =>
                {
                    under_way.insert(instance);
                }
                _ => {}
            }
        }
        let mut snapshots: HashMap<String, Vec<(String, i64)>> = HashMap::new();
        for snapshot in &listing.snapshots {
            if let Some(name) = lxd_record_name(&snapshot.name) {
                let of_it = snapshots.entry(snapshot.name.dataset_str().to_owned());
                let record = (name.to_owned(), snapshot.creation);
                of_it.or_default().push(record);
            }
        }
        Ok(Self {
            layout,
            listing,
            kept,
            datasets,
            under_way,
            snapshots,
        })
    }

    pub(super) fn instances(&self) -> BTreeSet<InstanceRef> {
        let there = self.datasets.keys().chain(&self.under_way);
        there.cloned().collect()
    }

    pub(super) fn has(&self, id: &InstanceRef) -> bool {
        self.datasets.contains_key(id) || self.under_way.contains(id)
    }

    pub(super) fn expect(&self, operation: &'static str, id: &InstanceRef) -> Result<(), Error> {
        if self.has(id) {
            return Ok(());
        }
        let attempt = Attempt::new(operation, id.to_string());
        Err(Error::NotFound(attempt))
    }

    pub(super) fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        let mut datasets = self.listing.datasets.iter();
        datasets.find(|dataset| dataset.name == *name)
    }

    pub(super) fn snapshots_of(&self, dataset: &DatasetName) -> impl Iterator<Item = &str> {
        let records = self.snapshots.get(dataset.as_str());
        records.into_iter().flatten().map(|(name, _)| name.as_str())
    }

    pub(super) fn record(&self, id: InstanceRef) -> InstanceRecord {
        let kept = self.kept.instances.get(&id.volume_name());
        let definition = kept.map_or_else(undefined, |kept| kept.definition.clone());
        let mut expanded_devices = definition.devices.clone();
        // Whatever else it is told: an instance here is its dataset.
        expanded_devices.retain(|_, device| device.get("path").is_none_or(|path| path != "/"));
        expanded_devices.insert("root".to_owned(), root_disk(self.layout));
        let dataset = self.datasets.get(&id).map(|dataset| dataset.name.as_str());
        let taken = dataset.and_then(|dataset| self.snapshots.get(dataset));
        let taken = taken.into_iter().flatten().map(|(name, creation)| {
            let kept = kept.and_then(|kept| kept.snapshots.get(name));
            let of_it = |kept: &KeptSnapshot| kept.definition.clone();
            SnapshotRecord {
                name: name.clone(),
                definition: kept.map_or_else(|| definition.clone(), of_it),
                created: Timestamp::from_second(*creation).ok(),
                expires: kept.and_then(|kept| kept.expires),
            }
        });
        InstanceRecord {
            kind: InstanceKind::Container,
            state: InstanceState::Stopped,
            expanded_config: definition.config.clone(),
            expanded_devices,
            snapshots: taken.collect(),
            definition,
            id,
        }
    }
}

pub(super) fn root_disk(layout: &PoolLayout) -> Device {
    let settings = [("type", "disk"), ("path", "/"), ("pool", &layout.lxd_pool)];
    let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Device::from(settings)
}
