//! Which stream brings an instance's newest state into an archive: of which snapshot, full or since what.
//!
//! Pure: it is told what is here and what is archived, and decides. Parents are found by guid alone; a name can be
//! taken anew by another snapshot.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use terrarium_zfs::{Bookmark, Guid, SendFlags, SendSource, SnapshotName, Txg};

use crate::error::Error;
use crate::names::InstanceRef;
use crate::point::RestorePoint;

/// A point of one lineage that the archive has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArchivedPoint {
    /// The guid of its snapshot.
    pub guid: Guid,
    /// What its stream starts from.
    pub from: StartsFrom,
    /// When the snapshot was taken.
    pub created: Timestamp,
    /// What its stream was sent with.
    pub flags: SendFlags,
}

/// What the stream of an archived point starts from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartsFrom {
    /// Nothing: it is a full one.
    Nothing,
    /// An earlier point of its lineage.
    Point(Guid),
    /// The snapshot that its dataset was cloned from.
    Origin {
        /// That snapshot.
        guid: Guid,
        /// How many streams bring that; `None` if the archive cannot restore it any more.
        streams: Option<u32>,
    },
}

/// A snapshot that the instance's dataset was cloned from, directly or not: that of an image, for the most part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// Where it stands.
    pub snapshot: SnapshotName,
    /// Its guid.
    pub guid: Guid,
    /// What the archive has of it.
    pub archived: ArchivedOrigin,
}

/// What an archive has of an origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ArchivedOrigin {
    /// Nothing.
    Missing,
    /// All that it takes to restore it.
    Whole {
        /// So many streams.
        streams: u32,
        /// What its own was sent with.
        flags: SendFlags,
    },
    /// Something is in its place that nothing can be built on.
    Unusable,
}

/// When a chain of increments ends and a new full stream begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ChainPolicy {
    /// The most streams that a restore has to read; 1 makes every stream a full one.
    pub max_length: u32,
    /// The greatest age of a chain's full stream, reckoned from snapshot to snapshot. Of a chain that starts from an
    /// image, the age of the first stream after that: the image does not grow old.
    pub max_age: SignedDuration,
    /// Instead of a full stream send what the instance has added to the image that it was made from, where it was. The
    /// image is stored once in an archive, for all instances.
    pub image_aware: bool,
}

impl Default for ChainPolicy {
    /// A month of daily increments.
    fn default() -> Self {
        Self {
            max_length: 31,
            max_age: SignedDuration::from_hours(31 * 24),
            image_aware: false,
        }
    }
}

/// What is here: the branch that the instance is on now, and nothing that was moved aside.
#[derive(Clone, Debug)]
pub struct LiveBranch<'a> {
    /// The snapshots of the instance's dataset.
    pub snapshots: Vec<&'a RestorePoint>,
    /// Its bookmarks.
    pub bookmarks: Vec<&'a Bookmark>,
    /// What its dataset was cloned from, the nearest first.
    pub origins: Vec<Origin>,
}

/// What is to be done about an instance.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "export", rename_all = "kebab-case")]
pub enum ExportDecision {
    /// The newest point is in the archive.
    UpToDate {
        /// That point.
        guid: Guid,
    },
    /// A stream is to be sent.
    Send {
        /// The snapshot to send; to be held until its manifest stands.
        target: SnapshotName,
        /// Its guid, checked right before the send.
        guid: Guid,
        /// What the stream starts from.
        base: Base,
    },
}

/// What a stream starts from.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "base", rename_all = "kebab-case")]
pub enum Base {
    /// Nothing: it is a full one.
    Full {
        /// Why it is.
        why: FullBecause,
        /// Why it does not start from an image either, if the policy asks for that.
        #[serde(skip_serializing_if = "Option::is_none")]
        no_origin: Option<NoOrigin>,
    },
    /// The snapshot of an image, or another one that the instance's dataset was cloned from.
    Origin {
        /// That snapshot.
        from: SnapshotName,
        /// Its guid, checked right before the send.
        guid: Guid,
        /// Whether the archive has it; if not, it is to be stored first, in full.
        is_archived: bool,
        /// How many streams a restore of the target will read.
        length: u32,
        /// Why no point of the instance itself serves.
        why: FullBecause,
    },
    /// A point that is in the archive with all that it builds on.
    Increment {
        /// The snapshot or bookmark of it that is here.
        #[serde(serialize_with = "by_name")]
        from: SendSource,
        /// Its guid, checked right before the send.
        guid: Guid,
        /// How many streams a restore of the target will read.
        length: u32,
    },
}

