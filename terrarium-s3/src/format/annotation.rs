//! `v1/annotations/…`: what was said of a restore point after it was exported.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrarium_zfs::Guid;

use crate::format::error::FormatError;
use crate::format::ids::{ArchiveId, Lineage};
use crate::format::manifest::check_text;
use crate::format::place::{AnnotationPlace, Place};
use crate::format::signed::{Document, required};

/// What is said of a restore point from now on, instead of what its manifest says and of every annotation
/// with a lower number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annotation {
    /// The archive.
    pub archive: ArchiveId,
    /// The dataset's lineage.
    pub lineage: Lineage,
    /// The snapshot.
    pub guid: Guid,
    /// From 1. The highest one counts.
    pub number: u32,
    /// When it was written.
    pub written: Timestamp,
    /// The restore point's alias.
    #[serde(deserialize_with = "required")]
    pub alias: Option<String>,
    /// A note, of any number of lines.
    #[serde(deserialize_with = "required")]
    pub note: Option<String>,
    /// Retention never removes it.
    pub pinned: bool,
}

impl Document for Annotation {
    const WHAT: &'static str = "annotation";
    const FORMAT: &'static str = "terrarium-annotation";
    const VERSION: u64 = 1;
    const MAX_SIZE: usize = 1 << 20;

    fn archive(&self) -> ArchiveId {
        self.archive
    }

    fn place(&self) -> Place {
        Place::Annotation(AnnotationPlace {
            lineage: self.lineage,
            guid: self.guid,
            number: self.number,
        })
    }

    fn check(&self) -> Result<(), FormatError> {
        let illegal = |reason: &str| Err(FormatError::illegal(Self::WHAT, reason));
        if self.number == 0 {
            return illegal("its number is 0");
        }
        if let Some(alias) = &self.alias {
            check_text(Self::WHAT, "alias", alias)?;
        }
        match &self.note {
            Some(note) if note.len() > MAX_NOTE => illegal("its note is longer than 64 KiB"),
            _ => Ok(()),
        }
    }
}

const MAX_NOTE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::HostKey;
    use crate::format::Verdict;

    #[test]
    fn it_is_read_as_it_was_written_and_signed() {
        let annotation = Annotation {
            archive: ArchiveId::random().expect("random bytes"),
            lineage: Lineage::random().expect("random bytes"),
            guid: Guid::new(5),
            number: 3,
            written: "2026-11-22T21:00:00Z".parse().expect("a time"),
            alias: None,
            note: Some("two\nlines".to_owned()),
            pinned: true,
        };
        let host = HostKey::generate().expect("random bytes");
        let bytes = annotation.write(Some(&host)).expect("written");
        let (archive, place) = (annotation.archive, annotation.place());
        let read = Annotation::read(&bytes, archive, &place, &[host.verifying_key()]);
        let read = read.expect("read");
        assert_eq!(read.verdict, Verdict::Signed(host.verifying_key()));
        assert_eq!(read.document, annotation);

        let moved = Annotation {
            number: 4,
            ..annotation.clone()
        };
        assert!(Annotation::read(&bytes, archive, &moved.place(), &[]).is_err());
        let none = Annotation {
            number: 0,
            ..annotation
        };
        assert!(none.write(None).is_err());
    }
}
