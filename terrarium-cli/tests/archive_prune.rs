//! `terrariumctl archive prune` and `annotate`, on a bucket that misbehaves and in a folder.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use http::Method;
use jiff::{SignedDuration, Timestamp};
use nix::fcntl::{FcntlArg, fcntl};
use serde_json::Value;
use server::{Reaction, Seen, Server, Traits};

#[path = "../../terrarium-s3/tests/support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "no test uses all of it")]
mod server;

/// The server's bucket.
const BUCKET: &str = "archive";

/// A bucket with an archive, and what a host has that writes into it.
struct Scene {
    /// The server lives in it.
    _runtime: tokio::runtime::Runtime,
    server: Server,
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

    fn done(self) -> Self {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self
    }
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().expect("no signal"),
        out: output.stdout,
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

fn stream(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams");
    fs::read(folder.join(format!("{name}.zfs"))).expect("a captured stream")
}

/// The guid of a captured stream's snapshot: the `toguid` of its first record.
fn guid(stream: &[u8]) -> String {
    u64::from_le_bytes(stream[40..48].try_into().expect("8 bytes")).to_string()
}

impl Scene {
    /// With these streams stored as `web`.
    fn with(streams: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let server = runtime.block_on(Server::with(Traits::default()));
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Self {
            _runtime: runtime,
            server,
            folder,
        };
        let identity = scene.run(&["keygen"]);
        assert_eq!(identity.code, 0);
        fs::write(scene.folder.path().join("identity.txt"), &identity.out).expect("a file");
        let first = identity.text().lines().next().expect("a line");
        let recipient = first.trim_start_matches("# public key: ");
        scene.run(&["init", "--recipient", recipient]).done();
        for name in streams {
            scene.put(&stream(name), &[]).done();
        }
        scene
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
        command.arg("archive").args(arguments);
        command.args(["--archive", "s3://archive/backups/web"]);
        command.args(["--s3-endpoint", &self.server.endpoint]);
        command.args(["--s3-region", "eu-central-1"]);
        command.env_clear().env("TZ", "UTC");
        command.env("AWS_ACCESS_KEY_ID", "AKIDTEST");
        command.env("AWS_SECRET_ACCESS_KEY", "a secret key");
        command.env("HOME", self.folder.path());
        command.env("TERRARIUM_STATE_DIR", self.folder.path().join("state"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).output().expect("it starts"))
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    }

    fn put(&self, stream: &[u8], more: &[&str]) -> Said {
        let mut child = self.spawn(&[&["put", "--name", "web"], more].concat());
        let mut stdin = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(stream));
            said(child.wait_with_output().expect("it ends"))
        })
    }

    fn prune(&self, more: &[&str]) -> Said {
        self.run(&[&["prune", "--yes"], more].concat())
    }

    fn get(&self, name: &str) -> Said {
        let guid = guid(&stream(name));
        let line = ["get", "--name", "web", "--identity", "identity.txt"];
        self.run(&[&line[..], &["--at", &guid]].concat())
    }

    /// The guids of the points that are listed.
    fn listed(&self) -> Vec<String> {
        let listed = self.run(&["list", "--json"]).json();
        let points = listed["points"].as_array().expect("points").iter();
        let mut guids: Vec<_> = points
            .map(|point| point["guid"].as_str().expect("a guid").to_owned())
            .collect();
        guids.sort();
        guids
    }

    fn keys(&self, part: &str) -> Vec<String> {
        let keys = self.server.objects.keys().into_iter();
        let keys = keys.map(|key| key.to_string());
        keys.filter(|key| key.contains(part)).collect()
    }

    /// Lets everything be as old as that.
    fn age(&self, days: i64) {
        let at = Timestamp::now() - SignedDuration::from_hours(24 * days);
        for key in self.server.objects.keys() {
            assert!(self.server.objects.date(&key, at));
        }
    }

    fn assert_whole(&self) {
        let verified = self.run(&["verify"]);
        assert_eq!(verified.code, 0, "{verified:?}");
    }
}

fn guids(names: &[&str]) -> Vec<String> {
    let mut guids: Vec<_> = names.iter().map(|name| guid(&stream(name))).collect();
    guids.sort();
    guids
}

/// Of one day; the first two are a chain, the last is the newest.
const STREAMS: [&str; 3] = ["content-one", "content-two", "origin"];

