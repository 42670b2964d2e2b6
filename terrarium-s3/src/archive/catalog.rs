//! Which restore points there are, and what each of them is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use terrarium_zfs::Guid;
use tokio::task::JoinSet;

use crate::archive::{Archive, ArchiveError, ChainError};
use crate::format::{
    Annotation, AnnotationPlace, Base, Checked, Document, Kind, Lineage, Manifest, ManifestPlace,
    Place, Verdict,
};
use crate::store::Store;

/// The restore points of an archive, as a listing has them: none of them was read yet.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    lineages: BTreeMap<Lineage, Vec<Entry>>,
}

/// A restore point that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where its manifest stands: lineage, creation and guid.
    pub place: ManifestPlace,
    /// The numbers of its annotations, the highest first.
    pub annotations: Vec<u32>,
}

/// A restore point whose manifest was read.
#[derive(Clone, Debug)]
pub struct Point {
    /// Where it is listed.
    pub entry: Entry,
    /// As it was exported.
    pub manifest: Manifest,
    /// Who wrote the manifest.
    pub verdict: Verdict,
    /// What was said of it last. Only what is [trusted](Archive::trusts) counts.
    pub annotation: Option<Annotation>,
}

impl Catalog {
    /// All points: by lineage, then from the oldest to the newest.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lineages.values().flatten()
    }

    /// The points of one lineage, from the oldest to the newest.
    pub fn lineage(&self, lineage: Lineage) -> &[Entry] {
        self.lineages.get(&lineage).map_or(&[], Vec::as_slice)
    }

    /// The point of a snapshot in a lineage.
    pub fn find(&self, lineage: Lineage, guid: Guid) -> Option<&Entry> {
        let mut entries = self.lineage(lineage).iter();
        entries.find(|entry| entry.place.guid == guid)
    }

    /// The point that a stream of this lineage starts from: an earlier one of the lineage, or the origin of
    /// a clone, in that one's own lineage or in whichever.
    pub fn base(&self, lineage: Lineage, base: Base) -> Option<&Entry> {
        match base {
            Base::Full => None,
            Base::Point(guid) => self.find(lineage, guid),
            Base::Origin(guid) => {
                let elsewhere = || self.entries().find(|entry| entry.place.guid == guid);
                self.find(Lineage::of_origin(guid), guid).or_else(elsewhere)
            }
        }
    }
}

impl Point {
    /// Its alias, as it is now.
    pub fn alias(&self) -> Option<&str> {
        match &self.annotation {
            Some(annotation) => annotation.alias.as_deref(),
            None => self.manifest.alias.as_deref(),
        }
    }

    /// Whether retention never removes it: that was said, or it has an alias or was taken on demand, without an expiry.
    pub fn is_pinned(&self) -> bool {
        self.is_pinned_itself() || (self.alias().is_some() && self.manifest.expires.is_none())
    }

    /// The same, whatever its alias.
    pub(super) fn is_pinned_itself(&self) -> bool {
        match &self.annotation {
            Some(annotation) => annotation.pinned,
            None => self.manifest.kind == Kind::OnDemand && self.manifest.expires.is_none(),
        }
    }

    /// The size of its parts as they are stored, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        let sizes = self.manifest.parts.iter().map(|part| part.stored_bytes);
        sizes.fold(0, u64::saturating_add)
    }
}

/// How many documents are read at once.
const AT_ONCE: usize = 16;

impl<S: Store> Archive<S> {
    /// Lists the points: one listing of all manifests, and one of all annotations.
    ///
    /// # Errors
    /// The store's.
    pub async fn catalog(&self) -> Result<Catalog, ArchiveError> {
        let mut catalog = self.catalog_as_exported().await?;
        let mut annotations: HashMap<_, Vec<u32>> = HashMap::new();
        for object in self.store.list(&self.layout.annotations()).await? {
            if let Some(Place::Annotation(place)) = self.layout.place(&object.key) {
                let of = annotations.entry((place.lineage, place.guid)).or_default();
                of.push(place.number);
            }
        }
        for entry in catalog.lineages.values_mut().flatten() {
            let numbers = annotations.get(&(entry.place.lineage, entry.place.guid));
            let mut numbers = numbers.cloned().unwrap_or_default();
            numbers.sort_unstable_by(|a, b| b.cmp(a));
            entry.annotations = numbers;
        }
        Ok(catalog)
    }

