//! Plan: what is going to be done, decided from an inventory alone.
//!
//! Planning does no I/O and asks no clock: the same inventory, request and time give the same plan.
//! `--dry-run` prints the very value that [`crate::Session::execute`] consumes.

mod adopt;
mod as_new;
mod delete;
mod destroy;
mod edit;
mod export;
mod identity;
mod prune;
pub mod reap;
mod recovery;
mod recreate;
mod resume;
mod rewind;
mod rollback;
mod run;
mod snapshot;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use terrarium_zfs::{DatasetName, Guid, SnapshotName, UserProperties};

use crate::details::Details;
use crate::instances::Stop;
use crate::intent::{Goal, Intent};
use crate::layout::PoolLayout;
use crate::names::{InstanceRef, OperationId};
use crate::property;

pub use adopt::{AdoptRequest, has_adopted_sanoid, plan_adopt};
pub use as_new::{AsNewRequest, plan_as_new};
pub use delete::{DeleteRequest, plan_delete};
pub use destroy::{DestroyRequest, born, plan_destroy};
pub use edit::{EditRequest, Setting, plan_edit};
pub use export::{
    ArchivedOrigin, ArchivedPoint, Base, ChainPolicy, ExportDecision, FullBecause, LiveBranch,
    NoOrigin, Origin, StartsFrom, decide_export,
};
pub use identity::{IdentityPolicy, Removal};
pub use prune::{PruneRequest, plan_prune};
pub use reap::{Reap, Reaping, plan_reap};
pub use recovery::{Direction, plan_recovery};
pub use recreate::{RecreateRequest, plan_recreate};
pub use resume::{ResumeRequest, find_grave, plan_resume};
pub use rewind::{RewindRequest, last_rewind, plan_rewind};
pub use rollback::plan_rollback;
pub use run::{Batch, Bundle, Hooked, RunPlan, Scheduled, plan_run};
pub use snapshot::{SnapshotRequest, plan_snapshot};
#[cfg(feature = "host")]
pub(crate) use start::plan_start;

/// Steps in the order they are carried out, and what their planner wants people to know.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The operation that the steps belong to.
    pub operation: OperationId,
    /// Whether it does what was asked for, or recovers from what was cut off.
    pub purpose: Purpose,
    /// In one line, what comes out of it.
    pub title: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// The steps.
    pub steps: Vec<Step>,
    /// What else is worth knowing before and after.
    pub notices: Vec<Notice>,
    /// What is left out of a copy so that it does not take its source's place.
    pub removals: Vec<Removal>,
    /// The pool that the steps work in.
    #[serde(skip)]
    pub(crate) layout: Option<PoolLayout>,
    /// Written down before the first change.
    #[serde(skip)]
    pub(crate) intent: Option<Intent>,
    /// Written to a file for root before the first change: may hold secrets.
    #[serde(skip)]
    pub(crate) details: Details,
}

impl Plan {
    /// The restore points that it destroys.
    pub fn doomed(&self) -> BTreeSet<Guid> {
        let points = self.steps.iter().filter_map(|step| match &step.action {
            Action::DestroyPoints { points } => Some(points),
            _ => None,
        });
        points.flatten().map(|point| point.guid).collect()
    }

    /// How long the instance that it destroys can come back, if it destroys one; zero if it is to be purged at once.
    pub fn stays_buried(&self) -> Option<jiff::SignedDuration> {
        match &self.intent.as_ref()?.goal {
            Goal::Destroy(goal) => Some(goal.record.expires.duration_since(goal.record.destroyed)),
            _ => None,
        }
    }
}

/// Why there is a plan.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Somebody asked for it.
    Request,
    /// An operation that was cut off is brought to its end.
    Finish,
    /// An operation that was cut off or failed is taken back.
    TakeBack,
}

/// One action and the reason for it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
    /// Why.
    pub why: String,
}

/// Something that people should know and that no step shows.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// One sentence.
    pub text: String,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Not as one would expect.
    Warning,
}

