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
mod tests {
    use proptest::prelude::*;
    use terrarium_zfs::{BookmarkName, DatasetName, Snapshot};

    use super::*;
    use crate::point::Place;

    const FLAGS: SendFlags = SendFlags {
        large_blocks: true,
        embedded: true,
        compressed: true,
        raw: false,
    };

    /// `@a,1` is a snapshot of transaction group 1, `#a,1` a bookmark of it; a letter stands for a guid, one
    /// transaction group for one day.
    struct Here {
        snapshots: Vec<RestorePoint>,
        bookmarks: Vec<Bookmark>,
        origins: Vec<Origin>,
    }

    /// The guid of the image's snapshot.
    const IMAGE: u64 = 4711;

    fn guid(letter: &str) -> Guid {
        Guid::new(letter.bytes().map(u64::from).sum())
    }

    fn day(txg: u64) -> Timestamp {
        let seconds = i64::try_from(txg * 86_400).unwrap();
        Timestamp::from_second(seconds).unwrap()
    }

    fn here(text: &str) -> Here {
        let web = DatasetName::new("tank/containers/web").unwrap();
        let mut here = Here {
            snapshots: Vec::new(),
            bookmarks: Vec::new(),
            origins: Vec::new(),
        };
        for word in text.split_whitespace() {
            let (mark, rest) = word.split_at(1);
            let (letter, txg) = rest.split_once(',').unwrap();
            let txg: u64 = txg.parse().unwrap();
            let creation = day(txg).as_second();
            match mark {
                "@" => {
                    let name = web.snapshot(letter).unwrap();
                    let snapshot = Snapshot::new(name, guid(letter), Txg::new(txg), creation);
                    here.snapshots
                        .push(RestorePoint::read(&snapshot, Place::Live));
                }
                _ => {
                    let name = BookmarkName::new(&format!("{web}#{letter}")).unwrap();
                    let txg = Txg::new(txg);
                    here.bookmarks
                        .push(Bookmark::new(name, guid(letter), txg, creation));
                }
            }
        }
        here
    }

    fn from_image(streams: Option<u32>) -> StartsFrom {
        let guid = Guid::new(IMAGE);
        StartsFrom::Origin { guid, streams }
    }

    /// `a` is a full stream, `b<a` an increment, `a<%` one to the image, `a<%?` one to an image that is gone; the days count from 1 in the order that they stand in.
    fn archived(text: &str) -> Vec<ArchivedPoint> {
        let words = text.split_whitespace().zip(1..);
        words
            .map(|(word, txg)| {
                let (letter, from) = match word.split_once('<') {
                    Some((letter, "%")) => (letter, from_image(Some(1))),
                    Some((letter, "%?")) => (letter, from_image(None)),
                    Some((letter, from)) => (letter, StartsFrom::Point(guid(from))),
                    None => (word, StartsFrom::Nothing),
                };
                ArchivedPoint {
                    guid: guid(letter),
                    from,
                    created: day(txg),
                    flags: FLAGS,
                }
            })
            .collect()
    }

    fn decide(here: &Here, archived: &[ArchivedPoint], policy: ChainPolicy) -> ExportDecision {
        let branch = LiveBranch {
            snapshots: here.snapshots.iter().collect(),
            bookmarks: here.bookmarks.iter().collect(),
            origins: here.origins.clone(),
        };
        let instance = "web".parse().unwrap();
        decide_export(&instance, &branch, archived, FLAGS, policy).unwrap()
    }

    /// In one line: what is sent and since what, or why all of it.
    fn decided(is_here: &str, is_archived: &str) -> String {
        let decision = decide(
            &here(is_here),
            &archived(is_archived),
            ChainPolicy::default(),
        );
        shown(&decision)
    }

