//! Receiving send streams from any file descriptor.
#![allow(unsafe_code, reason = "calls libzfs_core")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use crate::error::{Attempt, Error, zfs_errno};
use crate::handle::{CName, ZfsCore, properties_to_nvlist};
use crate::names::SnapshotName;
use crate::nvlist::NvList;
use crate::properties::Properties;
use crate::stream::{BeginError, BeginRecord};

/// How to receive a stream.
#[derive(Clone, Debug, Default)]
pub struct ReceiveOptions {
    /// The local snapshot that a stream of a clone builds on.
    pub origin: Option<SnapshotName>,
    /// Roll the target back, or replace it, if it is in the way (`-F`): *loses data there*.
    pub force: bool,
    /// Keep what has arrived if the stream breaks off, and make a resume token (`-s`).
    pub resumable: bool,
    /// Properties to set locally on the received dataset (`-o`).
    pub properties: Properties,
}

/// What a receive did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Bytes of stream read.
    pub bytes: u64,
    /// The stream's first record, with the guid of the snapshot that was received.
    pub begin: BeginRecord,
    /// Properties of [`ReceiveOptions::properties`] that could not be set; all else was received.
    pub failed_properties: Vec<String>,
}

impl Received {
    /// A stream of that many bytes, received whole, and which properties could not be set.
    pub fn new(bytes: u64, begin: BeginRecord, failed_properties: Vec<String>) -> Self {
        Self {
            bytes,
            begin,
            failed_properties,
        }
    }
}

impl ZfsCore {
    /// Receives the stream of one snapshot as `snapshot`. A full stream creates the dataset; an
    /// incremental one goes onto a dataset that was not changed since the stream's source, though
    /// it may have newer snapshots without changes.
    ///
    /// Any descriptor that can be read will do. What it holds after the stream is left unread. The
    /// dataset is not mounted. The stream's own checksums are verified on the way. Without
    /// `resumable` nothing is left of a receive that failed; with it the dataset keeps what has
    /// arrived and a token.
    ///
    /// # Errors
    /// [`Error::BadStream`] if the stream is damaged, cut short, or none;
    /// [`Error::Exists`] if the snapshot, or for a full stream the dataset, exists;
    /// [`Error::Diverged`] and [`Error::Modified`] if an incremental stream does not fit the
    /// target; [`Error::NotFound`] if the parent or the origin does not exist; [`Error::Busy`] if
    /// the target is mounted and in use, or holds the rest of an interrupted receive;
    /// [`Error::KeyUnavailable`]; [`Error::NotSupported`]; [`Error::QuotaExceeded`];
    /// [`Error::NoSpace`].
    pub fn receive(
        &self,
        snapshot: &SnapshotName,
        options: &ReceiveOptions,
        input: impl AsFd,
    ) -> Result<Received, Error> {
        let first = input.as_fd().try_clone_to_owned().map(File::from);
        let first = first.map_err(|error| Error::io(OPERATION, snapshot.as_str(), &error))?;
        let begin = read_begin(snapshot, first)?;
        let properties = properties_to_nvlist(&options.properties)?;
        let name = snapshot.c();
        let origin = options.origin.as_ref().map(CName::c);
        let (mut bytes, mut flags, mut action) = (0, 0, 0);
        let mut raw = ptr::null_mut();
        // SAFETY: the library is initialised; names, list and the record of 312 bytes outlive the
        // call; received properties, key and origin may be null; the descriptor is open; the four
        // results take numbers and the address of a new list.
        let errno = unsafe {
            (self.library.lzc_receive_with_cmdprops)(
                name.as_ptr(),
                ptr::null_mut(),
                properties.as_ptr(),
                ptr::null_mut(),
                0,
                origin
                    .as_ref()
                    .map_or(ptr::null(), |origin| origin.as_ptr()),
                options.force.into(),
                options.resumable.into(),
                begin.is_raw().into(),
                input.as_fd().as_raw_fd(),
                begin.as_bytes().as_ptr(),
                NO_CLEANUP,
                &mut bytes,
                &mut flags,
                &mut action,
                &mut raw,
            )
        };
        let failed = if raw.is_null() {
            None
        } else {
            Some(NvList::adopt(self.nvpair, raw, 0)?)
        };
        if errno != 0 {
            return Err(receive_error(snapshot, errno));
        }
        let failed = failed
            .iter()
            .flatten()
            .map(|(name, _)| name.to_string_lossy().into_owned());
        // Counted from where the kernel began to read.
        let bytes = bytes + BeginRecord::SIZE as u64;
        Ok(Received::new(bytes, begin, failed.collect()))
    }
}

/// No longer used by libzfs_core, but still an argument.
const NO_CLEANUP: i32 = -1;

/// Reads the first record, and not a byte more: the receive goes on from there.
///
/// # Errors
/// [`Error::BadStream`] if it is no stream of one snapshot, [`Error::Io`].
pub fn read_begin(snapshot: &SnapshotName, mut input: impl Read) -> Result<BeginRecord, Error> {
    let io_error = |error: &io::Error| Error::io(OPERATION, snapshot.as_str(), error);
    let bad = |reason| {
        let attempt = Attempt::new(OPERATION, snapshot.as_str());
        Error::BadStream { attempt, reason }
    };
    let mut raw = [0; BeginRecord::SIZE];
    match input.read_exact(&mut raw) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(bad("the stream ends before its first record does"));
        }
        Err(error) => return Err(io_error(&error)),
    }
    BeginRecord::parse(raw).map_err(|error| match error {
        BeginError::NoStream => bad("that is no ZFS send stream"),
        BeginError::Package => {
            bad("it is a package of streams (zfs send -R, -I or -p), not one snapshot's")
        }
    })
}

const OPERATION: &str = "receive";

/// The error of a receive.
pub fn receive_error(snapshot: &SnapshotName, errno: i32) -> Error {
    let attempt = Attempt::new(OPERATION, snapshot.as_str());
    let reason = match errno {
        libc::ENODEV => return Error::Diverged(attempt),
        libc::ETXTBSY => return Error::Modified(attempt),
        zfs_errno::UNKNOWN_SEND_STREAM_FEATURE => return Error::NotSupported(attempt),
        zfs_errno::ECKSUM => "the stream is damaged or cut short",
        zfs_errno::STREAM_TRUNCATED => "the stream is cut short",
        zfs_errno::STREAM_LARGE_BLOCK_MISMATCH => {
            "it was sent without large blocks (-L), unlike what the target holds"
        }
        zfs_errno::FROM_IVSET_GUID_MISSING | zfs_errno::FROM_IVSET_GUID_MISMATCH => {
            "the encrypted source is not the one that the raw stream starts from"
        }
        zfs_errno::SPILL_BLOCK_FLAG_MISSING => {
            "the raw stream was sent by a ZFS with a known fault; update the sender"
        }
        zfs_errno::WRONG_PARENT => "a raw stream cannot replace a dataset that others inherit from",
        errno => return Error::from_errno(OPERATION, snapshot.as_str(), errno),
    };
    Error::BadStream { attempt, reason }
}
