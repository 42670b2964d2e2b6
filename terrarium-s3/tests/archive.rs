//! Archives as wholes, of real streams of the kernel's ZFS: made, looked through, verified, and damaged.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use terrarium_s3::archive::{
    AnyStore, Archive, ArchiveError, Catalog, ChainError, Depth, Location, Problem, S3Options,
    State, Verification,
};
use terrarium_s3::crypto::{HostKey, Identities, NewIdentity, Recipients};
use terrarium_s3::format::{
    self, Annotation, ArchiveId, Base, Document, Kind, Layout, Lineage, Manifest, ManifestPlace,
    Place, Verdict,
};
use terrarium_s3::pipeline::{Options, Point, ReadError, publish, write_stream};
use terrarium_s3::{Call, Fault, Faulty, Key, MemoryStore, Object, Store, StoreError};
use terrarium_zfs::{Guid, SnapshotName};

fn stream(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams");
    let path = folder.join(format!("{name}.zfs"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

fn options() -> Options {
    Options {
        part_size: 64 << 10,
        pause: Duration::from_millis(1),
        ..Options::default()
    }
}

fn layout() -> Layout {
    Layout::new(Some(Key::new("backups/host-1").unwrap()))
}

type Memory = Faulty<MemoryStore>;

/// An archive with three lineages: `web` (content one, two and three), `base` (origin) and `copy` (its clone).
struct Scene {
    archive: Archive<Memory>,
    identities: Arc<Identities>,
    host: HostKey,
    web: Vec<Manifest>,
    base: Manifest,
    copy: Manifest,
}

fn document(host: &HostKey, identity: &NewIdentity) -> format::Archive {
    format::Archive {
        id: ArchiveId::random().unwrap(),
        created: Timestamp::UNIX_EPOCH,
        recipients: Recipients::parse([identity.recipient()]).unwrap(),
        host_keys: vec![host.verifying_key()],
    }
}

impl Scene {
    async fn new() -> Self {
        let (host, identity) = (HostKey::generate().unwrap(), NewIdentity::generate());
        let store = Arc::new(Faulty::new(MemoryStore::new()));
        let document = document(&host, &identity);
        let archive = Archive::init(store, layout(), document).await.unwrap();
        let lineage = || Lineage::random().unwrap();
        let (web, base, copy) = (lineage(), lineage(), lineage());
        let mut all = Vec::new();
        for name in ["content-one", "content-two", "content-three"] {
            all.push(export(&archive, &host, web, "web", name, false).await);
        }
        Self {
            base: export(&archive, &host, base, "base", "origin", false).await,
            copy: export(&archive, &host, copy, "copy", "clone", true).await,
            web: all,
            archive,
            identities: Arc::new(identity.into_identities()),
            host,
        }
    }

    fn objects(&self) -> &MemoryStore {
        self.archive.store().inner()
    }

    fn all(&self) -> Vec<&Manifest> {
        self.web.iter().chain([&self.base, &self.copy]).collect()
    }

    async fn verify(&self, depth: &Depth) -> Verification {
        let verified = self.archive.verify(depth, None, &options(), |_| {}).await;
        verified.unwrap()
    }

    async fn shallow(&self) -> Verification {
        self.verify(&Depth::Shallow).await
    }

    async fn deep(&self) -> Verification {
        self.verify(&Depth::Deep(self.identities.clone())).await
    }

    /// The points that cannot be restored without this one.
    fn needing(&self, manifest: &Manifest) -> Vec<Guid> {
        let from = |all: &[Manifest]| all.iter().map(|manifest| manifest.guid).collect();
        let at = self.web.iter().position(|one| one.guid == manifest.guid);
        match at {
            Some(at) => from(&self.web[at..]),
            None if manifest.guid == self.base.guid => vec![self.base.guid, self.copy.guid],
            None => vec![self.copy.guid],
        }
    }

    /// There is one damage, of this object, and it says what it affects, as the points do.
    fn assert_damaged(&self, found: &Verification, manifest: &Manifest, object: &Key) {
        let told: Vec<_> = found
            .damages
            .iter()
            .map(|damage| damage.problem.to_string())
            .collect();
        let [damage] = &found.damages[..] else {
            panic!("{object}: {told:?}");
        };
        assert_eq!(damage.problem.object(), Some(object), "{told:?}");
        assert!(told[0].contains(object.as_str()), "{told:?}");
        let mut expected = self.needing(manifest);
        expected.sort();
        let mut affects: Vec<_> = damage.affects.iter().map(|place| place.guid).collect();
        affects.sort();
        assert_eq!(affects, expected, "{told:?}");
        for report in &found.points {
            let guid = report.place.guid;
            match &report.state {
                State::Damaged => assert_eq!(guid, manifest.guid),
                State::Affected(by) => {
                    assert!(expected.contains(&guid) && guid != manifest.guid);
                    assert_eq!(by, &[place(manifest)]);
                }
                State::Whole => assert!(!expected.contains(&guid), "{told:?}"),
                State::Unread => panic!("{told:?}"),
            }
        }
        assert!(!found.is_whole());
    }
}

async fn export<S: Store>(
    archive: &Archive<S>,
    host: &HostKey,
    lineage: Lineage,
    name: &str,
    file: &str,
    of_a_clone: bool,
) -> Manifest {
    let (store, layout) = (archive.store().clone(), archive.layout());
    let recipients = &archive.document().recipients;
    let stream = Cursor::new(stream(file));
    let stored = write_stream(store, layout, recipients, stream, None, &options()).await;
    let stored = stored.unwrap();
    let point = Point {
        archive: archive.document().id,
        terrarium: "0.1.0".to_owned(),
        exported: Timestamp::UNIX_EPOCH,
        lineage,
        instance: name.to_owned(),
        project: None,
        instance_uuid: None,
        snapshot: SnapshotName::new(&stored.begin.to_name()).unwrap(),
        base: match stored.begin.from_guid() {
            None => Base::Full,
            Some(guid) if of_a_clone => Base::Origin(guid),
            Some(guid) => Base::Point(guid),
        },
        createtxg: None,
        kind: Kind::OnDemand,
        alias: Some(format!("alias-{file}")),
        expires: None,
        send_flags: None,
        definition: None,
        tree: None,
    };
    let published = publish(&**archive.store(), layout, stored, point, Some(host)).await;
    published.unwrap()
}

fn place(manifest: &Manifest) -> ManifestPlace {
    match manifest.place() {
        Place::Manifest(place) => place,
        other => panic!("{other:?}"),
    }
}

fn manifest_key(manifest: &Manifest) -> Key {
    layout().key(&manifest.place()).unwrap()
}

fn part_keys(manifest: &Manifest) -> Vec<Key> {
    let key = |part: &format::Part| layout().key(&Place::Part(part.key)).unwrap();
    manifest.parts.iter().map(key).collect()
}

/// Something wrong with one object at a time, put right again afterwards.
async fn with_each_damage(scene: &Scene, key: &Key, mut check: impl AsyncFnMut(&str)) {
    let objects = scene.objects();
    let body = objects.get(key).unwrap();
    let mut changed = body.to_vec();
    changed[body.len() / 2] ^= 4;
    for (what, damaged) in [
        ("missing", None),
        ("empty", Some(Bytes::new())),
        ("truncated", Some(body.slice(..body.len() - 1))),
        ("changed", Some(changed.into())),
    ] {
        match damaged {
            None => assert!(objects.vanish(key)),
            Some(damaged) => objects.overwrite(key, damaged),
        }
        check(what).await;
        objects.overwrite(key, body.clone());
    }
}

#[test]
fn an_archive_is_made_once() {
    run(async {
        let store = Arc::new(Faulty::new(MemoryStore::new()));
        let (host, identity) = (HostKey::generate().unwrap(), NewIdentity::generate());
        let document = document(&host, &identity);
        let made = Archive::init(store.clone(), layout(), document.clone()).await;
        assert_eq!(made.unwrap().document(), &document);
        let keys = store.inner().keys();
        let key = Key::new("backups/host-1/v1/archive.json").unwrap();
        assert_eq!(keys, std::slice::from_ref(&key), "the probe is gone");

        let second = self::document(&host, &identity);
        let error = Archive::init(store.clone(), layout(), second)
            .await
            .unwrap_err();
        match &error {
            ArchiveError::Exists { key: found, id } => {
                assert_eq!((found, *id), (&key, Some(document.id)));
            }
            other => panic!("{other}"),
        }
        assert!(error.to_string().contains(&document.id.to_string()));
        let opened = Archive::open(store.clone(), layout()).await.unwrap();
        assert_eq!(opened.document(), &document);

        // One that cannot be read is one all the same.
        store.inner().overwrite(&key, "{}");
        let third = self::document(&host, &identity);
        let error = Archive::init(store.clone(), layout(), third).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, ArchiveError::Exists { id: None, .. }),
            "{error}"
        );
        let error = Archive::open(store, layout()).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Format { .. }), "{error}");
    });
}

