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
    installed(&["backup", "list"]).succeeds();
    // The guest unpacks no manual pages, but knows of them.
    sh("dpkg --listfiles terrarium | grep -q /man1/terrariumctl-guard.1.gz").succeeds();
    sh("systemd-analyze verify /usr/lib/systemd/system/terrarium.service").succeeds();

    // Nothing is started before somebody says so.
    sh("systemctl is-enabled terrarium.timer").fails_with(1);
    let said = installed(&["timers", "install"]).succeeds();
    assert!(
        said.stdout
            .contains("/usr/lib/systemd/system/terrarium.timer: as it should be"),
        "{said}"
    );
    assert!(!Path::new("/etc/systemd/system/terrarium.service").exists());
    installed(&["timers", "status"]).succeeds();
    installed(&["timers", "remove"]).succeeds();
    sh("systemctl is-active terrarium.timer").fails_with(3);
    installed(&["timers", "install"]).succeeds();
    sh("systemctl start terrarium.service").succeeds();
    installed(&["timers", "status"]).succeeds();

    sh("dpkg --remove terrarium").succeeds();
    sh("systemctl is-active terrarium.timer").fails_with(3);
    let said = sh("dpkg --purge terrarium terrarium-zpool").succeeds();
    assert!(said.stdout.contains("/var/lib/terrarium stays"), "{said}");
    let left = "find / -xdev -name '*terrarium*' -newer /etc/terrarium-testbed \
                -not -path '/var/lib/terrarium*' -not -path '/root/*' -not -path '/tmp/*' -not -path '/proc/*' \
                -not -path '/run/*' -not -path '/sys/*' -not -path '/var/log/*' | grep -v testbed || true";
    assert_eq!(sh(left).succeeds().stdout, "");
}
