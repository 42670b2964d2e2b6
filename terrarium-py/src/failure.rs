//! Why a request was not carried out.

use serde::Serialize;
use terrarium_core::{Class, Error, GuardError, Report, with_causes};

/// What becomes an exception.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    /// As `terrariumctl` spells the class.
    kind: &'static str,
    message: String,
    help: Option<String>,
    report: Option<serde_json::Value>,
}

impl Failure {
    pub(crate) fn usage(error: &dyn std::fmt::Display) -> Self {
        Self::of("usage", error.to_string())
    }

    pub(crate) fn failed(message: String) -> Self {
        Self::of("failed", message)
    }

    pub(crate) fn refused(message: String) -> Self {
        Self::of("refused", message)
    }

    pub(crate) fn unavailable(message: String) -> Self {
        Self::of("unavailable", message)
    }

    pub(crate) fn with_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }

    /// What stopped a plan.
    pub(crate) fn of_report(report: &Report) -> Self {
        let hook = || report.hooks.iter().find_map(|run| run.failure());
        let message = match &report.error {
            Some(error) => with_causes(error),
            None => hook().unwrap_or_else(|| "it was left out".to_owned()),
        };
        Self {
            kind: kind(report.class().unwrap_or(Class::Failed)),
            message: format!("{}: {message}", report.title),
            help: report.error.as_ref().and_then(Error::help),
            report: serde_json::to_value(report).ok(),
        }
    }

    fn of(kind: &'static str, message: String) -> Self {
        Self {
            kind,
            message,
            help: None,
            report: None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(kind(error.class()), with_causes(&error)).with_help(error.help())
    }
}

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        match error {
            GuardError::Error(error) => error.into(),
            GuardError::NotTaken(report) | GuardError::Stuck(report) => Self::of_report(&report),
            error => Self::failed(error.to_string()),
        }
    }
}

fn kind(class: Class) -> &'static str {
    match class {
        Class::Usage => "usage",
        Class::Refused => "refused",
        Class::Unavailable => "unavailable",
        Class::Interrupted => "interrupted",
        _ => "failed",
    }
}
