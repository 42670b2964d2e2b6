use serde_json::Value;

use crate::testing::Scene;

const RETENTION: &str = "user.terrarium.retention";

async fn scene() -> Scene {
    let scene = Scene::new().await;
    let web = scene.fake.instance("web").file("note", "0");
    web.config(RETENTION, "hourly=1,daily=0,monthly=0")
        .create()
        .await;
    for hour in 8..=9 {
        let name = format!("tank/containers/web@autosnap_2026-11-22_{hour:02}:00:00_hourly");
        let properties = [
            ("terrarium:kind", "scheduled"),
            ("terrarium:period", "hourly"),
        ];
        scene.snapshot(&name, &format!("2026-11-22T{hour:02}:00:00Z"), &properties);
    }
    scene
}

#[tokio::test]
async fn a_dry_run_shows_what_is_due_and_what_would_go() {
    let scene = scene().await;
    let said = scene.terrariumctl(&["run", "--dry-run"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    hourly, pool tank, at one moment:
      take tank/containers/web@autosnap_2026-11-22_11:00:00_hourly: the newest hourly snapshot, of 2026-11-22T09:00:00Z, is from before 2026-11-22T11:00:00Z
    frequently, pool tank, at one moment:
      take tank/containers/web@autosnap_2026-11-22_11:00:00_frequently: there is no frequently snapshot yet
    remove tank/containers/web@autosnap_2026-11-22_08:00:00_hourly: older than 1 hourly, and 1 are newer
    ");
    let said = scene.terrariumctl(&["run", "--dry-run", "--json"]).await;
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["take"]["batches"][0]["period"], "hourly");
    assert_eq!(answer["remove"][0]["instance"], "web");
}

#[tokio::test]
async fn a_run_says_nothing_unless_somebody_wants_to_know() {
    let scene = scene().await;
    let said = scene.terrariumctl(&["run"]).await;
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (0, "", "")
    );
    let said = scene.terrariumctl(&["run", "--verbose"]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "0 taken, 0 removed\n"));
}

