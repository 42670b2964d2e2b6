//! Snapshots between the commands of labels: those that are due, and those that somebody asks for.

use std::collections::{BTreeMap, BTreeSet};

use terrarium_zfs::SnapshotName;

use crate::error::Error;
use crate::execute::Progress;
use crate::hook_run::HookRun;
use crate::host::{Host, RunFailure, RunReport, Session};
use crate::instances::Instances;
use crate::names::InstanceRef;
use crate::plan::{Action, Batch, Bundle, Hooked, Plan};
use crate::property;
use crate::report::{Report, with_causes};
use crate::zfs::Zfs;

impl RunReport {
    /// Notes what became of commands.
    fn ran(&mut self, runs: Vec<HookRun>) {
        let failed = runs.iter().filter_map(|run| {
            Some(RunFailure {
                instance: Some(run.instance.clone()),
                what: run.failure()?,
            })
        });
        self.failures.extend(failed);
        self.hooks.extend(runs);
    }
}

impl<Z: Zfs, I: Instances> Host<Z, I> {
    /// Runs the commands that are owed to instances.
    pub(in crate::host) async fn run_what_is_owed(&self, report: &mut RunReport) {
        for owed in self.make_good(report.began).await {
            match owed {
                Ok(run) => report.ran(vec![run]),
                Err(error) => report.failures.push(RunFailure {
                    instance: None,
                    what: with_causes(&error),
                }),
            }
        }
    }

    /// Takes snapshots between the commands that instances have for that. A group of which one must not be taken is not
    /// taken, in whatever pool.
    pub(in crate::host) async fn take_around(
        &self,
        mut batches: Vec<Batch>,
        hooks: &[Hooked],
        again: bool,
        report: &mut RunReport,
    ) -> Vec<Batch> {
        let bundles = batches.iter().flat_map(|batch| &batch.bundles);
        let wanted: BTreeSet<_> = bundles.flat_map(Bundle::instances).collect();
        let hooks = hooks.iter().filter(|one| wanted.contains(&one.instance));
        let hooks: Vec<_> = hooks.cloned().collect();
        if hooks.is_empty() {
            return self.take(&batches, again, report).await;
        }
        let mut entered = self.enter(&hooks, report.began).await;
        let mut skipped = BTreeSet::new();
        let bundles = || batches.iter().flat_map(|batch| &batch.bundles);
        for bundle in bundles() {
            let ids = bundle.instances();
            if ids.iter().any(|id| entered.skips(id)) {
                skipped.insert(bundle.family());
            }
        }
        let skipped: BTreeSet<_> = skipped.into_iter().flatten().collect();
        let is_skipped = |bundle: &Bundle| match bundle.family() {
            Some(family) => skipped.contains(&family),
            None => bundle.instances().iter().any(|id| entered.skips(id)),
        };
        let mut left_out = BTreeMap::new();
        for bundle in bundles().filter(|bundle| is_skipped(bundle)) {
            let group = bundle.group.as_deref().unwrap_or_default();
            let ids = bundle.instances().into_iter().cloned();
            let others = ids.filter(|id| !entered.skips(id));
            left_out.extend(others.map(|id| (id, group.to_owned())));
        }
        for (id, group) in left_out {
            report.failures.push(RunFailure {
                instance: Some(id),
                what: format!("no snapshot was taken: another one of group {group} could not be"),
            });
        }
        for batch in &mut batches {
            batch.bundles.retain(|bundle| !is_skipped(bundle));
            let snapshots = batch.bundles.iter_mut().flat_map(|one| &mut one.snapshots);
            for one in snapshots {
                if let Some(mark) = entered.mark(&one.instance) {
                    let (key, value) = (property::PRE.to_owned(), mark.name().to_owned());
                    one.properties.insert(key, value);
                }
            }
        }
        report.ran(std::mem::take(&mut entered.runs));
        let left = self.take(&batches, again, report).await;
        report.ran(self.leave(entered).await);
        left
    }
}

impl<Z: Zfs, I: Instances> Session<'_, Z, I> {
    /// Carries out a plan of snapshots, with the commands that the instances' labels name before and after. One whose
    /// command fails is left out or marked, as its label says; where the plan takes all or none, nothing is taken.
    pub async fn take(&self, plan: &Plan, progress: &dyn Progress) -> Report {
        let host = self.planner.host;
        let inventory = &self.planner.inventory;
        let owner = |snapshot: &SnapshotName| {
            let is_its = |id: &&InstanceRef| {
                let covered = inventory.covered(id);
                covered.is_ok_and(|(_, covered)| covered.live.as_str() == snapshot.dataset_str())
            };
            let mut ids = inventory.instances.iter().map(|one| &one.record.id);
            ids.find(is_its)
        };
        let mut hooks = BTreeMap::new();
        for step in &plan.steps {
            let Action::Snapshot { snapshots, .. } = &step.action else {
                continue;
            };
            let ids = snapshots.iter().filter_map(|(snapshot, _)| owner(snapshot));
            let records = ids.filter_map(|id| inventory.instance(id));
            let hooked = records.filter_map(|one| Hooked::of(&one.record));
            hooks.extend(hooked.map(|one| (one.instance.clone(), one)));
        }
        if hooks.is_empty() {
            return self.execute(plan, progress).await;
        }
        let hooks: Vec<_> = hooks.into_values().collect();
        let mut entered = host.enter(&hooks, self.planner.now.timestamp()).await;
        let mut wanted = plan.clone();
        let mut none = false;
        for step in &mut wanted.steps {
            let Action::Snapshot {
                snapshots,
                together,
            } = &mut step.action
            else {
                continue;
            };
            let skips =
                |snapshot: &SnapshotName| owner(snapshot).is_some_and(|id| entered.skips(id));
            none |= *together && snapshots.iter().any(|(snapshot, _)| skips(snapshot));
            snapshots.retain(|(snapshot, _)| !skips(snapshot));
            for (snapshot, properties) in snapshots {
                if let Some(mark) = owner(snapshot).and_then(|id| entered.mark(id)) {
                    properties.insert(property::PRE.to_owned(), mark.name().to_owned());
                }
            }
        }
        wanted.steps.retain(|step| {
            !matches!(&step.action, Action::Snapshot { snapshots, .. } if snapshots.is_empty())
        });
        none |= wanted.steps.is_empty();
        let mut report = match none {
            false => self.execute(&wanted, progress).await,
            true => {
                let mut report = Report::of(plan);
                let failed = entered.runs.iter().find(|run| run.skips);
                report.error = failed.and_then(|run| {
                    Some(Error::Hook {
                        instance: run.instance.clone(),
                        why: run.failure()?,
                    })
                });
                report
            }
        };
        report.hooks = std::mem::take(&mut entered.runs);
        report.hooks.append(&mut host.leave(entered).await);
        report
    }
}
