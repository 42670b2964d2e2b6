//! From a dataset to a directory of this machine.
//!
//! The tree may come from anywhere: every name is created anew, inside directories that were created
//! here and are held open, so that none of its links can lead the writing elsewhere.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use terrarium_zfs::Error;
use terrarium_zfs::tree::{Entry, Kind, Time};

use super::walk::{Content, Walk};
use crate::engine::Engine;

/// How many entries are named that were not extracted as they are; the others are only counted.
const NAMED: usize = 1000;

/// Whom the extracted files belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// To whom they belonged; only root can do that.
    Keep,
    /// To whoever extracts them. Then no file keeps its set-user-ID and set-group-ID bits.
    Mine,
}

impl Owners {
    /// [`Owners::Keep`] for root, [`Owners::Mine`] for others, as tar(1) has it.
    pub fn as_tar() -> Self {
        if rustix::process::geteuid().is_root() {
            Owners::Keep
        } else {
            Owners::Mine
        }
    }
}

/// Why nothing more was extracted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// Something on this machine.
    #[error("cannot write {}: {source}", path.display())]
    Target {
        /// What was to be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory has something in it.
    #[error("cannot extract to {}: it is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The path leads nowhere.
    #[error("{object} has no {}", path.display())]
    Absent {
        /// The dataset or snapshot.
        object: String,
        /// The path in it.
        path: PathBuf,
    },
    /// What the engine answered.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// What was extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// All names, directories among them.
    pub entries: u64,
    /// The sizes of the regular files, holes included.
    pub bytes: u64,
    /// What could not be extracted, or not as it is: the first thousand.
    pub left_out: Vec<LeftOut>,
    /// How many there are in all.
    pub left_out_in_all: u64,
    /// How many of them only root could have extracted.
    pub for_root_only: u64,
}

impl Extracted {
    /// Whether content is missing: something of the tree was damaged.
    pub fn is_damaged(&self) -> bool {
        self.left_out
            .iter()
            .any(|left_out| left_out.part == Part::Content)
    }

    /// Whether anything is missing that whoever extracts could have had: what is damaged, or was refused by
    /// the file system here.
    pub fn is_incomplete(&self) -> bool {
        self.left_out_in_all > self.for_root_only
    }

    fn leave_to_root(&mut self, path: &Path, part: Part, reason: impl ToString) {
        self.for_root_only += 1;
        self.leave_out(path, part, reason);
    }

    fn leave_out(&mut self, path: &Path, part: Part, reason: impl ToString) {
        self.left_out_in_all += 1;
        // A damaged file is never one of those that are only counted.
        if self.left_out.len() < NAMED || part == Part::Content {
            self.left_out.push(LeftOut {
                path: path.to_owned(),
                part,
                reason: reason.to_string(),
            });
        }
    }
}

/// What was not extracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it is in the dataset.
    pub path: PathBuf,
    /// What of it.
    pub part: Part,
    /// Why.
    pub reason: String,
}

/// A part of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A file's content, or what is in a directory: it is damaged. There is no such file then.
    Content,
    /// All of it: a device, which only root may create.
    Entry,
    /// An extended attribute.
    Attribute(Vec<u8>),
}

impl Engine {
    /// Extracts what is at and below `path` of a dataset or snapshot into the directory `into`, which is
    /// created unless it is there and empty. An empty path is the whole tree, whose root becomes `into`;
    /// anything else keeps its own name there.
    ///
    /// Content, links, holes, modes and times become what they were; owners as `owners` says. What is
    /// damaged is left out and named, and the rest is extracted.
    ///
    /// # Errors
    /// [`ExtractError`]; what was extracted before it stays.
    pub fn extract(
        &self,
        object: &str,
        path: impl AsRef<Path>,
        into: &Path,
        owners: Owners,
    ) -> Result<Extracted, ExtractError> {
        let path = path.as_ref();
        let mut walk = self.walk(object, path, Content::Read)?;
        let Some(first) = walk.next_entry()? else {
            return Err(ExtractError::Absent {
                object: object.to_owned(),
                path: path.to_owned(),
            });
        };
        let root = open_empty(into)?;
        let mut extraction = Extraction {
            into,
            base: first.path.parent().unwrap_or(Path::new("")).to_owned(),
            root,
            owners,
            levels: Vec::new(),
            first_names: HashMap::new(),
            done: Extracted::default(),
        };
        let mut next = Some(first);
        while let Some(entry) = next {
            extraction.take(entry, &mut walk)?;
            next = walk.next_entry()?;
        }
        extraction.leave_all()
    }
}

