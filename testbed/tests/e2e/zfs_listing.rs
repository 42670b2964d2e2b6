//! terrarium-zfs: listings and guids.

use std::sync::atomic::{AtomicBool, Ordering};

use terrarium_zfs::{DatasetKind, DatasetName, ErrorKind, Properties};
use testbed::{Pool, zfs};

use crate::zfs_support::*;

#[test]
fn a_listing_tells_of_everything_what_the_zfs_program_tells() {
    let (core, pool) = (core(), Pool::create());
    let root = named(&pool, "x").pool_dataset();
    let a = made(&pool, "a  b:c.d_e-f ");
    zfs([
        "set",
        "refquota=10M",
        "mountpoint=/mnt/list me",
        "t:dataset=its own",
        a.as_str(),
    ]);
    std::fs::write("/mnt/list me/file", vec![1; 300_000]).expect("written");
    let one = taken(&a, " one ");
    std::fs::write("/mnt/list me/file", vec![2; 100_000]).expect("written");
    let two = taken(&a, "-");
    zfs(["hold", "tag", two.as_str()]);
    zfs(["set", "t:own=snapshot's", two.as_str()]);
    zfs(["bookmark", one.as_str(), &format!("{a}#m 1")]);
    let clone = named(&pool, "clone one");
    core.clone_snapshot(&clone, &two, &Properties::new())
        .expect("cloned");
    let second = named(&pool, "clone two");
    core.clone_snapshot(&second, &two, &Properties::new())
        .expect("cloned");
    zfs(["create", "-V", "1M", &pool.dataset("volume")]);
    pool.sync();

    let listing = core
        .list(&root, &["t:dataset", "t:own", "t:none"])
        .expect("listed");
    let names: Vec<_> = listing.datasets.iter().map(|d| d.name.as_str()).collect();
    let volume = pool.dataset("volume");
    assert_eq!(
        names,
        [
            root.as_str(),
            a.as_str(),
            clone.as_str(),
            second.as_str(),
            &volume
        ]
    );
    for dataset in &listing.datasets {
        let told = all(dataset.name.as_str());
        assert_eq!(dataset.guid.to_string(), told["guid"]);
        assert_eq!(dataset.createtxg.to_string(), told["createtxg"]);
        assert_eq!(dataset.creation.to_string(), told["creation"]);
        assert_eq!(dataset.used.to_string(), told["used"]);
        assert_eq!(dataset.available.to_string(), told["available"]);
        assert_eq!(dataset.referenced.to_string(), told["referenced"]);
        assert_eq!(dataset.written.to_string(), told["written"]);
        assert_eq!(
            dataset.mounted,
            told.get("mounted").is_some_and(|told| told == "yes")
        );
        assert_eq!(dataset.encryption_root, None);
    }
    assert!(listing.datasets[1].mounted && !listing.datasets[2].mounted);
    assert_eq!(listing.datasets[4].kind, DatasetKind::Volume);
    assert_eq!(listing.datasets[2].origin.as_ref(), Some(&two));
    assert_eq!(
        listing.datasets[1].local,
        user([
            ("refquota", "10485760"),
            ("mountpoint", "/mnt/list me"),
            ("t:dataset", "its own"),
        ])
    );
    assert!(listing.datasets[2].local.is_empty());

    let names: Vec<_> = listing.snapshots.iter().map(|s| &s.name).collect();
    assert_eq!(names, [&one, &two], "in the order they were taken");
    for snapshot in &listing.snapshots {
        let told = all(snapshot.name.as_str());
        assert_eq!(snapshot.guid.to_string(), told["guid"]);
        assert_eq!(snapshot.createtxg.to_string(), told["createtxg"]);
        assert_eq!(snapshot.creation.to_string(), told["creation"]);
        assert_eq!(snapshot.used.to_string(), told["used"]);
        assert_eq!(snapshot.referenced.to_string(), told["referenced"]);
        assert_eq!(snapshot.written.to_string(), told["written"]);
        assert_eq!(snapshot.userrefs.to_string(), told["userrefs"]);
    }
    assert_eq!(listing.snapshots[0].clones, []);
    assert_eq!(listing.snapshots[1].clones, [clone.clone(), second]);
    assert_eq!(listing.snapshots[1].userrefs, 1);
    assert_eq!(
        listing.snapshots[0].user_properties,
        user([]),
        "its dataset's do not count"
    );
    assert_eq!(
        listing.snapshots[1].user_properties,
        user([("t:own", "snapshot's")])
    );
    assert_eq!(listing.bookmarks.len(), 1);
    assert_eq!(listing.bookmarks[0].name, a.bookmark("m 1").expect("legal"));
    assert_eq!(listing.bookmarks[0].guid, listing.snapshots[0].guid);

    let below = core.list(&clone, &[]).expect("listed");
    assert_eq!(below.datasets.len(), 1);
    assert!(below.snapshots.is_empty() && below.bookmarks.is_empty());
}

