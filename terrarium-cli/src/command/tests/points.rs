use super::scene;

const EDIT: [&str; 5] = ["edit", "--instance", "web", "--at", "before upgrade"];
const DELETE: [&str; 5] = ["delete", "--instance", "web", "--at", "before upgrade"];

fn with<'a>(line: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [line, more].concat()
}

#[tokio::test]
async fn a_point_gets_another_alias_and_expiry_and_is_found_by_it() {
    let scene = scene().await;
    let edit = with(
        &EDIT,
        &["--alias", "release 1", "--expires", "2099-12-31T12:00:00Z"],
    );
    let said = scene.run(&with(&edit, &["--dry-run"])).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Plan: edit snap-20261122-090000 of web
      snap-20261122-090000 of web, alias release 1, expires 2099-12-31 13:00:00 CET

    Steps:
      1  set terrarium:alias, terrarium:expires of tank/containers/web@snap-20261122-090000
           asked for

    This is a dry run: nothing was changed.
    ");
    let said = scene.run(&edit).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @"Changed snap-20261122-090000 of web, alias release 1, expires 2099-12-31 13:00:00 CET");

    let line = [
        "edit",
        "--instance",
        "web",
        "--at",
        "release 1",
        "--no-expires",
        "--json",
    ];
    let said = scene.run(&line).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let point = &answer["restore_points"][0];
    assert_eq!(point["alias"], "release 1");
    assert_eq!(point["expires_at"], serde_json::Value::Null);
    assert_eq!(answer["report"]["steps"][0]["action"], "set-properties");

    let said = scene.run(&with(&EDIT, &["--no-alias"])).await;
    assert_eq!(said.code, 3, "it has another name now: {}", said.err);
    let line = [
        "edit",
        "--instance",
        "web",
        "--at",
        "release 1",
        "--no-expires",
    ];
    insta::assert_snapshot!(scene.run(&line).await.out, @"  note: it is like that already: nothing to change");
}

