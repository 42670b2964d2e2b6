//! terrarium-zfs: calls on one dataset.

use std::io::Read;

use terrarium_zfs::{Error, ErrorKind, Properties, PropertyValue, SendFlags, ZfsCore};
use testbed::{Pool, run, zfs};

use crate::zfs_support::*;

#[test]
fn create_makes_an_unmounted_filesystem_with_its_properties() {
    let (core, pool) = (core(), Pool::create());
    let name = named(&pool, "a b:c_d.e-f");
    let wanted = properties([
        ("compression", "zstd-7"),
        ("refquota", "1048576"),
        ("mountpoint", "/nowhere/at all"),
        ("terrarium:note", "a text"),
        ("casesensitivity", "mixed"),
    ]);
    core.create(&name, &wanted).expect("created");
    for (property, value) in [
        ("type", "filesystem"),
        ("compression", "zstd-7"),
        ("refquota", "1048576"),
        ("mountpoint", "/nowhere/at all"),
        ("terrarium:note", "a text"),
        ("casesensitivity", "mixed"),
        ("mounted", "no"),
    ] {
        assert_eq!(get(name.as_str(), property), value, "{property}");
    }

    assert_eq!(
        kind(core.create(&name, &Properties::new())),
        ErrorKind::Exists
    );
    let orphan = named(&pool, "absent/child");
    assert_eq!(
        kind(core.create(&orphan, &Properties::new())),
        ErrorKind::NotFound
    );
    let nowhere = terrarium_zfs::DatasetName::new("absent pool/x").expect("a legal name");
    assert_eq!(
        kind(core.create(&nowhere, &Properties::new())),
        ErrorKind::NotFound
    );

    let bad = named(&pool, "bad");
    let mut illegal = Properties::new();
    illegal.set_native("compression", PropertyValue::Number(999));
    let error = core
        .create(&bad, &illegal)
        .expect_err("no such compression");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(!exists(bad.as_str()), "nothing is left behind");
}

#[test]
fn a_clone_has_the_properties_it_is_given_and_no_others() {
    let (core, pool) = (core(), Pool::create());
    let source = made(&pool, "source");
    zfs(["set", "refquota=2M", source.as_str()]);
    let origin = taken(&source, "s 1");
    let clone = named(&pool, "clone x");
    let wanted = properties([
        ("canmount", "noauto"),
        ("mountpoint", "legacy"),
        ("refquota", "3145728"),
    ]);
    core.clone_snapshot(&clone, &origin, &wanted)
        .expect("cloned");
    assert_eq!(get(clone.as_str(), "origin"), origin.as_str());
    assert_eq!(get(clone.as_str(), "canmount"), "noauto");
    assert_eq!(get(clone.as_str(), "mountpoint"), "legacy");
    assert_eq!(get(clone.as_str(), "refquota"), "3145728");
    let plain = named(&pool, "plain");
    core.clone_snapshot(&plain, &origin, &Properties::new())
        .expect("cloned");
    assert_eq!(
        get(plain.as_str(), "refquota"),
        "0",
        "a clone inherits no local property"
    );

    let none = Properties::new();
    assert_eq!(
        kind(core.clone_snapshot(&clone, &origin, &none)),
        ErrorKind::Exists
    );
    let fresh = named(&pool, "fresh");
    let error = core
        .clone_snapshot(&fresh, &at(&source, "absent"), &none)
        .expect_err("no origin");
    let Error::NotFound(attempt) = error else {
        panic!("{error}")
    };
    assert_eq!(
        attempt.object,
        format!("{source}@absent"),
        "the error names what is missing"
    );
    let error = core
        .clone_snapshot(&named(&pool, "no/where"), &origin, &none)
        .expect_err("no parent");
    let Error::NotFound(attempt) = error else {
        panic!("{error}")
    };
    assert_eq!(attempt.object, named(&pool, "no/where").as_str());
    let other = Pool::create();
    assert_eq!(
        kind(core.clone_snapshot(&named(&other, "x"), &origin, &none)),
        ErrorKind::CrossesPools
    );
    let mut illegal = Properties::new();
    illegal.set_native("sync", PropertyValue::Number(77));
    assert_eq!(
        kind(core.clone_snapshot(&fresh, &origin, &illegal)),
        ErrorKind::InvalidArgument
    );
    assert!(!exists(fresh.as_str()), "nothing is left behind");
}

