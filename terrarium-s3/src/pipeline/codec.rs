//! A part: from bytes of a stream to an object, and back.

use std::io;

use bytes::{Bytes, BytesMut};
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use crate::crypto::{Identities, Recipients};
use crate::format::Part;
use crate::pipeline::error::ReadError;
use crate::pipeline::pool::Pool;
use crate::store::Key;

/// How much memory a part takes beside its size: buffers, and the tables of zstd.
pub(super) const OVERHEAD: usize = 4 << 20;

/// What compresses at a level. It has its tables for as long as it lives.
pub(super) struct Compressor(CCtx<'static>);

impl Compressor {
    pub(super) fn new(level: i32) -> io::Result<Self> {
        let mut context = CCtx::create();
        let mut set = |parameter| context.set_parameter(parameter).map(drop).map_err(named);
        set(CParameter::CompressionLevel(level))?;
        if level == 3 {
            // Tables that stay in a core's own cache: a quarter less time than the level's own, which are four times as
            // large, for 2 % more bytes. Level 2 takes less time still, but 5 % more bytes of some streams.
            set(CParameter::HashLog(15))?;
            set(CParameter::ChainLog(13))?;
        }
        Ok(Self(context))
    }

    /// For what does not compress.
    pub(super) fn fastest() -> io::Result<Self> {
        Self::new(*zstd::compression_level_range().start())
    }

    /// Appends one frame, with the size of what it holds, to a buffer that has room for the largest that can come of it:
    /// then zstd reads where the input stands and writes where the output is to be, and copies nothing.
    fn compress(&mut self, plain: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
        self.0.reset(ResetDirective::SessionOnly).map_err(named)?;
        let size = Some(plain.len() as u64);
        self.0.set_pledged_src_size(size).map_err(named)?;
        output.reserve(zstd_safe::compress_bound(plain.len()));
        let start = output.len();
        let mut output = OutBuffer::around_pos(output, start);
        let mut input = InBuffer::around(plain);
        let end = ZSTD_EndDirective::ZSTD_e_end;
        match self.0.compress_stream2(&mut output, &mut input, end) {
            Ok(0) => Ok(()),
            Ok(_) => Err(io::Error::other("zstd makes more of it than it says")),
            Err(code) => Err(named(code)),
        }
    }
}

fn named(code: usize) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}

/// A part as it is stored.
pub(super) struct Encoded {
    pub(super) body: Bytes,
    pub(super) crc32: u32,
    pub(super) blake3: blake3::Hash,
}

/// The most memory that a part of so many bytes takes when it is encoded.
pub(super) fn encoded_bound(size: usize, recipients: &Recipients) -> usize {
    recipients.size_of(zstd_safe::compress_bound(size))
}

/// Compresses and encrypts, both in the memory that the object is sent from. The plain bytes are given back as soon as
/// they are not needed any more.
pub(super) fn encode(
    plain: Plain,
    recipients: &Recipients,
    compressor: &mut Compressor,
    pool: &Pool,
    objects: &Pool,
) -> io::Result<Encoded> {
    let bound = zstd_safe::compress_bound(plain.len());
    // Pages that are never written to take no memory.
    let buffer = objects.take(recipients.size_of(bound));
    let mut sealing = recipients.sealing(buffer, bound)?;
    compressor.compress(&plain, sealing.buffer())?;
    pool.give(plain.buffer);
    let body = sealing.finish()?;
    Ok(Encoded {
        crc32: crc32fast::hash(&body),
        blake3: blake3::hash(&body),
        body: body.into(),
    })
}

/// Gives the memory of an object back, unless somebody still has it.
pub(super) fn give_back(mut body: Bytes, objects: &Pool) {
    if body.is_unique() {
        // Nothing is left to be moved.
        body.clear();
        objects.give(body.into());
    }
}

/// Bytes of a stream at the beginning of a buffer, which is longer: it is not cleared before it is used again.
pub(super) struct Plain {
    pub(super) buffer: Vec<u8>,
    pub(super) length: usize,
}

impl std::ops::Deref for Plain {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or(&self.buffer)
    }
}

/// Checks, decrypts where the object stands, and decompresses into memory that the pool may have.
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
    // It is copied only if somebody else has it too.
    let mut body = body
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let decrypted = identities.decrypt_in_place(&mut body);
    let packed = decrypted.map_err(|source| ReadError::Decrypt {
        key: key.clone(),
        source,
    })?;
    let unpack = |error: io::Error| ReadError::Unpack {
        key: key.clone(),
        reason: error.to_string(),
    };
    unpacked(&body[packed], part.stream_bytes, pool).map_err(unpack)
}

/// One zstd frame of a known size, and nothing after it.
fn unpacked(packed: &[u8], size: u64, pool: &Pool) -> io::Result<Vec<u8>> {
    let wrong = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
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
pub(super) fn compresses(plain: &[u8]) -> io::Result<bool> {
    const SAMPLE: usize = 32 << 10;
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    let mut output = Vec::with_capacity(zstd_safe::compress_bound(SAMPLE));
    let (mut before, mut after) = (0, 0);
    // Every second MiB, but the first one in any case.
    for piece in plain.chunks(1 << 20).step_by(2) {
        let start = piece.len().saturating_sub(SAMPLE) / 2;
        let sample = &piece[start..piece.len().min(start + SAMPLE)];
        output.clear();
        after += compressor.compress_to_buffer(sample, &mut output)?;
        before += sample.len();
    }
    Ok(after < before / 100 * 99 + before % 100)
}