    fn shown(decision: &ExportDecision) -> String {
        match decision {
            ExportDecision::UpToDate { .. } => "up to date".to_owned(),
            ExportDecision::Send { target, base, .. } => match base {
                Base::Full { why, no_origin } => {
                    let also = no_origin.as_ref().map(|why| format!("; {why}"));
                    format!("{} full: {why}{}", target.name(), also.unwrap_or_default())
                }
                Base::Origin {
                    from,
                    is_archived,
                    length,
                    ..
                } => {
                    let stored = if *is_archived { "" } else { ", stored first" };
                    format!("{} since {from}{stored}, {length}", target.name())
                }
                Base::Increment { from, length, .. } => {
                    let from = from.as_str().trim_start_matches("tank/containers/web");
                    format!("{} since {from}, {length}", target.name())
                }
            },
        }
    }

    #[test]
    fn the_first_export_is_full_and_the_next_one_an_increment() {
        assert_eq!(
            decided("@a,1", ""),
            "a full: it is the first of its lineage"
        );
        assert_eq!(decided("@a,1", "a"), "up to date");
        assert_eq!(decided("@a,1 @b,2", "a"), "b since @a, 2");
        assert_eq!(decided("@c,3 @a,1 @b,2", "a b<a"), "c since @b, 3");
    }

    #[test]
    fn the_newest_snapshot_is_sent_though_others_were_never_archived() {
        assert_eq!(decided("@a,1 @b,2 @c,3 @d,4", "a"), "d since @a, 2");
    }

    #[test]
    fn a_bookmark_serves_when_its_snapshot_is_gone() {
        assert_eq!(decided("#a,1 @b,2", "a"), "b since #a, 2");
        assert_eq!(decided("#a,1 @a,1 @b,2", "a"), "b since @a, 2");
        assert_eq!(decided("@a,1 #b,2 @c,3", "a b<a"), "c since #b, 3");
    }

    #[test]
    fn without_a_common_point_it_is_an_honest_full() {
        let nothing = "no archived point is left here, neither as a snapshot nor as a bookmark";
        assert_eq!(decided("@c,3", "a b<a"), format!("c full: {nothing}"));
        assert_eq!(
            decided("@b,2 @c,3", "b<a"),
            "c full: a point that the archived ones build on is missing from the archive"
        );
        assert_eq!(
            decided("@a,1 @b,2 @c,3", "a b<x"),
            "c since @a, 2",
            "an older one is whole"
        );
    }

    /// What is newer than the point was moved aside, archived though it is.
    #[test]
    fn a_rewound_instance_branches_the_tree() {
        assert_eq!(decided("@a,1 @d,4", "a b<a c<b"), "d since @a, 2");
    }

    /// A name says nothing.
    #[test]
    fn a_snapshot_of_an_archived_name_and_another_guid_is_no_base() {
        let mut again = here("@a,5 @b,6");
        again.snapshots[0].guid = Guid::new(1);
        let decision = decide(&again, &archived("a"), ChainPolicy::default());
        assert!(shown(&decision).starts_with("b full: no archived point"));
    }

    #[test]
    fn a_point_that_cannot_be_restored_is_sent_again() {
        assert_eq!(
            decided("@a,1 @b,2", "b<x"),
            "b full: no archived point is left here, neither as a snapshot nor as a bookmark"
        );
        assert_eq!(decided("@a,1 @b,2", "a b<x"), "b since @a, 2");
    }

    #[test]
    fn points_that_were_sent_with_other_flags_are_no_base() {
        let mut archive = archived("a b<a");
        archive[1].flags.compressed = false;
        let here = here("@a,1 @b,2 @c,3");
        let decision = decide(&here, &archive, ChainPolicy::default());
        assert_eq!(shown(&decision), "c since @a, 2");
        archive[0].flags.compressed = false;
        let decision = decide(&here, &archive, ChainPolicy::default());
        assert_eq!(
            shown(&decision),
            "c full: the archived points were sent with other flags"
        );
    }

