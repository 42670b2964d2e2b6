//! The guarded command: a process of this host, with our own input, output and errors.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::args::GuardArgs;
use crate::command::Context;
use crate::site::shell_word;

/// How often it is looked whether the command has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long a command may take that has got the Ctrl-C itself.
const BY_ITSELF: Duration = Duration::from_secs(2);
/// How long it may take after SIGTERM.
const AFTER_TERM: Duration = Duration::from_secs(10);

/// What the guarded work came to.
pub(super) enum Ended {
    Well,
    Badly(String),
    /// Nothing was run.
    NotStarted(String),
    Interrupted,
}

/// Runs the command to its end.
pub(super) async fn run(args: &GuardArgs, context: &Context) -> Ended {
    let Some((program, arguments)) = args.command.split_first() else {
        return Ended::NotStarted("there is no command".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let started = match context.console.json {
        true => to_stderr().and_then(|stderr| command.stdout(stderr).spawn()),
        false => command.spawn(),
    };
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            let program = program.to_string_lossy();
            return Ended::NotStarted(format!("cannot run {program}: {error}"));
        }
    };
    tokio::select! {
        biased;
        () = context.interrupt.wait() => {
            end(&mut child).await;
            Ended::Interrupted
        }
        ended = wait(&mut child) => match ended {
            Ok(status) => of(status, args),
            Err(error) => Ended::Badly(format!("the command was lost sight of: {error}")),
        },
    }
}

/// The command as somebody would type it.
pub(super) fn shown(command: &[OsString]) -> String {
    let words = command
        .iter()
        .map(|word| shell_word(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

/// Standard output is for the answer.
fn to_stderr() -> io::Result<Stdio> {
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

/// The arguments are not told: they may hold secrets.
fn of(status: ExitStatus, args: &GuardArgs) -> Ended {
    let program = args.command.first().map(|word| word.to_string_lossy());
    let program = program.unwrap_or_default();
    match (status.code(), status.signal()) {
        (Some(0), _) => Ended::Well,
        (Some(code), _) => Ended::Badly(format!("{program} ended with exit code {code}")),
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            Ended::Badly(format!("{program} was ended by signal {signal}"))
        }
    }
}

async fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn has_ended(child: &mut Child, within: Duration) -> bool {
    let until = Instant::now() + within;
    while Instant::now() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}

/// Ends a command: nothing may change the instance any more when it is rewound.
async fn end(child: &mut Child) {
    if has_ended(child, BY_ITSELF).await {
        return;
    }
    let pid = i32::try_from(child.id()).map(Pid::from_raw);
    let told = pid.is_ok_and(|pid| kill(pid, Signal::SIGTERM).is_ok());
    if told && has_ended(child, AFTER_TERM).await {
        return;
    }
    // One that has ended meanwhile has done what was wanted.
    _ = child.kill();
    _ = child.wait();
}
