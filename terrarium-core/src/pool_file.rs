//! Instances that are nothing but datasets: those of a pool file, where there is no LXD.
//!
//! An instance is a file system `<pool>/containers/<name>` (`<project>_<name>` outside the default project), whoever
//! made it. It never runs. A dataset there whose name LXD would not take is none.
//!
//! What plans rely on LXD to remember stands in user properties of `<pool>/containers`: config, devices and profiles,
//! by the name of the instance, so that they stay while a restore replaces its dataset. An instance that nothing was
//! ever set for has the profile `default`, which gives it its root disk, and nothing else. LXD's snapshots are the ZFS
//! snapshots `@snapshot-<name>`; an instance that was received with some has their records.

mod found;
mod kept;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use std::time::Duration;
use terrarium_zfs::{
    Attempt, BatchError, Dataset, DatasetName, Error, Properties, Snapshot, UserProperties,
};
use terrarium_zpool::Engine;

use found::{Found, root_disk};
use kept::{DEFAULT_PROFILE, KeptInstance, KeptSnapshot};

use crate::instances::{
    CommandOutput, Definition, InstanceRecord, Instances, InstancesError, Profile, ProjectRecord,
    Stop, StoragePool,
};
use crate::layout::PoolLayout;
use crate::names::{InstanceRef, ProjectName};
use crate::point::LXD_SNAPSHOT_PREFIX;
use crate::{pieces, property};

type Answer<T> = Result<T, InstancesError>;

/// The instances of a pool file. Clones share it.
///
/// ```no_run
/// use terrarium_core::{Folders, Host, PoolFile};
/// use terrarium_zpool::Options;
///
/// # fn example(folders: &Folders) -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Options::default().open("/srv/web.pool".as_ref())?;
/// let host = Host::new(engine.clone(), PoolFile::new(engine)?, folders);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PoolFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    layout: PoolLayout,
    containers: DatasetName,
    /// Held while what is kept is read, changed and written. Nobody else has the pool open.
    writing: Mutex<()>,
}

impl PoolFile {
    /// The instances of the pool that `engine` has open.
    ///
    /// # Errors
    /// [`Error::Name`] if the pool's name leaves no room for those of instances.
    pub fn new(engine: Engine) -> Result<Self, Error> {
        let root = DatasetName::new(engine.pool())?;
        Ok(Self {
            inner: Arc::new(Inner {
                containers: root.child("containers")?,
                layout: PoolLayout::new(engine.pool(), root),
                engine,
                writing: Mutex::new(()),
            }),
        })
    }

    /// Runs calls of the engine, which block, where they hold nobody up.
    fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        target: impl ToString,
        work: impl FnOnce(&Inner) -> Result<T, Trouble> + Send + 'static,
    ) -> impl Future<Output = Answer<T>> + Send {
        let inner = Arc::clone(&self.inner);
        let target = target.to_string();
        let running = tokio::task::spawn_blocking(move || work(&inner));
        async move {
            let done = running.await.unwrap_or_else(|_| {
                let attempt = Attempt::new(operation, target.as_str());
                Err(Error::Interrupted(attempt).into())
            });
            done.map_err(|trouble| match trouble {
                Trouble::Pool(source) => InstancesError::Pool {
                    operation,
                    target,
                    source,
                },
                Trouble::DoesNotRun(instance) => InstancesError::DoesNotRun { instance },
            })
        }
    }
}

impl Instances for PoolFile {
    fn runs_instances(&self) -> bool {
        false
    }

    async fn list(&self) -> Answer<Vec<InstanceRecord>> {
        self.run("list", "instances", |inner| {
            let found = inner.look()?;
            let all = found.instances();
            Ok(all.into_iter().map(|id| found.record(id)).collect())
        })
        .await
    }

    async fn pools(&self) -> Answer<Vec<StoragePool>> {
        let layout = &self.inner.layout;
        Ok(vec![StoragePool {
            name: layout.lxd_pool.clone(),
            driver: "zfs".to_owned(),
            dataset: Some(layout.root.to_string()),
        }])
    }

    async fn projects(&self) -> Answer<Vec<ProjectRecord>> {
        let project = ProjectName::default_project();
        Ok(vec![ProjectRecord::new(project, BTreeMap::new())])
    }

    async fn get(&self, id: &InstanceRef) -> Answer<Option<InstanceRecord>> {
        let wanted = id.clone();
        self.run("read", id, move |inner| {
            let found = inner.look()?;
            Ok(found.has(&wanted).then(|| found.record(wanted)))
        })
        .await
    }

    async fn profiles(&self, _: &ProjectName) -> Answer<Vec<Profile>> {
        let root = root_disk(&self.inner.layout);
        Ok(vec![Profile {
            name: DEFAULT_PROFILE.to_owned(),
            config: BTreeMap::new(),
            devices: BTreeMap::from([("root".to_owned(), root)]),
        }])
    }

