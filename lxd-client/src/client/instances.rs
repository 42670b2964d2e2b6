//! Instances: list, read, create, change, rename, delete, start and stop.

use http::Method;
use serde_json::{Value, json};

use super::Client;
use crate::wire::{CreateInstance, Instance, InstancePut, InstanceState, StateChange, Tagged};
use crate::{Error, Operation};

impl Client {
    /// The instances of the client's project, with state and snapshots.
    ///
    /// LXD asks the storage once for each instance, whatever the number of snapshots; their sizes are not told.
    ///
    /// # Errors
    /// As any request; see [`Error`].
    pub async fn instances(&self) -> Result<Vec<Instance>, Error> {
        let address = self.address(&["instances"])?.query("recursion", "2");
        Ok(complete(self.get(address).await?))
    }

    /// The instances of all projects, with state and snapshots.
    ///
    /// One request where the server can (`instance_all_projects`: LXD 4.24 and later), else one per project.
    ///
    /// # Errors
    /// As any request; see [`Error`].
    pub async fn all_instances(&self) -> Result<Vec<Instance>, Error> {
        if self.has_extension("instance_all_projects") {
            let address = self.project("default").address(&["instances"])?;
            let address = address
                .query("recursion", "2")
                .query("all-projects", "true");
            return Ok(complete(self.get(address).await?));
        }
        let mut all = Vec::new();
        for project in self.projects().await? {
            match self.project(&project.name).instances().await {
                Ok(instances) => all.extend(instances),
                // Deleted since the list was made.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// One instance, without state and snapshots, with the ETag for a change.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn instance(&self, name: &str) -> Result<Tagged<Instance>, Error> {
        self.get_tagged(self.address(&["instances", name])?).await
    }

    /// One instance with state and snapshots, with the ETag for a change.
    ///
    /// LXD asks the storage once for it, whatever the number of snapshots; their sizes are not told.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn instance_full(&self, name: &str) -> Result<Tagged<Instance>, Error> {
        let address = self.address(&["instances", name])?.query("recursion", "1");
        let mut full: Tagged<Instance> = self.get_tagged(address).await?;
        full.value.snapshots.get_or_insert_default();
        Ok(full)
    }

    /// Begins to create an instance.
    ///
    /// # Errors
    /// [`Error::Api`] for a request that LXD refuses, [`Error::NotFound`] for a missing profile, pool or source. A
    /// name that is taken may be told here ([`Error::Conflict`]) or by the operation.
    pub async fn create_instance(&self, new: &CreateInstance) -> Result<Operation, Error> {
        let address = self.address(&["instances"])?;
        self.start(Method::POST, address, Some(&new.to_wire()), None)
            .await
    }

    /// Begins to replace everything that can be changed of an instance; with an ETag, only if it is still the same.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`].
    pub async fn update_instance(
        &self,
        name: &str,
        put: &InstancePut,
        etag: Option<&str>,
    ) -> Result<Operation, Error> {
        let address = self.address(&["instances", name])?;
        let body = json!(put);
        self.start(Method::PUT, address, Some(&body), etag).await
    }

    /// Sets some config keys, devices or other fields of an instance and leaves the rest; done when it returns.
    ///
    /// It cannot remove a key: LXD keeps what is not named.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Api`] if LXD cannot apply it.
    pub async fn patch_instance(&self, name: &str, changes: &Value) -> Result<(), Error> {
        let address = self.address(&["instances", name])?;
        let operation = self
            .start(Method::PATCH, address, Some(changes), None)
            .await?;
        operation.wait().await.map(drop)
    }

    /// Begins to rename an instance, which must be stopped.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`].
    pub async fn rename_instance(&self, name: &str, to: &str) -> Result<Operation, Error> {
        let address = self.address(&["instances", name])?;
        let body = json!({"name": to});
        self.start(Method::POST, address, Some(&body), None).await
    }

    /// Begins to delete an instance with all its snapshots and its volume; it must be stopped.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Api`] if it runs.
    pub async fn delete_instance(&self, name: &str) -> Result<Operation, Error> {
        let address = self.address(&["instances", name])?;
        self.start(Method::DELETE, address, None, None).await
    }

    /// What an instance is doing at this moment.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn instance_state(&self, name: &str) -> Result<InstanceState, Error> {
        self.get(self.address(&["instances", name, "state"])?).await
    }

    /// Begins to start, stop, restart, freeze or unfreeze an instance.
    ///
    /// # Errors
    /// [`Error::NotFound`]. That it is running or stopped already, or did not shut down in time, is told by the
    /// operation.
    pub async fn set_state(&self, name: &str, change: &StateChange) -> Result<Operation, Error> {
        let address = self.address(&["instances", name, "state"])?;
        self.start(Method::PUT, address, Some(&change.to_wire()), None)
            .await
    }
}

/// An instance without snapshots has `null` there, which must not read as "not asked for".
fn complete(mut instances: Vec<Instance>) -> Vec<Instance> {
    for instance in &mut instances {
        instance.snapshots.get_or_insert_default();
    }
    instances
}
