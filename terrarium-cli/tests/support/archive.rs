//! A pool in a file, an archive in a folder beside it, and the identity that reads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Said, Scene, terrariumctl};

/// A pool file, whose host has made an archive.
pub(crate) struct Archived {
    pub(crate) scene: Scene,
}

impl Archived {
    pub(crate) fn new() -> Self {
        let archived = Self {
            scene: Scene::new(),
        };
        fs::create_dir(archived.path("archive")).expect("a folder");
        let identity = archived.run(&["archive", "keygen"]);
        fs::write(archived.path("identity.txt"), &identity.out).expect("written");
        let recipient = identity.out.lines().next().expect("a line");
        let recipient = recipient.strip_prefix("# public key: ").expect("it");
        archived.done(&["archive", "init", "--recipient", recipient]);
        archived
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scene.folder.path().join(name)
    }

    /// A command that knows the archive and no pool.
    pub(crate) fn command(&self, line: &[&str]) -> Command {
        let mut command = terrariumctl();
        let archive = format!("file://{}", self.path("archive").display());
        command.args(line).env("TERRARIUM_ARCHIVE", archive);
        command.env("TERRARIUM_STATE_DIR", self.path("state"));
        command.current_dir(self.scene.folder.path());
        command
    }

    pub(crate) fn run(&self, line: &[&str]) -> Said {
        self.scene.said(&mut self.command(line))
    }

    /// The same, on the pool file.
    pub(crate) fn here(&self, line: &[&str]) -> Said {
        let mut command = self.command(line);
        self.scene
            .said(command.env("TERRARIUM_POOL_FILE", self.scene.file()))
    }

    /// What a command answers that must succeed.
    pub(crate) fn done(&self, line: &[&str]) -> String {
        succeeded(line, self.run(line))
    }

    pub(crate) fn done_here(&self, line: &[&str]) -> String {
        succeeded(line, self.here(line))
    }

    /// Writes the note of `web`, and takes a snapshot of that alias.
    pub(crate) fn snapshot(&self, note: &str, alias: &str) {
        self.scene.write(note);
        let line = ["backup", "snapshot", "--instance", "web", "--alias", alias];
        self.done_here(&line);
    }

    pub(crate) fn export(&self, more: &[&str]) {
        let line = ["backup", "export", "--instance", "web"];
        self.done_here(&[&line, more].concat());
    }

    /// The files of the parts of all streams.
    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files(&self.path("archive/v1/streams"), &mut found);
        found.sort();
        found
    }

    /// The guid of the archived point that has this alias.
    fn guid_of(&self, alias: &str) -> String {
        let listed = json(&self.done(&["archive", "list", "--json"]));
        let points = listed["points"].as_array().expect("points");
        let point = points.iter().find(|point| point["alias"] == alias);
        let guid = point.expect("it")["guid"].to_string();
        guid.trim_matches('"').to_owned()
    }

    /// The file of the manifest of the point that has this alias.
    pub(crate) fn manifest_of(&self, alias: &str) -> PathBuf {
        let ending = format!("-{}.json", self.guid_of(alias));
        let mut found = Vec::new();
        files(&self.path("archive/v1/manifests"), &mut found);
        found.retain(|file| file.to_string_lossy().ends_with(&ending));
        found.swap_remove(0)
    }

    /// The files of the parts of the point that has this alias.
    pub(crate) fn parts_of(&self, alias: &str) -> Vec<PathBuf> {
        let guid = self.guid_of(alias);
        let streams = self.path("archive/v1/streams").join(&guid);
        let parts = self.parts().into_iter();
        let parts: Vec<_> = parts.filter(|path| path.starts_with(&streams)).collect();
        assert!(!parts.is_empty(), "{guid} in {:?}", self.parts());
        parts
    }
}

/// An answer that is JSON.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn succeeded(line: &[&str], said: Said) -> String {
    assert_eq!(
        (said.code, said.err.as_str()),
        (0, ""),
        "{line:?}: {said:?}"
    );
    said.out
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => files(&path, found),
            path => found.push(path),
        }
    }
}
