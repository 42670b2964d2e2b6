//! Exports that start from the image that an instance was made of.

use terrarium_core::export::ExportedOrigin;
use terrarium_core::plan::NoOrigin;
use terrarium_s3::archive::{Depth, State};
use terrarium_s3::format::{Base as From, Manifest};
use terrarium_zfs::{Guid, SnapshotName};

use crate::rig::{Rig, dataset, named};
use crate::*;

/// A rig whose exports are aware of images.
async fn aware() -> Rig {
    let mut rig = Rig::new().await;
    rig.policy.image_aware = true;
    rig
}

fn origin(exported: &Exported) -> &ExportedOrigin {
    exported.origin.as_ref().expect("it started from one")
}

async fn manifest(rig: &Rig, lineage: Lineage, guid: Guid) -> Manifest {
    let catalog = rig.archive.catalog().await.expect("listed");
    let entry = catalog.find(lineage, guid).expect("it is there");
    rig.archive.point(entry).await.expect("read").manifest
}

/// All that is stored, in bytes: parts, and what leads to them.
fn stored(rig: &Rig) -> usize {
    let objects = rig.store.inner().keys();
    let sizes = objects.iter().filter_map(|key| rig.store.inner().get(key));
    sizes.map(|object| object.len()).sum()
}

#[tokio::test]
async fn the_image_of_five_instances_is_stored_once() {
    let mut sizes = Vec::new();
    for image_aware in [false, true] {
        let mut rig = Rig::new().await;
        rig.policy.image_aware = image_aware;
        let image = rig.image("0af1", 1_000_000);
        let before = stored(&rig);
        for name in ["a", "b", "c", "d", "e"] {
            let instance = rig.clone_of(&image, name);
            let one = rig.snapshot(name, "one", 20_000);
            let exported = rig.export(&instance).await.expect("exported");
            let lineage = lineage(&exported);
            let back = rig.comes_back(lineage, &one).await;
            let (expected, base) = match image_aware {
                false => ("one full: it is the first of its lineage", From::Full),
                true => {
                    let guid = origin(&exported).guid;
                    ("one since tank/images/0af1@readonly, 2", From::Origin(guid))
                }
            };
            assert_eq!((shown(&exported).as_str(), back.base), (expected, base));
            if image_aware {
                assert_eq!(origin(&exported).stored.is_some(), name == "a");
            }
        }
        sizes.push(stored(&rig) - before);
        assert_eq!((rig.held().len(), rig.journals().len()), (0, 0));
        assert_eq!(rig.bookmarks("a").len(), 1);
        let of_image = rig.listing().bookmarks;
        let of_image = of_image
            .iter()
            .filter(|bookmark| bookmark.name.dataset_str() == image.dataset_str());
        assert_eq!(of_image.count(), 0, "its dataset is LXD's");
    }
    println!("five instances of one image: {sizes:?} bytes, in full and aware of the image");
    let (full, aware) = (sizes[0], sizes[1]);
    assert!(full > 5 * 1_000_000, "{full}");
    assert!(aware < 1_000_000 + 5 * 60_000, "{aware}");
}

#[tokio::test]
async fn an_image_is_a_point_of_its_own_with_a_place_that_follows_from_its_guid() {
    let rig = aware().await;
    let image = rig.image("0af1", 50_000);
    let web = rig.clone_of(&image, "web");
    rig.snapshot("web", "one", 10_000);
    let first = rig.export(&web).await.expect("exported");
    let of_it = origin(&first);
    assert_eq!(of_it.snapshot, image);
    let stored = of_it.stored.expect("it was stored");
    assert!(
        stored.stream_bytes > 50_000 && stored.parts == 2,
        "{stored:?}"
    );
    assert!(first.stored.expect("stored").stream_bytes < 50_000);
    let place = Lineage::of_origin(of_it.guid);
    let found = manifest(&rig, place, of_it.guid).await;
    assert_eq!(
        (found.instance.as_str(), found.project.as_deref()),
        ("image:0af1", None)
    );
    assert_eq!((found.snapshot.clone(), found.base), (image, From::Full));
    assert!(found.createtxg.is_some() && found.alias.is_none());
    assert!(rig.sealed(&found).definition.is_none());

    // The increments after it are as ever, and read the image too.
    let two = rig.snapshot("web", "two", 10_000);
    let second = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&second), "two since @one, 3");
    assert!(second.origin.is_none());
    rig.comes_back(lineage(&second), &two).await;
    let up_to_date = rig.export(&web).await.expect("nothing to do");
    assert_eq!(shown(&up_to_date), "up to date");
}