/// A snapshot that is to be destroyed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct DoomedPoint {
    /// Its name when the plan was made.
    pub snapshot: SnapshotName,
    /// Identity: a snapshot that has got this name since is another one, and stays.
    pub guid: Guid,
}

/// One change, small enough that a crash leaves it done or not done.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Action {
    /// Write LXD's definitions to the operation's file.
    SaveDetails,
    /// Create the datasets, unmounted and empty, that others are put below; those that exist are left.
    MakeParents {
        /// Outermost first.
        datasets: Vec<DatasetName>,
    },
    /// Clone a snapshot, the intent set on the clone from its first moment.
    Clone {
        /// The snapshot.
        origin: SnapshotName,
        /// Its guid.
        guid: Guid,
        /// The new dataset.
        target: DatasetName,
        /// Local properties, as `zfs get -Hp` prints them.
        properties: BTreeMap<String, String>,
    },
    /// Copy a snapshot in full, the intent set on the copy before its first byte; it keeps no snapshot.
    Copy {
        /// The snapshot.
        origin: SnapshotName,
        /// Its guid.
        guid: Guid,
        /// The new dataset.
        target: DatasetName,
        /// Local properties, as `zfs get -Hp` prints them.
        properties: BTreeMap<String, String>,
    },
    /// Write the intent on an existing dataset.
    WriteIntent {
        /// The dataset.
        dataset: DatasetName,
        /// Its guid.
        guid: Guid,
    },
    /// Note, with the intent, that LXD was told which ids the files have.
    NoteTold {
        /// The dataset that carries the intent.
        dataset: DatasetName,
    },
    /// Find out whether a promotion would succeed.
    CheckPromote {
        /// The clone.
        clone: DatasetName,
    },
    /// Let a clone own the snapshots up to its origin.
    Promote {
        /// The clone.
        clone: DatasetName,
    },
    /// Find out whether anybody still has a dataset mounted.
    CheckUnmounted {
        /// The dataset.
        dataset: DatasetName,
    },
    /// Stop an instance.
    Stop {
        /// The instance.
        instance: InstanceRef,
        /// How.
        how: Stop,
    },
    /// Start an instance.
    Start {
        /// The instance.
        instance: InstanceRef,
    },
    /// Give an instance the definition it had when one of LXD's snapshots was taken.
    AssumeDefinition {
        /// The instance.
        instance: InstanceRef,
        /// LXD's name of the snapshot.
        record: String,
    },
    /// Give an instance its own definition back.
    RestoreDefinition {
        /// The instance.
        instance: InstanceRef,
    },
    /// Let LXD take a snapshot, for the sake of its record.
    MakeRecord {
        /// The instance.
        instance: InstanceRef,
        /// LXD's name of the snapshot.
        record: String,
    },
    /// Let LXD forget a snapshot that its instance does not have any more.
    DropRecord {
        /// The instance.
        instance: InstanceRef,
        /// LXD's name of the snapshot.
        record: String,
        /// The dataset that must not have the snapshot.
        dataset: DatasetName,
    },
    /// Let LXD delete a snapshot that this operation made for the sake of its record.
    UnmakeRecord {
        /// The instance.
        instance: InstanceRef,
        /// LXD's name of the snapshot.
        record: String,
        /// The dataset that has the snapshot.
        dataset: DatasetName,
    },
    /// Take snapshots, all in one transaction group.
    Snapshot {
        /// Each with the user properties it gets.
        #[serde(serialize_with = "names_only")]
        snapshots: Vec<(SnapshotName, UserProperties)>,
        /// None is taken if one of them cannot be.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        together: bool,
    },
    /// Rename a dataset.
    Rename {
        /// Its name.
        from: DatasetName,
        /// Its guid.
        guid: Guid,
        /// Its new name.
        to: DatasetName,
    },
    /// Rename the dataset that carries the intent of the operation.
    RenameStaged {
        /// Its name.
        from: DatasetName,
        /// Its new name.
        to: DatasetName,
    },
    /// Roll a dataset back; newer snapshots and bookmarks are destroyed.
    Rollback {
        /// The snapshot.
        to: SnapshotName,
        /// Its guid.
        guid: Guid,
    },
    /// Create a stopped instance with an empty root disk, marked with the operation.
    CreateInstance {
        /// The instance.
        instance: InstanceRef,
        /// Where LXD will make its dataset: nothing may be there, for LXD would destroy it.
        dataset: DatasetName,
    },
    /// Delete an instance that this operation created.
    DeleteInstance {
        /// The instance.
        instance: InstanceRef,
        /// Its dataset, which must be empty, the operation's own, or absent.
        dataset: DatasetName,
    },
    /// Destroy the empty dataset that LXD made for a new instance.
    DestroyEmpty {
        /// The instance, which must bear the mark of the operation.
        instance: InstanceRef,
        /// The dataset.
        dataset: DatasetName,
    },
    /// Change LXD config keys of an instance.
    SetConfig {
        /// The instance.
        instance: InstanceRef,
        /// New values; `None` removes the key.
        changes: BTreeMap<String, Option<String>>,
    },
    /// Destroy the snapshots that were made for the sake of LXD's records.
    DestroyDuplicates {
        /// The dataset that has them.
        dataset: DatasetName,
        /// LXD's names of them.
        records: Vec<String>,
    },
    /// Note at a snapshot that it was used now.
    MarkUsed {
        /// The snapshot.
        snapshot: SnapshotName,
        /// Its guid.
        guid: Guid,
    },
    /// Set user properties of a dataset or snapshot.
    SetProperties {
        /// The dataset or snapshot.
        object: String,
        /// Its guid.
        guid: Guid,
        /// New values; `None` removes the property.
        changes: BTreeMap<String, Option<String>>,
    },
    /// Destroy snapshots of one dataset in one transaction group; one that cannot be destroyed stops no other.
    DestroyPoints {
        /// The snapshots.
        points: Vec<DoomedPoint>,
    },
    /// Destroy a dataset moved aside that holds nothing any more.
    RemoveHusk {
        /// The dataset.
        dataset: DatasetName,
        /// Its guid.
        guid: Guid,
    },
    /// Destroy the dataset that carries the intent of the operation and holds nothing of its own.
    DestroyStaged {
        /// The dataset.
        dataset: DatasetName,
    },
    /// Destroy the safety snapshot of an operation that is taken back.
    DestroySafety {
        /// The snapshot.
        snapshot: SnapshotName,
        /// Its guid.
        guid: Guid,
    },
    /// Destroy an empty parent dataset of ours; one with children is left.
    RemoveParent {
        /// The dataset.
        dataset: DatasetName,
    },
    /// Remove the intent: the operation is over.
    ClearIntent {
        /// The dataset that carries it.
        dataset: DatasetName,
    },
    /// Remove the operation's file.
    RemoveDetails,
    /// Let LXD delete an instance whose dataset was moved out of its reach.
    ForgetInstance {
        /// The instance.
        instance: InstanceRef,
        /// Where its dataset was: nothing may be there, for LXD would destroy it.
        live: DatasetName,
        /// Where its dataset is.
        grave: DatasetName,
        /// The dataset's guid.
        guid: Guid,
        /// LXD's `volatile.uuid` of the instance.
        uuid: Option<String>,
    },
    /// Replace the intent of the operation by what tells of the destroyed instance.
    Bury {
        /// The dataset in the graveyard.
        dataset: DatasetName,
    },
    /// Destroy what LXD made in the place of a dataset that is about to come back.
    DestroyStandIn {
        /// The instance.
        instance: InstanceRef,
        /// The dataset.
        dataset: DatasetName,
        /// LXD's names of the snapshots that were made on it for their records.
        records: Vec<String>,
    },
    /// Destroy the snapshot that was taken when the instance was destroyed, unless somebody uses it.
    DropSafety {
        /// The snapshot.
        snapshot: SnapshotName,
        /// Its guid.
        guid: Guid,
    },
    /// Remove the file of an earlier operation.
    ForgetDetails {
        /// That operation.
        operation: OperationId,
    },
    /// Remove the intent and what told of the destroyed instance: it is back.
    Exhume {
        /// The instance's dataset.
        dataset: DatasetName,
    },
    /// Mark datasets that are about to be purged, if nothing in them is held or cloned.
    MarkPurging {
        /// The datasets with their guids; the first one is marked first.
        datasets: Vec<(DatasetName, Guid)>,
        /// Clones that are purged as well.
        #[serde(skip)]
        clones: Vec<DatasetName>,
    },
    /// Destroy snapshots of a dataset that is marked.
    PurgePoints {
        /// The dataset.
        dataset: DatasetName,
        /// Its guid.
        guid: Guid,
        /// The snapshots.
        points: Vec<DoomedPoint>,
    },
    /// Destroy a dataset that is marked and has no snapshots any more.
    PurgeDataset {
        /// The dataset.
        dataset: DatasetName,
        /// Its guid.
        guid: Guid,
        /// The operation that put it there: what that saved of LXD's definitions goes first.
        operation: OperationId,
    },
}

