//! `guard`: a snapshot, a command, and a rewind if it fails.

mod child;

use terrarium_core::{
    Access, Begun, Error, Guard, Host, Instances, InstancesError, Report, Zfs, with_causes,
};

use self::child::{Ended, run};
use crate::args::GuardArgs;
use crate::command::Context;
use crate::command::change::{Change, Doing, change, tell_recoveries, tell_stuck};
use crate::exit::{Exit, Failure};
use crate::progress::Steps;
use crate::render::guard::Answer;
use crate::render::{self, one_line, report};
use crate::signal::Interrupt;

/// Runs a command, and rewinds the instance if it fails.
pub(crate) async fn guard<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &GuardArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    if args.check.is_some() && !context.site.runs_instances() {
        let what = "cannot check: instances of a pool file do not run";
        let help = "leave out --check, and have the command itself fail";
        return Err(Failure::new(Exit::Usage, what).with_help(help));
    }
    if args.dry_run {
        return show(host, args, context).await;
    }
    let guard = match take(host, args, context).await? {
        Begins::With(guard) => guard,
        Begins::Not(exit) => return Ok(exit),
    };
    let ended = match run(args, context).await {
        Ended::Well => check(host, &guard, args, context).await,
        ended => ended,
    };
    let (exit, why) = match ended {
        Ended::Well => return well(&guard, context),
        Ended::NotStarted(why) => return not_started(&guard, why, context),
        Ended::Badly(why) => (Exit::Failed, why),
        Ended::Interrupted => (Exit::Interrupted, "interrupted".to_owned()),
    };
    rewind(host, &guard, args, (exit, &why), context).await
}

/// The plan of the snapshot is all that is known before.
async fn show<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &GuardArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let what = Change {
        instances: vec![args.instance.clone()],
        doing: Doing::Snapshot,
        dry_run: true,
        ask: false,
    };
    let exit = change(host, &what, context, async |planner| {
        let plan = planner.plan_snapshot(&what.instances, args.alias.clone(), Some(args.expires));
        plan.map(Some)
    });
    let exit = exit.await?;
    if !context.console.json {
        let command = one_line(&child::shown(&args.command));
        let text = format!(
            "Then {command} would be run; if it fails, {} is rewound.",
            args.instance
        );
        context.console.tell(&text);
    }
    Ok(exit)
}

enum Begins {
    With(Guard),
    Not(Exit),
}

async fn take<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &GuardArgs,
    context: &Context,
) -> Result<Begins, Failure> {
    let steps = Steps {
        console: &context.console,
        interrupt: &context.interrupt,
    };
    let now = (context.clock)();
    let of = std::slice::from_ref(&args.instance);
    let begun = host.begin_as(Access::Snapshot, of, "guard", now.clone(), &steps);
    let mut session = match context.interrupt.or(begun).await? {
        Begun::Ready(session) => session,
        Begun::Stuck(report) => return tell_stuck(&report, context).map(Begins::Not),
    };
    tell_recoveries(session.planner().recovered(), context);
    let taken = session.guard(&args.instance, args.alias.clone(), args.expires, &steps);
    let taken = taken.await?;
    let failure = report::failure(&taken.report);
    let Some(guard) = taken.guard else {
        return Err(failure.unwrap_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("{}: no snapshot was taken", args.instance),
            )
        }));
    };
    if let Some(failure) = &failure {
        context
            .console
            .tell(&format!("warning: {}", one_line(&failure.message)));
    }
    if !context.console.json {
        let inventory = session.planner().inventory();
        let told = report::success(
            &taken.report,
            Doing::Snapshot,
            inventory,
            &now,
            &context.site,
        );
        context.console.tell(told.trim_end());
    }
    Ok(Begins::With(guard))
}

async fn check<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    guard: &Guard,
    args: &GuardArgs,
    context: &Context,
) -> Ended {
    let Some(check) = &args.check else {
        return Ended::Well;
    };
    let checked = tokio::select! {
        biased;
        () = context.interrupt.wait() => return Ended::Interrupted,
        checked = host.check(guard, check, args.check_timeout) => checked,
    };
    match checked {
        Ok(output) if output.exit_code == 0 => Ended::Well,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().last().map(str::trim).unwrap_or_default();
            let said = if said.is_empty() {
                String::new()
            } else {
                format!(": {said}")
            };
            Ended::Badly(format!(
                "the check ended with exit code {}{said}",
                output.exit_code
            ))
        }
        Err(InstancesError::CommandTimedOut { .. }) => {
            let limit = args.check_timeout.as_secs();
            Ended::Badly(format!("the check was not done within {limit}s"))
        }
        Err(error) => {
            let why = with_causes(&Error::from(error));
            Ended::Badly(format!("the check could not be run: {why}"))
        }
    }
}

