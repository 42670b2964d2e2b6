//! Exports of instances of a pool file, with real streams: into an archive, and back out of it.

#[path = "export/images.rs"]
mod images;
#[path = "export/origins.rs"]
mod origins;
#[path = "support/export.rs"]
mod rig;
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use rig::{Rig, dataset};
use terrarium_core::export::{ExportError, Exported, NewLineage};
use terrarium_core::plan::{Base, ExportDecision, FullBecause};
use terrarium_core::{
    Class, Destination, Error, InstanceRef, Instances, PoolFile, RestoreRequest, Silent, Stop,
};
use terrarium_s3::format::Lineage;
use terrarium_s3::pipeline::{PublishError, WriteError};
use terrarium_s3::{Call, Fault, StoreError};
use terrarium_zfs::SendSource;

/// In one line: what was sent and since what, or why all of it.
fn shown(exported: &Exported) -> String {
    match &exported.decision {
        ExportDecision::UpToDate { .. } => "up to date".to_owned(),
        ExportDecision::Send { target, base, .. } => match base {
            Base::Full { why, .. } => format!("{} full: {why}", target.name()),
            Base::Origin { from, length, .. } => {
                format!("{} since {from}, {length}", target.name())
            }
            Base::Increment { from, length, .. } => {
                let mark = match from {
                    SendSource::Snapshot(name) => format!("@{}", name.name()),
                    SendSource::Bookmark(_) => "a bookmark".to_owned(),
                };
                format!("{} since {mark}, {length}", target.name())
            }
        },
    }
}

fn lineage(exported: &Exported) -> Lineage {
    exported.lineage.expect("it has one")
}

#[tokio::test]
async fn the_first_export_is_full_the_next_an_increment_and_the_third_nothing() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    let refused = rig.export(&web).await.unwrap_err();
    assert!(matches!(
        refused,
        ExportError::Host(Error::NothingToExport { .. })
    ));
    assert_eq!(rig.local("web"), BTreeMap::new(), "nothing was begun");

    let one = rig.snapshot("web", "one", 300_000);
    let first = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&first), "one full: it is the first of its lineage");
    assert_eq!(first.new_lineage, Some(NewLineage::First));
    let stored = first.stored.expect("it was stored");
    assert!(stored.parts >= 5 && stored.reused_parts == 0, "{stored:?}");
    assert!(stored.stream_bytes > 300_000 && stored.stored_bytes > 300_000);
    let kept = rig.local("web");
    assert_eq!(
        kept.get("terrarium:lineage"),
        Some(&lineage(&first).to_string())
    );

    let two = rig.snapshot("web", "two", 100_000);
    let second = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&second), "two since @one, 2");
    assert_eq!(
        (second.lineage, &second.new_lineage),
        (first.lineage, &None)
    );
    let stored = second.stored.expect("it was stored");
    assert!(stored.stream_bytes < 250_000, "{stored:?}");

    let creates = rig.store.count(Call::Create);
    let third = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&third), "up to date");
    assert_eq!((third.stored, third.lineage), (None, first.lineage));
    assert_eq!(rig.store.count(Call::Create), creates);

    let bookmarks = [first.guid, second.guid].map(|guid| format!("terrarium-{guid}"));
    assert_eq!(rig.bookmarks("web"), bookmarks);
    assert_eq!(rig.held(), [""; 0]);
    assert_eq!(rig.journals().len(), 0);
    for (point, base) in [(one, None), (two, Some(first.guid))] {
        let manifest = rig.comes_back(lineage(&first), &point).await;
        assert_eq!(manifest.from_guid(), base);
        assert_eq!(manifest.snapshot, point);
        assert_eq!(
            (manifest.instance.as_str(), manifest.project.as_deref()),
            ("web", Some("default"))
        );
        assert!(manifest.createtxg.is_some() && manifest.send_flags.is_some());
    }
}

