//! Listing by the program `zfs get`.

use std::collections::HashMap;

use crate::command;
use crate::error::Error;
use crate::handle::ZfsCore;
use crate::ids::{Guid, Txg, parse_decimal};
use crate::listing::{Bookmark, Dataset, DatasetKind, Listing, Snapshot};
use crate::names::{BookmarkName, DatasetName, SnapshotName};

const OPERATION: &str = "list";

/// A dataset and all below it, with these user properties of snapshots.
///
/// The first pass lists what is there, the second adds the local properties of datasets: so each
/// listed dataset that still exists at the second has its properties, and one that came in between
/// is not listed.
///
/// Two passes, because `zfs get all` opens each object once more for the properties that the file
/// system keeps itself: that triples the time, and nobody asks for these of snapshots.
pub(crate) fn list(root: &DatasetName, user_properties: &[&str]) -> Result<Listing, Error> {
    let properties = [&COLUMNS[..], user_properties].concat();
    let asked = properties.join(",");
    let what_is_there = ["-t", "all", "-o", "name,property,value,source", &asked];
    let mut objects = Objects::default();
    let mut table = Table::new(&properties);
    get(root, &what_is_there, |line| {
        let complete = table.line(line);
        complete
            .and_then(|object| objects.add(object, user_properties))
            .map_err(|what| unexpected(root, what, line))
    })?;
    let last = table.end();
    last.and_then(|object| objects.add(object, user_properties))
        .map_err(|what| unexpected(root, what, "the end"))?;
    let set_on_datasets = [
        "-t",
        "filesystem,volume",
        "-s",
        "local",
        "-o",
        "name,property,value,source",
        "all",
    ];
    let mut record = Record::default();
    get(root, &set_on_datasets, |line| {
        if let Some((name, property, value)) = record.line(line) {
            objects.set_local(name, property, value);
        }
        Ok(())
    })?;
    Ok(objects.into_listing())
}

/// Runs `zfs get` for a dataset and all below it.
fn get(
    root: &DatasetName,
    arguments: &[&str],
    line: impl FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let arguments = [&["get", "-Hp", "-r"], arguments, &["--", root.as_str()]].concat();
    command::for_each_line(OPERATION, root.as_str(), "zfs", &arguments, line)
}

fn unexpected(root: &DatasetName, what: &str, line: &str) -> Error {
    Error::unexpected(OPERATION, root.as_str(), format!("{what} at \"{line}\""))
}

/// What is asked of every object; `-` where an object has no such property.
const COLUMNS: [&str; 14] = [
    "type",
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
];

/// An object and its properties in the order of asking: value and source.
#[derive(Debug, PartialEq, Eq)]
struct Object {
    name: String,
    properties: Vec<(String, String)>,
}

/// Puts the output of `zfs get` with a list of properties together again, object by object.
///
/// A user property's value may hold any character, line feeds included. The properties come in the
/// order of asking, so a line that does not begin the next one goes on with the value before it;
/// only a value made to look like the next line is not read whole.
struct Table<'a> {
    /// Native properties, the type first, then user properties.
    asked: &'a [&'a str],
    name: String,
    /// Value and source of each property so far, as one text.
    answers: Vec<String>,
}

