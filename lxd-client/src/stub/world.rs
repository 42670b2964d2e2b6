//! The stub's database: projects, profiles, pools, instances, operations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::faults::{Fault, Outcome, Trouble};
use super::invent::{idmap_text, random_mac, random_uuid};
use super::operations::Record;
use crate::ExecOutput;
use crate::wire::{
    Config, Devices, Instance, InstanceSnapshot, InstanceState, Profile, Project, StoragePool,
    StorageVolume,
};

pub(super) type Exec = Arc<dyn Fn(&[String]) -> Result<ExecOutput, String> + Send + Sync>;

/// A name within a project.
pub(super) type Key = (String, String);

pub(super) struct World {
    pub(super) projects: BTreeMap<String, Project>,
    pub(super) profiles: BTreeMap<Key, Profile>,
    pub(super) pools: BTreeMap<String, StoragePool>,
    /// Instances as stored: local settings, records of snapshots, nothing expanded.
    pub(super) instances: BTreeMap<Key, Instance>,
    pub(super) operations: BTreeMap<String, Record>,
    /// Recordings of commands, by instance and file name.
    pub(super) logs: BTreeMap<Key, Vec<u8>>,
    pub(super) stubborn: BTreeSet<String>,
    pub(super) requests: Vec<String>,
    pub(super) faults: Vec<Fault>,
    pub(super) delays: Vec<(String, String, Duration)>,
    pub(super) exec: Exec,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

pub(super) const RUNNING: i64 = 103;
pub(super) const STOPPED: i64 = 102;
pub(super) const FROZEN: i64 = 110;

impl World {
    pub(super) fn new() -> Self {
        let project = Project {
            name: "default".to_owned(),
            description: "Default LXD project".to_owned(),
            config: strings(&[
                ("features.images", "true"),
                ("features.networks", "true"),
                ("features.profiles", "true"),
                ("features.storage.buckets", "true"),
                ("features.storage.volumes", "true"),
            ]),
            ..Project::default()
        };
        let profile = Profile {
            name: "default".to_owned(),
            description: "Default LXD profile".to_owned(),
            devices: Devices::from([
                (
                    "eth0".to_owned(),
                    strings(&[("name", "eth0"), ("network", "lxdbr0"), ("type", "nic")]),
                ),
                (
                    "root".to_owned(),
                    strings(&[("path", "/"), ("pool", "default"), ("type", "disk")]),
                ),
            ]),
            ..Profile::default()
        };
        let pool = StoragePool {
            name: "default".to_owned(),
            driver: "zfs".to_owned(),
            status: "Created".to_owned(),
            locations: vec!["none".to_owned()],
            config: strings(&[
                ("source", "tank"),
                ("volatile.initial_source", "tank"),
                ("zfs.pool_name", "tank"),
            ]),
            ..StoragePool::default()
        };
        World {
            projects: BTreeMap::from([("default".to_owned(), project)]),
            profiles: BTreeMap::from([(("default".to_owned(), "default".to_owned()), profile)]),
            pools: BTreeMap::from([("default".to_owned(), pool)]),
            instances: BTreeMap::new(),
            operations: BTreeMap::new(),
            logs: BTreeMap::new(),
            stubborn: BTreeSet::new(),
            requests: Vec::new(),
            faults: Vec::new(),
            delays: Vec::new(),
            exec: Arc::new(|_| Ok(ExecOutput::default())),
        }
    }

    /// What is to go wrong with this request; each fault strikes once.
    pub(super) fn trouble(&mut self, method: &str, address: &str) -> Trouble {
        let mut trouble = Trouble::default();
        let first = self
            .faults
            .iter()
            .position(|fault| fault.matches(method, address));
        if let Some(index) = first {
            match self.faults.remove(index).outcome {
                Outcome::Refuse { status, message } => trouble.refuse = Some((status, message)),
                Outcome::FailOperation(message) => trouble.fail_operation = Some(message),
                Outcome::DropReply => trouble.drop_reply = true,
            }
        }
        let slow = self.delays.iter().rev();
        let mut slow = slow.filter(|(verb, text, _)| verb == method && address.contains(text));
        trouble.delay = slow.next().map_or(Duration::ZERO, |(_, _, delay)| *delay);
        trouble
    }

