//! A host in memory: an LXD on a real socket, and the pool that it works on.

use std::collections::BTreeMap;
use std::sync::Arc;

use lxd_client::stub::Stub;
use lxd_client::{Client, Project, StateAction, StateChange, StoragePool};
use terrarium_zfs::{DatasetName, SnapshotName};

use super::storage::{ROOTFS, Storage, child, guest_files};
use super::zfs::FakeZfs;
use crate::{InstanceRef, Instances};

/// The image that instances are made from.
const IMAGE: &str = "5a1f06b1e1c1a6a2d5e9b7b8c4f3d2e10f9e8d7c6b5a49382716051423324150";

/// An LXD and its ZFS: what the one is asked for happens on the other, as on a real host.
///
/// LXD is [`Stub`], on a unix socket, so that the real [`Client`] is used; its storage pool `default` stands on
/// [`FakeZfs`]. An instance is a clone of an image's dataset. A running one has its dataset mounted, and writes to
/// *that*, wherever it is moved to.
///
/// Names of instances are given as [`InstanceRef`] shows them: `web`, `tenant/web`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use terrarium_core::fake::FakeHost;
/// use terrarium_core::{Instances, Stop};
///
/// let host = FakeHost::start().await;
/// host.instance("web").file("etc/hostname", "one").running(true).create().await;
/// host.lxd_snapshot("web", "before").await;
/// host.write("web", "etc/hostname", "two");
///
/// let web = "web".parse()?;
/// host.client().stop(&web, Stop::Graceful(std::time::Duration::from_secs(5))).await?;
/// assert_eq!(host.content("web")["etc/hostname"], "two");
/// assert_eq!(host.content_at("web", "snapshot-before")["etc/hostname"], "one");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FakeHost {
    zfs: FakeZfs,
    root: DatasetName,
    storage: Arc<Storage>,
    lxd: Arc<Stub>,
    client: Client,
}

/// A start of an instance: what its guest found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Start {
    /// The instance's project.
    pub project: String,
    /// The instance.
    pub instance: String,
    /// The id map it was started with.
    pub idmap: String,
    /// Whether its files belong to whom they should under that map. They do not if LXD was told, in
    /// `volatile.last_state.idmap`, another map than they had.
    pub ids_right: bool,
    /// The guest's files, by path.
    pub content: BTreeMap<String, String>,
}

impl FakeHost {
    /// A host whose LXD was given the whole pool `tank`.
    pub async fn start() -> Self {
        Self::start_on("tank").await
    }

    /// A host whose LXD was given the dataset `root`, such as `tank/lxd`.
    ///
    /// # Panics
    /// If the name is not legal, or there is no place for the socket.
    pub async fn start_on(root: &str) -> Self {
        let root = DatasetName::new(root).unwrap_or_else(|error| panic!("{error}"));
        let zfs = FakeZfs::with_pool(root.pool());
        zfs.create_all(&root);
        for place in [
            "containers",
            "custom",
            "deleted/containers",
            "images",
            "virtual-machines",
        ] {
            zfs.create_all(child(&root, place));
        }
        let storage = Arc::new(Storage::new(zfs.clone(), root.clone()));
        let image = child(&root, &format!("images/{IMAGE}"));
        let made = storage.create(&image, None);
        made.unwrap_or_else(|error| panic!("{error}"));
        zfs.write(&image, &format!("{ROOTFS}sbin/init"), "#!/bin/sh");
        let made = storage.snapshot(readonly(&image));
        made.unwrap_or_else(|error| panic!("{error}"));

        let lxd = Arc::new(Stub::start(storage.clone()).await);
        let known = storage.lxd.set(Arc::downgrade(&lxd));
        known.expect("a storage belongs to one LXD");
        lxd.add_pool(pool(&root));
        let client = Client::connect_to(lxd.socket()).await;
        let client = client.unwrap_or_else(|error| panic!("{error}"));
        Self {
            zfs,
            root,
            storage,
            lxd,
            client,
        }
    }

    /// The ZFS.
    pub fn zfs(&self) -> &FakeZfs {
        &self.zfs
    }

    /// The LXD: its socket, its database, and what is to go wrong with it.
    pub fn lxd(&self) -> &Stub {
        &self.lxd
    }

    /// A client of that LXD.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Adds a project that shares the profiles of the default one.
    pub fn add_project(&self, name: &str) {
        let mut project = Project::default();
        project.name = name.to_owned();
        project.config = BTreeMap::from([("features.profiles".to_owned(), "false".to_owned())]);
        self.lxd.add_project(project);
    }