fn well(guard: &Guard, context: &Context) -> Result<Exit, Failure> {
    if context.console.json {
        context
            .console
            .answer_json(&Answer::new(guard, false, None, None))?;
    } else {
        let (instance, name) = (&guard.instance, one_line(&guard.name));
        let text =
            format!("All went well; {instance} stays as it is, and {name} until it expires.");
        context.console.tell(&text);
    }
    Ok(Exit::Done)
}

fn not_started(guard: &Guard, why: String, context: &Context) -> Result<Exit, Failure> {
    let help = format!("nothing was rewound; {} stays until it expires", guard.name);
    let failure = Failure::new(Exit::Usage, why).with_help(help);
    tell(guard, false, None, &failure, context)
}

async fn rewind<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    guard: &Guard,
    args: &GuardArgs,
    (exit, why): (Exit, &str),
    context: &Context,
) -> Result<Exit, Failure> {
    let instance = &guard.instance;
    // What was interrupted is put back to the end, whatever comes.
    context.interrupt.work_begins();
    let steps = Steps {
        console: &context.console,
        interrupt: &Interrupt::default(),
    };
    if !context.console.json {
        context.console.tell(&format!(
            "{why}; rewinding {instance} to {}",
            one_line(&guard.name)
        ));
    }
    let back = back(host, guard, args, &steps, context).await;
    let again = format!("backup restore --instance {instance} --at {}", guard.name);
    let (rewound, failure) = match &back {
        Ok(report) if report.as_ref().is_none_or(Report::is_effective) => {
            let undo = context
                .site
                .command(&format!("backup undo --instance {instance}"));
            let failure =
                Failure::new(exit, format!("{why}; {instance} is back at {}", guard.name));
            (
                true,
                failure.with_help(format!("`{undo}` brings back what was rewound")),
            )
        }
        Ok(report) => {
            let failure = report.as_ref().and_then(report::failure);
            let cause = failure.map_or_else(String::new, |failure| failure.message);
            (
                false,
                Failure::new(
                    Exit::Failed,
                    format!("{why}, and {instance} was not rewound: {cause}"),
                ),
            )
        }
        Err(failure) => {
            let message = format!("{why}, and {instance} was not rewound: {}", failure.message);
            (false, Failure::new(Exit::Failed, message))
        }
    };
    let failure = match rewound {
        true => failure,
        false => failure.with_help(format!("try again with `{}`", context.site.command(&again))),
    };
    let report = back.as_ref().ok().and_then(Option::as_ref);
    tell(guard, rewound, report, &failure, context)
}

/// Rewinds; `None` if a recovery has done so.
async fn back<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    guard: &Guard,
    args: &GuardArgs,
    steps: &Steps<'_>,
    context: &Context,
) -> Result<Option<Report>, Failure> {
    let of = std::slice::from_ref(&guard.instance);
    let now = (context.clock)();
    let session = match host.begin(of, "guard", now.clone(), steps).await? {
        Begun::Ready(session) => session,
        Begun::Stuck(report) => return Err(report::stuck(&report)),
    };
    tell_recoveries(session.planner().recovered(), context);
    let plan = session.planner().plan_rewind_to(guard, args.stop.how());
    let Some(plan) = plan.await? else {
        return Ok(None);
    };
    let report = session.execute(&plan, steps).await;
    if !context.console.json {
        let before = session.planner().inventory();
        if report.is_effective() {
            let told = report::success(&report, Doing::Restore, before, &now, &context.site);
            context.console.tell(told.trim_end());
        } else {
            context.console.tell(&report::aftermath(&report));
        }
    }
    Ok(Some(report))
}

fn tell(
    guard: &Guard,
    rewound: bool,
    report: Option<&Report>,
    failure: &Failure,
    context: &Context,
) -> Result<Exit, Failure> {
    if context.console.json {
        let answer = Answer::new(guard, rewound, report, Some(failure));
        context.console.answer_json(&answer)?;
    } else {
        context.console.tell(&render::failure(failure));
    }
    Ok(failure.exit)
}
