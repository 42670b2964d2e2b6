//! OpenZFS in a process: a pool in a file, without kernel module and without root.
//!
//! An [`Engine`] is a process of its own, the program `terrarium-zpool`, that runs the real on-disk
//! code (libzpool) on one pool file. A damaged stream or a fault of ZFS can end that process, never
//! the caller: then the call fails with [`EngineLost`](terrarium_zfs::Error::EngineLost), and so does
//! every later one; the pool is opened anew. No call waits longer than its [limit](Options::call_limit);
//! a stream or a tree may go on for as long as it gets on.
//!
//! ```no_run
//! use terrarium_zfs::{DatasetName, Properties, UserProperties};
//! use terrarium_zpool::Options;
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Options::default().create("/tmp/pool".as_ref(), "demo", 256 << 20)?;
//! let web = DatasetName::new("demo/web")?;
//! engine.create(&web, &Properties::new())?;
//! engine.write_file(&web, "index.html", 0o644, b"hello")?;
//! let point = web.snapshot("before")?;
//! engine.snapshot(&[(point.clone(), UserProperties::new())])?;
//! assert_eq!(engine.read_file(point.as_str(), "index.html", 100)?, Some(b"hello".to_vec()));
//! engine.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What to expect
//! - **One process, one file.** The file is locked: a second engine is refused ([`OpenError::Locked`]).
//! - **Dropping** an engine closes the pool; one that does not end in time is killed. A pool that was
//!   not closed is as it was at its last change that was answered, or later.
//! - **Versions**: compiled against the headers of OpenZFS 2.1. Another libzpool is refused at start.
//! - **Names and errors** are those of [`terrarium_zfs`].
//! - **Files** are read by [`Engine::walk`] and written by [`Engine::write_tree`], of every kind, with owners,
//!   times, extended attributes and holes.

mod bookmarks;
mod datasets;
mod engine;
mod listing;
mod open;
mod process;
mod snapshots;
mod streams;
mod tree;

pub use datasets::Occupied;
pub use engine::Engine;
pub use open::{MIN_POOL_SIZE, OpenError, Options};
pub use tree::{Content, ExtractError, Extracted, LeftOut, Owners, Part, TreeWriter, Walk};

/// The exit code of a `terrarium-zpool` that was built without OpenZFS.
#[doc(hidden)]
pub const BUILT_WITHOUT: i32 = 78;
