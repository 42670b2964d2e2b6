//! `terrariumctl stream ls`, `cat` and `extract`: the kernel's streams in `testbed/streams`, read by the embedded engine.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

const CHAIN: [&str; 3] = ["content-one.zfs", "content-two.zfs", "content-three.zfs"];

fn streams() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams")
}

/// Runs where the streams are; scratch pools go into a folder that must be empty in the end.
fn command(line: &[&str], scratch: &Path) -> Command {
    let mut command = Command::new(support::TERRARIUMCTL);
    command.arg("stream").args(line);
    command.current_dir(streams()).stdin(Stdio::null());
    command.env_clear().env("TZ", "UTC");
    command.env("TMPDIR", scratch);
    command.env("TERRARIUM_ZPOOL", support::program());
    command
}

fn output(line: &[&str]) -> Output {
    let scratch = tempfile::tempdir().expect("a folder");
    let output = command(line, scratch.path()).output().expect("it starts");
    let left = fs::read_dir(scratch.path()).expect("a folder").count();
    assert_eq!(left, 0, "{line:?} left something");
    output
}

/// The exit code and both outputs as text.
fn run(line: &[&str]) -> (i32, String, String) {
    let output = output(line);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let code = output.status.code().expect("no signal");
    (code, text(&output.stdout), text(&output.stderr))
}

fn truth(snapshot: &str) -> Vec<Value> {
    let file = streams().join(format!("trees/{snapshot}.json"));
    let text = fs::read_to_string(file).expect("the truth about it");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_chain_is_listed_as_its_last_snapshot_was() {
    let line = [&["ls"], &CHAIN[..], &["--json"]].concat();
    let (code, out, err) = run(&line);
    assert_eq!((code, err.as_str()), (0, ""));
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["snapshot"], "capture/content@three");
    let listed = answer["entries"].as_array().expect("a list");
    let truth = truth("content-three");
    assert_eq!(listed.len(), truth.len());
    let mut compared = 0;
    for entry in truth {
        let path = entry["path"].as_str().expect("a path");
        if path.contains('\\') {
            continue;
        }
        let found = listed.iter().find(|listed| listed["path"] == path);
        let found = found.unwrap_or_else(|| panic!("{path} is not listed"));
        let kind = entry["kind"].as_str().expect("a kind").replace(' ', "-");
        assert_eq!(found["kind"], kind, "{path}");
        assert_eq!(found["mode"], entry["mode"], "{path}");
        assert_eq!(found["uid"], entry["uid"], "{path}");
        assert_eq!(found["gid"], entry["gid"], "{path}");
        assert_eq!(found["links"], entry["links"], "{path}");
        if kind == "file" {
            assert_eq!(found["size"], entry["size"], "{path}");
        }
        compared += 1;
    }
    assert!(compared > 100, "only {compared} were compared");
}

