//! Boot drills: an archived point comes back as a throw-away instance of an LXD, here the stub on OpenZFS in a process,
//! is started and asked, and is gone again whatever happens.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use lxd_client::stub::{Stub, StubStorage};
use lxd_client::{Client, ExecOutput, Instance, Profile, StoragePool};
use terrarium_core::{
    BootReport, BootRequest, BootVerdict, Error, FetchError, Halt, Instances, LockDir,
};

use super::*;

/// LXD's storage pool, on the engine's.
struct Storage {
    engine: Engine,
    lxd: OnceLock<Weak<Stub>>,
    /// What was started, as LXD had it at that moment.
    started: Mutex<Vec<Instance>>,
}

impl Storage {
    fn dataset(&self, project: &str, instance: &str) -> DatasetName {
        assert_eq!(project, "default");
        dataset(&format!("tank/containers/{instance}"))
    }
}

impl StubStorage for Storage {
    fn create_volume(&self, project: &str, instance: &str) -> Result<(), String> {
        let made = self
            .engine
            .create(&self.dataset(project, instance), &Properties::new());
        made.map_err(|error| error.to_string())
    }

    fn delete_volume(&self, project: &str, instance: &str) -> Result<(), String> {
        let name = self.dataset(project, instance);
        let Ok(listing) = self.engine.list(&name, &[]) else {
            return Ok(());
        };
        let snapshots: Vec<_> = listing.snapshots.into_iter().map(|one| one.name).collect();
        let destroyed = self.engine.destroy_snapshots(&snapshots);
        destroyed.map_err(|error| error.to_string())?;
        self.engine
            .destroy(&name)
            .map_err(|error| error.to_string())
    }

    fn rename_volume(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        Err("no test asks for it".to_owned())
    }

    fn create_snapshot(&self, project: &str, instance: &str, snapshot: &str) -> Result<(), String> {
        let name = self.dataset(project, instance);
        let name = name.snapshot(&format!("snapshot-{snapshot}"));
        let wanted = [(name.expect("a legal name"), UserProperties::new())];
        let taken = self.engine.snapshot(&wanted);
        taken.map_err(|error| error.to_string())
    }

