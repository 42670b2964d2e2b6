//! What a real LXD 5.0.2 sent (shortened), read; and what newer and odder servers may send.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_server_is_read() {
    let server: Server = read(include_str!("samples/server.json"));
    assert_eq!(server.environment.server_version, "5.0.2");
    assert_eq!(server.environment.kernel_version, "6.1.0-56-cloud-amd64");
    assert_eq!(server.environment.storage, "zfs");
    assert_eq!(server.config["core.trust_password"], json!(true));
    assert!(server.has_extension("instance_all_projects"));
    assert!(!server.has_extension("instance"), "whole names only");
    assert!(!server.is_incus());
    let incus: Server = read(r#"{"environment": {"server": "incus", "new": 1}, "config": null}"#);
    assert!(incus.is_incus());
}

#[test]
fn instances_are_read_with_state_and_snapshots() {
    let instances: Vec<Instance> = read(include_str!("samples/instances.json"));
    let [running, stopped] = &instances[..] else {
        panic!("{instances:?}");
    };
    assert_eq!(running.name, "c1");
    assert!(running.is_running() && running.is_container());
    assert_eq!(running.project, "default");
    assert_eq!(running.architecture, "x86_64");
    assert_eq!(running.expanded_devices["root"]["pool"], "default");
    assert!(running.config["volatile.last_state.idmap"].starts_with("[{\"Isuid\":true"));
    assert!(running.last_used_at > running.created_at);
    let state = running.state.as_ref().unwrap();
    assert_eq!(state.status_code, 103);
    assert!(state.disk["root"].usage > 0);
    let [snapshot] = &running.snapshots.as_ref().unwrap()[..] else {
        panic!("{:?}", running.snapshots);
    };
    assert_eq!(snapshot.name, "a0");
    assert_eq!(snapshot.expires_at, None);
    assert!(snapshot.created_at > running.created_at);
    assert_eq!(snapshot.size, -1);

    assert!(stopped.is_stopped());
    assert_eq!(stopped.last_used_at, None, "LXD says 1970");
    assert_eq!(stopped.snapshots, None, "LXD says null");
}

#[test]
fn a_state_is_read() {
    let state: InstanceState = read(include_str!("samples/state.json"));
    assert_eq!((state.pid, state.processes), (12638, 2));
    assert_eq!(state.disk["root"].usage, 44032);
    assert_eq!(state.memory.usage, 1_032_192);
    assert_eq!(state.network["lo"].r#type, "loopback");
}

#[test]
fn pools_volumes_profiles_projects_are_read() {
    let pools: Vec<StoragePool> = read(include_str!("samples/pools.json"));
    assert_eq!(
        (pools[0].driver.as_str(), pools[0].status.as_str()),
        ("zfs", "Created")
    );
    assert_eq!(pools[0].config["zfs.pool_name"], "tank");
    let volumes: Vec<StorageVolume> = read(include_str!("samples/volumes.json"));
    assert_eq!(volumes[0].r#type, "container");
    assert_eq!(volumes[0].created_at, None);
    let profiles: Vec<Profile> = read(include_str!("samples/profiles.json"));
    assert_eq!(profiles[0].devices["eth0"]["network"], "lxdbr0");
    let projects: Vec<Project> = read(include_str!("samples/projects.json"));
    assert_eq!(projects[0].config["features.profiles"], "true");
}

#[test]
fn operations_are_read_by_status() {
    let groups: BTreeMap<String, Vec<OperationInfo>> =
        read(include_str!("samples/operations.json"));
    let operation = &groups["success"][0];
    assert_eq!(operation.description, "Stopping instance");
    assert_eq!(operation.status(), OperationStatus::Succeeded);
    assert_eq!(operation.resources["instances"], ["/1.0/instances/c1"]);
    assert!(operation.metadata.is_empty());
    assert_eq!(operation.progress(), None);
}

#[test]
fn an_operation_tells_its_progress_whatever_lxd_calls_it() {
    let operation: OperationInfo = read(
        r#"{"status_code": 103, "metadata": {"fs_progress": "c1: 12.3MB (4.5MB/s)", "progress": {"percent": "3"}}}"#,
    );
    assert_eq!(operation.progress(), Some("c1: 12.3MB (4.5MB/s)"));
    assert_eq!(operation.status(), OperationStatus::Running);
}

#[test]
fn a_snapshot_is_known_by_its_own_name_however_it_is_written() {
    for (written, name) in [("c1/s", "s"), ("s", "s"), ("", "")] {
        let text = json!({ "name": written }).to_string();
        assert_eq!(read::<InstanceSnapshot>(&text).name, name);
    }
}

#[test]
fn every_field_may_be_null_missing_or_unknown() {
    fn check<T: DeserializeOwned + Default + PartialEq + serde::Serialize + std::fmt::Debug>() {
        let default = T::default();
        assert_eq!(read::<T>("{}"), default);
        assert_eq!(read::<T>(r#"{"a field of the future": [{}]}"#), default);
        let Value::Object(mut fields) = json!(default) else {
            panic!("an object");
        };
        assert_eq!(read::<T>(&json!(fields).to_string()), default);
        fields.values_mut().for_each(|value| *value = Value::Null);
        assert_eq!(read::<T>(&json!(fields).to_string()), default);
    }
    check::<Server>();
    check::<Environment>();
    check::<Project>();
    check::<Profile>();
    check::<Instance>();
    check::<InstancePut>();
    check::<InstanceSnapshot>();
    check::<InstanceState>();
    check::<NetworkState>();
    check::<StoragePool>();
    check::<StorageVolume>();
    check::<OperationInfo>();
}

#[test]
fn a_request_to_create_says_everything_and_can_say_more() {
    let mut new = CreateInstance {
        name: "c2".into(),
        ..CreateInstance::default()
    };
    new.extra.insert("start".into(), json!(true));
    let wire = new.to_wire();
    assert_eq!(wire["type"], "container");
    assert_eq!(wire["source"], json!({"type": "none"}));
    assert_eq!(wire["profiles"], json!([]), "none, not LXD's default");
    assert_eq!(wire["start"], true);

    new.source = InstanceSource::Copy {
        source: "c1/s".into(),
        project: Some("p".into()),
        instance_only: true,
    };
    let source = json!({"type": "copy", "source": "c1/s", "project": "p", "instance_only": true});
    assert_eq!(new.to_wire()["source"], source);
    new.source = InstanceSource::ImageAlias { alias: "a".into() };
    assert_eq!(
        new.to_wire()["source"],
        json!({"type": "image", "alias": "a"})
    );
}
