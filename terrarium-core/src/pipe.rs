//! Pipes that streams go through.

use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, fcntl};

/// Gives a pipe room for 256 KiB, four times the usual, so that its ends wake each other seldom. What is no pipe, or may not be so large
/// (`/proc/sys/fs/pipe-max-size`), stays as it is.
pub fn widen_pipe(pipe: impl AsFd) {
    let _ = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(256 << 10));
}
