//! Projects and profiles.

use super::Client;
use crate::Error;
use crate::wire::{Profile, Project};

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
