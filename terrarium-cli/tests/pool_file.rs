//! The built binary with `--pool-file`: real OpenZFS, no LXD, no root.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use support::{Scene, masked, note, options, terrariumctl};

const SNAPSHOT: &[&str] = &[
    "backup",
    "snapshot",
    "--instance",
    "web",
    "--alias",
    "before upgrade",
    "--expires",
    "30d",
];
const RESTORE: &[&str] = &[
    "backup",
    "restore",
    "--instance",
    "web",
    "--at",
    "before upgrade",
];
const UNDO: &[&str] = &["backup", "undo", "--instance", "web"];

fn with<'a>(line: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [line, more].concat()
}

#[test]
fn an_instance_is_snapshotted_restored_in_place_brought_back_and_restored_as_new() {
    let scene = Scene::new();
    let mut said = scene.done(SNAPSHOT);
    scene.write("two");
    said += &scene.done(&with(RESTORE, &["--yes"]));
    assert_eq!(scene.note("web"), "one");
    said += &scene.done(&with(UNDO, &["--yes"]));
    assert_eq!(scene.note("web"), "two");
    said += &scene.done(&with(RESTORE, &["--as-new", "web-then"]));
    assert_eq!(scene.note("web-then"), "one");
    assert_eq!(scene.note("web"), "two");
    said += &scene.done(&["backup", "list"]);
    insta::assert_snapshot!(masked(&said), @r"
    Took snap-N-N of web, alias before upgrade, expires N-N-N N:N:N UTC
    Restored web to snap-N-N.
      snap-N-N (before upgrade) was taken N-N-N N:N:N UTC, Ns ago
    To undo this, until N-N-N N:N:N UTC: terrariumctl --pool-file FOLDER/pool backup undo --instance web
    Undid the last restore of web: it is back at snap-N-N.
      snap-N-N was taken N-N-N N:N:N UTC, Ns ago
    To undo this, until N-N-N N:N:N UTC: terrariumctl --pool-file FOLDER/pool backup undo --instance web
    Restored snap-N-N of web as web-then.
      snap-N-N (before upgrade) was taken N-N-N N:N:N UTC, Ns ago
    web (stopped, demo/containers/web)
      NAME AGE TAKEN (UTC) KIND SIZE MOVES ASIDE ALIAS, NOTES
      snap-N-N Ns N-N-N N:N:N safety N B - expires in Nh Nm
      snap-N-N Ns N-N-N N:N:N on-demand N.N KiB N before upgrade, expires in Nd, cloned as demo/containers/web-then
      moved aside by the restore of N-N-N N:N:N UTC:
      snap-N-N Ns N-N-N N:N:N safety N B N expires in Nh Nm

    web-then (stopped, demo/containers/web-then)
      no restore points

    tenant/shop (stopped, demo/containers/tenant_shop)
      no restore points
    ");
}

#[test]
fn the_newest_point_before_a_time_is_meant_by_a_time() {
    let scene = Scene::new();
    scene.done(SNAPSHOT);
    let said = scene.run(&[
        "backup",
        "restore",
        "--instance",
        "web",
        "--at",
        "2h ago",
        "--yes",
    ]);
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    assert!(said.err.starts_with("error: instance web: "), "{said:?}");
}

#[test]
fn several_instances_are_captured_at_one_moment() {
    let scene = Scene::new();
    let line = [
        "backup",
        "snapshot",
        "--instance",
        "web",
        "--instance",
        "tenant/shop",
        "--json",
    ];
    let answer: Value = serde_json::from_str(&scene.done(&line)).unwrap();
    let points = answer["restore_points"].as_array().expect("they are told");
    let instances = points
        .iter()
        .map(|point| point["instance"].as_str().expect("a name"));
    assert_eq!(instances.collect::<Vec<_>>(), ["web", "shop"]);
    assert_eq!(points[0]["created_at"], points[1]["created_at"]);
}

#[test]
fn a_dry_run_shows_the_steps_and_changes_nothing() {
    let scene = Scene::new();
    scene.done(SNAPSHOT);
    scene.write("two");
    let before = scene.done(&["backup", "list", "--json"]);
    let shown = scene.done(&with(RESTORE, &["--dry-run"]));
    insta::assert_snapshot!(masked(shown.split("\nSteps:").next().unwrap()), @r"
    Plan: rewind web to snap-N-N
      snap-N-N (before upgrade) was taken N-N-N N:N:N UTC, Ns ago
      what is there now moves aside; for Nh it comes back by `terrariumctl --pool-file FOLDER/pool backup undo --instance web`
    ");
    assert!(
        shown.ends_with("\nThis is a dry run: nothing was changed.\n"),
        "{shown}"
    );
    scene.done(&with(RESTORE, &["--as-new", "web-then", "--dry-run"]));
    let plan: Value =
        serde_json::from_str(&scene.done(&with(RESTORE, &["--dry-run", "--json"]))).unwrap();
    assert_eq!(plan["version"], 1);
    let without_time = |listing: &str| {
        let mut listing: Value = serde_json::from_str(listing).unwrap();
        listing["observed_at"] = Value::Null;
        listing
    };
    let after = scene.done(&["backup", "list", "--json"]);
    assert_eq!(without_time(&after), without_time(&before));
    assert_eq!(scene.note("web"), "two");
}

#[test]
fn nothing_is_replaced_without_consent() {
    let scene = Scene::new();
    scene.done(SNAPSHOT);
    scene.write("two");
    let said = scene.run(RESTORE);
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    assert!(said.err.contains("give --yes"), "{said:?}");
    assert_eq!(scene.note("web"), "two");
}

#[test]
fn an_empty_pool_says_where_instances_would_be() {
    let scene = Scene::new();
    let other = scene.folder.path().join("other");
    drop(options().create(&other, "tank", 64 << 20).expect("created"));
    let said = scene.said(
        terrariumctl()
            .arg("--pool-file")
            .arg(&other)
            .args(["backup", "list"]),
    );
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(
        said.out,
        "There are no instances: an instance is a dataset below tank/containers.\n"
    );
}

/// What is typed next needs no option then.
#[test]
fn the_pool_file_may_be_named_by_the_environment() {
    let scene = Scene::new();
    let run = |line: &[&str]| {
        let mut command = terrariumctl();
        command.args(line).env("TERRARIUM_POOL_FILE", scene.file());
        scene.said(&mut command)
    };
    assert_eq!(run(SNAPSHOT).code, 0);
    let said = run(&with(RESTORE, &["--yes"]));
    assert_eq!(said.code, 0, "{said:?}");
    let undo = said.out.lines().last().unwrap_or_default();
    assert!(
        undo.ends_with(":  terrariumctl backup undo --instance web"),
        "{undo}"
    );
    // The option comes first, an empty variable is none.
    let mut command = scene.command(&["backup", "list"]);
    assert_eq!(
        scene
            .said(command.env("TERRARIUM_POOL_FILE", "/nonexistent"))
            .code,
        0
    );
    let mut command = terrariumctl();
    command
        .args(["backup", "list"])
        .env("TERRARIUM_POOL_FILE", "");
    let said = scene.said(&mut command);
    assert!(said.err.starts_with("error: cannot reach LXD"), "{said:?}");
}

#[test]
fn what_is_to_be_typed_next_is_what_a_shell_takes() {
    let scene = Scene::new();
    let spaced = scene.folder.path().join("my pool");
    fs::rename(scene.file(), &spaced).unwrap();
    let run = |line: &[&str]| {
        let mut command = terrariumctl();
        command.arg("--pool-file").arg(&spaced).args(line);
        scene.said(&mut command)
    };
    assert_eq!(run(SNAPSHOT).code, 0);
    let said = run(&with(RESTORE, &["--yes"]));
    let undo = "terrariumctl --pool-file 'FOLDER/my pool' backup undo --instance web\n";
    assert!(said.out.ends_with(undo), "{said:?}");
}

#[test]
fn our_own_files_stand_beside_the_pool_file_and_only_once_something_is_changed() {
    let scene = Scene::new();
    let names = || {
        let entries = fs::read_dir(scene.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    scene.done(&["backup", "list"]);
    assert_eq!(names(), ["pool"]);
    scene.done(SNAPSHOT);
    scene.done(&with(RESTORE, &["--yes"]));
    assert_eq!(names(), ["pool", "pool.terrarium"]);
    let beside = scene.folder.path().join("pool.terrarium");
    let mode = fs::metadata(&beside).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    // By whatever name the pool is called.
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(scene.file(), &link).unwrap();
    let mut command = terrariumctl();
    command
        .arg("--pool-file")
        .arg(&link)
        .args(with(UNDO, &["--yes"]));
    assert_eq!(scene.said(&mut command).code, 0);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);

    // Unless somebody says where.
    let state = elsewhere.path().join("state");
    let mut command = scene.command(SNAPSHOT);
    command.env("TERRARIUM_RUN_DIR", &state);
    assert_eq!(scene.said(&mut command).code, 3, "the alias is taken");
    assert!(state.join("locks/default.web.lock").exists());
}

#[test]
fn a_start_is_refused_before_the_pool_is_opened() {
    let scene = Scene::new();
    let _open = scene.engine();
    for line in [
        with(RESTORE, &["--start"]),
        with(UNDO, &["--start", "--yes"]),
    ] {
        let said = scene.run(&line);
        assert_eq!((said.code, said.out.as_str()), (2, ""));
        insta::allow_duplicates! {
            insta::assert_snapshot!(said.err, @r"
            error: cannot start web: instances of a pool file do not run
            help: leave out --start: the restore itself needs nothing that runs
            ");
        }
    }
    let said = scene.run(&with(RESTORE, &["--as-new", "web-then", "--start"]));
    assert!(
        said.err.starts_with("error: cannot start web-then: "),
        "{said:?}"
    );
}

#[test]
fn a_pool_that_another_process_has_open_is_4() {
    let scene = Scene::new();
    let open = scene.engine();
    let said = scene.run(&["backup", "list"]);
    assert_eq!((said.code, said.out.as_str()), (4, ""));
    insta::assert_snapshot!(said.err, @r"
    error: cannot open FOLDER/pool: another process has it open
    help: wait until the other one is done
    ");
    // For a moment it is waited for.
    let closing = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(open);
    });
    scene.done(&["backup", "list"]);
    closing.join().expect("no panic");
}

#[test]
fn what_is_wrong_with_the_file_is_told_with_what_to_do() {
    let scene = Scene::new();
    let folder = scene.folder.path();
    fs::write(folder.join("text"), "no pool").unwrap();
    // Labels, and nothing behind them.
    let damaged = folder.join("damaged");
    let mut content = fs::read(scene.file()).unwrap();
    let (labels, end) = (512 << 10, content.len() - (512 << 10));
    content[labels..end].fill(0x5a);
    fs::write(&damaged, content).unwrap();

    let mut all = String::new();
    for name in ["absent", "text/below", "", "text", "damaged"] {
        let mut command = terrariumctl();
        command
            .arg("--pool-file")
            .arg(folder.join(name))
            .args(["backup", "list"]);
        let said = scene.said(&mut command);
        assert_eq!(said.out, "");
        all += &format!("{}\n{}", said.code, said.err);
    }
    insta::assert_snapshot!(all, @r"
    3
    error: cannot open the pool file FOLDER/absent: No such file or directory (os error 2)
    help: --pool-file takes a file that a pool was made in
    3
    error: cannot open the pool file FOLDER/text/below: Not a directory (os error 20)
    help: --pool-file takes a file that a pool was made in
    3
    error: cannot open the pool file FOLDER/: it is no regular file
    help: --pool-file takes a file that a pool was made in
    1
    error: cannot open FOLDER/text: it is no pool, or a damaged one
    help: look at the path; `zdb -l FOLDER/text` shows what is left of its labels
    1
    error: cannot open FOLDER/damaged: it is no pool, or a damaged one
    help: look at the path; `zdb -l FOLDER/damaged` shows what is left of its labels
    ");
}

#[test]
fn what_is_missing_on_the_machine_is_told_with_what_to_install() {
    let scene = Scene::new();
    let program = scene.folder.path().join("stand-in");
    let mut all = String::new();
    for script in [
        "echo 'error while loading shared libraries: libzpool.so.5: cannot open' >&2; exit 127",
        "echo sorry >&2; exit 5",
    ] {
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = scene.command(&["backup", "list"]);
        let said = scene.said(command.env("TERRARIUM_ZPOOL", &program));
        all += &format!("{}\n{}", said.code, said.err);
    }
    let mut command = scene.command(&["backup", "list"]);
    let said = scene.said(command.env("TERRARIUM_ZPOOL", "/nonexistent/terrarium-zpool"));
    all += &format!("{}\n{}", said.code, said.err);
    insta::assert_snapshot!(all, @r"
    4
    error: the embedded engine is not available: error while loading shared libraries: libzpool.so.5: cannot open
    help: install libzpool5linux and, to build, libzfslinux-dev (Debian: from contrib)
    4
    error: cannot start FOLDER/stand-in: sorry
    help: install terrarium-zpool, or set TERRARIUM_ZPOOL
    4
    error: cannot start /nonexistent/terrarium-zpool: No such file or directory (os error 2)
    help: install terrarium-zpool, or set TERRARIUM_ZPOOL
    ");
}

#[test]
fn with_json_an_error_is_an_object_on_standard_output() {
    let scene = Scene::new();
    let mut command = terrariumctl();
    command.args([
        "--pool-file",
        "/nonexistent/pool",
        "backup",
        "list",
        "--json",
    ]);
    let said = scene.said(&mut command);
    assert_eq!((said.code, said.err.as_str()), (3, ""));
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["error"]["class"], "refused");
    assert_eq!(answer["error"]["exit_code"], 3);
}

/// The environment may name one for the commands that work on it.
#[test]
fn the_option_is_refused_where_there_is_no_pool_to_work_on() {
    let scene = Scene::new();
    let said = scene.run(&["stream", "info", "/nonexistent/stream"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(
        said.err.contains("--pool-file is for backup commands"),
        "{said:?}"
    );
    let mut command = terrariumctl();
    command.args(["stream", "info", "/nonexistent/stream"]);
    let said = scene.said(command.env("TERRARIUM_POOL_FILE", scene.file()));
    assert_eq!(said.code, 3, "{said:?}");
}

#[test]
fn an_instance_that_is_not_there_and_a_name_that_is_taken_are_3() {
    let scene = Scene::new();
    scene.done(SNAPSHOT);
    let said = scene.run(&["backup", "list", "--instance", "wed"]);
    assert_eq!(said.code, 3);
    assert_eq!(
        said.err,
        "error: there is no instance wed; did you mean web?\n"
    );
    let line = with(RESTORE, &["--as-new", "shop", "--target-project", "tenant"]);
    let said = scene.run(&line);
    assert_eq!(said.code, 3);
    assert_eq!(said.err, "error: an instance tenant/shop exists already\n");
}

/// Before chosen steps of a restore in place; terrarium-zpool's tests go through all of them.
#[test]
#[cfg(feature = "fault-injection")]
fn a_command_that_was_killed_is_given_again() {
    use std::os::unix::process::ExitStatusExt;

    let scene = Scene::new();
    scene.done(SNAPSHOT);
    for step in [2, 7, 8, 9, 11] {
        scene.write("two");
        let line = with(RESTORE, &["--yes"]);
        let mut command = scene.command(&line);
        let killed = command.env("TERRARIUM_FAULT_KILL_AT", step.to_string());
        let killed = killed.output().expect("it starts");
        assert_eq!(killed.status.signal(), Some(9), "{step}: {killed:?}");
        let said = scene.run(&["backup", "list"]);
        assert!(said.out.contains("\nCut off;"), "{step}: {said:?}");
        assert!(said.out.starts_with("web (stopped, "), "{step}: {said:?}");

        let said = scene.run(&line);
        assert_eq!(said.code, 0, "{step}: {said:?}");
        assert!(said.err.contains("did not finish"), "{step}: {said:?}");
        let engine = scene.engine();
        assert_eq!(note(&engine, "web"), "one", "{step}");
    }
    let listed: Value = serde_json::from_str(&scene.done(&["backup", "list", "--json"])).unwrap();
    assert_eq!(listed["pending"], Value::Array(Vec::new()));
    assert_eq!(listed["orphans"], Value::Array(Vec::new()));
}

#[test]
fn a_guard_rewinds_what_a_command_leaves_behind_that_fails() {
    let scene = Scene::new();
    let guard = |more: &[&'static str]| scene.run(&with(&["guard", "--instance", "web"], more));
    let said = guard(&["--", "sh", "-c", "echo done"]);
    assert_eq!((said.code, said.out.as_str()), (0, "done\n"), "{said:?}");
    let said = guard(&["--", "sh", "-c", "echo half; exit 9"]);
    assert_eq!((said.code, said.out.as_str()), (1, "half\n"), "{said:?}");
    insta::assert_snapshot!(masked(&said.err), @r"
    Took snap-N-N of web, expires N-N-N N:N:N UTC
    sh ended with exit code N; rewinding web to snap-N-N
    Restored web to snap-N-N.
      snap-N-N was taken N-N-N N:N:N UTC, Ns ago
    To undo this, until N-N-N N:N:N UTC: terrariumctl --pool-file FOLDER/pool backup undo --instance web
    error: sh ended with exit code N; web is back at snap-N-N
    help: `terrariumctl --pool-file FOLDER/pool backup undo --instance web` brings back what was rewound
    ");
    let said = guard(&["--json", "--", "sh", "-c", "echo half; exit 9"]);
    assert_eq!(said.code, 1);
    let answer: Value = serde_json::from_str(&said.out).expect("nothing but JSON");
    assert_eq!(answer["rewound"], true);
    assert!(said.err.contains("half\n"), "{said:?}");
    let said = guard(&["--check", "true", "--", "true"]);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    assert!(
        said.err.contains("instances of a pool file do not run"),
        "{said:?}"
    );
}
