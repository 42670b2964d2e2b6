//! The stub creates, changes, renames and deletes instances.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::operations::{Outcome, done};
use super::rules::{check_config, check_name, check_volatile, missing_profile};
use super::server::{Answer, Ask, Lxd, Refusal, Reply, refuse};
use super::world::{STOPPED, World, etag, set_status};
use crate::wire::{Config, Instance, InstancePut};

/// What `serde_json` makes of a body, or LXD's refusal of it.
fn put_from(body: &Value) -> Result<InstancePut, Refusal> {
    serde_json::from_value(body.clone()).or_else(|error| refuse(400, error.to_string()))
}

pub(super) fn create(lxd: &Lxd, ask: &Ask) -> Answer {
    let name = ask.text("name").to_owned();
    check_name(&name)?;
    let mut put = put_from(&ask.body)?;
    let source = ask.body.get("source").cloned().unwrap_or_default();
    let kind = source
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let project = ask.project().to_owned();
    let mut instance = Instance {
        name: name.clone(),
        project: project.clone(),
        r#type: ask.text("type").to_owned(),
        created_at: Some(Timestamp::now()),
        ..Instance::default()
    };
    {
        let world = lxd.world();
        if !world.projects.contains_key(&project) {
            return refuse(404, "Project not found");
        }
        // Without a list there is the default profile; an empty list means none.
        if ask.body.get("profiles").is_none_or(Value::is_null) {
            put.profiles = vec!["default".to_owned()];
        }
        if let Some(profile) = missing_profile(&world, &project, &put) {
            return refuse(500, format!("Requested profile {profile:?} doesn't exist"));
        }
        match kind.as_str() {
            "none" | "image" => {}
            "copy" => inherit(&world, &mut put, &source, &project)?,
            other => return refuse(400, format!("Unknown source type {other:?}")),
        }
        check_volatile(&world, &project, &name, &put.config, &Config::new())?;
        assign(&mut instance, put);
        set_status(&mut instance, STOPPED);
        world.fill(&mut instance);
    }
    let starts = ask.flag("start");
    let this = lxd.clone();
    lxd.begin(ask, "Creating instance", async move {
        this.insert(instance)?;
        if starts {
            this.start(&project, &name)?;
        }
        done()
    })
}

impl Lxd {
    /// Puts a new instance into the database and on the storage, or neither.
    fn insert(&self, instance: Instance) -> Result<(), String> {
        let (project, name) = (instance.project.clone(), instance.name.clone());
        {
            let mut world = self.world();
            if world.guest(&project, &name).is_some() {
                return Err(
                    "Failed creating instance record: Add instance info to the database: \
                            This \"instances\" entry already exists"
                        .to_owned(),
                );
            }
            let Some(pool) = world.root_pool(&instance) else {
                return Err(
                    "Failed creating instance record: Failed initialising instance: \
                            Failed getting root disk: No root device could be found"
                        .to_owned(),
                );
            };
            if !world.pools.contains_key(&pool) {
                return Err(
                    "Failed creating instance record: Failed initialising instance: \
                            Failed loading storage pool: Storage pool not found"
                        .to_owned(),
                );
            }
            check_config(&instance.config)?;
            world
                .instances
                .insert((project.clone(), name.clone()), instance);
        }
        let created = self.storage.create_volume(&project, &name);
        if let Err(message) = created {
            // As seen: LXD cleans up by deleting the volume, also if it was not its own.
            _ = self.storage.delete_volume(&project, &name);
            self.world().instances.remove(&(project, name));
            return Err(format!("Failed creating instance: {message}"));
        }
        self.changed();
        Ok(())
    }
}