#[tokio::test]
async fn what_was_once_exported_costs_one_listing_for_all_instances() {
    let rig = Rig::new().await;
    let mut all = Vec::new();
    for name in ["a", "b", "c"] {
        all.push(rig.instance(name));
        rig.snapshot(name, "one", 10_000);
        rig.export(all.last().unwrap()).await.expect("exported");
    }
    let counted = || [Call::List, Call::Read, Call::Create].map(|call| rig.store.count(call));
    let before = counted();
    let catalog = rig.archive.catalog().await.expect("listed");
    let listed = counted();
    let looked = rig.host.look(rig.now()).await.expect("observed");
    for instance in &all {
        let plan = looked.plan_export(instance, &rig.to(&catalog)).await;
        let plan = plan.expect("a plan");
        assert!(plan.is_settled(), "{plan:?}");
        assert_eq!(shown(&plan.settled()), "up to date");
    }
    assert_eq!(counted(), listed);
    // Of the manifests, and of what was said of them later.
    assert_eq!(listed[0] - before[0], 2);
}

#[tokio::test]
async fn a_plan_changes_nothing() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    rig.snapshot("web", "one", 10_000);
    let objects = rig.store.inner().keys();
    let catalog = rig.archive.catalog().await.expect("listed");
    let looked = rig.host.look(rig.now()).await.expect("observed");
    let plan = looked.plan_export(&web, &rig.to(&catalog)).await;
    let plan = plan.expect("a plan");
    assert!(!plan.is_settled());
    assert_eq!(
        (plan.lineage, plan.new_lineage),
        (None, Some(NewLineage::First))
    );
    assert_eq!(rig.local("web"), BTreeMap::new());
    assert_eq!(rig.store.inner().keys(), objects);
    assert_eq!((rig.held(), rig.bookmarks("web")), (vec![], vec![]));
}

#[tokio::test]
async fn a_bookmark_serves_when_the_exported_snapshot_is_gone() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    let one = rig.snapshot("web", "one", 200_000);
    rig.export(&web).await.expect("exported");
    let two = rig.snapshot("web", "two", 20_000);
    rig.engine.destroy_snapshots(&[one]).expect("destroyed");
    let second = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&second), "two since a bookmark, 2");
    rig.comes_back(lineage(&second), &two).await;
}

#[tokio::test]
async fn without_snapshot_and_bookmark_it_is_an_honest_full() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    let one = rig.snapshot("web", "one", 20_000);
    let first = rig.export(&web).await.expect("exported");
    let two = rig.snapshot("web", "two", 20_000);
    rig.engine.destroy_snapshots(&[one]).expect("destroyed");
    let bookmark = dataset("web").bookmark(&format!("terrarium-{}", first.guid));
    rig.engine
        .destroy_bookmarks(&[bookmark.unwrap()])
        .expect("destroyed");
    let second = rig.export(&web).await.expect("exported");
    let ExportDecision::Send { base, .. } = &second.decision else {
        panic!("{second:?}");
    };
    assert_eq!(
        *base,
        Base::Full {
            why: FullBecause::NothingInCommon,
            no_origin: None,
        }
    );
    assert_eq!(second.lineage, first.lineage);
    rig.comes_back(lineage(&second), &two).await;
}

#[tokio::test]
async fn an_instance_that_was_made_anew_has_a_lineage_of_its_own() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    let one = rig.snapshot("web", "one", 20_000);
    let first = rig.export(&web).await.expect("exported");
    rig.engine
        .destroy_snapshots(std::slice::from_ref(&one))
        .expect("destroyed");
    let bookmark = dataset("web").bookmark(&format!("terrarium-{}", first.guid));
    rig.engine
        .destroy_bookmarks(&[bookmark.unwrap()])
        .expect("destroyed");
    rig.engine.destroy(&dataset("web")).expect("destroyed");

    rig.instance("web");
    rig.snapshot("web", "one", 20_000);
    let second = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&second), "one full: it is the first of its lineage");
    assert_ne!(second.lineage, first.lineage);
    assert_eq!(rig.listed(lineage(&first)), 1, "the old one stays");
}

