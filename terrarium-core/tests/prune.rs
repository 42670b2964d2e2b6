//! What policies have no use for is removed: never more than that, from whatever instance is free, one failing stops
//! no other.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Zoned;
use lxd_client::Client;
use terrarium_core::fake::{FakeHost, FakeZfs};
use terrarium_core::plan::{Action, Plan, PruneRequest, Step, plan_prune};
use terrarium_core::{
    Access, Begun, Class, Destination, Error, Folders, Host, InstanceRef, Instances, LockDir,
    OperationId, Outcome, Progress, Pruning, RestoreRequest, Session, Silent, Stop, Zfs, property,
    surplus as surplus_of,
};
use terrarium_zfs::{Guid, SnapshotName, UserProperties};

fn id(name: &str) -> InstanceRef {
    name.parse().expect("a legal name")
}

fn now() -> Zoned {
    "2026-11-22T10:00:00+00:00[UTC]".parse().expect("a time")
}

type Surplus = BTreeMap<InstanceRef, BTreeSet<Guid>>;

struct Scene {
    fake: FakeHost,
    host: Host<FakeZfs, Client>,
    folder: tempfile::TempDir,
}

impl Scene {
    /// Instances with the points `1` to `5`, all scheduled.
    async fn new(instances: &[&str]) -> Self {
        let fake = FakeHost::start().await;
        let folder = tempfile::tempdir().expect("a place for the state");
        let folders = Folders {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
        };
        fake.add_project("tenant");
        for name in instances {
            fake.instance(name).file("f", "0").create().await;
        }
        let scene = Self {
            host: Host::new(fake.zfs().clone(), fake.client(), &folders),
            fake,
            folder,
        };
        for name in instances {
            for number in 1..=5 {
                scene.take(name, &number.to_string(), Some("scheduled"));
            }
        }
        scene
    }

    fn zfs(&self) -> &FakeZfs {
        self.fake.zfs()
    }

    fn at(&self, instance: &str, name: &str) -> SnapshotName {
        let snapshot = self.fake.dataset(instance).snapshot(name);
        snapshot.expect("a legal name")
    }

    fn take(&self, instance: &str, name: &str, kind: Option<&str>) {
        let kind = kind.map(|kind| (property::KIND.to_owned(), kind.to_owned()));
        let properties: UserProperties = kind.into_iter().collect();
        let taken = self
            .zfs()
            .snapshot(&[(self.at(instance, name), properties)]);
        taken.expect("taken");
    }

    async fn names(&self, instance: &str) -> Vec<String> {
        let inventory = self.host.observe(&now()).await.expect("an inventory");
        let (_, covered) = inventory.covered(&id(instance)).expect("it is covered");
        let points = covered.points.iter();
        points.map(|point| point.name().to_owned()).collect()
    }

    async fn begin(&self, asked: &[InstanceRef]) -> Pruning<'_, FakeZfs, Client> {
        let begun = self.host.begin_prune(asked, now()).await;
        begun.expect("it begins")
    }

    async fn rewind(&self, instance: &str, at: &str, progress: &dyn Progress) {
        let of = [id(instance)];
        let begun = self.host.begin(&of, "test", now(), &Silent).await;
        let Begun::Ready(session) = begun.expect("a session") else {
            panic!("nothing was cut off");
        };
        let request = RestoreRequest {
            at: Some(at.to_owned()),
            start: false,
            to: Destination::InPlace {
                stop: Stop::Graceful(std::time::Duration::from_secs(5)),
                destroy_newer: false,
            },
        };
        let plan = session.planner().plan_restore(&of[0], &request).await;
        let plan = plan.expect("a plan").expect("nothing was recovered");
        let _ = session.execute(&plan, progress).await;
    }
}

/// All points of these instances, or those of these names.
fn surplus(
    session: &Session<'_, FakeZfs, Client>,
    instances: &[InstanceRef],
    names: Option<&[&str]>,
) -> Surplus {
    let inventory = session.planner().inventory();
    let of = |id: &InstanceRef| {
        let (_, covered) = inventory.covered(id).expect("it is covered");
        let points = covered.points.iter();
        let points = points.filter(|point| names.is_none_or(|names| names.contains(&point.name())));
        (id.clone(), points.map(|point| point.guid).collect())
    };
    instances.iter().map(of).collect()
}

fn planned(session: &Session<'_, FakeZfs, Client>, surplus: Surplus) -> Plan {
    let request = PruneRequest {
        operation: OperationId::begun(now().timestamp(), 1),
        surplus,
    };
    plan_prune(session.planner().inventory(), &request).expect("a plan")
}

