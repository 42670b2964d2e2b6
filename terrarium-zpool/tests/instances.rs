//! The instances of a pool file do what terrarium-core's conformance suite says, as LXD's do; and what they do
//! besides.

mod support;

mod conformance {
    use terrarium_core::PoolFile;
    use terrarium_core::conformance::instances::{self as cases, InstancesRig};

    use super::support::Scratch;
    use super::{container, pool_file};

    struct Rig {
        instances: PoolFile,
        _scratch: Scratch,
    }

    impl Rig {
        fn new() -> Self {
            let scratch = Scratch::new();
            for name in ["guest", "stubborn"] {
                container(&scratch.engine, name);
            }
            Self {
                instances: pool_file(&scratch.engine),
                _scratch: scratch,
            }
        }
    }

    impl InstancesRig for Rig {
        type Instances = PoolFile;

        fn instances(&self) -> &PoolFile {
            &self.instances
        }
    }

    macro_rules! tests {
        ($($case:ident)*) => {
            $(
                #[tokio::test]
                async fn $case() {
                    cases::$case(&Rig::new()).await;
                }
            )*
        };
    }
    terrarium_core::instances_cases!(tests);
}

use std::collections::BTreeMap;

use support::{Scratch, options};
use terrarium_core::plan::Level;
use terrarium_core::{
    Begun, Definition, Destination, Folders, Host, InstanceRef, Instances, PoolFile,
    RestoreRequest, Silent, Stop, property, with_causes,
};
use terrarium_zfs::{DatasetName, Properties, UserProperties};
use terrarium_zpool::Engine;

fn id(name: &str) -> InstanceRef {
    name.parse().expect("a legal name")
}

fn named(name: &str) -> DatasetName {
    DatasetName::new(name).expect("a legal name")
}

fn pool_file(engine: &Engine) -> PoolFile {
    PoolFile::new(engine.clone()).expect("a short name")
}

/// A dataset where instances are, made by hand.
fn container(engine: &Engine, volume: &str) -> DatasetName {
    let containers = named("tank/containers");
    if engine
        .guid(containers.as_str())
        .expect("answered")
        .is_none()
    {
        let created = engine.create(&containers, &Properties::new());
        created.expect("created");
    }
    let dataset = containers.child(volume).expect("a legal name");
    let created = engine.create(&dataset, &Properties::new());
    created.expect("created");
    dataset
}

async fn names(instances: &PoolFile) -> Vec<String> {
    let listed = instances.list().await.expect("listed");
    listed.iter().map(|record| record.id.to_string()).collect()
}

#[tokio::test]
async fn an_instance_is_a_dataset_with_a_name_that_lxd_would_take() {
    let scratch = Scratch::new();
    let instances = pool_file(&scratch.engine);
    assert_eq!(
        names(&instances).await,
        [""; 0],
        "there is not even a place for them"
    );
    for volume in ["web", "tenant_db", "1st", "a.b", "p_q_r"] {
        container(&scratch.engine, volume);
    }
    let below = named("tank/containers/web/below");
    scratch
        .engine
        .create(&below, &Properties::new())
        .expect("created");
    assert_eq!(names(&instances).await, ["web", "tenant/db"]);
}

#[tokio::test]
async fn the_first_instance_makes_the_place_for_all() {
    let scratch = Scratch::new();
    let instances = pool_file(&scratch.engine);
    let (web, definition) = (id("web"), Definition::default());
    let created = instances.create_empty(&web, &definition).await;
    created.expect("created");
    let listing = scratch.engine.list(&named("tank/containers"), &[]).unwrap();
    let local = |name: &str| {
        let of_it = |dataset: &&terrarium_zfs::Dataset| dataset.name.as_str() == name;
        let dataset = listing.datasets.iter().find(of_it).expect("it is there");
        let value = |key: &str| dataset.local.get(key).cloned().unwrap_or_default();
        [value("canmount"), value("mountpoint")]
    };
    assert_eq!(local("tank/containers"), ["off", "none"]);
    assert_eq!(local("tank/containers/web"), ["noauto", "legacy"]);
}

#[tokio::test]
async fn what_is_kept_of_an_instance_is_there_when_the_pool_is_opened_again() {
    let scratch = Scratch::new();
    container(&scratch.engine, "web");
    let instances = pool_file(&scratch.engine);
    let long = "é".repeat(10_000);
    let change = BTreeMap::from([("user.note".to_owned(), Some(long.clone()))]);
    instances
        .set_config(&id("web"), &change)
        .await
        .expect("set");
    let taken = instances.create_snapshot(&id("web"), "x", None).await;
    taken.expect("taken");
    let before = instances.get(&id("web")).await.expect("read");
    drop(instances);
    scratch.engine.close().expect("closed");

    let again = pool_file(&options().open(&scratch.file()).expect("opened"));
    let found = again.get(&id("web")).await.expect("read");
    assert_eq!(found, before);
    let found = found.expect("it is there");
    assert_eq!(found.definition.config["user.note"], long);
    assert_eq!(found.snapshots[0].definition, found.definition);
}

