//! `guard` by the built binary on a pool file: what is tried stays if it succeeds, and is taken back if not.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::archive::json;
use support::{Said, Scene, masked};

const GUARD: &[&str] = &["guard", "--instance", "web", "--"];

/// A guarded command that says when it has begun, and goes on when it is told to.
struct Trial<'a> {
    scene: &'a Scene,
    child: Child,
}

impl<'a> Trial<'a> {
    /// Begins `then` with a shell, after `before`.
    fn begin(scene: &'a Scene, before: &str, then: &str) -> Self {
        let folder = scene.folder.path();
        let script = format!(
            "cd {}; {before}; touch begun; while ! [ -e go ]; do sleep 0.05; done; {then}",
            folder.display()
        );
        let mut command = scene.command(&[GUARD, &["sh", "-c", &script]].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("it starts");
        let until = Instant::now() + Duration::from_secs(60);
        while !folder.join("begun").exists() {
            assert!(Instant::now() < until, "the command was never run");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { scene, child }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
    }

    fn go_on(self) -> Said {
        fs::write(self.scene.folder.path().join("go"), "").expect("written");
        self.end()
    }

    fn end(mut self) -> Said {
        let (mut out, mut err) = (String::new(), String::new());
        let stdout = self.child.stdout.as_mut().expect("piped");
        stdout.read_to_string(&mut out).expect("text");
        let stderr = self.child.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut err).expect("text");
        let status = self.child.wait().expect("it ends");
        Said {
            code: status.code().expect("no signal"),
            out,
            err: err.replace(&self.scene.folder.path().display().to_string(), "FOLDER"),
        }
    }
}

#[test]
fn what_succeeds_stays_and_the_snapshot_expires() {
    let scene = Scene::new();
    let trial = Trial::begin(&scene, "true", "echo deployed");
    scene.write("two");
    let said = trial.go_on();
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "deployed\n"),
        "{said:?}"
    );
    assert!(said.err.starts_with("Took snap-"), "{said:?}");
    assert!(said.err.contains(" succeeded; snap-"), "{said:?}");
    assert_eq!(scene.note("web"), "two");
    let listed = scene.done(&["backup", "list", "--instance", "web"]);
    assert!(listed.contains("expires in 23h 59m"), "{listed}");
    let quiet = scene.done(&[
        "--quiet",
        "guard",
        "--instance",
        "web",
        "--",
        "echo",
        "done",
    ]);
    assert_eq!(quiet, "done\n");
}

#[test]
fn what_fails_is_taken_back_and_can_be_looked_at() {
    let scene = Scene::new();
    let trial = Trial::begin(&scene, "true", "exit 3");
    scene.write("two");
    let said = trial.go_on();
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    insta::assert_snapshot!(masked(&said.err), @r"
    Took snap-N-N of web
    error: `sh -c 'cd FOLDER; true; touch begun; while ! [ -e go ]; do sleep N.N; done; exit N'` ended with exit code N; web is back at snap-N-N
    help: what it was in the end moved aside; to look at it: terrariumctl --pool-file FOLDER/pool backup undo --instance web
    ");
    assert_eq!(scene.note("web"), "one");
    scene.done(&["backup", "undo", "--instance", "web", "--yes"]);
    assert_eq!(scene.note("web"), "two");
}

#[test]
fn a_sigterm_reaches_the_command_and_then_everything_is_taken_back() {
    let scene = Scene::new();
    let trial = Trial::begin(&scene, "trap 'touch told; exit 0' TERM", "exit 0");
    scene.write("two");
    trial.signal(Signal::SIGTERM);
    let said = trial.end();
    assert_eq!(said.code, 130, "{said:?}");
    assert!(
        said.err.contains(" was interrupted; web is back at snap-"),
        "{said:?}"
    );
    assert!(scene.folder.path().join("told").exists());
    assert_eq!(scene.note("web"), "one");
}

#[test]
fn ctrl_c_is_left_to_the_terminal_and_waits_for_the_command() {
    let scene = Scene::new();
    let trial = Trial::begin(&scene, "trap 'touch told' TERM INT", "exit 0");
    scene.write("two");
    trial.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    let said = trial.go_on();
    assert_eq!(said.code, 130, "though it ended with 0: {said:?}");
    assert!(
        !scene.folder.path().join("told").exists(),
        "it is not told twice"
    );
    assert_eq!(scene.note("web"), "one");
}

#[test]
fn what_cannot_be_taken_back_is_said() {
    let scene = Scene::new();
    let trial = Trial::begin(&scene, "true", "exit 1");
    scene.write("two");
    let listed = scene.done(&["backup", "list", "--instance", "web", "--json"]);
    let point = &json(&listed)["instances"][0]["restore_points"][0];
    let name = format!(
        "demo/containers/web@{}",
        point["name"].as_str().expect("a name")
    );
    let name = terrarium_zfs::SnapshotName::new(&name).expect("a name");
    scene
        .engine()
        .destroy_snapshots(&[name])
        .expect("destroyed");
    let said = trial.go_on();
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains(", and web was not brought back: "),
        "{said:?}"
    );
    assert!(
        said.err
            .contains("backup restore --instance web --at snap-"),
        "{said:?}"
    );
    assert_eq!(scene.note("web"), "two");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_run() {
    let scene = Scene::new();
    let marker = scene.folder.path().join("marker");
    let touch = ["touch", marker.to_str().expect("text")];
    for (line, code, why) in [
        (
            &["guard", "--instance", "web", "--check", "true", "--"] as &[&str],
            2,
            "does not run",
        ),
        (
            &["guard", "--instance", "none", "--"],
            3,
            "no instance none",
        ),
        (
            &["guard", "--instance", "web", "--keep", "5s", "--"],
            2,
            "30m, 24h or 7d",
        ),
        (&["guard", "--instance", "web"], 2, "unexpected argument"),
    ] {
        let said = scene.run(&[line, &touch[..]].concat());
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(why), "{said:?}");
    }
    assert!(!Path::new(&marker).exists());
    let listed = scene.done(&["backup", "list", "--instance", "web"]);
    assert!(listed.contains("no restore points"), "{listed}");
}

#[test]
fn a_command_that_cannot_be_run_touches_nothing() {
    let scene = Scene::new();
    let said = scene.run(&[GUARD, &["/nonexistent/deploy"]].concat());
    assert_eq!(said.code, 1, "{said:?}");
    let why = "error: `/nonexistent/deploy` cannot be run: No such file or directory (os error 2); web was not touched\n";
    assert!(said.err.ends_with(why), "{said:?}");
}

#[test]
fn with_json_standard_output_is_the_answer_alone() {
    let scene = Scene::new();
    let line = [
        "--json",
        "guard",
        "--instance",
        "web",
        "--",
        "sh",
        "-c",
        "echo here; exit 7",
    ];
    let said = scene.run(&line);
    let answer = json(&said.out);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("here\n"), "{said:?}");
    assert_eq!(answer["command_exit_code"], 7, "{answer}");
    assert_eq!(answer["rewound"], true, "{answer}");
    assert_eq!(answer["guard"]["instance"], "web", "{answer}");
}

#[test]
fn the_command_has_the_terminal_it_was_called_with() {
    let scene = Scene::new();
    let mut command = scene.command(&[GUARD, &["cat"]].concat());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child: Child = Command::spawn(&mut command).expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"what is typed").expect("written");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "what is typed");
}
