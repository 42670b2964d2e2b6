//! The process: killed, stopped, missing, of the wrong version. The caller survives all of it.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{SIZE, Scratch, options};
use terrarium_zfs::{DatasetName, Error, Properties, ReceiveOptions};
use terrarium_zpool::{Content, Engine, OpenError, Options};

fn named(name: &str) -> DatasetName {
    DatasetName::new(name).expect("a legal name")
}

fn signal(engine: &Engine, signal: Signal) {
    let id = i32::try_from(engine.process_id()).expect("a process id");
    kill(Pid::from_raw(id), signal).expect("it runs");
}

/// A program in the place of terrarium-zpool.
fn stand_in(folder: &Path, script: &str) -> Options {
    let program = folder.join("program");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("it works");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("it works");
    let mut options = options();
    options.program = Some(program);
    options.call_limit = Duration::from_secs(10);
    options
}

#[test]
fn a_killed_process_is_an_error_of_the_call_and_of_every_later_one() {
    let scratch = Scratch::new();
    signal(&scratch.engine, Signal::SIGKILL);
    for _ in 0..2 {
        match scratch.engine.create(&named("tank/a"), &Properties::new()) {
            Err(Error::EngineLost { reason, .. }) => assert_eq!(reason, "it was killed"),
            other => panic!("{other:?}"),
        }
    }
}

/// As a failed assertion of ZFS does.
#[test]
fn an_aborted_process_is_an_error_of_the_call() {
    let scratch = Scratch::new();
    signal(&scratch.engine, Signal::SIGABRT);
    match scratch.engine.guid("tank/a") {
        Err(Error::EngineLost { reason, .. }) => assert_eq!(reason, "it aborted"),
        other => panic!("{other:?}"),
    }
}

/// Only the process is: a program that embeds the client needs no libzpool to start.
#[test]
fn the_caller_is_not_linked_with_libzpool() {
    let scratch = Scratch::new();
    let maps = |process: &str| std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let engine = scratch.engine.process_id().to_string();
    assert!(maps(&engine).contains("libzpool"));
    assert!(!maps("self").contains("libzpool"));
}

/// Whatever a call has answered is on disk.
#[test]
fn a_pool_whose_process_was_killed_has_all_that_was_answered() {
    for delay in [0, 3, 11, 40, 90] {
        let scratch = Scratch::new();
        let engine = scratch.engine.clone();
        let worker = std::thread::spawn(move || {
            (0..10_000)
                .map(|n| named(&format!("tank/n{n}")))
                .take_while(|name| engine.create(name, &Properties::new()).is_ok())
                .count()
        });
        std::thread::sleep(Duration::from_millis(delay));
        signal(&scratch.engine, Signal::SIGKILL);
        let answered = worker.join().expect("no panic");
        let again = options().open(&scratch.file()).expect("opened");
        let there = again.list(&named("tank"), &[]).unwrap().datasets.len() - 1;
        // The last one may have been done without an answer.
        assert!(
            there == answered || there == answered + 1,
            "{answered} were answered, {there} are there"
        );
        let file = |name| again.write_file(&named(name), "file", 0o644, b"x");
        file("tank").expect("the pool can be written to");
    }
}

#[test]
fn a_process_that_stands_still_is_killed_after_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool");
    let mut options = options();
    let engine = options.create(&file, "tank", SIZE).expect("created");
    drop(engine);
    options.call_limit = Duration::from_secs(2);
    let engine = options.open(&file).expect("opened");
    signal(&engine, Signal::SIGSTOP);
    let began = Instant::now();
    let late = engine.guid("tank");
    assert!(matches!(late, Err(Error::TimedOut(_))), "{late:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    let lost = engine.guid("tank");
    assert!(matches!(lost, Err(Error::EngineLost { .. })), "{lost:?}");
    options.open(&file).expect("its lock is gone with it");
}

/// A tree that takes its time is none that stands still.
#[test]
fn a_walk_may_take_longer_than_the_limit_while_it_gets_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool");
    let mut options = options();
    options.stream_limit = Duration::from_secs(2);
    let engine = options.create(&file, "tank", SIZE).expect("created");
    let content = vec![1; 10 << 20];
    engine
        .write_file(&named("tank"), "large", 0o644, &content)
        .unwrap();
    let begin = || {
        let mut walk = engine.walk("tank", "large", Content::Read).unwrap();
        walk.next_entry().expect("an entry");
        walk
    };
    let mut slow = begin();
    let began = Instant::now();
    let mut pieces = 0;
    while let Some((_, piece)) = slow.next_content().expect("it gets on") {
        pieces += piece.len();
        std::thread::sleep(Duration::from_millis(150));
    }
    assert_eq!(pieces, content.len());
    assert!(began.elapsed() > options.stream_limit);

    let mut still = begin();
    std::thread::sleep(options.stream_limit * 2);
    let late = loop {
        match still.next_content() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it was whole"),
            Err(error) => break error,
        }
    };
    assert!(matches!(late, Error::TimedOut(_)), "{late:?}");
}

