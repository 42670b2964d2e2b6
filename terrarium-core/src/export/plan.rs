//! What an export is going to do: the instance's lineage, what the archive has of it, what is here.

use terrarium_s3::Store;
use terrarium_s3::archive::{ArchiveError, Entry};
use terrarium_s3::crypto::HostKey;
use terrarium_s3::format::{Base, Lineage, Place, Verdict};
use terrarium_zfs::{Bookmark, BookmarkName, DatasetName, Guid, SendSource};

use super::origin::Known;
use super::{ExportError, ExportPlan, ExportTo, FLAGS, NewLineage};
use crate::error::Error;
use crate::host::Planner;
use crate::instances::{InstanceRecord, Instances};
use crate::inventory::Covered;
use crate::names::InstanceRef;
use crate::plan::{
    self, ArchivedOrigin, ArchivedPoint, ExportDecision, LiveBranch, Notice, Origin, StartsFrom,
    decide_export,
};
use crate::property;
use crate::streams::Streams;

impl<Z: Streams, I: Instances> Planner<'_, Z, I> {
    /// Plans an export of an instance's newest snapshot. Reads of the archive what the catalog leaves open; changes
    /// nothing, neither here nor there.
    ///
    /// # Errors
    /// [`ExportError::ForeignHost`] unless that is adopted; [`ExportError::MayNotSign`]; [`Error::NothingToExport`];
    /// the archive's, if it cannot be read. A point that is damaged there is a notice: it is no base.
    pub async fn plan_export<S: Store>(
        &self,
        instance: &InstanceRef,
        to: &ExportTo<'_, S>,
    ) -> Result<ExportPlan, ExportError> {
        let key = to.signing_key()?;
        let (record, covered) = self.inventory.covered(instance)?;
        let lineage = lineage(covered, record);
        let Some(target) = covered.newest_live() else {
            let instance = instance.clone();
            return Err(Error::NothingToExport { instance }.into());
        };
        let bookmarks = self.bookmarks(covered);
        let here = |origins| LiveBranch {
            snapshots: covered.points.iter().filter(|one| one.is_live()).collect(),
            bookmarks: bookmarks.clone(),
            origins,
        };
        let mut known = Known::new(to);
        let mut notices = Vec::new();
        if let Err(why @ (NewLineage::Copy { .. } | NewLineage::Illegible { .. })) = &lineage {
            let text = format!("its history in the archive begins anew: {why}");
            notices.push(Notice::info(text));
        }
        let decision = match &lineage {
            Ok(lineage) => {
                let mut listed = to.catalog.find(*lineage, target.guid).is_some();
                let mut entries = Vec::new();
                if !listed {
                    // Another process of this host may have been faster than the lock.
                    entries = listing(to, *lineage).await?;
                    listed = entries.iter().any(|entry| entry.place.guid == target.guid);
                }
                if listed {
                    ExportDecision::UpToDate { guid: target.guid }
                } else {
                    let archived =
                        read(instance, to, key, entries, &mut known, &mut notices).await?;
                    let origins = self
                        .archived_origins(covered, &mut known, &mut notices)
                        .await?;
                    decide_export(instance, &here(origins), &archived, FLAGS, to.policy)?
                }
            }
            Err(_) => {
                let origins = self
                    .archived_origins(covered, &mut known, &mut notices)
                    .await?;
                decide_export(instance, &here(origins), &[], FLAGS, to.policy)?
            }
        };

        let estimate = self.estimate(&decision).await;
        let sends = matches!(decision, ExportDecision::Send { .. });
        let held = covered.points.iter().filter(|point| point.holds > 0);
        let held = held.filter(|point| !(sends && point.guid == target.guid));
        let bookmark = bookmark_of(&covered.live, target.guid)?;
        let is_there = bookmarks
            .iter()
            .any(|there| there.name == bookmark && there.guid == target.guid);
        Ok(ExportPlan {
            instance: instance.clone(),
            lineage: lineage.as_ref().ok().copied(),
            new_lineage: lineage.err(),
            snapshot: target.snapshot.clone(),
            created: target.created,
            decision,
            estimate,
            missing_bookmark: (!sends && !is_there).then_some(bookmark),
            notices,
            held: held.map(|point| point.snapshot.clone()).collect(),
            point: target.clone(),
            covered: covered.clone(),
            record: record.clone(),
        })
    }

    /// Nothing depends on it: where it cannot be told there is none.
    async fn estimate(&self, decision: &ExportDecision) -> Option<u64> {
        let ExportDecision::Send { target, base, .. } = decision else {
            return None;
        };
        let from = match base {
            plan::Base::Full { .. } => None,
            plan::Base::Origin { from, .. } => Some(from.clone()),
            plan::Base::Increment { from, .. } => match from {
                SendSource::Snapshot(from) => Some(from.clone()),
                SendSource::Bookmark(_) => return None,
            },
        };
        let target = target.clone();
        let asked = self.on_zfs(move |zfs| zfs.send_space(&target, from.as_ref(), FLAGS));
        asked.await.ok()
    }

    /// What the archive has of what the instance was cloned from, if that is of interest.
    async fn archived_origins<S: Store>(
        &self,
        covered: &Covered,
        known: &mut Known<'_, S>,
        notices: &mut Vec<Notice>,
    ) -> Result<Vec<Origin>, ExportError> {
        let mut origins = Vec::new();
        if !known.is_asked_for() {
            return Ok(origins);
        }
        for origin in self.origins(covered) {
            origins.push(Origin {
                snapshot: origin.name.clone(),
                guid: origin.guid,
                archived: known.look_up(origin.guid, notices).await?,
            });
        }
        Ok(origins)
    }

    fn bookmarks(&self, covered: &Covered) -> Vec<&Bookmark> {
        let pool = self.inventory.pool(&covered.layout);
        let all = pool.into_iter().flat_map(|pool| &pool.listing.bookmarks);
        all.filter(|bookmark| bookmark.name.dataset_str() == covered.live.as_str())
            .collect()
    }
}

