//! `guard`: a real command on a real, running container.

use std::ffi::OsStr;

use testbed::{Finished, Instance, terrariumctl};

fn guard<'a>(web: &'a Instance, check: &'a str, script: &'a str) -> Finished {
    let name = web.name();
    let lxc = ["--", "lxc", "exec", name, "--", "sh", "-c", script];
    let guard = ["guard", "--instance", name, "--check", check, "--force"];
    terrariumctl(guard.iter().chain(&lxc).map(OsStr::new))
}

#[test]
fn a_container_comes_back_running_if_a_change_or_the_check_fails() {
    let web = Instance::launch("guard");
    web.write_file("/root/version", "1");
    let check = "test -s /root/version";

    guard(&web, check, "echo -n 2 > /root/version").succeeds();
    assert_eq!(web.read_file("/root/version"), "2");

    let said = guard(&web, check, "echo -n 3 > /root/version; exit 9").fails_with(1);
    assert!(said.stderr.contains("exit code 9"), "{said}");
    assert!(said.stderr.contains("and runs"), "{said}");
    assert_eq!(web.state(), "RUNNING");
    assert_eq!(web.read_file("/root/version"), "2");

    let said = guard(&web, check, ": > /root/version").fails_with(1);
    assert!(
        said.stderr.contains("the check ended with exit code 1"),
        "{said}"
    );
    assert_eq!(web.read_file("/root/version"), "2");

    terrariumctl([
        "backup",
        "undo",
        "--instance",
        web.name(),
        "--start",
        "--force",
        "--yes",
    ])
    .succeeds();
    assert_eq!(web.read_file("/root/version"), "");
}