    /// Begins a new instance: [`NewInstance::create`] makes it.
    ///
    /// # Panics
    /// If the name is not legal.
    pub fn instance(&self, name: &str) -> NewInstance<'_> {
        let mut instance = lxd_client::Instance::default();
        instance.profiles = vec!["default".to_owned()];
        let image = ("volatile.base_image".to_owned(), IMAGE.to_owned());
        instance.config = BTreeMap::from([image]);
        NewInstance {
            host: self,
            id: id(name),
            instance,
            files: Vec::new(),
            running: false,
        }
    }

    /// The dataset at an instance's place, be there one or not.
    ///
    /// # Panics
    /// If the name is not legal.
    pub fn dataset(&self, instance: &str) -> DatasetName {
        let id = id(instance);
        self.storage.dataset(id.project.as_str(), id.name.as_str())
    }

    /// Writes a file as the guest does: to what was mounted at its start, if it runs.
    ///
    /// # Panics
    /// If the instance has no dataset.
    pub fn write(&self, instance: &str, path: &str, bytes: impl AsRef<[u8]>) {
        let id = id(instance);
        let seen = self
            .storage
            .seen_by_guest(id.project.as_str(), id.name.as_str());
        self.zfs.write(seen, &format!("{ROOTFS}{path}"), bytes);
    }

    /// The guest's files in the dataset at the instance's place; none if there is no dataset.
    ///
    /// # Panics
    /// If the name is not legal.
    pub fn content(&self, instance: &str) -> BTreeMap<String, String> {
        guest_files(&self.zfs, self.dataset(instance))
    }

    /// The guest's files in a snapshot of that dataset; none if there is no such snapshot.
    ///
    /// # Panics
    /// If a name is not legal.
    pub fn content_at(&self, instance: &str, snapshot: &str) -> BTreeMap<String, String> {
        guest_files(&self.zfs, format!("{}@{snapshot}", self.dataset(instance)))
    }

    /// Takes a snapshot as a person or sanoid would: LXD does not know of it.
    ///
    /// # Panics
    /// If there is one of that name, or no dataset.
    pub fn snapshot(&self, instance: &str, name: &str) -> SnapshotName {
        let name = self.dataset(instance).snapshot(name);
        let name = name.unwrap_or_else(|error| panic!("{error}"));
        let taken = self.storage.snapshot(name.clone());
        taken.unwrap_or_else(|error| panic!("{error}"));
        name
    }

    /// Takes a snapshot through LXD: `@snapshot-<name>`, and LXD's record of it.
    ///
    /// # Panics
    /// If LXD refuses.
    pub async fn lxd_snapshot(&self, instance: &str, name: &str) {
        let id = id(instance);
        let taken = Instances::create_snapshot(&self.client, &id, name, None).await;
        taken.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Every start of an instance so far.
    pub fn starts(&self) -> Vec<Start> {
        self.storage.starts()
    }
}

/// An instance that is to be made.
#[must_use = "`create` makes it"]
#[derive(Debug)]
pub struct NewInstance<'a> {
    host: &'a FakeHost,
    id: InstanceRef,
    instance: lxd_client::Instance,
    files: Vec<(String, Vec<u8>)>,
    running: bool,
}

impl NewInstance<'_> {
    /// Whether it runs; it does not unless told.
    pub fn running(mut self, running: bool) -> Self {
        self.running = running;
        self
    }

    /// Puts a file into it, beside those of the image.
    pub fn file(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.files.push((path.to_owned(), bytes.as_ref().to_vec()));
        self
    }

    /// Sets a config key.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.instance
            .config
            .insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds a device.
    pub fn device(mut self, name: &str, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter();
        let settings = settings.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.instance
            .devices
            .insert(name.to_owned(), settings.collect());
        self
    }

    /// Changes anything else that LXD knows of it.
    pub fn with(mut self, change: impl FnOnce(&mut lxd_client::Instance)) -> Self {
        change(&mut self.instance);
        self
    }

    /// Makes it: a clone of the image, LXD's record, and a start if it is to run.
    ///
    /// # Panics
    /// If there is a dataset of that name, or LXD refuses to start it.
    pub async fn create(mut self) {
        let (project, name) = (self.id.project.as_str(), self.id.name.as_str());
        let dataset = self.host.storage.dataset(project, name);
        let image = readonly(&child(&self.host.root, &format!("images/{IMAGE}")));
        let made = self.host.storage.create(&dataset, Some(&image));
        made.unwrap_or_else(|error| panic!("{error}"));
        for (path, bytes) in self.files {
            self.host
                .zfs
                .write(&dataset, &format!("{ROOTFS}{path}"), bytes);
        }
        self.instance.name = name.to_owned();
        self.host.lxd.add_instance(project, self.instance, false);
        if self.running {
            let client = self.host.client.project(project);
            let start = StateChange::new(StateAction::Start);
            let started = async { client.set_state(name, &start).await?.wait().await };
            started.await.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

fn id(name: &str) -> InstanceRef {
    name.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn readonly(image: &DatasetName) -> SnapshotName {
    let name = image.snapshot("readonly");
    name.unwrap_or_else(|error| panic!("{error}"))
}

fn pool(root: &DatasetName) -> StoragePool {
    let mut pool = StoragePool::default();
    pool.name = "default".to_owned();
    pool.driver = "zfs".to_owned();
    pool.status = "Created".to_owned();
    let keys = ["source", "volatile.initial_source", "zfs.pool_name"];
    let settings = keys.map(|key| (key.to_owned(), root.to_string()));
    pool.config = BTreeMap::from(settings);
    pool
}