fn doomed(plan: &Plan) -> Vec<String> {
    let actions = plan.steps.iter().map(|step| &step.action);
    let points = actions.filter_map(|action| match action {
        Action::DestroyPoints { points } => Some(points),
        _ => None,
    });
    let names = points.flatten().map(|point| point.snapshot.to_string());
    names.collect()
}

#[tokio::test]
async fn whatever_a_policy_says_the_newest_and_what_is_needed_or_not_ours_stays() {
    let scene = Scene::new(&["web"]).await;
    scene.zfs().hold(scene.at("web", "2"), "sending");
    let origin = scene.at("web", "3");
    let clone = terrarium_zfs::DatasetName::new("tank/custom/c").expect("a legal name");
    let cloned = scene
        .zfs()
        .clone_snapshot(&clone, &origin, &Default::default());
    cloned.expect("cloned");
    scene.take("web", "by hand", None);
    scene.take("web", "autosnap_2026-11-22_09:00:00_hourly", None);
    scene.fake.lxd_snapshot("web", "x").await;
    scene.take("web", "on demand", Some("on-demand"));
    scene.take("web", "newest", Some("scheduled"));

    let pruning = scene.begin(&[]).await;
    let all = surplus(&pruning.session, &pruning.instances, None);
    let plan = planned(&pruning.session, all);
    let expected = ["1", "4", "5", "on demand"].map(|name| scene.at("web", name).to_string());
    assert_eq!(doomed(&plan), expected);
    assert_eq!(plan.notices.len(), 6, "{:#?}", plan.notices);
    let report = pruning.session.execute(&plan, &Silent).await;
    assert!(report.is_complete(), "{report:#?}");
    let left = [
        "2",
        "3",
        "by hand",
        "autosnap_2026-11-22_09:00:00_hourly",
        "snapshot-x",
        "newest",
    ];
    assert_eq!(scene.names("web").await, left);
}

#[tokio::test]
async fn sanoids_snapshots_go_only_where_they_were_adopted_and_others_never() {
    let scene = Scene::new(&["web", "db"]).await;
    for name in ["web", "db"] {
        scene.take(name, "autosnap_2026-11-22_09:00:00_hourly", None);
        scene.take(name, "syncoid_host_2026-11-22", None);
        scene.take(name, "newest", Some("scheduled"));
    }
    let adopted = (
        property::ADOPTED.to_owned(),
        Some(property::ADOPTED_SANOID.to_owned()),
    );
    let web = scene.fake.dataset("web");
    let set = scene
        .zfs()
        .set_user_properties(web.as_str(), &BTreeMap::from([adopted]));
    set.expect("set");
    let pruning = scene.begin(&[]).await;
    let foreign = [
        "autosnap_2026-11-22_09:00:00_hourly",
        "syncoid_host_2026-11-22",
    ];
    let all = surplus(&pruning.session, &pruning.instances, Some(&foreign));
    let plan = planned(&pruning.session, all);
    assert_eq!(
        doomed(&plan),
        ["tank/containers/web@autosnap_2026-11-22_09:00:00_hourly"]
    );
}

#[tokio::test]
async fn what_was_moved_aside_is_left_to_the_purge_of_it() {
    let scene = Scene::new(&["web"]).await;
    scene.rewind("web", "2", &Silent).await;
    let pruning = scene.begin(&[]).await;
    let all = surplus(&pruning.session, &pruning.instances, None);
    let plan = planned(&pruning.session, all);
    assert_eq!(
        doomed(&plan),
        ["tank/containers/web@1"],
        "2 is the newest, and what was moved aside continues from it"
    );
}

#[tokio::test]
async fn an_instance_that_is_in_use_is_left_out_and_the_others_are_pruned() {
    let scene = Scene::new(&["db", "tenant/shop", "web"]).await;
    let of_db = [id("db")];
    let shared = scene
        .host
        .begin_as(Access::Export, &of_db, "export", now(), &Silent);
    let shared = shared.await;
    let of_web = scene
        .host
        .begin(&[id("web")], "rewind", now(), &Silent)
        .await;
    let pruning = scene.begin(&[]).await;
    assert_eq!(pruning.instances, [id("db"), id("tenant/shop")]);
    let [skipped] = &pruning.skipped[..] else {
        panic!("{:?}", pruning.skipped);
    };
    assert_eq!(skipped.instance, id("web"));
    assert!(skipped.why.contains("in use by another operation: rewind"));
    drop((of_web, shared));

    // Another prune finds the pool's lock taken, and a restore that of the instance.
    let second = scene.begin(&[]).await;
    assert_eq!(second.instances, []);
    assert_eq!(second.skipped.len(), 3);
    assert!(
        second.skipped[0]
            .why
            .starts_with("pruning pool default is in use")
    );
    let restore = scene
        .host
        .begin(&[id("db")], "restore", now(), &Silent)
        .await;
    assert!(matches!(restore, Err(Error::Locked(_))));
    drop(pruning);
    assert_eq!(scene.begin(&[id("web")]).await.instances, [id("web")]);
    let locks = LockDir::new(scene.folder.path().join("run/locks"));
    let free = locks.instance(&id("db"), "test", now().timestamp());
    drop(free.expect("all locks are given up"));
}

