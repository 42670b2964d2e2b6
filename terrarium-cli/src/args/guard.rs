//! Flags of `guard`.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use terrarium_core::{Alias, InstanceRef};

use super::{StopArgs, expiry_from_now, parse_timeout};

pub(crate) const GUARD_EXAMPLES: &str = "\
Takes a snapshot of the instance, then runs the command on this host, without a shell. If it fails, or the check does, or
Ctrl-C comes, the instance is rewound to the snapshot, and runs again if it ran. It is not asked first: a rewind destroys
nothing, and `terrariumctl backup undo` brings back what the command has left. The snapshot stays until it expires.

The command has this command's input, output and errors; everything else is told on standard error. With --json its output
goes to standard error too, and the answer is on standard output. After Ctrl-C it has 2s to end, then SIGTERM ends it,
10s later SIGKILL. If this program itself is killed, the snapshot stays and nothing is rewound.

Ends with 0 if all went well; with 1 if the command or the check failed, rewound or not, as the report says; with 2 if the
command cannot be started, and then nothing is rewound; with 130 if it was interrupted and rewound.

Examples:
  terrariumctl guard --instance web -- ./deploy.sh --production
  terrariumctl guard --instance web --check 'curl -fsS http://localhost/health' -- ansible-playbook site.yml
  terrariumctl guard --instance web -- lxc exec web -- apt-get -y upgrade";

#[derive(Clone, Debug, Args)]
pub(crate) struct GuardArgs {
    /// The instance
    #[arg(long, value_name = "[PROJECT/]NAME")]
    pub(crate) instance: InstanceRef,
    /// Then run this in the instance by a shell (sh -c), as root: good is an exit code of 0
    #[arg(long, value_name = "CMD")]
    pub(crate) check: Option<String>,
    /// How long the check may take
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_timeout)]
    pub(crate) check_timeout: Duration,
    /// A name to find the snapshot by, unique for the instance
    #[arg(long, value_name = "TEXT")]
    pub(crate) alias: Option<Alias>,
    /// When the snapshot may be removed: 30m, 12h, 30d, 8w, a date, or a time as in RFC 3339
    #[arg(long, value_name = "WHEN", default_value = "24h", value_parser = expiry_from_now)]
    pub(crate) expires: Timestamp,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    /// Show what would be done and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    #[test]
    fn a_guard_has_an_instance_and_a_command() {
        let parses = |line: &[&str]| {
            let line = ["terrariumctl", "guard"].iter().chain(line);
            Cli::try_parse_from(line).is_ok()
        };
        assert!(parses(&["--instance", "web", "--", "true", "--instance"]));
        assert!(parses(&[
            "--instance",
            "tenant/web",
            "--check",
            "true",
            "--expires",
            "2d",
            "--",
            "x"
        ]));
        assert!(!parses(&["--instance", "web"]));
        assert!(!parses(&["--instance", "web", "--"]));
        assert!(!parses(&["--", "true"]));
        assert!(!parses(&["--instance", "../x", "--", "true"]));
        assert!(!parses(&[
            "--instance",
            "web",
            "--expires",
            "soon",
            "--",
            "true"
        ]));
        assert!(!parses(&[
            "--instance",
            "web",
            "--check-timeout",
            "0s",
            "--",
            "true"
        ]));
    }
}
