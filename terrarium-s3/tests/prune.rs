//! What a prune removes and what it must not, with everything going wrong that can, and others at work meanwhile.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use terrarium_s3::archive::retention::{Policy, Reason};
use terrarium_s3::archive::{
    AnnotateError, Archive, ArchiveError, Depth, Outcome, PrunePlan, Pruned, Remark, Rules,
    StrayKind, plan_prune,
};
use terrarium_s3::crypto::{HostKey, NewIdentity, Recipients};
use terrarium_s3::format::{
    self, Annotation, ArchiveId, Base, Document, Kind, Layout, Lineage, Manifest, ManifestPlace,
    Part, PartPlace, Place, Removal, RunId, Sealed, SealedBytes,
};
use terrarium_s3::pipeline::Options;
use terrarium_s3::{Call, Fault, Faulty, Key, MemoryStore, StoreError};
use terrarium_zfs::{Guid, SnapshotName};

type Memory = Faulty<MemoryStore>;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

/// An archive in memory, of points that are made up; their objects are a month old.
struct Scene {
    archive: Archive<Memory>,
    host: HostKey,
    sealed: SealedBytes,
    recipients: Recipients,
}

/// A point that is made up.
#[derive(Clone, Copy, Debug)]
struct Made {
    lineage: u8,
    day: u32,
    guid: u64,
    base: Base,
    kind: Kind,
}

fn full(guid: u64, day: u32) -> Made {
    Made {
        lineage: 1,
        day,
        guid,
        base: Base::Full,
        kind: Kind::Scheduled,
    }
}

fn after(base: u64, guid: u64, day: u32) -> Made {
    Made {
        base: Base::Point(Guid::new(base)),
        ..full(guid, day)
    }
}

fn lineage(number: u8) -> Lineage {
    let text = format!("01234567-89ab-4cde-8f01-2345678900{number:02x}");
    text.parse().unwrap()
}

fn layout() -> Layout {
    Layout::new(Some(Key::new("backups/host-1").unwrap()))
}

fn run_id(number: u64) -> RunId {
    let text = format!("01234567-89ab-4cde-8f01-{number:012x}");
    text.parse().unwrap()
}

