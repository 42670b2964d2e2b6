//! What can go wrong, sorted by what the caller can do about it.

use std::io;
use std::path::PathBuf;

use terrarium_zfs::{BatchError, DatasetName, ErrorKind};

use crate::instances::InstancesError;
use crate::intent::IntentError;
use crate::inventory::NotCovered;
use crate::lock::Held;
use crate::names::{InstanceRef, NameError, OperationId};
use crate::selector::SelectError;

/// Why an operation was not planned, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// LXD has no such instance.
    #[error("there is no instance {instance}{}", similar(nearest))]
    InstanceNotFound {
        /// What was asked for.
        instance: InstanceRef,
        /// Instances with names like it.
        nearest: Vec<String>,
    },
    /// The instance is of a kind that is left out.
    #[error("instance {instance} is not covered: {reason}")]
    NotCovered {
        /// The instance.
        instance: InstanceRef,
        /// Why it is left out.
        reason: NotCovered,
    },
    /// No restore point, or more than one, is meant.
    #[error("instance {instance}: {source}")]
    Select {
        /// The instance.
        instance: InstanceRef,
        /// What is wrong with the selector.
        #[source]
        source: SelectError,
    },
    /// The instance must not, or cannot, go to the graveyard.
    #[error("cannot destroy {instance}: {obstacle}")]
    DestroyBlocked {
        /// The instance.
        instance: InstanceRef,
        /// What stands in the way.
        obstacle: String,
        /// What to do instead.
        instead: String,
    },
    /// Nothing of that name is in the graveyard.
    #[error("{}{}", nothing_to_resume(instance, from.as_ref(), *purging), similar(nearest))]
    NothingToResume {
        /// The instance.
        instance: InstanceRef,
        /// The operation that is to have destroyed it.
        from: Option<OperationId>,
        /// Whether it was there, and is being purged.
        purging: bool,
        /// Destroyed instances with names like it.
        nearest: Vec<String>,
    },
    /// More than one of that name is in the graveyard.
    #[error("{} instances {instance} were destroyed: {}", operations.len(), several(operations))]
    SeveralDestroyed {
        /// The instance.
        instance: InstanceRef,
        /// The operations that destroyed them, and when.
        operations: Vec<(OperationId, jiff::Timestamp)>,
    },
    /// Something that the instance needs is not there any more.
    #[error("cannot resume {instance}: {obstacle}")]
    ResumeBlocked {
        /// The instance.
        instance: InstanceRef,
        /// What is missing.
        obstacle: String,
    },
    /// There is nothing that could be undone.
    #[error("instance {instance} has no rewind that can be undone")]
    NothingToUndo {
        /// The instance.
        instance: InstanceRef,
    },
    /// There is no snapshot that could be sent.
    #[error("cannot export {instance}: it has no snapshot")]
    NothingToExport {
        /// The instance.
        instance: InstanceRef,
    },
    /// The name for a new instance is in use.
    #[error("an instance {instance} exists already")]
    NameTaken {
        /// The name that was wanted.
        instance: InstanceRef,
    },
    /// The alias is in use.
    #[error("instance {instance} has a restore point with the alias {alias:?} already: {snapshot}")]
    AliasTaken {
        /// The instance.
        instance: InstanceRef,
        /// The alias that was wanted.
        alias: String,
        /// The point that has it.
        snapshot: String,
    },
    /// A restore point is not to be had for what was asked.
    #[error("cannot {operation} {snapshot}: {why}")]
    PointRefused {
        /// What was asked, in the imperative.
        operation: &'static str,
        /// The point.
        snapshot: String,
        /// What stands in the way.
        why: String,
        /// What to do instead.
        instead: String,
    },
    /// An expiry that would be over at once.
    #[error("{expires} is past: an expiry must lie in the future")]
    ExpiryPast {
        /// What was asked for.
        expires: jiff::Timestamp,
    },
    /// A profile of the source does not exist where the new instance is to be.
    #[error("project {project} has no profile {profile}, which {instance} uses")]
    NoProfile {
        /// The target project.
        project: String,
        /// The profile.
        profile: String,
        /// The source instance.
        instance: InstanceRef,
    },
    /// Stopping the instance would delete it.
    #[error(
        "instance {instance} is ephemeral: LXD deletes it when it stops, so it cannot be restored in place"
    )]
    Ephemeral {
        /// The instance.
        instance: InstanceRef,
    },
    /// A rollback would have to destroy what must stay.
    #[error("cannot roll {instance} back to {point}: {obstacle}")]
    RollbackBlocked {
        /// The instance.
        instance: InstanceRef,
        /// The chosen point.
        point: String,
        /// What stands in the way.
        obstacle: String,
    },
    /// The dataset of a stopped instance is still mounted somewhere.
    #[error("{dataset} is still mounted {place}")]
    Mounted {
        /// The dataset.
        dataset: DatasetName,
        /// Where, and in whose mount namespace.
        place: String,
    },
    /// Between plan and execution something changed.
    #[error("{object} is not what it was when the plan was made: {change}")]
    Changed {
        /// The dataset, snapshot or instance.
        object: String,
        /// What is different.
        change: String,
    },
    /// The pool cannot be written to.
    #[error("pool {pool} {problem}")]
    Pool {
        /// The pool.
        pool: String,
        /// Suspended, read-only, full, ….
        problem: String,
    },
    /// Another operation works on the same object.
    #[error(transparent)]
    Locked(#[from] Held),
    /// A name that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The record of an interrupted operation makes no sense.
    #[error("{holder}: {source}")]
    Intent {
        /// The dataset that carries it.
        holder: DatasetName,
        /// What is wrong with it.
        #[source]
        source: IntentError,
    },
    /// ZFS refused or failed.
    #[error(transparent)]
    Zfs(#[from] terrarium_zfs::Error),
    /// ZFS refused or failed for some of several snapshots.
    #[error(transparent)]
    ZfsBatch(#[from] BatchError),
    /// Some of several snapshots could not be taken; the others were.
    #[error("{taken} snapshots were taken, others not: {source}")]
    PartlyTaken {
        /// How many were taken.
        taken: usize,
        /// Which were not, and why.
        #[source]
        source: BatchError,
    },
    /// Some of several snapshots could not be destroyed; the others were.
    #[error("{}{source}", others(*destroyed, source))]
    NotAllDestroyed {
        /// How many were destroyed.
        destroyed: usize,
        /// Which were not, and why.
        #[source]
        source: BatchError,
    },
    /// LXD refused, failed or is not there.
    #[error(transparent)]
    Instances(#[from] InstancesError),
    /// A file of ours could not be written or read.
    #[error("cannot use {}: {source}", .path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// The command before a snapshot failed, so that none was taken.
    #[error("{instance}: {why}")]
    Hook {
        /// The instance that it was run in.
        instance: InstanceRef,
        /// What became of it.
        why: String,
    },
    /// No instance has that label.
    #[error("there is no group {group:?} in project {project}")]
    NoGroup {
        /// The project.
        project: String,
        /// What the label should say.
        group: String,
    },
    /// The work was cancelled.
    #[error("interrupted")]
    Interrupted,
    /// A test build stopped on purpose.
    #[error("stopped by fault injection before step {step}")]
    Fault {
        /// The index of the step that did not run.
        step: usize,
    },
}

/// What an error means for the caller; the CLI's exit codes follow from it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Class {
    /// It was attempted and failed; the report says what was done.
    Failed,
    /// The request itself makes no sense.
    Usage,
    /// Refused, in conflict, or not found; nothing was changed.
    Refused,
    /// LXD or ZFS cannot be reached; safe to try again.
    Unavailable,
    /// Cancelled by a signal.
    Interrupted,
}

impl Error {
    /// What the error means for the caller.
    pub fn class(&self) -> Class {
        match self {
            Error::InstanceNotFound { .. }
            | Error::NotCovered { .. }
            | Error::Select { .. }
            | Error::NothingToUndo { .. }
            | Error::DestroyBlocked { .. }
            | Error::NothingToResume { .. }
            | Error::SeveralDestroyed { .. }
            | Error::ResumeBlocked { .. }
            | Error::NothingToExport { .. }
            | Error::NameTaken { .. }
            | Error::AliasTaken { .. }
            | Error::NoProfile { .. }
            | Error::Ephemeral { .. }
            | Error::NoGroup { .. }
            | Error::RollbackBlocked { .. }
            | Error::PointRefused { .. }
            | Error::Changed { .. }
            | Error::Mounted { .. }
            | Error::Locked(_)
            | Error::Instances(InstancesError::StopTimedOut { .. }) => Class::Refused,
            Error::Name(_)
            | Error::ExpiryPast { .. }
            | Error::Instances(InstancesError::DoesNotRun { .. }) => Class::Usage,
            Error::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Class::Unavailable
            }
            Error::Pool { .. } => Class::Unavailable,
            Error::Interrupted => Class::Interrupted,
            Error::Zfs(error) => class_of_zfs(error.kind()),
            Error::ZfsBatch(error) => class_of_batch(error),
            Error::NotAllDestroyed {
                destroyed: 0,
                source,
            } => class_of_batch(source),
            #[cfg(feature = "host")]
            Error::Instances(InstancesError::Lxd { source, .. }) => class_of_lxd(source),
            Error::Instances(InstancesError::Pool { source, .. }) => class_of_zfs(source.kind()),
            Error::Instances(InstancesError::Answer { .. })
            | Error::Intent { .. }
            | Error::Instances(InstancesError::CommandTimedOut { .. })
            | Error::PartlyTaken { .. }
            | Error::Hook { .. }
            | Error::NotAllDestroyed { .. }
            | Error::File { .. }
            | Error::Fault { .. } => Class::Failed,
        }
    }

    /// Whether LXD may still do what it was asked for.
    pub(crate) fn is_open(&self) -> bool {
        #[cfg(feature = "host")]
        if let Error::Instances(InstancesError::Lxd { source, .. }) = self {
            use lxd_client::ErrorKind::{Protocol, Unavailable, Unknown};
            return matches!(source.kind(), Unknown | Unavailable | Protocol);
        }
        false
    }

    /// What the caller can do about it, where there is something to do.
    pub fn help(&self) -> Option<String> {
        match self {
            Error::Select { source, .. } => source.help(),
            Error::NotCovered { .. } => Some("`terrariumctl backup list` shows what is covered".to_owned()),
            Error::NothingToExport { instance } => Some(format!(
                "take one: `terrariumctl backup snapshot --instance {instance}`"
            )),
            Error::NoGroup { .. } => Some(format!(
                "an instance is of a group by its label, or by that of one of its profiles: {}",
                crate::policy::GROUP
            )),
            Error::NothingToUndo { .. } => {
                Some("a rewind can be undone until the datasets it moved aside are purged".to_owned())
            }
            Error::Instances(InstancesError::StopTimedOut { .. }) => Some(
                "the guest may still be shutting down; try again with a longer --timeout, or with --force to stop it \
                 without its consent"
                    .to_owned(),
            ),
            Error::RollbackBlocked { .. } => {
                Some("leave out --destroy-newer: a plain restore moves newer points aside and destroys none".to_owned())
            }
            Error::PointRefused { instead, .. } | Error::DestroyBlocked { instead, .. } => {
                Some(instead.clone())
            }
            Error::NothingToResume { .. } => {
                Some("`terrariumctl graveyard list` shows what can come back".to_owned())
            }
            Error::SeveralDestroyed { operations, .. } => operations
                .last()
                .map(|(newest, _)| format!("say which one; the newest is --from {newest}")),
            Error::NotAllDestroyed { .. } => {
                Some("what is held, sent, mounted or cloned from cannot be destroyed; try again when it is not".to_owned())
            }
            Error::Zfs(error) if error.kind() == ErrorKind::Busy => Some(
                "a snapshot at or before the point is being sent or is mounted; wait for it, or unmount it".to_owned(),
            ),
            Error::Zfs(error) => error.help().map(Into::into),
            #[cfg(feature = "host")]
            Error::Instances(InstancesError::Lxd { source, .. }) => source.help().map(Into::into),
            Error::Instances(InstancesError::Pool { source, .. }) => source.help().map(Into::into),
            Error::Instances(InstancesError::DoesNotRun { .. }) => Some(
                "leave out --start: the restore itself needs nothing that runs".to_owned(),
            ),
            Error::Ephemeral { .. } => Some("restore as new, or make it permanent with `lxc config edit` first".to_owned()),
            Error::Mounted { .. } => Some(
                "what is mounted can be written to, so it is not moved aside; end what uses it there, or unmount it. \
                 LXD keeps a stopped instance mounted for about 15 seconds after a file was pulled or pushed"
                    .to_owned(),
            ),
            Error::Locked(held) => Some(held.help()),
            Error::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run it as root; on a pool file, as its owner".to_owned())
            }
            _ => None,
        }
    }
}

