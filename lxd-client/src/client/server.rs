//! Projects and profiles.

use http::Method;
use serde_json::json;

use super::Client;
use crate::Error;
use crate::wire::{Profile, Project, Tagged};

impl Client {
    /// All projects.
    ///
    /// # Errors
    /// As any request; see [`Error`].
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        let address = self.address(&["projects"])?.query("recursion", "1");
        self.get(address).await
    }

    /// One project.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn project_info(&self, name: &str) -> Result<Project, Error> {
        self.get(self.address(&["projects", name])?).await
    }

    /// One project, with the ETag for a change.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn project_tagged(&self, name: &str) -> Result<Tagged<Project>, Error> {
        self.get_tagged(self.address(&["projects", name])?).await
    }

    /// Creates a project with its name, description and config; what it is used by is not sent. Done when it returns.
    ///
    /// A feature that the config does not name is as LXD has it by default: images, profiles and volumes of its own.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the name is taken, [`Error::Api`] for a config that LXD refuses.
    pub async fn create_project(&self, project: &Project) -> Result<(), Error> {
        let address = self.address(&["projects"])?;
        let body = json!({
            "name": project.name,
            "description": project.description,
            "config": project.config,
        });
        self.start(Method::POST, address, Some(&body), None)
            .await?
            .wait()
            .await
            .map(drop)
    }

    /// Replaces the description and the config of a project: keys that are not sent are removed. With an ETag only if
    /// it is still the same. Done when it returns.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PreconditionFailed`], [`Error::Api`] for a config that LXD refuses.
    pub async fn update_project(&self, project: &Project, etag: Option<&str>) -> Result<(), Error> {
        let address = self.address(&["projects", &project.name])?;
        let body = json!({"description": project.description, "config": project.config});
        self.start(Method::PUT, address, Some(&body), etag)
            .await?
            .wait()
            .await
            .map(drop)
    }

    /// Deletes a project, which must be empty. Done when it returns.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Api`] if something is in it.
    pub async fn delete_project(&self, name: &str) -> Result<(), Error> {
        let address = self.address(&["projects", name])?;
        self.start(Method::DELETE, address, None, None)
            .await?
            .wait()
            .await
            .map(drop)
    }

    /// The profiles of the client's project: those of `default` where the project shares them.
    ///
    /// # Errors
    /// As any request; see [`Error`].
    pub async fn profiles(&self) -> Result<Vec<Profile>, Error> {
        let address = self.address(&["profiles"])?.query("recursion", "1");
        self.get(address).await
    }

    /// One profile.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn profile(&self, name: &str) -> Result<Profile, Error> {
        self.get(self.address(&["profiles", name])?).await
    }
}
