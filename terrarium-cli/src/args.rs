//! Flags, and what they are allowed to be.

mod guard;
mod instance;
mod points;
mod policy;
mod run;
pub(crate) mod timers;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::civil::Date;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use terrarium_core::plan::IdentityPolicy;
use terrarium_core::tree::TreeDigest;
use terrarium_core::{
    Alias, Destination, InstanceName, InstanceRef, ProjectName, RestoreRequest, Stop,
};

use crate::archive::args::{Archive, IdentityArgs, PlaceArgs, WorkArgs};

use guard::GUARD_EXAMPLES;
pub(crate) use guard::GuardArgs;
pub(crate) use instance::{DestroyArgs, Graveyard, PurgeArgs, ResumeArgs, Whole};
pub(crate) use points::{Adopt, AdoptArgs, DeleteArgs, EditArgs, GroupRef, PruneArgs};
use points::{DELETE_EXAMPLES, EDIT_EXAMPLES, PRUNE_EXAMPLES};
use policy::SIMULATE_EXAMPLES;
pub(crate) use policy::SimulateArgs;
use run::{RUN_EXAMPLES, STATUS_EXAMPLES};
pub(crate) use run::{RunArgs, StatusArgs};

const ABOUT: &str = "A time machine for LXD containers on ZFS";

const AFTER_HELP: &str = "\
Exit codes:
  0    done, or nothing to do
  1    attempted and failed; the report says what was done
  2    the command line makes no sense
  3    refused, in conflict, or not found; nothing was changed
  4    LXD, ZFS, the pool file or the archive cannot be reached; safe to try again
  130  interrupted; everything was put back

Environment:
  LXD_SOCKET, LXD_DIR     where LXD is, as for lxc itself (INCUS_SOCKET, INCUS_DIR for Incus)
  TERRARIUM_POOL_FILE     as --pool-file
  TERRARIUM_ARCHIVE       as --archive of the archive commands
  TERRARIUM_ZPOOL         the program terrarium-zpool [default: beside this one, or in PATH]
  TERRARIUM_STATE_DIR     files that outlast a reboot [default: /var/lib/terrarium]
  TERRARIUM_RUN_DIR       locks [default: /run/terrarium]
                          (with --pool-file PATH the default of both is PATH.terrarium)
  TZ                      the zone that times are read and shown in";

const LIST_EXAMPLES: &str = "\
With --source archive neither LXD nor ZFS is asked: what the archive has of instances that are gone is listed too. With
--source all a point that is here and in the archive is one line; if one of the two cannot be reached, the other one is
shown and the exit code is not 0.

Examples:
  terrariumctl backup list
  terrariumctl backup list --instance web --instance tenant/db
  terrariumctl backup list --source archive --archive s3://backups/host1
  terrariumctl backup list --source all --json | jq '.instances[].restore_points[] | [.name, .where]'
  terrariumctl backup list --json | jq '.instances[].restore_points[].name'";

const SNAPSHOT_EXAMPLES: &str = "\
Several instances of one pool are captured at the same moment. Commands that the labels user.terrarium.pre and
user.terrarium.post name are run in a running instance before and after. An instance whose first command fails is marked or
left out, as user.terrarium.pre-failure says; of a group nothing is taken then.

Examples:
  terrariumctl backup snapshot --group shop --alias before-upgrade
  terrariumctl backup snapshot --instance web --alias before-upgrade
  terrariumctl backup snapshot --instance web --instance db --expires 30d";

const RESTORE_EXAMPLES: &str = "\
--at takes, in this order: a snapshot's name, its guid, an alias, a time (the newest point at or before it), or a part
that only one name or alias has. Without --at it is the newest point.

In place, what is newer than the point moves aside and stays restorable; `terrariumctl backup undo` brings it back.

