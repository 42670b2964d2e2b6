//! A host in memory: a ZFS, an LXD on a real socket that works on it, and what there is to see on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Zoned;
use lxd_client::Client;
use terrarium_core::fake::{FakeHost, FakeZfs};
use terrarium_core::plan::IdentityPolicy;
use terrarium_core::{
    Begun, Destination, DestroyRequest, Error, Folders, Host, InstanceRef, InstanceState,
    Instances, Plan, Progress, Report, RestoreRequest, Session, Silent, Stop, Zfs,
};
use terrarium_zfs::{Attempt, DatasetName};

pub(crate) type OpenSession<'a> = Session<'a, FakeZfs, Client>;

/// A host with the instance `web`, and the time machine on it.
pub(crate) struct Scene {
    pub(crate) fake: FakeHost,
    pub(crate) host: Host<FakeZfs, Client>,
    minutes: AtomicUsize,
    _folder: tempfile::TempDir,
}

pub(crate) fn web() -> InstanceRef {
    "web".parse().expect("a legal name")
}

impl Scene {
    /// `web`, running or not, with the file `f`.
    pub(crate) async fn new(running: bool) -> Self {
        let fake = FakeHost::start().await;
        let folder = tempfile::tempdir().expect("a place for the state");
        let folders = Folders {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
        };
        fake.instance("web")
            .file("f", "before")
            .running(running)
            .create()
            .await;
        Self {
            host: Host::new(fake.zfs().clone(), fake.client(), &folders),
            fake,
            minutes: AtomicUsize::new(0),
            _folder: folder,
        }
    }

    /// The clock, which goes on a minute with each look at it.
    pub(crate) fn now(&self) -> Zoned {
        let minute = self.minutes.fetch_add(1, Ordering::Relaxed);
        format!("2026-11-22T10:{minute:02}:00+00:00[UTC]")
            .parse()
            .expect("a time")
    }

    pub(crate) fn write(&self, content: &str) {
        self.fake.write("web", "f", content);
    }

    /// A snapshot by hand, as sanoid or a person would take it.
    pub(crate) fn foreign(&self, name: &str) {
        self.fake.snapshot("web", name);
    }

    pub(crate) async fn set_config(&self, key: &str, value: &str) {
        let change = BTreeMap::from([(key.to_owned(), Some(value.to_owned()))]);
        let changed = Instances::set_config(&self.fake.client(), &web(), &change).await;
        changed.expect("LXD takes it");
    }

    pub(crate) async fn lxd_snapshot(&self, name: &str) {
        self.fake.lxd_snapshot("web", name).await;
    }

    /// The host goes down: nothing runs afterwards.
    pub(crate) async fn reboot(&self) {
        for name in ["web", "web-2"] {
            let id: InstanceRef = name.parse().expect("a legal name");
            let client = self.fake.client();
            let found = Instances::get(&client, &id).await.expect("LXD answers");
            if found.is_some_and(|found| found.state != InstanceState::Stopped) {
                let stopped = Instances::stop(&client, &id, STOP).await;
                stopped.expect("it stops");
            }
        }
    }

    pub(crate) async fn start(&self, id: &InstanceRef) {
        let started = Instances::start(&self.fake.client(), id).await;
        started.expect("it starts");
    }

    /// Starts what there is, a destroyed instance too: no files have ids that they should not have.
    pub(crate) async fn owners_are_right(&self, when: &str) {
        let destroyed = self.fake.lxd().instance("default", "web").is_none();
        if destroyed {
            let resumed = self.run(&What::Resume { start: false }).await;
            assert!(resumed.is_complete(), "{when}: {resumed:#?}");
        }
        self.reboot().await;
        for name in ["web", "web-2"] {
            if let Some(instance) = self.fake.lxd().instance("default", name) {
                let mark = instance.config.get("user.terrarium.operation");
                assert_eq!(mark, None, "{when}");
                self.start(&name.parse().expect("a legal name")).await;
            }
        }
        for start in self.fake.starts() {
            assert!(start.ids_right, "{when}: wrong ids: {start:?}");
        }
    }

