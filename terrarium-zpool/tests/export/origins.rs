//! Restores of what was exported as an increment to its image: the image is here, or it comes from the archive.

use std::sync::Arc;

use terrarium_core::plan::IdentityPolicy;
use terrarium_core::tree::{TreeListing, hash_snapshot};
use terrarium_core::{Begun, FetchError, FetchPlan, FetchRequest, Plan, Session};
use terrarium_s3::format::{Manifest, Place};
use terrarium_s3::{Faulty, MemoryStore};
use terrarium_zfs::{DatasetName, Guid, Listing, Properties, SnapshotName, UserProperties};
use terrarium_zpool::Engine;

use crate::rig::{Pool, Rig, dataset, host, named};
use crate::support::Scratch;
use crate::*;

/// A pool where nothing is yet, and its host.
struct Target {
    host: Pool,
    scratch: Scratch,
}

impl Target {
    fn new() -> Self {
        let scratch = Scratch::new();
        let created = scratch
            .engine
            .create(&named("tank/containers"), &Properties::new());
        created.expect("created");
        let host = host(&scratch.engine, scratch.folder());
        Self { host, scratch }
    }

    fn engine(&self) -> &Engine {
        &self.scratch.engine
    }

    /// An image, or an instance, that has nothing to do with those of the archive.
    fn other(&self, name: &str) {
        let name = named(name);
        for parent in [name.parent().expect("a parent"), name.clone()] {
            if self.engine().guid(parent.as_str()).expect("read").is_none() {
                let created = self.engine().create(&parent, &Properties::new());
                created.expect("created");
            }
        }
        let written = self
            .engine()
            .write_file(&name, "other", 0o644, b"something else");
        written.expect("written");
        take(self.engine(), &name.snapshot("readonly").expect("a name"));
    }
}

fn take(engine: &Engine, snapshot: &SnapshotName) {
    let taken = engine.snapshot(&[(snapshot.clone(), UserProperties::new())]);
    taken.expect("taken");
}

fn listing(engine: &Engine) -> Listing {
    engine.list(&named("tank"), &[]).expect("listed")
}

/// What a dataset was cloned from.
fn origin_of(engine: &Engine, name: &DatasetName) -> Option<String> {
    let listing = listing(engine);
    let found = listing.datasets.iter().find(|one| one.name == *name);
    found
        .expect("it is there")
        .origin
        .as_ref()
        .map(ToString::to_string)
}

/// The datasets in `origins`.
fn origins(engine: &Engine) -> Vec<String> {
    let listing = listing(engine);
    let names = listing.datasets.iter().map(|one| one.name.as_str());
    let names = names.filter_map(|name| name.strip_prefix("tank/terrarium/origins/"));
    names.map(str::to_owned).collect()
}

fn digest(engine: &Engine, snapshot: &str) -> TreeListing {
    let tree = hash_snapshot(engine, snapshot).expect("read");
    assert!(tree.damaged.is_empty());
    tree.listing
}

/// The content of an instance as it is now.
fn now(engine: &Engine, instance: &str) -> TreeListing {
    let snapshot = dataset(instance).snapshot("now").expect("a name");
    take(engine, &snapshot);
    let digest = digest(engine, snapshot.as_str());
    engine.destroy_snapshots(&[snapshot]).expect("destroyed");
    digest
}

/// Instances of one image of a pool, exported.
struct Archived {
    rig: Rig,
    image: SnapshotName,
    of_image: Guid,
}

/// One point of one.
#[derive(Clone)]
struct Wanted {
    id: InstanceRef,
    chain: Vec<Manifest>,
    digest: TreeListing,
}

impl Archived {
    async fn new() -> Self {
        let mut rig = Rig::new().await;
        rig.policy.image_aware = true;
        let image = rig.image("0af1", 200_000);
        let of_image = rig.engine.guid(image.as_str()).expect("read");
        Self {
            rig,
            image,
            of_image: of_image.expect("it is here"),
        }
    }

