//! The graveyard: instances that are destroyed, come back, and go for ever.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Zoned};
use terrarium_zfs::DatasetName;

use super::{Begun, Host, Planner};
use crate::error::{Class, Error};
use crate::execute::Progress;
use crate::instances::{Instances, Stop};
use crate::names::{InstanceRef, OperationId};
use crate::plan::reap::Entry;
use crate::plan::{
    self, Plan, Purpose, Reap, Reaping, ResumeRequest, born, find_grave, plan_destroy, plan_reap,
    plan_resume,
};
use crate::report::Report;
use crate::zfs::Zfs;

/// How an instance is destroyed.
#[derive(Clone, Copy, Debug)]
pub struct DestroyRequest {
    /// How it is stopped.
    pub stop: Stop,
    /// How long it can come back.
    pub stays: SignedDuration,
    /// Instances that are younger cannot come back: they are purged at once. Zero keeps all, [`SignedDuration::MAX`]
    /// none.
    pub min_age: SignedDuration,
}

impl Default for DestroyRequest {
    fn default() -> Self {
        Self {
            stop: Stop::Graceful(std::time::Duration::from_secs(30)),
            stays: SignedDuration::from_hours(24),
            min_age: SignedDuration::from_hours(1),
        }
    }
}

/// What became of a purge.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Purged {
    /// Operations that had been cut off, and what became of them.
    pub recovered: Vec<Report>,
    /// What was carried out.
    pub reports: Vec<Report>,
    /// Recoveries that failed: what they work on stays.
    pub stuck: Vec<Report>,
    /// What could not be begun, and whose it is.
    pub failures: Vec<(Option<InstanceRef>, Error)>,
}

impl<Z: Zfs, I: Instances> Host<Z, I> {
    /// Purges what `agreed`, a survey of a moment ago, says, as far as it still holds: one instance after the other, each
    /// behind its lock, so that one that is in use stops none of the others.
    pub async fn purge(
        &self,
        what: &Reap,
        agreed: &Reaping,
        now: &Zoned,
        progress: &dyn Progress,
    ) -> Purged {
        let owners: BTreeSet<_> = agreed
            .doomed()
            .map(|entry| entry.instance.clone())
            .collect();
        let datasets: BTreeSet<&DatasetName> =
            agreed.doomed().map(|entry| &entry.dataset).collect();
        let mut purged = Purged::default();
        for owner in owners {
            let locked: Vec<InstanceRef> = owner.iter().cloned().collect();
            let session = match self.begin(&locked, "purge", now.clone(), progress).await {
                Ok(Begun::Ready(session)) => session,
                Ok(Begun::Stuck(stuck)) => {
                    purged.stuck.push(*stuck);
                    continue;
                }
                Err(error) => {
                    let interrupted = error.class() == Class::Interrupted;
                    purged.failures.push((owner, error));
                    match interrupted {
                        true => break,
                        false => continue,
                    }
                }
            };
            // Nothing goes that nobody agreed to, and nothing whose turn is another one's lock.
            let is_agreed =
                |entry: &Entry| entry.instance == owner && datasets.contains(&entry.dataset);
            for plan in session.planner().plan_purge(what, is_agreed) {
                purged.reports.push(session.execute(&plan, progress).await);
            }
            purged.recovered.extend(session.planner.recovered);
            if purged
                .reports
                .last()
                .is_some_and(|report| report.class() == Some(Class::Interrupted))
            {
                break;
            }
        }
        purged
    }
}

impl<Z: Zfs, I: Instances> Planner<'_, Z, I> {
    /// Plans the destruction of an instance. `None`: one that had been cut off was finished by this session.
    ///
    /// # Errors
    /// As [`plan_destroy`]; any error of ZFS.
    pub async fn plan_destroy(
        &self,
        instance: &InstanceRef,
        request: &DestroyRequest,
    ) -> Result<Option<Plan>, Error> {
        let finished = self.finished(|report| {
            let buried = report.graveyard.as_ref();
            buried.is_some_and(|buried| !buried.resumed && buried.instance == *instance)
        });
        if finished && self.inventory.instance(instance).is_none() {
            return Ok(None);
        }
        let (_, covered) = self.inventory.covered(instance)?;
        let now = self.inventory.observed_at;
        let age = now.duration_since(born(covered));
        // A clock that was set back makes nothing young.
        let is_young =
            request.min_age == SignedDuration::MAX || (!age.is_negative() && age < request.min_age);
        self.refuse_unwritable_pool(covered.live.pool()).await?;
        plan_destroy(
            &self.inventory,
            &plan::DestroyRequest {
                operation: self.operation(),
                instance: instance.clone(),
                stop: request.stop,
                stays: match is_young {
                    true => SignedDuration::ZERO,
                    false => request.stays,
                },
            },
        )
        .map(Some)
    }

    /// Plans the resume of a destroyed instance, started if it ran and `start` says so. `None`: one that had been cut
    /// off was finished by this session.
    ///
    /// # Errors
    /// As [`find_grave`] and [`plan_resume`]; [`Error::ResumeBlocked`] if its project is gone; any error of LXD or ZFS.
    pub async fn plan_resume(
        &self,
        instance: &InstanceRef,
        from: Option<&OperationId>,
        start: bool,
    ) -> Result<Option<Plan>, Error> {
        let finished = self.finished(|report| {
            let buried = report.graveyard.as_ref();
            let meant = |operation| from.is_none_or(|from| from == operation);
            buried.is_some_and(|buried| {
                buried.resumed && buried.instance == *instance && meant(&buried.operation)
            })
        });
        if finished && self.inventory.instance(instance).is_some() {
            return Ok(None);
        }
        if self.inventory.instance(instance).is_some() {
            return Err(Error::NameTaken {
                instance: instance.clone(),
            });
        }
        let grave = find_grave(&self.inventory, instance, from)?;
        self.refuse_unwritable_pool(grave.dataset.name.pool())
            .await?;
        let start = start && grave.record.running;
        self.refuse_start(instance, start)?;
        let profiles = self.host.instances.profiles(&instance.project).await;
        let profiles = profiles.map_err(|error| match Error::from(error) {
            error if error.class() == crate::error::Class::Refused => Error::ResumeBlocked {
                instance: instance.clone(),
                obstacle: format!("there is no project {} any more", instance.project),
            },
            error => error,
        })?;
        let destroyed_by = grave.record.operation.clone();
        let saved = self.host.details.load(&destroyed_by);
        let saved = saved.map_err(|source| Error::File {
            path: self.host.details.path().to_owned(),
            source,
        })?;
        plan_resume(
            &self.inventory,
            &ResumeRequest {
                operation: self.operation(),
                destroyed_by,
                start,
                profiles,
                saved,
            },
        )
        .map(Some)
    }

    /// What the graveyard and rewinds hold, and what of it `what` purges.
    pub fn survey_graveyard(&self, what: &Reap) -> Reaping {
        plan_reap(&self.inventory, what, self.now.timestamp())
    }

    /// The plans that purge what [`Planner::survey_graveyard`] says, as far as `agreed` holds: one for each storage pool.
    pub fn plan_purge(&self, what: &Reap, agreed: impl Fn(&Entry) -> bool) -> Vec<Plan> {
        let mut reaping = self.survey_graveyard(what);
        reaping.entries.retain(agreed);
        reaping.to_plans(&self.operation(), self.now.timestamp())
    }

    fn finished(&self, what: impl Fn(&Report) -> bool) -> bool {
        let mut recovered = self.recovered.iter();
        recovered.any(|report| report.purpose == Purpose::Finish && what(report))
    }
}
