//! The time machine for LXD containers on ZFS.
//!
//! One flow everywhere: **observe → plan → execute → report**.
//!
//! - observing (`Host::observe`) reads datasets, snapshots and instances once, into an [`Inventory`].
//! - [`plan`] decides: pure functions from an inventory and a request to a [`Plan`], in which every step carries
//!   its reason.
//! - [`policy`] says which snapshots are due and which are kept, as purely.
//! - executing rechecks what each step relies on right before it acts; after a failure everything is put back,
//!   after a crash the next session (`Host::begin`) finishes or takes back what was cut off.
//! - the [`Report`] says what became of every step.
//!
//! ZFS and whatever runs the instances are behind two small traits, [`Zfs`] and [`Instances`].
//!
//! # Features
//! - `host`, which is on unless `default-features = false`: observing and executing, by LXD's client and tokio. Without it
//!   there are [`policy`], [`plan`] and all they are about; nothing asynchronous is linked.
//! - `archive`: exports to an archive, and restores from one.
//! - `embedded`: the same on a pool in a file, by OpenZFS in a process; without LXD and without root.
//! - `fakes`: ZFS and LXD in memory, for tests of what embeds this.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "host"),
    allow(dead_code, reason = "executing needs more of plans than planning")
)]

pub mod config;
#[cfg(feature = "host")]
pub mod conformance;
mod copy;
pub mod details;
#[cfg(feature = "embedded")]
pub mod drill;
mod error;
#[cfg(feature = "host")]
mod execute;
#[cfg(feature = "archive")]
pub mod export;
#[cfg(feature = "fakes")]
pub mod fake;
pub mod grave;
mod hook_run;
#[cfg(feature = "host")]
mod host;
mod idmap;
mod instances;
pub mod intent;
mod inventory;
mod layout;
mod lock;
#[cfg(feature = "host")]
mod lxd;
mod mounts;
mod names;
#[cfg(feature = "host")]
mod observe;
mod pieces;
mod pipe;
pub mod plan;
mod point;
pub mod policy;
#[cfg(feature = "embedded")]
mod pool_file;
pub mod property;
mod report;
#[cfg(feature = "embedded")]
pub mod scratch;
mod selector;
pub mod status;
#[cfg(feature = "host")]
mod streams;
mod text;
#[cfg_attr(
    not(feature = "archive"),
    allow(dead_code, reason = "drills boot archived points")
)]
mod throw_away;
pub mod tree;
mod zfs;

pub use error::{Class, Error};
#[cfg(feature = "host")]
pub use execute::{Progress, Silent};
pub use hook_run::{Hook, HookOutcome, HookRun};
#[cfg(feature = "archive")]
pub use host::boot::{BootReport, BootRequest, BootVerdict, Halt};
#[cfg(feature = "archive")]
pub use host::fetch::{FetchError, FetchPlan, FetchRequest, FetchedOrigin, FetchedStream};
#[cfg(feature = "host")]
pub use host::policies::surplus;
#[cfg(feature = "host")]
pub use host::{
    Access, Begun, Checked, Destination, DestroyRequest, Folders, Guard, GuardError, Host, Planner,
    Pruning, Purged, RestoreRequest, RunFailure, RunRecord, RunReport, Session, Skipped, Taken,
};
pub use instances::{
    CommandOutput, Definition, Device, InstanceKind, InstanceRecord, InstanceState, Instances,
    InstancesError, Profile, ProjectRecord, SnapshotRecord, Stop, StoragePool,
};
pub use inventory::{
    Coverage, Covered, Grave, Instance, Inventory, NotCovered, Pending, Pool, PoolProblem,
};
pub use layout::PoolLayout;
pub use lock::{Held, Lock, LockDir};
pub use names::{
    Alias, DEFAULT_PROJECT, InstanceName, InstanceRef, NameError, OperationId, ProjectName,
};
#[cfg(feature = "host")]
pub use observe::observe;
pub use pipe::widen_pipe;
pub use plan::Plan;
pub use point::{Kind, LXD_SNAPSHOT_PREFIX, Place, PreOutcome, RestorePoint};
#[cfg(feature = "embedded")]
pub use pool_file::PoolFile;
pub use report::{Buried, Left, Outcome, Report, Restored, StepReport, with_causes};
pub use selector::{Candidate, SelectError, Selected, SelectedBy, select, show};
#[cfg(feature = "host")]
pub use streams::Streams;
pub use zfs::Zfs;
