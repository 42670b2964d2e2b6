//! Every setting, and where it may stand.

use std::fmt;

use serde::{Serialize, Serializer};

/// The LXD project whose config holds the settings. It is made for them, and shares nothing with others.
pub const PROJECT: &str = "terrarium";

/// Where a value is from, the most specific first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// A flag of the command.
    Flag,
    /// An environment variable.
    Environment,
    /// The project `terrarium` in LXD.
    Lxd,
    /// The file.
    File,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Flag => "flag",
            Origin::Environment => "environment",
            Origin::Lxd => "LXD",
            Origin::File => "file",
        })
    }
}

/// What a value must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Type {
    /// Any text that is not empty.
    Text,
    /// `true` or `false`.
    Bool,
    /// A text that is shown to nobody.
    Secret,
}

macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident: $kind:ident, $lxd:literal, $file:literal, [$($variable:literal),*];)*) => {
        /// A setting.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Key {
            $($(#[$doc])* $key,)*
        }

        impl Key {
            /// All of them.
            pub const ALL: &[Key] = &[$(Key::$key),*];

            /// Its key in the config of the LXD project.
            pub fn lxd(self) -> &'static str {
                match self { $(Key::$key => concat!("user.terrarium.", $lxd),)* }
            }

            /// Its key in the file: that of earlier versions of terrariumctl.
            pub fn file(self) -> &'static str {
                match self { $(Key::$key => concat!("terrarium_", $file),)* }
            }

            /// The environment variables that say it, the first that is set counts.
            pub fn variables(self) -> &'static [&'static str] {
                match self { $(Key::$key => &[$($variable),*],)* }
            }

            /// What its value must be.
            pub fn kind(self) -> Type {
                match self { $(Key::$key => Type::$kind,)* }
            }
        }
    };
}

keys! {
    /// The archive as a URL, as `--archive` takes it.
    Archive: Text, "archive", "archive", ["TERRARIUM_ARCHIVE"];
    /// Whether the bucket is used; if it is not said, it is.
    EnableS3: Bool, "s3.enable", "enable_s3", [];
    /// The address of the S3 service.
    S3Endpoint: Text, "s3.endpoint", "s3_endpoint", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];
    /// The bucket of the archive.
    S3Bucket: Text, "s3.bucket", "s3_bucket", [];
    /// Its region.
    S3Region: Text, "s3.region", "s3_region", ["AWS_REGION", "AWS_DEFAULT_REGION"];
    /// What all keys of the archive begin with.
    S3Prefix: Text, "s3.prefix", "s3_prefix", [];
    /// Who asks: the id of the key, which is no secret.
    S3AccessKey: Text, "s3.access-key", "s3_access_key", ["AWS_ACCESS_KEY_ID"];
    /// The secret that belongs to it.
    S3SecretKey: Secret, "s3.secret-key", "s3_secret_key", ["AWS_SECRET_ACCESS_KEY"];
    /// The storage pool that earlier versions worked on. Kept, and used by nothing: pools are found through LXD.
    LxdPool: Text, "lxd-pool", "lxd_pool_name", [];
    /// Whether a second host was kept by syncoid. Kept, and used by nothing yet, as are the next three.
    EnableSyncoid: Bool, "syncoid.enable", "enable_syncoid", [];
    /// The second host, as ssh takes it.
    SyncoidTarget: Text, "syncoid.target", "syncoid_target", [];
    /// The dataset there.
    SyncoidTargetDataset: Text, "syncoid.target-dataset", "syncoid_target_dataset", [];
    /// The file of the ssh key.
    SyncoidSshKey: Text, "syncoid.ssh-key", "syncoid_ssh_key", [];
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.lxd())
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.lxd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_documentation_is_that_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| `user."));
        let rows: Vec<String> = rows
            .map(|row| {
                row.rsplitn(3, '|')
                    .nth(2)
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            })
            .collect();
        let code: Vec<String> = Key::ALL
            .iter()
            .map(|key| {
                let variables: Vec<_> =
                    key.variables().iter().map(|it| format!("`{it}`")).collect();
                let row = format!(
                    "| `{}` | `{}` | {}",
                    key.lxd(),
                    key.file(),
                    variables.join(", ")
                );
                row.trim().to_owned()
            })
            .collect();
        assert_eq!(rows, code);
    }
}