Examples:
  terrariumctl backup restore --instance web --dry-run
  terrariumctl backup restore --instance web --at before-upgrade --start
  terrariumctl backup restore --instance web --at '2026-04-19 10:00'
  terrariumctl backup restore --instance web --at '2h ago' --as-new web-restored
  terrariumctl backup restore --instance web --source archive --archive s3://backups/host1 --identity identity.txt

From an archive only what is not here is read. It is received and verified beside what is here before anything of that
is touched; an instance that is not here is made anew, as LXD had it.";

const UNDO_EXAMPLES: &str = "\
An undo is itself a restore in place: it can be undone in turn.

Examples:
  terrariumctl backup undo --instance web --dry-run
  terrariumctl backup undo --instance web --start";

const EXPORT_EXAMPLES: &str = "\
Sent is what is new since the nearest point that the archive has, or all of it; compressed and encrypted to the
archive's recipients. A point is listed in the archive only when all of it is there. What was cut off is continued.

Without --instance all instances are exported; one that fails does not stop the others.

Examples:
  terrariumctl backup export --archive s3://backups/host1
  terrariumctl backup export --archive s3://backups/host1 --image-aware
  terrariumctl backup export --instance web --dry-run";

const VERIFY_EXAMPLES: &str = "\
Says of every instance whether its newest point is archived, how old the newest archived one is, and which of its points
cannot be restored because of what is damaged or missing. Neither LXD nor ZFS is needed: without them it is about what
the archive has. With --deep everything is read back. `terrariumctl archive verify` says the same of an archive's objects.

Examples:
  terrariumctl backup verify --archive s3://backups/host1
  terrariumctl backup verify --instance web --deep --identity identity.txt";

const DRILL_EXAMPLES: &str = "\
A point of the archive, by default the newest, is fetched with all that it builds upon, decrypted, received into a pool
that nobody else sees, and read file by file. What is found is compared with the digest that `backup export --digest`
sealed, else with the snapshot on this host if it is still there; without either it is readable, not compared. Needs
neither LXD nor ZFS nor root, but room in the scratch folder for the streams and a quarter, and 256 MiB; nothing is left.

With --boot it is received beside the instances of this host, started as one of its own without network, labels and disks
of the host, asked by --check, and removed, whatever comes of it. The instance itself may run meanwhile and is not touched.

Every drill is noted in drills.jsonl of the state folder; --history shows them. Ends with 0 if the point can be read and
is what was exported, or boots and passes the check; with 1 if not.

Examples:
  terrariumctl backup drill --instance web --identity identity.txt
  terrariumctl backup drill --name web --at 2026-04-19 --identity - --scratch /mnt/room
  terrariumctl backup drill --instance web --identity identity.txt --boot --check 'test -s /etc/passwd'
  terrariumctl backup drill --history";

const STREAM_INFO_EXAMPLES: &str = "\
Works anywhere: without ZFS, without LXD, without root. Ends with 0 only if the stream is whole and sound.

Examples:
  terrariumctl stream info web.zfs
  zfs send -R tank/web@today | terrariumctl stream info -
  terrariumctl stream info web.zfs --json | jq '.streams[].guid'";

const STREAM_LS_EXAMPLES: &str = "\
Give a full stream, or all streams of a chain in the order in which they were sent: what is shown is the last snapshot.
Of a package (zfs send -R, -I, -p) it is the snapshot that was sent, without what is below it.
They are received into a pool that nobody else sees, with room for the streams and a quarter, and 256 MiB.

Examples:
  terrariumctl stream ls web-full.zfs
  terrariumctl stream ls web-full.zfs web-mon.zfs web-tue.zfs --path etc
  zstd -dc web.zfs.zst | terrariumctl stream ls -";

const STREAM_CAT_EXAMPLES: &str = "\
Examples:
  terrariumctl stream cat web-full.zfs web-mon.zfs --path etc/hosts
  terrariumctl stream cat web-full.zfs --path var/lib/db.sqlite > db.sqlite";

const STREAM_EXTRACT_EXAMPLES: &str = "\
Owners are kept if root extracts, as tar does it; devices are made by root only, and otherwise named.

