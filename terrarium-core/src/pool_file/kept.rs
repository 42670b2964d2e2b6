//! What is kept of instances beside their files, in user properties of one dataset.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrarium_zfs::{Attempt, Dataset, Error, UserProperties};

use crate::instances::Definition;
use crate::{pieces, property};

/// The profile of an instance that nobody gave any.
pub(super) const DEFAULT_PROFILE: &str = "default";

/// What is kept of instances beside their files.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    version: u32,
    /// By the last component of their dataset.
    pub(super) instances: BTreeMap<String, KeptInstance>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeptInstance {
    pub(super) definition: Definition,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) snapshots: BTreeMap<String, KeptSnapshot>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeptSnapshot {
    pub(super) definition: Definition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Timestamp>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            version: Self::VERSION,
            instances: BTreeMap::new(),
        }
    }
}

impl Default for KeptInstance {
    fn default() -> Self {
        Self {
            definition: undefined(),
            snapshots: BTreeMap::new(),
        }
    }
}

impl Kept {
    const VERSION: u32 = 1;

    pub(super) fn from_properties(containers: &Dataset) -> Result<Self, Error> {
        let broken = |why: String| Error::Unexpected {
            attempt: Attempt::new(
                "read what is kept of instances on",
                containers.name.as_str(),
            ),
            detail: why,
        };
        let text = pieces::join(property::INSTANCES, &containers.local);
        let Some(text) = text.map_err(|why| broken(why.to_owned()))? else {
            return Ok(Self::default());
        };
        let kept: Self = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if kept.version != Self::VERSION {
            let (found, known) = (kept.version, Self::VERSION);
            let why = format!("it has version {found}, this program knows version {known}");
            return Err(broken(why));
        }
        Ok(kept)
    }

    /// Nothing at all if there is nothing but what every instance has.
    pub(super) fn to_properties(&self) -> UserProperties {
        let default = undefined();
        let says = |kept: &&KeptInstance| kept.definition != default || !kept.snapshots.is_empty();
        if !self.instances.values().any(|kept| says(&kept)) {
            return UserProperties::new();
        }
        // Serialising strings, numbers and maps with string keys cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        pieces::cut(property::INSTANCES, &text)
    }
}

/// What an instance is that nobody has set anything for.
pub(super) fn undefined() -> Definition {
    Definition {
        profiles: vec![DEFAULT_PROFILE.to_owned()],
        ..Definition::default()
    }
}
