//! Completions, manual pages, colours and quiet, as the installed program has them.

mod support;

use std::fs;
use std::process::Command;

use support::{Scene, TERRARIUMCTL, terrariumctl};

fn answered(line: &[&str]) -> String {
    let done = terrariumctl().args(line).output().expect("it starts");
    assert!(done.status.success(), "{line:?}: {done:?}");
    String::from_utf8(done.stdout).expect("text")
}

/// The commands below one, from its help.
fn commands_below(line: &[&str]) -> Vec<String> {
    let help = answered(&[line, &["--help"]].concat());
    let Some((_, rest)) = help.split_once("\nCommands:\n") else {
        return Vec::new();
    };
    let names = rest.lines().take_while(|line| !line.is_empty());
    let names = names.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names = names.filter(|name| !name.is_empty() && *name != "help");
    names.map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let into = folder.path().join("man1");
    answered(&["man", "--into", into.to_str().expect("text")]);
    let mut expected = vec!["terrariumctl".to_owned()];
    for topic in commands_below(&[]) {
        expected.push(format!("terrariumctl-{topic}"));
        let below = commands_below(&[&topic]);
        expected.extend(
            below
                .iter()
                .map(|one| format!("terrariumctl-{topic}-{one}")),
        );
    }
    expected.sort();
    let pages = fs::read_dir(&into).expect("it is there");
    let mut pages: Vec<_> = pages
        .map(|page| {
            page.expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .map(|name| name.strip_suffix(".1").expect("a page").to_owned())
        .collect();
    pages.sort();
    assert!(expected.len() > 40, "{expected:?}");
    assert_eq!(pages, expected);
    let page = fs::read_to_string(into.join("terrariumctl-backup-restore.1")).expect("a page");
    assert!(
        page.contains("terrariumctl backup undo"),
        "the examples are there: {page}"
    );
}

#[test]
fn pages_that_cannot_be_written_are_named() {
    let done = terrariumctl()
        .args(["man", "--into", "/dev/null/man"])
        .output();
    let done = done.expect("it starts");
    assert_eq!(done.status.code(), Some(1));
    let err = String::from_utf8(done.stderr).expect("text");
    assert!(
        err.starts_with("error: cannot write into /dev/null/man: "),
        "{err}"
    );
}

#[test]
fn shells_complete_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = answered(&["completions", shell]);
        for word in ["backup", "restore", "independent", "graveyard"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("completions");
    fs::write(&script, answered(&["completions", "bash"])).expect("written");
    // Asked as a shell asks: what can follow `backup res`?
    let ask = ". \"$1\"; COMP_WORDS=(terrariumctl backup res) COMP_CWORD=2; \
               _terrariumctl terrariumctl res backup; echo \"${COMPREPLY[*]}\"";
    let asked = Command::new("bash")
        .args(["-c", ask, "bash"])
        .arg(&script)
        .output();
    let asked = asked.expect("it starts");
    assert_eq!(
        String::from_utf8_lossy(&asked.stdout),
        "restore\n",
        "{asked:?}"
    );
}

/// What a command writes on a terminal.
fn on_a_terminal(scene: &Scene, line: &str, settings: &[(&str, &str)]) -> String {
    let pool = scene.file();
    let called = format!("{TERRARIUMCTL} --pool-file {} {line}", pool.display());
    let mut command = Command::new("script");
    command.args(["--quiet", "--command", &called, "/dev/null"]);
    command
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(settings.iter().copied());
    let done = command.output().expect("script, of bsdutils, starts");
    String::from_utf8(done.stdout).expect("text")
}

#[test]
fn colours_are_for_terminals_of_those_who_want_them() {
    let scene = Scene::new();
    let unknown = "backup restore --instance none --dry-run";
    let red = "\x1b[1;31merror:\x1b[0m ";
    let said = on_a_terminal(&scene, unknown, &[]);
    assert!(said.contains(red), "{said:?}");
    for settings in [[("NO_COLOR", "1")], [("TERM", "dumb")]] {
        let said = on_a_terminal(&scene, unknown, &settings);
        assert!(
            said.contains("error: ") && !said.contains('\x1b'),
            "{said:?}"
        );
    }
    let said = on_a_terminal(&scene, &format!("--json {unknown}"), &[]);
    assert!(
        said.contains("exit_code") && !said.contains('\x1b'),
        "{said:?}"
    );
    let said = scene.run(&["backup", "restore", "--instance", "none", "--dry-run"]);
    assert!(said.err.starts_with("error: "), "{said:?}");
}

#[test]
fn quiet_leaves_the_steps_out_and_not_the_answer() {
    let scene = Scene::new();
    let snapshot = "backup snapshot --instance web";
    let loud = on_a_terminal(&scene, snapshot, &[]);
    assert!(
        loud.contains("1/1  ") && loud.contains("Took snap-"),
        "{loud:?}"
    );
    let quiet = on_a_terminal(&scene, &format!("--quiet {snapshot}"), &[]);
    assert!(quiet.starts_with("Took snap-"), "{quiet:?}");
    let failed = on_a_terminal(&scene, "--quiet backup restore --instance none", &[]);
    assert!(failed.contains("error:"), "{failed:?}");
    let both = scene.run(&["--quiet", "--verbose", "backup", "list"]);
    assert_eq!(both.code, 2, "{both:?}");
}