#[test]
fn a_source_that_stands_still_before_its_first_record_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool");
    let mut options = options();
    options.stream_limit = Duration::from_secs(1);
    let engine = options.create(&file, "tank", SIZE).expect("created");
    let (output, input) = std::io::pipe().expect("a pipe");
    let point = named("tank/a").snapshot("s").expect("a name");
    let late = engine.receive(&point, &ReceiveOptions::default(), &output);
    assert!(matches!(late, Err(Error::TimedOut(_))), "{late:?}");
    drop(input);
}

/// It would otherwise run for ever, with the lock.
#[test]
fn a_process_ends_with_its_caller() {
    let scratch = Scratch::new();
    let id = scratch.engine.process_id();
    let Scratch { engine, folder } = scratch;
    drop(engine);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
    drop(folder);
}

#[test]
fn a_program_that_is_missing_is_named() {
    let mut options = options();
    options.program = Some(PathBuf::from("/no/such/program"));
    match options.open(Path::new("pool")) {
        Err(error @ OpenError::Program { .. }) => {
            assert!(error.to_string().contains("/no/such/program"), "{error}");
            assert!(error.help().is_some());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_that_speaks_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for script in ["exit 0", "echo sorry >&2; exit 5", "kill -9 $$"] {
        let refused = stand_in(folder.path(), script).open(Path::new("pool"));
        assert!(
            matches!(refused, Err(OpenError::Program { .. })),
            "{refused:?}"
        );
    }
}

/// A program that ends in the middle of it does not take along what was there before.
#[test]
fn a_file_that_exists_survives_a_failed_creation() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("precious");
    std::fs::write(&file, "precious").unwrap();
    let program = env!("CARGO_BIN_EXE_terrarium-zpool");
    let script = format!("(sleep 0.2; kill -9 $$) & exec {program}");
    let refused = stand_in(folder.path(), &script).create(&file, "tank", SIZE);
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
}

/// As the dynamic linker ends it.
#[test]
fn a_missing_library_is_told_with_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let words = "error while loading shared libraries: libzpool.so.5";
    let script = format!("echo '{words}' >&2; exit 127");
    match stand_in(folder.path(), &script).open(Path::new("pool")) {
        Err(error @ OpenError::Unavailable { .. }) => {
            assert!(error.to_string().contains("libzpool.so.5"), "{error}");
            assert!(error.help().unwrap().contains("libzpool5linux"));
        }
        other => panic!("{other:?}"),
    }
}

/// 2.1 and 2.2 have one soname. A library with the features of another version is put in front.
#[test]
fn a_library_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (
        folder.path().join("other.c"),
        folder.path().join("other.so"),
    );
    std::fs::write(&source, "char spa_feature_table[40 * 56];\n").unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.expect("there is a compiler").success());
    let script = format!(
        "LD_PRELOAD={} exec {}",
        library.display(),
        env!("CARGO_BIN_EXE_terrarium-zpool")
    );
    match stand_in(folder.path(), &script).open(Path::new("pool")) {
        Err(error @ OpenError::WrongVersion { .. }) => {
            assert!(error.to_string().contains("another version"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_from_many_threads_do_not_disturb_each_other() {
    let scratch = Scratch::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let engine = &scratch.engine;
            scope.spawn(move || {
                let name = named(&format!("tank/t{thread}"));
                engine.create(&name, &Properties::new()).expect("created");
                for n in 0..10 {
                    let content = format!("{thread} {n}");
                    let file = format!("file {n}");
                    let written = engine.write_file(&name, &file, 0o644, content.as_bytes());
                    written.expect("written");
                    let read = engine.read_file(name.as_str(), &file, 100).expect("read");
                    assert_eq!(read.as_deref(), Some(content.as_bytes()));
                }
            });
        }
    });
}

/// By itself OpenZFS would take half of the machine.
#[test]
fn the_process_stays_small_whatever_is_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let engine = options().create(&folder.path().join("pool"), "tank", 400 << 20);
    let engine = engine.expect("created");
    let content = vec![0x5a; 4 << 20];
    let mut properties = Properties::new();
    properties.set("compression", "off").expect("a value");
    let name = named("tank/a");
    engine.create(&name, &properties).expect("created");
    for n in 0..60 {
        let file = format!("file {n}");
        engine.write_file(&name, &file, 0o644, &content).unwrap();
    }
    let status = format!("/proc/{}/status", engine.process_id());
    let status = std::fs::read_to_string(status).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    let peak: u64 = peak.expect("a size").parse().expect("a number");
    assert!(peak < 200 << 10, "{} MiB", peak >> 10);
}
