//! Reading a tree.

use std::ffi::OsStr;
use std::io::{self, BufReader, PipeReader};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use terrarium_zfs::nvlist::NvList;
use terrarium_zfs::tree::Entry;
use terrarium_zfs::{Attempt, Error};

use super::frames::{Frame, PIECE, Reader};
use crate::engine::{Engine, errno, error_of};

const OPERATION: &str = "read the files of";

/// What is told of regular files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Only that they are there.
    Skip,
    /// Their content too, to be had by [`Walk::next_content`].
    Read,
}

impl Engine {
    /// Walks the tree at and below `path` of a dataset or snapshot: parents before what is in them, the
    /// names of a directory in the order of their bytes. An empty path is the whole tree; symbolic links
    /// are not followed. A path that leads nowhere is a tree without entries.
    ///
    /// While it lasts the dataset cannot be destroyed or rolled back. Memory is bounded but for the names
    /// of one directory at each depth.
    ///
    /// # Errors
    /// [`Error::Io`] if no pipe can be had. All else is told by the walk.
    pub fn walk(
        &self,
        object: &str,
        path: impl AsRef<Path>,
        content: Content,
    ) -> Result<Walk, Error> {
        Walk::start(self, object, path.as_ref(), content, false)
    }

    /// Walks nothing but the entry at `path`, though it may be a directory.
    ///
    /// # Errors
    /// As [`Engine::walk`].
    pub fn walk_one(
        &self,
        object: &str,
        path: impl AsRef<Path>,
        content: Content,
    ) -> Result<Walk, Error> {
        Walk::start(self, object, path.as_ref(), content, true)
    }
}

/// A tree that is being read. Dropping it early ends the reading.
pub struct Walk {
    // Closed first: then the call comes to its end.
    frames: Option<Reader<BufReader<PipeReader>>>,
    call: Option<JoinHandle<Result<NvList, Error>>>,
    object: String,
    /// The path of the entry that content belongs to.
    path: PathBuf,
    /// What came after the last entry and was not asked for yet.
    ahead: Option<Ahead>,
    content: Vec<u8>,
    entries: u64,
}

enum Ahead {
    Entry(Box<Entry>),
    Content(u64),
    Damage(i32),
    /// How many entries the engine told.
    End(u64),
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Walk")
            .field("object", &self.object)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        self.frames = None;
        if let Some(call) = self.call.take() {
            _ = call.join();
        }
    }
}

impl Walk {
    fn start(
        engine: &Engine,
        object: &str,
        path: &Path,
        content: Content,
        alone: bool,
    ) -> Result<Self, Error> {
        let mut request = NvList::new()?;
        request.add_str("object", object)?;
        let path = path.as_os_str().as_bytes();
        if !path.is_empty() {
            request.add_bytes("path", path)?;
        }
        if content == Content::Read {
            request.add_flag("content")?;
        }
        if alone {
            request.add_flag("alone")?;
        }
        let (output, input) = pipe().map_err(|error| io_error(object, &error))?;
        let (engine, name) = (engine.clone(), object.to_owned());
        let call = std::thread::spawn(move || {
            engine.ask("walk", OPERATION, &name, request, Some(input.as_fd()))
        });
        Ok(Self {
            frames: Some(Reader::new(BufReader::with_capacity(PIECE, output))),
            call: Some(call),
            object: object.to_owned(),
            path: PathBuf::new(),
            ahead: None,
            content: Vec::new(),
            entries: 0,
        })
    }

