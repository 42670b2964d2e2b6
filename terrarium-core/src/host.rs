//! The way in: a host with its pools and LXD, and sessions that change one instance at a time.

#[cfg(feature = "archive")]
pub(crate) mod boot;
#[cfg(feature = "archive")]
pub(crate) mod fetch;
mod grave;
mod guard;
mod hooks;
mod origins;
mod points;
pub(crate) mod policies;
mod prune;
mod run;
mod tree;

use std::path::PathBuf;
use std::sync::Arc;

pub use grave::{DestroyRequest, Purged};
pub use guard::{Guard, Guarded};
pub use hooks::{Hook, HookOutcome, HookRun};
pub use prune::{Pruning, Skipped};
pub use run::{RunFailure, RunRecord, RunReport, Taken};

use jiff::Zoned;
use terrarium_zfs::{PoolHealth, PoolState};

use crate::details::{DetailsDir, SavedRecord};
use crate::error::Error;
use crate::execute::{Executor, Progress};
use crate::idmap;
use crate::instances::{InstanceRecord, Instances, InstancesError, Stop};
use crate::inventory::{Inventory, observe};
use crate::lock::{Lock, LockDir};
use crate::names::{Alias, InstanceRef, OperationId, ProjectName};
use crate::plan::{
    AsNewRequest, Direction, IdentityPolicy, Notice, Plan, Purpose, RewindRequest, SnapshotRequest,
    last_rewind, plan_as_new, plan_rewind, plan_rollback, plan_snapshot, plan_start,
};
use crate::point::{Kind, RestorePoint};
use crate::report::Report;
use crate::selector::select;
use crate::zfs::Zfs;

/// Where Terrarium keeps its own files on a host.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Files that must outlast a reboot; `/var/lib/terrarium` unless told otherwise.
    pub state: PathBuf,
    /// Locks; `/run/terrarium` unless told otherwise.
    pub run: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        Self {
            state: PathBuf::from("/var/lib/terrarium"),
            run: PathBuf::from("/run/terrarium"),
        }
    }
}

/// A host: its ZFS, its LXD, and our own files on it.
#[derive(Debug)]
pub struct Host<Z, I> {
    pub(crate) zfs: Arc<Z>,
    pub(crate) instances: I,
    details: DetailsDir,
    locks: LockDir,
    /// Files that outlast a reboot.
    state: PathBuf,
    /// Journals of exports that were cut off.
    #[cfg(feature = "archive")]
    pub(crate) exports: PathBuf,
}

/// What a restore is to bring about.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// Which point; without one the newest of the instance as it is now.
    pub at: Option<String>,
    /// Whether the instance is started in the end.
    pub start: bool,
    /// In place, or as another instance.
    pub to: Destination,
}

/// Where a restore point is restored to.
#[derive(Clone, Debug)]
pub enum Destination {
    /// To its own instance; what is newer moves aside.
    InPlace {
        /// How the instance is stopped.
        stop: Stop,
        /// Destroy what is newer instead of moving it aside.
        destroy_newer: bool,
    },
    /// To a new instance.
    AsNew {
        /// The instance to be made.
        new: InstanceRef,
        /// What it must not share with its source.
        identity: IdentityPolicy,
    },
}

impl<Z: Zfs, I: Instances> Host<Z, I> {
    /// A host that is reached through `zfs` and `instances`.
    pub fn new(zfs: Z, instances: I, folders: &Folders) -> Self {
        Self {
            zfs: Arc::new(zfs),
            instances,
            details: DetailsDir::new(folders.state.join("operations")),
            locks: LockDir::new(folders.run.join("locks")),
            state: folders.state.clone(),
            #[cfg(feature = "archive")]
            exports: folders.state.join("exports"),
        }
    }

    /// Reads everything once; changes nothing and takes no lock.
    ///
    /// # Errors
    /// [`Error`] if LXD or ZFS cannot be reached.
    pub async fn observe(&self, now: &Zoned) -> Result<Inventory, Error> {
        observe(&self.zfs, &self.instances, now.timestamp()).await
    }

