//! A tree inside a dataset of the embedded engine.

use std::path::PathBuf;

use terrarium_zfs::Error;
use terrarium_zpool::{Content, Engine};

use super::{TreeHasher, TreeListing};

/// What was read of a snapshot's tree.
#[derive(Clone, Debug, Default)]
pub struct EngineTree {
    /// Everything that could be read.
    pub listing: TreeListing,
    /// What could not: files whose content is damaged, directories whose names are.
    pub damaged: Vec<PathBuf>,
}

/// Reads every file of a dataset or snapshot.
///
/// # Errors
/// As [`terrarium_zpool::Walk::next_entry`]; damage inside of the tree is no error.
pub fn hash_snapshot(engine: &Engine, object: &str) -> Result<EngineTree, Error> {
    let mut hasher = TreeHasher::new();
    let mut damaged = Vec::new();
    let mut walk = engine.walk(object, "", Content::Read)?;
    while let Some(entry) = walk.next_entry()? {
        hasher.entry(&entry);
        loop {
            match walk.next_content() {
                Ok(Some((offset, bytes))) => hasher.content(offset, bytes),
                Ok(None) => break,
                Err(Error::Io { .. }) => {
                    damaged.push(entry.path);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(EngineTree {
        listing: hasher.finish(),
        damaged,
    })
}
