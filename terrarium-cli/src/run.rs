//! From the process's surroundings to a command, and from its outcome to the exit code.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use clap::error::ErrorKind;
use jiff::Zoned;
use lxd_client::Client;
use terrarium_core::{Error, Folders, Host, InstancesError};
use terrarium_zfs::ZfsCore;
use tokio::runtime::Runtime;

use crate::archive;
use crate::args::{Backup, Cli, Needs, Stream, Topic};
use crate::command::{self, Context};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::render;
use crate::signal::{self, Interrupt};
use crate::site::{self, Site};
use crate::timers;

/// Runs the command that the process was called with.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let exit = match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            let console = Arc::new(Console::of_the_process(cli.json, cli.verbose));
            carry_out(&cli, &console).unwrap_or_else(|failure| render::show(&console, &failure))
        }
        Err(error) => refuse_arguments(&error, &arguments),
    };
    ExitCode::from(exit.code())
}

fn carry_out(cli: &Cli, console: &Arc<Console>) -> Result<Exit, Failure> {
    let of_host;
    let command = match &cli.topic {
        Topic::Backup(command) => command,
        Topic::Adopt(what) => {
            of_host = Backup::Adopt(what.clone());
            &of_host
        }
        Topic::Run(args) => {
            of_host = Backup::Run(args.clone());
            &of_host
        }
        Topic::Guard(args) => {
            of_host = Backup::Guard(args.clone());
            &of_host
        }
        Topic::Status(args) => {
            of_host = Backup::Status(args.clone());
            &of_host
        }
        Topic::Instance(what) => {
            of_host = Backup::Whole(what.clone());
            &of_host
        }
        Topic::Graveyard(what) => {
            of_host = Backup::Graveyard(what.clone());
            &of_host
        }
        Topic::Archive(_) if cli.pool_file.is_some() => {
            let why = "--pool-file is for backup commands; an archive needs no pool";
            return Err(Failure::new(Exit::Usage, why));
        }
        Topic::Archive(topic) => {
            let runtime = runtime()?;
            let outcome = runtime.block_on(archive::archive(topic, console, Zoned::now()));
            runtime.shutdown_background();
            return outcome;
        }
        Topic::Timers(_) if cli.pool_file.is_some() => {
            let why = "--pool-file is for backup commands; nothing is scheduled for a pool file";
            return Err(Failure::new(Exit::Usage, why));
        }
        Topic::Timers(command) => {
            let runtime = runtime()?;
            let outcome = runtime.block_on(timers::timers(command, console));
            runtime.shutdown_background();
            return outcome;
        }
        Topic::Stream(_) if cli.pool_file.is_some() => {
            let why = "--pool-file is for backup commands; streams are looked into without a pool";
            return Err(Failure::new(Exit::Usage, why));
        }
        Topic::Stream(Stream::Info(args)) => {
            return command::stream_info(args, console, &Zoned::now());
        }
        Topic::Stream(Stream::Look(command)) => {
            let runtime = runtime()?;
            let outcome = runtime.block_on(command::stream_look(command, console, Zoned::now()));
            runtime.shutdown_background();
            return outcome;
        }
    };
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let context = Context {
            console: Arc::clone(console),
            clock: Zoned::now,
            interrupt: Interrupt::default(),
            site: Site::asked_for(cli.pool_file.clone()),
        };
        let watch = || {
            if command.changes_something() || command.needs() != Needs::Host {
                signal::watch(&context.interrupt, &context.console);
            }
        };
        if command.needs() == Needs::Nothing {
            watch();
            return command::anywhere(None, command, &context).await;
        }
        match &context.site {
            Site::Host => {
                let host = match connect().await {
                    Err(failure) if command.needs() == Needs::HostIfThere => {
                        watch();
                        return command::anywhere(Some(failure), command, &context).await;
                    }
                    connected => connected?,
                };
                watch();
                command::backup(&host, command, &context).await
            }
            Site::PoolFile(file) => {
                file.refuse_start(command)?;
                let host = file.open()?;
                watch();
                command::backup(&host, command, &context).await
            }
        }
    });
    // A thread may still wait for an answer that nobody wants any more.
    runtime.shutdown_background();
    outcome
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))
}

async fn connect() -> Result<Host<ZfsCore, Client>, Failure> {
    let client = Client::connect().await.map_err(|source| {
        Error::from(InstancesError::Lxd {
            operation: "reach",
            target: "LXD".to_owned(),
            source,
        })
    })?;
    let zfs = ZfsCore::open().map_err(Error::from)?;
    Ok(Host::new(zfs, client, &site::folders(Folders::default())))
}

/// What the command line is answered with if it is not a command: help, the version, or what is wrong with it.
fn refuse_arguments(error: &clap::Error, arguments: &[OsString]) -> Exit {
    let json = arguments.iter().any(|argument| argument == "--json");
    let console = Console::of_the_process(json, false);
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return console
                .answer(&text)
                .err()
                .map_or(Exit::Done, |failure| failure.exit);
        }
        _ if json => {
            let line = text.lines().next().unwrap_or_default();
            let message = line.strip_prefix("error: ").unwrap_or(line);
            return render::show(&console, &Failure::new(Exit::Usage, message));
        }
        _ => console.tell(text.trim_end()),
    }
    Exit::Usage
}
