//! What an operation is about to do, written down before its first change.
//!
//! An intent is a JSON text in user properties of a dataset or snapshot: `terrarium:intent`, continued in
//! `terrarium:intent.1` and so on. Recovery reads the intent and the state it finds; there is no step counter that
//! could be wrong.
//!
//! User properties can be read by every user of the host, so what may hold secrets (LXD's configs) is not
//! among them: see [`crate::details`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrarium_zfs::{DatasetName, Guid, UserProperties};

use crate::grave::GraveRecord;
use crate::instances::Stop;
use crate::names::{InstanceRef, OperationId};
use crate::{pieces, property};

/// What an operation is about to do to one instance.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The format of this record.
    pub version: u32,
    /// The operation.
    pub operation: OperationId,
    /// When it began.
    pub at: Timestamp,
    /// The instance whose points are restored.
    pub instance: InstanceRef,
    /// What is to come out of it.
    pub goal: Goal,
    /// The restore point.
    pub target: Target,
    /// Whether the instance is to run in the end.
    pub start: bool,
    /// The id map of the point's files, to be given to LXD; `None` leaves LXD's as it is.
    pub idmap: Option<String>,
}

/// A snapshot, by identity and for display.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Identity.
    pub guid: Guid,
    /// The part after the `@`.
    pub name: String,
}

/// What an operation is to achieve.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Goal {
    /// The instance continues from a clone of the point; what was there is moved aside.
    Rewind(Box<RewindGoal>),
    /// The dataset is rolled back; everything newer is destroyed.
    Rollback(Box<RollbackGoal>),
    /// A new instance is made from the point.
    AsNew(Box<AsNewGoal>),
    /// The instance's dataset goes to the graveyard, then LXD forgets the instance.
    Destroy(Box<DestroyGoal>),
    /// A destroyed instance comes back from the graveyard.
    Resume(Box<ResumeGoal>),
}

/// How things stood before a rewind, and where they go.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RewindGoal {
    /// The dataset of the instance.
    pub live: DatasetName,
    /// The guid of the dataset that stands there before the rewind.
    pub live_guid: Guid,
    /// Where the clone is prepared.
    pub staged: DatasetName,
    /// Where the dataset that is live before goes.
    pub aside: DatasetName,
    /// The datasets whose snapshots the clone takes over by promotion, the point's own first, the live
    /// one last.
    pub chain: Vec<ChainLink>,
    /// Whether the rewind undoes another one.
    pub undo: bool,
    /// Whether the instance ran.
    pub was_running: bool,
    /// How it is stopped.
    pub stop: Stop,
    /// The id map that LXD had for it.
    pub idmap_before: Option<String>,
    /// Names of records that the rewound instance needs and LXD does not have.
    pub records_to_make: Vec<String>,
    /// Names of records whose snapshots move aside.
    pub records_to_drop: Vec<String>,
}

/// How things stood before a rollback.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct RollbackGoal {
    /// The dataset of the instance.
    pub live: DatasetName,
    /// Its guid.
    pub live_guid: Guid,
    /// Whether the instance ran.
    pub was_running: bool,
    /// How it is stopped.
    pub stop: Stop,
    /// LXD's id map of the files before the rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idmap_before: Option<String>,
    /// Names of LXD's records whose snapshots are destroyed.
    pub records_to_drop: Vec<String>,
}

/// The instance that is made from a point.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct AsNewGoal {
    /// The new instance.
    pub new: InstanceRef,
    /// Where its dataset will stand.
    pub dataset: DatasetName,
    /// Where the clone is prepared.
    pub staged: DatasetName,
    /// The source's `security.protection.delete`, set on the new instance when it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<String>,
    /// The contents are copied in full: a snapshot of the target's guid in what is staged came with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copied: bool,
}

/// How things stood before an instance was destroyed, and where its dataset goes.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DestroyGoal {
    /// The dataset of the instance.
    pub live: DatasetName,
    /// Its guid.
    pub live_guid: Guid,
    /// Where it goes.
    pub grave: DatasetName,
    /// LXD's `volatile.uuid` of the instance: another one of that name is another instance.
    pub uuid: Option<String>,
    /// Whether the instance ran.
    pub was_running: bool,
    /// How it is stopped.
    pub stop: Stop,
    /// What is written on the dataset when it is buried.
    pub record: GraveRecord,
}

