//! The settings of a host: where each may stand, and which one holds.
//!
//! ```text
//! table    every setting: its LXD key, its environment variables, its key in the file, its type
//! layer    what one place says, checked: LXD's project `terrarium`, a YAML file, the environment
//! resolve  layers, the most specific first → the value of every setting, and where it is from
//! file     the YAML file on the disk, readable by its owner only
//! store    the project `terrarium` in LXD
//! ```
//! [`table`](Key), layers and [`resolve`] are pure.

mod file;
mod layer;
mod resolve;
mod secret;
#[cfg(feature = "host")]
mod store;
mod table;

pub use file::{DEFAULT_FILE, FileError, read_file, write_file};
pub use layer::{Layer, Problem, ProblemKind, Value};
pub use resolve::{Setting, Settings, resolve};
pub use secret::Secret;
#[cfg(feature = "host")]
pub use store::{StoreError, read_lxd, save_lxd};
pub use table::{Key, Origin, PROJECT, Type};