/// LXD gives every instance a `volatile.uuid`; a copy of a dataset takes the properties along.
#[tokio::test]
async fn a_copy_does_not_go_on_with_the_lineage_of_its_source() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    let instances = PoolFile::new(rig.engine.clone()).expect("a short name");
    let uuid = |uuid: &str| BTreeMap::from([("volatile.uuid".to_owned(), Some(uuid.to_owned()))]);
    instances.set_config(&web, &uuid("u-1")).await.expect("set");
    rig.snapshot("web", "one", 20_000);
    let first = rig.export(&web).await.expect("exported");
    assert_eq!(rig.local("web")["terrarium:lineage-of"], "u-1");

    instances.set_config(&web, &uuid("u-2")).await.expect("set");
    let two = rig.snapshot("web", "two", 20_000);
    let second = rig.export(&web).await.expect("exported");
    let source = lineage(&first);
    assert_eq!(
        second.new_lineage,
        Some(NewLineage::Copy { lineage: source })
    );
    assert_eq!(shown(&second), "two full: it is the first of its lineage");
    assert_ne!(second.lineage, first.lineage);
    let manifest = rig.comes_back(lineage(&second), &two).await;
    assert_eq!(manifest.instance_uuid.as_deref(), Some("u-2"));
    assert_eq!(
        shown(&rig.export(&web).await.expect("exported")),
        "up to date"
    );
}

#[tokio::test]
async fn a_rewound_instance_branches_from_the_point_that_it_went_back_to() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    for name in ["one", "two"] {
        rig.snapshot("web", name, 50_000);
        rig.export(&web).await.expect("exported");
    }
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
    let report = session
        .execute(&plan.unwrap().expect("a plan"), &Silent)
        .await;
    assert!(report.is_complete(), "{report:#?}");
    drop(session);

    let three = rig.snapshot("web", "three", 50_000);
    let third = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&third), "three since @one, 2");
    assert_eq!(rig.listed(lineage(&third)), 3);
    rig.comes_back(lineage(&third), &three).await;
}

#[tokio::test]
async fn what_lxd_has_of_the_instance_is_sealed_and_comes_back_whole() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    let instances = PoolFile::new(rig.engine.clone()).expect("a short name");
    let secret = BTreeMap::from([("user.note".to_owned(), Some("hunter2".to_owned()))]);
    instances.set_config(&web, &secret).await.expect("set");
    let one = rig.snapshot("web", "one", 20_000);
    let first = rig.export(&web).await.expect("exported");
    let manifest = rig.comes_back(lineage(&first), &one).await;
    let definition = rig.sealed(&manifest).definition.expect("it is there");
    let back: terrarium_core::Definition =
        serde_json::from_value(definition.instance.into()).expect("the same form");
    let record = instances
        .get(&web)
        .await
        .expect("read")
        .expect("it is there");
    assert_eq!(back, record.definition);
    assert_eq!(back.config["user.note"], "hunter2");
    assert_eq!(definition.profiles.len(), 1);
    assert_eq!(definition.profiles[0]["name"], "default");
    assert!(definition.profiles[0]["devices"]["root"].is_object());
    let clear = rig.store.inner().keys();
    let clear = clear.iter().filter_map(|key| rig.store.inner().get(key));
    for object in clear {
        assert!(!String::from_utf8_lossy(&object).contains("hunter2"));
    }
}

