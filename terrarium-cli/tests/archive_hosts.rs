//! `archive change` and `archive trust`: several hosts in one archive, and other recipients, as a shell calls it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder with an archive in `backup` that the host `one` has made, and the identity `identity.txt`.
struct Scene {
    folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Said {
    code: i32,
    out: Vec<u8>,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.out).expect("JSON")
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text")
    }
}

fn stream(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams");
    fs::read(folder.join(format!("{name}.zfs"))).expect("a captured stream")
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("backup")).expect("a folder");
        let scene = Self { folder };
        let recipient = scene.identity("identity.txt");
        let made = scene.run("one", &["init", "--recipient", &recipient]);
        assert_eq!((made.code, made.err.as_str()), (0, ""));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new identity in a file, and its recipient.
    fn identity(&self, file: &str) -> String {
        let made = self.run("one", &["keygen", "--json"]).json();
        let text = |field: &str| made[field].as_str().expect("a text").to_owned();
        fs::write(self.path(file), text("identity")).expect("a file");
        text("recipient")
    }

    fn run_with_input(&self, host: &str, line: &[&str], input: &[u8]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
        command.arg("archive").args(line);
        command.env_clear().env("TZ", "UTC");
        command.env("TERRARIUM_STATE_DIR", self.path(host));
        let archive = format!("file://{}", self.path("backup").display());
        command.env("TERRARIUM_ARCHIVE", archive);
        command.current_dir(self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let Output {
            status,
            stdout,
            stderr,
        } = std::thread::scope(|scope| {
            // It need not read all of what it refuses.
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().expect("it ends")
        });
        Said {
            code: status.code().expect("no signal"),
            out: stdout,
            err: String::from_utf8(stderr).expect("text"),
        }
    }

    fn run(&self, host: &str, line: &[&str]) -> Said {
        self.run_with_input(host, line, b"")
    }

    /// What must succeed.
    fn done(&self, host: &str, line: &[&str]) -> Value {
        let said = self.run(host, &[line, &["--json"]].concat());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{line:?}");
        said.json()
    }

    fn put(&self, host: &str, name: &str) -> Said {
        self.run_with_input(host, &["put", "--name", "web"], &stream(name))
    }

    fn get(&self, identity: &str, at: &str) -> Said {
        let line = ["get", "--name", "web", "--identity", identity, "--at", at];
        self.run("one", &line)
    }

    /// A second host, which is let in.
    fn let_in(&self, host: &str) -> String {
        let key = self.done(host, &["trust", "--yes"])["own_key"].clone();
        let key = key.as_str().expect("a key").to_owned();
        self.done("one", &["change", "--add-host", &key, "--yes"]);
        let trusted = self.done(host, &["trust", "--yes"]);
        assert_eq!(trusted["may_write"], true);
        key
    }
}

#[test]
fn a_second_host_is_let_in_and_writes_until_it_is_removed() {
    let scene = Scene::new();
    assert_eq!(scene.put("one", "content-one").code, 0);
    let stranger = scene.put("two", "content-two");
    assert_eq!(stranger.code, 3);
    assert!(stranger.err.contains("archive trust"), "{}", stranger.err);

    let agreed = scene.run("two", &["trust", "--yes"]);
    assert_eq!((agreed.code, agreed.err.as_str()), (0, ""));
    assert!(
        agreed
            .text()
            .contains("archive change --add-host terrarium-host-")
    );
    let refused = scene.put("two", "content-two");
    assert_eq!(refused.code, 3);
    assert!(refused.err.contains("--add-host"), "{}", refused.err);

    let key = scene.let_in("two");
    let put = scene.put("two", "content-two");
    assert_eq!((put.code, put.err.as_str()), (0, ""));
    // The first host has made the change, and need not agree to it.
    assert_eq!(scene.put("one", "content-three").code, 0);
    assert_eq!(scene.run("one", &["verify"]).code, 0);

    scene.done("one", &["change", "--remove-host", &key, "--yes"]);
    let refused = scene.put("two", "content-one");
    assert_eq!(refused.code, 3, "{}", refused.err);
    let points = scene.run("two", &["list", "--json"]).json()["points"].clone();
    let trusted: Vec<_> = points.as_array().expect("points").iter().collect();
    let trusted: Vec<_> = trusted.iter().map(|point| &point["trusted"]).collect();
    assert_eq!(
        trusted,
        [true, false, true],
        "what it wrote is not trusted any more"
    );
}

