//! What became of a guarded command.

use std::ffi::OsString;

use jiff::Timestamp;
use serde::Serialize;
use terrarium_core::{Checked, Guard, Report};

use super::{ErrorShown, JSON_VERSION, one_line, report};
use crate::exit::{Exit, Failure};
use crate::site::{Site, shell_word};

/// How the command and the check ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// With 0.
    Well,
    /// The command ended with this exit code.
    Badly(i32),
    /// The command was ended by this signal.
    Killed(i32),
    /// The command was not found, or may not be run: nothing was tried.
    NotRun(String),
    /// It was run, and how it ended cannot be told.
    Lost(String),
    /// The check did not pass.
    Check(Checked),
    /// The check could not be tried.
    CheckUnknown(Failure),
    /// A signal came.
    Interrupted,
}

/// What became of the way back.
#[derive(Debug)]
pub(crate) enum Rewound {
    /// It was gone.
    Reported(Box<Report>),
    /// What had been cut off was just that, and recovering did it.
    Already,
    /// It was not begun.
    NotBegun(Failure),
}

/// Everything, from the snapshot to the end.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    guard: &'a Guard,
    expires: Timestamp,
    command: String,
    pub(crate) ended: Option<Ended>,
    pub(crate) rewound: Option<Rewound>,
}

#[derive(Serialize)]
pub(crate) struct OutcomeJson<'a> {
    version: u32,
    exit_code: u8,
    guard: &'a Guard,
    expires_at: Timestamp,
    /// Of the command; null if it did not come to its end.
    command_exit_code: Option<i32>,
    /// Of a check that failed; null if it passed, was not run, or there is none.
    check_exit_code: Option<i32>,
    rewound: bool,
    report: Option<&'a Report>,
    error: Option<ErrorShown<'a>>,
}

impl<'a> Outcome<'a> {
    pub(crate) fn new(guard: &'a Guard, expires: Timestamp, command: &[OsString]) -> Self {
        let words = command
            .iter()
            .map(|word| shell_word(&word.to_string_lossy()));
        Self {
            guard,
            expires,
            command: words.collect::<Vec<_>>().join(" "),
            ended: None,
            rewound: None,
        }
    }

    /// Whether the instance has to be brought back: something was tried, and is not known to be good.
    pub(crate) fn has_failed(&self) -> bool {
        !matches!(self.ended, None | Some(Ended::Well | Ended::NotRun(_)))
    }

    pub(crate) fn exit(&self) -> Exit {
        match (&self.ended, self.is_back()) {
            (Some(Ended::Well), _) => Exit::Done,
            (Some(Ended::Interrupted), true) => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    fn is_back(&self) -> bool {
        match &self.rewound {
            Some(Rewound::Reported(report)) => report.is_effective(),
            Some(Rewound::Already) => true,
            Some(Rewound::NotBegun(_)) | None => false,
        }
    }

    fn why(&self) -> String {
        let command = one_line(&self.command);
        match &self.ended {
            None | Some(Ended::Well) => format!("`{command}` succeeded"),
            Some(Ended::Badly(code)) => format!("`{command}` ended with exit code {code}"),
            Some(Ended::Killed(signal)) => format!("`{command}` was ended by signal {signal}"),
            Some(Ended::NotRun(why)) => format!("`{command}` cannot be run: {why}"),
            Some(Ended::Lost(why)) => format!("nobody knows how `{command}` ended: {why}"),
            Some(Ended::Interrupted) => format!("`{command}` was interrupted"),
            Some(Ended::CheckUnknown(failure)) => {
                format!("the check could not be tried: {}", failure.message)
            }
            Some(Ended::Check(Checked::Failed(output))) => {
                format!("the check ended with exit code {}", output.exit_code)
            }
            Some(Ended::Check(Checked::TimedOut)) => "the check did not end in time".to_owned(),
            Some(Ended::Check(Checked::NotRun(why))) => {
                format!("the check could not be run: {why}")
            }
            Some(Ended::Check(_)) => "the check did not pass".to_owned(),
        }
    }

    /// What a check printed that failed.
    fn output(&self) -> Vec<String> {
        let Some(Ended::Check(Checked::Failed(output))) = &self.ended else {
            return Vec::new();
        };
        let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        let lines: Vec<_> = texts.iter().flat_map(|text| text.lines()).collect();
        let last = lines.len().saturating_sub(20);
        lines[last..].iter().map(|&line| line.to_owned()).collect()
    }

    pub(crate) fn success(&self) -> String {
        let (name, expires) = (&self.guard.name, self.expires);
        let expires = expires.strftime("%F %T UTC");
        format!("{}; {name} is kept until {expires}", self.why())
    }

    /// What went wrong, how the instance is now, and what to do.
    pub(crate) fn failure(&self, site: &Site) -> Option<Failure> {
        let (instance, name) = (&self.guard.instance, &self.guard.name);
        let why = self.why();
        let again = site.command(&format!("backup restore --instance {instance} --at {name}"));
        let again = format!("bring it back yourself: {again}");
        let (message, help) = match (&self.ended, &self.rewound) {
            (None | Some(Ended::Well), _) => return None,
            (Some(Ended::NotRun(_)), _) => {
                return Some(Failure::new(
                    Exit::Failed,
                    format!("{why}; {instance} was not touched"),
                ));
            }
            (_, Some(Rewound::NotBegun(failure))) => {
                let message = &failure.message;
                let message = format!("{why}, and {instance} was not brought back: {message}");
                (message, again)
            }
            (_, Some(Rewound::Reported(done))) if !done.is_effective() => {
                let failed = report::failure(done);
                let message = failed.map_or(done.title.clone(), |failure| failure.message);
                let message = format!("{why}, and {instance} could not be brought back: {message}");
                (message, again)
            }
            _ => {
                let running = match self.guard.was_running {
                    true => " and runs",
                    false => "",
                };
                let undo = site.command(&format!("backup undo --instance {instance}"));
                (
                    format!("{why}; {instance} is back at {name}{running}"),
                    format!("what it was in the end moved aside; to look at it: {undo}"),
                )
            }
        };
        let failure = Failure {
            details: self.output(),
            ..Failure::new(self.exit(), message)
        };
        Some(failure.with_help(help))
    }

    pub(crate) fn json<'s>(&'s self, failure: Option<&'s Failure>) -> OutcomeJson<'s> {
        OutcomeJson {
            version: JSON_VERSION,
            exit_code: self.exit().code(),
            guard: self.guard,
            expires_at: self.expires,
            command_exit_code: match &self.ended {
                Some(Ended::Badly(code)) => Some(*code),
                Some(Ended::Well | Ended::Check(_) | Ended::CheckUnknown(_)) => Some(0),
                _ => None,
            },
            check_exit_code: match &self.ended {
                Some(Ended::Check(Checked::Failed(output))) => Some(output.exit_code),
                _ => None,
            },
            rewound: self.is_back(),
            report: match &self.rewound {
                Some(Rewound::Reported(report)) => Some(report),
                _ => None,
            },
            error: failure.map(ErrorShown::new),
        }
    }
}
