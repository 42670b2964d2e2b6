//! Flags of `archive`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use jiff::SignedDuration;
use terrarium_core::Alias;
use terrarium_s3::AddressingStyle;
use terrarium_s3::archive::retention::Policy;
use terrarium_s3::archive::{Location, Rules, S3Options};
use terrarium_s3::crypto::VerifyingKey;
use terrarium_s3::format::Lineage;
use terrarium_s3::pipeline::Options;

use crate::args::ConsentArgs;
use crate::exit::{Exit, Failure};

const ARCHIVE_HELP: &str = "\
An archive is a folder or a bucket. It is encrypted to the recipients that it was made with; a host that writes has no
secret that could read it. Its format, and how to restore without this program: docs/archive-format.md.

Environment:
  TERRARIUM_ARCHIVE       as --archive
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …
                          as for the aws command";

const KEYGEN_HELP: &str = "\
The identity is printed once and kept nowhere. Whoever has it can read the archive, and without it nobody can: keep it
off the hosts that are backed up. `age -p` protects it by a passphrase.

Examples:
  terrariumctl archive keygen > identity.txt";

const INIT_HELP: &str = "\
The folder or the bucket must exist. The host's key, which signs what this host writes, is made in the state folder if
there is none; its verifying half is printed. What the archive is, is kept there too: commands that write refuse an
archive whose id, recipients or host keys are others than those.

Examples:
  terrariumctl archive init --archive file:///mnt/backup --recipient age1…
  terrariumctl archive init --archive s3://backups/web --s3-endpoint https://minio.example:9000 --recipient age1…";

const CHANGE_HELP: &str = "\
Points that are there already stay encrypted to whom they are: somebody who is no recipient any more still reads those.
What a host has signed that may not sign any more is not trusted any more: remove a host whose key was stolen, not one
that was retired. Every other host that writes refuses to, until its `archive trust` has agreed.

Examples:
  terrariumctl archive change --add-recipient age1… --remove-recipient age1…
  terrariumctl archive change --add-host terrarium-host-…";

const TRUST_HELP: &str = "\
Shows what the archive is now, beside what this host knew it as, and asks. From then on this host writes into it. Compare
the id and the keys with what `archive init` and `archive change` have printed: whoever can write to the store can
exchange what stands there.

A host that may not sign yet has its key made and printed: `archive change --add-host` on one that may lets it in.

Examples:
  terrariumctl archive trust --archive s3://backups/all";

const LIST_HELP: &str = "\
VERDICT says who wrote a point's manifest: signed (by a host of the archive), unsigned, or wrong.

Examples:
  terrariumctl archive list
  terrariumctl archive list --name web --json | jq '.points[].guid'";

const VERIFY_HELP: &str = "\
Every object that a restore point needs is looked up, and with --deep read back: decrypted, decompressed, and compared
with all hashes. Whatever is damaged or missing is named, with all points that cannot be restored because of it.

Examples:
  terrariumctl archive verify
  terrariumctl archive verify --deep --identity identity.txt --name web";

const PUT_HELP: &str = "\
The stream is that of one snapshot, full or incremental (zfs send without -R, -I, -p, -t). It becomes a restore point
when it is there as a whole. A snapshot that is there already is not stored again.

An incremental stream joins the lineage of NAME that has the point it starts from. A full one joins the lineage of NAME
if there is exactly one, and begins one if there is none; --new-lineage begins another, for a dataset that only has the
name of an earlier one. What was stored before an interruption is not stored again.

Examples:
  zfs send tank/web@monday | terrariumctl archive put --name web
  zfs send -i @monday tank/web@tuesday | terrariumctl archive put --name web --alias before-upgrade";

const IMPORT_HELP: &str = "\
Reads what an earlier terrariumctl has exported (manifests/INSTANCE/SNAPSHOT.json and streams/…, compressed and not
encrypted) and stores it in the archive, where it is a restore point like any other. The earlier one is not changed.

Every stream is read to its end and checked; one that was cut off is named, with all that builds upon it, and does not
stop the others. What is there already is not read again, so that it can be repeated.

Examples:
  terrariumctl archive import --from s3://old-bucket/terrarium --dry-run
  terrariumctl archive import --from file:///mnt/old --name web";

const GET_HELP: &str = "\
--at takes, in this order: a snapshot's name, its guid, an alias, a time (the newest point at or before it), or a part
that only one name or alias has.

Without --out the stream goes to standard output. It is known to be whole only when this ends with 0.

Examples:
  terrariumctl archive get --name web --identity identity.txt | zfs receive tank/restored
  terrariumctl archive get --name web --at before-upgrade --chain --out streams --identity identity.txt";

const ANNOTATE_HELP: &str = "\
What was said before stays unless it is said anew. A point with an alias, and one that was taken on demand, is pinned
unless it expires; --unpin releases the latter. --at takes what `archive get` takes.

Examples:
  terrariumctl archive annotate --name web --at 20260419 --pin --note 'before the upgrade'
  terrariumctl archive annotate --name web --at before-upgrade --no-alias --unpin";

