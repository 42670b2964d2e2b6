//! terrarium-zfs: snapshots, holds, bookmarks, user properties, channel programs.

use std::collections::BTreeMap;

use terrarium_zfs::nvlist::{NvList, Value};
use terrarium_zfs::{Error, ErrorKind, Limits, SnapshotName, UserProperties};
use testbed::{Pool, zfs};

use crate::zfs_support::*;

#[test]
fn snapshot_takes_all_in_one_transaction_group_with_the_same_properties() {
    let (core, pool) = (core(), Pool::create());
    let datasets = ["a", "b c", "b c/d:e"].map(|path| made(&pool, path));
    let names = datasets.clone().map(|dataset| at(&dataset, "s 1:2.3-4_5"));
    core.snapshot(
        &names,
        &user([("terrarium:kind", "on-demand"), ("x:y", "ä\"'\\")]),
    )
    .expect("taken");
    let txg = get(names[0].as_str(), "createtxg");
    for name in &names {
        assert_eq!(get(name.as_str(), "createtxg"), txg);
        assert_eq!(get(name.as_str(), "terrarium:kind"), "on-demand");
        assert_eq!(get(name.as_str(), "x:y"), "ä\"'\\");
    }
    core.snapshot(&[], &user([])).expect("nothing to do");
}

#[test]
fn a_snapshot_call_that_fails_names_which_and_takes_none() {
    let (core, pool) = (core(), Pool::create());
    let [a, b, c] = ["a", "b", "c"].map(|path| made(&pool, path));
    let taken = taken(&b, "s");
    let absent = at(&named(&pool, "absent"), "s");
    let wanted = [at(&a, "s"), taken.clone(), absent.clone(), at(&c, "s")];
    let each: Vec<_> = wanted
        .iter()
        .map(|name| (name.clone(), user([("a:b", "c")])))
        .collect();
    let error = core
        .snapshot_each(&each)
        .expect_err("one exists, one's dataset does not");
    assert_eq!(
        kinds(&error),
        BTreeMap::from([
            (taken.as_str(), ErrorKind::Exists),
            (absent.as_str(), ErrorKind::NotFound),
        ])
    );
    assert!(!error.others_done);
    assert!(error.to_string().contains(absent.as_str()), "{error}");

    // lzc_snapshot looks whether the datasets exist first, and for the rest only if all do.
    let error = core
        .snapshot(&wanted, &user([]))
        .expect_err("one's dataset does not exist");
    assert_eq!(
        kinds(&error),
        BTreeMap::from([(absent.as_str(), ErrorKind::NotFound)])
    );
    let error = core.snapshot(&[wanted[0].clone(), wanted[1].clone()], &user([]));
    let error = error.expect_err("one exists");
    assert_eq!(
        kinds(&error),
        BTreeMap::from([(taken.as_str(), ErrorKind::Exists)])
    );
    assert!(
        snapshots(&a).is_empty() && snapshots(&c).is_empty(),
        "none was taken"
    );
}

