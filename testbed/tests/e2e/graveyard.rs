//! Destroy, resume and purge on real LXD: what comes back is what was there, and what is purged is gone.

use testbed::{Finished, Instance, faulty_terrariumctl, lxc, run, terrariumctl, unique_name, zfs};

use crate::time_machine::{records, restore, snapshot, snapshots};

/// `terrariumctl instance` with a command for one instance.
fn instance(command: &str, of: &Instance, more: &[&str]) -> Finished {
    terrariumctl([&["instance", command, of.name()], more].concat())
}

fn purge(of: &Instance, more: &[&str]) -> Finished {
    terrariumctl([&["graveyard", "purge", of.name(), "--yes"], more].concat())
}

/// What ZFS has of an instance, wherever it is.
fn datasets(of: &Instance) -> Vec<String> {
    let all = zfs(["list", "-H", "-o", "name", "-r", "tank"]);
    let of_it = |name: &&str| name.split('/').any(|part| part == of.name());
    all.lines().filter(of_it).map(ToOwned::to_owned).collect()
}

/// What LXD keeps of an instance over a resume: its definition, who it is on its networks and to cloud-init.
fn definition(of: &Instance) -> Vec<String> {
    let shown = lxc(["config", "show", of.name()]);
    let stays = |line: &&str| {
        let key = line.trim_start();
        let own = [
            "volatile.base_image",
            "volatile.uuid",
            "volatile.cloud-init.instance-id",
        ];
        !key.starts_with("volatile.")
            || own.iter().any(|own| key.starts_with(own))
            || key
                .split(':')
                .next()
                .is_some_and(|key| key.ends_with(".hwaddr"))
    };
    shown.lines().filter(stays).map(ToOwned::to_owned).collect()
}

fn owner(of: &Instance) -> String {
    let asked = of.sh("stat -c %u:%g /root/f").finish().succeeds();
    asked.stdout.trim().to_owned()
}

#[test]
fn a_running_instance_comes_back_with_its_contents_ids_config_and_snapshots() {
    let web = Instance::launch("grave");
    web.set_config("user.note", "with x1");
    web.set_config("environment.TOKEN", "hunter2");
    web.write_file("/root/f", "one");
    web.sh("chown 1234:1235 /root/f").finish().succeeds();
    lxc(["snapshot", web.name(), "x1"]);
    web.set_config("user.note", "now");
    let point = snapshot(&web, &["--alias", "before"]);
    web.write_file("/root/f", "two");
    web.sh("chown 1234:1235 /root/f").finish().succeeds();
    let before = (definition(&web), snapshots(&web.dataset()));

    let asked = instance("destroy", &web, &["--dry-run"]).succeeds();
    assert!(
        asked.stdout.contains("for ever"),
        "it is too young to stay: {}",
        asked.stdout
    );
    instance("destroy", &web, &["--yes", "--keep"]).succeeds();
    let known = lxc(["list", "--format=csv", "--columns=n"]);
    assert!(!known.lines().any(|name| name == web.name()));
    let buried = datasets(&web);
    assert!(
        matches!(&buried[..], [only] if only.contains("/terrarium/graveyard/")),
        "{buried:?}"
    );
    let local = zfs([
        "get",
        "-Hp",
        "-s",
        "local",
        "-o",
        "property,value",
        "all",
        &buried[0],
    ]);
    assert!(
        local.contains("canmount\tnoauto") && !local.contains("hunter2"),
        "{local}"
    );
    let listed = terrariumctl(["graveyard", "list"]).succeeds();
    assert!(listed.stdout.contains(web.name()), "{}", listed.stdout);

    instance("resume", &web, &[]).succeeds();
    assert_eq!(
        (web.state().as_str(), web.read_file("/root/f").as_str()),
        ("RUNNING", "two")
    );
    assert_eq!(owner(&web), "1234:1235");
    assert_eq!((definition(&web), snapshots(&web.dataset())), before);
    assert_eq!(records(&web), ["x1"]);
    let x1 = lxc(["config", "show", &format!("{}/x1", web.name())]);
    assert!(x1.contains("user.note: with x1"), "{x1}");
    assert_eq!(datasets(&web), [web.dataset()]);

    // LXD and we go on as if nothing had been.
    lxc(["snapshot", web.name(), "x2"]);
    lxc(["delete", &format!("{}/x2", web.name())]);
    restore(&web, &["--at", &point, "--start"]).succeeds();
    assert_eq!(web.read_file("/root/f"), "one");
    instance("resume", &web, &[]).fails_with(3);
}

