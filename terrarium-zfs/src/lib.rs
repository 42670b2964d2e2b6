//! A safe binding of libzfs_core, opened at run time: snapshots, clones, rewinds, send streams and
//! listings.

mod bookmarks;
mod command;
mod datasets;
mod error;
mod ffi;
mod file;
mod handle;
mod ids;
mod listing;
mod names;
pub mod nvlist;
mod pool;
mod program;
mod promote;
mod properties;
mod receive;
mod send;
mod sigpipe;
mod snapshots;
mod stream;
mod token;

pub use error::{Attempt, BatchError, Error, ErrorKind};
pub use handle::ZfsCore;
pub use ids::{Guid, IdError, Txg};
pub use listing::{Bookmark, Dataset, DatasetKind, Listing, Snapshot};
pub use names::{BookmarkName, DatasetName, NameError, NameRule, SnapshotName};
pub use pool::{PoolHealth, PoolState};
pub use program::Limits;
pub use properties::{Properties, PropertyError, PropertyValue, UserProperties};
pub use receive::{ReceiveOptions, Received};
pub use send::{SendFlags, SendSource};
pub use stream::{BeginError, BeginRecord};
pub use token::{ResumeToken, TokenError};