const PRUNE_HELP: &str = "\
Of each lineage the newest point of each of the last days, weeks and months that have any is kept, and the newest of all;
what is pinned; and whatever those start from. A period that is not given keeps its default. What is damaged, or not
signed by a host of the archive, stays, and keeps its lineage.

Parts that no manifest names, as an interrupted export leaves them, go when they are older than the grace time.

Examples:
  terrariumctl archive prune --dry-run
  terrariumctl archive prune --yes --keep-daily 14 --keep-monthly 24";

/// The commands of an archive, and where it is.
#[derive(Debug, Args)]
#[command(after_help = ARCHIVE_HELP)]
pub(crate) struct Archive {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// Where the archive is.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The archive: s3://BUCKET/PREFIX or file:///FOLDER
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) archive: Option<Location>,
    /// The address of the S3 service, if it is not Amazon's
    #[arg(long, global = true, value_name = "URL")]
    s3_endpoint: Option<String>,
    /// The region of the bucket
    #[arg(long, global = true, value_name = "REGION")]
    s3_region: Option<String>,
    /// Whose credentials are used, of those in ~/.aws
    #[arg(long, global = true, value_name = "PROFILE")]
    s3_profile: Option<String>,
    /// Where the bucket's name stands in addresses
    #[arg(long, global = true, value_name = "STYLE", default_value = "auto")]
    s3_style: Style,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Style {
    /// In the path if there is an endpoint, else in the host's name
    Auto,
    /// `https://endpoint/bucket/key`
    Path,
    /// `https://bucket.endpoint/key`
    Virtual,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an identity, which decrypts, and its recipient, which encrypts
    #[command(after_help = KEYGEN_HELP)]
    Keygen,
    /// Make an archive
    #[command(after_help = INIT_HELP)]
    Init(InitArgs),
    /// Change whom new points are encrypted to, and which hosts may sign
    #[command(after_help = CHANGE_HELP, arg_required_else_help = true)]
    Change(ChangeArgs),
    /// Agree to an archive that another host has made or changed
    #[command(after_help = TRUST_HELP)]
    Trust(TrustArgs),
    /// Show the restore points of an archive
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
    /// Look whether everything is there that the restore points need
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Store the send stream on standard input
    #[command(after_help = PUT_HELP)]
    Put(PutArgs),
    /// Take over what an earlier terrariumctl has exported
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Read the stream of a restore point back, or those of its whole chain
    #[command(after_help = GET_HELP)]
    Get(GetArgs),
    /// Say something of a restore point: an alias, a note, that it is to stay
    #[command(after_help = ANNOTATE_HELP)]
    Annotate(AnnotateArgs),
    /// Remove the restore points that need not be kept, and what was never finished
    #[command(after_help = PRUNE_HELP)]
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Whom the archive is encrypted to; may be given several times
    #[arg(long = "recipient", value_name = "AGE1…", required = true)]
    pub(crate) recipients: Vec<String>,
    /// Show what would be done and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Encrypt new points to this recipient too; may be given several times
    #[arg(long = "add-recipient", value_name = "AGE1…")]
    pub(crate) add_recipients: Vec<String>,
    /// Do not encrypt new points to this recipient any more; may be given several times
    #[arg(long = "remove-recipient", value_name = "AGE1…")]
    pub(crate) remove_recipients: Vec<String>,
    /// Let this host sign; may be given several times
    #[arg(long = "add-host", value_name = "KEY")]
    pub(crate) add_hosts: Vec<VerifyingKey>,
    /// Do not trust this host any more; may be given several times
    #[arg(long = "remove-host", value_name = "KEY")]
    pub(crate) remove_hosts: Vec<VerifyingKey>,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Show the points of this name only
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Read everything back; needs --identity
    #[arg(long, requires = "file")]
    pub(crate) deep: bool,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    /// Look at the points of this name only, and at what they build upon
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// The name that the dataset has in the archive
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// A name to find the restore point by, unique for its lineage
    #[arg(long, value_name = "TEXT")]
    pub(crate) alias: Option<Alias>,
    /// Begin a lineage of its own with this full stream
    #[arg(long)]
    pub(crate) new_lineage: bool,
    /// The lineage that it belongs to, if several have the name
    #[arg(long, value_name = "UUID", conflicts_with = "new_lineage")]
    pub(crate) lineage: Option<Lineage>,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The earlier archive: s3://BUCKET/PREFIX or file:///FOLDER
    #[arg(long, value_name = "URL")]
    pub(crate) from: Location,
    /// Take over this instance only; may be given several times
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    /// Show what is there and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The name that the dataset has in the archive
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The restore point [default: the newest]
    #[arg(long, value_name = "POINT")]
    pub(crate) at: Option<String>,
    /// All streams from the full one to the point, one after another
    #[arg(long, conflicts_with = "single")]
    pub(crate) chain: bool,
    /// The stream of the point alone (this is the default)
    #[arg(long)]
    pub(crate) single: bool,
    /// Write each stream into a file of this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Take a point too that no host of the archive has signed
    #[arg(long)]
    pub(crate) unverified: bool,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

/// How much is done at once.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct WorkArgs {
    /// How many parts are compressed or decompressed at once [default: as many as there are cores]
    ///
    /// Memory does not grow with them: parts wait for theirs.
    #[arg(long, value_name = "N", value_parser = workers)]
    workers: Option<NonZeroUsize>,
}