impl<'a> Table<'a> {
    fn new(asked: &'a [&'a str]) -> Self {
        Self {
            asked,
            name: String::new(),
            answers: Vec::new(),
        }
    }

    /// Takes a line; gives the object before it if the line begins another one.
    fn line(&mut self, line: &str) -> Result<Option<Object>, &'static str> {
        if self.answers.is_empty() || self.answers.len() == self.asked.len() {
            if let Some((name, answer)) = self.begins_object(line) {
                let before = self.end()?;
                self.name = name.to_owned();
                self.answers.push(answer.to_owned());
                return Ok(before);
            }
        } else if let Some(answer) = self.begins_property(line) {
            self.answers.push(answer.to_owned());
            return Ok(None);
        }
        let current = self.answers.len().wrapping_sub(1);
        match (self.asked.get(current), self.answers.last_mut()) {
            (Some(property), Some(answer)) if property.contains(':') => {
                answer.push('\n');
                answer.push_str(line);
                Ok(None)
            }
            _ => Err("another property than expected"),
        }
    }

    /// Gives the object under way when the output ends.
    fn end(&mut self) -> Result<Option<Object>, &'static str> {
        if self.answers.is_empty() {
            return Ok(None);
        }
        if self.answers.len() != self.asked.len() {
            return Err("too few properties");
        }
        let split = |answer: String| {
            let (value, source) = answer.rsplit_once('\t').ok_or("no source")?;
            Ok((value.to_owned(), source.to_owned()))
        };
        Ok(Some(Object {
            name: std::mem::take(&mut self.name),
            properties: self
                .answers
                .drain(..)
                .map(split)
                .collect::<Result<_, &'static str>>()?,
        }))
    }

    /// The name and the answer in a line that tells an object's type.
    fn begins_object<'l>(&self, line: &'l str) -> Option<(&'l str, &'l str)> {
        let (name, rest) = line.split_once('\t')?;
        let (property, answer) = rest.split_once('\t')?;
        (property == *self.asked.first()? && answer.ends_with("\t-")).then_some((name, answer))
    }

    /// The answer in a line that tells the next property of the object under way.
    fn begins_property<'l>(&self, line: &'l str) -> Option<&'l str> {
        let rest = line.strip_prefix(&self.name)?.strip_prefix('\t')?;
        let property = self.asked.get(self.answers.len())?;
        rest.strip_prefix(property)?.strip_prefix('\t')
    }
}

#[derive(Default)]
struct Objects {
    datasets: Vec<Dataset>,
    snapshots: Vec<Snapshot>,
    bookmarks: Vec<Bookmark>,
    /// Where each dataset is.
    index: HashMap<String, usize>,
}

impl Objects {
    /// Adds what `zfs get` told of an object; the error says what is wrong with it.
    fn add(
        &mut self,
        object: Option<Object>,
        user_properties: &[&str],
    ) -> Result<(), &'static str> {
        let Some(Object { name, properties }) = object else {
            return Ok(());
        };
        let (native, user) = properties
            .split_at_checked(COLUMNS.len())
            .ok_or("too few properties")?;
        let native: Vec<&str> = native.iter().map(|(value, _)| value.as_str()).collect();
        let native: [&str; COLUMNS.len()] = native.try_into().map_err(|_| "too few properties")?;
        let [
            kind,
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
        ] = native;
        let name = name.as_str();
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
                // What it inherits from its dataset says nothing about it.
                let own = std::iter::zip(user_properties, user)
                    .filter(|(_, (_, source))| source == "local")
                    .map(|(property, (value, _))| ((*property).to_owned(), value.clone()));
                snapshot.user_properties = own.collect();
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
        if let Some(&index) = self.index.get(name)
            && !NOT_SETTINGS.contains(&property)
        {
            let local = &mut self.datasets[index].local;
            local.insert(property.to_owned(), value.to_owned());
        }
    }

    fn into_listing(self) -> Listing {
        Listing::new(self.datasets, self.snapshots, self.bookmarks)
    }
}

