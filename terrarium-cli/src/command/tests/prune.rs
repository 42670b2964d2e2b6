use serde_json::Value;

use crate::testing::Scene;

const HOURLY: [(&str, &str); 2] = [
    ("terrarium:kind", "scheduled"),
    ("terrarium:period", "hourly"),
];
const WEB: &str = "tank/containers/web";

/// `web`, of which 2 hourly ones are kept, with 6 of them, and `shop`, where nothing is to go.
async fn scene() -> Scene {
    let scene = Scene::new().await;
    let web = scene.fake.instance("web").file("note", "0");
    web.config("user.terrarium.retention", "hourly=2")
        .create()
        .await;
    scene.fake.add_project("tenant");
    scene.fake.instance("tenant/shop").create().await;
    for hour in 5..=10 {
        scene.fake.write("web", "note", vec![b'x'; 2000]);
        hourly(&scene, "web", hour);
    }
    hourly(&scene, "tenant_shop", 9);
    scene.fake.zfs().hold(name("web", 6), "keep");
    scene
}

fn hourly(scene: &Scene, volume: &str, hour: i32) {
    let at = format!("2026-11-22T{hour:02}:00:00Z");
    scene.snapshot(&name(volume, hour), &at, &HOURLY);
}

fn name(volume: &str, hour: i32) -> String {
    format!("tank/containers/{volume}@autosnap_2026-11-22_{hour:02}:00:00_hourly")
}

