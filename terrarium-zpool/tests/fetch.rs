//! A restore from an archive, on OpenZFS in a process: what was archived comes back beside what is there, and is
//! swapped in; whatever goes wrong before that leaves everything as it was.

#[path = "fetch/boot.rs"]
mod boot;
mod support;

use std::future::Future;
use std::io;
use std::sync::Arc;

use jiff::{Timestamp, Zoned};
use support::Scratch;
use terrarium_core::plan::IdentityPolicy;
use terrarium_core::tree::{TreeListing, hash_snapshot};
use terrarium_core::{
    Begun, Class, Definition, Destination, FetchError, FetchRequest, Folders, Host, InstanceRef,
    PoolFile, Report, RestoreRequest, Session, Silent, Stop, property,
};
use terrarium_s3::crypto::{HostKey, Identities, NewIdentity, Recipients};
use terrarium_s3::format::{
    ArchiveId, Base, Definition as Archived, Kind, Layout, Lineage, Manifest, Place,
};
use terrarium_s3::pipeline::{Options, Point, publish, write_stream};
use terrarium_s3::{Key, MemoryStore};
use terrarium_zfs::{DatasetName, Properties, SendFlags, SendSource, SnapshotName, UserProperties};
use terrarium_zpool::Engine;

const FLAGS: SendFlags = SendFlags {
    large_blocks: true,
    embedded: true,
    compressed: true,
    raw: false,
};

/// An archive with the points of `web`, of a pool that is gone.
struct Archive {
    store: Arc<MemoryStore>,
    layout: Layout,
    identities: Arc<Identities>,
    lineage: Lineage,
    manifests: Vec<Manifest>,
    digests: Vec<TreeListing>,
}

fn web() -> InstanceRef {
    "web".parse().expect("a legal name")
}

fn dataset(name: &str) -> DatasetName {
    DatasetName::new(name).expect("a legal name")
}

fn live(name: &str) -> SnapshotName {
    let live = dataset("tank/containers/web");
    live.snapshot(name).expect("a legal name")
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(work)
}

fn options() -> Options {
    Options {
        part_size: 16 << 10,
        attempts: 1,
        ..Options::default()
    }
}

/// Makes `web`, and its snapshots `one`, `two`, `three`, each with a file more.
fn make_web(engine: &Engine, points: &[&str]) {
    for name in ["tank/containers", "tank/containers/web"] {
        let made = engine.create(&dataset(name), &Properties::new());
        made.expect("created");
    }
    for point in points {
        add(engine, point);
    }
}

/// Writes a file of that name, and takes a snapshot.
fn add(engine: &Engine, name: &str) {
    let content = noise(name);
    let written = engine.write_file(&dataset("tank/containers/web"), name, 0o644, &content);
    written.expect("written");
    let taken = engine.snapshot(&[(live(name), UserProperties::new())]);
    taken.expect("taken");
}

fn noise(seed: &str) -> Vec<u8> {
    let mut bytes = vec![0; 70_000];
    let mut reader = blake3::Hasher::new();
    reader.update(seed.as_bytes());
    reader.finalize_xof().fill(&mut bytes);
    bytes
}

