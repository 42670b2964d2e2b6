//! A safe binding of libzfs_core, opened at run time: snapshots, clones, rewinds, send streams and
//! listings.
//!
//! A [`ZfsCore`] is the opened library. Names are parsed once ([`DatasetName`], [`SnapshotName`],
//! [`BookmarkName`]) and are legal from then on; what happens is told by guid and transaction group.
//!
//! ```no_run
//! use terrarium_zfs::{DatasetName, ReceiveOptions, SendFlags, UserProperties, ZfsCore};
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let zfs = ZfsCore::open()?;
//! let web = DatasetName::new("tank/containers/web")?;
//! let before = web.snapshot("before-upgrade")?;
//!
//! // Both in one transaction group, or neither.
//! let database = DatasetName::new("tank/containers/database")?.snapshot("before-upgrade")?;
//! let note = UserProperties::from([("example:why".to_owned(), "upgrade".to_owned())]);
//! zfs.snapshot(&[before.clone(), database], &note)?;
//!
//! for snapshot in zfs.list(&web, &["example:why"])?.snapshots {
//!     let why = snapshot.user_properties.get("example:why");
//!     println!("{} ({} bytes of its own): {why:?}", snapshot.name, snapshot.used);
//! }
//!
//! // Out through a pipe and into another dataset, at the same time.
//! let (output, input) = std::io::pipe()?;
//! let copy = DatasetName::new("tank/copy")?.snapshot("before-upgrade")?;
//! let receiver = std::thread::spawn(move || zfs.receive(&copy, &ReceiveOptions::default(), &output));
//! zfs.send(&before, None, SendFlags::default(), &input)?;
//! drop(input);
//! println!("{} bytes", receiver.join().expect("no panic")?.bytes);
//! # Ok(())
//! # }
//! ```
//!
//! # What to expect
//! - **No link-time dependency**: a program that uses this runs without ZFS too; [`ZfsCore::open`] says
//!   what is missing. It needs `libzfs_core.so.3` and `libnvpair.so.3` (OpenZFS 2.x) and, for listings
//!   and guids, the program `zfs`.
//! - **Errors** are told apart by [`Error::kind`], and say what was attempted with which object. A call
//!   for many snapshots answers with a [`BatchError`]: which failed, and why.
//! - **Blocking**: every call returns when the change is on disk. All can be used from many threads.
//! - **Traps of the kernel are kept away from**: what would panic OpenZFS 2.1 (promoting over an equal
//!   bookmark, removing a property of what does not exist) is refused before the call, and SIGPIPE never
//!   reaches the caller.
//!
//! Tried with OpenZFS 2.1.11.

mod bookmarks;
mod command;
mod datasets;
pub mod engine;
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
pub mod stream;
mod token;
pub mod tree;

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