    /// Makes an instance with two points, and exports both.
    async fn instance(&self, name: &str) -> [Wanted; 2] {
        let id = self.rig.clone_of(&self.image, name);
        let one = self.rig.snapshot(name, "one", 30_000);
        let one = self.export(&id, &one).await;
        let two = self.rig.snapshot(name, "two", 30_000);
        [one, self.export(&id, &two).await]
    }

    async fn export(&self, id: &InstanceRef, snapshot: &SnapshotName) -> Wanted {
        let exported = self.rig.export(id).await.expect("exported");
        let archive = &self.rig.archive;
        let catalog = archive.catalog().await.expect("listed");
        let chain = archive.chain(&catalog, lineage(&exported), exported.guid);
        let chain = chain.await.expect("whole").into_iter();
        Wanted {
            id: id.clone(),
            chain: chain.map(|point| point.manifest).collect(),
            digest: digest(&self.rig.engine, snapshot.as_str()),
        }
    }

    fn request(&self, wanted: &Wanted) -> FetchRequest<Faulty<MemoryStore>> {
        FetchRequest {
            store: Arc::clone(self.rig.archive.store()),
            layout: self.rig.archive.layout().clone(),
            chain: wanted.chain.clone(),
            identities: Arc::clone(&self.rig.identities),
            options: self.rig.options.clone(),
        }
    }

    /// Restores it in place, or makes it anew.
    async fn restore(&self, host: &Pool, wanted: &Wanted) -> Result<(), FetchError> {
        let mut session = begin(host, &wanted.id).await;
        // Without one the session has just finished what was cut off.
        if let Some(plan) = self.plan(&mut session, wanted).await? {
            let report = session.execute(&plan, &Silent).await;
            assert!(report.is_complete(), "{report:?}");
        }
        Ok(())
    }

    async fn plan(
        &self,
        session: &mut Session<'_, Engine, PoolFile>,
        wanted: &Wanted,
    ) -> Result<Option<Plan>, FetchError> {
        let id = &wanted.id;
        let request = self.request(wanted);
        let known = session.planner().inventory().instance(id).is_some();
        let fetch = session
            .planner()
            .plan_fetch(id, id, &request.chain, None)
            .await?;
        if let Some(fetch) = fetch {
            let sealed = session.fetch(&fetch, &request).await?;
            session.refresh().await?;
            if !known {
                let policy = IdentityPolicy::default();
                let planner = session.planner();
                let plan = planner.plan_recreate(&fetch, &sealed, id, &policy, false);
                return Ok(Some(plan.await?));
            }
        }
        let guid = wanted.chain.last().expect("a point").guid;
        let at = rewind_to(&guid.to_string());
        Ok(session.planner().plan_restore(id, &at).await?)
    }

    async fn restored(&self, target: &Target, wanted: &Wanted) {
        let done = self.restore(&target.host, wanted).await;
        done.unwrap_or_else(|error| panic!("{}", terrarium_core::with_causes(&error)));
        let name = wanted.id.name.to_string();
        assert_eq!(now(target.engine(), &name), wanted.digest);
    }

    /// Where the received image stands.
    fn received(&self) -> String {
        format!("tank/terrarium/origins/{}@readonly", self.of_image)
    }

    /// Takes all parts of one manifest away.
    fn vanish(&self, manifest: &Manifest) {
        for part in &manifest.parts {
            let key = self.rig.archive.layout().key(&Place::Part(part.key));
            assert!(self.rig.store.inner().vanish(&key.expect("a key")));
        }
    }
}

fn rewind_to(at: &str) -> RestoreRequest {
    RestoreRequest {
        at: Some(at.to_owned()),
        start: false,
        to: Destination::InPlace {
            stop: Stop::Graceful(Duration::from_secs(1)),
            destroy_newer: false,
        },
    }
}

async fn begin<'a>(host: &'a Pool, id: &InstanceRef) -> Session<'a, Engine, PoolFile> {
    let ids = std::slice::from_ref(id);
    match host
        .begin(ids, "restore", jiff::Zoned::now(), &Silent)
        .await
    {
        Ok(Begun::Ready(session)) => session,
        other => panic!("{other:?}"),
    }
}

