//! Exit codes, and failures that have one.

use serde::Serialize;
use terrarium_core::{Class, Error, SelectError, with_causes};

/// What the process tells its caller.
///
/// In the order of [`Exit::merge`]: a code that promises less wins. 3 and 4 promise that nothing was changed, so they
/// must lose to 1, which does not; 4 promises besides that trying again helps, so it loses to 3.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Exit {
    /// Done, or nothing to do.
    #[default]
    Done,
    /// LXD, ZFS or the archive cannot be reached; safe to try again.
    Unavailable,
    /// Refused, in conflict, or not found; nothing was changed.
    Refused,
    /// The command line makes no sense.
    Usage,
    /// Attempted and failed; the report says what was done.
    Failed,
    /// Stopped by a signal.
    Interrupted,
}

impl Exit {
    /// One code for two parts of the work.
    pub(crate) fn merge(self, other: Self) -> Self {
        self.max(other)
    }

    /// The process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Refused => 3,
            Exit::Unavailable => 4,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Usage => Exit::Usage,
            Class::Refused => Exit::Refused,
            Class::Unavailable => Exit::Unavailable,
            Class::Interrupted => Exit::Interrupted,
            // `Class` may grow; what is not known promises nothing.
            _ => Exit::Failed,
        }
    }
}

/// Why a command was not carried out, ready to be shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    /// One line.
    pub(crate) message: String,
    /// What belongs to it and would not fit into that line.
    pub(crate) details: Vec<String>,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// What the caller is told.
    pub(crate) exit: Exit,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            details: Vec::new(),
            help: None,
            exit,
        }
    }

    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (message, details) = match error {
            Error::Select {
                instance,
                source:
                    SelectError::Ambiguous {
                        selector,
                        candidates,
                    },
            } => (
                format!(
                    "instance {instance}: {selector:?} fits {} restore points",
                    candidates.len()
                ),
                candidates.clone(),
            ),
            _ => (with_causes(error), Vec::new()),
        };
        Self {
            message,
            details,
            help: error.help(),
            exit: error.class().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_that_the_readme_promises() {
        let codes = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Refused,
            Exit::Unavailable,
            Exit::Interrupted,
        ];
        assert_eq!(codes.map(Exit::code), [0, 1, 2, 3, 4, 130]);
    }

    #[test]
    fn whoever_promises_less_wins_whatever_the_order() {
        for (a, b, expected) in [
            (Exit::Done, Exit::Done, Exit::Done),
            (Exit::Done, Exit::Unavailable, Exit::Unavailable),
            (Exit::Unavailable, Exit::Refused, Exit::Refused),
            (Exit::Refused, Exit::Failed, Exit::Failed),
            (Exit::Usage, Exit::Refused, Exit::Usage),
            (Exit::Failed, Exit::Interrupted, Exit::Interrupted),
        ] {
            assert_eq!(a.merge(b), expected);
            assert_eq!(b.merge(a), expected);
        }
    }

    #[test]
    fn every_class_of_the_library_has_a_code() {
        let code = |class| Exit::from(class).code();
        assert_eq!(code(Class::Failed), 1);
        assert_eq!(code(Class::Usage), 2);
        assert_eq!(code(Class::Refused), 3);
        assert_eq!(code(Class::Unavailable), 4);
        assert_eq!(code(Class::Interrupted), 130);
    }
}