    async fn stop(&self, id: &InstanceRef, _: Stop) -> Answer<()> {
        let wanted = id.clone();
        self.run("stop", id, move |inner| {
            Ok(inner.look()?.expect("stop", &wanted)?)
        })
        .await
    }

    async fn start(&self, id: &InstanceRef) -> Answer<()> {
        let wanted = id.clone();
        self.run("start", id, move |inner| {
            inner.look()?.expect("start", &wanted)?;
            Err(Trouble::DoesNotRun(wanted))
        })
        .await
    }

    async fn exec(&self, id: &InstanceRef, _: &[String], _: Duration) -> Answer<CommandOutput> {
        let wanted = id.clone();
        self.run("run a command in", id, move |inner| {
            inner.look()?.expect("run a command in", &wanted)?;
            Err(Trouble::DoesNotRun(wanted))
        })
        .await
    }

    async fn create_empty(&self, id: &InstanceRef, definition: &Definition) -> Answer<()> {
        let (wanted, definition) = (id.clone(), definition.clone());
        self.run("create", id, move |inner| {
            inner.create_empty(wanted, definition)
        })
        .await
    }

    async fn delete(&self, id: &InstanceRef) -> Answer<()> {
        let wanted = id.clone();
        self.run("delete", id, move |inner| inner.delete(&wanted))
            .await
    }

    async fn set_config(
        &self,
        id: &InstanceRef,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Answer<()> {
        let (wanted, changes) = (id.clone(), changes.clone());
        self.run("configure", id, move |inner| {
            inner.redefine(&wanted, |definition| {
                for (key, value) in changes {
                    match value {
                        Some(value) => definition.config.insert(key, value),
                        None => definition.config.remove(&key),
                    };
                }
            })
        })
        .await
    }

    async fn set_definition(&self, id: &InstanceRef, definition: &Definition) -> Answer<()> {
        let (wanted, new) = (id.clone(), definition.clone());
        self.run("configure", id, move |inner| {
            inner.redefine(&wanted, |definition| {
                *definition = new.with_volatile_of(&definition.config);
            })
        })
        .await
    }

    async fn create_snapshot(
        &self,
        id: &InstanceRef,
        name: &str,
        expires: Option<Timestamp>,
    ) -> Answer<()> {
        let (wanted, snapshot) = (id.clone(), name.to_owned());
        self.run("create", snapshot_of(id, name), move |inner| {
            inner.create_snapshot(&wanted, &snapshot, expires)
        })
        .await
    }

    async fn delete_snapshot(&self, id: &InstanceRef, name: &str) -> Answer<()> {
        let (wanted, snapshot) = (id.clone(), name.to_owned());
        self.run("delete", snapshot_of(id, name), move |inner| {
            inner.delete_snapshot(&wanted, &snapshot)
        })
        .await
    }
}

impl Inner {
    /// Reads the pool, once.
    fn look(&self) -> Result<Found<'_>, Error> {
        let listing = self.engine.list(&self.layout.root, &[])?;
        Found::read(&self.layout, &self.containers, listing)
    }

    fn create_empty(&self, id: InstanceRef, definition: Definition) -> Result<(), Trouble> {
        let _writing = lock(&self.writing);
        let mut found = self.look()?;
        let dataset = self.layout.instance(&id).map_err(Error::from)?;
        if found.has(&id) {
            return Err(Trouble::Pool(Error::Exists {
                attempt: Attempt::new("create", dataset.as_str()),
                name: dataset.to_string(),
            }));
        }
        if found.dataset(&self.containers).is_none() {
            let properties = properties(&[("canmount", "off"), ("mountpoint", "none")])?;
            self.engine.create(&self.containers, &properties)?;
        }
        // The dataset comes second: without what is kept of it, it would not be known as unfinished.
        let snapshots = BTreeMap::new();
        let kept = KeptInstance {
            definition,
            snapshots,
        };
        found.kept.instances.insert(id.volume_name(), kept);
        self.keep(&found)?;
        let properties = properties(&[("canmount", "noauto"), ("mountpoint", "legacy")])?;
        Ok(self.engine.create(&dataset, &properties)?)
    }

