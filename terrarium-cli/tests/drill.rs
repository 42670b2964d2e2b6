//! `backup drill`, by the built binary: on a machine that has nothing but the archive and the identity, and on the host.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::Said;
use support::archive::{Archived, json};
use terrarium_s3::archive::{HostState, Location, S3Options};
use terrarium_s3::crypto::Identities;
use terrarium_s3::format::{Document, Manifest};

const DRILL: &[&str] = &[
    "backup",
    "drill",
    "--instance",
    "web",
    "--identity",
    "identity.txt",
    "--scratch",
    "scratch",
];

/// An archive with the points `one`, `two` and `three` of `web`, each built upon the one before.
struct Drills {
    archived: Archived,
}

impl Drills {
    fn new(export: &[&str]) -> Self {
        let archived = Archived::new();
        fs::create_dir(archived.path("scratch")).expect("a folder");
        for alias in ["one", "two", "three"] {
            archived.snapshot(alias, alias);
            archived.export(export);
        }
        Self { archived }
    }

    /// On a machine without ZFS and LXD.
    fn drill(&self, more: &[&str]) -> Said {
        let said = self.archived.run(&[DRILL, more].concat());
        self.nothing_is_left();
        said
    }

    fn drill_here(&self, more: &[&str]) -> Said {
        let said = self.archived.here(&[DRILL, more].concat());
        self.nothing_is_left();
        said
    }

