//! Snapshots: taken, read, destroyed, rolled back to.

use terrarium_zfs::ErrorKind;

use super::*;

/// Each with properties of its own.
pub fn snapshots_of_one_call_share_a_transaction_group(rig: &dyn ZfsRig) {
    let (a, b) = (at(&created(rig, "a"), "s"), at(&created(rig, "b c"), "s"));
    let properties = [
        user_properties(&[
            ("terrarium:kind", "on-demand"),
            ("terrarium:alias", "é \"'"),
        ]),
        user_properties(&[("terrarium:kind", "scheduled")]),
    ];
    let [first, second] = properties.clone();
    done(
        rig.zfs()
            .snapshot(&[(a.clone(), first), (b.clone(), second)]),
    );
    let later = snapshot(rig, &taken(rig, &a.dataset(), "later"));

    let (a, b) = (snapshot(rig, &a), snapshot(rig, &b));
    assert_eq!(a.createtxg, b.createtxg);
    assert!(a.createtxg < later.createtxg);
    assert_ne!(a.guid, b.guid);
    assert_eq!([a.user_properties, b.user_properties], properties);
    done(rig.zfs().snapshot(&[]));
}

/// The error names each that failed and why.
pub fn snapshots_are_taken_all_or_none(rig: &dyn ZfsRig) {
    let (a, b) = (created(rig, "a"), created(rig, "b"));
    let existing = taken(rig, &a, "s");
    let absent = at(&named(rig, "c absent"), "s");
    let wanted = [&absent, &existing, &at(&b, "s")];
    let wanted = wanted.map(|name| (name.clone(), UserProperties::new()));
    let because = [
        (&existing, ErrorKind::Exists),
        (&absent, ErrorKind::NotFound),
    ];
    assert_all_refused(rig.zfs().snapshot(&wanted), &because);
    assert_eq!(snapshots(rig, &b), [""; 0]);
}

/// So two of one dataset take two calls.
pub fn a_transaction_group_holds_one_snapshot_of_a_dataset(rig: &dyn ZfsRig) {
    let (a, b) = (created(rig, "a"), created(rig, "b"));
    let wanted = [at(&a, "one"), at(&b, "one"), at(&a, "two")];
    let refused = at(&a, "two");
    let wanted = wanted.map(|name| (name, UserProperties::new()));
    let because = [(&refused, ErrorKind::InvalidArgument)];
    assert_all_refused(rig.zfs().snapshot(&wanted), &because);
    assert_eq!(listed(rig).snapshots, []);
}

/// What is written afterwards counts for the dataset alone.
pub fn a_snapshot_keeps_what_was_there(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    rig.write(&name, "file", &noise(50_000, 1));
    let one = taken(rig, &name, "one");
    rig.write(&name, "file", &noise(50_000, 2));
    assert!(dataset(rig, &name).written >= 50_000);
    let two = taken(rig, &name, "two");
    assert_eq!(dataset(rig, &name).written, 0);
    assert!(
        snapshot(rig, &one).used >= 50_000,
        "only it holds the old file"
    );
    assert!(
        snapshot(rig, &two).used < 50_000,
        "the dataset holds the new file too"
    );
    assert!(dataset(rig, &name).used >= 100_000);

    let old = rig.zfs().read_file(&one, "file", 50_000);
    assert_eq!(done(old), Some(noise(50_000, 1)));
    assert_eq!(rig.read(&name, "file"), Some(noise(50_000, 2)));
}

/// One that is held or has clones keeps the others.
pub fn snapshots_are_destroyed_all_or_none(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    let [held, free, origin] =
        ["1 held", "2 free", "3 origin"].map(|point| taken(rig, &name, point));
    rig.hold(&held);
    let clone = cloned(rig, "clone", &origin);
    let all = [held.clone(), free.clone(), origin.clone()];
    let because = [(&held, ErrorKind::Busy), (&origin, ErrorKind::HasClones)];
    assert_all_refused(rig.zfs().destroy_snapshots(&all), &because);
    assert_eq!(snapshots(rig, &name).len(), 3);

    done(rig.zfs().destroy_snapshots(&[free]));
    rig.release(&held);
    done(rig.zfs().destroy(&clone));
    done(rig.zfs().destroy_snapshots(&[held, origin]));
    assert_eq!(snapshots(rig, &name), [""; 0]);
}