    pub(super) fn guest(&self, project: &str, name: &str) -> Option<&Instance> {
        self.instances.get(&(project.to_owned(), name.to_owned()))
    }

    pub(super) fn guest_mut(&mut self, project: &str, name: &str) -> Option<&mut Instance> {
        self.instances
            .get_mut(&(project.to_owned(), name.to_owned()))
    }

    /// The profile of that name that applies in a project: its own, or that of `default` if it shares them.
    pub(super) fn profile(&self, project: &str, name: &str) -> Option<&Profile> {
        let home = self.profile_home(project);
        self.profiles.get(&(home.to_owned(), name.to_owned()))
    }

    pub(super) fn profile_home<'a>(&self, project: &'a str) -> &'a str {
        let own = self.projects.get(project);
        let own = own.and_then(|project| project.config.get("features.profiles"));
        if own.is_some_and(|value| value == "true") {
            project
        } else {
            "default"
        }
    }

    /// Config and devices with those of the profiles merged in.
    pub(super) fn expand(&self, instance: &Instance) -> (Config, Devices) {
        let mut config = Config::new();
        let mut devices = Devices::new();
        for name in &instance.profiles {
            if let Some(profile) = self.profile(&instance.project, name) {
                config.extend(profile.config.clone());
                devices.extend(profile.devices.clone());
            }
        }
        config.extend(instance.config.clone());
        devices.extend(instance.devices.clone());
        (config, devices)
    }

    /// The name of the storage pool that an instance's root disk is on.
    pub(super) fn root_pool(&self, instance: &Instance) -> Option<String> {
        let (_, devices) = self.expand(instance);
        let root = devices.into_values().find(|device| {
            device.get("type").is_some_and(|kind| kind == "disk")
                && device.get("path").is_some_and(|path| path == "/")
        });
        root.and_then(|device| device.get("pool").cloned())
    }

    /// Puts an instance in, as one that has been there before the test.
    pub(super) fn adopt(&mut self, project: &str, mut instance: Instance, running: bool) {
        project.clone_into(&mut instance.project);
        if instance.created_at.is_none() {
            instance.created_at = Some(Timestamp::now());
        }
        self.fill(&mut instance);
        instance.config.remove("volatile.apply_template");
        set_status(&mut instance, if running { RUNNING } else { STOPPED });
        if running {
            mark_started(&mut instance);
        }
        let key = (project.to_owned(), instance.name.clone());
        self.instances.insert(key, instance);
    }

    /// Adds what LXD itself adds to a new instance, where the request did not say otherwise.
    pub(super) fn fill(&self, instance: &mut Instance) {
        let fallback = |field: &mut String, value: &str| {
            if field.is_empty() {
                value.clone_into(field);
            }
        };
        fallback(&mut instance.r#type, "container");
        fallback(&mut instance.architecture, "x86_64");
        fallback(&mut instance.location, "none");
        instance.snapshots.get_or_insert_default();
        let (config, devices) = self.expand(instance);
        for (name, device) in &devices {
            let is_nic = device.get("type").is_some_and(|kind| kind == "nic");
            if is_nic && !device.contains_key("hwaddr") {
                let key = format!("volatile.{name}.hwaddr");
                instance.config.entry(key).or_insert_with(random_mac);
            }
        }
        let (base, map) = self.idmap(&config, instance);
        let mut volatile = |key: &str, value: String| {
            instance
                .config
                .entry(format!("volatile.{key}"))
                .or_insert(value);
        };
        volatile("apply_template", "create".to_owned());
        volatile("cloud-init.instance-id", random_uuid());
        volatile("uuid", random_uuid());
        volatile("idmap.base", base);
        volatile("idmap.next", map);
        volatile("last_state.idmap", "[]".to_owned());
    }

    /// The base and the text of the id map that an instance with this expanded config is to get.
    pub(super) fn idmap(&self, config: &Config, instance: &Instance) -> (String, String) {
        let on = |key: &str| config.get(key).is_some_and(|value| value == "true");
        if on("security.privileged") {
            return ("0".to_owned(), "[]".to_owned());
        }
        if !on("security.idmap.isolated") {
            return ("0".to_owned(), idmap_text(1_000_000, 1_000_000_000));
        }
        // LXD looks for a free range; a place in the order of names is as good here.
        let key = (instance.project.clone(), instance.name.clone());
        let place = self
            .instances
            .keys()
            .take_while(|other| **other < key)
            .count() as u64;
        let base = 1_065_536 + place * 65_536;
        (base.to_string(), idmap_text(base, 65_536))
    }

    /// An instance as LXD reports it, without its snapshots and state.
    pub(super) fn render(&self, instance: &Instance) -> Instance {
        let (expanded_config, expanded_devices) = self.expand(instance);
        Instance {
            expanded_config,
            expanded_devices,
            snapshots: None,
            state: None,
            ..instance.clone()
        }
    }

    /// An instance as LXD reports it with all it knows.
    pub(super) fn render_full(&self, instance: &Instance) -> Instance {
        Instance {
            snapshots: instance.snapshots.clone(),
            state: Some(state_of(instance)),
            ..self.render(instance)
        }
    }

    /// The record of an instance's settings at this moment.
    pub(super) fn record(&self, instance: &Instance, name: &str) -> InstanceSnapshot {
        let full = self.render(instance);
        InstanceSnapshot {
            name: name.to_owned(),
            config: full.config,
            devices: full.devices,
            expanded_config: full.expanded_config,
            expanded_devices: full.expanded_devices,
            profiles: full.profiles,
            created_at: Some(Timestamp::now()),
            architecture: full.architecture,
            ephemeral: full.ephemeral,
            size: -1,
            ..InstanceSnapshot::default()
        }
    }

    /// The volumes of a pool in a project: those of its instances.
    pub(super) fn volumes(&self, project: &str, pool: &str) -> Vec<StorageVolume> {
        let here = self.instances.values().filter(|instance| {
            instance.project == project && self.root_pool(instance).as_deref() == Some(pool)
        });
        here.map(|instance| StorageVolume {
            name: instance.name.clone(),
            r#type: instance.r#type.clone(),
            content_type: "filesystem".to_owned(),
            project: project.to_owned(),
            location: "none".to_owned(),
            used_by: vec![format!("/1.0/instances/{}", instance.name)],
            created_at: instance.created_at,
            ..StorageVolume::default()
        })
        .collect()
    }
}

