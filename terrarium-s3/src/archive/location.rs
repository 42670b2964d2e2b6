//! Where an archive is, as a person writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::format::Layout;
#[cfg(not(feature = "s3"))]
use crate::store::Attempt;
use crate::store::addressing::AddressingStyle;
use crate::store::directory::{DirectoryStore, Leftover};
#[cfg(feature = "s3")]
use crate::store::s3::{Credentials, S3Config, S3Store, Secret};
use crate::store::{InvalidKey, Key, Object, Store, StoreError};

/// Where an archive is: `s3://bucket/prefix` or `file:///folder`.
///
/// A path stands in it as it is: nothing is escaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A folder, by its absolute path.
    Directory(PathBuf),
    /// A bucket.
    S3 {
        /// Its name.
        bucket: String,
        /// What all keys of the archive begin with.
        prefix: Option<Key>,
    },
}

/// A text that says of no place where an archive could be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// It is neither of both.
    #[error("{0:?} is no place of an archive: s3://bucket/prefix or file:///folder is expected")]
    Scheme(String),
    /// The bucket has no name.
    #[error("{0:?} names no bucket")]
    Bucket(String),
    /// The folder's path is not absolute.
    #[error("{0:?} names no folder by its absolute path: file:///folder is expected")]
    Folder(String),
    /// The prefix is none.
    #[error("the prefix: {0}")]
    Prefix(#[from] InvalidKey),
}

/// How buckets are reached. What is not given comes from the environment and the files of the `aws` command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// The address of the service, as `https://minio.example:9000`.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// Where the bucket's name stands in addresses.
    pub style: AddressingStyle,
    /// A profile in `~/.aws/config` and `~/.aws/credentials`.
    pub profile: Option<String>,
    /// Who asks, if there is no profile.
    pub keys: Option<S3Keys>,
}

/// An access key and its secret, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Keys {
    /// The id of the key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Zeroizing<String>,
}

impl fmt::Debug for S3Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("S3Keys");
        shown.field("access_key", &self.access_key);
        shown.finish_non_exhaustive()
    }
}

impl Location {
    /// Opens the store, and says where in it the archive is. Whether there is one is not asked.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPlace`] if the folder is missing; [`StoreError::Refused`] if the options make no
    /// sense; [`StoreError::NotBuiltIn`] for a bucket without the feature `s3`.
    pub async fn open(&self, s3: &S3Options) -> Result<(AnyStore, Layout), StoreError> {
        match self {
            Location::Directory(path) => {
                let store = DirectoryStore::open(path)?;
                Ok((AnyStore::Directory(store), Layout::default()))
            }
            Location::S3 { bucket, prefix } => {
                let store = open_bucket(bucket, s3).await?;
                Ok((store, Layout::new(prefix.clone())))
            }
        }
    }
}

#[cfg(feature = "s3")]
async fn open_bucket(bucket: &str, s3: &S3Options) -> Result<AnyStore, StoreError> {
    let mut config = S3Config::new(bucket);
    config.endpoint.clone_from(&s3.endpoint);
    config.region.clone_from(&s3.region);
    config.style = s3.style;
    if let Some(profile) = &s3.profile {
        config.credentials = Credentials::Profile(profile.clone());
    } else if let Some(keys) = &s3.keys {
        config.credentials = Credentials::Keys {
            access_key: keys.access_key.clone(),
            secret_key: Secret(keys.secret_key.to_string()),
            session_token: None,
        };
    }
    S3Store::open(config).await.map(AnyStore::S3)
}

#[cfg(not(feature = "s3"))]
async fn open_bucket(bucket: &str, _: &S3Options) -> Result<AnyStore, StoreError> {
    let attempt = Attempt::listing("", format!("s3://{bucket}"));
    Err(StoreError::NotBuiltIn { attempt })
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if let Some(path) = text.strip_prefix("file://") {
            let path = match path.trim_end_matches('/') {
                "" if path.starts_with('/') => "/",
                path => path,
            };
            if !path.starts_with('/') || path.contains('\0') {
                return Err(LocationError::Folder(text.to_owned()));
            }
            return Ok(Location::Directory(PathBuf::from(path)));
        }
        let Some(rest) = text.strip_prefix("s3://") else {
            return Err(LocationError::Scheme(text.to_owned()));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || bucket.contains(['?', '#', '@', ':']) {
            return Err(LocationError::Bucket(text.to_owned()));
        }
        let prefix = match prefix.strip_suffix('/').unwrap_or(prefix) {
            "" => None,
            prefix => Some(Key::new(prefix)?),
        };
        Ok(Location::S3 {
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => write!(f, "file://{}", path.display()),
            Location::S3 {
                bucket,
                prefix: Some(prefix),
            } => write!(f, "s3://{bucket}/{prefix}"),
            Location::S3 {
                bucket,
                prefix: None,
            } => write!(f, "s3://{bucket}"),
        }
    }
}

/// A store of either kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyStore {
    /// A folder.
    Directory(DirectoryStore),
    /// A bucket.
    #[cfg(feature = "s3")]
    S3(S3Store),
}

impl Store for AnyStore {
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        match self {
            AnyStore::Directory(store) => store.create(key, body).await,
            #[cfg(feature = "s3")]
            AnyStore::S3(store) => store.create(key, body).await,
        }
    }

    async fn read(&self, key: &Key) -> Result<Bytes, StoreError> {
        match self {
            AnyStore::Directory(store) => store.read(key).await,
            #[cfg(feature = "s3")]
            AnyStore::S3(store) => store.read(key).await,
        }
    }

    async fn read_range(&self, key: &Key, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        match self {
            AnyStore::Directory(store) => store.read_range(key, offset, length).await,
            #[cfg(feature = "s3")]
            AnyStore::S3(store) => store.read_range(key, offset, length).await,
        }
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        match self {
            AnyStore::Directory(store) => store.size(key).await,
            #[cfg(feature = "s3")]
            AnyStore::S3(store) => store.size(key).await,
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        match self {
            AnyStore::Directory(store) => store.list(prefix).await,
            #[cfg(feature = "s3")]
            AnyStore::S3(store) => store.list(prefix).await,
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match self {
            AnyStore::Directory(store) => store.delete(key).await,
            #[cfg(feature = "s3")]
            AnyStore::S3(store) => store.delete(key).await,
        }
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        match self {
            AnyStore::Directory(store) => store.leftovers().await,
            #[cfg(feature = "s3")]
            AnyStore::S3(store) => store.leftovers().await,
        }
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<(), StoreError> {
        match self {
            AnyStore::Directory(store) => store.remove_leftover(leftover).await,
            #[cfg(feature = "s3")]
            AnyStore::S3(store) => store.remove_leftover(leftover).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_written_as_it_is_read() {
        for (text, written) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("s3://bucket/a/b", "s3://bucket/a/b"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("file:///mnt/my backups/", "file:///mnt/my backups"),
            ("file:///", "file:///"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), written);
            assert_eq!(written.parse(), Ok(location));
        }
    }

    #[test]
    fn what_is_no_location_is_refused() {
        for text in [
            "",
            "/mnt/backup",
            "https://bucket",
            "s3://",
            "s3:///prefix",
            "s3://user@bucket",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "file://",
            "file://mnt",
            "file://host/mnt",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
