//! What a dataset holds, and the space that it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Space that an empty dataset refers to.
const EMPTY: u64 = 24 << 10;
/// Space is taken in units of this many bytes.
const SECTOR: u64 = 512;

/// The files of a dataset or snapshot, by path relative to its root.
///
/// A copy shares the files' bytes with what it was copied from, as a snapshot shares blocks: two
/// files are the same block if, and only if, they are the same allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Content(BTreeMap<String, Arc<[u8]>>);

impl Content {
    pub(super) fn write(&mut self, path: &str, bytes: &[u8]) {
        self.0.insert(path.to_owned(), bytes.into());
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.0.remove(path);
    }

    pub(super) fn read(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(|bytes| &**bytes)
    }

    /// Bytes referred to, shared or not.
    pub(super) fn referenced(&self) -> u64 {
        EMPTY + self.0.values().map(|bytes| space(bytes)).sum::<u64>()
    }

    /// Bytes that none of `others` shares.
    pub(super) fn unshared<'a>(&self, others: impl IntoIterator<Item = &'a Content>) -> u64 {
        let others: Vec<&Content> = others.into_iter().collect();
        let shared = |path: &str, bytes: &Arc<[u8]>| {
            let same = |other: &&Content| {
                let there = other.0.get(path);
                there.is_some_and(|there| Arc::ptr_eq(there, bytes))
            };
            others.iter().any(same)
        };
        let own = self.0.iter().filter(|(path, bytes)| !shared(path, bytes));
        own.map(|(_, bytes)| space(bytes)).sum()
    }
}

fn space(bytes: &[u8]) -> u64 {
    (bytes.len() as u64).div_ceil(SECTOR).max(1) * SECTOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_everything_until_something_is_written() {
        let mut before = Content::default();
        before.write("etc/hostname", b"one");
        let mut after = before.clone();
        assert_eq!(after.unshared([&before]), 0);

        after.write("etc/hostname", b"one");
        assert_eq!(
            after.unshared([&before]),
            SECTOR,
            "written anew, if with the same bytes"
        );
        assert_eq!(before.referenced(), after.referenced());
    }
}
