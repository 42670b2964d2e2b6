//! A part: from bytes of a stream to an object, and back.

use std::io::{self, BufRead, BufReader, Read, Write};

use bytes::Bytes;
use zstd::zstd_safe;

use crate::crypto::{Identities, Recipients};
use crate::format::Part;
use crate::pipeline::error::ReadError;
use crate::store::Key;

/// A piece of a stream. They are freed one by one while a part is encoded, so that a part takes its size
/// in memory once, not twice.
pub(super) const CHUNK: usize = 1 << 20;

/// How much memory a part takes beside its size: buffers and the tables of zstd.
pub(super) const OVERHEAD: usize = 4 << 20;

/// A part as it is stored.
pub(super) struct Encoded {
    pub(super) body: Bytes,
    pub(super) crc32: u32,
    pub(super) blake3: blake3::Hash,
}

/// Compresses and encrypts.
pub(super) fn encode(
    chunks: Vec<Vec<u8>>,
    recipients: &Recipients,
    level: i32,
) -> io::Result<Encoded> {
    let size: usize = chunks.iter().map(Vec::len).sum();
    let level = if compresses(&chunks)? {
        level
    } else {
        *zstd::compression_level_range().start()
    };
    // Pages that are never written to take no memory.
    let mut body = Vec::with_capacity(recipients.size_of(zstd_safe::compress_bound(size)));
    let encrypting = recipients.encrypting(&mut body)?;
    let mut compressing = zstd::Encoder::new(encrypting, level)?;
    compressing.set_pledged_src_size(Some(size as u64))?;
    for chunk in chunks {
        compressing.write_all(&chunk)?;
    }
    compressing.finish()?.finish()?;
    body.shrink_to_fit();
    Ok(Encoded {
        crc32: crc32fast::hash(&body),
        blake3: blake3::hash(&body),
        body: body.into(),
    })
}

/// Checks, decrypts and decompresses.
pub(super) fn decode(
    key: &Key,
    part: &Part,
    body: &[u8],
    identities: &Identities,
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
    if crc32fast::hash(body) != part.crc32 {
        return Err(checksum("CRC-32"));
    }
    if blake3::hash(body) != part.blake3 {
        return Err(checksum("BLAKE3"));
    }
    let decrypting = identities
        .decrypting(body)
        .map_err(|source| ReadError::Decrypt {
            key: key.clone(),
            source,
        })?;
    unpack(decrypting, part.stream_bytes).map_err(|error| ReadError::Unpack {
        key: key.clone(),
        reason: error.to_string(),
    })
}

/// One zstd frame of a known size, and nothing after it.
fn unpack(input: impl Read, size: u64) -> io::Result<Vec<u8>> {
    let wrong = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut plain = Vec::with_capacity(usize::try_from(size).map_err(|_| wrong("too large"))?);
    let input = BufReader::with_capacity(64 << 10, input);
    let mut decompressing = zstd::Decoder::with_buffer(input)?.single_frame();
    (&mut decompressing).take(size).read_to_end(&mut plain)?;
    if plain.len() as u64 != size || decompressing.read(&mut [0])? != 0 {
        return Err(wrong(
            "what it holds has another size than its manifest says",
        ));
    }
    // The end of what age has encrypted is authenticated only if it is read.
    if !decompressing.finish().fill_buf()?.is_empty() {
        return Err(wrong("something follows its zstd frame"));
    }
    Ok(plain)
}

/// Looks at samples, a 64th of all, whether there is anything to gain.
fn compresses(chunks: &[Vec<u8>]) -> io::Result<bool> {
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