fn open_empty(into: &Path) -> Result<OwnedFd, ExtractError> {
    let failed = |source: io::Error| ExtractError::Target {
        path: into.to_owned(),
        source,
    };
    match std::fs::create_dir(into) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if std::fs::read_dir(into).map_err(failed)?.next().is_some() {
                return Err(ExtractError::NotEmpty(into.to_owned()));
            }
        }
        Err(error) => return Err(failed(error)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, into, flags, Mode::empty()).map_err(|error| failed(error.into()))
}

/// A tree that is being extracted.
struct Extraction<'a> {
    into: &'a Path,
    /// What all paths begin with and has no place here.
    base: PathBuf,
    root: OwnedFd,
    owners: Owners,
    /// The directories that are open, from the root on. Each gets its mode and times when it is left.
    levels: Vec<Level>,
    /// Where a file with several names was extracted first, by its number.
    first_names: HashMap<u64, PathBuf>,
    done: Extracted,
}

struct Level {
    directory: OwnedFd,
    entry: Entry,
}

impl Extraction<'_> {
    fn take(&mut self, entry: Entry, walk: &mut Walk) -> Result<(), ExtractError> {
        while let Some(level) = self.levels.last()
            && entry.path.parent() != Some(&level.entry.path)
        {
            self.leave()?;
        }
        self.done.entries += 1;
        let extracted = if entry.path.as_os_str().is_empty() {
            let directory = self.root.try_clone();
            directory.map(|directory| {
                self.levels.push(Level {
                    directory,
                    entry: entry.clone(),
                })
            })
        } else {
            self.create(&entry, walk)?
        };
        extracted.map_err(|source| self.target(&entry.path, source))?;
        if entry.kind == Kind::Directory {
            self.look_for_damage(&entry, walk)?;
        }
        Ok(())
    }

    /// What cannot be read of a directory is told after it.
    fn look_for_damage(&mut self, entry: &Entry, walk: &mut Walk) -> Result<(), ExtractError> {
        match walk.next_content() {
            Ok(_) => Ok(()),
            Err(Error::Io { .. }) => {
                self.done
                    .leave_out(&entry.path, Part::Content, "it is damaged");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The outer error ends the extraction with what the engine said, the inner one with what this machine did.
    fn create(&mut self, entry: &Entry, walk: &mut Walk) -> Result<io::Result<()>, ExtractError> {
        let directory = match self.levels.last() {
            Some(level) => level.directory.as_fd(),
            None => self.root.as_fd(),
        };
        let name = Path::new(entry.path.file_name().unwrap_or_default());
        if let Some(first) = self.first_names.get(&entry.object)
            && entry.has_other_names()
        {
            let flags = AtFlags::empty();
            let linked = rustix::fs::linkat(&self.root, first, directory, name, flags);
            return Ok(linked.map_err(Into::into));
        }
        let created = match entry.kind {
            Kind::Directory => match enter(directory, name) {
                Ok(directory) => {
                    let entry = entry.clone();
                    self.levels.push(Level { directory, entry });
                    return Ok(Ok(()));
                }
                Err(error) => Err(error),
            },
            Kind::File => match write_file(directory, name, entry, walk) {
                Ok(()) => {
                    self.done.bytes += entry.size;
                    Ok(())
                }
                Err(Unwritten::Here(error)) => Err(error),
                Err(Unwritten::Damaged) => {
                    let path = &entry.path;
                    self.done.leave_out(path, Part::Content, "it is damaged");
                    return Ok(Ok(()));
                }
                Err(Unwritten::Engine(error)) => return Err(error.into()),
            },
            Kind::Symlink => {
                let target = entry.target.as_deref().unwrap_or(Path::new(""));
                rustix::fs::symlinkat(target, directory, name).map_err(Into::into)
            }
            Kind::CharacterDevice | Kind::BlockDevice | Kind::Fifo | Kind::Socket => {
                match make_node(directory, name, entry) {
                    Err(rustix::io::Errno::PERM) if entry.kind.is_device() => {
                        let reason = "only root may create devices";
                        self.done.leave_to_root(&entry.path, Part::Entry, reason);
                        return Ok(Ok(()));
                    }
                    made => made.map_err(Into::into),
                }
            }
        };
        let finished =
            created.and_then(|()| dress(directory, name, entry, self.owners, &mut self.done));
        if finished.is_ok() && entry.has_other_names() {
            let path = entry.path.strip_prefix(&self.base).unwrap_or(&entry.path);
            self.first_names.insert(entry.object, path.to_owned());
        }
        Ok(finished)
    }

    /// Nothing more comes into the innermost directory.
    fn leave(&mut self) -> Result<(), ExtractError> {
        let Some(Level { directory, entry }) = self.levels.pop() else {
            return Ok(());
        };
        let dressed = dress(
            directory.as_fd(),
            Path::new("."),
            &entry,
            self.owners,
            &mut self.done,
        );
        dressed.map_err(|source| self.target(&entry.path, source))
    }

    fn leave_all(mut self) -> Result<Extracted, ExtractError> {
        while !self.levels.is_empty() {
            self.leave()?;
        }
        Ok(self.done)
    }

    fn target(&self, path: &Path, source: io::Error) -> ExtractError {
        let path = path.strip_prefix(&self.base).unwrap_or(path);
        ExtractError::Target {
            path: self.into.join(path),
            source,
        }
    }
}

/// Creates a directory that nobody else gets into before it is finished.
fn enter(directory: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(directory, name, Mode::RWXU)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// Why a file was not written.
enum Unwritten {
    Here(io::Error),
    Damaged,
    Engine(Error),
}

fn write_file(
    directory: BorrowedFd<'_>,
    name: &Path,
    entry: &Entry,
    walk: &mut Walk,
) -> Result<(), Unwritten> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let here = |error: io::Error| Unwritten::Here(error);
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| here(error.into()))?;
    let file = File::from(file);
    let written = (|| {
        while let Some((offset, bytes)) = walk.next_content().map_err(|error| match error {
            Error::Io { .. } => Unwritten::Damaged,
            error => Unwritten::Engine(error),
        })? {
            file.write_all_at(bytes, offset).map_err(here)?;
        }
        // What was not told is a hole.
        file.set_len(entry.size).map_err(here)
    })();
    if written.is_err() {
        // Half a file would be taken for a whole one.
        _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
    }
    written
}

fn make_node(directory: BorrowedFd<'_>, name: &Path, entry: &Entry) -> rustix::io::Result<()> {
    let kind = match entry.kind {
        Kind::CharacterDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Socket => FileType::Socket,
        _ => FileType::Fifo,
    };
    let device = entry
        .device
        .map_or(0, |device| rustix::fs::makedev(device.major, device.minor));
    rustix::fs::mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, device)
}

