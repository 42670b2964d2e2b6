//! What there is, as a prune has to know it.

use std::path::Path;

use jiff::Timestamp;
use terrarium_zfs::SnapshotName;

use crate::archive::{Archive, ArchiveError, Catalog, Entry, Point};
use crate::format::{Base, ManifestPlace, PartPlace, Place};
use crate::store::directory::Leftover;
use crate::store::{Key, Object, Store};

/// Everything that is in an archive.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    pub(super) catalog: Catalog,
    /// By lineage, then from the oldest to the newest.
    pub(super) points: Vec<Seen>,
    pub(super) parts: Vec<Stray>,
    pub(super) annotations: Vec<Stray>,
    pub(super) notices: Vec<Stray>,
    pub(super) probes: Vec<Stray>,
    pub(super) files: Vec<Leftover>,
}

/// A point that is listed.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) place: ManifestPlace,
    /// None if its manifest cannot be read.
    pub(super) facts: Option<Facts>,
}

/// What is asked of a manifest.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) instance: String,
    pub(super) snapshot: SnapshotName,
    pub(super) alias: Option<String>,
    pub(super) trusted: bool,
    pub(super) pinned: bool,
    pub(super) base: Base,
    pub(super) stored_bytes: u64,
    pub(super) parts: Vec<PartPlace>,
}

/// An object that somebody has to name.
#[derive(Clone, Debug)]
pub(super) struct Stray {
    pub(super) key: Key,
    pub(super) place: Option<Place>,
    pub(super) size: u64,
    pub(super) modified: Timestamp,
}

impl Survey {
    /// All parts that are stored.
    pub(super) fn parts(&self) -> impl Iterator<Item = (PartPlace, &Stray)> {
        self.parts.iter().filter_map(|stray| match stray.place {
            Some(Place::Part(place)) => Some((place, stray)),
            _ => None,
        })
    }
}

impl<S: Store> Archive<S> {
    /// Looks at all that there is: lists everything, and reads every manifest.
    ///
    /// # Errors
    /// The store's. A manifest that is damaged is none.
    pub async fn survey(&self) -> Result<Survey, ArchiveError> {
        let (store, layout) = (&self.store, &self.layout);
        // What is published meanwhile is not taken for what nobody names: its manifest is listed after its parts.
        let parts = store.list(&layout.streams()).await?;
        let annotations = store.list(&layout.annotations()).await?;
        let notices = store.list(&layout.removals()).await?;
        let probes = store.list(&layout.probes()).await?;
        let mut files = store.leftovers().await?;
        files.retain(|file| is_ours(&file.path));
        let catalog = self.catalog().await?;
        let entries: Vec<Entry> = catalog.entries().cloned().collect();
        let judging = self.clone();
        let read = self.points(entries, move |entry, point| {
            let facts = point.map(|point| Facts::of(point, &judging));
            (entry.place, facts)
        });
        let read = read.await;
        // A manifest that is overlooked would cost its parts.
        if read.len() != catalog.entries().count() {
            return Err(ArchiveError::Interrupted);
        }
        let mut points = Vec::new();
        for (place, facts) in read {
            let facts = match facts {
                Ok(facts) => Some(facts),
                // Also one that is listed and not there: it could be back tomorrow.
                Err(error) if error.is_damage() => None,
                Err(error) => return Err(error),
            };
            points.push(Seen { place, facts });
        }
        let strays = |objects: Vec<Object>| -> Vec<Stray> {
            let stray = |object: Object| Stray {
                place: layout.place(&object.key),
                key: object.key,
                size: object.size,
                modified: object.modified,
            };
            objects.into_iter().map(stray).collect()
        };
        let mut notices = strays(notices);
        notices.retain(|stray| matches!(stray.place, Some(Place::Removal(_))));
        let mut probes = strays(probes);
        let probe = |stray: &Stray| {
            let run = stray.key.as_str().strip_prefix(&layout.probes());
            run.is_some_and(|run| run.parse::<crate::format::RunId>().is_ok())
        };
        probes.retain(probe);
        Ok(Survey {
            catalog,
            points,
            parts: strays(parts),
            annotations: strays(annotations),
            notices,
            probes,
            files,
        })
    }
}

impl Facts {
    fn of<S: Store>(point: Point, archive: &Archive<S>) -> Self {
        Self {
            trusted: archive.trusts(point.verdict),
            pinned: point.is_pinned(),
            alias: point.alias().map(str::to_owned),
            stored_bytes: point.stored_bytes(),
            parts: point.manifest.parts.iter().map(|part| part.key).collect(),
            instance: point.manifest.instance,
            snapshot: point.manifest.snapshot,
            base: point.manifest.base,
        }
    }
}

/// Whether a file is one that a put of ours began: others may have files in that folder whose names begin with `~`.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(rest) = name.and_then(|name| name.strip_prefix('~')) else {
        return false;
    };
    let numbers: Vec<_> = rest.split('.').collect();
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    path.starts_with("v1") && numbers.len() == 3 && numbers.iter().all(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_a_put_began_are_taken_for_such() {
        let ours = |path: &str| is_ours(Path::new(path));
        assert!(ours("v1/streams/5/full/~12.1732000000000000000.0"));
        for other in [
            "~12.1732000000000000000.0",
            "v1/~letter.odt",
            "v1/~12.17",
            "v1/~12.17.0.bak",
            "v1/~.1.2",
            "v1/12.17.0",
            "holiday/~12.17.0",
        ] {
            assert!(!ours(other), "{other}");
        }
    }
}