impl Archive {
    async fn of(engine: &Engine, points: &[&str]) -> Self {
        let identity = NewIdentity::generate();
        let recipients = Recipients::parse([identity.recipient()]).expect("a recipient");
        let mut archive = Self {
            store: Arc::new(MemoryStore::new()),
            layout: Layout::default(),
            identities: Arc::new(identity.into_identities()),
            lineage: Lineage::random().expect("random bytes"),
            manifests: Vec::new(),
            digests: Vec::new(),
        };
        let id = ArchiveId::random().expect("random bytes");
        let host = HostKey::generate().expect("random bytes");
        let mut before: Option<Manifest> = None;
        for point in points {
            let snapshot = live(point);
            let from = before.as_ref().map(|before| before.snapshot.clone());
            let (reader, writer) = io::pipe().expect("a pipe");
            let (sender, name) = (engine.clone(), snapshot.clone());
            let sending = tokio::task::spawn_blocking(move || {
                let from = from.map(SendSource::Snapshot);
                sender.send(&name, from.as_ref(), FLAGS, writer)
            });
            let cut = options();
            let stored = write_stream(
                Arc::clone(&archive.store),
                &archive.layout,
                &recipients,
                reader,
                None,
                &cut,
            );
            let stored = stored.await.expect("stored");
            sending.await.expect("ran").expect("sent");
            let definition = serde_json::to_value(definition()).expect("JSON");
            let about = Point {
                archive: id,
                terrarium: "0.1.0".to_owned(),
                exported: Timestamp::UNIX_EPOCH,
                lineage: archive.lineage,
                instance: "web".to_owned(),
                project: Some("default".to_owned()),
                instance_uuid: None,
                snapshot,
                base: before
                    .as_ref()
                    .map_or(Base::Full, |before| Base::Point(before.guid)),
                createtxg: None,
                kind: Kind::OnDemand,
                alias: Some(format!("alias-{point}")),
                expires: None,
                send_flags: Some(FLAGS),
                definition: Some(Archived {
                    instance: definition.as_object().expect("an object").clone(),
                    profiles: vec![serde_json::json!({
                        "name": "edge", "config": {"limits.cpu": "2"}, "devices": {}
                    })],
                }),
                tree: None,
            };
            let manifest = publish(&*archive.store, &archive.layout, stored, about, Some(&host));
            let manifest = manifest.await.expect("published");
            archive.manifests.push(manifest.clone());
            before = Some(manifest);
            archive.digests.push(digest(engine, &live(point)));
        }
        archive
    }

    fn request(&self, points: usize) -> FetchRequest<MemoryStore> {
        FetchRequest {
            store: Arc::clone(&self.store),
            layout: self.layout.clone(),
            chain: self.manifests[..points].to_vec(),
            identities: Arc::clone(&self.identities),
            options: options(),
        }
    }

    fn part(&self, point: usize, part: usize) -> Key {
        let part = &self.manifests[point].parts[part];
        self.layout.key(&Place::Part(part.key)).expect("a key")
    }
}

/// As LXD had it: with a profile that is nowhere else.
fn definition() -> Definition {
    let set = [
        ("user.note", "kept"),
        ("user.proxy.host", "web.example"),
        ("volatile.eth0.hwaddr", "00:16:3e:00:00:01"),
        ("volatile.uuid", "5a4b7a0e-7d0f-4a57-9d3e-0d5f0d6d7c11"),
        (property::LXD_IDMAP, "[]"),
    ];
    Definition {
        config: set
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        profiles: vec!["default".to_owned(), "edge".to_owned()],
        ..Definition::default()
    }
}

fn digest(engine: &Engine, snapshot: &SnapshotName) -> TreeListing {
    hash_snapshot(engine, snapshot.as_str())
        .expect("hashed")
        .listing
}

fn host(scratch: &Scratch) -> Host<Engine, PoolFile> {
    let folder = |name: &str| scratch.folder().join(name);
    let folders = Folders {
        state: folder("state"),
        run: folder("run"),
    };
    let instances = PoolFile::new(scratch.engine.clone()).expect("a short name");
    Host::new(scratch.engine.clone(), instances, &folders)
}

async fn begin(host: &Host<Engine, PoolFile>) -> Session<'_, Engine, PoolFile> {
    let now = Zoned::now();
    match host.begin(&[web()], "restore", now, &Silent).await {
        Ok(Begun::Ready(session)) => session,
        other => panic!("{other:?}"),
    }
}

