//! The arguments of `set`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) const S3_EXAMPLES: &str = "\
The bucket is tried before anything is saved: objects are created, listed, read and deleted below PREFIX/v1/probe. Keys
that may not read or delete will do for exports; pruning and restoring take others. Without --access-key the keys are those
of the environment, of ~/.aws or of the machine. What was set of another bucket before is forgotten.

The secret is read from a file, or from standard input: on a command line every user of the host could see it.

Examples:
  terrariumctl set s3 --bucket backups --prefix host1 --region eu-central-1
  terrariumctl set s3 --bucket b --endpoint https://s3.example.com --access-key AKID --secret-key-file - < secret";

/// Settings of this host, in LXD.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Set {
    /// Store backups in a bucket
    #[command(after_help = S3_EXAMPLES)]
    S3(SetS3Args),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SetS3Args {
    /// The bucket
    #[arg(long, value_name = "NAME")]
    pub(crate) bucket: String,
    /// What all keys of the archive begin with
    #[arg(long, value_name = "PATH")]
    pub(crate) prefix: Option<String>,
    /// The address of the S3 service, if it is not Amazon's
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// The region of the bucket
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// The id of the key
    #[arg(long, value_name = "ID", requires = "secret_key_file")]
    pub(crate) access_key: Option<String>,
    /// The file with its secret; `-` is standard input
    #[arg(long, value_name = "FILE", requires = "access_key")]
    pub(crate) secret_key_file: Option<PathBuf>,
    /// Try the bucket and save nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
