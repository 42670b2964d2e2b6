//! The end-to-end tests: the real system, in the guest of `testbed/vm`.
//!
//! One module per topic. `make e2e` compiles this on the host, runs it in the guest,
//! and `make e2e ARGS=guest::` runs the tests whose names contain `guest::`.

mod alone;
mod archive;
mod as_new;
mod boot_drill;
mod core_conformance;
mod embedded_engine;
mod graveyard;
mod guard;
mod guest;
mod hooks;
mod ill_pools;
mod killed;
mod lxd_client;
mod points;
mod refusals;
mod rewind;
mod time_machine;
mod zfs_datasets;
mod zfs_listing;
mod zfs_pools_and_files;
mod zfs_properties;
mod zfs_snapshots;
mod zfs_streams;
mod zfs_support;
