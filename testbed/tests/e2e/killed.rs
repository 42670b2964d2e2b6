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

/// Destroys what the rewinds so far moved aside, so that every round begins alike.
fn forget_history(instance: &Instance) {
    let leaf = format!("/{}", instance.name());
    for dataset in ours(instance) {
        if dataset.contains("/aside/") && dataset.ends_with(&leaf) {
            testbed::zfs(["destroy", "-r", &dataset]);
        }
    }
}

/// Whether every step of a plan was the one before which a round was cut off.
#[track_caller]
fn assert_all_hit(mut planned: BTreeSet<String>, hit: &BTreeSet<String>) {
    planned.retain(|step| !hit.contains(step));
    assert!(
        planned.is_empty(),
        "every step of the plan was hit, but {planned:?}"
    );
}

#[test]
fn a_rewind_killed_before_any_step_is_finished_or_put_back_by_the_next() {
    let web = Instance::create("killed", Image::Busybox);
    web.write_file("/root/f", "a");
    testbed::lxc(["snapshot", web.name(), "a"]);
    let command = [
        "backup",
        "restore",
        "--yes",
        "--start",
        "--instance",
        web.name(),
        "--at",
        "snapshot-a",
    ];
    let mut wanted = BTreeSet::new();
    let mut hit = BTreeSet::new();
    for index in 0.. {
        let newer = format!("b{index}");
        web.write_file("/root/f", "b");
        testbed::lxc(["snapshot", web.name(), &newer]);
        if index == 1 {
            // The first round began with a stopped instance; all others with a running one.
            wanted = planned(&command);
        }
        let step = killed_before(index, &command);
        restore(&web, &["--at", "snapshot-a", "--start"]).succeeds();
        assert_eq!(
            (web.state().as_str(), web.read_file("/root/f").as_str()),
            ("RUNNING", "a"),
            "killed before step {index}, {step:?}"
        );
        let records = crate::time_machine::records(&web);
        assert_eq!(records, ["a"], "killed before step {index}, {step:?}");
        let left = ours(&web);
        let staged = left.iter().filter(|name| name.contains("/staging/"));
        assert_eq!(staged.count(), 0, "killed before step {index}, {step:?}");
        let Some(step) = step else { break };
        hit.insert(step);
        forget_history(&web);
    }
    assert_all_hit(wanted, &hit);
}

#[test]
fn an_undo_killed_before_any_step_is_finished_or_put_back_by_the_next() {
    let web = Instance::create("killundo", Image::Busybox);
    web.write_file("/root/f", "old");
    testbed::lxc(["snapshot", web.name(), "old"]);
    let command = ["backup", "undo", "--yes", "--instance", web.name()];
    let mut wanted = BTreeSet::new();
    let mut hit = BTreeSet::new();
    for index in 0.. {
        web.write_file("/root/f", "new");
        testbed::lxc(["snapshot", web.name(), "new"]);
        restore(&web, &["--at", "snapshot-old"]).succeeds();
        assert_eq!(web.read_file("/root/f"), "old");
        if index == 0 {
            wanted = planned(&command);
        }
        let step = killed_before(index, &command);
        if step.is_some() {
            undo(&web, &[]).succeeds();
        }
        assert_eq!(
            web.read_file("/root/f"),
            "new",
            "killed before step {index}, {step:?}"
        );
        let records = crate::time_machine::records(&web);
        let expected = ["new", "old"];
        assert_eq!(records, expected, "killed before step {index}, {step:?}");
        let Some(step) = step else { break };
        hit.insert(step);
        forget_history(&web);
        testbed::lxc(["delete", &format!("{}/new", web.name())]);
    }
    web.start();
    assert_all_hit(wanted, &hit);
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
    let wanted = planned(&command);
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
    assert_all_hit(wanted, &hit);
}
