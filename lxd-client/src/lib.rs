//! LXD's REST API over its unix socket.

mod address;
mod client;
#[cfg(feature = "stub")]
pub mod conformance;
mod error;
mod operation;
pub mod socket;
#[cfg(feature = "stub")]
pub mod stub;
mod transport;
mod wire;

pub use client::{Client, Exec, ExecOutput};
pub use error::{Error, ErrorKind};
pub use operation::Operation;
pub use wire::{
    Config, CpuState, CreateInstance, CreateSnapshot, Device, Devices, DiskState, Environment,
    Instance, InstancePut, InstanceSnapshot, InstanceSource, InstanceState, MemoryState,
    NetworkAddress, NetworkState, OperationInfo, OperationStatus, Profile, Project, Server,
    StateAction, StateChange, StoragePool, StorageVolume, Tagged,
};
