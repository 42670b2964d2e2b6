//! Where things stand in an archive.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use terrarium_zfs::Guid;

use crate::format::ids::{Lineage, RunId};
use crate::store::{InvalidKey, Key};

/// Where an object of the archive stands, below the archive's prefix.
///
/// Each has one text only, and only that text is read as it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// `v1/archive.json`
    Archive,
    /// `v1/changes/…`
    Change(ChangePlace),
    /// `v1/manifests/…`
    Manifest(ManifestPlace),
    /// `v1/annotations/…`
    Annotation(AnnotationPlace),
    /// `v1/streams/…`
    Part(PartPlace),
    /// `v1/removals/<run>.json`
    Removal(RunId),
}

/// `v1/changes/<n>.json`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChangePlace {
    /// From 1, without a gap. The highest one counts.
    pub number: u32,
}

/// `v1/manifests/<lineage>/<creation, 20 digits>-<guid>.json`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ManifestPlace {
    /// The dataset's lineage.
    pub lineage: Lineage,
    /// When the snapshot was taken, in seconds since 1970.
    pub creation: u64,
    /// The snapshot.
    pub guid: Guid,
}

/// `v1/annotations/<lineage>/<guid>/<n>.json`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AnnotationPlace {
    /// The dataset's lineage.
    pub lineage: Lineage,
    /// The snapshot.
    pub guid: Guid,
    /// From 1. The highest one counts.
    pub number: u32,
}

/// `v1/streams/<guid>/<from-guid|full>/<run>/<nnnnnn>.zst.age`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartPlace {
    /// The snapshot that the stream makes.
    pub guid: Guid,
    /// The snapshot that it starts from.
    pub from: Option<Guid>,
    /// The attempt.
    pub run: RunId,
    /// From 0 to [`PartPlace::MAX_NUMBER`].
    pub number: u32,
}

impl PartPlace {
    /// The highest number of a part.
    pub const MAX_NUMBER: u32 = 999_999;
}

/// An archive's prefix in its store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    prefix: Option<Key>,
}

impl Layout {
    /// An archive below a prefix, or at the top of its store.
    pub fn new(prefix: Option<Key>) -> Self {
        Self { prefix }
    }

    /// What all keys of the archive begin with.
    pub fn prefix(&self) -> Option<&Key> {
        self.prefix.as_ref()
    }

    /// The key of a place.
    ///
    /// # Errors
    /// [`InvalidKey`] if the prefix is so long that the key would be too long.
    pub fn key(&self, place: &Place) -> Result<Key, InvalidKey> {
        Key::new(self.below(&place.to_string()))
    }

    /// The place of a key; `None` for what is no part of the archive.
    pub fn place(&self, key: &Key) -> Option<Place> {
        let text = match &self.prefix {
            Some(prefix) => key
                .as_str()
                .strip_prefix(prefix.as_str())?
                .strip_prefix('/')?,
            None => key.as_str(),
        };
        text.parse().ok()
    }

    /// What the keys of all manifests begin with.
    pub fn manifests(&self) -> String {
        self.below("v1/manifests/")
    }

    /// What the keys of a lineage's manifests begin with.
    pub fn manifests_of(&self, lineage: Lineage) -> String {
        self.below(&format!("v1/manifests/{lineage}/"))
    }

    /// What the keys of all annotations begin with.
    pub fn annotations(&self) -> String {
        self.below("v1/annotations/")
    }

    /// What the keys of all parts begin with.
    pub fn streams(&self) -> String {
        self.below("v1/streams/")
    }

    /// What the keys of the parts of one snapshot's stream begin with.
    pub fn parts(&self, guid: Guid, from: Option<Guid>) -> String {
        let from = from.map_or("full".to_owned(), |from| from.to_string());
        self.below(&format!("v1/streams/{guid}/{from}/"))
    }

