//! What all commands have in common that change something: look, ask, lock and recover, plan, carry out, tell.

use jiff::Zoned;
use terrarium_core::{Begun, Error, Host, InstanceRef, Instances, Plan, Planner, Report, Zfs};

use crate::command::Context;
use crate::confirm::{self, Question};
use crate::exit::{Exit, Failure};
use crate::progress::Steps;
use crate::render::{self, Answer, plan, report};
use crate::signal;

/// What is to be changed.
pub(crate) struct Change {
    /// The instances that nobody else may change meanwhile.
    pub(crate) instances: Vec<InstanceRef>,
    /// What others are told who want to.
    pub(crate) doing: &'static str,
    /// Only show it.
    pub(crate) dry_run: bool,
    /// Somebody has to agree.
    pub(crate) ask: bool,
}

/// Carries out what `planned` plans. Where somebody has to agree, it is planned once more when the instances are
/// locked; if that is not what was agreed to, it is asked again.
pub(crate) async fn change<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    what: &Change,
    context: &Context,
    planned: impl AsyncFn(&Planner<'_, Z, I>) -> Result<Option<Plan>, Error>,
) -> Result<Exit, Failure> {
    let now = context.clock;
    if what.dry_run {
        let planner = host.look(now()).await?;
        let plan = planned(&planner).await?;
        return show_plan(&planner, what, plan.as_ref(), context);
    }

    signal::watch(&context.interrupt, &context.console);
    let asked_at = now();
    let mut agreed = None;
    if what.ask {
        let planner = context.interrupt.or(host.look(asked_at.clone())).await?;
        let plan = context.interrupt.or(planned(&planner)).await?;
        confirm::refuse_unattended(context)?;
        if let Some(plan) = &plan {
            agreed = Some(question(&planner, what, plan, &asked_at));
        }
    }
    if let Some(question) = &agreed {
        confirm::ask(question, context).await?;
    }

    let steps = Steps {
        console: &context.console,
        interrupt: &context.interrupt,
    };
    context.interrupt.work_begins();
    let session = match host
        .begin(&what.instances, what.doing, now(), &steps)
        .await?
    {
        Begun::Ready(session) => session,
        Begun::Stuck(report) => return stuck(&report, context),
    };
    let planner = session.planner();
    tell_recoveries(planner.recovered(), context);
    let Some(plan) = context.interrupt.or(planned(planner)).await? else {
        return already_done(planner, what, context);
    };
    if let Some(agreed) = agreed {
        let question = question(planner, what, &plan, &asked_at);
        if question != agreed {
            context
                .console
                .tell("Something has changed since you were asked.");
            confirm::ask(&question, context).await?;
        }
    }
    let report = session.execute(&plan, &steps).await;
    tell(&report, planner, context)
}

fn show_plan<Z: Zfs, I: Instances>(
    planner: &Planner<'_, Z, I>,
    what: &Change,
    plan: Option<&Plan>,
    context: &Context,
) -> Result<Exit, Failure> {
    let inventory = planner.inventory();
    let recoveries = plan::recoveries_first(inventory, &what.instances);
    if context.console.json {
        context
            .console
            .answer_json(&plan::Shown::new(plan, &recoveries))?;
    } else if let Some(plan) = plan {
        let now = (context.clock)();
        context
            .console
            .answer(&plan::text(plan, inventory, &recoveries, &now))?;
    }
    Ok(Exit::Done)
}

fn question<Z: Zfs, I: Instances>(
    planner: &Planner<'_, Z, I>,
    what: &Change,
    plan: &Plan,
    now: &Zoned,
) -> Question {
    let inventory = planner.inventory();
    let recoveries = plan::recoveries_first(inventory, &what.instances);
    plan::question(plan, inventory, &recoveries, now)
}

fn tell_recoveries(recovered: &[Report], context: &Context) {
    if context.console.json {
        return;
    }
    for report in recovered {
        context
            .console
            .tell(&report::recovery(report, context.console.verbose));
    }
}

/// An operation that was cut off stands in the way.
fn stuck(report: &Report, context: &Context) -> Result<Exit, Failure> {
    let failure = report::stuck(report);
    if context.console.json {
        context
            .console
            .answer_json(&Answer::new(&[], Some(report), Some(&failure)))?;
    } else {
        context.console.tell(&render::failure(&failure));
        context.console.tell(&report::steps(report));
    }
    Ok(failure.exit)
}

/// The recovery did what was asked for.
fn already_done<Z: Zfs, I: Instances>(
    planner: &Planner<'_, Z, I>,
    what: &Change,
    context: &Context,
) -> Result<Exit, Failure> {
    if context.console.json {
        context
            .console
            .answer_json(&Answer::new(planner.recovered(), None, None))?;
    } else {
        context
            .console
            .answer(&report::already_done(what.doing, planner))?;
    }
    Ok(Exit::Done)
}

fn tell<Z: Zfs, I: Instances>(
    report: &Report,
    planner: &Planner<'_, Z, I>,
    context: &Context,
) -> Result<Exit, Failure> {
    let console = &context.console;
    let failure = report::failure(report);
    let exit = failure.as_ref().map_or(Exit::Done, |failure| failure.exit);
    if console.json {
        console.answer_json(&Answer::new(
            planner.recovered(),
            Some(report),
            failure.as_ref(),
        ))?;
        return Ok(exit);
    }
    if report.is_effective() {
        let now = (context.clock)();
        console.answer(&report::success(report, planner.inventory(), &now))?;
    }
    if let Some(failure) = &failure {
        console.tell(&render::failure(failure));
        console.tell(&report::aftermath(report));
    }
    if console.verbose || report.error.is_some() && !report.is_effective() {
        console.tell(&report::steps(report));
    }
    Ok(exit)
}
