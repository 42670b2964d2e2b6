//! Between a send stream and its parts in a store.
//!
//! ```text
//! write:  stream → checked, record by record → cut into parts → zstd → age → CRC-32, BLAKE3 → store
//! read:   store → CRC-32, BLAKE3 → age → zstd → checked, record by record → stream
//! ```
//! Parts are worked on and transferred at the same time, as many as the memory allows; each is tried again
//! alone. Whatever the length of the stream, it is never in memory or on disk as a whole.

mod codec;
mod error;
mod journal;
mod memory;
mod pool;
mod publish;
mod read;
mod standing;
mod tree;
mod write;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use error::{Ids, PublishError, ReadError, WriteError};
pub use journal::JOURNAL_LIFE;
pub use publish::{Point, publish};
pub use read::{Content, read_stream};
pub use write::{Stored, write_stream};

use crate::store::StoreError;

/// How streams are cut, worked on and transferred.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much of the stream is in a part, in bytes; from 4 KiB to [`Part::MAX_STREAM`](crate::format::Part).
    /// Only writing asks for it.
    pub part_size: usize,
    /// How much memory parts may take, in bytes. One part is worked on whatever this says.
    pub memory: usize,
    /// How many parts are compressed, or decompressed, at once; by default as many as there are cores.
    pub workers: Option<NonZeroUsize>,
    /// zstd's level. What does not compress is stored at its fastest.
    pub level: i32,
    /// How often a part is tried before the whole fails.
    pub attempts: u32,
    /// How long it waits before it tries a part for the second time; then twice as long, each time.
    pub pause: Duration,
    /// Where is noted what is stored already, so that a write that was interrupted does not begin anew.
    pub journal: Option<PathBuf>,
    /// Who is told how far it is.
    pub progress: Option<Arc<Progress>>,
}

/// How far a stream is. It may be looked at any time.
#[derive(Debug, Default)]
pub struct Progress {
    stream: AtomicU64,
    stored: AtomicU64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            part_size: 16 << 20,
            memory: 192 << 20,
            workers: None,
            level: 3,
            attempts: 5,
            pause: Duration::from_secs(1),
            journal: None,
            progress: None,
        }
    }
}

impl Options {
    fn workers(&self) -> usize {
        self.workers
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get)
    }

    /// Makes a call of the store, again after a pause if what went wrong may pass.
    async fn retry<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        mut call: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        let mut tried = 1;
        loop {
            match call().await {
                Err(error) if error.is_transient() && tried < self.attempts => {
                    let pause = self.pause.saturating_mul(1 << (tried - 1).min(6));
                    tokio::time::sleep(pause).await;
                    tried += 1;
                }
                done => return done,
            }
        }
    }

    fn progressed(&self, stream: u64, stored: u64) {
        if let Some(progress) = &self.progress {
            progress.stream.fetch_add(stream, Ordering::Relaxed);
            progress.stored.fetch_add(stored, Ordering::Relaxed);
        }
    }
}

impl Progress {
    /// How many bytes of the stream were read from the sender, or given to the receiver.
    pub fn stream_bytes(&self) -> u64 {
        self.stream.load(Ordering::Relaxed)
    }

    /// How many bytes were stored, or read from the store.
    pub fn stored_bytes(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }
}
