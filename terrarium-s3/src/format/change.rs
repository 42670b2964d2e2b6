//! `v1/changes/…`: whom new points are encrypted to from now on, and who may sign.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::crypto::{Recipients, VerifyingKey};
use crate::format::archive::check_host_keys;
use crate::format::error::FormatError;
use crate::format::ids::ArchiveId;
use crate::format::place::{ChangePlace, Place};
use crate::format::signed::Document;

/// What is true of an archive from now on, instead of what `archive.json` and the changes before it say.
///
/// It counts only if a host signed it that might sign before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The archive.
    pub archive: ArchiveId,
    /// From 1, without a gap.
    pub number: u32,
    /// When it was written.
    pub written: Timestamp,
    /// Whom new points are encrypted to.
    pub recipients: Recipients,
    /// The hosts that may sign. What others have signed is trusted no more.
    pub host_keys: Vec<VerifyingKey>,
}

impl Document for Change {
    const WHAT: &'static str = "change";
    const FORMAT: &'static str = "terrarium-change";
    const VERSION: u64 = 1;
    const MAX_SIZE: usize = 1 << 20;

    fn archive(&self) -> ArchiveId {
        self.archive
    }

    fn place(&self) -> Place {
        Place::Change(ChangePlace {
            number: self.number,
        })
    }

    fn check(&self) -> Result<(), FormatError> {
        if self.number == 0 {
            return Err(FormatError::illegal(Self::WHAT, "its number is 0"));
        }
        check_host_keys(Self::WHAT, &self.host_keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{HostKey, NewIdentity};
    use crate::format::Verdict;

    #[test]
    fn it_is_read_as_it_was_written_and_signed() {
        let host = HostKey::generate().expect("random bytes");
        let change = Change {
            archive: ArchiveId::random().expect("random bytes"),
            number: 3,
            written: "2026-11-23T05:00:00Z".parse().expect("a time"),
            recipients: Recipients::parse([NewIdentity::generate().recipient()])
                .expect("a recipient"),
            host_keys: vec![host.verifying_key()],
        };
        let bytes = change.write(Some(&host)).expect("written");
        let (archive, place) = (change.archive, change.place());
        let read = Change::read(&bytes, archive, &place, &change.host_keys).expect("read");
        assert_eq!(read.verdict, Verdict::Signed(host.verifying_key()));
        assert_eq!(read.document, change);

        let second = Place::Change(ChangePlace { number: 2 });
        assert!(Change::read(&bytes, archive, &second, &[]).is_err());
        let crowded = Change {
            host_keys: vec![host.verifying_key(); 1001],
            ..change.clone()
        };
        assert!(crowded.write(None).is_err());
        let none = Change {
            number: 0,
            ..change
        };
        assert!(none.write(None).is_err());
    }
}