#[test]
fn of_two_that_make_an_archive_at_once_one_makes_it() {
    run(async {
        let (host, identity) = (HostKey::generate().unwrap(), NewIdentity::generate());
        for _ in 0..20 {
            let store = Arc::new(MemoryStore::new());
            let init = || {
                let document = document(&host, &identity);
                tokio::spawn(Archive::init(store.clone(), layout(), document))
            };
            let (one, two) = (init(), init());
            let (one, two) = (one.await.unwrap(), two.await.unwrap());
            let made: Vec<_> = [&one, &two].into_iter().flatten().collect();
            assert_eq!(made.len(), 1);
            let opened = Archive::open(store, layout()).await.unwrap();
            assert_eq!(opened.document(), made[0].document());
        }
    });
}

#[test]
fn a_lost_reply_does_not_make_our_own_archive_a_strangers() {
    run(async {
        let store = Faulty::new(MemoryStore::new());
        store.inject(Fault::lost_reply(Call::Create).matching("archive.json"));
        let (host, identity) = (HostKey::generate().unwrap(), NewIdentity::generate());
        let document = document(&host, &identity);
        let store = Arc::new(store);
        let error = Archive::init(store.clone(), layout(), document.clone()).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, ArchiveError::Store(StoreError::Unavailable { .. })),
            "{error}"
        );
        let opened = Archive::open(store, layout()).await.unwrap();
        assert_eq!(opened.document(), &document);
    });
}

