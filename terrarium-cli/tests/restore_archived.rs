//! `backup restore --source archive`, by the built binary, on a pool file and an archive in a folder.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use support::{Said, Scene, terrariumctl};
use terrarium_zfs::{SendFlags, SnapshotName};

const RESTORE: &[&str] = &[
    "backup",
    "restore",
    "--source",
    "s3",
    "--instance",
    "web",
    "--identity",
    "identity.txt",
];

/// A pool file, and an archive that has the note `one` of `web`; the note here is `two`.
struct Archived {
    scene: Scene,
}

impl Archived {
    fn new() -> Self {
        let archived = Self {
            scene: Scene::new(),
        };
        fs::create_dir(archived.path("archive")).expect("a folder");
        let identity = archived.run(&["archive", "keygen"]);
        fs::write(archived.path("identity.txt"), &identity.out).expect("written");
        let recipient = identity.out.lines().next().expect("a line");
        let recipient = recipient.strip_prefix("# public key: ").expect("it");
        let made = archived.run(&["archive", "init", "--recipient", recipient]);
        assert_eq!(made.code, 0, "{made:?}");
        let engine = archived.scene.engine();
        let one = SnapshotName::new("demo/containers/web@one").expect("a legal name");
        engine
            .snapshot(&[(one.clone(), Default::default())])
            .expect("taken");
        let stream = fs::File::create(archived.path("stream")).expect("a file");
        let flags = SendFlags::default();
        engine.send(&one, None, flags, &stream).expect("sent");
        engine.destroy_snapshots(&[one]).expect("destroyed");
        drop(engine);
        let stream = fs::File::open(archived.path("stream")).expect("a file");
        let mut put = archived.command(&["archive", "put", "--name", "web"]);
        let put = archived.scene.said(put.stdin(Stdio::from(stream)));
        assert_eq!(put.code, 0, "{put:?}");
        archived.scene.write("two");
        archived
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scene.folder.path().join(name)
    }

    fn command(&self, line: &[&str]) -> std::process::Command {
        let mut command = terrariumctl();
        if line[0] == "backup" {
            command.arg("--pool-file").arg(self.scene.file());
        }
        let archive = format!("file://{}", self.path("archive").display());
        command.args(line).env("TERRARIUM_ARCHIVE", archive);
        command.env("TERRARIUM_STATE_DIR", self.path("state"));
        command.current_dir(self.scene.folder.path());
        command
    }

    fn run(&self, line: &[&str]) -> Said {
        self.scene.said(&mut self.command(line))
    }

    fn restore(&self, more: &[&str]) -> Said {
        self.run(&[RESTORE, more].concat())
    }
}

#[test]
fn a_point_of_the_archive_is_restored_in_place_brought_back_and_restored_as_new() {
    let archived = Archived::new();
    let looked = archived.restore(&["--dry-run"]);
    assert_eq!(
        (looked.code, archived.scene.note("web").as_str()),
        (0, "two"),
        "{looked:?}"
    );
    assert!(looked.out.contains("1 stream"), "{looked:?}");

    let unasked = archived.restore(&[]);
    assert_eq!((unasked.code, unasked.out.as_str()), (3, ""), "{unasked:?}");
    assert!(unasked.err.contains("nothing was changed"), "{unasked:?}");

    let done = archived.restore(&["--yes"]);
    assert_eq!(
        (done.code, archived.scene.note("web").as_str()),
        (0, "one"),
        "{done:?}"
    );
    assert!(done.out.contains("To undo this"), "{done:?}");
    let undone = archived.run(&["backup", "undo", "--instance", "web", "--yes"]);
    assert_eq!(
        (undone.code, archived.scene.note("web").as_str()),
        (0, "two"),
        "{undone:?}"
    );

    let copied = archived.restore(&["--as-new", "then"]);
    assert_eq!(
        (copied.code, archived.scene.note("then").as_str()),
        (0, "one"),
        "{copied:?}"
    );
    assert_eq!(archived.scene.note("web"), "two");
    let taken = archived.restore(&["--as-new", "then"]);
    assert_eq!(taken.code, 3, "{taken:?}");
}

#[test]
fn what_is_wrong_is_said_before_or_instead_of_any_change() {
    let archived = Archived::new();
    let other = archived.run(&["archive", "keygen"]);
    fs::write(archived.path("other.txt"), other.out).expect("written");
    let part = fs::read_dir(archived.path("archive/v1/streams")).expect("a folder");
    let streams = part.flatten().next().expect("a stream").path();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--destroy-newer"], 3, "leave out --destroy-newer"),
        (&["--instance", "nope"], 3, "it has those of web"),
        (&["--at", "nope"], 3, "nope"),
        (&["--identity", "other.txt"], 3, "other recipients"),
        (&["--identity", "missing.txt"], 3, "missing.txt"),
        (&["--archive", "file:///nonexistent"], 3, "/nonexistent"),
    ];
    for (more, code, text) in cases {
        let mut line: Vec<&str> = RESTORE.to_vec();
        let replaced = more.len() == 2;
        if let (true, Some(at)) = (replaced, line.iter().position(|word| *word == more[0])) {
            line.drain(at..at + 2);
        }
        line.extend(more);
        line.push("--yes");
        let said = archived.run(&line);
        assert_eq!(said.code, code, "{more:?}: {said:?}");
        assert!(said.err.contains(text), "{more:?}: {said:?}");
        assert_eq!(archived.scene.note("web"), "two", "{more:?}");
    }
    fs::remove_dir_all(&streams).expect("removed");
    let said = archived.restore(&["--yes"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains("v1/streams/"),
        "the part is named: {said:?}"
    );
    assert_eq!(archived.scene.note("web"), "two");
}
