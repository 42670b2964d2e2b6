//! Bad input: a clear error, the right exit code, and nothing changed.

use testbed::{Image, Instance, lxc, terrariumctl, unique_name, zfs};

use crate::time_machine::{prepare_tree, restore, snapshot, tree};

#[test]
fn whatever_cannot_be_meant_is_refused_and_changes_nothing() {
    prepare_tree();
    let web = Instance::create("refuse", Image::Busybox);
    let name = web.name();
    let no_point = restore(&web, &[]).fails_with(3);
    assert!(no_point.stderr.contains("no restore point"), "{no_point}");
    snapshot(&web, &[]);
    zfs(["snapshot", &format!("{}@twin-1", web.dataset())]);
    zfs(["snapshot", &format!("{}@twin-2", web.dataset())]);
    let mine = || {
        tree()
            .lines()
            .filter(|line| line.contains(name))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let before = mine();

    let almost = format!("{}x", name);
    for (arguments, code, says) in [
        (vec!["--instance", &almost, "--yes"], 3, name),
        (
            vec!["--instance", name, "--yes", "--at", "twin"],
            3,
            "twin-2",
        ),
        (
            vec!["--instance", name, "--yes", "--at", "no-such-point"],
            3,
            "no restore point fits",
        ),
        (
            vec!["--instance", name, "--yes", "--at", "1999-01-01"],
            3,
            "at or before",
        ),
        (vec!["--instance", name, "--as-new", name], 3, "exists"),
        (
            vec!["--instance", name, "--as-new", "under_score"],
            2,
            "only letters, digits and dashes",
        ),
        (
            vec!["--instance", "bad\u{1b}[2Jname", "--yes"],
            2,
            "\\u{1b}",
        ),
        (vec!["--instance", name], 3, "--yes"),
        (
            vec!["--instance", name, "--no-such-flag"],
            2,
            "--no-such-flag",
        ),
    ] {
        let refused =
            terrariumctl([&["backup", "restore"][..], &arguments[..]].concat()).fails_with(code);
        assert!(
            refused.stderr.contains(says),
            "{arguments:?} should say {says}: {refused}"
        );
        assert!(
            !refused.stderr.contains('\u{1b}'),
            "control characters are escaped: {refused}"
        );
    }
    let nothing = terrariumctl(["backup", "undo", "--yes", "--instance", name]).fails_with(3);
    assert!(nothing.stderr.contains("no rewind"), "{nothing}");
    let dry = restore(&web, &["--dry-run"]).succeeds();
    assert!(dry.stdout.contains("promote"), "{dry}");
    assert_eq!(mine(), before, "nothing was changed");
}

#[test]
fn what_is_not_covered_is_listed_with_the_reason_and_refused() {
    let pool = unique_name("dir");
    lxc(["storage", "create", &pool, "dir"]);
    let elsewhere = Instance::adopt(unique_name("elsewhere"));
    lxc(["init", "busybox", elsewhere.name(), "--storage", &pool]);
    let parent = Instance::create("parent", Image::Busybox);
    let child = format!("{}/child", parent.dataset());
    zfs(["create", "-o", "mountpoint=none", &child]);
    let lost = Instance::create("lost", Image::Busybox);
    zfs(["rename", &lost.dataset(), "tank/lost"]);

    // Other tests have pools that cannot be read meanwhile, which the exit code would tell: so only these.
    let mut list = vec!["backup", "list"];
    for instance in [&elsewhere, &parent, &lost] {
        list.extend(["--instance", instance.name()]);
    }
    let list = terrariumctl(list).succeeds();
    for (instance, says) in [
        (&elsewhere, "not zfs"),
        (&parent, "has children"),
        (&lost, "does not exist"),
    ] {
        for command in ["restore", "snapshot"] {
            let yes = if command == "restore" {
                &["--yes"][..]
            } else {
                &[]
            };
            let arguments = [&["backup", command, "--instance", instance.name()][..], yes].concat();
            let refused = terrariumctl(arguments).fails_with(3);
            assert!(
                refused.stderr.contains("not covered") && refused.stderr.contains(says),
                "{refused}"
            );
        }
        assert!(
            list.stdout.contains(instance.name()) && list.stdout.contains(says),
            "{list}"
        );
    }
    zfs(["destroy", &child]);
    zfs(["rename", "tank/lost", &lost.dataset()]);
    drop(elsewhere);
    lxc(["storage", "delete", &pool]);
}

#[test]
fn without_lxd_or_zfs_it_says_so_and_that_one_may_try_again() {
    let absent = testbed::run(std::env::var_os("TERRARIUM_E2E_CTL").expect("set by testbed/e2e"))
        .args(["backup", "list"])
        .env("LXD_SOCKET", "/nonexistent/unix.socket")
        .finish()
        .fails_with(4);
    assert!(
        absent.stderr.contains("/nonexistent/unix.socket"),
        "{absent}"
    );
    let nobody = testbed::run("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg("/usr/local/bin/terrariumctl-for-nobody")
        .args(["backup", "list"]);
    let copy = "cp \"$TERRARIUM_E2E_CTL\" /usr/local/bin/terrariumctl-for-nobody && chmod 755 /usr/local/bin/terrariumctl-for-nobody";
    testbed::run("sh").args(["-c", copy]).finish().succeeds();
    let refused = nobody.finish().fails_with(4);
    assert!(refused.stderr.contains("help:"), "{refused}");
}
