//! A tree where it is mounted, or any other directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;
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
        holes_are_certain: false,
        hasher: TreeHasher::new(),
        buffer: vec![0; PIECE],
    };
    reading
        .look_around()
        .map_err(|source| reading.failed(Path::new(""), source))?;
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
    /// OpenZFS has told holes where data had just been written (issue 15526): believed where nothing is written.
    holes_are_certain: bool,
    hasher: TreeHasher,
    buffer: Vec<u8>,
}

impl Reading<'_> {
    fn look_around(&mut self) -> io::Result<()> {
        self.device = fs::symlink_metadata(self.root)?.dev();
        let mount = rustix::fs::statvfs(self.root)?;
        self.holes_are_certain = mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        Ok(())
    }

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
            let mut from = 0;
            let file = File::open(&here)?;
            while let Some((start, end)) = self.data(&file, from, entry.size)? {
                self.tell_content(&file, start, end)?;
                from = end;
            }
        }
        Ok(None)
    }

    /// The next piece of a file that may have other bytes than zeros.
    fn data(&self, file: &File, from: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
        if from >= size {
            return Ok(None);
        }
        if !self.holes_are_certain {
            return Ok(Some((from, size)));
        }
        let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        Ok(Some((start, end)))
    }

    fn tell_content(&mut self, file: &File, start: u64, end: u64) -> io::Result<()> {
        let mut at = start;
        while at < end {
            let room = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            match file.read_at(&mut self.buffer[..room], at)? {
                // It has become shorter.
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => {
                    self.hasher.content(at, &self.buffer[..length]);
                    at += length as u64;
                }
            }
        }
        Ok(())
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
        Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
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
            Err(Errno::RANGE) => bytes.resize(bytes.len() * 4, 0),
            length => {
                bytes.truncate(length?);
                return Ok(bytes);
            }
        }
    }
}