fn key(place: Place) -> Key {
    layout().key(&place).unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// Keeps nothing but the newest.
const NEWEST: Rules = Rules {
    policy: Policy {
        daily: 0,
        weekly: 0,
        monthly: 0,
    },
    grace: SignedDuration::from_hours(7 * 24),
};

impl Made {
    fn place(self) -> ManifestPlace {
        ManifestPlace {
            lineage: lineage(self.lineage),
            creation: u64::from(self.day) * 86_400,
            guid: Guid::new(self.guid),
        }
    }

    fn part(self, number: u32) -> PartPlace {
        PartPlace {
            guid: Guid::new(self.guid),
            from: self.base.guid(),
            run: run_id(1),
            number,
        }
    }
}

impl Scene {
    fn new(points: &[Made]) -> Self {
        run(Self::made(points))
    }

    async fn made(points: &[Made]) -> Self {
        let (host, identity) = (HostKey::generate().unwrap(), NewIdentity::generate());
        let recipients = Recipients::parse([identity.recipient()]).unwrap();
        let document = format::Archive {
            id: ArchiveId::random().unwrap(),
            created: Timestamp::UNIX_EPOCH,
            recipients: recipients.clone(),
            host_keys: vec![host.verifying_key()],
        };
        let sealed = Sealed {
            archive: document.id,
            guid: Guid::new(1),
            definition: None,
            stream_blake3: blake3::hash(b""),
            tree: None,
        };
        let sealed = sealed.seal(&recipients).unwrap();
        let store = Arc::new(Faulty::new(MemoryStore::new()));
        let archive = Archive::init(store, layout(), document).await.unwrap();
        let scene = Self {
            archive,
            host,
            sealed,
            recipients,
        };
        for point in points {
            scene.add(*point);
        }
        scene
    }

    fn objects(&self) -> &MemoryStore {
        self.archive.store().inner()
    }

    fn store(&self) -> &Memory {
        self.archive.store()
    }

    /// Creates an object, a month ago.
    fn put(&self, place: Place, body: impl Into<Bytes>) -> Key {
        self.put_at(place, body, Timestamp::now() - days(30))
    }

    fn put_at(&self, place: Place, body: impl Into<Bytes>, at: Timestamp) -> Key {
        let key = key(place);
        self.objects().overwrite(&key, body);
        assert!(self.objects().date(&key, at));
        key
    }

    fn manifest(&self, made: Made) -> Manifest {
        let part = |number| Part {
            key: made.part(number),
            stream_bytes: 10,
            stored_bytes: 5,
            crc32: 0,
            blake3: blake3::hash(b"parts"),
        };
        Manifest {
            archive: self.archive.document().id,
            terrarium: "0.1.0".to_owned(),
            exported: Timestamp::UNIX_EPOCH,
            lineage: lineage(made.lineage),
            instance: format!("instance-{}", made.lineage),
            project: None,
            instance_uuid: None,
            snapshot: SnapshotName::new(&format!("tank/web@{}", made.guid)).unwrap(),
            guid: Guid::new(made.guid),
            base: made.base,
            createtxg: None,
            creation: Timestamp::from_second(i64::from(made.day) * 86_400).unwrap(),
            kind: made.kind,
            alias: None,
            expires: None,
            send_flags: None,
            stream_bytes: 20,
            parts: vec![part(0), part(1)],
            recipients: self.recipients.clone(),
            sealed: self.sealed.clone(),
        }
    }

    fn add(&self, made: Made) {
        self.put(Place::Part(made.part(0)), "parts");
        self.put(Place::Part(made.part(1)), "parts");
        let manifest = self.manifest(made).write(Some(&self.host)).unwrap();
        self.put(Place::Manifest(made.place()), manifest);
    }

    fn annotate(&self, made: Made, number: u32, pinned: bool) -> Key {
        let annotation = Annotation {
            archive: self.archive.document().id,
            lineage: lineage(made.lineage),
            guid: Guid::new(made.guid),
            number,
            written: Timestamp::UNIX_EPOCH,
            alias: None,
            note: None,
            pinned,
        };
        let body = annotation.write(Some(&self.host)).unwrap();
        self.put(annotation.place(), body)
    }

    async fn plan(&self, rules: Rules) -> PrunePlan {
        let survey = self.archive.survey().await.unwrap();
        plan_prune(&survey, rules, Timestamp::now())
    }

    async fn carry_out(&self, plan: &PrunePlan) -> Result<Pruned, ArchiveError> {
        let host = Some(&self.host);
        self.archive.prune(plan, host, &|| false, &|_, _| {}).await
    }

    /// Plans and carries out; all of it must succeed.
    async fn prune(&self, rules: Rules) -> Pruned {
        let plan = self.plan(rules).await;
        let pruned = self.carry_out(&plan).await.unwrap();
        assert!(pruned.is_done(), "{pruned:?}");
        pruned
    }

    /// The guids of the points that are listed.
    fn listed(&self) -> BTreeSet<u64> {
        let keys = self.objects().keys();
        let guid = |key: &Key| match layout().place(key) {
            Some(Place::Manifest(place)) => Some(place.guid.get()),
            _ => None,
        };
        keys.iter().filter_map(guid).collect()
    }

    /// All keys but those of manifests and `archive.json`.
    fn others(&self) -> Vec<Key> {
        let mut keys = self.objects().keys();
        keys.retain(|key| {
            let place = layout().place(key);
            !matches!(place, Some(Place::Manifest(_) | Place::Archive))
        });
        keys
    }

    /// Every point that is listed has all that it needs.
    async fn assert_whole(&self, what: &str) {
        let verified = self
            .archive
            .verify(&Depth::Shallow, None, &Options::default(), |_| {})
            .await
            .unwrap();
        assert!(verified.is_whole(), "{what}: {:?}", verified.damages);
    }

    /// Nothing that nobody names is left.
    fn assert_clean(&self, points: usize) {
        let listed = self.listed();
        let mut others = self.others();
        others.retain(|key| match layout().place(key) {
            Some(Place::Annotation(place)) => !listed.contains(&place.guid.get()),
            _ => true,
        });
        assert_eq!(others.len(), 2 * points, "{others:?}");
    }
}

#[test]
fn a_point_goes_with_all_that_is_its_and_the_newest_stays() {
    let points = [full(1, 1), after(1, 2, 2), full(3, 3), after(3, 4, 4)];
    let scene = Scene::new(&points);
    scene.annotate(points[1], 1, false);
    run(async {
        let plan = scene.plan(NEWEST).await;
        let order: Vec<_> = plan.order.iter().map(|place| place.guid.get()).collect();
        assert_eq!((order, plan.freed_bytes()), (vec![2, 1], 20));
        let pruned = scene.carry_out(&plan).await.unwrap();
        assert!(pruned.is_done() && pruned.removed() == 2);
        assert!(pruned.freed_bytes > 20, "the annotation, too");
        assert_eq!(scene.listed(), [3, 4].into());
        scene.assert_whole("pruned").await;
        scene.assert_clean(2);
        assert!(scene.plan(NEWEST).await.is_empty());
        // What is done already costs nothing and writes nothing.
        let calls = scene.store().calls().len();
        assert!(scene.carry_out(&scene.plan(NEWEST).await).await.is_ok());
        let mut later = scene.store().calls().into_iter().skip(calls);
        assert!(later.all(|(call, _)| matches!(call, Call::List | Call::Read)));
    });
}

#[test]
fn a_manifest_goes_first_and_what_was_said_before_the_parts() {
    let scene = Scene::new(&[full(1, 1), full(2, 2)]);
    scene.annotate(full(1, 1), 1, false);
    run(scene.prune(NEWEST));
    let calls = scene.store().calls();
    let deleted: Vec<_> = calls
        .iter()
        .filter(|(call, _)| *call == Call::Delete)
        .map(|(_, key)| key.split('/').nth(3).unwrap().to_owned())
        .collect();
    // Of the probe for an archive; whether it may; the point; the notice.
    let words = [
        "probe",
        "probe",
        "manifests",
        "annotations",
        "streams",
        "streams",
        "removals",
    ];
    assert_eq!(deleted, words);
}

#[test]
fn what_is_pinned_on_demand_or_needed_stays_and_an_annotation_decides() {
    let on_demand = Made {
        kind: Kind::OnDemand,
        ..full(2, 2)
    };
    let released = Made {
        kind: Kind::OnDemand,
        ..full(3, 3)
    };
    let clone = Made {
        lineage: 2,
        base: Base::Origin(Guid::new(5)),
        ..full(6, 6)
    };
    let scene = Scene::new(&[
        full(1, 1),
        on_demand,
        released,
        full(4, 4),
        full(5, 5),
        clone,
        full(7, 7),
    ]);
    scene.annotate(full(1, 1), 1, true);
    scene.annotate(released, 1, true);
    scene.annotate(released, 2, false);
    run(async {
        scene.prune(NEWEST).await;
        assert_eq!(scene.listed(), [1, 2, 5, 6, 7].into());
        scene.assert_whole("pruned").await;
    });
}

#[test]
fn a_damaged_manifest_keeps_its_lineage_and_all_that_might_be_its() {
    let points = [full(1, 1), after(1, 2, 2), full(3, 3), full(4, 4)];
    let origin = Made {
        lineage: 2,
        ..full(8, 1)
    };
    let newer = Made {
        lineage: 2,
        ..full(9, 2)
    };
    let clone = Made {
        lineage: 3,
        base: Base::Origin(Guid::new(8)),
        ..full(10, 3)
    };
    let foreign = HostKey::generate().unwrap();
    for damage in ["{", "foreign"] {
        let scene = Scene::new(&points);
        for point in [origin, newer, clone] {
            scene.add(point);
        }
        for point in [points[1], clone] {
            let body = match damage {
                "foreign" => scene.manifest(point).write(Some(&foreign)).unwrap(),
                other => Bytes::from_static(other.as_bytes()),
            };
            scene.put(Place::Manifest(point.place()), body);
        }
        run(async {
            let plan = scene.plan(NEWEST).await;
            assert!(plan.is_empty(), "{damage}: {plan:?}");
            let reasons = |guid| {
                let mut points = plan.points.iter();
                let of = points.find(|point| point.place.guid == Guid::new(guid));
                of.unwrap().reasons.clone()
            };
            assert!(reasons(2).contains(&Reason::Unusable));
            assert!(reasons(3).contains(&Reason::BesideUnusable));
            // The stored parts tell what a manifest started from that says nothing any more.
            let expected = match damage {
                "{" => Reason::BuiltUpon,
                _ => Reason::NeededBy(clone.place()),
            };
            assert_eq!(reasons(8), [expected], "{damage}");
        });
    }
}

#[test]
fn parts_without_a_manifest_go_when_no_part_of_their_stream_is_young() {
    let scene = Scene::new(&[full(1, 1)]);
    let part = |guid, from: Option<u64>, run, number| {
        Place::Part(PartPlace {
            guid: Guid::new(guid),
            from: from.map(Guid::new),
            run: run_id(run),
            number,
        })
    };
    let now = Timestamp::now();
    // Of a run that was given up; of one that was resumed a while ago; of one whose age nobody knows.
    let old = [
        scene.put(part(50, None, 1, 0), "old"),
        scene.put(part(50, None, 2, 0), "old"),
    ];
    scene.put(part(51, None, 1, 0), "old");
    scene.put_at(part(51, None, 2, 1), "young", now - days(6));
    scene.put_at(part(52, None, 1, 0), "?", Timestamp::UNIX_EPOCH);
    scene.put_at(part(53, None, 1, 0), "tomorrow", now + days(1));
    run(async {
        let plan = scene.plan(NEWEST).await;
        let names: Vec<_> = plan.strays.iter().map(|stray| stray.name.clone()).collect();
        assert_eq!(names, old.each_ref().map(ToString::to_string));
        assert_eq!((plan.waiting, plan.order.len()), (4, 0));
        let pruned = scene.carry_out(&plan).await.unwrap();
        assert_eq!((pruned.strays, pruned.freed_bytes), (2, 6));
        assert_eq!(scene.others().len(), 2 + 4);
        scene.assert_whole("collected").await;
    });
}

#[test]
fn no_grace_is_so_short_that_a_journal_could_name_what_is_collected() {
    let scene = Scene::new(&[full(1, 1)]);
    let stray = Made {
        guid: 50,
        ..full(1, 1)
    };
    let at = Timestamp::now() - SignedDuration::from_hours(4 * 24 - 1);
    scene.put_at(Place::Part(stray.part(0)), "young", at);
    let rules = Rules {
        grace: SignedDuration::ZERO,
        ..NEWEST
    };
    run(async {
        assert!(scene.plan(rules).await.is_empty());
        let life = SignedDuration::try_from(terrarium_s3::pipeline::JOURNAL_LIFE).unwrap();
        assert!(life + days(1) <= terrarium_s3::archive::MIN_GRACE);
    });
}

#[test]
fn what_else_nobody_names_goes_too_and_what_is_not_ours_stays() {
    let scene = Scene::new(&[full(1, 1)]);
    let gone = full(2, 2);
    let orphan = scene.annotate(gone, 1, true);
    let probe = layout().probe(run_id(7)).unwrap();
    scene.objects().overwrite(&probe, "first");
    let month = Timestamp::now() - days(30);
    scene.objects().date(&probe, month);
    let notice = scene.put(Place::Removal(run_id(8)), "a prune that died");
    let alive = Timestamp::now() - SignedDuration::from_mins(90);
    scene.put_at(Place::Removal(run_id(9)), "another prune", alive);
    let young = layout().probe(run_id(10)).unwrap();
    scene.objects().overwrite(&young, "first");
    for other in ["v1/probe/mine", "v1/removals/x.txt", "v2/x", "note.txt"] {
        let key = Key::new(format!("backups/host-1/{other}")).unwrap();
        scene.objects().overwrite(&key, "mine");
        scene.objects().date(&key, month);
    }
    let before = scene.others().len();
    run(async {
        let plan = scene.plan(NEWEST).await;
        let mut found: Vec<_> = plan
            .strays
            .iter()
            .map(|stray| (stray.kind, stray.name.clone()))
            .collect();
        found.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(
            found,
            [
                (StrayKind::Annotation, orphan.to_string()),
                (StrayKind::Probe, probe.to_string()),
                (StrayKind::Notice, notice.to_string()),
            ]
        );
        scene.carry_out(&plan).await.unwrap();
        assert_eq!(scene.others().len(), before - 3);
    });
}

#[test]
fn a_clock_that_differs_from_the_stores_collects_nothing_too_early() {
    let scene = Scene::new(&[full(1, 1)]);
    let stray = Made {
        guid: 50,
        ..full(1, 1)
    };
    scene.put_at(Place::Part(stray.part(0)), "x", Timestamp::now() - days(2));
    run(async {
        let survey = scene.archive.survey().await.unwrap();
        // This host believes that it is next year; the store does not.
        let plan = plan_prune(&survey, NEWEST, Timestamp::now() + days(365));
        assert_eq!(plan.strays.len(), 1);
        let pruned = scene.carry_out(&plan).await.unwrap();
        assert_eq!((pruned.strays, scene.others().len()), (0, 3));
        // This host believes that it is last year: it finds nothing.
        let plan = plan_prune(&survey, NEWEST, Timestamp::now() - days(365));
        assert!(plan.is_empty());
    });
}

#[test]
fn parts_that_two_manifests_name_stay_for_the_other() {
    let one = full(1, 1);
    let scene = Scene::new(&[one, full(2, 2)]);
    // The same snapshot in another lineage, which is its newest there.
    let twin = Made { lineage: 2, ..one };
    let body = scene.manifest(twin).write(Some(&scene.host)).unwrap();
    scene.put(Place::Manifest(twin.place()), body);
    run(async {
        let pruned = scene.prune(NEWEST).await;
        assert_eq!((pruned.removed(), pruned.freed_bytes), (1, 0));
        scene.assert_whole("pruned").await;
        // When both go, so do the parts.
        scene.add(Made {
            lineage: 2,
            ..full(3, 3)
        });
        let pruned = scene.prune(NEWEST).await;
        assert_eq!((pruned.removed(), pruned.freed_bytes), (1, 10));
        scene.assert_whole("pruned").await;
        scene.assert_clean(2);
    });
}

#[test]
fn an_append_only_archive_is_left_as_it_is() {
    let scene = Scene::new(&[full(1, 1), full(2, 2)]);
    let before = scene.objects().keys();
    scene.store().inject(Fault::denied(Call::Delete).always());
    run(async {
        let plan = scene.plan(NEWEST).await;
        let error = scene.carry_out(&plan).await.unwrap_err();
        assert!(matches!(error, ArchiveError::AppendOnly { .. }), "{error}");
        assert!(error.help().unwrap().contains("append-only"));
        assert_eq!(scene.objects().keys(), before);
    });
}

#[test]
fn one_that_cannot_be_removed_keeps_what_it_needs_and_stops_no_other() {
    let points = [
        full(1, 1),
        after(1, 2, 2),
        after(2, 3, 3),
        full(4, 4),
        full(5, 5),
    ];
    let scene = Scene::new(&points);
    let held = Fault::denied(Call::Delete).matching("-2.json").always();
    scene.store().inject(held);
    run(async {
        let plan = scene.plan(NEWEST).await;
        let pruned = scene.carry_out(&plan).await.unwrap();
        assert!(!pruned.is_done());
        let outcome = |guid| {
            let mut points = pruned.points.iter();
            let point = points.find(|(place, _)| place.guid == Guid::new(guid));
            &point.unwrap().1
        };
        assert!(matches!(outcome(3), Outcome::Removed));
        assert!(matches!(outcome(4), Outcome::Removed));
        let denied = outcome(2);
        assert!(matches!(denied, Outcome::Failed(StoreError::Denied { .. })));
        let needed = Reason::NeededBy(points[1].place());
        assert!(matches!(outcome(1), Outcome::Kept(reasons) if reasons[..] == [needed]));
        assert_eq!(scene.listed(), [1, 2, 5].into());
        scene.assert_whole("pruned").await;
        scene.assert_clean(3);
    });
}

#[test]
fn a_store_that_stays_away_is_not_asked_for_every_point() {
    let points: Vec<_> = (1..=20).map(|day| full(u64::from(day), day)).collect();
    let scene = Scene::new(&points);
    let away = Fault::dropped(Call::Delete).matching("manifests").always();
    scene.store().inject(away);
    run(async {
        let plan = scene.plan(NEWEST).await;
        let pruned = scene.carry_out(&plan).await.unwrap();
        let asked = pruned.points.iter();
        let asked = asked.filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
        assert_eq!((asked.count(), pruned.points.len()), (3, 19));
        assert_eq!(scene.listed().len(), 20);
    });
}

#[test]
fn it_stops_between_two_points_when_it_is_told_to() {
    let points: Vec<_> = (1..=5).map(|day| full(u64::from(day), day)).collect();
    let scene = Scene::new(&points);
    run(async {
        let plan = scene.plan(NEWEST).await;
        let stop = || scene.listed().len() < 4;
        let host = Some(&scene.host);
        let pruned = scene.archive.prune(&plan, host, &stop, &|_, _| {}).await;
        let pruned = pruned.unwrap();
        assert!(pruned.interrupted && pruned.removed() == 2);
        scene.assert_whole("stopped").await;
        assert!(
            scene
                .others()
                .iter()
                .all(|key| !key.as_str().contains("removals"))
        );
    });
}

#[test]
fn what_was_said_or_published_after_the_plan_counts() {
    let points = [full(1, 1), full(2, 2), full(3, 3), full(4, 4)];
    let scene = Scene::new(&points);
    run(async {
        let plan = scene.plan(NEWEST).await;
        assert_eq!(plan.order.len(), 3);
        scene.annotate(points[0], 1, true);
        scene.add(after(2, 9, 9));
        let pruned = scene.carry_out(&plan).await.unwrap();
        assert!(pruned.is_done() && pruned.removed() == 1);
        // 4 is outranked by now, but nobody agreed to that.
        assert_eq!(scene.listed(), [1, 2, 4, 9].into());
        scene.assert_whole("pruned").await;
    });
}

#[test]
fn more_points_than_a_notice_names_go_all_the_same() {
    let count = u32::try_from(Removal::MAX_POINTS).unwrap() + 20;
    let points: Vec<_> = (1..=count).map(|day| full(u64::from(day), day)).collect();
    let scene = Scene::new(&points);
    run(async {
        let pruned = scene.prune(NEWEST).await;
        assert_eq!(pruned.removed(), points.len() - 1);
        scene.assert_clean(1);
    });
}

fn pin() -> Remark {
    Remark {
        pinned: Some(true),
        ..Remark::default()
    }
}

fn alias(alias: &str) -> Remark {
    Remark {
        alias: Some(Some(alias.to_owned())),
        ..Remark::default()
    }
}

#[test]
fn two_who_annotate_at_once_both_are_heard() {
    let point = full(1, 1);
    let scene = Scene::new(&[point, full(2, 2)]);
    run(async {
        let say = |remark: Remark| {
            let (archive, host) = (scene.archive.clone(), &scene.host);
            let now = Timestamp::now();
            async move {
                archive
                    .annotate(point.place(), &remark, Some(host), now)
                    .await
            }
        };
        let noted = Remark {
            note: Some(Some("one".to_owned())),
            ..Remark::default()
        };
        let (one, two) = tokio::join!(say(noted), say(pin()));
        assert!(one.unwrap().1 && two.unwrap().1);
        // A reply that is lost is asked for again, and is our own.
        let lost = Fault::lost_reply(Call::Create).matching("annotations");
        scene.store().inject(lost);
        let error = say(alias("golden")).await.unwrap_err();
        assert!(
            matches!(error, AnnotateError::Archive(ArchiveError::Store(_))),
            "{error}"
        );
        let (said, written) = say(alias("golden")).await.unwrap();
        assert!(!written, "it was said");
        assert_eq!(said.entry.annotations, [3, 2, 1]);
        let annotation = said.annotation.unwrap();
        assert_eq!(annotation.note.as_deref(), Some("one"));
        assert_eq!(annotation.alias.as_deref(), Some("golden"));
        assert!(annotation.pinned);

        let (of, golden) = (full(2, 2).place(), alias("golden"));
        let taken = scene.archive.annotate(of, &golden, None, Timestamp::now());
        let taken = taken.await.unwrap_err();
        assert!(matches!(&taken, AnnotateError::Taken { of, .. } if *of == point.place()));
    });
}

#[test]
fn what_is_said_of_a_point_that_is_going_is_not_taken_for_certain() {
    let points = [full(1, 1), full(2, 2)];
    let scene = Scene::new(&points);
    let now = Timestamp::now();
    let notice = |place: ManifestPlace, at| {
        let removal = Removal {
            archive: scene.archive.document().id,
            run: run_id(place.guid.get()),
            written: now,
            points: vec![place],
        };
        let body = removal.write(None).unwrap();
        scene.put_at(removal.place(), body, at)
    };
    run(async {
        let pin = pin();
        let say = async |made: Made| {
            let (place, host) = (made.place(), Some(&scene.host));
            let said = scene.archive.annotate(place, &pin, host, now);
            said.await.map(|(_, written)| written)
        };
        notice(points[1].place(), now);
        assert!(say(points[0]).await.unwrap(), "it names another");
        let error = say(points[1]).await.unwrap_err();
        assert!(matches!(error, AnnotateError::BeingRemoved(_)), "{error}");

        notice(points[1].place(), now - SignedDuration::from_hours(3));
        let unpinned = Remark {
            pinned: Some(false),
            ..Remark::default()
        };
        let said = scene
            .archive
            .annotate(points[1].place(), &unpinned, Some(&scene.host), now);
        assert!(said.await.unwrap().1, "that prune died");
        let gone = say(full(7, 7)).await.unwrap_err();
        assert!(matches!(gone, AnnotateError::Gone(_)), "{gone}");
        let foreign = HostKey::generate().unwrap();
        let body = scene.manifest(points[0]).write(Some(&foreign)).unwrap();
        scene.put(Place::Manifest(points[0].place()), body);
        let unsigned = say(points[0]).await.unwrap_err();
        assert!(matches!(unsigned, AnnotateError::Unsigned(_)), "{unsigned}");
    });
}

/// Trees in two lineages, clones among them, some points pinned; and what nobody names.
fn scenes() -> impl Strategy<Value = Vec<Made>> {
    let point = (1..3u8, 0..60u32, any::<prop::sample::Index>(), 0..5u8);
    prop::collection::vec(point, 2..7).prop_map(|drawn| {
        let mut points: Vec<Made> = Vec::new();
        for (number, (lineage, day, base, kind)) in drawn.into_iter().enumerate() {
            let base = (kind > 0 && !points.is_empty()).then(|| *base.get(&points));
            points.push(Made {
                lineage,
                day,
                guid: number as u64 + 1,
                base: match base {
                    None => Base::Full,
                    Some(base) if base.lineage == lineage => Base::Point(Guid::new(base.guid)),
                    Some(base) => Base::Origin(Guid::new(base.guid)),
                },
                kind: match kind {
                    4 => Kind::OnDemand,
                    _ => Kind::Scheduled,
                },
            });
        }
        points
    })
}

/// Prunes while a fault strikes; then once more without it, and once more when all is old.
async fn prune_with(scene: &Scene, fault: Fault, what: &str) {
    let plan = scene.plan(NEWEST).await;
    let stays: BTreeSet<_> = plan
        .points
        .iter()
        .filter(|point| !point.reasons.is_empty())
        .map(|point| point.place.guid.get())
        .collect();
    scene.store().inject(fault);
    let pruned = scene.carry_out(&plan).await;
    scene.store().heal();
    scene.assert_whole(what).await;
    assert!(scene.listed().is_superset(&stays), "{what}");
    if let Ok(pruned) = &pruned {
        for (place, outcome) in &pruned.points {
            let listed = scene.listed().contains(&place.guid.get());
            let gone = matches!(outcome, Outcome::Removed | Outcome::Gone);
            let unknown = matches!(outcome, Outcome::Failed(StoreError::Unavailable { .. }));
            assert!(unknown || gone != listed, "{what}: {outcome:?}");
        }
    }
    for key in scene.objects().keys() {
        scene.objects().date(&key, Timestamp::now() - days(30));
    }
    scene.prune(NEWEST).await;
    scene.assert_whole(what).await;
    assert_eq!(scene.listed(), stays, "{what}");
    scene.assert_clean(stays.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn whatever_call_fails_and_wherever_it_dies_every_listed_point_is_whole(points in scenes()) {
        let scene = async || {
            let scene = Scene::made(&points).await;
            let stray = Made { guid: 90, ..full(1, 1) };
            scene.put(Place::Part(stray.part(0)), "stray");
            scene.annotate(points[0], 1, points[0].kind == Kind::OnDemand);
            scene
        };
        run(async {
            let whole = scene().await;
            let plan = whole.plan(NEWEST).await;
            let calls = whole.store().calls().len();
            whole.carry_out(&plan).await.unwrap();
            let made = whole.store().calls().split_off(calls);
            for call in [Call::Create, Call::Read, Call::List, Call::Delete] {
                let count = made.iter().filter(|(made, _)| *made == call).count();
                for nth in 1..=count {
                    for (kind, fault) in [
                        ("dropped", Fault::dropped(call)),
                        ("reply lost", Fault::lost_reply(call)),
                        ("denied", Fault::denied(call)),
                        ("away from then on", Fault::dropped(call).always()),
                        ("dies, its last reply lost", Fault::lost_reply(call).always()),
                    ] {
                        let what = format!("{call:?} {nth} {kind}, of {points:?}");
                        prune_with(&scene().await, fault.nth(nth), &what).await;
                    }
                }
            }
        });
    }
}
