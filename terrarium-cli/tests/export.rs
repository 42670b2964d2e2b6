//! `backup export`, as a shell calls it: from a pool file into an archive in a folder.

mod support;

use std::fs;
use std::process::Command;

use serde_json::Value;
use support::{Said, Scene, masked, terrariumctl};
use terrarium_zfs::{DatasetName, Properties};

/// A pool file with instances, and an archive that this host has made.
struct Exports {
    scene: Scene,
    archive: String,
}

impl Exports {
    fn new() -> Self {
        let scene = Scene::new();
        let folder = scene.folder.path().join("backup");
        fs::create_dir(&folder).expect("a folder");
        let exports = Self {
            archive: format!("file://{}", folder.display()),
            scene,
        };
        let made = exports.said(terrariumctl().args(["archive", "keygen"]));
        let recipient = made
            .out
            .split_whitespace()
            .find(|word| word.starts_with("age1"));
        let recipient = recipient.expect("a recipient");
        let line = [
            "archive",
            "init",
            "--recipient",
            recipient,
            "--archive",
            &exports.archive,
        ];
        let made = exports.said(terrariumctl().args(line));
        assert_eq!(made.code, 0, "{made:?}");
        exports
    }

    /// The host's state is in the folder too.
    fn said(&self, command: &mut Command) -> Said {
        let state = self.scene.folder.path().join("state");
        self.scene.said(command.env("TERRARIUM_STATE_DIR", state))
    }

    fn snapshot(&self, instance: &str, alias: &str) {
        let line = [
            "backup",
            "snapshot",
            "--instance",
            instance,
            "--alias",
            alias,
        ];
        let taken = self.said(&mut self.scene.command(&line));
        assert_eq!(taken.code, 0, "{taken:?}");
    }

    fn export(&self, more: &[&str]) -> Said {
        let line = [&["backup", "export", "--archive", &self.archive], more].concat();
        self.said(&mut self.scene.command(&line))
    }

    fn listed(&self) -> Value {
        let line = ["archive", "list", "--json", "--archive", &self.archive];
        let said = self.said(terrariumctl().args(line));
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.out).expect("JSON")
    }
}

#[test]
fn what_is_new_of_every_instance_goes_into_the_archive() {
    let exports = Exports::new();
    exports.snapshot("web", "first");
    let planned = exports.export(&["--dry-run"]);
    assert_eq!((planned.code, planned.err.as_str()), (0, ""));
    assert!(planned.out.contains("Would export snap-"), "{planned:?}");
    assert!(planned.out.contains(": about "), "{planned:?}");
    assert_eq!(exports.listed()["points"].as_array().map(Vec::len), Some(0));

    let first = exports.export(&[]);
    assert_eq!((first.code, first.err.as_str()), (0, ""), "{first:?}");
    let lines: Vec<_> = first.out.lines().collect();
    assert!(lines[0].starts_with("Exported snap-"), "{first:?}");
    assert!(lines[0].contains(" of web, in full (it is the first of its lineage): "));
    assert_eq!(
        masked(lines[1]).trim(),
        "Left out tenant/shop: cannot export tenant/shop: it has no snapshot"
    );
    let again = exports.export(&["--instance", "web"]);
    assert!(
        again.out.starts_with("web is up to date: snap-"),
        "{again:?}"
    );

    exports.scene.write("two");
    exports.snapshot("web", "second");
    let second = exports.export(&["--json", "--instance", "web"]);
    assert_eq!(second.code, 0, "{second:?}");
    let json: Value = serde_json::from_str(&second.out).expect("JSON");
    assert_eq!(
        (&json["version"], &json["exit_code"]),
        (&1.into(), &0.into())
    );
    let web = &json["instances"][0];
    assert_eq!(
        (&web["outcome"], &web["instance"]),
        (&"exported".into(), &"web".into())
    );
    assert_eq!(web["decision"]["base"]["base"], "increment");
    assert_eq!(web["stored"]["reused_parts"], 0);
    let points = exports.listed();
    let points = points["points"].as_array().expect("points");
    let aliases: Vec<_> = points.iter().map(|point| &point["alias"]).collect();
    assert!(aliases.contains(&&"first".into()) && aliases.contains(&&"second".into()));
}