#[test]
fn promote_moves_the_snapshots_up_to_the_origin() {
    let (core, pool) = (core(), Pool::create());
    let source = made(&pool, "source");
    taken(&source, "one");
    let two = taken(&source, "two");
    taken(&source, "three");
    let clone = named(&pool, "clone");
    core.clone_snapshot(&clone, &two, &Properties::new())
        .expect("cloned");
    core.check_promote(&clone).expect("it would be promoted");
    assert_eq!(
        get(clone.as_str(), "origin"),
        two.as_str(),
        "a check changes nothing"
    );
    core.promote(&clone).expect("promoted");
    assert_eq!(snapshots(&clone), ["one", "two"]);
    assert_eq!(snapshots(&source), ["three"]);
    assert_eq!(get(source.as_str(), "origin"), format!("{clone}@two"));
}

#[test]
fn promote_and_its_check_name_the_snapshot_that_both_have() {
    let (core, pool) = (core(), Pool::create());
    let source = made(&pool, "source");
    taken(&source, "same name");
    let two = taken(&source, "two");
    let clone = named(&pool, "clone");
    core.clone_snapshot(&clone, &two, &Properties::new())
        .expect("cloned");
    taken(&clone, "same name");
    for result in [core.check_promote(&clone), core.promote(&clone)] {
        let error = result.expect_err("both have a snapshot of that name");
        let Error::Exists { name, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(name, "same name");
        assert!(error.help().is_some());
    }
    assert_eq!(snapshots(&source), ["same name", "two"], "nothing moved");
}

/// The kernel misses this and panics; terrarium-zfs looks for itself.
#[test]
fn promote_and_its_check_name_the_bookmark_that_both_have() {
    let (core, pool) = (core(), Pool::create());
    let source = made(&pool, "source");
    let one = taken(&source, "one");
    let clone = named(&pool, "clone");
    core.clone_snapshot(&clone, &one, &Properties::new())
        .expect("cloned");
    let mine = taken(&clone, "mine");
    zfs(["bookmark", mine.as_str(), &format!("{clone}#mark")]);
    zfs(["bookmark", one.as_str(), &format!("{source}#mark")]);
    for result in [core.check_promote(&clone), core.promote(&clone)] {
        let error = result.expect_err("both have a bookmark of that name");
        let Error::Exists { name, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(name, "mark");
    }

    // One that is newer than the origin stays where it is, so it clashes with nothing.
    zfs(["destroy", &format!("{source}#mark")]);
    let two = taken(&source, "two");
    zfs(["bookmark", two.as_str(), &format!("{source}#mark")]);
    zfs(["bookmark", one.as_str(), &format!("{source}#moves")]);
    core.check_promote(&clone).expect("it would be promoted");
    core.promote(&clone).expect("promoted");
    let names = |dataset| {
        let bookmarks = core.bookmarks(dataset).expect("listed");
        bookmarks
            .iter()
            .map(|bookmark| bookmark.name.name().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&clone), ["moves", "mark"]);
    assert_eq!(names(&source), ["mark"]);
}

#[test]
fn promote_and_its_check_refuse_what_is_no_clone() {
    let (core, pool) = (core(), Pool::create());
    let plain = made(&pool, "plain");
    assert_eq!(kind(core.promote(&plain)), ErrorKind::InvalidArgument);
    assert_eq!(kind(core.check_promote(&plain)), ErrorKind::InvalidArgument);
    let absent = named(&pool, "absent");
    assert_eq!(kind(core.promote(&absent)), ErrorKind::NotFound);
    assert_eq!(kind(core.check_promote(&absent)), ErrorKind::NotFound);
}

/// The reason why the check runs in the syncing context: in the open one it would say yes.
#[test]
fn promote_and_its_check_answer_busy_while_an_older_snapshot_is_sent() {
    let (core, pool) = (core(), Pool::create());
    let source = made(&pool, "source");
    zfs([
        "set",
        &format!("mountpoint=/mnt/{}", pool.name()),
        source.as_str(),
    ]);
    std::fs::write(format!("/mnt/{}/big", pool.name()), vec![7; 4 << 20]).expect("written");
    let one = taken(&source, "one");
    let two = taken(&source, "two");
    let clone = named(&pool, "clone");
    core.clone_snapshot(&clone, &two, &Properties::new())
        .expect("cloned");

    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let send = std::thread::spawn(move || core.send(&one, None, SendFlags::default(), &writer));
    let mut first = [0; 312];
    reader.read_exact(&mut first).expect("the send has begun");
    assert_eq!(kind(core.check_promote(&clone)), ErrorKind::Busy);
    assert_eq!(kind(core.promote(&clone)), ErrorKind::Busy);
    std::io::copy(&mut reader, &mut std::io::sink()).expect("the rest is read");
    send.join().expect("the thread ends").expect("sent");
    core.check_promote(&clone).expect("free again");
    core.promote(&clone).expect("promoted");
}

#[test]
fn rename_moves_a_dataset_with_all_below_it() {
    let (core, pool) = (core(), Pool::create());
    let (from, to) = (made(&pool, "from x"), named(&pool, "new home/to y"));
    let home = made(&pool, "new home");
    made(&pool, "from x/child");
    taken(&from, "s");
    let before = guid(from.as_str());
    core.rename(&from, &to).expect("renamed");
    assert_eq!(guid(to.as_str()), before);
    assert_eq!(snapshots(&to), ["s"]);
    assert!(exists(to.child("child").expect("legal").as_str()));
    assert!(!exists(from.as_str()));

    let error = core.rename(&to, &home).expect_err("taken");
    let Error::Exists { name, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(name, home.as_str());
    let error = core.rename(&from, &to).expect_err("gone");
    let Error::NotFound(attempt) = error else {
        panic!("{error}")
    };
    assert_eq!(attempt.object, from.as_str());
    let error = core
        .rename(&to, &named(&pool, "absent/x"))
        .expect_err("no such parent");
    let Error::NotFound(attempt) = error else {
        panic!("{error}")
    };
    assert_eq!(attempt.object, named(&pool, "absent/x").as_str());
    let below = to.child("child/deeper").expect("legal");
    assert_eq!(kind(core.rename(&to, &below)), ErrorKind::InvalidArgument);
    let other = Pool::create();
    assert_eq!(
        kind(core.rename(&to, &named(&other, "x"))),
        ErrorKind::CrossesPools
    );
    let long = home
        .child(&"x".repeat(240 - home.as_str().len()))
        .expect("legal");
    zfs(["create", &format!("{to}/child/{}", "y".repeat(20))]);
    assert_eq!(
        kind(core.rename(&to, &long)),
        ErrorKind::TooLarge,
        "a child's name would not fit"
    );
}

#[test]
fn a_mounted_dataset_is_renamed_under_its_mount() {
    let (core, pool) = (core(), Pool::create());
    let (from, to) = (made(&pool, "from"), named(&pool, "to"));
    let place = format!("/mnt/{}", pool.name());
    zfs(["set", &format!("mountpoint={place}"), from.as_str()]);
    std::fs::write(format!("{place}/note"), "text").expect("written");
    core.rename(&from, &to).expect("renamed");
    assert_eq!(
        std::fs::read_to_string(format!("{place}/note")).expect("still there"),
        "text"
    );
}

#[test]
fn destroy_removes_only_what_nothing_hangs_on() {
    let (core, pool) = (core(), Pool::create());
    let parent = made(&pool, "parent");
    let child = made(&pool, "parent/child");
    assert_eq!(kind(core.destroy(&parent)), ErrorKind::HasChildren);
    let snapshot = taken(&child, "s");
    assert_eq!(
        kind(core.destroy(&child)),
        ErrorKind::Busy,
        "it has a snapshot"
    );
    zfs(["destroy", snapshot.as_str()]);
    let place = format!("/mnt/{}", pool.name());
    zfs(["set", &format!("mountpoint={place}"), child.as_str()]);
    assert_eq!(kind(core.destroy(&child)), ErrorKind::Busy, "it is mounted");
    zfs(["unmount", child.as_str()]);
    core.destroy(&child).expect("destroyed");
    assert!(!exists(child.as_str()));
    assert_eq!(kind(core.destroy(&child)), ErrorKind::NotFound);
    core.destroy(&parent).expect("destroyed");
}

#[test]
fn rollback_goes_back_to_the_newest_snapshot_while_mounted() {
    let (core, pool) = (core(), Pool::create());
    let dataset = made(&pool, "data");
    let place = format!("/mnt/{}", pool.name());
    zfs(["set", &format!("mountpoint={place}"), dataset.as_str()]);
    let note = format!("{place}/note");
    assert_eq!(
        kind(core.rollback(&dataset)),
        ErrorKind::NotFound,
        "no snapshot"
    );
    std::fs::write(&note, "one").expect("written");
    let one = taken(&dataset, "one");
    std::fs::write(&note, "two").expect("written");
    assert_eq!(core.rollback(&dataset).expect("rolled back"), one);
    assert_eq!(std::fs::read_to_string(&note).expect("read"), "one");

    taken(&dataset, "two");
    assert_eq!(kind(core.rollback_if_newest(&one)), ErrorKind::Exists);
    assert_eq!(
        kind(core.rollback_if_newest(&at(&dataset, "absent"))),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(core.rollback(&named(&pool, "absent"))),
        ErrorKind::NotFound
    );
    std::fs::write(&note, "three").expect("written");
    core.rollback_if_newest(&at(&dataset, "two"))
        .expect("rolled back");
    assert_eq!(std::fs::read_to_string(&note).expect("read"), "one");
}

#[test]
fn rollback_to_destroys_newer_snapshots_and_bookmarks() {
    let (core, pool) = (core(), Pool::create());
    let dataset = made(&pool, "data x");
    let place = format!("/mnt/{}", pool.name());
    zfs(["set", &format!("mountpoint={place}"), dataset.as_str()]);
    let note = format!("{place}/note");
    std::fs::write(&note, "one").expect("written");
    let one = taken(&dataset, "one");
    zfs(["bookmark", one.as_str(), &format!("{dataset}#kept")]);
    std::fs::write(&note, "two").expect("written");
    let two = taken(&dataset, "two");
    zfs(["bookmark", two.as_str(), &format!("{dataset}#newer")]);
    let three = taken(&dataset, "three");

    zfs(["hold", "mine", three.as_str()]);
    let error = core.rollback_to(&one).expect_err("a newer one is held");
    let Error::Busy(attempt) = &error else {
        panic!("{error}")
    };
    assert_eq!(attempt.object, three.as_str());
    zfs(["release", "mine", three.as_str()]);
    let clone = named(&pool, "clone");
    core.clone_snapshot(&clone, &two, &Properties::new())
        .expect("cloned");
    let error = core.rollback_to(&one).expect_err("a newer one has a clone");
    let Error::HasClones(attempt) = &error else {
        panic!("{error}")
    };
    assert_eq!(attempt.object, two.as_str());
    assert_eq!(
        snapshots(&dataset),
        ["one", "two", "three"],
        "nothing was destroyed"
    );
    assert_eq!(core.bookmarks(&dataset).expect("listed").len(), 2);
    zfs(["destroy", clone.as_str()]);

    core.rollback_to(&one).expect("rolled back");
    assert_eq!(snapshots(&dataset), ["one"]);
    let bookmarks = core.bookmarks(&dataset).expect("listed");
    assert_eq!(
        bookmarks.iter().map(|b| b.name.name()).collect::<Vec<_>>(),
        ["kept"]
    );
    assert_eq!(std::fs::read_to_string(&note).expect("read"), "one");
    core.rollback_to(&one).expect("again, with nothing newer");
    assert_eq!(
        kind(core.rollback_to(&at(&dataset, "two"))),
        ErrorKind::NotFound
    );
}

/// libzfs_core calls itself thread-safe; this is what we rely on.
#[test]
fn calls_in_many_threads_do_not_disturb_each_other() {
    let (core, pool) = (core(), Pool::create());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (pool, core) = (&pool, core);
            scope.spawn(move || thread_of_calls(core, pool, thread));
        }
    });
    assert_eq!(
        zfs(["list", "-H", "-r", "-t", "all", "-o", "name", pool.name()])
            .lines()
            .count(),
        1
    );
}