    /// Lists the points without their annotations, by one listing: they are as their hosts exported them. For whoever
    /// asks only whether a point is there.
    ///
    /// # Errors
    /// The store's.
    pub async fn catalog_as_exported(&self) -> Result<Catalog, ArchiveError> {
        let mut lineages: BTreeMap<Lineage, Vec<Entry>> = BTreeMap::new();
        for object in self.store.list(&self.layout.manifests()).await? {
            let Some(Place::Manifest(place)) = self.layout.place(&object.key) else {
                continue;
            };
            lineages.entry(place.lineage).or_default().push(Entry {
                place,
                annotations: Vec::new(),
            });
        }
        for entries in lineages.values_mut() {
            entries.sort_by_key(|entry| (entry.place.creation, entry.place.guid));
        }
        Ok(Catalog { lineages })
    }

    /// Reads a point.
    ///
    /// # Errors
    /// [`ArchiveError::Format`] or [`ArchiveError::Store`] if its manifest cannot be read. An annotation
    /// that is damaged, or that is not [trusted](Self::trusts), does not count: the one before it does.
    pub async fn point(&self, entry: &Entry) -> Result<Point, ArchiveError> {
        let Checked { document, verdict } = self.read(Place::Manifest(entry.place)).await?;
        let mut annotation = None;
        for &number in &entry.annotations {
            let place = AnnotationPlace {
                lineage: entry.place.lineage,
                guid: entry.place.guid,
                number,
            };
            match self.read::<Annotation>(Place::Annotation(place)).await {
                Ok(found) if self.trusts(found.verdict) => {
                    annotation = Some(found.document);
                    break;
                }
                Ok(_) => {}
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Point {
            entry: entry.clone(),
            manifest: document,
            verdict,
            annotation,
        })
    }

    /// Reads many points, several at once, and keeps of each only what `keep` makes of it: manifests can be
    /// large. The order stays. One that cannot be read is an error of its own.
    pub async fn points<T: Send + 'static>(
        &self,
        entries: impl IntoIterator<Item = Entry>,
        keep: impl Fn(Entry, Result<Point, ArchiveError>) -> T + Send + Sync + 'static,
    ) -> Vec<T> {
        let keep = Arc::new(keep);
        let mut kept = BTreeMap::new();
        let mut tasks = JoinSet::new();
        for (number, entry) in entries.into_iter().enumerate() {
            while tasks.len() >= AT_ONCE {
                kept.extend(tasks.join_next().await.and_then(Result::ok));
            }
            let archive = self.clone();
            let keep = Arc::clone(&keep);
            tasks.spawn(async move {
                let point = archive.point(&entry).await;
                (number, keep(entry, point))
            });
        }
        while let Some(done) = tasks.join_next().await {
            kept.extend(done.ok());
        }
        kept.into_values().collect()
    }

    /// The points that must be received, one after another, to have a point: from a full one to itself.
    ///
    /// # Errors
    /// [`ChainError`], which names the snapshot that is to blame.
    pub async fn chain(
        &self,
        catalog: &Catalog,
        lineage: Lineage,
        guid: Guid,
    ) -> Result<Vec<Point>, ChainError> {
        let missing = |guid, needed_by| ChainError::Missing { guid, needed_by };
        let mut entry = catalog
            .find(lineage, guid)
            .ok_or_else(|| missing(guid, None))?;
        let mut seen = HashSet::new();
        let mut chain: Vec<Point> = Vec::new();
        loop {
            let needed_by = chain.last().map(|point| point.manifest.guid);
            let guid = entry.place.guid;
            if !seen.insert(entry.place) {
                return Err(ChainError::Circular { guid });
            }
            let point = self.point(entry).await;
            let point = point.map_err(|source| ChainError::Unreadable {
                guid,
                needed_by,
                source,
            })?;
            let (lineage, base) = (entry.place.lineage, point.manifest.base);
            chain.push(point);
            let Some(from) = base.guid() else {
                chain.reverse();
                return Ok(chain);
            };
            entry = catalog
                .base(lineage, base)
                .ok_or_else(|| missing(from, Some(guid)))?;
        }
    }

    /// Whether a document with this verdict may be relied on: a host of this archive signed it, or the
    /// archive has no hosts that sign.
    pub fn trusts(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Signed(_) => true,
            Verdict::Unsigned => self.document.host_keys.is_empty(),
            Verdict::Wrong(_) | Verdict::UnknownKey(_) => false,
        }
    }

    pub(super) async fn read<D: Document>(&self, place: Place) -> Result<Checked<D>, ArchiveError> {
        let key = self.layout.key(&place)?;
        let bytes = self.store.read(&key).await?;
        let hosts = &self.document.host_keys;
        D::read(&bytes, self.document.id, &place, hosts)
            .map_err(|source| ArchiveError::Format { key, source })
    }
}
