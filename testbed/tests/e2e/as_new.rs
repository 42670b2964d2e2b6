//! Restore as new: beside its source, with nothing of its source's identity.

use testbed::{Image, Instance, lxc, unique_name, zfs};

use crate::time_machine::{property, restore, snapshot, snapshots};

#[test]
fn a_copy_runs_beside_its_source_and_shares_no_identity_with_it() {
    let web = Instance::create("source", Image::Busybox);
    let volume = unique_name("vol");
    lxc(["storage", "volume", "create", "default", &volume]);
    lxc([
        "storage",
        "volume",
        "attach",
        "default",
        &volume,
        web.name(),
        "data",
        "/data",
    ]);
    lxc([
        "config",
        "device",
        "override",
        web.name(),
        "eth0",
        "ipv4.address=10.66.0.77",
    ]);
    let listen = "listen=tcp:127.0.0.1:18080";
    lxc([
        "config",
        "device",
        "add",
        web.name(),
        "http",
        "proxy",
        listen,
        "connect=tcp:127.0.0.1:80",
    ]);
    web.set_config("limits.memory", "200MiB");
    web.set_config("user.owner", "me");
    web.set_config("user.proxy", "https://app.example");
    web.set_config("user.proxy.admin", "https://admin.example");
    web.start();
    web.sh("echo data > /root/f && chown 5:7 /root/f")
        .finish()
        .succeeds();
    let point = snapshot(&web, &[]);
    web.sh("echo later > /root/f").finish().succeeds();

    let copy = Instance::adopt(unique_name("copy"));
    let done = restore(&web, &["--at", &point, "--as-new", copy.name(), "--start"]).succeeds();
    for left_out in [
        "user.proxy",
        "user.proxy.admin",
        "device data",
        "device http",
        "ipv4.address",
    ] {
        assert!(
            done.stdout.contains(left_out),
            "{left_out} is reported: {done}"
        );
    }
    assert_eq!(
        (web.state().as_str(), copy.state().as_str()),
        ("RUNNING", "RUNNING")
    );
    assert_eq!(copy.read_file("/root/f"), "data\n");
    assert_eq!(
        copy.sh("stat -c %u:%g /root/f").finish().succeeds().stdout,
        "5:7\n"
    );
    assert!(
        copy.sh("ls -ln /root/f")
            .finish()
            .succeeds()
            .stdout
            .contains(" 5        7 ")
    );
    for key in ["user.proxy", "user.proxy.admin", "user.terrarium.operation"] {
        assert_eq!(copy.config(key), "", "{key}");
    }
    assert_eq!(copy.config("limits.memory"), "200MiB");
    assert_eq!(copy.config("user.owner"), "me");
    for key in ["volatile.uuid", "volatile.eth0.hwaddr"] {
        assert_ne!(copy.config(key), "", "{key}");
        assert_ne!(copy.config(key), web.config(key), "{key}");
    }
    let devices = lxc(["config", "show", copy.name(), "--expanded"]);
    assert!(
        !devices.contains(&volume) && !devices.contains("10.66.0.77"),
        "{devices}"
    );
    assert_eq!(snapshots(&copy.dataset()), [""; 0]);
    assert_eq!(
        zfs([
            "get",
            "-H",
            "-s",
            "local",
            "-o",
            "property",
            "all",
            &copy.dataset()
        ])
        .matches("terrarium")
        .count(),
        0
    );

    // The source goes on as before, and the copy has a future of its own.
    assert_eq!(web.read_file("/root/f"), "later\n");
    snapshot(&copy, &[]);
    copy.write_file("/root/f", "its own");
    restore(&copy, &[]).succeeds();
    assert_eq!(copy.read_file("/root/f"), "data\n");
    drop((web, copy));
    lxc(["storage", "volume", "delete", "default", &volume]);
}

#[test]
fn a_copy_goes_to_another_project_and_comes_from_one() {
    let project = unique_name("tenant");
    lxc([
        "project",
        "create",
        &project,
        "-c",
        "features.images=false",
        "-c",
        "features.profiles=false",
    ]);
    let web = Instance::create("moves", Image::Busybox);
    web.write_file("/root/f", "data");
    snapshot(&web, &[]);

    restore(&web, &["--as-new", "there", "--target-project", &project]).succeeds();
    let there = format!("{project}/there");
    assert_eq!(
        lxc(["file", "pull", "--project", &project, "there/root/f", "-"]),
        "data"
    );
    testbed::terrariumctl(["backup", "snapshot", "--instance", &there]).succeeds();
    let back = Instance::adopt(unique_name("back"));
    let command = [
        "backup",
        "restore",
        "--instance",
        &there,
        "--as-new",
        back.name(),
        "--target-project",
        "default",
    ];
    testbed::terrariumctl(command).succeeds();
    assert_eq!(back.read_file("/root/f"), "data");

    drop(back);
    lxc(["delete", "--project", &project, "there"]);
    lxc(["project", "delete", &project]);
}

#[test]
fn a_copy_in_full_and_its_source_are_deleted_in_any_order() {
    let web = Instance::launch("source");
    web.sh("echo data > /root/f && chown 5:7 /root/f && sync")
        .finish()
        .succeeds();
    let point = snapshot(&web, &[]);
    let copies = ["copy", "copy"].map(|stem| Instance::adopt(unique_name(stem)));
    for copy in &copies {
        let request = [
            "--at",
            &point,
            "--as-new",
            copy.name(),
            "--independent",
            "--start",
        ];
        restore(&web, &request).succeeds();
        assert_eq!(property(&copy.dataset(), "origin"), "-");
        assert_eq!(snapshots(&copy.dataset()), [""; 0]);
        assert_eq!(copy.read_file("/root/f"), "data\n");
        let owner = copy.sh("stat -c %u:%g /root/f").finish().succeeds();
        assert_eq!(owner.stdout, "5:7\n");
    }
    let [first, second] = copies;
    drop(first);
    assert_eq!(web.read_file("/root/f"), "data\n");
    let dataset = web.dataset();
    drop(web);
    let left = zfs(["list", "-Ho", "name"]);
    assert!(!left.lines().any(|name| name == dataset), "{left}");
    assert_eq!(second.state(), "RUNNING");
    assert_eq!(second.read_file("/root/f"), "data\n");
}