    /// Takes the locks of `instances`, recovers what was cut off on them, and reads everything.
    ///
    /// # Errors
    /// [`Error::Locked`] if another operation works on one of them; any error of reading. A recovery that fails
    /// is [`Begun::Stuck`], with its report.
    pub async fn begin(
        &self,
        instances: &[InstanceRef],
        doing: &str,
        now: Zoned,
        progress: &dyn Progress,
    ) -> Result<Begun<'_, Z, I>, Error> {
        self.begin_as(Access::Alone, instances, doing, now, progress)
            .await
    }

    /// As [`Host::begin`], beside others that change the instances as little. Where something was cut off it is
    /// recovered first, and then nobody else is let in.
    ///
    /// # Errors
    /// As [`Host::begin`].
    pub async fn begin_as(
        &self,
        access: Access,
        instances: &[InstanceRef],
        doing: &str,
        now: Zoned,
        progress: &dyn Progress,
    ) -> Result<Begun<'_, Z, I>, Error> {
        let mut sorted: Vec<_> = instances.to_vec();
        sorted.sort();
        sorted.dedup();
        let at = now.timestamp();
        let mut locks = match access {
            Access::Export => sorted
                .iter()
                .map(|instance| self.locks.export(instance, at))
                .collect::<Result<Vec<_>, _>>()?,
            Access::Alone | Access::Snapshot => Vec::new(),
        };
        let lock = |instance| self.locks.instance(instance, doing, at);
        let lock_all = || sorted.iter().map(lock).collect::<Result<Vec<_>, _>>();

        let mut inventory = if access == Access::Alone {
            locks.extend(lock_all()?);
            self.observe(&now).await?
        } else {
            let name = (access == Access::Export).then_some(doing);
            let share = |instance| self.locks.share_instance(instance, name, at);
            let shared = sorted.iter().map(share).collect::<Result<Vec<_>, _>>()?;
            let inventory = self.observe(&now).await?;
            let is_cut_off = |instance| inventory.pending_for(instance).next().is_some();
            if sorted.iter().any(is_cut_off) {
                drop(shared);
                locks.extend(lock_all()?);
                self.observe(&now).await?
            } else {
                locks.extend(shared);
                inventory
            }
        };
        let mut recovered = Vec::new();
        for instance in &sorted {
            loop {
                let pending = inventory.pending_for(instance).next().cloned();
                let Some(pending) = pending else { break };
                let Some(pool) = inventory.pool(&pending.layout) else {
                    break;
                };
                let seen = |report: &Report| report.operation == pending.intent.operation;
                if recovered.iter().any(seen) {
                    return Err(Error::Changed {
                        object: pending.holder.to_string(),
                        change: "it still carries the intent of an operation that was recovered"
                            .to_owned(),
                    });
                }
                let executor = self.executor(progress);
                let plan = executor
                    .recovery(&pending, pool, Direction::Nearest, now.timestamp())
                    .await?;
                let report = executor.execute(&plan).await;
                if !report.is_complete() {
                    return Ok(Begun::Stuck(Box::new(report)));
                }
                recovered.push(report);
                inventory = self.observe(&now).await?;
            }
        }
        Ok(Begun::Ready(Session {
            planner: Planner {
                host: self,
                inventory,
                recovered,
                now,
            },
            _locks: locks,
        }))
    }

    /// Reads everything, for plans that are shown and not carried out: takes no lock, recovers nothing.
    ///
    /// # Errors
    /// [`Error`] if LXD or ZFS cannot be reached.
    pub async fn look(&self, now: Zoned) -> Result<Planner<'_, Z, I>, Error> {
        Ok(Planner {
            host: self,
            inventory: self.observe(&now).await?,
            recovered: Vec::new(),
            now,
        })
    }

    fn executor<'a>(&'a self, progress: &'a dyn Progress) -> Executor<'a, Z, I> {
        Executor {
            zfs: &self.zfs,
            instances: &self.instances,
            details: &self.details,
            progress,
        }
    }
}

/// Whom a session shares its instances with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Access {
    /// Nobody: it changes what they are.
    Alone,
    /// Whoever takes snapshots of them or exports them: it takes snapshots.
    Snapshot,
    /// Whoever takes snapshots of them: it exports them, and there is one export of an instance at a time.
    Export,
}

/// The beginning of a session.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it, and it is taken apart at once"
)]
pub enum Begun<'a, Z, I> {
    /// Everything is as it should be.
    Ready(Session<'a, Z, I>),
    /// An operation that was cut off could be neither finished nor taken back.
    Stuck(Box<Report>),
}

