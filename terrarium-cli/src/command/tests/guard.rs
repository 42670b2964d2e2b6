use std::path::Path;
use std::time::Duration;

use lxd_client::ExecOutput;

use super::scene;
use crate::testing::{Said, Scene};

const WEB: [&str; 3] = ["guard", "--instance", "web"];

/// Runs a guard around a shell script that begins, waits until `meanwhile` is done, and goes on with `rest`.
async fn guarded(
    scene: &Scene,
    options: &[&str],
    rest: &str,
    meanwhile: impl AsyncFnOnce(),
) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let (began, go) = (folder.path().join("began"), folder.path().join("go"));
    let script = format!(
        ": > {}; until [ -e {} ]; do sleep 0.02; done; {rest}",
        began.display(),
        go.display()
    );
    let line = [&WEB, options, &["--", "sh", "-c", &script]].concat();
    let beside = async {
        until(&began).await;
        meanwhile().await;
        std::fs::write(&go, "").unwrap();
    };
    tokio::join!(scene.terrariumctl(&line), beside).0
}

async fn until(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn checks(scene: &Scene, exit_code: i32) {
    scene.fake.lxd().answer_exec(move |words| {
        assert_eq!(words, ["sh", "-c", "test -s note"]);
        Ok(ExecOutput {
            exit_code,
            stderr: "first\nnote is empty\n".into(),
            ..ExecOutput::default()
        })
    });
}

async fn breaks(scene: &Scene) {
    scene.fake.write("web", "note", "broken");
}

#[tokio::test]
async fn what_goes_well_stays() {
    let scene = scene().await;
    checks(&scene, 0);
    let options = ["--check", "test -s note"];
    let said = guarded(&scene, &options, "exit 0", async || breaks(&scene).await).await;
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    assert!(said.err.starts_with("Took snap-"), "{said:?}");
    assert!(
        said.err.contains("All went well; web stays as it is"),
        "{said:?}"
    );
    assert_eq!(scene.note("web"), "broken");
    assert!(scene.is_running("web"));
}

#[tokio::test]
async fn a_command_that_fails_is_rewound_and_the_instance_runs_again() {
    let scene = scene().await;
    let said = guarded(&scene, &[], "exit 3", async || breaks(&scene).await).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    let error = "error: sh ended with exit code 3; web is back at snap-";
    assert!(said.err.contains(error), "{said:?}");
    assert!(
        said.err
            .contains("help: `terrariumctl backup undo --instance web`"),
        "{said:?}"
    );
    assert_eq!(scene.note("web"), "after");
    assert!(scene.is_running("web"));

    let said = scene.run(&["undo", "--instance", "web", "--yes"]).await;
    assert_eq!((said.code, scene.note("web").as_str()), (0, "broken"));
}

#[tokio::test]
async fn a_command_that_a_signal_ends_is_rewound() {
    let scene = scene().await;
    let said = guarded(&scene, &[], "kill -9 $$", async || breaks(&scene).await).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains("sh was ended by signal 9; web is back"),
        "{said:?}"
    );
    assert_eq!(scene.note("web"), "after");
}

#[tokio::test]
async fn a_check_that_fails_is_rewound_and_says_its_last_word() {
    let scene = scene().await;
    checks(&scene, 7);
    let options = ["--check", "test -s note"];
    let said = guarded(&scene, &options, "exit 0", async || breaks(&scene).await).await;
    assert_eq!(said.code, 1, "{said:?}");
    let error = "error: the check ended with exit code 7: note is empty; web is back at snap-";
    assert!(said.err.contains(error), "{said:?}");
    assert_eq!(scene.note("web"), "after");
}

#[tokio::test]
async fn a_check_where_nothing_runs_fails() {
    let scene = scene().await;
    scene.fake.instance("db").create().await;
    let line = ["guard", "--instance", "db", "--check", "true", "--", "true"];
    let said = scene.terrariumctl(&line).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains("the check could not be run: "),
        "{said:?}"
    );
    assert!(said.err.contains("db is back at snap-"), "{said:?}");
    assert!(!scene.is_running("db"));
}

