//! `terrariumctl archive`, as a shell calls it, on the kernel's streams in `testbed/streams`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder with an empty archive in `backup`, the state of a host, and the identity `identity.txt`.
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

/// The guid of a captured stream's snapshot: the `toguid` of its first record.
fn guid(stream: &[u8]) -> String {
    u64::from_le_bytes(stream[40..48].try_into().expect("8 bytes")).to_string()
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().expect("no signal"),
        out: output.stdout,
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Scene {
    /// No archive yet.
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("backup")).expect("a folder");
        let scene = Self { folder };
        let made = scene.run(&["keygen"]);
        assert_eq!(made.code, 0, "{made:?}");
        fs::write(scene.path("identity.txt"), &made.out).expect("a file");
        scene
    }

    fn new() -> Self {
        let scene = Self::empty();
        let recipient = scene.recipient();
        let made = scene.run(&["init", "--recipient", &recipient]);
        assert_eq!((made.code, made.err.as_str()), (0, ""));
        scene
    }

    /// With these streams stored as `web`.
    fn with(streams: &[&str]) -> Self {
        let scene = Self::new();
        for name in streams {
            let put = scene.put("web", &stream(name), &[]);
            assert_eq!((put.code, put.err.as_str()), (0, ""), "{name}");
        }
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn recipient(&self) -> String {
        let file = fs::read_to_string(self.path("identity.txt")).expect("an identity");
        let line = file
            .lines()
            .find_map(|line| line.strip_prefix("# public key: "));
        line.expect("a recipient").to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
        command.arg("archive").args(arguments);
        command.env_clear().env("TZ", "UTC");
        command.env("TERRARIUM_STATE_DIR", self.path("state"));
        let backup = self.path("backup");
        command.env("TERRARIUM_ARCHIVE", format!("file://{}", backup.display()));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).output().expect("it starts"))
    }

    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::thread::scope(|scope| {
            // It need not read all of what it refuses.
            scope.spawn(move || stdin.write_all(input));
            said(child.wait_with_output().expect("it ends"))
        })
    }

    fn put(&self, name: &str, stream: &[u8], more: &[&str]) -> Said {
        let line = [&["put", "--name", name], more].concat();
        self.run_with_input(&line, stream)
    }

    fn get(&self, more: &[&str]) -> Said {
        let line = ["get", "--name", "web", "--identity", "identity.txt"];
        self.run(&[&line, more].concat())
    }

    fn list(&self) -> Value {
        let listed = self.run(&["list", "--json"]);
        assert_eq!((listed.code, listed.err.as_str()), (0, ""));
        listed.json()
    }

    /// All files of the archive whose path has this in it.
    fn objects(&self, part: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("backup")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path),
                }
            }
        }
        found.retain(|path| path.to_string_lossy().contains(part));
        found.sort();
        found
    }

    /// Changes `archive.json` behind the host's back.
    fn exchange(&self, from: &str, to: &str) {
        let path = self.path("backup/v1/archive.json");
        let text = fs::read_to_string(&path).expect("archive.json");
        assert!(text.contains(from));
        fs::write(path, text.replace(from, to)).expect("written");
    }
}

#[test]
fn an_identity_is_printed_and_kept_nowhere() {
    let scene = Scene::empty();
    let file = fs::read_to_string(scene.path("identity.txt")).expect("an identity");
    let mut lines = file.lines();
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("# public key: age1"))
    );
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("AGE-SECRET-KEY-1"))
    );
    assert_eq!(lines.next(), None);
    let made = scene.run(&["keygen", "--json"]);
    let json = made.json();
    assert!(
        json["recipient"]
            .as_str()
            .is_some_and(|text| text.starts_with("age1"))
    );
    assert!(
        json["identity"]
            .as_str()
            .is_some_and(|text| text.starts_with("AGE-SECRET-KEY-1"))
    );
    assert!(!scene.path("state").exists());
}

