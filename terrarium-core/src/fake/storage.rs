//! What LXD does to its pool, on a ZFS in memory.
//!
//! It follows LXD 5.0's storage driver for ZFS: which dataset stands for what, what is renamed instead of destroyed
//! because it has clones, and what a start does to the owners of files.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, Weak};

use lxd_client::stub::{Stub, StubStorage};
use serde_json::json;
use terrarium_zfs::{DatasetName, Error, Guid, Properties, SnapshotName, UserProperties};

use super::host::Start;
use super::pool::{Births, Pool};
use super::zfs::FakeZfs;
use crate::property::LXD_IDMAP;

/// Below it a dataset has the guest's files; beside it what LXD keeps with them.
pub(super) const ROOTFS: &str = "rootfs/";
/// Notes the id map that a dataset's files have: the owners of files that a fake does not have itself.
const OWNERS: &str = ".owners";
/// The files as they come from an image, before any start.
const UNSHIFTED: &str = "[]";

/// LXD's storage pool.
#[derive(Debug)]
pub(super) struct Storage {
    zfs: FakeZfs,
    root: DatasetName,
    /// The LXD that this belongs to: its database says what to do at a start.
    pub(super) lxd: OnceLock<Weak<Stub>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is mounted, by volume: a mount stays with its dataset, whatever that is called by now.
    mounts: BTreeMap<String, Guid>,
    starts: Vec<Start>,
}