/// A copy starts from its source's settings; what the request says overrides.
fn inherit(
    world: &World,
    put: &mut InstancePut,
    source: &Value,
    project: &str,
) -> Result<(), Refusal> {
    let text = |field: &str| source.get(field).and_then(Value::as_str);
    let wanted = text("source").unwrap_or_default();
    let (name, snapshot) = match wanted.split_once('/') {
        Some((name, snapshot)) => (name, Some(snapshot)),
        None => (wanted, None),
    };
    let Some(origin) = world.guest(text("project").unwrap_or(project), name) else {
        return refuse(404, "Instance not found");
    };
    let recorded = origin.snapshots.iter().flatten();
    let (config, devices) = match snapshot {
        None => (&origin.config, &origin.devices),
        Some(snapshot) => match recorded.clone().find(|record| record.name == snapshot) {
            Some(record) => (&record.config, &record.devices),
            None => return refuse(404, "Instance snapshot not found"),
        },
    };
    for (key, value) in config {
        let copied = !key.starts_with("volatile.")
            || matches!(
                key.as_str(),
                "volatile.base_image" | "volatile.last_state.idmap"
            );
        if copied {
            put.config
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
    }
    for (name, device) in devices {
        put.devices
            .entry(name.clone())
            .or_insert_with(|| device.clone());
    }
    put.config
        .insert("volatile.apply_template".to_owned(), "copy".to_owned());
    Ok(())
}

pub(super) fn update(lxd: &Lxd, ask: &Ask, name: &str) -> Answer {
    let project = ask.project().to_owned();
    let old = find(lxd, ask, name)?;
    if !ask.text("restore").is_empty() {
        return refuse(501, "the stub does not restore");
    }
    let put = put_from(&ask.body)?;
    if missing_profile(&lxd.world(), &project, &put).is_some() {
        return refuse(404, "Profile not found");
    }
    check_volatile(&lxd.world(), &project, name, &put.config, &old.config)?;
    let (this, name) = (lxd.clone(), name.to_owned());
    lxd.begin(ask, "Updating instance", async move {
        this.apply(&project, &name, put)
    })
}

pub(super) async fn patch(lxd: &Lxd, ask: &Ask, name: &str) -> Answer {
    let old = find(lxd, ask, name)?;
    let mut merged = json!(InstancePut::from(&old));
    tokio::time::sleep(ask.trouble.delay).await;
    for (field, value) in ask.body.as_object().into_iter().flatten() {
        match (merged.get_mut(field).and_then(Value::as_object_mut), value) {
            (Some(known), Value::Object(more)) => known.extend(more.clone()),
            _ => merged[field] = value.clone(),
        }
    }
    let put = put_from(&merged)?;
    check_volatile(&lxd.world(), ask.project(), name, &put.config, &old.config)?;
    match lxd.apply(ask.project(), name, put) {
        Ok(_) => Ok(Reply::Sync(json!({}))),
        Err(message) => refuse(500, message),
    }
}

impl Lxd {
    /// Replaces what can be changed of an instance, if LXD's checks let it.
    fn apply(&self, project: &str, name: &str, put: InstancePut) -> Outcome {
        let mut world = self.world();
        let Some(old) = world.guest(project, name).cloned() else {
            return Err("Instance not found".to_owned());
        };
        check_config(&put.config)?;
        let is_idmap = |key: &&String| {
            key.starts_with("volatile.idmap.") || *key == "volatile.last_state.idmap"
        };
        if old
            .config
            .keys()
            .filter(is_idmap)
            .any(|key| !put.config.contains_key(key))
        {
            return Err("Volatile idmap keys can't be deleted by the user".to_owned());
        }
        let mut new = old.clone();
        assign(&mut new, put);
        if world.root_pool(&new).is_none() {
            return Err("Invalid expanded devices: No root device could be found".to_owned());
        }
        let isolation = |instance: &Instance| {
            let (config, _) = world.expand(instance);
            ["security.privileged", "security.idmap.isolated"].map(|key| config.get(key).cloned())
        };
        if isolation(&old) != isolation(&new) {
            let (base, map) = world.idmap(&world.expand(&new).0, &new);
            new.config.insert("volatile.idmap.base".to_owned(), base);
            new.config.insert("volatile.idmap.next".to_owned(), map);
        }
        world
            .instances
            .insert((project.to_owned(), name.to_owned()), new);
        drop(world);
        self.changed();
        done()
    }
}

pub(super) fn rename(lxd: &Lxd, ask: &Ask, name: &str) -> Answer {
    let old = find(lxd, ask, name)?;
    let to = ask.text("name").to_owned();
    check_name(&to)?;
    let project = ask.project().to_owned();
    if lxd.world().guest(&project, &to).is_some() {
        return refuse(409, format!("Name {to:?} already in use"));
    }
    let (this, name) = (lxd.clone(), name.to_owned());
    lxd.begin(ask, "Renaming instance", async move {
        if old.status_code != STOPPED {
            return Err("Renaming of running container not allowed".to_owned());
        }
        let renamed = this.storage.rename_volume(&project, &name, &to);
        renamed.map_err(|message| format!("Rename instance: {message}"))?;
        let mut world = this.world();
        if let Some(mut instance) = world.instances.remove(&(project.clone(), name)) {
            to.clone_into(&mut instance.name);
            world.instances.insert((project, to), instance);
        }
        done()
    })
}

pub(super) fn delete(lxd: &Lxd, ask: &Ask, name: &str) -> Answer {
    if find(lxd, ask, name)?.status_code != STOPPED {
        return refuse(400, "Instance is running");
    }
    let (this, project, name) = (lxd.clone(), ask.project().to_owned(), name.to_owned());
    lxd.begin(ask, "Deleting instance", async move {
        this.remove(&project, &name)?;
        done()
    })
}

impl Lxd {
    /// Deletes an instance: its snapshots one by one, then the volume, then the record.
    pub(super) fn remove(&self, project: &str, name: &str) -> Result<(), String> {
        let instance = self.world().guest(project, name).cloned();
        for snapshot in instance
            .iter()
            .flat_map(|instance| instance.snapshots.iter().flatten())
        {
            self.remove_snapshot(project, name, &snapshot.name)?;
        }
        let deleted = self.storage.delete_volume(project, name);
        deleted.map_err(|message| format!("Error deleting storage volume: {message}"))?;
        self.world()
            .instances
            .remove(&(project.to_owned(), name.to_owned()));
        self.changed();
        Ok(())
    }
}

/// The instance that a request is about, if it exists and is as the request expects.
pub(super) fn find(lxd: &Lxd, ask: &Ask, name: &str) -> Result<Instance, Refusal> {
    let world = lxd.world();
    let Some(instance) = world.guest(ask.project(), name) else {
        return refuse(404, "Instance not found");
    };
    let now = etag(instance);
    match &ask.if_match {
        Some(expected) if expected.trim_matches('"') != now.trim_matches('"') => {
            refuse(412, format!("ETag doesn't match: {now} vs {expected}"))
        }
        _ => Ok(instance.clone()),
    }
}

fn assign(instance: &mut Instance, put: InstancePut) {
    if !put.architecture.is_empty() {
        instance.architecture = put.architecture;
    }
    instance.config = put.config;
    instance.devices = put.devices;
    instance.profiles = put.profiles;
    instance.description = put.description;
    instance.ephemeral = put.ephemeral;
    instance.stateful = put.stateful;
}
