//! Restore points are edited, deleted and adopted: what may happen between the plan and its last step.

use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Zoned;
use lxd_client::Client;
use terrarium_core::fake::{FakeHost, FakeZfs};
use terrarium_core::plan::{Action, Setting, Step};
use terrarium_core::{
    Begun, Class, Destination, Error, Folders, Host, InstanceRef, Outcome, Plan, Progress, Report,
    RestorePoint, RestoreRequest, Session, Silent, Stop, Zfs, property,
};
use terrarium_zfs::{Attempt, DatasetName, SnapshotName, UserProperties};

const WEB: &str = "tank/containers/web";

fn web() -> InstanceRef {
    "web".parse().expect("a legal name")
}

fn now() -> Zoned {
    "2026-11-22T10:00:00+00:00[UTC]".parse().expect("a time")
}

struct Scene {
    fake: FakeHost,
    host: Host<FakeZfs, Client>,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// `web` with these points that were taken on demand, oldest first.
    async fn new(points: &[&str]) -> Self {
        let fake = FakeHost::start().await;
        let folder = tempfile::tempdir().expect("a place for the state");
        let folders = Folders {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
        };
        fake.instance("web").file("f", "before").create().await;
        let scene = Self {
            host: Host::new(fake.zfs().clone(), fake.client(), &folders),
            fake,
            _folder: folder,
        };
        for name in points {
            scene.take(name);
        }
        scene
    }

    fn zfs(&self) -> &FakeZfs {
        self.fake.zfs()
    }

    fn take(&self, name: &str) {
        let kind = (property::KIND.to_owned(), "on-demand".to_owned());
        let taken = self
            .zfs()
            .snapshot(&[(at(name), UserProperties::from([kind]))]);
        taken.expect("taken");
    }

    async fn begin(&self) -> Session<'_, FakeZfs, Client> {
        let begun = self.host.begin(&[web()], "test", now(), &Silent).await;
        match begun.expect("a session") {
            Begun::Ready(session) => session,
            Begun::Stuck(report) => panic!("nothing was cut off: {report:#?}"),
        }
    }

    async fn delete(&self, session: &Session<'_, FakeZfs, Client>, at: &[&str]) -> Plan {
        let at: Vec<String> = at.iter().map(ToString::to_string).collect();
        let planned = session.planner().plan_delete(&web(), &at, false).await;
        planned.expect("a plan")
    }

    /// All points of `web`, as they are now.
    async fn points(&self) -> Vec<RestorePoint> {
        let inventory = self.host.observe(&now()).await.expect("an inventory");
        let (_, covered) = inventory.covered(&web()).expect("it is covered");
        covered.points.clone()
    }

    async fn names(&self) -> Vec<String> {
        let points = self.points().await.into_iter();
        points.map(|point| point.name().to_owned()).collect()
    }

    async fn restore(&self, at: &str, to: Destination) {
        let session = self.begin().await;
        let request = RestoreRequest {
            at: Some(at.to_owned()),
            start: false,
            to,
        };
        let plan = session.planner().plan_restore(&web(), &request).await;
        let plan = plan.expect("a plan").expect("nothing was recovered");
        let report = session.execute(&plan, &Silent).await;
        assert!(report.is_complete(), "{report:#?}");
    }

    fn adopted(&self, dataset: &str) -> Option<String> {
        let name = DatasetName::new(dataset).expect("a legal name");
        let listing = self.zfs().list(&name).expect("a listing");
        let found = listing.datasets.iter().find(|found| found.name == name);
        found?.local.get(property::ADOPTED).cloned()
    }
}

fn at(name: &str) -> SnapshotName {
    SnapshotName::new(&format!("{WEB}@{name}")).expect("a legal name")
}

fn in_place() -> Destination {
    Destination::InPlace {
        stop: Stop::Graceful(std::time::Duration::from_secs(5)),
        destroy_newer: false,
    }
}

/// Does something before the first step.
struct Before<F>(AtomicBool, F);

impl<F: Fn() + Send + Sync> Before<F> {
    fn first_step(act: F) -> Self {
        Self(AtomicBool::new(false), act)
    }
}

impl<F: Fn() + Send + Sync> Progress for Before<F> {
    fn step_begins(&self, _: usize, _: &Plan, _: &Step) -> Result<(), Error> {
        if !self.0.swap(true, Ordering::Relaxed) {
            (self.1)();
        }
        Ok(())
    }
}

/// Dies before that step.
struct Dies(usize);

impl Progress for Dies {
    fn step_begins(&self, step: usize, _: &Plan, _: &Step) -> Result<(), Error> {
        if step == self.0 {
            return Err(Error::Fault { step });
        }
        Ok(())
    }
}

fn left(report: &Report) -> Vec<String> {
    let steps = report.steps.iter();
    let left = steps.filter_map(|step| match &step.outcome {
        Outcome::Partly { left } => Some(left),
        _ => None,
    });
    left.flatten().map(|left| left.object.clone()).collect()
}

