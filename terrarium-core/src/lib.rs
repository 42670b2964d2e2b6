//! The time machine for LXD containers on ZFS.
//!
//! One flow everywhere: **observe → plan → execute → report**.
//!
//! - [`observe`](Host::observe) reads datasets, snapshots and instances once, into an [`Inventory`].
//! - [`plan`] decides: pure functions from an inventory and a request to a [`Plan`], in which every step carries
//!   its reason.
//! - [`policy`] says which snapshots are due and which are kept, as purely.
//! - executing rechecks what each step relies on right before it acts; after a failure everything is put back,
//!   after a crash the next [session](Host::begin) finishes or takes back what was cut off.
//! - the [`Report`] says what became of every step.
//!
//! A [`Guard`] is a snapshot to come back to: [`Session::guard`] takes it, [`Planner::plan_rewind_to`] leads back.
//!
//! ZFS and whatever runs the instances are behind two small traits, [`Zfs`] and [`Instances`]; with the feature
//! `fakes` both can be had in memory, with the feature `embedded` in a pool file, without LXD and without root.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod conformance;
mod copy;
pub mod details;
#[cfg(feature = "embedded")]
pub mod drill;
mod error;
mod execute;
#[cfg(feature = "archive")]
pub mod export;
#[cfg(feature = "fakes")]
pub mod fake;
pub mod grave;
mod host;
mod idmap;
mod instances;
pub mod intent;
mod inventory;
mod layout;
mod lock;
mod lxd;
mod mounts;
mod names;
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
pub use execute::{Progress, Silent};
#[cfg(feature = "archive")]
pub use host::boot::{BootReport, BootRequest, BootVerdict, Halt};
#[cfg(feature = "archive")]
pub use host::fetch::{FetchError, FetchPlan, FetchRequest, FetchedOrigin, FetchedStream};
pub use host::policies::surplus;
pub use host::{
    Access, Begun, Destination, DestroyRequest, Folders, Guard, Guarded, Hook, HookOutcome,
    HookRun, Host, Planner, Pruning, Purged, RestoreRequest, RunFailure, RunRecord, RunReport,
    Session, Skipped, Taken,
};
pub use instances::{
    CommandOutput, Definition, Device, InstanceKind, InstanceRecord, InstanceState, Instances,
    InstancesError, Profile, ProjectRecord, SnapshotRecord, Stop, StoragePool,
};
pub use inventory::{
    Coverage, Covered, Grave, Instance, Inventory, NotCovered, Pending, Pool, PoolProblem, observe,
};
pub use layout::PoolLayout;
pub use lock::{Held, Lock, LockDir};
pub use names::{
    Alias, DEFAULT_PROJECT, InstanceName, InstanceRef, NameError, OperationId, ProjectName,
};
pub use pipe::widen_pipe;
pub use plan::Plan;
pub use point::{Kind, LXD_SNAPSHOT_PREFIX, Place, PreOutcome, RestorePoint};
#[cfg(feature = "embedded")]
pub use pool_file::PoolFile;
pub use report::{Buried, Left, Outcome, Report, Restored, StepReport, with_causes};
pub use selector::{Candidate, SelectError, Selected, SelectedBy, select, show};
pub use streams::Streams;
pub use zfs::Zfs;