/// How a destroyed instance comes back.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ResumeGoal {
    /// Where its dataset will stand.
    pub dataset: DatasetName,
    /// Where it is.
    pub grave: DatasetName,
    /// Its guid.
    pub guid: Guid,
    /// The operation that destroyed the instance.
    pub destroyed_by: OperationId,
    /// The snapshot that the destroy took, if it is still there.
    pub safety: Option<Target>,
    /// The `volatile.uuid` that the instance is created with.
    pub uuid: String,
    /// The instance's own `security.protection.delete`, set when it is complete; `None` removes it.
    pub protection: Option<String>,
    /// Names of LXD's records that are made while a stand-in is in the dataset's place.
    pub records: Vec<String>,
    /// How it is stopped if the resume is taken back.
    pub stop: Stop,
}

/// A dataset by identity and by the name it had.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct ChainLink {
    /// Its name when the operation began.
    pub dataset: DatasetName,
    /// Identity.
    pub guid: Guid,
}

/// An intent that cannot be read back.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the intent of an operation under way cannot be read: {0}")]
pub struct IntentError(String);

impl Intent {
    /// The format that this version writes.
    pub const VERSION: u32 = 1;

    /// The user properties that hold this intent.
    pub fn to_properties(&self) -> UserProperties {
        // Serialising strings, numbers and maps with string keys cannot fail.
        pieces::cut(
            property::INTENT,
            &serde_json::to_string(self).unwrap_or_default(),
        )
    }

    /// The intent that these properties hold, if they hold one.
    ///
    /// # Errors
    /// [`IntentError`] if a piece is missing or the text is not an intent of a version that is known.
    pub fn from_properties(
        properties: &BTreeMap<String, String>,
    ) -> Result<Option<Intent>, IntentError> {
        let broken = |why: &str| IntentError(why.to_owned());
        let Some(text) = pieces::join(property::INTENT, properties).map_err(broken)? else {
            return Ok(None);
        };
        let intent: Intent =
            serde_json::from_str(&text).map_err(|error| broken(&error.to_string()))?;
        if intent.version != Self::VERSION {
            return Err(IntentError(format!(
                "it has version {}, this program knows version {}",
                intent.version,
                Self::VERSION
            )));
        }
        Ok(Some(intent))
    }

    /// The changes that remove an intent, and what goes with it, from an object with these properties.
    pub fn removal(properties: &BTreeMap<String, String>) -> BTreeMap<String, Option<String>> {
        let told = properties.keys().filter(|key| *key == property::TOLD);
        pieces::keys(property::INTENT, properties)
            .chain(told)
            .map(|key| (key.clone(), None))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(text: &str) -> Intent {
        let name = |name: &str| DatasetName::new(name).unwrap();
        Intent {
            version: Intent::VERSION,
            operation: OperationId::new("op-1").unwrap(),
            at: "2026-11-22T10:00:00Z".parse().unwrap(),
            instance: "web".parse().unwrap(),
            target: Target {
                guid: Guid::new(7),
                name: "snap".to_owned(),
            },
            start: true,
            idmap: None,
            goal: Goal::Rewind(Box::new(RewindGoal {
                live: name("tank/containers/web"),
                live_guid: Guid::new(u64::MAX),
                staged: name("tank/terrarium/staging/op-1/web"),
                aside: name("tank/terrarium/aside/op-1/web"),
                chain: Vec::new(),
                undo: false,
                was_running: true,
                stop: Stop::Graceful(std::time::Duration::from_secs(30)),
                idmap_before: Some("[]".to_owned()),
                records_to_make: vec![text.to_owned()],
                records_to_drop: Vec::new(),
            })),
        }
    }

    #[test]
    fn an_intent_of_any_length_and_script_survives_its_properties() {
        for text in ["", "äöü\n\t\u{7f}𝄞", &"é".repeat(20_000)] {
            let intent = intent(text);
            let properties = intent.to_properties();
            assert!(
                properties
                    .values()
                    .all(|value| value.len() < 8192 && value.is_ascii())
            );
            assert!(
                properties
                    .values()
                    .all(|value| !value.contains(['\t', '\n']))
            );
            assert_eq!(Intent::from_properties(&properties), Ok(Some(intent)));
        }
    }

    #[test]
    fn an_intent_with_a_piece_missing_is_an_error_and_not_silence() {
        let mut properties = intent(&"x".repeat(20_000)).to_properties();
        assert!(properties.len() > 2);
        properties.remove("terrarium:intent.1");
        assert!(Intent::from_properties(&properties).is_err());
    }

    #[test]
    fn an_intent_of_a_later_version_is_refused() {
        let mut later = intent("");
        later.version = 2;
        let error = Intent::from_properties(&later.to_properties()).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    #[test]
    fn removal_names_every_piece_and_nothing_else() {
        let mut properties = intent(&"x".repeat(9_000)).to_properties();
        let pieces = properties.len();
        properties.insert("terrarium:lineage".to_owned(), "x".to_owned());
        assert_eq!(Intent::removal(&properties).len(), pieces);
    }
}
