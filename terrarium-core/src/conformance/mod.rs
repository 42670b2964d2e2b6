//! What every implementation of a seam must do: one suite for the fake and for the real thing alike.
//!
//! A case gets a rig: the implementation under test, and what the case needs beside the seam, such as writing a file
//! or holding a snapshot. It panics, as a test does, where something differs from what plans rely on.
//!
//! - [`zfs`] holds the cases for [`Zfs`](crate::Zfs); [`zfs_cases!`](crate::zfs_cases) names them all.
//! - [`instances`] holds those for [`Instances`](crate::Instances); so does
//!   [`instances_cases!`](crate::instances_cases).

pub mod instances;
pub mod zfs;
