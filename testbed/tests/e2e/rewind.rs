//! Rewind in place and undo: contents, LXD's records, properties, points that stay restorable.

use std::time::Duration;

use testbed::{Image, Instance, lxc, run, wait_until, zfs};

use crate::time_machine::{ours, property, records, restore, snapshot, snapshots, undo};

#[test]
fn every_point_comes_back_with_its_content_whichever_way_one_goes() {
    let web = Instance::create("points", Image::Busybox);
    web.write_file("/root/f", "0");
    let oldest = snapshot(&web, &[]);
    lxc(["snapshot", web.name(), "l1"]);
    web.write_file("/root/f", "1");
    zfs(["snapshot", &format!("{}@by-hand", web.dataset())]);
    web.write_file("/root/f", "2");
    lxc(["snapshot", web.name(), "l2"]);
    web.write_file("/root/f", "3");
    let aliased = snapshot(&web, &["--alias", "before the upgrade"]);
    web.write_file("/root/f", "4");

    let comes_back = |at: &[&str], content: &str, lxd: &[&str]| {
        restore(&web, at).succeeds();
        assert_eq!(web.read_file("/root/f"), content, "after {at:?}");
        assert_eq!(records(&web), lxd, "after {at:?}");
    };
    comes_back(&[], "3", &["l1", "l2"]);
    // LXD keeps a stopped instance mounted for 15 s after that; it is waited for.
    assert_eq!(
        lxc(["file", "pull", &format!("{}/root/f", web.name()), "-"]),
        "3"
    );
    comes_back(&["--at", &oldest], "0", &[]);
    comes_back(&["--at", "by-hand"], "1", &["l1"]);
    comes_back(&["--at", "before the upgrade"], "3", &["l1", "l2"]);
    assert!(
        snapshots(&web.dataset()).contains(&aliased),
        "its history is the instance's again"
    );
    comes_back(&["--at", "l2"], "2", &["l1", "l2"]);
    // Back through all of them: each undo goes back to where the last command began.
    undo(&web, &[]).succeeds();
    assert_eq!(web.read_file("/root/f"), "3");
    undo(&web, &[]).succeeds();
    assert_eq!(web.read_file("/root/f"), "2");
}

#[test]
fn a_running_instance_is_rewound_undone_and_redone_and_lxd_goes_on_snapshotting_it() {
    let web = Instance::launch("journey");
    zfs(["set", "refquota=80M", &web.dataset()]);
    zfs(["set", "compression=zle", &web.dataset()]);
    let local = || {
        zfs([
            "get",
            "-Hp",
            "-s",
            "local",
            "-o",
            "property,value",
            "refquota,compression,canmount,mountpoint",
            &web.dataset(),
        ])
    };
    let local_before = local();
    web.set_config("user.note", "with x1");
    web.write_file("/root/f", "one");
    lxc(["snapshot", web.name(), "x1"]);
    web.set_config("user.note", "with x2");
    web.write_file("/root/f", "two");
    lxc(["snapshot", web.name(), "x2"]);
    web.set_config("user.note", "now");
    web.write_file("/root/f", "three");

    restore(&web, &["--at", "snapshot-x1", "--start"]).succeeds();
    assert_eq!(
        (web.state().as_str(), web.read_file("/root/f").as_str()),
        ("RUNNING", "one")
    );
    assert_eq!(records(&web), ["x1"]);
    lxd_still_snapshots(&web, "one");

    undo(&web, &["--start"]).succeeds();
    assert_eq!(
        (web.state().as_str(), web.read_file("/root/f").as_str()),
        ("RUNNING", "three")
    );
    assert_eq!(records(&web), ["x1", "x2"]);
    let x2 = lxc(["config", "show", &format!("{}/x2", web.name())]);
    assert!(
        x2.contains("user.note: with x2"),
        "the record has its own config: {x2}"
    );
    assert_eq!(web.config("user.note"), "now", "the instance has its own");
    assert_eq!(local(), local_before);
    lxd_still_snapshots(&web, "three");

    undo(&web, &["--start"]).succeeds();
    assert_eq!(
        (web.state().as_str(), web.read_file("/root/f").as_str()),
        ("RUNNING", "one")
    );
    assert_eq!(records(&web), ["x1"]);
    assert_eq!(local(), local_before);
    lxd_still_snapshots(&web, "one");
}

/// LXD takes a snapshot, comes back to it, and deletes it.
#[track_caller]
fn lxd_still_snapshots(instance: &Instance, content: &str) {
    let name = instance.name();
    lxc(["snapshot", name, "probe"]);
    instance.write_file("/root/f", "lost");
    lxc(["restore", name, "probe"]);
    assert_eq!(instance.read_file("/root/f"), content);
    lxc(["delete", &format!("{name}/probe")]);
    assert!(!snapshots(&instance.dataset()).contains(&"snapshot-probe".to_owned()));
}