/// Exclusive access to some instances: nobody else of ours changes them while it lasts.
#[derive(Debug)]
pub struct Session<'a, Z, I> {
    pub(crate) planner: Planner<'a, Z, I>,
    _locks: Vec<Lock>,
}

impl<'a, Z: Zfs, I: Instances> Session<'a, Z, I> {
    /// Plans from what was found when the session began.
    pub fn planner(&self) -> &Planner<'a, Z, I> {
        &self.planner
    }

    /// Reads everything again, after something was changed; what was recovered stays on record.
    ///
    /// # Errors
    /// [`Error`] if LXD or ZFS cannot be reached.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        self.planner.inventory = self.planner.host.observe(&self.planner.now).await?;
        Ok(())
    }

    /// Carries out a plan of this session.
    pub async fn execute(&self, plan: &Plan, progress: &dyn Progress) -> Report {
        let report = self.planner.host.executor(progress).execute(plan).await;
        if report.is_complete() {
            self.sweep_origins().await;
        }
        report
    }
}

/// What was found at one moment, and the plans that can be made from it.
#[derive(Debug)]
pub struct Planner<'a, Z, I> {
    pub(crate) host: &'a Host<Z, I>,
    pub(crate) inventory: Inventory,
    recovered: Vec<Report>,
    pub(crate) now: Zoned,
}

