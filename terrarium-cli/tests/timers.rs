//! The units of systemd, by the built binary, in a folder that is not systemd's.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn timers(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
    command
        .arg("timers")
        .args(arguments)
        .arg("--unit-dir")
        .arg(folder);
    command.output().expect("it runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn units_are_installed_once_looked_at_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    assert_eq!(code(&timers(folder, &["status"])), 3);

    let shown = timers(folder, &["install", "--dry-run"]);
    assert_eq!(code(&shown), 0);
    assert!(text(&shown.stdout).contains("OnCalendar=*:0/15"));
    assert_eq!(fs::read_dir(folder).expect("readable").count(), 0);

    let installed = timers(folder, &["install"]);
    assert_eq!(code(&installed), 0, "{installed:?}");
    let service = fs::read_to_string(folder.join("terrarium.service")).expect("written");
    assert!(
        service.contains("terrariumctl\" --verbose run\n"),
        "{service}"
    );
    assert_eq!(fs::read_dir(folder).expect("readable").count(), 2);
    assert_eq!(code(&timers(folder, &["status"])), 0);
    let again = timers(folder, &["install"]);
    assert_eq!(text(&again.stdout).matches("as it should be").count(), 2);

    assert_eq!(code(&timers(folder, &["remove", "--dry-run"])), 0);
    assert_eq!(fs::read_dir(folder).expect("readable").count(), 2);
    assert_eq!(code(&timers(folder, &["remove"])), 0);
    assert_eq!(fs::read_dir(folder).expect("readable").count(), 0);
    assert_eq!(code(&timers(folder, &["remove"])), 0);
}

#[test]
fn a_file_of_somebody_else_is_neither_replaced_nor_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let timer = folder.join("terrarium.timer");
    fs::write(&timer, "[Timer]\nOnCalendar=daily\n").expect("written");
    for what in ["install", "remove"] {
        let refused = timers(folder, &[what]);
        assert_eq!(code(&refused), 3);
        assert!(text(&refused.stderr).contains("is not ours"), "{refused:?}");
    }
    let left = fs::read_to_string(&timer).expect("still there");
    assert_eq!(left, "[Timer]\nOnCalendar=daily\n");
    assert!(!folder.join("terrarium.service").exists(), "all or nothing");
}

#[test]
fn what_cannot_be_written_is_named_and_no_pool_file_has_a_timer() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    let failed = timers(&missing, &["install"]);
    assert_eq!(code(&failed), 3);
    assert!(text(&failed.stderr).contains("missing"), "{failed:?}");
    let relative = timers(folder.path(), &["install", "--program", "terrariumctl"]);
    assert_eq!(code(&relative), 2);
    let pool = timers(folder.path(), &["status", "--pool-file", "pool"]);
    assert_eq!(code(&pool), 2);
}
