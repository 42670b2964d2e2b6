//! What [`Zfs`] must do, be it the kernel's or a fake.

mod branches;
mod datasets;
mod properties;
mod sending;
mod snapshots;

use std::any::Any;

use terrarium_zfs::{
    BatchError, BookmarkName, Dataset, DatasetName, Error, ErrorKind, Listing, Properties,
    Snapshot, SnapshotName, UserProperties,
};

use crate::Zfs;

pub use branches::*;
pub use datasets::*;
pub use properties::*;
pub use sending::Sending;
pub use snapshots::*;

/// Names every case, to a macro of the caller that makes tests of them.
///
/// ```
/// macro_rules! count {
///     ($($case:ident)*) => { [$(stringify!($case)),*].len() };
/// }
/// assert!(terrarium_core::zfs_cases!(count) > 10);
/// ```
#[macro_export]
macro_rules! zfs_cases {
    ($each:ident) => {
        $each! {
            a_listing_shows_what_is_there_in_order
            a_guid_is_that_of_the_listing_and_none_if_there_is_nothing
            what_does_not_exist_cannot_be_listed
            a_dataset_is_created_with_its_properties
            a_dataset_is_not_created_twice_or_without_a_parent
            a_rename_takes_everything_below_along
            a_rename_is_refused_where_it_cannot_go
            a_mounted_dataset_is_renamed_and_rolled_back_but_not_destroyed
            a_dataset_is_destroyed_only_with_nothing_below_it
            a_pool_tells_its_health
            snapshots_of_one_call_share_a_transaction_group
            snapshots_are_taken_all_or_none
            a_transaction_group_holds_one_snapshot_of_a_dataset
            a_snapshot_keeps_what_was_there
            snapshots_are_destroyed_all_or_none
            an_absent_snapshot_counts_as_destroyed
            a_busy_snapshot_is_not_destroyed
            a_snapshot_is_destroyed_by_its_guid_and_not_another_of_its_name
            what_cannot_be_destroyed_by_guid_does_not_keep_the_others
            the_holds_of_a_snapshot_are_named
            a_range_of_snapshots_frees_what_they_share_too
            a_file_is_read_from_a_snapshot
            a_clone_starts_from_its_origin_and_owns_its_properties
            an_untouched_clone_has_written_what_every_fresh_clone_has
            a_clone_is_refused_without_origin_parent_or_free_name
            a_copy_shares_nothing_with_what_it_was_copied_from
            a_copy_is_refused_without_origin_parent_or_free_name
            a_promoted_clone_owns_the_snapshots_up_to_its_origin
            a_promotion_takes_the_bookmarks_of_that_time_along
            a_promotion_keeps_holds_and_user_properties
            a_promotion_hands_on_the_origin_of_the_origin
            other_clones_follow_their_origin
            a_promotion_is_refused_for_what_is_no_clone
            a_promotion_is_refused_for_a_name_that_both_have
            a_promotion_is_refused_while_a_snapshot_that_would_move_is_sent
            a_rollback_restores_and_destroys_what_is_newer
            a_rollback_is_refused_while_something_newer_is_held_or_cloned
            user_properties_are_set_and_removed
            user_properties_of_a_dataset_are_not_those_of_its_snapshots
            user_properties_of_others_are_not_listed_with_a_snapshot
            user_properties_are_set_all_or_none
            a_user_property_holds_8191_bytes
        }
    };
}

/// An implementation of [`Zfs`] with an empty place in it, and the means to do what the seam does not.
pub trait ZfsRig {
    /// The implementation under test.
    fn zfs(&self) -> &dyn Zfs;

    /// An existing, empty dataset; what is below it is the case's own.
    fn root(&self) -> &DatasetName;

    /// Writes a file at the root of a dataset that is not mounted.
    fn write(&self, dataset: &DatasetName, file: &str, bytes: &[u8]);

    /// Reads a file at the root of a dataset that is not mounted.
    fn read(&self, dataset: &DatasetName, file: &str) -> Option<Vec<u8>>;

    /// Holds a snapshot.
    fn hold(&self, snapshot: &SnapshotName);

    /// Takes that hold off again.
    fn release(&self, snapshot: &SnapshotName);

    /// Makes a bookmark.
    fn bookmark(&self, bookmark: &BookmarkName, snapshot: &SnapshotName);

    /// Begins to send a snapshot, until the guard is dropped.
    fn send(&self, snapshot: &SnapshotName) -> Box<dyn Any>;

    /// Mounts a dataset, until the guard is dropped.
    fn mount(&self, dataset: &DatasetName) -> Box<dyn Any>;
}

// What the cases are written with. Each panics with what it was about.

/// Bytes that no compression makes smaller, different for each seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[track_caller]
fn done<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn named(rig: &dyn ZfsRig, path: &str) -> DatasetName {
    done(rig.root().child(path))
}

fn at(dataset: &DatasetName, name: &str) -> SnapshotName {
    done(dataset.snapshot(name))
}

