//! The handle of the ZFS in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use terrarium_zfs::{BookmarkName, DatasetName, Error, PoolState, Properties, SnapshotName};

use super::content::Content;
use super::pool::{Births, Pool};
use super::seam::{Need, World, pool_of};

/// 2026-01-01 00:00:00 UTC: when the clock of a new [`FakeZfs`] stands still.
const START: i64 = 1_767_225_600;

/// ZFS in memory: pools, datasets with files in them, snapshots, bookmarks, clones.
///
/// A clone is another handle of the same pools. Everything that changes a pool takes a transaction group of its
/// own, so `createtxg` orders as in ZFS; guids are the same in every run; the time of creation is a clock that
/// [`set_time`](FakeZfs::set_time) sets.
///
/// ```
/// use terrarium_core::Zfs;
/// use terrarium_core::fake::FakeZfs;
/// use terrarium_zfs::{DatasetName, Properties, SnapshotName, UserProperties};
///
/// let zfs = FakeZfs::with_pool("tank");
/// zfs.create(&DatasetName::new("tank/web")?, &Properties::new())?;
/// zfs.write("tank/web", "etc/hostname", "one");
/// let snapshot = SnapshotName::new("tank/web@before")?;
/// zfs.snapshot(&[(snapshot.clone(), UserProperties::new())])?;
/// zfs.write("tank/web", "etc/hostname", "two");
///
/// zfs.rollback_to(&snapshot)?;
/// assert_eq!(zfs.read("tank/web", "etc/hostname").as_deref(), Some(&b"one"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FakeZfs {
    world: Arc<Mutex<World>>,
}