fn thread_of_calls(core: ZfsCore, pool: &Pool, thread: usize) {
    let none = Properties::new();
    for round in 0..5 {
        let name = named(pool, &format!("d {thread} {round}"));
        core.create(&name, &none).expect("created");
        let snapshot = at(&name, "s");
        core.snapshot_each(&[(snapshot.clone(), user([("t:thread", &thread.to_string())]))])
            .expect("taken");
        core.hold(&[(snapshot.clone(), "tag".to_owned())])
            .expect("held");
        let error = core.destroy_snapshots(std::slice::from_ref(&snapshot), false);
        assert_eq!(error.expect_err("held").kind(), ErrorKind::Busy);
        assert_eq!(get(snapshot.as_str(), "t:thread"), thread.to_string());
        core.release(&[(snapshot.clone(), "tag".to_owned())])
            .expect("released");
        core.destroy_snapshots(&[snapshot], false)
            .expect("destroyed");
        core.destroy(&name).expect("destroyed");
    }
}

#[test]
fn a_long_name_with_every_odd_character_goes_through_every_call() {
    let (core, pool) = (core(), Pool::create());
    let longest = 255 - pool.name().len() - 1 - "@s".len();
    let leaf: String = "aZ9-_.: ".chars().cycle().take(longest).collect();
    let name = named(&pool, &leaf);
    core.create(&name, &Properties::new()).expect("created");
    let snapshot = at(&name, "s");
    core.snapshot(std::slice::from_ref(&snapshot), &user([]))
        .expect("taken");
    assert_eq!(snapshot.as_str().len(), 255);
    assert_eq!(
        core.guid(snapshot.as_str()).expect("looked up"),
        Some(guid(snapshot.as_str()))
    );
    let listing = core.list(&name, &[]).expect("listed");
    assert_eq!(listing.datasets[0].name, name);
    assert_eq!(listing.snapshots[0].name, snapshot);
    run("zfs")
        .args(["destroy", "-r", name.as_str()])
        .finish()
        .succeeds();
    assert_eq!(core.guid(snapshot.as_str()).expect("looked up"), None);
}