#[test]
fn snapshots_that_one_call_cannot_take_are_refused_by_name() {
    let (core, pool, other) = (core(), Pool::create(), Pool::create());
    let (a, b) = (made(&pool, "a"), made(&other, "b"));
    let (one, two, far) = (at(&a, "one"), at(&a, "two"), at(&b, "one"));
    let error = core
        .snapshot(&[one.clone(), two.clone()], &user([]))
        .expect_err("one dataset");
    assert_eq!(
        kinds(&error),
        BTreeMap::from([(two.as_str(), ErrorKind::InvalidArgument)])
    );
    let error = core
        .snapshot(&[one.clone(), far.clone()], &user([]))
        .expect_err("two pools");
    assert_eq!(
        kinds(&error),
        BTreeMap::from([(far.as_str(), ErrorKind::CrossesPools)])
    );
    let error = core.snapshot_each(&[(one.clone(), user([])), (far, user([]))]);
    assert_eq!(
        error.expect_err("two pools").kind(),
        ErrorKind::CrossesPools
    );
    for bad in [
        user([("no-colon", "x")]),
        user([("a:B", "x")]),
        user([("a:b", &"x".repeat(8192))]),
    ] {
        let error = core
            .snapshot(std::slice::from_ref(&one), &bad)
            .expect_err("illegal property");
        assert_eq!(error.kind(), ErrorKind::Property, "{error}");
        let error = core
            .snapshot_each(&[(one.clone(), bad)])
            .expect_err("illegal property");
        assert_eq!(error.kind(), ErrorKind::Property, "{error}");
    }
    let nowhere = SnapshotName::new("absent pool@s").expect("legal");
    let error = core
        .snapshot(std::slice::from_ref(&nowhere), &user([]))
        .expect_err("no pool");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = core
        .snapshot_each(&[(nowhere, user([]))])
        .expect_err("no pool");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(snapshots(&a).is_empty() && snapshots(&b).is_empty());
}

#[test]
fn snapshot_each_gives_every_snapshot_its_own_properties_in_one_transaction_group() {
    let (core, pool) = (core(), Pool::create());
    let wanted: Vec<_> = (0..60)
        .map(|n| {
            let snapshot = at(&made(&pool, &format!("d {n}")), "s");
            let number = n.to_string();
            let mut properties = user([("t:number", number.as_str()), ("t:odd", "a\tb\nc ü \"]]")]);
            if n == 7 {
                properties = UserProperties::new();
            }
            if n == 8 {
                properties.insert("t:long".to_owned(), "x".repeat(8191));
            }
            (snapshot, properties)
        })
        .collect();
    core.snapshot_each(&wanted).expect("taken");
    let listing = core
        .list(
            &named(&pool, "x").pool_dataset(),
            &["t:number", "t:odd", "t:long"],
        )
        .expect("listed");
    assert_eq!(listing.snapshots.len(), 60);
    let txgs: std::collections::BTreeSet<_> = listing
        .snapshots
        .iter()
        .map(|snapshot| snapshot.createtxg)
        .collect();
    assert_eq!(txgs.len(), 1, "one transaction group");
    let wanted: BTreeMap<_, _> = wanted.into_iter().collect();
    for snapshot in &listing.snapshots {
        assert_eq!(
            snapshot.user_properties, wanted[&snapshot.name],
            "{}",
            snapshot.name
        );
    }
}

/// What snapshot_each does should a later snapshot fail although the checks let it pass.
#[test]
fn a_snapshot_can_be_taken_back_in_the_transaction_group_that_took_it() {
    let (core, pool) = (core(), Pool::create());
    let snapshot = at(&made(&pool, "a"), "s");
    let mut arguments = NvList::new().expect("libnvpair");
    arguments.add_str("name", snapshot.as_str()).expect("added");
    let program = r#"
        local name = (...).name
        return {
            zfs.sync.snapshot(name),
            zfs.sync.set_prop(name, "a:b", "c"),
            zfs.sync.destroy(name),
        }
    "#;
    let result = core.channel_program(pool.name(), program, Limits::default(), &arguments);
    let result = result.expect("it runs");
    let answers = result
        .value("return")
        .and_then(|value| value.list())
        .expect("a table");
    assert!(
        answers.iter().all(|(_, errno)| errno == Value::I64(0)),
        "{answers:?}"
    );
    assert!(!exists(snapshot.as_str()));
}

