//! A guard: a snapshot to come back to if what is done next fails.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrarium_zfs::Guid;

use super::{Destination, Host, Planner, RestoreRequest, Session};
use crate::error::Error;
use crate::execute::Progress;
use crate::instances::{CommandOutput, InstanceState, Instances, InstancesError, Stop};
use crate::names::{Alias, InstanceRef};
use crate::plan::{Action, Plan};
use crate::report::Report;
use crate::zfs::Zfs;

/// What an instance can be brought back to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Guard {
    /// The instance.
    pub instance: InstanceRef,
    /// The guid of its snapshot.
    pub point: Guid,
    /// The snapshot's name.
    pub name: String,
    /// Whether the instance ran when the snapshot was taken; then it runs again after a rewind.
    pub ran: bool,
}

/// What became of the snapshot of a guard.
#[derive(Debug)]
#[non_exhaustive]
pub struct Guarded {
    /// What there is to come back to; `None` if no snapshot was taken, and the report says why.
    pub guard: Option<Guard>,
    /// What was done.
    pub report: Report,
}

impl<Z: Zfs, I: Instances> Session<'_, Z, I> {
    /// Takes an on-demand snapshot of `instance` that may be removed from `expires` on. Nothing stays locked when the
    /// session is over: what is guarded may take snapshots and restore itself.
    ///
    /// # Errors
    /// As [`Planner::plan_snapshot`]; [`Error::Changed`] if the snapshot is gone at once; any error of reading.
    pub async fn guard(
        &mut self,
        instance: &InstanceRef,
        alias: Option<Alias>,
        expires: Timestamp,
        progress: &dyn Progress,
    ) -> Result<Guarded, Error> {
        let of = std::slice::from_ref(instance);
        let plan = self.planner().plan_snapshot(of, alias, Some(expires))?;
        let report = self.take(&plan, progress).await;
        let taken = report
            .steps
            .iter()
            .find_map(|step| match &step.step.action {
                Action::Snapshot { snapshots, .. } => snapshots.first(),
                _ => None,
            });
        let Some((name, _)) = taken.filter(|_| report.is_complete()) else {
            return Ok(Guarded {
                guard: None,
                report,
            });
        };
        self.refresh().await?;
        let (record, covered) = self.planner().inventory().covered(instance)?;
        let point = covered.points.iter().find(|point| point.snapshot == *name);
        let point = point.ok_or_else(|| Error::Changed {
            object: name.to_string(),
            change: "it was removed as soon as it was taken".to_owned(),
        })?;
        Ok(Guarded {
            guard: Some(Guard {
                instance: instance.clone(),
                point: point.guid,
                name: point.name().to_owned(),
                ran: record.state == InstanceState::Running,
            }),
            report,
        })
    }
}

impl<Z: Zfs, I: Instances> Planner<'_, Z, I> {
    /// Plans the rewind to a guard's snapshot. `None` as for [`Planner::plan_restore`].
    ///
    /// # Errors
    /// As [`Planner::plan_restore`]; [`Error::Select`] if the snapshot is gone.
    pub async fn plan_rewind_to(&self, guard: &Guard, stop: Stop) -> Result<Option<Plan>, Error> {
        let request = RestoreRequest {
            at: Some(guard.point.to_string()),
            start: guard.ran,
            to: Destination::InPlace {
                stop,
                destroy_newer: false,
            },
        };
        self.plan_restore(&guard.instance, &request).await
    }
}

impl<Z: Zfs, I: Instances> Host<Z, I> {
    /// Runs a command by a shell (`sh -c`) in the guarded instance, as root, for at most `limit`.
    ///
    /// # Errors
    /// [`InstancesError`] if it could not be run or was not done in time; an exit code other than 0 is no error.
    pub async fn check(
        &self,
        guard: &Guard,
        command: &str,
        limit: Duration,
    ) -> Result<CommandOutput, InstancesError> {
        let words = ["sh", "-c", command].map(str::to_owned);
        self.instances.exec(&guard.instance, &words, limit).await
    }
}