#[tokio::test]
async fn a_rewind_that_fails_says_so_and_leaves_what_is_there() {
    let scene = scene().await;
    scene.fake.lxd().ignore_graceful_stop("web", true);
    let options = ["--timeout", "1s"];
    let said = guarded(&scene, &options, "exit 1", async || breaks(&scene).await).await;
    assert_eq!(said.code, 1, "{said:?}");
    let error = "error: sh ended with exit code 1, and web was not rewound: ";
    assert!(said.err.contains(error), "{said:?}");
    let help = "help: try again with `terrariumctl backup restore --instance web --at snap-";
    assert!(said.err.contains(help), "{said:?}");
    assert_eq!(scene.note("web"), "broken");
    assert!(scene.is_running("web"));
}

#[tokio::test]
async fn a_snapshot_that_is_gone_cannot_be_come_back_to() {
    let scene = scene().await;
    let removes = async || {
        let line = ["delete", "--instance", "web", "--at", "guarded", "--yes"];
        let said = scene.run(&line).await;
        assert_eq!(said.code, 0, "{said:?}");
        breaks(&scene).await;
    };
    let said = guarded(&scene, &["--alias", "guarded"], "exit 1", removes).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("and web was not rewound: "), "{said:?}");
    assert_eq!(scene.note("web"), "broken");
}

#[tokio::test]
async fn a_signal_ends_the_command_and_rewinds() {
    let scene = scene().await;
    let folder = tempfile::tempdir().unwrap();
    let began = folder.path().join("began");
    let script = format!(": > {}; exec sleep 600", began.display());
    let line = [&WEB[..], &["--", "sh", "-c", &script]].concat();
    let signal = async {
        until(&began).await;
        breaks(&scene).await;
        scene.interrupt();
    };
    let (said, ()) = tokio::join!(scene.terrariumctl(&line), signal);
    assert_eq!(said.code, 130, "{said:?}");
    assert!(
        said.err
            .contains("error: interrupted; web is back at snap-"),
        "{said:?}"
    );
    assert_eq!(scene.note("web"), "after");
    assert!(scene.is_running("web"));
}

#[tokio::test]
async fn a_command_that_cannot_be_started_rewinds_nothing() {
    let scene = scene().await;
    let stops = |scene: &Scene| {
        let requests = scene.fake.lxd().requests();
        requests
            .iter()
            .filter(|line| line.starts_with("PUT"))
            .count()
    };
    let before = stops(&scene);
    let line = [
        &WEB[..],
        &["--", "/nonexistent/deploy", "--password=secret"],
    ]
    .concat();
    let said = scene.terrariumctl(&line).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.err.contains("error: cannot run /nonexistent/deploy: "),
        "{said:?}"
    );
    assert!(
        said.err.contains("help: nothing was rewound; snap-"),
        "{said:?}"
    );
    assert!(!said.err.contains("secret"), "{said:?}");
    assert_eq!(stops(&scene), before);
}

#[tokio::test]
async fn without_a_snapshot_nothing_is_run() {
    let scene = scene().await;
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    let script = format!(": > {}", ran.display());
    let line = ["guard", "--instance", "nobody", "--", "sh", "-c", &script];
    let said = scene.terrariumctl(&line).await;
    assert_eq!(said.code, 3, "{said:?}");
    let line = [
        "guard",
        "--instance",
        "web",
        "--dry-run",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let said = scene.terrariumctl(&line).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("Plan: snapshot web"), "{said:?}");
    assert!(said.err.starts_with("Then sh -c "), "{said:?}");
    assert!(!ran.exists());
}

#[tokio::test]
async fn as_json_there_is_one_answer() {
    let scene = scene().await;
    let line = [&WEB[..], &["--json", "--", "false"]].concat();
    let said = scene.terrariumctl(&line).await;
    assert_eq!(said.code, 1, "{said:?}");
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&answer["version"], &answer["exit_code"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&answer["rewound"], &answer["guard"]["ran"]),
        (&true.into(), &true.into())
    );
    assert_eq!(answer["error"]["exit_code"], 1);
    assert_eq!(
        answer["report"]["restored"]["point"],
        answer["guard"]["point"]
    );
}
