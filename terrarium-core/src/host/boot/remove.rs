//! Removing throw-away instances: that of the drill under way, and those that killed ones have left behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;
use terrarium_zfs::{Dataset, DatasetName, SnapshotName};
use tokio::time::Instant;

use super::changed;
use crate::error::Error;
use crate::host::Host;
use crate::instances::{InstanceState, Instances, Stop};
use crate::names::InstanceRef;
use crate::report::with_causes;
use crate::throw_away::{self, ThrowAway};
use crate::zfs::Zfs;

/// How long is tried to remove what is still in use: LXD may not have done with a start that was given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited between two tries.
const PAUSE: Duration = Duration::from_millis(300);
/// The most that LXD's empty volume holds, in bytes: its description, and some directories.
const EMPTY: u64 = 1 << 20;
/// How long the guest may take to shut down: whatever it does is thrown away.
const STOP: Stop = Stop::ThenForce(Duration::from_secs(1));

impl<Z: Zfs, I: Instances> Host<Z, I> {
    /// Removes what drills have left behind that were killed: what bears their mark, and nobody has locked.
    ///
    /// Returns what was removed, and why anything was not.
    pub(super) async fn remove_left_behind(
        &self,
        now: &Zoned,
    ) -> Result<(Vec<InstanceRef>, Vec<String>), Error> {
        let inventory = self.observe(now).await?;
        let mut found: BTreeMap<InstanceRef, ThrowAway> = BTreeMap::new();
        for pool in &inventory.pools {
            let layout = &pool.layout;
            let of_lxd = inventory.drills.iter().filter(|record| {
                let mut devices = record.expanded_devices.values();
                devices.any(|device| device.get("pool") == Some(&layout.lxd_pool))
            });
            let of_lxd = of_lxd.map(|record| record.id.clone());
            let datasets = pool.listing.datasets.iter();
            let of_zfs = datasets.filter_map(|dataset| throw_away::of_dataset(layout, dataset));
            for instance in of_lxd.chain(of_zfs) {
                if let Some(one) = ThrowAway::named(&instance, layout) {
                    found.insert(instance, one);
                }
            }
        }
        let (mut removed, mut stuck) = (Vec::new(), Vec::new());
        for (instance, left) in found {
            let lock = match self.locks.instance(&instance, "drill", now.timestamp()) {
                Ok(lock) => lock,
                // It is being drilled.
                Err(Error::Locked(_)) => continue,
                Err(error) => return Err(error),
            };
            match self.remove_patiently(&left).await {
                Ok(()) => {
                    self.locks.forget(&instance);
                    removed.push(instance);
                }
                Err(error) => stuck.push(format!("{instance}: {}", with_causes(&error))),
            }
            drop(lock);
        }
        Ok((removed, stuck))
    }

    /// Removes one, and tries again for a while where it is still in use.
    pub(super) async fn remove_patiently(&self, throw_away: &ThrowAway) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.remove(throw_away).await {
                Err(error)
                    if !matches!(error, Error::Changed { .. }) && Instant::now() < deadline =>
                {
                    tracing::debug!(error = with_causes(&error), "not removed yet");
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    /// Removes whatever is there of one: the instance with its dataset, and what was received for it.
    ///
    /// # Errors
    /// [`Error::Changed`] if what stands there is not what a drill has made: it stays. LXD's and ZFS's.
    async fn remove(&self, throw_away: &ThrowAway) -> Result<(), Error> {
        let (instance, layout) = (&throw_away.instance, &throw_away.layout);
        let name = |error: terrarium_zfs::NameError| terrarium_zfs::Error::from(error);
        let live = layout.instance(instance).map_err(name)?;
        let staged = layout.staging(&throw_away.operation).map_err(name)?;
        self.destroy_marked(throw_away, staged).await?;
        if let Some(record) = self.instances.get(instance).await? {
            if !throw_away.is(&record) {
                return Err(Error::Changed {
                    object: format!("instance {instance}"),
                    change: "it is not the one that a drill has made".to_owned(),
                });
            }
            if let Some(found) = self.found(&live).await? {
                let ours = throw_away.has(&found.dataset);
                // Between its creation and the moment when what was received takes its place.
                let empty = record.state == InstanceState::Stopped
                    && found.snapshots.is_empty()
                    && found.dataset.origin.is_none()
                    && found.dataset.referenced <= EMPTY;
                if found.has_children || !(ours || empty) {
                    return Err(changed(&live, "it is not what a drill has made"));
                }
            }
            if record.state != InstanceState::Stopped {
                self.instances.stop(instance, STOP).await?;
            }
            self.instances.delete(instance).await?;
        }
        self.destroy_marked(throw_away, live).await
    }

    async fn destroy_marked(
        &self,
        throw_away: &ThrowAway,
        place: DatasetName,
    ) -> Result<(), Error> {
        match self.found(&place).await? {
            Some(found) if throw_away.has(&found.dataset) && !found.has_children => {
                self.destroy(place, found.snapshots).await
            }
            _ => Ok(()),
        }
    }

    async fn found(&self, dataset: &DatasetName) -> Result<Option<Found>, Error> {
        let (zfs, name) = (Arc::clone(&self.zfs), dataset.clone());
        let looking = tokio::task::spawn_blocking(move || {
            if zfs.guid(name.as_str())?.is_none() {
                return Ok(None);
            }
            let listing = zfs.list(&name)?;
            let has_children = listing.datasets.len() > 1;
            let mut datasets = listing.datasets.into_iter();
            let found = datasets.find(|dataset| dataset.name == name);
            let snapshots = listing.snapshots.into_iter();
            Ok::<_, terrarium_zfs::Error>(found.map(|dataset| Found {
                dataset,
                has_children,
                snapshots: snapshots.map(|snapshot| snapshot.name).collect(),
            }))
        });
        Ok(looking.await.map_err(|_| Error::Interrupted)??)
    }

    async fn destroy(
        &self,
        dataset: DatasetName,
        snapshots: Vec<SnapshotName>,
    ) -> Result<(), Error> {
        let zfs = Arc::clone(&self.zfs);
        let destroying = tokio::task::spawn_blocking(move || {
            if !snapshots.is_empty() {
                zfs.destroy_snapshots(&snapshots)?;
            }
            zfs.destroy(&dataset).map_err(Error::from)
        });
        destroying.await.map_err(|_| Error::Interrupted)?
    }
}

/// A dataset, and what hangs on it.
struct Found {
    dataset: Dataset,
    has_children: bool,
    snapshots: Vec<SnapshotName>,
}
