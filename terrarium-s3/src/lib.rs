//! Where the archive's objects are: an object store, by S3 or in a directory.
//!
//! A [`Store`] creates objects and never changes one: a second [`create`](Store::create) of a key is refused by the
//! store itself, whoever comes first. What an archive promises rests on that, so [`probe_create_only`] tries it.
//!
//! Errors are told apart by status and errno, never by text; each names the call and the object, and
//! [`StoreError::help`] says what to do.

pub mod archive;
#[cfg(feature = "fakes")]
pub mod conformance;
pub mod crypto;
pub mod earlier;
pub mod format;
pub mod pipeline;
mod store;

pub use store::addressing::AddressingStyle;
pub use store::directory::{DirectoryStore, Leftover};
#[cfg(feature = "s3")]
pub use store::s3::{Credentials, S3Config, S3Store, Secret};
pub use store::{
    Attempt, Call, InvalidKey, Key, Object, Role, Store, StoreError, create_or_same,
    probe_create_only, probe_role,
};
#[cfg(feature = "fakes")]
pub use store::{
    faulty::{Fault, Faulty},
    memory::MemoryStore,
};
