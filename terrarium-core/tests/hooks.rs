//! Commands in instances around a snapshot: who was told to freeze is told to go on, whatever happens in between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Zoned;
use lxd_client::{Client, ExecOutput};
use terrarium_core::fake::{FakeHost, FakeZfs};
use terrarium_core::policy::{GROUP, HOOK_TIMEOUT, POST, PRE, PRE_FAILURE};
use terrarium_core::{
    Access, Begun, Class, Error, Folders, Hook, HookOutcome, Host, InstanceRef, Instances,
    PreOutcome, Report, RestorePoint, RunReport, Silent, Stop, Zfs,
};
use terrarium_zfs::UserProperties;

fn id(name: &str) -> InstanceRef {
    name.parse().expect("a legal name")
}

fn noon() -> Zoned {
    "2026-04-19T12:00:00+00:00[UTC]".parse().expect("a time")
}

type Exit = Box<dyn Fn(&str) -> Result<(i32, String), String> + Send + Sync>;

struct Scene {
    fake: FakeHost,
    host: Host<FakeZfs, Client>,
    folder: tempfile::TempDir,
    /// Commands and snapshots in their order.
    log: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    async fn new() -> Self {
        let fake = FakeHost::start().await;
        let folder = tempfile::tempdir().expect("a place for the state");
        let folders = Folders {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
        };
        fake.zfs().set_time(noon().timestamp().as_second());
        let scene = Self {
            host: Host::new(fake.zfs().clone(), fake.client(), &folders),
            fake,
            folder,
            log: Arc::default(),
        };
        scene.commands_exit(Box::new(|_| Ok((0, String::new()))));
        scene
    }

    /// What commands come to; each notes how many snapshots were there when it was run.
    fn commands_exit(&self, exit: Exit) {
        let (log, zfs) = (self.log.clone(), self.fake.zfs().clone());
        self.fake.lxd().answer_exec(move |words| {
            let command = words.last().map(String::as_str).unwrap_or_default();
            let calls = zfs.calls();
            let taken = calls.iter().filter(|call| call.starts_with("snapshot"));
            let line = format!("{command} after {}", taken.count());
            log.lock().expect("no test panics here").push(line);
            let (exit_code, stderr) = exit(command)?;
            Ok(ExecOutput {
                exit_code,
                stderr: stderr.into_bytes().into(),
                ..ExecOutput::default()
            })
        });
    }

    /// A running instance with both commands, and a policy of one snapshot an hour.
    async fn guest(&self, name: &str, labels: &[(&str, &str)]) {
        let hourly = "frequently=0,hourly=2,daily=0,monthly=0";
        let mut guest = self.fake.instance(name).file("f", "0").running(true);
        guest = guest
            .config(terrarium_core::policy::RETENTION, hourly)
            .config(PRE, &format!("pre {name}"))
            .config(POST, &format!("post {name}"));
        for (key, value) in labels {
            guest = guest.config(key, value);
        }
        guest.create().await;
    }

    async fn run(&self) -> RunReport {
        let report = self.host.run(noon(), &Silent).await;
        report.expect("it runs")
    }

    async fn take(&self, names: &[&str], together: bool) -> Report {
        let ids: Vec<_> = names.iter().map(|name| id(name)).collect();
        let begun = self
            .host
            .begin_as(Access::Snapshot, &ids, "snapshot", noon(), &Silent);
        let Begun::Ready(session) = begun.await.expect("it begins") else {
            panic!("nothing was cut off");
        };
        let planner = session.planner();
        let plan = match together {
            true => planner.plan_snapshot_together(&ids, None, None),
            false => planner.plan_snapshot(&ids, None, None),
        };
        session.take(&plan.expect("a plan"), &Silent).await
    }

    async fn points(&self, name: &str) -> Vec<RestorePoint> {
        let inventory = self.host.observe(&noon()).await.expect("an inventory");
        let (_, covered) = inventory.covered(&id(name)).expect("it is covered");
        covered.points.clone()
    }

    async fn marks(&self, name: &str) -> Vec<Option<PreOutcome>> {
        self.points(name)
            .await
            .iter()
            .map(|point| point.pre)
            .collect()
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().expect("no test panics here"))
    }

    /// What is written down as owed.
    fn owed(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("state/hooks")).map_or(0, Iterator::count)
    }
}

