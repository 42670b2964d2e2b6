//! An instance as it was before something is tried on it, and the way back.
//!
//! ```text
//! guard:   snapshot ── the deed ── check ──► it stays
//!                          └── failed ──► rewind: as it was before, running again if it ran
//! ```
//!
//! Between the two nothing is locked: scheduled snapshots are taken as ever. Whoever is killed in between leaves the
//! snapshot behind, which expires.

use std::time::Duration;

use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use terrarium_zfs::Guid;

use super::{Access, Begun, Destination, Host, RestoreRequest};
use crate::error::{Class, Error};
use crate::execute::Progress;
use crate::instances::{CommandOutput, InstanceState, Instances, InstancesError, Stop};
use crate::names::{Alias, InstanceRef};
use crate::plan::Action;
use crate::point::RestorePoint;
use crate::report::{Report, with_causes};
use crate::zfs::Zfs;

/// What an instance was before something is tried on it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Guard {
    /// The instance.
    pub instance: InstanceRef,
    /// The guid of the snapshot that was taken.
    pub point: Guid,
    /// Its name, without the dataset's.
    pub name: String,
    /// Whether the instance ran, and is started again by [`Host::rewind_to`].
    pub was_running: bool,
}

/// Why there is no guard, or no way back from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The snapshot was not taken, or the rewind could not be planned; the instance is as it is.
    #[error(transparent)]
    Error(#[from] Error),
    /// The snapshot was not taken, or a command in the instance before or after it failed: the report says which.
    #[error("{}", .0.title)]
    NotTaken(Box<Report>),
    /// An operation that was cut off stands in the way, and could not be recovered.
    #[error("an operation was cut off earlier and cannot be recovered: {}", .0.title)]
    Stuck(Box<Report>),
}

/// What came of a check in the instance.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Checked {
    /// It ended with 0.
    Passed,
    /// It ended with something else.
    Failed(CommandOutput),
    /// It went on for longer than it was given.
    TimedOut,
    /// It could not be run: why. An instance that does not run any more is one reason.
    NotRun(String),
}

impl<Z: Zfs, I: Instances> Host<Z, I> {
    /// Takes a snapshot of an instance on which something is about to be tried. It is on demand, and expires then.
    ///
    /// # Errors
    /// [`GuardError`]; nothing should be tried then.
    pub async fn guard(
        &self,
        instance: &InstanceRef,
        alias: Option<Alias>,
        expires: Timestamp,
        now: Zoned,
        progress: &dyn Progress,
    ) -> Result<Guard, GuardError> {
        let of = std::slice::from_ref(instance);
        let begun = self.begin_as(Access::Snapshot, of, "guard", now.clone(), progress);
        let session = match begun.await? {
            Begun::Ready(session) => session,
            Begun::Stuck(report) => return Err(GuardError::Stuck(report)),
        };
        let planner = session.planner();
        let (record, _) = planner.inventory().covered(instance)?;
        let was_running = record.state == InstanceState::Running;
        let plan = planner.plan_snapshot(of, alias, Some(expires))?;
        let report = session.take(&plan, progress).await;
        if report.class().is_some() {
            return Err(GuardError::NotTaken(Box::new(report)));
        }
        let inventory = self.observe(&now).await?;
        let (_, covered) = inventory.covered(instance)?;
        let is_ours = |point: &&RestorePoint| {
            report.steps.iter().any(|step| {
                matches!(&step.step.action, Action::Snapshot { snapshots, .. }
                    if snapshots.iter().any(|(name, _)| *name == point.snapshot))
            })
        };
        let taken = covered.points.iter().find(is_ours);
        let taken = taken.ok_or_else(|| Error::Changed {
            object: instance.to_string(),
            change: "the snapshot that was just taken is gone".to_owned(),
        })?;
        Ok(Guard {
            instance: instance.clone(),
            point: taken.guid,
            name: taken.name().to_owned(),
            was_running,
        })
    }

    /// Runs a shell's command in the instance, and says whether all is well. Reads nothing of ZFS and changes nothing.
    ///
    /// # Errors
    /// [`Error`] if LXD cannot be reached: then nothing is known.
    pub async fn check(
        &self,
        instance: &InstanceRef,
        command: &str,
        limit: Duration,
    ) -> Result<Checked, Error> {
        let command = ["sh", "-c", command].map(str::to_owned);
        match self.instances.exec(instance, &command, limit).await {
            Ok(output) if output.exit_code == 0 => Ok(Checked::Passed),
            Ok(output) => Ok(Checked::Failed(output)),
            Err(InstancesError::CommandTimedOut { .. }) => Ok(Checked::TimedOut),
            Err(error) => {
                let error = Error::from(error);
                match error.class() {
                    Class::Unavailable => Err(error),
                    _ => Ok(Checked::NotRun(with_causes(&error))),
                }
            }
        }
    }

    /// Brings the instance back to what it was, as a restore in place does: what it is now moves aside and stays
    /// restorable, the instance is started if it ran. `None` if recovering an operation that was cut off has just done
    /// that.
    ///
    /// # Errors
    /// [`GuardError`] if it was not begun; what became of it once it was is in the report.
    pub async fn rewind_to(
        &self,
        guard: &Guard,
        stop: Stop,
        now: Zoned,
        progress: &dyn Progress,
    ) -> Result<Option<Report>, GuardError> {
        let of = std::slice::from_ref(&guard.instance);
        let session = match self.begin(of, "guard", now, progress).await? {
            Begun::Ready(session) => session,
            Begun::Stuck(report) => return Err(GuardError::Stuck(report)),
        };
        let request = RestoreRequest {
            at: Some(guard.point.to_string()),
            start: guard.was_running,
            to: Destination::InPlace {
                stop,
                destroy_newer: false,
            },
        };
        let plan = session.planner().plan_restore(&guard.instance, &request);
        match plan.await? {
            Some(plan) => Ok(Some(session.execute(&plan, progress).await)),
            None => Ok(None),
        }
    }
}
