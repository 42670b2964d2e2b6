use super::scene;

#[tokio::test]
async fn a_dry_run_says_what_becomes_of_it_and_changes_nothing() {
    let scene = scene().await;
    let said = scene.instance(&["destroy", "web", "--dry-run"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Plan: destroy web
      web runs and is stopped; if it does not shut down within 30s, nothing is changed
      for 24h it comes back by `terrariumctl instance resume web`
      note: its 4 restore points go to the graveyard with it

    Steps:
      1  write the intent on tank/containers/web
           whatever cuts this off, the next command on the instance finishes it or takes it back
      2  save LXD's definitions for recovery and undo
           a resume makes the instance from it
      3  make sure that tank/terrarium/graveyard/20261122-110000-* and those above exist
           outside LXD's own tree
      4  stop web, within 30s
           its dataset must not be in use
      5  check that nobody has tank/containers/web mounted
           what is mounted elsewhere could still be written to
      6  take tank/containers/web@snap-20261122-110000
           the instance as it was in the end
      7  rename tank/containers/web to tank/terrarium/graveyard/20261122-110000-*/web
           LXD destroys with an instance all that is in its tree
      8  have LXD delete web, which has no dataset any more
           its dataset is out of LXD's reach
      9  write on tank/terrarium/graveyard/20261122-110000-*/web whose it is
           the instance is destroyed, and can come back

    This is a dry run: nothing was changed.
    ");
    assert!(scene.is_running("web"));
    let said = scene.instance(&["destroy", "web"]).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{}", said.err);
}

#[tokio::test]
async fn it_is_destroyed_listed_and_comes_back_running() {
    let scene = scene().await;
    let said = scene.instance(&["destroy", "web", "--yes"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Destroyed web.
    To bring it back, until 2026-11-23 12:00:00 CET:  terrariumctl instance resume web --from 20261122-110000-*
      note: its 4 restore points go to the graveyard with it
    ");
    let said = scene.graveyard(&["list"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    INSTANCE  WHAT       OPERATION             SINCE                EXPIRES  POINTS     SPACE  KEPT BY
    web       destroyed  20261122-110000-*  2026-11-22 12:00:00  in 24h        5  5.50 KiB  manual is held

    5.50 KiB in all.
    To bring the last one back:  terrariumctl instance resume web --from 20261122-110000-*
    ");
    let said = scene.graveyard(&["list", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let entry = &listed["entries"][0];
    assert_eq!(
        (&entry["instance"], &entry["what"], &entry["expires"]),
        (
            &"web".into(),
            &"destroyed".into(),
            &"2026-11-23T11:00:00Z".into()
        )
    );
    let said = scene.graveyard(&["purge", "--expired", "--yes"]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "Nothing was purged.\n"));
    let said = scene.instance(&["destroy", "web", "--yes"]).await;
    assert_eq!(said.code, 3, "{}", said.err);

    let said = scene.instance(&["resume", "web"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(
        said.out,
        "Resumed web: it is as it was when it was destroyed.\nweb is running.\n"
    );
    assert_eq!(scene.note("web"), "after");
    let said = scene.instance(&["resume", "web"]).await;
    assert_eq!(said.code, 3);
    assert_eq!(said.err, "error: an instance web exists already\n");
    let said = scene.graveyard(&["list"]).await;
    assert_eq!(
        said.out,
        "Nothing is in the graveyard, and nothing was moved aside.\n"
    );
}

#[tokio::test]
async fn destroying_for_ever_is_asked_about_with_the_whole_word() {
    let scene = scene().await;
    let line = ["destroy", "tenant/shop", "--no-graveyard"];
    let said = scene.instance_typing("y\n", &line).await;
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("for ever"), "{}", said.err);
    let said = scene.instance_typing("yes\n", &line).await;
    assert_eq!(said.code, 0, "{}", said.err);
    insta::assert_snapshot!(said.out, @r"
    Destroyed tenant/shop.
      warning: it does not stay in the graveyard: its dataset and all of its 0 restore points are destroyed at once, for ever
    Purged tenant/shop (destroyed by 20261122-110000-*): 1.00 KiB are free again.
    ");
    assert!(scene.fake.lxd().instance("tenant", "shop").is_none());
    let said = scene.instance(&["resume", "tenant/shop"]).await;
    assert_eq!(said.code, 3);
    insta::assert_snapshot!(said.err, @r"
    error: there is no instance tenant/shop in the graveyard
    help: `terrariumctl graveyard list` shows what can come back
    ");
}

#[tokio::test]
async fn a_purge_says_what_goes_and_what_stays() {
    let scene = scene().await;
    for name in ["web", "tenant/shop"] {
        let said = scene.instance(&["destroy", name, "--yes"]).await;
        assert_eq!(said.code, 0, "{}", said.err);
    }
    let said = scene.graveyard(&["purge", "nobody", "--yes"]).await;
    assert_eq!(said.code, 3, "{}", said.err);
    let said = scene.graveyard(&["purge", "--all"]).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    let said = scene.graveyard(&["purge", "--all", "--dry-run"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Would be purged: tenant/shop (destroyed by 20261122-110000-*), since 2026-11-22 12:00:00 CET: 1 restore points, 1.00 KiB
    web (destroyed by 20261122-110000-*) stays: manual is held

    This is a dry run: nothing was changed.
    ");
    let said = scene.graveyard(&["purge", "web", "--yes"]).await;
    assert_eq!(said.code, 3, "what was named is held: {}", said.out);
    let said = scene.graveyard(&["purge", "--all", "--yes"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Purged tenant/shop (destroyed by 20261122-110000-*): 1.00 KiB are free again.
    web (destroyed by 20261122-110000-*) stays: manual is held
    ");
    let said = scene.instance(&["resume", "web", "--no-start"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(!scene.is_running("web"));
}

#[tokio::test]
async fn metrics_say_until_when_a_destroyed_instance_can_come_back() {
    let scene = scene().await;
    scene.instance(&["destroy", "web", "--yes"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("terrarium.prom");
    let path = file.to_str().unwrap();
    scene.terrariumctl(&["status", "--metrics", path]).await;
    let metrics = std::fs::read_to_string(&file).unwrap();
    let graveyard = metrics
        .lines()
        .filter(|line| line.starts_with("terrarium_graveyard"));
    let lines: Vec<_> = graveyard.collect();
    let expires = "2026-11-23T11:00:00Z".parse::<jiff::Timestamp>().unwrap();
    let expires = expires.as_second();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "terrarium_graveyard_instances 1");
    assert!(lines[1].starts_with("terrarium_graveyard_bytes "));
    assert_eq!(
        lines[2],
        format!("terrarium_graveyard_next_expiry_timestamp_seconds {expires}")
    );
}