    /// What the keys of all notices of removal begin with.
    pub fn removals(&self) -> String {
        self.below("v1/removals/")
    }

    /// What the keys begin with that stores were tried with.
    pub fn probes(&self) -> String {
        self.below("v1/probe/")
    }

    /// Where a store is tried before an archive is made. What is left of it is no part of the archive.
    ///
    /// # Errors
    /// As [`Layout::key`].
    pub fn probe(&self, run: RunId) -> Result<Key, InvalidKey> {
        Key::new(self.below(&format!("v1/probe/{run}")))
    }

    fn below(&self, path: &str) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}/{path}"),
            None => path.to_owned(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Archive => f.write_str("v1/archive.json"),
            Place::Change(place) => place.fmt(f),
            Place::Manifest(place) => place.fmt(f),
            Place::Annotation(place) => place.fmt(f),
            Place::Part(place) => place.fmt(f),
            Place::Removal(run) => write!(f, "v1/removals/{run}.json"),
        }
    }
}

impl fmt::Display for ChangePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1/changes/{}.json", self.number)
    }
}

impl fmt::Display for ManifestPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lineage,
            creation,
            guid,
        } = self;
        write!(f, "v1/manifests/{lineage}/{creation:020}-{guid}.json")
    }
}

impl fmt::Display for AnnotationPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lineage,
            guid,
            number,
        } = self;
        write!(f, "v1/annotations/{lineage}/{guid}/{number}.json")
    }
}

impl fmt::Display for PartPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1/streams/{}/", self.guid)?;
        match self.from {
            Some(from) => write!(f, "{from}")?,
            None => f.write_str("full")?,
        }
        write!(f, "/{}/{:06}.zst.age", self.run, self.number)
    }
}

/// A text that is no place in an archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place in an archive")]
pub struct PlaceError(String);

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        // Whatever is read leniently here is not what would be written, and falls through.
        read(text)
            .filter(|place| place.to_string() == text)
            .ok_or_else(|| PlaceError(text.to_owned()))
    }
}

impl TryFrom<String> for PartPlace {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        match text.parse()? {
            Place::Part(place) => Ok(place),
            _ => Err(PlaceError(text)),
        }
    }
}

impl TryFrom<String> for ManifestPlace {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        match text.parse()? {
            Place::Manifest(place) => Ok(place),
            _ => Err(PlaceError(text)),
        }
    }
}

impl From<ManifestPlace> for String {
    fn from(place: ManifestPlace) -> String {
        place.to_string()
    }
}

impl From<PartPlace> for String {
    fn from(place: PartPlace) -> String {
        place.to_string()
    }
}

fn read(text: &str) -> Option<Place> {
    let segments: Vec<&str> = text.splitn(7, '/').collect();
    match segments[..] {
        ["v1", "archive.json"] => Some(Place::Archive),
        ["v1", "changes", file] => Some(Place::Change(ChangePlace {
            number: from_one(file)?,
        })),
        ["v1", "manifests", lineage, file] => {
            let (creation, guid) = file.strip_suffix(".json")?.split_once('-')?;
            Some(Place::Manifest(ManifestPlace {
                lineage: lineage.parse().ok()?,
                creation: creation.parse().ok()?,
                guid: guid.parse().ok()?,
            }))
        }
        ["v1", "annotations", lineage, guid, file] => Some(Place::Annotation(AnnotationPlace {
            lineage: lineage.parse().ok()?,
            guid: guid.parse().ok()?,
            number: from_one(file)?,
        })),
        ["v1", "streams", guid, from, run, file] => Some(Place::Part(PartPlace {
            guid: guid.parse().ok()?,
            from: match from {
                "full" => None,
                from => Some(from.parse().ok()?),
            },
            run: run.parse().ok()?,
            number: file
                .strip_suffix(".zst.age")?
                .parse()
                .ok()
                .filter(|&number| number <= PartPlace::MAX_NUMBER)?,
        })),
        ["v1", "removals", file] => {
            let run = file.strip_suffix(".json")?.parse().ok()?;
            Some(Place::Removal(run))
        }
        _ => None,
    }
}