async fn undo(host: &Pool, id: &InstanceRef) {
    let session = begin(host, id).await;
    let stop = Stop::Graceful(Duration::from_secs(1));
    let plan = session.planner().plan_undo(id, false, stop).await;
    let plan = plan.expect("a plan").expect("something to undo");
    assert!(session.execute(&plan, &Silent).await.is_complete());
}

async fn planned(host: &Pool, wanted: &Wanted) -> Option<FetchPlan> {
    let planner = host.look(jiff::Zoned::now()).await.expect("observed");
    let plan = planner.plan_fetch(&wanted.id, &wanted.id, &wanted.chain, None);
    plan.await.expect("a plan")
}

#[tokio::test]
async fn after_a_total_loss_the_image_comes_once_and_all_instances_are_clones_of_it() {
    let archived = Archived::new().await;
    let [a, b] = [archived.instance("a").await, archived.instance("b").await];
    let target = Target::new();
    let plan = planned(&target.host, &a[1]).await.expect("all of it");
    assert_eq!((plan.origins.len(), plan.streams.len()), (1, 2));
    assert_eq!(plan.origins[0].snapshot.to_string(), archived.received());
    assert_eq!(plan.onto, None);
    archived.restored(&target, &a[1]).await;
    // The image is here now, and is not read once more.
    archived.vanish(&a[1].chain[0]);
    archived.restored(&target, &b[1]).await;
    for (wanted, name) in [(&a, "a"), (&b, "b")] {
        let origin = origin_of(target.engine(), &dataset(name));
        assert_eq!(origin.as_ref(), Some(&archived.received()));
        for (point, snapshot) in wanted.iter().zip(["one", "two"]) {
            let snapshot = dataset(name).snapshot(snapshot).expect("a name");
            assert_eq!(digest(target.engine(), snapshot.as_str()), point.digest);
        }
    }
    let inventory = target.host.observe(&jiff::Zoned::now()).await;
    let inventory = inventory.expect("observed");
    assert_eq!(inventory.orphans, []);
    assert!(inventory.pending.is_empty());
    assert_eq!(inventory.instances.len(), 2, "the image is none");
}

#[tokio::test]
async fn an_image_that_is_here_is_cloned_and_not_read() {
    let archived = Archived::new().await;
    let a = archived.instance("a").await;
    let engine = &archived.rig.engine;
    for snapshot in ["one", "two"] {
        let snapshot = dataset("a").snapshot(snapshot).expect("a name");
        engine.destroy_snapshots(&[snapshot]).expect("destroyed");
    }
    engine.destroy(&dataset("a")).expect("destroyed");
    archived.vanish(&a[1].chain[0]);
    let plan = planned(&archived.rig.host, &a[1]).await.expect("a plan");
    assert_eq!(
        (plan.onto, plan.origins.len()),
        (Some(archived.image.clone()), 0)
    );
    let done = archived.restore(&archived.rig.host, &a[1]).await;
    done.expect("restored");
    assert_eq!(now(engine, "a"), a[1].digest);
    let origin = origin_of(engine, &dataset("a"));
    assert_eq!(origin, Some(archived.image.to_string()));
    assert_eq!(origins(engine), [""; 0]);

    // The next export starts where the archive ends.
    let three = archived.rig.snapshot("a", "three", 10_000);
    let next = archived.rig.export(&a[0].id).await.expect("exported");
    assert_eq!(shown(&next), "three since @two, 4");
    assert!(three.name() == "three");
}

