//! Branches: clones, and who owns which snapshot after a promotion.

use terrarium_zfs::ErrorKind;

use super::*;

/// Nothing that is set locally on the origin's dataset is carried over.
pub fn a_clone_starts_from_its_origin_and_owns_its_properties(rig: &dyn ZfsRig) {
    let source = named(rig, "source");
    let set = properties(&[
        ("canmount", "noauto"),
        ("mountpoint", "legacy"),
        ("refquota", "104857600"),
        ("terrarium:lineage", "x"),
    ]);
    done(rig.zfs().create(&source, &set));
    rig.write(&source, "file", b"one");
    let point = taken(rig, &source, "s");
    rig.write(&source, "file", b"two");

    let clone = cloned(rig, "clone y", &point);
    assert_eq!(rig.read(&clone, "file").as_deref(), Some(&b"one"[..]));
    let listed = dataset(rig, &clone);
    assert_eq!(listed.origin, Some(point.clone()));
    assert_eq!(
        listed.local,
        user_properties(&[("canmount", "noauto"), ("mountpoint", "legacy")])
    );
    assert_ne!(listed.guid, dataset(rig, &source).guid);
    assert!(listed.createtxg > snapshot(rig, &point).createtxg);

    rig.write(&clone, "file", b"three");
    assert_eq!(rig.read(&source, "file").as_deref(), Some(&b"two"[..]));
}

/// Not 0: the block that all others hang on is its own from the first moment. On the kernel that is 1 to 16 KiB by
/// the sector size, and the least change of a file writes more than seven times as much.
pub fn an_untouched_clone_has_written_what_every_fresh_clone_has(rig: &dyn ZfsRig) {
    let source = created(rig, "source");
    rig.write(&source, "file", &noise(50_000, 1));
    let point = taken(rig, &source, "s");
    let [one, other] = ["one", "other"].map(|name| cloned(rig, name, &point));
    let written = |name| dataset(rig, name).written;
    let fresh = written(&one);
    assert!(fresh < 50_000, "{fresh}");
    drop(rig.mount(&one));
    assert_eq!(written(&one), fresh, "to mount it writes nothing");
    rig.write(&one, "more", b"x");
    assert!(written(&one) > fresh);
    assert_eq!(written(&other), fresh);
}

/// The error is about what is missing or taken.
pub fn a_clone_is_refused_without_origin_parent_or_free_name(rig: &dyn ZfsRig) {
    let source = created(rig, "source");
    let point = taken(rig, &source, "s");
    let clone = |target: &str, origin| {
        let target = named(rig, target);
        rig.zfs().clone_snapshot(&target, origin, &properties(&[]))
    };
    assert_refused(clone("source", &point), ErrorKind::Exists);
    assert_refused(clone("absent/clone", &point), ErrorKind::NotFound);
    assert_refused(clone("clone", &at(&source, "absent")), ErrorKind::NotFound);
    assert_eq!(listed(rig).datasets.len(), 2);
}

/// Either can be destroyed first, and each is what it was without the other.
///
/// # Panics
/// If that is not so.
pub fn a_copy_shares_nothing_with_what_it_was_copied_from(rig: &dyn ZfsRig) {
    let source = created(rig, "source");
    let bytes = noise(1 << 20, 7);
    rig.write(&source, "file", &bytes);
    let point = taken(rig, &source, "s y");
    rig.write(&source, "file", b"two");
    // What has clones can be copied too, and its copy has none.
    let clone = cloned(rig, "clone", &point);

    let copy = named(rig, "copy");
    let set = [
        ("canmount", "noauto"),
        ("mountpoint", "legacy"),
        ("terrarium:lineage", "x"),
    ];
    done(rig.zfs().copy_snapshot(&copy, &point, &properties(&set)));
    assert_eq!(rig.read(&copy, "file"), Some(bytes.clone()));
    let listed = dataset(rig, &copy);
    assert_eq!(listed.origin, None);
    assert_eq!(listed.local, user_properties(&set));
    assert!(listed.used >= 1 << 20, "{} bytes", listed.used);
    let received = at(&copy, "s y");
    assert_eq!(snapshots(rig, &copy), ["s y"]);
    assert_eq!(snapshot(rig, &received).guid, snapshot(rig, &point).guid);
    assert_eq!(snapshot(rig, &received).clones, []);
    assert_eq!(snapshot(rig, &point).clones, std::slice::from_ref(&clone));

    let guid = snapshot(rig, &received).guid;
    done(rig.zfs().destroy_by_guid(&[(received, guid)]));
    rig.write(&copy, "file", b"three");
    assert_eq!(rig.read(&source, "file").as_deref(), Some(&b"two"[..]));
    assert_eq!(rig.read(&clone, "file"), Some(bytes));
    done(rig.zfs().destroy(&clone));
    done(rig.zfs().destroy_by_guid(&[(point, guid)]));
    done(rig.zfs().destroy(&source));
    assert_eq!(rig.read(&copy, "file").as_deref(), Some(&b"three"[..]));
}

