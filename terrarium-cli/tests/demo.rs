//! The demo (`make demo`): it says what the README shows, and it fails if a container is not what it must be.

#[path = "../examples/demo/containers.rs"]
mod containers;
#[path = "../examples/demo/story.rs"]
mod story;
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use story::Story;
use support::{TERRARIUMCTL, masked, program};

const README: &str = include_str!("../../README.md");

/// The demo with these programs: what it says, and why it failed.
fn told(programs: &Path) -> (String, Option<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut said = Vec::new();
    let told = Story::new(programs, folder.path()).tell(&mut said);
    let said = String::from_utf8(said).expect("text");
    (said, told.err().map(|error| error.to_string()))
}

/// The demo with a terrariumctl that is this script.
fn told_with(script: &str) -> (String, Option<String>) {
    let programs = tempfile::tempdir().expect("a folder");
    symlink(program(), programs.path().join("terrarium-zpool")).expect("linked");
    let stand_in = programs.path().join("terrariumctl");
    fs::write(&stand_in, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&stand_in, PermissionsExt::from_mode(0o755)).expect("set");
    told(programs.path())
}

#[test]
fn the_demo_says_what_the_readme_shows() {
    let programs = program();
    let (said, failed) = told(programs.parent().expect("a folder"));
    assert_eq!(failed, None, "{said}");
    let block = README.split("\n```console\n$ make demo\n").nth(1);
    let block = block.and_then(|rest| rest.split("\n```\n").next());
    let block = block.expect("the README has a block that begins with `$ make demo`");
    // The time that it took is told by the program alone.
    let shown = block.rsplit_once('\n').expect("two lines").0;
    assert_eq!(masked(&said), masked(shown), "the demo says:\n{said}");
}

#[test]
fn a_restore_that_restores_nothing_fails_the_demo() {
    let (said, failed) = told_with("exit 0");
    let failed = failed.expect("it fails");
    assert!(
        failed.starts_with("web is not as before the upgrade: "),
        "{failed}"
    );
    assert!(!said.contains("OK"), "{said}");
}

/// It answers 0, as if it had.
#[test]
fn an_undo_that_undoes_nothing_fails_the_demo() {
    let script = format!("case \"$*\" in *undo*) exit 0;; esac\nexec {TERRARIUMCTL} \"$@\"");
    let (_, failed) = told_with(&script);
    let failed = failed.expect("it fails");
    assert!(
        failed.starts_with("web is not as after the upgrade: "),
        "{failed}"
    );
}

#[test]
fn a_command_that_fails_fails_the_demo() {
    let (said, failed) = told_with("echo no; exit 3");
    let failed = failed.expect("it fails");
    assert!(
        failed.starts_with("`terrariumctl --pool-file pool backup snapshot "),
        "{failed}"
    );
    assert!(failed.ends_with(": exit status: 3"), "{failed}");
    assert!(said.ends_with("\nno\n"), "{said}");
}
