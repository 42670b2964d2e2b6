//! The run that a timer calls: take what is due, remove what no policy has a use for any more.
//!
//! ```text
//! recover  what was cut off, as any session does, and the commands that are owed to instances
//! take     what is due: one transaction group for each pool and period, beside exports, between the commands of labels
//! prune    what the policies have no use for
//! reap     destroyed instances whose time is up, and what rewinds moved aside long enough ago
//! record   what became of it, for whoever asks later
//! ```
//! Nothing is remembered from one run to the next: what is due follows from the snapshots that are there. A run that was
//! killed is followed by one that finds what is missing. No failure of one instance keeps another from its turn.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use terrarium_zfs::{ErrorKind, SnapshotName};

use super::{Begun, Host, Planner, Skipped, policies};
use crate::error::{Class, Error};
use crate::execute::Progress;
use crate::hook_run::HookRun;
use crate::instances::Instances;
use crate::lock::Lock;
use crate::names::InstanceRef;
use crate::plan::{Batch, Bundle, Hooked, Notice, Reap, Reaping, RunPlan, Scheduled, plan_run};
use crate::policy::Period;
use crate::report::{Report, with_causes};
use crate::zfs::Zfs;

/// What became of a run.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    /// When it began.
    pub began: Timestamp,
    /// Operations that had been cut off, and what became of them.
    pub recovered: Vec<Report>,
    /// Snapshots that were taken.
    pub taken: Vec<Taken>,
    /// What failed; the rest was done all the same.
    pub failures: Vec<RunFailure>,
    /// Instances whose turn comes with the next run.
    pub skipped: Vec<Skipped>,
    /// Commands that were run in instances before and after.
    pub hooks: Vec<HookRun>,
    /// What was removed; nothing if there was nothing to remove.
    pub pruned: Option<Report>,
    /// What was purged from the graveyard, and of what rewinds moved aside.
    pub purged: Vec<Report>,
    /// What else is worth knowing.
    pub notices: Vec<Notice>,
}

/// A snapshot that was taken.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Taken {
    /// The instance.
    pub instance: InstanceRef,
    /// Its name.
    pub snapshot: SnapshotName,
    /// What it is for.
    pub period: Period,
}

/// Something that failed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunFailure {
    /// The instance; none if it is about all of a pool.
    pub instance: Option<InstanceRef>,
    /// What it was about, and why it failed, in one line.
    pub what: String,
}

impl RunReport {
    /// What the outcome means for the caller; `None` if everything was done. What was in use is no failure.
    pub fn class(&self) -> Option<Class> {
        let stuck = self.recovered.iter().find_map(Report::class);
        let mut removals = self.pruned.iter().chain(&self.purged);
        let pruned = removals.find_map(Report::class);
        let failed = (!self.failures.is_empty()).then_some(Class::Failed);
        // Something was attempted: that nothing was changed can no longer be promised.
        failed.or(stuck.or(pruned).map(|class| match class {
            Class::Interrupted => class,
            _ => Class::Failed,
        }))
    }

    /// How many snapshots were removed.
    pub fn removed(&self) -> usize {
        self.pruned.as_ref().map_or(0, Report::destroyed)
    }
}

/// What is left on record of the last run.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunRecord {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether everything was done.
    pub complete: bool,
    /// How many snapshots it took.
    pub taken: usize,
    /// How many it removed.
    pub removed: usize,
    /// What failed, each in one line.
    pub failures: Vec<String>,
    /// What was left out, each in one line.
    pub skipped: Vec<String>,
}