#[tokio::test]
async fn a_dry_run_shows_every_point_with_its_reasons_and_what_would_be_free() {
    let scene = scene().await;
    let said = scene.run(&["prune", "--dry-run"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    web: frequently=4,hourly=2,daily=14,monthly=3 (the instance's label)
      NAME                                 AGE  KIND           SIZE  VERDICT
      autosnap_2026-11-22_10:00:00_hourly   1h  scheduled       0 B  stays: among the newest 2 hourly; the newest point
      autosnap_2026-11-22_09:00:00_hourly   2h  scheduled  3.00 KiB  stays: among the newest 2 hourly
      autosnap_2026-11-22_08:00:00_hourly   3h  scheduled  3.00 KiB  goes: older than 2 hourly, and 2 are newer
      autosnap_2026-11-22_07:00:00_hourly   4h  scheduled  3.00 KiB  goes: older than 2 hourly, and 2 are newer
      autosnap_2026-11-22_06:00:00_hourly   5h  scheduled  3.00 KiB  stays: held; older than 2 hourly, and 2 are newer
      autosnap_2026-11-22_05:00:00_hourly   6h  scheduled  3.00 KiB  goes: older than 2 hourly, and 2 are newer
      would remove 3 of 6 restore points, would free 9.00 KiB

    tenant/shop: frequently=4,hourly=24,daily=14,monthly=3 (the default)
      NAME                                 AGE  KIND       SIZE  VERDICT
      autosnap_2026-11-22_09:00:00_hourly   2h  scheduled   0 B  stays: among the newest 24 hourly; the newest point
      would remove none of 1 restore points

    This is a dry run: nothing was changed.
    ");
    let said = scene
        .run(&["prune", "--instance", "web", "--dry-run", "--json"])
        .await;
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["dry_run"], true);
    let points = answer["instances"][0]["restore_points"].as_array().unwrap();
    let stays: Vec<bool> = points.iter().map(|point| point["stays"] == true).collect();
    assert_eq!(stays, [true, true, false, false, true, false]);
    assert_eq!(points[5]["reasons"][0]["reason"], "outdated");
    assert_eq!(answer["frees_exactly"], true);
    assert!(
        !scene
            .fake
            .zfs()
            .calls()
            .iter()
            .any(|call| call.starts_with("destroy"))
    );
}

#[tokio::test]
async fn it_is_asked_about_and_what_was_removed_is_said() {
    let scene = scene().await;
    assert_eq!(scene.run(&["prune"]).await.code, 3, "nobody to ask");
    let said = scene.typing("no\n", &["prune"]).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    insta::assert_snapshot!(said.err, @r"
    About to prune 3 restore points of 1 instance
      web: 3 of 6 go, frees 9.00 KiB
    This cannot be undone. Type yes to go on: error: not confirmed; nothing was changed
    ");
    let said = scene.typing("yes\n", &["prune"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    insta::assert_snapshot!(said.out, @r"
    web: frequently=4,hourly=2,daily=14,monthly=3 (the instance's label)
      NAME                                 AGE  KIND           SIZE  VERDICT
      autosnap_2026-11-22_08:00:00_hourly   3h  scheduled  3.00 KiB  removed: older than 2 hourly, and 2 are newer
      autosnap_2026-11-22_07:00:00_hourly   4h  scheduled  3.00 KiB  removed: older than 2 hourly, and 2 are newer
      autosnap_2026-11-22_05:00:00_hourly   6h  scheduled  3.00 KiB  removed: older than 2 hourly, and 2 are newer
    Removed 3 of 7 restore points, which frees 9.00 KiB.
    ");
    let said = scene.run(&["prune", "--yes"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @"Nothing to remove: 4 restore points stay.");
}

#[tokio::test]
async fn what_has_come_up_since_the_question_is_asked_about_again() {
    let scene = scene().await;
    let zfs = scene.fake.zfs().clone();
    let release = move || zfs.release(name("web", 6), "keep");
    let said = scene.typing_after("yes\nno\n", release, &["prune"]).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    assert!(
        said.err
            .contains("Something has changed since you were asked.")
    );
}

#[tokio::test]
async fn one_that_stays_does_not_keep_the_others_and_the_exit_code_says_so() {
    let scene = scene().await;
    scene.fake.zfs().set_busy(name("web", 7), true);
    let said = scene.run(&["prune", "--instance", "web", "--yes"]).await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(format!("{}{}", said.out, said.err), @r"
    web: frequently=4,hourly=2,daily=14,monthly=3 (the instance's label)
      NAME                                 AGE  KIND           SIZE  VERDICT
      autosnap_2026-11-22_08:00:00_hourly   3h  scheduled  3.00 KiB  removed: older than 2 hourly, and 2 are newer
      autosnap_2026-11-22_07:00:00_hourly   4h  scheduled  3.00 KiB  not removed: cannot destroy tank/containers/web@autosnap_2026-11-22_07:00:00_hourly: it is in use
      autosnap_2026-11-22_05:00:00_hourly   6h  scheduled  3.00 KiB  removed: older than 2 hourly, and 2 are newer
    Removed 2 of the 3 restore points that were to go, of 6.
    error: prune 3 restore points of 1 instance: destroyed 2 of 3 snapshots: cannot destroy tank/containers/web@autosnap_2026-11-22_07:00:00_hourly: it is in use
    help: what is held, sent, mounted or cloned from cannot be destroyed; try again when it is not
    ");
    let said = scene.run(&["prune", "--yes", "--json"]).await;
    assert_eq!(said.code, 3, "nothing was changed");
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&answer["exit_code"], &answer["removed"]),
        (&3.into(), &0.into())
    );
    let points = answer["instances"][0]["restore_points"].as_array().unwrap();
    let failed: Vec<_> = points
        .iter()
        .filter(|point| point["outcome"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0]["error"]
            .as_str()
            .unwrap()
            .contains("it is in use")
    );
    assert_eq!(answer["error"]["class"], "refused");
}

#[tokio::test]
async fn a_label_that_makes_no_sense_is_named_and_the_default_holds() {
    let scene = scene().await;
    let web = scene.fake.instance("db").file("note", "0");
    web.config("user.terrarium.retention", "hourly=lots")
        .create()
        .await;
    let said = scene.run(&["prune", "--instance", "db", "--dry-run"]).await;
    assert_eq!(said.code, 0);
    insta::assert_snapshot!(format!("{}{}", said.err, said.out), @r#"
    warning: db: the instance's label user.terrarium.retention="hourly=lots" is not heeded: hourly=lots: expected a number from 0 to 4294967295
    db: frequently=4,hourly=24,daily=14,monthly=3 (the default)
      no restore points

    This is a dry run: nothing was changed.
    "#);
}

#[tokio::test]
async fn an_instance_that_a_restore_was_cut_off_on_is_left_out() {
    let scene = scene().await;
    scene
        .die("web", "autosnap_2026-11-22_09:00:00_hourly", "promote")
        .await;
    let said = scene.run(&["prune", "--yes"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    web was left out: an operation on it was cut off; the next snapshot, restore or undo recovers it
    Nothing to remove: 1 restore points stay.
    ");
    let said = scene.run(&["prune", "--instance", "web", "--yes"]).await;
    assert_eq!(said.code, 3, "it was asked for: {}", said.out);
}

#[tokio::test]
async fn a_dry_run_of_an_adoption_shows_what_a_prune_would_remove_then() {
    let scene = Scene::new().await;
    let web = scene.fake.instance("web").file("note", "0");
    web.config("user.terrarium.retention", "hourly=1")
        .create()
        .await;
    for hour in 7..=10 {
        let at = format!("2026-11-22T{hour:02}:00:00Z");
        scene.snapshot(&name("web", hour), &at, &[]);
    }
    scene.snapshot(&format!("{WEB}@by-hand"), "2026-11-22T10:30:00Z", &[]);
    assert_eq!(scene.run(&["prune", "--yes"]).await.code, 0);
    let said = scene.adopt(&["sanoid", "--dry-run"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Plan: adopt sanoid's snapshots of web

    Steps:
      1  set terrarium:adopted of tank/containers/web
           sanoid's snapshots of web

    This is a dry run: nothing was changed.

    With that, `backup prune` would do this:

    web: frequently=4,hourly=1,daily=14,monthly=3 (the instance's label)
      NAME                                 AGE  KIND     SIZE  VERDICT
      by-hand                              30m  foreign   0 B  stays: not ours; the newest point
      autosnap_2026-11-22_10:00:00_hourly   1h  foreign   0 B  stays: among the newest 1 hourly
      autosnap_2026-11-22_09:00:00_hourly   2h  foreign   0 B  goes: older than 1 hourly, and 1 are newer
      autosnap_2026-11-22_08:00:00_hourly   3h  foreign   0 B  goes: older than 1 hourly, and 1 are newer
      autosnap_2026-11-22_07:00:00_hourly   4h  foreign   0 B  goes: older than 1 hourly, and 1 are newer
      would remove 3 of 5 restore points, would free 0 B
    ");
    let said = scene.adopt(&["sanoid", "--dry-run", "--json"]).await;
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["plan"]["steps"][0]["action"], "set-properties");
    assert_eq!(answer["instances"][0]["restore_points"][4]["stays"], false);

    scene.adopt(&["sanoid", "--yes"]).await;
    let said = scene.run(&["prune", "--yes"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let left = scene.run(&["list"]).await.out;
    assert!(
        left.contains("by-hand") && left.contains("10:00:00_hourly"),
        "{left}"
    );
    assert!(!left.contains("07:00:00_hourly"), "{left}");
}
