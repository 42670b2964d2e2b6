//! Instances are destroyed, come back, and go for ever.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Zoned};
use lxd_client::Client;
use terrarium_core::fake::{FakeHost, FakeZfs};
use terrarium_core::plan::reap::{Entry, KeptBy, What};
use terrarium_core::plan::{Reap, Step};
use terrarium_core::{
    Begun, Class, Destination, DestroyRequest, Error, Folders, Host, InstanceRef, Instances, Kind,
    OperationId, Plan, Progress, Report, RestoreRequest, Session, Silent, Stop, Zfs,
};
use terrarium_zfs::{Attempt, DatasetName, UserProperties};

const STOP: Stop = Stop::Graceful(Duration::from_secs(5));

struct Scene {
    fake: FakeHost,
    host: Host<FakeZfs, Client>,
    state: PathBuf,
    now: Mutex<Zoned>,
    _folder: tempfile::TempDir,
}

fn id(name: &str) -> InstanceRef {
    name.parse().unwrap()
}

fn destroying() -> DestroyRequest {
    DestroyRequest {
        stop: STOP,
        ..DestroyRequest::default()
    }
}

impl Scene {
    async fn empty() -> Self {
        let fake = FakeHost::start().await;
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
        };
        Self {
            host: Host::new(fake.zfs().clone(), fake.client(), &folders),
            fake,
            state: folders.state,
            now: Mutex::new("2026-11-22T10:00:00+00:00[UTC]".parse().unwrap()),
            _folder: folder,
        }
    }

    /// `web`, running, with secrets, an address, two of LXD's snapshots and an on-demand point.
    async fn new() -> Self {
        let scene = Self::empty().await;
        scene.web("one").await;
        scene.fake.snapshot("web", "first");
        scene.fake.lxd_snapshot("web", "x1").await;
        scene.config("user.note", "now").await;
        scene.fake.lxd_snapshot("web", "x2").await;
        scene.on_demand("web", "wanted", None);
        scene.fake.write("web", "f", "two");
        scene
    }

    async fn web(&self, content: &str) {
        let web = self.fake.instance("web").file("f", content);
        web.config("volatile.eth0.hwaddr", "00:16:3e:aa:bb:cc")
            .config("volatile.cloud-init.instance-id", "4711")
            .config("limits.memory", "1GiB")
            .config("environment.TOKEN", "hunter2")
            .config("user.note", "with x1")
            .device("gpu", &[("type", "gpu")])
            .running(true)
            .create()
            .await;
    }

    async fn config(&self, key: &str, value: &str) {
        let change = BTreeMap::from([(key.to_owned(), Some(value.to_owned()))]);
        let changed = Instances::set_config(&self.fake.client(), &id("web"), &change).await;
        changed.unwrap();
    }

    fn on_demand(&self, instance: &str, name: &str, expires: Option<&str>) {
        let mut properties =
            UserProperties::from([("terrarium:kind".to_owned(), "on-demand".to_owned())]);
        if let Some(expires) = expires {
            properties.insert("terrarium:expires".to_owned(), expires.to_owned());
        }
        let name = self.fake.dataset(instance).snapshot(name).unwrap();
        self.fake.zfs().snapshot(&[(name, properties)]).unwrap();
    }

    /// The clock, which goes on a minute with each look at it.
    fn now(&self) -> Zoned {
        let mut now = self.now.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_mins(1)).unwrap();
        self.fake.zfs().set_time(now.timestamp().as_second());
        now.clone()
    }

    fn wait(&self, hours: i64) {
        let mut now = self.now.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_hours(hours)).unwrap();
    }

    async fn begin(&self, names: &[&str]) -> Session<'_, FakeZfs, Client> {
        let instances: Vec<_> = names.iter().map(|name| id(name)).collect();
        let begun = self.host.begin(&instances, "test", self.now(), &Silent);
        match begun.await.unwrap() {
            Begun::Ready(session) => session,
            Begun::Stuck(report) => panic!("the recovery failed: {report:#?}"),
        }
    }

    async fn destroy(&self, name: &str) -> OperationId {
        let session = self.begin(&[name]).await;
        let planner = session.planner();
        let plan = planner.plan_destroy(&id(name), &destroying()).await;
        let report = session.execute(&plan.unwrap().unwrap(), &Silent).await;
        assert!(report.is_complete(), "{report:#?}");
        report.operation
    }

    async fn plan_resume(&self, name: &str, from: Option<&OperationId>) -> Result<Plan, Error> {
        let session = self.begin(&[name]).await;
        let planner = session.planner();
        let plan = planner.plan_resume(&id(name), from, true).await;
        plan.map(|plan| plan.expect("nothing was cut off"))
    }

    async fn resume(&self, name: &str, from: Option<&OperationId>) -> Report {
        let session = self.begin(&[name]).await;
        let plan = session.planner().plan_resume(&id(name), from, true).await;
        let report = session.execute(&plan.unwrap().unwrap(), &Silent).await;
        assert!(report.is_complete(), "{report:#?}");
        report
    }

    async fn restore(&self, at: &str) -> Report {
        let session = self.begin(&["web"]).await;
        let request = RestoreRequest {
            at: Some(at.to_owned()),
            start: true,
            to: Destination::InPlace {
                stop: STOP,
                destroy_newer: false,
            },
        };
        let plan = session.planner().plan_restore(&id("web"), &request).await;
        let report = session.execute(&plan.unwrap().unwrap(), &Silent).await;
        assert!(report.is_complete(), "{report:#?}");
        report
    }

    async fn copy(&self, at: &str) {
        let session = self.begin(&["web", "copy"]).await;
        let request = RestoreRequest {
            at: Some(at.to_owned()),
            start: false,
            to: Destination::AsNew {
                new: id("copy"),
                identity: Default::default(),
            },
        };
        let plan = session.planner().plan_restore(&id("web"), &request).await;
        let report = session.execute(&plan.unwrap().unwrap(), &Silent).await;
        assert!(report.is_complete(), "{report:#?}");
    }

    async fn survey(&self, what: &Reap) -> Vec<Entry> {
        let planner = self.host.look(self.now()).await.unwrap();
        planner.survey_graveyard(what).entries
    }

    async fn purge(&self, what: &Reap, progress: &dyn Progress) -> Vec<Report> {
        let session = self.begin(&["web"]).await;
        let mut reports = Vec::new();
        for plan in session.planner().plan_purge(what, |_| true) {
            reports.push(session.execute(&plan, progress).await);
        }
        reports
    }

    /// The datasets that Terrarium has beside LXD's, without those that only hold others.
    fn ours(&self) -> Vec<String> {
        let root = DatasetName::new("tank").unwrap();
        let listing = self.fake.zfs().list(&root).unwrap();
        let names = listing
            .datasets
            .iter()
            .map(|dataset| dataset.name.to_string());
        let parents =
            ["aside", "staging", "graveyard"].map(|part| format!("tank/terrarium/{part}"));
        names
            .filter(|name| name.starts_with("tank/terrarium/") && !parents.contains(name))
            .collect()
    }

    fn snapshots(&self, dataset: &str) -> Vec<String> {
        let root = DatasetName::new(dataset).unwrap();
        let listing = self.fake.zfs().list(&root).unwrap();
        let names = listing
            .snapshots
            .iter()
            .map(|found| found.name.name().to_owned());
        names.collect()
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.state.join("operations")).map_or(0, Iterator::count)
    }

    fn instance(&self, name: &str) -> Option<lxd_client::Instance> {
        self.fake.lxd().instance("default", name)
    }
}

