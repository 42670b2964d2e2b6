//! What a stream needs its receiver to know (`DMU_BACKUP_FEATURE_*` of sys/zfs_ioctl.h).

use std::fmt;

/// The feature flags of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Features(u64);

impl Features {
    /// Blocks as they are on disk, of an encrypted dataset still encrypted (`zfs send -w`).
    pub const RAW: Self = Self(1 << 24);
    /// The rest of an interrupted stream (`zfs send -t`).
    pub const RESUMING: Self = Self(1 << 20);
    /// Blocks that the stream has already are referred to, not repeated (`zfs send -D`, up to 0.8).
    pub const DEDUPLICATED: Self = Self(1 << 0);
    /// Some blocks are left out on purpose (`zfs send --redact`).
    pub const REDACTED: Self = Self(1 << 21);

    /// From the version field of a BEGIN record.
    pub(super) fn of_version(version: u64) -> Self {
        // The lowest two bits say whether the stream is a package. 30 bits are defined up to
        // OpenZFS 2.2, 54 after it; the rest stays reserved.
        Self(version >> 2 & ((1 << 54) - 1))
    }

    /// Whether it has all of these.
    pub fn contains(self, features: Self) -> bool {
        self.0 & features.0 == features.0
    }

    /// The flags as bits.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The name of each flag, the lowest bit first; `bit N` for one that has none here.
    pub fn names(self) -> impl Iterator<Item = String> {
        (0..u64::BITS)
            .filter(move |bit| self.0 & 1 << bit != 0)
            .map(|bit| match NAMES.iter().find(|(named, _)| *named == bit) {
                Some((_, name)) => (*name).to_owned(),
                None => format!("bit {bit}"),
            })
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// As `DMU_BACKUP_FEATURE_…` calls them, in lower case. Bits 3 to 15 belong to closed
/// implementations, 18 to Delphix.
const NAMES: [(u32, &str); 15] = [
    (0, "dedup"),
    (1, "dedupprops"),
    (2, "sa_spill"),
    (16, "embed_data"),
    (17, "lz4"),
    (19, "large_blocks"),
    (20, "resuming"),
    (21, "redacted"),
    (22, "compressed"),
    (23, "large_dnode"),
    (24, "raw"),
    (25, "zstd"),
    (26, "holds"),
    (27, "switch_to_large_blocks"),
    (28, "blake3"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names_and_unknown_ones_their_number() {
        let version = 1 | (1 << 2 | 1 << 5 | 1 << 24 | 1 << 53) << 2 | 1 << 63;
        let features = Features::of_version(version);
        let names: Vec<_> = features.names().collect();
        assert_eq!(names, ["sa_spill", "bit 5", "raw", "bit 53"]);
        assert!(features.contains(Features::RAW));
        assert!(!features.contains(Features::RESUMING));
    }
}
