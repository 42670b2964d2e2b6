//! Flags of what destroys instances and brings them back.

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use terrarium_core::plan::Reap;
use terrarium_core::{DestroyRequest, InstanceRef, OperationId};

use super::{ConsentArgs, StopArgs, parse_span};

const DESTROY_EXAMPLES: &str = "\
The instance goes to the graveyard with all its restore points, and comes back by `terrariumctl instance resume` until
its time is up: then the next `terrariumctl run` destroys it for ever. One that is younger than an hour is destroyed for
ever at once, unless --keep is given. Archives are not touched.

Examples:
  terrariumctl instance destroy web --dry-run
  terrariumctl instance destroy web --yes --keep
  terrariumctl instance destroy tenant/web --after 7d
  terrariumctl instance destroy web --no-graveyard";

const RESUME_EXAMPLES: &str = "\
It comes back as it was: name, config, devices, profiles, addresses, LXD's own snapshots, all restore points; and runs
if it ran. Where its name is taken or something it needs is gone, that is said and nothing is changed.

Examples:
  terrariumctl instance resume web
  terrariumctl instance resume web --from 20261122-100000-beef --no-start";

const LIST_EXAMPLES: &str = "\
Shown is also what restores in place moved aside: it goes when the time to undo is over, unless something in it is still
needed.

Examples:
  terrariumctl graveyard list
  terrariumctl graveyard list --json | jq '.entries[] | [.instance, .expires, .space]'";

const PURGE_EXAMPLES: &str = "\
What is held stays, and what something else was made from; it is said which. Archives are not touched.

Examples:
  terrariumctl graveyard purge --expired --yes
  terrariumctl graveyard purge web --dry-run
  terrariumctl graveyard purge 20261122-100000-beef
  terrariumctl graveyard purge --all";

/// What is done to an instance as a whole.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Whole {
    /// Destroy an instance; for a day it can come back
    #[command(after_help = DESTROY_EXAMPLES)]
    Destroy(DestroyArgs),
    /// Bring a destroyed instance back
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(ResumeArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DestroyArgs {
    /// The instance
    #[arg(value_name = "[PROJECT/]NAME")]
    pub(crate) instance: InstanceRef,
    /// Let it come back, however young it is
    #[arg(long, conflicts_with = "no_graveyard")]
    keep: bool,
    /// Destroy it for ever at once
    #[arg(long)]
    no_graveyard: bool,
    /// Instances younger than this are destroyed for ever at once
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_time)]
    min_age: SignedDuration,
    /// How long it can come back
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_time)]
    after: SignedDuration,
    #[command(flatten)]
    stop: StopArgs,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

impl DestroyArgs {
    pub(crate) fn request(&self) -> DestroyRequest {
        DestroyRequest {
            stop: self.stop.how(),
            stays: self.after,
            min_age: match (self.keep, self.no_graveyard) {
                (true, _) => SignedDuration::ZERO,
                (_, true) => SignedDuration::MAX,
                _ => self.min_age,
            },
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The instance
    #[arg(value_name = "[PROJECT/]NAME")]
    pub(crate) instance: InstanceRef,
    /// The operation that destroyed it, if several of that name were
    #[arg(long, value_name = "OPERATION")]
    pub(crate) from: Option<OperationId>,
    /// Do not start it, though it ran
    #[arg(long)]
    pub(crate) no_start: bool,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

/// What is done to what was destroyed.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Graveyard {
    /// Show what was destroyed or moved aside, until when, and what space it holds
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Destroy for ever what was destroyed or moved aside
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(PurgeArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PurgeArgs {
    #[command(flatten)]
    what: PurgedArgs,
    /// With --expired: purge what has been there for so long, instead of what has had its own time
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with_all = ["names", "all"])]
    after: Option<SignedDuration>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Clone, Debug, Args)]
#[group(id = "purged", required = true, multiple = false)]
struct PurgedArgs {
    /// Destroyed instances of these names, and what these operations destroyed or moved aside
    #[arg(value_name = "NAME|OPERATION")]
    names: Vec<String>,
    /// What has had its time
    #[arg(long)]
    expired: bool,
    /// All destroyed instances, whatever their time
    #[arg(long)]
    all: bool,
}

impl PurgeArgs {
    /// What is to be purged; a name that is no known operation's is that of an instance.
    ///
    /// # Errors
    /// The first name that cannot be one.
    pub(crate) fn reap(&self, is_operation: impl Fn(&str) -> bool) -> Result<Reap, String> {
        if self.what.all {
            return Ok(Reap::All);
        }
        if self.what.expired {
            return Ok(Reap::Expired(self.after));
        }
        let (mut instances, mut operations) = (Vec::new(), Vec::new());
        for name in &self.what.names {
            if is_operation(name) {
                operations.extend(name.parse::<OperationId>().ok());
            } else {
                let instance = name.parse::<InstanceRef>();
                instances.push(instance.map_err(|error| error.to_string())?);
            }
        }
        Ok(Reap::These {
            instances,
            operations,
        })
    }

    /// The names that were given.
    pub(crate) fn names(&self) -> &[String] {
        &self.what.names
    }
}

fn parse_time(text: &str) -> Result<SignedDuration, String> {
    match parse_span(text) {
        Ok(time) if !time.is_negative() => Ok(time),
        _ => Err("expected a time such as 30m, 24h or 7d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    fn parses(line: &[&str]) -> bool {
        Cli::try_parse_from(["terrariumctl"].iter().chain(line)).is_ok()
    }

    #[test]
    fn a_purge_says_what_it_purges_in_one_way() {
        for right in [
            &["graveyard", "purge", "web", "tenant/db"][..],
            &["graveyard", "purge", "--expired", "--after", "2d"],
            &["graveyard", "purge", "--all", "--yes"],
        ] {
            assert!(parses(right), "{right:?}");
        }
        for wrong in [
            &["graveyard", "purge"][..],
            &["graveyard", "purge", "web", "--all"],
            &["graveyard", "purge", "--all", "--expired"],
            &["graveyard", "purge", "web", "--after", "2d"],
            &["graveyard", "purge", "--expired", "--after", "-2d"],
        ] {
            assert!(!parses(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_destroy_keeps_or_does_not() {
        let destroy =
            |more: &[&'static str]| parses(&[&["instance", "destroy", "web"], more].concat());
        assert!(destroy(&[]) && destroy(&["--keep", "--after", "7d", "--force"]));
        assert!(destroy(&["--no-graveyard"]) && destroy(&["--min-age", "0s"]));
        assert!(!destroy(&["--keep", "--no-graveyard"]) && !destroy(&["--min-age", "soon"]));
        assert!(!parses(&["instance", "destroy"]) && !parses(&["instance", "destroy", "../x"]));
    }
}