/// Fetches the last of so many points, and restores it in place, or makes the instance anew.
async fn restore(
    host: &Host<Engine, PoolFile>,
    archive: &Archive,
    points: usize,
) -> Result<Report, FetchError> {
    let mut session = begin(host).await;
    let request = archive.request(points);
    let known = session.planner().inventory().instance(&web()).is_some();
    let target = request.chain[points - 1].guid;
    let plan = session
        .planner()
        .plan_fetch(&web(), &web(), &request.chain, None)
        .await?;
    let plan = match plan {
        Some(fetch) => {
            let sealed = session.fetch(&fetch, &request).await?;
            session.refresh().await?;
            if known {
                in_place(&session, target).await?
            } else {
                let identity = IdentityPolicy::default();
                let planner = session.planner();
                planner
                    .plan_recreate(&fetch, &sealed, &web(), &identity, false)
                    .await?
            }
        }
        None => in_place(&session, target).await?,
    };
    Ok(session.execute(&plan, &Silent).await)
}

async fn in_place(
    session: &Session<'_, Engine, PoolFile>,
    target: terrarium_zfs::Guid,
) -> Result<terrarium_core::Plan, FetchError> {
    let request = RestoreRequest {
        at: Some(target.to_string()),
        start: false,
        to: Destination::InPlace {
            stop: Stop::Graceful(std::time::Duration::from_secs(1)),
            destroy_newer: false,
        },
    };
    let plan = session.planner().plan_restore(&web(), &request).await?;
    Ok(plan.expect("something to do"))
}

/// Everything that stands in the pool.
fn standing(engine: &Engine) -> Vec<String> {
    let listing = engine.list(&dataset("tank"), &[]).expect("listed");
    let datasets = listing.datasets.iter().map(|one| one.name.to_string());
    let snapshots = listing.snapshots.iter().map(|one| one.name.to_string());
    datasets.chain(snapshots).collect()
}

fn live_digest(engine: &Engine) -> TreeListing {
    let now = live("now");
    let taken = engine.snapshot(&[(now.clone(), UserProperties::new())]);
    taken.expect("taken");
    let digest = digest(engine, &now);
    engine.destroy_snapshots(&[now]).expect("destroyed");
    digest
}

#[test]
fn an_instance_that_is_lost_with_its_pool_comes_back_with_its_history_and_definition() {
    run(async {
        let source = Scratch::new();
        make_web(&source.engine, &["one", "two", "three"]);
        let archive = Archive::of(&source.engine, &["one", "two", "three"]).await;
        drop(source);

        let target = Scratch::new();
        let host = host(&target);
        let report = restore(&host, &archive, 3).await.expect("restored");
        assert!(report.is_complete(), "{report:?}");
        for (manifest, expected) in archive.manifests.iter().zip(&archive.digests) {
            assert_eq!(
                digest(&target.engine, &live(manifest.snapshot.name())),
                *expected
            );
        }
        assert_eq!(live_digest(&target.engine), archive.digests[2]);
        let inventory = host.observe(&Zoned::now()).await.expect("observed");
        let (record, covered) = inventory.covered(&web()).expect("covered");
        let config = &record.definition.config;
        assert_eq!(config["user.note"], "kept");
        assert_eq!(
            config["user.proxy.host"], "web.example",
            "it is the same instance"
        );
        assert_eq!(config["volatile.eth0.hwaddr"], "00:16:3e:00:00:01");
        assert_eq!(config["limits.cpu"], "2", "of a profile that is not here");
        assert_eq!(record.definition.profiles, ["default"]);
        assert!(!config.contains_key(property::LXD_OPERATION));
        let guids: Vec<_> = covered.points.iter().map(|point| point.guid).collect();
        let archived: Vec<_> = archive.manifests.iter().map(|one| one.guid).collect();
        assert_eq!(guids, archived);
        assert_eq!(covered.points[0].alias.as_deref(), Some("alias-one"));
        let lineage = covered.dataset.local.get(property::LINEAGE);
        assert_eq!(lineage, Some(&archive.lineage.to_string()));
        assert_eq!(inventory.orphans, []);
    });
}

