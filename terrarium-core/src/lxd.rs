//! LXD behind the seam: [`Instances`] for [`lxd_client::Client`].
//!
//! What failed is told by status and by looking at the instance again, never by the text of a message. Where an error
//! leaves open whether something happened, what is there decides: a stop that failed while the instance stopped
//! did what it was asked. The one exception is [`busy`].

mod busy;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lxd_client::{
    Client, CreateInstance, CreateSnapshot, Error, Exec, Instance, InstancePut, InstanceSnapshot,
    Operation, StateAction, StateChange, Tagged,
};
use tokio::time::Instant;

use busy::Patience;

use crate::instances::{
    CommandOutput, Definition, InstanceKind, InstanceRecord, InstanceState, Instances,
    InstancesError, Profile, ProjectRecord, SnapshotRecord, Stop, StoragePool,
};
use crate::names::{InstanceName, InstanceRef, ProjectName};

type Answer<T> = Result<T, InstancesError>;

/// How often an instance is read and written anew when someone else changed it in between.
const WRITE_ATTEMPTS: usize = 5;

/// LXD's numbers for what an instance does (`api.StatusCode`).
mod status {
    pub(super) const STOPPED: i64 = 102;
    pub(super) const RUNNING: i64 = 103;
    pub(super) const FREEZING: i64 = 109;
    pub(super) const FROZEN: i64 = 110;
    pub(super) const THAWED: i64 = 111;
}

impl Instances for Client {
    fn runs_instances(&self) -> bool {
        true
    }

    async fn list(&self) -> Answer<Vec<InstanceRecord>> {
        let instances = self.all_instances().await;
        let instances = instances.map_err(|source| failed("list", "instances", source))?;
        instances.into_iter().map(record).collect()
    }

    async fn pools(&self) -> Answer<Vec<StoragePool>> {
        let pools = self.storage_pools().await;
        let pools = pools.map_err(|source| failed("list", "storage pools", source))?;
        Ok(pools.into_iter().map(pool).collect())
    }

    async fn projects(&self) -> Answer<Vec<ProjectRecord>> {
        let projects = Client::projects(self).await;
        let projects = projects.map_err(|source| failed("list", "projects", source))?;
        let project = |project: lxd_client::Project| match ProjectName::new(&project.name) {
            Ok(name) => Ok(ProjectRecord::new(name, project.config)),
            Err(error) => Err(InstancesError::Answer {
                target: format!("project {}", project.name),
                why: error.to_string(),
            }),
        };
        projects.into_iter().map(project).collect()
    }

