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
    insta::assert_snapshot!(said.out, @"");
    let said = scene.terrariumctl(&["run", "--dry-run", "--json"]).await;
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["take"]["batches"][0]["period"], "hourly");
    assert_eq!(answer["remove"][0]["instance"]["name"], "web");
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
    insta::assert_snapshot!(said.out, @"");
}

#[tokio::test]
async fn what_failed_is_an_error_whoever_watches() {
    let scene = scene().await;
    scene.fake.zfs().set_full("tank", true);
    let said = scene.terrariumctl(&["run"]).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    insta::assert_snapshot!(said.err, @"");
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
    insta::assert_snapshot!(said.out, @"");
    scene.terrariumctl(&["run"]).await;
    let said = scene.terrariumctl(&["status"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @"");
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
    insta::assert_snapshot!(std::fs::read_to_string(&file).unwrap(), @"");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let nowhere = folder.path().join("missing/terrarium.prom");
    let said = scene
        .terrariumctl(&["status", "--metrics", nowhere.to_str().unwrap()])
        .await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("cannot write"), "{}", said.err);
}
