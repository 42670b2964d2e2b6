//! The guest is what the other tests take it for.

use std::time::Duration;

use testbed::{Image, Instance, Pool, lxc, run, zfs};

#[test]
fn the_guest_runs_the_kernel_module_that_its_zfs_tools_were_made_for() {
    testbed::assert_in_guest();
    let versions = zfs(["version"]);
    let versions: Vec<_> = versions.lines().collect();
    let [tools, module] = versions[..] else {
        panic!("`zfs version` has two lines: {versions:?}");
    };
    assert!(tools.starts_with("zfs-2.1.11-"), "{tools}");
    assert_eq!(module.strip_prefix("zfs-kmod-"), tools.strip_prefix("zfs-"));
}

#[test]
fn the_guest_runs_lxd_with_its_containers_on_the_pool() {
    assert!(lxc(["version"]).contains("Server version: 5.0.2"));
    assert_eq!(lxc(["storage", "get", "default", "source"]).trim(), "tank");
    assert_eq!(
        zfs(["list", "-Ho", "name", "tank/containers"]).trim(),
        "tank/containers"
    );
}

#[test]
fn a_container_starts_unprivileged_and_stops_when_asked() {
    let instance = Instance::launch("plain");
    assert_eq!(instance.state(), "RUNNING");
    // Root inside is nobody special outside.
    assert_eq!(instance.sh("id -u").finish().succeeds().stdout, "0\n");
    let map = instance
        .sh("cat /proc/self/uid_map")
        .finish()
        .succeeds()
        .stdout;
    let outside = map.split_whitespace().nth(1).and_then(|id| id.parse().ok());
    assert!(outside >= Some(1_000_000_u32), "{map}");

    let stopped = instance.stop_gracefully(Duration::from_secs(30)).succeeds();
    assert!(stopped.took < Duration::from_secs(10), "{stopped}");
    assert_eq!(instance.state(), "STOPPED");
}

#[test]
fn a_stubborn_container_outlives_a_graceful_stop() {
    let instance = Instance::create("stubborn", Image::Stubborn);
    instance.start();
    let refused = instance
        .stop_gracefully(Duration::from_secs(3))
        .fails_with(1);
    assert!(refused.took >= Duration::from_secs(3), "{refused}");
    assert_eq!(instance.state(), "RUNNING");
    instance.stop_by_force();
    assert_eq!(instance.state(), "STOPPED");
}

#[test]
fn isolated_containers_have_id_maps_of_their_own() {
    let maps = ["one", "two"].map(|stem| {
        let instance = Instance::create(stem, Image::Busybox);
        instance.set_config("security.idmap.isolated", "true");
        instance.start();
        (
            instance
                .sh("cat /proc/self/uid_map")
                .finish()
                .succeeds()
                .stdout,
            instance,
        )
    });
    assert_ne!(maps[0].0, maps[1].0);
}

#[test]
fn files_go_in_and_out_whether_the_container_runs_or_not() {
    let instance = Instance::create("files", Image::Busybox);
    instance.write_file("/root/note", "stopped\n");
    instance.start();
    assert_eq!(
        instance.sh("cat /root/note").finish().succeeds().stdout,
        "stopped\n"
    );
    instance.write_file("/root/note", "running\n");
    assert_eq!(instance.read_file("/root/note"), "running\n");
}

#[test]
fn a_pool_of_a_tests_own_is_gone_after_it() {
    let pool = Pool::create();
    let dataset = pool.create_dataset("a/b");
    zfs(["snapshot", &format!("{dataset}@now")]);
    let name = pool.name().to_owned();
    drop(pool);
    run("zpool").args(["list", &name]).finish().fails_with(1);
}
