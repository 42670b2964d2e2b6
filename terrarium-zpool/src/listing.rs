//! What is there, in the words of [`terrarium_zfs::Listing`].

use std::collections::BTreeMap;

use terrarium_zfs::nvlist::{NvList, NvListRef};
use terrarium_zfs::{
    Attempt, Bookmark, BookmarkName, Dataset, DatasetKind, DatasetName, Error, Guid, Listing,
    NameError, Snapshot, SnapshotName, Txg,
};

use crate::datasets::for_dataset;
use crate::engine::{Engine, number};

const OPERATION: &str = "list";

impl Engine {
    /// Lists a dataset and all below it, with snapshots and bookmarks.
    ///
    /// Of snapshots these `user_properties` are told; the local properties of datasets are told all.
    /// `mounted` tells of a dataset that is occupied.
    ///
    /// # Errors
    /// [`Error::NotFound`] if `root` does not exist.
    pub fn list(&self, root: &DatasetName, user_properties: &[&str]) -> Result<Listing, Error> {
        let answer = self.call(OPERATION, OPERATION, root.as_str(), for_dataset(root)?)?;
        let unexpected = |what: String| Error::Unexpected {
            attempt: Attempt::new(OPERATION, root.as_str()),
            detail: what,
        };
        let datasets = each(&answer, "datasets", dataset).map_err(unexpected)?;
        let snapshots = each(&answer, "snapshots", |name, list| {
            snapshot(name, list, user_properties)
        });
        let snapshots = snapshots.map_err(unexpected)?;
        let bookmarks = each(&answer, "bookmarks", bookmark).map_err(unexpected)?;
        Ok(Listing::new(datasets, snapshots, bookmarks))
    }
}

/// Reads one of the three lists of the answer: names, each with what is known of it.
fn each<T>(
    answer: &NvList,
    kind: &str,
    read: impl Fn(&str, NvListRef<'_>) -> Result<T, NameError>,
) -> Result<Vec<T>, String> {
    let list = answer.value(kind).and_then(|list| list.list());
    let list = list.ok_or_else(|| format!("no {kind}"))?;
    list.iter()
        .map(|(name, value)| {
            let name = name.to_string_lossy();
            let value = value.list().ok_or_else(|| format!("no list at {name}"))?;
            read(&name, value).map_err(|error| error.to_string())
        })
        .collect()
}

fn dataset(name: &str, list: NvListRef<'_>) -> Result<Dataset, NameError> {
    let text = |field| list.value(field).and_then(|value| value.text());
    let (guid, createtxg, creation) = identity(list);
    let mut dataset = Dataset::new(DatasetName::new(name)?, guid, createtxg, creation);
    if number(list, "volume") != 0 {
        dataset.kind = DatasetKind::Volume;
    }
    dataset.used = number(list, "used");
    dataset.available = number(list, "available");
    dataset.referenced = number(list, "referenced");
    dataset.written = number(list, "written");
    dataset.mounted = number(list, "occupied") != 0;
    dataset.origin = text("origin")
        .map(|name| SnapshotName::new(&name))
        .transpose()?;
    dataset.encryption_root = text("encryption_root")
        .map(|name| DatasetName::new(&name))
        .transpose()?;
    dataset.receive_resume_token = text("resume_token");
    dataset.local = local(list);
    Ok(dataset)
}

fn snapshot(name: &str, list: NvListRef<'_>, wanted: &[&str]) -> Result<Snapshot, NameError> {
    let (guid, createtxg, creation) = identity(list);
    let mut snapshot = Snapshot::new(SnapshotName::new(name)?, guid, createtxg, creation);
    snapshot.used = number(list, "used");
    snapshot.referenced = number(list, "referenced");
    snapshot.written = number(list, "written");
    snapshot.userrefs = number(list, "userrefs");
    let clones = list.value("clones").and_then(|clones| clones.list());
    snapshot.clones = clones
        .into_iter()
        .flat_map(|clones| clones.iter())
        .map(|(clone, _)| clone.to_string_lossy())
        // A receive in progress works in a clone that nobody else can name.
        .filter(|clone| !clone.contains('%'))
        .map(|clone| DatasetName::new(&clone))
        .collect::<Result<_, _>>()?;
    snapshot.clones.sort();
    snapshot.user_properties = local(list);
    snapshot
        .user_properties
        .retain(|name, _| wanted.contains(&name.as_str()));
    Ok(snapshot)
}

fn bookmark(name: &str, list: NvListRef<'_>) -> Result<Bookmark, NameError> {
    let (guid, createtxg, creation) = identity(list);
    Ok(Bookmark::new(
        BookmarkName::new(name)?,
        guid,
        createtxg,
        creation,
    ))
}

fn identity(list: NvListRef<'_>) -> (Guid, Txg, i64) {
    let creation = number(list, "creation").try_into().unwrap_or(i64::MAX);
    (
        Guid::new(number(list, "guid")),
        Txg::new(number(list, "createtxg")),
        creation,
    )
}

fn local(list: NvListRef<'_>) -> BTreeMap<String, String> {
    let local = list.value("local").and_then(|local| local.list());
    let pairs = local.into_iter().flat_map(|local| local.iter());
    pairs
        .filter_map(|(name, value)| Some((name.to_string_lossy().into_owned(), value.text()?)))
        .collect()
}