#[test]
fn destroy_snapshots_destroys_all_or_names_what_is_in_the_way() {
    let (core, pool) = (core(), Pool::create());
    let dataset = made(&pool, "a");
    let [one, two, three] = ["one", "two", "three"].map(|name| taken(&dataset, name));
    zfs(["hold", "mine", two.as_str()]);
    let clone = named(&pool, "clone");
    zfs(["clone", three.as_str(), clone.as_str()]);
    let all = [one.clone(), two.clone(), three.clone()];
    let error = core
        .destroy_snapshots(&all, false)
        .expect_err("two are in the way");
    assert_eq!(
        kinds(&error),
        BTreeMap::from([
            (two.as_str(), ErrorKind::Busy),
            (three.as_str(), ErrorKind::HasClones)
        ])
    );
    assert_eq!(snapshots(&dataset), ["one", "two", "three"]);

    core.destroy_snapshots(&[one, at(&dataset, "absent")], false)
        .expect("absent is destroyed");
    assert_eq!(snapshots(&dataset), ["two", "three"]);
    core.destroy_snapshots(&[two.clone(), three.clone()], true)
        .expect("deferred");
    assert_eq!(get(two.as_str(), "defer_destroy"), "on");
    zfs(["release", "mine", two.as_str()]);
    zfs(["destroy", clone.as_str()]);
    assert!(
        snapshots(&dataset).is_empty(),
        "gone with the last hold and clone"
    );
    core.destroy_snapshots(&[], false).expect("nothing to do");
}

