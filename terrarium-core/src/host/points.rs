//! Plans that concern single restore points, and whose they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Planner;
use crate::error::Error;
use crate::instances::Instances;
use crate::inventory::Coverage;
use crate::names::{Alias, InstanceRef};
use crate::plan::{
    AdoptRequest, DeleteRequest, EditRequest, Notice, Plan, Setting, plan_adopt, plan_delete,
    plan_edit,
};
use crate::point::RestorePoint;
use crate::selector::{Selected, SelectedBy, select, show};
use crate::zfs::Zfs;

impl<Z: Zfs, I: Instances> Planner<'_, Z, I> {
    /// Plans a change of a restore point's alias and expiry.
    ///
    /// # Errors
    /// [`Error::Select`] if no point, or more than one, is meant; as [`plan_edit`].
    pub fn plan_edit(
        &self,
        instance: &InstanceRef,
        at: &str,
        alias: Setting<Alias>,
        expires: Setting<Timestamp>,
    ) -> Result<Plan, Error> {
        let selected = self.selected(instance, at)?;
        let request = EditRequest {
            operation: self.operation(),
            instance: instance.clone(),
            point: selected.point.guid,
            alias,
            expires,
        };
        let mut plan = plan_edit(&self.inventory, &request)?;
        plan.notices.extend(self.time_notice(&selected));
        Ok(plan)
    }

    /// Plans the deletion of restore points of an instance.
    ///
    /// # Errors
    /// [`Error::Select`] if one of them is not there, or several are meant; as [`plan_delete`].
    pub async fn plan_delete(
        &self,
        instance: &InstanceRef,
        at: &[String],
        force: bool,
    ) -> Result<Plan, Error> {
        let mut points = Vec::new();
        let mut notices = Vec::new();
        let mut holds = BTreeMap::new();
        for at in at {
            let selected = self.selected(instance, at)?;
            let point = selected.point;
            notices.extend(self.time_notice(&selected));
            if point.holds > 0 {
                holds.insert(point.guid, self.holds_of(point).await?);
            }
            points.push(point.guid);
        }
        let request = DeleteRequest {
            operation: self.operation(),
            instance: instance.clone(),
            points,
            force,
            holds,
        };
        let mut plan = plan_delete(&self.inventory, &request)?;
        notices.append(&mut plan.notices);
        plan.notices = notices;
        Ok(plan)
    }

    /// Plans that sanoid's snapshots of some instances, or of all that are covered, count as ours, or do not any more.
    ///
    /// # Errors
    /// As [`plan_adopt`].
    pub fn plan_adopt(&self, instances: &[InstanceRef], undo: bool) -> Result<Plan, Error> {
        let mut instances = instances.to_vec();
        if instances.is_empty() {
            let all = self.inventory.instances.iter();
            let covered = all.filter(|one| matches!(one.coverage, Coverage::Covered(_)));
            instances.extend(covered.map(|one| one.record.id.clone()));
        }
        let operation = self.operation();
        let request = AdoptRequest {
            operation,
            instances,
            undo,
        };
        plan_adopt(&self.inventory, &request)
    }

    fn selected(&self, instance: &InstanceRef, at: &str) -> Result<Selected<'_>, Error> {
        let (_, covered) = self.inventory.covered(instance)?;
        select(&covered.points, Some(at), &self.now).map_err(|source| Error::Select {
            instance: instance.clone(),
            source,
        })
    }

    /// A time means the point before it, which whoever gave it may not have had in mind.
    pub(super) fn time_notice(&self, selected: &Selected<'_>) -> Option<Notice> {
        let SelectedBy::Time(time) = &selected.by else {
            return None;
        };
        let point = selected.point;
        let taken = point.created.to_zoned(self.now.time_zone().clone());
        Some(Notice::info(format!(
            "{} means {}, taken {}",
            show(time),
            point.name(),
            show(&taken)
        )))
    }

    async fn holds_of(&self, point: &RestorePoint) -> Result<Vec<String>, Error> {
        let (zfs, snapshot) = (Arc::clone(&self.host.zfs), point.snapshot.clone());
        let asking = tokio::task::spawn_blocking(move || zfs.holds(&snapshot));
        Ok(asking.await.map_err(|_| Error::Interrupted)??)
    }
}
