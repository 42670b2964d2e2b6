//! Listing by the programs `zfs list` and `zfs get`.

use std::collections::{BTreeMap, HashMap};

use crate::command;
use crate::error::Error;
use crate::handle::ZfsCore;
use crate::ids::{Guid, Txg, parse_decimal};
use crate::listing::{Bookmark, Dataset, DatasetKind, Listing, Snapshot};
use crate::names::{BookmarkName, DatasetName, SnapshotName};

const OPERATION: &str = "list";

/// A dataset and all below it.
///
/// The first pass lists what is there, the second adds the local properties: so each listed object
/// that still exists at the second has its properties, and one that came in between is not listed.
pub(crate) fn list(root: &DatasetName) -> Result<Listing, Error> {
    let mut objects = Objects::default();
    let columns = COLUMNS.join(",");
    let arguments = [
        "list",
        "-Hp",
        "-r",
        "-t",
        "all",
        "-o",
        &columns,
        "--",
        root.as_str(),
    ];
    command::for_each_line(OPERATION, root.as_str(), "zfs", &arguments, |line| {
        objects
            .add(line)
            .map_err(|what| unexpected(root, what, line))
    })?;
    let arguments = [
        "get",
        "-Hp",
        "-r",
        "-t",
        "filesystem,volume,snapshot",
        "-s",
        "local",
        "-o",
        "name,property,value,source",
        "all",
        "--",
        root.as_str(),
    ];
    let mut record = Record::default();
    command::for_each_line(OPERATION, root.as_str(), "zfs", &arguments, |line| {
        if let Some((name, property, value)) = record.line(line) {
            objects.set_local(name, property, value);
        }
        Ok(())
    })?;
    Ok(objects.into_listing())
}

fn unexpected(root: &DatasetName, what: &str, line: &str) -> Error {
    Error::unexpected(OPERATION, root.as_str(), format!("{what} in \"{line}\""))
}

const COLUMNS: [&str; 16] = [
    "type",
    "name",
    "guid",
    "createtxg",
    "creation",
    "used",
    "available",
    "referenced",
    "written",
    "userrefs",
    "clones",
    "origin",
    "mounted",
    "encryptionroot",
    "receive_resume_token",
    "defer_destroy",
];

#[derive(Default)]
struct Objects {
    datasets: Vec<Dataset>,
    snapshots: Vec<Snapshot>,
    bookmarks: Vec<Bookmark>,
    index: HashMap<String, usize>,
}

impl Objects {
    /// Adds a line of `zfs list`; the error says what is wrong with it.
    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let fields: Vec<&str> = line.split('\t').collect();
        let fields: [&str; COLUMNS.len()] =
            fields.try_into().map_err(|_| "a wrong number of fields")?;
        let [
            kind,
            name,
            guid,
            createtxg,
            creation,
            used,
            available,
            referenced,
            written,
            userrefs,
            clones,
            origin,
            mounted,
            encryption_root,
            token,
            _,
        ] = fields;
        let guid = Guid::new(parse_decimal(guid).ok_or("no guid")?);
        let createtxg = Txg::new(parse_decimal(createtxg).ok_or("no createtxg")?);
        let creation = creation.parse().map_err(|_| "no creation")?;
        match kind {
            "filesystem" | "volume" => {
                let name = DatasetName::new(name).map_err(|_| "an illegal name")?;
                let mut dataset = Dataset::new(name, guid, createtxg, creation);
                dataset.kind = match kind {
                    "volume" => DatasetKind::Volume,
                    _ => DatasetKind::Filesystem,
                };
                dataset.used = number(used)?;
                dataset.available = number(available)?;
                dataset.referenced = number(referenced)?;
                dataset.written = number(written)?;
                dataset.origin = match present(origin) {
                    Some(origin) => Some(SnapshotName::new(origin).map_err(|_| "an origin")?),
                    None => None,
                };
                dataset.mounted = mounted == "yes";
                dataset.encryption_root = match present(encryption_root) {
                    Some(name) => Some(DatasetName::new(name).map_err(|_| "an encryption root")?),
                    None => None,
                };
                dataset.receive_resume_token = present(token).map(str::to_owned);
                self.index
                    .insert(dataset.name.to_string(), self.datasets.len());
                self.datasets.push(dataset);
            }
            "snapshot" => {
                let name = SnapshotName::new(name).map_err(|_| "an illegal name")?;
                let mut snapshot = Snapshot::new(name, guid, createtxg, creation);
                snapshot.used = number(used)?;
                snapshot.referenced = number(referenced)?;
                snapshot.written = number(written)?;
                snapshot.userrefs = number(userrefs)?;
                snapshot.clones = present(clones)
                    .into_iter()
                    .flat_map(|clones| clones.split(','))
                    // A receive in progress works in a clone that nobody else can name.
                    .filter(|clone| !clone.is_empty() && !clone.contains('%'))
                    .map(|clone| DatasetName::new(clone).map_err(|_| "a clone's name"))
                    .collect::<Result<_, _>>()?;
                snapshot.clones.sort();
                self.index
                    .insert(snapshot.name.to_string(), self.snapshots.len());
                self.snapshots.push(snapshot);
            }
            "bookmark" => {
                let name = BookmarkName::new(name).map_err(|_| "an illegal name")?;
                self.bookmarks
                    .push(Bookmark::new(name, guid, createtxg, creation));
            }
            _ => return Err("an unknown type"),
        }
        Ok(())
    }

    fn set_local(&mut self, name: &str, property: &str, value: &str) {
        let Some(&index) = self.index.get(name) else {
            return;
        };
        let properties: &mut BTreeMap<String, String> = if name.contains('@') {
            // A snapshot can have other properties set, but they say nothing about it as a point.
            if !property.contains(':') {
                return;
            }
            &mut self.snapshots[index].user_properties
        } else if COUNTS.contains(&property) {
            return;
        } else {
            &mut self.datasets[index].local
        };
        properties.insert(property.to_owned(), value.to_owned());
    }

    fn into_listing(self) -> Listing {
        Listing::new(self.datasets, self.snapshots, self.bookmarks)
    }
}

