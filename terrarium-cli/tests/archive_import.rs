//! `archive import`: what an earlier terrariumctl has exported, as a shell calls it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// A folder with an empty archive in `backup`, the identity `identity.txt`, and an earlier archive in `old`: of `web` the
/// captured streams one, two and three.
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
    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.out).expect("JSON")
    }
}

fn stream(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams");
    fs::read(folder.join(format!("{name}.zfs"))).expect("a captured stream")
}

fn snapshot(hour: u32) -> String {
    format!("autosnap_2026-04-19_{hour:02}:00:00_hourly")
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("backup")).expect("a folder");
        let scene = Self { folder };
        let made = scene.run(&["keygen", "--json"]).json();
        let text = |field: &str| made[field].as_str().expect("a text").to_owned();
        fs::write(scene.path("identity.txt"), text("identity")).expect("a file");
        let made = scene.run(&["init", "--recipient", &text("recipient")]);
        assert_eq!((made.code, made.err.as_str()), (0, ""));
        scene.earlier("web", 10, None, &stream("content-one"));
        scene.earlier("web", 11, Some(10), &stream("content-two"));
        scene.earlier("web", 12, Some(11), &stream("content-three"));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn object(&self, instance: &str, hour: u32) -> PathBuf {
        let name = snapshot(hour);
        self.path(&format!("old/streams/{instance}/{name}.zfs.zst"))
    }

    /// Writes a point as an earlier terrariumctl did.
    fn earlier(&self, instance: &str, hour: u32, parent: Option<u32>, stream: &[u8]) {
        let name = snapshot(hour);
        let manifest = json!({
            "instance": instance,
            "dataset": format!("tank/containers/{instance}"),
            "snapshot": name,
            "parent_snapshot": parent.map(snapshot),
            "object_key": format!("streams/{instance}/{name}.zfs.zst"),
            "full": parent.is_none(),
            "created_at": format!("2026-04-19T{hour}:05:00+00:00"),
        });
        let at = self.path(&format!("old/manifests/{instance}/{name}.json"));
        let packed = zstd::encode_all(stream, 3).expect("compressed");
        for (file, content) in [
            (at, manifest.to_string().into()),
            (self.object(instance, hour), packed),
        ] {
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, content).expect("written");
        }
    }

    fn run(&self, line: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
        command.arg("archive").args(line);
        command.env_clear().env("TZ", "UTC");
        command.env("TERRARIUM_STATE_DIR", self.path("state"));
        let archive = format!("file://{}", self.path("backup").display());
        command.env("TERRARIUM_ARCHIVE", archive);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        let output = command.output().expect("it starts");
        Said {
            code: output.status.code().expect("no signal"),
            out: output.stdout,
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    fn import(&self, more: &[&str]) -> Said {
        let from = format!("file://{}", self.path("old").display());
        self.run(&[&["import", "--from", &from], more].concat())
    }

    /// What became of each point: instance, outcome.
    fn outcomes(&self, more: &[&str]) -> (i32, Vec<(String, String)>) {
        let said = self.import(&[&["--json"], more].concat());
        let answer = said.json();
        assert_eq!(answer["exit_code"], said.code);
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let points = answer["points"].as_array().expect("points").iter();
        let outcomes = points.map(|point| (text(&point["instance"]), text(&point["outcome"])));
        (said.code, outcomes.collect())
    }

    fn get(&self, name: &str, more: &[&str]) -> Said {
        let line = ["get", "--name", name, "--identity", "identity.txt"];
        self.run(&[&line, more].concat())
    }
}

fn of_web(outcomes: &[&str]) -> Vec<(String, String)> {
    let one = |outcome: &&str| ("web".to_owned(), (*outcome).to_owned());
    outcomes.iter().map(one).collect()
}

#[test]
fn an_earlier_archive_is_taken_over_and_can_be_repeated() {
    let scene = Scene::new();
    let (code, would) = scene.outcomes(&["--dry-run"]);
    assert_eq!((code, would), (0, of_web(&["found"; 3])));
    assert_eq!(scene.run(&["list", "--json"]).json()["points"], json!([]));
    let said = scene.import(&[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.text());
    assert_eq!(
        said.text().matches("imported autosnap_2026-04-19_").count(),
        3
    );
    for (name, at) in [
        ("content-one", "one"),
        ("content-two", "two"),
        ("content-three", "three"),
    ] {
        let got = scene.get("web", &["--at", at]);
        assert!(
            got.code == 0 && got.out == stream(name),
            "{at}: {}",
            got.err
        );
    }
    let verified = scene.run(&["verify", "--deep", "--identity", "identity.txt"]);
    assert_eq!(verified.code, 0, "{}", verified.text());
    assert_eq!(scene.outcomes(&[]), (0, of_web(&["there"; 3])));
}

#[test]
fn an_upload_that_was_cut_off_is_named_with_what_builds_upon_it_and_the_rest_comes_over() {
    let scene = Scene::new();
    scene.earlier("base", 9, None, &stream("origin"));
    let object = scene.object("web", 11);
    let whole = fs::read(&object).expect("a stream");
    // Of a frame, between frames, and of nothing but zstd's own magic.
    for length in [whole.len() / 2, whole.len() - 1, 4, 0] {
        fs::write(&object, &whole[..length]).expect("cut");
        let said = scene.import(&[]);
        assert_eq!(said.code, 1, "{length}: {}", said.text());
        let lines: Vec<_> = said.text().lines().collect();
        let failed = |hour| format!("{} of web cannot be imported: ", snapshot(hour));
        assert!(
            lines.iter().any(|line| line.starts_with(&failed(11))),
            "{lines:?}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with(&failed(12))),
            "{lines:?}"
        );
        let listed = scene.run(&["list", "--json"]).json();
        assert_eq!(listed["points"].as_array().expect("points").len(), 2);
    }
    assert!(scene.get("base", &[]).out == stream("origin"));
    fs::write(&object, whole).expect("mended");
    assert_eq!(scene.import(&[]).code, 0);
    assert!(scene.get("web", &["--at", "three"]).out == stream("content-three"));
}

#[test]
fn a_stream_of_another_snapshot_than_its_manifest_says_builds_upon_nothing_wrong() {
    let scene = Scene::new();
    // The names fit, the guids do not: only the stream is believed.
    fs::copy(scene.object("web", 12), scene.object("web", 11)).expect("exchanged");
    let (code, outcomes) = scene.outcomes(&[]);
    assert_eq!(code, 1);
    assert_eq!(outcomes, of_web(&["imported", "failed", "failed"]));
}

#[test]
fn one_instance_alone_is_taken_over_and_what_leads_to_nothing_is_told() {
    let scene = Scene::new();
    scene.earlier("base", 9, None, &stream("origin"));
    fs::remove_file(scene.object("web", 11)).expect("removed");
    let (code, outcomes) = scene.outcomes(&["--name", "base"]);
    assert_eq!(
        (code, outcomes),
        (0, vec![("base".to_owned(), "imported".to_owned())])
    );
    let said = scene.import(&[]);
    assert_eq!(said.code, 1);
    for (hour, why) in [(11, "its stream"), (12, "which it builds upon, is missing")] {
        let object = format!("manifests/web/{}.json cannot be imported: ", snapshot(hour));
        let mut lines = said.text().lines();
        let told = lines.any(|line| line.starts_with(&object) && line.contains(why));
        assert!(told, "{}", said.text());
    }
    assert_eq!(scene.import(&["--name", "nobody"]).code, 3);
    let nothing = format!("file://{}", scene.path("state").display());
    let said = scene.run(&["import", "--from", &nothing]);
    assert_eq!(said.code, 0);
    assert!(said.text().contains("holds nothing"), "{}", said.text());
    let said = scene.run(&["import", "--from", "file:///does/not/exist"]);
    assert_eq!(said.code, 3, "{}", said.err);
}
