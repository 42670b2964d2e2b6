//! The server itself, its projects and profiles.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Config, Devices, nullable};

/// The server: what it can do and where it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Server {
    /// Names of what was added to the API since 1.0; see [`Server::has_extension`].
    #[serde(deserialize_with = "nullable")]
    pub api_extensions: Vec<String>,
    /// `stable`, `development` or `deprecated`.
    #[serde(deserialize_with = "nullable")]
    pub api_status: String,
    /// `1.0`.
    #[serde(deserialize_with = "nullable")]
    pub api_version: String,
    /// `trusted` or `untrusted`.
    #[serde(deserialize_with = "nullable")]
    pub auth: String,
    /// Where and what it is.
    #[serde(deserialize_with = "nullable")]
    pub environment: Environment,
    /// The server's own configuration.
    #[serde(deserialize_with = "nullable")]
    pub config: BTreeMap<String, Value>,
}

impl Server {
    /// Whether the server knows an addition to the API, by LXD's name for it.
    pub fn has_extension(&self, name: &str) -> bool {
        self.api_extensions.iter().any(|known| known == name)
    }

    /// Whether the server is Incus rather than LXD.
    pub fn is_incus(&self) -> bool {
        self.environment.server == "incus"
    }
}

/// Where a server runs and what it is made of.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Environment {
    /// `lxd` or `incus`.
    #[serde(deserialize_with = "nullable")]
    pub server: String,
    /// Its version: `5.0.2`.
    #[serde(deserialize_with = "nullable")]
    pub server_version: String,
    /// The host's name, or the cluster member's.
    #[serde(deserialize_with = "nullable")]
    pub server_name: String,
    /// The server's process id.
    #[serde(deserialize_with = "nullable")]
    pub server_pid: i64,
    /// Whether it is part of a cluster.
    #[serde(deserialize_with = "nullable")]
    pub server_clustered: bool,
    /// `Linux`.
    #[serde(deserialize_with = "nullable")]
    pub kernel: String,
    /// The kernel's version.
    #[serde(deserialize_with = "nullable")]
    pub kernel_version: String,
    /// The kernel's CPU architecture.
    #[serde(deserialize_with = "nullable")]
    pub kernel_architecture: String,
    /// The distribution.
    #[serde(deserialize_with = "nullable")]
    pub os_name: String,
    /// The distribution's version.
    #[serde(deserialize_with = "nullable")]
    pub os_version: String,
    /// Storage drivers in use: `zfs | dir`.
    #[serde(deserialize_with = "nullable")]
    pub storage: String,
    /// Their versions, in the same order.
    #[serde(deserialize_with = "nullable")]
    pub storage_version: String,
    /// The project that the request was made in.
    #[serde(deserialize_with = "nullable")]
    pub project: String,
}

/// A project: a name space for instances, and maybe images, profiles, volumes and networks.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Project {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Free text.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    /// `features.*`, `limits.*`, `restricted.*`, `user.*`.
    #[serde(deserialize_with = "nullable")]
    pub config: Config,
    /// Addresses of what is in it.
    #[serde(deserialize_with = "nullable")]
    pub used_by: Vec<String>,
}

/// A profile: config and devices that instances share.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Profile {
    /// Its name, unique in its project.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Free text.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    /// Config keys.
    #[serde(deserialize_with = "nullable")]
    pub config: Config,
    /// Devices by name.
    #[serde(deserialize_with = "nullable")]
    pub devices: Devices,
    /// Addresses of the instances that use it.
    #[serde(deserialize_with = "nullable")]
    pub used_by: Vec<String>,
}