/// One of an absent dataset too.
pub fn an_absent_snapshot_counts_as_destroyed(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    let there = taken(rig, &name, "there");
    let absent = [at(&name, "absent"), at(&named(rig, "absent"), "s")];
    done(
        rig.zfs()
            .destroy_snapshots(&[&absent[..], &[there]].concat()),
    );
    assert_eq!(snapshots(rig, &name), [""; 0]);
    done(rig.zfs().destroy_snapshots(&[]));
}

/// As long as it is sent.
pub fn a_busy_snapshot_is_not_destroyed(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    rig.write(&name, "file", &noise(4 << 20, 1));
    let point = taken(rig, &name, "s");
    let destroy = || rig.zfs().destroy_snapshots(std::slice::from_ref(&point));
    let send = rig.send(&point);
    assert_all_refused(destroy(), &[(&point, ErrorKind::Busy)]);
    drop(send);
    done(destroy());
}

/// Guids with and without the highest bit: it is the sign of a channel program's numbers.
pub fn a_snapshot_is_destroyed_by_its_guid_and_not_another_of_its_name(rig: &dyn ZfsRig) {
    let name = created(rig, "a b");
    let [before, other] = [taken(rig, &name, "s"), taken(rig, &name, "other")];
    let guid = |of: &SnapshotName| snapshot(rig, of).guid;
    let (old, others) = (guid(&before), guid(&other));
    done(rig.zfs().destroy_by_guid(&[(before.clone(), old)]));
    let again = taken(rig, &name, "s");
    assert_ne!(guid(&again), old);

    let wanted = [(again.clone(), old), (other.clone(), others)];
    let because = [(&again, ErrorKind::Replaced)];
    assert_others_destroyed(rig.zfs().destroy_by_guid(&wanted), &because);
    assert_eq!(snapshots(rig, &name), ["s"]);
    for number in 0..8 {
        let point = taken(rig, &name, &format!("s{number}"));
        done(rig.zfs().destroy_by_guid(&[(point.clone(), guid(&point))]));
    }
    assert_eq!(snapshots(rig, &name), ["s"]);
}

/// One that is held, cloned or sent; one that is absent is no error, and neither is none.
pub fn what_cannot_be_destroyed_by_guid_does_not_keep_the_others(rig: &dyn ZfsRig) {
    let (a, b) = (created(rig, "a"), created(rig, "b c"));
    rig.write(&a, "file", &noise(4 << 20, 1));
    let points = ["1 held", "2 free", "3 origin", "4 sent"].map(|point| taken(rig, &a, point));
    let there = taken(rig, &b, "s");
    let all = points.iter().chain([&there]);
    let mut all: Vec<_> = all
        .map(|point| (point.clone(), snapshot(rig, point).guid))
        .collect();
    all.push((at(&a, "absent"), all[0].1));
    all.push((at(&named(rig, "absent"), "s"), all[0].1));
    let [held, _, origin, sent] = &points;
    rig.hold(held);
    let clone = cloned(rig, "clone", origin);
    let send = rig.send(sent);

    let because = [
        (held, ErrorKind::Busy),
        (origin, ErrorKind::HasClones),
        (sent, ErrorKind::Busy),
    ];
    assert_others_destroyed(rig.zfs().destroy_by_guid(&all), &because);
    assert_eq!(snapshots(rig, &a), ["1 held", "3 origin", "4 sent"]);
    assert_eq!(snapshots(rig, &b), [""; 0]);
    drop(send);
    rig.release(held);
    done(rig.zfs().destroy(&clone));
    done(rig.zfs().destroy_by_guid(&all));
    assert_eq!(snapshots(rig, &a), [""; 0]);
    done(rig.zfs().destroy_by_guid(&[]));
}

/// By their tags.
pub fn the_holds_of_a_snapshot_are_named(rig: &dyn ZfsRig) {
    let name = created(rig, "a b");
    let point = taken(rig, &name, "s");
    assert_eq!(done(rig.zfs().holds(&point)), [""; 0]);
    rig.hold(&point);
    let tags = done(rig.zfs().holds(&point));
    assert_eq!(tags.len(), 1, "{tags:?}");
    assert!(!tags[0].is_empty());
    rig.release(&point);
    assert_eq!(done(rig.zfs().holds(&point)), [""; 0]);
    assert_refused(rig.zfs().holds(&at(&name, "absent")), ErrorKind::NotFound);
}

