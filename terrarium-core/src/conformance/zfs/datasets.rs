//! Datasets: listed, created, renamed, destroyed.

use terrarium_zfs::{DatasetKind, ErrorKind, Properties};

use super::*;

/// Datasets by name, snapshots by dataset and age; with every field that plans read.
pub fn a_listing_shows_what_is_there_in_order(rig: &dyn ZfsRig) {
    let second = created(rig, "b");
    let first = created(rig, "a");
    rig.write(&first, "file", &noise(100_000, 1));
    let newer = taken(rig, &second, "a");
    let older = taken(rig, &first, "z");
    let newest = taken(rig, &first, "a");
    let clone = cloned(rig, "c", &older);
    rig.hold(&older);
    bookmarked(rig, &newer, "mark");

    let listing = listed(rig);
    let names: Vec<_> = listing
        .datasets
        .iter()
        .map(|dataset| &dataset.name)
        .collect();
    assert_eq!(names, [rig.root(), &first, &second, &clone]);
    let names: Vec<_> = listing
        .snapshots
        .iter()
        .map(|snapshot| &snapshot.name)
        .collect();
    assert_eq!(names, [&older, &newest, &newer]);

    let [_, first, _, clone] = &listing.datasets[..] else {
        unreachable!("four were counted");
    };
    assert_eq!(first.kind, DatasetKind::Filesystem);
    assert_eq!(first.origin, None);
    assert_eq!(first.written, 0, "nothing since the snapshot");
    assert!(first.referenced >= 100_000, "{first:?}");
    assert!(!first.mounted);
    assert_eq!(clone.origin.as_ref(), Some(&older));
    assert_eq!(clone.referenced, first.referenced);

    let [older, newest, newer] = &listing.snapshots[..] else {
        unreachable!("three were counted");
    };
    assert!(newer.createtxg < older.createtxg, "{newer:?} {older:?}");
    assert!(older.createtxg < newest.createtxg, "{older:?} {newest:?}");
    assert!(
        older.referenced >= 100_000 && older.written >= 100_000,
        "{older:?}"
    );
    assert_eq!(newest.written, 0);
    assert_eq!((older.userrefs, newest.userrefs), (1, 0));
    assert_eq!(older.clones, std::slice::from_ref(&clone.name));
    assert_eq!(newest.clones, []);

    let [mark] = &listing.bookmarks[..] else {
        panic!("{:?}", listing.bookmarks);
    };
    assert_eq!((mark.guid, mark.createtxg), (newer.guid, newer.createtxg));
    rig.release(&older.name);
}

/// Also the guid of a snapshot.
pub fn a_guid_is_that_of_the_listing_and_none_if_there_is_nothing(rig: &dyn ZfsRig) {
    let name = created(rig, "a b");
    let point = taken(rig, &name, "now");
    let guid = |object: &str| done(rig.zfs().guid(object));
    assert_eq!(guid(name.as_str()), Some(dataset(rig, &name).guid));
    assert_eq!(guid(point.as_str()), Some(snapshot(rig, &point).guid));
    assert_ne!(guid(name.as_str()), guid(point.as_str()));
    assert_eq!(guid(named(rig, "absent").as_str()), None);
    assert_eq!(guid(at(&name, "absent").as_str()), None);
    assert_eq!(guid("no-pool-of-this-name/x"), None);
    assert_refused(rig.zfs().guid("a//b"), ErrorKind::Name);
}

/// Neither a dataset nor a pool.
pub fn what_does_not_exist_cannot_be_listed(rig: &dyn ZfsRig) {
    assert_refused(rig.zfs().list(&named(rig, "absent")), ErrorKind::NotFound);
}

/// Native and user properties are listed as local, in the words of `zfs get -Hp`.
pub fn a_dataset_is_created_with_its_properties(rig: &dyn ZfsRig) {
    let pairs = [
        ("canmount", "noauto"),
        ("compression", "lz4"),
        ("mountpoint", "legacy"),
        ("refquota", "104857600"),
        ("sync", "disabled"),
        ("terrarium:lineage", "a b"),
    ];
    let name = named(rig, "a");
    done(rig.zfs().create(&name, &properties(&pairs)));
    let child = created(rig, "a/child");

    let local = dataset(rig, &name).local;
    assert_eq!(local, user_properties(&pairs));
    let below = dataset(rig, &child).local;
    assert_eq!(
        below.get("terrarium:lineage"),
        None,
        "inherited is not local"
    );
    assert_eq!(below.get("refquota"), None);
}

/// The parent is not created by the way.
pub fn a_dataset_is_not_created_twice_or_without_a_parent(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    let create = |name: &DatasetName| rig.zfs().create(name, &Properties::new());
    assert_refused(create(&name), ErrorKind::Exists);
    assert_refused(create(&named(rig, "absent/a")), ErrorKind::NotFound);
}