/// Shown as if they were settings of the dataset: what ZFS counts once a limit is set, and the size of a
/// volume, which is data and comes with every snapshot.
const NOT_SETTINGS: [&str; 3] = ["filesystem_count", "snapshot_count", "volsize"];

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

    const USER: [&str; 2] = ["t:kind", "t:text"];

    /// The lines of `zfs get` for objects told as `name type guid createtxg …`, then values and sources.
    fn lines(object: &str) -> String {
        let fields: Vec<&str> = object.split('|').collect();
        let asked = COLUMNS.iter().chain(&USER);
        let answers = fields[1..]
            .iter()
            .map(|field| match field.rsplit_once('/') {
                Some((value, "local")) => format!("{value}\tlocal"),
                Some((value, "inherited")) => format!("{value}\tinherited from tank"),
                _ => format!("{field}\t-"),
            });
        let lines = std::iter::zip(asked, answers);
        lines
            .map(|(property, answer)| format!("{}\t{property}\t{answer}\n", fields[0]))
            .collect()
    }

    fn listed(objects: &[&str]) -> Result<Listing, &'static str> {
        read(
            &objects
                .iter()
                .map(|object| lines(object))
                .collect::<String>(),
        )
    }

    fn read(output: &str) -> Result<Listing, &'static str> {
        let asked = [&COLUMNS[..], &USER].concat();
        let mut table = Table::new(&asked);
        let mut objects = Objects::default();
        for line in output.split_terminator('\n') {
            objects.add(table.line(line)?, &USER)?;
        }
        objects.add(table.end()?, &USER)?;
        Ok(objects.into_listing())
    }

    #[test]
    fn what_zfs_get_tells_becomes_objects_in_order() {
        let listing = listed(&[
            "tank/b |filesystem|11|2|1700000001|10|20|30|40|-|-|tank/a@s|yes|tank|1-2-3|x/local|-",
            "tank/a|volume|18446744073709551615|1|1700000000|1|2|3|4|-|-|-|-|-|-|-|-",
            "tank/a@z|snapshot|12|3|1700000002|5|-|6|7|8|tank/b ,tank/%recv,tank/a c|-|-|-|-|x/inherited|y/local",
            "tank/a@a|snapshot|13|4|1700000003|0|-|0|0|0||-|-|-|-|-|-",
            "tank/a#m|bookmark|12|3|1700000002|-|-|6|-|-|-|-|-|-|-|-|-",
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
        assert_eq!(
            older.user_properties,
            [("t:text".to_owned(), "y".to_owned())].into(),
            "its own, not its dataset's"
        );
        assert_eq!(listing.bookmarks[0].name.as_str(), "tank/a#m");
    }

    /// A snapshot without user properties, and those of [`USER`] as absent.
    const BARE: &str = "tank/a@z|snapshot|12|3|1700000002|5|-|6|7|8|-|-|-|-|-";
    const GOOD: &str = "tank/a@z|snapshot|12|3|1700000002|5|-|6|7|8|-|-|-|-|-|-|-";

    #[test]
    fn an_object_that_is_not_understood_is_an_error() {
        assert!(listed(&[GOOD]).is_ok());
        for (n, bad) in [
            (0, "tank"),
            (1, "share"),
            (2, "-"),
            (3, "x"),
            (4, ""),
            (5, "1K"),
            (10, "a b@"),
        ] {
            let mut fields: Vec<&str> = GOOD.split('|').collect();
            fields[n] = bad;
            listed(&[&fields.join("|")]).expect_err(bad);
        }
    }

    #[test]
    fn output_that_is_cut_or_mixed_up_is_an_error() {
        let good = lines(GOOD);
        let parts: Vec<&str> = good.split_inclusive('\n').collect();
        for n in 1..parts.len() {
            read(&parts[..n].concat()).expect_err("cut");
            read(&parts[n..].concat()).expect_err("without its beginning");
        }
        for n in 0..COLUMNS.len() {
            let without = [&parts[..n], &parts[n + 1..]].concat().concat();
            read(&without).expect_err("without a line");
        }
        let other = good.replace("tank/a@z\tused", "tank/a@y\tused");
        read(&other).expect_err("a line of another object");
        assert_eq!(read("").map(|listing| listing.snapshots.len()), Ok(0));
    }

    #[test]
    fn values_of_several_lines_are_put_together_again() {
        for value in [
            "a\tb",
            "\n\ntwo\nlines\n",
            "tank/a@z\tguid\t12\t-",
            "x\tlocal\n",
            "-",
            "",
        ] {
            let object = |name: &str| {
                let bare = BARE.replace("@z", name);
                format!("{bare}|{value}/local|{value}/local")
            };
            let listing = listed(&[&object("@y"), &object("@z")]).expect(value);
            for snapshot in &listing.snapshots {
                let read: Vec<_> = snapshot.user_properties.values().collect();
                assert_eq!(read, [value, value]);
            }
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
            let _ = read(&lines.join("\n"));
        }

        #[test]
        fn any_user_property_is_read_whole(value in "[a-z\t\n @-]{0,24}") {
            let listing = listed(&[&format!("{BARE}|{value}/local|z/local")]);
            let listing = listing.expect("understood");
            prop_assert_eq!(&listing.snapshots[0].user_properties["t:kind"], &value);
        }
    }
}