#[test]
fn held_and_cloned_points_are_no_obstacle_and_stay_as_they_are() {
    let web = Instance::create("held", Image::Busybox);
    web.write_file("/root/f", "old");
    let old = snapshot(&web, &[]);
    web.write_file("/root/f", "new");
    zfs(["snapshot", &format!("{}@pinned", web.dataset())]);
    zfs(["hold", "keep", &format!("{}@pinned", web.dataset())]);
    let copy = Instance::adopt(testbed::unique_name("heldcopy"));
    restore(&web, &["--at", "pinned", "--as-new", copy.name()]).succeeds();

    restore(&web, &["--at", &old]).succeeds();
    assert_eq!(web.read_file("/root/f"), "old");
    restore(&web, &["--at", &old]).succeeds();
    assert_eq!(web.read_file("/root/f"), "old", "two rewinds in a row");
    assert_eq!(copy.read_file("/root/f"), "new");
    let aside = ours(&web);
    let pinned = aside
        .iter()
        .find(|dataset| snapshots(dataset).contains(&"pinned".to_owned()));
    let pinned = format!("{}@pinned", pinned.expect("the held point moved aside"));
    assert!(zfs(["holds", "-H", &pinned]).contains("keep"));

    let refused = restore(&web, &["--at", "pinned", "--destroy-newer"]).fails_with(3);
    assert!(refused.stderr.contains("moved aside"), "{refused}");
    restore(&web, &["--at", "pinned"]).succeeds();
    assert_eq!(web.read_file("/root/f"), "new");
    zfs(["release", "keep", &format!("{}@pinned", web.dataset())]);
}

#[test]
fn destroy_newer_destroys_what_it_says_and_nothing_if_that_is_held() {
    let web = Instance::launch("newer");
    web.write_file("/root/f", "old");
    lxc(["snapshot", web.name(), "keep"]);
    web.write_file("/root/f", "new");
    lxc(["snapshot", web.name(), "gone"]);
    let newest = snapshot(&web, &[]);
    let held = format!("{}@{newest}", web.dataset());
    zfs(["hold", "keep", &held]);
    let refused = restore(&web, &["--at", "snapshot-keep", "--destroy-newer"]).fails_with(3);
    assert!(refused.stderr.contains("held"), "{refused}");
    assert_eq!(web.state(), "RUNNING");
    zfs(["release", "keep", &held]);

    restore(
        &web,
        &["--at", "snapshot-keep", "--destroy-newer", "--start"],
    )
    .succeeds();
    assert_eq!(
        (web.state().as_str(), web.read_file("/root/f").as_str()),
        ("RUNNING", "old")
    );
    assert_eq!(snapshots(&web.dataset()), ["snapshot-keep"]);
    assert_eq!(records(&web), ["keep"]);
    assert_eq!(ours(&web), [""; 0]);
}

#[test]
fn an_instance_that_does_not_stop_is_left_running_unless_force_is_allowed() {
    let deaf = Instance::create("deaf", Image::Stubborn);
    deaf.write_file("/root/f", "old");
    let old = snapshot(&deaf, &[]);
    deaf.write_file("/root/f", "new");
    deaf.start();

    let refused = restore(&deaf, &["--at", &old, "--timeout", "3s"]).fails_with(3);
    assert!(
        refused.stderr.contains("did not stop within 3s"),
        "{refused}"
    );
    assert!(refused.stderr.contains("--force"), "{refused}");
    assert_eq!(
        (deaf.state().as_str(), deaf.read_file("/root/f").as_str()),
        ("RUNNING", "new")
    );
    assert_eq!(ours(&deaf), [""; 0], "everything is put back");
    assert_eq!(snapshots(&deaf.dataset()), [old.as_str()]);

    restore(&deaf, &["--at", &old, "--timeout", "3s", "--force"]).succeeds();
    assert_eq!(
        (deaf.state().as_str(), deaf.read_file("/root/f").as_str()),
        ("STOPPED", "old")
    );
}

#[test]
fn a_snapshot_that_is_being_sent_or_is_mounted_refuses_the_rewind_before_the_stop() {
    let web = Instance::launch("sent");
    web.write_file("/root/f", "old");
    let old = snapshot(&web, &[]);
    web.write_file("/root/f", "new");
    let newer = snapshot(&web, &[]);
    let boot = web.sh("cat /proc/1/stat").finish().succeeds().stdout;
    let untouched = |refused: &testbed::Finished| {
        assert!(refused.stderr.contains("in use"), "{refused}");
        assert_eq!(
            web.sh("cat /proc/1/stat")
                .finish()
                .succeeds()
                .stdout
                .split(' ')
                .nth(21),
            boot.split(' ').nth(21)
        );
        assert_eq!(ours(&web), [""; 0]);
    };

    let mut send = run("sh")
        .args([
            "-c",
            &format!("zfs send '{}@{old}' | sleep 300", web.dataset()),
        ])
        .spawn();
    let holding = || run("pgrep").args(["-x", "zfs"]).finish().code() == Some(0);
    wait_until("the send is under way", Duration::from_secs(20), holding);
    untouched(&restore(&web, &["--at", &newer]).fails_with(3));
    let _ = run("pkill").args(["-x", "sleep"]).finish();
    send.kill();
    wait_until("the send has ended", Duration::from_secs(20), || !holding());

    run("mkdir").args(["-p", "/mnt/point"]).finish().succeeds();
    run("mount")
        .args([
            "-t",
            "zfs",
            &format!("{}@{old}", web.dataset()),
            "/mnt/point",
        ])
        .finish()
        .succeeds();
    let refused = restore(&web, &["--at", &newer]);
    run("umount").arg("/mnt/point").finish().succeeds();
    untouched(&refused.fails_with(3));

    restore(&web, &["--at", &old]).succeeds();
    assert_eq!(web.read_file("/root/f"), "old");
}

