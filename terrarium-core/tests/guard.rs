//! A guard over LXD's stub: what is checked, and that an instance comes back as it was, running if it ran.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, Zoned};
use lxd_client::{Client, ExecOutput};
use terrarium_core::fake::{FakeHost, FakeZfs};
use terrarium_core::policy::PRE;
use terrarium_core::{
    Checked, Class, Error, Folders, Guard, GuardError, Host, InstanceRef, InstanceState, Instances,
    Report, Silent, Stop,
};

fn web() -> InstanceRef {
    "web".parse().expect("a legal name")
}

fn noon() -> Zoned {
    "2026-04-19T12:00:00+00:00[UTC]".parse().expect("a time")
}

fn tomorrow() -> Timestamp {
    noon().timestamp() + SignedDuration::from_hours(24)
}

struct Scene {
    fake: FakeHost,
    host: Host<FakeZfs, Client>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new(running: bool) -> Self {
        let fake = FakeHost::start().await;
        let folder = tempfile::tempdir().expect("a place for the state");
        let folders = Folders {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
        };
        fake.zfs().set_time(noon().timestamp().as_second());
        fake.instance("web")
            .file("f", "before")
            .running(running)
            .create()
            .await;
        Self {
            host: Host::new(fake.zfs().clone(), fake.client(), &folders),
            fake,
            _folder: folder,
        }
    }

    async fn guard(&self) -> Result<Guard, GuardError> {
        self.host
            .guard(&web(), None, tomorrow(), noon(), &Silent)
            .await
    }

    async fn rewind(&self, guard: &Guard) -> Result<Option<Report>, GuardError> {
        let stop = Stop::Graceful(Duration::from_secs(5));
        self.host.rewind_to(guard, stop, noon(), &Silent).await
    }

    async fn state(&self) -> InstanceState {
        let record = self.fake.client().get(&web()).await;
        record.expect("LXD answers").expect("it is there").state
    }

    fn file(&self) -> String {
        self.fake.content("web")["f"].clone()
    }
}

#[tokio::test]
async fn an_instance_comes_back_as_it_was_and_runs_only_if_it_ran() {
    for running in [true, false] {
        let scene = Scene::new(running).await;
        let guard = scene.guard().await.expect("a guard");
        assert_eq!(guard.was_running, running);
        scene.fake.write("web", "f", "after");
        let report = scene.rewind(&guard).await.expect("it can be planned");
        assert!(report.expect("it was gone").is_complete());
        assert_eq!(scene.file(), "before");
        let expected = match running {
            true => InstanceState::Running,
            false => InstanceState::Stopped,
        };
        assert_eq!(scene.state().await, expected);
    }
}

#[tokio::test]
async fn a_check_says_how_it_ended() {
    let scene = Scene::new(true).await;
    let limit = Duration::from_secs(1);
    let check = async || scene.host.check(&web(), "true", limit).await;
    for (code, passes) in [(0, true), (9, false)] {
        scene.fake.lxd().answer_exec(move |words| {
            assert_eq!(words, ["sh", "-c", "true"]);
            Ok(ExecOutput {
                exit_code: code,
                ..ExecOutput::default()
            })
        });
        let checked = check().await.expect("LXD answers");
        match checked {
            Checked::Passed => assert!(passes),
            Checked::Failed(output) => assert_eq!((output.exit_code, passes), (9, false)),
            other => panic!("{other:?}"),
        }
    }
    let stop = Stop::Graceful(Duration::from_secs(1));
    scene
        .fake
        .client()
        .stop(&web(), stop)
        .await
        .expect("stopped");
    let checked = check().await.expect("LXD answers");
    assert!(matches!(checked, Checked::NotRun(_)), "{checked:?}");
}

#[tokio::test]
async fn nothing_is_known_of_a_check_without_lxd() {
    let scene = Scene::new(true).await;
    scene
        .fake
        .lxd()
        .fail_next("POST", "/exec", 503, "it shuts down");
    let checked = scene
        .host
        .check(&web(), "true", Duration::from_secs(1))
        .await;
    let error = checked.expect_err("it was not run");
    assert_eq!(error.class(), Class::Unavailable, "{error}");
}

#[tokio::test]
async fn a_rewind_that_fails_leaves_the_instance_as_it_is_and_can_be_tried_again() {
    let scene = Scene::new(true).await;
    let guard = scene.guard().await.expect("a guard");
    scene.fake.write("web", "f", "after");
    let busy = terrarium_zfs::Error::Busy(terrarium_zfs::Attempt::new("rename", "web"));
    scene.fake.zfs().fail_next("rename", busy);
    let report = scene.rewind(&guard).await.expect("it can be planned");
    let report = report.expect("nothing was recovered");
    assert!(!report.is_effective(), "{report:?}");
    assert_eq!(scene.file(), "after");
    assert_eq!(scene.state().await, InstanceState::Running);
    let again = scene.rewind(&guard).await.expect("it can be planned");
    assert!(again.expect("nothing was recovered").is_complete());
    assert_eq!(scene.file(), "before");
}

#[tokio::test]
async fn there_is_no_guard_if_the_instance_could_not_be_made_ready() {
    let scene = Scene::new(true).await;
    let client = scene.fake.client();
    let label = (PRE.to_owned(), Some("false".to_owned()));
    let label = [label].into_iter().collect();
    client.set_config(&web(), &label).await.expect("labelled");
    scene.fake.lxd().answer_exec(|_| {
        Ok(ExecOutput {
            exit_code: 1,
            ..ExecOutput::default()
        })
    });
    let guard = scene.guard().await;
    let Err(GuardError::NotTaken(report)) = guard else {
        panic!("{guard:?}");
    };
    assert_eq!(report.class(), Some(Class::Failed), "{report:?}");
}

#[tokio::test]
async fn there_is_no_guard_of_what_is_not_there_or_in_use() {
    let scene = Scene::new(true).await;
    let nobody = "nobody".parse().expect("a legal name");
    let guard = scene
        .host
        .guard(&nobody, None, tomorrow(), noon(), &Silent)
        .await;
    let Err(GuardError::Error(error)) = guard else {
        panic!("{guard:?}");
    };
    assert_eq!(error.class(), Class::Refused);

    let held = scene
        .host
        .begin(&[web()], "restore", noon(), &Silent)
        .await
        .expect("locked");
    let guard = scene.guard().await;
    assert!(
        matches!(guard, Err(GuardError::Error(Error::Locked { .. }))),
        "{guard:?}"
    );
    drop(held);
    scene.guard().await.expect("a guard");
}
