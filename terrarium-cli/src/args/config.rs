//! The arguments of `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConsentArgs;

/// The settings of this host.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Config {
    /// Show what holds; secrets are shown as (set)
    Show(ShowArgs),
    /// Write what LXD has into a file, secrets included, for its owner only
    Export(ExportArgs),
    /// Take the settings of a file into LXD: all of them, or none if anything is wrong
    Import(ImportArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// Show where each value is from
    #[arg(long)]
    pub(crate) origin: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file [default: /etc/terrarium/config.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file: YAML, as `config export` and earlier versions write it
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}
