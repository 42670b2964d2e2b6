//! Which property is encoded how.
//!
//! Names, words and numbers are those of zfsprops(7) and of the headers of OpenZFS 2.1 to 2.3
//! (sys/fs/zfs.h, sys/zio.h, sys/zio_compress.h, sys/zfs_acl.h, sys/u8_textprep.h); they are stored
//! on disk, hence never renumbered. A test in the VM sets every word with `zfs set`, gives what
//! `zfs get -Hp` prints to this table, sets the result and compares.

/// How a property's text becomes the kernel's value.
#[derive(Clone, Copy)]
pub(super) enum Encoding {
    /// A text, taken as it is.
    Text,
    /// A decimal number; `none` is what that word stands for, if it is allowed.
    Number { none: Option<u64> },
    /// One of some words.
    Index(&'static [(&'static str, u64)]),
    /// `compression`: words, and words with a level.
    Compression,
}

/// The encoding of a settable property; `None` for any other name.
pub(super) fn encoding(name: &str) -> Option<Encoding> {
    use Encoding::{Compression, Index, Number, Text};
    Some(match name {
        "aclinherit" => Index(ACLINHERIT),
        "aclmode" => Index(ACLMODE),
        "acltype" => Index(ACLTYPE),
        "canmount" => Index(CANMOUNT),
        "casesensitivity" => Index(CASE),
        "checksum" => Index(CHECKSUM),
        "compression" => Compression,
        "copies" => Index(COPIES),
        "dedup" => Index(DEDUP),
        "direct" => Index(DIRECT),
        "dnodesize" => Index(DNODESIZE),
        "encryption" => Index(ENCRYPTION),
        "keyformat" => Index(KEYFORMAT),
        "logbias" => Index(LOGBIAS),
        "normalization" => Index(NORMALIZATION),
        "prefetch" | "primarycache" | "secondarycache" => Index(CACHE),
        "redundant_metadata" => Index(REDUNDANT_METADATA),
        "snapdev" => Index(SNAPDEV),
        "snapdir" => Index(SNAPDIR),
        "sync" => Index(SYNC),
        "version" => Index(VERSION),
        "volmode" => Index(VOLMODE),
        "xattr" => Index(XATTR),
        "atime" | "devices" | "exec" | "longname" | "nbmand" | "overlay" | "readonly"
        | "relatime" | "setuid" | "utf8only" | "volthreading" | "vscan" | "zoned" => Index(ON_OFF),
        "context" | "defcontext" | "fscontext" | "keylocation" | "mlslabel" | "mountpoint"
        | "rootcontext" | "sharenfs" | "sharesmb" => Text,
        "quota" | "refquota" | "refreservation" | "reservation" => Number { none: Some(0) },
        "filesystem_limit" | "snapshot_limit" => Number {
            none: Some(u64::MAX),
        },
        "pbkdf2iters" | "recordsize" | "special_small_blocks" | "volblocksize" | "volsize" => {
            Number { none: None }
        }
        _ => return None,
    })
}

