use super::scene;

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
