//! `v1/manifests/…`: one restore point, as it was exported.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrarium_zfs::{Guid, SendFlags, SnapshotName, Txg};

use crate::crypto::{Identities, Recipients};
use crate::format::error::FormatError;
use crate::format::hex;
use crate::format::ids::{ArchiveId, Lineage};
use crate::format::place::{ManifestPlace, PartPlace, Place};
use crate::format::sealed::{OpenError, Sealed, SealedBytes};
use crate::format::signed::{Document, required};

/// One restore point: whoever finds it knows that its stream is whole in the archive.
///
/// All of it can be read by anybody who can read the store, but for what is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The archive.
    pub archive: ArchiveId,
    /// The version of Terrarium that wrote it.
    pub terrarium: String,
    /// When it was exported.
    pub exported: Timestamp,
    /// The dataset's lineage.
    pub lineage: Lineage,
    /// The instance, or the name that a stream was stored under.
    pub instance: String,
    /// LXD's project; none for a dataset that is no instance's.
    #[serde(deserialize_with = "required")]
    pub project: Option<String>,
    /// LXD's `volatile.uuid` of the instance.
    #[serde(deserialize_with = "required")]
    pub instance_uuid: Option<String>,
    /// The snapshot, with its dataset.
    pub snapshot: SnapshotName,
    /// The snapshot's guid.
    pub guid: Guid,
    /// What its stream starts from.
    pub base: Base,
    /// The transaction group that made the snapshot: the order within its pool, if it is known.
    #[serde(deserialize_with = "required")]
    pub createtxg: Option<Txg>,
    /// When the snapshot was taken; whole seconds.
    pub creation: Timestamp,
    /// Who took the snapshot and why.
    pub kind: Kind,
    /// Its alias.
    #[serde(deserialize_with = "required")]
    pub alias: Option<String>,
    /// When the local snapshot is to be removed.
    #[serde(deserialize_with = "required")]
    pub expires: Option<Timestamp>,
    /// How the stream was sent, if that is known.
    #[serde(deserialize_with = "required")]
    pub send_flags: Option<SendFlags>,
    /// The size of the stream in bytes.
    pub stream_bytes: u64,
    /// Its parts, in their order.
    pub parts: Vec<Part>,
    /// Whom the parts and the sealed section are encrypted to.
    pub recipients: Recipients,
    /// What only the recipients can read.
    pub sealed: SealedBytes,
}

/// What a stream starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// Nothing: it is full.
    Full,
    /// An earlier snapshot of the same lineage.
    Point(Guid),
    /// The snapshot of another dataset that its own was cloned from: an image's.
    Origin(Guid),
}

/// Who took a snapshot and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Terrarium's timer.
    Scheduled,
    /// A person or program asked for it.
    OnDemand,
    /// A restore took it of what it moved aside.
    Safety,
    /// LXD.
    Lxd,
    /// Something else.
    Foreign,
}

/// A part of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Where it stands, below the archive's prefix.
    pub key: PartPlace,
    /// How many bytes of the stream it holds.
    pub stream_bytes: u64,
    /// The size of the object in bytes.
    pub stored_bytes: u64,
    /// The CRC-32 (ISO-HDLC) of the object's bytes.
    #[serde(with = "hex::number")]
    pub crc32: u32,
    /// The BLAKE3 of the object's bytes.
    #[serde(with = "hex::hash")]
    pub blake3: blake3::Hash,
}

impl Manifest {
    /// The guid of the snapshot that the stream starts from.
    pub fn from_guid(&self) -> Option<Guid> {
        self.base.guid()
    }

    /// The size of the largest part, stored or not, in bytes: whoever reads needs memory for it.
    pub fn largest_part(&self) -> u64 {
        let sizes = self
            .parts
            .iter()
            .map(|part| part.stream_bytes.max(part.stored_bytes));
        sizes.max().unwrap_or(0)
    }

    /// Opens the sealed section.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, identities: &Identities) -> Result<Sealed, OpenError> {
        self.sealed.open(identities, self.archive, self.guid)
    }
}

impl Base {
    /// The snapshot's guid; none for a full stream.
    pub fn guid(self) -> Option<Guid> {
        match self {
            Base::Full => None,
            Base::Point(guid) | Base::Origin(guid) => Some(guid),
        }
    }
}

impl Part {
    /// The largest part, in bytes of the stream.
    pub const MAX_STREAM: u64 = 1 << 30;
    /// The largest object of a part, in bytes.
    pub const MAX_STORED: u64 = Self::MAX_STREAM + (16 << 20);
}

impl Document for Manifest {
    const WHAT: &'static str = "manifest";
    const FORMAT: &'static str = "terrarium-manifest";
    const VERSION: u64 = 1;
    /// A stream of the most parts that there can be has a manifest of less than 400 MB.
    const MAX_SIZE: usize = 512 << 20;

    fn archive(&self) -> ArchiveId {
        self.archive
    }

    fn place(&self) -> Place {
        Place::Manifest(ManifestPlace {
            lineage: self.lineage,
            // Checked: it is not negative.
            creation: self.creation.as_second().unsigned_abs(),
            guid: self.guid,
        })
    }

    fn check(&self) -> Result<(), FormatError> {
        let illegal = |reason: String| Err(FormatError::illegal(Self::WHAT, reason));
        for (field, text) in [
            ("terrarium", Some(&self.terrarium)),
            ("instance", Some(&self.instance)),
            ("project", self.project.as_ref()),
            ("instance_uuid", self.instance_uuid.as_ref()),
            ("alias", self.alias.as_ref()),
        ] {
            if let Some(text) = text {
                check_text(Self::WHAT, field, text)?;
            }
        }
        if self.creation.as_second() < 0 || self.creation.subsec_nanosecond() != 0 {
            return illegal("the creation is before 1970, or not in whole seconds".to_owned());
        }
        if self.base.guid() == Some(self.guid) {
            return illegal("the stream starts from the snapshot that it makes".to_owned());
        }
        self.check_parts()
    }
}

impl Manifest {
    fn check_parts(&self) -> Result<(), FormatError> {
        let illegal = |reason: String| Err(FormatError::illegal(Self::WHAT, reason));
        if self.parts.is_empty() {
            return illegal("it has no parts".to_owned());
        }
        let mut sum = 0u64;
        for (number, part) in self.parts.iter().enumerate() {
            let expected = PartPlace {
                guid: self.guid,
                from: self.from_guid(),
                // An export that was resumed has parts of several runs.
                run: part.key.run,
                number: u32::try_from(number).unwrap_or(u32::MAX),
            };
            if part.key != expected || expected.number > PartPlace::MAX_NUMBER {
                return illegal(format!(
                    "part {number} stands at {} instead of {expected}",
                    part.key
                ));
            }
            if !(1..=Part::MAX_STREAM).contains(&part.stream_bytes)
                || !(1..=Part::MAX_STORED).contains(&part.stored_bytes)
            {
                return illegal(format!("the sizes of part {number} are not possible"));
            }
            sum += part.stream_bytes;
        }
        if sum != self.stream_bytes {
            return illegal(format!(
                "its parts make {sum} bytes, its stream has {}",
                self.stream_bytes
            ));
        }
        Ok(())
    }
}

/// A name or the like: not empty, one line, not longer than ZFS's own names.
pub(super) fn check_text(
    what: &'static str,
    field: &'static str,
    text: &str,
) -> Result<(), FormatError> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        let reason =
            format!("its {field} is empty, longer than 255 bytes, or has control characters");
        return Err(FormatError::illegal(what, reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