#[test]
fn a_restore_in_place_reads_only_what_is_missing_and_can_be_undone() {
    run(async {
        let scratch = Scratch::new();
        make_web(&scratch.engine, &["one", "two", "three"]);
        let archive = Archive::of(&scratch.engine, &["one", "two", "three"]).await;
        // What is newer than `one` is lost here, and the instance went on.
        for lost in ["two", "three"] {
            scratch
                .engine
                .destroy_snapshots(&[live(lost)])
                .expect("destroyed");
        }
        add(&scratch.engine, "later");
        let before = live_digest(&scratch.engine);
        for part in 0..archive.manifests[0].parts.len() {
            archive.store.vanish(&archive.part(0, part));
        }

        let host = host(&scratch);
        let report = restore(&host, &archive, 3).await.expect("restored");
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(live_digest(&scratch.engine), archive.digests[2]);
        {
            let inventory = host.observe(&Zoned::now()).await.expect("observed");
            let (_, covered) = inventory.covered(&web()).expect("covered");
            let names = covered.points.iter().filter(|point| point.is_live());
            let names: Vec<_> = names.map(|point| point.name()).collect();
            assert_eq!(names, ["one", "two", "three"]);
            assert_eq!(inventory.orphans, []);
        }
        let again = restore(&host, &archive, 3).await;
        assert!(again.expect("restored once more").is_complete());

        let session = begin(&host).await;
        let stop = Stop::Graceful(std::time::Duration::from_secs(1));
        let undo = session.planner().plan_undo(&web(), false, stop).await;
        let undo = undo.expect("planned").expect("something to undo");
        assert!(session.execute(&undo, &Silent).await.is_complete());
        drop(session);
        let inventory = host.observe(&Zoned::now()).await.expect("observed");
        let (_, covered) = inventory.covered(&web()).expect("covered");
        assert!(
            covered.points.iter().any(|point| point.name() == "later"),
            "nothing is lost"
        );
        let later = covered
            .points
            .iter()
            .find(|point| point.name() == "later")
            .expect("kept");
        assert_eq!(digest(&scratch.engine, &later.snapshot), before);
    });
}

#[test]
fn a_restore_in_place_over_another_history_moves_that_aside_and_can_be_undone() {
    run(async {
        let source = Scratch::new();
        make_web(&source.engine, &["one", "two"]);
        let archive = Archive::of(&source.engine, &["one", "two"]).await;
        drop(source);

        let target = Scratch::new();
        make_web(&target.engine, &["other"]);
        let before = live_digest(&target.engine);
        let host = host(&target);
        let report = restore(&host, &archive, 2).await.expect("restored");
        assert!(report.is_complete(), "{report:?}");
        assert_eq!(live_digest(&target.engine), archive.digests[1]);
        let session = begin(&host).await;
        let stop = Stop::Graceful(std::time::Duration::from_secs(1));
        let undo = session.planner().plan_undo(&web(), false, stop).await;
        let undo = undo.expect("planned").expect("something to undo");
        assert!(session.execute(&undo, &Silent).await.is_complete());
        drop(session);
        assert_eq!(live_digest(&target.engine), before);
        let inventory = host.observe(&Zoned::now()).await.expect("observed");
        let (_, covered) = inventory.covered(&web()).expect("covered");
        for name in ["one", "two", "other"] {
            assert!(
                covered.points.iter().any(|point| point.name() == name),
                "{name}"
            );
        }
        assert_eq!(inventory.orphans, []);
    });
}

#[test]
fn another_lineage_of_that_name_is_refused_before_anything_is_read() {
    run(async {
        let source = Scratch::new();
        make_web(&source.engine, &["one"]);
        let archive = Archive::of(&source.engine, &["one"]).await;
        drop(source);
        let target = Scratch::new();
        make_web(&target.engine, &["other"]);
        let other = Lineage::random().expect("random bytes").to_string();
        let changes = [(property::LINEAGE.to_owned(), Some(other))].into();
        let live = "tank/containers/web";
        target
            .engine
            .set_user_properties(live, &changes)
            .expect("set");
        let before = standing(&target.engine);
        let error = restore(&host(&target), &archive, 1)
            .await
            .expect_err("refused");
        assert!(matches!(error, FetchError::OtherLineage { .. }), "{error}");
        assert!(error.help().is_some());
        assert_eq!(standing(&target.engine), before);
    });
}