    async fn get(&self, id: &InstanceRef) -> Answer<Option<InstanceRecord>> {
        let client = self.project(id.project.as_str());
        // One question to the storage, where a list of the snapshots costs one for each of them.
        match client.instance_full(id.name.as_str()).await {
            Ok(instance) => record(instance.value).map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("read", id, source)),
        }
    }

    async fn profiles(&self, project: &ProjectName) -> Answer<Vec<Profile>> {
        let profiles = self.project(project.as_str()).profiles().await;
        let what = format!("profiles of project {project}");
        let profiles = profiles.map_err(|source| failed("list", what, source))?;
        let profile = |profile: lxd_client::Profile| Profile {
            name: profile.name,
            config: profile.config,
            devices: profile.devices,
        };
        Ok(profiles.into_iter().map(profile).collect())
    }

    async fn stop(&self, id: &InstanceRef, how: Stop) -> Answer<()> {
        match how {
            Stop::Graceful(limit) => stop_gracefully(self, id, limit).await,
            Stop::ThenForce(limit) => match stop_gracefully(self, id, limit).await {
                Err(refused) if is_answer_of_the_guest(&refused) => stop_by_force(self, id).await,
                stopped_or_unreachable => stopped_or_unreachable,
            },
        }
    }

    async fn start(&self, id: &InstanceRef) -> Answer<()> {
        if state(self, id).await? == InstanceState::Running {
            return Ok(());
        }
        let started = change_state(self, id, StateChange::new(StateAction::Start)).await;
        match started {
            Err(source) if !is_in(self, id, InstanceState::Running).await => {
                Err(failed("start", id, source))
            }
            _ => Ok(()),
        }
    }

    async fn exec(
        &self,
        id: &InstanceRef,
        command: &[String],
        limit: Duration,
    ) -> Answer<CommandOutput> {
        let exec = Exec {
            timeout: Some(limit),
            ..Exec::new(command)
        };
        let asked = Instant::now();
        let client = self.project(id.project.as_str());
        match client.exec(id.name.as_str(), &exec).await {
            Ok(output) => Ok(CommandOutput {
                exit_code: output.exit_code,
                stdout: output.stdout.into(),
                stderr: output.stderr.into(),
            }),
            // Single requests have limits of their own: that of an answer is not the command's.
            Err(Error::Timeout { .. }) if asked.elapsed() >= limit => {
                Err(InstancesError::CommandTimedOut {
                    instance: id.clone(),
                    timeout: limit,
                })
            }
            Err(source) => Err(failed("run a command in", id, source)),
        }
    }

    async fn create_empty(&self, id: &InstanceRef, definition: &Definition) -> Answer<()> {
        let request = CreateInstance {
            name: id.name.to_string(),
            settings: wire(definition.clone(), false),
            ..CreateInstance::default()
        };
        let client = self.project(id.project.as_str());
        let created = done(client.create_instance(&request).await).await;
        created.map_err(|source| failed("create", id, source))
    }

    async fn delete(&self, id: &InstanceRef) -> Answer<()> {
        let client = self.project(id.project.as_str());
        let patience = Patience::new();
        let deleted = loop {
            let deleted = done(client.delete_instance(id.name.as_str()).await).await;
            if !patience.asks_again(&deleted).await {
                break deleted;
            }
        };
        match deleted {
            Err(source) if self.get(id).await?.is_some() => Err(failed("delete", id, source)),
            _ => Ok(()),
        }
    }

    async fn set_config(
        &self,
        id: &InstanceRef,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Answer<()> {
        rewrite(self, id, |current| {
            let mut wanted = InstancePut::from(current);
            for (key, value) in changes {
                match value {
                    Some(value) => wanted.config.insert(key.clone(), value.clone()),
                    None => wanted.config.remove(key),
                };
            }
            wanted
        })
        .await
    }

    async fn set_definition(&self, id: &InstanceRef, definition: &Definition) -> Answer<()> {
        rewrite(self, id, |current| {
            wire(
                definition.with_volatile_of(&current.config),
                current.stateful,
            )
        })
        .await
    }

    async fn create_snapshot(
        &self,
        id: &InstanceRef,
        name: &str,
        expires: Option<Timestamp>,
    ) -> Answer<()> {
        let request = CreateSnapshot {
            name: name.to_owned(),
            expires_at: expires,
            stateful: false,
        };
        let client = self.project(id.project.as_str());
        let instance = id.name.as_str();
        let created = async {
            done(client.create_snapshot(instance, &request).await).await?;
            // Where no time is asked for, LXD lets the instance's `snapshots.expiry` decide.
            if client.snapshot(instance, name).await?.expires_at != expires {
                let update = client.update_snapshot_expiry(instance, name, expires);
                done(update.await).await?;
            }
            Ok(())
        };
        let created = created.await;
        created.map_err(|source| failed("create", snapshot_of(id, name), source))
    }

    async fn delete_snapshot(&self, id: &InstanceRef, name: &str) -> Answer<()> {
        let client = self.project(id.project.as_str());
        match done(client.delete_snapshot(id.name.as_str(), name).await).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed("delete", snapshot_of(id, name), source)),
        }
    }
}

/// Asks the guest to shut down and gives it that long.
async fn stop_gracefully(client: &Client, id: &InstanceRef, limit: Duration) -> Answer<()> {
    if state(client, id).await? == InstanceState::Stopped {
        return Ok(());
    }
    let asked = Instant::now();
    let change = StateChange {
        timeout: Some(limit),
        ..StateChange::new(StateAction::Stop)
    };
    let Err(source) = change_state(client, id, change).await else {
        return Ok(());
    };
    // LXD has no status of its own for "the guest did not shut down in time".
    let waited_it_out = match source {
        Error::Timeout { .. } => true,
        Error::OperationFailed { .. } => asked.elapsed() >= limit,
        _ => false,
    };
    if is_in(client, id, InstanceState::Stopped).await {
        Ok(())
    } else if waited_it_out {
        Err(InstancesError::StopTimedOut {
            instance: id.clone(),
            timeout: limit,
        })
    } else {
        Err(failed("stop", id, source))
    }
}

async fn stop_by_force(client: &Client, id: &InstanceRef) -> Answer<()> {
    let change = StateChange {
        force: true,
        ..StateChange::new(StateAction::Stop)
    };
    match change_state(client, id, change).await {
        Err(source) if !is_in(client, id, InstanceState::Stopped).await => {
            Err(failed("stop", id, source))
        }
        _ => Ok(()),
    }
}

