//! Instances of a pool file, an archive in memory whose store fails to order, and exports from one to the other.

#![allow(clippy::unwrap_used, reason = "a rig of tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Zoned;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use terrarium_core::export::{ExportError, ExportTo, Exported};
use terrarium_core::plan::ChainPolicy;
use terrarium_core::tree::hash_snapshot;
use terrarium_core::{Begun, Folders, Host, InstanceRef, PoolFile, Session, Silent, Zfs};
use terrarium_s3::archive::{Archive, Catalog};
use terrarium_s3::crypto::{HostKey, Identities, NewIdentity, Recipients};
use terrarium_s3::format::{self, ArchiveId, Layout, Lineage, Manifest};
use terrarium_s3::pipeline::{Options, read_stream};
use terrarium_s3::{Faulty, Key, MemoryStore};
use terrarium_zfs::tree::{Entry, Kind};
use terrarium_zfs::{
    DatasetName, Guid, Listing, Properties, ReceiveOptions, SnapshotName, UserProperties,
};
use terrarium_zpool::Engine;

use crate::support::{SIZE, options};

pub(crate) type Pool = Host<Engine, PoolFile>;

/// A host with instances, and an archive.
pub(crate) struct Rig {
    pub(crate) host: Pool,
    pub(crate) engine: Engine,
    pub(crate) store: Faulty<MemoryStore>,
    pub(crate) archive: Archive<Faulty<MemoryStore>>,
    pub(crate) key: HostKey,
    pub(crate) other_key: HostKey,
    pub(crate) options: Options,
    pub(crate) policy: ChainPolicy,
    pub(crate) identities: Arc<Identities>,
    seconds: AtomicU32,
    received: AtomicU32,
    folder: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = options().create(&folder.path().join("pool"), "tank", SIZE);
        let engine = engine.expect("created");
        engine
            .create(&named("tank/containers"), &Properties::new())
            .expect("created");
        let identity = NewIdentity::generate();
        let (key, other_key) = (HostKey::generate().unwrap(), HostKey::generate().unwrap());
        let document = format::Archive {
            id: ArchiveId::random().unwrap(),
            created: "2026-11-22T10:00:00Z".parse().unwrap(),
            recipients: Recipients::parse([identity.recipient()]).unwrap(),
            host_keys: vec![key.verifying_key(), other_key.verifying_key()],
        };
        let store = Faulty::new(MemoryStore::new());
        let layout = Layout::new(Some(Key::new("backups/host1").unwrap()));
        let archive = Archive::init(Arc::new(store.clone()), layout, document).await;
        Self {
            host: host(&engine, folder.path()),
            engine,
            store,
            archive: archive.expect("made"),
            key,
            other_key,
            options: Options {
                part_size: 64 << 10,
                memory: 256 << 10,
                level: 1,
                attempts: 2,
                pause: Duration::from_millis(1),
                ..Options::default()
            },
            policy: ChainPolicy::default(),
            identities: Arc::new(identity.into_identities()),
            seconds: AtomicU32::new(0),
            received: AtomicU32::new(0),
            folder,
        }
    }

    /// Another archive, in which nothing is signed.
    pub(crate) async fn unsigned(&mut self) {
        let document = format::Archive {
            id: ArchiveId::random().unwrap(),
            host_keys: Vec::new(),
            ..self.archive.document().clone()
        };
        self.store = Faulty::new(MemoryStore::new());
        let store = Arc::new(self.store.clone());
        let archive = Archive::init(store, Layout::default(), document).await;
        self.archive = archive.expect("made");
    }

    /// OpenZFS ends as if the machine had lost its power.
    pub(crate) fn kill(&self) {
        let id = i32::try_from(self.engine.process_id()).expect("a process id");
        kill(Pid::from_raw(id), Signal::SIGKILL).expect("it runs");
    }

    /// Opens the pool again after its process was killed.
    pub(crate) fn reopen(&mut self) {
        self.engine = options()
            .open(&self.folder.path().join("pool"))
            .expect("opened");
        self.host = host(&self.engine, self.folder.path());
    }

    /// Where the journals are.
    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().join("state/exports");
        match folder.read_dir() {
            Ok(files) => files.map(|file| file.expect("a file").path()).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// A dataset where instances are.
    pub(crate) fn instance(&self, name: &str) -> InstanceRef {
        let created = self.engine.create(&dataset(name), &Properties::new());
        created.expect("created");
        name.parse().expect("a legal name")
    }

    /// An image of so many bytes, as LXD keeps it.
    pub(crate) fn image(&self, fingerprint: &str, bytes: usize) -> SnapshotName {
        let images = named("tank/images");
        if self.engine.guid(images.as_str()).unwrap().is_none() {
            let created = self.engine.create(&images, &Properties::new());
            created.expect("created");
        }
        let image = images.child(fingerprint).expect("a legal name");
        let created = self.engine.create(&image, &Properties::new());
        created.expect("created");
        self.snapshot_of(&image, "readonly", bytes)
    }

    /// An instance that LXD makes of an image, or another snapshot.
    pub(crate) fn clone_of(&self, origin: &SnapshotName, name: &str) -> InstanceRef {
        let cloned = self
            .engine
            .clone_snapshot(&dataset(name), origin, &Properties::new());
        cloned.expect("cloned");
        name.parse().expect("a legal name")
    }

    /// Changes the content, by some bytes that do not compress, and takes a snapshot.
    pub(crate) fn snapshot(&self, instance: &str, name: &str, bytes: usize) -> SnapshotName {
        self.snapshot_of(&dataset(instance), name, bytes)
    }

    fn snapshot_of(&self, dataset: &DatasetName, name: &str, bytes: usize) -> SnapshotName {
        let salt = u64::from(self.seconds.fetch_add(1, Ordering::Relaxed));
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ (salt << 32 | 1);
        let content: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(bytes)
        .collect();
        let mut file = Entry::new(format!("file-{name}").as_str(), Kind::File, 0o644);
        file.size = content.len() as u64;
        let mut tree = self.engine.write_tree(dataset);
        tree.add(&file);
        tree.content(0, &content);
        tree.finish().expect("written");
        let snapshot = dataset.snapshot(name).expect("a legal name");
        let taken = self
            .engine
            .snapshot(&[(snapshot.clone(), UserProperties::new())]);
        taken.expect("taken");
        snapshot
    }

    pub(crate) fn now(&self) -> Zoned {
        let second = self.seconds.fetch_add(1, Ordering::Relaxed);
        let time = format!("2026-11-23T10:{:02}:{:02}Z[UTC]", second / 60, second % 60);
        time.parse().expect("a time")
    }

    pub(crate) async fn begin(&self, id: &InstanceRef) -> Session<'_, Engine, PoolFile> {
        let begun = self
            .host
            .begin(std::slice::from_ref(id), "export", self.now(), &Silent);
        match begun.await.expect("a session") {
            Begun::Ready(session) => session,
            Begun::Stuck(report) => panic!("{report:#?}"),
        }
    }

    pub(crate) fn to<'a>(&'a self, catalog: &'a Catalog) -> ExportTo<'a, Faulty<MemoryStore>> {
        ExportTo {
            archive: &self.archive,
            catalog,
            key: Some(&self.key),
            adopt: false,
            policy: self.policy,
            digest: false,
            options: &self.options,
        }
    }

    pub(crate) async fn export(&self, id: &InstanceRef) -> Result<Exported, ExportError> {
        self.export_by(id, &self.key, false).await
    }

    pub(crate) async fn export_by(
        &self,
        id: &InstanceRef,
        key: &HostKey,
        adopt: bool,
    ) -> Result<Exported, ExportError> {
        let session = self.begin(id).await;
        let catalog = self.archive.catalog().await?;
        let to = ExportTo {
            key: Some(key),
            adopt,
            ..self.to(&catalog)
        };
        let plan = session.planner().plan_export(id, &to).await?;
        session.export(&plan, &to).await
    }

    pub(crate) fn listing(&self) -> Listing {
        Zfs::list(&self.engine, &named("tank")).expect("listed")
    }

    /// The bookmarks of an instance, without its dataset.
    pub(crate) fn bookmarks(&self, instance: &str) -> Vec<String> {
        let all = self.listing().bookmarks;
        let of_it = all
            .iter()
            .filter(|bookmark| bookmark.name.dataset_str() == dataset(instance).as_str());
        of_it
            .map(|bookmark| bookmark.name.name().to_owned())
            .collect()
    }

    /// The snapshots that are held, without their datasets.
    pub(crate) fn held(&self) -> Vec<String> {
        let all = self.listing().snapshots;
        let held = all.iter().filter(|snapshot| snapshot.userrefs > 0);
        held.map(|snapshot| snapshot.name.name().to_owned())
            .collect()
    }

    /// What a dataset says of its lineage.
    pub(crate) fn local(&self, instance: &str) -> BTreeMap<String, String> {
        let listing = self.listing();
        let of_it = |found: &&terrarium_zfs::Dataset| found.name == dataset(instance);
        let found = listing.datasets.iter().find(of_it).expect("it is there");
        let ours = found.local.iter();
        let ours = ours.filter(|(key, _)| key.starts_with("terrarium:lineage"));
        ours.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// The manifests of a lineage that the store has, whatever is wrong with it at the moment.
    pub(crate) fn listed(&self, lineage: Lineage) -> usize {
        let prefix = self.archive.layout().manifests_of(lineage);
        let keys = self.store.inner().keys();
        keys.iter()
            .filter(|key| key.as_str().starts_with(&prefix))
            .count()
    }

    /// Restores a point from the archive into a new dataset, and compares its tree with the one that is here.
    pub(crate) async fn comes_back(&self, lineage: Lineage, snapshot: &SnapshotName) -> Manifest {
        let guid = self
            .engine
            .guid(snapshot.as_str())
            .unwrap()
            .expect("it is here");
        let (last, back) = self.receive(lineage, guid).await;
        let digest = |snapshot: &str| {
            let tree = hash_snapshot(&self.engine, snapshot).expect("read");
            assert!(tree.damaged.is_empty());
            tree.listing.digest()
        };
        assert_eq!(digest(snapshot.as_str()), digest(back.as_str()));
        last
    }

    async fn receive(&self, lineage: Lineage, guid: Guid) -> (Manifest, SnapshotName) {
        let catalog = self.archive.catalog().await.expect("listed");
        let chain = self.archive.chain(&catalog, lineage, guid).await;
        let mut dataset = named("tank");
        let mut last = None;
        for point in chain.expect("whole") {
            assert!(self.archive.trusts(point.verdict));
            let sealed = point.manifest.open(&self.identities).expect("opened");
            let mut how = ReceiveOptions::default();
            if !matches!(point.manifest.base, format::Base::Point(_)) {
                let number = self.received.fetch_add(1, Ordering::Relaxed);
                dataset = named(&format!("tank/back-{number}"));
                how.origin = last.take().map(|(_, snapshot)| snapshot);
            }
            let (input, output) = std::io::pipe().expect("a pipe");
            let name = dataset.snapshot(point.manifest.snapshot.name());
            let name = name.expect("a legal name");
            let (engine, into) = (self.engine.clone(), name.clone());
            let receiving =
                tokio::task::spawn_blocking(move || engine.receive(&into, &how, &input));
            let read = read_stream(
                Arc::clone(self.archive.store()),
                self.archive.layout(),
                &point.manifest,
                Arc::clone(&self.identities),
                Some(sealed.stream_blake3),
                output,
                &self.options,
            );
            read.await.expect("read back");
            receiving.await.expect("it ended").expect("received");
            last = Some((point.manifest, name));
        }
        last.expect("a point")
    }

    /// What is sealed in a manifest.
    pub(crate) fn sealed(&self, manifest: &Manifest) -> format::Sealed {
        manifest.open(&self.identities).expect("opened")
    }
}

pub(crate) fn host(engine: &Engine, folder: &std::path::Path) -> Pool {
    let instances = PoolFile::new(engine.clone()).expect("a short name");
    let folders = Folders {
        state: folder.join("state"),
        run: folder.join("run"),
    };
    Host::new(engine.clone(), instances, &folders)
}

pub(crate) fn named(name: &str) -> DatasetName {
    DatasetName::new(name).expect("a legal name")
}

pub(crate) fn dataset(instance: &str) -> DatasetName {
    named(&format!("tank/containers/{instance}"))
}