/// `<n>.json`, from 1.
fn from_one(file: &str) -> Option<u32> {
    let number = file.strip_suffix(".json")?.parse().ok();
    number.filter(|&number| number > 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "01234567-89ab-4cde-8f01-23456789abcd";

    fn places() -> impl Strategy<Value = Place> {
        let guid = any::<u64>().prop_map(Guid::new);
        let id = Just(ID);
        (
            guid,
            prop::option::of(any::<u64>()),
            id,
            any::<u64>(),
            any::<u32>(),
        )
            .prop_flat_map(|(guid, from, id, creation, number)| {
                let lineage = id.parse().expect("an id");
                prop_oneof![
                    Just(Place::Archive),
                    Just(Place::Change(ChangePlace {
                        number: number.max(1)
                    })),
                    Just(Place::Removal(id.parse().expect("an id"))),
                    Just(Place::Manifest(ManifestPlace {
                        lineage,
                        creation,
                        guid
                    })),
                    Just(Place::Annotation(AnnotationPlace {
                        lineage,
                        guid,
                        number: number.max(1)
                    })),
                    Just(Place::Part(PartPlace {
                        guid,
                        from: from.map(Guid::new),
                        run: id.parse().expect("an id"),
                        number: number % 1_000_000
                    })),
                ]
            })
    }

    #[test]
    fn places_look_as_documented() {
        let layout = Layout::new(Some(Key::new("backups/host1").expect("a key")));
        for text in [
            "v1/archive.json".to_owned(),
            "v1/changes/12.json".to_owned(),
            format!("v1/manifests/{ID}/00000000001782222222-18446744073709551615.json"),
            format!("v1/annotations/{ID}/5/12.json"),
            format!("v1/streams/5/full/{ID}/000000.zst.age"),
            format!("v1/streams/5/7/{ID}/999999.zst.age"),
            format!("v1/removals/{ID}.json"),
        ] {
            let place: Place = text.parse().expect(&text);
            assert_eq!(place.to_string(), text);
            let key = layout.key(&place).expect("a key");
            assert_eq!(key.as_str(), format!("backups/host1/{text}"));
            assert_eq!(layout.place(&key), Some(place));
            assert_eq!(Layout::default().place(&key), None);
        }
        let other = Key::new("backups/host10/v1/archive.json").expect("a key");
        assert_eq!(layout.place(&other), None);
    }

    #[test]
    fn what_would_not_be_written_so_is_no_place() {
        for text in [
            "".to_owned(),
            "v2/archive.json".to_owned(),
            "v1/archive.json/".to_owned(),
            "v1/changes/0.json".to_owned(),
            "v1/changes/01.json".to_owned(),
            format!("v1/manifests/{ID}/1782222222-5.json"),
            format!("v1/manifests/{ID}/00000000001782222222-05.json"),
            format!("v1/manifests/{ID}/00000000001782222222-5.json.tmp"),
            format!("v1/annotations/{ID}/5/0.json"),
            format!("v1/annotations/{ID}/5/01.json"),
            format!("v1/streams/5/full/{ID}/0.zst.age"),
            format!("v1/streams/5/full/{ID}/1000000.zst.age"),
            format!("v1/streams/5/Full/{ID}/000000.zst.age"),
            format!("v1/streams/5/full/{ID}/x/000000.zst.age"),
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_place_is_read_back_from_its_key(place in places(), prefix in any::<bool>()) {
            let layout = Layout::new(prefix.then(|| Key::new("a/b").expect("a key")));
            let key = layout.key(&place).expect("a key");
            prop_assert_eq!(layout.place(&key), Some(place));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(v1/|/|full|streams|[0-9a-f-]|\\PC)*") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string(), text);
            }
        }
    }
}
