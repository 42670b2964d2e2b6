//! `graveyard list` and `graveyard purge`.

use terrarium_core::plan::reap::What;
use terrarium_core::plan::{Reap, Reaping};
use terrarium_core::{Error, Host, InstanceRef, Instances, Report, Zfs};

use crate::args::PurgeArgs;
use crate::command::Context;
use crate::command::change::tell_recoveries;
use crate::confirm::{self, Question};
use crate::exit::{Exit, Failure};
use crate::progress::Steps;
use crate::render::{self, graveyard, one_line, report};

/// Shows what was destroyed or moved aside.
pub(crate) async fn list<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    context: &Context,
) -> Result<Exit, Failure> {
    let now = (context.clock)();
    let planner = host.look(now.clone()).await?;
    let found = planner.survey_graveyard(&Reap::Expired(None));
    let exit = match planner.inventory().problems.is_empty() {
        true => Exit::Done,
        false => Exit::Unavailable,
    };
    let console = &context.console;
    if console.json {
        console.answer_json(&graveyard::Listed::new(&found, exit))?;
    } else {
        console.answer(&graveyard::list(&found, &now, &context.site))?;
    }
    for problem in &planner.inventory().problems {
        let (pool, why) = (one_line(&problem.lxd_pool), one_line(&problem.why));
        console.tell(&format!(
            "warning: storage pool {pool} cannot be read: {why}"
        ));
    }
    Ok(exit)
}

/// Destroys for ever what was destroyed or moved aside.
pub(crate) async fn purge<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &PurgeArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let now = (context.clock)();
    let planner = context.interrupt.or(host.look(now.clone())).await?;
    let all = planner.survey_graveyard(&Reap::All);
    let is_operation = |name: &str| {
        let mut entries = all.entries.iter();
        entries.any(|entry| entry.operation.as_str() == name)
    };
    let what = args.reap(is_operation);
    let what = what.map_err(|why| Failure::new(Exit::Usage, why))?;
    refuse_unknown(&what, &all)?;
    let found = planner.survey_graveyard(&what);
    let console = &context.console;
    if args.consent.dry_run {
        if console.json {
            console.answer_json(&graveyard::Purge::planned(&found))?;
        } else {
            console.answer(&graveyard::plan(&found, &now))?;
        }
        return Ok(Exit::Done);
    }
    // What somebody named and cannot go is not done; what has had its time goes another time.
    let kept = match args.names().is_empty() || found.kept().next().is_none() {
        true => Exit::Done,
        false => Exit::Refused,
    };
    if found.doomed().next().is_none() {
        if console.json {
            console.answer_json(&graveyard::Purge::done(&found, &[], &[], kept))?;
        } else {
            console.answer(&graveyard::done(&found, &[]))?;
        }
        return Ok(kept);
    }
    if !args.consent.yes {
        confirm::refuse_unattended(console)?;
        let question = Question {
            text: graveyard::question(&found, &now),
            destroys: true,
        };
        confirm::ask(&question, console, &context.interrupt).await?;
    }
    let (reports, failures) = carry_out(host, &what, &found, context).await;
    let mut exit = reports
        .iter()
        .filter_map(report::failure)
        .chain(failures.iter().cloned())
        .fold(kept, |exit, failure| exit.merge(failure.exit));
    if exit == Exit::Refused && reports.iter().any(Report::is_complete) {
        exit = Exit::Failed;
    }
    if console.json {
        console.answer_json(&graveyard::Purge::done(&found, &reports, &failures, exit))?;
        return Ok(exit);
    }
    console.answer(&graveyard::done(&found, &reports))?;
    for report in &reports {
        if let Some(failure) = report::failure(report) {
            console.tell(&render::failure(&failure));
        }
        if console.verbose {
            console.tell(&report::steps(report));
        }
    }
    for failure in &failures {
        console.tell(&render::failure(failure));
    }
    Ok(exit)
}

/// What was destroyed and was not to stay goes at once.
pub(super) async fn purge_at_once<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    instance: &InstanceRef,
    context: &Context,
) -> Result<Exit, Failure> {
    let planner = host.look((context.clock)()).await?;
    let graves = planner.inventory().graveyard.iter();
    let newest = graves
        .map(|grave| &grave.record)
        .filter(|record| record.instance == *instance)
        .max_by_key(|record| record.destroyed);
    let Some(newest) = newest.filter(|record| record.expires <= record.destroyed) else {
        return Ok(Exit::Done);
    };
    let what = Reap::These {
        instances: Vec::new(),
        operations: vec![newest.operation.clone()],
    };
    let found = planner.survey_graveyard(&what);
    let (reports, failures) = carry_out(host, &what, &found, context).await;
    let failed = reports.iter().filter_map(report::failure);
    let failed: Vec<Failure> = failed.chain(failures).collect();
    let console = &context.console;
    if !console.json {
        console.answer(&graveyard::done(&found, &reports))?;
    }
    let mut exit = Exit::Done;
    for failure in failed {
        if !console.json {
            console.tell(&render::failure(&failure));
        }
        // The instance was destroyed, so this is not "nothing was changed".
        exit = exit.merge(Exit::Failed);
    }
    Ok(exit)
}

async fn carry_out<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    what: &Reap,
    agreed: &Reaping,
    context: &Context,
) -> (Vec<Report>, Vec<Failure>) {
    let steps = Steps {
        console: &context.console,
        interrupt: &context.interrupt,
    };
    context.interrupt.work_begins();
    let now = (context.clock)();
    let purged = host.purge(what, agreed, &now, &steps).await;
    tell_recoveries(&purged.recovered, context);
    let failures = purged.failures.into_iter();
    let failures = failures.map(|(_, error)| Failure::from(error));
    let failures = failures.chain(purged.stuck.iter().map(report::stuck));
    (purged.reports, failures.collect())
}

fn refuse_unknown(what: &Reap, all: &Reaping) -> Result<(), Failure> {
    let Reap::These { instances, .. } = what else {
        return Ok(());
    };
    let is_there = |instance: &&InstanceRef| {
        let mut entries = all.entries.iter();
        entries.any(|entry| {
            entry.what == What::Destroyed && entry.instance.as_ref() == Some(*instance)
        })
    };
    match instances.iter().find(|instance| !is_there(instance)) {
        Some(unknown) => Err(Error::NothingToResume {
            instance: unknown.clone(),
            from: None,
            purging: false,
            nearest: Vec::new(),
        }
        .into()),
        None => Ok(()),
    }
}