    fn nothing_is_left(&self) {
        let left = fs::read_dir(self.archived.path("scratch")).expect("a folder");
        let left: Vec<_> = left.flatten().map(|entry| entry.path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }

    fn records(&self) -> Vec<Value> {
        let path = self.archived.path("state/drills.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(json).collect()
    }
}

/// The point's manifest with another digest sealed in it, signed by the host.
fn seal(archived: &Archived, alias: &str, digest: &str) {
    let file = archived.manifest_of(alias);
    let place = format!("file://{}", archived.path("archive").display());
    let location: Location = place.parse().expect("a place");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let opened = runtime.expect("a runtime").block_on(async {
        let (store, layout) = location.open(&S3Options::default()).await.expect("opened");
        terrarium_s3::archive::Archive::open(std::sync::Arc::new(store), layout).await
    });
    let document = opened.expect("opened").document().clone();
    let body = fs::read(&file).expect("read");
    let envelope = json(std::str::from_utf8(&body).expect("text"));
    let manifest: Manifest = serde_json::from_value(envelope["body"].clone()).expect("a manifest");
    let identity = fs::read(archived.path("identity.txt")).expect("read");
    let identities = Identities::parse(&identity, None).expect("an identity");
    let mut sealed = manifest.open(&identities).expect("opened");
    sealed.tree = Some(digest.to_owned());
    let manifest = Manifest {
        sealed: sealed.seal(&document.recipients).expect("sealed"),
        ..manifest
    };
    let key = HostState::new(archived.path("state"))
        .host_key()
        .expect("read");
    let written = manifest.write(key.as_ref()).expect("written");
    fs::write(file, written).expect("written");
}

#[test]
fn a_point_is_compared_with_the_digest_that_was_sealed_when_it_was_exported() {
    let drills = Drills::new(&["--digest"]);
    let said = drills.drill(&[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let lines: Vec<_> = said.out.lines().collect();
    assert!(lines[0].starts_with("web: snap-"), "{said:?}");
    assert!(
        lines[0].ends_with("): equal to what was exported"),
        "{said:?}"
    );
    assert!(lines[1].starts_with("  3 streams, "), "{said:?}");
    assert!(
        lines[2].starts_with("  2 names, 5 B of files, read in "),
        "{said:?}"
    );
    let digest = lines[3].strip_prefix("  digest ").expect("a digest");

    let said = drills.drill(&["--json", "--at", "two"]);
    let answer = json(&said.out);
    assert_eq!((said.code, &answer["exit_code"]), (0, &0.into()));
    let drill = &answer["drill"];
    assert_eq!(
        (&drill["verdict"], &drill["streams"]),
        (&"equal".into(), &2.into())
    );
    assert_eq!(drill["compared_with"], "sealed");
    let two = drill["digest"].as_str().expect("a digest").to_owned();
    assert_ne!(two, digest);

    // Whoever knows the digest can say it; who says another one is told.
    let said = drills.drill(&["--expect", digest]);
    assert!(
        said.out.contains("equal to the digest that was given"),
        "{said:?}"
    );
    let said = drills.drill(&["--expect", &two]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("differs from the digest that was given"),
        "{said:?}"
    );

    let records = drills.records();
    let verdicts: Vec<_> = records.iter().map(|record| &record["verdict"]).collect();
    assert_eq!(verdicts, ["equal", "equal", "equal", "differs"]);
    for field in ["guid", "lineage", "digest", "at", "streams"] {
        assert_eq!(records[1][field], drill[field], "{field}");
    }
    let noted = fs::metadata(drills.archived.path("state/drills.jsonl")).expect("noted");
    assert_eq!(noted.permissions().mode() & 0o777, 0o600);

    // A line that was cut off spoils neither the next one nor the list.
    let path = drills.archived.path("state/drills.jsonl");
    let mut text = fs::read_to_string(&path).expect("read");
    text.push_str("{\"version\":1,");
    fs::write(&path, text).expect("written");
    drills.drill(&["--at", "one"]);
    let history = drills.archived.run(&["backup", "drill", "--history"]);
    assert_eq!(history.code, 0, "{history:?}");
    assert_eq!(history.out.lines().count(), 6, "{history:?}");
    assert_eq!(history.err, "warning: 1 notes of drills cannot be read\n");
    assert!(
        history
            .out
            .lines()
            .nth(1)
            .expect("the latest")
            .ends_with("equal to what was exported")
    );
}

#[test]
fn without_a_sealed_digest_the_snapshot_on_this_host_says_what_is_expected() {
    let drills = Drills::new(&[]);
    let said = drills.drill(&["--name", "web"]);
    assert_eq!(said.code, 2, "one of the two: {said:?}");
    let said = drills.drill(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("): readable, not compared\n"), "{said:?}");
    let said = drills.drill_here(&["--at", "one"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(
        said.out.contains("): equal to the snapshot on this host\n"),
        "{said:?}"
    );
    let verdicts: Vec<_> = drills
        .records()
        .iter()
        .map(|record| record["verdict"].clone())
        .collect();
    assert_eq!(verdicts, ["readable", "equal"]);
}

#[test]
fn a_point_that_is_whole_and_holds_something_else_differs() {
    let drills = Drills::new(&["--digest"]);
    let one = json(&drills.drill(&["--json", "--at", "one"]).out);
    let digest = one["drill"]["digest"].as_str().expect("a digest");
    seal(&drills.archived, "three", digest);
    let said = drills.drill(&[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("): differs from what was exported\n"),
        "{said:?}"
    );
    // What this version does not know is no digest, and no alarm.
    seal(&drills.archived, "three", "sha3:00");
    let said = drills.drill(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.err.contains("none that this version knows"),
        "{said:?}"
    );
    assert!(said.out.contains("): readable, not compared\n"), "{said:?}");
}

/// What it is called, and what does it to a part.
type Damage = (&'static str, fn(&Path));

#[test]
fn damage_of_any_stream_of_the_chain_is_named_and_nothing_is_left() {
    let drills = Drills::new(&["--digest"]);
    let damages: [Damage; 3] = [
        ("is missing", |part| fs::remove_file(part).expect("removed")),
        ("flipped", |part| {
            let mut bytes = fs::read(part).expect("read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(part, bytes).expect("written");
        }),
        ("cut", |part| {
            let bytes = fs::read(part).expect("read");
            fs::write(part, &bytes[..bytes.len() - 1]).expect("written");
        }),
    ];
    let mut count = 0;
    for alias in ["one", "two", "three"] {
        let part = drills.archived.parts_of(alias).swap_remove(0);
        let whole = fs::read(&part).expect("read");
        let name = part
            .strip_prefix(drills.archived.path("archive"))
            .expect("within");
        for (what, damage) in &damages {
            damage(&part);
            let said = drills.drill(&[]);
            assert_eq!(said.code, 1, "{alias}, {what}: {said:?}");
            assert!(
                said.out.contains("): failed: "),
                "{alias}, {what}: {said:?}"
            );
            let name = name.display().to_string();
            assert!(said.out.contains(&name), "{alias}, {what}: {said:?}");
            fs::write(&part, &whole).expect("written");
            count += 1;
        }
    }
    let records = drills.records();
    assert_eq!(records.len(), count);
    assert!(records.iter().all(|record| record["verdict"] == "failed"));
    assert_eq!(drills.drill(&[]).code, 0, "all is whole again");
}

#[test]
fn what_cannot_be_drilled_is_refused_before_anything_is_fetched() {
    let drills = Drills::new(&[]);
    let archived = &drills.archived;
    let other = archived.run(&["archive", "keygen"]);
    fs::write(archived.path("other.txt"), other.out).expect("written");
    // The same name in another project.
    let line = ["backup", "snapshot", "--instance", "tenant/shop"];
    archived.done_here(&line);
    archived.done_here(&["backup", "export", "--instance", "tenant/shop"]);
    let engine = archived.scene.engine();
    let stream = fs::File::create(archived.path("stream")).expect("a file");
    let copy = terrarium_zfs::SnapshotName::new("demo/containers/tenant_shop@copy").expect("it");
    engine
        .snapshot(&[(copy.clone(), Default::default())])
        .expect("taken");
    engine
        .send(&copy, None, terrarium_zfs::SendFlags::default(), &stream)
        .expect("sent");
    drop(engine);
    let stream = fs::File::open(archived.path("stream")).expect("a file");
    let line = ["archive", "put", "--name", "shop", "--new-lineage"];
    let mut put = archived.command(&line);
    let put = archived.scene.said(put.stdin(Stdio::from(stream)));
    assert_eq!(put.code, 0, "{put:?}");

    let cases: [(&[&str], i32, &str); 8] = [
        (
            &["--instance", "web", "--identity", "other.txt"],
            3,
            "identity",
        ),
        (&["--instance", "web"], 2, "--identity"),
        (&["--identity", "identity.txt"], 2, "--instance"),
        (
            &["--instance", "nope", "--identity", "identity.txt"],
            3,
            "it has those of shop, web",
        ),
        (
            &["--name", "nope", "--identity", "identity.txt"],
            3,
            "it has those of shop, web",
        ),
        (
            &["--name", "shop", "--identity", "identity.txt"],
            3,
            "tenant/shop",
        ),
        (
            &[
                "--name",
                "web",
                "--at",
                "nope",
                "--identity",
                "identity.txt",
            ],
            3,
            "nope",
        ),
        (
            &[
                "--name",
                "web",
                "--at",
                "snap-",
                "--identity",
                "identity.txt",
            ],
            3,
            "snap-",
        ),
    ];
    for (more, code, text) in cases {
        let said = archived.run(&[&["backup", "drill", "--scratch", "scratch"], more].concat());
        assert_eq!(
            (said.code, said.out.as_str()),
            (code, ""),
            "{more:?}: {said:?}"
        );
        assert!(said.err.contains(text), "{more:?}: {said:?}");
        drills.nothing_is_left();
    }
    // Neither does a folder that is not there say anything of the point.
    let line = [
        "backup",
        "drill",
        "--name",
        "web",
        "--identity",
        "identity.txt",
    ];
    let said = archived.run(&[&line[..], &["--scratch", "nowhere"]].concat());
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains("scratch pool in nowhere"), "{said:?}");
    assert_eq!(drills.records(), Vec::<Value>::new());
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("it").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    pids.filter(|&pid| parent(pid) == Some(of)).collect()
}

fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "not soon: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_there(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, fields)| fields.to_owned());
    state.is_some_and(|state| !state.starts_with('Z'))
}

#[test]
fn a_drill_that_is_interrupted_or_killed_leaves_nothing() {
    let drills = Drills::new(&["--digest"]);
    let scratch = drills.archived.path("scratch");
    let is_empty = || fs::read_dir(&scratch).is_ok_and(|mut found| found.next().is_none());
    for (signal, code) in [
        (Signal::SIGINT, Some(130)),
        (Signal::SIGTERM, Some(130)),
        (Signal::SIGKILL, None),
    ] {
        let mut command = drills.archived.command(DRILL);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child: Child = command.spawn().expect("it starts");
        let mut engine = Vec::new();
        soon("the engine runs", || {
            engine = children(child.id());
            !engine.is_empty()
        });
        if signal == Signal::SIGKILL {
            // Its file has a name until the pool is made.
            soon("the pool is there", || !is_empty());
            soon("its file has no name", is_empty);
        }
        kill(Pid::from_raw(child.id() as i32), signal).expect("sent");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), code, "{signal}");
        soon("the engine ends", || {
            !engine.iter().any(|&pid| is_there(pid))
        });
        assert!(is_empty(), "{signal}");
        assert_eq!(drills.records(), Vec::<Value>::new(), "{signal}");
    }
    assert_eq!(drills.drill(&[]).code, 0);
}

#[test]
fn a_boot_is_refused_where_nothing_runs_and_a_check_without_it_is_no_command() {
    let drills = Drills::new(&[]);
    let boot = [
        "backup",
        "drill",
        "--instance",
        "web",
        "--identity",
        "identity.txt",
    ];
    let said = drills.archived.here(&[&boot[..], &["--boot"]].concat());
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
    insta::assert_snapshot!(said.err, @r"
    error: cannot boot a drill: instances of a pool file do not run
    help: leave out --boot: the files are read and compared then
    ");
    for more in [
        &["--check", "true"][..],
        &["--timeout", "1m"],
        &["--boot", "--expect", &"0".repeat(64)],
        &["--boot", "--scratch", "scratch"],
        &["--boot", "--unverified"],
    ] {
        let said = drills.archived.run(&[&boot[..], more].concat());
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
    }
    let by_name = [
        "backup",
        "drill",
        "--name",
        "web",
        "--identity",
        "identity.txt",
    ];
    let said = drills.archived.run(&[&by_name[..], &["--boot"]].concat());
    assert_eq!(said.code, 2, "{said:?}");
    assert!(drills.records().is_empty());
}
