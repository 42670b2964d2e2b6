//! Boot drills: an archived container runs as a throw-away one beside its original, and nothing of it is left.

use std::time::Duration;

use testbed::{Instance, lxc, run, terrariumctl, wait_until, zfs};

use crate::archive::{Archive, exported};

/// That it is the point, as it was, and that there is no network but its own loopback.
const CHECK: &str = "test \"$(cat /root/f)\" = two && test \"$(stat -c %u:%g /root/f)\" = 5:7 \
                     && test \"$(ls /sys/class/net)\" = lo";

/// All that drills have made and that is still there: instances, and datasets.
fn left() -> Vec<String> {
    let instances = lxc(["list", "--all-projects", "--format=csv", "--columns=n"]);
    let datasets = zfs(["list", "-H", "-o", "name", "-r", "tank"]);
    let all = instances.lines().chain(datasets.lines());
    all.filter(|name| name.contains("drill-"))
        .map(str::to_owned)
        .collect()
}

/// The network devices of the host and the bridges that they are in, as far as they are the original's or nobody's.
fn network(web: &Instance) -> String {
    let device = web.config("volatile.eth0.host_name");
    let link = run("ip").args(["-o", "link", "show", &device]).finish();
    let bridge = run("ip").args(["-o", "addr", "show", "lxdbr0"]).finish();
    link.succeeds().stdout + &bridge.succeeds().stdout
}

#[test]
fn an_archived_container_boots_beside_its_original_and_nothing_of_it_is_left() {
    let archive = Archive::in_a_folder();
    let (web, _, _) = exported("boots", &archive);
    let (links, address) = (network(&web), web.config("volatile.eth0.hwaddr"));
    let definition = lxc(["config", "show", web.name()]);
    let guid = zfs(["get", "-Hpo", "value", "guid", &web.dataset()]);

    let said = archive.drill(&web, &["--boot", "--check", CHECK, "--json"]);
    let said = said.succeeds();
    assert!(said.stdout.contains("\"booted\""), "{said}");
    println!("{}", said.stdout);
    assert_eq!(left(), Vec::<String>::new());

    let failed = archive.drill(
        &web,
        &["--boot", "--check", "echo no such file >&2; exit 7"],
    );
    let failed = failed.fails_with(1);
    let verdict = "): booted, but the check failed with code 7";
    assert!(failed.stdout.contains(verdict), "{failed}");
    assert!(failed.stdout.contains("stderr: no such file"), "{failed}");
    assert_eq!(left(), Vec::<String>::new());

    let slow = ["--boot", "--check", "sleep 300", "--timeout", "10s"];
    let late = archive.drill(&web, &slow).fails_with(1);
    let verdict = "): booted, but the check did not end in time";
    assert!(late.stdout.contains(verdict), "{late}");
    assert_eq!(left(), Vec::<String>::new());

    // Killed in the middle of its check: it is not taken for an instance of ours, and the next drill removes it.
    let mut killed = archive.begin_drill(&web, &["--boot", "--check", "sleep 300"]);
    let runs = || {
        let listed = lxc(["list", "--format=csv", "--columns=ns"]);
        let mut drills = listed
            .lines()
            .filter(|line| line.contains("terrarium-drill-"));
        drills.any(|line| line.ends_with(",RUNNING"))
    };
    wait_until("it runs", Duration::from_secs(120), runs);
    killed.kill();
    killed.finish();
    assert_eq!(left().len(), 2, "an instance and its dataset: {:?}", left());
    let listed = terrariumctl(["backup", "list"]).succeeds();
    assert!(!listed.stdout.contains("terrarium-drill-"), "{listed}");
    let next = archive
        .drill(&web, &["--boot", "--check", CHECK])
        .succeeds();
    assert!(next.stderr.contains("is removed"), "{next}");
    assert_eq!(left(), Vec::<String>::new());

    // The original has gone on all the time.
    assert_eq!(web.state(), "RUNNING");
    assert_eq!(web.read_file("/root/f"), "two\n");
    assert_eq!(web.config("volatile.eth0.hwaddr"), address);
    assert_eq!(lxc(["config", "show", web.name()]), definition);
    assert_eq!(network(&web), links);
    assert_eq!(zfs(["get", "-Hpo", "value", "guid", &web.dataset()]), guid);
    let history = terrariumctl(["backup", "drill", "--history"]).succeeds();
    assert!(
        history.stdout.contains("booted, and the check passed"),
        "{history}"
    );
}
