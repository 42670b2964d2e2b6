//! The commands: what is asked of terrarium-core, and how its answer is shown.

mod adopt;
mod change;
pub(crate) mod drill;
mod edit;
pub(crate) mod everywhere;
mod export;
mod graveyard;
mod guard;
mod instance;
mod list;
mod list_everywhere;
mod prune;
mod restore;
mod restore_archived;
mod run;
mod simulate;
mod snapshot;
mod status;
mod stream_info;
mod stream_look;
#[cfg(test)]
mod tests;
mod undo;
mod verify;

use std::path::Path;
use std::sync::Arc;

use jiff::Zoned;
use lxd_client::Client;
use terrarium_core::{Host, Instances, Streams};
use terrarium_zfs::ZfsCore;

use crate::args::{Adopt, Backup, Graveyard, Source, Sources, Whole};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::signal::Interrupt;
use crate::site::Site;

pub(crate) use change::Doing;
pub(crate) use stream_info::stream_info;
pub(crate) use stream_look::stream_look;

/// What a command works with besides its host.
pub(crate) struct Context {
    /// Where answers go.
    pub(crate) console: Arc<Console>,
    /// What time it is, in the zone that times are shown in.
    pub(crate) clock: fn() -> Zoned,
    /// Whether a signal came.
    pub(crate) interrupt: Interrupt,
    /// What the host is.
    pub(crate) site: Site,
}

/// Carries out a command on a host.
pub(crate) async fn backup<Z: Streams, I: Instances>(
    host: &Host<Z, I>,
    command: &Backup,
    context: &Context,
) -> Result<Exit, Failure> {
    match command {
        Backup::Restore(args) if args.source == Source::Archive => {
            restore_archived::restore_archived(host, args, context).await
        }
        Backup::Restore(args) => restore::restore(host, args, context).await,
        Backup::List(args) if args.source != Sources::Local => {
            list_everywhere::list(Here::Host(host), args, context).await
        }
        Backup::List(args) => list::list(host, args, context).await,
        Backup::Snapshot(args) => snapshot::snapshot(host, args, context).await,
        Backup::Undo(args) => undo::undo(host, args, context).await,
        Backup::Edit(args) => edit::edit(host, args, context).await,
        Backup::Delete(args) => edit::delete(host, args, context).await,
        Backup::Prune(args) => prune::prune(host, args, context).await,
        Backup::Adopt(Adopt::Sanoid(args)) => adopt::sanoid(host, args, context).await,
        Backup::Run(args) => run::run(host, args, context).await,
        Backup::Guard(args) => guard::guard(host, args, context).await,
        Backup::Status(args) => status::show(host, args, context).await,
        Backup::Whole(Whole::Destroy(args)) => instance::destroy(host, args, context).await,
        Backup::Whole(Whole::Resume(args)) => instance::resume(host, args, context).await,
        Backup::Graveyard(Graveyard::List) => graveyard::list(host, context).await,
        Backup::Graveyard(Graveyard::Purge(args)) => graveyard::purge(host, args, context).await,
        Backup::Simulate(args) => simulate::show(args, &context.console, &(context.clock)()),
        Backup::Export(args) => export::export(host, args, context).await,
        Backup::Verify(args) => verify::verify(Here::Host(host), args, context).await,
        Backup::Drill(args) => drill::drill(Here::Host(host), args, context).await,
    }
}

/// This host, as a command sees it that can do without.
pub(crate) enum Here<'a, Z, I> {
    /// It is there.
    Host(&'a Host<Z, I>),
    /// It would be of use, and cannot be reached.
    Unreachable(Failure),
    /// It is of no use.
    NotAsked,
}

/// Carries out a command without a host: it needs none, or that is why there is none.
pub(crate) async fn anywhere(
    unreachable: Option<Failure>,
    command: &Backup,
    context: &Context,
) -> Result<Exit, Failure> {
    let here: Here<'_, ZfsCore, Client> = match unreachable {
        Some(failure) => Here::Unreachable(failure),
        None => Here::NotAsked,
    };
    match (command, here) {
        (Backup::Simulate(args), _) => simulate::show(args, &context.console, &(context.clock)()),
        (Backup::List(args), here) => list_everywhere::list(here, args, context).await,
        (Backup::Verify(args), here) => verify::verify(here, args, context).await,
        (Backup::Drill(args), here) => drill::drill(here, args, context).await,
        (_, Here::Unreachable(failure)) => Err(failure),
        _ => Err(Failure::new(Exit::Unavailable, "this command needs a host")),
    }
}

/// Carries out a command that needs no archive, on a host in memory, which cannot send.
#[cfg(test)]
pub(crate) async fn local<Z: terrarium_core::Zfs, I: Instances>(
    host: &Host<Z, I>,
    command: &Backup,
    context: &Context,
) -> Result<Exit, Failure> {
    match command {
        Backup::List(args) => list::list(host, args, context).await,
        Backup::Snapshot(args) => snapshot::snapshot(host, args, context).await,
        Backup::Restore(args) => restore::restore(host, args, context).await,
        Backup::Undo(args) => undo::undo(host, args, context).await,
        Backup::Edit(args) => edit::edit(host, args, context).await,
        Backup::Delete(args) => edit::delete(host, args, context).await,
        Backup::Prune(args) => prune::prune(host, args, context).await,
        Backup::Adopt(Adopt::Sanoid(args)) => adopt::sanoid(host, args, context).await,
        Backup::Run(args) => run::run(host, args, context).await,
        Backup::Guard(args) => guard::guard(host, args, context).await,
        Backup::Status(args) => status::show(host, args, context).await,
        Backup::Whole(Whole::Destroy(args)) => instance::destroy(host, args, context).await,
        Backup::Whole(Whole::Resume(args)) => instance::resume(host, args, context).await,
        Backup::Graveyard(Graveyard::List) => graveyard::list(host, context).await,
        Backup::Graveyard(Graveyard::Purge(args)) => graveyard::purge(host, args, context).await,
        Backup::Simulate(args) => simulate::show(args, &context.console, &(context.clock)()),
        Backup::Export(_) | Backup::Verify(_) | Backup::Drill(_) => panic!("it takes an archive"),
    }
}

/// Writes a file so that whoever reads it sees all of it, or the one before.
fn write_whole(path: &Path, text: &str) -> Result<(), Failure> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        _ = std::fs::remove_file(&temporary);
        let what = format!("cannot write {}: {error}", path.display());
        Failure::new(Exit::Failed, what)
    })
}
