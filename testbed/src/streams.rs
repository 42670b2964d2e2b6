//! The kernel's send streams in `testbed/streams`, and the truth about them (see the README there).

use std::fs::File;
use std::path::PathBuf;

use serde::Deserialize;
use terrarium_zfs::Guid;

use crate::truth::Truth;

/// A stream that the kernel's ZFS sent.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Stream {
    /// What its files are called.
    pub name: String,
    /// The snapshot, without the pool: `content@one`.
    pub snapshot: String,
    /// What it goes on from, if it was resumed.
    pub continues: Option<Continued>,
    /// What opens it, if it is encrypted.
    pub passphrase: Option<String>,
    guid: String,
    from: Option<String>,
    tree: Option<String>,
}

/// The stream that broke off before another went on.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Continued {
    /// Its name.
    pub stream: String,
    /// How many of its bytes were received.
    pub after: usize,
    /// The token that they left.
    pub token: String,
}

impl Stream {
    /// The stream of a name.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    #[must_use]
    pub fn named(name: &str) -> Self {
        #[derive(Deserialize)]
        struct Index {
            streams: Vec<Stream>,
        }
        let index = std::fs::read(folder().join("index.json")).expect("there is an index");
        let index: Index = serde_json::from_slice(&index).expect("the index can be read");
        let found = index.streams.into_iter().find(|stream| stream.name == name);
        found.unwrap_or_else(|| panic!("there is no stream {name}"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        folder().join(format!("{}.zfs", self.name))
    }

    /// It, to be read.
    ///
    /// # Panics
    /// If it is missing.
    #[must_use]
    pub fn file(&self) -> File {
        File::open(self.path()).expect("a stream of the index is there")
    }

    /// All of it.
    ///
    /// # Panics
    /// If it is missing.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).expect("a stream of the index is there")
    }

    /// The guid of the snapshot.
    ///
    /// # Panics
    /// If the index is damaged.
    #[must_use]
    pub fn guid(&self) -> Guid {
        Guid::new(self.guid.parse().expect("a guid is a number"))
    }

    /// The guid of what an incremental one starts from.
    ///
    /// # Panics
    /// If the index is damaged.
    #[must_use]
    pub fn source_guid(&self) -> Option<Guid> {
        let guid = self.from.as_deref()?;
        Some(Guid::new(guid.parse().expect("a guid is a number")))
    }

    /// What the snapshot holds.
    ///
    /// # Panics
    /// If that was not written down, as of volumes.
    #[track_caller]
    #[must_use]
    pub fn tree(&self) -> Vec<Truth> {
        let name = self.tree.as_deref().expect("its tree was written down");
        let tree = std::fs::read_to_string(folder().join("trees").join(name));
        Truth::parse(&tree.expect("a tree of the index is there"))
    }
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/streams"))
}
