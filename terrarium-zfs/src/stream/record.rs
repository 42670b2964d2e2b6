//! The records of a stream, and how many bytes of payload follow each.

use crate::stream::begin::BeginRecord;
use crate::stream::fields::Fields;

/// A record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where in the stream it begins, in bytes.
    pub offset: u64,
    /// The size of the payload that follows it, in bytes.
    pub payload: u64,
    /// What it says.
    pub body: Body,
}

/// The kinds of records (`drr_type`), in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// `DRR_BEGIN`: a stream begins.
    Begin,
    /// `DRR_OBJECT`: an object is there, with these properties.
    Object,
    /// `DRR_FREEOBJECTS`: objects are not there.
    FreeObjects,
    /// `DRR_WRITE`: a block of an object.
    Write,
    /// `DRR_FREE`: a hole in an object.
    Free,
    /// `DRR_END`: a stream ends.
    End,
    /// `DRR_WRITE_BYREF`: a block that the stream had already (deduplicated streams, up to 0.8).
    WriteByReference,
    /// `DRR_SPILL`: what did not fit into an object's bonus.
    Spill,
    /// `DRR_WRITE_EMBEDDED`: a block so small that it lay in its pointer.
    WriteEmbedded,
    /// `DRR_OBJECT_RANGE`: how objects are encrypted (raw streams).
    ObjectRange,
    /// `DRR_REDACT`: a range that is left out on purpose.
    Redact,
}

impl RecordKind {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Begin,
        Self::Object,
        Self::FreeObjects,
        Self::Write,
        Self::Free,
        Self::End,
        Self::WriteByReference,
        Self::Spill,
        Self::WriteEmbedded,
        Self::ObjectRange,
        Self::Redact,
    ];

    /// As ZFS calls it, without its prefix `DRR_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::Object => "OBJECT",
            Self::FreeObjects => "FREEOBJECTS",
            Self::Write => "WRITE",
            Self::Free => "FREE",
            Self::End => "END",
            Self::WriteByReference => "WRITE_BYREF",
            Self::Spill => "SPILL",
            Self::WriteEmbedded => "WRITE_EMBEDDED",
            Self::ObjectRange => "OBJECT_RANGE",
            Self::Redact => "REDACT",
        }
    }
}

/// What a record says, in the words of sys/zfs_ioctl.h. Sizes and offsets are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Body {
    /// A stream begins. The payload, if any, is a packed list.
    Begin(Box<BeginRecord>),
    /// An object is there. The payload is its bonus.
    #[non_exhaustive]
    Object {
        /// The object's number.
        object: u64,
        /// `dmu_object_type_t`.
        kind: u32,
        /// The size of its blocks.
        block_size: u32,
    },
    /// Objects are not there.
    #[non_exhaustive]
    FreeObjects {
        /// The first one.
        first: u64,
        /// How many.
        count: u64,
    },
    /// A block. The payload is what it holds, perhaps compressed, perhaps encrypted.
    #[non_exhaustive]
    Write {
        /// The object's number.
        object: u64,
        /// Where in the object it lies.
        offset: u64,
        /// Its size when it is not compressed.
        logical_size: u64,
        /// How it is compressed (`enum zio_compress`); `None` if it is not.
        compression: Option<u8>,
    },
    /// A hole.
    #[non_exhaustive]
    Free {
        /// The object's number.
        object: u64,
        /// Where in the object it begins.
        offset: u64,
        /// Its length; [`u64::MAX`]: up to the end of the object.
        length: u64,
    },
    /// A stream ends, or the header of a package, or the package as a whole.
    End,
    /// A block that is the same as one before.
    #[non_exhaustive]
    WriteByReference {
        /// The object's number.
        object: u64,
        /// Where in the object it lies.
        offset: u64,
        /// Its size.
        length: u64,
    },
    /// A spill block. The payload is what it holds.
    #[non_exhaustive]
    Spill {
        /// The object's number.
        object: u64,
        /// Its size when it is not compressed.
        length: u64,
    },
    /// A very small block. The payload is what it holds, perhaps compressed, filled up to 8 bytes.
    #[non_exhaustive]
    WriteEmbedded {
        /// The object's number.
        object: u64,
        /// Where in the object it lies.
        offset: u64,
        /// Its size when it is not compressed.
        length: u64,
    },
    /// How a range of objects is encrypted.
    #[non_exhaustive]
    ObjectRange {
        /// The first one.
        first: u64,
        /// How many.
        count: u64,
    },
    /// A range that is left out on purpose.
    #[non_exhaustive]
    Redact {
        /// The object's number.
        object: u64,
        /// Where in the object it begins.
        offset: u64,
        /// Its length.
        length: u64,
    },
}

impl Body {
    /// Which kind of record it is.
    pub fn kind(&self) -> RecordKind {
        match self {
            Body::Begin(_) => RecordKind::Begin,
            Body::Object { .. } => RecordKind::Object,
            Body::FreeObjects { .. } => RecordKind::FreeObjects,
            Body::Write { .. } => RecordKind::Write,
            Body::Free { .. } => RecordKind::Free,
            Body::End => RecordKind::End,
            Body::WriteByReference { .. } => RecordKind::WriteByReference,
            Body::Spill { .. } => RecordKind::Spill,
            Body::WriteEmbedded { .. } => RecordKind::WriteEmbedded,
            Body::ObjectRange { .. } => RecordKind::ObjectRange,
            Body::Redact { .. } => RecordKind::Redact,
        }
    }
}

