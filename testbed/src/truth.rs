//! What a mounted file system holds, by the kernel's account, and whether an engine says the same.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use terrarium_zfs::tree::{Device, Entry, Kind, Time};
use terrarium_zpool::{Content, Engine, Walk};

use crate::process::run;

/// What there is at a path, as `testbed/streams/truth.py` tells it.
#[derive(Clone, Debug, Deserialize)]
pub struct Truth {
    path: String,
    kind: String,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    links: u64,
    modified_ns: i128,
    accessed_ns: i128,
    changed_ns: i128,
    /// Not of the root.
    object: Option<u64>,
    target: Option<String>,
    device: Option<(u32, u32)>,
    /// Start and end of each piece of a file that is no hole.
    #[serde(default)]
    data: Vec<(u64, u64)>,
    /// Of these pieces in a row.
    sha256: Option<String>,
    #[serde(default)]
    attributes: BTreeMap<String, Value>,
}

/// The value of an attribute.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
enum Value {
    Hex(String),
    Large { size: usize, sha256: String },
}

/// Up to here a file may have no block that is larger, and its holes may be told as zeros.
const SMALL: u64 = 128 << 10;

impl Truth {
    /// Reads what `truth.py` told: parents before what is in them, names in the order of their bytes.
    ///
    /// # Panics
    /// If that is not what it told.
    #[track_caller]
    #[must_use]
    pub fn parse(told: &str) -> Vec<Self> {
        serde_json::from_str(told).expect("truth.py tells JSON")
    }

    /// The truth about a directory of this machine.
    ///
    /// # Panics
    /// If it cannot be read.
    #[track_caller]
    #[must_use]
    pub fn of(directory: &Path) -> Vec<Self> {
        let told = run("python3").arg("-").arg(directory);
        let told = told.stdin(include_str!("../streams/truth.py")).finish();
        Self::parse(&told.succeeds().stdout)
    }

    /// Demands that an engine says the same of a dataset or snapshot: of every entry everything, and of a
    /// snapshot's files the content, with the holes where they are.
    ///
    /// # Panics
    /// If it says something else, or fails.
    #[track_caller]
    pub fn demand(tree: &[Self], engine: &Engine, object: &str) {
        // Of a dataset that can be written to, holes are read as zeros: too many of them.
        let content = match object.contains('@') {
            true => Content::Read,
            false => Content::Skip,
        };
        let mut walk = engine.walk(object, "", content).expect("a walk begins");
        for truth in tree {
            let path = truth.path();
            let entry = walk.next_entry().expect("the tree is read");
            let entry = entry.unwrap_or_else(|| panic!("{object} ends before {path:?}"));
            truth.demand_entry(&entry, object);
            if content == Content::Read && entry.kind == Kind::File {
                truth.demand_content(&mut walk, object);
            }
            let rest = walk.next_content().expect("the tree is read");
            assert_eq!(rest.map(|(at, _)| at), None, "{object} {path:?}");
        }
        let more = walk.next_entry().expect("the tree is read");
        assert!(more.is_none(), "{object} goes on with {more:?}");
    }

    #[track_caller]
    fn demand_entry(&self, entry: &Entry, object: &str) {
        let mut told = Entry::new(self.path(), self.kind(), 0);
        told.mode = u32::from_str_radix(&self.mode, 8).expect("a mode is octal");
        (told.uid, told.gid) = (self.uid, self.gid);
        told.accessed = time(self.accessed_ns);
        told.modified = time(self.modified_ns);
        told.changed = time(self.changed_ns);
        (told.size, told.links) = (self.size, self.links);
        told.object = self.object.unwrap_or(entry.object);
        told.device = self.device.map(|(major, minor)| Device { major, minor });
        told.target = self.target.as_deref().map(unescaped);
        // Compared below, as they were written down.
        told.attributes = entry.attributes.clone();
        assert_eq!(*entry, told, "{object}");

        let names = self.attributes.iter();
        let expected = names.map(|(name, value)| (unescaped(name), value.clone()));
        let names = entry.attributes.iter();
        let found = names.map(|(name, value)| (path_of(name.clone()), Value::of(value)));
        let (found, expected): (BTreeMap<_, _>, BTreeMap<_, _>) =
            (found.collect(), expected.collect());
        assert_eq!(found, expected, "{object} {:?}", self.path());
    }

    /// What is told is what there is; of holes nothing is told, or zeros if the file is small.
    #[track_caller]
    fn demand_content(&self, walk: &mut Walk, object: &str) {
        let path = self.path();
        let mut hash = Sha256::new();
        let mut pieces = self.data.iter().copied().peekable();
        let mut at = 0;
        while let Some((start, bytes)) = walk.next_content().expect("the content is read") {
            assert!(start >= at, "{object} {path:?}: {start} comes after {at}");
            at = start + bytes.len() as u64;
            assert!(at <= self.size, "{object} {path:?}");
            // Of this piece what is data, by the kernel's account; the rest of it is zeros.
            let mut done = start;
            while done < at {
                let (from, to) = pieces.peek().copied().unwrap_or((at, at));
                let (from, to) = (from.clamp(done, at), to.clamp(done, at));
                let part = |from, to| &bytes[index(from - start)..index(to - start)];
                let is_zero = part(done, from).iter().all(|&byte| byte == 0);
                assert!(is_zero, "{object} {path:?}: {done} to {from} is a hole");
                let is_told_rightly = from == done || self.size <= SMALL;
                assert!(is_told_rightly, "{object} {path:?}: a hole at {done}");
                hash.update(part(from, to));
                done = to;
                pieces.next_if(|&(_, end)| end <= done);
            }
        }
        assert_eq!(pieces.next(), None, "{object} {path:?}: data is missing");
        let hash = Some(hex(&hash.finalize()));
        assert_eq!(hash, self.sha256, "{object} {path:?}");
    }

    fn path(&self) -> PathBuf {
        unescaped(&self.path)
    }

    fn kind(&self) -> Kind {
        match &*self.kind {
            "file" => Kind::File,
            "directory" => Kind::Directory,
            "symlink" => Kind::Symlink,
            "fifo" => Kind::Fifo,
            "socket" => Kind::Socket,
            "character device" => Kind::CharacterDevice,
            "block device" => Kind::BlockDevice,
            other => panic!("truth.py tells of no {other}"),
        }
    }
}

impl Value {
    fn of(bytes: &[u8]) -> Self {
        if bytes.len() > 300 {
            return Value::Large {
                size: bytes.len(),
                sha256: hex(&Sha256::digest(bytes)),
            };
        }
        Value::Hex(hex(bytes))
    }
}

fn time(ns: i128) -> Time {
    let second = 1_000_000_000;
    Time {
        seconds: ns.div_euclid(second) as i64,
        nanoseconds: ns.rem_euclid(second) as u32,
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("a piece fits in memory")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes back what `\xNN` stands for.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once("\\x") {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = u8::from_str_radix(&escaped[..2], 16);
        bytes.push(byte.expect("two hexadecimal digits"));
        rest = &escaped[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    path_of(bytes)
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}
