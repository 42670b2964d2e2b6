//! Text and JSON of what terrarium-core answers.

pub(crate) mod archive;
pub(crate) mod drill;
pub(crate) mod edited;
pub(crate) mod everywhere;
pub(crate) mod export;
pub(crate) mod graveyard;
pub(crate) mod guard;
pub(crate) mod plan;
pub(crate) mod points;
pub(crate) mod prune;
pub(crate) mod report;
pub(crate) mod retention;
pub(crate) mod run;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod stream;
mod table;
pub(crate) mod tree;
pub(crate) mod units;
pub(crate) mod verified;

use std::fmt::Write;

use serde::Serialize;
use terrarium_core::Report;
use terrarium_core::plan::{Level, Notice, Removal};

use crate::console::Console;
use crate::exit::{Exit, Failure};

/// The version of everything that is answered as JSON.
pub(crate) const JSON_VERSION: u32 = 1;

/// Characters that could make a terminal do or show something else than what is there: control characters, and those
/// that change the direction of text.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text as it may reach a terminal: only line feeds are left of what controls one. The escapes are those of JSON.
pub(crate) fn escape_controls(text: &str) -> String {
    escape(text, |c| c != '\n' && is_dangerous(c))
}

/// Text from outside, of which nothing may look like a line of ours.
pub(crate) fn one_line(text: &str) -> String {
    escape(text, is_dangerous)
}

fn escape(text: &str, dangerous: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if dangerous(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Text that begins a line.
pub(crate) fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    match rest.next() {
        Some(first) => first.to_uppercase().chain(rest).collect(),
        None => String::new(),
    }
}

/// Tells why a command was not carried out, in the form that was asked for.
pub(crate) fn show(console: &Console, failed: &Failure) -> Exit {
    if console.json {
        let _ = console.answer_json(&Answer::of_failure(failed));
    } else {
        console.tell(&failure(failed));
    }
    failed.exit
}

/// `error:`, and `help:` where there is something to do.
pub(crate) fn failure(failure: &Failure) -> String {
    let mut text = format!("error: {}", one_line(&failure.message));
    for detail in &failure.details {
        let _ = write!(text, "\n  {}", one_line(detail));
    }
    if let Some(help) = &failure.help {
        let _ = write!(text, "\nhelp: {}", one_line(help));
    }
    text
}

/// A failure that keeps nothing else back.
pub(crate) fn warning(failed: &Failure) -> String {
    let text = failure(failed);
    match text.strip_prefix("error:") {
        Some(rest) => format!("warning:{rest}"),
        None => text,
    }
}

/// A notice, on a line of its own.
fn notice(notice: &Notice) -> String {
    let level = match notice.level {
        Level::Info => "note",
        Level::Warning => "warning",
    };
    format!("  {level}: {}\n", one_line(&notice.text))
}

/// What a copy does not have of its source, those of one reason together.
fn removals(removals: &[Removal]) -> String {
    let mut by_reason: Vec<(&str, Vec<String>)> = Vec::new();
    for removal in removals {
        let what = one_line(&removal.what);
        match by_reason.iter_mut().find(|(why, _)| *why == removal.why) {
            Some((_, all)) => all.push(what),
            None => by_reason.push((&removal.why, vec![what])),
        }
    }
    let mut text = String::new();
    for (why, what) in by_reason {
        let _ = writeln!(
            text,
            "  not carried over, {}: {}",
            one_line(why),
            what.join(", ")
        );
    }
    text
}

/// What a command answers as JSON after it changed something, or could not.
#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    version: u32,
    exit_code: u8,
    /// Operations that had been cut off and were recovered first.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    recovered: &'a [Report],
    /// The snapshots that were taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restore_points: Vec<points::Taken<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorShown<'a>>,
}

#[derive(Serialize)]
pub(crate) struct ErrorShown<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [String],
    help: Option<&'a str>,
    class: Exit,
    exit_code: u8,
}

impl<'a> ErrorShown<'a> {
    fn new(failure: &'a Failure) -> Self {
        Self {
            message: &failure.message,
            details: &failure.details,
            help: failure.help.as_deref(),
            class: failure.exit,
            exit_code: failure.exit.code(),
        }
    }
}

impl<'a> Answer<'a> {
    pub(crate) fn new(
        recovered: &'a [Report],
        report: Option<&'a Report>,
        failure: Option<&'a Failure>,
    ) -> Self {
        Self {
            version: JSON_VERSION,
            exit_code: failure.map_or(Exit::Done, |failure| failure.exit).code(),
            recovered,
            restore_points: Vec::new(),
            report,
            error: failure.map(ErrorShown::new),
        }
    }

    pub(crate) fn with_points(self, restore_points: Vec<points::Taken<'a>>) -> Self {
        Self {
            restore_points,
            ..self
        }
    }

    pub(crate) fn of_failure(failure: &'a Failure) -> Self {
        Self::new(&[], None, Some(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_controls_a_terminal_is_left() {
        assert_eq!(
            escape_controls("a\u{1b}[2J\tb\nc\u{9b}d"),
            "a\\u001b[2J\\u0009b\nc\\u009bd"
        );
        assert_eq!(one_line("a\nerror: b\u{202e}"), "a\\u000aerror: b\\u202e");
        assert_eq!(one_line("café – ünïcode"), "café – ünïcode");
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let text = "a\u{1b}\u{7f}\u{9b}\u{202e}b";
        let json = escape_controls(&serde_json::to_string(text).unwrap());
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        assert!(json.is_ascii());
    }

    #[test]
    fn an_error_is_one_line_and_its_help_another() {
        let told = failure(&Failure::new(Exit::Refused, "no\nsuch thing").with_help("look"));
        assert_eq!(told, "error: no\\u000asuch thing\nhelp: look");
    }
}
