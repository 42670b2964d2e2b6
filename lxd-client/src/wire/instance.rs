//! Instances: what LXD reports, what it lets be changed, what creates one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Config, Devices, InstanceSnapshot, InstanceState, nullable, time};

/// A value with the ETag that LXD gave it.
///
/// Hand the ETag back with the update: LXD refuses it ([`Error::PreconditionFailed`](crate::Error)) if the object was
/// changed in between, by LXD itself too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tagged<T> {
    /// The value.
    pub value: T,
    /// LXD's hash of it, as received.
    pub etag: Option<String>,
}

/// An instance as LXD reports it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Instance {
    /// The name, unique in its project.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The project it is in.
    #[serde(deserialize_with = "nullable")]
    pub project: String,
    /// The status in words: `Running`, `Stopped`, `Frozen`, `Error`, ….
    #[serde(deserialize_with = "nullable")]
    pub status: String,
    /// The status as a number: 103 running, 102 stopped, 110 frozen.
    #[serde(deserialize_with = "nullable")]
    pub status_code: i64,
    /// `container` or `virtual-machine`.
    #[serde(deserialize_with = "nullable")]
    pub r#type: String,
    /// The CPU architecture: `x86_64`, `aarch64`, ….
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    /// Config set on the instance itself, `volatile.*` included.
    #[serde(deserialize_with = "nullable")]
    pub config: Config,
    /// Devices set on the instance itself.
    #[serde(deserialize_with = "nullable")]
    pub devices: Devices,
    /// Config with that of the profiles merged in.
    #[serde(deserialize_with = "nullable")]
    pub expanded_config: Config,
    /// Devices with those of the profiles merged in.
    #[serde(deserialize_with = "nullable")]
    pub expanded_devices: Devices,
    /// Profiles in the order they apply.
    #[serde(deserialize_with = "nullable")]
    pub profiles: Vec<String>,
    /// Free text.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    /// Whether LXD deletes the instance when it stops.
    #[serde(deserialize_with = "nullable")]
    pub ephemeral: bool,
    /// Whether a saved memory state waits to be resumed.
    #[serde(deserialize_with = "nullable")]
    pub stateful: bool,
    /// When it was created.
    #[serde(with = "time")]
    pub created_at: Option<Timestamp>,
    /// When it was last started; none if it never ran.
    #[serde(with = "time")]
    pub last_used_at: Option<Timestamp>,
    /// The cluster member it is on; `none` without a cluster.
    #[serde(deserialize_with = "nullable")]
    pub location: String,
    /// Its snapshots; none where the request does not ask for them ([`Client::instance`](crate::Client::instance)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Vec<InstanceSnapshot>>,
    /// Its state; none where the request does not ask for it, or where LXD could not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<InstanceState>,
}

impl Instance {
    /// Whether it is a system container.
    pub fn is_container(&self) -> bool {
        self.r#type == "container"
    }

    /// Whether it is a virtual machine.
    pub fn is_virtual_machine(&self) -> bool {
        self.r#type == "virtual-machine"
    }

    /// Whether its processes run.
    pub fn is_running(&self) -> bool {
        self.status_code == 103
    }

    /// Whether it is stopped, and neither starting nor stopping.
    pub fn is_stopped(&self) -> bool {
        self.status_code == 102
    }
}

/// The part of an instance that can be changed: a whole, what is left out is removed.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstancePut {
    /// The CPU architecture.
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    /// Config of the instance itself, `volatile.*` included.
    #[serde(deserialize_with = "nullable")]
    pub config: Config,
    /// Devices of the instance itself.
    #[serde(deserialize_with = "nullable")]
    pub devices: Devices,
    /// Profiles in the order they apply.
    #[serde(deserialize_with = "nullable")]
    pub profiles: Vec<String>,
    /// Free text.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    /// Whether LXD deletes the instance when it stops.
    #[serde(deserialize_with = "nullable")]
    pub ephemeral: bool,
    /// Whether a saved memory state waits to be resumed.
    #[serde(deserialize_with = "nullable")]
    pub stateful: bool,
}

impl From<&Instance> for InstancePut {
    fn from(instance: &Instance) -> Self {
        InstancePut {
            architecture: instance.architecture.clone(),
            config: instance.config.clone(),
            devices: instance.devices.clone(),
            profiles: instance.profiles.clone(),
            description: instance.description.clone(),
            ephemeral: instance.ephemeral,
            stateful: instance.stateful,
        }
    }
}

/// A request to create an instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CreateInstance {
    /// The name: a host name label (letters, digits, hyphens; at most 63).
    pub name: String,
    /// `container` (if empty) or `virtual-machine`.
    pub r#type: String,
    /// What fills its root disk.
    pub source: InstanceSource,
    /// Everything that can be changed later too. `profiles` is sent as it stands: an empty list means no profile, not
    /// LXD's `default`.
    pub settings: InstancePut,
    /// Further fields of the request, for what this type does not know; they override.
    pub extra: Map<String, Value>,
}

/// What fills a new instance's root disk.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum InstanceSource {
    /// Nothing: an empty volume. It cannot be started until something was put there.
    #[default]
    None,
    /// An instance, or one of its snapshots as `instance/snapshot`.
    Copy {
        /// The name of what is copied.
        source: String,
        /// The project it is in; the client's own if none.
        project: Option<String>,
        /// Leave its snapshots behind.
        instance_only: bool,
    },
    /// An image that the server already has, by its fingerprint or a unique beginning of it.
    Image {
        /// The fingerprint.
        fingerprint: String,
    },
    /// An image that the server already has, by its alias.
    ImageAlias {
        /// The alias.
        alias: String,
    },
}

impl InstanceSource {
    fn to_wire(&self) -> Value {
        match self {
            InstanceSource::None => json!({"type": "none"}),
            InstanceSource::Copy {
                source,
                project,
                instance_only,
            } => {
                let mut wire =
                    json!({"type": "copy", "source": source, "instance_only": instance_only});
                if let Some(project) = project {
                    wire["project"] = json!(project);
                }
                wire
            }
            InstanceSource::Image { fingerprint } => {
                json!({"type": "image", "fingerprint": fingerprint})
            }
            InstanceSource::ImageAlias { alias } => json!({"type": "image", "alias": alias}),
        }
    }
}

impl CreateInstance {
    pub(crate) fn to_wire(&self) -> Value {
        let kind = if self.r#type.is_empty() {
            "container"
        } else {
            &self.r#type
        };
        let mut wire = json!({
            "name": self.name,
            "type": kind,
            "source": self.source.to_wire(),
            "architecture": self.settings.architecture,
            "config": self.settings.config,
            "devices": self.settings.devices,
            "profiles": self.settings.profiles,
            "description": self.settings.description,
            "ephemeral": self.settings.ephemeral,
            "stateful": self.settings.stateful,
        });
        for (key, value) in &self.extra {
            wire[key] = value.clone();
        }
        wire
    }
}