impl RunRecord {
    fn of(report: &RunReport, ended: Timestamp) -> Self {
        let failure = |failure: &RunFailure| match &failure.instance {
            Some(instance) => format!("{instance}: {}", failure.what),
            None => failure.what.clone(),
        };
        let mut failures: Vec<_> = report.failures.iter().map(failure).collect();
        let stuck = report.recovered.iter().chain(&report.pruned);
        let stuck = stuck.chain(&report.purged);
        failures.extend(
            stuck.filter_map(|report| report.error.as_ref().map(|error| with_causes(error))),
        );
        let skipped = |skipped: &Skipped| format!("{}: {}", skipped.instance, skipped.why);
        Self {
            began: report.began,
            ended,
            complete: report.class().is_none(),
            taken: report.taken.len(),
            removed: report.removed(),
            failures,
            skipped: report.skipped.iter().map(skipped).collect(),
        }
    }
}

impl<Z: Zfs, I: Instances> Host<Z, I> {
    /// What a run would do now: what is due. Changes nothing.
    ///
    /// # Errors
    /// [`Error`] if LXD or ZFS cannot be reached.
    pub async fn plan_run(&self, now: Zoned) -> Result<RunPlan, Error> {
        let planner = self.look(now).await?;
        let policies = planner.policies().await?;
        Ok(plan_run(&planner.inventory, &policies, &planner.now))
    }

    /// Takes what is due and removes what no policy has a use for, of all instances.
    ///
    /// # Errors
    /// [`Error::Locked`] if another run has not ended; [`Error`] if LXD or ZFS cannot be reached. What fails for some
    /// instances only is in the report.
    pub async fn run(&self, now: Zoned, progress: &dyn Progress) -> Result<RunReport, Error> {
        let at = now.timestamp();
        let _alone = self.locks.run(at)?;
        let mut report = RunReport {
            began: at,
            recovered: Vec::new(),
            taken: Vec::new(),
            failures: Vec::new(),
            skipped: Vec::new(),
            hooks: Vec::new(),
            pruned: None,
            purged: Vec::new(),
            notices: Vec::new(),
        };
        let since = Instant::now();
        self.recover_all(&now, progress, &mut report).await?;
        self.run_what_is_owed(&mut report).await;
        let planner = self.look(now.clone()).await?;
        let expired = planner.survey_graveyard(&EXPIRED);
        let (left, hooks) = self.take_due(planner, &now, &mut report).await?;
        // What was just taken is not from the future, and counts.
        let past = SignedDuration::try_from(since.elapsed()).unwrap_or_default();
        let later = now.checked_add(past).unwrap_or_else(|_| now.clone());
        self.prune_all(&later, progress, &mut report).await;
        self.reap(&expired, &now, progress, &mut report).await;
        if !left.is_empty() {
            // There was no room; perhaps there is now.
            self.take_around(left, &hooks, false, &mut report).await;
        }
        Ok(report)
    }

