//! User properties of datasets and snapshots.

use std::collections::BTreeMap;

use terrarium_zfs::ErrorKind;

use super::*;

fn changes(pairs: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    let owned =
        |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
    pairs.iter().map(owned).collect()
}

#[track_caller]
fn set(rig: &dyn ZfsRig, object: &str, pairs: &[(&str, Option<&str>)]) {
    done(rig.zfs().set_user_properties(object, &changes(pairs)));
}

/// In one call; one that is not there can be removed. An empty value is a value.
pub fn user_properties_are_set_and_removed(rig: &dyn ZfsRig) {
    let name = created(rig, "a b");
    let point = taken(rig, &name, "s t");
    let both = [name.as_str(), point.as_str()];
    for object in both {
        set(
            rig,
            object,
            &[
                ("terrarium:alias", Some("1")),
                ("terrarium:idmap", Some("x\ty\nz é")),
            ],
        );
        let more = [
            ("terrarium:alias", None),
            ("terrarium:absent", None),
            ("terrarium:period", Some("")),
        ];
        set(rig, object, &more);
    }
    let wanted = user_properties(&[("terrarium:idmap", "x\ty\nz é"), ("terrarium:period", "")]);
    assert_eq!(snapshot(rig, &point).user_properties, wanted);
    let mut local = dataset(rig, &name).local;
    local.retain(|name, _| name.contains(':'));
    assert_eq!(local, wanted);
}

/// A snapshot inherits them, but only its own say something about it.
pub fn user_properties_of_a_dataset_are_not_those_of_its_snapshots(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    set(rig, name.as_str(), &[("terrarium:kind", Some("on-demand"))]);
    let point = taken(rig, &name, "s");
    assert_eq!(snapshot(rig, &point).user_properties, user_properties(&[]));
    set(
        rig,
        point.as_str(),
        &[("terrarium:kind", Some("scheduled"))],
    );
    let own = user_properties(&[("terrarium:kind", "scheduled")]);
    assert_eq!(snapshot(rig, &point).user_properties, own);
    assert_eq!(dataset(rig, &name).local["terrarium:kind"], "on-demand");
}

/// A listing tells of a snapshot what is Terrarium's, so that it need not look for all that others set.
pub fn user_properties_of_others_are_not_listed_with_a_snapshot(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    let ours = user_properties(&[("terrarium:kind", "scheduled")]);
    let mut all = user_properties(&[("other:kind", "x"), ("terrarium:other", "y")]);
    all.extend(ours.clone());
    let point = at(&name, "s");
    done(rig.zfs().snapshot(&[(point.clone(), all)]));
    assert_eq!(snapshot(rig, &point).user_properties, ours);
}

/// One bad name or value keeps the others.
pub fn user_properties_are_set_all_or_none(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    let refused = |object: &str, bad: (&str, Option<&str>), kind| {
        let pairs = [("terrarium:a", Some("1")), bad];
        assert_refused(
            rig.zfs().set_user_properties(object, &changes(&pairs)),
            kind,
        );
    };
    let long = "x".repeat(8192);
    refused(
        name.as_str(),
        ("terrarium:z", Some(&long)),
        ErrorKind::Property,
    );
    refused(
        name.as_str(),
        ("compression", Some("on")),
        ErrorKind::Property,
    );
    refused(
        name.as_str(),
        ("Terrarium:Z", Some("1")),
        ErrorKind::Property,
    );
    refused(name.as_str(), ("Terrarium:Z", None), ErrorKind::Property);
    refused("a//b", ("terrarium:z", Some("1")), ErrorKind::Name);
    let absent = named(rig, "absent");
    refused(
        absent.as_str(),
        ("terrarium:z", Some("1")),
        ErrorKind::NotFound,
    );
    refused(absent.as_str(), ("terrarium:z", None), ErrorKind::NotFound);
    refused(
        at(&name, "absent").as_str(),
        ("terrarium:z", Some("1")),
        ErrorKind::NotFound,
    );
    assert_eq!(dataset(rig, &name).local.get("terrarium:a"), None);

    let wanted = at(&name, "s");
    let long = user_properties(&[("terrarium:z", &long)]);
    let done = rig.zfs().snapshot(&[(wanted, long)]);
    let error = done.err();
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Property));
    assert_eq!(snapshots(rig, &name), [""; 0]);
}

/// An intent that is cut into pieces of that size fits.
pub fn a_user_property_holds_8191_bytes(rig: &dyn ZfsRig) {
    let name = created(rig, "a");
    let long = "é".repeat(4095) + "x";
    let point = at(&name, "s");
    done(rig.zfs().snapshot(&[(
        point.clone(),
        user_properties(&[("terrarium:idmap", &long)]),
    )]));
    set(
        rig,
        name.as_str(),
        &[("terrarium:a", Some(&long)), ("terrarium:b", Some(&long))],
    );
    assert_eq!(
        snapshot(rig, &point).user_properties["terrarium:idmap"],
        long
    );
    assert_eq!(dataset(rig, &name).local["terrarium:b"], long);
}