/// The algorithm in the low 7 bits, a zstd level above them (`ZIO_COMPLEVEL_ZSTD`).
pub(super) fn compression(word: &str) -> Option<u64> {
    const ZSTD: u64 = 16;
    let with_level = |level: u64| ZSTD | level << 7;
    let plain = COMPRESSION.iter().find(|(known, _)| *known == word);
    if let Some((_, number)) = plain {
        return Some(*number);
    }
    let levels = |prefix: &str, range: &str| -> Option<u64> {
        let level = word.strip_prefix(prefix)?;
        // `zstd-03` is not a word of the property.
        range
            .split(' ')
            .position(|known| known == level)
            .map(|n| n as u64)
    };
    if let Some(n) = levels("gzip-", "1 2 3 4 5 6 7 8 9") {
        return Some(5 + n);
    }
    if let Some(n) = levels("zstd-fast-", ZSTD_FAST_LEVELS) {
        return Some(with_level(103 + n));
    }
    levels("zstd-", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19").map(|n| with_level(1 + n))
}

const ZSTD_FAST_LEVELS: &str = "1 2 3 4 5 6 7 8 9 10 20 30 40 50 60 70 80 90 100 500 1000";

/// `gzip` is level 6, `zstd-fast` is `zstd-fast-1`.
const COMPRESSION: &[(&str, u64)] = &[
    ("on", 1),
    ("off", 2),
    ("lzjb", 3),
    ("gzip", 10),
    ("zle", 14),
    ("lz4", 15),
    ("zstd", 16),
    ("zstd-fast", 16 | 103 << 7),
];

const ON_OFF: &[(&str, u64)] = &[("off", 0), ("on", 1)];

const ACLINHERIT: &[(&str, u64)] = &[
    ("discard", 0),
    ("noallow", 1),
    ("passthrough", 3),
    ("restricted", 4),
    ("secure", 4),
    ("passthrough-x", 5),
];

const ACLMODE: &[(&str, u64)] = &[
    ("discard", 0),
    ("groupmask", 2),
    ("passthrough", 3),
    ("restricted", 4),
];

const ACLTYPE: &[(&str, u64)] = &[
    ("off", 0),
    ("posix", 1),
    ("nfsv4", 2),
    // As OpenZFS before 2.0 printed them.
    ("disabled", 0),
    ("noacl", 0),
    ("posixacl", 1),
];

const CACHE: &[(&str, u64)] = &[("none", 0), ("metadata", 1), ("all", 2)];

const CANMOUNT: &[(&str, u64)] = &[("off", 0), ("on", 1), ("noauto", 2)];

const CASE: &[(&str, u64)] = &[("sensitive", 0), ("insensitive", 1), ("mixed", 2)];

const CHECKSUM: &[(&str, u64)] = &[
    ("on", 1),
    ("off", 2),
    ("fletcher2", 6),
    ("fletcher4", 7),
    ("sha256", 8),
    ("noparity", 10),
    ("sha512", 11),
    ("skein", 12),
    ("edonr", 13),
    ("blake3", 14),
];

const COPIES: &[(&str, u64)] = &[("1", 1), ("2", 2), ("3", 3)];

/// `ZIO_CHECKSUM_VERIFY`.
const VERIFY: u64 = 1 << 8;

const DEDUP: &[(&str, u64)] = &[
    ("on", 1),
    ("off", 2),
    ("verify", 1 | VERIFY),
    ("sha256", 8),
    ("sha256,verify", 8 | VERIFY),
    ("sha512", 11),
    ("sha512,verify", 11 | VERIFY),
    ("skein", 12),
    ("skein,verify", 12 | VERIFY),
    ("edonr,verify", 13 | VERIFY),
    ("blake3", 14),
    ("blake3,verify", 14 | VERIFY),
];

const DIRECT: &[(&str, u64)] = &[("disabled", 0), ("standard", 1), ("always", 2)];

const DNODESIZE: &[(&str, u64)] = &[
    ("legacy", 0),
    ("auto", 1),
    ("1k", 1024),
    ("2k", 2048),
    ("4k", 4096),
    ("8k", 8192),
    ("16k", 16384),
];

const ENCRYPTION: &[(&str, u64)] = &[
    ("on", 1),
    ("off", 2),
    ("aes-128-ccm", 3),
    ("aes-192-ccm", 4),
    ("aes-256-ccm", 5),
    ("aes-128-gcm", 6),
    ("aes-192-gcm", 7),
    ("aes-256-gcm", 8),
];

const KEYFORMAT: &[(&str, u64)] = &[("none", 0), ("raw", 1), ("hex", 2), ("passphrase", 3)];

const LOGBIAS: &[(&str, u64)] = &[("latency", 0), ("throughput", 1)];

/// The flags of Unicode normalisation: decompose 0x10, compatible 0x20, compose 0x40.
const NORMALIZATION: &[(&str, u64)] = &[
    ("none", 0),
    ("formD", 0x10),
    ("formKC", 0x60),
    ("formC", 0x50),
    ("formKD", 0x20),
];

const REDUNDANT_METADATA: &[(&str, u64)] = &[("all", 0), ("most", 1), ("some", 2), ("none", 3)];

const SNAPDEV: &[(&str, u64)] = &[("hidden", 0), ("visible", 1)];

const SNAPDIR: &[(&str, u64)] = &[("hidden", 0), ("visible", 1), ("disabled", 2)];

const SYNC: &[(&str, u64)] = &[("standard", 0), ("always", 1), ("disabled", 2)];

const VERSION: &[(&str, u64)] = &[("1", 1), ("2", 2), ("3", 3), ("4", 4), ("5", 5)];

const VOLMODE: &[(&str, u64)] = &[
    ("default", 0),
    // `zfs get` prints `full`; `geom` is its old name.
    ("full", 1),
    ("geom", 1),
    ("dev", 2),
    ("none", 3),
];

/// `on` is what OpenZFS 2.1 prints for directories; 2.3 prints `dir` and `sa`.
const XATTR: &[(&str, u64)] = &[("off", 0), ("on", 1), ("dir", 1), ("sa", 2)];
