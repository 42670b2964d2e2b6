//! What `--json` answers is what docs/json.md says, of every command that can be called here.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use support::Said;
use support::archive::{Archived, json};

/// The fields of each command's answers, by the command's name.
type Fields = BTreeMap<String, BTreeSet<String>>;

/// What docs/json.md says: a heading with commands in backquotes, and a table whose first column has fields.
fn documented() -> Fields {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let mut fields = Fields::new();
    let mut commands: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            let names = heading.split('`').skip(1).step_by(2);
            commands = names.map(str::to_owned).collect();
            for command in &commands {
                fields.entry(command.clone()).or_default();
            }
        } else if line.starts_with('#') {
            commands.clear();
        } else if let Some(row) = line.strip_prefix("| `") {
            let field = row.split('`').next().expect("a field");
            for command in &commands {
                fields
                    .entry(command.clone())
                    .or_default()
                    .insert(field.to_owned());
            }
        }
    }
    fields
}

/// What commands answer.
struct Seen<'a> {
    archived: &'a Archived,
    fields: Fields,
}

impl Seen<'_> {
    /// Notes the fields of what a command answers on the pool file.
    fn here(&mut self, name: &str, more: &[&str]) {
        let words = ["--json"].into_iter().chain(name.split(' '));
        let line: Vec<&str> = words.chain(more.iter().copied()).collect();
        let said = self.archived.here(&line);
        self.note(name, &said);
    }

    /// The same of a command that needs no pool.
    fn anywhere(&mut self, name: &str, more: &[&str]) {
        let words = ["--json"].into_iter().chain(name.split(' '));
        let line: Vec<&str> = words.chain(more.iter().copied()).collect();
        let said = self.archived.run(&line);
        self.note(name, &said);
    }

    fn note(&mut self, name: &str, said: &Said) {
        let Value::Object(answer) = json(&said.out) else {
            panic!("{name}: an answer is an object: {said:?}");
        };
        assert_eq!(
            answer.get("version"),
            Some(&Value::from(1)),
            "{name}: {answer:?}"
        );
        let code = answer.get("exit_code");
        assert_eq!(code, Some(&Value::from(said.code)), "{name}: {answer:?}");
        let fields = answer.iter().map(|(field, _)| field.clone());
        self.fields
            .entry(name.to_owned())
            .or_default()
            .extend(fields);
    }
}
#[test]
fn every_answer_has_the_fields_that_are_documented() {
    let archived = Archived::new();
    let mut seen = Seen {
        archived: &archived,
        fields: Fields::new(),
    };
    let identity = archived.path("identity.txt");
    let identity = ["--identity", identity.to_str().expect("text")];
    archived.snapshot("one", "one");
    archived.export(&[]);
    archived.snapshot("two", "two");
    seen.here("backup snapshot", &["--instance", "web"]);
    seen.here("backup snapshot", &["--instance", "web", "--dry-run"]);
    seen.here("backup snapshot", &["--instance", "none"]);
    seen.here("backup list", &[]);
    seen.here(
        "backup edit",
        &["--instance", "web", "--at", "two", "--alias", "three"],
    );
    seen.here(
        "backup edit",
        &[
            "--instance",
            "web",
            "--at",
            "three",
            "--alias",
            "x",
            "--dry-run",
        ],
    );
    seen.here(
        "backup restore",
        &["--instance", "web", "--at", "one", "--dry-run"],
    );
    seen.here(
        "backup restore",
        &["--instance", "web", "--at", "one", "--yes"],
    );
    seen.here("backup restore", &["--instance", "web", "--at", "nothing"]);
    seen.here("backup undo", &["--instance", "web", "--dry-run"]);
    seen.here("backup undo", &["--instance", "web", "--yes"]);
    seen.here(
        "backup delete",
        &["--instance", "web", "--at", "three", "--dry-run"],
    );
    seen.here(
        "backup delete",
        &["--instance", "web", "--at", "three", "--yes"],
    );
    seen.here("backup prune", &["--dry-run"]);
    seen.here("backup prune", &["--yes"]);
    seen.here("guard", &["--instance", "web", "--", "true"]);
    seen.here("guard", &["--instance", "web", "--", "false"]);
    seen.here("run", &["--dry-run"]);
    seen.here("run", &[]);
    seen.here("status", &[]);
    seen.here("adopt sanoid", &["--dry-run"]);
    seen.here("adopt sanoid", &["--yes"]);
    seen.anywhere("backup simulate", &["--days", "3"]);
    seen.here("backup export", &["--dry-run"]);
    seen.here("backup export", &[]);
    seen.here("backup verify", &[]);
    seen.here(
        "backup drill",
        &[&["--instance", "web"], &identity[..]].concat(),
    );
    seen.here("backup drill", &["--history"]);
    seen.here("instance destroy", &["tenant/shop", "--keep", "--dry-run"]);
    seen.here("instance destroy", &["tenant/shop", "--keep", "--yes"]);
    seen.here("graveyard list", &[]);
    seen.here("instance resume", &["tenant/shop"]);
    seen.here("graveyard purge", &["--all", "--dry-run"]);
    seen.here("graveyard purge", &["--all", "--yes"]);
    seen.anywhere("config show", &[]);
    seen.anywhere("archive list", &[]);
    seen.anywhere("archive verify", &[]);
    seen.anywhere(
        "archive annotate",
        &["--name", "web", "--at", "one", "--pin"],
    );
    seen.anywhere("archive prune", &["--dry-run"]);
    seen.anywhere("archive prune", &["--yes"]);
    seen.anywhere("archive trust", &["--yes"]);
    let out = archived.path("streams");
    let out = out.to_str().expect("text");
    let get = [
        &["--name", "web", "--at", "one", "--out", out],
        &identity[..],
    ]
    .concat();
    seen.anywhere("archive get", &get);
    let stream = std::fs::read_dir(out).expect("a folder").next();
    let stream = stream.expect("a stream").expect("an entry").path();
    let stream = stream.to_str().expect("text");
    seen.anywhere("stream info", &[stream]);
    seen.anywhere("stream ls", &[stream]);
    let documented = documented();
    let commands: Vec<_> = documented.keys().collect();
    assert_eq!(commands, seen.fields.keys().collect::<Vec<_>>());
    for (command, fields) in &seen.fields {
        let unknown: Vec<_> = fields.difference(&documented[command]).collect();
        assert!(
            unknown.is_empty(),
            "docs/json.md lacks {unknown:?} of {command}"
        );
    }
    // Commands of one table share its fields: each has to be seen of one of them.
    let seen: BTreeSet<_> = seen.fields.values().flatten().collect();
    let documented: BTreeSet<_> = documented.values().flatten().collect();
    let never: Vec<_> = documented.difference(&seen).collect();
    assert!(
        never.is_empty(),
        "docs/json.md has {never:?}, which nothing answers"
    );
}