#[test]
fn a_dry_run_shows_what_goes_and_a_prune_removes_that() {
    let scene = Scene::with(&STREAMS);
    let before = scene.keys("");
    let dry = scene.run(&["prune", "--dry-run"]).done();
    let text = dry.text();
    for expected in [
        "capture/content@one",
        "goes",
        "stays: newest, daily, weekly, monthly",
        "would remove 2 of 3 restore points and 0 leftovers",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let json = scene.run(&["prune", "--dry-run", "--json"]).done().json();
    assert_eq!(
        (&json["dry_run"], &json["freed_bytes"]),
        (&true.into(), &Value::Null)
    );
    let going = json["points"].as_array().expect("points").iter();
    let going: Vec<_> = going
        .filter(|point| point["stays"] == false)
        .map(|point| point["guid"].as_str().expect("a guid").to_owned())
        .collect();
    assert_eq!(going.len(), 2);
    let alone = scene.run(&["prune"]);
    assert_eq!((alone.code, alone.out.len()), (3, 0), "{alone:?}");
    assert!(alone.err.contains("--yes"), "{}", alone.err);
    assert_eq!(scene.keys(""), before, "nothing was changed");

    let pruned = scene.prune(&["--json"]).done().json();
    assert_eq!(pruned["freed_bytes"], json["frees_bytes"]);
    let points = pruned["points"].as_array().expect("points");
    for point in points {
        let goes = going.iter().any(|guid| point["guid"] == guid.as_str());
        let expected = goes.then_some("removed");
        assert_eq!(point["outcome"].as_str(), expected, "{point}");
    }
    assert_eq!(scene.listed(), guids(&["origin"]));
    scene.assert_whole();
    assert!(scene.get("origin").out == stream("origin"));
    assert_eq!(scene.keys("streams").len(), 1);
    assert_eq!(scene.keys("removals"), [""; 0]);
    let again = scene.prune(&[]).done();
    assert!(
        again.text().contains("nothing to remove"),
        "{}",
        again.text()
    );
    // An increment of what is gone is refused; a full stream is not.
    assert_eq!(scene.put(&stream("content-two"), &[]).code, 3);
    scene.put(&stream("content-one"), &[]).done();
}

#[test]
fn on_a_terminal_it_asks_and_only_yes_is_yes() {
    use std::io::Read;
    use std::os::fd::AsFd;

    let scene = Scene::with(&STREAMS);
    let prune = |answer: &[u8]| {
        let ends = nix::pty::openpty(None, None).expect("a terminal");
        let terminal = || ends.slave.as_fd().try_clone_to_owned().expect("cloned");
        let mut command = scene.command(&["prune"]);
        command.stdin(terminal()).stderr(terminal());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        drop(command);
        let mut terminal = fs::File::from(ends.master);
        let mut shown = Vec::new();
        let mut some = [0; 1024];
        while !String::from_utf8_lossy(&shown).contains("Type yes to go on:") {
            let length = terminal.read(&mut some).expect("a question");
            shown.extend_from_slice(&some[..length]);
        }
        terminal.write_all(answer).expect("typed");
        let code = child.wait().expect("it ends").code();
        (code, String::from_utf8_lossy(&shown).into_owned())
    };
    let before = scene.keys("");
    let (code, shown) = prune(b"y\n");
    assert_eq!(code, Some(3));
    assert!(
        shown.contains("would remove 2 of 3 restore points"),
        "{shown}"
    );
    assert_eq!(scene.keys(""), before);
    assert_eq!(prune(b"yes\n").0, Some(0));
    assert_eq!(scene.listed(), guids(&["origin"]));
}

#[test]
fn what_makes_no_sense_is_2() {
    let scene = Scene::with(&[]);
    let zero = [
        "--keep-daily",
        "0",
        "--keep-weekly",
        "0",
        "--keep-monthly",
        "0",
    ];
    for line in [
        &[&["prune", "--yes"][..], &zero].concat()[..],
        &["prune", "--only-newest", "--keep-daily", "1"],
        &["prune", "--grace", "3"],
        &["annotate", "--name", "web", "--at", "one"],
        &[
            "annotate", "--name", "web", "--at", "one", "--pin", "--unpin",
        ],
    ] {
        let said = scene.run(line);
        assert_eq!((said.code, said.out.len()), (2, 0), "{line:?}: {said:?}");
    }
    let help = scene.run(&[&["prune", "--yes"][..], &zero].concat()).err;
    assert!(help.contains("--only-newest"), "{help}");
    scene.prune(&["--only-newest"]).done();
}

#[test]
fn killed_between_a_manifest_and_its_parts_the_next_one_collects_them() {
    let scene = Scene::with(&STREAMS);
    scene.age(30);
    // Whether it may delete, and the manifest; then the store is silent.
    let pass = Reaction::CutRequest(usize::MAX);
    scene.server.next(Method::DELETE, 2, pass);
    let silence = Reaction::Silence(Duration::from_secs(60));
    scene.server.next(Method::DELETE, 1, silence);
    let mut child = scene.spawn(&["prune", "--yes"]);
    let begun = Instant::now();
    // Its manifest is gone when the first of its parts goes; that one may be asked for more than once.
    let is_part = |seen: &Seen| seen.target.contains("streams");
    while !scene.server.seen(Method::DELETE).iter().any(is_part) {
        assert!(
            begun.elapsed() < Duration::from_secs(50),
            "it does not get there"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    let two = guid(&stream("content-two"));
    assert_eq!(scene.listed(), guids(&["content-one", "origin"]));
    let parts = scene.keys(&format!("streams/{two}/"));
    assert!(!parts.is_empty());
    assert_eq!(scene.keys("removals").len(), 1);
    scene.assert_whole();

    let pruned = scene.prune(&[]).done();
    assert!(
        pruned.text().contains("removed 1 of 2 restore points"),
        "{}",
        pruned.text()
    );
    assert_eq!(scene.listed(), guids(&["origin"]));
    assert_eq!(
        (scene.keys("streams").len(), scene.keys(&two).len()),
        (1, 0)
    );
    scene.assert_whole();
    // The notice is young still, by the store's clock.
    assert_eq!(scene.keys("removals").len(), 1);
    scene.age(1);
    scene.prune(&[]).done();
    assert_eq!(scene.keys("removals").len(), 0);
}

#[test]
fn interrupted_it_ends_after_the_object_under_way_and_takes_its_notice_back() {
    let scene = Scene::with(&STREAMS);
    scene
        .server
        .next(Method::DELETE, 2, Reaction::CutRequest(usize::MAX));
    // The parts of the first point take a while, and are asked for again.
    scene
        .server
        .next(Method::DELETE, 1, Reaction::Silence(Duration::from_secs(2)));
    let child = scene.spawn(&["prune", "--yes"]);
    let begun = Instant::now();
    // Its manifest is gone when the first of its parts goes; that one may be asked for more than once.
    let is_part = |seen: &Seen| seen.target.contains("streams");
    while !scene.server.seen(Method::DELETE).iter().any(is_part) {
        assert!(
            begun.elapsed() < Duration::from_secs(50),
            "it does not get there"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let process = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a number"));
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).expect("sent");
    let pruned = said(child.wait_with_output().expect("it ends"));
    assert_eq!(pruned.code, 130, "{pruned:?}");
    assert!(pruned.err.contains("run it again"), "{}", pruned.err);
    assert!(
        pruned.text().contains("removed 1 of 3"),
        "{}",
        pruned.text()
    );
    assert_eq!(scene.listed(), guids(&["content-one", "origin"]));
    assert_eq!(
        (scene.keys("streams").len(), scene.keys("removals").len()),
        (2, 0)
    );
    scene.prune(&[]).done();
    assert_eq!(scene.listed(), guids(&["origin"]));
}

#[test]
fn an_append_only_archive_is_pruned_elsewhere() {
    let scene = Scene::with(&STREAMS);
    let before = scene.keys("");
    let denied = Reaction::Error(403, "AccessDenied", &[]);
    scene.server.next(Method::DELETE, 1000, denied);
    let pruned = scene.prune(&[]);
    assert_eq!((pruned.code, pruned.out.len()), (3, 0), "{pruned:?}");
    assert!(pruned.err.contains("append-only"), "{}", pruned.err);
    assert_eq!(scene.keys(""), before);
    // It can be looked at all the same.
    scene.run(&["prune", "--dry-run"]).done();
}

#[test]
fn a_point_that_cannot_be_removed_is_named_and_keeps_what_it_needs() {
    let scene = Scene::with(&STREAMS);
    scene
        .server
        .next(Method::DELETE, 1, Reaction::CutRequest(usize::MAX));
    scene
        .server
        .next(Method::DELETE, 1, Reaction::Error(403, "AccessDenied", &[]));
    let pruned = scene.prune(&["--json"]);
    assert_eq!(pruned.code, 1, "{pruned:?}");
    let two = guid(&stream("content-two"));
    assert!(
        pruned.err.contains(&format!("-{two}.json")),
        "{}",
        pruned.err
    );
    let json = pruned.json();
    let outcome = |name| {
        let guid = guid(&stream(name));
        let mut points = json["points"].as_array().expect("points").iter();
        let point = points.find(|point| point["guid"] == guid.as_str());
        point.expect("a point")["outcome"].as_str()
    };
    assert_eq!(outcome("content-two"), Some("failed"));
    assert_eq!(outcome("content-one"), Some("kept"));
    assert_eq!(scene.listed(), guids(&STREAMS));
    scene.assert_whole();
    scene.prune(&[]).done();
    assert_eq!(scene.listed(), guids(&["origin"]));
}

#[test]
fn a_put_upon_a_point_that_was_pruned_meanwhile_stores_nothing_that_is_listed() {
    let scene = Scene::with(&["content-one", "origin"]);
    let whole = stream("content-two");
    let mut child = scene.spawn(&["put", "--name", "web"]);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(&whole[..200_000]).expect("written");
    // It has found its base once it reads on; a pipe cannot be made smaller than what is in it.
    let begun = Instant::now();
    while fcntl(&stdin, FcntlArg::F_SETPIPE_SZ(4096)).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(50),
            "it does not read"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    scene.prune(&[]).done();
    stdin.write_all(&whole[200_000..]).expect("written");
    drop(stdin);
    let put = said(child.wait_with_output().expect("it ends"));
    assert_eq!((put.code, put.out.len()), (1, 0), "{put:?}");
    assert!(put.err.contains("in the archive no more"), "{}", put.err);
    assert_eq!(scene.listed(), guids(&["origin"]));
    scene.assert_whole();
    // What it has stored is young, and waits.
    assert_eq!(scene.keys("streams").len(), 2);
    let young = scene.prune(&[]).done();
    assert!(young.text().contains("not old enough"), "{}", young.text());
    scene.age(8);
    let old = scene.prune(&[]).done();
    assert!(old.text().contains("and 1 leftovers"), "{}", old.text());
    assert_eq!(scene.keys("streams").len(), 1);
}

#[test]
fn a_stream_that_was_cut_off_keeps_what_it_starts_from() {
    let scene = Scene::with(&["content-one", "origin"]);
    // Its part is stored, and its manifest is not.
    scene
        .server
        .next(Method::PUT, 1, Reaction::CutRequest(usize::MAX));
    scene
        .server
        .next(Method::PUT, 1, Reaction::Error(403, "AccessDenied", &[]));
    assert_eq!(scene.put(&stream("content-two"), &[]).code, 1);
    let pruned = scene.prune(&["--json"]).done().json();
    let mut points = pruned["points"].as_array().expect("points").iter();
    let one = guid(&stream("content-one"));
    let one = points.find(|point| point["guid"] == one.as_str());
    assert_eq!(one.expect("a point")["reasons"][0]["why"], "built-upon");
    scene.put(&stream("content-two"), &[]).done();
    assert_eq!(scene.listed(), guids(&STREAMS));
    scene.assert_whole();
}

#[test]
fn what_is_damaged_or_signed_by_nobody_keeps_its_lineage() {
    for damage in ["cut", "changed"] {
        let scene = Scene::with(&STREAMS);
        let two = guid(&stream("content-two"));
        let manifest = scene.keys(&format!("-{two}.json")).remove(0);
        let changed = scene
            .server
            .objects
            .tamper(&manifest.parse().expect("a key"), |body| match damage {
                "cut" => body.truncate(100),
                _ => {
                    let text = String::from_utf8(body.clone()).expect("text");
                    let other = text.replace("\"kind\":\"foreign\"", "\"kind\":\"lxd\"");
                    assert_ne!(other, text);
                    *body = other.into_bytes();
                }
            });
        assert!(changed);
        let before = scene.keys("");
        let pruned = scene.prune(&["--only-newest"]);
        assert_eq!(pruned.code, 0, "{pruned:?}");
        assert!(
            pruned.err.contains("warning:") && pruned.err.contains(&two),
            "{}",
            pruned.err
        );
        assert!(
            pruned.text().contains("beside one that cannot be used"),
            "{}",
            pruned.text()
        );
        assert_eq!(scene.keys(""), before);
    }
}

#[test]
fn what_is_said_of_a_point_is_shown_and_decides_whether_it_stays() {
    let scene = Scene::with(&STREAMS);
    let annotate = |at: &str, more: &[&str]| {
        scene.run(&[&["annotate", "--name", "web", "--at", at], more].concat())
    };
    let noted = annotate("two", &["--pin", "--note", "before\nthe upgrade", "--json"]);
    let json = noted.done().json();
    assert_eq!(
        (&json["written"], &json["point"]["pinned"]),
        (&true.into(), &true.into())
    );
    let again = annotate("two", &["--pin", "--json"]).done().json();
    assert_eq!(again["written"], false, "it was said already");
    let listed = scene.run(&["list"]).done();
    let text = listed.text();
    assert!(text.contains("PINNED") && text.contains("before"), "{text}");
    scene.prune(&["--only-newest"]).done();
    assert_eq!(scene.listed(), guids(&STREAMS), "with what it needs");

    let origin = guid(&stream("origin"));
    annotate(&origin, &["--alias", "golden"]).done();
    let taken = annotate("two", &["--alias", "golden"]);
    assert_eq!(taken.code, 3, "{taken:?}");
    annotate("golden", &["--alias", "gold"]).done();
    annotate("two", &["--alias", "golden"]).done();
    let kept = annotate("golden", &["--unpin"]);
    assert_eq!(kept.code, 3, "{kept:?}");
    assert!(kept.err.contains("keeps it"), "{}", kept.err);
    let nobody = annotate("nothing-like-it", &["--pin"]);
    assert_eq!(nobody.code, 3, "{nobody:?}");
    let released = annotate("golden", &["--unpin", "--no-alias", "--no-note"]).done();
    assert!(
        released.text().contains("nothing is said of it"),
        "{}",
        released.text()
    );
    assert_eq!(scene.keys("annotations").len(), 5);
    scene.prune(&["--only-newest"]).done();
    assert_eq!(scene.listed(), guids(&["origin"]));
    // What was said of those that are gone went with them.
    assert_eq!(scene.keys("annotations").len(), 2);
}

#[test]
fn in_a_folder_only_what_is_ours_is_collected() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("backup")).expect("a folder");
    let run = |arguments: &[&str], input: &[u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
        command.arg("archive").args(arguments).env_clear();
        command.env("TERRARIUM_STATE_DIR", path("state"));
        let url = format!("file://{}", path("backup").display());
        command.env("TERRARIUM_ARCHIVE", url).env("TZ", "UTC");
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            said(child.wait_with_output().expect("it ends"))
        })
    };
    let made = run(&["keygen", "--json"], &[]).json();
    let recipient = made["recipient"].as_str().expect("a recipient");
    run(&["init", "--recipient", recipient], &[]).done();
    for name in STREAMS {
        run(&["put", "--name", "web"], &stream(name)).done();
    }
    let old = SystemTime::now() - Duration::from_secs(30 * 24 * 60 * 60);
    let write = |name: &str| {
        let path = path("backup").join(name);
        fs::write(&path, "x").expect("written");
        let file = fs::File::options().write(true).open(&path).expect("a file");
        file.set_modified(old).expect("dated");
        path
    };
    let left = write("v1/~4711.1732000000000000000.0");
    let mine = [
        write("~4711.1732000000000000000.0"),
        write("v1/~letter.odt"),
        write("note.txt"),
    ];
    let dry = run(&["prune", "--dry-run", "--json"], &[]).done().json();
    assert_eq!(dry["leftovers"].as_array().map(Vec::len), Some(1), "{dry}");
    assert_eq!(dry["leftovers"][0]["kind"], "temporary");
    let pruned = run(&["prune", "--yes"], &[]).done();
    let expected = "removed 2 of 3 restore points and 1 leftovers";
    assert!(pruned.text().contains(expected), "{}", pruned.text());
    assert!(!left.exists() && mine.iter().all(|path| path.exists()));
    assert_eq!(run(&["verify"], &[]).code, 0);
    let empty = path("backup/v1/annotations").exists() || path("backup/v1/removals").exists();
    assert!(!empty, "no empty folder is left");
}
