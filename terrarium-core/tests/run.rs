//! What the timer calls: what is due is taken at one moment, what has no use any more goes, and nothing keeps one
//! instance from its turn but itself.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Zoned};
use lxd_client::Client;
use terrarium_core::fake::{FakeHost, FakeZfs};
use terrarium_core::plan::{Plan, Step};
use terrarium_core::policy::Period;
use terrarium_core::status::{State, assess};
use terrarium_core::{
    Access, Begun, Class, Error, Folders, Host, InstanceRef, Kind, LockDir, Progress, RestorePoint,
    RunReport, Silent, Zfs, property,
};
use terrarium_zfs::UserProperties;

fn id(name: &str) -> InstanceRef {
    name.parse().expect("a legal name")
}

fn at(text: &str) -> Zoned {
    text.parse().expect("a time")
}

fn noon() -> Zoned {
    at("2026-04-19T12:00:00+00:00[UTC]")
}

fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

struct Scene {
    fake: FakeHost,
    host: Host<FakeZfs, Client>,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let fake = FakeHost::start().await;
        let folder = tempfile::tempdir().expect("a place for the state");
        let folders = Folders {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
        };
        Self {
            host: Host::new(fake.zfs().clone(), fake.client(), &folders),
            fake,
            folder,
        }
    }

    async fn with(instances: &[&str]) -> Self {
        let scene = Self::new().await;
        for name in instances {
            scene.fake.instance(name).file("f", "0").create().await;
        }
        scene
    }

    async fn labelled(&self, name: &str, labels: &[(&str, &str)]) {
        let mut instance = self.fake.instance(name).file("f", "0");
        for (key, value) in labels {
            instance = instance.config(key, value);
        }
        instance.create().await;
    }

    async fn run(&self, now: &Zoned) -> RunReport {
        self.fake.zfs().set_time(now.timestamp().as_second());
        let report = self.host.run(now.clone(), &Silent).await;
        report.expect("it runs")
    }

    async fn points(&self, instance: &str, now: &Zoned) -> Vec<RestorePoint> {
        let inventory = self.host.observe(now).await.expect("an inventory");
        let (_, covered) = inventory.covered(&id(instance)).expect("it is covered");
        covered.points.clone()
    }

    async fn counts(&self, instance: &str, now: &Zoned) -> BTreeMap<Period, usize> {
        let mut counts = BTreeMap::new();
        for point in self.points(instance, now).await {
            *counts.entry(point.period.expect("a period")).or_default() += 1;
        }
        counts
    }
}

fn taken(report: &RunReport) -> Vec<String> {
    let taken = report.taken.iter();
    taken
        .map(|one| format!("{} {}", one.instance, one.period))
        .collect()
}

fn failed(report: &RunReport) -> Vec<&str> {
    let failures = report.failures.iter();
    failures.map(|failure| failure.what.as_str()).collect()
}

#[tokio::test]
async fn the_first_run_takes_one_of_each_period_of_every_instance_at_one_moment() {
    let scene = Scene::with(&["db", "web"]).await;
    let report = scene.run(&noon()).await;
    assert_eq!(report.class(), None, "{report:#?}");
    let of = |period: &str| ["db", "web"].map(|name| format!("{name} {period}"));
    let periods = ["monthly", "daily", "hourly", "frequently"];
    assert_eq!(taken(&report), periods.map(of).concat());
    let snapshots = scene.fake.zfs().calls();
    let snapshots = snapshots.iter().filter(|call| call.starts_with("snapshot"));
    assert_eq!(
        snapshots.count(),
        4,
        "one call for each period, hence one transaction group"
    );
    let points = scene.points("web", &noon()).await;
    assert!(points.iter().all(|point| point.kind == Kind::Scheduled));
    assert_eq!(points[2].name(), "autosnap_2026-04-19_12:00:00_hourly");
    let moments = |points: &[RestorePoint]| -> Vec<_> {
        points.iter().map(|point| point.createtxg).collect()
    };
    let of_db = scene.points("db", &noon()).await;
    assert_eq!(moments(&points), moments(&of_db));
}

#[tokio::test]
async fn what_is_there_already_is_not_taken_again() {
    let scene = Scene::with(&["web"]).await;
    scene.run(&noon()).await;
    let soon = noon() + minutes(14);
    assert_eq!(taken(&scene.run(&soon).await), [""; 0]);
    let next = noon() + minutes(15);
    assert_eq!(taken(&scene.run(&next).await), ["web frequently"]);
    let hour = noon() + minutes(60);
    assert_eq!(
        taken(&scene.run(&hour).await),
        ["web hourly", "web frequently"]
    );
}