Examples:
  terrariumctl stream extract web-full.zfs web-mon.zfs --into restored
  terrariumctl stream extract web-full.zfs --path etc --into restored";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "terrariumctl", version, about = ABOUT, after_help = AFTER_HELP)]
#[command(
    max_term_width = 120,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) topic: Topic,
    /// Work on the pool in this file, without LXD and without root
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) pool_file: Option<PathBuf>,
    /// Answer as JSON, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Show every step and what became of it
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Topic {
    /// List, take and restore snapshots
    #[command(subcommand, arg_required_else_help = true)]
    Backup(Backup),
    /// Destroy an instance so that it can come back, and bring it back
    #[command(subcommand, arg_required_else_help = true)]
    Instance(Whole),
    /// Show and purge what was destroyed or moved aside
    #[command(subcommand, arg_required_else_help = true)]
    Graveyard(Graveyard),
    /// Run a command, and rewind an instance if it fails
    #[command(after_help = GUARD_EXAMPLES)]
    Guard(GuardArgs),
    /// Let Terrarium keep and remove what another program took
    #[command(subcommand, arg_required_else_help = true)]
    Adopt(Adopt),
    /// Look into send streams, on any machine
    #[command(subcommand, arg_required_else_help = true)]
    Stream(Stream),
    /// Keep restore points in a folder or a bucket, encrypted
    #[command(arg_required_else_help = true)]
    Archive(Archive),
    /// Take the snapshots that are due, and remove those that no policy has a use for
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Show whether every instance has the snapshots that its policy wants
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Have systemd call `terrariumctl run` every quarter of an hour
    #[command(subcommand, arg_required_else_help = true)]
    Timers(timers::Timers),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Show the restore points of every instance
    #[command(after_help = LIST_EXAMPLES)]
    List(Box<ListArgs>),
    /// Take a snapshot of one or several instances
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(SnapshotArgs),
    /// Bring an instance back to a restore point, in place or as a new instance
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Box<RestoreArgs>),
    /// Take back the last restore in place
    #[command(after_help = UNDO_EXAMPLES)]
    Undo(UndoArgs),
    /// Change the alias and the expiry of a restore point
    #[command(after_help = EDIT_EXAMPLES)]
    Edit(Box<EditArgs>),
    /// Delete restore points by hand
    #[command(after_help = DELETE_EXAMPLES)]
    Delete(DeleteArgs),
    /// Remove the restore points that the policy of their instance has no use for
    #[command(after_help = PRUNE_EXAMPLES)]
    Prune(PruneArgs),
    /// `adopt`, which is no topic of its own for what it does to the host
    #[command(skip)]
    Adopt(Adopt),
    /// `run`, the same
    #[command(skip)]
    Run(RunArgs),
    /// `status`, the same
    #[command(skip)]
    Status(StatusArgs),
    /// `guard`, the same
    #[command(skip)]
    Guard(GuardArgs),
    /// `instance`, likewise
    #[command(skip)]
    Whole(Whole),
    /// `graveyard`, likewise
    #[command(skip)]
    Graveyard(Graveyard),
    /// Show what history a policy will hold
    #[command(after_help = SIMULATE_EXAMPLES)]
    Simulate(SimulateArgs),
    /// Store the newest restore point of one, several or all instances in the archive
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(Box<ExportArgs>),
    /// Look whether the archive has what the restore points of instances need
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Box<VerifyArgs>),
    /// Try out whether an archived restore point can be restored, and is what was exported
    #[command(after_help = DRILL_EXAMPLES)]
    Drill(Box<DrillArgs>),
}

