//! Execute: carry out a plan step by step; after a failure, put everything back.
//!
//! There are no choices here. Each step rechecks what it relies on right before it acts, by guid where a guid
//! is known. What a failure or a crash leaves behind is sorted out by [`plan_recovery`] from what is found.

mod grave;
mod step;

use std::future::Future;
use std::sync::Arc;

use jiff::Timestamp;
use terrarium_zfs::BatchError;

use crate::details::DetailsDir;
use crate::error::Error;
use crate::instances::{InstanceRecord, Instances};
use crate::intent::{Goal, Intent};
use crate::inventory::{Pending, Pool};
use crate::layout::PoolLayout;
use crate::plan::{Direction, Plan, Purpose, Step, plan_recovery};
use crate::report::{Outcome, Report, with_causes};
use crate::zfs::Zfs;

/// Is told what happens, and may stop it between two steps.
pub trait Progress: Send + Sync {
    /// A step is about to be carried out.
    ///
    /// # Errors
    /// An error stops the plan before that step: [`Error::Interrupted`] lets everything be put back (a recovery is
    /// not interrupted), [`Error::Fault`] leaves it as it is, as a crash would.
    fn step_begins(&self, index: usize, plan: &Plan, step: &Step) -> Result<(), Error> {
        let _ = (index, plan, step);
        Ok(())
    }

    /// A step came to its end.
    fn step_ended(&self, index: usize, plan: &Plan, outcome: &Outcome) {
        let _ = (index, plan, outcome);
    }
}

/// Nobody is told anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {}

/// What plans are carried out on.
pub(crate) struct Executor<'a, Z, I> {
    pub(crate) zfs: &'a Arc<Z>,
    pub(crate) instances: &'a I,
    pub(crate) details: &'a DetailsDir,
    pub(crate) progress: &'a dyn Progress,
}

impl<Z: Zfs, I: Instances> Executor<'_, Z, I> {
    /// Carries out a plan. If a step fails before the goal is reached, everything is put back.
    pub(crate) async fn execute(&self, plan: &Plan) -> Report {
        let mut report = self.run(plan).await;
        let crashed = matches!(report.error, Some(Error::Fault { .. }));
        if report.is_effective() || crashed || plan.purpose == Purpose::TakeBack {
            return report;
        }
        if report.is_left_to_lxd() {
            // It may be deleting still: what came into its tree again would be deleted with it.
            return report;
        }
        if let (Some(intent), Some(layout)) = (&plan.intent, &plan.layout) {
            match self.put_back(intent, layout, plan.made_at).await {
                Ok(put_back) => report.put_back = put_back.map(Box::new),
                Err(error) => {
                    let mut failed = Report::of(plan);
                    failed.purpose = Purpose::TakeBack;
                    failed.title = format!("take back: {}", plan.title);
                    failed.error = Some(error);
                    report.put_back = Some(Box::new(failed));
                }
            }
        }
        report
    }

    async fn run(&self, plan: &Plan) -> Report {
        let mut report = Report::of(plan);
        let mut unfinished: Option<BatchError> = None;
        for (index, step) in plan.steps.iter().enumerate() {
            let outcome = match self.progress.step_begins(index, plan, step) {
                // Who interrupts an operation wants it taken back, not left in its middle.
                Err(error)
                    if plan.purpose == Purpose::Request || matches!(error, Error::Fault { .. }) =>
                {
                    Err(error)
                }
                _ => self.carry_out(plan, &step.action).await,
            };
            let (outcome, error) = match outcome {
                Ok(outcome) => (outcome, None),
                // One that stays stops none of the others.
                Err(Error::NotAllDestroyed { source, .. }) => {
                    let outcome = Outcome::partly(&source);
                    match &mut unfinished {
                        Some(all) => all.failures.extend(source.failures),
                        None => unfinished = Some(source),
                    }
                    (outcome, None)
                }
                Err(error) => {
                    let reason = with_causes(&error);
                    (Outcome::Failed { reason }, Some(error))
                }
            };
            self.progress.step_ended(index, plan, &outcome);
            tracing::debug!(action = step.action.name(), ?outcome, "step ended");
            report.steps[index].outcome = outcome;
            if error.is_some() {
                report.error = error;
                break;
            }
        }
        if let (None, Some(source)) = (&report.error, unfinished) {
            let destroyed = report.destroyed();
            report.error = Some(Error::NotAllDestroyed { destroyed, source });
        }
        report
    }

    /// Takes an operation back from wherever it stopped; `None` if it left nothing behind.
    async fn put_back(
        &self,
        intent: &Intent,
        layout: &PoolLayout,
        now: Timestamp,
    ) -> Result<Option<Report>, Error> {
        let root = layout.root.clone();
        let listing = self.on_zfs(move |zfs| zfs.list(&root)).await?;
        let holder = listing.datasets.iter().find(|dataset| {
            let found = Intent::from_properties(&dataset.local);
            found.is_ok_and(|found| found.is_some_and(|found| found.operation == intent.operation))
        });
        let Some(holder) = holder else {
            return Ok(None);
        };
        let pending = Pending {
            layout: layout.clone(),
            holder: holder.name.clone(),
            intent: intent.clone(),
        };
        let pool = Pool {
            layout: layout.clone(),
            listing,
        };
        let plan = self.recovery(&pending, &pool, Direction::Back, now).await?;
        Ok(Some(self.run(&plan).await))
    }

    /// Plans the recovery of an operation from what is found now.
    pub(crate) async fn recovery(
        &self,
        pending: &Pending,
        pool: &Pool,
        direction: Direction,
        now: Timestamp,
    ) -> Result<Plan, Error> {
        let changed = match &pending.intent.goal {
            Goal::AsNew(goal) => &goal.new,
            _ => &pending.intent.instance,
        };
        let record: Option<InstanceRecord> = self.instances.get(changed).await?;
        let operation = &pending.intent.operation;
        let details = self
            .details
            .load(operation)
            .map_err(|source| self.file_error(source))?;
        plan_recovery(pending, pool, record.as_ref(), details, direction, now)
    }

    fn file_error(&self, source: std::io::Error) -> Error {
        Error::File {
            path: self.details.path().to_owned(),
            source,
        }
    }

    /// Runs a ZFS call, which blocks, where it holds nobody up.
    fn on_zfs<T, E, F>(
        &self,
        call: F,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T, E, Z, I, F>
    where
        F: FnOnce(&Z) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        Error: From<E>,
    {
        let zfs = Arc::clone(self.zfs);
        let running = tokio::task::spawn_blocking(move || call(&zfs));
        async move { Ok(running.await.map_err(|_| Error::Interrupted)??) }
    }
}
