//! `run`: what the timer calls.

use serde::Serialize;
use terrarium_core::plan::reap::Entry;
use terrarium_core::plan::{Reap, RunPlan};
use terrarium_core::{Coverage, Host, InstanceRef, Instances, RunReport, Zfs, surplus};

use crate::args::RunArgs;
use crate::command::Context;
use crate::exit::{Exit, Failure};
use crate::progress::Steps;
use crate::render::{self, JSON_VERSION, run};

/// Takes what is due and removes what no policy has a use for.
pub(crate) async fn run<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &RunArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let now = (context.clock)();
    if args.dry_run {
        return show(host, context).await;
    }
    context.interrupt.work_begins();
    let steps = Steps {
        console: &context.console,
        interrupt: &context.interrupt,
    };
    let report = host.run(now, &steps).await?;
    let recorded = host.record_run(&report, (context.clock)().timestamp());
    let console = &context.console;
    let exit = report.class().map_or(Exit::Done, Exit::from);
    let exit = exit.merge(recorded.as_ref().err().map_or(Exit::Done, |_| Exit::Failed));
    if console.json {
        console.answer_json(&Answer {
            version: JSON_VERSION,
            exit_code: exit.code(),
            report: &report,
        })?;
        return Ok(exit);
    }
    // Called by cron, what is said is mailed to somebody.
    if console.verbose || console.watched {
        console.answer(&run::done(&report))?;
    }
    for line in run::failures(&report) {
        console.tell(&line);
    }
    if let Err(error) = recorded {
        console.tell(&render::warning(&error.into()));
    }
    Ok(exit)
}

#[derive(Serialize)]
struct Answer<'a> {
    version: u32,
    exit_code: u8,
    #[serde(flatten)]
    report: &'a RunReport,
}

/// What a run would do now.
async fn show<Z: Zfs, I: Instances>(host: &Host<Z, I>, context: &Context) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Shown<'a> {
        version: u32,
        exit_code: u8,
        dry_run: bool,
        take: &'a RunPlan,
        remove: &'a [run::Removed],
        purge: &'a [&'a Entry],
    }
    let now = (context.clock)();
    let planner = host.look(now.clone()).await?;
    let policies = planner.policies().await?;
    let plan = terrarium_core::plan::plan_run(planner.inventory(), &policies, &now);
    let covered = planner.inventory().instances.iter();
    let covered = covered.filter(|one| matches!(one.coverage, Coverage::Covered(_)));
    let ids: Vec<InstanceRef> = covered.map(|one| one.record.id.clone()).collect();
    let verdicts = planner.retention(&ids, &policies);
    let surplus = surplus(&verdicts);
    let removed = run::removed(&verdicts, &surplus);
    let graveyard = planner.survey_graveyard(&Reap::Expired(None));
    let purged: Vec<&Entry> = graveyard.doomed().collect();
    if context.console.json {
        context.console.answer_json(&Shown {
            version: JSON_VERSION,
            exit_code: Exit::Done.code(),
            dry_run: true,
            take: &plan,
            remove: &removed,
            purge: &purged,
        })?;
    } else {
        context
            .console
            .answer(&run::planned(&plan, &removed, &purged))?;
    }
    Ok(Exit::Done)
}