#[tokio::test]
async fn after_a_downtime_one_of_each_period_is_taken_and_no_flood() {
    let scene = Scene::with(&["web"]).await;
    scene.run(&noon()).await;
    let later = noon() + minutes(60 * 24 * 40 + 7);
    let report = scene.run(&later).await;
    assert_eq!(
        taken(&report),
        ["web monthly", "web daily", "web hourly", "web frequently"]
    );
    assert_eq!(taken(&scene.run(&(later + minutes(1))).await), [""; 0]);
}

#[tokio::test]
async fn two_days_of_the_timer_leave_what_the_policy_says() {
    let scene = Scene::new().await;
    let label = (terrarium_core::policy::RETENTION, "hourly=6,daily=1");
    scene.labelled("web", &[label]).await;
    let mut now = noon();
    let mut removed = 0;
    for _ in 0..4 * 48 {
        now += minutes(15);
        let report = scene.run(&now).await;
        assert_eq!(report.class(), None, "{report:#?}");
        removed += report.removed();
    }
    let counts = scene.counts("web", &now).await;
    // One more than the count on aligned ticks, as sanoid has it.
    let expected = [
        (Period::Frequently, 5),
        (Period::Hourly, 7),
        (Period::Daily, 1),
        (Period::Monthly, 1),
    ];
    assert_eq!(counts, expected.into());
    assert!(removed > 200, "{removed}");
}

#[tokio::test]
async fn an_instance_whose_label_says_off_is_left_alone_and_expired_points_go_all_the_same() {
    let scene = Scene::new().await;
    let off = (terrarium_core::policy::BACKUP, "off");
    scene.labelled("web", &[off]).await;
    let expired = [
        (property::KIND.to_owned(), "on-demand".to_owned()),
        (
            property::EXPIRES.to_owned(),
            "2026-04-19T11:00:00Z".to_owned(),
        ),
    ];
    let web = scene.fake.dataset("web");
    for (name, properties) in [
        ("old", UserProperties::from(expired)),
        ("new", UserProperties::new()),
    ] {
        let snapshot = web.snapshot(name).expect("a legal name");
        scene
            .fake
            .zfs()
            .snapshot(&[(snapshot, properties)])
            .expect("taken");
    }
    let report = scene.run(&noon()).await;
    assert_eq!(
        (report.taken.len(), report.removed()),
        (0, 1),
        "{report:#?}"
    );
    let left = scene.points("web", &noon()).await;
    assert_eq!(
        left.iter().map(RestorePoint::name).collect::<Vec<_>>(),
        ["new"]
    );
}

#[tokio::test]
async fn a_label_that_makes_no_sense_is_named_and_the_default_is_taken() {
    let scene = Scene::new().await;
    let label = (terrarium_core::policy::RETENTION, "hourly=lots");
    scene.labelled("web", &[label]).await;
    let report = scene.run(&noon()).await;
    assert_eq!(report.taken.len(), 4);
    assert!(
        report.notices[0].text.contains("hourly=lots"),
        "{:?}",
        report.notices
    );
}

/// Runs while the dataset of an instance goes, after it was looked at and before the snapshots are taken.
async fn run_while_one_goes(scene: &Scene, instance: &str) -> RunReport {
    let asks = |request: &String| request.starts_with("GET") && request.contains("/projects");
    let lxd = scene.fake.lxd();
    let before = lxd
        .requests()
        .iter()
        .filter(|request| asks(request))
        .count();
    lxd.set_delay("GET", "/projects", Duration::from_millis(200));
    let goes = async {
        while lxd
            .requests()
            .iter()
            .filter(|request| asks(request))
            .count()
            == before
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let dataset = scene.fake.dataset(instance);
        scene
            .fake
            .zfs()
            .destroy_recursively(&dataset)
            .expect("it goes");
    };
    let now = noon();
    tokio::join!(scene.run(&now), goes).0
}

#[tokio::test]
async fn one_that_fails_keeps_no_other_from_its_turn() {
    let scene = Scene::with(&["db", "web"]).await;
    let report = run_while_one_goes(&scene, "db").await;
    assert_eq!(report.class(), Some(Class::Failed));
    let of_web = taken(&report);
    assert!(
        of_web.len() == 4 && of_web.iter().all(|one| one.starts_with("web")),
        "{report:#?}"
    );
    assert_eq!(report.failures.len(), 4, "{report:#?}");
    assert!(
        report
            .failures
            .iter()
            .all(|failure| failure.instance == Some(id("db")))
    );
}

