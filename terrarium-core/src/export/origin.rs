//! The origins of clones: the snapshot of an image is stored once in an archive, for all that was made from it.
//!
//! An origin needs no hold while it is sent: the instance's dataset is a clone of it, and has a snapshot that is held.
//! It gets no bookmark either, for its dataset is LXD's; increments start from the instance's own.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use terrarium_s3::archive::ChainError;
use terrarium_s3::format::{self, Lineage};
use terrarium_s3::pipeline::{self, Ids, PublishError, WriteError, publish};
use terrarium_s3::{Store, StoreError};
use terrarium_zfs::{DatasetName, Guid, Snapshot, SnapshotName};

use super::plan::listing;
use super::{ExportError, ExportPlan, ExportTo, FLAGS, StoredStream, send};
use crate::host::{Planner, Session};
use crate::instances::Instances;
use crate::inventory::Covered;
use crate::layout::PoolLayout;
use crate::plan::{ArchivedOrigin, Notice};
use crate::streams::Streams;
use crate::zfs::Zfs;

/// The origin that the stream of an instance started from.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ExportedOrigin {
    /// Where it stands here.
    pub snapshot: SnapshotName,
    /// Its guid.
    pub guid: Guid,
    /// What was stored of it; `None` if the archive had it already.
    pub stored: Option<StoredStream>,
}

impl<Z: Zfs, I: Instances> Planner<'_, Z, I> {
    /// What an instance's dataset was cloned from, directly or not; the nearest first.
    pub(super) fn origins(&self, covered: &Covered) -> Vec<&Snapshot> {
        let Some(pool) = self.inventory.pool(&covered.layout) else {
            return Vec::new();
        };
        let listing = &pool.listing;
        let mut origins: Vec<&Snapshot> = Vec::new();
        let mut next = covered.dataset.origin.as_ref();
        let mut seen = HashSet::new();
        while let Some(name) = next.filter(|name| seen.insert(*name)) {
            let Some(origin) = listing.snapshots.iter().find(|one| one.name == *name) else {
                break;
            };
            origins.push(origin);
            let of_it =
                |dataset: &&terrarium_zfs::Dataset| dataset.name.as_str() == name.dataset_str();
            next = listing
                .datasets
                .iter()
                .find(of_it)
                .and_then(|dataset| dataset.origin.as_ref());
        }
        origins
    }
}

/// What an archive has of origins; each is looked up once.
pub(super) struct Known<'a, S> {
    to: &'a ExportTo<'a, S>,
    found: HashMap<Guid, ArchivedOrigin>,
}

impl<'a, S: Store> Known<'a, S> {
    pub(super) fn new(to: &'a ExportTo<'a, S>) -> Self {
        let found = HashMap::new();
        Self { to, found }
    }

    /// Whether streams may start from origins.
    pub(super) fn is_asked_for(&self) -> bool {
        self.to.policy.image_aware
    }

    pub(super) async fn look_up(
        &mut self,
        guid: Guid,
        notices: &mut Vec<Notice>,
    ) -> Result<ArchivedOrigin, ExportError> {
        if let Some(&found) = self.found.get(&guid) {
            return Ok(found);
        }
        let found = look_up(self.to, guid, notices).await?;
        self.found.insert(guid, found);
        Ok(found)
    }
}