    /// Keeps on record what became of a run.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn record_run(&self, report: &RunReport, ended: Timestamp) -> Result<RunRecord, Error> {
        let record = RunRecord::of(report, ended);
        let path = self.run_record();
        let file = |source| Error::File {
            path: path.clone(),
            source,
        };
        let text = serde_json::to_vec_pretty(&record).map_err(|error| file(error.into()))?;
        let folder = path.parent().unwrap_or(&path);
        crate::details::write_in_full(folder, &path, &text).map_err(file)?;
        Ok(record)
    }

    /// What is on record of the last run; `None` if there was none.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read.
    pub fn last_run(&self) -> Result<Option<RunRecord>, Error> {
        let path = self.run_record();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { path, source }),
        };
        match serde_json::from_slice(&text) {
            Ok(record) => Ok(Some(record)),
            Err(error) => Err(Error::File {
                path,
                source: error.into(),
            }),
        }
    }

    fn run_record(&self) -> PathBuf {
        self.state.join("run.json")
    }

    /// Recovers what was cut off, each instance by itself.
    async fn recover_all(
        &self,
        now: &Zoned,
        progress: &dyn Progress,
        report: &mut RunReport,
    ) -> Result<(), Error> {
        let inventory = self.observe(now).await?;
        let cut_off: BTreeSet<_> = inventory
            .pending
            .iter()
            .map(|pending| pending.intent.instance.clone())
            .collect();
        for id in cut_off {
            let ids = std::slice::from_ref(&id);
            match self.begin(ids, "recover", now.clone(), progress).await {
                Ok(Begun::Ready(session)) => {
                    report.recovered.extend(session.planner.recovered);
                }
                Ok(Begun::Stuck(stuck)) => report.recovered.push(*stuck),
                Err(Error::Locked(held)) => report.skipped.push(Skipped {
                    instance: id,
                    why: held.to_string(),
                }),
                Err(error) => report.failures.push(RunFailure {
                    instance: Some(id),
                    what: with_causes(&error),
                }),
            }
        }
        Ok(())
    }

    /// Takes what is due; returns what there was no room for.
    async fn take_due(
        &self,
        planner: Planner<'_, Z, I>,
        now: &Zoned,
        report: &mut RunReport,
    ) -> Result<(Vec<Batch>, Vec<Hooked>), Error> {
        let policies = planner.policies().await?;
        let mut plan = plan_run(&planner.inventory, &policies, now);
        report.notices.append(&mut plan.notices);
        let mut locks: BTreeMap<InstanceRef, Lock> = BTreeMap::new();
        for batch in &mut plan.batches {
            // A group is taken together or not at all.
            batch.bundles.retain(|bundle| {
                for id in bundle.instances() {
                    let why = if planner.inventory.pending_for(id).next().is_some() {
                        "an operation on it was cut off".to_owned()
                    } else if locks.contains_key(id) {
                        continue;
                    } else {
                        match self.locks.share_instance(id, None, now.timestamp()) {
                            Ok(lock) => {
                                locks.insert(id.clone(), lock);
                                continue;
                            }
                            Err(error) => with_causes(&error),
                        }
                    };
                    report.skipped.push(Skipped {
                        instance: id.clone(),
                        why,
                    });
                    return false;
                }
                true
            });
        }
        let left = self.take_around(plan.batches, &plan.hooks, true, report);
        Ok((left.await, plan.hooks))
    }

    /// Takes snapshots. What there was no room for is no failure yet if it is to be tried again, and returned.
    pub(super) async fn take(
        &self,
        batches: &[Batch],
        again: bool,
        report: &mut RunReport,
    ) -> Vec<Batch> {
        let mut left = Vec::new();
        for batch in batches {
            let mut bundles: Vec<&Bundle> = batch.bundles.iter().collect();
            // Each round leaves out at least one bundle.
            while !bundles.is_empty() {
                let Err(error) = self.snapshot(&bundles).await else {
                    let snapshots = bundles.iter().flat_map(|bundle| &bundle.snapshots);
                    report.taken.extend(snapshots.map(|one| Taken {
                        instance: one.instance.clone(),
                        snapshot: one.snapshot.clone(),
                        period: one.period,
                    }));
                    break;
                };
                if again && is_full(&error) {
                    left.push(Batch {
                        pool: batch.pool.clone(),
                        period: batch.period,
                        bundles: bundles.into_iter().cloned().collect(),
                    });
                    break;
                }
                let (failed, others) = blame(&bundles, &error);
                for (one, why) in failed {
                    report.failures.push(RunFailure {
                        instance: Some(one.instance.clone()),
                        what: match why.contains(one.snapshot.as_str()) {
                            true => why,
                            false => format!("{} was not taken: {why}", one.snapshot),
                        },
                    });
                }
                bundles = others;
            }
        }
        left
    }

    async fn snapshot(&self, bundles: &[&Bundle]) -> Result<(), Error> {
        let all = bundles.iter().flat_map(|bundle| &bundle.snapshots);
        let all: Vec<_> = all
            .map(|one| (one.snapshot.clone(), one.properties.clone()))
            .collect();
        let zfs = Arc::clone(&self.zfs);
        let taking = tokio::task::spawn_blocking(move || zfs.snapshot(&all));
        Ok(taking.await.map_err(|_| Error::Interrupted)??)
    }

    /// Removes what the policies have no use for.
    async fn prune_all(&self, now: &Zoned, progress: &dyn Progress, report: &mut RunReport) {
        let failed = |error: &Error| RunFailure {
            instance: None,
            what: format!("nothing was removed: {}", with_causes(error)),
        };
        let mut pruning = match self.begin_prune(&[], now.clone()).await {
            Ok(pruning) => pruning,
            Err(error) => return report.failures.push(failed(&error)),
        };
        report.skipped.append(&mut pruning.skipped);
        let planner = pruning.session.planner();
        let policies = match planner.policies().await {
            Ok(policies) => policies,
            Err(error) => return report.failures.push(failed(&error)),
        };
        let verdicts = planner.retention(&pruning.instances, &policies);
        let surplus = policies::surplus(&verdicts);
        if surplus.is_empty() {
            return;
        }
        match planner.plan_prune(surplus) {
            Ok(plan) => report.pruned = Some(pruning.session.execute(&plan, progress).await),
            Err(error) => report.failures.push(failed(&error)),
        }
    }

    /// Purges what had its time when the run began.
    async fn reap(
        &self,
        expired: &Reaping,
        now: &Zoned,
        progress: &dyn Progress,
        report: &mut RunReport,
    ) {
        let purged = self.purge(&EXPIRED, expired, now, progress).await;
        report.recovered.extend(purged.recovered);
        report.recovered.extend(purged.stuck);
        report.purged = purged.reports;
        for (instance, error) in purged.failures {
            match (instance, error) {
                (Some(instance), Error::Locked(held)) => report.skipped.push(Skipped {
                    instance,
                    why: format!("{held}; what is left of it goes with the next run"),
                }),
                (instance, error) => report.failures.push(RunFailure {
                    instance,
                    what: format!("nothing was purged: {}", with_causes(&error)),
                }),
            }
        }
    }
}