/// Stops before the `n`th step: as a crash, or as a step that fails.
struct Stopping {
    left: AtomicUsize,
    crash: bool,
}

impl Progress for Stopping {
    fn step_begins(&self, step: usize, _: &Plan, _: &Step) -> Result<(), Error> {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.wrapping_sub(1), Ordering::Relaxed);
        match left {
            0 if self.crash => Err(Error::Fault { step }),
            0 => Err(Error::Zfs(terrarium_zfs::Error::NoSpace(Attempt::new(
                "carry out",
                "a step",
            )))),
            _ => Ok(()),
        }
    }
}

/// Does not begin an action.
struct Dying(&'static str);

impl Progress for Dying {
    fn step_begins(&self, step: usize, _: &Plan, begun: &Step) -> Result<(), Error> {
        match begun.action.name() == self.0 {
            true => Err(Error::Fault { step }),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_running_instance_comes_back_as_it_was_with_all_that_lxd_knew_of_it() {
    let scene = Scene::new().await;
    let before = scene.instance("web").unwrap();
    let snapshots = scene.snapshots("tank/containers/web");
    let operation = scene.destroy("web").await;
    assert!(scene.instance("web").is_none());
    assert!(scene.fake.content("web").is_empty());
    let grave = format!("tank/terrarium/graveyard/{operation}/web");
    assert_eq!(scene.snapshots(&grave).len(), snapshots.len() + 1);
    let inventory = scene.host.observe(&scene.now()).await.unwrap();
    let record = &inventory.graveyard[0].record;
    assert_eq!(
        record.expires.duration_since(record.destroyed),
        SignedDuration::from_hours(24)
    );
    assert!(inventory.orphans.is_empty() && inventory.pending.is_empty());
    let listing = scene.fake.zfs().list(&DatasetName::new(&grave).unwrap());
    let local = format!("{:?}", listing.unwrap().datasets[0].local);
    assert!(!local.contains("hunter2"), "every user can read that");

    let report = scene.resume("web", None).await;
    assert!(report.graveyard.unwrap().resumed);
    let after = scene.instance("web").unwrap();
    assert!(after.is_running());
    let stable = |instance: &lxd_client::Instance| {
        let mut config = instance.config.clone();
        // What LXD says of a run, and of the map that it will use.
        config.retain(|key, _| {
            !key.starts_with("volatile.")
                || key.ends_with(".hwaddr")
                || key == "volatile.base_image"
                || key == "volatile.cloud-init.instance-id"
        });
        config
    };
    assert_eq!(stable(&after), stable(&before));
    assert_eq!(after.devices, before.devices);
    assert_eq!(after.profiles, before.profiles);
    let notes = |instance: &lxd_client::Instance| {
        let records = instance.snapshots.iter().flatten();
        let note = |config: &BTreeMap<String, String>| config.get("user.note").cloned();
        records
            .map(|record| (record.name.clone(), note(&record.config)))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(notes(&after), notes(&before));
    assert_eq!(scene.snapshots("tank/containers/web"), snapshots);
    assert_eq!(scene.fake.content("web")["f"], "two");
    assert!(scene.fake.starts().iter().all(|start| start.ids_right));
    assert_eq!((scene.ours(), scene.files()), (Vec::new(), 0));
}

#[tokio::test]
async fn what_is_protected_or_ephemeral_or_not_there_is_not_destroyed() {
    let scene = Scene::new().await;
    scene.config("security.protection.delete", "true").await;
    let short = scene.fake.instance("short").file("f", "x");
    short.with(|it| it.ephemeral = true).create().await;
    for name in ["web", "short", "wep"] {
        let session = scene.begin(&[name]).await;
        let planner = session.planner();
        let error = planner.plan_destroy(&id(name), &destroying()).await;
        let error = error.unwrap_err();
        assert_eq!(error.class(), Class::Refused, "{name}: {error}");
    }
    assert!(scene.instance("web").unwrap().is_running());
    assert!(scene.ours().is_empty());
}

#[tokio::test]
async fn while_lxd_may_be_deleting_it_the_dataset_does_not_come_back_into_its_way() {
    let scene = Scene::new().await;
    let lxd = scene.fake.lxd();
    lxd.drop_reply_next("DELETE", "/1.0/instances/web");
    lxd.set_delay("DELETE", "/1.0/instances/web", Duration::from_secs(2));
    let session = scene.begin(&["web"]).await;
    let planner = session.planner();
    let plan = planner.plan_destroy(&id("web"), &destroying()).await;
    let report = session.execute(&plan.unwrap().unwrap(), &Silent).await;
    drop(session);
    assert!(report.is_left_to_lxd(), "{report:#?}");
    assert!(report.put_back.is_none(), "{report:#?}");
    let grave = format!("tank/terrarium/graveyard/{}/web", report.operation);
    assert!(
        scene.snapshots_if_any(&grave).is_some(),
        "it is out of its way"
    );
    tokio::time::sleep(Duration::from_secs(4)).await;
    drop(scene.begin(&["web"]).await);
    assert!(scene.instance("web").is_none());
    scene.resume("web", None).await;
    assert_eq!(scene.fake.content("web")["f"], "two");
}

#[tokio::test]
async fn lxd_that_refuses_to_delete_it_leaves_it_running_as_before() {
    let scene = Scene::new().await;
    let snapshots = scene.snapshots("tank/containers/web");
    for _ in 0..2 {
        scene
            .fake
            .lxd()
            .fail_next("DELETE", "/1.0/instances/web", 403, "Instance is protected");
    }
    let session = scene.begin(&["web"]).await;
    let plan = session
        .planner()
        .plan_destroy(&id("web"), &destroying())
        .await;
    let report = session.execute(&plan.unwrap().unwrap(), &Silent).await;
    assert!(!report.is_effective(), "{report:#?}");
    assert!(report.put_back.unwrap().is_complete());
    assert!(scene.instance("web").unwrap().is_running());
    assert_eq!(scene.snapshots("tank/containers/web"), snapshots);
    assert_eq!((scene.ours(), scene.files()), (Vec::new(), 0));
}

#[tokio::test]
async fn a_new_instance_of_that_name_is_not_taken_for_the_one_that_is_being_destroyed() {
    let scene = Scene::new().await;
    let session = scene.begin(&["web"]).await;
    let plan = session
        .planner()
        .plan_destroy(&id("web"), &destroying())
        .await;
    let plan = plan.unwrap().unwrap();
    session.execute(&plan, &Dying("bury")).await;
    drop(session);
    scene.web("new").await;
    drop(scene.begin(&["web"]).await);
    assert!(scene.instance("web").unwrap().is_running());
    assert_eq!(scene.fake.content("web")["f"], "new");
    let inventory = scene.host.observe(&scene.now()).await.unwrap();
    assert_eq!(inventory.graveyard.len(), 1);
    let (_, covered) = inventory.covered(&id("web")).unwrap();
    assert!(covered.points.is_empty(), "points of two are not mixed");
    let error = scene.plan_resume("web", None).await.unwrap_err();
    assert!(matches!(error, Error::NameTaken { .. }), "{error}");
}

#[tokio::test]
async fn without_the_saved_definition_it_comes_back_and_it_is_said_what_does_not() {
    let scene = Scene::new().await;
    scene.destroy("web").await;
    std::fs::remove_dir_all(scene.state.join("operations")).unwrap();
    let report = scene.resume("web", None).await;
    assert!(
        report
            .notices
            .iter()
            .any(|notice| notice.text.contains("secrets")),
        "{:?}",
        report.notices
    );
    let web = scene.instance("web").unwrap();
    assert!(web.is_running());
    assert_eq!(web.config["limits.memory"], "1GiB");
    assert_eq!(web.config["volatile.eth0.hwaddr"], "00:16:3e:aa:bb:cc");
    assert!(!web.config.contains_key("environment.TOKEN"));
    let records = web.snapshots.iter().flatten().map(|record| &record.name);
    assert_eq!(records.count(), 2);
    assert!(scene.fake.starts().iter().all(|start| start.ids_right));
}

#[tokio::test]
async fn what_it_needs_and_is_gone_is_named_and_nothing_is_changed() {
    let scene = Scene::new().await;
    scene.fake.add_project("tenant");
    let shop = scene.fake.instance("tenant/shop").file("f", "x");
    shop.with(|it| it.profiles = vec!["default".to_owned(), "special".to_owned()])
        .create()
        .await;
    scene.destroy("tenant/shop").await;
    let error = scene.plan_resume("tenant/shop", None).await.unwrap_err();
    assert!(error.to_string().contains("special"), "{error}");
    assert_eq!(error.class(), Class::Refused);

    let error = scene.plan_resume("tenant/shob", None).await.unwrap_err();
    assert!(
        error.to_string().contains("tenant/shop"),
        "the nearest is shown: {error}"
    );
    scene.destroy("web").await;
    scene.fake.zfs().set_full("tank", true);
    let error = scene.plan_resume("web", None).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    scene.fake.zfs().set_full("tank", false);
    assert!(scene.instance("web").is_none());
}

#[tokio::test]
async fn of_two_destroyed_ones_of_a_name_it_must_be_said_which() {
    let scene = Scene::new().await;
    let older = scene.destroy("web").await;
    scene.web("second").await;
    let newer = scene.destroy("web").await;
    let error = scene.plan_resume("web", None).await.unwrap_err();
    for operation in [&older, &newer] {
        assert!(error.to_string().contains(operation.as_str()), "{error}");
    }
    assert!(error.help().unwrap().contains(newer.as_str()));
    scene.resume("web", Some(&older)).await;
    assert_eq!(scene.fake.content("web")["f"], "two");
    assert_eq!(scene.survey(&Reap::Expired(None)).await.len(), 1);
}

#[tokio::test]
async fn what_rewinds_moved_aside_comes_back_with_it_and_can_still_be_undone() {
    let scene = Scene::new().await;
    scene.restore("first").await;
    assert_eq!(scene.fake.content("web")["f"], "one");
    scene.destroy("web").await;
    let found = scene.survey(&Reap::Expired(None)).await;
    assert_eq!(found.len(), 1, "the aside dataset belongs to it: {found:?}");
    scene.wait(23);
    assert!(scene.purge(&Reap::Expired(None), &Silent).await.is_empty());
    scene.resume("web", None).await;
    let session = scene.begin(&["web"]).await;
    let plan = session.planner().plan_undo(&id("web"), true, STOP).await;
    let report = session.execute(&plan.unwrap().unwrap(), &Silent).await;
    assert!(report.is_complete(), "{report:#?}");
    assert_eq!(scene.fake.content("web")["f"], "two");
    let records = scene.instance("web").unwrap().snapshots.unwrap().len();
    assert_eq!(records, 2, "LXD knows the snapshots again");
}

#[tokio::test]
async fn when_its_time_is_up_everything_of_it_goes_and_nothing_before() {
    let scene = Scene::new().await;
    scene.restore("first").await;
    scene.destroy("web").await;
    scene.wait(23);
    assert!(scene.purge(&Reap::Expired(None), &Silent).await.is_empty());
    scene.wait(1);
    let reports = scene.purge(&Reap::Expired(None), &Silent).await;
    assert!(reports[0].is_complete(), "{reports:#?}");
    assert_eq!((scene.ours(), scene.files()), (Vec::new(), 0));
    let error = scene.plan_resume("web", None).await.unwrap_err();
    assert!(matches!(error, Error::NothingToResume { .. }), "{error}");
}

#[tokio::test]
async fn a_purge_that_is_cut_off_anywhere_is_finished_by_the_next_and_nothing_half_gone_comes_back()
{
    let steps = {
        let scene = Scene::new().await;
        scene.restore("first").await;
        scene.destroy("web").await;
        scene.purge(&Reap::All, &Silent).await[0].steps.len()
    };
    for crash in [true, false] {
        for index in 0..steps {
            let scene = Scene::new().await;
            scene.restore("first").await;
            let operation = scene.destroy("web").await;
            let grave = format!("tank/terrarium/graveyard/{operation}/web");
            let whole = scene.snapshots(&grave).len();
            let left = AtomicUsize::new(index);
            scene.purge(&Reap::All, &Stopping { left, crash }).await;
            let there = scene.snapshots_if_any(&grave);
            if there != Some(whole) {
                let error = scene.plan_resume("web", None).await.unwrap_err();
                assert!(matches!(error, Error::NothingToResume { .. }), "{error}");
            }
            // Once it has begun it goes on whatever its time; what was not begun waits for its time.
            if index == 0 {
                scene.wait(24);
            }
            for report in scene.purge(&Reap::Expired(None), &Silent).await {
                assert!(report.is_complete(), "{index}: {report:#?}");
            }
            // Where they stood may be left, empty: the next purge of anything removes that.
            if !scene.ours().is_empty() {
                scene.web("another").await;
                scene.destroy("web").await;
                scene.wait(25);
                scene.purge(&Reap::Expired(None), &Silent).await;
            }
            assert_eq!(scene.ours(), [] as [&str; 0], "stopped before step {index}");
            assert_eq!(scene.files(), 0, "stopped before step {index}");
        }
    }
}

#[tokio::test]
async fn a_run_purges_what_has_had_its_time_when_nobody_works_on_it_and_nothing_before() {
    let scene = Scene::new().await;
    scene.restore("first").await;
    scene.destroy("web").await;
    let run = async || {
        let report = scene.host.run(scene.now(), &Silent).await.unwrap();
        assert_eq!(report.class(), None, "{report:#?}");
        report
    };
    for hours in [22, -40, 40] {
        scene.wait(hours);
        assert!(run().await.purged.is_empty());
    }
    scene.wait(3);
    let session = scene.begin(&["web"]).await;
    let report = run().await;
    assert_eq!(report.skipped.len(), 1, "{report:#?}");
    assert!(report.purged.is_empty());
    drop(session);
    let report = run().await;
    assert!(
        report.purged.len() == 1 && report.purged[0].is_complete(),
        "{report:#?}"
    );
    assert_eq!((scene.ours(), scene.files()), (Vec::new(), 0));
}

#[tokio::test]
async fn a_run_that_is_killed_while_it_purges_is_finished_by_the_next() {
    let mut index = 0;
    loop {
        let scene = Scene::new().await;
        scene.restore("first").await;
        scene.destroy("web").await;
        scene.wait(25);
        let left = AtomicUsize::new(index);
        let killed = Stopping { left, crash: true };
        let report = scene.host.run(scene.now(), &killed).await.unwrap();
        let ended = report.class().is_none();
        let report = scene.host.run(scene.now(), &Silent).await.unwrap();
        assert_eq!(report.class(), None, "{index}: {report:#?}");
        // Empty places are no instance, and cost nothing.
        let left = scene.ours();
        let full = left
            .iter()
            .filter(|name| scene.snapshots_if_any(name) != Some(0));
        assert_eq!(full.count(), 0, "killed before step {index}: {left:?}");
        if ended {
            assert!(index > 3, "there is something to be killed in");
            break;
        }
        index += 1;
    }
}

impl Scene {
    fn snapshots_if_any(&self, dataset: &str) -> Option<usize> {
        let name = DatasetName::new(dataset).unwrap();
        Some(self.fake.zfs().list(&name).ok()?.snapshots.len())
    }
}

#[tokio::test]
async fn what_is_held_or_cloned_stays_whoever_asks_and_goes_when_it_is_not_any_more() {
    let scene = Scene::new().await;
    scene.copy("wanted").await;
    let operation = scene.destroy("web").await;
    let grave = format!("tank/terrarium/graveyard/{operation}/web");
    assert_eq!(scene.fake.content("copy")["f"], "one");
    scene.wait(48);
    for what in [
        Reap::Expired(None),
        Reap::All,
        Reap::These {
            instances: vec![id("web")],
            operations: vec![operation.clone()],
        },
    ] {
        let found = scene.survey(&what).await;
        assert!(found[0].asked && !found[0].is_doomed());
        assert!(matches!(found[0].kept_by[..], [KeptBy::Cloned { .. }]));
        assert!(scene.purge(&what, &Silent).await.is_empty());
    }
    Instances::delete(&scene.fake.client(), &id("copy"))
        .await
        .unwrap();
    scene.fake.zfs().hold(format!("{grave}@first"), "keep");
    let found = scene.survey(&Reap::All).await;
    assert!(matches!(found[0].kept_by[..], [KeptBy::Held { .. }]));
    assert!(scene.purge(&Reap::All, &Silent).await.is_empty());
    scene.fake.zfs().release(format!("{grave}@first"), "keep");
    let reports = scene.purge(&Reap::Expired(None), &Silent).await;
    assert!(reports[0].is_complete(), "{reports:#?}");
    assert!(scene.ours().is_empty());
}

#[tokio::test]
async fn a_hold_that_comes_between_plan_and_purge_keeps_all_of_it() {
    let scene = Scene::new().await;
    let operation = scene.destroy("web").await;
    let grave = format!("tank/terrarium/graveyard/{operation}/web");
    let before = scene.snapshots(&grave);
    let session = scene.begin(&["web"]).await;
    let plan = session.planner().plan_purge(&Reap::All, |_| true).remove(0);
    scene.fake.zfs().hold(format!("{grave}@first"), "keep");
    let report = session.execute(&plan, &Silent).await;
    assert_eq!(report.class(), Some(Class::Refused), "{report:#?}");
    drop(session);
    assert_eq!(scene.snapshots(&grave), before);
    scene.resume("web", None).await;
    assert_eq!(scene.fake.content("web")["f"], "two");
}

#[tokio::test]
async fn what_is_in_use_when_its_turn_comes_stops_none_of_the_others() {
    let scene = Scene::new().await;
    let first = scene.destroy("web").await;
    scene.web("again").await;
    scene.fake.snapshot("web", "other");
    scene.wait(1);
    let second = scene.destroy("web").await;
    let busy = terrarium_zfs::Attempt::new("destroy", "tank/terrarium/graveyard");
    scene
        .fake
        .zfs()
        .fail_next("destroy", terrarium_zfs::Error::Busy(busy));
    let reports = scene.purge(&Reap::All, &Silent).await;
    assert!(
        matches!(reports[0].error, Some(Error::NotAllDestroyed { .. })),
        "{reports:#?}"
    );
    let graves = [first, second].map(|by| format!("tank/terrarium/graveyard/{by}/web"));
    let left = scene.ours();
    let stays = |grave: &&String| left.contains(grave);
    assert_eq!(graves.iter().filter(stays).count(), 1, "{left:?}");
    // It does not come back half, and the next purge has it.
    assert!(scene.plan_resume("web", None).await.is_err());
    let reports = scene.purge(&Reap::Expired(None), &Silent).await;
    assert!(reports[0].is_complete(), "{reports:#?}");
    assert_eq!((scene.ours(), scene.files()), (Vec::new(), 0));
}

#[tokio::test]
async fn a_clock_that_was_behind_when_it_was_destroyed_shortens_nothing() {
    let scene = Scene::new().await;
    drop(scene.now());
    scene.fake.snapshot("web", "late");
    scene.wait(-48);
    scene.destroy("web").await;
    scene.wait(48 + 23);
    assert!(scene.purge(&Reap::Expired(None), &Silent).await.is_empty());
    scene.wait(2);
    let reports = scene.purge(&Reap::Expired(None), &Silent).await;
    assert!(reports[0].is_complete(), "{reports:#?}");
}

#[tokio::test]
async fn what_a_rewind_moved_aside_goes_by_time_only_when_nothing_in_it_was_asked_for() {
    let scene = Scene::empty().await;
    scene.web("one").await;
    scene.fake.snapshot("web", "first");
    scene.fake.snapshot("web", "by-hand");
    scene.on_demand("web", "soon", Some("2026-11-22T12:00:00Z"));
    let plain = scene.restore("first").await.operation;
    scene.on_demand("web", "wanted", None);
    let asked_for = scene.restore("first").await.operation;
    scene.fake.lxd_snapshot("web", "x").await;
    let lxd = scene.restore("first").await.operation;

    let found = scene.survey(&Reap::Expired(None)).await;
    assert!(
        found
            .iter()
            .all(|entry| entry.what == What::Aside && !entry.asked)
    );
    assert!(scene.purge(&Reap::Expired(None), &Silent).await.is_empty());
    scene.wait(25);
    let found = scene.survey(&Reap::Expired(None)).await;
    let of = |operation: &OperationId| {
        let mut entries = found.iter();
        entries.find(|entry| entry.operation == *operation).unwrap()
    };
    assert!(of(&plain).is_doomed(), "{:?}", of(&plain));
    assert!(matches!(
        of(&asked_for).kept_by[..],
        [KeptBy::OnDemand { .. }]
    ));
    assert!(matches!(of(&lxd).kept_by[..], [KeptBy::Lxd { .. }]));
    let reports = scene.purge(&Reap::Expired(None), &Silent).await;
    assert!(reports[0].is_complete(), "{reports:#?}");
    let left = scene.ours().join(" ");
    assert!(!left.contains(plain.as_str()) && left.contains(lxd.as_str()));
    assert_eq!(scene.fake.content("web")["f"], "one");

    // By hand it is explicit.
    let what = Reap::These {
        instances: Vec::new(),
        operations: vec![asked_for.clone()],
    };
    let reports = scene.purge(&what, &Silent).await;
    assert!(reports[0].is_complete(), "{reports:#?}");
    assert!(!scene.ours().join(" ").contains(asked_for.as_str()));
    let inventory = scene.host.observe(&scene.now()).await.unwrap();
    let (_, covered) = inventory.covered(&id("web")).unwrap();
    assert!(covered.points.iter().any(|point| point.kind == Kind::Lxd));
}

#[tokio::test]
async fn young_ones_do_not_stay_and_a_clock_set_back_makes_nothing_young() {
    let scene = Scene::empty().await;
    drop(scene.now());
    scene.web("one").await;
    let stays = async |request: DestroyRequest| {
        let session = scene.begin(&["web"]).await;
        let plan = session.planner().plan_destroy(&id("web"), &request).await;
        plan.unwrap().unwrap().stays_buried().unwrap()
    };
    assert!(stays(destroying()).await.is_zero());
    let keep = DestroyRequest {
        min_age: SignedDuration::ZERO,
        ..destroying()
    };
    assert!(!stays(keep).await.is_zero());
    scene.wait(2);
    assert!(!stays(destroying()).await.is_zero());
    let skip = DestroyRequest {
        min_age: SignedDuration::MAX,
        ..destroying()
    };
    assert!(stays(skip).await.is_zero());
    scene.wait(-24);
    assert!(!stays(destroying()).await.is_zero());
    assert!(!stays(keep).await.is_zero());
    // A rewind makes an instance no younger.
    scene.wait(24);
    scene.fake.snapshot("web", "late");
    scene.restore("late").await;
    assert!(!stays(destroying()).await.is_zero());
}

#[tokio::test]
async fn a_destroyed_instance_that_lxd_cannot_make_again_stays_where_it_is() {
    let scene = Scene::new().await;
    let operation = scene.destroy("web").await;
    scene
        .fake
        .lxd()
        .fail_operation_next("POST", "/1.0/instances", "Network not found");
    let session = scene.begin(&["web"]).await;
    let plan = session.planner().plan_resume(&id("web"), None, true).await;
    let report = session.execute(&plan.unwrap().unwrap(), &Silent).await;
    let told = terrarium_core::with_causes(report.error.as_ref().unwrap());
    assert!(told.contains("Network not found"), "{told}");
    drop(session);
    assert!(scene.instance("web").is_none());
    let grave = format!("tank/terrarium/graveyard/{operation}/web");
    assert!(scene.snapshots_if_any(&grave).is_some());
    scene.resume("web", None).await;
    assert!(scene.instance("web").unwrap().is_running());
}

#[test]
fn an_operation_says_when_it_began() {
    let at: Timestamp = "2026-11-22T10:00:05Z".parse().unwrap();
    assert_eq!(OperationId::begun(at, 7).began(), Some(at));
    assert_eq!(OperationId::new("op-1").unwrap().began(), None);
}