/// A store that knows no conditions.
#[derive(Debug)]
struct Overwriting(MemoryStore);

impl Store for Overwriting {
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.0.overwrite(key, body);
        Ok(())
    }
    async fn read(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.0.read(key).await
    }
    async fn read_range(&self, key: &Key, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        self.0.read_range(key, offset, length).await
    }
    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        self.0.size(key).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.0.list(prefix).await
    }
    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.0.delete(key).await
    }
}

#[test]
fn a_store_that_writes_over_objects_gets_no_archive() {
    run(async {
        let objects = MemoryStore::new();
        let (host, identity) = (HostKey::generate().unwrap(), NewIdentity::generate());
        let store = Arc::new(Overwriting(objects.clone()));
        let error = Archive::init(store, layout(), document(&host, &identity)).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, ArchiveError::NotCreateOnly { .. }),
            "{error}"
        );
        assert!(error.help().is_some());
        assert_eq!(objects.keys(), []);
    });
}

#[test]
fn an_archive_that_lost_its_document_is_not_made_anew() {
    run(async {
        let scene = Scene::new().await;
        let key = layout().key(&Place::Archive).unwrap();
        scene.objects().vanish(&key);
        let store = scene.archive.store().clone();
        let document = scene.archive.document().clone();
        let error = Archive::init(store.clone(), layout(), document).await;
        let error = error.unwrap_err();
        assert!(
            matches!(error, ArchiveError::Orphaned { manifests: 5, .. }),
            "{error}"
        );
        let error = Archive::open(store, layout()).await.unwrap_err();
        assert!(matches!(error, ArchiveError::None { .. }), "{error}");
    });
}

