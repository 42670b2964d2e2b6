//! What can be wrong with a stream.

/// Why some bytes are not a whole and sound stream. Offsets are counted in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Not a send stream at all.
    #[error("that is no ZFS send stream")]
    NoStream,
    /// It ends too early.
    #[error("the stream is cut short: it ends after {offset} bytes")]
    Truncated {
        /// How many bytes there are.
        offset: u64,
    },
    /// A checksum is wrong: something was changed, is missing, or is in the wrong place.
    #[error("the stream is damaged between byte {since} and byte {offset}: the checksum is wrong")]
    Checksum {
        /// Up to where it is sound.
        since: u64,
        /// Where the first checksum ends that is wrong.
        offset: u64,
    },
    /// A record that makes no sense. If all records have checksums it was sent that way.
    #[error("the stream has an illegal record at byte {offset}: {reason}")]
    Illegal {
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something follows the end of the stream.
    #[error("the stream ends at byte {offset}, but more bytes follow")]
    Trailing {
        /// Where the stream ends.
        offset: u64,
    },
}

impl StreamError {
    /// Where it was noticed.
    pub fn offset(&self) -> u64 {
        match *self {
            StreamError::NoStream => 0,
            StreamError::Truncated { offset }
            | StreamError::Checksum { offset, .. }
            | StreamError::Illegal { offset, .. }
            | StreamError::Trailing { offset } => offset,
        }
    }
}