impl Action {
    /// The action's name, as in the JSON form.
    pub fn name(&self) -> &'static str {
        match self {
            Action::SaveDetails => "save-details",
            Action::MakeParents { .. } => "make-parents",
            Action::Clone { .. } => "clone",
            Action::Copy { .. } => "copy",
            Action::WriteIntent { .. } => "write-intent",
            Action::NoteTold { .. } => "note-told",
            Action::CheckPromote { .. } => "check-promote",
            Action::Promote { .. } => "promote",
            Action::CheckUnmounted { .. } => "check-unmounted",
            Action::Stop { .. } => "stop",
            Action::Start { .. } => "start",
            Action::AssumeDefinition { .. } => "assume-definition",
            Action::RestoreDefinition { .. } => "restore-definition",
            Action::MakeRecord { .. } => "make-record",
            Action::DropRecord { .. } => "drop-record",
            Action::UnmakeRecord { .. } => "unmake-record",
            Action::Snapshot { .. } => "snapshot",
            Action::Rename { .. } => "rename",
            Action::RenameStaged { .. } => "rename-staged",
            Action::Rollback { .. } => "rollback",
            Action::CreateInstance { .. } => "create-instance",
            Action::DeleteInstance { .. } => "delete-instance",
            Action::DestroyEmpty { .. } => "destroy-empty",
            Action::SetConfig { .. } => "set-config",
            Action::DestroyDuplicates { .. } => "destroy-duplicates",
            Action::MarkUsed { .. } => "mark-used",
            Action::SetProperties { .. } => "set-properties",
            Action::DestroyPoints { .. } => "destroy-points",
            Action::RemoveHusk { .. } => "remove-husk",
            Action::DestroyStaged { .. } => "destroy-staged",
            Action::DestroySafety { .. } => "destroy-safety",
            Action::RemoveParent { .. } => "remove-parent",
            Action::ClearIntent { .. } => "clear-intent",
            Action::RemoveDetails => "remove-details",
            Action::ForgetInstance { .. } => "forget-instance",
            Action::Bury { .. } => "bury",
            Action::DestroyStandIn { .. } => "destroy-stand-in",
            Action::DropSafety { .. } => "drop-safety",
            Action::ForgetDetails { .. } => "forget-details",
            Action::Exhume { .. } => "exhume",
            Action::MarkPurging { .. } => "mark-purging",
            Action::PurgePoints { .. } => "purge-points",
            Action::PurgeDataset { .. } => "purge-dataset",
        }
    }

    /// Whether the action only tidies up after the goal is reached: its failure takes nothing back.
    pub(crate) fn is_tidying(&self) -> bool {
        matches!(
            self,
            Action::DropRecord { .. }
                | Action::DestroyDuplicates { .. }
                | Action::MarkUsed { .. }
                | Action::RemoveHusk { .. }
                | Action::RemoveParent { .. }
                | Action::ClearIntent { .. }
                | Action::RemoveDetails
                | Action::Bury { .. }
                | Action::DropSafety { .. }
                | Action::ForgetDetails { .. }
                | Action::Exhume { .. }
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::SaveDetails => write!(f, "save LXD's definitions for recovery and undo"),
            Action::MakeParents { datasets } => match datasets.last() {
                Some(last) => write!(f, "make sure that {last} and those above exist"),
                None => write!(f, "make no parents"),
            },
            Action::Clone { origin, target, .. } => write!(f, "clone {origin} as {target}"),
            Action::Copy { origin, target, .. } => write!(f, "copy {origin} in full as {target}"),
            Action::WriteIntent { dataset, .. } => write!(f, "write the intent on {dataset}"),
            Action::NoteTold { dataset } => {
                write!(f, "note on {dataset} that LXD knows the ids of its files")
            }
            Action::CheckPromote { clone } => write!(f, "check that {clone} can be promoted"),
            Action::Promote { clone } => write!(f, "promote {clone}"),
            Action::CheckUnmounted { dataset } => {
                write!(f, "check that nobody has {dataset} mounted")
            }
            Action::Stop { instance, how } => match how {
                Stop::Graceful(limit) => write!(f, "stop {instance}, within {}s", limit.as_secs()),
                Stop::ThenForce(limit) => {
                    write!(f, "stop {instance}, by force after {}s", limit.as_secs())
                }
            },
            Action::Start { instance } => write!(f, "start {instance}"),
            Action::AssumeDefinition { instance, record } => {
                write!(
                    f,
                    "give {instance} the definition of LXD's snapshot {record}"
                )
            }
            Action::RestoreDefinition { instance } => {
                write!(f, "give {instance} its own definition back")
            }
            Action::MakeRecord { instance, record } => {
                write!(f, "have LXD record {instance}/{record}")
            }
            Action::DropRecord {
                instance, record, ..
            } => write!(f, "have LXD forget {instance}/{record}"),
            Action::UnmakeRecord {
                instance, record, ..
            } => write!(f, "have LXD delete its new {instance}/{record}"),
            Action::Snapshot { snapshots, .. } => match snapshots.as_slice() {
                [(only, _)] => write!(f, "take {only}"),
                several => write!(f, "take {} snapshots at one moment", several.len()),
            },
            Action::Rename { from, to, .. } | Action::RenameStaged { from, to } => {
                write!(f, "rename {from} to {to}")
            }
            Action::Rollback { to, .. } => write!(f, "roll back to {to}, destroying what is newer"),
            Action::CreateInstance { instance, .. } => write!(f, "create instance {instance}"),
            Action::DeleteInstance { instance, .. } => {
                write!(f, "delete the unfinished instance {instance}")
            }
            Action::DestroyEmpty { dataset, .. } => write!(f, "destroy the empty {dataset}"),
            Action::SetConfig { instance, changes } => {
                let keys: Vec<_> = changes.keys().map(String::as_str).collect();
                write!(f, "set {} of {instance}", keys.join(", "))
            }
            Action::DestroyDuplicates { dataset, .. } => {
                write!(f, "destroy what was made on {dataset} for LXD's records")
            }
            Action::MarkUsed { snapshot, .. } => write!(f, "note that {snapshot} was used"),
            Action::SetProperties {
                object, changes, ..
            } => {
                let keys: Vec<_> = changes.keys().map(String::as_str).collect();
                write!(f, "set {} of {object}", keys.join(", "))
            }
            Action::DestroyPoints { points } => match points.as_slice() {
                [only] => write!(f, "destroy {}", only.snapshot),
                several => {
                    let of = several.first().map(|first| first.snapshot.dataset_str());
                    let of = of.unwrap_or("nothing");
                    write!(f, "destroy {} snapshots of {of}", several.len())
                }
            },
            Action::RemoveHusk { dataset, .. } => {
                write!(f, "destroy {dataset} if it holds nothing any more")
            }
            Action::DestroyStaged { dataset } => write!(f, "destroy the clone {dataset}"),
            Action::DestroySafety { snapshot, .. } => {
                write!(f, "destroy the safety snapshot {snapshot}")
            }
            Action::RemoveParent { dataset } => write!(f, "destroy {dataset} if it is empty"),
            Action::ClearIntent { dataset } => write!(f, "remove the intent from {dataset}"),
            Action::RemoveDetails => write!(f, "remove LXD's saved definitions"),
            Action::ForgetInstance { instance, .. } => {
                write!(
                    f,
                    "have LXD delete {instance}, which has no dataset any more"
                )
            }
            Action::Bury { dataset } => write!(f, "write on {dataset} whose it is"),
            Action::DestroyStandIn { dataset, .. } => {
                write!(f, "destroy the empty {dataset}")
            }
            Action::DropSafety { snapshot, .. } => write!(f, "destroy {snapshot}"),
            Action::ForgetDetails { operation } => {
                write!(f, "remove what {operation} saved of LXD's definitions")
            }
            Action::Exhume { dataset } => {
                write!(f, "remove from {dataset} that it was in the graveyard")
            }
            Action::MarkPurging { datasets, .. } => match datasets.as_slice() {
                [(only, _)] => write!(f, "mark {only} as being purged"),
                several => {
                    let first = several.first().map(|(name, _)| name.as_str());
                    let (first, more) = (first.unwrap_or("nothing"), several.len().max(1) - 1);
                    write!(f, "mark {first} and {more} others as being purged")
                }
            },
            Action::PurgePoints {
                dataset, points, ..
            } => write!(f, "destroy {} snapshots of {dataset}", points.len()),
            Action::PurgeDataset { dataset, .. } => {
                write!(f, "destroy {dataset} and what was saved with it")
            }
        }
    }
}