#[test]
fn new_points_are_encrypted_to_the_new_recipients_alone() {
    let scene = Scene::new();
    let before = scene.done("one", &["list"])["archive"]["recipients"][0].clone();
    let before = before.as_str().expect("a recipient").to_owned();
    assert_eq!(scene.put("one", "content-one").code, 0);
    let after = scene.identity("later.txt");
    let line = [
        "change",
        "--add-recipient",
        &after,
        "--remove-recipient",
        &before,
    ];

    let shown = scene.run("one", &[&line[..], &["--dry-run"]].concat());
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    assert!(
        shown.text().starts_with("would change the archive"),
        "{}",
        shown.text()
    );
    assert!(!scene.path("backup/v1/changes").exists());
    let unattended = scene.run("one", &line);
    assert_eq!(unattended.code, 3, "{}", unattended.err);
    assert!(!scene.path("backup/v1/changes").exists());

    scene.done("one", &[&line[..], &["--yes"]].concat());
    assert_eq!(
        scene.done("one", &["list"])["archive"]["recipients"][0],
        after
    );
    assert_eq!(scene.put("one", "content-two").code, 0);
    let read = |identity, at| scene.get(identity, at).code;
    assert_eq!(read("identity.txt", "one"), 0);
    assert_eq!(read("later.txt", "one"), 3);
    assert_eq!(read("identity.txt", "two"), 3);
    assert_eq!(read("later.txt", "two"), 0);
    // Nothing is changed by what is true already.
    let again = scene.done("one", &["change", "--add-recipient", &after, "--yes"]);
    assert_eq!(again["changed"], false);
    let changes = fs::read_dir(scene.path("backup/v1/changes")).expect("a folder");
    assert_eq!(changes.count(), 1);
}

#[test]
fn a_change_behind_a_hosts_back_is_refused_until_it_is_agreed_to() {
    let scene = Scene::new();
    scene.let_in("two");
    assert_eq!(scene.put("two", "content-one").code, 0);
    let other = scene.identity("other.txt");
    scene.done("one", &["change", "--add-recipient", &other, "--yes"]);
    let objects = || scene.done("one", &["verify"])["points"].clone();
    let before = objects();
    let refused = scene.put("two", "content-two");
    assert_eq!(refused.code, 3);
    assert!(
        refused.err.contains(&other) && refused.err.contains("archive trust"),
        "{}",
        refused.err
    );
    assert_eq!(objects(), before);

    let unattended = scene.run("two", &["trust"]);
    assert_eq!(unattended.code, 3, "{}", unattended.err);
    let shown = scene.run("two", &["trust", "--dry-run"]);
    assert_eq!(shown.code, 0);
    assert!(
        shown.text().contains(&format!("{other}  (new)")),
        "{}",
        shown.text()
    );
    assert_eq!(
        scene.put("two", "content-two").code,
        3,
        "a dry run agrees to nothing"
    );
    scene.done("two", &["trust", "--yes"]);
    assert_eq!(scene.put("two", "content-two").code, 0);
}

#[test]
fn what_would_make_the_archive_useless_is_refused() {
    let scene = Scene::new();
    let listed = scene.done("one", &["list"])["archive"].clone();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let recipient = text(&listed["recipients"][0]);
    let own = text(&listed["host_keys"][0]);
    let stranger = scene.identity("stranger.txt");
    for (line, code) in [
        (vec!["change", "--remove-recipient", &recipient], 3),
        (vec!["change", "--remove-host", &own], 3),
        (vec!["change", "--remove-recipient", &stranger], 3),
        (vec!["change", "--add-recipient", "age1"], 2),
        (vec!["change", "--add-host", "terrarium-host-1"], 2),
    ] {
        let said = scene.run("one", &[&line[..], &["--yes"]].concat());
        assert_eq!(said.code, code, "{line:?}: {}", said.err);
        assert!(!scene.path("backup/v1/changes").exists(), "{line:?}");
    }
    let stranger = scene.run("two", &["change", "--add-recipient", &stranger, "--yes"]);
    assert_eq!(stranger.code, 3, "{}", stranger.err);
}

#[test]
fn a_change_that_nobody_signed_is_named_and_does_not_count() {
    let scene = Scene::new();
    let before = scene.done("one", &["list"])["archive"].clone();
    fs::create_dir(scene.path("backup/v1/changes")).expect("a folder");
    fs::write(scene.path("backup/v1/changes/1.json"), "{}").expect("a file");
    let listed = scene.run("one", &["list", "--json"]);
    assert_eq!(listed.code, 0);
    assert!(
        listed.err.contains("v1/changes/1.json does not count"),
        "{}",
        listed.err
    );
    assert_eq!(listed.json()["archive"], before);
    assert_eq!(scene.put("one", "content-one").code, 0);
}
