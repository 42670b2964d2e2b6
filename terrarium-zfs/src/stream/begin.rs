//! The first record of a send stream: what the stream is.

use crate::ids::Guid;
use crate::stream::features::Features;
use crate::stream::fields::{ByteOrder, Fields, RECORD_SIZE};

/// The first record of a send stream.
#[derive(Clone, PartialEq, Eq)]
pub struct BeginRecord {
    raw: [u8; BeginRecord::SIZE],
    order: ByteOrder,
}

/// What the snapshot of a stream holds (`dmu_objset_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Contents {
    /// A file system.
    FileSystem,
    /// A volume.
    Volume,
    /// Something else, by its number; a package of streams has 0.
    Other(u32),
}

impl BeginRecord {
    /// The size of the record in bytes. A payload may follow in the stream.
    pub const SIZE: usize = RECORD_SIZE;

    /// Reads the record from the first bytes of a stream of one snapshot.
    ///
    /// # Errors
    /// [`BeginError`] if these are not the first bytes of a stream of one snapshot.
    pub fn parse(raw: [u8; Self::SIZE]) -> Result<Self, BeginError> {
        let record = Self::parse_any(raw)?;
        if record.is_package() {
            return Err(BeginError::Package);
        }
        Ok(record)
    }

    /// Reads the record from the first bytes of a stream of one snapshot or of a package of streams.
    ///
    /// # Errors
    /// [`BeginError::NoStream`] if these are the first bytes of neither.
    pub fn parse_any(raw: [u8; Self::SIZE]) -> Result<Self, BeginError> {
        let orders = [ByteOrder::Little, ByteOrder::Big];
        let found = orders.into_iter().find(|&order| {
            let fields = Fields { raw: &raw, order };
            fields.u64(8) == MAGIC && fields.u32(0) == DRR_BEGIN
        });
        let order = found.ok_or(BeginError::NoStream)?;
        let record = Self { raw, order };
        match record.version() & KIND {
            SUBSTREAM | COMPOUNDSTREAM => Ok(record),
            _ => Err(BeginError::NoStream),
        }
    }

    /// Whether so few bytes (up to a record's) may be the first ones of a stream.
    pub(super) fn may_begin_with(bytes: &[u8]) -> bool {
        [ByteOrder::Little, ByteOrder::Big].iter().any(|order| {
            let (kind, magic) = match order {
                ByteOrder::Little => (DRR_BEGIN.to_le_bytes(), MAGIC.to_le_bytes()),
                ByteOrder::Big => (DRR_BEGIN.to_be_bytes(), MAGIC.to_be_bytes()),
            };
            let fits = |at: usize, wanted: &[u8]| {
                let have = bytes.get(at..).unwrap_or_default();
                have.iter().zip(wanted).all(|(have, wanted)| have == wanted)
            };
            fits(0, &kind) && fits(8, &magic)
        })
    }

    /// The guid of the snapshot that the stream makes; 0 for a package.
    pub fn to_guid(&self) -> Guid {
        Guid::new(self.fields().u64(40))
    }

    /// The guid of the snapshot that an incremental stream starts from.
    pub fn from_guid(&self) -> Option<Guid> {
        Some(self.fields().u64(48))
            .filter(|&guid| guid != 0)
            .map(Guid::new)
    }

    /// The full name that the snapshot had where it was sent, with U+FFFD for what is not UTF-8.
    pub fn to_name(&self) -> String {
        let name = &self.raw[56..];
        let end = name
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(name.len());
        String::from_utf8_lossy(&name[..end]).into_owned()
    }

    /// When the snapshot was taken, in seconds since 1970; 0 for a package.
    pub fn creation(&self) -> i64 {
        self.fields().u64(24) as i64
    }

    /// What the snapshot holds.
    pub fn contents(&self) -> Contents {
        match self.fields().u32(32) {
            2 => Contents::FileSystem,
            3 => Contents::Volume,
            other => Contents::Other(other),
        }
    }

    /// Whether it is the header of a package of streams (`zfs send -R`, `-I` or `-p`).
    pub fn is_package(&self) -> bool {
        self.version() & KIND == COMPOUNDSTREAM
    }

    /// Whether the stream builds on the origin of a clone (`DRR_FLAG_CLONE`).
    pub fn is_clone(&self) -> bool {
        self.fields().u32(36) & 1 != 0
    }

    /// Whether it holds encrypted blocks as they are on disk (`DMU_BACKUP_FEATURE_RAW`).
    pub fn is_raw(&self) -> bool {
        self.features().contains(Features::RAW)
    }

    /// Whether it continues an interrupted one (`DMU_BACKUP_FEATURE_RESUMING`).
    pub fn is_resuming(&self) -> bool {
        self.features().contains(Features::RESUMING)
    }

