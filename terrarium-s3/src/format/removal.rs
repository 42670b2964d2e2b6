//! `v1/removals/…`: what somebody is about to remove.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::format::error::FormatError;
use crate::format::ids::{ArchiveId, RunId};
use crate::format::place::{ManifestPlace, Place};
use crate::format::signed::Document;

/// A notice: from now on, and as long as this object is there, these points may go at any moment.
///
/// Whoever removes writes it first, and *then* looks what is built upon the points. Whoever builds stores its parts
/// first, and *then* looks for notices. So one of the two sees the other, whatever the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// The archive.
    pub archive: ArchiveId,
    /// Who removes: drawn for each notice.
    pub run: RunId,
    /// When it was written, by the clock of whoever wrote it.
    pub written: Timestamp,
    /// The points.
    pub points: Vec<ManifestPlace>,
}

impl Removal {
    /// The most points of one notice.
    pub const MAX_POINTS: usize = 1000;
    /// Whoever wrote a notice does nothing upon it any more after this time.
    pub const LEASE: Duration = Duration::from_secs(30 * 60);
    /// A notice that is older than this was left by somebody who died, and does not count.
    pub const LIFE: Duration = Duration::from_secs(2 * 60 * 60);

    /// Whether a notice that was created at `written` counts no more at `now`, both by the store's clock.
    pub fn is_dead(written: Timestamp, now: Timestamp) -> bool {
        written.checked_add(Self::LIFE).is_ok_and(|dead| now > dead)
    }
}

impl Document for Removal {
    const WHAT: &'static str = "notice of removal";
    const FORMAT: &'static str = "terrarium-removal";
    const VERSION: u64 = 1;
    const MAX_SIZE: usize = 1 << 20;

    fn archive(&self) -> ArchiveId {
        self.archive
    }

    fn place(&self) -> Place {
        Place::Removal(self.run)
    }

    fn check(&self) -> Result<(), FormatError> {
        match self.points.len() {
            0..=Self::MAX_POINTS => Ok(()),
            more => Err(FormatError::illegal(
                Self::WHAT,
                format!("it names {more} points"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use terrarium_zfs::Guid;

    use super::*;
    use crate::format::Lineage;

    #[test]
    fn it_is_read_as_it_was_written_and_the_largest_one_can_be_written() {
        let lineage = Lineage::random().expect("random bytes");
        let point = |creation| ManifestPlace {
            lineage,
            creation,
            guid: Guid::new(u64::MAX),
        };
        let mut removal = Removal {
            archive: ArchiveId::random().expect("random bytes"),
            run: RunId::random().expect("random bytes"),
            written: Timestamp::UNIX_EPOCH,
            points: (0..1000).map(point).collect(),
        };
        let bytes = removal.write(None).expect("written");
        let (archive, place) = (removal.archive, removal.place());
        let read = Removal::read(&bytes, archive, &place, &[]).expect("read");
        assert_eq!(read.document, removal);
        removal.points.push(point(1000));
        assert!(removal.write(None).is_err());
    }
}
