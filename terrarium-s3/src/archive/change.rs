//! Changes of an archive: other recipients for new points, other hosts that may sign.
//!
//! `archive.json` stands for ever, as every object does. A change is a document of its own beside it, signed by a host
//! that might sign before it.

use jiff::Timestamp;

use crate::archive::{Archive, ArchiveError};
use crate::crypto::{HostKey, Recipients, VerifyingKey};
use crate::format::{Change, ChangePlace, Checked, Document, Place};
use crate::store::{Key, Store, StoreError, create_or_same};

/// How many of them are read.
const MOST: u32 = 10_000;

/// What was found of changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// How many there are, those that do not count included.
    count: u32,
    ignored: Vec<Ignored>,
}

/// A change that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Where it stands.
    pub key: Key,
    /// Why it does not count.
    pub why: String,
}

impl<S: Store> Archive<S> {
    /// The changes that do not count, because they are damaged or nobody signed them who might.
    pub fn ignored(&self) -> &[Ignored] {
        &self.changes.ignored
    }

    /// Changes whom new points are encrypted to, and who may sign. Points that are there stay encrypted as they
    /// are; what was signed by a host that may not sign any more is not trusted any more.
    ///
    /// `key` is of a host that may sign now.
    ///
    /// # Errors
    /// [`ArchiveError::ChangedMeanwhile`], [`ArchiveError::Format`] for what could not be read back: nothing was
    /// changed. After [`StoreError::Unavailable`] it may have been.
    pub async fn change(
        &self,
        recipients: Recipients,
        host_keys: Vec<VerifyingKey>,
        key: &HostKey,
        written: Timestamp,
    ) -> Result<Self, ArchiveError> {
        let change = Change {
            archive: self.document.id,
            number: self.changes.count + 1,
            written,
            recipients,
            host_keys,
        };
        let at = self.layout.key(&change.place())?;
        let illegal = |source| ArchiveError::Format {
            key: at.clone(),
            source,
        };
        let body = change.write(Some(key)).map_err(illegal)?;
        match create_or_same(&*self.store, &at, body).await {
            Err(StoreError::Exists { .. }) => {
                return Err(ArchiveError::ChangedMeanwhile { key: at });
            }
            created => created?,
        }
        let mut changed = self.clone();
        changed.changes.count = change.number;
        changed.document.recipients = change.recipients;
        changed.document.host_keys = change.host_keys;
        Ok(changed)
    }

    /// Reads the changes in their order. Each is judged by what was true before it.
    pub(super) async fn read_changes(&mut self) -> Result<(), ArchiveError> {
        for number in 1..=MOST {
            let place = Place::Change(ChangePlace { number });
            let why = match self.read::<Change>(place).await {
                Ok(Checked { document, verdict }) if self.trusts(verdict) => {
                    self.document.recipients = document.recipients;
                    self.document.host_keys = document.host_keys;
                    None
                }
                Ok(Checked { verdict, .. }) => Some(format!(
                    "no host that may sign has signed it ({})",
                    verdict.as_str()
                )),
                Err(ArchiveError::Store(StoreError::NotFound { .. })) => break,
                Err(error) if error.is_damage() => Some(match error {
                    ArchiveError::Format { source, .. } => source.to_string(),
                    error => error.to_string(),
                }),
                Err(error) => return Err(error),
            };
            self.changes.count = number;
            if let Some(why) = why {
                let key = self.layout.key(&place)?;
                self.changes.ignored.push(Ignored { key, why });
            }
        }
        Ok(())
    }
}