/// # Panics
/// If it is not, or something is left of it.
pub fn a_copy_is_refused_without_origin_parent_or_free_name(rig: &dyn ZfsRig) {
    let source = created(rig, "source");
    let point = taken(rig, &source, "s");
    let copy = |target: &str, origin| {
        let target = named(rig, target);
        rig.zfs().copy_snapshot(&target, origin, &properties(&[]))
    };
    assert_refused(copy("source", &point), ErrorKind::Exists);
    assert_refused(copy("absent/copy", &point), ErrorKind::NotFound);
    assert_refused(copy("copy", &at(&source, "absent")), ErrorKind::NotFound);
    assert_eq!(listed(rig).datasets.len(), 2);
    assert_eq!(snapshots(rig, &source), ["s"]);
}

/// The dataset it came from becomes a clone of it, and keeps what is newer.
pub fn a_promoted_clone_owns_the_snapshots_up_to_its_origin(rig: &dyn ZfsRig) {
    let source = created(rig, "source x");
    rig.write(&source, "file", b"one");
    taken(rig, &source, "one");
    let two = taken(rig, &source, "two");
    rig.write(&source, "file", b"three");
    taken(rig, &source, "three");
    let clone = cloned(rig, "clone y", &two);
    taken(rig, &clone, "mine");
    let guid = snapshot(rig, &two).guid;

    done(rig.zfs().check_promote(&clone));
    assert_eq!(
        dataset(rig, &clone).origin,
        Some(two),
        "a check changes nothing"
    );
    promoted(rig, &clone);
    assert_eq!(snapshots(rig, &clone), ["one", "two", "mine"]);
    assert_eq!(snapshots(rig, &source), ["three"]);
    assert_eq!(snapshot(rig, &at(&clone, "two")).guid, guid);
    assert_eq!(dataset(rig, &clone).origin, None);
    assert_eq!(dataset(rig, &source).origin, Some(at(&clone, "two")));
    let two = snapshot(rig, &at(&clone, "two"));
    assert_eq!(two.clones, std::slice::from_ref(&source));
    assert_eq!(rig.read(&source, "file").as_deref(), Some(&b"three"[..]));
    assert_eq!(rig.read(&clone, "file").as_deref(), Some(&b"one"[..]));

    // And back again, as an undo does.
    promoted(rig, &source);
    assert_eq!(snapshots(rig, &source), ["one", "two", "three"]);
    assert_eq!(snapshots(rig, &clone), ["mine"]);
}

/// Newer ones stay where they are.
pub fn a_promotion_takes_the_bookmarks_of_that_time_along(rig: &dyn ZfsRig) {
    let source = created(rig, "source");
    let points = ["one", "two", "three"].map(|name| taken(rig, &source, name));
    for (point, mark) in points.iter().zip(["b1", "b2", "b3"]) {
        bookmarked(rig, point, mark);
    }
    let clone = cloned(rig, "clone", &points[1]);
    bookmarked(rig, &taken(rig, &clone, "mine"), "own");
    promoted(rig, &clone);
    assert_eq!(bookmarks(rig, &clone), ["b1", "b2", "own"]);
    assert_eq!(bookmarks(rig, &source), ["b3"]);
}

