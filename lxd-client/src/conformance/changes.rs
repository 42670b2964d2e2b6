//! Instances and their records are created, changed and deleted.

use serde_json::json;

use super::{Subject, done, fails, is};
use crate::{Client, CreateInstance, CreateSnapshot, ErrorKind, Instance, InstancePut};

async fn read(client: &Client, name: &str) -> Instance {
    client.instance(name).await.expect("it exists").value
}

/// Puts an instance's settings back, but for what LXD keeps itself.
async fn put_back(client: &Client, before: &Instance) {
    let mut put = InstancePut::from(before);
    let now = read(client, &before.name).await;
    put.config.retain(|key, _| !key.starts_with("volatile."));
    let volatile = now.config.into_iter();
    put.config
        .extend(volatile.filter(|(key, _)| key.starts_with("volatile.")));
    done(client.update_instance(&before.name, &put, None).await).await;
}

pub(super) async fn an_update_replaces_and_a_patch_merges(subject: &Subject) {
    let Subject {
        client, instance, ..
    } = subject;
    let before = read(client, instance).await;

    let mut put = InstancePut::from(&before);
    put.config.insert("user.a".into(), "1 ä\n\"'\\ &?".into());
    put.config.insert("user.b".into(), "2".into());
    put.config
        .insert("volatile.last_state.idmap".into(), "[]".into());
    let none = json!({"type": "none"});
    let device = serde_json::from_value(none).expect("a device");
    put.devices.insert("nothing".into(), device);
    done(client.update_instance(instance, &put, None).await).await;
    let after = read(client, instance).await;
    assert_eq!(
        InstancePut::from(&after),
        put,
        "a whole update is taken as it is"
    );
    assert_eq!(after.expanded_config["user.a"], put.config["user.a"]);

    put.config.remove("user.a");
    put.config.remove("volatile.uuid");
    put.devices.clear();
    done(client.update_instance(instance, &put, None).await).await;
    let after = read(client, instance).await;
    assert!(
        !after.config.contains_key("user.a"),
        "what is not sent is removed"
    );
    assert!(
        !after.config.contains_key("volatile.uuid"),
        "volatile keys too"
    );
    assert!(after.devices.is_empty());

    let uuid = before.config["volatile.uuid"].as_str();
    let patch = json!({"config": {"user.c": "3", "volatile.uuid": uuid}});
    client
        .patch_instance(instance, &patch)
        .await
        .expect("patched");
    let after = read(client, instance).await;
    assert_eq!(after.config["user.b"], "2", "what is not sent stays");
    assert_eq!(after.config["user.c"], "3");
    assert_eq!(after.config["volatile.uuid"], uuid);

    let map = &before.config["volatile.last_state.idmap"];
    let patch = json!({"config": {"volatile.last_state.idmap": map}});
    client
        .patch_instance(instance, &patch)
        .await
        .expect("patched");
    put_back(client, &before).await;
    assert_eq!(read(client, instance).await.config, before.config);
}

pub(super) async fn an_update_with_an_old_etag_is_refused(subject: &Subject) {
    let Subject {
        client, instance, ..
    } = subject;
    let before = client.instance(instance).await.expect("it exists");
    let tag = before.etag.as_deref();
    let mut put = InstancePut::from(&before.value);
    done(client.update_instance(instance, &put, tag).await).await;
    let same = client.instance(instance).await.expect("it exists");
    assert_eq!(same.etag, before.etag, "nothing was changed");

    put.config.insert("user.a".into(), "1".into());
    done(client.update_instance(instance, &put, tag).await).await;
    let now = client.instance(instance).await.expect("it exists");
    assert_ne!(now.etag, before.etag);
    put.config.insert("user.a".into(), "2".into());
    let late = client.update_instance(instance, &put, tag).await;
    is(ErrorKind::PreconditionFailed, late);
    assert_eq!(read(client, instance).await.config["user.a"], "1");
    put_back(client, &before.value).await;
}