/// LXD's way: an image, and instances that are clones of it.
#[test]
fn what_instances_have_in_common_with_their_image_is_stored_once() {
    let exports = Exports::new();
    {
        let engine = exports.scene.engine();
        let name = |name: &str| DatasetName::new(name).expect("a legal name");
        for dataset in ["demo/images", "demo/images/0af1"] {
            let created = engine.create(&name(dataset), &Properties::new());
            created.expect("created");
        }
        let mut state = 1u64;
        let mut draw = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        let noise: Vec<u8> = std::iter::repeat_with(&mut draw).take(400_000).collect();
        let written = engine.write_file(&name("demo/images/0af1"), "noise", 0o644, &noise);
        written.expect("written");
        let image = name("demo/images/0af1")
            .snapshot("readonly")
            .expect("a name");
        let taken = engine.snapshot(&[(image.clone(), Default::default())]);
        taken.expect("taken");
        for clone in ["a", "b"] {
            let clone = name(&format!("demo/containers/{clone}"));
            let cloned = engine.clone_snapshot(&clone, &image, &Properties::new());
            cloned.expect("cloned");
        }
    }
    for instance in ["a", "b"] {
        exports.snapshot(instance, "first");
    }
    let both = ["--image-aware", "--instance", "a", "--instance", "b"];
    let planned = exports.export(&[&both[..], &["--dry-run"]].concat());
    let since = "since its image demo/images/0af1@readonly";
    assert!(
        planned
            .out
            .contains(&format!("{since}, which is stored first")),
        "{planned:?}"
    );
    let done = exports.export(&both);
    assert_eq!((done.code, done.err.as_str()), (0, ""), "{done:?}");
    let lines: Vec<_> = done.out.lines().collect();
    assert!(
        lines[0].contains("; its image, stored once for all: "),
        "{done:?}"
    );
    assert!(
        lines[1].contains(since) && !lines[1].contains("stored once"),
        "{done:?}"
    );
    let listed = exports.listed();
    let points = listed["points"].as_array().expect("points");
    assert_eq!(points.len(), 3);
    let stored = |name: &str| {
        let point = points.iter().find(|point| point["name"] == name);
        point.expect("it is listed")["stored_bytes"]
            .as_u64()
            .expect("a number")
    };
    assert!(
        stored("image:0af1") > 10 * (stored("a") + stored("b")),
        "{points:?}"
    );

    let line = [
        "backup",
        "list",
        "--source",
        "all",
        "--archive",
        &exports.archive,
    ];
    let all = exports.said(&mut exports.scene.command(&line));
    assert!(all.code == 0 && !all.out.contains("image:"), "{all:?}");

    exports.snapshot("web", "first");
    let no_clone = exports.export(&["--image-aware", "--instance", "web"]);
    assert!(
        no_clone.out.contains("its dataset is no clone of an image"),
        "{no_clone:?}"
    );
}

#[test]
fn one_that_fails_does_not_keep_the_others_back() {
    let exports = Exports::new();
    exports.snapshot("web", "first");
    let said = exports.export(&[
        "--instance",
        "nowhere",
        "--instance",
        "tenant/shop",
        "--instance",
        "web",
    ]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains("there is no instance nowhere"),
        "{said:?}"
    );
    assert!(
        said.err
            .contains("cannot export tenant/shop: it has no snapshot"),
        "{said:?}"
    );
    assert!(said.out.starts_with("Exported snap-"), "{said:?}");
    let alone = exports.export(&["--instance", "nowhere"]);
    assert_eq!(alone.code, 3, "{alone:?}");
}

#[test]
fn an_archive_that_this_host_did_not_make_is_refused() {
    let exports = Exports::new();
    exports.snapshot("web", "first");
    fs::remove_dir_all(exports.scene.folder.path().join("state/archives")).expect("removed");
    for more in [&[][..], &["--dry-run"]] {
        let said = exports.export(more);
        assert_eq!(said.code, 3, "{said:?}");
        assert!(
            said.err.contains("this host does not know the archive"),
            "{said:?}"
        );
    }
    let line = ["backup", "export"];
    let unsaid = exports.said(&mut exports.scene.command(&line));
    assert_eq!(unsaid.code, 2, "{unsaid:?}");
    assert!(unsaid.err.contains("give --archive URL"), "{unsaid:?}");
}
