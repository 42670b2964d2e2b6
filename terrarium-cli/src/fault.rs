//! Dying at a chosen step, for tests of what the next run makes of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use terrarium_core::plan::Step;

use crate::console::Console;

/// Counts the steps that begin in this process, from 0, those of recoveries and put-backs included.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// Tells the step that begins; kills the process before it if `TERRARIUM_FAULT_KILL_AT` is its number.
pub(crate) fn before(step: &Step, console: &Console) {
    let number = BEGUN.fetch_add(1, Ordering::SeqCst);
    console.tell(&format!("fault: step {number} {}", step.action.name()));
    let chosen = std::env::var("TERRARIUM_FAULT_KILL_AT").ok();
    if chosen.is_some_and(|chosen| chosen.parse() == Ok(number)) {
        // Does not return: SIGKILL cannot be waited for.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
}