    /// What a receiver must know.
    pub fn features(&self) -> Features {
        Features::of_version(self.version())
    }

    /// The byte order of the machine that sent it, and of all numbers of the stream.
    pub fn byte_order(&self) -> ByteOrder {
        self.order
    }

    /// The size of the packed list that follows the record, in bytes; mostly 0.
    pub fn payload_size(&self) -> u32 {
        self.fields().u32(4)
    }

    /// The record as it is in the stream.
    pub fn as_bytes(&self) -> &[u8; Self::SIZE] {
        &self.raw
    }

    fn version(&self) -> u64 {
        self.fields().u64(16)
    }

    fn fields(&self) -> Fields<'_> {
        Fields {
            raw: &self.raw,
            order: self.order,
        }
    }
}

impl std::fmt::Debug for BeginRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BeginRecord")
            .field("to_name", &self.to_name())
            .field("to_guid", &self.to_guid())
            .field("from_guid", &self.from_guid())
            .field("features", &self.features())
            .finish_non_exhaustive()
    }
}

/// Why some bytes are not the first record of a stream that can be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// Not a send stream at all.
    #[error("that is no ZFS send stream")]
    NoStream,
    /// A package of several streams (`zfs send -R`, `-I` or `-p`): only `zfs receive` unpacks it.
    #[error("that is a package of streams (zfs send -R, -I or -p), not the stream of one snapshot")]
    Package,
}

/// `DMU_BACKUP_MAGIC`.
const MAGIC: u64 = 0x2_f5ba_cbac;
const DRR_BEGIN: u32 = 0;
/// `DMU_GET_STREAM_HDRTYPE`: the bits of the version that tell a stream from a package.
const KIND: u64 = 0b11;
/// `DMU_SUBSTREAM`.
const SUBSTREAM: u64 = 1;
/// `DMU_COMPOUNDSTREAM`.
const COMPOUNDSTREAM: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(change: impl FnOnce(&mut [u8; 312])) -> [u8; 312] {
        let mut raw = [0; 312];
        raw[8..16].copy_from_slice(&MAGIC.to_le_bytes());
        raw[16..24].copy_from_slice(&(SUBSTREAM | 1 << (24 + 2)).to_le_bytes());
        raw[24..32].copy_from_slice(&1_700_000_000u64.to_le_bytes());
        raw[36..40].copy_from_slice(&1u32.to_le_bytes());
        raw[40..48].copy_from_slice(&7u64.to_le_bytes());
        raw[48..56].copy_from_slice(&5u64.to_le_bytes());
        raw[56..67].copy_from_slice(b"tank/a b@s1");
        change(&mut raw);
        raw
    }

    #[test]
    fn a_begin_record_says_what_the_stream_is() {
        let begin = BeginRecord::parse(record(|_| {})).expect("a begin record");
        assert_eq!(begin.to_guid(), Guid::new(7));
        assert_eq!(begin.from_guid(), Some(Guid::new(5)));
        assert_eq!(begin.to_name(), "tank/a b@s1");
        assert_eq!(begin.creation(), 1_700_000_000);
        assert!(begin.is_raw() && begin.is_clone() && !begin.is_resuming());
    }

    #[test]
    fn a_stream_of_the_other_byte_order_is_understood() {
        let swapped = record(|raw| {
            for (start, end) in [(8, 16), (16, 24), (24, 32), (40, 48), (48, 56)] {
                raw[start..end].reverse();
            }
            raw[36..40].reverse();
        });
        let begin = BeginRecord::parse(swapped).expect("a begin record");
        assert_eq!(begin.to_guid(), Guid::new(7));
        assert!(begin.is_raw() && begin.is_clone());
        assert_eq!(begin.as_bytes(), &swapped, "kept as it is in the stream");
    }

    #[test]
    fn what_is_no_stream_of_one_snapshot_is_refused() {
        let refused = |change: fn(&mut [u8; 312])| BeginRecord::parse(record(change)).err();
        assert_eq!(
            refused(|raw| raw[8] ^= 1),
            Some(BeginError::NoStream),
            "magic"
        );
        assert_eq!(
            refused(|raw| raw[0] = 5),
            Some(BeginError::NoStream),
            "an END record"
        );
        assert_eq!(
            refused(|raw| raw[16] = raw[16] & !3 | 2),
            Some(BeginError::Package)
        );
        assert_eq!(
            BeginRecord::parse([0; 312]).err(),
            Some(BeginError::NoStream)
        );
    }

    #[test]
    fn a_full_stream_has_no_source_and_a_name_without_end_is_cut() {
        let begin = BeginRecord::parse(record(|raw| {
            raw[48..56].fill(0);
            raw[56..].fill(b'x');
        }));
        let begin = begin.expect("a begin record");
        assert_eq!(begin.from_guid(), None);
        assert_eq!(begin.to_name().len(), 256);
    }
}