/// Why a stream is full.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "why", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FullBecause {
    /// Nothing of this lineage is in the archive.
    #[error("it is the first of its lineage")]
    First,
    /// Of what is in the archive nothing is on this branch, neither as a snapshot nor as a bookmark.
    #[error("no archived point is left here, neither as a snapshot nor as a bookmark")]
    NothingInCommon,
    /// What an archived point builds on is gone from the archive.
    #[error("a point that the archived ones build on is missing from the archive")]
    ParentMissing {
        /// The missing one.
        guid: Guid,
    },
    /// Every archived point here was sent with other flags.
    #[error("the archived points were sent with other flags")]
    OtherFlags,
    /// The chain is as long as the policy lets it be.
    #[error("the chain has {length} streams")]
    ChainTooLong {
        /// So many streams.
        length: u32,
    },
    /// The chain's full stream is as old as the policy lets it be.
    #[error("the chain's full stream is of {since}")]
    ChainTooOld {
        /// When the snapshot of the full stream was taken.
        since: Timestamp,
    },
}

/// Why a full stream does not start from an image instead.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "why", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NoOrigin {
    /// Its dataset was not cloned from anything.
    #[error("its dataset is no clone of an image")]
    NotAClone,
    /// The chain would be longer than the policy lets it be.
    #[error("a chain from its image would be longer than {max_length}")]
    ChainTooLong {
        /// The most streams that there may be.
        max_length: u32,
    },
    /// It was sent with other flags than this stream will be.
    #[error("its image (guid {guid}) was sent with other flags")]
    OtherFlags {
        /// The origin.
        guid: Guid,
    },
    /// Something is in its place in the archive that nothing can be built on.
    #[error("its image (guid {guid}) is damaged in the archive, or not signed by one of its hosts")]
    Unusable {
        /// The origin.
        guid: Guid,
    },
}

fn by_name<S: serde::Serializer>(from: &SendSource, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(from.as_str())
}

/// Decides about an export of the newest snapshot on the branch.
///
/// The base is the nearest ancestor that the archive can restore, was sent with the same flags, and is still here. Without
/// one it is the nearest origin of which that is true, or the farthest, if the policy is to be aware of images.
///
/// # Errors
/// [`Error::NothingToExport`] if there is no snapshot.
pub fn decide_export(
    instance: &InstanceRef,
    here: &LiveBranch<'_>,
    archived: &[ArchivedPoint],
    flags: SendFlags,
    policy: ChainPolicy,
) -> Result<ExportDecision, Error> {
    let newest = here.snapshots.iter().max_by_key(|point| point.createtxg);
    let Some(target) = newest else {
        let instance = instance.clone();
        return Err(Error::NothingToExport { instance });
    };
    let archive = Archive::new(archived);
    if archive.chain(target.guid).is_ok() {
        return Ok(ExportDecision::UpToDate { guid: target.guid });
    }
    let base = match (
        base(target, here, &archive, flags, policy),
        policy.image_aware,
    ) {
        (Base::Full { why, .. }, true) => origin(here, why, flags, policy),
        (base, _) => base,
    };
    Ok(ExportDecision::Send {
        target: target.snapshot.clone(),
        guid: target.guid,
        base,
    })
}

/// Starts from an origin where it can: every snapshot of a clone is newer than what the clone was made from.
fn origin(here: &LiveBranch<'_>, why: FullBecause, flags: SendFlags, policy: ChainPolicy) -> Base {
    let starts = |origin: &Origin, streams: u32, is_archived| Base::Origin {
        from: origin.snapshot.clone(),
        guid: origin.guid,
        is_archived,
        length: streams.saturating_add(1),
        why: why.clone(),
    };
    let max_length = policy.max_length;
    let mut no_origin = NoOrigin::NotAClone;
    for origin in &here.origins {
        let guid = origin.guid;
        no_origin = match origin.archived {
            ArchivedOrigin::Whole { streams, flags: of } if of == flags => {
                if streams < max_length {
                    return starts(origin, streams, true);
                }
                NoOrigin::ChainTooLong { max_length }
            }
            ArchivedOrigin::Whole { .. } => NoOrigin::OtherFlags { guid },
            ArchivedOrigin::Unusable => NoOrigin::Unusable { guid },
            ArchivedOrigin::Missing => NoOrigin::ChainTooLong { max_length },
        };
    }
    match here.origins.last() {
        // The farthest one has the most clones.
        Some(origin) if origin.archived == ArchivedOrigin::Missing && max_length > 1 => {
            starts(origin, 1, false)
        }
        _ => Base::Full {
            why,
            no_origin: Some(no_origin),
        },
    }
}

