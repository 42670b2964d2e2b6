//! Keeps a broken pipe from ending the process.

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

/// While it lives, SIGPIPE does not reach this thread.
///
/// Rust programs start with SIGPIPE ignored, but one that wants to end quietly when its output is
/// cut off (or a host in another language) has it fatal, and the kernel raises it in the thread
/// that sends a stream when the reader is gone.
pub(crate) struct WithoutSigpipe {
    /// The mask to go back to; `None` if SIGPIPE was blocked already.
    before: Option<SigSet>,
}

impl WithoutSigpipe {
    pub(crate) fn new() -> Self {
        let mut pipe = SigSet::empty();
        pipe.add(Signal::SIGPIPE);
        let mut before = SigSet::empty();
        // On Linux sigprocmask(2) concerns the calling thread. It fails for a wrong `how` only.
        let blocked = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&pipe), Some(&mut before)).is_ok();
        let before = Some(before).filter(|mask| blocked && !mask.contains(Signal::SIGPIPE));
        Self { before }
    }
}

impl Drop for WithoutSigpipe {
    #[expect(
        unsafe_code,
        reason = "takes a pending signal back, which nix cannot without waiting"
    )]
    fn drop(&mut self) {
        let Some(before) = &self.before else { return };
        let mut pipe = SigSet::empty();
        pipe.add(Signal::SIGPIPE);
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: all three arguments are valid for the call; the second may be null. With a time
        // of zero it returns at once, whether a signal was pending or not.
        unsafe { libc::sigtimedwait(pipe.as_ref(), std::ptr::null_mut(), &now) };
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(before), None);
    }
}
