//! How each action is carried out, and what it checks right before.

use std::collections::BTreeMap;
use std::time::Duration;

use terrarium_zfs::{
    Dataset, DatasetName, ErrorKind, Guid, Listing, Properties, SnapshotName, UserProperties,
};

use super::Executor;
use crate::error::Error;
use crate::instances::Instances;
use crate::intent::{Goal, Intent};
use crate::names::InstanceRef;
use crate::plan::{Action, DoomedPoint, Plan};
use crate::point::{LXD_SNAPSHOT_PREFIX, lxd_record_name};
use crate::property;
use crate::report::{Outcome, with_causes};
use crate::zfs::Zfs;

pub(super) const DONE: Outcome = Outcome::Done { note: None };

/// How long a dataset may stay mounted after its instance has stopped: twice what LXD's file server keeps it
/// mounted after the last file was pulled or pushed.
const UNMOUNT_TIME: Duration = Duration::from_secs(30);

pub(super) fn skipped(reason: impl Into<String>) -> Result<Outcome, Error> {
    Ok(Outcome::Skipped {
        reason: reason.into(),
    })
}

pub(super) fn changed(object: impl ToString, change: impl Into<String>) -> Error {
    Error::Changed {
        object: object.to_string(),
        change: change.into(),
    }
}

impl<Z: Zfs, I: Instances> Executor<'_, Z, I> {
    pub(super) async fn carry_out(&self, plan: &Plan, action: &Action) -> Result<Outcome, Error> {
        match action {
            Action::SaveDetails => {
                let saved = self.details.save(&plan.operation, &plan.details);
                saved.map_err(|source| self.file_error(source))?;
                Ok(DONE)
            }
            Action::RemoveDetails => {
                let removed = self.details.remove(&plan.operation);
                removed.map_err(|source| self.file_error(source))?;
                Ok(DONE)
            }
            Action::MakeParents { datasets } => self.make_parents(datasets).await,
            Action::Clone {
                origin,
                guid,
                target,
                properties,
            } => {
                self.expect_guid(origin.as_str(), *guid).await?;
                let (properties, outcome) = with_intent(plan, properties)?;
                let (target, origin) = (target.clone(), origin.clone());
                self.on_zfs(move |zfs| zfs.clone_snapshot(&target, &origin, &properties))
                    .await?;
                Ok(outcome)
            }
            Action::Copy {
                origin,
                guid,
                target,
                properties,
            } => self.copy(plan, origin, *guid, target, properties).await,
            Action::WriteIntent { dataset, guid } => {
                self.expect_guid(dataset.as_str(), *guid).await?;
                let intent = plan
                    .intent
                    .as_ref()
                    .map(Intent::to_properties)
                    .unwrap_or_default();
                let changes = intent
                    .into_iter()
                    .map(|(key, value)| (key, Some(value)))
                    .collect();
                self.set_properties(dataset.to_string(), changes).await
            }
            Action::NoteTold { dataset } => {
                self.expect_ours(plan, dataset).await?;
                let told = Some(plan.made_at.to_string());
                let changes = BTreeMap::from([(property::TOLD.to_owned(), told)]);
                self.set_properties(dataset.to_string(), changes).await
            }
            Action::CheckPromote { clone } => {
                let clone = clone.clone();
                self.on_zfs(move |zfs| zfs.check_promote(&clone)).await?;
                Ok(DONE)
            }
            Action::Promote { clone } => {
                let clone = clone.clone();
                self.on_zfs(move |zfs| zfs.promote(&clone)).await?;
                Ok(DONE)
            }
            Action::Snapshot {
                snapshots,
                together,
            } => self.snapshot(snapshots, *together).await,
            Action::Rename { from, guid, to } => {
                self.expect_guid(from.as_str(), *guid).await?;
                self.rename(from, to).await
            }
            Action::RenameStaged { from, to } => {
                self.expect_ours(plan, from).await?;
                self.rename(from, to).await
            }
            Action::Rollback { to, guid } => {
                self.expect_guid(to.as_str(), *guid).await?;
                let to = to.clone();
                self.on_zfs(move |zfs| zfs.rollback_to(&to)).await?;
                Ok(DONE)
            }
            Action::DestroyStaged { dataset } => self.destroy_staged(plan, dataset).await,
            Action::DestroySafety { snapshot, guid } => {
                self.expect_guid(snapshot.as_str(), *guid).await?;
                self.destroy_snapshots(vec![(snapshot.clone(), *guid)])
                    .await
            }
            Action::DestroyDuplicates { dataset, records } => {
                self.destroy_duplicates(plan, dataset, records).await
            }
            Action::RemoveHusk { dataset, guid } => self.remove_husk(dataset, *guid).await,
            Action::RemoveParent { dataset } => self.remove_parent(plan, dataset).await,
            Action::MarkUsed { snapshot, guid } => {
                if self.guid(snapshot.as_str()).await? != Some(*guid) {
                    return skipped("it is not there any more");
                }
                let now = Some(plan.made_at.to_string());
                let changes = BTreeMap::from([(property::LAST_USED.to_owned(), now)]);
                self.set_properties(snapshot.to_string(), changes).await
            }
            Action::SetProperties {
                object,
                guid,
                changes,
            } => {
                self.expect_guid(object, *guid).await?;
                self.set_properties(object.clone(), changes.clone()).await
            }
            Action::DestroyPoints { points } => self.destroy_points(points).await,
            Action::ClearIntent { dataset } => {
                let (dataset, _) = self.expect_ours(plan, dataset).await?;
                let removal = Intent::removal(&dataset.local);
                self.set_properties(dataset.name.to_string(), removal).await
            }
            Action::CheckUnmounted { dataset } => self.check_unmounted(dataset).await,
            Action::Stop { instance, how } => {
                self.instances.stop(instance, *how).await?;
                Ok(DONE)
            }
            Action::Start { instance } => {
                self.instances.start(instance).await?;
                Ok(DONE)
            }
            Action::SetConfig { instance, changes } => {
                self.instances.set_config(instance, changes).await?;
                Ok(DONE)
            }
            Action::AssumeDefinition { instance, record } => {
                self.assume_definition(plan, instance, record).await
            }
            Action::RestoreDefinition { instance } => {
                self.instances
                    .set_definition(instance, &plan.details.definition)
                    .await?;
                Ok(DONE)
            }
            Action::MakeRecord { instance, record } => {
                self.make_record(plan, instance, record).await
            }
            Action::DropRecord {
                instance,
                record,
                dataset,
            } => {
                let snapshot = format!("{dataset}@{LXD_SNAPSHOT_PREFIX}{record}");
                if self.guid(&snapshot).await?.is_some() {
                    return skipped(format!("{snapshot} exists"));
                }
                self.instances.delete_snapshot(instance, record).await?;
                Ok(DONE)
            }
            Action::UnmakeRecord {
                instance,
                record,
                dataset,
            } => self.unmake_record(plan, instance, record, dataset).await,
            Action::CreateInstance { instance, dataset } => {
                // LXD's clean-up after a failed creation destroys what stood there before.
                if self.guid(dataset.as_str()).await?.is_some() {
                    return Err(changed(
                        dataset,
                        "it exists now, though LXD has no such instance",
                    ));
                }
                if self.instances.get(instance).await?.is_some() {
                    return Err(Error::NameTaken {
                        instance: instance.clone(),
                    });
                }
                self.instances
                    .create_empty(instance, &plan.details.definition)
                    .await?;
                Ok(DONE)
            }
            Action::ForgetInstance {
                instance,
                live,
                grave,
                guid,
                uuid,
            } => {
                self.forget_instance(instance, live, (grave, *guid), uuid.as_ref())
                    .await
            }
            Action::Bury { dataset } => self.bury(plan, dataset).await,
            Action::Exhume { dataset } => self.exhume(plan, dataset).await,
            Action::DestroyStandIn {
                instance,
                dataset,
                records,
            } => {
                self.destroy_stand_in(plan, instance, dataset, records)
                    .await
            }
            Action::DropSafety { snapshot, guid } => self.drop_safety(snapshot, *guid).await,
            Action::ForgetDetails { operation } => {
                let removed = self.details.remove(operation);
                removed.map_err(|source| self.file_error(source))?;
                Ok(DONE)
            }
            Action::MarkPurging { datasets, clones } => {
                self.mark_purging(plan, datasets, clones).await
            }
            Action::PurgePoints {
                dataset,
                guid,
                points,
            } => self.purge_points(dataset, *guid, points).await,
            Action::PurgeDataset {
                dataset,
                guid,
                operation,
            } => self.purge_dataset(dataset, *guid, operation).await,
            Action::DestroyEmpty { instance, dataset } => {
                self.destroy_empty(plan, instance, dataset).await
            }
            Action::DeleteInstance { instance, dataset } => {
                self.delete_unfinished(plan, instance, dataset).await
            }
        }
    }

    pub(super) async fn guid(&self, object: &str) -> Result<Option<Guid>, Error> {
        let object = object.to_owned();
        self.on_zfs(move |zfs| zfs.guid(&object)).await
    }

    pub(super) async fn expect_guid(&self, object: &str, expected: Guid) -> Result<(), Error> {
        match self.guid(object).await? {
            Some(guid) if guid == expected => Ok(()),
            Some(guid) => Err(changed(
                object,
                format!("its guid is {guid}, not {expected}"),
            )),
            None => Err(changed(object, "it does not exist any more")),
        }
    }

    /// A dataset with all that is below it, if it carries the intent of this operation.
    pub(super) async fn expect_ours(
        &self,
        plan: &Plan,
        dataset: &DatasetName,
    ) -> Result<(Dataset, Listing), Error> {
        let listing = self.list(dataset).await?;
        let found = listing
            .datasets
            .iter()
            .find(|found| found.name == *dataset)
            .cloned();
        let found = found.ok_or_else(|| changed(dataset, "it does not exist any more"))?;
        let intent = Intent::from_properties(&found.local).map_err(|source| Error::Intent {
            holder: dataset.clone(),
            source,
        })?;
        if intent.is_some_and(|intent| intent.operation == plan.operation) {
            Ok((found, listing))
        } else {
            Err(changed(
                dataset,
                "it does not carry the intent of this operation",
            ))
        }
    }

    pub(super) async fn list(&self, root: &DatasetName) -> Result<Listing, Error> {
        let root = root.clone();
        self.on_zfs(move |zfs| zfs.list(&root)).await
    }

    pub(super) async fn set_properties(
        &self,
        object: String,
        changes: BTreeMap<String, Option<String>>,
    ) -> Result<Outcome, Error> {
        self.on_zfs(move |zfs| zfs.set_user_properties(&object, &changes))
            .await?;
        Ok(DONE)
    }

    async fn rename(&self, from: &DatasetName, to: &DatasetName) -> Result<Outcome, Error> {
        let (from, to) = (from.clone(), to.clone());
        self.on_zfs(move |zfs| zfs.rename(&from, &to)).await?;
        Ok(DONE)
    }

    pub(super) async fn destroy(&self, dataset: &DatasetName) -> Result<Outcome, Error> {
        let dataset = dataset.clone();
        self.on_zfs(move |zfs| zfs.destroy(&dataset)).await?;
        Ok(DONE)
    }

    pub(super) async fn destroy_snapshots(
        &self,
        snapshots: Vec<(SnapshotName, Guid)>,
    ) -> Result<Outcome, Error> {
        self.on_zfs(move |zfs| zfs.destroy_by_guid(&snapshots))
            .await?;
        Ok(DONE)
    }

    /// Destroys all that can be; that one cannot be destroyed is no error of the whole.
    pub(super) async fn destroy_points(&self, points: &[DoomedPoint]) -> Result<Outcome, Error> {
        let wanted = points
            .iter()
            .map(|point| (point.snapshot.clone(), point.guid));
        match self.destroy_snapshots(wanted.collect()).await {
            Err(Error::ZfsBatch(source)) if source.others_done => Err(Error::NotAllDestroyed {
                destroyed: points.len().saturating_sub(source.failures.len()),
                source,
            }),
            done => done,
        }
    }

    /// LXD's unmount may come later than its stop.
    async fn check_unmounted(&self, dataset: &DatasetName) -> Result<Outcome, Error> {
        let deadline = tokio::time::Instant::now() + UNMOUNT_TIME;
        loop {
            let asked = dataset.clone();
            let Some(place) = self.on_zfs(move |zfs| zfs.mounted_at(&asked)).await? else {
                return Ok(DONE);
            };
            if tokio::time::Instant::now() >= deadline {
                return Err(Error::Mounted {
                    dataset: dataset.clone(),
                    place,
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn make_parents(&self, datasets: &[DatasetName]) -> Result<Outcome, Error> {
        let mut properties = Properties::new();
        for (name, value) in [("canmount", "off"), ("mountpoint", "none")] {
            properties
                .set(name, value)
                .map_err(terrarium_zfs::Error::from)?;
        }
        for dataset in datasets {
            if self.guid(dataset.as_str()).await?.is_none() {
                let (dataset, properties) = (dataset.clone(), properties.clone());
                self.on_zfs(move |zfs| zfs.create(&dataset, &properties))
                    .await?;
            }
        }
        Ok(DONE)
    }

    /// The snapshot that comes with a copy goes at once: it would be a restore point of the new instance.
    async fn copy(
        &self,
        plan: &Plan,
        origin: &SnapshotName,
        guid: Guid,
        target: &DatasetName,
        properties: &BTreeMap<String, String>,
    ) -> Result<Outcome, Error> {
        self.expect_guid(origin.as_str(), guid).await?;
        let (properties, outcome) = with_intent(plan, properties)?;
        let received = target.snapshot(origin.name());
        let received = received.map_err(terrarium_zfs::Error::from)?;
        let (copy, origin) = (target.clone(), origin.clone());
        self.on_zfs(move |zfs| zfs.copy_snapshot(&copy, &origin, &properties))
            .await?;
        self.expect_ours(plan, target).await?;
        self.destroy_snapshots(vec![(received, guid)]).await?;
        Ok(outcome)
    }

    /// Destroys what this operation has prepared: a clone, or a copy, with the one snapshot that came with it.
    async fn destroy_staged(&self, plan: &Plan, dataset: &DatasetName) -> Result<Outcome, Error> {
        let (_, listing) = self.expect_ours(plan, dataset).await?;
        let received = match plan.intent.as_ref() {
            Some(Intent {
                goal: Goal::AsNew(goal),
                target,
                ..
            }) if goal.copied && goal.staged == *dataset => Some(target.guid),
            _ => None,
        };
        let (came_with_it, others): (Vec<_>, Vec<_>) = listing
            .snapshots
            .into_iter()
            .partition(|snapshot| Some(snapshot.guid) == received);
        if let Some(snapshot) = others.first() {
            return Err(changed(
                &snapshot.name,
                "it is there, and nothing that this operation prepared should have it",
            ));
        }
        let came_with_it = came_with_it.into_iter();
        self.destroy_snapshots(came_with_it.map(|it| (it.name, it.guid)).collect())
            .await?;
        self.destroy(dataset).await
    }

    /// Takes all; those that cannot be taken do not stop the others.
    async fn snapshot(
        &self,
        snapshots: &[(SnapshotName, UserProperties)],
        together: bool,
    ) -> Result<Outcome, Error> {
        let all = snapshots.to_vec();
        let Err(error) = self.on_zfs(move |zfs| zfs.snapshot(&all)).await else {
            return Ok(DONE);
        };
        let Error::ZfsBatch(batch) = error else {
            return Err(error);
        };
        let failed = |name: &SnapshotName| {
            batch
                .failures
                .iter()
                .any(|(object, _)| object == name.as_str())
        };
        let others: Vec<_> = snapshots
            .iter()
            .filter(|(name, _)| !failed(name))
            .cloned()
            .collect();
        if together || others.is_empty() || others.len() == snapshots.len() {
            return Err(Error::ZfsBatch(batch));
        }
        let taken = others.len();
        self.on_zfs(move |zfs| zfs.snapshot(&others)).await?;
        Err(Error::PartlyTaken {
            taken,
            source: batch,
        })
    }

    async fn remove_husk(&self, dataset: &DatasetName, guid: Guid) -> Result<Outcome, Error> {
        if self.guid(dataset.as_str()).await? != Some(guid) {
            return skipped("it is not there any more");
        }
        let listing = self.list(dataset).await?;
        match listing.datasets.as_slice() {
            [husk] if !listing.snapshots.is_empty() => skipped(format!(
                "{} still holds {} restore points",
                husk.name,
                listing.snapshots.len()
            )),
            [husk] if husk.written > 0 => skipped(format!("{} was written to", husk.name)),
            [_] => self.destroy(dataset).await,
            _ => skipped("it has children"),
        }
    }

    async fn remove_parent(&self, plan: &Plan, dataset: &DatasetName) -> Result<Outcome, Error> {
        let ours = plan
            .layout
            .as_ref()
            .is_some_and(|layout| layout.is_ours(dataset));
        if !ours || self.guid(dataset.as_str()).await?.is_none() {
            return skipped("it is not there");
        }
        let listing = self.list(dataset).await?;
        if listing.datasets.len() != 1 || !listing.snapshots.is_empty() {
            return skipped("it is not empty");
        }
        match self.destroy(dataset).await {
            Err(Error::Zfs(error))
                if matches!(error.kind(), ErrorKind::HasChildren | ErrorKind::Busy) =>
            {
                skipped("it is not empty")
            }
            outcome => outcome,
        }
    }

    /// The transaction group in which this operation made its clone: what LXD was asked for is younger.
    async fn began(&self, plan: &Plan) -> Result<terrarium_zfs::Txg, Error> {
        let places: Vec<&DatasetName> = match plan.intent.as_ref().map(|intent| &intent.goal) {
            Some(Goal::Rewind(goal)) => vec![&goal.live, &goal.staged],
            Some(Goal::AsNew(goal)) => vec![&goal.staged, &goal.dataset],
            _ => Vec::new(),
        };
        for place in places {
            if self.guid(place.as_str()).await?.is_some()
                && let Ok((clone, _)) = self.expect_ours(plan, place).await
            {
                return Ok(clone.createtxg);
            }
        }
        Err(changed(
            "the clone of this operation",
            "it does not exist any more",
        ))
    }

    async fn destroy_duplicates(
        &self,
        plan: &Plan,
        dataset: &DatasetName,
        records: &[String],
    ) -> Result<Outcome, Error> {
        if self.guid(dataset.as_str()).await?.is_none() {
            return skipped("it is not there any more");
        }
        let began = self.began(plan).await?;
        let listing = self.list(dataset).await?;
        let is_duplicate = |snapshot: &&terrarium_zfs::Snapshot| {
            let of_a_record = |name| records.iter().any(|record| record == name);
            lxd_record_name(&snapshot.name).is_some_and(of_a_record) && snapshot.createtxg > began
        };
        let duplicates: Vec<_> = listing.snapshots.iter().filter(is_duplicate).collect();
        self.destroy_snapshots(
            duplicates
                .iter()
                .map(|snapshot| (snapshot.name.clone(), snapshot.guid))
                .collect(),
        )
        .await
    }

    async fn assume_definition(
        &self,
        plan: &Plan,
        instance: &InstanceRef,
        record: &str,
    ) -> Result<Outcome, Error> {
        let saved = plan
            .details
            .records_to_make
            .iter()
            .find(|saved| saved.name == record);
        let Some(saved) = saved else {
            return skipped("its definition was not saved");
        };
        // A definition that LXD does not take any more costs the record's config, never the restore.
        match self
            .instances
            .set_definition(instance, &saved.definition)
            .await
        {
            Ok(()) => Ok(DONE),
            Err(error) => skipped(format!(
                "{}; the record gets today's config",
                with_causes(&error)
            )),
        }
    }

    async fn make_record(
        &self,
        plan: &Plan,
        instance: &InstanceRef,
        record: &str,
    ) -> Result<Outcome, Error> {
        let saved = plan
            .details
            .records_to_make
            .iter()
            .find(|saved| saved.name == record);
        let expires = saved.and_then(|saved| saved.expires);
        self.instances
            .create_snapshot(instance, record, expires)
            .await?;
        Ok(DONE)
    }

    async fn unmake_record(
        &self,
        plan: &Plan,
        instance: &InstanceRef,
        record: &str,
        dataset: &DatasetName,
    ) -> Result<Outcome, Error> {
        let began = self.began(plan).await?;
        let listing = self.list(dataset).await?;
        let made =
            |snapshot: &&terrarium_zfs::Snapshot| lxd_record_name(&snapshot.name) == Some(record);
        let made = listing.snapshots.iter().find(made);
        if made.is_some_and(|made| made.createtxg <= began) {
            return skipped("the snapshot is older than this operation");
        }
        self.instances.delete_snapshot(instance, record).await?;
        if let Some(made) = made
            && self.guid(made.name.as_str()).await? == Some(made.guid)
        {
            self.destroy_snapshots(vec![(made.name.clone(), made.guid)])
                .await?;
        }
        Ok(DONE)
    }

    async fn expect_mark(&self, plan: &Plan, instance: &InstanceRef) -> Result<bool, Error> {
        let record = self.instances.get(instance).await?;
        let record = record
            .ok_or_else(|| changed(format!("instance {instance}"), "it does not exist any more"))?;
        let mark = record.definition.config.get(property::LXD_OPERATION);
        Ok(mark.is_some_and(|mark| *mark == plan.operation.as_str()))
    }

    async fn destroy_empty(
        &self,
        plan: &Plan,
        instance: &InstanceRef,
        dataset: &DatasetName,
    ) -> Result<Outcome, Error> {
        if !self.expect_mark(plan, instance).await? {
            return Err(changed(
                format!("instance {instance}"),
                "it is not the one that this operation made",
            ));
        }
        let began = self.began(plan).await?;
        let listing = self.list(dataset).await?;
        match listing.datasets.as_slice() {
            [empty]
                if listing.snapshots.is_empty()
                    && empty.origin.is_none()
                    && empty.createtxg > began =>
            {
                self.destroy(dataset).await
            }
            _ => Err(changed(
                dataset,
                "it is not the empty one that LXD made for this operation",
            )),
        }
    }

    /// Deletes an instance only if its dataset is absent, empty and new, or the clone of this operation.
    async fn delete_unfinished(
        &self,
        plan: &Plan,
        instance: &InstanceRef,
        dataset: &DatasetName,
    ) -> Result<Outcome, Error> {
        if self.guid(dataset.as_str()).await?.is_some() {
            let listing = self.list(dataset).await?;
            let nothing_lost = listing.datasets.len() == 1 && listing.snapshots.is_empty();
            let ours = self.expect_ours(plan, dataset).await.is_ok()
                || self.expect_mark(plan, instance).await?;
            if !nothing_lost || !ours {
                return Err(changed(dataset, "it is not as this operation left it"));
            }
        }
        self.instances.delete(instance).await?;
        Ok(DONE)
    }
}

/// The properties of a dataset that is made, with the intent among them, and what cannot be carried over.
fn with_intent(
    plan: &Plan,
    local: &BTreeMap<String, String>,
) -> Result<(Properties, Outcome), Error> {
    let mut properties = Properties::new();
    let mut refused = Vec::new();
    for (name, value) in local {
        if properties.set(name, value).is_err() {
            refused.push(format!("{name}={value}"));
        }
    }
    let intent = plan.intent.as_ref().map(Intent::to_properties);
    for (name, value) in intent.unwrap_or_default() {
        properties
            .set(&name, &value)
            .map_err(terrarium_zfs::Error::from)?;
    }
    let note = (!refused.is_empty()).then(|| format!("not carried over: {}", refused.join(", ")));
    Ok((properties, Outcome::Done { note }))
}