/// And what is shared with a neighbour stays.
pub fn a_range_of_snapshots_frees_what_they_share_too(rig: &dyn ZfsRig) {
    let (name, other) = (created(rig, "a b"), created(rig, "other"));
    rig.write(&name, "lasting", &noise(60_000, 1));
    let first = taken(rig, &name, "1");
    rig.write(&name, "passing", &noise(100_000, 2));
    let [second, third] = ["2", "3"].map(|point| taken(rig, &name, point));
    rig.write(&name, "passing", b"");
    let last = taken(rig, &name, "4");
    let space = |from, to| done(rig.zfs().space_of_range(from, to));
    for alone in [&second, &third] {
        assert!(snapshot(rig, alone).used < 100_000, "they share it");
        assert_eq!(space(alone, alone), snapshot(rig, alone).used);
    }
    let both = space(&second, &third);
    assert!((100_000..160_000).contains(&both), "{both}");
    assert!(space(&first, &last) >= both);
    done(
        rig.zfs()
            .destroy_snapshots(&[second.clone(), third.clone()]),
    );

    let strange = taken(rig, &other, "1");
    let refused = |from, to, kind| assert_refused(rig.zfs().space_of_range(from, to), kind);
    refused(&last, &first, ErrorKind::InvalidArgument);
    refused(&strange, &last, ErrorKind::InvalidArgument);
    refused(&second, &last, ErrorKind::NotFound);
    refused(&first, &third, ErrorKind::NotFound);
}

/// One that is larger than asked for is refused, not cut.
pub fn a_file_is_read_from_a_snapshot(rig: &dyn ZfsRig) {
    let name = created(rig, "a b");
    rig.write(&name, "backup.yaml", b"0123456789");
    let point = taken(rig, &name, "s");
    let read = |path, limit| rig.zfs().read_file(&point, path, limit);
    let content = |path| done(read(path, 10));
    assert_eq!(content("backup.yaml").as_deref(), Some(&b"0123456789"[..]));
    assert_eq!(content("absent"), None);
    assert_eq!(content("absent/backup.yaml"), None);
    assert_refused(read("backup.yaml", 9), ErrorKind::TooLarge);
    let absent = at(&name, "absent");
    assert_refused(
        rig.zfs().read_file(&absent, "backup.yaml", 10),
        ErrorKind::NotFound,
    );
}

/// Newer snapshots and bookmarks are gone; doing it again is no error.
pub fn a_rollback_restores_and_destroys_what_is_newer(rig: &dyn ZfsRig) {
    let name = created(rig, "a b");
    rig.write(&name, "file", b"one");
    let one = taken(rig, &name, "one");
    bookmarked(rig, &one, "kept");
    rig.write(&name, "file", b"two");
    let two = taken(rig, &name, "two");
    bookmarked(rig, &two, "newer");
    taken(rig, &name, "three");

    for _ in 0..2 {
        done(rig.zfs().rollback_to(&one));
        assert_eq!(snapshots(rig, &name), ["one"]);
        assert_eq!(bookmarks(rig, &name), ["kept"]);
        assert_eq!(rig.read(&name, "file").as_deref(), Some(&b"one"[..]));
    }
    assert_refused(rig.zfs().rollback_to(&two), ErrorKind::NotFound);
}

/// Then nothing is destroyed.
pub fn a_rollback_is_refused_while_something_newer_is_held_or_cloned(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    rig.write(&name, "file", b"one");
    let [one, two, three] = ["one", "two", "three"].map(|point| taken(rig, &name, point));
    rig.write(&name, "file", b"now");
    bookmarked(rig, &three, "newer");
    let clone = cloned(rig, "clone", &two);
    assert_refused(rig.zfs().rollback_to(&one), ErrorKind::HasClones);
    done(rig.zfs().destroy(&clone));
    rig.hold(&three);
    assert_refused(rig.zfs().rollback_to(&one), ErrorKind::Busy);
    assert_eq!(snapshots(rig, &name), ["one", "two", "three"]);
    assert_eq!(bookmarks(rig, &name), ["newer"]);
    assert_eq!(rig.read(&name, "file").as_deref(), Some(&b"now"[..]));
    rig.release(&three);
}
