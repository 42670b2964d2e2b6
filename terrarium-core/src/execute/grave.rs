//! How the actions of the graveyard are carried out, and what they check right before.

use std::collections::BTreeMap;

use terrarium_zfs::{Attempt, BatchError, DatasetName, ErrorKind, Guid, SnapshotName};

use super::Executor;
use super::step::{DONE, changed, skipped};
use crate::error::Error;
use crate::grave::GraveRecord;
use crate::instances::Instances;
use crate::intent::{Goal, Intent};
use crate::names::{InstanceRef, OperationId};
use crate::plan::{DoomedPoint, Plan};
use crate::point::lxd_record_name;
use crate::property;
use crate::report::Outcome;
use crate::zfs::Zfs;

/// What LXD writes into the root disk of an instance that never ran is far less, in bytes.
const STAND_IN: u64 = 4 << 20;

impl<Z: Zfs, I: Instances> Executor<'_, Z, I> {
    /// Deletes an instance only if it is the one that was meant and its dataset is out of LXD's reach.
    pub(super) async fn forget_instance(
        &self,
        instance: &InstanceRef,
        live: &DatasetName,
        (grave, guid): (&DatasetName, Guid),
        uuid: Option<&String>,
    ) -> Result<Outcome, Error> {
        self.expect_guid(grave.as_str(), guid).await?;
        if self.guid(live.as_str()).await?.is_some() {
            return Err(changed(
                live,
                "it exists again, and LXD would destroy it with the instance",
            ));
        }
        if let Some(record) = self.instances.get(instance).await? {
            let now = record.definition.config.get(property::LXD_UUID);
            if let (Some(meant), Some(now)) = (uuid, now)
                && meant != now
            {
                return Err(changed(
                    format!("instance {instance}"),
                    format!("its uuid is {now}, not {meant}"),
                ));
            }
        }
        self.instances.delete(instance).await?;
        Ok(DONE)
    }

    /// The intent goes and the record comes in one change.
    pub(super) async fn bury(&self, plan: &Plan, dataset: &DatasetName) -> Result<Outcome, Error> {
        let (found, _) = self.expect_ours(plan, dataset).await?;
        let Some(Goal::Destroy(goal)) = plan.intent.as_ref().map(|intent| &intent.goal) else {
            return Err(changed(dataset, "it is not what this operation destroyed"));
        };
        let mut changes = Intent::removal(&found.local);
        let record = goal.record.to_properties().into_iter();
        changes.extend(record.map(|(key, value)| (key, Some(value))));
        self.set_properties(dataset.to_string(), changes).await
    }

    /// The intent and the record go in one change.
    pub(super) async fn exhume(
        &self,
        plan: &Plan,
        dataset: &DatasetName,
    ) -> Result<Outcome, Error> {
        let (found, _) = self.expect_ours(plan, dataset).await?;
        let mut changes = Intent::removal(&found.local);
        changes.extend(GraveRecord::removal(&found.local));
        if found.local.contains_key(property::IDMAP) {
            changes.insert(property::IDMAP.to_owned(), None);
        }
        self.set_properties(dataset.to_string(), changes).await
    }

    /// Destroys what LXD made for an instance that is about to get its own dataset back: younger than anything in that,
    /// no clone, next to nothing in it, and no snapshots but those that were asked for.
    pub(super) async fn destroy_stand_in(
        &self,
        plan: &Plan,
        instance: &InstanceRef,
        dataset: &DatasetName,
        records: &[String],
    ) -> Result<Outcome, Error> {
        if self.guid(dataset.as_str()).await?.is_none() {
            return skipped("it is not there");
        }
        let Some(Goal::Resume(goal)) = plan.intent.as_ref().map(|intent| &intent.goal) else {
            return Err(changed(dataset, "it is not what this operation made"));
        };
        let record = self.instances.get(instance).await?;
        let config = record.map(|record| record.definition.config);
        let config = config.unwrap_or_default();
        let marked = config.get(property::LXD_OPERATION).map(String::as_str)
            == Some(plan.operation.as_str());
        if !marked && config.get(property::LXD_UUID) != Some(&goal.uuid) {
            return Err(changed(
                format!("instance {instance}"),
                "it is not the one that this operation made",
            ));
        }
        let grave = self.list(&goal.grave).await?;
        let began = grave
            .snapshots
            .iter()
            .map(|snapshot| snapshot.createtxg)
            .chain(grave.datasets.iter().map(|dataset| dataset.createtxg))
            .max();
        let listing = self.list(dataset).await?;
        let asked_for = |name: &SnapshotName| {
            lxd_record_name(name).is_some_and(|name| records.iter().any(|known| known == name))
        };
        match listing.datasets.as_slice() {
            [empty]
                if empty.origin.is_none()
                    && Some(empty.createtxg) > began
                    && empty.referenced <= STAND_IN
                    && listing
                        .snapshots
                        .iter()
                        .all(|snapshot| asked_for(&snapshot.name)) =>
            {
                let made = listing.snapshots.iter();
                let made = made.map(|snapshot| (snapshot.name.clone(), snapshot.guid));
                self.destroy_snapshots(made.collect()).await?;
                self.destroy(dataset).await
            }
            _ => Err(changed(
                dataset,
                "it is not the empty one that LXD made for this operation",
            )),
        }
    }

    pub(super) async fn drop_safety(
        &self,
        snapshot: &SnapshotName,
        guid: Guid,
    ) -> Result<Outcome, Error> {
        if self.guid(snapshot.as_str()).await? != Some(guid) {
            return skipped("it is not there any more");
        }
        match self.destroy_snapshots(vec![(snapshot.clone(), guid)]).await {
            Err(Error::ZfsBatch(error))
                if matches!(error.kind(), ErrorKind::Busy | ErrorKind::HasClones) =>
            {
                skipped("somebody uses it")
            }
            done => done,
        }
    }

    /// Looks once more before anything is gone, then marks.
    pub(super) async fn mark_purging(
        &self,
        plan: &Plan,
        datasets: &[(DatasetName, Guid)],
        clones: &[DatasetName],
    ) -> Result<Outcome, Error> {
        let mut there = Vec::new();
        for (dataset, guid) in datasets {
            match self.guid(dataset.as_str()).await? {
                None => continue,
                Some(found) if found == *guid => there.push(dataset),
                Some(_) => self.expect_guid(dataset.as_str(), *guid).await?,
            }
            let listing = self.list(dataset).await?;
            let mut failures = Vec::new();
            for snapshot in &listing.snapshots {
                let attempt = Attempt::new("destroy", snapshot.name.as_str());
                if snapshot.userrefs > 0 {
                    let error = terrarium_zfs::Error::Busy(attempt);
                    failures.push((snapshot.name.to_string(), error));
                } else if snapshot.clones.iter().any(|clone| !clones.contains(clone)) {
                    let error = terrarium_zfs::Error::HasClones(attempt);
                    failures.push((snapshot.name.to_string(), error));
                }
            }
            if !failures.is_empty() {
                return Err(Error::NotAllDestroyed {
                    destroyed: 0,
                    source: BatchError::new("destroy", failures),
                });
            }
        }
        for dataset in there {
            let since = Some(plan.made_at.to_string());
            let changes = BTreeMap::from([(property::PURGING.to_owned(), since)]);
            self.set_properties(dataset.to_string(), changes).await?;
        }
        Ok(DONE)
    }

    /// Whether a dataset is there and marked; why it is not.
    async fn is_marked(
        &self,
        dataset: &DatasetName,
        guid: Guid,
    ) -> Result<Result<bool, &'static str>, Error> {
        if self.guid(dataset.as_str()).await? != Some(guid) {
            return Ok(Err("it is not there any more"));
        }
        let listing = self.list(dataset).await?;
        let found = listing.datasets.iter().find(|found| found.name == *dataset);
        let marked = found.is_some_and(|found| found.local.contains_key(property::PURGING));
        if !marked {
            return Ok(Err("it is not marked, and stays"));
        }
        Ok(Ok(
            listing.snapshots.is_empty() && listing.datasets.len() == 1
        ))
    }

    pub(super) async fn purge_points(
        &self,
        dataset: &DatasetName,
        guid: Guid,
        points: &[DoomedPoint],
    ) -> Result<Outcome, Error> {
        match self.is_marked(dataset, guid).await? {
            Err(why) => skipped(why),
            Ok(_) => self.destroy_points(points).await,
        }
    }

    pub(super) async fn purge_dataset(
        &self,
        dataset: &DatasetName,
        guid: Guid,
        operation: &OperationId,
    ) -> Result<Outcome, Error> {
        match self.is_marked(dataset, guid).await? {
            Err(why) => skipped(why),
            Ok(false) => skipped("something is left in it"),
            Ok(true) => {
                let removed = self.details.remove(operation);
                removed.map_err(|source| self.file_error(source))?;
                match self.destroy(dataset).await {
                    // One that stays stops none of the others.
                    Err(Error::Zfs(error)) if is_in_use(&error) => Err(Error::NotAllDestroyed {
                        destroyed: 0,
                        source: BatchError::new("destroy", vec![(dataset.to_string(), error)]),
                    }),
                    done => done,
                }
            }
        }
    }
}

fn is_in_use(error: &terrarium_zfs::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Busy | ErrorKind::HasClones | ErrorKind::HasChildren
    )
}