#[tokio::test]
async fn a_point_that_has_got_another_of_its_name_meanwhile_is_not_deleted() {
    let scene = Scene::new(&["a", "b", "c"]).await;
    let session = scene.begin().await;
    let plan = scene.delete(&session, &["a", "b"]).await;
    let zfs = scene.zfs().clone();
    let replaced = Before::first_step(move || {
        zfs.destroy_snapshots(&[at("a")]).expect("destroyed");
        zfs.snapshot(&[(at("a"), UserProperties::new())])
            .expect("taken");
    });
    let report = session.execute(&plan, &replaced).await;
    assert_eq!(left(&report), [at("a").to_string()]);
    assert_eq!(report.destroyed(), 1);
    assert_eq!(report.class(), Some(Class::Failed));
    assert_eq!(scene.names().await, ["c", "a"]);
}

#[tokio::test]
async fn a_point_that_is_in_use_meanwhile_does_not_keep_the_others() {
    let scene = Scene::new(&["a", "b", "c", "d"]).await;
    let session = scene.begin().await;
    let plan = scene.delete(&session, &["a", "b", "c"]).await;
    let zfs = scene.zfs().clone();
    let held = Before::first_step(move || zfs.hold(at("b"), "sending"));
    let report = session.execute(&plan, &held).await;
    assert_eq!(left(&report), [at("b").to_string()]);
    assert_eq!(scene.names().await, ["b", "d"]);
    let text = report.error.as_ref().map(ToString::to_string);
    assert_eq!(
        text.as_deref(),
        Some("destroyed 2 of 3 snapshots: cannot destroy tank/containers/web@b: it is in use")
    );

    let plan = scene.delete(&session, &["d"]).await;
    let zfs = scene.zfs().clone();
    let held = Before::first_step(move || zfs.hold(at("d"), "sending"));
    let report = session.execute(&plan, &held).await;
    assert_eq!(report.class(), Some(Class::Refused), "nothing was changed");
}