fn class_of_batch(error: &BatchError) -> Class {
    let classes = error
        .failures
        .iter()
        .map(|(_, error)| class_of_zfs(error.kind()));
    classes
        .reduce(|a, b| if a == b { a } else { Class::Failed })
        .unwrap_or(Class::Failed)
}

/// What to say before the failures of some of several snapshots.
fn others(destroyed: usize, failed: &BatchError) -> String {
    match (destroyed, failed.failures.len()) {
        (0, 1) => String::new(),
        (destroyed, failed) => format!(
            "destroyed {destroyed} of {} snapshots: ",
            destroyed + failed
        ),
    }
}

fn class_of_zfs(kind: ErrorKind) -> Class {
    match kind {
        ErrorKind::Unavailable | ErrorKind::PermissionDenied | ErrorKind::Suspended => {
            Class::Unavailable
        }
        ErrorKind::NotFound
        | ErrorKind::Exists
        | ErrorKind::Busy
        | ErrorKind::HasClones
        | ErrorKind::Replaced
        | ErrorKind::Name => Class::Refused,
        ErrorKind::Interrupted => Class::Interrupted,
        _ => Class::Failed,
    }
}

#[cfg(feature = "host")]
fn class_of_lxd(error: &lxd_client::Error) -> Class {
    use lxd_client::ErrorKind as Kind;
    match error.kind() {
        Kind::Unavailable | Kind::PermissionDenied => Class::Unavailable,
        Kind::NotFound | Kind::Conflict => Class::Refused,
        _ => Class::Failed,
    }
}

fn nothing_to_resume(instance: &InstanceRef, from: Option<&OperationId>, purging: bool) -> String {
    let by = from.map(|from| format!(" that {from} destroyed"));
    let by = by.unwrap_or_default();
    if purging {
        format!("instance {instance}{by} is being purged and cannot come back")
    } else {
        format!("there is no instance {instance}{by} in the graveyard")
    }
}

fn several(operations: &[(OperationId, jiff::Timestamp)]) -> String {
    let each = operations.iter().map(|(operation, at)| {
        format!("by {operation} at {}", at.strftime("%Y-%m-%d %H:%M:%S UTC"))
    });
    each.collect::<Vec<_>>().join(", ")
}

fn similar(nearest: &[String]) -> String {
    if nearest.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", nearest.join(" or "))
    }
}