    /// The next entry, with its attributes; `None` after the last. Content of the one before that was not
    /// asked for is passed over, and so is its damage.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the dataset or snapshot does not exist; [`Error::NotSupported`] if it is a
    /// volume; [`Error::KeyUnavailable`]; [`Error::Io`] if the tree cannot be read at all;
    /// [`Error::EngineLost`]. After an error there is no more.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut entry = loop {
            match self.ahead()? {
                Ahead::Entry(entry) => break *entry,
                Ahead::Content(_) | Ahead::Damage(_) => {}
                end @ Ahead::End(_) => {
                    self.ahead = Some(end);
                    return Ok(None);
                }
            }
        };
        self.path.clone_from(&entry.path);
        self.entries += 1;
        self.ahead = Some(self.belongings(&mut entry)?);
        Ok(Some(entry))
    }

    /// The next piece of content of the entry that was told last: its offset and the bytes; `None` after
    /// the last. Pieces come in order; between them, and after them up to the file's size, all is zero.
    /// Holes of a snapshot's files above 128 KiB are left out like this; others come as zeros.
    ///
    /// # Errors
    /// [`Error::Io`] if the rest of this entry cannot be read: its content, or for a directory what is in
    /// it. The walk goes on with the next entry. Otherwise as [`Walk::next_entry`].
    pub fn next_content(&mut self) -> Result<Option<(u64, &[u8])>, Error> {
        match self.ahead()? {
            Ahead::Content(offset) => Ok(Some((offset, &self.content))),
            Ahead::Damage(errno) => {
                let object = format!("{}: {}", self.object, self.path.display());
                // Whatever it is that ZFS cannot make sense of: for a reader it is damage.
                let errno = match errno {
                    libc::ENOMEM | libc::EACCES => errno,
                    _ => libc::EIO,
                };
                Err(error_of("read", &object, errno))
            }
            other => {
                self.ahead = Some(other);
                Ok(None)
            }
        }
    }

    fn ahead(&mut self) -> Result<Ahead, Error> {
        match self.ahead.take() {
            Some(ahead) => Ok(ahead),
            None => self.read(),
        }
    }

    /// Target and attributes go into the entry; what comes after them is returned.
    fn belongings(&mut self, entry: &mut Entry) -> Result<Ahead, Error> {
        loop {
            let Some(frames) = &mut self.frames else {
                return Ok(Ahead::End(self.entries));
            };
            match frames.next() {
                Ok(Frame::Target(target)) => {
                    entry.target = Some(PathBuf::from(OsStr::from_bytes(target)));
                }
                Ok(Frame::Attribute { name, value }) => {
                    entry.attributes.insert(full_name(name), value.to_vec());
                }
                Ok(frame) => match ahead(frame, &mut self.content) {
                    Some(ahead) => return self.checked(ahead),
                    None => return Err(self.end_early()),
                },
                Err(_) => return Err(self.end_early()),
            }
        }
    }

    fn read(&mut self) -> Result<Ahead, Error> {
        let Some(frames) = &mut self.frames else {
            return Ok(Ahead::End(self.entries));
        };
        let found = frames.next().ok();
        match found.and_then(|frame| ahead(frame, &mut self.content)) {
            Some(ahead) => self.checked(ahead),
            None => Err(self.end_early()),
        }
    }

    /// The end is one only if everything was told and the call agrees.
    fn checked(&mut self, ahead: Ahead) -> Result<Ahead, Error> {
        let Ahead::End(told) = ahead else {
            return Ok(ahead);
        };
        self.frames = None;
        match self.answer()? {
            0 if told == self.entries => Ok(ahead),
            0 => Err(error_of(OPERATION, &self.object, libc::EPROTO)),
            error => Err(error_of(OPERATION, &self.object, error)),
        }
    }

    /// The pipe ended before the tree did: the call knows why.
    fn end_early(&mut self) -> Error {
        self.frames = None;
        self.ahead = Some(Ahead::End(self.entries));
        let errno = match self.answer() {
            Ok(0) => libc::EPROTO,
            Ok(errno) => errno,
            Err(error) => return error,
        };
        error_of(OPERATION, &self.object, errno)
    }

    fn answer(&mut self) -> Result<i32, Error> {
        let Some(call) = self.call.take() else {
            return Ok(0);
        };
        match call.join() {
            Ok(answer) => Ok(errno(&answer?)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// What a frame other than a target or an attribute says.
fn ahead(frame: Frame<'_>, content: &mut Vec<u8>) -> Option<Ahead> {
    Some(match frame {
        Frame::Entry(entry) => Ahead::Entry(Box::new(entry)),
        Frame::Content { offset, bytes } => {
            content.clear();
            content.extend_from_slice(bytes);
            Ahead::Content(offset)
        }
        Frame::Damage(errno) => Ahead::Damage(errno),
        Frame::End(entries) => Ahead::End(entries),
        Frame::Target(_) | Frame::Attribute { .. } => return None,
    })
}

/// ZFS can keep the names of users' attributes without the prefix that Linux gives them
/// (`zfs_xattr_compat`, zfs(4)).
fn full_name(name: &[u8]) -> Vec<u8> {
    const KNOWN: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
    if KNOWN.iter().any(|prefix| name.starts_with(prefix)) {
        name.to_vec()
    } else {
        [b"user.", name].concat()
    }
}

/// A pipe that holds several pieces, so that both ends can work at once.
pub(super) fn pipe() -> io::Result<(PipeReader, io::PipeWriter)> {
    let (output, input) = io::pipe()?;
    // As large as users may have it (/proc/sys/fs/pipe-max-size); a smaller one serves too.
    _ = nix::fcntl::fcntl(input.as_fd(), nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20));
    Ok((output, input))
}

pub(super) fn io_error(object: &str, error: &io::Error) -> Error {
    Error::Io {
        attempt: Attempt::new(OPERATION, object),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}