#[test]
fn holds_are_made_listed_and_released() {
    let (core, pool) = (core(), Pool::create());
    let (a, b) = (taken(&made(&pool, "a"), "s"), taken(&made(&pool, "b"), "s"));
    let pair = |name: &SnapshotName, tag: &str| (name.clone(), tag.to_owned());
    let odd = "a tag: with/every@thing#ü";
    core.hold(&[pair(&a, odd), pair(&b, odd)]).expect("held");
    let longest = "x".repeat(255);
    core.hold(&[pair(&a, &longest)])
        .expect("held a second time");
    let holds = core.holds(&a).expect("listed");
    assert_eq!(
        holds.keys().map(String::as_str).collect::<Vec<_>>(),
        [odd, longest.as_str()]
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs() as i64;
    assert!(
        holds
            .values()
            .all(|time| (now - 600..=now + 5).contains(time)),
        "{holds:?} {now}"
    );

    let error = core
        .hold(&[pair(&a, odd), pair(&b, "new")])
        .expect_err("held under that tag");
    assert_eq!(
        kinds(&error),
        BTreeMap::from([(a.as_str(), ErrorKind::Exists)])
    );
    assert!(!error.others_done && !core.holds(&b).expect("listed").contains_key("new"));
    let absent = at(&named(&pool, "a"), "absent");
    let error = core
        .hold(&[pair(&absent, "t"), pair(&b, "t")])
        .expect_err("one is absent");
    assert_eq!(
        kinds(&error),
        BTreeMap::from([(absent.as_str(), ErrorKind::NotFound)])
    );
    assert!(error.others_done && core.holds(&b).expect("listed").contains_key("t"));
    for (holds, kind) in [
        (
            vec![pair(&a, "u"), pair(&a, "v")],
            ErrorKind::InvalidArgument,
        ),
        (vec![pair(&a, "")], ErrorKind::InvalidArgument),
        (vec![pair(&a, &"x".repeat(256))], ErrorKind::TooLarge),
        (vec![pair(&a, "nul\0")], ErrorKind::InvalidArgument),
    ] {
        assert_eq!(core.hold(&holds).expect_err("refused").kind(), kind);
    }
    assert_eq!(core.holds(&a).expect("listed").len(), 2);
    assert_eq!(kind(core.holds(&absent)), ErrorKind::NotFound);

    let error = core.release(&[pair(&b, odd), pair(&b, "t"), pair(&b, "never")]);
    let error = error.expect_err("one was never made");
    assert_eq!(
        kinds(&error),
        BTreeMap::from([(&*format!("{b}#never"), ErrorKind::NotFound)])
    );
    assert!(error.others_done && core.holds(&b).expect("listed").is_empty());
    core.release(&[pair(&a, odd), pair(&a, &longest)])
        .expect("both released");
    assert!(core.holds(&a).expect("listed").is_empty());
    core.release(&[]).expect("nothing to do");
}

#[test]
fn bookmarks_are_made_listed_and_destroyed() {
    let (core, pool) = (core(), Pool::create());
    let (a, b) = (made(&pool, "a x"), made(&pool, "b"));
    let (one, two, far) = (taken(&a, "one"), taken(&a, "two"), taken(&b, "one"));
    let mark = |name: &str| a.bookmark(name).expect("legal");
    core.bookmark(&[
        (mark("second"), two.clone()),
        (mark("first of all"), one.clone()),
    ])
    .expect("made");
    let bookmarks = core.bookmarks(&a).expect("listed");
    let names: Vec<_> = bookmarks
        .iter()
        .map(|bookmark| bookmark.name.name())
        .collect();
    assert_eq!(
        names,
        ["first of all", "second"],
        "in the order of their snapshots"
    );
    assert_eq!(bookmarks[0].guid, guid(one.as_str()));
    assert_eq!(
        bookmarks[0].creation.to_string(),
        get(one.as_str(), "creation")
    );
    assert_eq!(
        bookmarks[0].createtxg.to_string(),
        get(one.as_str(), "createtxg")
    );
    assert_eq!(
        core.list(&a, &[]).expect("listed").bookmarks,
        bookmarks,
        "both ways say the same"
    );

    let absent = at(&a, "absent");
    for (name, snapshot, kind) in [
        ("second", &one, ErrorKind::Exists),
        ("new", &absent, ErrorKind::NotFound),
        ("new", &far, ErrorKind::NotAncestor),
    ] {
        let error = core.bookmark(&[(mark("fine"), one.clone()), (mark(name), snapshot.clone())]);
        let error = error.expect_err("one cannot be made");
        assert_eq!(
            kinds(&error),
            BTreeMap::from([(mark(name).as_str(), kind)]),
            "{error}"
        );
    }
    assert_eq!(
        core.bookmarks(&a).expect("listed").len(),
        2,
        "none was made"
    );
    core.destroy_bookmarks(&[mark("second"), mark("absent")])
        .expect("destroyed");
    assert_eq!(core.bookmarks(&a).expect("listed").len(), 1);
    assert_eq!(
        kind(core.bookmarks(&named(&pool, "absent"))),
        ErrorKind::NotFound
    );
    core.bookmark(&[]).expect("nothing to do");
    core.destroy_bookmarks(&[]).expect("nothing to do");
}

#[test]
fn user_properties_are_set_and_removed_all_or_none() {
    let (core, pool) = (core(), Pool::create());
    let dataset = made(&pool, "a b");
    let snapshot = taken(&dataset, "s 1");
    let changes = |pairs: &[(&str, Option<&str>)]| -> BTreeMap<String, Option<String>> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
            .collect()
    };
    for object in [dataset.as_str(), snapshot.as_str()] {
        core.set_user_properties(object, &changes(&[("t:a", Some("1")), ("t:b", Some("2"))]))
            .expect("set");
        core.set_user_properties(object, &changes(&[("t:a", None), ("t:b", Some("3 ü\n"))]))
            .expect("set and removed");
        core.set_user_properties(object, &changes(&[("t:never", None)]))
            .expect("nothing to remove");
        core.set_user_properties(object, &changes(&[]))
            .expect("nothing to do");
    }
    let listing = core.list(&dataset, &["t:a", "t:b"]).expect("listed");
    assert_eq!(
        listing.snapshots[0].user_properties,
        user([("t:b", "3 ü\n")])
    );
    assert_eq!(listing.datasets[0].local, user([("t:b", "3 ü\n")]));

    // What a snapshot inherits is not its own.
    core.set_user_properties(snapshot.as_str(), &changes(&[("t:b", None)]))
        .expect("removed");
    assert_eq!(get(snapshot.as_str(), "t:b"), "3 ü\n", "inherited again");
    assert!(
        core.list(&dataset, &["t:a", "t:b"])
            .expect("listed")
            .snapshots[0]
            .user_properties
            .is_empty()
    );

    for (object, pairs, expected) in [
        // The kernel panics on this one unless it is asked first whether the object exists.
        (
            &*format!("{dataset}@absent"),
            vec![("t:a", None)],
            ErrorKind::NotFound,
        ),
        (
            &*format!("{dataset}/absent"),
            vec![("t:a", Some("1"))],
            ErrorKind::NotFound,
        ),
        (
            "no such pool/x",
            vec![("t:a", Some("1"))],
            ErrorKind::NotFound,
        ),
        ("no@name@", vec![("t:a", Some("1"))], ErrorKind::Name),
        (
            dataset.as_str(),
            vec![("t:c", Some("1")), ("quota", Some("1"))],
            ErrorKind::Property,
        ),
        (
            dataset.as_str(),
            vec![("t:c", Some("1")), ("T:d", None)],
            ErrorKind::Property,
        ),
    ] {
        assert_eq!(
            kind(core.set_user_properties(object, &changes(&pairs))),
            expected,
            "{object}"
        );
    }
    assert_eq!(
        core.list(&dataset, &["t:a", "t:b"])
            .expect("listed")
            .datasets[0]
            .local,
        user([("t:b", "3 ü\n")])
    );
}