async fn look_up<S: Store>(
    to: &ExportTo<'_, S>,
    guid: Guid,
    notices: &mut Vec<Notice>,
) -> Result<ArchivedOrigin, ExportError> {
    let own = Lineage::of_origin(guid);
    // As it is now: an earlier instance of the same run may have stored it.
    let entries = listing(to, own).await?;
    if let Some(entry) = entries.iter().find(|entry| entry.place.guid == guid) {
        let why = match to.archive.point(entry).await {
            Ok(point) if !to.archive.trusts(point.verdict) => point.verdict.as_str().to_owned(),
            Ok(point) if point.manifest.base == format::Base::Full => {
                return Ok(ArchivedOrigin::Whole {
                    streams: 1,
                    flags: point.manifest.send_flags.unwrap_or_default(),
                });
            }
            Ok(_) => "not that of a full stream".to_owned(),
            Err(error) if error.is_damage() => format!("damaged: {error}"),
            Err(error) => return Err(error.into()),
        };
        notices.push(Notice::warning(format!(
            "the manifest {} of an image is {why}: nothing builds on it",
            entry.place
        )));
        return Ok(ArchivedOrigin::Unusable);
    }
    // A copy of an instance starts from a point of that, which may be archived as such.
    let Some(entry) = to.catalog.base(own, format::Base::Origin(guid)) else {
        return Ok(ArchivedOrigin::Missing);
    };
    let chain = to
        .archive
        .chain(to.catalog, entry.place.lineage, guid)
        .await;
    match chain {
        Ok(chain) if chain.iter().all(|point| to.archive.trusts(point.verdict)) => {
            let flags = chain.last().and_then(|point| point.manifest.send_flags);
            Ok(ArchivedOrigin::Whole {
                streams: u32::try_from(chain.len()).unwrap_or(u32::MAX),
                flags: flags.unwrap_or_default(),
            })
        }
        Err(ChainError::Unreadable { source, .. }) if !source.is_damage() => Err(source.into()),
        // In its own place it can be stored anew.
        Ok(_) | Err(_) => Ok(ArchivedOrigin::Missing),
    }
}

impl<Z: Streams, I: Instances> Session<'_, Z, I> {
    /// Stores an origin that the archive does not have, as a point of its own. If somebody else was faster, theirs
    /// serves as well.
    pub(super) async fn store_origin<S: Store>(
        &self,
        plan: &ExportPlan,
        snapshot: &SnapshotName,
        guid: Guid,
        to: &ExportTo<'_, S>,
    ) -> Result<Option<StoredStream>, ExportError> {
        let lineage = Lineage::of_origin(guid);
        let journals = self.journals(lineage, to);
        let ids = Ids { guid, from: None };
        let options = |journal| pipeline::Options {
            journal,
            ..to.options.clone()
        };
        let zfs = &self.planner.host.zfs;
        let with_journal = options(Some(journals.open(ids)?));
        let sent = send::send(zfs, snapshot, None, ids, to, &with_journal).await;
        let stored = match sent {
            // Another process of this host stores it too. Whoever ends first has stored it; waiting could take long.
            Err(ExportError::Write { source, .. })
                if matches!(*source, WriteError::JournalInUse { .. }) =>
            {
                send::send(zfs, snapshot, None, ids, to, &options(None)).await?
            }
            sent => sent?,
        };
        let report = StoredStream::of(&stored);
        let origins = self.planner.origins(&plan.covered);
        let found = origins.into_iter().find(|origin| origin.guid == guid);
        let point = pipeline::Point {
            archive: to.archive.document().id,
            terrarium: env!("CARGO_PKG_VERSION").to_owned(),
            exported: self.planner.now.timestamp(),
            lineage,
            instance: name(&plan.covered.layout, snapshot, guid),
            project: None,
            instance_uuid: None,
            snapshot: snapshot.clone(),
            base: format::Base::Full,
            createtxg: found.map(|origin| origin.createtxg),
            kind: format::Kind::Foreign,
            alias: None,
            expires: None,
            send_flags: Some(FLAGS),
            definition: None,
            tree: None,
        };
        let (archive, key) = (to.archive, to.signing_key()?);
        let published = publish(&**archive.store(), archive.layout(), stored, point, key).await;
        let source = match published {
            Ok(_) => return Ok(Some(report)),
            Err(source) => source,
        };
        if let PublishError::Store(StoreError::Exists { .. }) = &source {
            let there = look_up(to, guid, &mut Vec::new()).await?;
            if matches!(there, ArchivedOrigin::Whole { flags, .. } if flags == FLAGS) {
                journals.remove()?;
                return Ok(None);
            }
        }
        Err(ExportError::Publish {
            snapshot: snapshot.clone(),
            source: Box::new(source),
        })
    }
}

/// The name that an origin is stored under.
fn name(layout: &PoolLayout, snapshot: &SnapshotName, guid: Guid) -> String {
    let dataset = DatasetName::new(snapshot.dataset_str()).ok();
    match dataset
        .as_ref()
        .and_then(|dataset| layout.image_of(dataset))
    {
        Some(image) => format!("image:{image}"),
        None => format!("origin:{guid}"),
    }
}