impl Storage {
    pub(super) fn new(zfs: FakeZfs, root: DatasetName) -> Self {
        Self {
            zfs,
            root,
            lxd: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    pub(super) fn starts(&self) -> Vec<Start> {
        self.state().starts.clone()
    }

    /// The dataset at an instance's place, be there one or not.
    pub(super) fn dataset(&self, project: &str, instance: &str) -> DatasetName {
        let path = format!("containers/{}", volume(project, instance));
        child(&self.root, &path)
    }

    /// The dataset that the guest sees: the one mounted at its start, wherever it is by now.
    pub(super) fn seen_by_guest(&self, project: &str, instance: &str) -> DatasetName {
        let mounted = self.state().mounts.get(&volume(project, instance)).copied();
        let mounted = mounted.and_then(|guid| self.with_guid(guid));
        mounted.unwrap_or_else(|| self.dataset(project, instance))
    }

    /// Makes a dataset with the properties that LXD sets.
    pub(super) fn create(
        &self,
        dataset: &DatasetName,
        image: Option<&SnapshotName>,
    ) -> Result<(), Error> {
        let properties = volume_properties();
        self.change(dataset, |pool, births| match image {
            Some(image) => pool.clone_snapshot(births, dataset, image, &properties),
            None => pool.create(births, dataset, &properties),
        })
    }

    pub(super) fn snapshot(&self, name: SnapshotName) -> Result<(), Error> {
        let wanted = [(name, UserProperties::new())];
        self.change(&wanted[0].0.dataset(), |pool, births| {
            pool.take_snapshots(births, &wanted).map_err(first)
        })
    }

    fn change<T>(
        &self,
        dataset: &DatasetName,
        run: impl FnOnce(&mut Pool, &mut Births) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.zfs.by_others(dataset.as_str(), run)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panicked in the middle of a change")
    }

    fn exists(&self, dataset: &DatasetName) -> bool {
        let found = self.change(dataset, |pool, _| Ok(pool.heads.contains_key(dataset)));
        found.unwrap_or_default()
    }

    fn with_guid(&self, guid: Guid) -> Option<DatasetName> {
        let found = self.change(&self.root, |pool, _| {
            let mut heads = pool.heads.iter();
            Ok(heads
                .find(|(_, head)| head.birth.guid == guid)
                .map(|(name, _)| name.clone()))
        });
        found.ok().flatten()
    }

    fn instance(&self, project: &str, name: &str) -> Option<lxd_client::Instance> {
        let lxd = self.lxd.get().and_then(Weak::upgrade)?;
        lxd.instance(project, name)
    }

    /// Gives the files the owners that the next start wants, provided that LXD knows which they have.
    ///
    /// LXD shifts from `volatile.last_state.idmap` to `volatile.idmap.next`, and does nothing if they are equal. It does
    /// not look at the files: told the wrong map, it leaves owners that nobody can have meant.
    fn shift(&self, dataset: &DatasetName, told: &str, next: &str) -> bool {
        let had = self.zfs.read(dataset, OWNERS);
        let had = had.map_or_else(
            || UNSHIFTED.to_owned(),
            |text| String::from_utf8_lossy(&text).into_owned(),
        );
        let has = if told == next {
            had.clone()
        } else if told == had {
            next.to_owned()
        } else {
            format!("{had}, taken for {told}, shifted to {next}")
        };
        if has != had {
            self.zfs.write(dataset, OWNERS, &has);
        }
        has == next
    }

    /// LXD describes an instance in a file beside the guest's.
    fn write_backup_file(
        &self,
        project: &str,
        instance: &str,
        dataset: &DatasetName,
        idmap: Option<&str>,
    ) {
        let Some(mut described) = self.instance(project, instance) else {
            return;
        };
        if let Some(idmap) = idmap {
            described
                .config
                .insert(LXD_IDMAP.to_owned(), idmap.to_owned());
        }
        // Whatever is JSON is YAML.
        let text = json!({"container": described, "snapshots": described.snapshots}).to_string();
        self.zfs.write(dataset, "backup.yaml", text);
    }
}

impl StubStorage for Storage {
    fn create_volume(&self, project: &str, instance: &str) -> Result<(), String> {
        let dataset = self.dataset(project, instance);
        self.create(&dataset, None).map_err(text)?;
        self.write_backup_file(project, instance, &dataset, None);
        Ok(())
    }

    fn delete_volume(&self, project: &str, instance: &str) -> Result<(), String> {
        let dataset = self.dataset(project, instance);
        if !self.exists(&dataset) {
            return Ok(());
        }
        let deleted = self.change(&dataset, |pool, births| {
            let cloned = {
                let trees = pool.subtree(&dataset);
                let mut own = trees.flat_map(|(_, head)| &head.snapshots);
                own.any(|frozen| pool.has_clones(frozen.birth))
            };
            if cloned {
                let place = format!("deleted/containers/{}", unique(births));
                pool.rename(&dataset, &child(&self.root, &place))
            } else {
                pool.destroy_recursively(&dataset)
            }
        });
        deleted.map_err(text)
    }

    fn rename_volume(&self, project: &str, from: &str, to: &str) -> Result<(), String> {
        let (from, to) = (self.dataset(project, from), self.dataset(project, to));
        let renamed = self.change(&from, |pool, _| pool.rename(&from, &to));
        renamed.map_err(text)
    }

    fn create_snapshot(&self, project: &str, instance: &str, snapshot: &str) -> Result<(), String> {
        let dataset = self.dataset(project, instance);
        let name = lxd_snapshot(&dataset, snapshot);
        self.snapshot(name).map_err(text)?;
        let seen = self.seen_by_guest(project, instance);
        self.write_backup_file(project, instance, &seen, None);
        Ok(())
    }

    fn delete_snapshot(&self, project: &str, instance: &str, snapshot: &str) -> Result<(), String> {
        let dataset = self.dataset(project, instance);
        let name = lxd_snapshot(&dataset, snapshot);
        let deleted = self.change(&dataset, |pool, births| {
            let Ok((head, position)) = pool.snapshot("destroy", &name) else {
                return Ok(());
            };
            if pool.has_clones(head.snapshots[position].birth) {
                let deleted = format!("deleted-{}", unique(births));
                pool.snapshot_mut("rename", &name)?.name = deleted;
                Ok(())
            } else {
                pool.destroy_snapshots(&[name]).map_err(first)
            }
        });
        deleted.map_err(text)
    }

    fn start(&self, project: &str, instance: &str) -> Result<(), String> {
        let dataset = self.dataset(project, instance);
        let content = guest_files(&self.zfs, &dataset);
        if content.is_empty() {
            return Err(format!("Failed to mount root file system of {dataset}"));
        }
        let config = self.instance(project, instance).unwrap_or_default().config;
        let value = |key: &str| config.get(key).map_or(UNSHIFTED, String::as_str);
        let (told, next) = (value(LXD_IDMAP), value("volatile.idmap.next"));
        let ids_right = self.shift(&dataset, told, next);
        self.write_backup_file(project, instance, &dataset, Some(next));
        let guid = self.change(&dataset, |pool, _| {
            let head = pool.head_mut("mount", &dataset)?;
            head.mounted = true;
            Ok(head.birth.guid)
        });
        let guid = guid.map_err(text)?;

        let mut state = self.state();
        state.mounts.insert(volume(project, instance), guid);
        state.starts.push(Start {
            project: project.to_owned(),
            instance: instance.to_owned(),
            idmap: next.to_owned(),
            ids_right,
            content,
        });
        Ok(())
    }

    fn stop(&self, project: &str, instance: &str) -> Result<(), String> {
        let mounted = self.state().mounts.remove(&volume(project, instance));
        if let Some(dataset) = mounted.and_then(|guid| self.with_guid(guid)) {
            self.zfs.set_mounted(dataset, false);
        }
        Ok(())
    }
}

/// The guest's files in a dataset or snapshot; those that are no text are shown as far as they are.
pub(super) fn guest_files(zfs: &FakeZfs, object: impl AsRef<str>) -> BTreeMap<String, String> {
    let files = zfs.files(object).into_iter();
    let guests = files.filter_map(|(path, bytes)| {
        let path = path.strip_prefix(ROOTFS)?.to_owned();
        Some((path, String::from_utf8_lossy(&bytes).into_owned()))
    });
    guests.collect()
}

/// As LXD's `project.Instance` names it.
fn volume(project: &str, instance: &str) -> String {
    match project {
        "default" => instance.to_owned(),
        project => format!("{project}_{instance}"),
    }
}

fn lxd_snapshot(dataset: &DatasetName, name: &str) -> SnapshotName {
    let name = dataset.snapshot(&format!("{}{name}", crate::LXD_SNAPSHOT_PREFIX));
    name.unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn child(dataset: &DatasetName, path: &str) -> DatasetName {
    let name = dataset.child(path);
    name.unwrap_or_else(|error| panic!("{error}"))
}

fn volume_properties() -> Properties {
    let mut properties = Properties::new();
    let pairs = [
        ("canmount", "noauto"),
        ("mountpoint", "legacy"),
        ("quota", "0"),
        ("refquota", "0"),
        ("refreservation", "0"),
        ("reservation", "0"),
    ];
    for (name, value) in pairs {
        let set = properties.set(name, value);
        set.unwrap_or_else(|error| panic!("{error}"));
    }
    properties
}

fn unique(births: &mut Births) -> String {
    format!("{:016x}", births.next(0).guid.get())
}

fn first(failures: Vec<(String, Error)>) -> Error {
    let mut failures = failures.into_iter();
    let (_, error) = failures.next().expect("a refusal has a reason");
    error
}

fn text(error: Error) -> String {
    error.to_string()
}