impl Backup {
    /// Whether the command is to change anything.
    pub(crate) fn changes_something(&self) -> bool {
        match self {
            Backup::List(_) | Backup::Verify(_) | Backup::Status(_) | Backup::Simulate(_) => false,
            Backup::Drill(args) => args.boot,
            Backup::Run(args) => !args.dry_run,
            Backup::Guard(args) => !args.dry_run,
            Backup::Snapshot(args) => !args.dry_run,
            Backup::Restore(args) => !args.consent.dry_run,
            Backup::Undo(args) => !args.consent.dry_run,
            Backup::Edit(args) => !args.dry_run,
            Backup::Delete(args) => !args.consent.dry_run,
            Backup::Prune(args) => !args.consent.dry_run,
            Backup::Adopt(Adopt::Sanoid(args)) => !args.consent.dry_run,
            Backup::Whole(Whole::Destroy(args)) => !args.consent.dry_run,
            Backup::Whole(Whole::Resume(args)) => !args.consent.dry_run,
            Backup::Graveyard(Graveyard::List) => false,
            Backup::Graveyard(Graveyard::Purge(args)) => !args.consent.dry_run,
            Backup::Export(args) => !args.dry_run,
        }
    }

    /// What of this host is needed.
    pub(crate) fn needs(&self) -> Needs {
        match self {
            Backup::List(args) => match args.source {
                Sources::Local => Needs::Host,
                Sources::Archive => Needs::Nothing,
                Sources::All => Needs::HostIfThere,
            },
            Backup::Simulate(_) => Needs::Nothing,
            Backup::Verify(_) => Needs::HostIfThere,
            Backup::Drill(args) if args.history => Needs::Nothing,
            Backup::Drill(args) if args.boot => Needs::Host,
            Backup::Drill(_) => Needs::HostIfThere,
            _ => Needs::Host,
        }
    }

    /// The instance that is to be started in the end.
    pub(crate) fn starts(&self) -> Option<InstanceRef> {
        match self {
            Backup::List(_)
            | Backup::Snapshot(_)
            | Backup::Edit(_)
            | Backup::Delete(_)
            | Backup::Prune(_)
            | Backup::Adopt(_)
            | Backup::Run(_)
            | Backup::Guard(_)
            | Backup::Status(_)
            | Backup::Whole(_)
            | Backup::Graveyard(_)
            | Backup::Simulate(_)
            | Backup::Export(_)
            | Backup::Verify(_)
            | Backup::Drill(_) => None,
            Backup::Restore(args) => args.start.then(|| args.restored()),
            Backup::Undo(args) => args.start.then(|| args.instance.clone()),
        }
    }
}

/// What of this host a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Its instances: without them there is nothing to do.
    Host,
    /// Its instances, if there are any.
    HostIfThere,
    /// Nothing: it works on any machine.
    Nothing,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Stream {
    /// Say what a send stream is, and whether it is whole and sound
    #[command(after_help = STREAM_INFO_EXAMPLES)]
    Info(StreamInfoArgs),
    #[command(flatten)]
    Look(Look),
}

/// What looks at the files in streams.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Look {
    /// List the files in it
    #[command(after_help = STREAM_LS_EXAMPLES)]
    Ls(LsArgs),
    /// Write a file in it to standard output
    #[command(after_help = STREAM_CAT_EXAMPLES)]
    Cat(CatArgs),
    /// Extract files from it into a directory
    #[command(after_help = STREAM_EXTRACT_EXAMPLES)]
    Extract(ExtractArgs),
}