/// Plans leave it to LXD to remember such things by name; here nobody else does.
#[tokio::test]
async fn what_was_set_for_an_instance_stays_while_a_restore_replaces_its_dataset() {
    let scratch = Scratch::new();
    let web = container(&scratch.engine, "web");
    let snapshot = web.snapshot("then").unwrap();
    let taken = scratch
        .engine
        .snapshot(&[(snapshot, UserProperties::new())]);
    taken.expect("taken");
    let instances = pool_file(&scratch.engine);
    let config = [("user.note", "kept"), ("user.proxy", "https://web.example")];
    let config = config.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
    let set = instances.set_config(&id("web"), &config.into()).await;
    set.expect("set");
    instances
        .create_snapshot(&id("web"), "x", None)
        .await
        .expect("taken");
    let before = instances
        .get(&id("web"))
        .await
        .expect("read")
        .expect("there");

    let folders = Folders {
        state: scratch.folder().join("state"),
        run: scratch.folder().join("run"),
    };
    let host = Host::new(scratch.engine.clone(), instances.clone(), &folders);
    let restore = async |to, at: &str| {
        let now = jiff::Zoned::now();
        let begun = host.begin(&[id("web")], "test", now, &Silent).await;
        let Begun::Ready(session) = begun.expect("begun") else {
            panic!("nothing was cut off");
        };
        let at = Some(at.to_owned());
        let request = RestoreRequest {
            at,
            start: false,
            to,
        };
        let plan = session.planner().plan_restore(&id("web"), &request).await;
        let plan = plan.expect("planned").expect("nothing was cut off");
        assert_eq!(
            plan.notices
                .iter()
                .filter(|notice| notice.level == Level::Warning)
                .count(),
            0
        );
        let report = session.execute(&plan, &Silent).await;
        assert!(report.is_complete(), "{report:#?}");
    };
    let in_place = || Destination::InPlace {
        stop: Stop::Graceful(std::time::Duration::from_secs(1)),
        destroy_newer: false,
    };
    restore(in_place(), "then").await;
    let rewound = instances
        .get(&id("web"))
        .await
        .expect("read")
        .expect("there");
    assert_eq!(rewound.definition, before.definition);
    assert_eq!(rewound.snapshots, [], "it moved aside with its record");
    restore(in_place(), "snapshot-x").await;
    let back = instances
        .get(&id("web"))
        .await
        .expect("read")
        .expect("there");
    assert_eq!(back.snapshots, before.snapshots);

    let (new, identity) = (id("web-then"), Default::default());
    restore(Destination::AsNew { new, identity }, "then").await;
    let copy = instances
        .get(&id("web-then"))
        .await
        .expect("read")
        .expect("there");
    let config = copy.definition.without_volatile().config;
    assert_eq!(config.keys().collect::<Vec<_>>(), ["user.note"]);
}

/// Long values take several properties.
#[tokio::test]
async fn nothing_is_left_on_the_pool_of_what_is_not_kept_any_more() {
    let scratch = Scratch::new();
    container(&scratch.engine, "web");
    let instances = pool_file(&scratch.engine);
    let kept = || {
        let listing = scratch.engine.list(&named("tank/containers"), &[]).unwrap();
        let keys = listing.datasets[0].local.keys();
        let keys = keys.filter(|key| key.starts_with(property::INSTANCES));
        keys.count()
    };
    for (length, properties) in [(1, 1), (20_000, 3), (9_000, 2), (0, 0)] {
        let value = (length > 0).then(|| "x".repeat(length));
        let change = BTreeMap::from([("user.note".to_owned(), value)]);
        instances
            .set_config(&id("web"), &change)
            .await
            .expect("set");
        assert_eq!(kept(), properties, "{length}");
    }
}

/// Whoever wrote it knows more.
#[tokio::test]
async fn what_is_kept_by_another_version_is_an_error_and_stays_as_it_is() {
    let scratch = Scratch::new();
    container(&scratch.engine, "web");
    let instances = pool_file(&scratch.engine);
    let containers = "tank/containers";
    for kept in [r#"1:{"version":2,"instances":{}}"#, "1:{", "2:{}", "{}"] {
        let property = (property::INSTANCES.to_owned(), Some(kept.to_owned()));
        let set = scratch
            .engine
            .set_user_properties(containers, &BTreeMap::from([property]));
        set.expect("set");
        let error = instances.list().await.expect_err(kept);
        let why = with_causes(&error);
        assert!(
            why.contains("what is kept of instances on tank/containers"),
            "{why}"
        );
        let note = BTreeMap::from([("user.note".to_owned(), Some("x".to_owned()))]);
        assert!(instances.set_config(&id("web"), &note).await.is_err());
        let listing = scratch.engine.list(&named(containers), &[]).unwrap();
        assert_eq!(listing.datasets[0].local[property::INSTANCES], kept);
    }
}

#[tokio::test]
async fn an_instance_with_datasets_below_it_is_not_deleted() {
    let scratch = Scratch::new();
    let web = container(&scratch.engine, "web");
    let point = web.snapshot("s").unwrap();
    let taken = scratch
        .engine
        .snapshot(&[(point.clone(), UserProperties::new())]);
    taken.expect("taken");
    let below = web.child("below").unwrap();
    scratch
        .engine
        .create(&below, &Properties::new())
        .expect("created");
    let refused = pool_file(&scratch.engine).delete(&id("web")).await;
    assert!(refused.is_err());
    assert!(scratch.engine.guid(point.as_str()).unwrap().is_some());
}

#[tokio::test]
async fn an_engine_that_is_lost_is_an_error_of_every_call() {
    let scratch = Scratch::new();
    container(&scratch.engine, "web");
    let instances = pool_file(&scratch.engine);
    scratch.engine.close().expect("closed");
    let error = instances.list().await.expect_err("it is closed");
    assert_eq!(error.to_string(), "cannot list instances");
    assert!(instances.get(&id("web")).await.is_err());
}