impl<Z: Zfs, I: Instances> Planner<'_, Z, I> {
    /// What was found, after any recovery.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Reports of operations that had been cut off and were recovered when the session began.
    pub fn recovered(&self) -> &[Report] {
        &self.recovered
    }

    /// Plans snapshots of `instances`.
    ///
    /// # Errors
    /// As [`plan_snapshot`].
    pub fn plan_snapshot(
        &self,
        instances: &[InstanceRef],
        alias: Option<Alias>,
        expires: Option<jiff::Timestamp>,
    ) -> Result<Plan, Error> {
        plan_snapshot(
            &self.inventory,
            &SnapshotRequest {
                operation: self.operation(),
                instances: instances.to_vec(),
                alias,
                expires,
                together: false,
            },
        )
    }

    /// The instances that carry the same label of a group in a project.
    ///
    /// # Errors
    /// [`Error::NoGroup`] if there is none.
    pub fn group(&self, project: &ProjectName, group: &str) -> Result<Vec<InstanceRef>, Error> {
        let is_of_it = |record: &InstanceRecord| {
            let label = record.expanded_config.get(crate::policy::GROUP);
            record.id.project == *project && label.is_some_and(|label| label == group)
        };
        let records = self.inventory.instances.iter().map(|one| &one.record);
        let members: Vec<_> = records
            .filter(|record| is_of_it(record))
            .map(|record| record.id.clone())
            .collect();
        if members.is_empty() || group.is_empty() {
            return Err(Error::NoGroup {
                project: project.to_string(),
                group: group.to_owned(),
            });
        }
        Ok(members)
    }

    /// Plans snapshots of `instances` that make sense together only: of each pool all are taken, or none is.
    ///
    /// # Errors
    /// As [`plan_snapshot`].
    pub fn plan_snapshot_together(
        &self,
        instances: &[InstanceRef],
        alias: Option<Alias>,
        expires: Option<jiff::Timestamp>,
    ) -> Result<Plan, Error> {
        plan_snapshot(
            &self.inventory,
            &SnapshotRequest {
                operation: self.operation(),
                instances: instances.to_vec(),
                alias,
                expires,
                together: true,
            },
        )
    }

    /// Plans a restore. `None`: a restore to the same point had been cut off and was finished by this session; a plan
    /// of nothing but the start if the instance does not run though it should.
    ///
    /// # Errors
    /// [`Error::Select`] if no point, or more than one, is meant; [`InstancesError::DoesNotRun`] if a start is asked
    /// for where nothing runs; any error of the planners.
    pub async fn plan_restore(
        &self,
        instance: &InstanceRef,
        request: &RestoreRequest,
    ) -> Result<Option<Plan>, Error> {
        let (_, covered) = self.inventory.covered(instance)?;
        self.refuse_start(instance, request.start)?;
        let selected =
            select(&covered.points, request.at.as_deref(), &self.now).map_err(|source| {
                Error::Select {
                    instance: instance.clone(),
                    source,
                }
            })?;
        let point = selected.point;
        if self.finished_now(instance, point, &request.to) {
            let restored = match &request.to {
                Destination::InPlace { .. } => instance,
                Destination::AsNew { new, .. } => new,
            };
            return Ok(self.plan_start(restored, request.start));
        }
        self.refuse_unwritable(instance).await?;
        let mut plan = match &request.to {
            Destination::InPlace {
                stop,
                destroy_newer,
            } => {
                let how = InPlace {
                    stop: *stop,
                    destroy_newer: *destroy_newer,
                    undo: false,
                };
                self.plan_in_place(instance, point, request.start, how)
                    .await?
            }
            Destination::AsNew { new, identity } => {
                if identity.independent {
                    let pool = covered.live.pool().to_owned();
                    self.refuse_no_room(pool, "the point", point.referenced)
                        .await?;
                }
                let (idmap, notice) = self.idmap_of(instance, point).await;
                let mut plan = plan_as_new(
                    &self.inventory,
                    &AsNewRequest {
                        operation: self.operation(),
                        instance: instance.clone(),
                        point: point.guid,
                        new: new.clone(),
                        start: request.start,
                        idmap,
                        profiles: self.host.instances.profiles(&new.project).await?,
                        identity: identity.clone(),
                    },
                )?;
                plan.notices.extend(notice);
                plan
            }
        };
        plan.notices.splice(0..0, self.time_notice(&selected));
        Ok(Some(plan))
    }

    /// Plans the undo of the last rewind. `None`: when it began, this session took back a rewind that had been cut
    /// off, or finished an undo that had been; the start is planned then as by [`Self::plan_restore`].
    ///
    /// # Errors
    /// [`Error::NothingToUndo`]; [`InstancesError::DoesNotRun`] as [`Self::plan_restore`]; any error of the planners.
    pub async fn plan_undo(
        &self,
        instance: &InstanceRef,
        start: bool,
        stop: Stop,
    ) -> Result<Option<Plan>, Error> {
        let (_, covered) = self.inventory.covered(instance)?;
        self.refuse_start(instance, start)?;
        // An undo that was cut off is what was asked for if it was finished; a rewind if it was taken back.
        let is_what_was_asked = |report: &Report| {
            let undo = report.restored.as_ref().is_some_and(|what| what.undo);
            report.purpose
                == if undo {
                    Purpose::Finish
                } else {
                    Purpose::TakeBack
                }
        };
        if self.recovered.iter().any(is_what_was_asked) {
            return Ok(self.plan_start(instance, start));
        }
        let point = last_rewind(covered).ok_or_else(|| Error::NothingToUndo {
            instance: instance.clone(),
        })?;
        self.refuse_unwritable(instance).await?;
        let how = InPlace {
            stop,
            destroy_newer: false,
            undo: true,
        };
        Ok(Some(self.plan_in_place(instance, point, start, how).await?))
    }

    async fn plan_in_place(
        &self,
        instance: &InstanceRef,
        point: &RestorePoint,
        start: bool,
        how: InPlace,
    ) -> Result<Plan, Error> {
        let (idmap, notice) = self.idmap_of(instance, point).await;
        let request = RewindRequest {
            operation: self.operation(),
            instance: instance.clone(),
            point: point.guid,
            undo: how.undo,
            start,
            stop: how.stop,
            idmap,
            saved: self.saved_records(instance)?,
        };
        let mut plan = if how.destroy_newer {
            plan_rollback(&self.inventory, &request)?
        } else {
            plan_rewind(&self.inventory, &request)?
        };
        plan.notices.extend(notice);
        Ok(plan)
    }

    /// What is left of a request that a recovery fulfilled but for the start.
    fn plan_start(&self, instance: &InstanceRef, wanted: bool) -> Option<Plan> {
        wanted
            .then(|| plan_start(&self.inventory, self.operation(), instance))
            .flatten()
    }

    /// Whether this session has just finished a restore of that point to that place.
    fn finished_now(&self, instance: &InstanceRef, point: &RestorePoint, to: &Destination) -> bool {
        let wanted = match to {
            Destination::InPlace { .. } => None,
            Destination::AsNew { new, .. } => Some(new),
        };
        self.recovered.iter().any(|report| {
            report.purpose == Purpose::Finish
                && report.restored.as_ref().is_some_and(|what| {
                    what.instance == *instance
                        && what.point == point.guid
                        && what.new.as_ref() == wanted
                })
        })
    }

    /// The id map of a point's files: recorded with it, or in the backup.yaml among them.
    async fn idmap_of(
        &self,
        instance: &InstanceRef,
        point: &RestorePoint,
    ) -> (Option<String>, Option<Notice>) {
        if let Some(idmap) = &point.idmap {
            return (Some(idmap.clone()), None);
        }
        let zfs = Arc::clone(&self.host.zfs);
        let snapshot = point.snapshot.clone();
        let read = tokio::task::spawn_blocking(move || {
            zfs.read_file(&snapshot, "backup.yaml", idmap::LONGEST)
        });
        match read.await {
            Ok(Ok(Some(text))) => (idmap::from_backup_yaml(&text), None),
            Ok(Ok(None)) | Err(_) => (None, None),
            Ok(Err(error)) => {
                let text = format!(
                    "backup.yaml of {instance} at {} cannot be read: {error}",
                    point.name()
                );
                (None, Some(Notice::warning(text)))
            }
        }
    }

    fn saved_records(&self, instance: &InstanceRef) -> Result<Vec<SavedRecord>, Error> {
        let (_, covered) = self.inventory.covered(instance)?;
        let mut saved = Vec::new();
        for point in &covered.points {
            if let Kind::Safety(operation) = &point.kind {
                let details = self
                    .host
                    .details
                    .load(operation)
                    .map_err(|source| Error::File {
                        path: self.host.details.path().to_owned(),
                        source,
                    })?;
                saved.extend(details.into_iter().flat_map(|details| details.records));
            }
        }
        Ok(saved)
    }

    /// Before anything is changed, not when all else is done.
    fn refuse_start(&self, instance: &InstanceRef, wanted: bool) -> Result<(), Error> {
        if wanted && !self.host.instances.runs_instances() {
            let instance = instance.clone();
            return Err(InstancesError::DoesNotRun { instance }.into());
        }
        Ok(())
    }

    async fn refuse_unwritable(&self, instance: &InstanceRef) -> Result<(), Error> {
        let (_, covered) = self.inventory.covered(instance)?;
        self.refuse_unwritable_pool(covered.live.pool()).await
    }

    async fn refuse_unwritable_pool(&self, pool: &str) -> Result<(), Error> {
        self.refuse_no_room(pool.to_owned(), "nothing", 0).await
    }

    /// `what` has so many bytes, and they are to be written to a pool.
    async fn refuse_no_room(&self, pool: String, what: &str, bytes: u64) -> Result<(), Error> {
        let zfs = Arc::clone(&self.host.zfs);
        let asked = pool.clone();
        let health = tokio::task::spawn_blocking(move || zfs.pool_health(&asked))
            .await
            .map_err(|_| Error::Interrupted)??;
        let problem = obstacle(&health).or_else(|| {
            let free = health.free;
            (free < bytes)
                .then(|| format!("has not enough room: {free} bytes are free, {what} has {bytes}"))
        });
        match problem {
            Some(problem) => Err(Error::Pool { pool, problem }),
            None => Ok(()),
        }
    }

    fn operation(&self) -> OperationId {
        use std::hash::{BuildHasher, RandomState};
        // Each `RandomState` is seeded anew: enough to tell apart two operations of one second.
        let salt = RandomState::new().hash_one(std::process::id()) as u16;
        OperationId::begun(self.now.timestamp(), salt)
    }
}

/// How a restore in place is done.
struct InPlace {
    stop: Stop,
    destroy_newer: bool,
    undo: bool,
}

/// The least that must be free for a restore to be begun, in bytes: its own records, not data.
const LEAST_FREE: u64 = 16 << 20;

/// Why a pool cannot take what a restore writes, if it cannot.
fn obstacle(health: &PoolHealth) -> Option<String> {
    match health.state {
        PoolState::Online | PoolState::Degraded | PoolState::Unknown => {}
        PoolState::Suspended => {
            return Some("is suspended: its devices are gone; `zpool status` says more".to_owned());
        }
        state => {
            return Some(format!(
                "is not usable ({state:?}); `zpool status` says more"
            ));
        }
    }
    if health.readonly {
        return Some("is imported read-only".to_owned());
    }
    (health.free < LEAST_FREE).then(|| format!("is full: {} bytes are free", health.free))
}
