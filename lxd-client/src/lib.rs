//! LXD's REST API over its unix socket.
//!
//! A [`Client`] finds the socket as LXD's own client does, speaks in one project, and gives typed answers. What LXD does
//! in the background is an [`Operation`] to wait for.
//!
//! ```no_run
//! use std::time::Duration;
//! use lxd_client::{Client, Error, Exec, StateAction, StateChange};
//!
//! # async fn example() -> Result<(), Error> {
//! let client = Client::connect().await?;
//! for instance in client.all_instances().await? {
//!     let snapshots = instance.snapshots.unwrap_or_default().len();
//!     println!("{}/{}: {}, {snapshots} snapshots", instance.project, instance.name, instance.status);
//! }
//!
//! let tenant = client.project("tenant");
//! let uname = tenant.exec("web", &Exec::new(["uname", "-a"])).await?;
//! println!("{}", uname.stdout_text());
//!
//! let stop = StateChange { timeout: Some(Duration::from_secs(30)), ..StateChange::new(StateAction::Stop) };
//! match tenant.set_state("web", &stop).await?.wait().await {
//!     Ok(_) => println!("stopped"),
//!     Err(Error::OperationFailed { message, .. }) => println!("still there: {message}"),
//!     Err(error) => return Err(error),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What to expect
//! - **Errors** are told apart by status and by what broke ([`Error::kind`]), never by text: a refusal, an operation
//!   that failed, an answer that never came. After the last kind, what was asked for may have happened.
//! - **Time and size** are bounded: connecting, a request ([`Client::with_request_limit`]) and an answer's length.
//!   Operations are waited for as long as they take, through connections that break.
//! - **Names** are percent-encoded; one that could not be part of an address is refused before anything is sent.
//! - Nothing panics on what a server sends.
//!
//! # Servers
//! LXD 5.0 and later (tried with 5.0.2), and Incus, whose API is the same where this crate uses it: instances are
//! always asked for as `instances`; recorded output is found in `logs` (LXD 5.0) and in `logs/exec-output` (Incus, LXD
//! 5.21 and later); a wait that is answered with the operation's own failure (LXD 6) is followed by a look at the
//! operation. [`Server::is_incus`] tells which it is. Not handled: the sockets of `lxd-user` and `incus-user`, which show
//! one user's project only, and servers over the network.
//!
//! # Facts of LXD 5.0 that callers meet
//! - An update ([`Client::update_instance`]) is whole: keys that are not sent are removed, `volatile.*` too. Only the id
//!   maps cannot be removed. It writes `backup.yaml` into the instance's volume; without the volume it fails *after*
//!   the change.
//! - In a project that is restricted or has any limit, `volatile.last_state.idmap` and most other `volatile.*` keys
//!   can be neither set nor changed, unless it has `restricted.containers.lowlevel=allow`.
//! - Creating an instance where a volume of its name is in the way fails, and LXD then deletes that volume.
//! - Instances of an unknown project are listed without an error: there are none.
//!
//! # Tests without LXD
//! The feature `stub` has `stub::Stub`, an LXD on a real unix socket with its database in memory, and
//! `conformance`, the suite that holds it and the real one to the same behaviour.

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