/// What is on a snapshot goes with it.
pub fn a_promotion_keeps_holds_and_user_properties(rig: &dyn ZfsRig) {
    let source = created(rig, "source");
    let point = at(&source, "s");
    let alias = user_properties(&[("terrarium:alias", "x")]);
    done(rig.zfs().snapshot(&[(point.clone(), alias.clone())]));
    rig.hold(&point);
    let clone = cloned(rig, "clone", &point);
    promoted(rig, &clone);
    let moved = snapshot(rig, &at(&clone, "s"));
    assert_eq!((moved.userrefs, moved.user_properties), (1, alias));
    rig.release(&moved.name);
}

/// As with an instance that is a clone of an image: the image stays what it is.
pub fn a_promotion_hands_on_the_origin_of_the_origin(rig: &dyn ZfsRig) {
    let image = taken(rig, &created(rig, "image"), "readonly");
    let instance = cloned(rig, "instance", &image);
    let point = taken(rig, &instance, "s");
    let clone = cloned(rig, "clone", &point);
    promoted(rig, &clone);
    assert_eq!(snapshots(rig, &image.dataset()), ["readonly"]);
    assert_eq!(dataset(rig, &clone).origin, Some(image.clone()));
    assert_eq!(dataset(rig, &instance).origin, Some(at(&clone, "s")));
    assert_eq!(snapshot(rig, &image).clones, [clone]);
}

/// A sibling's origin moves, and shows its new name.
pub fn other_clones_follow_their_origin(rig: &dyn ZfsRig) {
    let source = created(rig, "source");
    let (one, two) = (taken(rig, &source, "one"), taken(rig, &source, "two"));
    let sibling = cloned(rig, "sibling", &one);
    let clone = cloned(rig, "clone", &two);
    promoted(rig, &clone);
    assert_eq!(dataset(rig, &sibling).origin, Some(at(&clone, "one")));
}

/// Or is not there at all.
pub fn a_promotion_is_refused_for_what_is_no_clone(rig: &dyn ZfsRig) {
    let plain = created(rig, "plain");
    let absent = named(rig, "absent");
    for (name, kind) in [
        (&plain, ErrorKind::InvalidArgument),
        (&absent, ErrorKind::NotFound),
    ] {
        assert_refused(rig.zfs().check_promote(name), kind);
        assert_refused(rig.zfs().promote(name), kind);
    }
}

/// The error says which name; nothing is moved. Bookmarks clash as snapshots do.
pub fn a_promotion_is_refused_for_a_name_that_both_have(rig: &dyn ZfsRig) {
    let source = created(rig, "source");
    taken(rig, &source, "same");
    let two = taken(rig, &source, "two");
    let clone = cloned(rig, "clone", &two);
    let clash = taken(rig, &clone, "same");
    let assert_clash = |wanted: &str| {
        for done in [rig.zfs().check_promote(&clone), rig.zfs().promote(&clone)] {
            match done {
                Err(Error::Exists { name, .. }) => assert_eq!(name, wanted),
                other => panic!("a clash was expected, not {other:?}"),
            }
        }
    };
    assert_clash("same");
    assert_eq!(snapshots(rig, &source), ["same", "two"]);

    done(rig.zfs().destroy_snapshots(&[clash]));
    bookmarked(rig, &two, "mark");
    bookmarked(rig, &taken(rig, &clone, "mine"), "mark");
    assert_clash("mark");
    assert_eq!(snapshots(rig, &source), ["same", "two"]);
}

/// An older one than the origin too, but not a newer one.
pub fn a_promotion_is_refused_while_a_snapshot_that_would_move_is_sent(rig: &dyn ZfsRig) {
    let source = created(rig, "source");
    rig.write(&source, "file", &noise(4 << 20, 1));
    let [one, two, three] = ["one", "two", "three"].map(|name| taken(rig, &source, name));
    let clone = cloned(rig, "clone", &two);
    let send = rig.send(&one);
    assert_refused(rig.zfs().check_promote(&clone), ErrorKind::Busy);
    assert_refused(rig.zfs().promote(&clone), ErrorKind::Busy);
    drop(send);
    let send = rig.send(&three);
    promoted(rig, &clone);
    drop(send);
}
