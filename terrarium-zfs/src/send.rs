//! Send streams: out of a snapshot into any file descriptor.
#![allow(unsafe_code, reason = "calls libzfs_core")]

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::stat::{SFlag, fstat};
use serde::{Deserialize, Serialize};

use crate::error::{Attempt, Error};
use crate::handle::{CName, ZfsCore};
use crate::names::{BookmarkName, SnapshotName};
use crate::sigpipe::WithoutSigpipe;
use crate::token::ResumeToken;

/// What a stream may contain (zfs-send(8)).
///
/// Keep them for a whole chain of increments: a target that received a stream with `large_blocks`
/// refuses an increment without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendFlags {
    /// Blocks above 128 KiB (`-L`).
    pub large_blocks: bool,
    /// Blocks embedded in block pointers (`-e`).
    pub embedded: bool,
    /// Blocks compressed as they are on disk (`-c`).
    pub compressed: bool,
    /// Encrypted datasets as they are on disk, without their key (`-w`).
    pub raw: bool,
}

impl SendFlags {
    /// `enum lzc_send_flags` of libzfs_core.h.
    fn bits(self) -> u32 {
        u32::from(self.embedded)
            | u32::from(self.large_blocks) << 1
            | u32::from(self.compressed) << 2
            | u32::from(self.raw) << 3
    }
}

/// Where an incremental stream starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendSource {
    /// A snapshot of the same dataset, or of an origin it was cloned from.
    Snapshot(SnapshotName),
    /// A bookmark of such a snapshot.
    Bookmark(BookmarkName),
}

impl SendSource {
    /// The full name.
    pub fn as_str(&self) -> &str {
        match self {
            SendSource::Snapshot(name) => name.as_str(),
            SendSource::Bookmark(name) => name.as_str(),
        }
    }
}

impl AsRef<str> for SendSource {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl CName for SendSource {}

impl ZfsCore {
    /// Writes the stream of a snapshot, full or since `from`, to a file descriptor.
    ///
    /// Any descriptor that can be written to will do. The kernel writes to pipes itself; to
    /// anything else a thread copies, since Linux 5.10 lets the kernel write to few kinds of file.
    /// The snapshot is in use while it is sent: it can be neither destroyed nor promoted.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the snapshot or the source does not exist; [`Error::NotAncestor`];
    /// [`Error::KeyUnavailable`] for an encrypted dataset without its key, unless sent raw;
    /// [`Error::Io`] with `EPIPE` if the reader went away, or whatever writing answered;
    /// [`Error::Interrupted`] by a signal. What was written before the error is no whole stream: only the
    /// return without an error says that the stream is complete.
    pub fn send(
        &self,
        snapshot: &SnapshotName,
        from: Option<&SendSource>,
        flags: SendFlags,
        output: impl AsFd,
    ) -> Result<(), Error> {
        let (name, from) = (snapshot.c(), from.map(CName::c));
        let from = from.as_ref().map_or(std::ptr::null(), |from| from.as_ptr());
        write_stream(snapshot, output.as_fd(), |output| {
            // SAFETY: the library is initialised; the names outlive the call, `from` may be null;
            // the descriptor is open.
            unsafe { (self.library.lzc_send)(name.as_ptr(), from, output, flags.bits()) }
        })
    }

    /// Continues the stream that a resumable receive was cut off from.
    ///
    /// The caller looks up the names: `snapshot` is the one with the token's
    /// [`to_guid`](ResumeToken::to_guid), `from` the snapshot or bookmark with its
    /// [`from_guid`](ResumeToken::from_guid). The flags are the token's.
    ///
    /// # Errors
    /// Those of [`ZfsCore::send`].
    pub fn send_resume(
        &self,
        token: &ResumeToken,
        snapshot: &SnapshotName,
        from: Option<&SendSource>,
        output: impl AsFd,
    ) -> Result<(), Error> {
        let (name, from) = (snapshot.c(), from.map(CName::c));
        let from = from.as_ref().map_or(std::ptr::null(), |from| from.as_ptr());
        let flags = token.flags().bits();
        let (object, offset) = token.position();
        write_stream(snapshot, output.as_fd(), |output| {
            // SAFETY: as for `lzc_send`.
            unsafe {
                let name = name.as_ptr();
                (self.library.lzc_send_resume)(name, from, output, flags, object, offset)
            }
        })
    }