#[tokio::test]
async fn an_instance_that_is_no_clone_is_exported_in_full_and_that_is_said() {
    let rig = aware().await;
    let web = rig.instance("web");
    rig.snapshot("web", "one", 10_000);
    let first = rig.export(&web).await.expect("exported");
    let ExportDecision::Send { base, .. } = &first.decision else {
        panic!("{first:?}");
    };
    let full = Base::Full {
        why: FullBecause::First,
        no_origin: Some(NoOrigin::NotAClone),
    };
    assert_eq!(*base, full);
}

/// A rewind clones and promotes: the image stays what the instance was made of.
#[tokio::test]
async fn after_a_rewind_a_new_chain_starts_from_the_image_again() {
    let mut rig = aware().await;
    let image = rig.image("0af1", 300_000);
    let web = rig.clone_of(&image, "web");
    let one = rig.snapshot("web", "one", 10_000);
    rig.export(&web).await.expect("exported");
    rig.snapshot("web", "two", 10_000);
    rig.export(&web).await.expect("exported");
    {
        let session = rig.begin(&web).await;
        let request = RestoreRequest {
            at: Some("one".to_owned()),
            start: false,
            to: Destination::InPlace {
                stop: Stop::Graceful(Duration::from_secs(1)),
                destroy_newer: false,
            },
        };
        let plan = session.planner().plan_restore(&web, &request).await;
        let plan = plan.expect("a plan").expect("something to do");
        assert!(session.execute(&plan, &Silent).await.is_complete());
    }
    let three = rig.snapshot("web", "three", 10_000);
    let third = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&third), "three since @one, 3");
    rig.policy.max_length = 3;
    let four = rig.snapshot("web", "four", 10_000);
    let fourth = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&fourth), "four since tank/images/0af1@readonly, 2");
    assert_eq!(origin(&fourth).stored, None);
    for point in [one, three, four] {
        rig.comes_back(lineage(&third), &point).await;
    }
}

/// LXD renames the image when it is deleted there; the copy of a copy starts from the same.
#[tokio::test]
async fn a_copy_starts_from_the_point_that_it_was_made_of_or_from_the_image_of_that() {
    let rig = aware().await;
    let image = rig.image("0af1", 200_000);
    let web = rig.clone_of(&image, "web");
    let one = rig.snapshot("web", "one", 100_000);
    let rename = |from: &str, to: &str| rig.engine.rename(&named(from), &named(to));
    for parent in ["tank/deleted", "tank/deleted/images"] {
        let created = rig
            .engine
            .create(&named(parent), &terrarium_zfs::Properties::new());
        created.expect("created");
    }
    rename("tank/images/0af1", "tank/deleted/images/0af1").expect("renamed");
    let copy = rig.clone_of(&one, "copy");
    let copied = rig.snapshot("copy", "copied", 10_000);
    let exported = rig.export(&copy).await.expect("exported");
    assert_eq!(
        shown(&exported),
        "copied since tank/deleted/images/0af1@readonly, 2"
    );
    let stored = exported.stored.expect("stored").stream_bytes;
    assert!((100_000..200_000).contains(&stored), "{stored}");
    let guid = origin(&exported).guid;
    let found = manifest(&rig, Lineage::of_origin(guid), guid).await;
    assert_eq!(found.instance, "image:0af1");
    rig.comes_back(lineage(&exported), &copied).await;

    let exported = rig.export(&web).await.expect("exported");
    assert_eq!(origin(&exported).stored, None, "it is there");
    let second = rig.clone_of(&one, "second");
    let copied = rig.snapshot("second", "copied", 10_000);
    let exported = rig.export(&second).await.expect("exported");
    assert_eq!(shown(&exported), "copied since tank/containers/web@one, 3");
    assert!(exported.stored.expect("stored").stream_bytes < 50_000);
    rig.comes_back(lineage(&exported), &copied).await;
}

