use super::scene;
use crate::testing::Scene;

#[tokio::test]
async fn several_instances_are_taken_and_named() {
    let scene = scene().await;
    let line = [
        "snapshot",
        "--instance",
        "web",
        "--instance",
        "tenant/shop",
        "--alias",
        "both",
    ];
    let said = scene.run(&line).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Took snap-20261122-110000 of web, alias both
    Took snap-20261122-110000 of tenant/shop, alias both
    ");
    let said = scene
        .run(&[
            "restore",
            "--instance",
            "tenant/shop",
            "--at",
            "both",
            "--dry-run",
        ])
        .await;
    assert_eq!(said.code, 0);
}

#[tokio::test]
async fn as_json_the_points_are_whole() {
    let scene = scene().await;
    let said = scene
        .run(&["snapshot", "--instance", "web", "--alias", "a", "--json"])
        .await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&answer["version"], &answer["exit_code"]),
        (&1.into(), &0.into())
    );
    let point = &answer["restore_points"][0];
    assert_eq!(
        (&point["project"], &point["instance"]),
        (&"default".into(), &"web".into())
    );
    assert_eq!(
        (&point["name"], &point["alias"]),
        (&"snap-20261122-110000".into(), &"a".into())
    );
    assert_eq!(point["created_at"], "2026-11-22T11:00:00Z");
    assert!(point["guid"].is_string());
    assert_eq!(answer["report"]["steps"][0]["outcome"], "done");
}

#[tokio::test]
async fn a_dry_run_takes_nothing() {
    let scene = scene().await;
    let said = scene
        .run(&[
            "snapshot",
            "--instance",
            "web",
            "--alias",
            "a",
            "--expires",
            "2099-12-31T12:00:00Z",
            "--dry-run",
        ])
        .await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Plan: snapshot web
      snap-20261122-110000 of web, alias a, expires 2099-12-31 13:00:00 CET

    Steps:
      1  take tank/containers/web@snap-20261122-110000
           one transaction group of pool tank

    This is a dry run: nothing was changed.
    ");
    assert!(
        !scene
            .fake
            .zfs()
            .calls()
            .iter()
            .any(|call| call.contains("@snap-20261122-110000"))
    );
}

#[tokio::test]
async fn an_alias_that_is_taken_is_refused() {
    let scene = scene().await;
    let said = scene
        .run(&["snapshot", "--instance", "web", "--alias", "before upgrade"])
        .await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    insta::assert_snapshot!(said.err, @r#"error: instance web has a restore point with the alias "before upgrade" already: tank/containers/web@snap-20261122-090000"#);
}

/// `web`, which runs, and `db`, which does not, of one group.
async fn group(pre_failure: &str) -> Scene {
    let scene = Scene::new().await;
    let web = scene.fake.instance("web").running(true);
    web.config("user.terrarium.group", "shop")
        .config("user.terrarium.pre", "freeze --password=secret")
        .config("user.terrarium.post", "thaw")
        .config("user.terrarium.pre-failure", pre_failure)
        .create()
        .await;
    let db = scene.fake.instance("db");
    db.config("user.terrarium.group", "shop").create().await;
    scene.fake.instance("other").create().await;
    scene
}

fn freezing_fails(scene: &Scene) {
    scene.fake.lxd().answer_exec(|words| {
        let is_first = words.last().is_some_and(|word| word.starts_with("freeze"));
        Ok(lxd_client::ExecOutput {
            exit_code: i32::from(is_first),
            stderr: "tables are locked\n".into(),
            ..lxd_client::ExecOutput::default()
        })
    });
}

#[tokio::test]
async fn a_group_is_taken_by_its_name_and_the_plan_says_what_is_run() {
    let scene = group("skip").await;
    let line = ["snapshot", "--group", "shop", "--alias", "both"];
    let said = scene.run(&[&line[..], &["--dry-run"]].concat()).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Plan: snapshot db, web
      snap-20261122-110000 of db, alias both
      snap-20261122-110000 of web, alias both
      note: web runs user.terrarium.pre before it and user.terrarium.post after it, at most 30s each; no snapshot if the first fails

    Steps:
      1  take 2 snapshots at one moment
           one transaction group of pool tank

    This is a dry run: nothing was changed.
    ");
    let said = scene.run(&line).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Took snap-20261122-110000 of db, alias both
    Took snap-20261122-110000 of web, alias both
      note: web runs user.terrarium.pre before it and user.terrarium.post after it, at most 30s each; no snapshot if the first fails
    ");
    let said = scene.run(&["snapshot", "--group", "shops"]).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    insta::assert_snapshot!(said.err, @r#"
    error: there is no group "shops" in project default
    help: an instance is of a group by its label, or by that of one of its profiles: user.terrarium.group
    "#);
}

#[tokio::test]
async fn a_group_of_which_one_cannot_be_taken_is_not_taken() {
    let scene = group("skip").await;
    freezing_fails(&scene);
    let said = scene.run(&["snapshot", "--group", "shop"]).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    insta::assert_snapshot!(said.err, @r"
    error: snapshot db, web: web: the command before the snapshot failed: exit code 1: tables are locked; no snapshot was taken
    Nothing was left changed.
    ");
    let said = scene
        .run(&["snapshot", "--instance", "web", "--instance", "other"])
        .await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(said.out, @r"
    Took snap-20261122-110000 of other
      note: web runs user.terrarium.pre before it and user.terrarium.post after it, at most 30s each; no snapshot if the first fails
    ");
    insta::assert_snapshot!(said.err, @r"error: web: the command before the snapshot failed: exit code 1: tables are locked; no snapshot was taken");
}

#[tokio::test]
async fn a_point_that_was_taken_all_the_same_says_so() {
    let scene = group("snapshot").await;
    freezing_fails(&scene);
    let said = scene.run(&["snapshot", "--group", "shop"]).await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(said.out, @r"
    Took snap-20261122-110000 of db
    Took snap-20261122-110000 of web
      note: web runs user.terrarium.pre before it and user.terrarium.post after it, at most 30s each
    ");
    insta::assert_snapshot!(said.err, @r"error: web: the command before the snapshot failed: exit code 1: tables are locked; the snapshot is marked");
    let said = scene.run(&["list", "--instance", "web"]).await;
    assert!(said.out.contains("its pre command failed"), "{}", said.out);
    let said = scene.run(&["list", "--instance", "web", "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let point = &answer["instances"][0]["restore_points"][0];
    assert_eq!(
        (&point["pre"], &point["stateful"]),
        (&"failed".into(), &false.into())
    );
}
