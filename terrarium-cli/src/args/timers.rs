//! The arguments of `timers`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The units of systemd that call `terrariumctl run`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Timers {
    /// Have systemd call `terrariumctl run` every quarter of an hour
    Install(InstallArgs),
    /// Take back what install did
    Remove(RemoveArgs),
    /// Show whether the timer runs, and what became of the last run
    Status(FolderArgs),
}

/// Where the units are.
#[derive(Clone, Debug, Args)]
pub(crate) struct FolderArgs {
    /// The folder of the units; systemd itself is told only of those in the default one
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    pub(crate) unit_dir: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// The program that the units call [default: this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) program: Option<PathBuf>,
    /// Show the units and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Show what would be removed and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
