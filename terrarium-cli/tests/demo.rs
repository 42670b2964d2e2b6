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
use support::{TERRARIUMCTL, masked, named, options, program};
use terrarium_zfs::tree::{Entry, Kind};
use terrarium_zfs::{Properties, UserProperties};

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
        failed.starts_with("the files of web have the hash "),
        "{failed}"
    );
    assert!(!said.contains("OK"), "{said}");
}

/// Such as one that rewinds to the wrong point.
#[test]
fn an_undo_that_undoes_nothing_fails_the_demo() {
    let script = format!("case \"$*\" in *undo*) exit 0;; esac\nexec {TERRARIUMCTL} \"$@\"");
    let (_, failed) = told_with(&script);
    let failed = failed.expect("it fails");
    assert!(failed.ends_with(": not as after the upgrade"), "{failed}");
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

#[test]
fn a_hash_tells_any_difference_between_two_trees_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let engine = options().create(&folder.path().join("pool"), "demo", 128 << 20);
    let engine = engine.expect("created");
    let web = named("demo/web");
    engine.create(&web, &Properties::new()).expect("created");
    containers::write_web(&engine, &web).expect("written");
    let digest = |object: &str| containers::digest(&engine, object).expect("read");
    let hash = || digest(web.as_str()).hash;
    let made = hash();
    let point = web.snapshot("made").expect("a legal name");
    let taken = engine.snapshot(&[(point.clone(), UserProperties::new())]);
    taken.expect("taken");

    let write = |change: &dyn Fn(&mut Entry), content: &[u8]| {
        let mut entry = Entry::new("rootfs/etc/hostname", Kind::File, 0o644);
        (entry.uid, entry.gid) = (1_000_000, 1_000_000);
        entry.modified.seconds = 1_750_000_000;
        entry.modified.nanoseconds = 123_456_789;
        entry.accessed.seconds = 1;
        change(&mut entry);
        entry.size = content.len() as u64;
        let mut tree = engine.write_tree(&web);
        tree.add(&entry);
        tree.content(0, content);
        tree.finish().expect("written");
    };
    write(&|_| {}, b"web\n");
    assert_eq!(hash(), made, "when it was last read does not count");
    let changes: [&dyn Fn(&mut Entry); 6] = [
        &|entry| entry.mode = 0o640,
        &|entry| entry.uid = 0,
        &|entry| entry.gid = 0,
        &|entry| entry.modified.seconds += 1,
        &|entry| entry.modified.nanoseconds += 1,
        &|entry| drop(entry.attributes.insert(b"user.a".to_vec(), b"1".to_vec())),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        write(change, b"web\n");
        assert_ne!(hash(), made, "change {number}");
        write(&|_| {}, b"web\n");
        assert_eq!(hash(), made, "change {number} taken back");
    }
    write(&|_| {}, b"wEb\n");
    assert_ne!(hash(), made, "one letter");
    write(&|_| {}, b"web\n");
    engine
        .write_file(&web, "more", 0o644, b"")
        .expect("written");
    assert_ne!(hash(), made, "one more file");
    engine.rollback_to(&point).expect("rolled back");
    assert_eq!(hash(), made);
    assert_eq!(digest(point.as_str()).hash, made);
}
