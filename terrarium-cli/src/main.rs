//! `terrariumctl`: the command line of the time machine for LXD containers on ZFS.
//!
//! Raw flags ([`args`]) become validated arguments, those become calls of `terrarium-core` ([`command`]), and what
//! comes back is shown ([`render`]) through one way out ([`console`]).

mod archive;
mod args;
mod command;
mod config;
mod confirm;
mod console;
mod exit;
#[cfg(feature = "fault-injection")]
mod fault;
mod manual;
mod memory;
mod progress;
mod render;
mod run;
mod signal;
mod site;
#[cfg(test)]
mod testing;
mod timers;

use std::process::ExitCode;

fn main() -> ExitCode {
    memory::share_arenas();
    run::run()
}