#[tokio::test]
async fn what_a_run_did_is_told_to_whoever_asks() {
    let scene = scene().await;
    scene
        .fake
        .instance("db")
        .config(RETENTION, "hourly=x")
        .create()
        .await;
    let said = scene.terrariumctl(&["run", "--verbose"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r#"
    took tank/containers/db@autosnap_2026-11-22_11:00:00_monthly
    took tank/containers/db@autosnap_2026-11-22_11:00:00_daily
    took tank/containers/db@autosnap_2026-11-22_11:00:00_hourly
    took tank/containers/web@autosnap_2026-11-22_11:00:00_hourly
    took tank/containers/db@autosnap_2026-11-22_11:00:00_frequently
    took tank/containers/web@autosnap_2026-11-22_11:00:00_frequently
    removed tank/containers/web@autosnap_2026-11-22_08:00:00_hourly
    removed tank/containers/web@autosnap_2026-11-22_09:00:00_hourly
    6 taken, 2 removed
      warning: db: the instance's label user.terrarium.retention="hourly=x" is not heeded: hourly=x: expected a number from 0 to 4294967295
    "#);
}

#[tokio::test]
async fn what_failed_is_an_error_whoever_watches() {
    let scene = scene().await;
    scene.fake.zfs().set_full("tank", true);
    let said = scene.terrariumctl(&["run"]).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    insta::assert_snapshot!(said.err, @r"
    error: web: cannot snapshot tank/containers/web@autosnap_2026-11-22_11:00:00_hourly: the pool has no space left
    error: web: cannot snapshot tank/containers/web@autosnap_2026-11-22_11:00:00_frequently: the pool has no space left
    ");
    let said = scene.terrariumctl(&["status"]).await;
    assert_eq!(said.code, 1);
    assert!(said.out.contains("NOT COMPLETE"), "{}", said.out);
}

#[tokio::test]
async fn status_shows_every_instance_and_the_last_run() {
    let scene = scene().await;
    scene
        .fake
        .instance("scratch")
        .config("user.terrarium.backup", "off")
        .create()
        .await;
    let said = scene.terrariumctl(&["status"]).await;
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    insta::assert_snapshot!(said.out, @r"
    INSTANCE  STATE  NEWEST  NEXT  POINTS  SPACE  POLICY: NEWEST OF EACH
    scratch   off    none    -          0    0 B
    web       LATE   2h      now        2    0 B  frequently 0/4: none LATE, hourly 2/1: 2h LATE
    there was no run yet: `terrariumctl timers install`
    ");
    scene.terrariumctl(&["run"]).await;
    let said = scene.terrariumctl(&["status"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    INSTANCE  STATE  NEWEST  NEXT    POINTS  SPACE  POLICY: NEWEST OF EACH
    scratch   off    none    -            0    0 B
    web       fresh  0s      in 15m       2    0 B  frequently 1/4: 0s, hourly 1/1: 0s
    last run 0s ago: 2 taken, 2 removed
    ");
    let said = scene.terrariumctl(&["status", "--json"]).await;
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["instances"][1]["state"], "fresh");
    assert_eq!(answer["last_run"]["complete"], true);
}

#[tokio::test]
async fn metrics_are_written_as_prometheus_reads_them() {
    let scene = scene().await;
    scene.terrariumctl(&["run"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("terrarium.prom");
    let path = file.to_str().unwrap();
    assert_eq!(
        scene
            .terrariumctl(&["status", "--metrics", path])
            .await
            .code,
        0
    );
    insta::assert_snapshot!(std::fs::read_to_string(&file).unwrap(), @r#"
    # HELP terrarium_instance_fresh Whether an instance has every snapshot that its policy wants.
    # TYPE terrarium_instance_fresh gauge
    terrarium_instance_fresh{project="default",instance="web"} 1
    # HELP terrarium_instance_covered Whether an instance can be snapshotted, and its label does not say that it is not to be.
    # TYPE terrarium_instance_covered gauge
    terrarium_instance_covered{project="default",instance="web"} 1
    # HELP terrarium_newest_snapshot_timestamp_seconds When the newest snapshot of an instance was taken, whoever took it.
    # TYPE terrarium_newest_snapshot_timestamp_seconds gauge
    terrarium_newest_snapshot_timestamp_seconds{project="default",instance="web"} 1795345200
    # HELP terrarium_newest_scheduled_timestamp_seconds When the newest scheduled snapshot of a period was taken.
    # TYPE terrarium_newest_scheduled_timestamp_seconds gauge
    terrarium_newest_scheduled_timestamp_seconds{project="default",instance="web",period="frequently"} 1795345200
    terrarium_newest_scheduled_timestamp_seconds{project="default",instance="web",period="hourly"} 1795345200
    # HELP terrarium_snapshots How many snapshots of an instance there are.
    # TYPE terrarium_snapshots gauge
    terrarium_snapshots{project="default",instance="web"} 2
    # HELP terrarium_snapshot_bytes Bytes that only snapshots of an instance hold.
    # TYPE terrarium_snapshot_bytes gauge
    terrarium_snapshot_bytes{project="default",instance="web"} 0
    # HELP terrarium_graveyard_instances Destroyed instances that can still come back.
    # TYPE terrarium_graveyard_instances gauge
    terrarium_graveyard_instances 0
    # HELP terrarium_graveyard_bytes Bytes that destroyed instances hold.
    # TYPE terrarium_graveyard_bytes gauge
    terrarium_graveyard_bytes 0
    # HELP terrarium_last_run_timestamp_seconds When the last run ended.
    # TYPE terrarium_last_run_timestamp_seconds gauge
    terrarium_last_run_timestamp_seconds 1795345200
    # HELP terrarium_last_run_complete Whether the last run did all it had to.
    # TYPE terrarium_last_run_complete gauge
    terrarium_last_run_complete 1
    "#);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("missing/terrarium.prom");
    let said = scene
        .terrariumctl(&["status", "--metrics", nowhere.to_str().unwrap()])
        .await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("cannot write"), "{}", said.err);
}

#[tokio::test]
async fn a_run_says_what_it_runs_in_instances_but_not_its_text() {
    let scene = Scene::new().await;
    let web = scene.fake.instance("web").running(true);
    web.config(RETENTION, "frequently=0,hourly=1,daily=0,monthly=0")
        .config("user.terrarium.pre", "freeze --password=secret")
        .config("user.terrarium.post", "thaw")
        .config("user.terrarium.hook-timeout", "soon")
        .create()
        .await;
    let said = scene.terrariumctl(&["run", "--dry-run"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r#"
    hourly, pool tank, at one moment:
      take tank/containers/web@autosnap_2026-11-22_11:00:00_hourly: there is no hourly snapshot yet
    run in web: user.terrarium.pre before it and user.terrarium.post after it, at most 30s each
      warning: web: the instance's label user.terrarium.hook-timeout="soon" is not heeded: "soon" is no time from 1s to 1h
    "#);
    let said = scene.terrariumctl(&["run", "--dry-run", "--json"]).await;
    assert!(!said.out.contains("secret"), "{}", said.out);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    let hooks = &answer["take"]["hooks"][0]["hooks"];
    assert_eq!(
        (&hooks["pre"], &hooks["timeout_seconds"]),
        (&true.into(), &30.into())
    );
    scene
        .fake
        .lxd()
        .fail_operation_next("POST", "/exec", "no such command");
    let said = scene.terrariumctl(&["run", "--verbose"]).await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(said.out, @r#"
    took tank/containers/web@autosnap_2026-11-22_11:00:00_hourly
    ran the command after the snapshot in web
    1 taken, 0 removed
      warning: web: the instance's label user.terrarium.hook-timeout="soon" is not heeded: "soon" is no time from 1s to 1h
    "#);
    insta::assert_snapshot!(said.err, @r"error: web: the command before the snapshot was lost: cannot run a command in web: Executing command (POST /1.0/instances/web/exec): no such command; the snapshot is marked");
}