/// Each listed before the other had stored anything.
#[tokio::test]
async fn two_exports_of_one_image_at_once_list_it_once() {
    let rig = aware().await;
    let image = rig.image("0af1", 300_000);
    let (a, b) = (rig.clone_of(&image, "a"), rig.clone_of(&image, "b"));
    let points = [
        rig.snapshot("a", "one", 10_000),
        rig.snapshot("b", "one", 10_000),
    ];
    let catalog = rig.archive.catalog().await.expect("listed");
    let to = rig.to(&catalog);
    let (first, second) = (rig.begin(&a).await, rig.begin(&b).await);
    let plan_a = first.planner().plan_export(&a, &to).await.expect("a plan");
    let plan_b = second.planner().plan_export(&b, &to).await.expect("a plan");
    let (a, b) = tokio::join!(first.export(&plan_a, &to), second.export(&plan_b, &to));
    let exported = [a.expect("exported"), b.expect("exported")];
    let guid = origin(&exported[0]).guid;
    let stored = exported.iter().filter_map(|one| origin(one).stored);
    assert_eq!(stored.count(), 1, "the other one's is a leftover");
    assert_eq!(rig.listed(Lineage::of_origin(guid)), 1);
    for (exported, point) in exported.iter().zip(&points) {
        rig.comes_back(lineage(exported), point).await;
    }
    assert_eq!((rig.held().len(), rig.journals().len()), (0, 0));
}

#[tokio::test]
async fn an_image_that_is_damaged_in_the_archive_is_no_base_and_all_that_need_it_are_named() {
    let rig = aware().await;
    let image = rig.image("0af1", 100_000);
    let mut guids = Vec::new();
    for name in ["a", "b"] {
        let instance = rig.clone_of(&image, name);
        rig.snapshot(name, "one", 10_000);
        guids.push(rig.export(&instance).await.expect("exported").guid);
    }
    let guid = rig.engine.guid(image.as_str()).unwrap().expect("here");
    let found = manifest(&rig, Lineage::of_origin(guid), guid).await;
    let layout = rig.archive.layout();
    let part = layout.key(&terrarium_s3::format::Place::Part(found.parts[0].key));
    let part = part.expect("a key");
    let whole = rig.store.inner().get(&part).expect("stored");
    assert!(rig.store.inner().vanish(&part));
    let verify = async || {
        let verified = rig
            .archive
            .verify(&Depth::Shallow, None, &rig.options, |_| {});
        verified.await.expect("verified")
    };
    let verified = verify().await;
    assert_eq!(verified.damages.len(), 1);
    let damage = &verified.damages[0];
    assert!(damage.problem.to_string().contains(part.as_str()));
    let mut affected: Vec<_> = damage.affects.iter().map(|place| place.guid).collect();
    affected.sort();
    guids.push(guid);
    guids.sort();
    assert_eq!(affected, guids);
    rig.store.inner().overwrite(&part, whole);
    assert!(verify().await.is_whole());

    // Its manifest was changed: nobody builds on it, and it cannot be replaced.
    let place = terrarium_s3::format::Document::place(&found);
    let key = layout.key(&place).expect("a key");
    assert!(rig.store.inner().tamper(&key, |body| {
        let text = String::from_utf8(std::mem::take(body)).expect("JSON");
        *body = text.replace("image:0af1", "image:0af2").into_bytes();
    }));
    let c = rig.clone_of(&image, "c");
    let one = rig.snapshot("c", "one", 10_000);
    let exported = rig.export(&c).await.expect("exported");
    let ExportDecision::Send { base, .. } = &exported.decision else {
        panic!("{exported:?}");
    };
    let no_origin = Some(NoOrigin::Unusable { guid });
    assert!(matches!(base, Base::Full { no_origin: found, .. } if *found == no_origin));
    assert!(exported.notices[0].text.contains("nothing builds on it"));
    rig.comes_back(lineage(&exported), &one).await;
    // Nor does what was built on it before.
    let a = "a".parse().expect("a name");
    rig.snapshot("a", "two", 10_000);
    let exported = rig.export(&a).await.expect("exported");
    assert!(
        shown(&exported).starts_with("two full: "),
        "{}",
        shown(&exported)
    );
    let verified = verify().await;
    assert!(
        verified
            .points
            .iter()
            .any(|point| point.state != State::Whole)
    );
}

