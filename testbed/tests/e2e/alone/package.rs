//! The Debian packages: installed, used, removed, purged.

use std::path::{Path, PathBuf};

use testbed::{Finished, run};

fn packages() -> Vec<PathBuf> {
    let folder = std::env::var_os("TERRARIUM_E2E_PACKAGES").expect("set by testbed/e2e");
    let files = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|file| file.expect("an entry").path());
    let files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|end| end == "deb"))
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    files
}

fn installed(arguments: &[&str]) -> Finished {
    run("/usr/bin/terrariumctl").args(arguments).finish()
}

fn sh(script: &str) -> Finished {
    run("sh").args(["-c", script]).finish()
}

/// Whatever comes of the test, the guest is as it was.
struct Purged;

impl Drop for Purged {
    fn drop(&mut self) {
        _ = sh("dpkg --purge terrarium terrarium-zpool");
    }
}

#[test]
fn a_package_is_installed_schedules_what_it_is_told_to_and_is_purged() {
    testbed::assert_in_guest();
    let _purged = Purged;
    run("dpkg")
        .arg("--install")
        .args(packages())
        .finish()
        .succeeds();
    let version = installed(&["--version"]).succeeds();
    assert!(version.stdout.starts_with("terrariumctl "), "{version}");
    // The guest unpacks no manual pages, but knows of them.
    sh("dpkg --listfiles terrarium | grep -q /man1/terrariumctl-guard.1.gz").succeeds();
    sh("systemd-analyze verify /usr/lib/systemd/system/terrarium.service").succeeds();

    // Nothing is started before somebody says so.
    sh("systemctl is-enabled terrarium.timer").fails_with(1);
    installed(&["timers", "status"]).fails_with(1);
    let said = installed(&["timers", "install"]).succeeds();
    let unit = "/usr/lib/systemd/system/terrarium.timer: as it should be";
    assert!(said.stdout.contains(unit), "{said}");
    assert!(!Path::new("/etc/systemd/system/terrarium.service").exists());
    // How a run ends on a host that other tests have used is not asked.
    let said = installed(&["timers", "status"]);
    assert!(said.stdout.contains("enabled and active"), "{said}");
    installed(&["timers", "remove"]).succeeds();
    sh("systemctl is-active terrarium.timer").fails_with(3);
    installed(&["timers", "install"]).succeeds();
    let unit = sh("systemctl cat terrarium.service").succeeds().stdout;
    assert!(
        unit.contains("ExecStart=\"/usr/bin/terrariumctl\" "),
        "{unit}"
    );

    let files = sh("dpkg --listfiles terrarium terrarium-zpool")
        .succeeds()
        .stdout;
    let files: Vec<_> = files
        .lines()
        .filter(|file| file.contains("terrarium"))
        .collect();
    assert!(files.contains(&"/usr/bin/terrariumctl"), "{files:?}");

    // As the first run makes it.
    sh("mkdir -p /var/lib/terrarium").succeeds();
    sh("dpkg --remove terrarium").succeeds();
    sh("systemctl is-active terrarium.timer").fails_with(3);
    let said = sh("dpkg --purge terrarium terrarium-zpool").succeeds();
    assert!(said.stdout.contains("/var/lib/terrarium stays"), "{said}");
    assert!(Path::new("/var/lib/terrarium").exists());
    let made = [
        "/etc/systemd/system/timers.target.wants/terrarium.timer",
        "/var/lib/systemd/timers/stamp-terrarium.timer",
        "/run/terrarium",
    ];
    let is_left = |file: &&&str| Path::new(**file).symlink_metadata().is_ok();
    let left: Vec<_> = files.iter().chain(&made).filter(is_left).collect();
    assert!(left.is_empty(), "{left:?}");
}