/// Every host that imports an image makes its own snapshot of it.
#[tokio::test]
async fn where_lxd_has_the_image_under_another_guid_the_archives_is_received_beside_it() {
    let archived = Archived::new().await;
    let a = archived.instance("a").await;
    let target = Target::new();
    target.other("tank/images/0af1");
    archived.restored(&target, &a[1]).await;
    let engine = target.engine();
    assert_eq!(origin_of(engine, &dataset("a")), Some(archived.received()));
    assert_eq!(
        digest(engine, &archived.received()),
        digest(&archived.rig.engine, archived.image.as_str())
    );
    let of_lxd = digest(engine, "tank/images/0af1@readonly");
    assert_ne!(of_lxd, digest(engine, &archived.received()));
}

/// The image is outside of the instance's family: no promotion reaches it, whatever is restored.
#[tokio::test]
async fn what_was_restored_can_be_rewound_and_that_undone_and_the_image_stays_where_it_is() {
    let archived = Archived::new().await;
    let a = archived.instance("a").await;
    let target = Target::new();
    target.other("tank/containers/a");
    let before = now(target.engine(), "a");
    archived.restored(&target, &a[1]).await;
    let origin = || origin_of(target.engine(), &dataset("a"));
    assert_eq!(origin(), Some(archived.received()));

    archived.restored(&target, &a[0]).await;
    assert_eq!(origin(), Some(archived.received()));
    undo(&target.host, &a[0].id).await;
    assert_eq!(now(target.engine(), "a"), a[1].digest);
    assert_eq!(origin(), Some(archived.received()));
    // Back to what was there before, which has nothing to do with the image.
    {
        let session = begin(&target.host, &a[0].id).await;
        let plan = session
            .planner()
            .plan_restore(&a[0].id, &rewind_to("readonly"))
            .await;
        let plan = plan.expect("a plan").expect("something to do");
        assert!(session.execute(&plan, &Silent).await.is_complete());
    }
    assert_eq!(now(target.engine(), "a"), before);
    assert_eq!(origin(), None);
    assert_eq!(
        origins(target.engine()).len(),
        1,
        "what moved aside needs it"
    );
    // What is aside is a point like any other.
    archived.restored(&target, &a[1]).await;
    assert_eq!(origin(), Some(archived.received()));
    let inventory = target.host.observe(&jiff::Zoned::now()).await;
    assert_eq!(inventory.expect("observed").orphans, []);
}

/// Destroys an instance as LXD does.
fn destroy(engine: &Engine, name: &str) {
    let snapshots = listing(engine).snapshots;
    let of_it = |snapshot: &SnapshotName| snapshot.dataset_str() == dataset(name).as_str();
    let snapshots = snapshots.into_iter().map(|one| one.name).filter(of_it);
    engine
        .destroy_snapshots(&snapshots.collect::<Vec<_>>())
        .expect("destroyed");
    engine.destroy(&dataset(name)).expect("destroyed");
}

async fn take_a_snapshot(host: &Pool, id: &InstanceRef) {
    let session = begin(host, id).await;
    let plan = session
        .planner()
        .plan_snapshot(std::slice::from_ref(id), None, None);
    let report = session.execute(&plan.expect("a plan"), &Silent).await;
    assert!(report.is_complete(), "{report:?}");
}

#[tokio::test]
async fn a_received_image_goes_with_its_last_clone_and_not_before() {
    let archived = Archived::new().await;
    let [a, b] = [archived.instance("a").await, archived.instance("b").await];
    let target = Target::new();
    target.other("tank/containers/other");
    let other: InstanceRef = "other".parse().expect("a name");
    archived.restored(&target, &a[1]).await;
    archived.restored(&target, &b[1]).await;
    let engine = target.engine();
    destroy(engine, "a");
    take_a_snapshot(&target.host, &other).await;
    assert_eq!(origins(engine), [archived.of_image.to_string()]);

    destroy(engine, "b");
    let received = SnapshotName::new(&archived.received()).expect("a name");
    let held = [(received, "mine".to_owned())];
    engine.hold(&held).expect("held");
    take_a_snapshot(&target.host, &other).await;
    assert_eq!(origins(engine).len(), 1, "somebody holds it");
    engine.release(&held).expect("released");
    // Something else that stands there is not ours to take away.
    target.other("tank/terrarium/origins/17");
    take_a_snapshot(&target.host, &other).await;
    assert_eq!(origins(engine), ["17"]);

    // A removal that was cut off: the snapshot is gone, the dataset is not.
    let empty = format!("tank/terrarium/origins/{}", archived.of_image);
    engine
        .create(&named(&empty), &Properties::new())
        .expect("created");
    archived.restored(&target, &a[1]).await;
    assert_eq!(origin_of(engine, &dataset("a")), Some(archived.received()));
    destroy(engine, "a");
    engine
        .destroy_snapshots(&[SnapshotName::new(&archived.received()).expect("a name")])
        .expect("destroyed");
    take_a_snapshot(&target.host, &other).await;
    assert_eq!(origins(engine), ["17"]);
}