#[test]
fn values_with_tabs_and_line_feeds_come_back_whole() {
    let (core, pool) = (core(), Pool::create());
    let dataset = made(&pool, "a");
    let odd = user([
        ("t:a", "tab\there"),
        ("t:b", "two\nlines"),
        ("t:c", "\n\n\tlocal or not\n"),
        ("t:d", "-"),
        ("t:e", ""),
        ("t:f", "ends in a tab\t"),
        ("t:g", "ü\u{1b}[31m€"),
        ("t:h", "last"),
    ]);
    let changes = odd
        .iter()
        .map(|(name, value)| (name.clone(), Some(value.clone())))
        .collect();
    core.set_user_properties(dataset.as_str(), &changes)
        .expect("set");
    let snapshot = at(&dataset, "s");
    core.snapshot(std::slice::from_ref(&snapshot), &odd)
        .expect("taken");
    let names: Vec<&str> = odd.keys().map(String::as_str).collect();
    let listing = core.list(&dataset, &names).expect("listed");
    assert_eq!(listing.datasets[0].local, odd);
    assert_eq!(listing.snapshots[0].user_properties, odd);
}

#[test]
fn what_does_not_exist_is_not_listed() {
    let (core, pool) = (core(), Pool::create());
    assert_eq!(
        kind(core.list(&named(&pool, "absent"), &[])),
        ErrorKind::NotFound
    );
    let pool_root = named(&pool, "x").pool_dataset();
    let nowhere = DatasetName::new("absent pool/x").expect("legal");
    assert_eq!(kind(core.list(&nowhere, &[])), ErrorKind::NotFound);
    for no_user_property in ["all", "guid", "T:a", "t:a,t:b", "", "-t:a"] {
        let listed = core.list(&pool_root, &[no_user_property]);
        assert_eq!(kind(listed), ErrorKind::Property, "{no_user_property}");
    }
    assert_eq!(
        kind(core.list(&nowhere.pool_dataset(), &[])),
        ErrorKind::NotFound
    );
    assert_eq!(
        core.guid(named(&pool, "absent").as_str())
            .expect("looked up"),
        None
    );
    assert_eq!(
        core.guid(&pool.dataset("absent@s")).expect("looked up"),
        None
    );
    assert_eq!(core.guid("absent pool/x@s").expect("looked up"), None);
    assert_eq!(kind(core.guid("-o/x@")), ErrorKind::Name);
    let dataset = made(&pool, "a b");
    assert_eq!(
        core.guid(dataset.as_str()).expect("looked up"),
        Some(guid(dataset.as_str()))
    );
    let snapshot = taken(&dataset, "s 1");
    assert_eq!(
        core.guid(snapshot.as_str()).expect("looked up"),
        Some(guid(snapshot.as_str()))
    );
}

#[test]
fn datasets_that_come_and_go_do_not_fail_a_listing() {
    let (core, pool) = (core(), Pool::create());
    let root = named(&pool, "x").pool_dataset();
    let steady: Vec<_> = (0..10)
        .map(|n| taken(&made(&pool, &format!("steady {n}")), "s"))
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let name = named(&pool, &format!("fleeting {}", rounds % 7));
                core.create(&name, &Properties::new()).expect("created");
                let snapshot = at(&name, "s");
                core.snapshot(std::slice::from_ref(&snapshot), &user([]))
                    .expect("taken");
                core.destroy_snapshots(&[snapshot], false)
                    .expect("destroyed");
                core.destroy(&name).expect("destroyed");
                rounds += 1;
            }
            rounds
        });
        for _ in 0..6 {
            let listing = core.list(&root, &[]).expect("listed");
            let listed: Vec<_> = listing.snapshots.iter().map(|s| &s.name).collect();
            for snapshot in &steady {
                assert!(
                    listed.contains(&snapshot),
                    "{snapshot} was there all the time"
                );
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(
            churn.join().expect("no panic") > 3,
            "something did come and go"
        );
    });
}

#[test]
fn a_listing_needs_neither_a_writable_pool_nor_a_mount() {
    let (core, pool) = (core(), Pool::create());
    let dataset = made(&pool, "a");
    taken(&dataset, "s");
    let before = core.list(&dataset, &[]).expect("listed");
    zfs(["set", "t:a=b", &format!("{dataset}@s")]);
    testbed::zpool(["export", pool.name()]);
    testbed::zpool([
        "import",
        "-d",
        "/var/tmp",
        "-N",
        "-o",
        "readonly=on",
        pool.name(),
    ]);
    let listing = core.list(&dataset, &["t:a"]).expect("listed");
    assert_eq!(listing.snapshots[0].guid, before.snapshots[0].guid);
    assert_eq!(listing.snapshots[0].user_properties, user([("t:a", "b")]));
    assert_eq!(
        kind(core.create(&named(&pool, "b"), &Properties::new())),
        ErrorKind::ReadOnly
    );
    let error = core
        .snapshot(&[at(&dataset, "t")], &user([]))
        .expect_err("read-only");
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    let error = core
        .snapshot_each(&[(at(&dataset, "t"), user([]))])
        .expect_err("read-only");
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
}
