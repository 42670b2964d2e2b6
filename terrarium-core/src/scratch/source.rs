//! Where the streams of a chain come from.

use std::fs::{File, OpenOptions};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use terrarium_zfs::stream::{BeginRecord, InspectError, Inspector, Parser, StreamError};

use super::{Folder, ScratchError};

/// A stream that can be read once, from its beginning.
pub struct Source<'a> {
    name: String,
    size: u64,
    input: Input<'a>,
}

enum Input<'a> {
    /// Can be read again, and from anywhere.
    File(File),
    Once(Box<dyn Read + Send + 'a>),
}

impl<'a> Source<'a> {
    /// A stream of so many bytes; a scratch pool is made in the size that they need. The name is for
    /// messages.
    pub fn new(name: impl Into<String>, size: u64, input: impl Read + Send + 'a) -> Self {
        Self {
            name: name.into(),
            size,
            input: Input::Once(Box::new(input)),
        }
    }

    fn of_file(name: String, size: u64, file: File) -> Self {
        Self {
            name,
            size,
            input: Input::File(file),
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
            Ok((metadata, file)) if metadata.is_file() => {
                Ok(Self::of_file(name, metadata.len(), file))
            }
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
        Ok(Self::of_file(name, size, file))
    }

    /// The stream, or those of a package.
    pub(super) fn open_all(self) -> Result<Vec<Opened<'a>>, ScratchError> {
        let mut streams = Vec::with_capacity(1);
        self.open(&mut streams)?;
        Ok(streams)
    }

    /// Reads the first record, and adds the stream, or those of a package.
    pub(super) fn open(self, streams: &mut Vec<Opened<'a>>) -> Result<(), ScratchError> {
        let Self { name, size, input } = self;
        match input {
            Input::File(file) => {
                let file = Arc::new(file);
                let whole = Section::new(&file, 0, size);
                match begin(&name, whole.clone())? {
                    (begin, _) if begin.is_package() => unpack(name, &file, size, streams),
                    (begin, _) => add(name, size, begin, Box::new(whole), streams),
                }
            }
            Input::Once(mut input) => match begin(&name, &mut input)? {
                (begin, _) if begin.is_package() => Err(ScratchError::Package { stream: name }),
                (begin, raw) => {
                    let input = Box::new(Cursor::new(raw).chain(input));
                    add(name, size, begin, input, streams)
                }
            },
        }
    }
}

/// Reads the first record: what it says, and its bytes.
fn begin(name: &str, input: impl Read) -> Result<(BeginRecord, Vec<u8>), ScratchError> {
    let mut raw = Vec::with_capacity(BeginRecord::SIZE);
    let limit = BeginRecord::SIZE as u64;
    let read = input.take(limit).read_to_end(&mut raw);
    read.map_err(|source| ScratchError::Read {
        stream: name.to_owned(),
        source,
    })?;
    let offset = raw.len() as u64;
    let found = match raw.first_chunk::<{ BeginRecord::SIZE }>() {
        Some(whole) => BeginRecord::parse_any(*whole).map_err(|_| StreamError::NoStream),
        // What there is may show that it is none.
        None => Err(match Parser::new().next(&mut &raw[..]) {
            Err(error) => error,
            Ok(_) => StreamError::Truncated { offset },
        }),
    };
    match found {
        Ok(begin) => Ok((begin, raw)),
        Err(source) => Err(ScratchError::Damaged {
            stream: name.to_owned(),
            source,
        }),
    }
}

fn add<'a>(
    name: String,
    size: u64,
    begin: BeginRecord,
    input: Box<dyn Read + Send + 'a>,
    streams: &mut Vec<Opened<'a>>,
) -> Result<(), ScratchError> {
    if begin.is_resuming() {
        return Err(ScratchError::Rest { stream: name });
    }
    streams.push(Opened {
        name,
        size,
        begin,
        package: None,
        input,
    });
    Ok(())
}

/// Finds the streams of a package, which are told where they begin by nothing but all that is before them.
fn unpack(
    name: String,
    file: &Arc<File>,
    size: u64,
    streams: &mut Vec<Opened<'_>>,
) -> Result<(), ScratchError> {
    let mut inspector = Inspector::new();
    let read = inspector.read(Section::new(file, 0, size));
    read.map_err(|error| match error {
        InspectError::Stream(source) => ScratchError::Damaged {
            stream: name.clone(),
            source,
        },
        InspectError::Read(source) => ScratchError::Read {
            stream: name.clone(),
            source,
        },
        other => ScratchError::Read {
            stream: name.clone(),
            source: io::Error::other(other),
        },
    })?;
    let package_name = inspector.package().map(|package| package.begin.to_name());
    let number = streams.len();
    for stream in inspector.take_streams() {
        let section = Section::new(file, stream.offset, stream.offset + stream.bytes);
        let snapshot = stream.begin.to_name();
        streams.push(Opened {
            name: format!("{name} ({snapshot})"),
            size: stream.bytes,
            package: Some(InPackage {
                number,
                is_named_after_it: Some(snapshot) == package_name,
            }),
            begin: stream.begin,
            input: Box::new(section),
        });
    }
    Ok(())
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
    pub(super) package: Option<InPackage>,
    pub(super) input: Box<dyn Read + Send + 'a>,
}

/// That a stream is one of a package.
#[derive(Clone, Copy, Debug)]
pub(super) struct InPackage {
    /// Tells it from other packages.
    pub(super) number: usize,
    /// The snapshot that the package was asked for with.
    pub(super) is_named_after_it: bool,
}

impl std::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("name", &self.name)
            .field("begin", &self.begin)
            .finish_non_exhaustive()
    }
}

/// A part of a file, read without moving what others read of it.
#[derive(Clone)]
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Section {
    fn new(file: &Arc<File>, at: u64, end: u64) -> Self {
        let file = Arc::clone(file);
        Self { file, at, end }
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
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
