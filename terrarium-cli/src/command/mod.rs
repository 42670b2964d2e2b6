//! The commands: what is asked of terrarium-core, and how its answer is shown.

mod change;
mod list;
mod restore;
mod snapshot;
#[cfg(test)]
mod tests;
mod undo;

use std::sync::Arc;

use jiff::Zoned;

use crate::console::Console;
use crate::signal::Interrupt;

pub(crate) use change::Doing;
pub(crate) use list::list;
pub(crate) use restore::restore;
pub(crate) use snapshot::snapshot;
pub(crate) use undo::undo;

/// What a command works with besides its host.
pub(crate) struct Context {
    /// Where answers go.
    pub(crate) console: Arc<Console>,
    /// What time it is, in the zone that times are shown in.
    pub(crate) clock: fn() -> Zoned,
    /// Whether a signal came.
    pub(crate) interrupt: Interrupt,
}