impl Look {
    /// The streams that it looks into.
    pub(crate) fn chain(&self) -> &ChainArgs {
        match self {
            Look::Ls(args) => &args.chain,
            Look::Cat(args) => &args.chain,
            Look::Extract(args) => &args.chain,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct StreamInfoArgs {
    /// The stream; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// A chain of streams, and where it is received.
#[derive(Clone, Debug, Args)]
pub(crate) struct ChainArgs {
    /// The streams of the chain, the full one first; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The folder with room for the streams' content [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    /// Only what is at and below this path
    #[arg(long, value_name = "PATH", value_parser = path_within())]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CatArgs {
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    /// The file, from the root of the file system
    #[arg(long, value_name = "PATH", value_parser = path_within())]
    pub(crate) path: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExtractArgs {
    #[command(flatten)]
    pub(crate) chain: ChainArgs,
    /// The directory, which is made, or is empty
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Only what is at and below this path
    #[arg(long, value_name = "PATH", value_parser = path_within())]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Show this one only; may be given several times
    #[arg(long = "instance", value_name = "[PROJECT/]NAME")]
    pub(crate) instances: Vec<InstanceRef>,
    /// Where the restore points are
    #[arg(long, value_name = "SOURCE", default_value = "local")]
    pub(crate) source: Sources,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Which restore points are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sources {
    /// Those on this host
    Local,
    /// Those in the archive
    #[value(alias = "s3")]
    Archive,
    /// Both
    All,
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// The instance; may be given several times
    #[arg(
        long = "instance",
        value_name = "[PROJECT/]NAME",
        required_unless_present = "group"
    )]
    pub(crate) instances: Vec<InstanceRef>,
    /// All instances of this group, by the label user.terrarium.group: at one moment, or not at all
    #[arg(long, value_name = "[PROJECT/]NAME", conflicts_with = "instances")]
    pub(crate) group: Option<GroupRef>,
    /// A name to find it by, unique for the instance
    #[arg(long, value_name = "TEXT")]
    pub(crate) alias: Option<Alias>,
    /// When it may be removed: 30m, 12h, 30d, 8w, a date, or a time as in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = expiry_from_now)]
    pub(crate) expires: Option<Timestamp>,
    /// Show what would be done and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The instance that the restore point belongs to
    #[arg(long, value_name = "[PROJECT/]NAME")]
    pub(crate) instance: InstanceRef,
    /// The restore point [default: the newest]
    #[arg(long, value_name = "POINT")]
    pub(crate) at: Option<String>,
    /// Restore to a new instance of this name; the other one is not touched
    #[arg(long, value_name = "NEW", conflicts_with_all = ["timeout", "force"])]
    pub(crate) as_new: Option<InstanceName>,
    /// The project of the new instance [default: the same]
    #[arg(long, value_name = "PROJECT", requires = "as_new")]
    pub(crate) target_project: Option<ProjectName>,
    /// Let the new instance have the other disks of its source, read-only
    #[arg(long, requires = "as_new")]
    pub(crate) keep_disks: bool,
    /// Copy the contents in full instead of sharing them: takes their space again, and either can be deleted first
    #[arg(long, requires = "as_new")]
    pub(crate) independent: bool,
    /// Start the instance in the end
    #[arg(long)]
    pub(crate) start: bool,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    /// Destroy what is newer than the point instead of moving it aside: this cannot be undone
    #[arg(long, conflicts_with = "as_new")]
    pub(crate) destroy_newer: bool,
    /// Where the restore point is
    #[arg(long, value_name = "SOURCE", default_value = "local")]
    pub(crate) source: Source,
    /// LXD's storage pool for an instance that is not here [default: the only one on ZFS, or `default`]
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Take a point too that no host of the archive has signed
    #[arg(long)]
    pub(crate) unverified: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The instance; may be given several times [default: all]
    #[arg(long = "instance", value_name = "[PROJECT/]NAME")]
    pub(crate) instances: Vec<InstanceRef>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Go on with a history that another host exported last
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Instead of all of an instance, send what it has added to the image that it was made from; the image is stored
    /// once in the archive
    #[arg(long)]
    pub(crate) image_aware: bool,
    /// Read all files of the snapshot too, and seal their digest: a drill anywhere can then compare
    #[arg(long)]
    pub(crate) digest: bool,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    /// Show what would be done and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The instance; may be given several times [default: all]
    #[arg(long = "instance", value_name = "[PROJECT/]NAME")]
    pub(crate) instances: Vec<InstanceRef>,
    /// Read everything back; needs --identity
    #[arg(long, requires = "file")]
    pub(crate) deep: bool,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = false, args = ["instance", "name", "history"])]
pub(crate) struct DrillArgs {
    /// The instance that the restore point belongs to
    #[arg(long, value_name = "[PROJECT/]NAME")]
    pub(crate) instance: Option<InstanceRef>,
    /// The name that it was stored under, whatever the project
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The restore point [default: the newest]
    #[arg(long, value_name = "POINT")]
    pub(crate) at: Option<String>,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// The folder with room for the point's content [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Compare with this digest, as an earlier drill has shown it
    #[arg(long, value_name = "DIGEST")]
    pub(crate) expect: Option<TreeDigest>,
    /// Boot the point in this host's LXD instead of comparing its files: without network, and thrown away
    #[arg(long, requires = "instance", conflicts_with_all = ["name", "history", "scratch", "expect", "unverified"])]
    pub(crate) boot: bool,
    /// Run this in it by a shell (sh -c): good is an exit code of 0
    #[arg(long, value_name = "CMD", requires = "boot")]
    pub(crate) check: Option<String>,
    /// How long its start, and then the check, may take [default: 2m]
    #[arg(long, value_name = "TIME", value_parser = parse_timeout, requires = "boot")]
    pub(crate) timeout: Option<Duration>,
    /// Take a point too that no host of the archive has signed
    #[arg(long)]
    pub(crate) unverified: bool,
    /// Show the drills so far
    #[arg(long)]
    pub(crate) history: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Where restore points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// On this host
    Local,
    /// In the archive
    #[value(alias = "s3")]
    Archive,
}

#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The instance
    #[arg(long, value_name = "[PROJECT/]NAME")]
    pub(crate) instance: InstanceRef,
    /// Start the instance in the end
    #[arg(long)]
    pub(crate) start: bool,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

/// How a running instance is stopped.
#[derive(Clone, Debug, Args)]
pub(crate) struct StopArgs {
    /// How long the instance may take to shut down
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_timeout)]
    timeout: Duration,
    /// Stop it by force if it does not shut down in time
    #[arg(long)]
    force: bool,
}

/// Whether anything may be changed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ConsentArgs {
    /// Show what would be done and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

impl StopArgs {
    pub(crate) fn how(&self) -> Stop {
        if self.force {
            Stop::ThenForce(self.timeout)
        } else {
            Stop::Graceful(self.timeout)
        }
    }
}

impl RestoreArgs {
    /// The instance that is there in the end.
    pub(crate) fn restored(&self) -> InstanceRef {
        let project = self.target_project.as_ref();
        let project = project.unwrap_or(&self.instance.project).clone();
        match &self.as_new {
            Some(name) => InstanceRef::new(project, name.clone()),
            None => self.instance.clone(),
        }
    }

