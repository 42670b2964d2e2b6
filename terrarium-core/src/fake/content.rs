//! What a dataset holds, and the space that it takes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Space that an empty dataset refers to.
const EMPTY: u64 = 24 << 10;
/// Space is taken in units of this many bytes.
const SECTOR: u64 = 512;
/// Space of the block that a dataset's other blocks hang on.
const ROOT: u64 = 1024;

/// The files of a dataset or snapshot, by path relative to its root.
///
/// A copy shares the files' bytes with what it was copied from, as a snapshot shares blocks: two
/// files are the same block if, and only if, they are the same allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    files: BTreeMap<String, Arc<[u8]>>,
    root: Arc<()>,
}

impl Content {
    /// What a clone of this starts with, or what a rollback to this restores: the same files below a root
    /// block of its own, so that it has written that one block before anybody has touched it.
    pub(super) fn branch(&self) -> Self {
        let mut branch = self.clone();
        if !branch.files.is_empty() {
            branch.root = Arc::default();
        }
        branch
    }

    /// The same files, sharing nothing.
    pub(super) fn copy(&self) -> Self {
        let files = self.files.iter();
        Self {
            files: files
                .map(|(path, bytes)| (path.clone(), Arc::from(&**bytes)))
                .collect(),
            root: Arc::default(),
        }
    }

    pub(super) fn write(&mut self, path: &str, bytes: &[u8]) {
        self.files.insert(path.to_owned(), bytes.into());
        self.root = Arc::default();
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.files.remove(path);
        self.root = Arc::default();
    }

    pub(super) fn read(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|bytes| &**bytes)
    }

    /// The files, by path.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let files = self.files.iter();
        files.map(|(path, bytes)| (path.as_str(), &**bytes))
    }

    /// Bytes referred to, shared or not.
    pub(super) fn referenced(&self) -> u64 {
        EMPTY + self.files.values().map(|bytes| space(bytes)).sum::<u64>()
    }

    /// Bytes that none of `others` shares.
    pub(super) fn unshared<'a>(&self, others: impl IntoIterator<Item = &'a Content>) -> u64 {
        let others: Vec<&Content> = others.into_iter().collect();
        let shared = |path: &str, bytes: &Arc<[u8]>| {
            let same = |other: &&Content| {
                let there = other.files.get(path);
                there.is_some_and(|there| Arc::ptr_eq(there, bytes))
            };
            others.iter().any(same)
        };
        let own = self.files.iter();
        let own = own.filter(|(path, bytes)| !shared(path, bytes));
        let own: u64 = own.map(|(_, bytes)| space(bytes)).sum();
        let shares_root = |other: &&Content| Arc::ptr_eq(&self.root, &other.root);
        let root = if others.iter().any(shares_root) {
            0
        } else {
            ROOT
        };
        own + root
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
            SECTOR + ROOT,
            "written anew, if with the same bytes"
        );
        assert_eq!(before.referenced(), after.referenced());
        assert_eq!(before.branch().unshared([&before]), ROOT);
    }
}