#[test]
fn a_copy_outlives_its_source_and_keeps_what_it_was_made_from() {
    let web = Instance::launch("gravecopy");
    web.write_file("/root/f", "one");
    let point = snapshot(&web, &[]);
    let copy = Instance::adopt(unique_name("gravekept"));
    restore(&web, &["--at", &point, "--as-new", copy.name(), "--start"]).succeeds();

    instance("destroy", &web, &["--yes", "--keep"]).succeeds();
    assert_eq!(copy.read_file("/root/f"), "one");
    let kept = purge(&web, &[]).fails_with(3);
    assert!(kept.stdout.contains(&copy.dataset()), "{}", kept.stdout);
    assert_eq!(datasets(&web).len(), 1);
    assert_eq!(
        (copy.state().as_str(), copy.read_file("/root/f").as_str()),
        ("RUNNING", "one")
    );

    lxc(["delete", "--force", copy.name()]);
    purge(&web, &[]).succeeds();
    assert_eq!(datasets(&web), [] as [&str; 0]);
    instance("resume", &web, &[]).fails_with(3);
}

#[test]
fn what_is_protected_stays_and_what_is_young_goes_at_once() {
    let web = Instance::launch("graveyoung");
    web.set_config("security.protection.delete", "true");
    let refused = instance("destroy", &web, &["--yes"]).fails_with(3);
    assert!(
        refused.stderr.contains("security.protection.delete"),
        "{}",
        refused.stderr
    );
    assert_eq!(web.state(), "RUNNING");
    web.set_config("security.protection.delete", "false");
    lxc(["snapshot", web.name(), "x1"]);
    snapshot(&web, &[]);
    instance("destroy", &web, &["--yes"]).succeeds();
    assert_eq!(datasets(&web), [] as [&str; 0]);
    run("lxc").args(["info", web.name()]).finish().fails_with(1);
}

/// Long, hence in `make soak`.
mod killed {
    use super::*;

    #[test]
    fn a_destroy_and_a_resume_killed_before_any_step_are_brought_to_their_end_by_the_next() {
        let web = Instance::launch("gravekilled");
        web.write_file("/root/f", "one");
        lxc(["snapshot", web.name(), "x1"]);
        let before = definition(&web);
        let killed_before = |index: usize, arguments: &[&str]| {
            let run = faulty_terrariumctl(arguments)
                .env("TERRARIUM_FAULT_KILL_AT", index.to_string())
                .finish();
            let killed = run.signal() == Some(9);
            if !killed {
                run.succeeds();
            }
            killed
        };
        let destroy = ["instance", "destroy", web.name(), "--yes", "--keep"];
        let resume = ["instance", "resume", web.name()];
        let mut kills = 0;
        for index in 0.. {
            let mut killed = false;
            for command in [&destroy[..], &resume[..]] {
                if killed_before(index, command) {
                    killed = true;
                    kills += 1;
                    terrariumctl(command).succeeds();
                }
            }
            let when = format!("killed before step {index}");
            assert_eq!(web.state(), "RUNNING", "{when}");
            assert_eq!(web.read_file("/root/f"), "one", "{when}");
            assert_eq!(records(&web), ["x1"], "{when}");
            assert_eq!(definition(&web), before, "{when}");
            assert_eq!(datasets(&web), [web.dataset()], "{when}");
            if !killed {
                break;
            }
        }
        assert!(kills > 15, "{kills} kills");
    }
}