pub(super) async fn an_update_that_lxd_cannot_accept_changes_nothing(subject: &Subject) {
    let Subject {
        client, instance, ..
    } = subject;
    let before = read(client, instance).await;
    let good = InstancePut::from(&before);

    let mut put = good.clone();
    put.config.insert("nonsense".into(), "1".into());
    fails(client.update_instance(instance, &put, None).await).await;
    let mut put = good.clone();
    put.config.insert("volatile.nonsense".into(), "1".into());
    fails(client.update_instance(instance, &put, None).await).await;
    let mut put = good.clone();
    put.config.retain(|key, _| !key.contains("idmap"));
    fails(client.update_instance(instance, &put, None).await).await;
    let mut put = good.clone();
    put.profiles = vec!["no-such".into()];
    let missing = client.update_instance(instance, &put, None).await;
    is(ErrorKind::NotFound, missing);
    assert_eq!(read(client, instance).await, before);
}

pub(super) async fn an_empty_instance_is_created_as_asked(subject: &Subject) {
    let Subject {
        client,
        instance,
        free,
        ..
    } = subject;
    let like = read(client, instance).await;
    let map = r#"[{"Isuid":true,"Isgid":true,"Hostid":1000000,"Nsid":0,"Maprange":65536}]"#;
    let mut new = CreateInstance {
        name: free.clone(),
        ..CreateInstance::default()
    };
    new.settings.profiles.clone_from(&like.profiles);
    new.settings.description = "ä \"quoted\"".into();
    let config = &mut new.settings.config;
    config.insert("user.a".into(), "1".into());
    config.insert("volatile.last_state.idmap".into(), map.into());
    done(client.create_instance(&new).await).await;

    let made = read(client, free).await;
    assert!(made.is_stopped() && made.is_container());
    assert_eq!(made.description, new.settings.description);
    assert_eq!(made.profiles, like.profiles);
    assert_eq!(made.last_used_at, None);
    assert_eq!(made.config["user.a"], "1");
    assert_eq!(
        made.config["volatile.last_state.idmap"], map,
        "kept as given"
    );
    for key in [
        "volatile.uuid",
        "volatile.idmap.next",
        "volatile.idmap.base",
    ] {
        assert!(made.config.contains_key(key), "{key}");
    }
    assert_ne!(made.config["volatile.uuid"], like.config["volatile.uuid"]);
    assert_eq!(made.config["volatile.apply_template"], "create");

    fails(client.create_instance(&new).await).await;
    assert_eq!(
        read(client, free).await,
        made,
        "a second one of that name changes nothing"
    );
    done(client.delete_instance(free).await).await;

    new.settings.config.clear();
    done(client.create_instance(&new).await).await;
    let made = read(client, free).await;
    assert_eq!(made.config["volatile.last_state.idmap"], "[]");
    done(client.delete_instance(free).await).await;
}

pub(super) async fn an_instance_that_cannot_be_is_not_created(subject: &Subject) {
    let Subject { client, free, .. } = subject;
    let good = CreateInstance {
        name: free.clone(),
        ..CreateInstance::default()
    };
    for name in ["", "under_score", "-dash", "a/b", &"x".repeat(64)] {
        let bad = CreateInstance {
            name: name.to_owned(),
            ..good.clone()
        };
        let refused = client.create_instance(&bad).await;
        // LXD chooses a name where none is given; not what this crate's users mean.
        match refused {
            Ok(begun) if name.is_empty() => {
                begun
                    .wait()
                    .await
                    .expect_err("no profile, hence no root disk");
            }
            refused => is(ErrorKind::Refused, refused),
        }
    }
    // Without profiles there is no root disk.
    fails(client.create_instance(&good).await).await;
    let mut bad = good.clone();
    bad.settings.profiles = vec!["no-such".into()];
    client
        .create_instance(&bad)
        .await
        .expect_err("the profile does not exist");
    let mut bad = good.clone();
    bad.settings.profiles = vec!["default".into()];
    bad.settings.config.insert("nonsense".into(), "1".into());
    match client.create_instance(&bad).await {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Refused, "{error}"),
        begun => drop(fails(begun).await),
    }
    let elsewhere = client.project("no-such").create_instance(&good).await;
    is(ErrorKind::NotFound, elsewhere);
    is(ErrorKind::NotFound, client.instance(free).await);
}

