//! The stub keeps records of snapshots.

use jiff::Timestamp;
use serde_json::Value;

use super::instances::find;
use super::operations::{Outcome, done};
use super::server::{Answer, Ask, Lxd, refuse};
use crate::wire::InstanceSnapshot;

pub(super) fn missing(ask: &Ask, instance: &str, name: &str) -> String {
    let project = ask.project();
    format!(
        "Failed to fetch snapshot {name:?} of instance {instance:?} in project {project:?}: \
         InstanceSnapshot not found"
    )
}

pub(super) fn create(lxd: &Lxd, ask: &Ask, instance: &str) -> Answer {
    let parent = find(lxd, ask, instance)?;
    let mut name = ask.text("name").to_owned();
    if name.is_empty() {
        let taken = |name: &String| {
            let mut records = parent.snapshots.iter().flatten();
            records.any(|record| record.name == *name)
        };
        let mut numbers = (0..).map(|number| format!("snap{number}"));
        name = numbers.find(|name| !taken(name)).unwrap_or_default();
    }
    if let Some(sign) = ["/", "?", "&", "+"]
        .into_iter()
        .find(|sign| name.contains(sign))
    {
        return refuse(
            400,
            format!("Invalid snapshot name: Cannot contain {sign:?}"),
        );
    }
    let expires_at = expiry(ask)?;
    let (this, project, instance) = (lxd.clone(), ask.project().to_owned(), instance.to_owned());
    lxd.begin(ask, "Snapshotting instance", async move {
        this.add_snapshot(&project, &instance, &name, expires_at)
    })
}

pub(super) fn update(lxd: &Lxd, ask: &Ask, instance: &str, name: &str) -> Answer {
    find_snapshot(lxd, ask, instance, name)?;
    let given = ask.body.get("expires_at").is_some();
    let expires_at = expiry(ask)?;
    let (this, project) = (lxd.clone(), ask.project().to_owned());
    let (instance, name) = (instance.to_owned(), name.to_owned());
    lxd.begin(ask, "Updating snapshot", async move {
        let mut world = this.world();
        let records = world.guest_mut(&project, &instance);
        let mut records = records
            .into_iter()
            .flat_map(|it| it.snapshots.iter_mut().flatten());
        match records.find(|record| record.name == name) {
            // As in LXD, whatever else is sent is ignored.
            Some(record) if given => record.expires_at = expires_at,
            _ => {}
        }
        done()
    })
}

pub(super) fn delete(lxd: &Lxd, ask: &Ask, instance: &str, name: &str) -> Answer {
    find_snapshot(lxd, ask, instance, name)?;
    let (this, project) = (lxd.clone(), ask.project().to_owned());
    let (instance, name) = (instance.to_owned(), name.to_owned());
    lxd.begin(ask, "Deleting snapshot", async move {
        this.remove_snapshot(&project, &instance, &name)?;
        done()
    })
}

impl Lxd {
    fn add_snapshot(
        &self,
        project: &str,
        instance: &str,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Outcome {
        let failed = |problem: &str| {
            Err(format!(
                "Failed creating instance snapshot record {name:?}: {problem}"
            ))
        };
        if name.contains(' ') {
            return failed("Invalid instance snapshot name: Cannot contain space or / characters");
        }
        {
            let mut world = self.world();
            let Some(parent) = world.guest(project, instance) else {
                return Err("Instance not found".to_owned());
            };
            if parent
                .snapshots
                .iter()
                .flatten()
                .any(|record| record.name == name)
            {
                return failed(
                    "Add snapshot info to the database: This \"instances_snapshots\" entry already exists",
                );
            }
            let record = InstanceSnapshot {
                expires_at,
                ..world.record(parent, name)
            };
            if let Some(parent) = world.guest_mut(project, instance) {
                parent.snapshots.get_or_insert_default().push(record);
            }
        }
        let made = self.storage.create_snapshot(project, instance, name);
        if let Err(message) = made {
            self.forget_snapshot(project, instance, name);
            return Err(format!("Create instance snapshot: {message}"));
        }
        self.changed();
        done()
    }

    /// Deletes the storage's snapshot, then the record of it.
    pub(super) fn remove_snapshot(
        &self,
        project: &str,
        instance: &str,
        name: &str,
    ) -> Result<(), String> {
        self.storage.delete_snapshot(project, instance, name)?;
        self.forget_snapshot(project, instance, name);
        Ok(())
    }

    fn forget_snapshot(&self, project: &str, instance: &str, name: &str) {
        if let Some(parent) = self.world().guest_mut(project, instance) {
            let records = parent.snapshots.get_or_insert_default();
            records.retain(|record| record.name != name);
        }
        self.changed();
    }
}

fn find_snapshot(
    lxd: &Lxd,
    ask: &Ask,
    instance: &str,
    name: &str,
) -> Result<(), super::server::Refusal> {
    let parent = lxd.world().guest(ask.project(), instance).cloned();
    let mut records = parent
        .iter()
        .flat_map(|parent| parent.snapshots.iter().flatten());
    match records.any(|record| record.name == name) {
        true => Ok(()),
        false => refuse(404, missing(ask, instance, name)),
    }
}

/// The expiry that a request names; LXD's zero time is none.
fn expiry(ask: &Ask) -> Result<Option<Timestamp>, super::server::Refusal> {
    let record = match ask.body.get("expires_at") {
        None | Some(Value::Null) => return Ok(None),
        Some(time) => serde_json::json!({ "expires_at": time }),
    };
    match serde_json::from_value::<InstanceSnapshot>(record) {
        Ok(record) => Ok(record.expires_at),
        Err(error) => refuse(400, error.to_string()),
    }
}
