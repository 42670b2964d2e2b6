//! A part: from bytes of a stream to an object, and back.

use std::io::{self, Read, Write};

use bytes::Bytes;
use zstd::zstd_safe::{self, CCtx, CParameter};

use crate::crypto::{Identities, Recipients};
use crate::format::Part;
use crate::pipeline::error::ReadError;
use crate::pipeline::pool::Pool;
use crate::store::Key;

/// A piece of a stream. They are given back one by one while a part is encoded, so that a part takes its size
/// in memory once, not twice.
pub(super) const CHUNK: usize = 1 << 20;

/// How much memory a part takes beside its size: buffers, and the window and the tables of zstd.
pub(super) const OVERHEAD: usize = 4 << 20;

/// What compresses at a level. It has its tables for as long as it lives.
pub(super) struct Compressor(CCtx<'static>);

impl Compressor {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        let mut context = CCtx::create();
        let mut set = |parameter| {
            let set = context.set_parameter(parameter);
            set.map_err(|code| io::Error::other(zstd_safe::get_error_name(code)))
        };
        set(CParameter::CompressionLevel(level))?;
        if level == 3 {
            // Tables that stay in a core's own cache: a quarter less time than the level's own, which are four times as
            // large, for 2 to 3 % more bytes.
            set(CParameter::HashLog(15))?;
            set(CParameter::ChainLog(13))?;
        }
        Ok(Self(context))
    }

    /// For what does not compress.
    pub(super) fn fastest() -> io::Result<Self> {
        Self::new(*zstd::compression_level_range().start())
    }
}

/// A part as it is stored.
pub(super) struct Encoded {
    pub(super) body: Bytes,
    pub(super) crc32: u32,
    pub(super) blake3: blake3::Hash,
}

/// Compresses and encrypts. The chunks go back to where they come from.
pub(super) fn encode(
    chunks: Vec<Vec<u8>>,
    recipients: &Recipients,
    compressor: &mut Compressor,
    pool: &Pool,
) -> io::Result<Encoded> {
    let size: usize = chunks.iter().map(Vec::len).sum();
    // Pages that are never written to take no memory.
    let mut body = Vec::with_capacity(recipients.size_of(zstd_safe::compress_bound(size)));
    let encrypting = recipients.encrypting(&mut body)?;
    let mut compressing = zstd::Encoder::with_context(encrypting, &mut compressor.0);
    compressing.set_pledged_src_size(Some(size as u64))?;
    for chunk in chunks {
        compressing.write_all(&chunk)?;
        pool.give(chunk);
    }
    compressing.finish()?.finish()?;
    body.shrink_to_fit();
    Ok(Encoded {
        crc32: crc32fast::hash(&body),
        blake3: blake3::hash(&body),
        body: body.into(),
    })
}

/// Checks, decrypts and decompresses into memory that the pool may have.
pub(super) fn decode(
    key: &Key,
    part: &Part,
    body: Bytes,
    identities: &Identities,
    pool: &Pool,
) -> Result<Vec<u8>, ReadError> {
    if body.len() as u64 != part.stored_bytes {
        return Err(ReadError::Size {
            key: key.clone(),
            expected: part.stored_bytes,
            found: body.len() as u64,
        });
    }
    let checksum = |checksum| ReadError::Checksum {
        key: key.clone(),
        checksum,
    };
    if crc32fast::hash(&body) != part.crc32 {
        return Err(checksum("CRC-32"));
    }
    if blake3::hash(&body) != part.blake3 {
        return Err(checksum("BLAKE3"));
    }
    let decrypting = identities
        .decrypting(&body)
        .map_err(|source| ReadError::Decrypt {
            key: key.clone(),
            source,
        })?;
    let unpack = |error: io::Error| ReadError::Unpack {
        key: key.clone(),
        reason: error.to_string(),
    };
    let packed = read_all(decrypting, body.len()).map_err(unpack)?;
    drop(body);
    unpacked(&packed, part.stream_bytes, pool).map_err(unpack)
}

/// The whole input, which has fewer bytes than `most`. Its end is authenticated only if it is read.
fn read_all(mut input: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::with_capacity(most);
    input.read_to_end(&mut all)?;
    Ok(all)
}

/// One zstd frame of a known size, and nothing after it.
fn unpacked(packed: &[u8], size: u64, pool: &Pool) -> io::Result<Vec<u8>> {
    let wrong = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
    let named = |code| io::Error::other(zstd_safe::get_error_name(code));
    let frame = zstd_safe::find_frame_compressed_size(packed).map_err(named)?;
    if frame != packed.len() {
        return Err(wrong("something follows its zstd frame"));
    }
    let other_size = || wrong("what it holds has another size than its manifest says");
    let said = zstd_safe::get_frame_content_size(packed);
    if said.is_ok_and(|said| said.is_some_and(|said| said != size)) {
        return Err(other_size());
    }
    let size = usize::try_from(size).map_err(|_| wrong("too large"))?;
    let mut plain = pool.take(size);
    // What is in it is overwritten, and it does not grow.
    let found = zstd_safe::decompress(&mut plain, packed).map_err(named)?;
    if found != size {
        return Err(other_size());
    }
    Ok(plain)
}

/// Looks at samples, a 64th of all, whether there is anything to gain by compression.
pub(super) fn compresses(chunks: &[Vec<u8>]) -> io::Result<bool> {
    const SAMPLE: usize = 32 << 10;
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    let mut output = Vec::with_capacity(zstd_safe::compress_bound(SAMPLE));
    let (mut before, mut after) = (0, 0);
    // Every second MiB, but the first one in any case.
    for chunk in chunks.iter().step_by(2) {
        let start = chunk.len().saturating_sub(SAMPLE) / 2;
        let sample = &chunk[start..chunk.len().min(start + SAMPLE)];
        output.clear();
        after += compressor.compress_to_buffer(sample, &mut output)?;
        before += sample.len();
    }
    Ok(after < before / 100 * 99 + before % 100)
}
