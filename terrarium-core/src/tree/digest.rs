//! The digest of a tree, version 1.
//!
//! ```text
//! tree   = BLAKE3("terrarium tree 1\0", for each entry in order: length of path, path, entry)
//! entry  = BLAKE3(kind, mode, uid, gid, seconds, nanoseconds, size, device, target, attributes, chunks)
//!        | BLAKE3("link", path of the first name)      for further names of a file
//! chunks = for each 64 KiB of content that is not all zero: number, length without trailing zeros, bytes
//! ```
//! Numbers are little-endian. The order is that of the paths' components, compared as bytes.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use terrarium_zfs::tree::{Entry, Kind};

const CHUNK: u64 = 64 << 10;
const VERSION: &[u8] = b"terrarium tree 1\0";

/// The digest of a whole tree: two trees have the same if and only if they hold the same (see
/// [`crate::tree`]).
///
/// Its text is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreeDigest(blake3::Hash);

impl fmt::Display for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.to_hex().fmt(f)
    }
}

impl fmt::Debug for TreeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeDigest({self})")
    }
}

impl From<TreeDigest> for String {
    fn from(digest: TreeDigest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for TreeDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for TreeDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hash = blake3::Hash::from_hex(text);
        hash.map(Self)
            .map_err(|_| "a digest has 64 hexadecimal digits".to_owned())
    }
}

/// The hash of one entry: all that is told of it but its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHash(blake3::Hash);

/// Every entry of a tree with its hash: tells not only whether two trees differ, but where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeListing {
    entries: Vec<(PathBuf, EntryHash)>,
    bytes: u64,
}

/// Where one tree differs from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The first of them, at most as many as were asked for.
    pub first: Vec<Difference>,
    /// How many there are in all.
    pub in_all: u64,
}

/// One path at which two trees differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is in the first only.
    Missing(PathBuf),
    /// It is in the second only.
    Added(PathBuf),
    /// It is in both and not the same.
    Changed(PathBuf),
}

impl Difference {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Difference::Missing(path) | Difference::Added(path) | Difference::Changed(path) => path,
        }
    }
}

impl TreeListing {
    /// The digest of the whole tree.
    pub fn digest(&self) -> TreeDigest {
        let mut tree = blake3::Hasher::new();
        tree.update(VERSION);
        for (path, hash) in &self.entries {
            put_bytes(&mut tree, path.as_os_str().as_bytes());
            tree.update(hash.0.as_bytes());
        }
        TreeDigest(tree.finalize())
    }

    /// How many names there are, the root among them.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing, not even a root.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The sizes of all regular files, each counted once.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where `found` differs from this one; at most `limit` paths are named.
    pub fn differences(&self, found: &TreeListing, limit: usize) -> Differences {
        let mut differences = Differences::default();
        let (mut wanted, mut there) = (
            self.entries.iter().peekable(),
            found.entries.iter().peekable(),
        );
        loop {
            let difference = match (wanted.peek(), there.peek()) {
                (None, None) => return differences,
                (Some((path, _)), None) => {
                    wanted.next();
                    Difference::Missing(path.clone())
                }
                (None, Some((path, _))) => {
                    there.next();
                    Difference::Added(path.clone())
                }
                (Some((path, hash)), Some((other, found))) => match path.cmp(other) {
                    std::cmp::Ordering::Less => {
                        wanted.next();
                        Difference::Missing(path.clone())
                    }
                    std::cmp::Ordering::Greater => {
                        there.next();
                        Difference::Added(other.clone())
                    }
                    std::cmp::Ordering::Equal => {
                        wanted.next();
                        there.next();
                        if hash == found {
                            continue;
                        }
                        Difference::Changed(path.clone())
                    }
                },
            };
            differences.in_all += 1;
            if differences.first.len() < limit {
                differences.first.push(difference);
            }
        }
    }
}

/// Takes a tree entry by entry, in the order of its paths, and hashes it.
///
/// Memory grows with the number of entries (about 100 bytes and the path for each), not with their content.
#[derive(Debug, Default)]
pub struct TreeHasher {
    listing: TreeListing,
    current: Option<Current>,
    /// The first name of every file that has several.
    first_names: HashMap<u64, PathBuf>,
    chunk: Chunk,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    hash: blake3::Hasher,
    has_content: bool,
}

/// The part of a file that is being filled.
#[derive(Debug, Default)]
struct Chunk {
    number: u64,
    bytes: Vec<u8>,
}

