//! What all commands have in common that change something: look, ask, lock and recover, plan, carry out, tell.

use jiff::Zoned;
use terrarium_core::{
    Access, Begun, Error, Host, InstanceRef, Instances, Inventory, Plan, Planner, Report, Zfs,
};

use crate::command::Context;
use crate::confirm::{self, Question};
use crate::exit::{Exit, Failure};
use crate::progress::Steps;
use crate::render::{self, Answer, edited, plan, points, report};

/// What is to be changed.
pub(crate) struct Change {
    /// The instances that nobody else may change meanwhile.
    pub(crate) instances: Vec<InstanceRef>,
    /// What it is called.
    pub(crate) doing: Doing,
    /// Only show it.
    pub(crate) dry_run: bool,
    /// Somebody has to agree.
    pub(crate) ask: bool,
}

/// The commands that change something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Doing {
    Snapshot,
    Restore,
    Undo,
    Edit,
    Delete,
    Adopt,
    Destroy,
    Resume,
}

impl Doing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Doing::Snapshot => "snapshot",
            Doing::Restore => "restore",
            Doing::Undo => "undo",
            Doing::Edit => "edit",
            Doing::Delete => "delete",
            Doing::Adopt => "adopt",
            Doing::Destroy => "destroy",
            Doing::Resume => "resume",
        }
    }

    /// Whatever does not change what the instance is does not have to wait for an export.
    fn access(self) -> Access {
        match self {
            Doing::Snapshot | Doing::Edit | Doing::Delete | Doing::Adopt => Access::Snapshot,
            Doing::Restore | Doing::Undo | Doing::Destroy | Doing::Resume => Access::Alone,
        }
    }
}

/// Carries out what `planned` plans. Where somebody has to agree, it is planned once more when the instances are
/// locked; if that is not what was agreed to, it is asked again.
pub(crate) async fn change<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    what: &Change,
    context: &Context,
    planned: impl AsyncFn(&Planner<'_, Z, I>) -> Result<Option<Plan>, Error>,
) -> Result<Exit, Failure> {
    let now = (context.clock)();
    if what.dry_run {
        let planner = host.look(now.clone()).await?;
        let plan = planned(&planner).await?;
        return what.show(plan.as_ref(), planner.inventory(), &now, context);
    }

    let mut agreed = None;
    if what.ask {
        let planner = context.interrupt.or(host.look(now.clone())).await?;
        let plan = context.interrupt.or(planned(&planner)).await?;
        confirm::refuse_unattended(&context.console)?;
        if let Some(plan) = &plan {
            let question = what.question(plan, planner.inventory(), &now, context);
            confirm::ask(&question, &context.console, &context.interrupt).await?;
            agreed = Some(question);
        }
    }

    let steps = Steps {
        console: &context.console,
        interrupt: &context.interrupt,
    };
    context.interrupt.work_begins();
    let begun = host.begin_as(
        what.doing.access(),
        &what.instances,
        what.doing.name(),
        (context.clock)(),
        &steps,
    );
    let session = match begun.await? {
        Begun::Ready(session) => session,
        Begun::Stuck(report) => return tell_stuck(&report, context),
    };
    let planner = session.planner();
    tell_recoveries(planner.recovered(), context);
    let Some(plan) = context.interrupt.or(planned(planner)).await? else {
        return what.tell_recovered(planner.recovered(), planner.inventory(), context);
    };
    if let Some(agreed) = agreed {
        let question = what.question(&plan, planner.inventory(), &now, context);
        if question != agreed {
            context
                .console
                .tell("Something has changed since you were asked.");
            confirm::ask(&question, &context.console, &context.interrupt).await?;
        }
    }
    let report = match what.doing {
        Doing::Snapshot => session.take(&plan, &steps).await,
        _ => session.execute(&plan, &steps).await,
    };
    let after = if context.console.json && matches!(what.doing, Doing::Snapshot | Doing::Edit) {
        // For guids and times of what was taken, and all else of what was edited; the answer does without if this fails.
        host.observe(&(context.clock)()).await.ok()
    } else {
        None
    };
    what.tell(
        &report,
        planner.recovered(),
        planner.inventory(),
        after.as_ref(),
        context,
    )
}

impl Change {
    fn question(
        &self,
        plan: &Plan,
        inventory: &Inventory,
        now: &Zoned,
        context: &Context,
    ) -> Question {
        let recoveries = plan::recoveries_first(inventory, &self.instances);
        plan::question(plan, inventory, &recoveries, now, &context.site)
    }

    fn show(
        &self,
        plan: Option<&Plan>,
        inventory: &Inventory,
        now: &Zoned,
        context: &Context,
    ) -> Result<Exit, Failure> {
        let recoveries = plan::recoveries_first(inventory, &self.instances);
        if context.console.json {
            context
                .console
                .answer_json(&plan::Shown::new(plan, &recoveries))?;
        } else if let Some(plan) = plan {
            context.console.answer(&plan::text(
                plan,
                inventory,
                &recoveries,
                now,
                &context.site,
            ))?;
        }
        Ok(Exit::Done)
    }

    pub(super) fn tell(
        &self,
        report: &Report,
        recovered: &[Report],
        before: &Inventory,
        after: Option<&Inventory>,
        context: &Context,
    ) -> Result<Exit, Failure> {
        let console = &context.console;
        let failure = report::failure(report);
        let exit = failure.as_ref().map_or(Exit::Done, |failure| failure.exit);
        if console.json {
            let taken = after.map(|after| points::taken(after, &report::snapshots(report)));
            let answer = Answer::new(recovered, Some(report), failure.as_ref());
            console.answer_json(&answer.with_points(taken.unwrap_or_default()))?;
            return Ok(exit);
        }
        if report.is_effective() || edited::destroys(report) {
            console.answer(&report::success(
                report,
                self.doing,
                before,
                &(context.clock)(),
                &context.site,
            ))?;
        }
        if let Some(failure) = &failure {
            console.tell(&render::failure(failure));
            // What was destroyed has been said.
            if report.destroyed() == 0 && report.error.is_some() {
                console.tell(&report::aftermath(report));
            }
        }
        if console.verbose {
            console.tell(&report::steps(report));
        }
        Ok(exit)
    }

    /// A recovery did what was asked for.
    pub(super) fn tell_recovered(
        &self,
        recovered: &[Report],
        now: &Inventory,
        context: &Context,
    ) -> Result<Exit, Failure> {
        if context.console.json {
            context
                .console
                .answer_json(&Answer::new(recovered, None, None))?;
        } else {
            context.console.answer(&report::already_done(
                self.doing,
                recovered,
                now,
                &context.site,
            ))?;
        }
        Ok(Exit::Done)
    }
}

pub(super) fn tell_recoveries(recovered: &[Report], context: &Context) {
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
pub(super) fn tell_stuck(report: &Report, context: &Context) -> Result<Exit, Failure> {
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
