//! What is written once, when the program is installed: completions for shells, and manual pages.

use std::fs;

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::console::Console;
use crate::exit::{Exit, Failure};

/// Answers with the script that makes a shell complete the commands.
pub(crate) fn completions(args: &CompletionsArgs, console: &Console) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "terrariumctl", &mut script);
    console.answer_bytes(&script)?;
    Ok(Exit::Done)
}

/// Writes a page for each command, as `terrariumctl-backup-restore.1`.
pub(crate) fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let folder = &args.into;
    let written =
        fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| {
        let what = format!("cannot write into {}: {error}", folder.display());
        Failure::new(Exit::Failed, what)
    })?;
    Ok(Exit::Done)
}