    /// What is asked of terrarium-core.
    pub(crate) fn request(&self) -> RestoreRequest {
        let to = match &self.as_new {
            Some(_) => Destination::AsNew {
                new: self.restored(),
                identity: IdentityPolicy {
                    keep_disks: self.keep_disks,
                    independent: self.independent,
                    ..IdentityPolicy::default()
                },
            },
            None => Destination::InPlace {
                stop: self.stop.how(),
                destroy_newer: self.destroy_newer,
            },
        };
        RestoreRequest {
            at: self.at.clone(),
            start: self.start,
            to,
        }
    }
}

fn expiry_from_now(text: &str) -> Result<Timestamp, String> {
    parse_expiry(text, &Zoned::now())
}

/// Reads a span from now, a date (its first moment in the zone of `now`) or a time; it must be yet to come.
fn parse_expiry(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    // `Date` would also read the day of a time without a zone and forget the rest.
    let is_date = text.len() == "2026-04-19".len();
    let moment = if let Ok(span) = parse_span(text) {
        now.timestamp().checked_add(span).ok()
    } else if let Ok(moment) = text.parse::<Timestamp>() {
        Some(moment)
    } else if let (true, Ok(date)) = (is_date, text.parse::<Date>()) {
        date.to_zoned(now.time_zone().clone())
            .ok()
            .map(|day| day.timestamp())
    } else {
        return Err(
            "expected a span such as 12h, 30d or 8w, a date such as 2026-12-31, or a time such as \
             2026-12-31T18:00:00Z"
                .to_owned(),
        );
    };
    match moment {
        Some(moment) if moment > now.timestamp() => Ok(moment),
        Some(_) => Err("it must lie in the future".to_owned()),
        None => Err("it lies too far in the future".to_owned()),
    }
}

/// A path in a file system that is not mounted anywhere: from its root, with or without a slash in front.
fn path_within() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|text| parse_path_within(Path::new(&text)))
}

