//! The built binary, as a shell or a timer calls it.
//!
//! What needs ZFS and LXD is tested in process, over fakes, and in the virtual machine.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary, out of reach of whatever LXD this machine has.
fn terrariumctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
    command.args(arguments).stdin(Stdio::null());
    for variable in ["LXD_DIR", "INCUS_SOCKET", "INCUS_DIR"] {
        command.env_remove(variable);
    }
    command.env("LXD_SOCKET", "/nonexistent/lxd.socket");
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    shown(&terrariumctl(arguments).output().expect("it starts"))
}

fn shown(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    (
        output.status.code().expect("no signal"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [
        &["--help"] as &[&str],
        &["backup", "--help"],
        &["backup", "list", "--help"],
        &["backup", "snapshot", "--help"],
        &["backup", "restore", "--help"],
        &["backup", "undo", "--help"],
        &["stream", "--help"],
        &["stream", "info", "--help"],
        &["stream", "ls", "--help"],
        &["stream", "cat", "--help"],
        &["stream", "extract", "--help"],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
        assert!(out.contains("Usage: terrariumctl"), "{out}");
    }
    let (code, out, err) = run(&["--version"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, format!("terrariumctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_command_line_that_makes_no_sense_is_2_and_says_why() {
    for (arguments, why) in [
        (&[] as &[&str], "Usage: terrariumctl"),
        (&["backup"], "Usage: terrariumctl"),
        (&["rewind"], "unrecognized subcommand 'rewind'"),
        (&["backup", "list", "--all"], "unexpected argument '--all'"),
        (&["backup", "restore"], "--instance"),
        (
            &["backup", "list", "--instance", "a_b"],
            "only letters, digits and dashes are allowed",
        ),
        (
            &["backup", "list", "--instance", "a b/c"],
            "project name \"a b\" is not legal",
        ),
        (
            &[
                "backup",
                "snapshot",
                "--instance",
                "a",
                "--expires",
                "2020-01-01",
            ],
            "it must lie in the future",
        ),
        (
            &["backup", "snapshot", "--instance", "a", "--expires", "soon"],
            "expected a span such as",
        ),
        (
            &["backup", "snapshot", "--instance", "a", "--alias", ""],
            "it is empty",
        ),
        (
            &["backup", "restore", "--instance", "a", "--timeout", "0s"],
            "it must be at least 1s",
        ),
        (
            &["backup", "restore", "--instance", "a", "--keep-disks"],
            "--as-new",
        ),
        (
            &[
                "backup",
                "restore",
                "--instance",
                "a",
                "--target-project",
                "p",
            ],
            "--as-new",
        ),
        (
            &[
                "backup",
                "restore",
                "--instance",
                "a",
                "--as-new",
                "b",
                "--destroy-newer",
            ],
            "cannot be used with",
        ),
        (
            &[
                "backup",
                "restore",
                "--instance",
                "a",
                "--as-new",
                "b",
                "--force",
            ],
            "cannot be used with",
        ),
        (
            &[
                "backup",
                "restore",
                "--instance",
                "a",
                "--as-new",
                "b",
                "--timeout",
                "5s",
            ],
            "cannot be used with",
        ),
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(why), "{arguments:?}: {err}");
    }
}

#[test]
fn names_on_the_command_line_cannot_control_the_terminal() {
    for arguments in [
        ["backup", "list", "--instance", "\u{1b}[2Ja\u{7}\u{9b}31m"],
        ["backup", "list", "--instance", "p\u{1b}]0;x\u{7}/a"],
        ["backup", "restore", "--instance=a", "--\u{1b}[2J"],
    ] {
        let (code, out, err) = run(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(
            !err.contains(|c: char| c.is_control() && c != '\n'),
            "{err:?}"
        );
    }
}

#[test]
fn without_lxd_it_is_4_and_says_what_to_do() {
    for arguments in [
        &["backup", "list"] as &[&str],
        &["backup", "snapshot", "--instance", "a"],
        &["backup", "restore", "--instance", "a", "--yes"],
        &["backup", "restore", "--instance", "a", "--dry-run"],
        &["backup", "undo", "--instance", "a", "--yes"],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (4, ""), "{arguments:?}: {err}");
        assert_eq!(
            err,
            "error: cannot reach LXD: no LXD socket found (tried /nonexistent/lxd.socket)\n\
             help: install LXD or Incus, or name its socket in LXD_SOCKET\n"
        );
    }
}

#[test]
fn with_json_an_error_is_an_object_on_standard_output() {
    let (code, out, err) = run(&["backup", "list", "--json"]);
    assert_eq!((code, err.as_str()), (4, ""));
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["version"], 1);
    assert_eq!(answer["exit_code"], 4);
    assert_eq!(answer["error"]["class"], "unavailable");
    assert_eq!(answer["error"]["exit_code"], 4);
    assert_eq!(
        answer["error"]["help"],
        "install LXD or Incus, or name its socket in LXD_SOCKET"
    );

    let (code, out, err) = run(&["backup", "list", "--instance", "a_b", "--json"]);
    assert_eq!((code, err.as_str()), (2, ""));
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["error"]["class"], "usage");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.ends_with("only letters, digits and dashes are allowed"),
        "{message}"
    );
}

#[tokio::test]
async fn without_zfs_it_is_4_and_says_so() {
    // A machine that has ZFS gives other answers, which the tests in the virtual machine look at.
    if Path::new("/dev/zfs").exists() {
        return;
    }
    let stub =
        lxd_client::stub::Stub::start(std::sync::Arc::new(lxd_client::stub::NoStorage)).await;
    let mut command = terrariumctl(&["backup", "list"]);
    command.env("LXD_SOCKET", stub.socket());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let (code, out, err) = shown(&output);
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert!(err.starts_with("error: cannot open "), "{err}");
    assert!(
        err.contains("\nhelp: install zfsutils-linux and load the module with `modprobe zfs`\n"),
        "{err}"
    );
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let mut child = terrariumctl(&["--help"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let (code, _, err) = shown(&child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn it_starts_in_less_than_20_ms() {
    for arguments in [&["--version"] as &[&str], &["backup", "list"]] {
        // The best of many: what else the machine does is not what is measured.
        let best = (0..30).map(|_| {
            let begun = Instant::now();
            terrariumctl(arguments).output().expect("it starts");
            begun.elapsed()
        });
        let best = best.min().unwrap();
        assert!(
            best < Duration::from_millis(20),
            "{arguments:?} took {best:?}"
        );
    }
}