fn failed(report: &RunReport) -> Vec<String> {
    let failures = report.failures.iter().map(|failure| {
        let instance = failure.instance.as_ref().map(ToString::to_string);
        format!("{}: {}", instance.unwrap_or_default(), failure.what)
    });
    failures.collect()
}

fn fails(command: &'static str) -> Exit {
    Box::new(move |run| match run == command {
        true => Ok((3, "\n\u{1b}[2Jthe database is gone\n\n".to_owned())),
        false => Ok((0, String::new())),
    })
}

#[tokio::test]
async fn one_command_is_run_before_the_snapshot_and_one_after_it() {
    let scene = Scene::new().await;
    scene.guest("web", &[]).await;
    let report = scene.run().await;
    assert_eq!(report.class(), None, "{report:#?}");
    assert_eq!(scene.log(), ["pre web after 0", "post web after 1"]);
    assert_eq!(scene.marks("web").await, [Some(PreOutcome::Done)]);
    let report = scene.take(&["web"], false).await;
    assert_eq!(report.class(), None, "{report:#?}");
    assert_eq!(scene.log(), ["pre web after 1", "post web after 2"]);
    assert_eq!(scene.owed(), 0);
}

#[tokio::test]
async fn an_instance_that_does_not_run_has_nothing_to_run_a_command() {
    let scene = Scene::new().await;
    let stopped = scene.fake.instance("web").config(PRE, "pre web");
    stopped.create().await;
    assert_eq!(scene.run().await.class(), None);
    assert_eq!(scene.log(), [""; 0]);
    assert!(scene.marks("web").await.iter().all(Option::is_none));
}

#[tokio::test]
async fn a_snapshot_whose_first_command_fails_is_taken_and_marked_and_the_second_is_run() {
    let scene = Scene::new().await;
    scene.guest("db", &[]).await;
    scene.guest("web", &[]).await;
    scene.commands_exit(fails("pre db"));
    let report = scene.run().await;
    assert_eq!(report.class(), Some(Class::Failed));
    assert_eq!(
        failed(&report),
        [
            "db: the command before the snapshot failed: exit code 3: ?[2Jthe database is gone; the snapshot is \
             marked"
        ]
    );
    assert_eq!(scene.marks("db").await, [Some(PreOutcome::Failed)]);
    assert_eq!(scene.marks("web").await, [Some(PreOutcome::Done)]);
    assert!(scene.log().contains(&"post db after 1".to_owned()));
}

#[tokio::test]
async fn where_the_label_says_skip_there_is_no_snapshot_and_the_others_are_taken() {
    let scene = Scene::new().await;
    scene.guest("db", &[(PRE_FAILURE, "skip")]).await;
    scene.guest("web", &[]).await;
    scene.commands_exit(fails("pre db"));
    let report = scene.run().await;
    assert_eq!(report.class(), Some(Class::Failed));
    assert!(failed(&report)[0].ends_with("; no snapshot was taken"));
    assert_eq!(scene.points("db").await, []);
    assert_eq!(scene.marks("web").await, [Some(PreOutcome::Done)]);
    assert!(scene.log().contains(&"post db after 1".to_owned()));

    let report = scene.take(&["db", "web"], false).await;
    assert_eq!(report.class(), Some(Class::Failed));
    assert!(report.error.is_none() && report.is_effective());
    assert_eq!(scene.points("db").await, []);
    assert_eq!(scene.points("web").await.len(), 2);
    let report = scene.take(&["db"], false).await;
    assert!(matches!(report.error, Some(Error::Hook { .. })));
    assert_eq!((scene.points("db").await.len(), scene.owed()), (0, 0));
}

