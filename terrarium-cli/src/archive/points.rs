//! The restore points of an archive, as commands show and select them.

use jiff::Timestamp;
use serde::Serialize;
use terrarium_core::{Candidate, DEFAULT_PROJECT, InstanceRef};
use terrarium_s3::archive::{AnyStore, Archive, ArchiveError, Catalog, Entry, Point};
use terrarium_s3::crypto::VerifyingKey;
use terrarium_s3::format::{Base, Kind, Lineage, Manifest, ManifestPlace, Place, Verdict};
use terrarium_zfs::{Guid, SnapshotName};

use crate::exit::Failure;

/// What a command needs of a restore point; its parts are not kept.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) project: Option<String>,
    pub(crate) lineage: Lineage,
    pub(crate) guid: Guid,
    pub(crate) snapshot: SnapshotName,
    pub(crate) created: Timestamp,
    pub(crate) exported: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) alias: Option<String>,
    pub(crate) note: Option<String>,
    /// Retention never removes it.
    pub(crate) pinned: bool,
    pub(crate) base: Base,
    pub(crate) stream_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) parts: usize,
    #[serde(serialize_with = "as_word")]
    pub(crate) verdict: Verdict,
    /// Whether a host of the archive signed it, if its hosts sign.
    pub(crate) trusted: bool,
}

/// A point whose manifest cannot be read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unreadable {
    pub(crate) object: String,
    pub(crate) lineage: Lineage,
    pub(crate) guid: Guid,
    pub(crate) error: String,
}

/// All points of an archive.
#[derive(Debug, Default)]
pub(crate) struct Points {
    pub(crate) catalog: Catalog,
    /// From the oldest to the newest in each lineage.
    pub(crate) listed: Vec<Listed>,
    pub(crate) unreadable: Vec<Unreadable>,
}

impl Listed {
    pub(crate) fn of(point: Point, trusted: bool) -> Self {
        let (alias, stored_bytes) = (point.alias().map(str::to_owned), point.stored_bytes());
        let pinned = point.is_pinned();
        let Point {
            manifest,
            verdict,
            annotation,
            ..
        } = point;
        Self {
            name: manifest.instance,
            project: manifest.project,
            lineage: manifest.lineage,
            guid: manifest.guid,
            snapshot: manifest.snapshot,
            created: manifest.creation,
            exported: manifest.exported,
            kind: manifest.kind,
            alias,
            pinned,
            note: annotation.and_then(|said| said.note),
            base: manifest.base,
            stream_bytes: manifest.stream_bytes,
            stored_bytes,
            parts: manifest.parts.len(),
            verdict,
            trusted,
        }
    }
}

impl Listed {
    /// LXD's project; what was stored by a name alone counts to the default one.
    pub(crate) fn in_project(&self) -> &str {
        self.project.as_deref().unwrap_or(DEFAULT_PROJECT)
    }

    /// Whether it was stored as one of this instance.
    pub(crate) fn is_of(&self, instance: &InstanceRef) -> bool {
        self.name == instance.name.as_str() && self.in_project() == instance.project.as_str()
    }

    /// Whether it is there because clones start from it: an image, and no restore point of an instance.
    pub(crate) fn is_origin(&self) -> bool {
        self.lineage == Lineage::of_origin(self.guid)
    }

    /// A point that was just published.
    pub(crate) fn of_ours(manifest: Manifest, key: VerifyingKey) -> Self {
        let entry = Entry {
            place: ManifestPlace {
                lineage: manifest.lineage,
                creation: manifest.creation.as_second().unsigned_abs(),
                guid: manifest.guid,
            },
            annotations: Vec::new(),
        };
        let point = Point {
            entry,
            manifest,
            verdict: Verdict::Signed(key),
            annotation: None,
        };
        Self::of(point, true)
    }
}

impl Candidate for Listed {
    fn snapshot(&self) -> &SnapshotName {
        &self.snapshot
    }

    fn guid(&self) -> Guid {
        self.guid
    }

    fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    fn created(&self) -> Timestamp {
        self.created
    }

    fn order(&self) -> u64 {
        // Of the same second: what was stored later was taken later, if one builds upon the other.
        self.exported.as_microsecond().unsigned_abs()
    }

    fn is_live(&self) -> bool {
        true
    }
}

impl Points {
    /// Reads all manifests.
    ///
    /// # Errors
    /// The store's. A manifest that is damaged is told in `unreadable`.
    pub(crate) async fn read(archive: &Archive<AnyStore>) -> Result<Self, Failure> {
        let catalog = archive.catalog().await?;
        let entries: Vec<_> = catalog.entries().cloned().collect();
        let trusting = archive.clone();
        let points = archive.points(entries, move |entry, point| {
            let listed = point.map(|point| {
                let trusted = trusting.trusts(point.verdict);
                Listed::of(point, trusted)
            });
            (entry.place, listed)
        });
        let mut found = Self::default();
        for (place, point) in points.await {
            match point {
                Ok(listed) => found.listed.push(listed),
                // Collected between the listing and the reading.
                Err(error) if is_gone(&error) => {}
                Err(error) if error.is_damage() => found.unreadable.push(Unreadable {
                    object: Place::Manifest(place).to_string(),
                    lineage: place.lineage,
                    guid: place.guid,
                    error: error.to_string(),
                }),
                Err(error) => return Err(error.into()),
            }
        }
        found.catalog = catalog;
        Ok(found)
    }

    /// The points of a name, the oldest first.
    pub(crate) fn of_name(&self, name: &str) -> Vec<Listed> {
        let named = self.listed.iter().filter(|point| point.name == name);
        let mut named: Vec<_> = named.cloned().collect();
        named.sort_by_key(|point| (point.created, point.order()));
        named
    }

    /// The points of an instance, the oldest first; those that were stored by name alone count to the default
    /// project.
    pub(crate) fn of_instance(&self, instance: &InstanceRef) -> Vec<Listed> {
        let mut named = self.of_name(instance.name.as_str());
        named.retain(|point| point.is_of(instance));
        named
    }

    /// The names that there are, each once.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .listed
            .iter()
            .map(|point| point.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn is_gone(error: &ArchiveError) -> bool {
    use terrarium_s3::StoreError::NotFound;
    matches!(error, ArchiveError::Store(NotFound { .. }))
}

fn as_word<S: serde::Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.as_str())
}
