//! What the tests of terrarium-zfs have in common.

use std::collections::BTreeMap;

use terrarium_zfs::{
    BatchError, DatasetName, Error, ErrorKind, Guid, Properties, SnapshotName, UserProperties,
    ZfsCore,
};
use testbed::{Pool, zfs};

/// ZFS, opened.
pub(crate) fn core() -> ZfsCore {
    testbed::assert_in_guest();
    ZfsCore::open().expect("the guest has ZFS")
}

/// A dataset's name below a pool; it need not exist.
pub(crate) fn named(pool: &Pool, path: &str) -> DatasetName {
    DatasetName::new(&pool.dataset(path)).expect("a legal name")
}

/// A filesystem below a pool, made with its parents.
pub(crate) fn made(pool: &Pool, path: &str) -> DatasetName {
    DatasetName::new(&pool.create_dataset(path)).expect("a legal name")
}

/// A snapshot's name; it need not exist.
pub(crate) fn at(dataset: &DatasetName, name: &str) -> SnapshotName {
    dataset.snapshot(name).expect("a legal name")
}

/// A snapshot, taken by the zfs program.
pub(crate) fn taken(dataset: &DatasetName, name: &str) -> SnapshotName {
    let snapshot = at(dataset, name);
    zfs(["snapshot", snapshot.as_str()]);
    snapshot
}

/// The names of a dataset's snapshots, oldest first.
pub(crate) fn snapshots(dataset: &DatasetName) -> Vec<String> {
    let arguments = [
        "list",
        "-H",
        "-d",
        "1",
        "-t",
        "snapshot",
        "-s",
        "createtxg",
        "-o",
        "name",
    ];
    let listed = zfs(arguments.into_iter().chain([dataset.as_str()]));
    let prefix = format!("{dataset}@");
    listed
        .lines()
        .map(|line| line.replacen(&prefix, "", 1))
        .collect()
}

/// A property as `zfs get -Hp` prints it.
pub(crate) fn get(object: &str, property: &str) -> String {
    let mut value = zfs(["get", "-Hp", "-o", "value", property, object]);
    assert_eq!(value.pop(), Some('\n'), "a line ends");
    value
}

/// All properties, as `zfs get -Hp` prints them.
pub(crate) fn all(object: &str) -> BTreeMap<String, String> {
    let lines = zfs(["get", "-Hp", "-o", "property,value", "all", object]);
    let pair = |line: &str| {
        line.split_once('\t')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
    };
    lines.lines().filter_map(pair).collect()
}

/// Whether something of that name exists, as the zfs program sees it.
pub(crate) fn exists(object: &str) -> bool {
    testbed::run("zfs")
        .args(["list", "-H", "-t", "all", object])
        .finish()
        .code()
        == Some(0)
}

/// The guid as the zfs program sees it.
pub(crate) fn guid(object: &str) -> Guid {
    get(object, "guid").parse().expect("a guid")
}

/// Properties given as `zfs get -Hp` prints them.
pub(crate) fn properties<const N: usize>(pairs: [(&str, &str); N]) -> Properties {
    let mut properties = Properties::new();
    for (name, value) in pairs {
        properties.set(name, value).expect("a settable property");
    }
    properties
}

/// User properties.
pub(crate) fn user<const N: usize>(pairs: [(&str, &str); N]) -> UserProperties {
    BTreeMap::from(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// The kinds of a failed batch call's failures, by object.
pub(crate) fn kinds(error: &BatchError) -> BTreeMap<&str, ErrorKind> {
    error
        .failures
        .iter()
        .map(|(object, error)| (object.as_str(), error.kind()))
        .collect()
}

/// The kind of a failed call.
#[track_caller]
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.expect_err("the call fails").kind()
}