#[test]
fn a_dataset_that_stays_mounted_elsewhere_is_not_moved_aside() {
    let web = Instance::create("mounted", Image::Busybox);
    let old = snapshot(&web, &[]);
    let script = format!(
        "mkdir -p /mnt/other && mount -t zfs '{}' /mnt/other && sleep 300",
        web.dataset()
    );
    let mut other = run("unshare")
        .args(["--mount", "sh", "-c", &script])
        .spawn();
    wait_until("the dataset is mounted", Duration::from_secs(20), || {
        run("sh")
            .args(["-c", "grep -l /mnt/other /proc/*/mountinfo"])
            .finish()
            .code()
            == Some(0)
    });
    let refused = restore(&web, &["--at", &old]);
    other.kill();
    let _ = run("pkill").args(["-x", "sleep"]).finish();
    let refused = refused.fails_with(3);
    assert!(
        refused
            .stderr
            .contains("still mounted in the mount namespace of"),
        "{refused}"
    );
    assert_eq!(ours(&web), [""; 0]);
}

#[test]
fn files_keep_their_ids_when_the_id_map_changed_between_two_points() {
    let web = Instance::launch("idmap");
    web.sh("echo data > /root/f && chown 5:7 /root/f && mkdir /root/d && chown 1000:1000 /root/d")
        .finish()
        .succeeds();
    let shared = snapshot(&web, &[]);
    let map_before = web.config("volatile.last_state.idmap");
    web.stop_gracefully(Duration::from_secs(20)).succeeds();
    web.set_config("security.idmap.isolated", "true");
    web.start();
    assert_ne!(
        web.config("volatile.last_state.idmap"),
        map_before,
        "the files were shifted"
    );
    // A foreign snapshot: the map has to be found in its own backup.yaml.
    zfs(["snapshot", &format!("{}@isolated", web.dataset())]);
    let ids = || {
        web.sh("stat -c %u:%g /root/f /root/d")
            .finish()
            .succeeds()
            .stdout
    };
    assert_eq!(ids(), "5:7\n1000:1000\n");

    restore(&web, &["--at", &shared, "--start"]).succeeds();
    assert_eq!(ids(), "5:7\n1000:1000\n");
    restore(&web, &["--at", "isolated", "--start"]).succeeds();
    assert_eq!(ids(), "5:7\n1000:1000\n");
    undo(&web, &["--start"]).succeeds();
    assert_eq!(ids(), "5:7\n1000:1000\n");
}

#[test]
fn on_demand_snapshots_of_several_instances_share_a_moment_and_carry_their_data() {
    let (a, b) = (
        Instance::create("group-a", Image::Busybox),
        Instance::create("group-b", Image::Busybox),
    );
    let command = [
        "backup",
        "snapshot",
        "--instance",
        a.name(),
        "--instance",
        b.name(),
        "--alias",
        "v1",
        "--expires",
        "30d",
    ];
    testbed::terrariumctl(command).succeeds();
    let snapshot_of = |instance: &Instance| {
        format!(
            "{}@{}",
            instance.dataset(),
            snapshots(&instance.dataset())[0]
        )
    };
    let (of_a, of_b) = (snapshot_of(&a), snapshot_of(&b));
    assert_eq!(
        property(&of_a, "createtxg"),
        property(&of_b, "createtxg"),
        "one transaction group"
    );
    assert_eq!(property(&of_a, "terrarium:kind"), "on-demand");
    assert_eq!(property(&of_a, "terrarium:alias"), "v1");
    assert_ne!(property(&of_a, "terrarium:expires"), "-");
    assert_ne!(property(&of_a, "terrarium:config"), "-");

    let list = testbed::terrariumctl(["backup", "list", "--instance", a.name()]).succeeds();
    assert!(
        list.stdout.contains(a.name()) && list.stdout.contains("v1"),
        "{list}"
    );
    let taken = testbed::terrariumctl([
        "backup",
        "snapshot",
        "--instance",
        a.name(),
        "--alias",
        "v1",
    ])
    .fails_with(3);
    assert!(taken.stderr.contains("v1"), "{taken}");
}