#[test]
fn channel_programs_take_arguments_and_tell_what_went_wrong() {
    let (core, pool) = (core(), Pool::create());
    let mut arguments = NvList::new().expect("libnvpair");
    arguments.add_str("text", "ü\n").expect("added");
    arguments.add_i64("number", -5).expect("added");
    arguments.add_bool("truth", true).expect("added");
    arguments.add_strs("texts", &["a", "b"]).expect("added");
    let run =
        |program: &str, limits| core.channel_program(pool.name(), program, limits, &arguments);
    let nosync = |program: &str| {
        core.channel_program_nosync(pool.name(), program, Limits::default(), &arguments)
    };

    let echo = run("return ...", Limits::default()).expect("it runs");
    let table = echo
        .value("return")
        .and_then(|value| value.list())
        .expect("a table");
    assert_eq!(table.value("text"), Some(Value::Str(c"ü\n")));
    assert_eq!(table.value("number"), Some(Value::I64(-5)));
    assert_eq!(table.value("truth"), Some(Value::Bool(true)));
    let texts = table
        .value("texts")
        .and_then(|value| value.list())
        .expect("a table");
    assert_eq!(texts.value("2"), Some(Value::Str(c"b")));
    let nothing = nosync("return").expect("it runs");
    assert_eq!(nothing.iter().count(), 0);

    let message = |result: Result<NvList, Error>| match result.expect_err("it fails") {
        Error::Program { message, .. } => message,
        other => panic!("{other}"),
    };
    assert!(message(run("retrn 1", Limits::default())).contains("syntax error"));
    assert!(message(run("error('my words')", Limits::default())).contains("my words"));
    assert!(message(nosync(&format!("zfs.sync.snapshot('{}@s')", pool.name()))).contains("sync"));
    assert!(!exists(&format!("{}@s", pool.name())));
    let endless = Limits {
        instructions: 100_000,
        ..Limits::default()
    };
    assert!(message(run("while true do end", endless)).contains("timed out"));
    let small = Limits {
        memory: 1 << 20,
        ..Limits::default()
    };
    let hungry = "local t = {} for i = 1, 1000000 do t[i] = 'x' .. i end";
    assert!(message(run(hungry, small)).contains("more memory than allowed"));
    let none = Limits {
        instructions: 0,
        memory: 0,
    };
    assert_eq!(kind(run("return 1", none)), ErrorKind::InvalidArgument);
    let absent = core.channel_program("absent pool", "return 1", Limits::default(), &arguments);
    assert_eq!(kind(absent), ErrorKind::NotFound);
}
