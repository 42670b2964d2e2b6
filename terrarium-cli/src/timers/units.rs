//! The units that systemd is given.

use std::fmt::Write;
use std::path::Path;

/// What runs.
pub(super) const SERVICE: &str = "terrarium.service";
/// When it runs.
pub(super) const TIMER: &str = "terrarium.timer";
/// The first line of every file of ours: without it a file is somebody else's.
pub(super) const MARK: &str =
    "# Made by `terrariumctl timers install`; it is replaced by the next one.";

/// A file for systemd.
pub(super) struct Unit {
    pub(super) name: &'static str,
    pub(super) text: String,
}

/// The units that run `program` every quarter of an hour.
pub(super) fn units(program: &Path) -> [Unit; 2] {
    [
        Unit {
            name: SERVICE,
            text: service(program),
        },
        Unit {
            name: TIMER,
            text: timer(),
        },
    ]
}

/// What is allowed, and why. Everything else is taken away.
const SANDBOX: &[(&str, &[&str])] = &[
    (
        "Nobody else may read what is kept here; what the archive needs may hold secrets.",
        &[
            "StateDirectory=terrarium",
            "StateDirectoryMode=0700",
            "RuntimeDirectory=terrarium",
            "RuntimeDirectoryMode=0700",
            "RuntimeDirectoryPreserve=yes",
            "UMask=0077",
        ],
    ),
    (
        "ZFS is administered through its device, which takes CAP_SYS_ADMIN; a file of a snapshot is read through a \
         mount that nobody else sees, whoever owns it; who has a dataset mounted stands in /proc of other processes.",
        &[
            "DevicePolicy=closed",
            "DeviceAllow=/dev/zfs rw",
            "CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_SYS_PTRACE",
            "AmbientCapabilities=",
            "SystemCallFilter=@system-service @mount",
            "SystemCallErrorNumber=EPERM",
            "SystemCallArchitectures=native",
        ],
    ),
    (
        "LXD's socket, and the archive's store.",
        &[
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            "SocketBindDeny=any",
        ],
    ),
    (
        "The rest of the host is read at most.",
        &[
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "PrivateTmp=yes",
            "ProtectClock=yes",
            "ProtectControlGroups=yes",
            "ProtectHostname=yes",
            "ProtectKernelLogs=yes",
            "ProtectKernelModules=yes",
            "ProtectKernelTunables=yes",
            "NoNewPrivileges=yes",
            "LockPersonality=yes",
            "MemoryDenyWriteExecute=yes",
            "KeyringMode=private",
            "RemoveIPC=yes",
            "RestrictNamespaces=yes",
            "RestrictRealtime=yes",
            "RestrictSUIDSGID=yes",
        ],
    ),
];

fn service(program: &Path) -> String {
    let program = quoted(program);
    let mut text = format!(
        "{MARK}
[Unit]
Description=Snapshots of LXD containers, and their retention
After=zfs.target lxd.service snap.lxd.daemon.service

[Service]
Type=oneshot
ExecStart={program} --verbose run
# A run that is stopped takes back what it has begun. One that hangs is ended, and the next one goes on.
TimeoutStartSec=6h
TimeoutStopSec=5min
CPUWeight=20
IOWeight=20
"
    );
    for (why, settings) in SANDBOX {
        let _ = writeln!(text, "# {why}");
        for setting in *settings {
            let _ = writeln!(text, "{setting}");
        }
    }
    text
}

fn timer() -> String {
    format!(
        "{MARK}
[Unit]
Description=Every quarter of an hour: snapshots of LXD containers

[Timer]
OnCalendar=*:0/15
AccuracySec=1s
# What was missed while the host was down is made up for, once.
Persistent=yes

[Install]
WantedBy=timers.target
"
    )
}

/// A path as a word of `ExecStart=`, see systemd.service(5).
fn quoted(path: &Path) -> String {
    let mut word = String::from("\"");
    for c in path.to_string_lossy().chars() {
        match c {
            '%' => word.push_str("%%"),
            '$' => word.push_str("$$"),
            '"' | '\\' => {
                word.push('\\');
                word.push(c);
            }
            c => word.push(c),
        }
    }
    word.push('"');
    word
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_is_named_as_systemd_reads_it() {
        let path = |text: &str| quoted(Path::new(text));
        assert_eq!(path("/usr/bin/terrariumctl"), r#""/usr/bin/terrariumctl""#);
        assert_eq!(
            path(r#"/o pt/100%/$x/a"b\c"#),
            r#""/o pt/100%%/$$x/a\"b\\c""#
        );
    }

    #[test]
    fn systemd_finds_nothing_wrong_with_the_units_and_little_exposed() {
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for unit in units(Path::new("/bin/true")) {
            let path = folder.path().join(unit.name);
            std::fs::write(&path, unit.text).unwrap();
            paths.push(path);
        }
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=one"])
            .args(&paths)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success() && said.is_empty(), "{said}");

        // 0 is best, 100 worst; a service of root that is not confined at all has 96.
        let rated = Command::new("systemd-analyze")
            .args(["security", "--offline=yes", "--threshold=40"])
            .arg(&paths[0])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&rated.stdout);
        assert!(rated.status.success(), "{said}");
    }
}
