//! Snapshots of an instance, as LXD records them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Config, Devices, nullable, time};

/// LXD's record of a snapshot: the instance's settings at that moment.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InstanceSnapshot {
    /// The name without the instance's.
    #[serde(deserialize_with = "bare_name")]
    pub name: String,
    /// Config set on the instance itself, `volatile.*` included.
    #[serde(deserialize_with = "nullable")]
    pub config: Config,
    /// Devices set on the instance itself.
    #[serde(deserialize_with = "nullable")]
    pub devices: Devices,
    /// Config with that of the profiles merged in.
    #[serde(deserialize_with = "nullable")]
    pub expanded_config: Config,
    /// Devices with those of the profiles merged in.
    #[serde(deserialize_with = "nullable")]
    pub expanded_devices: Devices,
    /// Profiles in the order they apply.
    #[serde(deserialize_with = "nullable")]
    pub profiles: Vec<String>,
    /// When it was made.
    #[serde(with = "time")]
    pub created_at: Option<Timestamp>,
    /// When LXD will delete it; never if none.
    #[serde(with = "time")]
    pub expires_at: Option<Timestamp>,
    /// When the instance was last started, at that moment.
    #[serde(with = "time")]
    pub last_used_at: Option<Timestamp>,
    /// Whether it holds a memory state.
    #[serde(deserialize_with = "nullable")]
    pub stateful: bool,
    /// The CPU architecture.
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    /// Whether the instance was to be deleted when it stops.
    #[serde(deserialize_with = "nullable")]
    pub ephemeral: bool,
    /// Bytes that only this snapshot holds; -1 if LXD was not asked to look, or could not.
    #[serde(deserialize_with = "nullable")]
    pub size: i64,
}

/// Older servers write `instance/snapshot`; newer ones, and lists within an instance, the snapshot alone.
fn bare_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name: String = nullable(from)?;
    Ok(match name.rsplit_once('/') {
        Some((_, bare)) => bare.to_owned(),
        None => name,
    })
}

/// A request to snapshot an instance.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CreateSnapshot {
    /// The name, without a slash or a space.
    pub name: String,
    /// When LXD is to delete it. If none, the instance's `snapshots.expiry` decides.
    pub expires_at: Option<Timestamp>,
    /// Save the memory state too.
    pub stateful: bool,
}
