//! What the timer calls, in the real system: systemd's units, a clock that moves, containers that write.

use std::time::Duration;

use testbed::{Image, Instance, Mount, run, terrariumctl};

use crate::time_machine::{property, snapshots};

const GROUP: &str = "user.terrarium.group";
const RETENTION: &str = "user.terrarium.retention";

/// The guest's clock at another time; the right one again when it is dropped, as far as time has gone on.
struct Clock {
    ahead: u64,
}

impl Clock {
    fn new() -> Self {
        // Nobody else sets the clock meanwhile.
        _ = run("systemctl")
            .args(["stop", "systemd-timesyncd"])
            .finish();
        Self { ahead: 0 }
    }

    fn forward(&mut self, hours: u64) {
        self.ahead += hours;
        run("date")
            .args(["-s", &format!("+{hours} hours")])
            .finish()
            .succeeds();
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        _ = run("date")
            .args(["-s", &format!("-{} hours", self.ahead)])
            .finish();
    }
}

/// The program that was built for the tests.
fn built() -> std::ffi::OsString {
    std::env::var_os("TERRARIUM_E2E_CTL").expect("the tests are told")
}

fn scheduled(instance: &Instance, period: &str) -> Vec<String> {
    let mut names = snapshots(&instance.dataset());
    names.retain(|name| name.starts_with("autosnap_") && name.ends_with(&format!("_{period}")));
    names
}

#[test]
fn systemd_calls_it_by_the_units_that_are_installed() {
    let web = Instance::create("timer", Image::Busybox);
    // The units see neither home folders nor those of temporary files.
    let program = "/usr/local/bin/terrariumctl";
    std::fs::copy(built(), program).expect("copied");
    terrariumctl(["timers", "install", "--program", program]).succeeds();
    let status = terrariumctl(["timers", "status"]).succeeds();
    assert!(status.stdout.contains("enabled and active"), "{status}");
    let service = "terrarium.service";
    let ran = run("systemctl")
        .args(["start", service])
        .timeout(Duration::from_secs(240))
        .finish();
    let journal = run("journalctl")
        .args(["-u", service, "-n", "60", "--no-pager"])
        .finish();
    assert_eq!(ran.code(), Some(0), "{ran}{journal}");
    for period in ["frequently", "hourly", "daily", "monthly"] {
        let taken = scheduled(&web, period);
        assert_eq!(taken.len(), 1, "{period}: {taken:?}: {journal}");
        let object = format!("{}@{}", web.dataset(), taken[0]);
        assert_eq!(property(&object, "terrarium:kind"), "scheduled");
        assert_eq!(property(&object, "terrarium:period"), period);
    }
    terrariumctl(["timers", "status"]).succeeds();
    let status = terrariumctl(["status"]);
    assert!(status.stdout.contains(web.name()), "{status}");
    terrariumctl(["timers", "remove"]).succeeds();
    terrariumctl(["timers", "status"]).fails_with(3);
    let known = run("systemctl")
        .args(["is-enabled", "terrarium.timer"])
        .finish();
    assert_ne!(known.code(), Some(0), "{known}");
}

#[test]
fn a_day_in_fast_motion_leaves_what_the_policy_says() {
    let web = Instance::create("day", Image::Busybox);
    web.set_config(RETENTION, "frequently=0,hourly=3,daily=1,monthly=0");
    let mut clock = Clock::new();
    for _ in 0..12 {
        terrariumctl(["run"]).succeeds();
        clock.forward(2);
    }
    terrariumctl(["run"]).succeeds();
    // Three are kept, and none that is older than three hours.
    assert_eq!(scheduled(&web, "hourly").len(), 3);
    let daily = scheduled(&web, "daily").len();
    assert!((1..=2).contains(&daily), "{daily}");
    let again = terrariumctl(["run"]).succeeds();
    assert_eq!(again.stdout, "", "nobody watches");
}

#[test]
fn instances_of_a_group_are_taken_at_one_moment_while_both_write() {
    let first = Instance::launch("group");
    let second = Instance::launch("group");
    for one in [&first, &second] {
        one.set_config(GROUP, "shop");
        one.sh("echo 0000000000 > /count").finish().succeeds();
    }
    // One number after the other, into the first container and then into the second one; in place, as a database writes.
    let root = |one: &Instance| {
        let pid = one.config("volatile.last_state.power");
        assert_eq!(pid, "RUNNING");
        format!(
            "/var/lib/lxd/storage-pools/default/containers/{}/rootfs/count",
            one.name()
        )
    };
    let script = format!(
        "n=0; while :; do n=$((n + 1)); printf '%010d\\n' $n 1<> {}; printf '%010d\\n' $n 1<> {}; done",
        root(&first),
        root(&second)
    );
    let mut writer = run("sh").args(["-c", &script]).spawn();
    let taken = terrariumctl(["--verbose", "run"]);
    writer.kill();
    let period = "hourly";
    let count = |one: &Instance| -> u64 {
        let name = &scheduled(one, period)[0];
        let mounted = Mount::of(&format!("{}@{name}", one.dataset()));
        let count = mounted.path().join("rootfs/count");
        let text = std::fs::read_to_string(count).expect("it is there");
        text.trim()
            .parse()
            .unwrap_or_else(|_| panic!("{text:?}: {taken}"))
    };
    let (one, other) = (count(&first), count(&second));
    assert!(one > 0, "{taken}");
    assert!(
        one == other || one == other + 1,
        "{one} and {other}: {taken}"
    );
}

#[test]
fn a_run_that_is_killed_is_made_up_for_by_the_next() {
    let web = Instance::create("killed-run", Image::Busybox);
    web.set_config(RETENTION, "frequently=0,hourly=2,daily=0,monthly=0");
    let mut clock = Clock::new();
    for wait in [1500, 3000, 4500] {
        let mut running = run(built()).arg("run").spawn();
        std::thread::sleep(Duration::from_millis(wait));
        running.kill();
        clock.forward(3);
        terrariumctl(["run"]).succeeds();
    }
    assert_eq!(scheduled(&web, "hourly").len(), 2);
}
