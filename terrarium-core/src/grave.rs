//! What is written on a dataset in the graveyard: whose it was, and what it takes to come back.
//!
//! User properties can be read by every user of the host, so of LXD's definition only what is no secret is among
//! them; the whole of it is in the operation's file ([`crate::details`]). If that file is lost, the instance still
//! comes back, with the rest of its definition.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrarium_zfs::UserProperties;

use crate::instances::{Definition, Device, SnapshotRecord};
use crate::names::{InstanceRef, OperationId};
use crate::{pieces, property};

/// A destroyed instance, as its dataset in the graveyard tells of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GraveRecord {
    /// The format of this record.
    pub version: u32,
    /// The operation that destroyed it.
    pub operation: OperationId,
    /// The instance.
    pub instance: InstanceRef,
    /// When it was destroyed.
    pub destroyed: Timestamp,
    /// Until when it can come back.
    pub expires: Timestamp,
    /// Whether it ran when it was destroyed.
    pub running: bool,
    /// The name of the snapshot that the destroy took, without the dataset's.
    pub safety: String,
    /// Of LXD's definition, what is no secret.
    pub definition: Definition,
    /// Of LXD's own snapshots, what is no secret.
    pub records: Vec<GraveSnapshot>,
}

/// A snapshot that LXD had on record.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct GraveSnapshot {
    /// LXD's name of it.
    pub name: String,
    /// When LXD was to delete it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

impl From<&SnapshotRecord> for GraveSnapshot {
    fn from(record: &SnapshotRecord) -> Self {
        Self {
            name: record.name.clone(),
            expires: record.expires,
        }
    }
}

/// What is written on a dataset in the graveyard and cannot be read back.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("what is written on a dataset in the graveyard cannot be read: {0}")]
pub struct GraveError(String);

impl GraveRecord {
    /// The format that this version writes.
    pub const VERSION: u32 = 1;

    /// The user properties that hold this record.
    pub fn to_properties(&self) -> UserProperties {
        // Serialising strings, numbers and maps with string keys cannot fail.
        pieces::cut(
            property::GRAVE,
            &serde_json::to_string(self).unwrap_or_default(),
        )
    }

    /// The record that these properties hold, if they hold one.
    ///
    /// # Errors
    /// [`GraveError`] if a piece is missing or the text is no record of a version that is known.
    pub fn from_properties(
        properties: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, GraveError> {
        let broken = |why: &str| GraveError(why.to_owned());
        let Some(text) = pieces::join(property::GRAVE, properties).map_err(broken)? else {
            return Ok(None);
        };
        let record: Self =
            serde_json::from_str(&text).map_err(|error| broken(&error.to_string()))?;
        if record.version != Self::VERSION {
            return Err(GraveError(format!(
                "it has version {}, this program knows version {}",
                record.version,
                Self::VERSION
            )));
        }
        Ok(Some(record))
    }

    /// The changes that remove such a record from an object with these properties.
    pub fn removal(properties: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
        pieces::keys(property::GRAVE, properties)
            .map(|key| (key.clone(), None))
            .collect()
    }
}

/// Config keys that hold no secret, by how they begin. The others (`environment.*`, `cloud-init.*`, `user.*`, `raw.*`)
/// may hold whatever somebody put there.
const NO_SECRETS: [&str; 9] = [
    "boot.",
    "image.",
    "limits.",
    "linux.",
    "migration.",
    "security.",
    "snapshots.",
    "volatile.",
    "user.terrarium.",
];

/// What every user of the host may know of a definition.
pub(crate) fn without_secrets(definition: &Definition) -> Definition {
    let known = |key: &str| NO_SECRETS.iter().any(|begin| key.starts_with(begin));
    // Mount options hold the passwords of network file systems.
    let open = |key: &str| !key.starts_with("raw.") && !key.contains("secret");
    let device = |device: &Device| {
        let settings = device.iter().filter(|(key, _)| open(key));
        settings
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    Definition {
        config: definition
            .config
            .iter()
            .filter(|(key, _)| known(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        devices: definition
            .devices
            .iter()
            .map(|(name, settings)| (name.clone(), device(settings)))
            .collect(),
        description: String::new(),
        ..definition.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn record() -> GraveRecord {
        GraveRecord {
            version: GraveRecord::VERSION,
            operation: OperationId::new("op-1").unwrap(),
            instance: "tenant/web".parse().unwrap(),
            destroyed: "2026-11-22T10:00:00Z".parse().unwrap(),
            expires: "2026-11-23T10:00:00Z".parse().unwrap(),
            running: true,
            safety: "snap".to_owned(),
            definition: Definition {
                config: map(&[("limits.memory", &"9".repeat(20_000))]),
                ..Definition::default()
            },
            records: vec![GraveSnapshot {
                name: "ä".to_owned(),
                expires: None,
            }],
        }
    }

    #[test]
    fn a_record_of_any_length_survives_its_properties_and_is_removed_whole() {
        let properties = record().to_properties();
        assert!(properties.len() > 2);
        assert_eq!(
            GraveRecord::from_properties(&properties),
            Ok(Some(record()))
        );
        assert_eq!(GraveRecord::removal(&properties).len(), properties.len());
        assert_eq!(GraveRecord::from_properties(&map(&[])), Ok(None));
    }

    #[test]
    fn a_record_that_is_damaged_or_of_a_later_version_is_an_error_and_not_silence() {
        let mut properties = record().to_properties();
        properties.remove("terrarium:grave.1");
        assert!(GraveRecord::from_properties(&properties).is_err());
        let mut later = record();
        later.version = 2;
        let error = GraveRecord::from_properties(&later.to_properties()).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    #[test]
    fn what_may_be_a_secret_is_not_written_where_everybody_can_read_it() {
        let definition = Definition {
            config: map(&[
                ("limits.memory", "1GiB"),
                ("volatile.eth0.hwaddr", "00:16:3e:00:00:01"),
                ("environment.TOKEN", "hunter2"),
                ("cloud-init.user-data", "hunter2"),
                ("user.password", "hunter2"),
            ]),
            devices: BTreeMap::from([(
                "share".to_owned(),
                map(&[
                    ("type", "disk"),
                    ("path", "/mnt"),
                    ("raw.mount.options", "password=hunter2"),
                ]),
            )]),
            description: "hunter2".to_owned(),
            profiles: vec!["default".to_owned()],
            ..Definition::default()
        };
        let open = without_secrets(&definition);
        assert!(!format!("{open:?}").contains("hunter2"), "{open:?}");
        assert_eq!(open.config.len(), 2);
        assert_eq!(open.devices["share"].len(), 2);
        assert_eq!(open.profiles, definition.profiles);
    }
}