#[tokio::test]
async fn one_of_a_group_that_fails_fails_its_group_alone() {
    let scene = Scene::new().await;
    let group = (terrarium_core::policy::GROUP, "shop");
    scene.labelled("db", &[group]).await;
    scene.labelled("shop", &[group]).await;
    scene.labelled("web", &[]).await;
    let report = run_while_one_goes(&scene, "db").await;
    assert!(
        taken(&report).iter().all(|one| one.starts_with("web")),
        "{report:#?}"
    );
    assert_eq!((report.taken.len(), report.failures.len()), (4, 8));
    let of_shop = report
        .failures
        .iter()
        .find(|failure| failure.instance == Some(id("shop")));
    assert!(of_shop.is_some_and(|failure| failure.what.contains("another one of group shop")));
}

#[tokio::test]
async fn a_group_is_taken_together_or_not_at_all() {
    let scene = Scene::new().await;
    let group = (terrarium_core::policy::GROUP, "shop");
    scene.labelled("db", &[group]).await;
    scene.labelled("web", &[group]).await;
    scene.labelled("other", &[]).await;
    let of_db = scene
        .host
        .begin(&[id("db")], "rewind", noon(), &Silent)
        .await;
    let report = scene.run(&noon()).await;
    assert!(
        taken(&report).iter().all(|one| one.starts_with("other")),
        "{report:#?}"
    );
    assert!(report.skipped.iter().any(|one| one.instance == id("db")));
    drop(of_db);
    let report = scene.run(&(noon() + minutes(1))).await;
    assert_eq!(report.taken.len(), 8);

    // One of the group has an hourly snapshot more: the next is taken of both.
    let late = noon() + minutes(60);
    scene.fake.zfs().set_time(late.timestamp().as_second());
    let own = [
        (property::KIND.to_owned(), "scheduled".to_owned()),
        (property::PERIOD.to_owned(), "hourly".to_owned()),
    ];
    let snapshot = scene
        .fake
        .dataset("db")
        .snapshot("own")
        .expect("a legal name");
    let took = scene.fake.zfs().snapshot(&[(snapshot, own.into())]);
    took.expect("taken");
    let report = scene.run(&late).await;
    let hourly = taken(&report);
    assert!(hourly.contains(&"db hourly".to_owned()), "{hourly:?}");
}

#[tokio::test]
async fn an_export_keeps_nobody_from_a_snapshot_and_a_rewind_does() {
    let scene = Scene::with(&["db", "web"]).await;
    let ids = [id("web")];
    let exporting = scene
        .host
        .begin_as(Access::Export, &ids, "export", noon(), &Silent)
        .await;
    assert!(matches!(exporting, Ok(Begun::Ready(_))));
    let rewinding = scene
        .host
        .begin(&[id("db")], "rewind", noon(), &Silent)
        .await;
    let report = scene.run(&noon()).await;
    assert!(taken(&report).iter().all(|one| one.starts_with("web")));
    assert_eq!(report.taken.len(), 4);
    assert_eq!(report.class(), None, "to be in use is no failure");
    assert!(
        report
            .skipped
            .iter()
            .any(|one| one.instance == id("db") && one.why.contains("rewind"))
    );
    drop((exporting, rewinding));
}

#[tokio::test]
async fn there_is_one_run_at_a_time() {
    let scene = Scene::with(&["web"]).await;
    let locks = LockDir::new(scene.folder.path().join("run/locks"));
    let first = locks.run(noon().timestamp()).expect("nobody runs");
    let second = scene.host.run(noon() + minutes(1), &Silent).await;
    let refused = second.expect_err("one runs");
    assert!(matches!(refused, Error::Locked(_)));
    assert!(
        refused
            .to_string()
            .contains("the timer's run is in use by another operation: run")
    );
    assert!(refused.to_string().contains("for 60s"), "{refused}");
    drop(first);
    assert_eq!(scene.run(&noon()).await.taken.len(), 4);
}

