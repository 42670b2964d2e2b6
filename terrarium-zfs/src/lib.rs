//! A safe binding of libzfs_core, opened at run time: snapshots, clones, rewinds, send streams and listings.

mod core;
mod error;
mod ffi;
mod ids;
mod listing;
mod names;
pub mod nvlist;
mod properties;

pub use crate::core::{
    PoolHealth, PoolState, ReceiveOptions, Received, SendFlags, SendSource, ZfsCore,
};
pub use error::{Attempt, BatchError, Error, ErrorKind};
pub use ids::{Guid, IdError, Txg};
pub use listing::{Bookmark, Dataset, DatasetKind, Listing, Snapshot};
pub use names::{BookmarkName, DatasetName, NameError, NameRule, SnapshotName};
pub use properties::{Properties, PropertyError, PropertyValue, UserProperties};