/// The name of the bookmark that an export leaves for the next.
pub(super) fn bookmark_of(live: &DatasetName, guid: Guid) -> Result<BookmarkName, Error> {
    let name = live.bookmark(&format!("terrarium-{guid}"));
    name.map_err(|error| terrarium_zfs::Error::from(error).into())
}

/// LXD's uuid of an instance.
pub(super) fn uuid(record: &InstanceRecord) -> Option<&str> {
    let uuid = record.definition.config.get(property::LXD_UUID)?;
    Some(uuid.as_str()).filter(|uuid| !uuid.is_empty())
}

/// The history that an instance has in archives, or why it has none.
pub(super) fn lineage(covered: &Covered, record: &InstanceRecord) -> Result<Lineage, NewLineage> {
    let local = &covered.dataset.local;
    let found = local.get(property::LINEAGE).ok_or(NewLineage::First)?;
    let lineage = found.parse().map_err(|_| {
        let found = found.chars().take(80).collect();
        NewLineage::Illegible { found }
    })?;
    match local.get(property::LINEAGE_OF).map(String::as_str) {
        // It came from an archive, and LXD has made the instance anew.
        None => Ok(lineage),
        of if of == uuid(record) => Ok(lineage),
        Some(_) => Err(NewLineage::Copy { lineage }),
    }
}

/// The points of one lineage, as they are listed now; from the oldest to the newest.
pub(super) async fn listing<S: Store>(
    to: &ExportTo<'_, S>,
    lineage: Lineage,
) -> Result<Vec<Entry>, ExportError> {
    let layout = to.archive.layout();
    let objects = to.archive.store().list(&layout.manifests_of(lineage)).await;
    let objects = objects.map_err(ArchiveError::from)?;
    let places = objects
        .iter()
        .filter_map(|object| layout.place(&object.key));
    let mut entries: Vec<_> = places
        .filter_map(|place| match place {
            Place::Manifest(place) => Some(Entry {
                place,
                // What was said of a point later does not concern its chain.
                annotations: Vec::new(),
            }),
            _ => None,
        })
        .collect();
    entries.sort_by_key(|entry| (entry.place.creation, entry.place.guid));
    Ok(entries)
}

/// Reads the points, and refuses to go on where another host has been.
async fn read<S: Store>(
    instance: &InstanceRef,
    to: &ExportTo<'_, S>,
    key: Option<&HostKey>,
    entries: Vec<Entry>,
    known: &mut Known<'_, S>,
    notices: &mut Vec<Notice>,
) -> Result<Vec<ArchivedPoint>, ExportError> {
    let read = to.archive.points(entries, |entry, point| {
        let point = point.map(|point| {
            let manifest = point.manifest;
            let archived = ArchivedPoint {
                guid: manifest.guid,
                from: match manifest.base {
                    Base::Full => StartsFrom::Nothing,
                    Base::Point(guid) => StartsFrom::Point(guid),
                    // Looked up below.
                    Base::Origin(guid) => StartsFrom::Origin {
                        guid,
                        streams: None,
                    },
                },
                created: manifest.creation,
                // A stream of unknown flags is like none that we send.
                flags: manifest.send_flags.unwrap_or_default(),
            };
            (archived, point.verdict, manifest.createtxg)
        });
        (entry, point)
    });
    let own = key.map(HostKey::verifying_key);
    let mut archived = Vec::new();
    let mut newest: Option<(_, Lineage, Verdict)> = None;
    for (entry, point) in read.await {
        match point {
            Ok((point, verdict, txg)) => {
                // Two may have been taken in one second.
                let order = (entry.place.creation, txg);
                if newest.is_none_or(|(newest, ..)| newest <= order) {
                    newest = Some((order, entry.place.lineage, verdict));
                }
                if to.archive.trusts(verdict) {
                    archived.push(point);
                } else {
                    notices.push(Notice::warning(format!(
                        "the manifest {} is {}: nothing builds on it",
                        entry.place,
                        verdict.as_str()
                    )));
                }
            }
            Err(error) if error.is_damage() => notices.push(Notice::warning(format!(
                "the manifest {} cannot be read, so nothing builds on it: {error}",
                entry.place
            ))),
            // Nobody knows what is there: a full stream for a store that is away would be a waste.
            Err(error) => return Err(error.into()),
        }
    }
    for point in &mut archived {
        if let StartsFrom::Origin { guid, streams } = &mut point.from {
            *streams = match known.look_up(*guid, notices).await? {
                ArchivedOrigin::Whole { streams, .. } => Some(streams),
                ArchivedOrigin::Missing | ArchivedOrigin::Unusable => None,
            };
        }
    }
    match newest {
        Some((_, lineage, Verdict::Signed(key) | Verdict::UnknownKey(key)))
            if !to.adopt && Some(key) != own =>
        {
            Err(ExportError::ForeignHost {
                instance: instance.clone(),
                lineage,
                key: Box::new(key),
            })
        }
        _ => Ok(archived),
    }
}
