//! Why a stream could not be stored, published or read back.

use std::io;
use std::path::PathBuf;

use terrarium_zfs::Guid;
use terrarium_zfs::stream::StreamError;

use crate::crypto::CryptoError;
use crate::format::{FormatError, OpenError, PartPlace};
use crate::store::{InvalidKey, Key, StoreError};

/// A stream was not stored. No manifest names its parts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The stream cannot be read.
    #[error("cannot read the stream: {0}")]
    Read(#[source] io::Error),
    /// The stream is damaged, or ended before its end.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The stream is a package, of which no single point could be restored.
    #[error("that is a package of streams (zfs send -R, -I or -p), not the stream of one snapshot")]
    Package,
    /// The stream is the rest of an interrupted one, and of use to nobody who has not its beginning.
    #[error("that is the rest of an interrupted stream (zfs send -t), not a whole one")]
    Rest,
    /// It is not the stream that was expected.
    #[error("the stream makes snapshot {} from {}, expected was {} from {}",
        found.guid, From(found.from), expected.guid, From(expected.from))]
    Unexpected {
        /// What was expected.
        expected: Ids,
        /// What the stream says.
        found: Ids,
    },
    /// It has more parts than an archive can name.
    #[error("the stream has more than {} parts of {part_size} bytes", PartPlace::MAX_NUMBER + 1)]
    TooLong {
        /// The size of a part in bytes.
        part_size: usize,
    },
    /// The options make no sense.
    #[error("a part cannot have {part_size} bytes")]
    PartSize {
        /// The size of a part in bytes.
        part_size: usize,
    },
    /// A part cannot be compressed or encrypted.
    #[error("part {number} cannot be encoded: {source}")]
    Encode {
        /// Which part.
        number: u32,
        /// Why.
        source: io::Error,
    },
    /// The store did not take a part.
    #[error("part {number}: {source}")]
    Store {
        /// Which part.
        number: u32,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The prefix is so long that a part has no key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The journal cannot be read or written.
    #[error("the journal {}: {source}", path.display())]
    Journal {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else is storing this stream with the same journal.
    #[error("the journal {} is in use: the same stream is being stored", path.display())]
    JournalInUse {
        /// Where it is.
        path: PathBuf,
    },
    /// The kernel gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[source] io::Error),
    /// A thread ended without a word.
    #[error("storing was interrupted")]
    Interrupted,
}

/// What a stream makes, and from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The snapshot that it makes.
    pub guid: Guid,
    /// The snapshot that it starts from.
    pub from: Option<Guid>,
}

struct From(Option<Guid>);

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(guid) => guid.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}

/// A point was not published: its parts are stored, and nobody will find them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The manifest could not be read back.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The sealed section cannot be made.
    #[error(transparent)]
    Seal(#[from] OpenError),
    /// What the point says of itself is not what its stream says.
    #[error("the stream does not fit its restore point: {0}")]
    Mismatch(&'static str),
    /// A part that an earlier run has stored is there no more.
    #[error("{key} was stored by an earlier run, and is gone")]
    Gone {
        /// Where it was.
        key: Key,
    },
    /// The point that the stream starts from is in the archive no more: it was pruned meanwhile.
    #[error("the snapshot {guid}, which the stream starts from, is in the archive no more")]
    BaseGone {
        /// Its guid.
        guid: Guid,
    },
    /// Somebody is removing the point that the stream starts from, or what was left of this one.
    #[error("{notice} says that the snapshot {guid} is being removed from the archive")]
    BeingRemoved {
        /// Where that is said.
        notice: Key,
        /// The snapshot.
        guid: Guid,
    },
    /// Parts of an earlier run were relied on for so long that they may be collected at any moment.
    #[error("nothing was stored for {} hours: parts of an earlier run may be gone at any moment", idle.as_secs() / 3600)]
    Stale {
        /// How long nothing was stored.
        idle: std::time::Duration,
    },
    /// The key is none.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The store did not take the manifest. [`StoreError::Exists`]: somebody else published the same point.
    #[error("the manifest: {0}")]
    Store(#[source] StoreError),
}

impl PublishError {
    /// What to do about it, if there is something.
    pub fn help(&self) -> Option<String> {
        match self {
            PublishError::Store(error) => error.help(),
            PublishError::Gone { .. } | PublishError::Stale { .. } => {
                Some("store it again".to_owned())
            }
            PublishError::BaseGone { .. } => Some(
                "`archive prune` has removed it meanwhile; store it again, from another one or in full".to_owned(),
            ),
            PublishError::BeingRemoved { .. } => Some(
                "store it again when that prune has ended; what is stored already is not stored again. What a prune says \
                 that died counts for two hours"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// A stream could not be read back. What its receiver has got is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The part is not in the store.
    #[error("{key} is missing")]
    Missing {
        /// The part.
        key: Key,
    },
    /// The store did not give the part.
    #[error("{key}: {source}")]
    Store {
        /// The part.
        key: Key,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The part has not the size that its manifest names.
    #[error("{key} has {found} bytes instead of {expected}")]
    Size {
        /// The part.
        key: Key,
        /// Its size according to the manifest, in bytes.
        expected: u64,
        /// Its size in bytes.
        found: u64,
    },
    /// The part is not what was stored: its CRC-32 or its BLAKE3 is another.
    #[error("{key} is not what was stored: its {checksum} is wrong")]
    Checksum {
        /// The part.
        key: Key,
        /// Which one.
        checksum: &'static str,
    },
    /// The part cannot be decrypted.
    #[error("{key}: {source}")]
    Decrypt {
        /// The part.
        key: Key,
        /// Why.
        #[source]
        source: CryptoError,
    },
    /// What was decrypted is no zstd frame of the right size.
    #[error("{key} cannot be unpacked: {reason}")]
    Unpack {
        /// The part.
        key: Key,
        /// Why.
        reason: String,
    },
    /// What the parts hold is not a stream that is whole and sound.
    #[error("{key}: {source}")]
    Stream {
        /// The part in which that was noticed.
        key: Key,
        /// Why.
        #[source]
        source: StreamError,
    },
    /// It is a stream, but not the one that the manifest describes.
    #[error("the parts hold another stream than the manifest says: {0}")]
    Other(&'static str),
    /// The prefix is so long that a part has no key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// Whoever receives the stream takes no more.
    #[error("cannot write the stream: {0}")]
    Output(#[source] io::Error),
    /// A thread ended without a word.
    #[error("reading was interrupted")]
    Interrupted,
}

impl ReadError {
    /// The part that is to blame, if one is.
    pub fn key(&self) -> Option<&Key> {
        match self {
            ReadError::Missing { key }
            | ReadError::Store { key, .. }
            | ReadError::Size { key, .. }
            | ReadError::Checksum { key, .. }
            | ReadError::Decrypt { key, .. }
            | ReadError::Unpack { key, .. }
            | ReadError::Stream { key, .. } => Some(key),
            _ => None,
        }
    }
}
