//! What is there is found, everywhere and in the same form.

use super::{Subject, is};
use crate::{ErrorKind, Instance};

pub(super) async fn the_server_says_what_it_is(subject: &Subject) {
    let server = subject.client.server().await.expect("the server answers");
    assert_eq!(server.api_version, "1.0");
    assert_eq!(server.auth, "trusted");
    assert!(["lxd", "incus"].contains(&server.environment.server.as_str()));
    assert!(!server.environment.server_version.is_empty());
    assert_eq!(server.environment.project, subject.client.project_name());
    for extension in ["projects", "instances", "instance_get_full"] {
        assert!(server.has_extension(extension), "{extension}");
        assert!(subject.client.has_extension(extension), "{extension}");
    }
    assert!(!server.has_extension("no_such_extension"));
}

pub(super) async fn all_lists_know_the_instance(subject: &Subject) {
    let Subject {
        client, instance, ..
    } = subject;
    let find = |mut all: Vec<Instance>| {
        all.retain(|it| it.name == *instance && it.project == client.project_name());
        all.pop().expect("the instance is listed")
    };
    let one = client.instance(instance).await.expect("it exists");
    assert!(one.etag.is_some_and(|tag| !tag.is_empty()));
    let one = one.value;
    assert_eq!(one.name, *instance);
    assert_eq!(one.project, client.project_name());
    assert!(one.is_container() && !one.is_virtual_machine());
    assert!(one.is_stopped() && !one.is_running());
    assert_eq!(one.status, "Stopped");
    assert_eq!(one.profiles, ["default"]);
    assert!(one.created_at.is_some());
    assert!(!one.architecture.is_empty());
    assert_eq!(
        (&one.snapshots, &one.state),
        (&None, &None),
        "not asked for"
    );
    let mut devices = one.expanded_devices.values();
    assert!(devices.any(|device| device.get("path").is_some_and(|path| path == "/")));
    assert!(one.config.contains_key("volatile.uuid"));

    let full = client.instance_full(instance).await.expect("it exists");
    assert!(full.etag.is_some());
    let full = full.value;
    assert_eq!(full.snapshots, Some(vec![]), "none, and asked for");
    let state = full.state.clone().expect("asked for");
    assert_eq!((state.status_code, state.pid), (102, 0));
    let asked = client.instance_state(instance).await.expect("it exists");
    assert_eq!(asked.status_code, 102);

    for listed in [client.instances().await, client.all_instances().await] {
        let listed = find(listed.expect("a list"));
        assert_eq!(listed.config, one.config);
        assert_eq!(listed.expanded_devices, one.expanded_devices);
        assert_eq!(listed.snapshots, Some(vec![]));
        assert!(listed.state.is_some());
    }
    let elsewhere = client.project("no-such-project").instances().await;
    assert_eq!(elsewhere.map_or(0, |all| all.len()), 0);
}

pub(super) async fn pools_and_volumes_are_listed(subject: &Subject) {
    let Subject {
        client, instance, ..
    } = subject;
    let one = client.instance(instance).await.expect("it exists").value;
    let mut devices = one.expanded_devices.values();
    let root = devices.find(|device| device.get("path").is_some_and(|path| path == "/"));
    let pool = &root.expect("a root disk")["pool"];

    let pools = client.storage_pools().await.expect("a list");
    let listed = pools.iter().find(|it| it.name == *pool);
    let listed = listed.expect("the pool is listed");
    let alone = client.storage_pool(pool).await.expect("it exists");
    assert_eq!(
        (&alone.driver, &alone.config),
        (&listed.driver, &listed.config)
    );
    assert_eq!(alone.status, "Created");
    assert!(!alone.driver.is_empty());
    assert!(alone.driver != "zfs" || alone.config.contains_key("zfs.pool_name"));

    let volumes = client.volumes(pool).await.expect("a list");
    let mut same = volumes.iter();
    assert!(same.any(|it| it.name == *instance && it.r#type == "container"));
    let volume = client.volume(pool, "container", instance).await;
    let volume = volume.expect("it exists");
    assert_eq!(volume.content_type, "filesystem");
    assert_eq!(volume.project, client.project_name());

    let projects = client.projects().await.expect("a list");
    let mut names = projects.iter().map(|project| project.name.as_str());
    assert!(names.any(|name| name == client.project_name()));
    let project = client.project_info(client.project_name()).await;
    assert!(
        project
            .expect("it exists")
            .config
            .contains_key("features.profiles")
    );
    let profiles = client.profiles().await.expect("a list");
    let profile = client.profile("default").await.expect("it exists");
    assert!(
        profiles
            .iter()
            .any(|it| it.name == "default" && it.devices == profile.devices)
    );
}

pub(super) async fn what_does_not_exist_is_not_found(subject: &Subject) {
    let Subject {
        client,
        instance,
        free,
        ..
    } = subject;
    let gone = ErrorKind::NotFound;
    is(gone, client.instance(free).await);
    is(gone, client.instance_full(free).await);
    is(gone, client.instance_state(free).await);
    is(gone, client.delete_instance(free).await);
    is(gone, client.snapshot(free, "s").await);
    is(gone, client.snapshot(instance, "no-such").await);
    is(gone, client.delete_snapshot(instance, "no-such").await);
    is(
        gone,
        client
            .update_snapshot_expiry(instance, "no-such", None)
            .await,
    );
    is(gone, client.project_info("no-such").await);
    is(gone, client.profile("no-such").await);
    is(gone, client.storage_pool("no-such").await);
    is(gone, client.volume("no-such", "container", instance).await);
    let operation = "00000000-0000-0000-0000-000000000000";
    is(gone, client.operation(operation).await);
    is(gone, client.cancel_operation(operation).await);
    is(gone, client.project("no-such").instance(instance).await);
    is(ErrorKind::Refused, client.instance("").await);
    is(ErrorKind::Refused, client.instance("..").await);
}
