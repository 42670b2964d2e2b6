//! The trait of all object stores, and what is built on it alone.

pub(crate) mod addressing;
pub(crate) mod directory;
mod error;
#[cfg(feature = "fakes")]
pub(crate) mod faulty;
mod key;
#[cfg(feature = "fakes")]
pub(crate) mod memory;
mod role;
#[cfg(feature = "s3")]
pub(crate) mod s3;

use std::future::Future;

use bytes::Bytes;
use jiff::Timestamp;

pub use error::{Attempt, Call, StoreError};
pub use key::{InvalidKey, Key};
pub use role::{Role, probe_role};

use directory::Leftover;

#[cfg(feature = "s3")]
pub(crate) use error::one_line;
pub(crate) use key::could_begin_a_key;

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub key: Key,
    /// Its length in bytes.
    pub size: u64,
    /// When it was created, by the store's clock.
    pub modified: Timestamp,
}

/// A place where objects are created, read, listed and deleted, but never changed.
///
/// Every call may be made from many tasks and many processes at once. An object is there as a whole or not at all: one
/// whose [`create`](Store::create) was cut off is neither listed nor read.
///
/// # Errors
/// Beside those that the methods name, any call may fail with the other variants of [`StoreError`]. After
/// [`StoreError::Unavailable`] the call may have taken effect all the same.
pub trait Store: Send + Sync + 'static {
    /// Creates an object, never over another. The body's CRC32 is checked on the way where the store can.
    ///
    /// When this returns, the object survives a crash of the machine that holds it, as far as the store promises that.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is an object of that key, which stays as it is.
    fn create(&self, key: &Key, body: Bytes)
    -> impl Future<Output = Result<(), StoreError>> + Send;

    /// The whole content of an object.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none; [`StoreError::Corrupt`] if it is not what was created, where the store
    /// can tell.
    fn read(&self, key: &Key) -> impl Future<Output = Result<Bytes, StoreError>> + Send;

    /// So many bytes of an object, from `offset` on: fewer if it ends before, none if it ends before `offset`. Nothing is
    /// checked but that they arrive.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such object.
    fn read_range(
        &self,
        key: &Key,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Bytes, StoreError>> + Send;

    /// The length of an object in bytes, `None` if there is none.
    fn size(&self, key: &Key) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// All objects whose key begins with `prefix`, which may end within a segment, in the order of the keys' bytes.
    ///
    /// A prefix that no key can begin with lists nothing.
    fn list(&self, prefix: &str) -> impl Future<Output = Result<Vec<Object>, StoreError>> + Send;

    /// Deletes an object. One that is absent is no error.
    fn delete(&self, key: &Key) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What creates that did not end have left behind, where that is anything; they are no objects.
    fn leftovers(&self) -> impl Future<Output = Result<Vec<Leftover>, StoreError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Removes what [`leftovers`](Store::leftovers) listed. One that is gone is no error.
    fn remove_leftover(
        &self,
        leftover: &Leftover,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        // There are none.
        let _ = leftover;
        async { Ok(()) }
    }
}

/// Creates an object; if there is one of equal content already, that is success too: it is then our own, whose reply
/// was lost.
///
/// # Errors
/// [`StoreError::Exists`] if the object that is there has another content, or is gone again when it is read.
pub async fn create_or_same(store: &impl Store, key: &Key, body: Bytes) -> Result<(), StoreError> {
    let exists = match store.create(key, body.clone()).await {
        Err(exists @ StoreError::Exists { .. }) => exists,
        other => return other,
    };
    match store.read(key).await {
        Ok(found) if found == body => Ok(()),
        Ok(_) | Err(StoreError::NotFound { .. }) => Err(exists),
        Err(error) => Err(error),
    }
}

/// Whether the store refuses to create an object that is there, found by two creates of `key` with different content.
///
/// The key must be one that nobody else uses. It is deleted again; if that is not allowed (an append-only role), the
/// object stays and that is no error.
///
/// # Errors
/// [`StoreError::Exists`] if the key was there before; otherwise what creating says.
pub async fn probe_create_only(store: &impl Store, key: &Key) -> Result<bool, StoreError> {
    store.create(key, Bytes::from_static(b"first\n")).await?;
    let second = store.create(key, Bytes::from_static(b"second\n")).await;
    let cleaned = store.delete(key).await;
    let create_only = match second {
        Ok(()) => false,
        Err(StoreError::Exists { .. }) => true,
        Err(error) => return Err(error),
    };
    match cleaned {
        Ok(()) | Err(StoreError::Denied { .. }) => Ok(create_only),
        Err(error) => Err(error),
    }
}
