//! Saying something of a restore point after it was exported.

use jiff::Timestamp;

use crate::archive::{Archive, ArchiveError, Entry, Point};
use crate::crypto::HostKey;
use crate::format::{Annotation, Document, ManifestPlace, Place, Removal};
use crate::store::{Key, Store, StoreError, create_or_same};

/// What is to be said of a point from now on; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remark {
    /// Its alias, or that it has none.
    pub alias: Option<Option<String>>,
    /// A note, or that there is none.
    pub note: Option<Option<String>>,
    /// Whether retention never removes it, whatever its alias.
    pub pinned: Option<bool>,
}

/// Nothing was said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotateError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The point is not in the archive, or not any more.
    #[error("{0} is not in the archive")]
    Gone(ManifestPlace),
    /// No host of the archive has signed the point.
    #[error("{0} was not signed by a host of the archive")]
    Unsigned(ManifestPlace),
    /// The alias is another point's of the lineage.
    #[error("the alias {alias:?} is that of the snapshot {}", of.guid)]
    Taken {
        /// The alias.
        alias: String,
        /// Whose it is.
        of: ManifestPlace,
    },
    /// It would be pinned all the same.
    #[error("its alias {alias:?} keeps it")]
    KeptByAlias {
        /// The alias.
        alias: String,
    },
    /// Others say something of it all the time, or there is no number left.
    #[error("others annotate {0} at the same time")]
    Busy(ManifestPlace),
    /// It was said, but the point is being removed, or is gone.
    #[error("{0} is being removed by a prune")]
    BeingRemoved(ManifestPlace),
}

impl AnnotateError {
    /// What to do about it, if there is something.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            AnnotateError::Archive(error) => return error.help(),
            AnnotateError::Taken { .. } => "choose another, or take it from that one first",
            AnnotateError::KeptByAlias { .. } => "take the alias away, too",
            AnnotateError::Busy(_) => "try again",
            AnnotateError::BeingRemoved(_) => "when the prune has ended, look whether it is there",
            _ => return None,
        };
        Some(help.to_owned())
    }
}

/// How often a number may be taken by somebody else meanwhile.
const TRIES: usize = 8;

impl<S: Store> Archive<S> {
    /// Says something of a point; gives the point as it is then, and whether anything had to be written.
    ///
    /// What was said before stays, as do words of others in between: each writes another number.
    ///
    /// # Errors
    /// [`AnnotateError`]; only after [`AnnotateError::BeingRemoved`], and if the store became unavailable, may it have
    /// been said all the same.
    pub async fn annotate(
        &self,
        place: ManifestPlace,
        remark: &Remark,
        key: Option<&HostKey>,
        now: Timestamp,
    ) -> Result<(Point, bool), AnnotateError> {
        for _ in 0..TRIES {
            let catalog = self.catalog().await?;
            let entries = catalog.lineage(place.lineage).iter();
            let entry = entries.clone().find(|entry| entry.place == place);
            let entry = entry.ok_or(AnnotateError::Gone(place))?;
            let mut point = self.point(entry).await?;
            if !self.trusts(point.verdict) {
                return Err(AnnotateError::Unsigned(place));
            }
            if let Some(Some(alias)) = &remark.alias
                && point.alias() != Some(alias)
            {
                let others = entries.filter(|entry| entry.place != place);
                self.refuse_taken(alias, others.cloned().collect()).await?;
            }
            let Some(annotation) = self.said(&point, remark, now)? else {
                return Ok((point, false));
            };
            let place_of_it = annotation.place();
            let at = self.layout.key(&place_of_it).map_err(ArchiveError::from)?;
            let body = annotation
                .write(key)
                .map_err(|source| ArchiveError::Format {
                    key: at.clone(),
                    source,
                })?;
            match create_or_same(&*self.store, &at, body).await {
                Ok(()) => {}
                Err(StoreError::Exists { .. }) => continue,
                Err(error) => return Err(ArchiveError::from(error).into()),
            }
            self.refuse_going(place, &at).await?;
            point.entry.annotations.insert(0, annotation.number);
            point.annotation = Some(annotation);
            return Ok((point, true));
        }
        Err(AnnotateError::Busy(place))
    }

    /// What is to be written, if that is anything new.
    fn said(
        &self,
        point: &Point,
        remark: &Remark,
        now: Timestamp,
    ) -> Result<Option<Annotation>, AnnotateError> {
        let place = point.entry.place;
        let before = Annotation {
            archive: self.document.id,
            lineage: place.lineage,
            guid: place.guid,
            number: 0,
            written: now,
            alias: point.alias().map(str::to_owned),
            note: point.annotation.as_ref().and_then(|said| said.note.clone()),
            pinned: point.is_pinned_itself(),
        };
        let mut after = before.clone();
        after.alias = remark.alias.clone().unwrap_or(after.alias);
        after.note = remark.note.clone().unwrap_or(after.note);
        after.pinned = remark.pinned.unwrap_or(after.pinned);
        if let (Some(false), Some(alias), None) =
            (remark.pinned, &after.alias, point.manifest.expires)
        {
            let alias = alias.clone();
            return Err(AnnotateError::KeptByAlias { alias });
        }
        if after == before {
            return Ok(None);
        }
        let highest = point.entry.annotations.first().copied().unwrap_or(0);
        after.number = highest.checked_add(1).ok_or(AnnotateError::Busy(place))?;
        Ok(Some(after))
    }

    async fn refuse_taken(&self, alias: &str, others: Vec<Entry>) -> Result<(), AnnotateError> {
        let trusting = self.clone();
        let others = self.points(others, move |entry, point| {
            let alias = point.map(|point| {
                let trusted = trusting.trusts(point.verdict);
                point.alias().filter(|_| trusted).map(str::to_owned)
            });
            (entry.place, alias)
        });
        for (of, found) in others.await {
            match found {
                Ok(found) if found.as_deref() == Some(alias) => {
                    let alias = alias.to_owned();
                    return Err(AnnotateError::Taken { alias, of });
                }
                Ok(_) => {}
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A prune that has not seen what was said is one whose notice is there still, or that has removed the point.
    async fn refuse_going(&self, place: ManifestPlace, said: &Key) -> Result<(), AnnotateError> {
        let going = Err(AnnotateError::BeingRemoved(place));
        let layout = &self.layout;
        let notices = self.store.list(&layout.removals()).await;
        let notices = notices.map_err(ArchiveError::from)?;
        let mut said_at = None;
        if !notices.is_empty() {
            let own = self.store.list(said.as_str()).await;
            let own = own.map_err(ArchiveError::from)?.into_iter();
            said_at = own.map(|object| object.modified).max();
        }
        for notice in notices {
            if said_at.is_some_and(|at| Removal::is_dead(notice.modified, at)) {
                continue;
            }
            let Some(at @ Place::Removal(_)) = layout.place(&notice.key) else {
                continue;
            };
            let named = match self.store.read(&notice.key).await {
                Err(StoreError::NotFound { .. }) => false,
                Err(error) => return Err(ArchiveError::from(error).into()),
                Ok(bytes) => Removal::read(&bytes, self.document.id, &at, &[])
                    .map_or(true, |found| found.document.points.contains(&place)),
            };
            if named {
                return going;
            }
        }
        let key = layout.key(&Place::Manifest(place));
        let key = key.map_err(ArchiveError::from)?;
        match self.store.size(&key).await.map_err(ArchiveError::from)? {
            Some(_) => Ok(()),
            None => going,
        }
    }
}
