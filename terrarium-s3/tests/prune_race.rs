//! A prune and an export at the same time, in every order of their calls that matters.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use terrarium_s3::archive::retention::Policy;
use terrarium_s3::archive::{Archive, Depth, Outcome, Rules, plan_prune};
use terrarium_s3::crypto::{HostKey, NewIdentity, Recipients};
use terrarium_s3::format::{
    self, ArchiveId, Base, Document, Kind, Layout, Lineage, Manifest, ManifestPlace, Place,
    Removal, RunId,
};
use terrarium_s3::pipeline::{
    Options, Point, PublishError, Stored, WriteError, publish, write_stream,
};
use terrarium_s3::{Key, Leftover, MemoryStore, Object, Store, StoreError};
use terrarium_zfs::SnapshotName;

/// A store whose calls wait for their turn.
#[derive(Clone, Debug)]
struct Turns {
    objects: MemoryStore,
    builds: bool,
    schedule: Arc<Mutex<Schedule>>,
}

/// The builder's calls come after so many of the prune's; those that are not named, as soon as they are made.
#[derive(Debug, Default)]
struct Schedule {
    at: Vec<usize>,
    built: usize,
    pruned: Vec<String>,
    builder_done: bool,
    prune_done: bool,
    free: bool,
}

impl Turns {
    async fn turn(&self, call: &str, name: &str) {
        loop {
            {
                let mut schedule = self.schedule.lock().unwrap();
                let (at, pruned) = (schedule.at.get(schedule.built), schedule.pruned.len());
                let builders = at.is_none_or(|at| pruned >= *at);
                if schedule.free {
                    return;
                }
                if self.builds && (builders || schedule.prune_done) {
                    schedule.built += 1;
                    return;
                }
                if !self.builds && (at.is_none() || !builders || schedule.builder_done) {
                    schedule.pruned.push(format!("{call} {name}"));
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Store for Turns {
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.turn("create", key.as_str()).await;
        self.objects.create(key, body).await
    }

    async fn read(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.turn("read", key.as_str()).await;
        self.objects.read(key).await
    }

    async fn read_range(&self, key: &Key, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        self.turn("read", key.as_str()).await;
        self.objects.read_range(key, offset, length).await
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        self.turn("size", key.as_str()).await;
        self.objects.size(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.turn("list", prefix).await;
        self.objects.list(prefix).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.turn("delete", key.as_str()).await;
        self.objects.delete(key).await
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        Ok(Vec::new())
    }
}

fn stream(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams");
    std::fs::read(folder.join(format!("{name}.zfs"))).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

const LINEAGE: &str = "01234567-89ab-4cde-8f01-23456789abcd";

const NEWEST: Rules = Rules {
    policy: Policy {
        daily: 0,
        weekly: 0,
        monthly: 0,
    },
    grace: SignedDuration::from_hours(7 * 24),
};

/// An archive with the points `content-one` and `origin`, both full; the second is the newest.
struct Scene {
    archive: Archive<Turns>,
    host: HostKey,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let (host, identity) = (HostKey::generate().unwrap(), NewIdentity::generate());
        let schedule = Schedule {
            free: true,
            ..Schedule::default()
        };
        let store = Turns {
            objects: MemoryStore::new(),
            builds: false,
            schedule: Arc::new(Mutex::new(schedule)),
        };
        let document = format::Archive {
            id: ArchiveId::random().unwrap(),
            created: Timestamp::UNIX_EPOCH,
            recipients: Recipients::parse([identity.recipient()]).unwrap(),
            host_keys: vec![host.verifying_key()],
        };
        let archive = Archive::init(Arc::new(store), Layout::default(), document).await;
        let scene = Self {
            archive: archive.unwrap(),
            host,
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["content-one", "origin"] {
            let stored = scene.write(name, false).await.unwrap();
            scene.publish(stored).await.unwrap();
        }
        scene
    }

    /// The same archive, with objects and turns of its own.
    fn copy(&self) -> Self {
        let objects = MemoryStore::new();
        let own = &self.archive.store().objects;
        for key in own.keys() {
            objects.overwrite(&key, own.get(&key).unwrap());
        }
        let schedule = Schedule {
            free: true,
            ..Schedule::default()
        };
        let store = Turns {
            objects,
            builds: false,
            schedule: Arc::new(Mutex::new(schedule)),
        };
        let (store, layout) = (Arc::new(store), Layout::default());
        let opened = run(Archive::open(store, layout)).unwrap();
        Self {
            archive: opened,
            host: HostKey::parse(&self.host.to_file()).unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn objects(&self) -> &MemoryStore {
        &self.archive.store().objects
    }

    async fn write(&self, name: &str, journal: bool) -> Result<Stored, WriteError> {
        let options = Options {
            pause: Duration::from_millis(1),
            journal: journal.then(|| self.folder.path().join("journal")),
            part_size: 128 << 10,
            level: 1,
            ..Options::default()
        };
        let store = Arc::new(Turns {
            builds: true,
            ..Turns::clone(self.archive.store())
        });
        let recipients = &self.archive.document().recipients;
        let stream = Cursor::new(stream(name));
        write_stream(
            store,
            self.archive.layout(),
            recipients,
            stream,
            None,
            &options,
        )
        .await
    }

    async fn publish(&self, stored: Stored) -> Result<Manifest, PublishError> {
        let store = Turns {
            builds: true,
            ..Turns::clone(self.archive.store())
        };
        let point = Point {
            archive: self.archive.document().id,
            terrarium: "0.1.0".to_owned(),
            exported: Timestamp::UNIX_EPOCH,
            lineage: LINEAGE.parse().unwrap(),
            instance: "web".to_owned(),
            project: None,
            instance_uuid: None,
            snapshot: SnapshotName::new("tank/web@one").unwrap(),
            base: stored.begin.from_guid().map_or(Base::Full, Base::Point),
            createtxg: None,
            kind: Kind::Scheduled,
            alias: None,
            expires: None,
            send_flags: None,
            definition: None,
            tree: None,
        };
        publish(
            &store,
            self.archive.layout(),
            stored,
            point,
            Some(&self.host),
        )
        .await
    }

    fn manifests(&self) -> Vec<ManifestPlace> {
        let layout = self.archive.layout();
        let keys = self.objects().keys();
        let places = keys.iter().filter_map(|key| match layout.place(key) {
            Some(Place::Manifest(place)) => Some(place),
            _ => None,
        });
        places.collect()
    }

    /// Notes what somebody who removes says.
    fn notice(&self, points: Vec<ManifestPlace>, age: SignedDuration) -> Key {
        let notice = Removal {
            archive: self.archive.document().id,
            run: RunId::random().unwrap(),
            written: Timestamp::now(),
            points,
        };
        let key = self.archive.layout().key(&notice.place()).unwrap();
        self.objects().overwrite(&key, notice.write(None).unwrap());
        assert!(self.objects().date(&key, Timestamp::now() - age));
        key
    }
}

/// What came of a prune and an export at once.
#[derive(Debug, PartialEq)]
struct Came {
    published: bool,
    base_is_there: bool,
}

/// Prunes while `content-two` is published, which starts from the point that goes. The builder's first call is the one
/// that stores its parts.
fn at_once(scene: &Scene, at: &[usize]) -> (Came, Vec<String>) {
    let scene = scene.copy();
    let before = scene.objects().keys();
    run(async {
        let stored = scene.write("content-two", false).await.unwrap();
        let mut parts = Vec::new();
        for key in scene.objects().keys() {
            if !before.contains(&key) {
                parts.push((key.clone(), scene.objects().get(&key).unwrap()));
                scene.objects().vanish(&key);
            }
        }
        let survey = scene.archive.survey().await.unwrap();
        let plan = plan_prune(&survey, NEWEST, Timestamp::now());
        assert_eq!(plan.order.len(), 1, "{plan:?}");
        let turns = Arc::clone(scene.archive.store());
        {
            let mut schedule = turns.schedule.lock().unwrap();
            schedule.free = false;
            schedule.at = at.to_vec();
        }
        let building = async {
            let builder = Turns {
                builds: true,
                ..Turns::clone(&turns)
            };
            builder.turn("create", "parts").await;
            for (key, body) in parts {
                builder.objects.create(&key, body).await.unwrap();
            }
            let published = scene.publish(stored).await;
            turns.schedule.lock().unwrap().builder_done = true;
            published
        };
        let pruning = async {
            let host = Some(&scene.host);
            let pruned = scene
                .archive
                .prune(&plan, host, &|| false, &|_, _| {})
                .await;
            turns.schedule.lock().unwrap().prune_done = true;
            pruned
        };
        let (published, pruned) = tokio::join!(building, pruning);
        let pruned = pruned.unwrap();
        let calls = {
            let mut schedule = turns.schedule.lock().unwrap();
            schedule.free = true;
            std::mem::take(&mut schedule.pruned)
        };
        let options = Options::default();
        let verified = scene
            .archive
            .verify(&Depth::Shallow, None, &options, |_| {});
        let verified = verified.await.unwrap();
        assert!(
            verified.is_whole(),
            "{at:?}: {:?} {published:?} {pruned:?}",
            verified.damages
        );
        let base_is_there = match &pruned.points[..] {
            [(_, Outcome::Removed)] => false,
            [(_, Outcome::Kept(_))] => true,
            other => panic!("{at:?}: {other:?}"),
        };
        let mut kept = scene.objects().keys();
        kept.retain(|key| key.as_str().contains("removals"));
        assert_eq!(kept, [], "the notice is withdrawn");
        if let Err(error) = &published {
            let expected = matches!(
                error,
                PublishError::BaseGone { .. } | PublishError::BeingRemoved { .. }
            );
            assert!(expected, "{at:?}: {error}");
        }
        let published = published.is_ok();
        assert_eq!(
            scene.manifests().len(),
            1 + usize::from(base_is_there) + usize::from(published)
        );
        let came = Came {
            published,
            base_is_there,
        };
        (came, calls)
    })
}

#[test]
fn whoever_comes_first_no_point_is_left_without_what_it_builds_upon() {
    let scene = run(Scene::new());
    let (came, calls) = at_once(&scene, &[usize::MAX]);
    let expected = Came {
        published: false,
        base_is_there: false,
    };
    assert_eq!(came, expected, "the prune was done before it began");
    // Where something changes hands; in between it does not matter when the builder looks.
    let matters = |call: &&str| {
        let words = [
            "create v1/removals",
            "list v1/streams",
            "list v1/manifests",
            "delete",
        ];
        words.iter().any(|word| call.starts_with(word))
    };
    let mut moments: Vec<usize> = calls
        .iter()
        .enumerate()
        .filter(|(_, call)| matters(&call.as_str()))
        .filter(|(number, call)| *number == 0 || calls[number - 1].get(..16) != call.get(..16))
        .map(|(number, _)| number)
        .collect();
    moments.push(calls.len());
    let (mut published, mut removed, mut neither) = (0, 0, 0);
    for (a, &stores) in moments.iter().enumerate() {
        for (b, &looks) in moments.iter().enumerate().skip(a) {
            for (c, &finds) in moments.iter().enumerate().skip(b) {
                for &creates in &moments[c..] {
                    let (came, _) = at_once(&scene, &[stores, looks, finds, creates]);
                    match (came.published, came.base_is_there) {
                        (true, true) => published += 1,
                        (false, false) => removed += 1,
                        (false, true) => neither += 1,
                        (true, false) => panic!("published upon nothing"),
                    }
                }
            }
        }
    }
    assert!(
        published > 20 && removed > 20,
        "{published} {removed} {neither}"
    );
}

#[test]
fn an_export_heeds_a_notice_of_what_it_builds_upon_as_long_as_that_counts() {
    let scene = run(Scene::new());
    let base = run(async {
        scene
            .write("content-one", false)
            .await
            .unwrap()
            .begin
            .to_guid()
    });
    let (ours, other): (Vec<_>, Vec<_>) = scene
        .manifests()
        .into_iter()
        .partition(|place| place.guid == base);
    let mins = SignedDuration::from_mins;
    for (what, points, age, damaged, refused) in [
        ("of its base", ours.clone(), mins(1), false, true),
        (
            "of its base, by a clock ahead of ours",
            ours.clone(),
            mins(-30),
            false,
            true,
        ),
        ("of another point", other, mins(1), false, false),
        (
            "of a prune that died",
            ours.clone(),
            mins(121),
            false,
            false,
        ),
        ("that cannot be read", Vec::new(), mins(1), true, true),
    ] {
        let scene = scene.copy();
        let notice = scene.notice(points, age);
        if damaged {
            assert!(scene.objects().tamper(&notice, Vec::clear));
        }
        run(async {
            let stored = scene.write("content-two", false).await.unwrap();
            match scene.publish(stored).await {
                Err(PublishError::BeingRemoved {
                    notice: named,
                    guid,
                }) => {
                    assert!(refused, "{what}");
                    assert_eq!((named, guid), (notice, base), "{what}");
                }
                published => assert!(!refused && published.is_ok(), "{what}: {published:?}"),
            }
        });
    }
}

#[test]
fn what_a_run_began_too_long_ago_is_stored_anew() {
    let scene = run(Scene::new());
    let journal = scene.folder.path().join("journal");
    run(async {
        let parts = scene.write("content-two", true).await.unwrap().parts;
        let again = scene.write("content-two", true).await.unwrap();
        assert_eq!(again.reused, parts.len());
        drop(again);
        // The journal says that it is old; then the store does; then nobody knows.
        let file = std::fs::File::options().write(true).open(&journal).unwrap();
        let day = Duration::from_secs(24 * 60 * 60);
        let now = std::time::SystemTime::now();
        file.set_modified(now - 4 * day).unwrap();
        assert_eq!(scene.write("content-two", true).await.unwrap().reused, 0);
        let date = |at: Timestamp| {
            for key in scene.objects().keys() {
                assert!(scene.objects().date(&key, at));
            }
        };
        date(Timestamp::now() - SignedDuration::from_hours(4 * 24));
        assert_eq!(scene.write("content-two", true).await.unwrap().reused, 0);
        date(Timestamp::now() + SignedDuration::from_hours(2));
        assert_eq!(scene.write("content-two", true).await.unwrap().reused, 0);
        date(Timestamp::now());
        let stored = scene.write("content-two", true).await.unwrap();
        assert_eq!(stored.reused, parts.len());
        scene.publish(stored).await.unwrap();
    });
}

#[test]
fn a_stream_whose_point_is_being_removed_is_not_resumed_from_its_parts() {
    let scene = run(Scene::new());
    run(async {
        drop(scene.write("content-two", true).await.unwrap());
        let stored = scene.write("content-two", true).await.unwrap();
        assert!(stored.reused > 0);
        let own = ManifestPlace {
            lineage: LINEAGE.parse::<Lineage>().unwrap(),
            creation: 1,
            guid: stored.begin.to_guid(),
        };
        scene.notice(vec![own], SignedDuration::from_mins(1));
        let error = scene.publish(stored).await.unwrap_err();
        assert!(matches!(error, PublishError::BeingRemoved { guid, .. } if guid == own.guid));
    });
}
