//! A pool in a file, and the built binary on it.
#![allow(dead_code, reason = "not every test needs all of it")]

pub(crate) mod archive;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use terrarium_zfs::{DatasetName, Properties};
use terrarium_zpool::{Engine, Options};

/// The binary.
pub(crate) const TERRARIUMCTL: &str = env!("CARGO_BIN_EXE_terrariumctl");

/// The engine's program, which cargo builds beside the binary when it builds the workspace.
pub(crate) fn program() -> PathBuf {
    let program = Path::new(TERRARIUMCTL).with_file_name("terrarium-zpool");
    let path = program.display();
    assert!(
        program.exists(),
        "{path} is missing: cargo build --all-features -p terrarium-zpool"
    );
    program
}

/// A folder with the pool `demo` in the file `pool`: the instances `web`, with the file `note`, and `tenant/shop`.
pub(crate) struct Scene {
    pub(crate) folder: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let engine = options().create(&scene.file(), "demo", 128 << 20);
        let engine = engine.unwrap_or_else(|error| panic!("{error} {:?}", error.help()));
        for name in ["", "/web", "/tenant_shop"] {
            let dataset = named(&format!("demo/containers{name}"));
            let created = engine.create(&dataset, &Properties::new());
            created.expect("created");
        }
        write(&engine, "one");
        scene
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("pool")
    }

    pub(crate) fn engine(&self) -> Engine {
        options().open(&self.file()).expect("opened")
    }

    /// Writes the note of `web`.
    pub(crate) fn write(&self, note: &str) {
        write(&self.engine(), note);
    }

    /// The note of an instance in the default project.
    pub(crate) fn note(&self, instance: &str) -> String {
        note(&self.engine(), instance)
    }

    pub(crate) fn command(&self, line: &[&str]) -> Command {
        let mut command = terrariumctl();
        command.arg("--pool-file").arg(self.file()).args(line);
        command
    }

    pub(crate) fn run(&self, line: &[&str]) -> Said {
        self.said(&mut self.command(line))
    }

    /// Runs a command that must succeed, and returns what it answered.
    pub(crate) fn done(&self, line: &[&str]) -> String {
        let said = self.run(line);
        assert_eq!(
            (said.code, said.err.as_str()),
            (0, ""),
            "{line:?}: {said:?}"
        );
        said.out
    }

    /// What a command says, with the folder's name left out.
    pub(crate) fn said(&self, command: &mut Command) -> Said {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("it starts");
        let folder = self.folder.path().to_str().expect("a name").to_owned();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("text");
            text.replace(&folder, "FOLDER")
        };
        Said {
            code: status.code().expect("no signal"),
            out: text(stdout),
            err: text(stderr),
        }
    }
}

/// The binary, which nothing of this machine's settings reaches.
pub(crate) fn terrariumctl() -> Command {
    let mut command = Command::new(TERRARIUMCTL);
    for variable in [
        "TERRARIUM_POOL_FILE",
        "TERRARIUM_ZPOOL",
        "TERRARIUM_STATE_DIR",
        "TERRARIUM_RUN_DIR",
    ] {
        command.env_remove(variable);
    }
    command.env("LXD_SOCKET", "/nonexistent/lxd.socket");
    command.env("TZ", "UTC").stdin(Stdio::null());
    command
}

pub(crate) fn options() -> Options {
    let mut options = Options::default();
    options.program = Some(program());
    options
}

pub(crate) fn named(name: &str) -> DatasetName {
    DatasetName::new(name).expect("a legal name")
}

fn write(engine: &Engine, note: &str) {
    let web = named("demo/containers/web");
    let written = engine.write_file(&web, "note", 0o644, note.as_bytes());
    written.expect("written");
}

pub(crate) fn note(engine: &Engine, instance: &str) -> String {
    let dataset = format!("demo/containers/{instance}");
    let note = engine.read_file(&dataset, "note", 100).expect("read");
    String::from_utf8(note.expect("there is a note")).expect("text")
}

/// Text without what differs from run to run: numbers become `N`, what tells apart two operations of one second `*`,
/// and columns are one space apart.
pub(crate) fn masked(text: &str) -> String {
    let mut shown = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<String> = line.split_whitespace().map(masked_word).collect();
        shown.push_str(&line[..indent]);
        shown.push_str(&words.join(" "));
        shown.push('\n');
    }
    // The second snapshot of one second has a number.
    shown.replace("snap-N-N-N", "snap-N-N")
}

fn masked_word(word: &str) -> String {
    let (name, comma) = match word.strip_suffix(',') {
        Some(name) => (name, ","),
        None => (word, ""),
    };
    // What is drawn at random, or is the place of a temporary folder.
    let is_uuid = name.len() == 36 && name.matches('-').count() == 4;
    for (is_it, shown) in [
        (is_uuid, "UUID"),
        (name.starts_with("age1"), "age1…"),
        (name.starts_with("terrarium-host-"), "terrarium-host-…"),
        (name.starts_with("file:///"), "file:///…"),
    ] {
        if is_it {
            return format!("{shown}{comma}");
        }
    }
    let mut shown = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        let end = number.find(|c: char| !c.is_ascii_digit());
        rest = &number[end.unwrap_or(number.len())..];
        shown.push_str(before);
        shown.push('N');
        // 20261122-110000-beef
        if shown.ends_with("N-N") && rest.starts_with('-') {
            let salt = rest[1..].bytes().take(4);
            if salt.filter(u8::is_ascii_hexdigit).count() == 4 {
                shown.push_str("-*");
                rest = &rest[5..];
            }
        }
    }
    shown + rest
}
