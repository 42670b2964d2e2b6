//! Numbers of a record, in the byte order of the machine that sent it.

/// In which order a sender wrote the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lowest byte first (x86, ARM).
    Little,
    /// The highest byte first (SPARC, s390x).
    Big,
}

impl ByteOrder {
    /// What this machine writes.
    pub const OF_THIS_MACHINE: Self = if cfg!(target_endian = "little") {
        Self::Little
    } else {
        Self::Big
    };
}

/// The size of a record (`dmu_replay_record_t`), without its payload.
pub(super) const RECORD_SIZE: usize = 312;

/// A record's bytes.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) raw: &'a [u8; RECORD_SIZE],
    pub(super) order: ByteOrder,
}

impl Fields<'_> {
    pub(super) fn u8(&self, at: usize) -> u8 {
        self.raw[at]
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.raw[at..at + 4]);
        match self.order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.raw[at..at + 8]);
        match self.order {
            ByteOrder::Little => u64::from_le_bytes(bytes),
            ByteOrder::Big => u64::from_be_bytes(bytes),
        }
    }

    /// A checksum (`zio_cksum_t`).
    pub(super) fn checksum(&self, at: usize) -> [u64; 4] {
        [0, 8, 16, 24].map(|word| self.u64(at + word))
    }
}