impl WorkArgs {
    /// How streams are cut, worked on and transferred.
    pub(crate) fn options(self) -> Options {
        Options {
            workers: self.workers,
            ..Options::default()
        }
    }
}

/// Each is a thread.
const MAX_WORKERS: usize = 256;

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().and_then(NonZeroUsize::new);
    number
        .filter(|number| number.get() <= MAX_WORKERS)
        .ok_or_else(|| format!("it is a number from 1 to {MAX_WORKERS}"))
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("remark").required(true).multiple(true))]
pub(crate) struct AnnotateArgs {
    /// The name that the dataset has in the archive
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The restore point
    #[arg(long, value_name = "POINT")]
    pub(crate) at: String,
    /// Give it this alias, unique for its lineage
    #[arg(
        long,
        value_name = "TEXT",
        group = "remark",
        conflicts_with = "no_alias"
    )]
    pub(crate) alias: Option<Alias>,
    /// Take its alias away
    #[arg(long, group = "remark")]
    pub(crate) no_alias: bool,
    /// Note this
    #[arg(
        long,
        value_name = "TEXT",
        group = "remark",
        conflicts_with = "no_note"
    )]
    pub(crate) note: Option<String>,
    /// Take its note away
    #[arg(long, group = "remark")]
    pub(crate) no_note: bool,
    /// Never prune it
    #[arg(long, group = "remark", conflicts_with = "unpin")]
    pub(crate) pin: bool,
    /// Let it be pruned like any other
    #[arg(long, group = "remark")]
    pub(crate) unpin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// For how many days the newest point is kept
    #[arg(long, value_name = "N", default_value_t = Policy::default().daily)]
    keep_daily: usize,
    /// For how many weeks
    #[arg(long, value_name = "N", default_value_t = Policy::default().weekly)]
    keep_weekly: usize,
    /// For how many months
    #[arg(long, value_name = "N", default_value_t = Policy::default().monthly)]
    keep_monthly: usize,
    /// Keep nothing but the newest point of each lineage, and what is pinned
    #[arg(long, conflicts_with_all = ["keep_daily", "keep_weekly", "keep_monthly"])]
    only_newest: bool,
    /// How old what was never finished must be, in days; at least 4
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u16).range(4..=36500))]
    grace: u16,
    #[command(flatten)]
    pub(crate) consent: ConsentArgs,
}

impl PruneArgs {
    /// What it goes by.
    ///
    /// # Errors
    /// [`Exit::Usage`] if nothing but the newest would be kept without a word about that.
    pub(crate) fn rules(&self) -> Result<Rules, Failure> {
        let policy = match self.only_newest {
            true => Policy {
                daily: 0,
                weekly: 0,
                monthly: 0,
            },
            false => Policy {
                daily: self.keep_daily,
                weekly: self.keep_weekly,
                monthly: self.keep_monthly,
            },
        };
        if !self.only_newest && (policy.daily, policy.weekly, policy.monthly) == (0, 0, 0) {
            let why = "that keeps nothing but the newest point of each lineage";
            let help = "if it is meant so, say --only-newest";
            return Err(Failure::new(Exit::Usage, why).with_help(help));
        }
        let grace = SignedDuration::from_hours(24 * i64::from(self.grace));
        Ok(Rules { policy, grace })
    }
}

/// What decrypts.
#[derive(Clone, Debug, Args)]
pub(crate) struct IdentityArgs {
    /// The file of the identity that decrypts; `-` is standard input
    #[arg(id = "file", long = "identity", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The file with the identity's passphrase [default: it is asked for]
    #[arg(long, value_name = "FILE", requires = "file")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl PlaceArgs {
    /// How a bucket is reached. The endpoint is found here, because it says which archive is meant.
    pub(crate) fn s3(&self) -> S3Options {
        let variables = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
        let mut set = variables.iter().filter_map(|name| std::env::var(name).ok());
        let endpoint = self.s3_endpoint.clone();
        let endpoint = endpoint.or_else(|| set.find(|url| !url.is_empty()));
        S3Options {
            endpoint: endpoint.map(|url| url.trim_end_matches('/').to_owned()),
            region: self.s3_region.clone(),
            style: match self.s3_style {
                Style::Auto => AddressingStyle::Auto,
                Style::Path => AddressingStyle::Path,
                Style::Virtual => AddressingStyle::Virtual,
            },
            profile: self.s3_profile.clone(),
            keys: None,
        }
    }
}