#[tokio::test]
async fn two_restores_at_once_share_one_image() {
    let archived = Archived::new().await;
    let [a, b] = [archived.instance("a").await, archived.instance("b").await];
    let target = Target::new();
    let engine = target.engine();
    let (mut first, mut second) = (
        begin(&target.host, &a[1].id).await,
        begin(&target.host, &b[1].id).await,
    );
    let (one, two) = tokio::join!(
        archived.plan(&mut first, &a[1]),
        archived.plan(&mut second, &b[1])
    );
    for (session, plan) in [(first, one), (second, two)] {
        let plan = plan.expect("fetched").expect("something to do");
        let report = session.execute(&plan, &Silent).await;
        assert!(report.is_complete(), "{report:?}");
    }
    assert_eq!(
        (now(engine, "a"), now(engine, "b")),
        (a[1].digest.clone(), b[1].digest.clone())
    );
    assert_eq!(origins(engine), [archived.of_image.to_string()]);
    for name in ["a", "b"] {
        assert_eq!(origin_of(engine, &dataset(name)), Some(archived.received()));
    }
}

/// Whatever object of the chain is missing, cut or changed: what is here stays, and the next try goes on.
#[tokio::test]
async fn whatever_is_wrong_with_the_image_what_is_here_stays() {
    let archived = Archived::new().await;
    let a = archived.instance("a").await;
    let store = archived.rig.store.inner();
    for link in &a[1].chain {
        let part = link.parts.last().expect("a part");
        let key = archived.rig.archive.layout().key(&Place::Part(part.key));
        let key = key.expect("a key");
        let whole = store.get(&key).expect("stored");
        for damage in ["missing", "cut", "flipped"] {
            let target = Target::new();
            target.other("tank/containers/a");
            let before = now(target.engine(), "a");
            match damage {
                "missing" => assert!(store.vanish(&key)),
                "cut" => assert!(store.tamper(&key, |bytes| {
                    bytes.pop();
                })),
                _ => assert!(store.tamper(&key, |bytes| {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                })),
            }
            let error = archived.restore(&target.host, &a[1]).await;
            let text = terrarium_core::with_causes(&error.expect_err(damage));
            assert!(text.contains(key.as_str()), "{damage}: {text}");
            assert_eq!(now(target.engine(), "a"), before, "{damage}");
            let is_whole = link.guid != archived.of_image;
            assert_eq!(origins(target.engine()).len(), usize::from(is_whole));
            store.overwrite(&key, whole.clone());
            archived.restored(&target, &a[1]).await;
            assert_eq!(
                origin_of(target.engine(), &dataset("a")),
                Some(archived.received())
            );
        }
    }
}