    /// Estimates the size of a stream in bytes.
    ///
    /// From a snapshot that is quick; from a bookmark the blocks of the snapshot are walked.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotAncestor`].
    pub fn send_space(
        &self,
        snapshot: &SnapshotName,
        from: Option<&SendSource>,
        flags: SendFlags,
    ) -> Result<u64, Error> {
        let (name, from) = (snapshot.c(), from.map(CName::c));
        let from = from.as_ref().map_or(std::ptr::null(), |from| from.as_ptr());
        let mut bytes = 0;
        // SAFETY: the library is initialised; the names outlive the call, `from` may be null;
        // `bytes` takes the result.
        let errno =
            unsafe { (self.library.lzc_send_space)(name.as_ptr(), from, flags.bits(), &mut bytes) };
        match errno {
            0 => Ok(bytes),
            errno => Err(send_error("estimate the stream of", snapshot, errno)),
        }
    }
}

/// Lets the kernel write a stream, by way of a pipe unless the output is one.
fn write_stream(
    snapshot: &SnapshotName,
    output: BorrowedFd<'_>,
    send: impl FnOnce(c_int) -> c_int,
) -> Result<(), Error> {
    let operation = "send";
    let io_error = |error: &io::Error| Error::io(operation, snapshot.as_str(), error);
    let kind = fstat(output)
        .map_err(|errno| io_error(&errno.into()))?
        .st_mode;
    let outcome = |errno| match errno {
        0 => Ok(()),
        errno => Err(send_error(operation, snapshot, errno)),
    };
    // A reader that goes away is an error of this call, not the end of the process.
    let _guard = WithoutSigpipe::new();
    if SFlag::from_bits_truncate(kind & SFlag::S_IFMT.bits()) == SFlag::S_IFIFO {
        return match send(output.as_raw_fd()) {
            // A write that fails in mid-stream is reported as an interruption (seen on 2.1.11).
            libc::EINTR if has_no_reader(output) => outcome(libc::EPIPE),
            errno => outcome(errno),
        };
    }
    let mut output = output
        .try_clone_to_owned()
        .map(File::from)
        .map_err(|error| io_error(&error))?;
    let (mut reader, writer) = io::pipe().map_err(|error| io_error(&error))?;
    std::thread::scope(|scope| {
        let copy = scope.spawn(move || {
            let _guard = WithoutSigpipe::new();
            // The reader is dropped at the end, which ends the send if copying failed.
            io::copy(&mut reader, &mut output).map(|_| ())
        });
        let errno = send(writer.as_raw_fd());
        drop(writer);
        let copied = copy
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A failed copy is the cause of the send's broken pipe.
        copied.map_err(|error| io_error(&error))?;
        outcome(errno)
    })
}

/// Whether a pipe's readers are all gone.
fn has_no_reader(pipe: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd {
        fd: pipe.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one valid entry; with a time of zero it returns at once.
    unsafe { libc::poll(&mut poll, 1, 0) > 0 && poll.revents & libc::POLLERR != 0 }
}

/// The error of a send.
pub fn send_error(operation: &'static str, snapshot: &SnapshotName, errno: c_int) -> Error {
    let attempt = Attempt::new(operation, snapshot.as_str());
    match errno {
        libc::EXDEV => Error::NotAncestor(attempt),
        libc::EPIPE | libc::EBADF | libc::EFBIG | libc::ENOSPC | libc::EDQUOT | libc::EIO => {
            Error::Io { attempt, errno }
        }
        errno => Error::from_errno(operation, snapshot.as_str(), errno),
    }
}
