//! From parts in a store to a stream.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use terrarium_zfs::stream::Inspector;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::crypto::Identities;
use crate::format::{Layout, Manifest, Part, Place};
use crate::pipeline::Options;
use crate::pipeline::codec::{self, OVERHEAD};
use crate::pipeline::error::ReadError;
use crate::pipeline::memory::{Budget, Memory};
use crate::pipeline::pool::Pool;
use crate::store::{Key, Store, StoreError};

/// What was read back, whole and sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// How many bytes the stream has.
    pub stream_bytes: u64,
    /// The BLAKE3 of all of them.
    pub stream_blake3: blake3::Hash,
}

/// Reads the stream of a manifest and writes it out. Each part is verified before any of its bytes are
/// written; the stream as a whole is known to be sound only when this returns, so that a receiver must not
/// be relied on before.
///
/// `stream_blake3` is what the manifest's sealed section says; it is compared. With [`std::io::sink`] as
/// the output this is the deep verification of a point.
///
/// # Errors
/// [`ReadError`]; it names the part if one is to blame.
pub async fn read_stream<S: Store>(
    store: Arc<S>,
    layout: &Layout,
    manifest: &Manifest,
    identities: Arc<Identities>,
    stream_blake3: Option<blake3::Hash>,
    output: impl Write + Send + 'static,
    options: &Options,
) -> Result<Content, ReadError> {
    // Pieces of many sizes come and go here: the allocator keeps about a quarter more than is in use.
    let (memory, _ends) = Budget::new(options.memory / 4 * 3);
    let reading = Arc::new(Reading {
        store,
        identities,
        options: options.clone(),
        coding: Arc::new(Semaphore::new(options.workers())),
        // One is written while another is filled; the quarter has room for it.
        plain: Pool::new(1),
    });
    let (sender, pieces) = mpsc::channel(1);
    let watching = options.clone();
    let used = reading.clone();
    let mut writing = tokio::task::spawn_blocking(move || {
        write(pieces, output, &watching, |plain| used.plain.give(plain))
    });

    let mut ahead = Ahead(VecDeque::new());
    let mut parts = manifest.parts.iter().peekable();
    loop {
        while let Some(part) = parts.peek() {
            let needed = bytes(part.stream_bytes)
                .saturating_add(bytes(part.stored_bytes))
                .saturating_add(OVERHEAD);
            let taken = match memory.take_now(needed) {
                None if ahead.0.is_empty() => memory.take(needed).await,
                taken => taken,
            };
            let Some(taken) = taken else {
                break;
            };
            let key = layout.key(&Place::Part(part.key))?;
            let task = reading.clone().part(key, (*part).clone(), taken);
            ahead.0.push_back(tokio::spawn(task));
            parts.next();
        }
        let Some(task) = ahead.0.front_mut() else {
            break;
        };
        let piece = task.await.map_err(|_| ReadError::Interrupted)??;
        ahead.0.pop_front();
        if sender.send(piece).await.is_err() {
            // The receiver will say why.
            break;
        }
    }
    drop(sender);
    let (content, guids) = (&mut writing).await.map_err(|_| ReadError::Interrupted)??;
    if guids != Some((manifest.guid, manifest.from_guid())) {
        return Err(ReadError::Other("it makes another snapshot"));
    }
    if content.stream_bytes != manifest.stream_bytes {
        return Err(ReadError::Other("it has another size"));
    }
    if stream_blake3.is_some_and(|expected| expected != content.stream_blake3) {
        return Err(ReadError::Other("its BLAKE3 is another"));
    }
    Ok(content)
}

/// Parts that are on their way, in their order. They are given up when nobody waits for them any more.
struct Ahead(VecDeque<JoinHandle<Result<Piece, ReadError>>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// A part that was verified.
struct Piece {
    key: Key,
    plain: Vec<u8>,
    _memory: Memory,
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

type Guids = Option<(terrarium_zfs::Guid, Option<terrarium_zfs::Guid>)>;

/// Checks the stream as a whole and writes it out.
fn write(
    mut pieces: mpsc::Receiver<Piece>,
    mut output: impl Write,
    options: &Options,
    done: impl Fn(Vec<u8>),
) -> Result<(Content, Guids), ReadError> {
    let mut inspector = Inspector::new();
    let mut hasher = blake3::Hasher::new();
    let mut last = None;
    while let Some(piece) = pieces.blocking_recv() {
        let key = piece.key;
        let damaged = |source| ReadError::Stream {
            key: key.clone(),
            source,
        };
        for some in piece.plain.chunks(PIECE) {
            inspector.push(some).map_err(damaged)?;
            hasher.update(some);
            output.write_all(some).map_err(ReadError::Output)?;
            options.progressed(some.len() as u64, 0);
        }
        done(piece.plain);
        last = Some(key);
    }
    let Some(key) = last else {
        return Err(ReadError::Interrupted);
    };
    inspector
        .finish()
        .map_err(|source| ReadError::Stream { key, source })?;
    output.flush().map_err(ReadError::Output)?;
    let streams = inspector.take_streams();
    let guids = match &streams[..] {
        [stream] => Some((stream.begin.to_guid(), stream.begin.from_guid())),
        _ => None,
    };
    let content = Content {
        stream_bytes: inspector.bytes(),
        stream_blake3: hasher.finalize(),
    };
    Ok((content, guids))
}

/// How much is written at once.
const PIECE: usize = 256 << 10;

struct Reading<S> {
    store: Arc<S>,
    identities: Arc<Identities>,
    options: Options,
    coding: Arc<Semaphore>,
    plain: Pool,
}

impl<S: Store> Reading<S> {
    async fn part(
        self: Arc<Self>,
        key: Key,
        part: Part,
        mut memory: Memory,
    ) -> Result<Piece, ReadError> {
        let body = self.fetch(&key).await?;
        self.options.progressed(0, body.len() as u64);
        let turn = self.coding.clone().acquire_owned().await;
        let turn = turn.map_err(|_| ReadError::Interrupted)?;
        let reading = self.clone();
        let decoding = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let plain = codec::decode(&key, &part, body, &reading.identities, &reading.plain)?;
            memory.keep(plain.len());
            Ok(Piece {
                key,
                plain,
                _memory: memory,
            })
        });
        decoding.await.map_err(|_| ReadError::Interrupted)?
    }

    async fn fetch(&self, key: &Key) -> Result<Bytes, ReadError> {
        let read = self.options.retry(|| self.store.read(key)).await;
        read.map_err(|source| {
            let key = key.clone();
            match source {
                StoreError::NotFound { .. } => ReadError::Missing { key },
                source => ReadError::Store { key, source },
            }
        })
    }
}
