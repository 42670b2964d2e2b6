//! Restore points: the snapshots that an instance can be brought back to.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;
use terrarium_zfs::{DatasetName, Guid, Snapshot, SnapshotName, Txg};

use crate::names::OperationId;
use crate::policy::{Period, parse_autosnap};
use crate::property;

/// The prefix that LXD gives to the ZFS snapshots it makes.
pub const LXD_SNAPSHOT_PREFIX: &str = "snapshot-";

/// A snapshot of an instance, in its dataset or in one that a rewind moved aside.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RestorePoint {
    /// Identity; names may repeat, guids do not.
    pub guid: Guid,
    /// Where it stands now.
    pub snapshot: SnapshotName,
    /// In the instance's own dataset, or in one moved aside.
    pub place: Place,
    /// Order within the pool.
    pub createtxg: Txg,
    /// When it was taken.
    pub created: Timestamp,
    /// Who took it and why.
    pub kind: Kind,
    /// What it was taken for, if the timer took it.
    pub period: Option<Period>,
    /// The name that a person gave to it.
    pub alias: Option<String>,
    /// When it may be removed.
    pub expires: Option<Timestamp>,
    /// When it was last restored or copied from.
    pub last_used: Option<Timestamp>,
    /// What became of the command that was to be run before it.
    pub pre: Option<PreOutcome>,
    /// Bytes that only this snapshot holds.
    pub size: u64,
    /// Bytes that the instance held at that moment.
    pub referenced: u64,
    /// Number of holds.
    pub holds: u64,
    /// Datasets cloned from it.
    pub clones: Vec<DatasetName>,
    /// The id map of its files, if it was recorded with it.
    pub idmap: Option<String>,
    /// Filesystem only, always: memory is never captured.
    pub stateful: bool,
}

/// Whether a restore point lies in the instance's history as it is now.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "place", content = "operation", rename_all = "kebab-case")]
pub enum Place {
    /// In the instance's own dataset.
    Live,
    /// In a dataset that this operation moved aside.
    Aside(OperationId),
}

/// Who took a snapshot and why.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Terrarium's timer.
    Scheduled,
    /// A person or program asked for it.
    OnDemand,
    /// A rewind took it of what it was about to move aside.
    Safety(OperationId),
    /// LXD: its record is LXD's to keep.
    Lxd,
    /// Something else: sanoid, syncoid, a person with `zfs snapshot`.
    Foreign,
}

/// What became of the command before a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreOutcome {
    /// It came to its end with exit code 0.
    Done,
    /// It had another exit code, or was lost sight of.
    Failed,
    /// It took too long.
    TimedOut,
    /// It could not be run.
    NotRun,
}

impl PreOutcome {
    const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::TimedOut, Self::NotRun];

    /// Its name, as in the property.
    pub fn name(self) -> &'static str {
        match self {
            PreOutcome::Done => "done",
            PreOutcome::Failed => "failed",
            PreOutcome::TimedOut => "timed-out",
            PreOutcome::NotRun => "not-run",
        }
    }
}

impl FromStr for PreOutcome {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut all = Self::ALL.into_iter();
        all.find(|outcome| outcome.name() == text).ok_or(())
    }
}

impl RestorePoint {
    /// Reads a snapshot of `place` as a restore point. Values of ours that make no sense are left out.
    pub(crate) fn read(snapshot: &Snapshot, place: Place) -> Self {
        let properties = &snapshot.user_properties;
        let time = |key: &str| {
            properties
                .get(key)
                .and_then(|text| text.parse::<Timestamp>().ok())
        };
        Self {
            guid: snapshot.guid,
            snapshot: snapshot.name.clone(),
            place,
            createtxg: snapshot.createtxg,
            created: Timestamp::from_second(snapshot.creation).unwrap_or(Timestamp::UNIX_EPOCH),
            kind: kind(&snapshot.name, properties),
            period: properties
                .get(property::PERIOD)
                .and_then(|period| period.parse().ok()),
            alias: properties
                .get(property::ALIAS)
                .filter(|alias| !alias.is_empty())
                .cloned(),
            expires: time(property::EXPIRES),
            last_used: time(property::LAST_USED),
            pre: properties
                .get(property::PRE)
                .and_then(|outcome| outcome.parse().ok()),
            size: snapshot.used,
            referenced: snapshot.referenced,
            holds: snapshot.userrefs,
            clones: snapshot.clones.clone(),
            idmap: properties.get(property::IDMAP).cloned(),
            stateful: false,
        }
    }

    /// A scheduled point as the timer takes them, of which nothing else is to be said.
    pub(crate) fn scheduled(
        snapshot: SnapshotName,
        number: u64,
        period: Period,
        created: Timestamp,
    ) -> Self {
        Self {
            guid: Guid::new(number),
            snapshot,
            place: Place::Live,
            createtxg: Txg::new(number),
            created,
            kind: Kind::Scheduled,
            period: Some(period),
            alias: None,
            expires: None,
            last_used: None,
            pre: None,
            size: 0,
            referenced: 0,
            holds: 0,
            clones: Vec::new(),
            idmap: None,
            stateful: false,
        }
    }

    /// The part of the snapshot's name after the `@`.
    pub fn name(&self) -> &str {
        self.snapshot.name()
    }

    /// The period that it was taken for on a schedule: by Terrarium, or, once that was adopted, by sanoid.
    pub fn scheduled_for(&self, adopted: bool) -> Option<Period> {
        match self.kind {
            Kind::Scheduled => self.period,
            Kind::Foreign if adopted => parse_autosnap(self.name()),
            _ => None,
        }
    }

    /// Whether it lies in the instance's history as it is now.
    pub fn is_live(&self) -> bool {
        self.place == Place::Live
    }
}

fn kind(snapshot: &SnapshotName, properties: &BTreeMap<String, String>) -> Kind {
    if let Some(operation) = properties.get(property::OPERATION)
        && let Ok(operation) = OperationId::new(operation)
    {
        return Kind::Safety(operation);
    }
    match properties.get(property::KIND).map(String::as_str) {
        Some("scheduled") => Kind::Scheduled,
        Some("on-demand") => Kind::OnDemand,
        _ if snapshot.name().starts_with(LXD_SNAPSHOT_PREFIX) => Kind::Lxd,
        _ => Kind::Foreign,
    }
}

/// The name of LXD's record for a ZFS snapshot, if LXD made it.
pub(crate) fn lxd_record_name(snapshot: &SnapshotName) -> Option<&str> {
    snapshot.name().strip_prefix(LXD_SNAPSHOT_PREFIX)
}
