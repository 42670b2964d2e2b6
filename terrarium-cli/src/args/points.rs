//! Flags of what changes or removes restore points.

use std::str::FromStr;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use terrarium_core::plan::Setting;
use terrarium_core::{Alias, DEFAULT_PROJECT, InstanceRef, ProjectName};

use super::{ConsentArgs, expiry_from_now};

pub(crate) const EDIT_EXAMPLES: &str = "\
--at is read as by `backup restore`. An alias is unique for an instance, wherever its points lie. A scheduled one
with an expiry stays until then, whatever the policy of its instance says, and goes then.

Examples:
  terrariumctl backup edit --instance web --at before-upgrade --alias 'release 1'
  terrariumctl backup edit --instance web --at 'release 1' --expires 90d
  terrariumctl backup edit --instance web --at 'release 1' --no-alias --no-expires";

pub(crate) const DELETE_EXAMPLES: &str = "\
Points that were taken on demand go; scheduled ones with --force, otherwise `backup prune` removes them. What LXD or
somebody else made, what is held and what is cloned stays, and it is said what to do instead. Archives are not touched,
and an export continues from a deleted point as before.

Examples:
  terrariumctl backup delete --instance web --at before-upgrade --dry-run
  terrariumctl backup delete --instance web --at snap-20261122-090000 --at 4711 --yes";

pub(crate) const PRUNE_EXAMPLES: &str = "\
The policy of an instance is 4 frequently, 24 hourly, 14 daily and 3 monthly, unless the label user.terrarium.retention of
the instance, of one of its profiles or of its project says otherwise. What has expired goes too. Never removed is what
Terrarium did not take, what is held or cloned, and the newest point of an instance (if it has expired: only if another
one is left). An instance that is in use is left out. Archives have a prune of their own.

Examples:
  terrariumctl backup prune --dry-run
  terrariumctl backup prune --instance web --yes
  terrariumctl backup prune --dry-run --json | jq '.instances[].restore_points[] | select(.stays | not) | .name'
  lxc config set web user.terrarium.retention hourly=48,daily=30";

pub(crate) const ADOPT_EXAMPLES: &str = "\
Terrarium removes only what it has taken. Where sanoid took snapshots before, it may be told to treat those as scheduled
ones of its own; `backup prune --dry-run` then shows what would go. Stop sanoid first: two must not prune the same.

Examples:
  terrariumctl adopt sanoid --dry-run
  terrariumctl adopt sanoid --instance web --yes
  terrariumctl adopt sanoid --undo --yes";

/// A group, by the label that its instances carry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct GroupRef {
    pub(crate) project: ProjectName,
    pub(crate) name: String,
}

impl FromStr for GroupRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (project, name) = text.split_once('/').unwrap_or((DEFAULT_PROJECT, text));
        if name.is_empty() {
            return Err("expected the name of a group".to_owned());
        }
        Ok(Self {
            project: ProjectName::new(project).map_err(|error| error.to_string())?,
            name: name.to_owned(),
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The instance that the restore point belongs to
    #[arg(long, value_name = "[PROJECT/]NAME")]
    pub(crate) instance: InstanceRef,
    /// The restore point
    #[arg(long, value_name = "POINT")]
    pub(crate) at: String,
    #[command(flatten)]
    pub(crate) what: EditedArgs,
    /// Show what would be done and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What is changed of a point.
#[derive(Debug, Args)]
#[group(id = "edited", required = true, multiple = true)]
pub(crate) struct EditedArgs {
    /// A name to find it by, unique for the instance
    #[arg(long, value_name = "TEXT", conflicts_with = "no_alias")]
    alias: Option<Alias>,
    /// Take its name away
    #[arg(long)]
    no_alias: bool,
    /// When it may be removed: 30m, 12h, 30d, 8w, a date, or a time as in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = expiry_from_now, conflicts_with = "no_expires")]
    expires: Option<Timestamp>,
    /// Keep it until it is deleted by hand
    #[arg(long)]
    no_expires: bool,
}

impl EditedArgs {
    pub(crate) fn alias(&self) -> Setting<Alias> {
        setting(self.alias.clone(), self.no_alias)
    }

    pub(crate) fn expires(&self) -> Setting<Timestamp> {
        setting(self.expires, self.no_expires)
    }
}

fn setting<T>(value: Option<T>, clear: bool) -> Setting<T> {
    match value {
        Some(value) => Setting::Set(value),
        None if clear => Setting::Clear,
        None => Setting::Keep,
    }
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The instance that the restore points belong to
    #[arg(long, value_name = "[PROJECT/]NAME")]
    pub(crate) instance: InstanceRef,
    /// The restore point; may be given several times
    #[arg(long, value_name = "POINT", required = true)]
    pub(crate) at: Vec<String>,
    /// Delete scheduled ones too
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// The instance; may be given several times [default: all]
    #[arg(long = "instance", value_name = "[PROJECT/]NAME")]
    pub(crate) instances: Vec<InstanceRef>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Adopt {
    /// Treat sanoid's snapshots as scheduled ones of Terrarium's
    #[command(after_help = ADOPT_EXAMPLES)]
    Sanoid(AdoptArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The instance; may be given several times [default: all]
    #[arg(long = "instance", value_name = "[PROJECT/]NAME")]
    pub(crate) instances: Vec<InstanceRef>,
    /// Leave sanoid's snapshots alone again
    #[arg(long)]
    pub(crate) undo: bool,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    #[test]
    fn a_snapshot_is_of_instances_or_of_a_group() {
        let parsed = |more: &[&str]| {
            let line = ["terrariumctl", "backup", "snapshot"];
            Cli::try_parse_from(line.iter().chain(more)).is_ok()
        };
        for right in [
            &["--instance", "web", "--instance", "db"][..],
            &["--group", "shop"],
            &["--group", "tenant/the shop"],
        ] {
            assert!(parsed(right), "{right:?}");
        }
        for wrong in [
            &[][..],
            &["--group", ""],
            &["--group", "tenant/"],
            &["--group", "/shop"],
            &["--group", "shop", "--instance", "web"],
        ] {
            assert!(!parsed(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn an_edit_changes_something_and_only_to_what_can_be() {
        let parsed = |more: &[&str]| {
            let line = [
                "terrariumctl",
                "backup",
                "edit",
                "--instance",
                "web",
                "--at",
                "x",
            ];
            Cli::try_parse_from(line.iter().chain(more)).is_ok()
        };
        for right in [
            &["--alias", &"é".repeat(100)][..],
            &["--no-alias", "--expires", "30d"],
            &["--no-expires"],
        ] {
            assert!(parsed(right), "{right:?}");
        }
        for wrong in [
            &[][..],
            &["--alias", &"é".repeat(101)],
            &["--alias", "a\u{1b}[2Jb"],
            &["--alias", "a\nb"],
            &["--alias", ""],
            &["--alias", "a", "--no-alias"],
            &["--expires", "2026-01-01"],
            &["--expires", "-1d"],
            &["--expires", "1d", "--no-expires"],
        ] {
            assert!(!parsed(wrong), "{wrong:?}");
        }
    }
}
