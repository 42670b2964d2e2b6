//! Report: what happened, step by step, for people and as versioned JSON.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use terrarium_zfs::{BatchError, Guid};

use crate::error::{Class, Error};
use crate::hook_run::HookRun;
use crate::intent::{Goal, Intent};
use crate::names::{InstanceRef, OperationId};
use crate::plan::{Action, Notice, Plan, Purpose, Removal, Step};

/// What became of a plan.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The operation.
    pub operation: OperationId,
    /// Whether it did what was asked for, or recovered from what was cut off.
    pub purpose: Purpose,
    /// In one line, what was to come out of it.
    pub title: String,
    /// When it was planned.
    pub made_at: Timestamp,
    /// What was restored, and where to, if it is about a restore.
    pub restored: Option<Restored>,
    /// The instance that went to the graveyard or came back from it, if it is about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graveyard: Option<Buried>,
    /// Each step and what became of it.
    pub steps: Vec<StepReport>,
    /// What else is worth knowing.
    pub notices: Vec<Notice>,
    /// Commands that were run in instances before and after.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<HookRun>,
    /// What was left out of a copy.
    pub removals: Vec<Removal>,
    /// What stopped it, if it did not come to its end.
    #[serde(serialize_with = "shown")]
    pub error: Option<Error>,
    /// How everything was put back after a failure.
    pub put_back: Option<Box<Report>>,
}

/// A restore point and where it was restored to.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Restored {
    /// The instance that the point belongs to.
    pub instance: InstanceRef,
    /// The point's guid.
    pub point: Guid,
    /// The point's name.
    pub name: String,
    /// The instance that was made from it; `None` if it was restored in place.
    pub new: Option<InstanceRef>,
    /// Whether it undid a rewind.
    pub undo: bool,
}

/// An instance that went to the graveyard, or came back from it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Buried {
    /// The instance.
    pub instance: InstanceRef,
    /// The operation that destroyed it.
    pub operation: OperationId,
    /// When it was destroyed, if this is the report of that.
    pub destroyed: Option<Timestamp>,
    /// Until when it can come back, if this is the report of its being destroyed.
    pub expires: Option<Timestamp>,
    /// Whether it came back.
    pub resumed: bool,
}

impl Buried {
    fn of(intent: &Intent) -> Option<Self> {
        let (operation, record) = match &intent.goal {
            Goal::Destroy(goal) => (&intent.operation, Some(&goal.record)),
            Goal::Resume(goal) => (&goal.destroyed_by, None),
            _ => return None,
        };
        Some(Self {
            instance: intent.instance.clone(),
            operation: operation.clone(),
            destroyed: record.map(|record| record.destroyed),
            expires: record.map(|record| record.expires),
            resumed: record.is_none(),
        })
    }
}

impl Restored {
    fn of(intent: &Intent) -> Option<Self> {
        if matches!(intent.goal, Goal::Destroy(_) | Goal::Resume(_)) {
            return None;
        }
        Some(Self {
            instance: intent.instance.clone(),
            point: intent.target.guid,
            name: intent.target.name.clone(),
            undo: matches!(&intent.goal, Goal::Rewind(goal) if goal.undo),
            new: match &intent.goal {
                Goal::AsNew(goal) => Some(goal.new.clone()),
                _ => None,
            },
        })
    }
}

/// A step and what became of it.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct StepReport {
    /// The step.
    #[serde(flatten)]
    pub step: Step,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// An object that a step was not done for.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Left {
    /// The object.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// What became of a step.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done; the note says what is not as one would expect.
    Done {
        /// What people should know.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It was done but for these.
    Partly {
        /// What it was not done for, and why.
        left: Vec<Left>,
    },
    /// It was not needed, or not possible without harm.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It failed.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was not reached.
    NotRun,
}

impl Outcome {
    pub(crate) fn partly(failed: &BatchError) -> Self {
        let left = failed.failures.iter().map(|(object, error)| Left {
            object: object.clone(),
            reason: error.to_string(),
        });
        Outcome::Partly {
            left: left.collect(),
        }
    }
}

impl Report {
    /// How many snapshots were destroyed by [`Action::DestroyPoints`] and [`Action::PurgePoints`].
    pub fn destroyed(&self) -> usize {
        let destroyed = self.steps.iter().map(|step| {
            let (Action::DestroyPoints { points } | Action::PurgePoints { points, .. }) =
                &step.step.action
            else {
                return 0;
            };
            match &step.outcome {
                Outcome::Done { .. } => points.len(),
                Outcome::Partly { left } => points.len().saturating_sub(left.len()),
                _ => 0,
            }
        });
        destroyed.sum()
    }

    pub(crate) fn of(plan: &Plan) -> Self {
        let not_run = |step: &Step| StepReport {
            step: step.clone(),
            outcome: Outcome::NotRun,
        };
        Self {
            operation: plan.operation.clone(),
            purpose: plan.purpose,
            title: plan.title.clone(),
            made_at: plan.made_at,
            restored: plan.intent.as_ref().and_then(Restored::of),
            graveyard: plan.intent.as_ref().and_then(Buried::of),
            steps: plan.steps.iter().map(not_run).collect(),
            notices: plan.notices.clone(),
            hooks: Vec::new(),
            removals: plan.removals.clone(),
            error: None,
            put_back: None,
        }
    }

    /// Whether every step came to its end.
    pub fn is_complete(&self) -> bool {
        self.error.is_none()
    }

    /// Whether what was wanted is there, though tidying up may have failed.
    pub fn is_effective(&self) -> bool {
        let failed = self
            .steps
            .iter()
            .find(|step| matches!(step.outcome, Outcome::Failed { .. }));
        self.error.is_none()
            || (self.put_back.is_none() && failed.is_some_and(|step| step.step.action.is_tidying()))
    }

    /// Whether LXD was asked to delete an instance, and nobody knows whether it does: then nothing is put back, and the
    /// next command on the instance brings the operation to its end.
    pub fn is_left_to_lxd(&self) -> bool {
        let failed = |step: &&StepReport| matches!(step.outcome, Outcome::Failed { .. });
        let failed = self.steps.iter().find(failed);
        failed.is_some_and(|step| matches!(step.step.action, Action::ForgetInstance { .. }))
            && self.error.as_ref().is_some_and(Error::is_open)
    }

    /// What the outcome means for the caller; `None` if everything was done.
    ///
    /// A failure counts as a refusal only while no instance was stopped, nothing was destroyed and nothing was left
    /// changed.
    pub fn class(&self) -> Option<Class> {
        let Some(error) = &self.error else {
            let mut failed = self.hooks.iter().filter_map(HookRun::failure);
            return failed.next().map(|_| Class::Failed);
        };
        let class = error.class();
        let stopped = self.steps.iter().any(|step| {
            matches!(step.step.action, Action::Stop { .. })
                && matches!(step.outcome, Outcome::Done { .. })
        });
        let all_back = self
            .put_back
            .as_ref()
            .is_none_or(|report| report.is_complete());
        match class {
            Class::Interrupted => Some(class),
            _ if stopped || self.destroyed() > 0 || !all_back || self.is_effective() => {
                Some(Class::Failed)
            }
            _ => Some(class),
        }
    }
}

fn shown<S: Serializer>(error: &Option<Error>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown {
        message: String,
        help: Option<String>,
    }
    let shown = error.as_ref().map(|error| Shown {
        message: with_causes(error),
        help: error.help(),
    });
    shown.serialize(serializer)
}

/// An error's text followed by those of its causes, each once.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