/// What a test does to the world that ZFS is in.
impl FakeZfs {
    /// A machine without pools.
    #[expect(
        clippy::new_without_default,
        reason = "a test says what it starts with"
    )]
    pub fn new() -> Self {
        Self {
            world: Arc::new(Mutex::new(World {
                pools: BTreeMap::new(),
                births: Births {
                    now: START,
                    count: 0,
                },
                faults: Vec::new(),
                calls: Vec::new(),
            })),
        }
    }

    /// A machine with one empty pool.
    ///
    /// # Panics
    /// If the name is not legal.
    pub fn with_pool(name: &str) -> Self {
        let zfs = Self::new();
        zfs.add_pool(name);
        zfs
    }

    /// Adds an empty pool.
    ///
    /// # Panics
    /// If the name is not legal.
    pub fn add_pool(&self, name: &str) {
        let mut world = self.lock();
        let World { pools, births, .. } = &mut *world;
        let root = dataset_name(name);
        pools.insert(name.to_owned(), Pool::new(root, births));
    }

    /// Sets the clock that new objects get their time of creation from, in seconds since 1970.
    pub fn set_time(&self, now: i64) {
        self.lock().births.now = now;
    }

    /// Creates a dataset with those above it that are missing.
    ///
    /// # Panics
    /// If the name is not legal or the pool is missing.
    pub fn create_all(&self, dataset: impl AsRef<str>) {
        let name = dataset_name(dataset.as_ref());
        self.with_pool_of(name.pool(), |pool, births| {
            let mut missing = Vec::new();
            let mut next = Some(name.clone());
            while let Some(dataset) = next.filter(|dataset| !pool.heads.contains_key(dataset)) {
                next = dataset.parent();
                missing.push(dataset);
            }
            for dataset in missing.into_iter().rev() {
                pool.create(births, &dataset, &Properties::new())
                    .expect("the dataset is missing and its parent is not");
            }
        });
    }

    /// Writes a file of a dataset, as its guest would.
    ///
    /// # Panics
    /// If there is no such dataset.
    pub fn write(&self, dataset: impl AsRef<str>, path: &str, bytes: impl AsRef<[u8]>) {
        self.with_content(dataset.as_ref(), |content| {
            content.write(path, bytes.as_ref());
        });
    }

    /// Removes a file of a dataset, as its guest would.
    ///
    /// # Panics
    /// If there is no such dataset.
    pub fn remove(&self, dataset: impl AsRef<str>, path: &str) {
        self.with_content(dataset.as_ref(), |content| content.remove(path));
    }

    /// All files of a dataset or snapshot, by path; none if it does not exist.
    pub fn files(&self, object: impl AsRef<str>) -> BTreeMap<String, Vec<u8>> {
        let owned = |(path, bytes): (&str, &[u8])| (path.to_owned(), bytes.to_vec());
        self.look(object.as_ref(), |content| {
            content.files().map(owned).collect()
        })
        .unwrap_or_default()
    }

    /// Reads a file of a dataset or snapshot; `None` if it has none of that path, or does not exist itself.
    pub fn read(&self, object: impl AsRef<str>, path: &str) -> Option<Vec<u8>> {
        self.look(object.as_ref(), |content| {
            content.read(path).map(<[u8]>::to_vec)
        })
        .flatten()
    }

    /// Mounts a dataset, or unmounts it. A mounted one can be renamed and rolled back, but not destroyed.
    ///
    /// # Panics
    /// If there is no such dataset.
    pub fn set_mounted(&self, dataset: impl AsRef<str>, mounted: bool) {
        let name = dataset_name(dataset.as_ref());
        self.with_pool_of(name.pool(), |pool, _| {
            let head = pool.head_mut("mount", &name);
            head.expect("the dataset exists").mounted = mounted;
        });
    }

    /// Begins or ends something that keeps a snapshot in use: a send of it, or a mount below `.zfs/snapshot`.
    ///
    /// # Panics
    /// If there is no such snapshot.
    pub fn set_busy(&self, snapshot: impl AsRef<str>, busy: bool) {
        let name = snapshot_name(snapshot.as_ref());
        self.with_pool_of(name.pool(), |pool, _| {
            let frozen = pool.snapshot_mut("use", &name);
            frozen.expect("the snapshot exists").busy = busy;
        });
    }

    /// Puts a hold on a snapshot.
    ///
    /// # Panics
    /// If there is no such snapshot.
    pub fn hold(&self, snapshot: impl AsRef<str>, tag: &str) {
        let name = snapshot_name(snapshot.as_ref());
        self.with_pool_of(name.pool(), |pool, _| {
            let frozen = pool.snapshot_mut("hold", &name);
            let holds = &mut frozen.expect("the snapshot exists").holds;
            holds.insert(tag.to_owned());
        });
    }

    /// Takes a hold off a snapshot.
    ///
    /// # Panics
    /// If there is no such snapshot.
    pub fn release(&self, snapshot: impl AsRef<str>, tag: &str) {
        let name = snapshot_name(snapshot.as_ref());
        self.with_pool_of(name.pool(), |pool, _| {
            let frozen = pool.snapshot_mut("release", &name);
            frozen.expect("the snapshot exists").holds.remove(tag);
        });
    }

    /// Makes a bookmark of a snapshot of the same dataset.
    ///
    /// # Errors
    /// [`Error`] if it exists, or the snapshot does not.
    pub fn bookmark(&self, name: &BookmarkName, snapshot: &SnapshotName) -> Result<(), Error> {
        self.call("bookmark", &[name.as_str()], Need::Room, |pool, _| {
            pool.bookmark(name, snapshot)
        })
    }

    /// Destroys a dataset with all that is below it, as `zfs destroy -r` does.
    ///
    /// # Errors
    /// [`Error`] if it does not exist, or a snapshot is held or has clones elsewhere.
    pub fn destroy_recursively(&self, dataset: &DatasetName) -> Result<(), Error> {
        let object = dataset.as_str();
        self.call("destroy_recursively", &[object], Need::Change, |pool, _| {
            pool.destroy_recursively(dataset)
        })
    }

    /// Sets the state of a pool. While it is suspended, every call on it fails.
    ///
    /// # Panics
    /// If there is no such pool.
    pub fn set_pool_state(&self, pool: &str, state: PoolState) {
        self.with_pool_of(pool, |pool, _| pool.state = state);
    }

    /// Imports a pool read-only, or writable again. Read-only, every change of it is refused.
    ///
    /// # Panics
    /// If there is no such pool.
    pub fn set_readonly(&self, pool: &str, readonly: bool) {
        self.with_pool_of(pool, |pool, _| pool.readonly = readonly);
    }

    /// Fills a pool, or makes room in it. In a full one nothing new can be made, but datasets can be renamed,
    /// promoted, rolled back and destroyed.
    ///
    /// # Panics
    /// If there is no such pool.
    pub fn set_full(&self, pool: &str, full: bool) {
        self.with_pool_of(pool, |pool, _| pool.full = full);
    }

    /// Lets the next call of that name fail; nothing is done by it. Names are those of the trait's methods:
    /// `"promote"`, `"rename"`, …. Several faults of one call are used up in the order they were set.
    pub fn fail_next(&self, call: &str, error: Error) {
        self.lock().faults.push((call.to_owned(), error));
    }

    /// Every call of [`Zfs`](crate::Zfs) so far, failed ones too: its name and its objects, such as `rename tank/a tank/b`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.world
            .lock()
            .expect("no thread panicked in the middle of a change")
    }

    fn with_pool_of<T>(&self, name: &str, change: impl FnOnce(&mut Pool, &mut Births) -> T) -> T {
        let mut world = self.lock();
        let World { pools, births, .. } = &mut *world;
        let pool = pools.get_mut(name);
        let pool = pool.unwrap_or_else(|| panic!("there is no pool {name}"));
        change(pool, births)
    }

    fn look<T>(&self, object: &str, look: impl FnOnce(&Content) -> T) -> Option<T> {
        let world = self.lock();
        let pool = world.pools.get(pool_of(object))?;
        Some(look(if object.contains('@') {
            let name = SnapshotName::new(object).ok()?;
            let (head, position) = pool.snapshot("read", &name).ok()?;
            &head.snapshots[position].content
        } else {
            let name = DatasetName::new(object).ok()?;
            &pool.head("read", &name).ok()?.content
        }))
    }

    fn with_content(&self, dataset: &str, change: impl FnOnce(&mut Content)) {
        let name = dataset_name(dataset);
        self.with_pool_of(name.pool(), |pool, _| {
            let head = pool.head_mut("write", &name);
            let head = head.unwrap_or_else(|error| panic!("{error}"));
            change(&mut head.content);
        });
    }
}

fn dataset_name(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap_or_else(|error| panic!("{error}"))
}

fn snapshot_name(name: &str) -> SnapshotName {
    SnapshotName::new(name).unwrap_or_else(|error| panic!("{error}"))
}
