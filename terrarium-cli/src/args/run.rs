//! The arguments of `run` and `status`.

use std::path::PathBuf;

use clap::Args;

pub(crate) const RUN_EXAMPLES: &str = "\
What a timer calls, every quarter of an hour: takes the snapshots that are due, of all instances at one moment, and
removes those that no policy has a use for any more. What is due follows from the snapshots that are there: after a
downtime one of each period is taken. Says nothing unless somebody watches or something failed.

How often, and how long snapshots are kept, say labels of the instance, its profiles or its project:
  lxc config set web user.terrarium.retention=hourly=48,daily=30
  lxc config set scratch user.terrarium.backup=off
  lxc config set web user.terrarium.group=shop        # of one group, at one moment
  lxc project set tenant user.terrarium.retention=frequently=0,daily=1,keep=5
Where nothing is said: frequently=4 (every 15 minutes), hourly=24, daily=14, monthly=3.

Examples:
  terrariumctl run --dry-run
  terrariumctl timers install";

pub(crate) const STATUS_EXAMPLES: &str = "\
Ends with 0 if every instance has the snapshots that its policy wants and the last run did all it had to, with 1 if not.

Examples:
  terrariumctl status
  terrariumctl status --metrics /var/lib/prometheus/node-exporter/terrarium.prom
  terrariumctl status --json | jq '.instances[] | select(.state == \"late\") | .instance'";

#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Show what would be taken and removed and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    /// Also write it to this file as Prometheus' text files are; in full or not at all
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
}
