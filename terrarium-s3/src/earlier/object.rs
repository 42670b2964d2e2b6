//! An object, read piece by piece.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::store::{Key, Store, StoreError};

/// How much is asked for at once, in bytes. Twice as much is in memory.
const PIECE: usize = 8 << 20;

/// Reads an object of any size. The next piece is on its way while one is read.
pub(super) struct Reader<S> {
    store: Arc<S>,
    key: Key,
    runtime: Handle,
    /// Up to where pieces were asked for.
    asked: u64,
    size: u64,
    piece: Bytes,
    next: Option<JoinHandle<Result<Bytes, StoreError>>>,
}

impl<S: Store> Reader<S> {
    pub(super) fn new(store: Arc<S>, key: Key, size: u64, runtime: Handle) -> Self {
        Self {
            store,
            key,
            runtime,
            asked: 0,
            size,
            piece: Bytes::new(),
            next: None,
        }
    }

    fn ask(&mut self) {
        if self.asked >= self.size {
            return;
        }
        let (store, key, offset) = (Arc::clone(&self.store), self.key.clone(), self.asked);
        let length = (self.size - offset).min(PIECE as u64);
        self.asked += length;
        self.next = Some(self.runtime.spawn(async move {
            // It is no more than PIECE.
            let length = usize::try_from(length).unwrap_or(PIECE);
            let piece = store.read_range(&key, offset, length).await?;
            Ok(piece)
        }));
    }
}

impl<S: Store> BufRead for Reader<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() {
            if self.next.is_none() {
                self.ask();
            }
            if let Some(next) = self.next.take() {
                let expected = self.asked;
                let piece = self.runtime.block_on(next).map_err(io::Error::other)?;
                let piece = piece.map_err(io::Error::other)?;
                let whole = expected.saturating_sub(1) / PIECE as u64 * PIECE as u64;
                if piece.len() as u64 != expected - whole {
                    let why = format!("{} is shorter than it was listed", self.key);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                self.piece = piece;
                self.ask();
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, amount: usize) {
        self.piece.advance(amount.min(self.piece.len()));
    }
}

impl<S: Store> Read for Reader<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<S> Drop for Reader<S> {
    fn drop(&mut self) {
        if let Some(next) = &self.next {
            next.abort();
        }
    }
}
