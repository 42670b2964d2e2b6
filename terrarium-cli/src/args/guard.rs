//! The arguments of `guard`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use terrarium_core::{Alias, InstanceRef};

use super::{StopArgs, parse_span, parse_timeout};

pub(super) const GUARD_EXAMPLES: &str = "\
Takes a snapshot of the instance, runs CMD on this host, and then --check in the instance. If either fails, or is
interrupted, the instance is brought back to what it was, and runs again if it did; what came of CMD moves aside, and
`terrariumctl backup undo` brings it forward. The snapshot expires.

Standard output is CMD's own. With --json it goes to standard error, and the answer says what became of everything.

Ends with 0 if CMD and the check succeeded; with 1 if not, and with 130 if it was interrupted: the instance is back then,
or it is said that it is not. With 3 or 4 CMD was not run.

Examples:
  terrariumctl guard --instance web -- ./deploy.sh
  terrariumctl guard --instance web --check 'curl -fsS http://localhost/health' -- lxc exec web -- apt-get -y upgrade";

#[derive(Clone, Debug, Args)]
pub(crate) struct GuardArgs {
    /// The instance that CMD changes
    #[arg(long, value_name = "[PROJECT/]NAME")]
    pub(crate) instance: InstanceRef,
    /// A name to find the snapshot by
    #[arg(long, value_name = "TEXT")]
    pub(crate) alias: Option<Alias>,
    /// Run this in the instance by a shell (sh -c) after CMD: good is an exit code of 0
    #[arg(long, value_name = "CMD")]
    pub(crate) check: Option<String>,
    /// How long the check may take
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_timeout)]
    pub(crate) check_timeout: Duration,
    /// How long the snapshot is kept
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_time)]
    pub(crate) keep: SignedDuration,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    /// The command, and its arguments
    #[arg(value_name = "CMD", required = true, last = true)]
    pub(crate) command: Vec<OsString>,
}

fn parse_time(text: &str) -> Result<SignedDuration, String> {
    match parse_span(text) {
        Ok(time) if time >= SignedDuration::from_mins(1) => Ok(time),
        _ => Err("expected a time such as 30m, 24h or 7d".to_owned()),
    }
}
