//! What became of a command around a snapshot.

use std::fmt;

use serde::Serialize;

use crate::names::InstanceRef;
use crate::point::PreOutcome;

/// Which of the two commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Before the snapshot.
    Pre,
    /// After it.
    Post,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::Pre => "the command before the snapshot",
            Hook::Post => "the command after the snapshot",
        })
    }
}

/// A command around a snapshot, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HookRun {
    /// The instance.
    pub instance: InstanceRef,
    /// Which one.
    pub hook: Hook,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: HookOutcome,
    /// It was owed by a snapshot that was cut off.
    pub overdue: bool,
    /// There is no snapshot because of it.
    pub skips: bool,
}

/// What became of a command.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HookOutcome {
    /// It came to its end with exit code 0.
    Done,
    /// It had another exit code.
    Failed {
        /// The code, and a short excerpt of what it wrote.
        why: String,
    },
    /// It took too long and was ended.
    TimedOut {
        /// How long it was given.
        limit_seconds: u64,
    },
    /// It could not be run, or nobody knows how it ended.
    Lost {
        /// Why.
        why: String,
    },
    /// It was not begun.
    NotRun {
        /// Why.
        why: String,
    },
    /// The instance does not run any more: nothing is frozen.
    NotNeeded,
}

impl HookRun {
    pub(crate) fn new(instance: &InstanceRef, hook: Hook, outcome: HookOutcome) -> Self {
        Self {
            instance: instance.clone(),
            hook,
            outcome,
            overdue: false,
            skips: false,
        }
    }

    /// What went wrong, in one line; `None` if nothing did.
    pub fn failure(&self) -> Option<String> {
        let hook = self.hook;
        let mut text = match &self.outcome {
            HookOutcome::Done | HookOutcome::NotNeeded => return None,
            HookOutcome::Failed { why } => format!("{hook} failed: {why}"),
            HookOutcome::TimedOut { limit_seconds } => {
                format!("{hook} did not end within {limit_seconds}s")
            }
            HookOutcome::Lost { why } => format!("{hook} was lost: {why}"),
            HookOutcome::NotRun { why } => format!("{hook} was not run: {why}"),
        };
        if self.skips {
            text.push_str("; no snapshot was taken");
        } else if let (Hook::Post, HookOutcome::Lost { .. }) = (hook, &self.outcome) {
            text.push_str("; the next run tries again");
        } else if hook == Hook::Pre {
            text.push_str("; the snapshot is marked");
        }
        Some(text)
    }

    /// What a snapshot says about it.
    pub(crate) fn mark(&self) -> Option<PreOutcome> {
        match &self.outcome {
            HookOutcome::Done => Some(PreOutcome::Done),
            HookOutcome::Failed { .. } | HookOutcome::Lost { .. } => Some(PreOutcome::Failed),
            HookOutcome::TimedOut { .. } => Some(PreOutcome::TimedOut),
            HookOutcome::NotRun { .. } => Some(PreOutcome::NotRun),
            HookOutcome::NotNeeded => None,
        }
    }
}
