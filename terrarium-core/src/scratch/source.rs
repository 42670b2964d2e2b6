//! Where the streams of a chain come from.

use std::fs::{File, OpenOptions};
use std::io::{self, Cursor, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use terrarium_zfs::stream::{BeginError, BeginRecord, StreamError};

use super::{Folder, ScratchError};

/// A stream that can be read once, from its beginning.
pub struct Source<'a> {
    name: String,
    size: u64,
    input: Box<dyn Read + Send + 'a>,
}

impl<'a> Source<'a> {
    /// A stream of so many bytes; a scratch pool is made in the size that they need. The name is for
    /// messages.
    pub fn new(name: impl Into<String>, size: u64, input: impl Read + Send + 'a) -> Self {
        Self {
            name: name.into(),
            size,
            input: Box::new(input),
        }
    }

    /// A stream in a file. What is no regular file is [put aside](Source::spooled) in `folder` first.
    ///
    /// # Errors
    /// As [`Source::spooled`].
    pub fn file(path: &Path, folder: &Path) -> Result<Self, ScratchError> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((metadata, file)) if metadata.is_file() => Ok(Self::new(name, metadata.len(), file)),
            Ok((metadata, _)) if metadata.is_dir() => Err(ScratchError::Read {
                stream: name,
                source: io::ErrorKind::IsADirectory.into(),
            }),
            Ok((_, file)) => Self::spooled(name, file, folder),
            Err(source) => Err(ScratchError::Read {
                stream: name,
                source,
            }),
        }
    }

    /// A stream whose size is not known: all of it is copied to a file without a name in `folder` first.
    ///
    /// # Errors
    /// [`ScratchError::Read`]; [`ScratchError::Folder`] if the folder cannot be written to.
    pub fn spooled(
        name: impl Into<String>,
        mut input: impl Read,
        folder: &Path,
    ) -> Result<Self, ScratchError> {
        let name = name.into();
        let read = |stream: &str, source| ScratchError::Read {
            stream: stream.to_owned(),
            source,
        };
        let mut file = nameless_file(folder)?;
        let size = copy(&mut input, &mut file).map_err(|error| match error {
            CopyError::Read(source) => read(&name, source),
            CopyError::Write(source) => ScratchError::Folder {
                path: folder.to_owned(),
                source,
            },
        })?;
        file.rewind().map_err(|source| read(&name, source))?;
        Ok(Self::new(name, size, file))
    }

    /// Reads the first record.
    pub(super) fn open(mut self) -> Result<Opened<'a>, ScratchError> {
        let mut raw = Vec::with_capacity(BeginRecord::SIZE);
        let limit = BeginRecord::SIZE as u64;
        let read = self.input.by_ref().take(limit).read_to_end(&mut raw);
        if let Err(source) = read {
            return Err(ScratchError::Read {
                stream: self.name,
                source,
            });
        }
        let stream = self.name;
        let damaged = |stream, source| Err(ScratchError::Damaged { stream, source });
        let Some(whole) = raw.first_chunk::<{ BeginRecord::SIZE }>() else {
            let mut parser = terrarium_zfs::stream::Parser::new();
            let error = parser.next(&mut &raw[..]).err();
            let offset = raw.len() as u64;
            return damaged(stream, error.unwrap_or(StreamError::Truncated { offset }));
        };
        let begin = match BeginRecord::parse(*whole) {
            Ok(begin) if begin.is_resuming() => return Err(ScratchError::Rest { stream }),
            Ok(begin) => begin,
            Err(BeginError::Package) => return Err(ScratchError::Package { stream }),
            Err(_) => return damaged(stream, StreamError::NoStream),
        };
        Ok(Opened {
            name: stream,
            size: self.size,
            begin,
            input: Box::new(Cursor::new(raw).chain(self.input)),
        })
    }
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// A stream whose first record was read, and is read again.
pub(super) struct Opened<'a> {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) begin: BeginRecord,
    pub(super) input: Box<dyn Read + Send + 'a>,
}

enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// As [`io::copy`], but it tells which side failed.
fn copy(input: &mut impl Read, output: &mut File) -> Result<u64, CopyError> {
    let mut buffer = vec![0; super::PIECE];
    let mut bytes = 0;
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(length) => {
                io::Write::write_all(output, &buffer[..length]).map_err(CopyError::Write)?;
                bytes += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CopyError::Read(error)),
        }
    }
}

fn nameless_file(folder: &Path) -> Result<File, ScratchError> {
    let own = Folder::new(folder)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options
        .open(own.0.join("stream"))
        .map_err(|source| ScratchError::Folder {
            path: folder.to_owned(),
            source,
        })
}
