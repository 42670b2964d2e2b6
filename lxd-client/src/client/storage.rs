//! Storage pools and volumes.

use super::Client;
use crate::Error;
use crate::wire::{StoragePool, StorageVolume};

impl Client {
    /// All storage pools. Pools belong to no project.
    ///
    /// # Errors
    /// As any request; see [`Error`].
    pub async fn storage_pools(&self) -> Result<Vec<StoragePool>, Error> {
        let address = self.address(&["storage-pools"])?.query("recursion", "1");
        self.get(address).await
    }

    /// One storage pool.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn storage_pool(&self, name: &str) -> Result<StoragePool, Error> {
        self.get(self.address(&["storage-pools", name])?).await
    }

    /// A pool's volumes in the client's project, those of instances and images included.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the pool does not exist.
    pub async fn volumes(&self, pool: &str) -> Result<Vec<StorageVolume>, Error> {
        let address = self.address(&["storage-pools", pool, "volumes"])?;
        self.get(address.query("recursion", "1")).await
    }

    /// One volume of a pool; `kind` is `container`, `virtual-machine`, `image` or `custom`.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn volume(&self, pool: &str, kind: &str, name: &str) -> Result<StorageVolume, Error> {
        let address = self.address(&["storage-pools", pool, "volumes", kind, name])?;
        self.get(address).await
    }
}
