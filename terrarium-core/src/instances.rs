//! The seam to whatever has the instances: LXD, a pool file, or a fake.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::InstanceRef;

/// Settings of one device: `type`, `path`, `pool`, ….
pub type Device = BTreeMap<String, String>;

/// What LXD knows of an instance.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct InstanceRecord {
    /// Project and name.
    pub id: InstanceRef,
    /// Container or virtual machine.
    pub kind: InstanceKind,
    /// Whether it runs.
    pub state: InstanceState,
    /// Config, devices and profiles as set on the instance itself.
    pub definition: Definition,
    /// Config with that of the profiles merged in.
    pub expanded_config: BTreeMap<String, String>,
    /// Devices with those of the profiles merged in.
    pub expanded_devices: BTreeMap<String, Device>,
    /// LXD's own snapshots of the instance.
    pub snapshots: Vec<SnapshotRecord>,
}

/// What kind of guest an instance is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceKind {
    /// A system container: one dataset.
    Container,
    /// A virtual machine: two datasets, not covered yet.
    VirtualMachine,
}

/// Whether an instance runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Processes run, or are frozen: the dataset is in use.
    Running,
    /// Nothing runs.
    Stopped,
    /// LXD reports something else: starting, stopping, error.
    Other,
}

/// The part of an instance that LXD lets its owner write.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The CPU architecture, as LXD names it.
    #[serde(default)]
    pub architecture: String,
    /// Config keys, `volatile.*` included.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Devices by name.
    #[serde(default)]
    pub devices: BTreeMap<String, Device>,
    /// Profiles in the order they apply.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Whether LXD deletes the instance when it stops.
    #[serde(default)]
    pub ephemeral: bool,
}

impl Definition {
    /// The definition without what LXD itself keeps in it (`volatile.*`).
    pub fn without_volatile(&self) -> Definition {
        let mut stable = self.clone();
        stable.config.retain(|key, _| !key.starts_with("volatile."));
        stable
    }

    /// The definition with what LXD itself keeps (`volatile.*`) as it is in `config`.
    pub(crate) fn with_volatile_of(&self, config: &BTreeMap<String, String>) -> Definition {
        let mut definition = self.without_volatile();
        let volatile = config
            .iter()
            .filter(|(key, _)| key.starts_with("volatile."));
        let volatile = volatile.map(|(key, value)| (key.clone(), value.clone()));
        definition.config.extend(volatile);
        definition
    }

    /// A hash that is equal for equal definitions, `volatile.*` left out: 64 hexadecimal digits.
    pub fn hash(&self) -> String {
        // Maps are sorted, so the text is canonical; a struct of strings always serialises.
        let text = serde_json::to_vec(&self.without_volatile()).unwrap_or_default();
        blake3::hash(&text).to_hex().to_string()
    }
}

/// LXD's own record of a snapshot of an instance.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The name without the instance's: `x` for the ZFS snapshot `@snapshot-x`.
    pub name: String,
    /// Config, devices and profiles at that moment.
    pub definition: Definition,
    /// When LXD made it.
    #[serde(default)]
    pub created: Option<Timestamp>,
    /// When LXD will delete it.
    #[serde(default)]
    pub expires: Option<Timestamp>,
}

/// A profile: config and devices that instances share.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name, unique in the project.
    pub name: String,
    /// Config keys.
    pub config: BTreeMap<String, String>,
    /// Devices by name.
    pub devices: BTreeMap<String, Device>,
}

/// A project: what instances are grouped by, and a place for settings of them all.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProjectRecord {
    /// Its name.
    pub name: crate::names::ProjectName,
    /// Config keys: `features.*`, `limits.*`, `user.*`, ….
    pub config: BTreeMap<String, String>,
}

impl ProjectRecord {
    /// A project with its config.
    pub fn new(name: crate::names::ProjectName, config: BTreeMap<String, String>) -> Self {
        Self { name, config }
    }
}

/// A storage pool as LXD knows it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StoragePool {
    /// LXD's name of the pool.
    pub name: String,
    /// LXD's driver: `zfs`, `dir`, ….
    pub driver: String,
    /// For the driver `zfs`, the dataset that LXD was given (`zfs.pool_name`).
    pub dataset: Option<String>,
}