impl TreeHasher {
    /// Nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next entry. Whether its content is wanted: that of a further name of a file that was told before is not.
    pub fn entry(&mut self, entry: &Entry) -> bool {
        self.end_entry();
        let mut hash = blake3::Hasher::new();
        let first = entry.has_other_names().then(|| {
            self.first_names
                .entry(entry.object)
                .or_insert_with(|| entry.path.clone())
        });
        let is_first = first.is_none_or(|first| {
            let is_first = *first == entry.path;
            if !is_first {
                hash.update(b"link");
                put_bytes(&mut hash, first.as_os_str().as_bytes());
            }
            is_first
        });
        if is_first {
            describe(&mut hash, entry);
        }
        let has_content = is_first && entry.kind == Kind::File;
        if has_content {
            self.listing.bytes += entry.size;
        }
        self.current = Some(Current {
            path: entry.path.clone(),
            hash,
            has_content,
        });
        has_content
    }

    /// A piece of the content of the last entry; pieces come in order, what is between them is zero.
    pub fn content(&mut self, offset: u64, bytes: &[u8]) {
        if !self
            .current
            .as_ref()
            .is_some_and(|current| current.has_content)
        {
            return;
        }
        let (mut offset, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let number = offset / CHUNK;
            if number != self.chunk.number {
                self.end_chunk();
                self.chunk.number = number;
            }
            let within = offset % CHUNK;
            let (piece, after) = rest.split_at(rest.len().min((CHUNK - within) as usize));
            // A hole before it, inside of this chunk.
            self.chunk.bytes.resize(within as usize, 0);
            self.chunk.bytes.extend_from_slice(piece);
            offset += piece.len() as u64;
            rest = after;
        }
    }

    /// The whole tree.
    pub fn finish(mut self) -> TreeListing {
        self.end_entry();
        self.listing
    }

    fn end_chunk(&mut self) {
        let bytes = &self.chunk.bytes;
        let length = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        if let (Some(current), 1..) = (&mut self.current, length) {
            put_number(&mut current.hash, self.chunk.number);
            put_bytes(&mut current.hash, &bytes[..length]);
        }
        self.chunk.bytes.clear();
    }

    fn end_entry(&mut self) {
        self.end_chunk();
        self.chunk.number = 0;
        if let Some(current) = self.current.take() {
            let hash = EntryHash(current.hash.finalize());
            self.listing.entries.push((current.path, hash));
        }
    }
}

/// All that is told of an entry but its path and content.
fn describe(hash: &mut blake3::Hasher, entry: &Entry) {
    let kind = match entry.kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
        Kind::Fifo => 3,
        Kind::Socket => 4,
        Kind::CharacterDevice => 5,
        Kind::BlockDevice => 6,
    };
    let size = match entry.kind {
        Kind::File => entry.size,
        // Of others each file system has its own idea.
        _ => 0,
    };
    let device = entry.device.map_or((0, 0), |device| {
        (u64::from(device.major), u64::from(device.minor))
    });
    // Nobody can set the mode of a link, and systems differ about it.
    let mode = match entry.kind {
        Kind::Symlink => 0,
        _ => entry.mode,
    };
    for number in [
        kind,
        mode.into(),
        entry.uid.into(),
        entry.gid.into(),
        entry.modified.seconds.cast_unsigned(),
        entry.modified.nanoseconds.into(),
        size,
        device.0,
        device.1,
    ] {
        put_number(hash, number);
    }
    let target = entry.target.as_deref().unwrap_or(Path::new(""));
    put_bytes(hash, target.as_os_str().as_bytes());
    put_number(hash, entry.attributes.len() as u64);
    for (name, value) in &entry.attributes {
        put_bytes(hash, name);
        put_bytes(hash, value);
    }
}

fn put_number(hash: &mut blake3::Hasher, number: u64) {
    hash.update(&number.to_le_bytes());
}