fn created(rig: &dyn ZfsRig, path: &str) -> DatasetName {
    let name = named(rig, path);
    // As LXD creates its datasets: no one mounts them by the way.
    let properties = properties(&[("mountpoint", "legacy"), ("canmount", "noauto")]);
    done(rig.zfs().create(&name, &properties));
    name
}

fn taken(rig: &dyn ZfsRig, dataset: &DatasetName, name: &str) -> SnapshotName {
    let name = at(dataset, name);
    done(rig.zfs().snapshot(&[(name.clone(), UserProperties::new())]));
    name
}

fn cloned(rig: &dyn ZfsRig, path: &str, origin: &SnapshotName) -> DatasetName {
    let name = named(rig, path);
    let properties = properties(&[("mountpoint", "legacy"), ("canmount", "noauto")]);
    done(rig.zfs().clone_snapshot(&name, origin, &properties));
    name
}

fn promoted(rig: &dyn ZfsRig, clone: &DatasetName) {
    done(rig.zfs().check_promote(clone));
    done(rig.zfs().promote(clone));
}

fn properties(pairs: &[(&str, &str)]) -> Properties {
    let mut properties = Properties::new();
    for (name, value) in pairs {
        done(properties.set(name, value));
    }
    properties
}

fn user_properties(pairs: &[(&str, &str)]) -> UserProperties {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn listed(rig: &dyn ZfsRig) -> Listing {
    done(rig.zfs().list(rig.root()))
}

fn dataset(rig: &dyn ZfsRig, name: &DatasetName) -> Dataset {
    let mut datasets = listed(rig).datasets.into_iter();
    let found = datasets.find(|dataset| dataset.name == *name);
    found.unwrap_or_else(|| panic!("{name} is not listed"))
}

fn snapshot(rig: &dyn ZfsRig, name: &SnapshotName) -> Snapshot {
    let mut snapshots = listed(rig).snapshots.into_iter();
    let found = snapshots.find(|snapshot| snapshot.name == *name);
    found.unwrap_or_else(|| panic!("{name} is not listed"))
}

/// The names of a dataset's snapshots, oldest first.
fn snapshots(rig: &dyn ZfsRig, of: &DatasetName) -> Vec<String> {
    let snapshots = listed(rig).snapshots.into_iter();
    let own = snapshots.filter(|snapshot| snapshot.name.dataset() == *of);
    own.map(|snapshot| snapshot.name.name().to_owned())
        .collect()
}

/// The names of a dataset's bookmarks, oldest first.
fn bookmarks(rig: &dyn ZfsRig, of: &DatasetName) -> Vec<String> {
    let bookmarks = listed(rig).bookmarks.into_iter();
    let own = bookmarks.filter(|bookmark| bookmark.name.dataset() == *of);
    own.map(|bookmark| bookmark.name.name().to_owned())
        .collect()
}

fn bookmarked(rig: &dyn ZfsRig, snapshot: &SnapshotName, name: &str) {
    let name = snapshot.dataset().bookmark(name);
    rig.bookmark(&done(name), snapshot);
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(done: Result<T, Error>, kind: ErrorKind) {
    match done {
        Ok(done) => panic!("{kind:?} was expected, not {done:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

/// Refused because of exactly these snapshots; nothing was done.
#[track_caller]
fn assert_all_refused(done: Result<(), BatchError>, because: &[(&SnapshotName, ErrorKind)]) {
    assert!(!assert_failed(done, because), "nothing was to be done");
}

/// Exactly these snapshots were not destroyed; the others were.
#[track_caller]
fn assert_others_destroyed(done: Result<(), BatchError>, because: &[(&SnapshotName, ErrorKind)]) {
    assert!(assert_failed(done, because), "the others were to be done");
}

/// Failed for exactly these snapshots; whether the others are said to be done.
#[track_caller]
fn assert_failed(done: Result<(), BatchError>, because: &[(&SnapshotName, ErrorKind)]) -> bool {
    let Err(error) = done else {
        panic!("{because:?} were expected to be refused");
    };
    let failures = error.failures.iter();
    let mut failures: Vec<_> = failures
        .map(|(name, error)| (name.as_str(), error.kind()))
        .collect();
    failures.sort_by_key(|(name, _)| name.to_owned());
    let because: Vec<_> = because
        .iter()
        .map(|(name, kind)| (name.as_str(), *kind))
        .collect();
    assert_eq!(failures, because, "{error}");
    error.others_done
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_named_in_the_list() {
        macro_rules! names {
            ($($case:ident)*) => { [$(stringify!($case)),*] };
        }
        let mut named = zfs_cases!(names);
        let sources = [
            include_str!("branches.rs"),
            include_str!("datasets.rs"),
            include_str!("properties.rs"),
            include_str!("snapshots.rs"),
        ];
        let lines = sources.iter().flat_map(|source| source.lines());
        let mut written: Vec<&str> = lines
            .filter_map(|line| line.strip_prefix("pub fn ")?.split('(').next())
            .collect();
        named.sort_unstable();
        written.sort_unstable();
        assert_eq!(written, named);
    }
}