/// The read of every part in turn ends the fetch, and the whole host with it.
#[tokio::test]
async fn a_fetch_that_dies_at_any_read_is_continued() {
    let mut archived = Archived::new().await;
    archived.rig.options.attempts = 1;
    let a = archived.instance("a").await;
    let mut died = 0;
    loop {
        let target = Target::new();
        let fault = Fault::dropped(Call::Read).nth(died + 1).always();
        archived.rig.store.inject(fault.matching("/streams/"));
        let cut = archived.restore(&target.host, &a[1]).await;
        archived.rig.store.heal();
        if cut.is_ok() {
            break;
        }
        died += 1;
        let inventory = target.host.observe(&jiff::Zoned::now()).await;
        assert_eq!(inventory.expect("observed").instances.len(), 0);
        // The image came whole, and the host died before it had its place.
        let engine = target.engine();
        if origins(engine) == [archived.of_image.to_string()] {
            let received = format!("tank/terrarium/origins/{}", archived.of_image);
            let staged = format!("tank/terrarium/staging/origin-{}", archived.of_image);
            if died % 2 == 0
                && !listing(engine)
                    .datasets
                    .iter()
                    .any(|one| one.origin.is_some())
            {
                engine
                    .rename(&named(&received), &named(&staged))
                    .expect("renamed");
            }
        }
        archived.restored(&target, &a[1]).await;
        assert_eq!(origins(engine).len(), 1);
    }
    let parts: usize = a[1].chain.iter().map(|link| link.parts.len()).sum();
    assert!(died >= 5 && died >= parts / 2, "{died} of {parts}");
}

/// Stops before a step, as a crash would.
struct StopBefore(usize);

impl terrarium_core::Progress for StopBefore {
    fn step_begins(
        &self,
        step: usize,
        _: &Plan,
        _: &terrarium_core::plan::Step,
    ) -> Result<(), Error> {
        if step == self.0 {
            return Err(Error::Fault { step });
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_restore_in_place_and_one_anew_survive_a_crash_before_any_step() {
    let archived = Archived::new().await;
    let a = archived.instance("a").await;
    for in_place in [true, false] {
        let mut step = 0;
        loop {
            let target = Target::new();
            if in_place {
                target.other("tank/containers/a");
            }
            let ended = {
                let mut session = begin(&target.host, &a[1].id).await;
                let plan = archived.plan(&mut session, &a[1]).await.expect("fetched");
                let plan = plan.expect("something to do");
                session
                    .execute(&plan, &StopBefore(step))
                    .await
                    .is_complete()
            };
            archived.restored(&target, &a[1]).await;
            let origin = origin_of(target.engine(), &dataset("a"));
            assert_eq!(origin, Some(archived.received()), "step {step}");
            let inventory = target.host.observe(&jiff::Zoned::now()).await;
            let inventory = inventory.expect("observed");
            assert!(inventory.pending.is_empty(), "step {step}");
            if ended {
                break;
            }
            step += 1;
        }
        assert!(step > 4, "{step} steps");
    }
}

/// The copy was exported as an increment to a point of an instance that is itself an increment to its image.
#[tokio::test]
async fn a_copy_comes_back_with_all_that_it_was_cloned_from() {
    let archived = Archived::new().await;
    archived.instance("a").await;
    let two = dataset("a").snapshot("two").expect("a name");
    let copy = archived.rig.clone_of(&two, "copy");
    let copied = archived.rig.snapshot("copy", "copied", 10_000);
    let copy = archived.export(&copy, &copied).await;
    assert_eq!(
        copy.chain.len(),
        4,
        "the image, two points of a, and its own"
    );
    let target = Target::new();
    let plan = planned(&target.host, &copy).await.expect("a plan");
    let streams = plan.origins.iter().map(|origin| origin.streams.len());
    assert_eq!(streams.collect::<Vec<_>>(), [1, 2]);
    archived.restored(&target, &copy).await;
    let of_copy = format!("tank/terrarium/origins/{}@two", copy.chain[2].guid);
    let engine = target.engine();
    assert_eq!(origin_of(engine, &dataset("copy")), Some(of_copy.clone()));
    let below = of_copy.strip_suffix("@two").map(named).expect("a name");
    assert_eq!(origin_of(engine, &below), Some(archived.received()));
    // Both go.
    target.other("tank/containers/other");
    let other: InstanceRef = "other".parse().expect("a name");
    destroy(engine, "copy");
    take_a_snapshot(&target.host, &other).await;
    assert_eq!(origins(engine), [""; 0]);
}
