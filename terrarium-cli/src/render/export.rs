//! What became of exports, as text and as JSON.

use std::fmt::Write;

use serde::{Serialize, Serializer};
use terrarium_core::InstanceRef;
use terrarium_core::export::{ExportPlan, Exported};
use terrarium_core::plan::{Base, ExportDecision, Notice};

use crate::exit::{Exit, Failure};
use crate::render::units::size;
use crate::render::{ErrorShown, JSON_VERSION, notice, one_line};

/// What became of one instance.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It would be done.
    Planned(Box<ExportPlan>),
    /// The newest point is in the archive now.
    Exported(Box<Exported>),
    /// It was there already.
    UpToDate(Box<Exported>),
    /// It is left out.
    Skipped {
        instance: InstanceRef,
        reason: String,
    },
    /// It is not in the archive, or something is missing here.
    Failed {
        instance: InstanceRef,
        #[serde(rename = "error", serialize_with = "shown")]
        failure: Failure,
    },
    /// A signal came before.
    NotRun { instance: InstanceRef },
}

fn shown<S: Serializer>(failure: &Failure, serializer: S) -> Result<S::Ok, S::Error> {
    ErrorShown::new(failure).serialize(serializer)
}

impl Outcome {
    pub(crate) fn done(exported: Exported) -> Self {
        let exported = Box::new(exported);
        match exported.stored {
            Some(_) => Outcome::Exported(exported),
            None => Outcome::UpToDate(exported),
        }
    }

    pub(crate) fn failed(instance: InstanceRef, failure: Failure) -> Self {
        Outcome::Failed { instance, failure }
    }

    fn exit(&self) -> Exit {
        match self {
            Outcome::Failed { failure, .. } => failure.exit,
            Outcome::NotRun { .. } => Exit::Interrupted,
            _ => Exit::Done,
        }
    }
}

/// What is answered as JSON.
#[derive(Serialize)]
pub(crate) struct Answer {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    instances: Vec<Outcome>,
    #[serde(skip)]
    exit: Exit,
}

impl Answer {
    pub(crate) fn new(dry_run: bool, instances: Vec<Outcome>) -> Self {
        let all = instances
            .iter()
            .map(Outcome::exit)
            .fold(Exit::Done, Exit::merge);
        // 3 and 4 promise that nothing was changed.
        let changed = |outcome: &Outcome| matches!(outcome, Outcome::Exported(_));
        let exit = match all {
            Exit::Refused | Exit::Unavailable if instances.iter().any(changed) => Exit::Failed,
            exit => exit,
        };
        Self {
            version: JSON_VERSION,
            exit_code: exit.code(),
            dry_run,
            instances,
            exit,
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

/// One line for each instance, and its notices.
pub(crate) fn line(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Planned(plan) => {
            let text = match &plan.decision {
                ExportDecision::UpToDate { .. } => up_to_date(&plan.instance, plan.snapshot.name()),
                ExportDecision::Send { base, .. } => {
                    let about = plan.estimate.map_or(String::new(), |bytes| {
                        format!(": about {} before compression", size(bytes))
                    });
                    format!(
                        "Would export {} of {}, {}{about}",
                        one_line(plan.snapshot.name()),
                        plan.instance,
                        since(base)
                    )
                }
            };
            with(text, &plan.notices)
        }
        Outcome::Exported(done) | Outcome::UpToDate(done) => {
            let text = match (&done.decision, &done.stored) {
                (ExportDecision::Send { base, .. }, Some(stored)) => {
                    let mut text = format!(
                        "Exported {} of {}, {}: {} as {}",
                        one_line(done.snapshot.name()),
                        done.instance,
                        since(base),
                        size(stored.stream_bytes),
                        size(stored.stored_bytes)
                    );
                    if stored.reused_parts > 0 {
                        let _ = write!(
                            text,
                            "; {} of {} parts were stored before",
                            stored.reused_parts, stored.parts
                        );
                    }
                    if let Some(image) = done.origin.as_ref().and_then(|origin| origin.stored) {
                        let _ = write!(
                            text,
                            "; its image, stored once for all: {} as {}",
                            size(image.stream_bytes),
                            size(image.stored_bytes)
                        );
                    }
                    text
                }
                _ => up_to_date(&done.instance, done.snapshot.name()),
            };
            with(text, &done.notices)
        }
        Outcome::Skipped { instance, reason } => {
            format!("Left out {instance}: {}\n", one_line(reason))
        }
        Outcome::Failed { instance, failure } => {
            format!("Failed {instance}: {}\n", one_line(&failure.message))
        }
        Outcome::NotRun { instance } => format!("Not begun: {instance}\n"),
    }
}

fn up_to_date(instance: &InstanceRef, snapshot: &str) -> String {
    format!(
        "{instance} is up to date: {} is in the archive",
        one_line(snapshot)
    )
}

fn since(base: &Base) -> String {
    match base {
        Base::Full { why, no_origin } => match no_origin {
            Some(no_origin) => format!("in full ({why}; {no_origin})"),
            None => format!("in full ({why})"),
        },
        Base::Origin {
            from,
            is_archived,
            length,
            why,
            ..
        } => {
            let first = if *is_archived {
                ""
            } else {
                ", which is stored first"
            };
            format!(
                "since its image {}{first} (stream {length} of its chain; {why})",
                one_line(from.as_str())
            )
        }
        Base::Increment { from, length, .. } => {
            let from = from.as_str();
            let name = from.split_once(['@', '#']).map_or(from, |(_, name)| name);
            format!("since {} (stream {length} of its chain)", one_line(name))
        }
    }
}

fn with(mut text: String, notices: &[Notice]) -> String {
    text.push('\n');
    text.extend(notices.iter().map(notice));
    text
}
