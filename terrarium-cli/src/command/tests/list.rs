use terrarium_zfs::{Attempt, Error};

use super::scene;
use crate::testing::Scene;

/// An instance that LXD knows and ZFS does not.
fn add_lost(scene: &Scene) {
    let mut lost = lxd_client::Instance::default();
    lost.name = "lost".to_owned();
    lost.profiles = vec!["default".to_owned()];
    scene.fake.lxd().add_instance("default", lost, false);
}

#[tokio::test]
async fn points_are_grouped_by_instance_newest_first() {
    let scene = scene().await;
    let said = scene.run(&["list"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    web (running, tank/containers/web)
      NAME                                     AGE  TAKEN (Europe/Berlin)  KIND       SIZE  MOVES ASIDE  ALIAS, NOTES
      autosnap_2026-11-22_10:45:00_frequently  14m  2026-11-22 11:45:03    scheduled   0 B            -
      manual                                    1h  2026-11-22 11:00:00    foreign     0 B            1  held
      snap-20261122-090000                      2h  2026-11-22 10:00:00    on-demand   0 B            2  before upgrade, expires in 30d
      autosnap_2026-11-21_10:00:00_hourly       1d  2026-11-21 11:00:02    foreign     0 B            3

    tenant/shop (stopped, tank/containers/tenant_shop)
      no restore points
    ");
}

#[tokio::test]
async fn what_moved_aside_stays_with_its_instance() {
    let scene = scene().await;
    scene
        .run(&[
            "restore",
            "--instance",
            "web",
            "--at",
            "before upgrade",
            "--yes",
        ])
        .await;
    let said = scene.run(&["list", "--instance", "web"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    web (stopped, tank/containers/web)
      NAME                                     AGE  TAKEN (Europe/Berlin)  KIND       SIZE  MOVES ASIDE  ALIAS, NOTES
      snap-20261122-090000                      2h  2026-11-22 10:00:00    on-demand   0 B            -  before upgrade, expires in 30d
      autosnap_2026-11-21_10:00:00_hourly       1d  2026-11-21 11:00:02    foreign     0 B            1
      moved aside by the restore of 2026-11-22 12:00:00 CET:
      snap-20261122-110000                      0s  2026-11-22 12:00:00    safety      0 B            -  expires in 24h
      autosnap_2026-11-22_10:45:00_frequently  14m  2026-11-22 11:45:03    scheduled   0 B            -
      manual                                    1h  2026-11-22 11:00:00    foreign     0 B            -  held
    ");
}

#[tokio::test]
async fn what_is_left_out_cut_off_or_orphaned_is_said() {
    let scene = scene().await;
    let vm = scene.fake.instance("vm");
    vm.with(|instance| instance.r#type = "virtual-machine".to_owned())
        .create()
        .await;
    add_lost(&scene);
    scene
        .fake
        .zfs()
        .create_all("tank/terrarium/aside/20260101-000000-beef/gone");
    scene.die("web", "before upgrade", "rename-staged").await;
    let said = scene.run(&["list"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    web (stopped, tank/containers/web)
      NAME                                     AGE  TAKEN (Europe/Berlin)  KIND       SIZE  MOVES ASIDE  ALIAS, NOTES
      moved aside by the restore of 2026-11-22 12:00:00 CET:
      snap-20261122-110000                      0s  2026-11-22 12:00:00    safety      0 B            -  expires in 24h
      autosnap_2026-11-22_10:45:00_frequently  14m  2026-11-22 11:45:03    scheduled   0 B            -
      manual                                    1h  2026-11-22 11:00:00    foreign     0 B            -  held
      snap-20261122-090000                      2h  2026-11-22 10:00:00    on-demand   0 B            -  before upgrade, expires in 30d
      autosnap_2026-11-21_10:00:00_hourly       1d  2026-11-21 11:00:02    foreign     0 B            -

    tenant/shop (stopped, tank/containers/tenant_shop)
      no restore points

    Not covered, can be neither snapshotted nor restored:
      lost  its dataset tank/containers/lost does not exist
      vm    it is a virtual machine

    Cut off; the next snapshot, restore or undo finishes them or takes them back:
      the restore of web to snap-20261122-090000, begun 2026-11-22 12:00:00 CET

    Moved aside for instances that are gone, or that do not continue from them:
      tank/terrarium/aside/20260101-000000-beef/gone
    ");
}

#[tokio::test]
async fn a_pool_that_cannot_be_read_is_4_and_hides_no_other() {
    let scene = scene().await;
    let mut pool = lxd_client::StoragePool::default();
    pool.name = "slow".to_owned();
    pool.driver = "zfs".to_owned();
    pool.config
        .insert("zfs.pool_name".to_owned(), "slow".to_owned());
    scene.fake.lxd().add_pool(pool);
    let said = scene.run(&["list"]).await;
    assert_eq!(said.code, 4);
    assert!(
        said.out.starts_with("web (running, tank/containers/web)\n"),
        "{}",
        said.out
    );
    let problem =
        "\nStorage pools that cannot be read:\n  slow: cannot list slow: it does not exist\n";
    assert!(said.out.ends_with(problem), "{}", said.out);

    let said = scene.run(&["list", "--instance", "web"]).await;
    assert_eq!(said.code, 0, "no concern of web: {}", said.out);
    assert!(!said.out.contains("slow"), "{}", said.out);
}

#[tokio::test]
async fn a_pool_that_lxd_is_still_making_is_named_as_that() {
    let scene = scene().await;
    let mut pool = lxd_client::StoragePool::default();
    pool.name = "new".to_owned();
    pool.driver = "zfs".to_owned();
    scene.fake.lxd().add_pool(pool);
    let said = scene.run(&["list"]).await;
    assert_eq!(said.code, 4);
    let problem = "\n  new: LXD does not say which dataset it is in\n";
    assert!(said.out.ends_with(problem), "{}", said.out);
}

#[tokio::test]
async fn a_host_without_instances_is_not_an_empty_answer() {
    let said = Scene::new().await.run(&["list"]).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "LXD has no instances.\n")
    );
}

#[tokio::test]
async fn an_unknown_instance_is_3_and_the_nearest_names_are_shown() {
    let said = scene().await.run(&["list", "--instance", "wep"]).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    assert_eq!(
        said.err,
        "error: there is no instance wep; did you mean web?\n"
    );
}

#[tokio::test]
async fn no_name_from_outside_controls_the_terminal() {
    let scene = Scene::new().await;
    scene.fake.instance("web").create().await;
    let alias = "x\u{1b}[2J\nerror: all is lost\u{202e}";
    let properties = [("terrarium:alias", alias)];
    scene.snapshot("tank/containers/web@a", "2026-11-22T10:00:00Z", &properties);
    let said = scene.run(&["list"]).await;
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    assert!(
        said.out
            .contains("x\\u001b[2J\\u000aerror: all is lost\\u202e\n"),
        "{}",
        said.out
    );

    let said = scene.run(&["list", "--json"]).await;
    assert!(
        said.out
            .bytes()
            .all(|byte| byte == b'\n' || byte.is_ascii_graphic() || byte == b' ')
    );
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["instances"][0]["restore_points"][0]["alias"], alias);
}

#[tokio::test]
async fn as_json_everything_has_a_field() {
    let scene = scene().await;
    scene
        .run(&[
            "restore",
            "--instance",
            "web",
            "--at",
            "before upgrade",
            "--yes",
        ])
        .await;
    add_lost(&scene);
    let said = scene.run(&["list", "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["version"], 1);
    assert_eq!(answer["observed_at"], "2026-11-22T11:00:00Z");

    let lost = &answer["instances"][0];
    assert_eq!(
        (&lost["name"], &lost["covered"]),
        (&"lost".into(), &false.into())
    );
    assert_eq!(lost["not_covered"]["why"], "no-dataset");
    assert_eq!(
        lost["not_covered"]["message"],
        "its dataset tank/containers/lost does not exist"
    );

    let web = &answer["instances"][1];
    assert_eq!(
        (&web["project"], &web["name"], &web["state"]),
        (&"default".into(), &"web".into(), &"stopped".into())
    );
    assert_eq!(web["dataset"], "tank/containers/web");
    let points = web["restore_points"].as_array().unwrap();
    let names: Vec<_> = points
        .iter()
        .map(|point| point["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "snap-20261122-110000",
            "autosnap_2026-11-22_10:45:00_frequently",
            "manual",
            "snap-20261122-090000",
            "autosnap_2026-11-21_10:00:00_hourly",
        ]
    );
    let mut safety = points[0].clone();
    assert!(
        safety["guid"]
            .take()
            .as_str()
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
    assert!(safety["operation"].take().is_string());
    assert!(
        safety["dataset"]
            .take()
            .as_str()
            .unwrap()
            .starts_with("tank/terrarium/aside/")
    );
    let expected = serde_json::json!({
        "name": "snap-20261122-110000", "alias": null, "kind": "safety", "stateful": false,
        "created_at": "2026-11-22T11:00:00Z", "last_used_at": null, "expires_at": "2026-11-23T11:00:00Z",
        "size": 0, "referenced": points[0]["referenced"], "holds": 0, "clones": [], "moves_aside": 0,
        "place": "aside", "guid": null, "operation": null, "dataset": null,
    });
    assert_eq!(safety, expected);
    assert_eq!(points[3]["alias"], "before upgrade");
    assert_eq!(points[3]["last_used_at"], "2026-11-22T11:00:00Z");
    assert_eq!(
        (&points[4]["place"], &points[4]["moves_aside"]),
        (&"live".into(), &1.into())
    );
}

#[tokio::test]
async fn a_zfs_that_does_not_answer_is_4() {
    let scene = scene().await;
    let error = Error::Suspended(Attempt::new("list", "tank"));
    scene.fake.zfs().fail_next("list", error);
    let said = scene.run(&["list"]).await;
    assert_eq!((said.code, said.out.as_str()), (4, ""));
    insta::assert_snapshot!(said.err, @r"
    error: cannot list tank: the pool is suspended
    help: bring the devices back and run `zpool clear`; see `zpool status`
    ");
}