    #[test]
    fn a_chain_ends_by_length_and_by_age() {
        let policy = |max_length, days: i64| ChainPolicy {
            max_length,
            max_age: SignedDuration::from_hours(days * 24),
            image_aware: false,
        };
        let (here, archive) = (here("@a,1 @b,2 @c,3 @d,4"), archived("a b<a c<b"));
        let decided = |policy| shown(&decide(&here, &archive, policy));
        assert_eq!(decided(policy(4, 3)), "d since @c, 4");
        assert_eq!(decided(policy(3, 3)), "d full: the chain has 3 streams");
        assert_eq!(
            decided(policy(4, 2)),
            "d full: the chain's full stream is of 1970-01-02T00:00:00Z"
        );
        assert_eq!(decided(policy(1, 99)), "d full: the chain has 3 streams");
    }

    /// A clone, of what has these origins, the nearest first; and a policy that is aware of it.
    fn of_image(text: &str, origins: &[(&str, ArchivedOrigin)]) -> (Here, ChainPolicy) {
        let mut here = here(text);
        for (number, (name, archived)) in (IMAGE..).zip(origins) {
            here.origins.push(Origin {
                snapshot: SnapshotName::new(name).unwrap(),
                guid: Guid::new(number),
                archived: *archived,
            });
        }
        let policy = ChainPolicy {
            image_aware: true,
            ..ChainPolicy::default()
        };
        (here, policy)
    }

    const WHOLE: ArchivedOrigin = ArchivedOrigin::Whole {
        streams: 1,
        flags: FLAGS,
    };

    #[test]
    fn instead_of_a_full_stream_what_was_added_to_the_image_is_sent() {
        let decided = |archived, text: &str| {
            let (here, policy) = of_image("@b,2 @c,3", &[("tank/images/fp@readonly", archived)]);
            shown(&decide(&here, &self::archived(text), policy))
        };
        let stored_first = "c since tank/images/fp@readonly, stored first, 2";
        assert_eq!(decided(ArchivedOrigin::Missing, ""), stored_first);
        let since_it = "c since tank/images/fp@readonly, 2";
        assert_eq!(decided(WHOLE, ""), since_it);
        assert_eq!(decided(WHOLE, "a"), since_it, "nothing is in common");
        assert_eq!(decided(WHOLE, "b<%"), "c since @b, 3");
        assert_eq!(
            decided(WHOLE, "b"),
            "c since @b, 2",
            "whatever that began with"
        );
        // The image is gone from the archive, and all that was built on it is of no use.
        assert_eq!(decided(ArchivedOrigin::Missing, "b<%?"), stored_first);
    }

    #[test]
    fn a_chain_that_starts_from_an_image_counts_it_but_not_its_age() {
        let (here, policy) = of_image("@b,2 @c,3 @d,4", &[("tank/images/fp@readonly", WHOLE)]);
        let policy = |max_length, days: i64| ChainPolicy {
            max_length,
            max_age: SignedDuration::from_hours(days * 24),
            ..policy
        };
        let archive = archived("x b<% c<b");
        let decided = |policy| shown(&decide(&here, &archive, policy));
        assert_eq!(decided(policy(4, 2)), "d since @c, 4");
        let anew = "d since tank/images/fp@readonly, 2";
        assert_eq!(decided(policy(3, 2)), anew);
        assert_eq!(decided(policy(4, 1)), anew, "of its own first stream");
        let full = "d full: the chain has 3 streams; a chain from its image would be longer than 1";
        assert_eq!(decided(policy(1, 2)), full);
    }

    #[test]
    fn without_an_image_that_serves_it_is_an_honest_full() {
        let decided = |origins: &[(&str, ArchivedOrigin)]| {
            let (here, policy) = of_image("@b,2", origins);
            shown(&decide(&here, &[], policy))
        };
        let full = |why: &str| format!("b full: it is the first of its lineage; {why}");
        assert_eq!(decided(&[]), full("its dataset is no clone of an image"));
        let image = "tank/images/fp@readonly";
        let damaged =
            "its image (guid 4711) is damaged in the archive, or not signed by one of its hosts";
        assert_eq!(decided(&[(image, ArchivedOrigin::Unusable)]), full(damaged));
        let other = ArchivedOrigin::Whole {
            streams: 1,
            flags: SendFlags::default(),
        };
        let flags = "its image (guid 4711) was sent with other flags";
        assert_eq!(decided(&[(image, other)]), full(flags));
    }