#[test]
fn an_archive_is_made_once_and_the_host_remembers_it() {
    let scene = Scene::empty();
    let recipient = scene.recipient();
    let line = ["init", "--recipient", &recipient];
    let dry = scene.run(&[&line[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, 0);
    assert!(
        dry.text().starts_with("would make the archive"),
        "{}",
        dry.text()
    );
    assert!(!scene.path("state").exists() && scene.objects("").is_empty());

    let made = scene.run(&[&line[..], &["--json"]].concat()).json();
    let (id, key) = (made["id"].as_str(), made["host_key"].as_str());
    assert!(id.is_some() && key.is_some_and(|key| key.starts_with("terrarium-host-")));
    let mode = fs::metadata(scene.path("state/host.key"))
        .expect("a key")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let secret = fs::read_to_string(scene.path("state/host.key")).expect("a key");
    assert!(secret.starts_with("terrarium-host-secret-"));
    assert_eq!(scene.objects(""), [scene.path("backup/v1/archive.json")]);
    let listed = scene.list();
    assert_eq!(listed["archive"]["id"].as_str(), id);
    assert_eq!(listed["archive"]["pinned"], "same");
    assert_eq!(listed["archive"]["host_keys"][0].as_str(), key);

    let again = scene.run(&line);
    assert_eq!(again.code, 3);
    assert!(again.err.contains(id.expect("an id")), "{}", again.err);
    assert_eq!(
        scene.list()["archive"]["pinned"],
        "same",
        "the pin stays as it was"
    );
}

#[test]
fn what_makes_no_sense_is_2_and_what_is_not_there_3() {
    let scene = Scene::empty();
    for (line, code) in [
        (&["init", "--recipient", "age1nobody"][..], 2),
        (&["init"], 2),
        (&["list", "--archive", "/mnt/backup"], 2),
        (&["list", "--pool-file", "x"], 2),
        (&["verify", "--deep"], 2),
        (&["get", "--name", "web"], 2),
        (&["put", "--name", "a\tb"], 2),
        (&["put", "--name", "web", "--workers", "0"], 2),
        (&["put", "--name", "web", "--workers", "257"], 2),
        (&["list"], 3),
        (&["list", "--archive", "file:///nonexistent"], 3),
        (&["put", "--name", "web"], 3),
    ] {
        let said = scene.run(line);
        assert_eq!(said.code, code, "{line:?}: {said:?}");
        assert!(
            said.out.is_empty() && said.err.contains("error:"),
            "{said:?}"
        );
    }
    let nowhere = scene
        .command(&["list"])
        .env_remove("TERRARIUM_ARCHIVE")
        .output();
    assert_eq!(said(nowhere.expect("it starts")).code, 2);
}

#[test]
fn streams_are_stored_and_read_back_as_they_were() {
    let names = ["content-one", "content-two", "content-three"];
    let scene = Scene::with(&names);
    let listed = scene.list();
    let points = listed["points"].as_array().expect("points");
    let guids: Vec<_> = points
        .iter()
        .map(|point| point["guid"].as_str().expect("a guid"))
        .collect();
    let streams = names.map(stream);
    assert_eq!(guids, streams.each_ref().map(|stream| guid(stream)));
    for point in points {
        assert_eq!(point["lineage"], points[0]["lineage"]);
        assert_eq!(
            (&point["verdict"], &point["name"]),
            (&"signed".into(), &"web".into())
        );
    }
    assert_eq!(points[0]["base"], "full");
    assert_eq!(points[1]["base"]["point"].as_str(), Some(guids[0]));

    let newest = scene.get(&[]);
    assert_eq!(newest.code, 0, "{}", newest.err);
    assert!(newest.out == streams[2]);
    for (name, stream) in names.iter().zip(&streams) {
        let at = name.replace('-', "@").replace("content", "capture/content");
        for selector in [guid(stream), at] {
            let got = scene.get(&["--single", "--at", &selector]);
            assert!(
                got.code == 0 && got.out == *stream,
                "{selector}: {}",
                got.err
            );
            assert!(got.err.contains("signed"), "{}", got.err);
        }
    }
    let chain = scene.get(&["--chain"]);
    assert!(chain.code == 0 && chain.out == streams.concat());
    let two = scene.get(&["--chain", "--at", "two"]);
    assert!(two.code == 0 && two.out == streams[..2].concat());
    let none = scene.get(&["--at", "four"]);
    assert_eq!((none.code, none.out.len()), (3, 0));

    for depth in [
        &["verify"][..],
        &["verify", "--deep", "--identity", "identity.txt"],
    ] {
        let verified = scene.run(depth);
        assert_eq!(verified.code, 0, "{}", verified.err);
        assert!(
            verified.text().contains("3 restore points") && verified.text().contains("all whole")
        );
    }
    let text = scene.run(&["list"]);
    assert!(
        text.text().contains("capture/content@three"),
        "{}",
        text.text()
    );
    assert!(
        !scene
            .path("state/journals")
            .read_dir()
            .expect("a folder")
            .any(|_| true)
    );
}

#[test]
fn a_chain_is_written_into_files_that_are_whole_or_not_there() {
    let scene = Scene::with(&["content-one", "content-two"]);
    let got = scene
        .get(&["--chain", "--out", "streams/web", "--json"])
        .json();
    let files = got["files"].as_array().expect("files");
    for (file, name) in files.iter().zip(["content-one", "content-two"]) {
        let path = scene.path(file["path"].as_str().expect("a path"));
        assert!(fs::read(path).expect("a stream") == stream(name));
    }
    let in_folder = || {
        fs::read_dir(scene.path("streams/web"))
            .expect("a folder")
            .count()
    };
    assert_eq!((files.len(), in_folder()), (2, 2));
    let again = scene.get(&["--chain", "--out", "streams/web"]);
    assert_eq!(again.code, 3, "nothing is written over: {}", again.err);

    let damaged = &scene.objects("v1/streams")[0];
    let mut bytes = fs::read(damaged).expect("a part");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(damaged, bytes).expect("written");
    let broken = scene.get(&["--chain", "--out", "other"]);
    assert_eq!(broken.code, 1, "{}", broken.err);
    let left = fs::read_dir(scene.path("other")).expect("a folder");
    for file in left {
        let path = file.expect("an entry").path();
        let whole = fs::read(&path).expect("a stream") == stream("content-one");
        assert!(whole, "{}", path.display());
    }
}

#[test]
fn a_stream_that_is_there_already_is_not_stored_again() {
    let scene = Scene::with(&["content-one"]);
    let before = scene.objects("");
    let again = scene.put("web", &stream("content-one"), &["--json"]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    assert_eq!(again.json()["stored"], false);
    assert_eq!(scene.objects(""), before);
}

#[test]
fn what_cannot_be_restored_is_not_stored() {
    let scene = Scene::with(&["content-one"]);
    let before = scene.objects("");
    let whole = stream("content-two");
    let refused = [
        ("the base is missing", stream("content-three"), 3),
        ("a package", stream("package-recursive"), 3),
        ("the rest of one", stream("content-one-resumed"), 3),
        ("empty", Vec::new(), 3),
        ("no stream", vec![b'x'; 4096], 3),
    ];
    for (what, stream, code) in refused {
        let put = scene.put("web", &stream, &[]);
        assert_eq!((put.code, put.out.len()), (code, 0), "{what}: {}", put.err);
        assert_eq!(scene.objects(""), before, "{what}");
    }
    let other = scene.put("other", &whole, &[]);
    assert_eq!(other.code, 3);
    assert!(other.err.contains("\"web\""), "{}", other.err);

    for (what, stream) in [
        ("cut off", whole[..whole.len() - 100].to_vec()),
        ("damaged", {
            let mut stream = whole.clone();
            stream[whole.len() / 2] ^= 1;
            stream
        }),
    ] {
        let put = scene.put("web", &stream, &[]);
        assert_eq!((put.code, put.out.len()), (1, 0), "{what}: {}", put.err);
        assert_eq!(scene.list()["points"].as_array().map(Vec::len), Some(1));
    }
    assert_eq!(scene.put("web", &whole, &[]).code, 0);
}

#[test]
fn a_full_stream_joins_the_only_lineage_of_its_name_unless_told_otherwise() {
    let scene = Scene::with(&["content-one"]);
    let lineage = |put: Said| {
        assert_eq!(put.code, 0, "{}", put.err);
        put.json()["point"]["lineage"]
            .as_str()
            .expect("a lineage")
            .to_owned()
    };
    let first = scene.list()["points"][0]["lineage"].clone();
    let joined = lineage(scene.put("web", &stream("large-full"), &["--json"]));
    assert_eq!(Some(joined.as_str()), first.as_str());
    let other = lineage(scene.put("web", &stream("folded"), &["--json", "--new-lineage"]));
    assert_ne!(other, joined);
    let unclear = scene.put("web", &stream("dnodes"), &[]);
    assert_eq!(unclear.code, 3);
    assert!(
        unclear.err.contains(&other) && unclear.err.contains(&joined),
        "{}",
        unclear.err
    );
    let chosen = lineage(scene.put("web", &stream("dnodes"), &["--json", "--lineage", &other]));
    assert_eq!(chosen, other);
    // An incremental goes where its base is.
    let two = lineage(scene.put("web", &stream("content-two"), &["--json"]));
    assert_eq!(two, joined);
    assert_eq!(
        scene
            .put("web", &stream("content-three"), &["--new-lineage"])
            .code,
        2
    );
}

#[test]
fn a_clone_builds_upon_its_origin_in_another_lineage() {
    let scene = Scene::new();
    assert_eq!(scene.put("web", &stream("clone"), &[]).code, 3);
    assert_eq!(scene.put("base", &stream("origin"), &[]).code, 0);
    let put = scene.put("web", &stream("clone"), &["--json"]);
    assert_eq!(put.code, 0, "{}", put.err);
    let base = &put.json()["point"]["base"]["origin"];
    assert_eq!(base.as_str(), Some(guid(&stream("origin")).as_str()));
    let chain = scene.get(&["--chain"]);
    assert!(chain.out == [stream("origin"), stream("clone")].concat());
}

#[test]
fn an_alias_finds_a_point_and_is_given_once() {
    let scene = Scene::new();
    let first = scene.put(
        "web",
        &stream("content-one"),
        &["--alias", "before-upgrade"],
    );
    assert_eq!(first.code, 0, "{}", first.err);
    let taken = scene.put(
        "web",
        &stream("content-two"),
        &["--alias", "before-upgrade"],
    );
    assert_eq!(taken.code, 3, "{}", taken.err);
    assert_eq!(scene.put("web", &stream("content-two"), &[]).code, 0);
    let got = scene.get(&["--at", "before-upgrade"]);
    assert!(got.code == 0 && got.out == stream("content-one"));
}

#[test]
fn whatever_is_damaged_is_named_with_the_points_that_it_affects() {
    let scene = Scene::with(&["content-one", "content-two", "content-three"]);
    let guids = ["content-one", "content-two", "content-three"].map(|name| guid(&stream(name)));
    let part = scene.objects(&format!("streams/{}/", guids[1])).remove(0);
    let body = fs::read(&part).expect("a part");
    let object = part
        .strip_prefix(scene.path("backup"))
        .expect("below")
        .display()
        .to_string();
    let verify = |deep: bool| match deep {
        false => scene.run(&["verify", "--json"]),
        true => scene.run(&["verify", "--json", "--deep", "--identity", "identity.txt"]),
    };
    for (deep, damaged) in [
        (false, None),
        (false, Some(body[1..].to_vec())),
        (
            true,
            Some([&body[..body.len() - 1], &[!body[body.len() - 1]]].concat()),
        ),
    ] {
        match damaged {
            None => fs::remove_file(&part).expect("removed"),
            Some(damaged) => fs::write(&part, damaged).expect("written"),
        }
        let said = verify(deep);
        assert_eq!(said.code, 1);
        let json = said.json();
        let damages = json["damages"].as_array().expect("damages");
        assert_eq!(damages.len(), 1, "{json}");
        assert_eq!(damages[0]["object"].as_str(), Some(object.as_str()));
        assert_eq!(
            damages[0]["affects"],
            serde_json::json!([guids[1], guids[2]])
        );
        let points = json["points"].as_array().expect("points");
        let states: Vec<_> = points
            .iter()
            .map(|point| point["state"].as_str().expect("a word"))
            .collect();
        assert_eq!(states, ["whole", "damaged", "affected"]);
        fs::write(&part, &body).expect("written");
    }
    fs::remove_file(&part).expect("removed");
    let text = scene.run(&["verify"]);
    assert!(
        text.text()
            .contains(&format!("damaged: {object} is missing")),
        "{}",
        text.text()
    );
    assert!(
        text.text().contains("affects web: capture/content@three"),
        "{}",
        text.text()
    );
    // What does not need it can still be had.
    assert!(scene.get(&["--at", "one"]).out == stream("content-one"));
    assert_eq!(scene.get(&["--chain"]).code, 1);
}

#[test]
fn a_manifest_that_is_damaged_hides_no_other() {
    let scene = Scene::with(&["content-one", "content-two"]);
    let two = guid(&stream("content-two"));
    let manifest = scene.objects(&format!("-{two}.json")).remove(0);
    fs::write(&manifest, "{").expect("written");
    let listed = scene.run(&["list", "--json"]);
    assert_eq!(listed.code, 1);
    let json = listed.json();
    assert_eq!(json["points"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["unreadable"][0]["guid"].as_str(), Some(two.as_str()));
    let three = scene.put("web", &stream("content-three"), &[]);
    assert_eq!(three.code, 3, "its base cannot be restored: {}", three.err);
    let again = scene.put("web", &stream("content-two"), &[]);
    assert_eq!(again.code, 3, "its place is taken: {}", again.err);
    assert!(scene.get(&["--at", "one"]).out == stream("content-one"));
}

#[test]
fn an_archive_that_was_exchanged_is_not_written_to() {
    let scene = Scene::with(&["content-one"]);
    let before = scene.objects("");
    let id = scene.list()["archive"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let other = scene.run(&["keygen", "--json"]).json();
    let other = other["recipient"].as_str().expect("a recipient").to_owned();
    let id_elsewhere = format!("{}{}", &id[..35], if id.ends_with('0') { '1' } else { '0' });
    for (from, to) in [(&id, &id_elsewhere), (&scene.recipient(), &other)] {
        scene.exchange(from, to);
        let put = scene.put("web", &stream("content-two"), &[]);
        assert_eq!(put.code, 3, "{}", put.err);
        assert!(put.err.contains(to.as_str()), "{}", put.err);
        assert_eq!(scene.objects(""), before);
        let listed = scene.run(&["list", "--json"]);
        assert!(listed.err.contains("warning:"), "{}", listed.err);
        assert_eq!(listed.json()["archive"]["pinned"], "differs");
        scene.exchange(to, from);
    }
    assert_eq!(scene.put("web", &stream("content-two"), &[]).code, 0);
    // A host that did not make it has nothing to compare with, and no key that may sign.
    fs::remove_dir_all(scene.path("state")).expect("removed");
    let stranger = scene.put("web", &stream("content-three"), &[]);
    assert_eq!(stranger.code, 3, "{}", stranger.err);
    assert_eq!(scene.list()["archive"]["pinned"], "unknown");
}

#[test]
fn a_point_that_nobody_signed_is_shown_and_not_taken_by_itself() {
    let scene = Scene::with(&["content-one"]);
    let manifest = scene.objects("v1/manifests").remove(0);
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let changed = text.replace("\"kind\":\"foreign\"", "\"kind\":\"on-demand\"");
    assert_ne!(changed, text);
    fs::write(&manifest, changed).expect("written");
    let point = &scene.list()["points"][0];
    assert_eq!(
        (&point["verdict"], &point["trusted"]),
        (&"wrong".into(), &false.into())
    );
    assert_eq!(scene.run(&["verify"]).code, 1);
    let refused = scene.get(&[]);
    assert_eq!((refused.code, refused.out.len()), (3, 0), "{}", refused.err);
    let taken = scene.get(&["--unverified"]);
    assert!(taken.code == 0 && taken.out == stream("content-one"));
    assert!(taken.err.contains("wrong"), "{}", taken.err);
    let put = scene.put("web", &stream("content-two"), &[]);
    assert_eq!(put.code, 3, "nothing builds upon it: {}", put.err);
}

#[test]
fn an_identity_of_somebody_else_reads_nothing() {
    let scene = Scene::with(&["content-one"]);
    let other = scene.run(&["keygen"]);
    let line = ["get", "--name", "web", "--identity", "-"];
    let wrong = scene.run_with_input(&line, &other.out);
    assert_eq!((wrong.code, wrong.out.len()), (3, 0), "{}", wrong.err);
    let verify = ["verify", "--deep", "--identity", "-"];
    let wrong = scene.run_with_input(&verify, &other.out);
    assert_eq!((wrong.code, wrong.out.len()), (3, 0), "{}", wrong.err);
    let own = fs::read(scene.path("identity.txt")).expect("an identity");
    let right = scene.run_with_input(&line, &own);
    assert!(right.code == 0 && right.out == stream("content-one"));
}

/// As `age -p` does it, with less work.
fn protected(file: &[u8], passphrase: &str) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new(passphrase.to_owned().into());
    recipient.set_work_factor(2);
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients).expect("a recipient");
    let mut writer = encryptor.wrap_output(Vec::new()).expect("memory");
    writer.write_all(file).expect("memory");
    writer.finish().expect("memory")
}

#[test]
fn a_passphrase_opens_an_identity_that_it_protects() {
    let scene = Scene::with(&["content-one"]);
    let own = fs::read(scene.path("identity.txt")).expect("an identity");
    fs::write(scene.path("identity.age"), protected(&own, "correct horse")).expect("written");
    fs::write(scene.path("right"), "correct horse\n").expect("written");
    fs::write(scene.path("wrong"), "battery staple\n").expect("written");
    let line = ["get", "--name", "web", "--identity", "identity.age"];
    let with = |file| scene.run(&[&line[..], &["--passphrase-file", file]].concat());
    let right = with("right");
    assert!(
        right.code == 0 && right.out == stream("content-one"),
        "{}",
        right.err
    );
    let wrong = with("wrong");
    assert_eq!((wrong.code, wrong.out.len()), (3, 0), "{}", wrong.err);
    assert!(!wrong.err.contains("battery"), "{}", wrong.err);

    // Without a terminal nobody can be asked.
    let alone = scene.command(&line);
    let alone = said(
        Command::new("setsid")
            .arg("-w")
            .arg(alone.get_program())
            .args(alone.get_args())
            .envs(
                alone
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(scene.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("it starts"),
    );
    assert_eq!((alone.code, alone.out.len()), (3, 0), "{}", alone.err);
    assert!(alone.err.contains("--passphrase-file"), "{}", alone.err);
}

#[test]
fn a_put_that_is_killed_leaves_nothing_that_is_listed() {
    let scene = Scene::with(&["content-one"]);
    let whole = stream("content-two");
    for length in [200, 100_000, whole.len() - 1] {
        let mut child = scene
            .command(&["put", "--name", "web"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(&whole[..length]).expect("written");
        std::thread::sleep(std::time::Duration::from_millis(100));
        child.kill().expect("killed");
        child.wait().expect("ended");
        drop(stdin);
        let points = scene.list()["points"].as_array().map(Vec::len);
        assert_eq!(points, Some(1), "after {length} bytes");
        let verified = scene.run(&["verify"]);
        assert_eq!(
            verified.code, 0,
            "what is left is no damage: {}",
            verified.err
        );
    }
    let again = scene.put("web", &whole, &[]);
    assert_eq!((again.code, again.err.as_str()), (0, ""));
    assert!(scene.get(&[]).out == whole);
    let journals = fs::read_dir(scene.path("state/journals")).expect("a folder");
    assert_eq!(journals.count(), 0);
}

#[test]
fn a_put_that_is_interrupted_says_so_and_can_be_repeated() {
    let scene = Scene::new();
    let whole = stream("content-one");
    let mut child = scene
        .command(&["put", "--name", "web"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // More than a pipe holds: it reads, so it listens to signals.
    stdin.write_all(&whole[..600_000]).expect("written");
    let process = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a number"));
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).expect("sent");
    let output = child.wait_with_output().expect("it ends");
    drop(stdin);
    let interrupted = said(output);
    assert_eq!(interrupted.code, 130, "{interrupted:?}");
    assert!(
        interrupted.err.contains("not in the archive"),
        "{}",
        interrupted.err
    );
    assert_eq!(scene.list()["points"].as_array().map(Vec::len), Some(0));
    assert_eq!(scene.put("web", &whole, &[]).code, 0);
}

#[test]
fn a_passphrase_is_asked_for_on_the_terminal_and_not_shown() {
    use std::io::Read;
    use std::os::fd::AsFd;

    let scene = Scene::with(&["content-one"]);
    let own = fs::read(scene.path("identity.txt")).expect("an identity");
    fs::write(scene.path("identity.age"), protected(&own, "correct horse")).expect("written");
    let ends = nix::pty::openpty(None, None).expect("a terminal");
    let command = scene.command(&["get", "--name", "web", "--identity", "identity.age"]);
    let mut asked = Command::new("setsid");
    // The terminal on its standard input becomes the one of its own session.
    asked
        .args(["-c", "-w"])
        .arg(command.get_program())
        .args(command.get_args());
    asked.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    asked.current_dir(scene.folder.path());
    asked.stdin(ends.slave.as_fd().try_clone_to_owned().expect("cloned"));
    asked.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = asked.spawn().expect("it starts");
    let mut terminal = fs::File::from(ends.master);
    let mut shown = Vec::new();
    let mut some = [0; 256];
    while !String::from_utf8_lossy(&shown).contains("Passphrase of identity.age: ") {
        let length = terminal.read(&mut some).expect("a prompt");
        shown.extend_from_slice(&some[..length]);
    }
    terminal.write_all(b"correct horse\n").expect("typed");
    let output = said(child.wait_with_output().expect("it ends"));
    assert!(
        output.code == 0 && output.out == stream("content-one"),
        "{}",
        output.err
    );
    let length = terminal.read(&mut some).expect("the end of the line");
    shown.extend_from_slice(&some[..length]);
    let shown = String::from_utf8_lossy(&shown);
    assert!(!shown.contains("horse"), "{shown}");
}