/// Children, snapshots, bookmarks, holds, clones: all stay what they are.
pub fn a_rename_takes_everything_below_along(rig: &dyn ZfsRig) {
    let (from, to) = (created(rig, "from x"), named(rig, "new home/to y"));
    created(rig, "new home");
    created(rig, "from x/child");
    created(rig, "from xx");
    rig.write(&from, "file", b"one");
    let point = taken(rig, &from, "s");
    bookmarked(rig, &point, "mark");
    rig.hold(&point);
    let clone = cloned(rig, "clone", &point);
    let before = dataset(rig, &from);

    done(rig.zfs().rename(&from, &to));
    let after = dataset(rig, &to);
    assert_eq!(after.guid, before.guid);
    assert_eq!(after.createtxg, before.createtxg);
    assert_eq!(after.local, before.local);
    assert_eq!(snapshots(rig, &to), ["s"]);
    assert_eq!(bookmarks(rig, &to), ["mark"]);
    assert_eq!(snapshot(rig, &at(&to, "s")).userrefs, 1);
    assert_eq!(dataset(rig, &clone).origin, Some(at(&to, "s")));
    assert_eq!(rig.read(&to, "file").as_deref(), Some(&b"one"[..]));
    dataset(rig, &named(rig, "new home/to y/child"));
    dataset(rig, &named(rig, "from xx"));
    let gone = rig.zfs().guid(from.as_str());
    assert_eq!(done(gone), None);
    rig.release(&at(&to, "s"));
}

/// A refused rename changes nothing.
pub fn a_rename_is_refused_where_it_cannot_go(rig: &dyn ZfsRig) {
    let (a, b) = (created(rig, "a"), created(rig, "b"));
    created(rig, "a/child");
    let rename = |from: &DatasetName, to: &DatasetName| rig.zfs().rename(from, to);
    assert_refused(rename(&a, &b), ErrorKind::Exists);
    assert_refused(rename(&a, &a), ErrorKind::Exists);
    assert_refused(
        rename(&named(rig, "absent"), &named(rig, "c")),
        ErrorKind::NotFound,
    );
    assert_refused(rename(&a, &named(rig, "absent/a")), ErrorKind::NotFound);
    assert_refused(
        rename(&a, &named(rig, "a/child/a")),
        ErrorKind::InvalidArgument,
    );

    let room = 250 - rig.root().as_str().len();
    let long = named(rig, &"x".repeat(room));
    assert_refused(rename(&a, &long), ErrorKind::TooLarge);
    dataset(rig, &a);
    dataset(rig, &named(rig, "a/child"));
}

/// So who must not lose a mount looks for it first.
pub fn a_mounted_dataset_is_renamed_and_rolled_back_but_not_destroyed(rig: &dyn ZfsRig) {
    let (from, to) = (created(rig, "from"), named(rig, "to"));
    let mounted_at = |name: &DatasetName| done(rig.zfs().mounted_at(name));
    assert_eq!(mounted_at(&from), None);
    let mount = rig.mount(&from);
    assert!(mounted_at(&from).is_some());
    assert!(dataset(rig, &from).mounted);
    assert_refused(rig.zfs().destroy(&from), ErrorKind::Busy);

    done(rig.zfs().rename(&from, &to));
    assert!(mounted_at(&to).is_some());
    assert_eq!(mounted_at(&from), None);
    done(rig.zfs().rollback_to(&taken(rig, &to, "s")));
    drop(mount);
    assert_eq!(mounted_at(&to), None);
    assert!(!dataset(rig, &to).mounted);
}

/// Snapshots, clones of them, children; bookmarks go along.
pub fn a_dataset_is_destroyed_only_with_nothing_below_it(rig: &dyn ZfsRig) {
    let parent = created(rig, "parent");
    let child = created(rig, "parent/child");
    let point = taken(rig, &child, "s");
    bookmarked(rig, &point, "mark");
    let destroy = |name: &DatasetName| rig.zfs().destroy(name);
    assert_refused(destroy(&parent), ErrorKind::HasChildren);
    assert_refused(destroy(&child), ErrorKind::Busy);
    done(rig.zfs().destroy_snapshots(&[point]));
    for name in [&child, &parent] {
        done(destroy(name));
    }
    assert_refused(destroy(&parent), ErrorKind::NotFound);
    assert_eq!(listed(rig).datasets.len(), 1);
}

/// An unknown pool is no pool in a bad state.
pub fn a_pool_tells_its_health(rig: &dyn ZfsRig) {
    let health = done(rig.zfs().pool_health(rig.root().pool()));
    assert_eq!(health.state, terrarium_zfs::PoolState::Online);
    assert!(!health.readonly);
    assert!(health.free > 1 << 20, "{health:?}");
    assert_refused(
        rig.zfs().pool_health("no-pool-of-this-name"),
        ErrorKind::NotFound,
    );
}
