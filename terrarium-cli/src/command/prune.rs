//! `backup prune`.

use std::collections::{BTreeMap, BTreeSet};

use terrarium_core::policy::{Resolved, Verdict};
use terrarium_core::{Host, InstanceRef, Instances, Plan, Planner, Skipped, Zfs, surplus};
use terrarium_zfs::Guid;

use crate::args::PruneArgs;
use crate::command::Context;
use crate::confirm::{self, Question};
use crate::exit::{Exit, Failure};
use crate::progress::Steps;
use crate::render;
use crate::render::report;
use crate::render::retention::{Json, Pruned, Retention, Shown};

/// Removes what the policies have no use for, or shows what that would be.
pub(crate) async fn prune<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &PruneArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let console = &context.console;
    let mut agreed = None;
    if args.consent.dry_run || !args.consent.yes {
        let planner = context.interrupt.or(host.look((context.clock)())).await?;
        let seen = Seen::of(&planner, &planner.covered_of(&args.instances)?).await?;
        let shown = seen.shown(&planner, &[]);
        if args.consent.dry_run {
            tell_problems(&shown, context);
            match console.json {
                true => console.answer_json(&Json::of_plan(&shown))?,
                false => console.answer(&shown.text(&(context.clock)()))?,
            }
            return Ok(shown.exit());
        }
        confirm::refuse_unattended(console)?;
        if !seen.doomed.is_empty() {
            confirm::ask(&seen.question(&planner), console, &context.interrupt).await?;
        }
        agreed = Some(seen.doomed);
    }

    context.interrupt.work_begins();
    let now = (context.clock)();
    let pruning = context
        .interrupt
        .or(host.begin_prune(&args.instances, now))
        .await?;
    let planner = pruning.session.planner();
    let seen = Seen::of(planner, &pruning.instances).await?;
    if let Some(agreed) = agreed
        && !seen.doomed.is_subset(&agreed)
    {
        console.tell("Something has changed since you were asked.");
        confirm::ask(&seen.question(planner), console, &context.interrupt).await?;
    }
    let steps = Steps {
        console,
        interrupt: &context.interrupt,
    };
    let report = pruning.session.execute(&seen.plan, &steps).await;
    let failure = report::failure(&report);
    let shown = seen.shown(planner, &pruning.skipped);
    let mut exit = failure.as_ref().map_or(Exit::Done, |failure| failure.exit);
    exit = exit.merge(shown.exit());
    if !args.instances.is_empty() && !pruning.skipped.is_empty() {
        // What was asked for by name was not done.
        exit = exit.merge(Exit::Refused);
    }
    let pruned = Pruned {
        shown: &shown,
        report: &report,
    };
    if console.json {
        console.answer_json(&Json::of_report(&pruned, failure.as_ref(), exit))?;
        return Ok(exit);
    }
    tell_problems(&shown, context);
    console.answer(&pruned.text(&(context.clock)()))?;
    if let Some(failure) = &failure {
        console.tell(&render::failure(failure));
    }
    if console.verbose {
        console.tell(&report::steps(&report));
    }
    Ok(exit)
}

/// What people should know before all else: labels that are not heeded.
fn tell_problems(shown: &Shown<'_>, context: &Context) {
    if !context.console.json {
        for problem in shown.problems() {
            context.console.tell(&problem);
        }
    }
}

/// What the policies say of what was found, and what follows from it.
pub(super) struct Seen {
    retention: Vec<Retention>,
    plan: Plan,
    doomed: BTreeSet<Guid>,
    /// By ZFS, if it could say.
    frees: Option<BTreeMap<InstanceRef, u64>>,
}

impl Seen {
    async fn of<Z: Zfs, I: Instances>(
        planner: &Planner<'_, Z, I>,
        instances: &[InstanceRef],
    ) -> Result<Self, Failure> {
        let policies = planner.policies().await?;
        let verdicts = planner.retention(instances, &policies);
        let plan = planner.plan_prune(surplus(&verdicts))?;
        let doomed = plan.doomed();
        Ok(Self {
            frees: planner.frees(&doomed).await.ok(),
            retention: retention(policies, verdicts),
            doomed,
            plan,
        })
    }

    /// As it would be if sanoid's snapshots were adopted: nothing that could be carried out.
    pub(super) async fn as_if_adopted<Z: Zfs, I: Instances>(
        planner: &Planner<'_, Z, I>,
        instances: &[InstanceRef],
    ) -> Result<Self, Failure> {
        let policies = planner.policies().await?;
        let verdicts = planner.retention_if_adopted(instances, &policies);
        let doomed = surplus(&verdicts).into_values().flatten().collect();
        Ok(Self {
            frees: planner.frees(&doomed).await.ok(),
            retention: retention(policies, verdicts),
            doomed,
            plan: planner.plan_prune(BTreeMap::new())?,
        })
    }

    pub(super) fn shown<'a, Z: Zfs, I: Instances>(
        &'a self,
        planner: &'a Planner<'_, Z, I>,
        skipped: &'a [Skipped],
    ) -> Shown<'a> {
        Shown {
            inventory: planner.inventory(),
            retention: &self.retention,
            plan: &self.plan,
            doomed: &self.doomed,
            frees: self.frees.as_ref(),
            skipped,
        }
    }

    fn question<Z: Zfs, I: Instances>(&self, planner: &Planner<'_, Z, I>) -> Question {
        let shown = self.shown(planner, &[]);
        Question {
            text: format!("About to {}{}", self.plan.title, shown.question()),
            destroys: true,
        }
    }
}

/// The verdicts on each instance, with the policy that they follow from.
fn retention(
    mut policies: BTreeMap<InstanceRef, Resolved>,
    verdicts: BTreeMap<InstanceRef, Vec<Verdict>>,
) -> Vec<Retention> {
    let retention = verdicts.into_iter().filter_map(|(instance, verdicts)| {
        let resolved = policies.remove(&instance)?;
        Some(Retention {
            instance,
            resolved,
            verdicts,
        })
    });
    retention.collect()
}