#[tokio::test]
async fn another_host_does_not_go_on_with_a_lineage_unless_it_says_so() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    rig.snapshot("web", "one", 20_000);
    let first = rig.export(&web).await.expect("exported");
    let two = rig.snapshot("web", "two", 20_000);
    let creates = rig.store.count(Call::Create);

    let refused = rig
        .export_by(&web, &rig.other_key, false)
        .await
        .unwrap_err();
    assert_eq!(refused.class(), Class::Refused);
    assert!(
        matches!(&refused, ExportError::ForeignHost { key, .. } if **key == rig.key.verifying_key()),
        "{refused:?}"
    );
    assert!(refused.help().expect("help").contains("--adopt"));
    let unknown = terrarium_s3::crypto::HostKey::generate().expect("a key");
    let refused = rig.export_by(&web, &unknown, true).await.unwrap_err();
    assert!(
        matches!(refused, ExportError::MayNotSign { .. }),
        "{refused:?}"
    );
    assert_eq!(rig.store.count(Call::Create), creates);
    assert_eq!(rig.held(), [""; 0]);

    let adopted = rig.export_by(&web, &rig.other_key, true).await;
    assert_eq!(shown(&adopted.expect("exported")), "two since @one, 2");
    rig.comes_back(lineage(&first), &two).await;
    rig.snapshot("web", "three", 20_000);
    let again = rig.export_by(&web, &rig.other_key, false).await;
    assert_eq!(shown(&again.expect("exported")), "three since @two, 3");
    rig.snapshot("web", "four", 20_000);
    let refused = rig.export(&web).await.unwrap_err();
    assert!(
        matches!(refused, ExportError::ForeignHost { .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn two_exports_of_one_instance_at_once_are_refused() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    rig.snapshot("web", "one", 20_000);
    let session = rig.begin(&web).await;
    let ids: [InstanceRef; 1] = [web.clone()];
    let second = rig.host.begin(&ids, "export", rig.now(), &Silent).await;
    let refused = second.expect_err("refused");
    assert!(matches!(refused, Error::Locked(_)), "{refused}");
    drop(session);
    rig.export(&web).await.expect("exported");
}

/// Whoever listed before it had the lock does not store it for a second time.
#[tokio::test]
async fn what_another_process_has_just_exported_is_seen_behind_the_lock() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    rig.snapshot("web", "one", 20_000);
    rig.export(&web).await.expect("exported");
    rig.snapshot("web", "two", 20_000);
    let stale = rig.archive.catalog().await.expect("listed");
    rig.export(&web).await.expect("exported");
    let creates = rig.store.count(Call::Create);
    let session = rig.begin(&web).await;
    let plan = session.planner().plan_export(&web, &rig.to(&stale)).await;
    assert!(plan.expect("a plan").is_settled());
    assert_eq!(rig.store.count(Call::Create), creates);
}

#[tokio::test]
async fn a_base_that_is_pruned_meanwhile_is_missed_and_the_next_export_is_full() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    rig.snapshot("web", "one", 100_000);
    let first = rig.export(&web).await.expect("exported");
    let two = rig.snapshot("web", "two", 100_000);
    {
        let session = rig.begin(&web).await;
        let catalog = rig.archive.catalog().await.expect("listed");
        let to = rig.to(&catalog);
        let plan = session.planner().plan_export(&web, &to).await;
        let plan = plan.expect("planned");
        let manifests = rig.archive.layout().manifests_of(lineage(&first));
        for key in rig.store.inner().keys() {
            if key.as_str().starts_with(&manifests) {
                assert!(rig.store.inner().vanish(&key));
            }
        }
        let error = session.export(&plan, &to).await.unwrap_err();
        let ExportError::Publish { source, .. } = &error else {
            panic!("{error}");
        };
        assert!(matches!(**source, PublishError::BaseGone { guid } if guid == first.guid));
        assert_eq!(error.class(), Class::Failed);
        assert!(error.help().expect("some").contains("in full"), "{error}");
    }
    assert_eq!((rig.listed(lineage(&first)), rig.held()), (0, Vec::new()));
    let next = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&next), "two full: it is the first of its lineage");
    rig.comes_back(lineage(&next), &two).await;
}

#[tokio::test]
async fn a_manifest_that_is_damaged_or_not_ours_is_no_base() {
    let rig = Rig::new().await;
    let web = rig.instance("web");
    let mut newest = None;
    for name in ["one", "two"] {
        rig.snapshot("web", name, 20_000);
        newest = Some(rig.export(&web).await.expect("exported").guid);
    }
    let manifest = format!("-{}.json", newest.expect("two"));
    let keys = rig.store.inner().keys();
    let newest = keys.iter().find(|key| key.as_str().ends_with(&manifest));
    let newest = newest.expect("it is listed").clone();
    assert!(rig.store.inner().tamper(&newest, |body| {
        let text = String::from_utf8(std::mem::take(body)).expect("JSON");
        *body = text
            .replace("\"kind\":\"foreign\"", "\"kind\":\"lxd\"")
            .into_bytes();
    }));
    let three = rig.snapshot("web", "three", 20_000);
    let third = rig.export(&web).await.expect("exported");
    assert_eq!(shown(&third), "three since @one, 2");
    assert_eq!(third.notices.len(), 1, "{:?}", third.notices);
    assert!(
        third.notices[0]
            .text
            .contains("is wrong: nothing builds on it")
    );
    rig.comes_back(lineage(&third), &three).await;
}

mod cut_off {
    use super::*;

