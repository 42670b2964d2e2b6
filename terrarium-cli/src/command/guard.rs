//! `guard`: a snapshot, somebody's command, and the way back if that fails.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use terrarium_core::{Checked, Guard, GuardError, Host, Instances, Zfs};

use crate::args::GuardArgs;
use crate::command::Context;
use crate::exit::{Exit, Failure};
use crate::progress::Steps;
use crate::render::guard::{Ended, Outcome, Rewound};
use crate::render::report;
use crate::signal::Interrupt;

/// Takes a snapshot of an instance, runs a command, and brings the instance back if that fails. The host is opened anew
/// for each part, so that the command may use what is opened.
pub(crate) async fn guard<Z: Zfs, I: Instances>(
    open: impl AsyncFn() -> Result<Host<Z, I>, Failure>,
    args: &GuardArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let console = &context.console;
    let now = (context.clock)();
    let expires = now.timestamp().checked_add(args.keep);
    let expires = expires.map_err(|_| Failure::new(Exit::Usage, "--keep ends after all times"))?;
    let steps = Steps {
        console,
        interrupt: &context.interrupt,
    };
    let guard = {
        let host = open().await?;
        let taking = host.guard(&args.instance, args.alias.clone(), expires, now, &steps);
        taking.await.map_err(|error| not_taken(&error, context))?
    };
    context.interrupt.work_begins();
    console.remark(&format!("Took {} of {}", guard.name, guard.instance));

    let mut outcome = Outcome::new(&guard, expires, &args.command);
    outcome.ended = Some(run(&args.command, context).await);
    if let (Some(Ended::Well), Some(check)) = (&outcome.ended, &args.check) {
        let checked = match open().await {
            Ok(host) => {
                let checking = host.check(&args.instance, check, args.check_timeout);
                checking.await.map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        outcome.ended = Some(match checked {
            Ok(Checked::Passed) if context.interrupt.is_raised() => Ended::Interrupted,
            Ok(Checked::Passed) => Ended::Well,
            Ok(checked) => Ended::Check(checked),
            Err(failure) => Ended::CheckUnknown(failure),
        });
    }
    if outcome.has_failed() {
        outcome.rewound = Some(rewind(open, &guard, args, context).await);
    }
    let failure = outcome.failure(&context.site);
    match (console.json, failure) {
        (true, failure) => console.answer_json(&outcome.json(failure.as_ref()))?,
        (false, Some(failure)) => return Err(failure),
        (false, None) => console.remark(&outcome.success()),
    }
    Ok(outcome.exit())
}

/// The instance is as it is, and nothing is run.
fn not_taken(error: &GuardError, context: &Context) -> Failure {
    match error {
        GuardError::Error(error) => error.into(),
        GuardError::Stuck(report) => report::stuck(report),
        GuardError::NotTaken(report) => {
            if context.console.verbose {
                context.console.tell(&report::steps(report));
            }
            let failure = report::failure(report);
            failure.unwrap_or_else(|| Failure::new(Exit::Failed, report.title.clone()))
        }
        error => Failure::new(Exit::Failed, error.to_string()),
    }
}

/// Runs the command to its end. Ctrl-C reaches it from the terminal; a SIGTERM of ours is handed on.
async fn run(command: &[OsString], context: &Context) -> Ended {
    let child = match spawn(command, context.console.json) {
        Ok(child) => child,
        Err(error) => return Ended::NotRun(error.to_string()),
    };
    match wait(child, &context.interrupt).await {
        Ok(_) if context.interrupt.is_raised() => Ended::Interrupted,
        Ok(status) if status.success() => Ended::Well,
        Ok(status) => match status.signal() {
            Some(signal) => Ended::Killed(signal),
            None => Ended::Badly(status.code().unwrap_or(1)),
        },
        Err(error) => Ended::Lost(error.to_string()),
    }
}

fn spawn(command: &[OsString], to_stderr: bool) -> io::Result<Child> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if to_stderr {
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        command.stdout(Stdio::from(stderr));
    }
    command.spawn()
}

async fn wait(mut child: Child, interrupt: &Interrupt) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).map(Pid::from_raw);
    let waiting = tokio::task::spawn_blocking(move || child.wait());
    tokio::pin!(waiting);
    let ended = tokio::select! {
        ended = &mut waiting => ended,
        () = interrupt.terminated() => {
            if let Ok(pid) = pid {
                // It may have ended just now.
                _ = kill(pid, Signal::SIGTERM);
            }
            waiting.await
        }
    };
    ended.map_err(io::Error::other)?
}

/// Brings the instance back, whatever signals come.
async fn rewind<Z: Zfs, I: Instances>(
    open: impl AsyncFn() -> Result<Host<Z, I>, Failure>,
    guard: &Guard,
    args: &GuardArgs,
    context: &Context,
) -> Rewound {
    let interrupt = Interrupt::default();
    let steps = Steps {
        console: &context.console,
        interrupt: &interrupt,
    };
    let host = match open().await {
        Ok(host) => host,
        Err(failure) => return Rewound::NotBegun(failure),
    };
    let now = (context.clock)();
    match host.rewind_to(guard, args.stop.how(), now, &steps).await {
        Ok(Some(report)) => Rewound::Reported(Box::new(report)),
        Ok(None) => Rewound::Already,
        Err(error) => Rewound::NotBegun(not_taken(&error, context)),
    }
}