#[test]
fn a_listing_looks_like_that_of_ls_and_can_be_of_a_part() {
    let (code, out, err) = run(&["ls", "origin.zfs", "clone.zfs"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let mut lines = out.lines();
    let heading = lines.next().expect("a heading");
    assert_eq!(
        heading,
        "MODE        OWNER:GROUP          SIZE  MODIFIED (UTC)       NAME"
    );
    let root = lines.next().expect("the root");
    assert!(root.starts_with("drwxr-xr-x  0:0 "), "{root}");
    assert!(root.ends_with("  ."), "{root}");
    assert!(out.contains("  new in the clone\n"), "{out}");

    let (code, out, _) = run(&["ls", "content-one.zfs", "--path", "/modes/"]);
    assert_eq!(code, 0);
    let names = out
        .lines()
        .skip(1)
        .filter_map(|line| line.split("  ").last());
    assert!(names.clone().count() > 5, "{out}");
    for name in names {
        assert!(name.starts_with("modes"), "{name}");
    }
}

#[test]
fn a_name_in_a_file_system_cannot_control_the_terminal() {
    let (code, out, _) = run(&["ls", "content-one.zfs", "--path", "names"]);
    assert_eq!(code, 0);
    assert!(out.contains("  names/new\\u000aline\n"), "{out}");
    assert!(out.contains("  names/not utf-8 \u{fffd}"), "{out}");
}

#[test]
fn a_file_is_written_as_it_was_with_its_holes_as_zeros() {
    let truth = truth("content-two");
    let mut holes = 0;
    for name in [
        "0 bytes",
        "1 bytes",
        "131073 bytes",
        "hole in the middle",
        "nothing but a hole",
    ] {
        let entry = truth.iter().find(|entry| entry["path"] == name);
        let entry = entry.unwrap_or_else(|| panic!("{name} is not in the stream"));
        let done = output(&["cat", CHAIN[0], CHAIN[1], "--path", name]);
        assert_eq!(done.status.code(), Some(0), "{name}");
        let bytes = done.stdout;
        assert_eq!(Some(bytes.len() as u64), entry["size"].as_u64(), "{name}");
        let mut hash = Sha256::new();
        let mut end = 0;
        let pieces = entry["data"].as_array().cloned().unwrap_or_default();
        for piece in &pieces {
            let at = |n: usize| piece[n].as_u64().expect("a number") as usize;
            assert!(bytes[end..at(0)].iter().all(|&byte| byte == 0), "{name}");
            hash.update(&bytes[at(0)..at(1)]);
            end = at(1);
        }
        assert!(bytes[end..].iter().all(|&byte| byte == 0), "{name}");
        holes += usize::from(end < bytes.len());
        if let Some(expected) = entry["sha256"].as_str() {
            let hash: String = hash
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert_eq!(hash, expected, "{name}");
        }
    }
    assert!(holes > 0, "no file had holes");
}

#[test]
fn what_is_no_file_is_not_written_out() {
    let (code, out, err) = run(&["cat", "content-one.zfs", "--path", "deep"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert_eq!(err, "error: deep in capture/content@one is a directory\n");
    let (code, _, err) = run(&["cat", "content-one.zfs", "--path", "absent/x"]);
    assert_eq!(code, 3);
    assert_eq!(err, "error: capture/content@one has nothing at absent/x\n");
    let (code, _, _) = run(&["cat", "content-one.zfs", "--path", "../x"]);
    assert_eq!(code, 2);
    let (code, _, _) = run(&["cat", "content-one.zfs", "--path", "x", "--json"]);
    assert_eq!(code, 2);
    let (code, _, err) = run(&["ls", "content-one.zfs", "--path", "absent"]);
    assert_eq!(code, 3, "{err}");
}

#[test]
fn a_tree_is_extracted_into_a_directory_that_was_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().join("restored");
    let into_text = into.to_str().expect("a name");
    let (code, out, err) = run(&["extract", "origin.zfs", "clone.zfs", "--into", into_text]);
    assert_eq!((code, err.as_str()), (0, ""));
    let first = out.lines().next().expect("a line");
    assert!(first.starts_with("Extracted 4 entries ("), "{first}");
    assert!(into.join("new in the clone").is_file());

    let (code, out, err) = run(&["extract", "origin.zfs", "--into", into_text]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("it is not empty"), "{err}");

    let part = folder.path().join("part");
    let part_text = part.to_str().expect("a name");
    let line = [
        "extract",
        CHAIN[0],
        "--path",
        "modes/0755",
        "--into",
        part_text,
        "--json",
    ];
    let (code, out, err) = run(&line);
    assert_eq!((code, err.as_str()), (0, ""));
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["entries"], 1);
    let metadata = part.join("0755").metadata().expect("the file");
    assert_eq!(metadata.mode() & 0o7777, 0o755);

    let line = [
        "extract",
        CHAIN[0],
        "--path",
        "absent",
        "--into",
        "/nonexistent/x",
    ];
    assert_eq!(run(&line).0, 3);
}

#[test]
fn a_chain_that_does_not_fit_is_3_and_names_the_file() {
    for (files, wrong) in [
        (&["content-two.zfs"] as &[&str], "content-two.zfs"),
        (
            &["content-one.zfs", "content-three.zfs"],
            "content-three.zfs",
        ),
        (&["origin.zfs", "content-one.zfs"], "origin.zfs"),
    ] {
        let (code, out, err) = run(&[&["ls"], files].concat());
        assert_eq!((code, out.as_str()), (3, ""), "{files:?}");
        let expected = format!("error: {wrong} does not fit: ");
        assert!(err.starts_with(&expected), "{files:?}: {err}");
    }
}

#[test]
fn of_a_package_it_is_the_snapshot_that_was_sent() {
    let (code, out, err) = run(&["ls", "package-recursive.zfs"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        err,
        "note: not looked into: capture/family/child@s and 1 more\n"
    );
    assert!(out.lines().count() > 2, "{out}");
    let (code, out, err) = run(&["ls", "package-properties.zfs", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    let name = answer["snapshot"].as_str().expect("a name");
    assert!(name.starts_with("capture/"), "{name}");
    // It starts from a snapshot that is in the other one, but was not asked for there.
    let line = ["ls", "package-recursive.zfs", "package-intermediate.zfs"];
    let (code, _, err) = run(&line);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn what_has_no_files_to_be_read_is_3() {
    let (code, _, err) = run(&["ls", "encrypted-one.zfs", "encrypted-two.zfs"]);
    assert_eq!(code, 3);
    assert!(err.contains("capture/encrypted@two is encrypted"), "{err}");
    let (code, _, err) = run(&["ls", "volume-one.zfs"]);
    assert_eq!(code, 3);
    assert!(err.contains("is no file system"), "{err}");
    let (code, _, err) = run(&["ls", "redacted.zfs"]);
    assert_eq!(code, 3);
    assert!(err.contains("is redacted"), "{err}");
}

#[test]
fn a_damaged_stream_is_1_and_tells_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = fs::read(streams().join(CHAIN[0])).expect("a stream");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let file = folder.path().join("damaged");
    fs::write(&file, &bytes).expect("written");
    let (code, out, err) = run(&["ls", file.to_str().expect("a name"), CHAIN[1]]);
    assert_eq!((code, out.as_str()), (1, ""));
    let expected = format!(
        "error: {}: the stream is damaged between byte ",
        file.display()
    );
    assert!(err.starts_with(&expected), "{err}");
    let (code, _, err) = run(&["ls", "absent.zfs"]);
    assert_eq!(code, 3, "{err}");
}

#[test]
fn without_the_engine_it_is_4_and_says_what_to_do() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut command = command(&["ls", "origin.zfs"], scratch.path());
    command.env("TERRARIUM_ZPOOL", "/nonexistent/terrarium-zpool");
    let output = command.output().expect("it starts");
    assert_eq!(output.status.code(), Some(4));
    let err = String::from_utf8(output.stderr).expect("text");
    assert!(err.contains("help: install terrarium-zpool"), "{err}");
}

#[test]
fn one_stream_may_come_from_standard_input() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut command = command(&["ls", "-", "clone.zfs"], scratch.path());
    command.stdin(fs::File::open(streams().join("origin.zfs")).expect("a stream"));
    let output = command.output().expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    let (_, of_files, _) = run(&["ls", "origin.zfs", "clone.zfs"]);
    assert_eq!(String::from_utf8(output.stdout), Ok(of_files));
}

#[test]
fn interrupted_it_leaves_nothing() {
    let scratch = tempfile::tempdir().expect("a folder");
    let mut command = command(&["ls", "-"], scratch.path());
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let stream = fs::read(streams().join(CHAIN[0])).expect("a stream");
    // More than a pipe holds: it is at work, and waits for the rest.
    stdin.write_all(&stream[..200_000]).expect("written");
    let process = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGINT).expect("sent");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    let err = String::from_utf8(output.stderr).expect("text");
    assert_eq!(err, "error: interrupted; nothing was changed\n");
    let left = fs::read_dir(scratch.path()).expect("a folder").count();
    assert_eq!(left, 0);
}