/// Whether a stop came to the guest and failed there, so that force may help.
fn is_answer_of_the_guest(error: &InstancesError) -> bool {
    matches!(
        error,
        InstancesError::StopTimedOut { .. }
            | InstancesError::Lxd {
                source: Error::OperationFailed { .. },
                ..
            }
    )
}

async fn change_state(client: &Client, id: &InstanceRef, change: StateChange) -> Result<(), Error> {
    let client = client.project(id.project.as_str());
    let patience = Patience::new();
    loop {
        let changed = done(client.set_state(id.name.as_str(), &change).await).await;
        if !patience.asks_again(&changed).await {
            return changed;
        }
    }
}

async fn state(client: &Client, id: &InstanceRef) -> Answer<InstanceState> {
    let client = client.project(id.project.as_str());
    let instance = client.instance(id.name.as_str()).await;
    let instance = instance.map_err(|source| failed("read", id, source))?;
    Ok(state_of(instance.value.status_code))
}

/// Whether the instance is seen to be in that state; `false` if it cannot be seen at all.
async fn is_in(client: &Client, id: &InstanceRef, wanted: InstanceState) -> bool {
    state(client, id).await.is_ok_and(|state| state == wanted)
}

/// Reads an instance, makes something else of it, and writes that, unless it was changed in between: then again.
async fn rewrite(
    client: &Client,
    id: &InstanceRef,
    wanted: impl Fn(&Instance) -> InstancePut,
) -> Answer<()> {
    let client = client.project(id.project.as_str());
    let name = id.name.as_str();
    let mut attempt = 1;
    let patience = Patience::new();
    loop {
        let current = client.instance(name).await;
        let Tagged { value, etag } = current.map_err(|source| failed("read", id, source))?;
        let wanted = wanted(&value);
        if wanted == InstancePut::from(&value) {
            return Ok(());
        }
        let written = client.update_instance(name, &wanted, etag.as_deref());
        match done(written.await).await {
            Err(Error::PreconditionFailed { .. }) if attempt < WRITE_ATTEMPTS => attempt += 1,
            busy if patience.asks_again(&busy).await => {}
            written => return written.map_err(|source| failed("configure", id, source)),
        }
    }
}

/// Waits for a background operation that LXD accepted.
async fn done(accepted: Result<Operation, Error>) -> Result<(), Error> {
    accepted?.wait().await.map(|_| ())
}

fn failed(operation: &'static str, target: impl ToString, source: Error) -> InstancesError {
    InstancesError::Lxd {
        operation,
        target: target.to_string(),
        source,
    }
}

fn snapshot_of(id: &InstanceRef, name: &str) -> String {
    format!("snapshot {name} of {id}")
}

fn record(instance: Instance) -> Answer<InstanceRecord> {
    let nonsense = |why: String| InstancesError::Answer {
        target: format!("{:?}", instance.name),
        why,
    };
    let name = InstanceName::new(&instance.name).map_err(|error| nonsense(error.to_string()))?;
    let project =
        ProjectName::new(&instance.project).map_err(|error| nonsense(error.to_string()))?;
    let kind = match instance.r#type.as_str() {
        "container" => InstanceKind::Container,
        "virtual-machine" => InstanceKind::VirtualMachine,
        other => return Err(nonsense(format!("unknown type {other:?}"))),
    };
    let snapshots = instance.snapshots.into_iter().flatten();
    Ok(InstanceRecord {
        id: InstanceRef::new(project, name),
        kind,
        state: state_of(instance.status_code),
        definition: Definition {
            architecture: instance.architecture,
            config: instance.config,
            devices: instance.devices,
            profiles: instance.profiles,
            description: instance.description,
            ephemeral: instance.ephemeral,
        },
        expanded_config: instance.expanded_config,
        expanded_devices: instance.expanded_devices,
        snapshots: snapshots.map(snapshot_record).collect(),
    })
}

fn snapshot_record(snapshot: InstanceSnapshot) -> SnapshotRecord {
    SnapshotRecord {
        name: snapshot.name,
        definition: Definition {
            architecture: snapshot.architecture,
            config: snapshot.config,
            devices: snapshot.devices,
            profiles: snapshot.profiles,
            // LXD keeps none with a snapshot.
            description: String::new(),
            ephemeral: snapshot.ephemeral,
        },
        created: snapshot.created_at,
        expires: snapshot.expires_at,
    }
}