/// Owner, attributes, mode and times, in this order: each would undo something of the ones after it.
fn dress(
    directory: BorrowedFd<'_>,
    name: &Path,
    entry: &Entry,
    owners: Owners,
    done: &mut Extracted,
) -> io::Result<()> {
    if owners == Owners::Keep {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags)?;
    }
    for (attribute, value) in &entry.attributes {
        // There is no call that takes a directory and a name.
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        let set = rustix::fs::lsetxattr(&path, &attribute[..], value, XattrFlags::empty());
        if let Err(error) = set {
            let part = Part::Attribute(attribute.clone());
            let reason = io::Error::from(error);
            match owners {
                Owners::Mine if error == rustix::io::Errno::PERM => {
                    done.leave_to_root(&entry.path, part, reason);
                }
                _ => done.leave_out(&entry.path, part, reason),
            }
        }
    }
    if entry.kind != Kind::Symlink {
        let mode = match owners {
            Owners::Keep => entry.mode,
            Owners::Mine => entry.mode & 0o1777,
        };
        rustix::fs::chmodat(directory, name, Mode::from(mode), AtFlags::empty())?;
    }
    let times = Timestamps {
        last_access: timespec(entry.accessed),
        last_modification: timespec(entry.modified),
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(directory, name, &times, flags)?)
}

fn timespec(time: Time) -> Timespec {
    Timespec {
        tv_sec: time.seconds,
        // More would be one of the numbers that mean something else (utimensat(2)).
        tv_nsec: time.nanoseconds.min(999_999_999).into(),
    }
}