/// It was removed from the archive, whoever did that: it is stored once more, in the same place.
#[tokio::test]
async fn an_image_that_is_gone_from_the_archive_is_stored_again() {
    let rig = aware().await;
    let image = rig.image("0af1", 100_000);
    let web = rig.clone_of(&image, "web");
    let one = rig.snapshot("web", "one", 10_000);
    let first = rig.export(&web).await.expect("exported");
    let guid = origin(&first).guid;
    let found = manifest(&rig, Lineage::of_origin(guid), guid).await;
    let place = terrarium_s3::format::Document::place(&found);
    let key = rig.archive.layout().key(&place).expect("a key");
    assert!(rig.store.inner().vanish(&key));
    let two = rig.snapshot("web", "two", 10_000);
    let second = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&second), "two since tank/images/0af1@readonly, 2");
    assert!(origin(&second).stored.is_some());
    rig.comes_back(lineage(&second), &two).await;
    rig.comes_back(lineage(&first), &one).await;
}

/// Every call of the store fails from one on, in turn; the next export goes through.
#[tokio::test]
async fn an_export_that_is_cut_off_at_any_call_of_the_store_goes_on() {
    let mut rig = aware().await;
    rig.options.attempts = 1;
    let mut failures = 0;
    for call in [Call::List, Call::Read, Call::Create] {
        for nth in 1.. {
            let name = format!("{call:?}-{nth}").to_lowercase();
            let image = rig.image(&name, 150_000);
            let instance = rig.clone_of(&image, &name);
            let one = rig.snapshot(&name, "one", 100_000);
            rig.store.inject(Fault::dropped(call).nth(nth).always());
            let cut = rig.export(&instance).await;
            rig.store.heal();
            let guid = rig.engine.guid(image.as_str()).unwrap().expect("here");
            let Err(error) = cut else {
                break;
            };
            failures += 1;
            assert_eq!(error.class(), Class::Unavailable, "{name}: {error:?}");
            assert!(rig.listed(Lineage::of_origin(guid)) <= 1);
            assert_eq!(rig.held(), [""; 0], "{name}");
            let next = rig.export(&instance).await.expect("exported");
            assert_eq!(shown(&next), format!("one since {image}, 2"), "{name}");
            rig.comes_back(lineage(&next), &one).await;
            assert_eq!(rig.listed(Lineage::of_origin(guid)), 1);
            assert_eq!(rig.journals().len(), 0, "{name}");
        }
    }
    // Two listings of all, one of each lineage; the image's three parts and manifest, two and one of the instance.
    assert!(failures >= 9, "{failures}");
}

/// The engine is killed while it sends the image, and while it sends the instance.
#[tokio::test]
async fn an_export_whose_engine_is_killed_goes_on() {
    for creates in [3, 12] {
        let mut rig = aware().await;
        rig.options.workers = std::num::NonZeroUsize::new(1);
        let image = rig.image("0af1", 400_000);
        let web = rig.clone_of(&image, "web");
        let one: SnapshotName = rig.snapshot("web", "one", 2_000_000);
        let slow = Fault::delayed(Call::Create, Duration::from_millis(20)).always();
        rig.store.inject(slow.matching("/streams/"));
        let before = rig.store.count(Call::Create);
        let killing = async {
            while rig.store.count(Call::Create) < before + creates {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            rig.kill();
        };
        let (cut, ()) = tokio::join!(rig.export(&web), killing);
        let error = cut.unwrap_err();
        assert!(matches!(error, ExportError::Send { .. }), "{error:?}");
        rig.store.heal();
        rig.reopen();
        let next = rig.export(&web).await.expect("exported");
        assert_eq!(shown(&next), "one since tank/images/0af1@readonly, 2");
        let of_image = origin(&next).stored;
        let reused = of_image.or(next.stored).expect("stored").reused_parts;
        assert!(reused >= 1, "{next:?}");
        assert_eq!((rig.held().len(), rig.journals().len()), (0, 0));
        rig.comes_back(lineage(&next), &one).await;
    }
}

#[tokio::test]
async fn what_is_written_to_an_instance_of_a_bookmarked_point_needs_no_image_here() {
    let rig = aware().await;
    let image = rig.image("0af1", 100_000);
    let web = rig.clone_of(&image, "web");
    let one = rig.snapshot("web", "one", 10_000);
    rig.export(&web).await.expect("exported");
    // Promoted, the instance owns the image's snapshot, and the image can go.
    rig.engine.promote(&dataset("web")).expect("promoted");
    rig.engine
        .destroy(&named("tank/images/0af1"))
        .expect("destroyed");
    rig.engine.destroy_snapshots(&[one]).expect("destroyed");
    let two = rig.snapshot("web", "two", 10_000);
    let second = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&second), "two since a bookmark, 3");
    rig.comes_back(lineage(&second), &two).await;
}