    fn delete(&self, id: &InstanceRef) -> Result<(), Trouble> {
        let _writing = lock(&self.writing);
        let mut found = self.look()?;
        if let Some(dataset) = found.datasets.get(id) {
            let below = |other: &&Dataset| other.name.parent().as_ref() == Some(&dataset.name);
            if let Some(child) = found.listing.datasets.iter().find(below) {
                let attempt = Attempt::new("destroy", child.name.as_str());
                return Err(Error::HasChildren(attempt).into());
            }
            let of_it = |snapshot: &&Snapshot| snapshot.name.dataset_str() == dataset.name.as_str();
            let snapshots = found.listing.snapshots.iter().filter(of_it);
            let snapshots: Vec<_> = snapshots.map(|snapshot| snapshot.name.clone()).collect();
            self.engine.destroy_snapshots(&snapshots).map_err(first)?;
            self.engine.destroy(&dataset.name)?;
        }
        if found.kept.instances.remove(&id.volume_name()).is_some() {
            self.keep(&found)?;
        }
        Ok(())
    }

    fn redefine(
        &self,
        id: &InstanceRef,
        change: impl FnOnce(&mut Definition),
    ) -> Result<(), Trouble> {
        let _writing = lock(&self.writing);
        let mut found = self.look()?;
        found.expect("configure", id)?;
        let kept = found.kept.instances.entry(id.volume_name()).or_default();
        change(&mut kept.definition);
        Ok(self.keep(&found)?)
    }

    fn create_snapshot(
        &self,
        id: &InstanceRef,
        name: &str,
        expires: Option<Timestamp>,
    ) -> Result<(), Trouble> {
        let _writing = lock(&self.writing);
        let mut found = self.look()?;
        found.expect("snapshot", id)?;
        let dataset = self.layout.instance(id).map_err(Error::from)?;
        let snapshot = dataset.snapshot(&format!("{LXD_SNAPSHOT_PREFIX}{name}"));
        let snapshot = snapshot.map_err(Error::from)?;
        if found.snapshots_of(&dataset).any(|record| record == name) {
            return Err(Trouble::Pool(Error::Exists {
                attempt: Attempt::new("snapshot", snapshot.as_str()),
                name: snapshot.to_string(),
            }));
        }
        let kept = found.kept.instances.entry(id.volume_name()).or_default();
        let record = KeptSnapshot {
            definition: kept.definition.clone(),
            expires,
        };
        kept.snapshots.insert(name.to_owned(), record);
        self.keep(&found)?;
        let taken = self.engine.snapshot(&[(snapshot, UserProperties::new())]);
        Ok(taken.map_err(first)?)
    }

    fn delete_snapshot(&self, id: &InstanceRef, name: &str) -> Result<(), Trouble> {
        let _writing = lock(&self.writing);
        let mut found = self.look()?;
        let dataset = self.layout.instance(id).map_err(Error::from)?;
        if found.snapshots_of(&dataset).any(|record| record == name) {
            let snapshot = dataset.snapshot(&format!("{LXD_SNAPSHOT_PREFIX}{name}"));
            let snapshots = [snapshot.map_err(Error::from)?];
            self.engine.destroy_snapshots(&snapshots).map_err(first)?;
        }
        let kept = found.kept.instances.get_mut(&id.volume_name());
        if kept.is_some_and(|kept| kept.snapshots.remove(name).is_some()) {
            self.keep(&found)?;
        }
        Ok(())
    }

    /// Writes what is kept, if that is not what stands there already.
    fn keep(&self, found: &Found<'_>) -> Result<(), Error> {
        let stands = found
            .dataset(&self.containers)
            .map(|dataset| &dataset.local);
        let none = BTreeMap::new();
        let stands = stands.unwrap_or(&none);
        let wanted = found.kept.to_properties();
        let gone = pieces::keys(property::INSTANCES, stands);
        let gone = gone.filter(|key| !wanted.contains_key(*key));
        let mut changes: BTreeMap<_, _> = gone.map(|key| (key.clone(), None)).collect();
        let new = wanted
            .iter()
            .filter(|(key, value)| stands.get(*key) != Some(*value));
        changes.extend(new.map(|(key, value)| (key.clone(), Some(value.clone()))));
        if changes.is_empty() {
            return Ok(());
        }
        self.engine
            .set_user_properties(self.containers.as_str(), &changes)
    }
}

/// Why a call was not carried out.
enum Trouble {
    Pool(Error),
    DoesNotRun(InstanceRef),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Pool(error)
    }
}

fn properties(wanted: &[(&str, &str)]) -> Result<Properties, Error> {
    let mut properties = Properties::new();
    for (name, value) in wanted {
        properties.set(name, value)?;
    }
    Ok(properties)
}

fn snapshot_of(id: &InstanceRef, name: &str) -> String {
    format!("snapshot {name} of {id}")
}

/// These calls are about one object each, or stop at the first.
fn first(error: BatchError) -> Error {
    let operation = error.operation;
    let first = error.failures.into_iter().next();
    first.map_or_else(
        || Error::Interrupted(Attempt::new(operation, "")),
        |(_, error)| error,
    )
}

/// What it guards is in the pool, not in memory.
fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