    fn delete_snapshot(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn start(&self, project: &str, instance: &str) -> Result<(), String> {
        let listing = self.engine.list(&self.dataset(project, instance), &[]);
        let listing = listing.map_err(|error| error.to_string())?;
        if listing.snapshots.is_empty() {
            return Err("there is no init in it".to_owned());
        }
        let lxd = self.lxd.get().and_then(Weak::upgrade).expect("it is there");
        let found = lxd.instance(project, instance).expect("it is there");
        self.started.lock().expect("no panic").push(found);
        Ok(())
    }

    fn stop(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
}

fn text(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// A host on which `web` runs, of which an archive has the points `one` and `two`.
struct Scene {
    target: Scratch,
    storage: Arc<Storage>,
    lxd: Arc<Stub>,
    host: Host<Engine, Client>,
    archive: Archive,
    /// What stands on it before any drill.
    before: Vec<String>,
}

impl Scene {
    async fn new() -> Self {
        let source = Scratch::new();
        make_web(&source.engine, &["one", "two"]);
        let archive = Archive::of(&source.engine, &["one", "two"]).await;
        let target = Scratch::new();
        make_web(&target.engine, &["other"]);
        let storage = Arc::new(Storage {
            engine: target.engine.clone(),
            lxd: OnceLock::new(),
            started: Mutex::default(),
        });
        let lxd = Arc::new(Stub::start(storage.clone()).await);
        let known = storage.lxd.set(Arc::downgrade(&lxd));
        known.expect("a storage belongs to one LXD");
        let mut pool = StoragePool::default();
        pool.name = "default".to_owned();
        pool.driver = "zfs".to_owned();
        pool.config = text(&[("zfs.pool_name", "tank")]);
        lxd.add_pool(pool);
        let mut profile = Profile::default();
        profile.name = "default".to_owned();
        let root = text(&[("type", "disk"), ("path", "/"), ("pool", "default")]);
        let network = text(&[("type", "nic"), ("network", "lxdbr0")]);
        profile.devices = [("root", root), ("eth0", network)]
            .map(|(name, device)| (name.to_owned(), device))
            .into();
        lxd.add_profile("default", profile);
        let mut running = Instance::default();
        running.name = "web".to_owned();
        running.profiles = vec!["default".to_owned()];
        lxd.add_instance("default", running, true);
        let folder = |name: &str| target.folder().join(name);
        let folders = Folders {
            state: folder("state"),
            run: folder("run"),
        };
        let client = Client::connect_to(lxd.socket()).await.expect("it listens");
        let mut scene = Self {
            host: Host::new(target.engine.clone(), client, &folders),
            storage,
            lxd,
            archive,
            before: Vec::new(),
            target,
        };
        // The parents of what is received stay, as after a restore.
        scene.drill(None).await;
        scene.before = standing(&scene.target.engine);
        scene.storage.started.lock().expect("no panic").clear();
        scene
    }

    fn request(check: Option<&str>) -> BootRequest {
        BootRequest {
            instance: web(),
            check: check.map(str::to_owned),
            limit: Duration::from_secs(20),
        }
    }

    async fn drill(&self, check: Option<&str>) -> BootReport {
        self.drill_until(&Self::request(check), &Halt::default())
            .await
    }

    async fn drill_until(&self, request: &BootRequest, halt: &Halt) -> BootReport {
        let from = self.archive.request(2);
        let drilled = self.host.drill_boot(&from, request, Zoned::now(), halt);
        drilled.await.expect("drilled")
    }

    /// Neither in LXD nor in the pool anything is there that was not before, and `web` is as it was.
    async fn nothing_is_left(&self) {
        assert_eq!(standing(&self.target.engine), self.before);
        let all = Instances::list(&self.client().await).await.expect("listed");
        let names: Vec<_> = all.iter().map(|one| one.id.to_string()).collect();
        assert_eq!(names, ["web"]);
        assert_eq!(all[0].state, terrarium_core::InstanceState::Running);
        let live = self
            .target
            .engine
            .list(&dataset("tank/containers/web"), &[]);
        let local = &live.expect("listed").datasets[0].local;
        assert!(!local.contains_key(property::LINEAGE), "{local:?}");
    }

    /// Only one that was killed leaves such a file, which says that nobody has it.
    fn no_lock_is_left(&self) {
        let locks = self.target.folder().join("run/locks");
        let left: Vec<_> = std::fs::read_dir(locks)
            .expect("a folder")
            .flatten()
            .filter(|file| file.file_name().to_string_lossy().contains("drill"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    async fn client(&self) -> Client {
        Client::connect_to(self.lxd.socket())
            .await
            .expect("it listens")
    }

    fn answers(&self, exit_code: i32, stderr: &'static str) {
        self.lxd.answer_exec(move |command| {
            assert_eq!(command, ["sh", "-c", "test -f x"]);
            Ok(ExecOutput {
                exit_code,
                stderr: stderr.into(),
                ..ExecOutput::default()
            })
        });
    }
}

const CHECK: Option<&str> = Some("test -f x");

#[test]
fn a_point_boots_without_network_and_labels_passes_its_check_and_is_gone() {
    run(async {
        let scene = Scene::new().await;
        scene.answers(0, "");
        let asked = scene.lxd.requests().len();
        let report = scene.drill(CHECK).await;
        assert!(matches!(report.verdict, BootVerdict::Booted), "{report:?}");
        assert!(report.running_in.is_some() && report.checked_in.is_some());
        assert_eq!((report.left, report.streams), (None, 2));
        let started = scene.storage.started.lock().expect("no panic").clone();
        let [booted] = &started[..] else {
            panic!("{started:?}");
        };
        assert_eq!(booted.name, report.instance.name.as_str());
        assert!(booted.profiles.is_empty(), "{booted:?}");
        let devices: Vec<_> = booted.expanded_devices.keys().collect();
        assert_eq!(devices, ["root"]);
        let labels = booted.expanded_config.keys();
        let labels: Vec<_> = labels.filter(|key| key.starts_with("user.")).collect();
        assert_eq!(labels, [property::LXD_DRILL]);
        let config = &booted.expanded_config;
        assert_eq!(config["boot.autostart"], "false");
        assert_eq!(
            config["limits.cpu"], "2",
            "that of a profile which is nowhere else"
        );
        assert!(!config.contains_key("volatile.eth0.hwaddr"));
        for request in &scene.lxd.requests()[asked..] {
            let of_web = request.contains("/instances/web");
            assert!(request.starts_with("GET") || !of_web, "{request}");
        }
        scene.nothing_is_left().await;
        scene.no_lock_is_left();
    });
}

#[test]
fn whatever_goes_wrong_with_the_guest_is_the_verdict_and_nothing_is_left() {
    run(async {
        let scene = Scene::new().await;
        scene
            .lxd
            .fail_operation_next("PUT", "/state", "no init in it");
        let report = scene.drill(CHECK).await;
        match &report.verdict {
            BootVerdict::NotStarted(why) => assert!(why.contains("no init in it"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!((report.running_in, report.left), (None, None));
        scene.nothing_is_left().await;

        scene.answers(7, "x is missing\n");
        let report = scene.drill(CHECK).await;
        match &report.verdict {
            BootVerdict::CheckFailed(output) => {
                assert_eq!(
                    (output.exit_code, &output.stderr[..]),
                    (7, &b"x is missing\n"[..])
                );
            }
            other => panic!("{other:?}"),
        }
        assert!(report.running_in.is_some());
        scene.nothing_is_left().await;

        scene.lxd.answer_exec(|_| Err("there is no sh".to_owned()));
        let report = scene.drill(CHECK).await;
        match &report.verdict {
            BootVerdict::CheckNotRun(why) => assert!(why.contains("there is no sh"), "{why}"),
            other => panic!("{other:?}"),
        }
        scene.nothing_is_left().await;

        let slow = Duration::from_secs(30);
        scene.lxd.set_delay("POST", "/exec", slow);
        let short = BootRequest {
            limit: Duration::from_secs(1),
            ..Scene::request(CHECK)
        };
        let report = scene.drill_until(&short, &Halt::default()).await;
        assert!(
            matches!(report.verdict, BootVerdict::CheckTimedOut),
            "{report:?}"
        );
        scene.nothing_is_left().await;
        scene.no_lock_is_left();
    });
}

#[test]
fn a_damaged_part_is_named_and_nothing_is_left() {
    run(async {
        let scene = Scene::new().await;
        let part = scene.archive.part(1, 0);
        let store = &scene.archive.store;
        terrarium_s3::Store::delete(&**store, &part)
            .await
            .expect("deleted");
        let report = scene.drill(CHECK).await;
        assert!(report.verdict.not_of_the_point().is_none(), "{report:?}");
        match &report.verdict {
            BootVerdict::Failed(error @ FetchError::Read { .. }) => {
                assert!(error.to_string().contains("two"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        scene.nothing_is_left().await;
        scene.no_lock_is_left();
    });
}

#[test]
fn an_interrupted_drill_removes_what_it_has_made_before_it_ends() {
    run(async {
        let scene = Scene::new().await;
        scene
            .lxd
            .set_delay("POST", "/exec", Duration::from_secs(30));
        let mut booted = 0;
        for wait in [0, 50, 150, 300, 600, 1200, 2500] {
            let halt = Halt::default();
            let raising = async {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                halt.raise();
            };
            let request = Scene::request(CHECK);
            let drilling = scene.drill_until(&request, &halt);
            let (report, ()) = tokio::join!(drilling, raising);
            match &report.verdict {
                BootVerdict::Failed(FetchError::Host(Error::Interrupted)) => {}
                other => panic!("{other:?}"),
            }
            assert!(report.verdict.not_of_the_point().is_some());
            booted += usize::from(report.running_in.is_some());
            scene.nothing_is_left().await;
        }
        assert!(booted > 0, "one of them was in the middle of its check");
        scene.no_lock_is_left();
    });
}

#[test]
fn what_a_killed_drill_leaves_the_next_one_removes() {
    run(async {
        let scene = Scene::new().await;
        scene.answers(0, "");
        let (mut left, mut instances) = (0, 0);
        for requests in (1..).step_by(2) {
            let already = scene.lxd.requests().len();
            let request = Scene::request(CHECK);
            let halt = Halt::default();
            let drilling = scene.drill_until(&request, &halt);
            let killed = async {
                while scene.lxd.requests().len() < already + requests {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            let ended = tokio::select! {
                biased;
                () = killed => false,
                _ = drilling => true,
            };
            // Calls that block go on for a moment, and so does what LXD was asked for.
            tokio::time::sleep(Duration::from_millis(300)).await;
            if ended {
                break;
            }
            let inventory = scene.host.observe(&Zoned::now()).await.expect("observed");
            let seen: Vec<_> = inventory.instances.iter().collect();
            assert_eq!(seen.len(), 1, "a throw-away is none of them: {seen:?}");
            assert_eq!(inventory.orphans, []);
            instances += inventory.drills.len();
            let something = standing(&scene.target.engine) != scene.before;
            left += usize::from(something);
            let next = scene.drill(CHECK).await;
            assert!(matches!(next.verdict, BootVerdict::Booted), "{next:?}");
            assert_eq!(next.stuck, Vec::<String>::new());
            assert_eq!(next.removed.len(), usize::from(something), "{next:?}");
            for drilled in &inventory.drills {
                assert!(next.removed.contains(&drilled.id), "{next:?}");
            }
            scene.nothing_is_left().await;
        }
        println!("{left} left something in the pool, {instances} an instance");
        assert!(left > 3 && instances > 3, "{left} {instances}");
        scene.nothing_is_left().await;
    });
}

#[test]
fn nothing_is_removed_that_is_not_provably_a_drills() {
    run(async {
        let scene = Scene::new().await;
        let engine = &scene.target.engine;
        let client = scene.client().await;
        let add = async |name: &str, config: &[(&str, &str)]| {
            let definition = Definition {
                config: text(config),
                profiles: vec!["default".to_owned()],
                ..Definition::default()
            };
            let id: InstanceRef = name.parse().expect("a legal name");
            let made = Instances::create_empty(&client, &id, &definition).await;
            made.expect("created");
            id
        };
        // By its name one, and a copy of one; one whose files are somebody's; and one that is being drilled.
        add("terrarium-drill-00000001", &[]).await;
        add("copy", &[(property::LXD_DRILL, "drill-00000002")]).await;
        let kept = add(
            "terrarium-drill-00000003",
            &[(property::LXD_DRILL, "drill-00000003")],
        );
        let kept = kept.await;
        let taken = Instances::create_snapshot(&client, &kept, "mine", None).await;
        taken.expect("taken");
        let drilled = add(
            "terrarium-drill-00000004",
            &[(property::LXD_DRILL, "drill-00000004")],
        );
        let drilled = drilled.await;
        let locks = LockDir::new(scene.target.folder().join("run/locks"));
        let lock = locks.instance(&drilled, "drill", Timestamp::now());
        let lock = lock.expect("nobody has it");
        // Datasets whose mark is of another place.
        let elsewhere = dataset("tank/terrarium/staging/drill-00000005");
        engine
            .create(&elsewhere, &Properties::new())
            .expect("created");
        let stray = dataset("tank/containers/stray");
        let mut mark = Properties::new();
        let set = mark.set(property::DRILL, "terrarium-drill-00000006");
        set.expect("a legal value");
        engine.create(&stray, &mark).expect("created");

        let before = standing(engine);
        let seen = async || {
            let all = Instances::list(&client).await.expect("listed");
            all.into_iter()
                .map(|one| one.id.to_string())
                .collect::<Vec<_>>()
        };
        let instances = seen().await;
        let report = scene.drill(None).await;
        assert!(matches!(report.verdict, BootVerdict::Booted), "{report:?}");
        assert_eq!(report.removed, []);
        let [stuck] = &report.stuck[..] else {
            panic!("{report:?}");
        };
        assert!(stuck.starts_with("terrarium-drill-00000003: "), "{stuck}");
        assert_eq!((standing(engine), seen().await), (before, instances));

        // When its drill is over, it goes.
        drop(lock);
        let report = scene.drill(None).await;
        assert_eq!(report.removed, [drilled]);
    });
}
