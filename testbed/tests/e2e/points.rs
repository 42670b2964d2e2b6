//! Restore points are edited, deleted and adopted on the kernel's ZFS, beside LXD and whoever holds snapshots.

use testbed::{Finished, Image, Instance, lxc, terrariumctl, zfs};

use crate::time_machine::{property, records, restore, snapshot, snapshots};

fn edit(instance: &Instance, at: &str, more: &[&str]) -> Finished {
    let command = ["backup", "edit", "--instance", instance.name(), "--at", at];
    terrariumctl([&command[..], more].concat())
}

fn delete(instance: &Instance, at: &[&str], more: &[&str]) -> Finished {
    let command = ["backup", "delete", "--yes", "--instance", instance.name()];
    let at = at.iter().flat_map(|at| ["--at", at]);
    let at: Vec<&str> = at.collect();
    terrariumctl([&command[..], &at, more].concat())
}

#[test]
fn a_point_is_edited_restored_by_its_new_alias_and_deleted() {
    let web = Instance::create("points", Image::Busybox);
    let first = snapshot(&web, &["--alias", "first"]);
    let second = snapshot(&web, &["--expires", "30d"]);
    edit(
        &web,
        "first",
        &["--alias", "release 1", "--expires", "2099-12-31"],
    )
    .succeeds();
    let object = format!("{}@{first}", web.dataset());
    assert_eq!(property(&object, "terrarium:alias"), "release 1");
    assert_eq!(
        property(&object, "terrarium:expires"),
        "2099-12-31T00:00:00Z"
    );
    let taken = edit(&web, &second, &["--alias", "release 1"]).fails_with(3);
    assert!(taken.stderr.contains("release 1"), "{taken}");
    edit(&web, &second, &["--no-expires"]).succeeds();
    let object = format!("{}@{second}", web.dataset());
    assert_eq!(property(&object, "terrarium:expires"), "-");

    restore(&web, &["--at", "release 1"]).succeeds();
    // The second point lies in the dataset that moved aside; both can be deleted there and here, but what the other
    // continues from.
    let needed = delete(&web, &["release 1"], &[]).fails_with(3);
    assert!(needed.stderr.contains("it has clones"), "{needed}");
    delete(&web, &[&second], &[]).succeeds();
    let left = terrariumctl(["backup", "list", "--instance", web.name()]).succeeds();
    assert!(
        left.stdout.contains(&first) && !left.stdout.contains(&second),
        "{left}"
    );
}

#[test]
fn what_is_held_or_lxds_or_foreign_stays_and_says_what_to_do() {
    let web = Instance::create("points", Image::Busybox);
    let name = web.name();
    let held = snapshot(&web, &["--alias", "held"]);
    let object = format!("{}@{held}", web.dataset());
    zfs(["hold", "nightly copy", &object]);
    zfs(["snapshot", &format!("{}@by-hand", web.dataset())]);
    lxc(["snapshot", name, "x"]);
    for (at, says) in [
        ("held", "it is held: nightly copy"),
        ("by-hand", "zfs destroy"),
        ("x", &format!("lxc delete {name}/x")),
    ] {
        let refused = delete(&web, &[at], &["--force"]).fails_with(3);
        assert!(refused.stderr.contains(says), "{refused}");
    }
    assert_eq!(snapshots(&web.dataset()), [&held, "by-hand", "snapshot-x"]);
    assert_eq!(records(&web), ["x"]);

    zfs(["release", "nightly copy", &object]);
    lxc(["delete", &format!("{name}/x")]);
    delete(&web, &["held"], &[]).succeeds();
    assert_eq!(snapshots(&web.dataset()), ["by-hand"]);
}

#[test]
fn adoption_survives_a_rewind() {
    let web = Instance::create("points", Image::Busybox);
    let adopt = |more: &[&str]| {
        let command = ["adopt", "sanoid", "--yes", "--instance", web.name()];
        terrariumctl([&command[..], more].concat()).succeeds()
    };
    let point = snapshot(&web, &[]);
    adopt(&[]);
    snapshot(&web, &[]);
    restore(&web, &["--at", &point]).succeeds();
    assert_eq!(property(&web.dataset(), "terrarium:adopted"), "sanoid");
    adopt(&["--undo"]);
    assert_eq!(property(&web.dataset(), "terrarium:adopted"), "-");
}