#[tokio::test]
async fn an_instance_with_an_operation_cut_off_is_left_out() {
    struct Dies;
    impl Progress for Dies {
        fn step_begins(&self, step: usize, _: &Plan, begun: &Step) -> Result<(), Error> {
            match begun.action {
                Action::Promote { .. } => Err(Error::Fault { step }),
                _ => Ok(()),
            }
        }
    }
    let scene = Scene::new(&["db", "web"]).await;
    scene.rewind("web", "2", &Dies).await;
    let pruning = scene.begin(&[]).await;
    assert_eq!(pruning.instances, [id("db")]);
    assert!(pruning.skipped[0].why.contains("was cut off"));
}

#[tokio::test]
async fn the_points_of_an_instance_that_stay_stop_no_other_instance() {
    struct Holds(FakeZfs, SnapshotName);
    impl Progress for Holds {
        fn step_begins(&self, step: usize, _: &Plan, _: &Step) -> Result<(), Error> {
            if step == 0 {
                self.0.hold(&self.1, "sending");
            }
            Ok(())
        }
    }
    let scene = Scene::new(&["db", "web"]).await;
    let pruning = scene.begin(&[]).await;
    let some = surplus(&pruning.session, &pruning.instances, Some(&["1", "2"]));
    let plan = planned(&pruning.session, some);
    let holds = Holds(scene.zfs().clone(), scene.at("db", "1"));
    let report = pruning.session.execute(&plan, &holds).await;
    assert!(matches!(report.steps[0].outcome, Outcome::Partly { .. }));
    assert!(matches!(report.steps[1].outcome, Outcome::Done { .. }));
    assert_eq!(
        (report.destroyed(), report.class()),
        (3, Some(Class::Failed))
    );
    assert_eq!(scene.names("db").await, ["1", "3", "4", "5"]);
    assert_eq!(scene.names("web").await, ["3", "4", "5"]);
}

#[tokio::test]
async fn what_a_prune_frees_is_more_than_what_each_point_holds_alone() {
    let scene = Scene::new(&["web"]).await;
    scene.fake.write("web", "large", vec![7; 100_000]);
    for name in ["6", "7"] {
        scene.take("web", name, Some("scheduled"));
    }
    scene.fake.write("web", "large", "");
    scene.take("web", "8", Some("scheduled"));
    let pruning = scene.begin(&[]).await;
    let planner = pruning.session.planner();
    for (names, least, most) in [
        (&["6", "7"][..], 100_000, 110_000),
        (&["2", "6", "7"], 100_000, 110_000),
        (&["6"], 0, 5_000),
        (&["2", "4", "7"], 0, 5_000),
    ] {
        let some = surplus(&pruning.session, &pruning.instances, Some(names));
        let plan = planned(&pruning.session, some);
        let frees = planner.frees(&plan.doomed()).await.expect("ZFS says");
        let bytes = frees[&id("web")];
        assert!((least..most).contains(&bytes), "{names:?}: {bytes}");
    }
}

const HOURLY: &[(&str, &str)] = &[
    ("terrarium:kind", "scheduled"),
    ("terrarium:period", "hourly"),
];

impl Scene {
    /// `web` with an hourly point for each of the last 40 hours, oldest first.
    async fn with_hours() -> Self {
        let scene = Self::new(&[]).await;
        scene.fake.instance("web").create().await;
        for hours in (1..=40).rev() {
            scene.taken_ago("web", &format!("h{hours:02}"), hours, HOURLY);
        }
        scene
    }

    fn taken_ago(&self, instance: &str, name: &str, hours: i64, properties: &[(&str, &str)]) {
        let at = now().timestamp().as_second() - hours * 3600;
        self.zfs().set_time(at);
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let properties: UserProperties = properties.iter().map(own).collect();
        let taken = self
            .zfs()
            .snapshot(&[(self.at(instance, name), properties)]);
        taken.expect("taken");
    }

