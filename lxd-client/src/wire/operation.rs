//! Background operations, as LXD reports them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{nullable, time};

/// A background operation at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OperationInfo {
    /// Its UUID.
    #[serde(deserialize_with = "nullable")]
    pub id: String,
    /// `task`, `websocket` or `token`.
    #[serde(deserialize_with = "nullable")]
    pub class: String,
    /// What it does, in words.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    /// When it began.
    #[serde(with = "time")]
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    #[serde(with = "time")]
    pub updated_at: Option<Timestamp>,
    /// The status in words.
    #[serde(rename = "status", deserialize_with = "nullable")]
    pub status_text: String,
    /// The status as a number; see [`OperationInfo::status`].
    #[serde(deserialize_with = "nullable")]
    pub status_code: i64,
    /// Addresses of what it works on, by kind.
    #[serde(deserialize_with = "nullable")]
    pub resources: BTreeMap<String, Vec<String>>,
    /// Whatever the operation tells: progress, results.
    #[serde(deserialize_with = "nullable")]
    pub metadata: serde_json::Map<String, Value>,
    /// Whether it can be cancelled.
    #[serde(deserialize_with = "nullable")]
    pub may_cancel: bool,
    /// Why it failed; empty otherwise.
    #[serde(deserialize_with = "nullable")]
    pub err: String,
    /// The HTTP status of the failure, from servers that tell (not LXD 5.0); 0 otherwise.
    #[serde(deserialize_with = "nullable")]
    pub err_code: i64,
    /// The cluster member it runs on; `none` without a cluster.
    #[serde(deserialize_with = "nullable")]
    pub location: String,
}

/// How far an operation is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum OperationStatus {
    /// Waiting or running, or being cancelled.
    Running,
    /// Done.
    Succeeded,
    /// Failed.
    Failed,
    /// Cancelled.
    Cancelled,
}

impl OperationInfo {
    /// How far it is. LXD counts everything from 200 on as final; what is final and neither success nor cancelled is
    /// taken for a failure.
    pub fn status(&self) -> OperationStatus {
        match self.status_code {
            200 => OperationStatus::Succeeded,
            401 => OperationStatus::Cancelled,
            ..200 => OperationStatus::Running,
            _ => OperationStatus::Failed,
        }
    }

    /// Progress in LXD's words, if the operation tells any: `zfs copy: 42% (10.5MB/s)`.
    ///
    /// LXD writes it to metadata keys that end in `_progress`.
    pub fn progress(&self) -> Option<&str> {
        self.metadata
            .iter()
            .filter(|(key, _)| key.ends_with("_progress"))
            .find_map(|(_, value)| value.as_str())
    }
}