    /// Every call of the store fails from one on, in turn; the next export goes through.
    #[tokio::test]
    async fn by_the_store_at_every_call() {
        let mut rig = Rig::new().await;
        rig.options.attempts = 1;
        let mut failures = 0;
        for call in [Call::List, Call::Read, Call::Create] {
            for nth in 1.. {
                let name = format!("{call:?}-{nth}").to_lowercase();
                let instance = rig.instance(&name);
                rig.snapshot(&name, "one", 10_000);
                let first = rig.export(&instance).await.expect("exported");
                let two = rig.snapshot(&name, "two", 200_000);
                rig.store.inject(Fault::dropped(call).nth(nth).always());
                let cut = rig.export(&instance).await;
                rig.store.heal();
                let Err(error) = cut else {
                    break;
                };
                failures += 1;
                assert_eq!(error.class(), Class::Unavailable, "{name}: {error:?}");
                assert_eq!(rig.listed(lineage(&first)), 1, "{name}: {error}");
                assert_eq!(rig.held(), [""; 0], "{name}");
                let next = rig.export(&instance).await.expect("exported");
                assert_eq!(shown(&next), "two since @one, 2", "{name}");
                rig.comes_back(lineage(&first), &two).await;
                assert_eq!(rig.journals().len(), 0, "{name}");
            }
        }
        // Three listings, one manifest, four parts and a manifest.
        assert!(failures >= 9, "{failures}");
    }