pub(super) async fn an_instance_is_renamed_and_deleted(subject: &Subject) {
    let Subject {
        client,
        instance,
        free,
        ..
    } = subject;
    let other = format!("{free}-2");
    let mut new = CreateInstance {
        name: free.clone(),
        ..CreateInstance::default()
    };
    new.settings.profiles = vec!["default".into()];
    done(client.create_instance(&new).await).await;
    let made = read(client, free).await;

    let taken = client.rename_instance(free, instance).await;
    is(ErrorKind::Conflict, taken);
    done(client.rename_instance(free, &other).await).await;
    is(ErrorKind::NotFound, client.instance(free).await);
    let renamed = read(client, &other).await;
    assert_eq!(
        renamed.config["volatile.uuid"],
        made.config["volatile.uuid"]
    );

    let snapshot = CreateSnapshot {
        name: "s".into(),
        ..CreateSnapshot::default()
    };
    done(client.create_snapshot(&other, &snapshot).await).await;
    done(client.delete_instance(&other).await).await;
    is(ErrorKind::NotFound, client.instance(&other).await);
    is(ErrorKind::NotFound, client.snapshot(&other, "s").await);
}

pub(super) async fn a_snapshot_records_the_settings_of_its_moment(subject: &Subject) {
    let Subject {
        client, instance, ..
    } = subject;
    let before = read(client, instance).await;
    let patch = json!({"config": {"user.moment": "then"}});
    client
        .patch_instance(instance, &patch)
        .await
        .expect("patched");
    let expires = "2099-01-02T03:04:05Z".parse().expect("a time");
    let mut new = CreateSnapshot {
        name: "first:1.2_3-4".into(),
        expires_at: Some(expires),
        stateful: false,
    };
    done(client.create_snapshot(instance, &new).await).await;
    put_back(client, &before).await;

    let record = client
        .snapshot(instance, &new.name)
        .await
        .expect("it exists");
    assert_eq!(record.name, new.name, "without the instance's");
    assert_eq!(record.config["user.moment"], "then");
    assert_eq!(record.expanded_config["user.moment"], "then");
    assert_eq!(
        record.config["volatile.uuid"],
        before.config["volatile.uuid"]
    );
    assert_eq!(
        (&record.profiles, &record.devices),
        (&before.profiles, &before.devices)
    );
    assert_eq!(record.architecture, before.architecture);
    assert_eq!(record.expires_at, Some(expires));
    assert!(record.created_at > before.created_at);
    assert!(!record.stateful);

    let message = fails(client.create_snapshot(instance, &new).await).await;
    assert!(message.contains(&new.name), "{message}");
    new.name = "second".into();
    new.expires_at = None;
    done(client.create_snapshot(instance, &new).await).await;
    for bad in ["a/b", "a+b"] {
        let bad = CreateSnapshot {
            name: bad.into(),
            ..CreateSnapshot::default()
        };
        is(
            ErrorKind::Refused,
            client.create_snapshot(instance, &bad).await,
        );
    }

    let listed = client.snapshots(instance).await.expect("a list");
    let full = client
        .instance_full(instance)
        .await
        .expect("it exists")
        .value;
    let brief = full.snapshots.unwrap_or_default();
    for all in [listed, brief] {
        let names: Vec<_> = all.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["first:1.2_3-4", "second"], "oldest first");
        assert_eq!(all[0].config, record.config);
        assert_eq!(all[1].expires_at, None);
    }

    let update = client.update_snapshot_expiry(instance, "second", Some(expires));
    done(update.await).await;
    let second = client
        .snapshot(instance, "second")
        .await
        .expect("it exists");
    assert_eq!(second.expires_at, Some(expires));
    done(
        client
            .update_snapshot_expiry(instance, "second", None)
            .await,
    )
    .await;
    let second = client
        .snapshot(instance, "second")
        .await
        .expect("it exists");
    assert_eq!(second.expires_at, None);

    for name in ["second", "first:1.2_3-4"] {
        done(client.delete_snapshot(instance, name).await).await;
        is(ErrorKind::NotFound, client.snapshot(instance, name).await);
    }
    let left = client.snapshots(instance).await.expect("a list");
    assert_eq!(left, []);
}
