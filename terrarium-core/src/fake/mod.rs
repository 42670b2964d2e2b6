//! ZFS in memory, and an LXD on a real socket that works on it: for tests of this crate and of those that embed it.
//!
//! Fakes, not mocks: nothing here is told what to answer. They have state, follow the rules of the real thing as
//! far as plans depend on them, and pass the same [conformance suite](crate::conformance) as the real thing. What a
//! test wants to see is what is there afterwards: the datasets, their contents, who started from what.
//!
//! - [`FakeZfs`] is a [`Zfs`](crate::Zfs): pools, datasets with files in them, snapshots, clones.
//! - [`FakeHost`] is a [`FakeZfs`] with an LXD that works on it: instances that start, stop and are snapshotted.

mod content;
mod host;
mod pool;
mod properties;
mod rules;
mod seam;
mod storage;
mod zfs;

pub use host::{FakeHost, NewInstance, Start};
pub use zfs::FakeZfs;

/// A scheduled restore point as the planners of [`policy`](crate::policy) see it; its guid and its order in the pool
/// are `number`. What else is to be said of it is set afterwards.
pub fn scheduled_point(
    snapshot: terrarium_zfs::SnapshotName,
    number: u64,
    period: crate::policy::Period,
    created: jiff::Timestamp,
) -> crate::RestorePoint {
    crate::RestorePoint::scheduled(snapshot, number, period, created)
}
