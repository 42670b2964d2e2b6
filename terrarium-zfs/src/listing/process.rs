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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(lines: &[&str]) -> Result<Listing, &'static str> {
        let mut objects = Objects::default();
        lines.iter().try_for_each(|line| objects.add(line))?;
        Ok(objects.into_listing())
    }

    #[test]
    fn lines_of_zfs_list_become_objects_in_order() {
        let listing = listed(&[
            "filesystem\ttank/b \t11\t2\t1700000001\t10\t20\t30\t40\t-\t-\ttank/a@s\tyes\ttank\t1-2-3\t-",
            "volume\ttank/a\t18446744073709551615\t1\t1700000000\t1\t2\t3\t4\t-\t-\t-\t-\t-\t-\t-",
            "snapshot\ttank/a@z\t12\t3\t1700000002\t5\t-\t6\t7\t8\ttank/b ,tank/%recv,tank/a c\t-\t-\t-\t-\toff",
            "snapshot\ttank/a@a\t13\t4\t1700000003\t0\t-\t0\t0\t0\t\t-\t-\t-\t-\toff",
            "bookmark\ttank/a#m\t12\t3\t1700000002\t-\t-\t6\t-\t-\t-\t-\t-\t-\t-\t-",
        ]);
        let listing = listing.expect("all is understood");
        let [volume, filesystem] = &listing.datasets[..] else {
            panic!("two")
        };
        assert_eq!(
            (volume.kind, volume.guid.get()),
            (DatasetKind::Volume, u64::MAX)
        );
        assert_eq!((volume.origin.as_ref(), volume.mounted), (None, false));
        assert_eq!(filesystem.name.as_str(), "tank/b ");
        assert_eq!(
            filesystem.origin.as_ref().map(SnapshotName::as_str),
            Some("tank/a@s")
        );
        assert_eq!(
            filesystem.encryption_root.as_ref().map(DatasetName::as_str),
            Some("tank")
        );
        assert_eq!(filesystem.receive_resume_token.as_deref(), Some("1-2-3"));
        assert!(filesystem.mounted);
        let sizes = (filesystem.used, filesystem.available, filesystem.referenced);
        assert_eq!((sizes, filesystem.written), ((10, 20, 30), 40));
        let [older, newer] = &listing.snapshots[..] else {
            panic!("two")
        };
        assert_eq!(
            (older.name.name(), newer.name.name()),
            ("z", "a"),
            "by age, not by name"
        );
        assert_eq!(
            (older.used, older.referenced, older.written, older.userrefs),
            (5, 6, 7, 8)
        );
        let clones: Vec<_> = older.clones.iter().map(DatasetName::as_str).collect();
        assert_eq!(
            clones,
            ["tank/a c", "tank/b "],
            "without the one being received"
        );
        assert_eq!(newer.clones, []);
        assert_eq!(listing.bookmarks[0].name.as_str(), "tank/a#m");
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error() {
        let good = "snapshot\ttank/a@z\t12\t3\t1700000002\t5\t-\t6\t7\t8\t-\t-\t-\t-\t-\toff";
        assert!(listed(&[good]).is_ok());
        for (n, bad) in [
            (0, "share"),
            (1, "tank"),
            (2, "-"),
            (3, "x"),
            (4, ""),
            (5, "1K"),
            (10, "a b@"),
        ] {
            let mut fields: Vec<&str> = good.split('\t').collect();
            fields[n] = bad;
            listed(&[&fields.join("\t")]).expect_err(bad);
        }
        for line in ["", "snapshot", &format!("{good}\t")] {
            listed(&[line]).expect_err(line);
        }
    }

    fn records(lines: &str) -> Vec<(String, String, String)> {
        let mut record = Record::default();
        let mut records = Vec::new();
        for line in lines.split('\n') {
            if let Some((name, property, value)) = record.line(line) {
                records.push((name.to_owned(), property.to_owned(), value.to_owned()));
            }
        }
        records
    }

    #[test]
    fn values_with_tabs_and_line_feeds_are_put_together_again() {
        let lines =
            "a b\tt:a\ttab\there\tlocal\na b\tt:b\t\n\ntwo\nlines\n\tlocal\na b\tt:c\t\tlocal";
        let expected = [
            ("t:a", "tab\there"),
            ("t:b", "\n\ntwo\nlines\n"),
            ("t:c", ""),
        ];
        let expected = expected.map(|(p, v)| ("a b".to_owned(), p.to_owned(), v.to_owned()));
        assert_eq!(records(lines), expected);
        assert_eq!(records("a\tt:a\tcut"), []);
        assert_eq!(records(""), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_value_that_does_not_end_a_record_itself_is_read_whole(
            values in prop::collection::vec("[a-z\t\n ]{0,12}", 1..5),
        ) {
            prop_assume!(values.iter().all(|value| !value.contains("\tlocal\n")));
            let lines: Vec<_> = values.iter().map(|value| format!("a\tt:a\t{value}\tlocal")).collect();
            let read: Vec<_> = records(&lines.join("\n")).into_iter().map(|(_, _, v)| v).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn garbage_is_refused_without_a_panic(lines in prop::collection::vec("[ -~\t]{0,80}", 0..4)) {
            let _ = listed(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