/// How a command in an instance ended, and what it printed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CommandOutput {
    /// Its exit code; 128 + n if signal n ended it.
    pub exit_code: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// How to stop an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Ask the guest to shut down and wait this long.
    Graceful(#[serde(with = "seconds")] Duration),
    /// Ask, wait this long, then stop it without the guest's consent.
    ThenForce(#[serde(with = "seconds")] Duration),
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(value.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

/// What LXD, or whatever has the instances, could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstancesError {
    /// The guest did not shut down in the time it was given; it may still be doing so.
    #[error("{instance} did not stop within {}s", .timeout.as_secs())]
    StopTimedOut {
        /// The instance.
        instance: InstanceRef,
        /// The time it was given.
        timeout: Duration,
    },
    /// A command did not end in the time it was given; it runs on until its instance is stopped.
    #[error("the command in {instance} did not end within {}s", .timeout.as_secs())]
    CommandTimedOut {
        /// The instance.
        instance: InstanceRef,
        /// The time it was given.
        timeout: Duration,
    },
    /// LXD answered with an error, or did not answer.
    #[cfg(feature = "host")]
    #[error("cannot {operation} {target}")]
    Lxd {
        /// What was asked, in the imperative.
        operation: &'static str,
        /// The instance, snapshot or pool concerned.
        target: String,
        /// LXD's answer.
        #[source]
        source: lxd_client::Error,
    },
    /// The pool that is all there is of the instances refused or failed.
    #[error("cannot {operation} {target}")]
    Pool {
        /// What was asked, in the imperative.
        operation: &'static str,
        /// The instance or snapshot concerned.
        target: String,
        /// The pool's answer.
        #[source]
        source: terrarium_zfs::Error,
    },
    /// There is nothing that could run an instance.
    #[error("cannot start {instance}: instances of a pool file do not run")]
    DoesNotRun {
        /// The instance.
        instance: InstanceRef,
    },
    /// An answer that no instance of ours can have, such as an illegal name.
    #[error("LXD's answer about {target} makes no sense: {why}")]
    Answer {
        /// The instance, snapshot or pool concerned.
        target: String,
        /// What is wrong with it.
        why: String,
    },
}

type Answer<T> = Result<T, InstancesError>;

/// What the time machine asks of LXD. Every call returns when its effect is there.
///
/// Implemented for [`lxd_client::Client`], and with the feature `embedded` by [`PoolFile`](crate::PoolFile), where an
/// instance is nothing but its dataset; [`crate::conformance`] holds what both must do.
pub trait Instances: Send + Sync {
    /// Whether instances can run here. Where they cannot, all are stopped, and [`Instances::start`] and
    /// [`Instances::exec`] are refused with [`InstancesError::DoesNotRun`].
    fn runs_instances(&self) -> bool;

    /// All instances of all projects, their snapshots included.
    fn list(&self) -> impl Future<Output = Answer<Vec<InstanceRecord>>> + Send;

    /// All storage pools.
    fn pools(&self) -> impl Future<Output = Answer<Vec<StoragePool>>> + Send;

    /// All projects, with their config.
    fn projects(&self) -> impl Future<Output = Answer<Vec<ProjectRecord>>> + Send;

    /// One instance, its snapshots included; `None` if there is none.
    fn get(&self, id: &InstanceRef) -> impl Future<Output = Answer<Option<InstanceRecord>>> + Send;

    /// The profiles of a project.
    fn profiles(
        &self,
        project: &crate::names::ProjectName,
    ) -> impl Future<Output = Answer<Vec<Profile>>> + Send;

    /// Stops an instance; one that is stopped already is no error.
    fn stop(&self, id: &InstanceRef, how: Stop) -> impl Future<Output = Answer<()>> + Send;

    /// Starts an instance; one that runs already is no error.
    fn start(&self, id: &InstanceRef) -> impl Future<Output = Answer<()>> + Send;

    /// Runs a program with its arguments in a running instance, as root and without a shell, and waits for its end. An
    /// exit code other than 0 is no error; one that cannot be run, or that goes on after `limit`, is.
    fn exec(
        &self,
        id: &InstanceRef,
        command: &[String],
        limit: Duration,
    ) -> impl Future<Output = Answer<CommandOutput>> + Send;

    /// Creates a stopped container with an empty root disk.
    fn create_empty(
        &self,
        id: &InstanceRef,
        definition: &Definition,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Deletes an instance with its dataset and all snapshots; one that is not there is no error.
    fn delete(&self, id: &InstanceRef) -> impl Future<Output = Answer<()>> + Send;

    /// Changes single config keys; `None` removes a key.
    fn set_config(
        &self,
        id: &InstanceRef,
        changes: &BTreeMap<String, Option<String>>,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Replaces config (but `volatile.*`), devices and profiles.
    fn set_definition(
        &self,
        id: &InstanceRef,
        definition: &Definition,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Takes a snapshot through LXD, so that LXD has a record of it.
    fn create_snapshot(
        &self,
        id: &InstanceRef,
        name: &str,
        expires: Option<Timestamp>,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Deletes a snapshot through LXD: the record, and the ZFS snapshot if there is one.
    fn delete_snapshot(
        &self,
        id: &InstanceRef,
        name: &str,
    ) -> impl Future<Output = Answer<()>> + Send;
}