    /// Parts that were stored are not stored again.
    #[tokio::test]
    async fn by_the_store_and_resumed() {
        let mut rig = Rig::new().await;
        rig.options.attempts = 1;
        let web = rig.instance("web");
        let one = rig.snapshot("web", "one", 1_000_000);
        rig.store
            .inject(Fault::no_space().nth(8).matching("/streams/").always());
        let error = rig.export(&web).await.unwrap_err();
        let ExportError::Write { source, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(
            matches!(
                &**source,
                WriteError::Store {
                    source: StoreError::NoSpace { .. },
                    ..
                }
            ),
            "{source:?}"
        );
        assert_eq!(rig.journals().len(), 1);
        rig.store.heal();
        let next = rig.export(&web).await.expect("exported");
        assert_eq!(shown(&next), "one full: it is the first of its lineage");
        assert_eq!(next.new_lineage, None, "that was begun before");
        let stored = next.stored.expect("it was stored");
        assert!(stored.reused_parts >= 4 && stored.parts > 12, "{stored:?}");
        rig.comes_back(lineage(&next), &one).await;
        assert_eq!(rig.journals().len(), 0);
    }

    #[tokio::test]
    async fn by_the_end_of_the_engine_while_it_sends() {
        let mut rig = Rig::new().await;
        rig.options.workers = std::num::NonZeroUsize::new(1);
        let web = rig.instance("web");
        let one = rig.snapshot("web", "one", 3_000_000);
        // The sender is never far ahead of the store.
        let slow = Fault::delayed(Call::Create, Duration::from_millis(20)).always();
        rig.store.inject(slow.matching("/streams/"));
        let before = rig.store.count(Call::Create);
        let killing = async {
            while rig.store.count(Call::Create) < before + 8 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            rig.kill();
        };
        let (cut, ()) = tokio::join!(rig.export(&web), killing);
        let error = cut.unwrap_err();
        assert!(matches!(error, ExportError::Send { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Failed);
        rig.store.heal();
        let parts = rig.store.inner().keys();
        assert!(
            parts
                .iter()
                .all(|key| !key.as_str().contains("/manifests/"))
        );

        rig.reopen();
        assert_eq!(rig.held(), ["one"], "nobody was left to release it");
        let next = rig.export(&web).await.expect("exported");
        let stored = next.stored.expect("it was stored");
        assert!(stored.reused_parts >= 4, "{stored:?}");
        assert_eq!((rig.held().len(), rig.journals().len()), (0, 0));
        rig.comes_back(lineage(&next), &one).await;
    }

    /// A newer snapshot was taken before the next export: the journal is of no use, and the hold goes.
    #[tokio::test]
    async fn and_overtaken_by_a_newer_snapshot() {
        let rig = Rig::new().await;
        let web = rig.instance("web");
        rig.snapshot("web", "one", 1_000_000);
        let slow = Fault::delayed(Call::Create, Duration::from_secs(3600))
            .nth(5)
            .always();
        rig.store.inject(slow.matching("/streams/"));
        dropped_when(&rig, &web, || rig.store.count(Call::Create) >= 8).await;
        rig.store.heal();
        assert_eq!(
            (rig.held(), rig.journals().len()),
            (vec!["one".to_owned()], 1)
        );

        let two = rig.snapshot("web", "two", 10_000);
        let next = rig.export(&web).await.expect("exported");
        assert_eq!(next.released.len(), 1, "{next:?}");
        assert_eq!((rig.held().len(), rig.journals().len()), (0, 0));
        assert_eq!(rig.listed(lineage(&next)), 1);
        rig.comes_back(lineage(&next), &two).await;
    }

    #[tokio::test]
    async fn between_manifest_and_bookmark() {
        let mut rig = Rig::new().await;
        let web = rig.instance("web");
        rig.snapshot("web", "one", 100_000);
        // The manifest is there, nobody knows, and whoever waits to ask again is gone.
        rig.options.pause = Duration::from_secs(3600);
        rig.store
            .inject(Fault::lost_reply(Call::Create).matching("/manifests/"));
        let manifests = || {
            let keys = rig.store.inner().keys();
            keys.iter()
                .filter(|key| key.as_str().contains("/manifests/"))
                .count()
        };
        dropped_when(&rig, &web, || manifests() == 1).await;
        assert_eq!(
            (rig.held(), rig.bookmarks("web")),
            (vec!["one".to_owned()], vec![])
        );

        let creates = rig.store.count(Call::Create);
        let next = rig.export(&web).await.expect("exported");
        assert_eq!(shown(&next), "up to date");
        assert_eq!(next.released.len(), 1);
        assert_eq!(
            rig.store.count(Call::Create),
            creates,
            "nothing was stored again"
        );
        assert_eq!(rig.bookmarks("web"), [format!("terrarium-{}", next.guid)]);
        assert_eq!((rig.held().len(), rig.journals().len()), (0, 0));
        rig.snapshot("web", "two", 10_000);
        rig.options.pause = Duration::from_millis(1);
        let second = rig.export(&web).await.expect("exported");
        assert_eq!(shown(&second), "two since @one, 2");
    }

    #[tokio::test]
    async fn by_a_lost_reply_to_the_manifest_which_is_asked_for_again() {
        let rig = Rig::new().await;
        let web = rig.instance("web");
        let one = rig.snapshot("web", "one", 100_000);
        rig.store
            .inject(Fault::lost_reply(Call::Create).matching("/manifests/"));
        let first = rig.export(&web).await.expect("exported");
        assert_eq!(rig.bookmarks("web"), [format!("terrarium-{}", first.guid)]);
        assert_eq!(rig.held(), [""; 0]);
        rig.comes_back(lineage(&first), &one).await;
    }

    /// Somebody else's hold stays, and hinders nobody.
    #[tokio::test]
    async fn foreign_holds_stay() {
        let rig = Rig::new().await;
        let web = rig.instance("web");
        let one = rig.snapshot("web", "one", 10_000);
        let hold = |tag: &str| rig.engine.hold(&[(one.clone(), tag.to_owned())]);
        hold("keep").expect("held");
        hold("terrarium-export").expect("held");
        let first = rig.export(&web).await.expect("exported");
        assert_eq!(shown(&first), "one full: it is the first of its lineage");
        assert_eq!(rig.held(), ["one"]);
        hold("terrarium-export").expect("ours is gone");
        let again = rig.export(&web).await.expect("exported");
        assert_eq!(again.released, std::slice::from_ref(&one));
        rig.engine
            .release(&[(one, "keep".to_owned())])
            .expect("it is still there");
        assert_eq!(rig.held(), [""; 0]);
    }

    /// Starts an export and drops it as soon as something is so.
    async fn dropped_when(rig: &Rig, id: &InstanceRef, is_so: impl Fn() -> bool) {
        let waiting = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            done = rig.export(id) => panic!("{done:?}"),
            () = waiting => {}
        }
    }
}

#[tokio::test]
async fn an_archive_without_host_keys_takes_unsigned_points() {
    let mut rig = Rig::new().await;
    rig.unsigned().await;
    let web = rig.instance("web");
    for (name, expected) in [
        ("one", "one full: it is the first of its lineage"),
        ("two", "two since @one, 2"),
    ] {
        let point = rig.snapshot("web", name, 10_000);
        let exported = rig.export(&web).await.expect("exported");
        assert_eq!(shown(&exported), expected);
        rig.comes_back(lineage(&exported), &point).await;
    }
}