#[tokio::test]
async fn a_group_of_which_one_is_skipped_is_not_taken() {
    let scene = Scene::new().await;
    let group = (GROUP, "shop");
    scene.guest("db", &[group, (PRE_FAILURE, "skip")]).await;
    scene.guest("shop", &[group]).await;
    scene.guest("web", &[]).await;
    scene.commands_exit(fails("pre db"));
    let report = scene.run().await;
    assert_eq!(failed(&report).len(), 2, "{report:#?}");
    assert!(failed(&report)[0].contains("another one of group shop"));
    for (name, points) in [("db", 0), ("shop", 0), ("web", 1)] {
        assert_eq!(scene.points(name).await.len(), points, "{name}");
    }
    let mut log = scene.log();
    log.sort();
    let before = log.iter().filter(|line| line.starts_with("pre"));
    assert_eq!((before.count(), log.len()), (3, 6), "{log:?}");

    let report = scene.take(&["db", "shop"], true).await;
    assert!(matches!(report.error, Some(Error::Hook { .. })));
    assert_eq!(scene.points("shop").await.len(), 0);
    scene.commands_exit(Box::new(|_| Ok((0, String::new()))));
    let report = scene.take(&["db", "shop"], true).await;
    assert_eq!(report.class(), None, "{report:#?}");
    let moments = [scene.points("db").await, scene.points("shop").await];
    assert_eq!(moments[0][0].createtxg, moments[1][0].createtxg);
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_and_the_snapshot_marked() {
    let scene = Scene::new().await;
    scene.guest("web", &[(HOOK_TIMEOUT, "1s")]).await;
    let slow = Duration::from_millis(1200);
    scene
        .fake
        .lxd()
        .set_delay("POST", "/instances/web/exec", slow);
    scene.commands_exit(Box::new(|run| match run.starts_with("pre") {
        true => Ok((143, "Terminated".to_owned())),
        false => Ok((0, String::new())),
    }));
    let report = scene.run().await;
    let limit_seconds = 1;
    assert_eq!(
        report.hooks[0].outcome,
        HookOutcome::TimedOut { limit_seconds }
    );
    assert_eq!(scene.marks("web").await, [Some(PreOutcome::TimedOut)]);
    assert!(scene.log().contains(&"post web after 1".to_owned()));
}

#[tokio::test]
async fn a_command_whose_answer_is_lost_may_have_frozen_something() {
    let scene = Scene::new().await;
    scene.guest("web", &[]).await;
    scene
        .fake
        .lxd()
        .drop_reply_next("POST", "/instances/web/exec");
    let report = scene.run().await;
    assert_eq!(scene.marks("web").await, [Some(PreOutcome::Failed)]);
    assert_eq!(failed(&report).len(), 1, "{report:#?}");
    assert!(scene.log().contains(&"post web after 1".to_owned()));
    assert_eq!(scene.owed(), 0);
}

#[tokio::test]
async fn a_snapshot_whose_second_command_fails_stays_and_the_failure_is_told() {
    let scene = Scene::new().await;
    scene.guest("web", &[]).await;
    scene.commands_exit(fails("post web"));
    let report = scene.run().await;
    assert_eq!(report.class(), Some(Class::Failed));
    let told = failed(&report);
    assert!(
        told[0].contains("the command after the snapshot failed: exit code 3"),
        "{told:?}"
    );
    assert_eq!(scene.marks("web").await, [Some(PreOutcome::Done)]);
    let report = scene.take(&["web"], false).await;
    assert_eq!(report.class(), Some(Class::Failed));
    assert!(report.is_effective());
    assert_eq!((scene.points("web").await.len(), scene.owed()), (2, 0));
}

#[tokio::test]
async fn a_second_command_that_cannot_be_run_stays_owed_until_it_can() {
    let scene = Scene::new().await;
    scene.guest("web", &[]).await;
    scene.commands_exit(Box::new(|run| match run.starts_with("post") {
        true => Err("no more processes".to_owned()),
        false => Ok((0, String::new())),
    }));
    let report = scene.run().await;
    assert!(
        failed(&report)[0].contains("the next run tries again"),
        "{report:#?}"
    );
    let tries = scene
        .log()
        .iter()
        .filter(|line| line.starts_with("post"))
        .count();
    assert_eq!((tries, scene.owed()), (2, 1));
    scene.commands_exit(Box::new(|_| Ok((0, String::new()))));
    let report = scene.run().await;
    assert_eq!(report.class(), None, "{report:#?}");
    assert!(report.hooks[0].overdue);
    assert_eq!(scene.log(), ["post web after 1"], "and nothing else is due");
    assert_eq!(scene.owed(), 0);
}

/// Runs until `db`, whose first command takes long, is all that is waited for; then something else happens.
async fn run_until_web_is_frozen(scene: &Scene) {
    let long = Duration::from_millis(700);
    scene
        .fake
        .lxd()
        .set_delay("POST", "/instances/db/exec", long);
    while !scene
        .log
        .lock()
        .expect("no test panics here")
        .iter()
        .any(|line| line.starts_with("pre web"))
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_run_that_is_killed_in_between_is_made_good_by_the_next() {
    for on_demand in [false, true] {
        let scene = Scene::new().await;
        scene.guest("db", &[]).await;
        scene.guest("web", &[]).await;
        tokio::select! {
            report = scene.host.run(noon(), &Silent) => panic!("it is not killed: {report:?}"),
            () = run_until_web_is_frozen(&scene) => {}
        }
        assert_eq!(scene.points("web").await, []);
        assert_eq!(scene.owed(), 2);
        scene.log();
        match on_demand {
            true => assert_eq!(scene.take(&["web"], false).await.class(), None),
            false => assert_eq!(scene.run().await.class(), None),
        }
        let log = scene.log();
        let of_web: Vec<_> = log.iter().filter(|line| line.contains(" web ")).collect();
        assert_eq!(
            of_web,
            ["post web after 0", "pre web after 0", "post web after 1"],
            "{on_demand}"
        );
        assert_eq!(
            scene.owed(),
            usize::from(on_demand),
            "that of db is not asked for"
        );
    }
}

#[tokio::test]
async fn an_instance_that_stops_in_between_is_owed_nothing() {
    let scene = Scene::new().await;
    scene.guest("db", &[]).await;
    scene.guest("web", &[]).await;
    let stops = async {
        run_until_web_is_frozen(&scene).await;
        let force = Stop::ThenForce(Duration::from_secs(1));
        let client = scene.fake.client();
        client.stop(&id("web"), force).await.expect("it stops");
    };
    let (report, ()) = tokio::join!(scene.run(), stops);
    assert_eq!(report.class(), None, "{report:#?}");
    let last = report
        .hooks
        .iter()
        .find(|run| run.hook == Hook::Post && run.instance == id("web"));
    assert_eq!(last.map(|run| &run.outcome), Some(&HookOutcome::NotNeeded));
    assert_eq!((scene.points("web").await.len(), scene.owed()), (1, 0));
}

#[tokio::test]
async fn commands_of_two_snapshots_do_not_mix() {
    let scene = Scene::new().await;
    scene.guest("db", &[]).await;
    scene.guest("web", &[]).await;
    let another = async {
        run_until_web_is_frozen(&scene).await;
        scene.take(&["web"], false).await
    };
    let (report, other) = tokio::join!(scene.run(), another);
    assert_eq!(report.class(), None, "{report:#?}");
    assert!(
        matches!(&other.hooks[0].outcome, HookOutcome::NotRun { why } if why.contains("in use")),
        "{other:#?}"
    );
    let log = scene.log();
    assert_eq!(
        log.iter()
            .filter(|line| line.starts_with("pre web"))
            .count(),
        1
    );
    assert_eq!(scene.marks("web").await.len(), 2);
}

#[tokio::test]
async fn a_snapshot_that_fails_is_followed_by_the_second_command_all_the_same() {
    let scene = Scene::new().await;
    scene.guest("web", &[]).await;
    let name = "autosnap_2026-04-19_12:00:00_hourly";
    let name = scene.fake.dataset("web").snapshot(name);
    let name = name.expect("a legal name");
    let zfs = scene.fake.zfs().clone();
    scene.commands_exit(Box::new(move |run| {
        if run.starts_with("pre") {
            // Somebody else takes the name.
            let taken = zfs.snapshot(&[(name.clone(), UserProperties::new())]);
            taken.map_err(|error| error.to_string())?;
        }
        Ok((0, String::new()))
    }));
    let report = scene.run().await;
    assert_eq!(report.class(), Some(Class::Failed));
    assert!(report.taken.is_empty());
    let log = scene.log();
    assert!(
        log.iter().any(|line| line.starts_with("post web")),
        "{log:?}"
    );
    assert_eq!(scene.owed(), 0);
}

#[tokio::test]
async fn a_note_that_makes_no_sense_is_named_and_stops_nothing() {
    let scene = Scene::new().await;
    scene.guest("web", &[]).await;
    let folder = scene.folder.path().join("state/hooks");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("default.other.json"), "{").expect("written");
    let report = scene.run().await;
    assert_eq!(report.taken.len(), 1);
    assert!(
        failed(&report)[0].contains("default.other.json"),
        "{report:#?}"
    );
}