#[test]
fn whatever_is_wrong_with_an_object_what_is_here_stays_and_the_next_try_goes_on() {
    run(async {
        let source = Scratch::new();
        make_web(&source.engine, &["one", "two", "three"]);
        let archive = Archive::of(&source.engine, &["one", "two", "three"]).await;
        drop(source);
        for point in 0..3 {
            let key = archive.part(point, archive.manifests[point].parts.len() - 1);
            let whole = archive.store.get(&key).expect("stored");
            for damage in ["missing", "cut", "flipped"] {
                let target = Scratch::new();
                make_web(&target.engine, &["other"]);
                let before = live_digest(&target.engine);
                match damage {
                    "missing" => assert!(archive.store.vanish(&key)),
                    "cut" => assert!(archive.store.tamper(&key, |bytes| {
                        bytes.pop();
                    })),
                    _ => assert!(archive.store.tamper(&key, |bytes| {
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 1;
                    })),
                }
                let host = host(&target);
                let error = restore(&host, &archive, 3).await.expect_err(damage);
                let text = terrarium_core::with_causes(&error);
                assert!(text.contains(key.as_str()), "{damage}: {text}");
                assert_eq!(live_digest(&target.engine), before, "{damage}");
                archive.store.overwrite(&key, whole.clone());

                // What came whole is not read again.
                let first = archive.part(0, 0);
                let body = archive.store.get(&first).expect("stored");
                if point > 0 {
                    archive.store.vanish(&first);
                }
                let report = restore(&host, &archive, 3).await.expect("restored");
                assert!(report.is_complete(), "{report:?}");
                assert_eq!(live_digest(&target.engine), archive.digests[2]);
                archive.store.overwrite(&first, body);
            }
        }
    });
}

/// Stops before a step, as a crash would.
struct StopBefore(usize);

impl terrarium_core::Progress for StopBefore {
    fn step_begins(
        &self,
        step: usize,
        _: &terrarium_core::Plan,
        _: &terrarium_core::plan::Step,
    ) -> Result<(), terrarium_core::Error> {
        if step == self.0 {
            return Err(terrarium_core::Error::Fault { step });
        }
        Ok(())
    }
}

#[test]
fn a_storage_pool_that_it_cannot_come_to_is_refused_before_anything_is_read() {
    run(async {
        let source = Scratch::new();
        make_web(&source.engine, &["one", "two"]);
        let archive = Archive::of(&source.engine, &["one", "two"]).await;
        let request = archive.request(2);
        let refused = async |engine: &Scratch| {
            let host = host(engine);
            let session = begin(&host).await;
            let (planner, web) = (session.planner(), web());
            let plan = planner.plan_fetch(&web, &web, &request.chain, Some("nowhere"));
            let error = plan.await.expect_err("there is no such pool");
            assert_eq!(error.class(), Class::Refused);
            error.to_string()
        };
        // Where it is not, and where it is.
        let unknown = refused(&Scratch::new()).await;
        assert!(
            unknown.contains("is none of those that LXD has"),
            "{unknown}"
        );
        let elsewhere = refused(&source).await;
        assert!(elsewhere.contains("web is here, in "), "{elsewhere}");
    });
}