fn state_of(code: i64) -> InstanceState {
    match code {
        status::RUNNING | status::FREEZING | status::FROZEN | status::THAWED => {
            InstanceState::Running
        }
        status::STOPPED => InstanceState::Stopped,
        _ => InstanceState::Other,
    }
}

fn pool(mut pool: lxd_client::StoragePool) -> StoragePool {
    StoragePool {
        name: pool.name,
        dataset: pool
            .config
            .remove("zfs.pool_name")
            .filter(|_| pool.driver == "zfs"),
        driver: pool.driver,
    }
}

fn wire(definition: Definition, stateful: bool) -> InstancePut {
    InstancePut {
        architecture: definition.architecture,
        config: definition.config,
        devices: definition.devices,
        profiles: definition.profiles,
        description: definition.description,
        ephemeral: definition.ephemeral,
        stateful,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(extra: serde_json::Value) -> Instance {
        let mut whole = json!({
            "name": "web", "project": "tenant", "type": "container", "status_code": 103,
            "architecture": "x86_64", "config": {"limits.cpu": "2"}, "profiles": ["default"],
            "devices": {"eth0": {"type": "nic"}}, "description": "front", "ephemeral": false,
            "expanded_config": {"limits.cpu": "2", "user.a": "b"},
            "expanded_devices": {"root": {"type": "disk", "path": "/"}},
            "snapshots": [{
                "name": "web/x", "config": {"limits.cpu": "1"}, "profiles": ["old"],
                "created_at": "2026-04-19T10:00:00Z", "expires_at": "0001-01-01T00:00:00Z",
            }],
        });
        for (key, value) in extra.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn an_instance_is_read_with_its_own_part_apart_from_what_profiles_add() {
        let record = record(instance(json!({}))).unwrap();
        assert_eq!(record.id.to_string(), "tenant/web");
        assert_eq!(record.kind, InstanceKind::Container);
        assert_eq!(record.definition.config.len(), 1);
        assert_eq!(record.definition.devices["eth0"]["type"], "nic");
        assert_eq!(record.expanded_config["user.a"], "b");
        assert_eq!(record.expanded_devices["root"]["path"], "/");
    }

    #[test]
    fn a_snapshot_is_read_with_the_definition_of_its_moment() {
        let record = record(instance(json!({}))).unwrap();
        let [snapshot] = &record.snapshots[..] else {
            panic!("{:?}", record.snapshots);
        };
        assert_eq!(snapshot.name, "x");
        assert_eq!(snapshot.definition.config["limits.cpu"], "1");
        assert_eq!(snapshot.definition.profiles, ["old"]);
        assert_eq!(snapshot.created, "2026-04-19T10:00:00Z".parse().ok());
        assert_eq!(snapshot.expires, None, "LXD's zero time means never");
    }

    #[test]
    fn a_frozen_instance_counts_as_running_and_one_in_between_as_neither() {
        let state = |code| {
            record(instance(json!({"status_code": code})))
                .unwrap()
                .state
        };
        assert_eq!(state(102), InstanceState::Stopped);
        assert_eq!(state(103), InstanceState::Running);
        assert_eq!(state(110), InstanceState::Running);
        for between in [0, 106, 107, 112] {
            assert_eq!(state(between), InstanceState::Other, "{between}");
        }
    }

    #[test]
    fn an_answer_that_names_no_legal_instance_is_refused_and_shown_escaped() {
        let strange = [
            json!({"name": "a/b"}),
            json!({"name": "a\u{1b}[2J"}),
            json!({"project": "a b"}),
            json!({"type": "pod"}),
        ];
        for extra in strange {
            let error = record(instance(extra.clone())).unwrap_err();
            assert!(matches!(error, InstancesError::Answer { .. }), "{extra}");
            assert!(!error.to_string().contains('\u{1b}'), "{error}");
        }
    }

    #[test]
    fn only_a_pool_on_zfs_has_a_dataset() {
        let read = |text: serde_json::Value| pool(serde_json::from_value(text).unwrap());
        let config = json!({"zfs.pool_name": "tank/lxd", "source": "tank/lxd"});
        let on_zfs = read(json!({"name": "default", "driver": "zfs", "config": config}));
        assert_eq!(on_zfs.dataset.as_deref(), Some("tank/lxd"));
        let on_files = read(json!({"name": "plain", "driver": "dir", "config": {"source": "/x"}}));
        assert_eq!(on_files.dataset, None);
    }
}
