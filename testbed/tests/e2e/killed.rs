//! SIGKILL before each step of rewind, undo and restore as new: the next command finishes it or puts all back.

use std::collections::BTreeSet;

use testbed::{Finished, Image, Instance, faulty_terrariumctl, unique_name};

use crate::time_machine::{ours, restore, snapshot, undo};

/// Runs a command that is killed before step `index`; what it was about to do there, or `None` if it came to
/// its end first.
fn killed_before(index: usize, arguments: &[&str]) -> Option<String> {
    let run = faulty_terrariumctl(arguments)
        .env("TERRARIUM_FAULT_KILL_AT", index.to_string())
        .finish();
    if run.signal() == Some(9) {
        return Some(steps(&run).pop().expect("it says where it stops"));
    }
    run.succeeds();
    None
}

/// The names of the steps that a run says it began.
fn steps(run: &Finished) -> Vec<String> {
    let name = |line: &str| {
        Some(
            line.strip_prefix("fault: step ")?
                .split_once(' ')?
                .1
                .to_owned(),
        )
    };
    run.stderr.lines().filter_map(name).collect()
}

/// The names of the steps of a plan that is not carried out.
fn planned(arguments: &[&str]) -> BTreeSet<String> {
    let run = faulty_terrariumctl([arguments, &["--dry-run", "--json"]].concat())
        .finish()
        .succeeds();
    let action = |part: &str| {
        Some(
            part.trim_start()
                .strip_prefix(": \"")?
                .split('"')
                .next()?
                .to_owned(),
        )
    };
    run.stdout
        .split("\"action\"")
        .skip(1)
        .filter_map(action)
        .collect()
}

#[test]
fn a_rewind_killed_before_any_step_is_finished_or_put_back_by_the_next() {
    let web = Instance::create("killed", Image::Busybox);
    web.write_file("/root/f", "a");
    testbed::lxc(["snapshot", web.name(), "a"]);
    web.write_file("/root/f", "b");
    testbed::lxc(["snapshot", web.name(), "b"]);
    web.write_file("/root/f", "c");

    let command = [
        "backup",
        "restore",
        "--yes",
        "--start",
        "--instance",
        web.name(),
        "--at",
    ];
    let mut wanted = planned(&[&command[..], &["snapshot-a"]].concat());
    let mut hit = BTreeSet::new();
    // To a and to b by turns: b lies in a dataset moved aside then, so both kinds of plan are cut off.
    for index in 0.. {
        let to = if index % 2 == 0 { "a" } else { "b" };
        let at = format!("snapshot-{to}");
        let step = killed_before(index, &[&command[..], &[&at]].concat());
        restore(&web, &["--at", &at, "--start"]).succeeds();
        assert_eq!(
            web.state(),
            "RUNNING",
            "killed before step {index}, {step:?}"
        );
        assert_eq!(
            web.read_file("/root/f"),
            to,
            "killed before step {index}, {step:?}"
        );
        let staged = ours(&web)
            .into_iter()
            .filter(|name| name.contains("/staging/"))
            .count();
        assert_eq!(staged, 0, "killed before step {index}, {step:?}");
        match step {
            Some(step) => hit.insert(step),
            None => break,
        };
    }
    wanted.retain(|step| !hit.contains(step));
    assert!(
        wanted.is_empty(),
        "every step of the plan was hit, but {wanted:?}"
    );
}

#[test]
fn an_undo_killed_before_any_step_is_finished_or_put_back_by_the_next() {
    let web = Instance::create("killundo", Image::Busybox);
    web.write_file("/root/f", "old");
    testbed::lxc(["snapshot", web.name(), "old"]);
    web.write_file("/root/f", "new");
    testbed::lxc(["snapshot", web.name(), "new"]);
    restore(&web, &["--at", "snapshot-old"]).succeeds();

    let command = ["backup", "undo", "--yes", "--instance", web.name()];
    let mut wanted = planned(&command);
    let mut hit = BTreeSet::new();
    for index in 0.. {
        let to = if index % 2 == 0 { "new" } else { "old" };
        let step = killed_before(index, &command);
        if step.is_some() {
            undo(&web, &[]).succeeds();
        }
        assert_eq!(
            web.read_file("/root/f"),
            to,
            "killed before step {index}, {step:?}"
        );
        let records = crate::time_machine::records(&web);
        let expected: &[&str] = if to == "new" {
            &["new", "old"]
        } else {
            &["old"]
        };
        assert_eq!(records, expected, "killed before step {index}, {step:?}");
        match step {
            Some(step) => hit.insert(step),
            None => break,
        };
    }
    web.start();
    wanted.retain(|step| !hit.contains(step));
    assert!(
        wanted.is_empty(),
        "every step of the plan was hit, but {wanted:?}"
    );
}

#[test]
fn a_restore_as_new_killed_before_any_step_is_finished_or_taken_back_by_the_next() {
    let web = Instance::create("killcopy", Image::Busybox);
    web.write_file("/root/f", "data");
    snapshot(&web, &[]);
    let name = unique_name("killedcopy");
    let command = [
        "backup",
        "restore",
        "--instance",
        web.name(),
        "--as-new",
        &name,
    ];
    let mut wanted = planned(&command);
    let mut hit = BTreeSet::new();
    for index in 0.. {
        let step = killed_before(index, &command);
        let copy = Instance::adopt(&name);
        if step.is_some() {
            restore(&web, &["--as-new", &name]).succeeds();
        }
        assert_eq!(
            copy.read_file("/root/f"),
            "data",
            "killed before step {index}, {step:?}"
        );
        assert_eq!(copy.config("user.terrarium.operation"), "");
        assert_eq!(ours(&copy), [""; 0]);
        if index % 3 == 0 {
            copy.start();
        }
        match step {
            Some(step) => hit.insert(step),
            None => break,
        };
    }
    wanted.retain(|step| !hit.contains(step));
    assert!(
        wanted.is_empty(),
        "every step of the plan was hit, but {wanted:?}"
    );
}