#[test]
fn an_instance_that_is_made_anew_survives_a_crash_before_any_step() {
    run(async {
        let source = Scratch::new();
        make_web(&source.engine, &["one", "two"]);
        let archive = Archive::of(&source.engine, &["one", "two"]).await;
        drop(source);
        let mut step = 0;
        loop {
            let target = Scratch::new();
            let host = host(&target);
            let request = archive.request(2);
            let ended = {
                let mut session = begin(&host).await;
                let fetch = session
                    .planner()
                    .plan_fetch(&web(), &web(), &request.chain, None)
                    .await;
                let fetch = fetch.expect("planned").expect("something to fetch");
                let sealed = session.fetch(&fetch, &request).await.expect("fetched");
                session.refresh().await.expect("read again");
                let policy = IdentityPolicy::default();
                let planner = session.planner();
                let new = web();
                let plan = planner.plan_recreate(&fetch, &sealed, &new, &policy, false);
                let plan = plan.await.expect("planned");
                session
                    .execute(&plan, &StopBefore(step))
                    .await
                    .is_complete()
            };
            let report = restore(&host, &archive, 2).await.expect("restored");
            assert!(report.is_complete(), "step {step}: {report:?}");
            assert_eq!(
                live_digest(&target.engine),
                archive.digests[1],
                "step {step}"
            );
            let inventory = host.observe(&Zoned::now()).await.expect("observed");
            assert!(inventory.pending.is_empty(), "step {step}");
            if ended {
                break;
            }
            step += 1;
        }
        assert!(step > 4, "{step} steps");
    });
}

#[test]
fn a_restore_of_what_was_fetched_survives_a_crash_before_any_step() {
    run(async {
        let source = Scratch::new();
        make_web(&source.engine, &["one", "two"]);
        let archive = Archive::of(&source.engine, &["one", "two"]).await;
        drop(source);
        let mut step = 0;
        loop {
            let target = Scratch::new();
            make_web(&target.engine, &["other"]);
            let before = live_digest(&target.engine);
            let host = host(&target);
            let request = archive.request(2);
            let ended = {
                let mut session = begin(&host).await;
                let fetch = session
                    .planner()
                    .plan_fetch(&web(), &web(), &request.chain, None)
                    .await;
                let fetch = fetch.expect("planned").expect("something to fetch");
                session.fetch(&fetch, &request).await.expect("fetched");
                session.refresh().await.expect("read again");
                let plan = in_place(&session, fetch.guid).await.expect("planned");
                session
                    .execute(&plan, &StopBefore(step))
                    .await
                    .is_complete()
            };
            drop(begin(&host).await);
            let now = live_digest(&target.engine);
            let swapped = now == archive.digests[1];
            assert!(
                swapped || now == before,
                "step {step}: neither before nor after"
            );
            let inventory = host.observe(&Zoned::now()).await.expect("observed");
            assert!(inventory.pending.is_empty(), "step {step}");
            let (_, covered) = inventory.covered(&web()).expect("covered");
            for name in ["one", "two", "other"] {
                assert!(
                    covered.points.iter().any(|point| point.name() == name),
                    "step {step}: {name}"
                );
            }
            if ended {
                assert!(swapped);
                break;
            }
            step += 1;
        }
        assert!(step > 8, "{step} steps");
    });
}

#[test]
fn a_fetch_that_dies_anywhere_leaves_what_is_here_and_the_next_one_ends_it() {
    let archive = run(async {
        let source = Scratch::new();
        make_web(&source.engine, &["one", "two", "three"]);
        Archive::of(&source.engine, &["one", "two", "three"]).await
    });
    let mut died = 0;
    for wait in (0..400).step_by(25) {
        let target = Scratch::new();
        make_web(&target.engine, &["other"]);
        let before = live_digest(&target.engine);
        let host = host(&target);
        // A runtime of its own: when it is gone, no thread of the fetch is left, as after a death.
        died += run(async {
            let request = archive.request(3);
            let session = begin(&host).await;
            let planner = session.planner();
            let fetch = planner
                .plan_fetch(&web(), &web(), &request.chain, None)
                .await;
            let fetch = fetch.expect("planned").expect("something to fetch");
            let limit = std::time::Duration::from_millis(wait);
            let fetching = session.fetch(&fetch, &request);
            usize::from(tokio::time::timeout(limit, fetching).await.is_err())
        });
        run(async {
            assert_eq!(live_digest(&target.engine), before);
            let report = restore(&host, &archive, 3).await.expect("restored");
            assert!(report.is_complete(), "{report:?}");
            assert_eq!(live_digest(&target.engine), archive.digests[2]);
        });
    }
    assert!(died > 2, "{died} died");
}