/// LXD's hash of what an update would overwrite, as in the header.
pub(super) fn etag(instance: &Instance) -> String {
    let hashed = json!([
        instance.architecture,
        instance.config,
        instance.devices,
        instance.ephemeral,
        instance.profiles
    ]);
    quoted_hash(&hashed)
}

/// A hash in quotes, as ETags are.
pub(super) fn quoted_hash(hashed: &serde_json::Value) -> String {
    let mut text = String::from("\"");
    for byte in Sha256::digest(hashed.to_string()) {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('"');
    text
}

pub(super) fn state_of(instance: &Instance) -> InstanceState {
    let runs = instance.status_code != STOPPED;
    InstanceState {
        status: instance.status.clone(),
        status_code: instance.status_code,
        pid: if runs { 4242 } else { 0 },
        processes: if runs { 3 } else { -1 },
        ..InstanceState::default()
    }
}

pub(super) fn set_status(instance: &mut Instance, code: i64) {
    instance.status_code = code;
    instance.status = match code {
        RUNNING => "Running",
        FROZEN => "Frozen",
        _ => "Stopped",
    }
    .to_owned();
}

/// What a start leaves in the config: the root filesystem has the next id map now.
pub(super) fn mark_started(instance: &mut Instance) {
    let next = instance
        .config
        .get("volatile.idmap.next")
        .cloned()
        .unwrap_or_default();
    let config = &mut instance.config;
    config.remove("volatile.apply_template");
    config.insert("volatile.idmap.current".to_owned(), next.clone());
    config.insert("volatile.last_state.idmap".to_owned(), next);
    config.insert("volatile.last_state.power".to_owned(), "RUNNING".to_owned());
    instance.last_used_at = Some(Timestamp::now());
}

/// The answer to a question for a list: addresses, or with recursion the things themselves.
pub(super) fn listing<T: serde::Serialize>(
    recursion: bool,
    items: impl IntoIterator<Item = (String, T)>,
) -> Value {
    let items = items.into_iter();
    items
        .map(|(address, item)| {
            if recursion {
                json!(item)
            } else {
                json!(address)
            }
        })
        .collect()
}

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