#[test]
fn a_chain_goes_from_the_full_stream_to_the_point() {
    run(async {
        let scene = Scene::new().await;
        let catalog = scene.archive.catalog().await.unwrap();
        assert_eq!(catalog.entries().count(), 5);
        let last = &scene.web[2];
        assert_eq!(catalog.lineage(last.lineage).len(), 3);
        let guids = async |manifest: &Manifest| -> Vec<Guid> {
            let chain = scene
                .archive
                .chain(&catalog, manifest.lineage, manifest.guid);
            let chain = chain.await.unwrap();
            chain.iter().map(|point| point.manifest.guid).collect()
        };
        let web: Vec<_> = scene.web.iter().map(|manifest| manifest.guid).collect();
        assert_eq!(guids(last).await, web);
        assert_eq!(guids(&scene.web[0]).await, web[..1]);
        assert_eq!(
            guids(&scene.copy).await,
            [scene.base.guid, scene.copy.guid],
            "an origin is found in another lineage"
        );

        let chain = scene.archive.chain(&catalog, last.lineage, Guid::new(7));
        match chain.await {
            Err(ChainError::Missing { guid, needed_by }) => {
                assert_eq!((guid, needed_by), (Guid::new(7), None));
            }
            other => panic!("{other:?}"),
        }
        // Gone after it was listed, and gone before.
        scene.objects().vanish(&manifest_key(&scene.web[1]));
        let chain = scene.archive.chain(&catalog, last.lineage, last.guid);
        let error = chain.await.unwrap_err();
        match &error {
            ChainError::Unreadable {
                guid, needed_by, ..
            } => {
                assert_eq!((*guid, *needed_by), (web[1], Some(web[2])));
            }
            other => panic!("{other}"),
        }
        let catalog = scene.archive.catalog().await.unwrap();
        let chain = scene.archive.chain(&catalog, last.lineage, last.guid);
        match chain.await {
            Err(ChainError::Missing { guid, needed_by }) => {
                assert_eq!((guid, needed_by), (web[1], Some(web[2])));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_manifest_that_is_damaged_is_an_error_of_its_own_point_only() {
    run(async {
        let scene = Scene::new().await;
        let damaged = &scene.web[1];
        scene
            .objects()
            .tamper(&manifest_key(damaged), |body| body.truncate(100));
        let catalog = scene.archive.catalog().await.unwrap();
        let entries: Vec<_> = catalog.entries().cloned().collect();
        let expected: Vec<_> = entries.iter().map(|entry| entry.place.guid).collect();
        let points = scene.archive.points(entries, |entry, point| {
            (entry.place.guid, point.map(|point| point.verdict))
        });
        let points = points.await;
        let guids: Vec<_> = points.iter().map(|(guid, _)| *guid).collect();
        assert_eq!(guids, expected, "the order stays");
        let signed = Verdict::Signed(scene.host.verifying_key());
        for (guid, point) in points {
            match point {
                Ok(verdict) => assert_eq!(verdict, signed),
                Err(error) => {
                    assert_eq!(guid, damaged.guid);
                    assert!(error.is_damage(), "{error}");
                }
            }
        }
        assert!(scene.archive.store().most_at_once() <= 16);
    });
}

#[test]
fn the_highest_annotation_that_a_host_signed_counts() {
    run(async {
        let scene = Scene::new().await;
        let of = &scene.web[1];
        let alias = async || {
            let catalog = scene.archive.catalog().await.unwrap();
            let entry = catalog.find(of.lineage, of.guid).unwrap();
            let point = scene.archive.point(entry).await.unwrap();
            point.alias().map(str::to_owned)
        };
        let annotate = |number, alias: Option<&str>, host: Option<&HostKey>| {
            let annotation = Annotation {
                archive: of.archive,
                lineage: of.lineage,
                guid: of.guid,
                number,
                written: Timestamp::UNIX_EPOCH,
                alias: alias.map(str::to_owned),
                note: None,
                pinned: false,
            };
            let key = layout().key(&annotation.place()).unwrap();
            let body = annotation.write(host).unwrap();
            scene.objects().overwrite(&key, body);
            key
        };
        assert_eq!(alias().await.as_deref(), Some("alias-content-two"));
        for number in [2, 9, 10] {
            annotate(number, Some("later"), Some(&scene.host));
        }
        let highest = annotate(11, None, Some(&scene.host));
        assert_eq!(alias().await, None);
        annotate(12, Some("unsigned"), None);
        let stranger = HostKey::generate().unwrap();
        annotate(13, Some("a stranger's"), Some(&stranger));
        assert_eq!(alias().await, None);
        scene.objects().tamper(&highest, |body| body.truncate(20));
        assert_eq!(alias().await.as_deref(), Some("later"));
    });
}

#[test]
fn an_archive_that_is_whole_is_found_so() {
    run(async {
        let scene = Scene::new().await;
        for found in [scene.shallow().await, scene.deep().await] {
            assert!(found.is_whole() && found.damages.is_empty());
            assert_eq!(found.points.len(), 5);
            for report in &found.points {
                assert_eq!(report.verdict.map(Verdict::as_str), Some("signed"));
            }
        }
        let store = scene.archive.store();
        let listings = store.count(Call::List);
        scene.shallow().await;
        assert_eq!(store.count(Call::List) - listings, 3);
    });
}

#[test]
fn whether_points_are_there_is_known_after_one_listing() {
    run(async {
        let scene = Scene::new().await;
        let store = scene.archive.store();
        let requests = || {
            let calls = [Call::List, Call::Read, Call::Size];
            calls.map(|call| store.count(call))
        };
        let before = requests();
        let catalog = scene.archive.catalog_as_exported().await.unwrap();
        let after = requests();
        assert_eq!(after, [before[0] + 1, before[1], before[2]]);
        let all = scene.archive.catalog().await.unwrap();
        let places =
            |catalog: &Catalog| -> Vec<_> { catalog.entries().map(|entry| entry.place).collect() };
        assert_eq!(places(&catalog), places(&all));
        assert_eq!(places(&catalog).len(), 5);
    });
}

#[test]
fn whatever_happens_to_a_manifest_is_named_with_all_points_that_it_affects() {
    run(async {
        let scene = Scene::new().await;
        for manifest in scene.all() {
            let key = manifest_key(manifest);
            with_each_damage(&scene, &key, async |what| {
                let found = scene.shallow().await;
                if what != "missing" {
                    scene.assert_damaged(&found, manifest, &key);
                    return;
                }
                // It is not known any more that there was a point, if nothing starts from it.
                let rest = &scene.needing(manifest)[1..];
                assert_eq!(found.points.len(), 4);
                assert_eq!(found.damages.len(), usize::from(!rest.is_empty()));
                for damage in &found.damages {
                    let told = damage.problem.to_string();
                    assert!(told.contains(&manifest.guid.to_string()), "{told}");
                    let affects: Vec<_> = damage.affects.iter().map(|place| place.guid).collect();
                    assert_eq!(affects, rest, "{told}");
                }
            })
            .await;
        }
        assert!(scene.shallow().await.is_whole());
    });
}

#[test]
fn a_part_that_is_missing_or_has_another_size_is_found_without_reading_it() {
    run(async {
        let scene = Scene::new().await;
        for manifest in scene.all() {
            for key in part_keys(manifest) {
                with_each_damage(&scene, &key, async |what| {
                    let found = scene.shallow().await;
                    match what {
                        "changed" => assert!(found.is_whole()),
                        _ => scene.assert_damaged(&found, manifest, &key),
                    }
                })
                .await;
            }
        }
    });
}

#[test]
fn whatever_happens_to_a_part_is_found_by_reading_it() {
    run(async {
        let scene = Scene::new().await;
        for manifest in [&scene.web[1], &scene.base] {
            for key in part_keys(manifest) {
                with_each_damage(&scene, &key, async |_| {
                    let found = scene.deep().await;
                    scene.assert_damaged(&found, manifest, &key);
                })
                .await;
            }
        }
        let keys = part_keys(&scene.web[0]);
        assert!(keys.len() > 4);
        assert!(scene.objects().swap(&keys[1], &keys[3]));
        let found = scene.deep().await;
        let mut objects: Vec<_> = found
            .damages
            .iter()
            .filter_map(|damage| damage.problem.object())
            .collect();
        objects.sort();
        assert_eq!(objects, [&keys[1], &keys[3]], "both are named");
        for damage in &found.damages {
            assert_eq!(damage.affects.len(), 3);
        }
    });
}

#[test]
fn what_a_prune_removes_meanwhile_is_not_called_damaged() {
    run(async {
        let scene = Scene::new().await;
        let last = &scene.web[2];
        let store = scene.archive.store();
        let later = Fault::delayed(Call::List, Duration::from_millis(500));
        store.inject(later.matching("v1/streams"));
        let pruning = async {
            while !is_at_parts(store) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(scene.objects().vanish(&manifest_key(last)));
            for part in part_keys(last) {
                assert!(scene.objects().vanish(&part));
            }
        };
        let (verified, ()) = tokio::join!(scene.shallow(), pruning);
        assert!(verified.is_whole(), "{:?}", verified.damages);
        assert_eq!(verified.points.len(), scene.all().len() - 1);
    });
}

/// Whether a listing of all parts has begun.
fn is_at_parts(store: &Memory) -> bool {
    let calls = store.calls();
    calls
        .iter()
        .any(|(call, prefix)| *call == Call::List && prefix.ends_with("v1/streams/"))
}

#[test]
fn what_is_sealed_is_compared_and_must_open() {
    run(async {
        let scene = Scene::new().await;
        // Signed, and all hashes of stored bytes are right.
        let one = &scene.web[0];
        let other = NewIdentity::generate();
        let recipients = &scene.archive.document().recipients;
        let key = manifest_key(one);
        let mut forged = one.clone();
        let sealed = one.open(&scene.identities).unwrap();
        let sealed = format::Sealed {
            stream_blake3: blake3::hash(b"another stream"),
            ..sealed
        };
        forged.sealed = sealed.seal(recipients).unwrap();
        scene
            .objects()
            .overwrite(&key, forged.write(Some(&scene.host)).unwrap());
        let found = scene.deep().await;
        assert!(matches!(
            found.damages[0].problem,
            Problem::Content(ReadError::Other(_))
        ));
        assert_eq!(found.damages[0].affects.len(), 3);

        let strangers = Recipients::parse([other.recipient()]).unwrap();
        forged.sealed = sealed.seal(&strangers).unwrap();
        scene
            .objects()
            .overwrite(&key, forged.write(Some(&scene.host)).unwrap());
        let found = scene.deep().await;
        scene.assert_damaged(&found, one, &key);
    });
}

#[test]
fn a_point_that_no_host_of_the_archive_signed_is_not_whole() {
    run(async {
        let scene = Scene::new().await;
        let (stranger, of) = (HostKey::generate().unwrap(), &scene.web[0]);
        let key = manifest_key(of);
        let signed = scene.objects().get(&key).unwrap();
        let changed = String::from_utf8(signed.to_vec())
            .unwrap()
            .replace("alias-content-one", "alias-content-eno");
        for body in [
            of.write(None).unwrap(),
            of.write(Some(&stranger)).unwrap(),
            changed.into(),
        ] {
            scene.objects().overwrite(&key, body);
            let found = scene.shallow().await;
            scene.assert_damaged(&found, of, &key);
            assert!(matches!(
                found.damages[0].problem,
                Problem::Signature { .. }
            ));
        }
    });
}

#[test]
fn points_of_other_recipients_are_not_read_and_not_called_damaged() {
    run(async {
        let scene = Scene::new().await;
        let other = Arc::new(NewIdentity::generate().into_identities());
        let found = scene.verify(&Depth::Deep(other)).await;
        assert!(found.damages.is_empty() && !found.is_whole());
        let unread = |report: &terrarium_s3::archive::PointReport| report.state == State::Unread;
        assert!(found.points.iter().all(unread));
    });
}

#[test]
fn a_store_that_does_not_answer_is_no_damage() {
    run(async {
        let scene = Scene::new().await;
        let deep = Depth::Deep(scene.identities.clone());
        for (call, name) in [
            (Call::List, "manifests/"),
            (Call::List, "streams/"),
            (Call::Read, "manifests/"),
            (Call::Read, "streams/"),
        ] {
            let store = scene.archive.store();
            store.inject(Fault::dropped(call).matching(name).always());
            let found = scene.archive.verify(&deep, None, &options(), |_| {}).await;
            match found {
                Err(ArchiveError::Store(StoreError::Unavailable { .. })) => {}
                other => panic!("{call} {name}: {other:?}"),
            }
            store.heal();
        }
    });
}

#[test]
fn verifying_a_name_looks_at_its_lineages_and_what_they_build_upon() {
    run(async {
        let scene = Scene::new().await;
        let options = options();
        let looked = async |name| {
            let verify = scene
                .archive
                .verify(&Depth::Shallow, Some(name), &options, |_| {});
            let found = verify.await.unwrap();
            let mut guids: Vec<_> = found.points.iter().map(|point| point.place.guid).collect();
            guids.sort();
            (guids, found.damages.len())
        };
        let mut copy = vec![scene.base.guid, scene.copy.guid];
        copy.sort();
        assert_eq!(looked("copy").await, (copy.clone(), 0));
        assert_eq!(looked("nobody").await, (vec![], 0));
        scene.objects().vanish(&part_keys(&scene.base)[0]);
        assert_eq!(looked("copy").await, (copy, 1));
        assert_eq!(looked("web").await.1, 0);
    });
}

#[test]
fn an_archive_in_a_folder_is_opened_by_its_location() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let location: Location = format!("file://{}", folder.path().display())
            .parse()
            .unwrap();
        let open = async || {
            let (store, layout) = location.open(&S3Options::default()).await.unwrap();
            assert!(matches!(store, AnyStore::Directory(_)));
            (Arc::new(store), layout)
        };
        let (store, layout) = open().await;
        let (host, identity) = (HostKey::generate().unwrap(), NewIdentity::generate());
        let archive = Archive::init(store, layout, document(&host, &identity)).await;
        let archive = archive.unwrap();
        let lineage = Lineage::random().unwrap();
        for name in ["content-one", "content-two"] {
            export(&archive, &host, lineage, "web", name, false).await;
        }
        let (store, layout) = open().await;
        let archive = Archive::open(store, layout).await.unwrap();
        let identities = Arc::new(identity.into_identities());
        let deep = Depth::Deep(identities);
        let mut read = 0;
        let found = archive.verify(&deep, None, &options(), |_| read += 1).await;
        assert!(found.unwrap().is_whole());
        assert_eq!(read, 2);

        let missing: Location = "file:///nonexistent/folder".parse().unwrap();
        let error = missing.open(&S3Options::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::NoSuchPlace { .. }), "{error}");
    });
}
