//! What a guard has come to.

use serde::Serialize;
use terrarium_core::{Guard, Report};

use super::{ErrorShown, JSON_VERSION};
use crate::exit::{Exit, Failure};

/// What is answered as JSON.
#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    version: u32,
    exit_code: u8,
    guard: &'a Guard,
    /// Whether the instance is back at the snapshot.
    rewound: bool,
    /// The rewind, if one was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorShown<'a>>,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(
        guard: &'a Guard,
        rewound: bool,
        report: Option<&'a Report>,
        failure: Option<&'a Failure>,
    ) -> Self {
        Self {
            version: JSON_VERSION,
            exit_code: failure.map_or(Exit::Done, |failure| failure.exit).code(),
            guard,
            rewound,
            report,
            error: failure.map(ErrorShown::new),
        }
    }
}
