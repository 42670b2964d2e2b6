//! A tree where it is mounted, or any other directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use terrarium_zfs::tree::{Device, Entry, Kind, Time};

use super::{TreeHasher, TreeListing};

const PIECE: usize = 256 << 10;

/// A tree could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct DirectoryError {
    /// What could not be read.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Reads every file at and below `root`, which nobody may be changing meanwhile; what is mounted inside of it is
/// passed over but for the directory it is mounted on.
///
/// # Errors
/// [`DirectoryError`] for the first that cannot be read.
pub fn hash_directory(root: &Path) -> Result<TreeListing, DirectoryError> {
    let mut reading = Reading {
        root,
        device: 0,
        hasher: TreeHasher::new(),
        buffer: vec![0; PIECE],
    };
    reading.device = fs::symlink_metadata(root)
        .map_err(|source| reading.failed(Path::new(""), source))?
        .dev();
    // Directories whose names are still to be told, the next one last.
    let mut open = vec![vec![PathBuf::new()]];
    while let Some(names) = open.last_mut() {
        let Some(path) = names.pop() else {
            open.pop();
            continue;
        };
        let found = reading.tell(&path);
        if let Some(names) = found.map_err(|source| reading.failed(&path, source))? {
            open.push(names);
        }
    }
    Ok(reading.hasher.finish())
}

struct Reading<'a> {
    root: &'a Path,
    device: u64,
    hasher: TreeHasher,
    buffer: Vec<u8>,
}

impl Reading<'_> {
    /// Tells one entry; of a directory the names are returned, the first one last.
    fn tell(&mut self, path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
        let here = self.here(path);
        let status = fs::symlink_metadata(&here)?;
        let mut entry = entry(path, &status)?;
        if entry.kind == Kind::Symlink {
            entry.target = Some(fs::read_link(&here)?);
        }
        entry.attributes = attributes(&here)?;
        let wants_content = self.hasher.entry(&entry);
        if entry.kind == Kind::Directory && status.dev() == self.device {
            let names = fs::read_dir(&here)?.map(|found| Ok(found?.file_name()));
            let mut names = names.collect::<io::Result<Vec<OsString>>>()?;
            names.sort_unstable_by(|a, b| b.cmp(a));
            return Ok(Some(names.iter().map(|name| path.join(name)).collect()));
        }
        if wants_content {
            let mut file = File::open(&here)?;
            let mut offset = 0;
            loop {
                match file.read(&mut self.buffer)? {
                    0 => break,
                    length => {
                        self.hasher.content(offset, &self.buffer[..length]);
                        offset += length as u64;
                    }
                }
            }
        }
        Ok(None)
    }

    fn here(&self, path: &Path) -> PathBuf {
        // Joining with nothing would add a slash, and follow a link.
        if path.as_os_str().is_empty() {
            self.root.to_owned()
        } else {
            self.root.join(path)
        }
    }

    fn failed(&self, path: &Path, source: io::Error) -> DirectoryError {
        let path = self.here(path);
        DirectoryError { path, source }
    }
}

fn entry(path: &Path, status: &Metadata) -> io::Result<Entry> {
    let kind = Kind::of_mode(status.mode()).ok_or(io::ErrorKind::Unsupported)?;
    let mut entry = Entry::new(path, kind, status.mode() & 0o7777);
    (entry.uid, entry.gid) = (status.uid(), status.gid());
    entry.modified = Time {
        seconds: status.mtime(),
        nanoseconds: status.mtime_nsec().try_into().unwrap_or_default(),
    };
    entry.size = status.len();
    entry.links = status.nlink();
    entry.object = status.ino();
    entry.device = kind.is_device().then(|| Device {
        major: rustix::fs::major(status.rdev()),
        minor: rustix::fs::minor(status.rdev()),
    });
    Ok(entry)
}

fn attributes(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let names = match whole(|room| rustix::fs::llistxattr(path, room)) {
        // A file system without any.
        Err(rustix::io::Errno::NOTSUP) => return Ok(BTreeMap::new()),
        names => names?,
    };
    let names = names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            let value =
                whole(|room| rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), room))?;
            Ok((name.to_vec(), value))
        })
        .collect()
}

/// Asks with more room each time it was too little; 64 KiB is the most there can be (xattr(7)).
fn whole(
    mut ask: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 256];
    loop {
        match ask(&mut bytes) {
            Err(rustix::io::Errno::RANGE) => bytes.resize(bytes.len() * 4, 0),
            length => {
                bytes.truncate(length?);
                return Ok(bytes);
            }
        }
    }
}
