//! Pipes that streams go through.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use terrarium_zfs::Error;

/// Gives a pipe room for 256 KiB, four times the usual, so that its ends wake each other seldom. What is no pipe, or may not be so large
/// (`/proc/sys/fs/pipe-max-size`), stays as it is.
pub fn widen_pipe(pipe: impl AsFd) {
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(256 << 10));
}

/// Whether a send had nobody to write to any more.
pub(crate) fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { errno, .. } if *errno == Errno::EPIPE as i32)
}
