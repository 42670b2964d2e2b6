//! What LXD sends and accepts, as Rust types.
//!
//! Types that LXD sends are `#[non_exhaustive]`, have a default for every field and ignore fields they do not know,
//! so that a newer server can be read. `null` where LXD means "none of them" (Go's empty maps and lists) reads as
//! empty.

mod instance;
mod operation;
#[cfg(test)]
mod samples;
mod server;
mod snapshot;
mod state;
mod storage;
mod time;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

pub use instance::{CreateInstance, Instance, InstancePut, InstanceSource, Tagged};
pub use operation::{OperationInfo, OperationStatus};
pub use server::{Environment, Profile, Project, Server};
pub use snapshot::{CreateSnapshot, InstanceSnapshot};
pub use state::{
    CpuState, DiskState, InstanceState, MemoryState, NetworkAddress, NetworkState, StateAction,
    StateChange,
};
pub use storage::{StoragePool, StorageVolume};
pub(crate) use time::format as format_time;

/// Config keys and their values; LXD knows only strings here.
pub type Config = BTreeMap<String, String>;

/// One device's settings: `type`, `path`, `pool`, `source`, ….
pub type Device = BTreeMap<String, String>;

/// Devices by name.
pub type Devices = BTreeMap<String, Device>;

/// Reads `null` as the type's default.
pub(crate) fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