fn put_bytes(hash: &mut blake3::Hasher, bytes: &[u8]) {
    put_number(hash, bytes.len() as u64);
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use terrarium_zfs::tree::{Device, Time};

    use super::*;

    fn file(path: &str, size: u64) -> Entry {
        let mut entry = Entry::new(path, Kind::File, 0o644);
        entry.size = size;
        entry
    }

    /// An entry with its pieces of content.
    type Told<'a> = (Entry, &'a [(u64, &'a [u8])]);

    fn hashed(tree: &[Told<'_>]) -> TreeListing {
        let mut hasher = TreeHasher::new();
        for (entry, content) in tree {
            hasher.entry(entry);
            for (offset, bytes) in *content {
                hasher.content(*offset, bytes);
            }
        }
        hasher.finish()
    }

    fn digest_of(entry: Entry, content: &[(u64, &[u8])]) -> TreeDigest {
        hashed(&[(entry, content)]).digest()
    }

    #[test]
    fn everything_that_is_told_of_an_entry_counts() {
        let mut plain = file("a", 3);
        plain.links = 2;
        let digest = |change: fn(&mut Entry)| {
            let mut entry = plain.clone();
            change(&mut entry);
            digest_of(entry, &[(0, b"abc")])
        };
        let same = digest(|_| {});
        let changes: [fn(&mut Entry); 11] = [
            |entry| entry.path = "b".into(),
            |entry| entry.kind = Kind::Fifo,
            |entry| entry.mode = 0o600,
            |entry| entry.uid = 1,
            |entry| entry.gid = 1,
            |entry| {
                entry.modified = Time {
                    seconds: 1,
                    nanoseconds: 0,
                }
            },
            |entry| {
                entry.modified = Time {
                    seconds: 0,
                    nanoseconds: 1,
                }
            },
            |entry| entry.size = 4,
            |entry| entry.device = Some(Device { major: 1, minor: 0 }),
            |entry| entry.target = Some("x".into()),
            |entry| {
                entry.attributes.insert(b"user.a".to_vec(), Vec::new());
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(digest(change), same, "change {number}");
        }
        assert_ne!(digest_of(plain.clone(), &[(0, b"abd")]), same);
        assert_ne!(digest_of(plain.clone(), &[(1, b"ab")]), same);
        let ignored: [fn(&mut Entry); 4] = [
            |entry| entry.accessed.seconds = 5,
            |entry| entry.changed.seconds = 5,
            |entry| entry.object = 7,
            |entry| entry.links = 1,
        ];
        for (number, change) in ignored.into_iter().enumerate() {
            assert_eq!(digest(change), same, "ignored {number}");
        }
    }

    #[test]
    fn which_names_lead_to_the_same_file_counts() {
        let tree = |objects: [u64; 3]| {
            let mut hasher = TreeHasher::new();
            let mut wanted = Vec::new();
            for (name, object) in ["a", "b", "c"].into_iter().zip(objects) {
                let mut entry = file(name, 1);
                (entry.object, entry.links) = (object, 2);
                wanted.push(hasher.entry(&entry));
                hasher.content(0, b"x");
            }
            (hasher.finish(), wanted)
        };
        let (listing, wanted) = tree([1, 2, 1]);
        assert_eq!(wanted, [true, true, false]);
        assert_eq!(listing.bytes(), 2);
        assert_ne!(listing.digest(), tree([1, 1, 2]).0.digest());
        assert_ne!(listing.digest(), tree([1, 2, 3]).0.digest());
        assert_eq!(listing.digest(), tree([9, 8, 9]).0.digest());
    }

    /// So that nobody changes it without a new version.
    #[test]
    fn the_digest_of_a_known_tree_is_known() {
        let mut link = Entry::new("b", Kind::Symlink, 0o777);
        link.target = Some("a".into());
        let listing = hashed(&[
            (Entry::new("", Kind::Directory, 0o755), &[]),
            (file("a", 5), &[(0, b"hello")]),
            (link, &[]),
        ]);
        assert_eq!((listing.len(), listing.bytes()), (3, 5));
        insta::assert_snapshot!(listing.digest(), @"30f8b827bc61e1d6a9ece608751f115699922e0bec98d4f0c58cda4be4bb292d");
        let text = serde_json::to_string(&listing.digest()).unwrap();
        let read: TreeDigest = serde_json::from_str(&text).unwrap();
        assert_eq!(read, listing.digest());
        assert!(serde_json::from_str::<TreeDigest>("\"abc\"").is_err());
    }

    #[test]
    fn differences_are_named_by_path() {
        let tree = |names: &[(&str, &[u8])]| {
            let mut hasher = TreeHasher::new();
            for (name, content) in names {
                hasher.entry(&file(name, content.len() as u64));
                hasher.content(0, content);
            }
            hasher.finish()
        };
        let before = tree(&[("a", b"1"), ("b", b"2"), ("c", b"3")]);
        let after = tree(&[("a", b"1"), ("aa", b"2"), ("c", b"4"), ("d", b"5")]);
        let differences = before.differences(&after, 3);
        assert_eq!(differences.in_all, 4);
        assert_eq!(
            differences.first,
            [
                Difference::Added("aa".into()),
                Difference::Missing("b".into()),
                Difference::Changed("c".into()),
            ]
        );
        assert_eq!(before.differences(&before, 3), Differences::default());
    }

    proptest! {
        /// However the content is cut, and whether zeros are told or left out.
        #[test]
        fn pieces_and_holes_make_no_difference(
            runs in prop::collection::vec((any::<bool>(), 1usize..100_000), 1..8),
            cuts in prop::collection::vec(1usize..70_000, 1..40),
        ) {
            let mut content = Vec::new();
            for (is_zero, length) in runs {
                content.resize(content.len() + length, if is_zero { 0 } else { 7 });
            }
            let whole = digest_of(file("a", content.len() as u64), &[(0, &content)]);
            let mut hasher = TreeHasher::new();
            hasher.entry(&file("a", content.len() as u64));
            let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
            while at < content.len() {
                let end = content.len().min(at + cuts.next().unwrap_or(1));
                let piece = &content[at..end];
                if piece.iter().any(|&byte| byte != 0) {
                    hasher.content(at as u64, piece);
                }
                at = end;
            }
            prop_assert_eq!(hasher.finish().digest(), whole);
        }
    }
}