#[tokio::test]
async fn an_alias_that_another_point_has_and_an_expiry_that_nobody_heeds_are_refused() {
    let scene = scene().await;
    scene.fake.lxd_snapshot("web", "x").await;
    let edit = |at: &'static str, more: &'static [&'static str]| {
        with(&["edit", "--instance", "web", "--at", at], more)
    };
    let mut told = String::new();
    for line in [
        edit("manual", &["--alias", "before upgrade"]),
        edit("manual", &["--expires", "2099-12-31"]),
        edit("x", &["--expires", "2099-12-31"]),
    ] {
        let said = scene.run(&line).await;
        assert_eq!((said.code, said.out.as_str()), (3, ""));
        told.push_str(&said.err);
    }
    insta::assert_snapshot!(told, @r#"
    error: instance web has a restore point with the alias "before upgrade" already: tank/containers/web@snap-20261122-090000
    error: cannot change the expiry of tank/containers/web@manual: Terrarium did not make it, and never removes it
    help: take one on demand with an expiry
    error: cannot change the expiry of tank/containers/web@snapshot-x: LXD made it, and heeds only its own expiry
    help: set that with `lxc config edit INSTANCE/SNAPSHOT`
    "#);
    assert_eq!(
        scene
            .run(&edit(
                "frequently",
                &["--alias", "named", "--expires", "2099-12-31"]
            ))
            .await
            .code,
        0
    );
}

#[tokio::test]
async fn a_deletion_is_agreed_to_in_full_and_says_what_it_frees() {
    let scene = scene().await;
    let said = scene.run(&DELETE).await;
    assert_eq!(said.code, 3);
    assert!(said.err.contains("needs a confirmation"), "{}", said.err);
    let said = scene.typing("y\n", &DELETE).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    insta::assert_snapshot!(said.err, @r"
    About to delete snap-20261122-090000 of web
      snap-20261122-090000 (before upgrade) of web, taken 2026-11-22 10:00:00 CET, 0 B
      at least 0 B will be free, more if what is destroyed shared data
    This cannot be undone. Type yes to go on: error: not confirmed; nothing was changed
    ");
    let said = scene.typing("yes\n", &DELETE).await;
    assert_eq!(said.code, 0, "{}", said.err);
    insta::assert_snapshot!(said.out, @r"
    Deleted snap-20261122-090000 (before upgrade) of web, taken 2026-11-22 10:00:00 CET, 0 B
    At least 0 B are free again.
    ");
    assert_eq!(scene.run(&DELETE).await.code, 3, "it is gone");
}

#[tokio::test]
async fn what_goes_by_another_rule_is_not_deleted_and_it_is_said_what_to_do_instead() {
    let scene = scene().await;
    scene.fake.lxd_snapshot("web", "x").await;
    let mut told = String::new();
    for at in ["frequently", "manual", "x"] {
        let line = ["delete", "--instance", "web", "--at", at, "--yes"];
        let said = scene.run(&line).await;
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{at}");
        told.push_str(&said.err);
    }
    insta::assert_snapshot!(told, @r"
    error: cannot delete tank/containers/web@autosnap_2026-11-22_10:45:00_frequently: it is a scheduled one: `backup prune` removes it by the policy of its instance
    help: to delete it by hand even so, give --force
    error: cannot delete tank/containers/web@manual: Terrarium did not take it
    help: `zfs destroy 'tank/containers/web@manual'` removes it
    error: cannot delete tank/containers/web@snapshot-x: LXD made it, and keeps a record of it
    help: `lxc delete web/x` deletes both
    ");
    let line = [
        "delete",
        "--instance",
        "web",
        "--at",
        "frequently",
        "--at",
        "manual",
        "--force",
        "--yes",
    ];
    assert_eq!(
        scene.run(&line).await.code,
        3,
        "nothing goes if one may not"
    );
    let line = [
        "delete",
        "--instance",
        "web",
        "--at",
        "frequently",
        "--force",
        "--yes",
    ];
    let said = scene.run(&line).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let listed = scene.run(&["list", "--instance", "web"]).await.out;
    assert!(!listed.contains("frequently"), "{listed}");
    assert!(
        listed.contains("manual") && listed.contains("snapshot-x"),
        "{listed}"
    );
}

#[tokio::test]
async fn the_newest_point_goes_if_that_is_wanted_and_it_is_said() {
    let scene = scene().await;
    scene.snapshot(
        "tank/containers/web@snap-20261122-105900",
        "2026-11-22T10:59:00Z",
        &[("terrarium:kind", "on-demand")],
    );
    let line = [
        "delete",
        "--instance",
        "web",
        "--at",
        "snap-20261122-105900",
        "--dry-run",
    ];
    let said = scene.run(&line).await;
    insta::assert_snapshot!(said.out, @r"
    Plan: delete snap-20261122-105900 of web
      snap-20261122-105900 of web, taken 2026-11-22 11:59:00 CET, 0 B
      at least 0 B will be free, more if what is destroyed shared data
      warning: snap-20261122-105900 is the newest restore point of web; after that it is autosnap_2026-11-22_10:45:00_frequently

    Steps:
      1  destroy tank/containers/web@snap-20261122-105900
           asked for

    This is a dry run: nothing was changed.
    ");
}

#[tokio::test]
async fn one_that_stays_is_named_and_the_others_are_gone() {
    let scene = scene().await;
    scene.snapshot(
        "tank/containers/web@snap-20261122-105900",
        "2026-11-22T10:59:00Z",
        &[("terrarium:kind", "on-demand")],
    );
    let line = with(&DELETE, &["--at", "snap-20261122-105900"]);
    let zfs = scene.fake.zfs().clone();
    zfs.set_busy("tank/containers/web@snap-20261122-105900", true);
    let said = scene.run(&with(&line, &["--yes"])).await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(format!("{}{}", said.out, said.err), @r"
    Deleted snap-20261122-090000 (before upgrade) of web, taken 2026-11-22 10:00:00 CET, 0 B
    At least 0 B are free again.
    error: delete 2 restore points of web: destroyed 1 of 2 snapshots: cannot destroy tank/containers/web@snap-20261122-105900: it is in use
    help: what is held, sent, mounted or cloned from cannot be destroyed; try again when it is not
    ");
}

#[tokio::test]
async fn adopting_is_asked_about_and_undone() {
    let scene = scene().await;
    let adopt = |more: &'static [&'static str]| with(&["sanoid", "--instance", "web"], more);
    let said = scene.adopt(&adopt(&["--dry-run"])).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Plan: adopt sanoid's snapshots of web

    Steps:
      1  set terrarium:adopted of tank/containers/web
           sanoid's snapshots of web

    This is a dry run: nothing was changed.

    With that, `backup prune` would do this:

    web: frequently=4,hourly=24,daily=14,monthly=3 (the default)
      NAME                                     AGE  KIND       SIZE  VERDICT
      autosnap_2026-11-22_10:45:00_frequently  14m  scheduled   0 B  stays: scheduled for no known period; the newest point
      manual                                    1h  foreign     0 B  stays: not ours; held
      snap-20261122-090000                      2h  on-demand   0 B  stays: until 2026-12-22T11:00:00Z
      autosnap_2026-11-21_10:00:00_hourly       1d  foreign     0 B  stays: among the newest 24 hourly
      would remove none of 4 restore points
    ");
    assert_eq!(scene.adopt(&adopt(&[])).await.code, 3, "nobody to ask");
    let said = scene.adopt(&adopt(&["--yes"])).await;
    insta::assert_snapshot!(said.out, @"Done: adopt sanoid's snapshots of web.");
    let said = scene.adopt(&["sanoid", "--yes"]).await;
    insta::assert_snapshot!(said.out, @r"
    Done: adopt sanoid's snapshots of web, tenant/shop.
      note: sanoid's snapshots of web count as ours already
    ");
    let said = scene.adopt(&["sanoid", "--undo", "--yes"]).await;
    insta::assert_snapshot!(said.out, @"Done: leave alone sanoid's snapshots of web, tenant/shop.");
}