fn names_only<S: serde::Serializer>(
    snapshots: &[(SnapshotName, UserProperties)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(snapshots.iter().map(|(name, _)| name))
}

impl Notice {
    pub(crate) fn info(text: impl Into<String>) -> Self {
        Self {
            level: Level::Info,
            text: text.into(),
        }
    }

    pub(crate) fn warning(text: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            text: text.into(),
        }
    }
}

/// Collects steps in the order they are carried out.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn then(&mut self, action: Action, why: impl Into<String>) {
        self.0.push(Step {
            action,
            why: why.into(),
        });
    }
}

/// The parents that must exist before `dataset` of ours can be created or renamed to.
fn parents(layout: &PoolLayout, dataset: &DatasetName) -> Vec<DatasetName> {
    let mut parents: Vec<_> = std::iter::successors(dataset.parent(), DatasetName::parent)
        .take_while(|parent| layout.is_ours(parent))
        .collect();
    parents.reverse();
    parents
}

/// Local properties that a clone of a dataset is given so that it behaves like it.
pub(crate) fn carried_properties(
    local: &BTreeMap<String, String>,
    lineage: bool,
) -> BTreeMap<String, String> {
    // Keys come with the origin's encryption; the rest of ours says something about one dataset only.
    const OF_THE_HISTORY: [&str; 3] = [property::LINEAGE, property::LINEAGE_OF, property::ADOPTED];
    const OF_THE_ORIGIN: [&str; 4] = ["encryption", "keyformat", "keylocation", "pbkdf2iters"];
    local
        .iter()
        .filter(|(key, _)| !OF_THE_ORIGIN.contains(&key.as_str()))
        .filter(|(key, _)| {
            !key.starts_with("terrarium:") || (lineage && OF_THE_HISTORY.contains(&key.as_str()))
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