#[tokio::test]
async fn many_points_go_in_several_transaction_groups_and_a_crash_between_leaves_whole_points() {
    let names: Vec<String> = (0..1201).map(|number| format!("p{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::new(&names).await;
    for (dies, left) in [(0, 1201), (1, 701), (2, 1)] {
        let scene = Scene::new(&names).await;
        let session = scene.begin().await;
        let plan = scene.delete(&session, &names[..1200]).await;
        assert_eq!(plan.steps.len(), 3);
        let report = session.execute(&plan, &Dies(dies)).await;
        assert!(matches!(report.error, Some(Error::Fault { .. })));
        assert_eq!(
            scene.names().await.len(),
            left.max(names.len() - dies * 500)
        );
        // What is left is deleted by doing it again.
        drop(session);
        let session = scene.begin().await;
        let plan = scene.delete(&session, &names[dies * 500..1200]).await;
        assert!(session.execute(&plan, &Silent).await.is_complete());
        assert_eq!(scene.names().await, [names[1200]]);
    }

    // One in the middle is in use, and the last call fails as a whole.
    let session = scene.begin().await;
    let plan = scene.delete(&session, &names[..1200]).await;
    scene.zfs().set_busy(at("p0700"), true);
    let report = session.execute(&plan, &Silent).await;
    assert_eq!((left(&report).len(), report.destroyed()), (1, 1199));
    assert_eq!(scene.names().await, [names[700], names[1200]]);
}

#[tokio::test]
async fn a_pool_that_fails_stops_the_deletion_and_the_report_says_how_far_it_came() {
    let scene = Scene::new(&["a", "b"]).await;
    let session = scene.begin().await;
    let plan = scene.delete(&session, &["a"]).await;
    let error = terrarium_zfs::Error::Suspended(Attempt::new("destroy", WEB));
    scene.zfs().fail_next("destroy_by_guid", error);
    let report = session.execute(&plan, &Silent).await;
    assert_eq!(report.class(), Some(Class::Unavailable));
    assert!(matches!(report.steps[0].outcome, Outcome::Failed { .. }));
    assert_eq!(scene.names().await, ["a", "b"]);
}

#[tokio::test]
async fn an_edit_is_done_whole_or_not_at_all_and_only_to_the_point_that_was_meant() {
    let scene = Scene::new(&["a", "b"]).await;
    let session = scene.begin().await;
    let alias = || Setting::Set("release".parse().expect("an alias"));
    let expires = || Setting::Set("2027-01-01T00:00:00Z".parse().expect("a time"));
    let planned = session.planner().plan_edit(&web(), "a", alias(), expires());
    let plan = planned.expect("a plan");
    let as_before = scene.points().await;

    let failure = || terrarium_zfs::Error::NoSpace(Attempt::new("set properties of", WEB));
    scene.zfs().fail_next("set_user_properties", failure());
    let report = session.execute(&plan, &Silent).await;
    assert_eq!(report.class(), Some(Class::Failed));
    assert_eq!(scene.points().await, as_before);
    let report = session.execute(&plan, &Dies(0)).await;
    assert!(matches!(report.error, Some(Error::Fault { .. })));
    assert_eq!(scene.points().await, as_before);

    let report = session.execute(&plan, &Silent).await;
    assert!(report.is_complete(), "{report:#?}");
    let points = scene.points().await;
    assert_eq!(points[0].alias.as_deref(), Some("release"));
    assert_eq!(
        points[0].expires.map(|at| at.to_string()).as_deref(),
        Some("2027-01-01T00:00:00Z")
    );
    assert_eq!(points[1], as_before[1]);

    let planned = session
        .planner()
        .plan_edit(&web(), "b", Setting::Keep, expires());
    let plan = planned.expect("a plan");
    scene
        .zfs()
        .destroy_snapshots(&[at("b")])
        .expect("destroyed");
    scene.take("b");
    let report = session.execute(&plan, &Silent).await;
    assert!(matches!(report.error, Some(Error::Changed { .. })));
    assert_eq!(scene.points().await[1].expires, None);
}

#[tokio::test]
async fn an_alias_is_unique_over_what_was_moved_aside_too_and_finds_a_point_there() {
    let scene = Scene::new(&["a", "b"]).await;
    scene.restore("a", in_place()).await;
    let session = scene.begin().await;
    let alias = || Setting::Set("release".parse().expect("an alias"));
    let planned = session
        .planner()
        .plan_edit(&web(), "b", alias(), Setting::Keep);
    let report = session.execute(&planned.expect("a plan"), &Silent).await;
    assert!(report.is_complete(), "{report:#?}");
    drop(session);

    let session = scene.begin().await;
    let taken = session
        .planner()
        .plan_edit(&web(), "a", alias(), Setting::Keep);
    assert!(matches!(taken, Err(Error::AliasTaken { .. })), "{taken:?}");
    let again = session
        .planner()
        .plan_edit(&web(), "b", alias(), Setting::Keep);
    assert_eq!(again.expect("a plan").steps, []);
    drop(session);
    scene.restore("release", in_place()).await;
    assert_eq!(scene.fake.content("web")["f"], "before");
}

#[tokio::test]
async fn an_expiry_that_is_past_is_refused_by_the_library_too() {
    let scene = Scene::new(&["a"]).await;
    let session = scene.begin().await;
    let past = Setting::Set(now().timestamp());
    let refused = session
        .planner()
        .plan_edit(&web(), "a", Setting::Keep, past);
    let error = refused.expect_err("it is over");
    assert!(matches!(error, Error::ExpiryPast { .. }));
    assert_eq!(error.class(), Class::Usage);
}

#[tokio::test]
async fn adoption_goes_where_the_history_of_an_instance_goes() {
    let scene = Scene::new(&["a", "b"]).await;
    let adopt = async |undo| {
        let session = scene.begin().await;
        let plan = session.planner().plan_adopt(&[web()], undo);
        let plan = plan.expect("a plan");
        let report = session.execute(&plan, &Silent).await;
        assert!(report.is_complete(), "{report:#?}");
        plan.steps.len()
    };
    assert_eq!(scene.adopted(WEB), None);
    assert_eq!(adopt(false).await, 1);
    assert_eq!(adopt(false).await, 0, "it is so already");
    assert_eq!(scene.adopted(WEB).as_deref(), Some("sanoid"));

    let as_new = Destination::AsNew {
        new: "copy".parse().expect("a legal name"),
        identity: Default::default(),
    };
    scene.restore("a", as_new).await;
    assert_eq!(
        scene.adopted("tank/containers/copy"),
        None,
        "a copy has a history of its own"
    );
    scene.restore("a", in_place()).await;
    assert_eq!(scene.adopted(WEB).as_deref(), Some("sanoid"));
    let session = scene.begin().await;
    let stop = Stop::Graceful(std::time::Duration::from_secs(5));
    let plan = session.planner().plan_undo(&web(), false, stop).await;
    let plan = plan.expect("a plan").expect("nothing was recovered");
    assert!(session.execute(&plan, &Silent).await.is_complete());
    drop(session);
    assert_eq!(scene.adopted(WEB).as_deref(), Some("sanoid"));
    assert_eq!(adopt(true).await, 1);
    assert_eq!(scene.adopted(WEB), None);
}

#[tokio::test]
async fn what_others_need_is_not_deleted_by_hand() {
    let scene = Scene::new(&["held", "cloned", "last"]).await;
    scene.zfs().hold(at("held"), "zrepl keeps it");
    let as_new = Destination::AsNew {
        new: "copy".parse().expect("a legal name"),
        identity: Default::default(),
    };
    scene.restore("cloned", as_new).await;
    let session = scene.begin().await;
    for (name, because) in [
        ("held", "it is held: zrepl keeps it"),
        ("cloned", "it has clones: tank/containers/copy"),
    ] {
        let at = [name.to_owned(), "last".to_owned()];
        let planned = session.planner().plan_delete(&web(), &at, true).await;
        let error = planned.expect_err("it is needed");
        assert_eq!(error.class(), Class::Refused);
        assert_eq!(
            error.to_string(),
            format!("cannot delete {WEB}@{name}: {because}")
        );
    }
    let plan = scene.delete(&session, &["last"]).await;
    assert!(matches!(plan.steps[0].action, Action::DestroyPoints { .. }));
    assert_eq!(
        plan.notices.len(),
        1,
        "it is the newest: {:?}",
        plan.notices
    );
}
