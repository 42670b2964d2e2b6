//! The memory that parts may take.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A budget of memory; clones are the same one.
#[derive(Clone)]
pub(super) struct Budget {
    semaphore: Arc<Semaphore>,
    pages: u32,
}

/// Some of it, until this is dropped.
pub(super) struct Memory(OwnedSemaphorePermit);

/// When this is dropped, whoever waits for memory ends.
pub(super) struct Ends(Budget);

impl Budget {
    pub(super) fn new(bytes: usize) -> (Self, Ends) {
        let pages = pages(bytes);
        let budget = Self {
            semaphore: Arc::new(Semaphore::new(pages as usize)),
            pages,
        };
        (budget.clone(), Ends(budget))
    }

    /// So many bytes, or all there are if that is less: what one part alone needs is never refused. `None`
    /// if it has ended.
    pub(super) async fn take(&self, bytes: usize) -> Option<Memory> {
        let pages = pages(bytes).min(self.pages);
        let taken = self.semaphore.clone().acquire_many_owned(pages).await;
        taken.map(Memory).ok()
    }

    /// The same, if there are that many at once.
    pub(super) fn take_now(&self, bytes: usize) -> Option<Memory> {
        let pages = pages(bytes).min(self.pages);
        let taken = self.semaphore.clone().try_acquire_many_owned(pages);
        taken.map(Memory).ok()
    }
}

impl Memory {
    /// Gives back all but so many bytes.
    pub(super) fn keep(&mut self, bytes: usize) {
        let all = self.0.num_permits();
        let keep = (pages(bytes) as usize).min(all);
        drop(self.0.split(all - keep));
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.semaphore.close();
    }
}

/// Memory is counted in pages of 4 KiB, at least one.
fn pages(bytes: usize) -> u32 {
    // A semaphore counts to 2^61 on the machines that ZFS runs on.
    u32::try_from(bytes.div_ceil(4 << 10))
        .unwrap_or(u32::MAX)
        .max(1)
}