    /// A copy of a copy of an instance of an image.
    #[test]
    fn of_several_origins_the_nearest_that_is_archived_serves_else_the_farthest() {
        let names = [
            "tank/containers/a@1",
            "tank/containers/b@2",
            "tank/images/fp@readonly",
        ];
        let decided = |archived: [ArchivedOrigin; 3]| {
            let origins: Vec<_> = names.into_iter().zip(archived).collect();
            let (here, policy) = of_image("@b,2", &origins);
            shown(&decide(&here, &[], policy))
        };
        let none = ArchivedOrigin::Missing;
        let long = ArchivedOrigin::Whole {
            streams: 31,
            flags: FLAGS,
        };
        let image = "b since tank/images/fp@readonly";
        assert_eq!(
            decided([none, none, none]),
            format!("{image}, stored first, 2")
        );
        assert_eq!(
            decided([none, WHOLE, WHOLE]),
            "b since tank/containers/b@2, 2"
        );
        assert_eq!(
            decided([long, ArchivedOrigin::Unusable, WHOLE]),
            format!("{image}, 2")
        );
        assert_eq!(
            decided([long, none, none]),
            format!("{image}, stored first, 2")
        );
    }

    #[test]
    fn an_instance_without_a_snapshot_has_nothing_to_export() {
        let branch = LiveBranch {
            snapshots: Vec::new(),
            bookmarks: Vec::new(),
            origins: Vec::new(),
        };
        let instance: InstanceRef = "web".parse().unwrap();
        let policy = ChainPolicy::default();
        let refused = decide_export(&instance, &branch, &[], FLAGS, policy);
        assert!(
            matches!(refused, Err(Error::NothingToExport { .. })),
            "{refused:?}"
        );
    }

    proptest! {
        /// Whatever is here and there, even chains that run in a circle.
        #[test]
        fn a_base_can_always_be_restored_and_is_always_here(
            snapshots in prop::collection::btree_set(0u64..12, 1..8),
            bookmarks in prop::collection::btree_set(0u64..12, 0..8),
            points in prop::collection::btree_map(0u64..12, prop::option::of(0u64..12), 0..12),
        ) {
            let letter = |n: u64| char::from(b'a' + n as u8).to_string();
            let mut text = String::new();
            for n in &snapshots {
                text += &format!("@{},{} ", letter(*n), n + 1);
            }
            for n in &bookmarks {
                text += &format!("#{},{} ", letter(*n), n + 1);
            }
            let archive: Vec<_> = points
                .iter()
                .map(|(n, from)| ArchivedPoint {
                    guid: guid(&letter(*n)),
                    from: match from {
                        Some(from) => StartsFrom::Point(guid(&letter(*from))),
                        None => StartsFrom::Nothing,
                    },
                    created: day(n + 1),
                    flags: FLAGS,
                })
                .collect();
            let here = here(&text);
            let newest = *snapshots.iter().max().unwrap();
            let restorable = |mut n: u64| {
                for _ in 0..=points.len() {
                    match points.get(&n) {
                        None => return false,
                        Some(None) => return true,
                        Some(Some(from)) => n = *from,
                    }
                }
                false
            };
            match decide(&here, &archive, ChainPolicy::default()) {
                ExportDecision::UpToDate { guid: found } => {
                    prop_assert_eq!(found, guid(&letter(newest)));
                    prop_assert!(restorable(newest));
                }
                ExportDecision::Send { guid: found, base, .. } => {
                    prop_assert_eq!(found, guid(&letter(newest)));
                    let candidates = snapshots.union(&bookmarks).filter(|n| **n < newest);
                    let best = candidates.filter(|n| restorable(**n)).max();
                    match (base, best) {
                        (Base::Full { .. }, None) => {}
                        (Base::Increment { guid: from, .. }, Some(best)) => {
                            prop_assert_eq!(from, guid(&letter(*best)));
                        }
                        (base, best) => prop_assert!(false, "{base:?} {best:?}"),
                    }
                }
            }
        }
    }
}
