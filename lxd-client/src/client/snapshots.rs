//! Snapshots of an instance, as LXD keeps them.

use http::Method;
use jiff::Timestamp;
use serde_json::json;

use super::Client;
use crate::wire::{CreateSnapshot, InstanceSnapshot, format_time};
use crate::{Error, Operation};

impl Client {
    /// An instance's snapshots, with their sizes.
    ///
    /// LXD asks the storage for each one (with ZFS: a process each). Where sizes do not matter,
    /// [`Client::instance_full`] and [`Client::instances`] have the same records for less.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the instance does not exist.
    pub async fn snapshots(&self, instance: &str) -> Result<Vec<InstanceSnapshot>, Error> {
        let address = self.address(&["instances", instance, "snapshots"])?;
        self.get(address.query("recursion", "1")).await
    }

    /// One snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn snapshot(&self, instance: &str, name: &str) -> Result<InstanceSnapshot, Error> {
        self.get(self.address(&["instances", instance, "snapshots", name])?)
            .await
    }

    /// Begins to snapshot an instance.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Api`] for a name that LXD refuses. That the name is taken is told by the
    /// operation.
    pub async fn create_snapshot(
        &self,
        instance: &str,
        new: &CreateSnapshot,
    ) -> Result<Operation, Error> {
        let address = self.address(&["instances", instance, "snapshots"])?;
        let mut body = json!({"name": new.name, "stateful": new.stateful});
        if let Some(time) = new.expires_at {
            body["expires_at"] = json!(format_time(Some(time)));
        }
        self.start(Method::POST, address, Some(&body), None).await
    }

    /// Begins to change when LXD is to delete a snapshot: never, if none.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn update_snapshot_expiry(
        &self,
        instance: &str,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<Operation, Error> {
        let address = self.address(&["instances", instance, "snapshots", name])?;
        let body = json!({"expires_at": format_time(expires_at)});
        self.start(Method::PUT, address, Some(&body), None).await
    }

    /// Begins to delete a snapshot: LXD's record, and the storage's snapshot of that name if there is one.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn delete_snapshot(&self, instance: &str, name: &str) -> Result<Operation, Error> {
        let address = self.address(&["instances", instance, "snapshots", name])?;
        self.start(Method::DELETE, address, None, None).await
    }
}