/// Counted by ZFS once a limit is set, and shown as if someone had set them.
const COUNTS: [&str; 2] = ["filesystem_count", "snapshot_count"];

fn number(field: &str) -> Result<u64, &'static str> {
    match present(field) {
        Some(field) => parse_decimal(field).ok_or("no number"),
        None => Ok(0),
    }
}

/// `-` and nothing stand for absence.
fn present(field: &str) -> Option<&str> {
    Some(field).filter(|field| !matches!(*field, "-" | ""))
}

/// Puts a record of `zfs get` together again whose value contains line feeds.
///
/// A value may hold any character. The source behind it ends the record, so a value with a tab or a
/// line feed is still read whole; only one made to look like the end of a record is not.
#[derive(Default)]
struct Record {
    text: String,
}

impl Record {
    /// Takes a line; gives name, property and value when a record is complete.
    fn line(&mut self, line: &str) -> Option<(&str, &str, &str)> {
        if self.text.ends_with(END) || self.text.is_empty() {
            self.text.clear();
        } else {
            self.text.push('\n');
        }
        self.text.push_str(line);
        let mut fields = self.text.strip_suffix(END)?.splitn(3, '\t');
        Some((fields.next()?, fields.next()?, fields.next()?))
    }
}

const END: &str = "\tlocal";

/// What is newer than a snapshot in its dataset.
pub(crate) struct Newer {
    pub(crate) snapshots: Vec<SnapshotName>,
    pub(crate) bookmarks: Vec<BookmarkName>,
}

/// Snapshots and bookmarks of the snapshot's dataset that came after it.
pub(crate) fn newer_than(core: &ZfsCore, snapshot: &SnapshotName) -> Result<Newer, Error> {
    let operation = "roll back to";
    let dataset = snapshot.dataset();
    let mut snapshots = Vec::new();
    let arguments = [
        "list",
        "-Hp",
        "-d",
        "1",
        "-t",
        "snapshot",
        "-o",
        "name,createtxg",
        "--",
        dataset.as_str(),
    ];
    command::for_each_line(operation, dataset.as_str(), "zfs", &arguments, |line| {
        let parsed = line.split_once('\t').and_then(|(name, txg)| {
            Some((SnapshotName::new(name).ok()?, Txg::new(parse_decimal(txg)?)))
        });
        let wrong = || Error::unexpected(operation, dataset.as_str(), line);
        snapshots.push(parsed.ok_or_else(wrong)?);
        Ok(())
    })?;
    let point = snapshots
        .iter()
        .find(|(name, _)| name == snapshot)
        .map(|(_, txg)| *txg);
    let Some(point) = point else {
        let attempt = crate::Attempt::new(operation, snapshot.as_str());
        return Err(Error::NotFound(attempt));
    };
    let bookmarks = core.bookmarks(&dataset)?.into_iter();
    Ok(Newer {
        snapshots: snapshots
            .into_iter()
            .filter(|(_, txg)| *txg > point)
            .map(|(n, _)| n)
            .collect(),
        bookmarks: bookmarks
            .filter(|b| b.createtxg > point)
            .map(|b| b.name)
            .collect(),
    })
}

/// The guid of a dataset or snapshot.
pub(crate) fn guid(object: &str) -> Result<Option<Guid>, Error> {
    let operation = "look up";
    crate::names::pool_of(object)?;
    let arguments = ["get", "-Hp", "-o", "value", "guid", "--", object];
    match command::lines(operation, object, "zfs", &arguments) {
        Ok(lines) => match lines.first().and_then(|line| parse_decimal(line)) {
            Some(guid) => Ok(Some(Guid::new(guid))),
            None => Err(Error::unexpected(
                operation,
                object,
                format!("guid {lines:?}"),
            )),
        },
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