fn parse_path_within(given: &Path) -> Result<PathBuf, String> {
    let mut path = PathBuf::new();
    for part in given.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => path.push(name),
            _ => return Err("it must not lead upwards".to_owned()),
        }
    }
    Ok(path)
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let span = parse_span(text).map_err(|_| "expected a time such as 30s, 5m or 1h".to_owned())?;
    match Duration::try_from(span) {
        Ok(time) if time >= Duration::from_secs(1) => Ok(time),
        _ => Err("it must be at least 1s".to_owned()),
    }
}

/// `30s`, `5m`, `12h`, `30d`, `8w`: a day has 24 hours, a week 7 days.
fn parse_span(text: &str) -> Result<SignedDuration, jiff::Error> {
    let span: Span = text.parse()?;
    span.to_duration(jiff::SpanRelativeTo::days_are_24_hours())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn now() -> Zoned {
        "2026-11-22T10:00:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    fn expires(text: &str) -> Result<String, String> {
        Ok(parse_expiry(text, &now())?.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_expiry_is_a_span_a_date_or_a_time_in_the_future() {
        assert_eq!(expires("30m").unwrap(), "2026-11-22T09:30:00Z");
        assert_eq!(expires("12h").unwrap(), "2026-11-22T21:00:00Z");
        assert_eq!(expires("30d").unwrap(), "2026-12-22T09:00:00Z");
        assert_eq!(expires("8w").unwrap(), "2027-01-17T09:00:00Z");
        assert_eq!(expires("2026-12-31").unwrap(), "2026-12-30T23:00:00Z");
        assert_eq!(
            expires("2026-11-22T09:00:01Z").unwrap(),
            "2026-11-22T09:00:01Z"
        );
        assert_eq!(
            expires("2026-11-22T11:00:00+01:00").unwrap(),
            "2026-11-22T10:00:00Z"
        );
        for wrong in [
            "",
            "30",
            "soon",
            "-3d",
            "0s",
            "2026-11-22",
            "2026-11-22T09:00:00Z",
            "2026-12-31T18:00",
            "9999y",
        ] {
            assert!(expires(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_path_within_a_file_system_begins_at_its_root() {
        let path = |text| parse_path_within(Path::new(text)).map(|path| path.display().to_string());
        assert_eq!(path("/etc//hosts/"), Ok("etc/hosts".to_owned()));
        assert_eq!(path("./a b"), Ok("a b".to_owned()));
        assert_eq!(path("/"), Ok(String::new()));
        assert!(path("a/../b").is_err());
    }

    #[test]
    fn a_timeout_is_at_least_a_second() {
        assert_eq!(parse_timeout("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_timeout("1m30s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "30", "0s", "-5s", "500ms", "1y"] {
            assert!(parse_timeout(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_new_instance_is_in_the_project_of_its_source_unless_told_otherwise() {
        let new = |line: &str| {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let Topic::Backup(Backup::Restore(args)) = cli.topic else {
                panic!("{line}");
            };
            match args.request().to {
                Destination::AsNew { new, .. } => new.to_string(),
                Destination::InPlace { .. } => panic!("{line}"),
            }
        };
        assert_eq!(
            new("terrariumctl backup restore --instance t/web --as-new b"),
            "t/b"
        );
        assert_eq!(
            new("terrariumctl backup restore --instance t/web --as-new b --target-project u"),
            "u/b"
        );
    }
}