    /// Begins a session on `web`, recovering what was cut off.
    pub(crate) async fn begin(&self) -> OpenSession<'_> {
        match self
            .host
            .begin(&[web()], "test", self.now(), &Silent)
            .await
            .expect("a session")
        {
            Begun::Ready(session) => session,
            Begun::Stuck(report) => panic!("the recovery failed: {report:#?}"),
        }
    }

    /// Carries out what is asked for, without faults.
    pub(crate) async fn run(&self, what: &What) -> Report {
        let session = self.begin().await;
        let plan = what.plan(&session).await.expect("a plan");
        let plan = plan.expect("nothing was recovered");
        session.execute(&plan, &Silent).await
    }

    /// Everything that people could see, as lines: equal texts mean equal hosts. Times in names are replaced by their order.
    pub(crate) fn picture(&self) -> String {
        let mut lines = Vec::new();
        let zfs = self.fake.zfs();
        let root = DatasetName::new("tank").expect("a legal name");
        let listing = zfs.list(&root).expect("a listing");
        let content = |object: &str| {
            let files = ["f", "rootfs/f"].map(|path| zfs.read(object, path));
            let content = files.into_iter().flatten().next().unwrap_or_default();
            String::from_utf8_lossy(&content).into_owned()
        };
        for dataset in &listing.datasets {
            let name = dataset.name.as_str();
            if matches!(
                name,
                "tank/terrarium"
                    | "tank/terrarium/aside"
                    | "tank/terrarium/staging"
                    | "tank/terrarium/graveyard"
            ) {
                continue;
            }
            let origin = dataset
                .origin
                .as_ref()
                .map(|origin| format!(" from {origin}"))
                .unwrap_or_default();
            let local: Vec<_> = dataset.local.keys().map(String::as_str).collect();
            lines.push(format!(
                "{name}{origin} {:?} {}",
                content(name),
                local.join(",")
            ));
        }
        for snapshot in &listing.snapshots {
            let properties = &snapshot.user_properties;
            let alias = properties
                .get("terrarium:alias")
                .cloned()
                .unwrap_or_default();
            let safety = if properties.contains_key("terrarium:operation") {
                " safety"
            } else {
                ""
            };
            let content = content(snapshot.name.as_str());
            lines.push(format!("{} {content:?}{safety} {alias}", snapshot.name));
        }
        for name in ["web", "web-2"] {
            let Some(instance) = self.fake.lxd().instance("default", name) else {
                continue;
            };
            let value = |key: &str| instance.config.get(key).cloned().unwrap_or_default();
            lines.push(format!(
                "{name} is {}, map {}, note {:?}, mark {:?}",
                instance.status,
                value("volatile.last_state.idmap"),
                value("user.note"),
                value("user.terrarium.operation")
            ));
            for record in instance.snapshots.iter().flatten() {
                let note = record.config.get("user.note").cloned().unwrap_or_default();
                lines.push(format!("{name}/{} note {note:?}", record.name));
            }
        }
        for start in self.fake.starts() {
            assert!(start.ids_right, "files have wrong ids: {start:?}");
        }
        without_times(&lines.join("\n"))
    }
}

/// Operations and safety snapshots are named after their time, which differs from run to run: each time is
/// replaced by its number in order.
fn without_times(text: &str) -> String {
    const DAY: &str = "20261122-";
    const TIME: usize = DAY.len() + 6;
    let times: BTreeSet<&str> = text
        .match_indices(DAY)
        .map(|(at, _)| &text[at..at + TIME])
        .collect();
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(DAY) {
        let (time, after) = rest[at..].split_at(TIME);
        let number = times.iter().position(|other| *other == time);
        result.push_str(&rest[..at]);
        result.push_str(&format!("t{}", number.expect("it was collected")));
        // An operation has four hexadecimal digits behind its time.
        let salt = |salt: &str| {
            salt.starts_with('-') && salt[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        rest = match after.get(..5) {
            Some(head) if salt(head) => &after[5..],
            _ => after,
        };
    }
    result.push_str(rest);
    let mut lines: Vec<_> = result.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Restore { at: &'static str, start: bool },
    DestroyNewer { at: &'static str, start: bool },
    Undo { start: bool },
    AsNew { at: &'static str, start: bool },
    Copy { at: &'static str, start: bool },
    Destroy,
    Resume { start: bool },
}

pub(crate) const STOP: Stop = Stop::Graceful(std::time::Duration::from_secs(5));

impl What {
    pub(crate) async fn plan(&self, session: &OpenSession<'_>) -> Result<Option<Plan>, Error> {
        let planner = session.planner();
        let in_place = |destroy_newer| Destination::InPlace {
            stop: STOP,
            destroy_newer,
        };
        let (at, start, to) = match *self {
            What::Destroy => {
                let request = DestroyRequest {
                    stop: STOP,
                    ..DestroyRequest::default()
                };
                return planner.plan_destroy(&web(), &request).await;
            }
            What::Resume { start } => return planner.plan_resume(&web(), None, start).await,
            What::Undo { start } => return planner.plan_undo(&web(), start, STOP).await,
            What::Restore { at, start } => (at, start, in_place(false)),
            What::DestroyNewer { at, start } => (at, start, in_place(true)),
            What::AsNew { at, start } => {
                let new = "web-2".parse().expect("a legal name");
                let identity = Default::default();
                (at, start, Destination::AsNew { new, identity })
            }
            What::Copy { at, start } => {
                let new = "web-2".parse().expect("a legal name");
                let identity = IdentityPolicy {
                    independent: true,
                    ..IdentityPolicy::default()
                };
                (at, start, Destination::AsNew { new, identity })
            }
        };
        let at = Some(at.to_owned());
        planner
            .plan_restore(&web(), &RestoreRequest { at, start, to })
            .await
    }
}

/// Stops everything before the `n`th step of all plans together: as a crash, or as a step that fails.
pub(crate) struct Stopping {
    left: AtomicUsize,
    crash: bool,
}

impl Stopping {
    pub(crate) fn crash_before(step: usize) -> Self {
        Self {
            left: AtomicUsize::new(step),
            crash: true,
        }
    }

    pub(crate) fn fail_at(step: usize) -> Self {
        Self {
            left: AtomicUsize::new(step),
            crash: false,
        }
    }
}

impl Progress for Stopping {
    fn step_begins(
        &self,
        index: usize,
        _: &Plan,
        _: &terrarium_core::plan::Step,
    ) -> Result<(), Error> {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.wrapping_sub(1), Ordering::Relaxed);
        match left {
            0 if self.crash => Err(Error::Fault { step: index }),
            0 => Err(Error::Zfs(terrarium_zfs::Error::NoSpace(Attempt::new(
                "carry out",
                "a step",
            )))),
            _ => Ok(()),
        }
    }
}
