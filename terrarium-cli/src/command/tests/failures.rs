use terrarium_zfs::{Attempt, Error};

use super::scene;

const WEB: &str = "tank/containers/web";
const RESTORE: [&str; 6] = [
    "restore",
    "--instance",
    "web",
    "--at",
    "before upgrade",
    "--yes",
];

fn no_space() -> Error {
    Error::NoSpace(Attempt::new("rename", WEB))
}

#[tokio::test]
async fn a_failure_is_put_back_and_says_so() {
    let scene = scene().await;
    scene.fake.zfs().fail_next("rename", no_space());
    let said = scene.run(&RESTORE).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    insta::assert_snapshot!(said.err, @r"
    error: rewind web to snap-20261122-090000: cannot rename tank/containers/web: the pool has no space left (step 9 of 13)
    help: free space in the pool, or add devices
    Everything was put back as it was before.
    ");
    assert_eq!(scene.note("web"), "after");
    assert!(scene.is_running("web"));
}

#[tokio::test]
async fn a_failure_as_json_holds_the_report_and_the_error() {
    let scene = scene().await;
    scene.fake.zfs().fail_next("rename", no_space());
    let said = scene.run(&[&RESTORE[..], &["--json"]].concat()).await;
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["exit_code"], 1);
    assert_eq!(answer["error"]["class"], "failed");
    assert!(answer["report"]["put_back"]["error"].is_null());
    let steps = answer["report"]["steps"].as_array().unwrap();
    assert_eq!(
        steps
            .iter()
            .filter(|step| step["outcome"] == "failed")
            .count(),
        1
    );
}

#[tokio::test]
async fn an_instance_that_does_not_stop_is_left_as_it_is() {
    let scene = scene().await;
    scene.fake.lxd().ignore_graceful_stop("web", true);
    let said = scene
        .run(&[&RESTORE[..], &["--timeout", "1s"]].concat())
        .await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    insta::assert_snapshot!(said.err, @r"
    error: rewind web to snap-20261122-090000: web did not stop within 1s (step 6 of 13)
    help: the guest may still be shutting down; try again with a longer --timeout, or with --force to stop it without its consent
    Everything was put back as it was before.
    ");
    assert_eq!(scene.note("web"), "after");
}

#[tokio::test]
async fn a_signal_puts_everything_back() {
    let scene = scene().await;
    let said = scene.interrupted_while_stopping(&RESTORE).await;
    assert_eq!((said.code, said.out.as_str()), (130, ""));
    insta::assert_snapshot!(said.err, @r"
    error: rewind web to snap-20261122-090000: interrupted (step 7 of 13)
    Everything was put back as it was before.
    ");
    assert_eq!(scene.note("web"), "after");
    assert!(scene.is_running("web"));
}

#[tokio::test]
async fn what_was_cut_off_early_is_taken_back_first() {
    let scene = scene().await;
    scene.die("web", "before upgrade", "check-unmounted").await;
    let said = scene
        .run(&[
            "restore",
            "--instance",
            "web",
            "--at",
            "manual",
            "--dry-run",
        ])
        .await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let first = "  first finished or taken back, for it was cut off: the restore of web to snap-20261122-090000, \
                 begun 2026-11-22 12:00:00 CET\n";
    assert!(said.out.contains(first), "{}", said.out);

    let said = scene.run(&["snapshot", "--instance", "web"]).await;
    assert_eq!(said.code, 0);
    insta::assert_snapshot!(said.err, @r"The restore of web to snap-20261122-090000 began at 2026-11-22 11:00:00 UTC and did not finish; it was taken back.");
}

#[tokio::test]
async fn what_was_cut_off_late_is_finished_and_that_is_all() {
    let scene = scene().await;
    scene.die("web", "before upgrade", "promote").await;
    let said = scene.run(&RESTORE).await;
    assert_eq!(said.code, 0);
    insta::assert_snapshot!(format!("{}{}", said.err, said.out), @r"
    The restore of web to snap-20261122-090000 began at 2026-11-22 11:00:00 UTC and did not finish; it was finished now.
    The restore was done by that; nothing more to do.
    web is stopped. To start it:  lxc start web
    ");
    assert_eq!(scene.note("web"), "before");
}

#[tokio::test]
async fn what_was_cut_off_late_is_finished_and_started_if_that_is_asked_for_now() {
    let scene = scene().await;
    scene.die("web", "before upgrade", "promote").await;
    let said = scene.run(&[&RESTORE[..], &["--start"]].concat()).await;
    assert_eq!(said.code, 0);
    insta::assert_snapshot!(format!("{}{}", said.err, said.out), @r"
    The restore of web to snap-20261122-090000 began at 2026-11-22 11:00:00 UTC and did not finish; it was finished now.
    web is running.
    ");
    assert_eq!(scene.note("web"), "before");
    assert!(scene.is_running("web"));
}

#[tokio::test]
async fn a_recovery_that_fails_says_what_is_in_the_way() {
    let scene = scene().await;
    scene.die("web", "before upgrade", "check-unmounted").await;
    let lxd = scene.fake.lxd();
    lxd.fail_operation_next("PUT", "/web/state", "no idea\nerror: all is lost");
    let said = scene.run(&RESTORE).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    insta::assert_snapshot!(said.err, @r"
    error: an operation was cut off earlier and cannot be recovered: take back the restore of web to snap-20261122-090000: cannot start web: Starting instance (PUT /1.0/instances/web/state): no idea error: all is lost (step 1 of 4)
    help: remove what is in the way, then try again
    Take back the restore of web to snap-20261122-090000:
      1  start web: failed, cannot start web: Starting instance (PUT /1.0/instances/web/state): no idea error: all is lost
      2  destroy tank/terrarium/aside/20261122-110000-* if it is empty: not run
      3  remove LXD's saved definitions: not run
      4  destroy the clone tank/terrarium/staging/20261122-110000-*: not run
    ");
}
