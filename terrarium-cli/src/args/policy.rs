//! Flags of what is asked about policies, without a host.

use std::path::PathBuf;

use clap::Args;

pub(crate) const SIMULATE_EXAMPLES: &str = "\
Runs the timer in thought, every quarter of an hour, for one instance, and shows what history it has in the end: a mark
for each snapshot, the newest at the right, on a scale that shows an hour as wide as a day and a day as wide as a month.

--policy is read as the label user.terrarium.retention is: counts by name over the default, frequently=4 (every 15
minutes), hourly=24, daily=14, monthly=3. A template of a sanoid.conf stands on sanoid's own defaults.

Examples:
  terrariumctl backup simulate
  terrariumctl backup simulate --policy hourly=48,daily=30 --svg history.svg
  terrariumctl backup simulate --sanoid-conf /etc/sanoid/sanoid.conf --template production --days 1000";

#[derive(Clone, Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Days to simulate: 1 to 3660
    #[arg(long, value_name = "N", default_value_t = 400,
          value_parser = clap::value_parser!(u32).range(1..=3660))]
    pub(crate) days: u32,
    /// What the label of an instance would say
    #[arg(long, value_name = "LABEL", conflicts_with = "sanoid_conf")]
    pub(crate) policy: Option<String>,
    /// Take a template of this sanoid.conf instead
    #[arg(long, value_name = "FILE", requires = "template")]
    pub(crate) sanoid_conf: Option<PathBuf>,
    /// The template's name, without template_
    #[arg(long, value_name = "NAME", requires = "sanoid_conf")]
    pub(crate) template: Option<String>,
    /// Also draw it into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}