fn base(
    target: &RestorePoint,
    here: &LiveBranch<'_>,
    archive: &Archive<'_>,
    flags: SendFlags,
    policy: ChainPolicy,
) -> Base {
    let mut why = if archive.points.is_empty() {
        FullBecause::First
    } else {
        FullBecause::NothingInCommon
    };
    for ancestor in ancestors(target, here) {
        let Some(point) = archive.points.get(&ancestor.guid) else {
            continue;
        };
        let chain = match archive.chain(ancestor.guid) {
            Ok(chain) => chain,
            // An older one may still be whole.
            Err(guid) => {
                why = FullBecause::ParentMissing { guid };
                continue;
            }
        };
        if point.flags != flags {
            why = FullBecause::OtherFlags;
            continue;
        }
        // An older ancestor's chain is no younger, and sending more would only put the full stream off.
        let length = chain.length + 1;
        let age = target.created.duration_since(chain.began);
        let why = if length > policy.max_length {
            FullBecause::ChainTooLong {
                length: chain.length,
            }
        } else if age > policy.max_age {
            FullBecause::ChainTooOld { since: chain.began }
        } else {
            return Base::Increment {
                from: ancestor.source,
                guid: ancestor.guid,
                length,
            };
        };
        return full(why);
    }
    full(why)
}

fn full(why: FullBecause) -> Base {
    Base::Full {
        why,
        no_origin: None,
    }
}

/// A snapshot or bookmark that the target's stream could start from.
struct Ancestor {
    guid: Guid,
    createtxg: Txg,
    is_bookmark: bool,
    source: SendSource,
}

/// The nearest first; a snapshot before a bookmark of the same.
fn ancestors(target: &RestorePoint, here: &LiveBranch<'_>) -> Vec<Ancestor> {
    let snapshots = here.snapshots.iter().map(|point| Ancestor {
        guid: point.guid,
        createtxg: point.createtxg,
        is_bookmark: false,
        source: SendSource::Snapshot(point.snapshot.clone()),
    });
    let bookmarks = here.bookmarks.iter().map(|bookmark| Ancestor {
        guid: bookmark.guid,
        createtxg: bookmark.createtxg,
        is_bookmark: true,
        source: SendSource::Bookmark(bookmark.name.clone()),
    });
    let mut ancestors: Vec<_> = snapshots
        .chain(bookmarks)
        .filter(|ancestor| ancestor.createtxg < target.createtxg)
        .collect();
    ancestors.sort_by_key(|ancestor| (std::cmp::Reverse(ancestor.createtxg), ancestor.is_bookmark));
    ancestors
}

/// The archived points of a lineage, which are trees.
struct Archive<'a> {
    points: HashMap<Guid, &'a ArchivedPoint>,
}

/// From a full stream to a point.
struct Chain {
    length: u32,
    /// When the snapshot of the full stream was taken, or of the first one after an origin.
    began: Timestamp,
}

impl<'a> Archive<'a> {
    fn new(archived: &'a [ArchivedPoint]) -> Self {
        let points = archived.iter().map(|point| (point.guid, point));
        Self {
            points: points.collect(),
        }
    }

    /// The chain that leads to a point, or the guid that it lacks.
    fn chain(&self, guid: Guid) -> Result<Chain, Guid> {
        let (mut next, mut length) = (guid, 0u32);
        let mut seen = HashSet::new();
        loop {
            let point = self.points.get(&next).ok_or(next)?;
            // A chain that comes back to itself has no full stream.
            if !seen.insert(next) {
                return Err(next);
            }
            length += 1;
            let began = point.created;
            match point.from {
                StartsFrom::Point(from) => next = from,
                StartsFrom::Nothing => return Ok(Chain { length, began }),
                StartsFrom::Origin { guid, streams } => {
                    let length = streams.ok_or(guid)?.saturating_add(length);
                    return Ok(Chain { length, began });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
