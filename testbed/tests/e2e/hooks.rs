//! Commands of labels around a snapshot, in real containers.

use std::time::{Duration, Instant};

use testbed::{Instance, terrariumctl};

use crate::time_machine::{property, snapshots};

/// Writes two files one after the other, for ever, unless it was told to pause; says when it does.
const WRITER: &str = "n=0; while :; do
    if [ -e /pause ]; then touch /paused; sleep 0.1; continue; fi
    rm -f /paused; n=$((n + 1)); echo $n > /one; sleep 0.05; echo $n > /two
done";
const PAUSE: &str = "touch /pause; until [ -e /paused ]; do sleep 0.1; done";

/// A container in which that goes on, and a program that ends commands.
fn writing() -> Instance {
    let web = Instance::launch("hooks");
    let start = format!("ln -s busybox /bin/setsid; ( {WRITER} ) > /dev/null 2>&1 &");
    web.sh(&start).finish().succeeds();
    web.set_config("user.terrarium.pre", PAUSE);
    web.set_config("user.terrarium.post", "rm -f /pause");
    web
}

#[test]
fn a_command_that_hangs_is_ended_and_the_point_is_marked_or_not_taken() {
    let web = writing();
    web.set_config("user.terrarium.pre", "touch /pause; sleep 4711; true");
    web.set_config("user.terrarium.hook-timeout", "3s");
    let command = ["backup", "snapshot", "--instance", web.name()];
    let since = Instant::now();
    let said = terrariumctl(command).fails_with(1);
    assert!(said.stderr.contains("did not end within 3s"), "{said}");
    assert!(since.elapsed() < Duration::from_secs(60), "{said}");
    let taken = snapshots(&web.dataset());
    let object = format!("{}@{}", web.dataset(), taken[0]);
    assert_eq!(property(&object, "terrarium:pre"), "timed-out");
    let ended = "test ! -e /pause; ! ps | grep -v grep | grep -q 'sleep 4711'";
    web.sh(ended).finish().succeeds();

    web.set_config("user.terrarium.pre-failure", "skip");
    terrariumctl(command).fails_with(1);
    assert_eq!(snapshots(&web.dataset()), taken);
}