    async fn label(&self, instance: &str, key: &str, value: &str) {
        let changes = BTreeMap::from([(key.to_owned(), Some(value.to_owned()))]);
        let set = Instances::set_config(&self.fake.client(), &id(instance), &changes).await;
        set.expect("LXD takes it");
    }

    fn label_project(&self, name: &str, labels: &[(&str, &str)]) {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut project = lxd_client::Project::default();
        project.name = name.to_owned();
        project.config = labels.iter().map(own).collect();
        let shares = ("features.profiles".to_owned(), "false".to_owned());
        project.config.extend([shares]);
        self.fake.lxd().add_project(project);
    }

    /// How many points of each instance go by the policies.
    async fn surplus(&self) -> BTreeMap<String, usize> {
        let pruning = self.begin(&[]).await;
        let planner = pruning.session.planner();
        let policies = planner.policies().await.expect("the policies");
        let verdicts = planner.retention(&pruning.instances, &policies);
        let plan = planner.plan_prune(surplus_of(&verdicts)).expect("a plan");
        let counted: BTreeMap<_, _> = verdicts
            .iter()
            .map(|(id, of)| (id.to_string(), of.iter().filter(|one| !one.keep).count()))
            .collect();
        let said: usize = counted.values().sum();
        assert_eq!(doomed(&plan).len(), said, "{:?}", plan.notices);
        counted
    }
}

#[tokio::test]
async fn what_goes_follows_from_the_labels_of_an_instance_its_project_and_its_templates() {
    let scene = Scene::with_hours().await;
    let surplus = async || scene.surplus().await["web"];
    assert_eq!(surplus().await, 16, "24 hourly by default");
    scene.label_project("default", &[("user.terrarium.retention", "hourly=30")]);
    assert_eq!(surplus().await, 10);
    scene.label_project("default", &[("user.terrarium.retention", "template=short")]);
    scene.label_project(
        "terrarium",
        &[("user.terrarium.template.short", "hourly=6")],
    );
    assert_eq!(surplus().await, 34);
    scene
        .label("web", "user.terrarium.retention", "keep=3")
        .await;
    assert_eq!(surplus().await, 37);
    scene
        .label("web", "user.terrarium.retention", "nonsense")
        .await;
    assert_eq!(surplus().await, 16, "back to the default");
    scene.label("web", "user.terrarium.backup", "off").await;
    assert_eq!(surplus().await, 0, "left alone");
}

#[tokio::test]
async fn an_expired_point_goes_and_the_newest_only_if_another_is_left() {
    let expired = &[
        ("terrarium:kind", "on-demand"),
        ("terrarium:expires", "2026-11-22T09:00:00Z"),
    ];
    let scene = Scene::new(&[]).await;
    scene.fake.instance("web").create().await;
    scene.taken_ago("web", "one", 3, expired);
    assert_eq!(scene.surplus().await["web"], 0, "the only one");
    scene.taken_ago("web", "two", 2, expired);
    assert_eq!(scene.surplus().await["web"], 1);
    scene.taken_ago("web", "lasting", 2, &[("terrarium:kind", "on-demand")]);
    scene.taken_ago("web", "three", 1, expired);
    assert_eq!(scene.surplus().await["web"], 3, "the newest too");
}

#[tokio::test]
async fn a_crash_between_two_instances_leaves_whole_points_and_the_next_prune_does_the_rest() {
    struct Dies(usize);
    impl Progress for Dies {
        fn step_begins(&self, step: usize, _: &Plan, _: &Step) -> Result<(), Error> {
            if step == self.0 {
                return Err(Error::Fault { step });
            }
            Ok(())
        }
    }
    for dies in 0..2 {
        let scene = Scene::with_hours().await;
        scene.fake.instance("db").create().await;
        for hours in (1..=26).rev() {
            scene.taken_ago("db", &format!("h{hours:02}"), hours, HOURLY);
        }
        let prune = async |progress: &dyn Progress| {
            let pruning = scene.begin(&[]).await;
            let planner = pruning.session.planner();
            let policies = planner.policies().await.expect("the policies");
            let verdicts = planner.retention(&pruning.instances, &policies);
            let plan = planner.plan_prune(surplus_of(&verdicts)).expect("a plan");
            pruning.session.execute(&plan, progress).await
        };
        let report = prune(&Dies(dies)).await;
        assert!(matches!(report.error, Some(Error::Fault { .. })));
        assert_eq!(
            scene.names("db").await.len(),
            if dies == 0 { 26 } else { 24 }
        );
        assert_eq!(scene.names("web").await.len(), 40);
        assert!(prune(&Silent).await.is_complete());
        assert_eq!(scene.names("db").await.len(), 24);
        assert_eq!(scene.names("web").await.len(), 24);
    }
}
