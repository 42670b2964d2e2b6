//! What the credentials may do with a store, found by trying.

use bytes::Bytes;

use super::{Key, Store, StoreError};

/// What the credentials may do. Whoever may not read or delete can export, and nothing else: other credentials, elsewhere,
/// restore and prune.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Role {
    /// The store refuses to create an object that is there. An archive must not be made where it does not.
    pub create_only: bool,
    /// Objects can be read.
    pub reads: bool,
    /// Objects can be deleted.
    pub deletes: bool,
}

/// Tries what an archive needs with an object of this key, which nobody else uses: create it twice, list it, read and
/// delete it. If it cannot be deleted it stays, and that is no error.
///
/// # Errors
/// [`StoreError`] of creating and listing, without which nothing can be exported; of the others what is no refusal.
pub async fn probe_role(store: &impl Store, key: &Key) -> Result<Role, StoreError> {
    let first = Bytes::from_static(b"first\n");
    store.create(key, first.clone()).await?;
    let second = store.create(key, Bytes::from_static(b"second\n")).await;
    let listed = store.list(key.as_str()).await;
    let read = store.read(key).await;
    let deleted = store.delete(key).await;
    let create_only = match second {
        Ok(()) => false,
        Err(StoreError::Exists { .. }) => true,
        Err(error) => return Err(error),
    };
    listed?;
    Ok(Role {
        create_only,
        reads: may(read)?,
        deletes: may(deleted)?,
    })
}

fn may<T>(tried: Result<T, StoreError>) -> Result<bool, StoreError> {
    match tried {
        Ok(_) => Ok(true),
        Err(StoreError::Denied { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
