//! Background operations of the stub: begun, waited for, forgotten.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::invent::random_uuid;
use super::server::{Answer, Ask, Lxd, Reply, refuse};
use crate::wire::{OperationInfo, OperationStatus};

/// LXD forgets an operation this long after its end.
const MEMORY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Record {
    pub(super) info: OperationInfo,
    pub(super) project: String,
}

/// What an operation leaves behind: metadata, or why it failed.
pub(super) type Outcome = Result<Map<String, Value>, String>;

/// An operation's end without metadata.
pub(super) fn done() -> Outcome {
    Ok(Map::new())
}

impl Lxd {
    /// Begins an operation and answers with it; what a test wants of it (delay, failure) happens first.
    pub(super) fn begin(
        &self,
        ask: &Ask,
        description: &str,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Answer {
        let id = random_uuid();
        let info = OperationInfo {
            id: id.clone(),
            class: "task".to_owned(),
            description: description.to_owned(),
            created_at: Some(Timestamp::now()),
            updated_at: Some(Timestamp::now()),
            status_text: "Running".to_owned(),
            status_code: 103,
            location: "none".to_owned(),
            ..OperationInfo::default()
        };
        let project = ask.project().to_owned();
        self.world()
            .operations
            .insert(id.clone(), Record { info, project });

        let (lxd, name) = (self.clone(), id.clone());
        let (delay, failure) = (ask.trouble.delay, ask.trouble.fail_operation.clone());
        tokio::spawn(async move {
            sleep(delay).await;
            let outcome = match failure {
                Some(message) => Err(message),
                None => work.await,
            };
            lxd.finish(&name, outcome);
            sleep(MEMORY).await;
            lxd.world().operations.remove(&name);
        });
        Ok(Reply::Begun(id))
    }

    fn finish(&self, id: &str, outcome: Outcome) {
        if let Some(Record { info, .. }) = self.world().operations.get_mut(id) {
            info.updated_at = Some(Timestamp::now());
            let (text, code) = match outcome {
                Ok(metadata) => {
                    info.metadata = metadata;
                    ("Success", 200)
                }
                Err(message) => {
                    info.err = message;
                    ("Failure", 400)
                }
            };
            info.status_text = text.to_owned();
            info.status_code = code;
        }
        self.changed();
    }

    fn operation(&self, id: &str) -> Option<OperationInfo> {
        let world = self.world();
        world.operations.get(id).map(|record| record.info.clone())
    }
}

pub(super) fn list(lxd: &Lxd, ask: &Ask) -> Answer {
    let world = lxd.world();
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in world
        .operations
        .values()
        .filter(|record| record.project == ask.project())
    {
        let shown = match ask.recursion() {
            0 => json!(format!("/1.0/operations/{}", record.info.id)),
            _ => json!(record.info),
        };
        groups
            .entry(record.info.status_text.to_lowercase())
            .or_default()
            .push(shown);
    }
    Ok(Reply::Sync(json!(groups)))
}

pub(super) fn get(lxd: &Lxd, id: &str) -> Answer {
    match lxd.operation(id) {
        Some(info) => Ok(Reply::Sync(json!(info))),
        None => refuse(404, "Operation not found"),
    }
}

pub(super) fn cancel(lxd: &Lxd, id: &str) -> Answer {
    match lxd.operation(id) {
        Some(_) => refuse(400, "This operation can't be cancelled"),
        None => refuse(404, "Operation not found"),
    }
}

pub(super) async fn wait(lxd: &Lxd, ask: &Ask, id: &str) -> Answer {
    let seconds = ask.query.get("timeout").and_then(|text| text.parse().ok());
    // Half a century stands for LXD's "for ever".
    let limit = Duration::from_secs(seconds.unwrap_or(1_500_000_000));
    let deadline = Instant::now() + limit;
    let mut changes = lxd.watch();
    loop {
        let Some(info) = lxd.operation(id) else {
            return refuse(404, "Operation not found");
        };
        let over = info.status() != OperationStatus::Running;
        if over || timeout_at(deadline, changes.changed()).await.is_err() {
            return Ok(Reply::Sync(json!(info)));
        }
    }
}
