//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;

use super::{Attempt, Call, Key, Object, Store, StoreError};

/// A store that lives in memory. Clones share their objects, as processes share a bucket.
///
/// It does as it is told; [`Faulty`](super::faulty::Faulty) around it fails. What happens to objects behind the archive's
/// back is done by the methods below.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<Key, Stored>>>,
}

#[derive(Clone, Debug)]
struct Stored {
    body: Bytes,
    modified: Timestamp,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<Key> {
        self.lock().keys().cloned().collect()
    }

    /// The content of an object.
    pub fn get(&self, key: &Key) -> Option<Bytes> {
        self.lock().get(key).map(|stored| stored.body.clone())
    }

    /// Replaces or creates an object, as somebody with the keys to the bucket could.
    pub fn overwrite(&self, key: &Key, body: impl Into<Bytes>) {
        let stored = Stored {
            body: body.into(),
            modified: Timestamp::now(),
        };
        self.lock().insert(key.clone(), stored);
    }

    /// Changes the content of an object and nothing else; `false` if there is none.
    pub fn tamper(&self, key: &Key, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut objects = self.lock();
        let Some(stored) = objects.get_mut(key) else {
            return false;
        };
        let mut body = stored.body.to_vec();
        change(&mut body);
        stored.body = body.into();
        true
    }

    /// Exchanges the contents of two objects; `false` if one is missing.
    pub fn swap(&self, one: &Key, other: &Key) -> bool {
        let mut objects = self.lock();
        let (Some(a), Some(b)) = (objects.get(one).cloned(), objects.get(other).cloned()) else {
            return false;
        };
        objects.insert(one.clone(), b);
        objects.insert(other.clone(), a);
        true
    }

    /// Makes an object vanish; `false` if there is none.
    pub fn vanish(&self, key: &Key) -> bool {
        self.lock().remove(key).is_some()
    }

    /// Sets when an object was created, for what depends on its age; `false` if there is none.
    pub fn date(&self, key: &Key, modified: Timestamp) -> bool {
        let mut objects = self.lock();
        let Some(stored) = objects.get_mut(key) else {
            return false;
        };
        stored.modified = modified;
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Stored>> {
        // Every change is a single insert or remove: a panic elsewhere leaves nothing half done.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PLACE: &str = "memory";

impl Store for MemoryStore {
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let mut objects = self.lock();
        if objects.contains_key(key) {
            let attempt = Attempt::on(Call::Create, key, PLACE);
            return Err(StoreError::Exists { attempt });
        }
        let modified = Timestamp::now();
        objects.insert(key.clone(), Stored { body, modified });
        Ok(())
    }

    async fn read(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.get(key).ok_or_else(|| StoreError::NotFound {
            attempt: Attempt::on(Call::Read, key, PLACE),
        })
    }

    async fn read_range(&self, key: &Key, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let body = self.read(key).await?;
        let from = usize::try_from(offset).map_or(body.len(), |offset| offset.min(body.len()));
        Ok(body.slice(from..from.saturating_add(length).min(body.len())))
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        Ok(self.get(key).map(|body| body.len() as u64))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        Ok(self
            .lock()
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(prefix))
            .map(|(key, stored)| Object {
                key: key.clone(),
                size: stored.body.len() as u64,
                modified: stored.modified,
            })
            .collect())
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.lock().remove(key);
        Ok(())
    }
}
