//! Storage pools and volumes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Config, nullable, time};

/// A storage pool.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StoragePool {
    /// LXD's name of it.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `zfs`, `dir`, `btrfs`, `lvm`, `ceph`, ….
    #[serde(deserialize_with = "nullable")]
    pub driver: String,
    /// Free text.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    /// For `zfs`: `source`, `zfs.pool_name` (the dataset that LXD works in), `volatile.initial_source`, ….
    #[serde(deserialize_with = "nullable")]
    pub config: Config,
    /// `Created`, `Pending`, `Errored`, `Unavailable`.
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// Addresses of the instances, images, profiles and volumes that use it.
    #[serde(deserialize_with = "nullable")]
    pub used_by: Vec<String>,
    /// The cluster members that have it.
    #[serde(deserialize_with = "nullable")]
    pub locations: Vec<String>,
}

/// A storage volume.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StorageVolume {
    /// Its name; `instance/snapshot` for a snapshot.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `container`, `virtual-machine`, `image` or `custom`.
    #[serde(deserialize_with = "nullable")]
    pub r#type: String,
    /// `filesystem` or `block`.
    #[serde(deserialize_with = "nullable")]
    pub content_type: String,
    /// The project it is in.
    #[serde(deserialize_with = "nullable")]
    pub project: String,
    /// Free text.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    /// `size`, `zfs.*`, `volatile.*`, ….
    #[serde(deserialize_with = "nullable")]
    pub config: Config,
    /// Addresses of what uses it.
    #[serde(deserialize_with = "nullable")]
    pub used_by: Vec<String>,
    /// The cluster member it is on; `none` without a cluster.
    #[serde(deserialize_with = "nullable")]
    pub location: String,
    /// When it was created; older servers do not tell.
    #[serde(with = "time")]
    pub created_at: Option<Timestamp>,
}
