//! The commands: what is asked of terrarium-core, and how its answer is shown.

mod change;
mod export;
mod list;
mod restore;
mod restore_archived;
mod snapshot;
mod stream_info;
mod stream_look;
#[cfg(test)]
mod tests;
mod undo;

use std::sync::Arc;

use jiff::Zoned;
use terrarium_core::{Host, Instances, Streams};

use crate::args::{Backup, Source};
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
        Backup::List(args) => list::list(host, args, context).await,
        Backup::Snapshot(args) => snapshot::snapshot(host, args, context).await,
        Backup::Undo(args) => undo::undo(host, args, context).await,
        Backup::Export(args) => export::export(host, args, context).await,
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
        Backup::Export(_) => panic!("it takes an archive"),
    }
}
