//! The frames that trees are told in (c/tree.h): kind, length, and what follows.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use terrarium_zfs::tree::{Device, Entry, Kind, Time};

/// `TREE_MAX_FRAME`
const MAX_FRAME: usize = 1 << 20;
/// `TREE_PIECE`
pub(super) const PIECE: usize = 256 << 10;
/// `sizeof (tree_entry_t)`
const ENTRY: usize = 14 * 8;

/// `enum frame_kind`
mod kind {
    pub(super) const ENTRY: u32 = 1;
    pub(super) const TARGET: u32 = 2;
    pub(super) const ATTRIBUTE: u32 = 3;
    pub(super) const CONTENT: u32 = 4;
    pub(super) const DAMAGE: u32 = 5;
    pub(super) const LINK: u32 = 6;
    pub(super) const END: u32 = 7;
}

/// A frame as it was read; what it refers to is in the reader's buffer.
#[derive(Debug)]
pub(super) enum Frame<'a> {
    Entry(Entry),
    Target(&'a [u8]),
    Attribute { name: &'a [u8], value: &'a [u8] },
    Content { offset: u64, bytes: &'a [u8] },
    Damage(i32),
    End(u64),
}

/// Reads frames out of a pipe.
pub(super) struct Reader<R> {
    pipe: R,
    buffer: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(pipe: R) -> Self {
        Self {
            pipe,
            buffer: Vec::new(),
        }
    }

    /// The next frame; an error at the end of the pipe, and for what is no frame.
    pub(super) fn next(&mut self) -> io::Result<Frame<'_>> {
        let mut head = [0; 8];
        self.pipe.read_exact(&mut head)?;
        let (kind, length) = head.split_at(4);
        let length = number32(length) as usize;
        if length > MAX_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.buffer.resize(length, 0);
        self.pipe.read_exact(&mut self.buffer)?;
        parse(number32(kind), &self.buffer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn parse(kind: u32, bytes: &[u8]) -> Option<Frame<'_>> {
    Some(match kind {
        kind::ENTRY => Frame::Entry(entry(bytes)?),
        kind::TARGET => Frame::Target(bytes),
        kind::ATTRIBUTE => {
            let (length, rest) = bytes.split_at_checked(4)?;
            let (name, value) = rest.split_at_checked(number32(length) as usize)?;
            Frame::Attribute { name, value }
        }
        kind::CONTENT => {
            let (offset, bytes) = bytes.split_at_checked(8)?;
            let offset = number64(offset);
            Frame::Content { offset, bytes }
        }
        kind::DAMAGE => Frame::Damage(i32::try_from(number64(bytes.get(..8)?)).ok()?),
        kind::END => Frame::End(number64(bytes.get(..8)?)),
        _ => return None,
    })
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let (numbers, path) = bytes.split_at_checked(ENTRY)?;
    let number = |n: usize| number64(&numbers[8 * n..8 * n + 8]);
    let time = |n: usize| Time {
        seconds: number(n).cast_signed(),
        nanoseconds: number(n + 1).try_into().unwrap_or(u32::MAX),
    };
    // What cannot be read is told with a mode of zero, and damage after it.
    let mode = number(1) as u32;
    let kind = Kind::of_mode(mode).unwrap_or(Kind::File);
    let device = number(6);
    Some(Entry {
        path: PathBuf::from(OsStr::from_bytes(path)),
        kind,
        mode: mode & 0o7777,
        uid: id(number(2)),
        gid: id(number(3)),
        size: number(4),
        links: number(5),
        object: number(0),
        device: kind.is_device().then_some(Device {
            major: (device >> 20) as u32,
            minor: (device & 0xf_ffff) as u32,
        }),
        target: None,
        attributes: Default::default(),
        accessed: time(8),
        modified: time(10),
        changed: time(12),
    })
}

/// Those above 32 bits are of other systems' users, and the last of 32 bits means "unchanged" (chown(2)):
/// nobody's here.
fn id(number: u64) -> u32 {
    let id = number.try_into().ok().filter(|&id| id != u32::MAX);
    id.unwrap_or(65534)
}

fn number32(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_ne_bytes)
}

fn number64(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

/// Writes frames into a pipe.
pub(super) struct Writer<W> {
    pipe: W,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(pipe: W) -> Self {
        Self { pipe }
    }

    fn put(&mut self, kind: u32, pieces: &[&[u8]]) -> io::Result<()> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let length = u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        if length as usize > MAX_FRAME {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.pipe.write_all(&kind.to_ne_bytes())?;
        self.pipe.write_all(&length.to_ne_bytes())?;
        pieces
            .iter()
            .try_for_each(|piece| self.pipe.write_all(piece))
    }

    /// An entry, with its target and attributes.
    pub(super) fn entry(&mut self, entry: &Entry, replace: bool) -> io::Result<()> {
        let device = entry.device.map_or(0, |device| {
            u64::from(device.major) << 20 | u64::from(device.minor)
        });
        let time = |time: Time| {
            [
                time.seconds.cast_unsigned(),
                u64::from(time.nanoseconds.min(999_999_999)),
            ]
        };
        let [a, b, c] = [entry.accessed, entry.modified, entry.changed].map(time);
        let numbers: [u64; ENTRY / 8] = [
            entry.object,
            u64::from(entry.kind.mode_bits() | entry.mode & 0o7777),
            entry.uid.into(),
            entry.gid.into(),
            entry.size,
            entry.links,
            device,
            replace.into(),
            a[0],
            a[1],
            b[0],
            b[1],
            c[0],
            c[1],
        ];
        let mut bytes = [0; ENTRY];
        for (room, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            room.copy_from_slice(&number.to_ne_bytes());
        }
        let path = entry.path.as_os_str().as_bytes();
        self.put(kind::ENTRY, &[&bytes, path])?;
        if let Some(target) = &entry.target {
            self.put(kind::TARGET, &[target.as_os_str().as_bytes()])?;
        }
        for (name, value) in &entry.attributes {
            let length = u32::try_from(name.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            self.put(kind::ATTRIBUTE, &[&length.to_ne_bytes(), name, value])?;
        }
        Ok(())
    }

    pub(super) fn content(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = offset;
        for piece in bytes.chunks(PIECE) {
            self.put(kind::CONTENT, &[&at.to_ne_bytes(), piece])?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    pub(super) fn link(&mut self, path: &Path, to: &Path) -> io::Result<()> {
        let [path, to] = [path, to].map(|path| path.as_os_str().as_bytes());
        self.put(kind::LINK, &[path, b"\0", to])
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        self.put(kind::END, &[])?;
        self.pipe.flush()
    }
}
