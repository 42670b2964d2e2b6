//! OpenZFS is killed before every step of every operation on instances of a pool file. When the pool is opened again,
//! the next session leaves each instance as it was before the operation, or as the operation leaves it.

mod support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Zoned;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{SIZE, options};
use terrarium_core::plan::{IdentityPolicy, Step};
use terrarium_core::{
    Begun, Destination, DestroyRequest, Error, Folders, Host, InstanceRef, Instances, Outcome,
    Plan, PoolFile, Progress, Report, RestoreRequest, Session, Silent, StepReport, Stop, Zfs,
};
use terrarium_zfs::{DatasetName, Properties, UserProperties};
use terrarium_zpool::Engine;

/// What is done to an instance.
#[derive(Clone, Copy)]
enum What {
    Restore(&'static str),
    DestroyNewer(&'static str),
    Undo,
    AsNew(&'static str),
    Copy(&'static str),
    Destroy,
    Resume,
}

#[tokio::test]
async fn a_restore_in_place_past_one_of_lxds_snapshots() {
    cut_off(&[], What::Restore("first")).await;
}

/// Which is a restore in place to a point that was moved aside.
#[tokio::test]
async fn an_undo() {
    cut_off(&[What::Restore("first")], What::Undo).await;
}

#[tokio::test]
async fn a_restore_as_new() {
    cut_off(&[], What::AsNew("last")).await;
}

#[tokio::test]
async fn a_copy_in_full() {
    cut_off(&[], What::Copy("last")).await;
}

/// Later each time, until the copy is there before it is killed.
#[tokio::test]
async fn a_copy_in_full_in_its_middle() {
    let mut scene = Scene::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let bytes: Vec<u8> = (0..16 << 20).map(|_| next()).collect();
    let instance = scene.instance(&[]).await;
    let dataset = dataset(instance.name.as_str());
    let written = scene.engine.write_file(&dataset, "large", 0o644, &bytes);
    written.expect("written");
    let point = dataset.snapshot("large").expect("a legal name");
    let taken = scene.engine.snapshot(&[(point, UserProperties::new())]);
    taken.expect("taken");
    let start = scene.picture(&instance).await;
    let (mut in_its_middle, mut delay) = (0, Duration::from_millis(1));
    loop {
        let killing = KillingLater {
            engine: scene.engine.process_id(),
            delay,
        };
        let cut = scene.run(&instance, What::Copy("large"), &killing).await;
        let failed = |step: &&StepReport| matches!(step.outcome, Outcome::Failed { .. });
        let failed = cut.steps.iter().find(failed);
        if failed.is_none_or(|step| step.step.action.name() != "copy") {
            // What comes after it is cut off by the other tests.
            break;
        }
        scene.reopen();
        drop(scene.begin(&instance).await);
        assert_eq!(scene.picture(&instance).await, start, "after {delay:?}");
        in_its_middle += 1;
        delay *= 2;
    }
    assert!(in_its_middle > 1, "it was never killed while it was copied");
}

/// Nothing is begun that would fill the pool.
#[tokio::test]
async fn a_copy_in_full_is_refused_without_room() {
    let mut scene = Scene::new();
    let instance = scene.instance(&[]).await;
    let dataset = dataset(instance.name.as_str());
    // A quarter of the pool, and more than half of what fits into it.
    for number in 0..4 {
        let words = (number << 20)..((number + 1) << 20);
        let noise: Vec<u8> = words
            .flat_map(|word: u64| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        let name = format!("large{number}");
        let written = scene.engine.write_file(&dataset, &name, 0o644, &noise);
        written.expect("written");
    }
    let point = dataset.snapshot("large").expect("a legal name");
    let taken = scene.engine.snapshot(&[(point, UserProperties::new())]);
    taken.expect("taken");
    let session = scene.begin(&instance).await;
    let refused = plan(&session, &instance, What::Copy("large")).await;
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("not enough room"), "{refused}");
    let shared = plan(&session, &instance, What::AsNew("large")).await;
    assert!(shared.expect("a plan").is_some(), "a clone needs none");
}

#[tokio::test]
async fn a_rollback() {
    cut_off(&[], What::DestroyNewer("first")).await;
}

#[tokio::test]
async fn a_destroy_after_a_restore() {
    cut_off(&[What::Restore("first")], What::Destroy).await;
}

#[tokio::test]
async fn a_resume() {
    cut_off(&[What::Destroy], What::Resume).await;
}

/// Does `before` and then `what` to one instance after the other, OpenZFS killed before one step more each time, until
/// it is not killed any more.
async fn cut_off(before: &[What], what: What) {
    let mut scene = Scene::new();
    let whole = scene.instance(before).await;
    let start = scene.picture(&whole).await;
    let report = scene.run(&whole, what, &Silent).await;
    assert!(report.is_complete(), "{report:#?}");
    let end = scene.picture(&whole).await;
    assert_ne!(start, end);

    let (mut taken_back, mut finished) = (0, 0);
    for step in 0..report.steps.len() {
        let instance = scene.instance(before).await;
        assert_eq!(scene.picture(&instance).await, start);
        let killing = Killing {
            engine: scene.engine.process_id(),
            left: AtomicUsize::new(step),
        };
        let cut = scene.run(&instance, what, &killing).await;
        assert!(!cut.is_complete(), "before step {step}: {cut:#?}");
        scene.reopen();
        // An instance is there even while its dataset is not.
        let listed = scene.host.observe(&scene.now()).await.expect("observed");
        assert!(
            matches!(what, What::Destroy | What::Resume) || listed.covered(&instance).is_ok(),
            "before step {step}"
        );
        drop(scene.begin(&instance).await);
        let after = scene.picture(&instance).await;
        if after == start {
            taken_back += 1;
        } else {
            let action = &cut.steps[step].step.action;
            assert_eq!(after, end, "killed before step {step}, {action}");
            finished += 1;
        }
    }
    assert!(
        taken_back > 0 && finished > 0,
        "{taken_back} taken back, {finished} finished"
    );
}

/// A pool file with instances in it, and the time machine on them.
struct Scene {
    host: Host<Engine, PoolFile>,
    engine: Engine,
    file: PathBuf,
    folders: Folders,
    instances: usize,
    minutes: AtomicUsize,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pool");
        let engine = options().create(&file, "tank", SIZE).expect("created");
        let containers = DatasetName::new("tank/containers").expect("a legal name");
        let created = engine.create(&containers, &Properties::new());
        created.expect("created");
        let folders = Folders {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
        };
        Self {
            host: host(&engine, &folders),
            engine,
            file,
            folders,
            instances: 0,
            minutes: AtomicUsize::new(0),
            _folder: folder,
        }
    }

    /// Opens the pool again after its process was killed.
    fn reopen(&mut self) {
        self.engine = options().open(&self.file).expect("opened");
        self.host = host(&self.engine, &self.folders);
    }

    /// Another instance, with points of ours and one that it was received with.
    async fn instance(&mut self, before: &[What]) -> InstanceRef {
        self.instances += 1;
        let name = format!("i{:03}", self.instances);
        let id: InstanceRef = name.parse().expect("a legal name");
        let dataset = dataset(&name);
        let created = self.engine.create(&dataset, &Properties::new());
        created.expect("created");
        for point in ["first", "snapshot-x", "last"] {
            self.write(&dataset, point);
            let snapshot = dataset.snapshot(point).expect("a legal name");
            let taken = self.engine.snapshot(&[(snapshot, UserProperties::new())]);
            taken.expect("taken");
        }
        self.write(&dataset, "head");
        let config = [("user.note", "kept"), ("user.proxy", "its own")];
        let config = config.map(|(key, value)| (key.to_owned(), Some(value.to_owned())));
        let instances = PoolFile::new(self.engine.clone()).expect("a short name");
        let set = instances.set_config(&id, &config.into()).await;
        set.expect("set");
        for what in before {
            let report = self.run(&id, *what, &Silent).await;
            assert!(report.is_complete(), "{report:#?}");
        }
        id
    }

    fn write(&self, dataset: &DatasetName, content: &str) {
        let written = self
            .engine
            .write_file(dataset, "f", 0o644, content.as_bytes());
        written.expect("written");
    }

    /// The clock, which goes on a minute with each look at it.
    fn now(&self) -> Zoned {
        let minute = self.minutes.fetch_add(1, Ordering::Relaxed);
        let time = format!("2026-11-22T{:02}:{:02}:00Z[UTC]", minute / 60, minute % 60);
        time.parse().expect("a time")
    }

    async fn begin(&self, id: &InstanceRef) -> Session<'_, Engine, PoolFile> {
        let ids = [id.clone(), new(id)];
        let begun = self.host.begin(&ids, "test", self.now(), &Silent).await;
        match begun.expect("a session") {
            Begun::Ready(session) => session,
            Begun::Stuck(report) => panic!("the recovery failed: {report:#?}"),
        }
    }

    async fn run(&self, id: &InstanceRef, what: What, progress: &dyn Progress) -> Report {
        let session = self.begin(id).await;
        let plan = plan(&session, id, what).await;
        let plan = plan.expect("a plan").expect("nothing was cut off");
        session.execute(&plan, progress).await
    }

    /// All that there is of an instance, the same for all instances.
    async fn picture(&self, id: &InstanceRef) -> String {
        let name = id.name.as_str();
        let of_it = |dataset: &str| dataset.split(['/', '@']).any(|part| part.starts_with(name));
        let listing = Zfs::list(
            &self.engine,
            &DatasetName::new("tank").expect("a legal name"),
        );
        let listing = listing.expect("listed");
        let content = |object: &str| {
            let read = self.engine.read_file(object, "f", 100).expect("read");
            String::from_utf8(read.unwrap_or_default()).expect("text")
        };
        let mut lines = Vec::new();
        for dataset in &listing.datasets {
            let whole = dataset.name.as_str();
            if whole.contains("/staging/") {
                lines.push("something staged".to_owned());
            }
            if of_it(whole) {
                let origin = dataset.origin.as_ref().map(ToString::to_string);
                let local: Vec<_> = dataset.local.keys().cloned().collect();
                let content = content(whole);
                lines.push(format!("{whole} from {origin:?}: {content} {local:?}"));
            }
        }
        for snapshot in &listing.snapshots {
            let whole = snapshot.name.as_str();
            if of_it(whole) {
                let ours: Vec<_> = snapshot.user_properties.keys().cloned().collect();
                let used = ours.iter().filter(|key| *key != "terrarium:last-used");
                lines.push(format!(
                    "{whole}: {} {:?}",
                    content(whole),
                    used.collect::<Vec<_>>()
                ));
            }
        }
        let instances = PoolFile::new(self.engine.clone()).expect("a short name");
        for id in [id.clone(), new(id)] {
            let mut record = instances.get(&id).await.expect("read");
            for snapshot in record.iter_mut().flat_map(|record| &mut record.snapshots) {
                snapshot.created = None;
            }
            // Each instance has a uuid of its own.
            let uuid = record
                .as_ref()
                .and_then(|record| record.definition.config.get("volatile.uuid"));
            let line = format!("{record:?}");
            lines.push(match uuid {
                Some(uuid) => line.replace(uuid.as_str(), "UUID"),
                None => line,
            });
        }
        without_times(&lines.join("\n").replace(name, "INSTANCE"))
    }
}

fn host(engine: &Engine, folders: &Folders) -> Host<Engine, PoolFile> {
    let instances = PoolFile::new(engine.clone()).expect("a short name");
    Host::new(engine.clone(), instances, folders)
}

fn dataset(name: &str) -> DatasetName {
    DatasetName::new(&format!("tank/containers/{name}")).expect("a legal name")
}

fn new(id: &InstanceRef) -> InstanceRef {
    format!("{}-new", id.name).parse().expect("a legal name")
}

async fn plan(
    session: &Session<'_, Engine, PoolFile>,
    id: &InstanceRef,
    what: What,
) -> Result<Option<Plan>, Error> {
    let stop = Stop::Graceful(Duration::from_secs(1));
    let in_place = |destroy_newer| Destination::InPlace {
        stop,
        destroy_newer,
    };
    let (at, to) = match what {
        What::Destroy => {
            let request = DestroyRequest {
                stop,
                // They are as young as the test.
                min_age: jiff::SignedDuration::ZERO,
                ..DestroyRequest::default()
            };
            return session.planner().plan_destroy(id, &request).await;
        }
        What::Resume => return session.planner().plan_resume(id, None, true).await,
        What::Undo => return session.planner().plan_undo(id, false, stop).await,
        What::Restore(at) => (at, in_place(false)),
        What::DestroyNewer(at) => (at, in_place(true)),
        What::AsNew(at) | What::Copy(at) => {
            let identity = IdentityPolicy {
                independent: matches!(what, What::Copy(_)),
                ..IdentityPolicy::default()
            };
            let new = new(id);
            (at, Destination::AsNew { new, identity })
        }
    };
    let request = RestoreRequest {
        at: Some(at.to_owned()),
        start: false,
        to,
    };
    session.planner().plan_restore(id, &request).await
}

/// Kills OpenZFS before a step.
struct Killing {
    engine: u32,
    left: AtomicUsize,
}

impl Progress for Killing {
    fn step_begins(&self, _: usize, _: &Plan, _: &Step) -> Result<(), Error> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0 {
            let id = i32::try_from(self.engine).expect("a process id");
            kill(Pid::from_raw(id), Signal::SIGKILL).expect("it runs");
        }
        Ok(())
    }
}

/// Kills OpenZFS some time after a copy has begun.
struct KillingLater {
    engine: u32,
    delay: Duration,
}

impl Progress for KillingLater {
    fn step_begins(&self, _: usize, _: &Plan, step: &Step) -> Result<(), Error> {
        if step.action.name() == "copy" {
            let (id, delay) = (self.engine, self.delay);
            std::thread::spawn(move || {
                std::thread::sleep(delay);
                let id = i32::try_from(id).expect("a process id");
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            });
        }
        Ok(())
    }
}

/// What is named after its time gets the time's number in order.
fn without_times(text: &str) -> String {
    const DAY: &str = "20261122-";
    let mut times: Vec<&str> = text
        .match_indices(DAY)
        .map(|(at, _)| &text[at..at + 15])
        .collect();
    times.sort_unstable();
    times.dedup();
    let mut result = text.to_owned();
    for (number, time) in times.iter().enumerate() {
        while let Some(at) = result.find(time) {
            // An operation has four hexadecimal digits behind its time.
            let rest = &result[at + time.len()..];
            let salt = rest.strip_prefix('-').and_then(|rest| rest.get(..4));
            let salted = salt.is_some_and(|salt| salt.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let end = at + time.len() + if salted { 5 } else { 0 };
            result.replace_range(at..end, &format!("t{number}"));
        }
    }
    let mut lines: Vec<_> = result.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}
