//! `terrariumctl stream`, as a shell calls it, on the kernel's streams in `testbed/streams`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The captured streams are in the working directory. There is no LXD, no ZFS, and nothing in PATH.
fn terrariumctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
    command.args(arguments).stdin(Stdio::null());
    command.current_dir(streams());
    command.env_clear().env("TZ", "UTC");
    command
}

fn streams() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams")
}

fn stream(name: &str) -> Vec<u8> {
    std::fs::read(streams().join(name)).expect("a captured stream")
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let code = output.status.code().expect("no signal");
    (code, text(&output.stdout), text(&output.stderr))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    said(&terrariumctl(arguments).output().expect("it starts"))
}

fn run_with_input(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut command = terrariumctl(arguments);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // It need not read all of what is damaged.
        scope.spawn(move || stdin.write_all(input));
        said(&child.wait_with_output().expect("it ends"))
    })
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

/// Guids, times and sizes differ from one capture to the next.
fn without_numbers(text: &str) -> String {
    let mut masked = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            c => masked.push(c),
        }
    }
    let lines = masked.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{}\n", words.join(" "))
    });
    lines.collect()
}

#[test]
fn a_stream_is_told_with_its_records() {
    let (code, out, err) = run(&["stream", "info", "content-two.zfs"]);
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!(without_numbers(&out), @r"
    incremental stream: capture/content@two
    contents file system
    guid #
    from guid #
    created #-#-# #:#:# UTC
    byte order little-endian
    features sa_spill
    size # KiB (# bytes)
    checksums right, of every record
    RECORD COUNT PAYLOAD BYTES
    BEGIN # #
    OBJECT # #
    FREEOBJECTS # #
    WRITE # #
    FREE # #
    END # #
    SPILL # #
    ");
}

#[test]
fn every_stream_of_a_package_is_told_and_then_the_package() {
    let (code, out, err) = run(&["stream", "info", "package-recursive.zfs"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let told = |line: &&str| !line.starts_with(' ');
    let heads: Vec<_> = out.lines().filter(told).collect();
    insta::assert_snapshot!(without_numbers(&heads.join("\n")), @r"
    full stream: capture/family@s
    incremental stream: capture/family@t
    full stream: capture/family/child@s
    incremental stream: capture/family/child@t
    package of # streams, #.# KiB (# bytes): capture/family@t (datasets: #, up to @t)
    ");
}

#[test]
fn every_captured_stream_is_whole_and_sound() {
    for entry in std::fs::read_dir(streams()).expect("the captured streams") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "zfs") {
            let (code, _, err) = run(&["stream", "info", path.to_str().expect("a name")]);
            assert_eq!((code, err.as_str()), (0, ""), "{path:?}");
        }
    }
}

#[test]
fn a_stream_comes_from_standard_input_too() {
    let bytes = stream("package-properties.zfs");
    let (code, out, err) = run_with_input(&["stream", "info", "-"], &bytes);
    assert_eq!((code, err.as_str()), (0, ""));
    let (_, of_file, _) = run(&["stream", "info", "package-properties.zfs"]);
    assert_eq!(out, of_file);
}

#[test]
fn as_json_it_is_the_same() {
    let (code, out, err) = run(&["stream", "info", "encrypted-two.zfs", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let answer = json(&out);
    assert_eq!(answer["version"], 1);
    assert_eq!(answer["exit_code"], 0);
    assert_eq!(answer["whole"], true);
    let bytes = stream("encrypted-two.zfs").len();
    assert_eq!(answer["bytes"], bytes);
    let stream = &answer["streams"][0];
    assert_eq!(stream["name"], "capture/encrypted@two");
    assert_eq!(stream["contents"], "file system");
    assert_eq!(stream["byte_order"], "little-endian");
    assert!(stream["guid"].is_string() && stream["from_guid"].is_string());
    let features = stream["features"].as_array().expect("a list");
    assert!(features.contains(&"raw".into()), "{features:?}");
    let records = stream["records"].as_array().expect("a list");
    let ranges = records.iter().find(|count| count["kind"] == "OBJECT_RANGE");
    assert!(ranges.is_some_and(|count| count["count"].as_u64() > Some(0)));

    let (_, out, _) = run(&["stream", "info", "package-recursive.zfs", "--json"]);
    let answer = json(&out);
    assert_eq!(answer["package"]["datasets"], 2);
    assert_eq!(answer["package"]["to_snapshot"], "t");
    assert_eq!(answer["streams"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_stream_that_is_cut_short_is_1_with_what_was_read() {
    let bytes = stream("content-one.zfs");
    let cut = &bytes[..bytes.len() - 1];
    let (code, out, err) = run_with_input(&["stream", "info", "-"], cut);
    assert_eq!(code, 1);
    let end = cut.len();
    let expected = format!("error: -: the stream is cut short: it ends after {end} bytes\n");
    assert_eq!(err, expected);
    assert!(
        out.starts_with("full stream: capture/content@one\n"),
        "{out}"
    );
    assert!(out.contains("  not whole: read up to here only\n"), "{out}");

    let (code, out, err) = run_with_input(&["stream", "info", "-", "--json"], cut);
    assert_eq!((code, err.as_str()), (1, ""));
    let answer = json(&out);
    assert_eq!(answer["exit_code"], 1);
    assert_eq!(answer["whole"], false);
    assert_eq!(answer["streams"][0]["whole"], false);
    assert_eq!(answer["error"]["class"], "failed");
    assert_eq!(answer["error_offset"], end);
}

#[test]
fn a_damaged_stream_is_1_and_tells_where() {
    let mut bytes = stream("content-two.zfs");
    bytes[100_000] ^= 4;
    let (code, _, err) = run_with_input(&["stream", "info", "-"], &bytes);
    assert_eq!(code, 1);
    assert!(
        err.starts_with("error: -: the stream is damaged between byte "),
        "{err}"
    );

    bytes[100_000] ^= 4;
    bytes.push(0);
    let (code, _, err) = run_with_input(&["stream", "info", "-"], &bytes);
    assert_eq!(code, 1);
    assert!(err.ends_with(", but more bytes follow\n"), "{err}");
}

#[test]
fn what_is_no_stream_is_1_and_tells_what_it_may_be() {
    for input in [
        &b"\x28\xb5\x2f\xfd compressed"[..],
        b"age-encryption.org/v1",
    ] {
        let (code, out, err) = run_with_input(&["stream", "info", "-"], input);
        assert_eq!((code, out.as_str()), (1, ""));
        assert_eq!(
            err,
            "error: -: that is no ZFS send stream\n\
             help: if it is compressed or encrypted, pass on what is inside: \
             zstd -dc FILE | terrariumctl stream info -\n"
        );
    }
    let (code, _, err) = run_with_input(&["stream", "info", "-"], b"");
    assert_eq!(code, 1);
    assert_eq!(
        err,
        "error: -: the stream is cut short: it ends after 0 bytes\n"
    );
}

#[test]
fn a_file_that_is_not_there_is_3() {
    for file in ["absent.zfs", "."] {
        let (code, out, err) = run(&["stream", "info", file]);
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        assert!(
            err.starts_with(&format!("error: cannot read {file}: ")),
            "{err}"
        );
    }
    let (code, _, _) = run(&["stream", "info"]);
    assert_eq!(code, 2);
    let (code, _, err) = run(&["--pool-file", "p", "stream", "info", "clone.zfs"]);
    assert_eq!(code, 2, "{err}");
}

#[test]
fn a_name_in_a_stream_cannot_control_the_terminal() {
    let mut bytes = stream("volume-two.zfs");
    let evil = b"a\x1b[2J\nerror: b\xff";
    bytes[56..56 + evil.len()].copy_from_slice(evil);
    let (code, out, err) = run_with_input(&["stream", "info", "-"], &bytes);
    // The name is part of what the checksums are of.
    assert_eq!(code, 1);
    let shown = format!("{out}{err}");
    assert!(
        shown.contains("a\\u001b[2J\\u000aerror: b\u{fffd}"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn a_reader_that_has_gone_away_is_no_error() {
    let mut command = terrariumctl(&["stream", "info", "package-recursive.zfs"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    drop(child.stdout.take());
    let (code, _, err) = said(&child.wait_with_output().expect("it ends"));
    assert_eq!((code, err.as_str()), (0, ""));
}
