//! The project `terrarium` in LXD.

use std::collections::BTreeMap;

use lxd_client::{Client, Error, Project};

use super::layer::{Layer, Value};
use super::table::{Key, Origin, PROJECT};

/// Why LXD's settings are not read or saved.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the settings in LXD's project {PROJECT}")]
#[non_exhaustive]
pub struct StoreError {
    /// What was tried.
    pub operation: &'static str,
    /// What LXD says.
    #[source]
    pub source: Error,
}

/// What LXD's project says; nothing if there is none.
///
/// # Errors
/// [`StoreError`] if LXD does not answer.
pub async fn read_lxd(client: &Client) -> Result<Layer, StoreError> {
    match client.project_info(PROJECT).await {
        Ok(project) => Ok(Layer::of_lxd(&project.config)),
        Err(Error::NotFound { .. }) => Ok(Layer::empty(Origin::Lxd)),
        Err(source) => Err(StoreError {
            operation: "read",
            source,
        }),
    }
}

/// Sets values in LXD's project, removes those that are `None`, and leaves the rest; all of them or none. The project is made if there is none, with
/// images, profiles, volumes and networks of its own, so that it shares nothing.
///
/// # Errors
/// [`StoreError`]; with [`Error::PreconditionFailed`] or [`Error::Conflict`] somebody else changed it meanwhile.
pub async fn save_lxd(
    client: &Client,
    values: &BTreeMap<Key, Option<Value>>,
) -> Result<(), StoreError> {
    let texts = values.iter().filter_map(|(key, value)| {
        Some((key.lxd().to_owned(), value.as_ref()?.expose().to_owned()))
    });
    let saved = match client.project_tagged(PROJECT).await {
        Ok(mut found) => {
            for key in values.keys() {
                found.value.config.remove(key.lxd());
            }
            found.value.config.extend(texts);
            client
                .update_project(&found.value, found.etag.as_deref())
                .await
        }
        Err(Error::NotFound { .. }) => {
            let own = ["images", "profiles", "storage.volumes", "networks"];
            let own = own.map(|feature| (format!("features.{feature}"), "true".to_owned()));
            let mut project = Project::default();
            PROJECT.clone_into(&mut project.name);
            "Settings of Terrarium; may hold secrets".clone_into(&mut project.description);
            project.config = own.into_iter().chain(texts).collect();
            client.create_project(&project).await
        }
        Err(error) => Err(error),
    };
    saved.map_err(|source| StoreError {
        operation: "save",
        source,
    })
}