/// `SPA_MAXBLOCKSIZE`.
const MAX_BLOCK: u64 = 16 << 20;
/// More than the bonus of the largest dnode (`DNODE_MAX_SIZE`).
const MAX_BONUS: u64 = 16 << 10;
/// `BPE_PAYLOAD_SIZE`: what fits into a block pointer.
const MAX_EMBEDDED: u64 = 112;
/// Of the list behind the BEGIN record of one snapshot: real ones have some hundred bytes.
const MAX_BEGIN_LIST: u64 = 64 << 20;
/// `DMU_OBJECT_END`.
const OBJECT_END: u64 = u64::MAX;

/// Reads a record that is no BEGIN record, and says how many bytes of payload follow it.
///
/// # Errors
/// What is illegal about it.
pub(super) fn read(fields: Fields<'_>) -> Result<(Body, u64), &'static str> {
    let object = fields.u64(8);
    let read = match fields.u32(0) {
        1 => {
            let bonus = u64::from(fields.u32(28)).next_multiple_of(8);
            let payload = match fields.u32(36) {
                0 => bonus,
                raw => raw.into(),
            };
            at_most(payload, MAX_BONUS, "its bonus is larger than any dnode")?;
            let body = Body::Object {
                object,
                kind: fields.u32(16),
                block_size: fields.u32(24),
            };
            (body, payload)
        }
        2 => {
            let (first, count) = range(object, fields.u64(16))?;
            (Body::FreeObjects { first, count }, 0)
        }
        3 => {
            let logical_size = fields.u64(32);
            let compression = Some(fields.u8(50)).filter(|&kind| kind != 0);
            let payload = match compression {
                Some(_) => fields.u64(96),
                None => logical_size,
            };
            at_most(payload.max(logical_size), MAX_BLOCK, TOO_LARGE)?;
            let (offset, logical_size) = range(fields.u64(24), logical_size)?;
            let body = Body::Write {
                object,
                offset,
                logical_size,
                compression,
            };
            (body, payload)
        }
        4 => {
            let (offset, length) = (fields.u64(16), fields.u64(24));
            if length != OBJECT_END {
                range(offset, length)?;
            }
            let body = Body::Free {
                object,
                offset,
                length,
            };
            (body, 0)
        }
        5 => (Body::End, 0),
        6 => {
            let (offset, length) = range(fields.u64(16), fields.u64(24))?;
            at_most(length, MAX_BLOCK, TOO_LARGE)?;
            let body = Body::WriteByReference {
                object,
                offset,
                length,
            };
            (body, 0)
        }
        7 => {
            let (length, compressed) = (fields.u64(16), fields.u64(40));
            let payload = if compressed == 0 { length } else { compressed };
            at_most(payload.max(length), MAX_BLOCK, TOO_LARGE)?;
            (Body::Spill { object, length }, payload)
        }
        8 => {
            let (offset, length) = range(fields.u64(16), fields.u64(24))?;
            at_most(length, MAX_BLOCK, TOO_LARGE)?;
            let payload = u64::from(fields.u32(52)).next_multiple_of(8);
            let why = "it is larger than what fits into a block pointer";
            at_most(payload, MAX_EMBEDDED, why)?;
            let body = Body::WriteEmbedded {
                object,
                offset,
                length,
            };
            (body, payload)
        }
        9 => {
            let (first, count) = range(object, fields.u64(16))?;
            (Body::ObjectRange { first, count }, 0)
        }
        10 => {
            let (offset, length) = (fields.u64(16), fields.u64(24));
            if length != OBJECT_END {
                range(offset, length)?;
            }
            let body = Body::Redact {
                object,
                offset,
                length,
            };
            (body, 0)
        }
        0 => return Err("a stream begins within another"),
        _ => return Err("there is no such kind of record"),
    };
    if !read.1.is_multiple_of(8) {
        return Err("its payload is not a multiple of 8 bytes");
    }
    Ok(read)
}

/// How many bytes of payload follow a BEGIN record.
///
/// # Errors
/// What is illegal about it.
pub(super) fn list_size(begin: &BeginRecord) -> Result<u64, &'static str> {
    let size = u64::from(begin.payload_size());
    // A package's list grows with the snapshots in it; it is passed through like every payload.
    if !begin.is_package() {
        at_most(size, MAX_BEGIN_LIST, "its list is far too large")?;
    }
    // The lists of packages are in XDR, which is in words of 4 bytes.
    if !size.is_multiple_of(4) {
        return Err("its list is not a multiple of 4 bytes");
    }
    Ok(size)
}

const TOO_LARGE: &str = "its block is larger than 16 MiB";

fn at_most(size: u64, limit: u64, otherwise: &'static str) -> Result<(), &'static str> {
    if size > limit {
        return Err(otherwise);
    }
    Ok(())
}

/// A start and a length whose end is a number.
fn range(start: u64, length: u64) -> Result<(u64, u64), &'static str> {
    match start.checked_add(length) {
        Some(_) => Ok((start, length)),
        None => Err("its range has no end"),
    }
}
