//! Dying at a chosen step, for tests of what the next run makes of it.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use terrarium_core::plan::Step;

use crate::console::Console;

/// Counts the steps that begin in this process, from 0, those of recoveries and put-backs included.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// If `TERRARIUM_FAULT_KILL_AT` is set: tells the step that begins, and kills the process before it if that is its
/// number.
pub(crate) fn before(step: &Step, console: &Console) {
    let Ok(chosen) = std::env::var("TERRARIUM_FAULT_KILL_AT") else {
        return;
    };
    let number = BEGUN.fetch_add(1, Ordering::SeqCst);
    console.tell(&format!("fault: step {number} {}", step.action.name()));
    if chosen.parse() == Ok(number) {
        // Does not return: SIGKILL cannot be waited for.
        let _ = kill(Pid::this(), Signal::SIGKILL);
    }
}