/// What goes with time, and is not asked for.
const EXPIRED: Reap = Reap::Expired(None);

/// Whether there was no room, for all of them alike.
fn is_full(error: &Error) -> bool {
    failures(error)
        .iter()
        .any(|(_, error)| error.kind() == ErrorKind::NoSpace)
}

/// What failed in particular.
fn failures(error: &Error) -> &[(String, terrarium_zfs::Error)] {
    match error {
        Error::ZfsBatch(batch) => &batch.failures,
        _ => &[],
    }
}

/// What failed and why, and the bundles that had nothing to do with it. If nothing in particular is to blame, all is.
fn blame<'a>(
    bundles: &[&'a Bundle],
    error: &Error,
) -> (Vec<(&'a Scheduled, String)>, Vec<&'a Bundle>) {
    let why = |one: &Scheduled| {
        let found = failures(error)
            .iter()
            .find(|(object, _)| object == one.snapshot.as_str());
        found.map(|(_, error)| error.to_string())
    };
    let is_blamed = |bundle: &&&Bundle| bundle.snapshots.iter().any(|one| why(one).is_some());
    let blamed: Vec<&Bundle> = bundles.iter().filter(is_blamed).copied().collect();
    let all = blamed.is_empty();
    let others = match all {
        true => Vec::new(),
        false => bundles
            .iter()
            .filter(|bundle| !is_blamed(bundle))
            .copied()
            .collect(),
    };
    let blamed = if all { bundles } else { &blamed };
    let failed = blamed.iter().flat_map(|bundle| {
        bundle.snapshots.iter().map(|one| {
            let other = || match (&bundle.group, all) {
                (Some(group), false) => format!("another one of group {group} could not be"),
                _ => error.to_string(),
            };
            (one, why(one).unwrap_or_else(other))
        })
    });
    (failed.collect(), others)
}