#[tokio::test]
async fn a_clock_that_was_set_back_removes_nothing_and_leaves_out_nothing() {
    let scene = Scene::with(&["web"]).await;
    let mut now = noon();
    for _ in 0..20 {
        now += minutes(15);
        scene.run(&now).await;
    }
    let before = scene.points("web", &now).await.len();
    let back = noon() - minutes(60 * 24);
    let report = scene.run(&back).await;
    assert_eq!(report.removed(), 0);
    assert_eq!(
        taken(&report),
        ["web monthly", "web daily", "web hourly", "web frequently"]
    );
    assert_eq!(scene.points("web", &back).await.len(), before + 4);
}

#[tokio::test]
async fn where_there_is_no_room_what_has_no_use_goes_first() {
    struct MakesRoom(FakeZfs);
    impl Progress for MakesRoom {
        fn step_begins(&self, _: usize, _: &Plan, _: &Step) -> Result<(), Error> {
            self.0.set_full("tank", false);
            Ok(())
        }
    }
    let scene = Scene::with(&["web"]).await;
    let mut now = noon();
    for _ in 0..6 {
        scene.run(&now).await;
        now += minutes(15);
    }
    let zfs = scene.fake.zfs();
    zfs.set_time(now.timestamp().as_second());
    zfs.set_full("tank", true);
    let report = scene.host.run(now.clone(), &MakesRoom(zfs.clone())).await;
    let report = report.expect("it runs");
    assert_eq!(report.class(), None, "{report:#?}");
    assert_eq!((report.taken.len(), report.removed()), (1, 1));

    // Where nothing can be removed it is a failure, told once for each.
    now += minutes(1);
    zfs.set_full("tank", true);
    let zfs_stays_full = scene.run(&(now + minutes(60))).await;
    assert_eq!(zfs_stays_full.class(), Some(Class::Failed));
    assert!(
        failed(&zfs_stays_full)
            .iter()
            .all(|what| what.contains("no space left"))
    );
}

#[tokio::test]
async fn a_run_that_died_before_it_removed_anything_is_made_up_for_by_the_next() {
    struct Dies;
    impl Progress for Dies {
        fn step_begins(&self, step: usize, _: &Plan, _: &Step) -> Result<(), Error> {
            Err(Error::Fault { step })
        }
    }
    let scene = Scene::with(&["web"]).await;
    let mut now = noon();
    for _ in 0..5 {
        scene.run(&now).await;
        now += minutes(15);
    }
    scene.fake.zfs().set_time(now.timestamp().as_second());
    let died = scene
        .host
        .run(now.clone(), &Dies)
        .await
        .expect("it is told");
    assert_eq!((died.taken.len(), died.removed()), (1, 0));
    let report = scene.run(&(now + minutes(1))).await;
    assert_eq!((report.taken.len(), report.removed()), (0, 2));
}

#[tokio::test]
async fn what_became_of_a_run_is_on_record() {
    let scene = Scene::with(&["web"]).await;
    assert_eq!(scene.host.last_run().expect("no file is no error"), None);
    let report = scene.run(&noon()).await;
    let ended = (noon() + minutes(1)).timestamp();
    let record = scene.host.record_run(&report, ended).expect("written");
    assert!(record.complete && record.taken == 4 && record.failures.is_empty());
    assert_eq!(scene.host.last_run().expect("read"), Some(record));
}

#[tokio::test]
async fn status_says_which_instance_has_not_what_its_policy_wants() {
    let scene = Scene::with(&["db", "web"]).await;
    let off = (terrarium_core::policy::BACKUP, "off");
    scene.labelled("scratch", &[off]).await;
    scene.run(&noon()).await;
    let states = async |now: Zoned| -> Vec<(String, State)> {
        let planner = scene.host.look(now.clone()).await.expect("a look");
        let policies = planner.policies().await.expect("policies");
        let status = assess(planner.inventory(), &policies, &now);
        let states = status.instances.iter();
        states
            .map(|one| (one.instance.to_string(), one.state))
            .collect()
    };
    let all = |state| {
        [("db", state), ("scratch", State::Off), ("web", state)]
            .map(|(name, state)| (name.to_owned(), state))
            .to_vec()
    };
    assert_eq!(states(noon() + minutes(44)).await, all(State::Fresh));
    assert_eq!(states(noon() + minutes(45)).await, all(State::Fresh));
    // The snapshot of 12:15 is missing, half an hour later, and it stays so whatever the time of the hour.
    for late in [46, 60, 61, 95, 24 * 60] {
        assert_eq!(states(noon() + minutes(late)).await, all(State::Late));
    }
}
