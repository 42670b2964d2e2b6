//! Memory that was used and is used again.

use std::sync::{Mutex, PoisonError};

/// Buffers of one size. Memory that comes from the system anew is cleared by it, page by page, which takes longer than
/// to fill it; and what the allocator keeps of many sizes is never what is needed next.
pub(super) struct Pool<T = Vec<u8>> {
    free: Mutex<Vec<T>>,
    most: usize,
}

impl<T> Pool<T> {
    /// One that keeps as many as that.
    pub(super) fn new(most: usize) -> Self {
        let free = Mutex::new(Vec::new());
        Self { free, most }
    }

    /// One that was used, if there is any.
    pub(super) fn take_used(&self) -> Option<T> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop()
    }

    /// Keeps it for the next.
    pub(super) fn give(&self, used: T) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.most {
            free.push(used);
        }
    }
}

impl Pool {
    /// A buffer with room for that many bytes; what is in it is of no meaning.
    pub(super) fn take(&self, size: usize) -> Vec<u8> {
        match self.take_used() {
            Some(buffer) if buffer.capacity() >= size => buffer,
            _ => Vec::with_capacity(size),
        }
    }
}
