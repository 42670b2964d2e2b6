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
