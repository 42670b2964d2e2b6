//! `terrariumctl backup simulate`, as a shell calls it. It needs neither LXD nor ZFS.

use std::path::Path;
use std::process::Command;

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
    command.args(["backup", "simulate"]).args(arguments);
    command.current_dir(folder).env_clear().env("TZ", "UTC");
    let output = command.output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let code = output.status.code().expect("no signal");
    (code, text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_history_is_shown_and_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = "hourly=48,daily=30,frequently=0";
    let line = ["--days", "60", "--policy", policy, "--svg", "history.svg"];
    let (code, out, err) = run(folder.path(), &line);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with("frequently=0,hourly=48,daily=30,monthly=3: after 60d there are"),
        "{out}"
    );
    let drawn = std::fs::read_to_string(folder.path().join("history.svg")).expect("a drawing");
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
    let there = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(there, 1, "nothing but the drawing");

    let (code, out, _) = run(folder.path(), &["--days", "3", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &json["version"]), (0, &serde_json::json!(1)));
    let held = json["history"]["held"].as_array().expect("a list");
    assert!(held.len() > 25, "{held:?}");
}

#[test]
fn a_template_of_a_sanoid_conf_is_simulated_and_what_it_does_not_heed_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let conf = "[tank]\nuse_template = a\n[template_a]\nhourly = 5\ndaily = 0\nmonthly = 0\nmonitor = no\n";
    std::fs::write(folder.path().join("sanoid.conf"), conf).expect("a file");
    let of = |template| ["--sanoid-conf", "sanoid.conf", "--template", template];
    let (code, out, err) = run(folder.path(), &of("a"));
    assert_eq!(code, 0, "{err}");
    assert!(
        out.starts_with("frequently=0,hourly=5,daily=0,monthly=0: after 400d there are"),
        "{out}"
    );
    assert_eq!(
        err,
        "note: sanoid.conf: line 7: monitor has no effect here\n"
    );

    let (code, out, err) = run(folder.path(), &of("b"));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("sanoid.conf: it has no [template_b]"), "{err}");
    assert!(err.contains("its templates are a"), "{err}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.conf"), "[tank]\nhourly = x\n").expect("a file");
    std::fs::write(folder.path().join("huge"), vec![b'#'; (1 << 20) + 1]).expect("a file");
    for (line, part) in [
        (&["--days", "0"][..], "1..=3660"),
        (&["--policy", "hourly=-1"], "hourly=-1: expected a number"),
        (
            &["--policy", "frequently=0,hourly=0,daily=0,monthly=0"],
            "it would keep nothing",
        ),
        (&["--template", "a"], "--sanoid-conf"),
        (&["--sanoid-conf", "bad.conf"], "--template"),
        (
            &["--sanoid-conf", "bad.conf", "--template", "a"],
            "line 2: hourly is \"x\"",
        ),
        (
            &["--sanoid-conf", "none", "--template", "a"],
            "cannot read none",
        ),
        (
            &["--sanoid-conf", "huge", "--template", "a"],
            "more than 1 MiB",
        ),
    ] {
        let (code, out, err) = run(folder.path(), line);
        assert_eq!((code, out.as_str()), (2, ""), "{line:?}: {err}");
        assert!(err.contains(part), "{line:?}: {err}");
    }
    let (code, _, err) = run(folder.path(), &["--svg", "no/folder.svg"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("cannot write no/folder.svg"), "{err}");
}
