//! What can go wrong, classified by error number, never by message text.

use std::fmt;

use crate::names::NameError;
use crate::properties::PropertyError;

/// A ZFS call that failed: what was attempted, on what, and why.
///
/// Its text is one line, `cannot <operation> <object>: <why>`, with control characters escaped;
/// [`Error::help`] adds what to do about it where there is something to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object, or something it depends on, does not exist (`ENOENT`, `ESRCH`).
    #[error("cannot {0}: it does not exist")]
    NotFound(Attempt),
    /// Something of that name exists already (`EEXIST`).
    #[error("cannot {attempt}: {} exists", Shown(name))]
    Exists {
        /// What was attempted, on what.
        attempt: Attempt,
        /// What exists: for a promotion the snapshot whose name both datasets have.
        name: String,
    },
    /// The object is in use: mounted, held, being sent, or it still has snapshots (`EBUSY`).
    #[error("cannot {0}: it is in use")]
    Busy(Attempt),
    /// The name means another object than the one that was meant: its guid is another.
    #[error("cannot {0}: the name means another snapshot by now")]
    Replaced(Attempt),
    /// The snapshot has clones (`EEXIST` of a destroy).
    #[error("cannot {0}: it has clones")]
    HasClones(Attempt),
    /// The dataset has children (`EEXIST`, `ENOTEMPTY` of a destroy).
    #[error("cannot {0}: it has children")]
    HasChildren(Attempt),
    /// The caller may not do that (`EPERM`).
    #[error("cannot {0}: not permitted")]
    PermissionDenied(Attempt),
    /// The dataset is encrypted and its key is not loaded or not the right one (`EACCES`).
    #[error("cannot {0}: its encryption key is not loaded or does not fit")]
    KeyUnavailable(Attempt),
    /// ZFS cannot be reached: the library or `/dev/zfs` is absent.
    #[error("cannot {attempt}: {reason}")]
    Unavailable {
        /// What was attempted, on what.
        attempt: Attempt,
        /// What is missing.
        reason: String,
    },
    /// The pool is full (`ENOSPC`).
    #[error("cannot {0}: the pool has no space left")]
    NoSpace(Attempt),
    /// A quota or limit is reached (`EDQUOT`).
    #[error("cannot {0}: a quota or limit is reached")]
    QuotaExceeded(Attempt),
    /// The pool or dataset is read-only (`EROFS`).
    #[error("cannot {0}: it is read-only")]
    ReadOnly(Attempt),
    /// The pool is suspended after lost devices (`EAGAIN`).
    #[error("cannot {0}: the pool is suspended")]
    Suspended(Attempt),
    /// The objects of one call lie in different pools (`EXDEV`).
    #[error("cannot {0}: that crosses a pool")]
    CrossesPools(Attempt),
    /// The incremental source is no ancestor of the snapshot (`EXDEV` of a send or bookmark).
    #[error("cannot {0}: the source is not an earlier point of it")]
    NotAncestor(Attempt),
    /// The target has no snapshot that the stream could start from (`ENODEV`).
    #[error("cannot {0}: it does not have the snapshot that the stream starts from")]
    Diverged(Attempt),
    /// The target was changed since the snapshot that the stream starts from (`ETXTBSY`).
    #[error("cannot {0}: it was modified since the snapshot that the stream starts from")]
    Modified(Attempt),
    /// The stream is damaged, cut short, or not one that this target can take.
    #[error("cannot {attempt}: {reason}")]
    BadStream {
        /// What was attempted, on what.
        attempt: Attempt,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The call, or a property's value in it, was refused (`EINVAL`, `ZFS_ERR_BADPROP`).
    #[error("cannot {0}: invalid argument")]
    InvalidArgument(Attempt),
    /// The kernel module or the pool's version cannot do that (`ENOTSUP`, `ENOTTY`).
    #[error("cannot {0}: not supported by this ZFS or this pool")]
    NotSupported(Attempt),
    /// The call was interrupted, by a signal or by the reader of a stream going away (`EINTR`).
    #[error("cannot {0}: interrupted")]
    Interrupted(Attempt),
    /// A name, value or result exceeds what ZFS can hold (`E2BIG`, `ENAMETOOLONG`, `EFBIG`).
    #[error("cannot {0}: too large")]
    TooLarge(Attempt),
    /// A channel program stopped with an error.
    #[error("cannot {attempt}: channel program: {}", Shown(message))]
    Program {
        /// What was attempted, on what.
        attempt: Attempt,
        /// Lua's message, or the limit that was reached.
        message: String,
    },
    /// A name that ZFS would refuse.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A property that cannot be set so.
    #[error(transparent)]
    Property(#[from] PropertyError),
    /// Input or output around a call failed: a pipe, a mount, a process.
    #[error("cannot {attempt}: {}", describe(*errno))]
    Io {
        /// What was attempted, on what.
        attempt: Attempt,
        /// The system's error number.
        errno: i32,
    },
    /// No answer came in time; whether it was done is unknown.
    #[error("cannot {0}: no answer in time")]
    TimedOut(Attempt),
    /// The process that holds the pool has ended; whether it was done is unknown.
    #[error("cannot {attempt}: the engine has ended: {}", Shown(reason))]
    EngineLost {
        /// What was attempted, on what.
        attempt: Attempt,
        /// How it ended.
        reason: String,
    },
    /// ZFS answered something that this version does not understand.
    #[error("cannot {attempt}: unexpected answer: {}", Shown(detail))]
    Unexpected {
        /// What was attempted, on what.
        attempt: Attempt,
        /// What was not understood.
        detail: String,
    },
    /// Any other error number.
    #[error("cannot {attempt}: {}", describe(*errno))]
    Other {
        /// What was attempted, on what.
        attempt: Attempt,
        /// The error number; 1024 and above are ZFS's own (`zfs_errno_t` in sys/fs/zfs.h).
        errno: i32,
    },
}

/// The variants of [`Error`] without what they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "each is documented at the variant of `Error` of the same name"
)]
pub enum ErrorKind {
    NotFound,
    Exists,
    Busy,
    Replaced,
    HasClones,
    HasChildren,
    PermissionDenied,
    KeyUnavailable,
    Unavailable,
    NoSpace,
    QuotaExceeded,
    ReadOnly,
    Suspended,
    CrossesPools,
    NotAncestor,
    Diverged,
    Modified,
    BadStream,
    InvalidArgument,
    NotSupported,
    Interrupted,
    TooLarge,
    Program,
    Name,
    Property,
    Io,
    TimedOut,
    EngineLost,
    Unexpected,
    Other,
}

impl Error {
    /// The kind, for decisions.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound { .. } => ErrorKind::NotFound,
            Error::Exists { .. } => ErrorKind::Exists,
            Error::Busy { .. } => ErrorKind::Busy,
            Error::Replaced { .. } => ErrorKind::Replaced,
            Error::HasClones { .. } => ErrorKind::HasClones,
            Error::HasChildren { .. } => ErrorKind::HasChildren,
            Error::PermissionDenied { .. } => ErrorKind::PermissionDenied,
            Error::KeyUnavailable { .. } => ErrorKind::KeyUnavailable,
            Error::Unavailable { .. } => ErrorKind::Unavailable,
            Error::NoSpace { .. } => ErrorKind::NoSpace,
            Error::QuotaExceeded { .. } => ErrorKind::QuotaExceeded,
            Error::ReadOnly { .. } => ErrorKind::ReadOnly,
            Error::Suspended { .. } => ErrorKind::Suspended,
            Error::CrossesPools { .. } => ErrorKind::CrossesPools,
            Error::NotAncestor { .. } => ErrorKind::NotAncestor,
            Error::Diverged { .. } => ErrorKind::Diverged,
            Error::Modified { .. } => ErrorKind::Modified,
            Error::BadStream { .. } => ErrorKind::BadStream,
            Error::InvalidArgument { .. } => ErrorKind::InvalidArgument,
            Error::NotSupported { .. } => ErrorKind::NotSupported,
            Error::Interrupted { .. } => ErrorKind::Interrupted,
            Error::TooLarge { .. } => ErrorKind::TooLarge,
            Error::Program { .. } => ErrorKind::Program,
            Error::Name(_) => ErrorKind::Name,
            Error::Property(_) => ErrorKind::Property,
            Error::Io { .. } => ErrorKind::Io,
            Error::TimedOut(_) => ErrorKind::TimedOut,
            Error::EngineLost { .. } => ErrorKind::EngineLost,
            Error::Unexpected { .. } => ErrorKind::Unexpected,
            Error::Other { .. } => ErrorKind::Other,
        }
    }

    /// What to do about it, where there is something to do.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Error::PermissionDenied { .. } => "run as root, or delegate the right with `zfs allow`",
            Error::KeyUnavailable { .. } => "load the key with `zfs load-key`",
            Error::Unavailable { .. } => {
                "install zfsutils-linux and load the module with `modprobe zfs`"
            }
            Error::NoSpace { .. } => "free space in the pool, or add devices",
            Error::QuotaExceeded { .. } => {
                "raise quota, refquota, filesystem_limit or snapshot_limit"
            }
            Error::ReadOnly { .. } => "import the pool or set the dataset writable",
            Error::Suspended { .. } => {
                "bring the devices back and run `zpool clear`; see `zpool status`"
            }
            Error::TimedOut(_) | Error::EngineLost { .. } => {
                "open the pool again: it is as it was before that call, or after it"
            }
            Error::HasClones { .. } => "promote or destroy its clones first",
            Error::HasChildren { .. } => "destroy or move its children first",
            Error::Exists {
                attempt:
                    Attempt {
                        operation: "promote",
                        ..
                    },
                ..
            } => "rename that snapshot first",
            _ => return None,
        })
    }

    /// Classifies an error number that holds for every operation alike.
    ///
    /// Where an operation gives a number a meaning of its own (`EEXIST` of a destroy says that there
    /// are clones), the call's own module looks first and falls back on this.
    pub fn from_errno(operation: &'static str, object: impl Into<String>, errno: i32) -> Self {
        let attempt = Attempt::new(operation, object);
        match errno {
            libc::ENOENT | libc::ESRCH => Error::NotFound(attempt),
            libc::EEXIST => Error::Exists {
                name: attempt.object.clone(),
                attempt,
            },
            libc::EBUSY => Error::Busy(attempt),
            libc::ENOTEMPTY => Error::HasChildren(attempt),
            libc::EPERM => Error::PermissionDenied(attempt),
            libc::EACCES => Error::KeyUnavailable(attempt),
            libc::ENOSPC => Error::NoSpace(attempt),
            libc::EDQUOT => Error::QuotaExceeded(attempt),
            libc::EROFS => Error::ReadOnly(attempt),
            libc::EAGAIN => Error::Suspended(attempt),
            libc::EXDEV => Error::CrossesPools(attempt),
            libc::EINVAL | zfs_errno::BADPROP => Error::InvalidArgument(attempt),
            libc::ENOTSUP
            | libc::ENOTTY
            | zfs_errno::IOC_CMD_UNAVAIL
            | zfs_errno::IOC_ARG_UNAVAIL => Error::NotSupported(attempt),
            libc::EINTR => Error::Interrupted(attempt),
            libc::E2BIG | libc::ENAMETOOLONG | libc::EFBIG => Error::TooLarge(attempt),
            libc::EIO => Error::Io { attempt, errno },
            errno => Error::Other { attempt, errno },
        }
    }

    pub(crate) fn io(
        operation: &'static str,
        object: impl Into<String>,
        error: &std::io::Error,
    ) -> Self {
        // An error without a number is one that the standard library made itself.
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Error::Io {
            attempt: Attempt::new(operation, object),
            errno,
        }
    }

    pub(crate) fn unexpected(
        operation: &'static str,
        object: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Error::Unexpected {
            attempt: Attempt::new(operation, object),
            detail: detail.into(),
        }
    }
}

/// What was attempted, on what: the half of an error's text before the colon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The operation as a verb: `rename`, `take snapshot`.
    pub operation: &'static str,
    /// The name of the dataset, snapshot, bookmark or pool.
    pub object: String,
}

impl Attempt {
    /// Names an operation and its object.
    pub fn new(operation: &'static str, object: impl Into<String>) -> Self {
        Self {
            operation,
            object: object.into(),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation, Shown(&self.object))
    }
}

/// A call on several objects that failed for some of them.
///
/// Most such calls are all or nothing: then nothing was done, and a retry without the failed objects
/// may succeed. Where a call does what it can, [`BatchError::others_done`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchError {
    /// What was attempted.
    pub operation: &'static str,
    /// Which objects failed, and why; never empty. When the call failed as a whole (the pool is
    /// suspended, say), the object is the pool.
    pub failures: Vec<(String, Error)>,
    /// Whether the objects that are not in `failures` were done.
    pub others_done: bool,
}

impl BatchError {
    /// A call of which nothing was done.
    pub fn new(operation: &'static str, failures: Vec<(String, Error)>) -> Self {
        Self {
            operation,
            failures,
            others_done: false,
        }
    }

    /// A call that failed as a whole; `object` is the pool or whatever stood in the way.
    pub fn whole(operation: &'static str, object: impl Into<String>, error: Error) -> Self {
        Self::new(operation, vec![(object.into(), error)])
    }

    /// The first failure's kind.
    pub fn kind(&self) -> ErrorKind {
        self.failures
            .first()
            .map_or(ErrorKind::Other, |(_, error)| error.kind())
    }

    /// What to do about the first failure that knows.
    pub fn help(&self) -> Option<&'static str> {
        self.failures.iter().find_map(|(_, error)| error.help())
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (_, error)) in self.failures.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BatchError {}

/// ZFS's own error numbers (`zfs_errno_t` in sys/fs/zfs.h; the values are part of its interface).
pub(crate) mod zfs_errno {
    pub(crate) const IOC_CMD_UNAVAIL: i32 = 1029;
    pub(crate) const IOC_ARG_UNAVAIL: i32 = 1030;
    pub(crate) const WRONG_PARENT: i32 = 1033;
    pub(crate) const FROM_IVSET_GUID_MISSING: i32 = 1034;
    pub(crate) const FROM_IVSET_GUID_MISMATCH: i32 = 1035;
    pub(crate) const SPILL_BLOCK_FLAG_MISSING: i32 = 1036;
    pub(crate) const UNKNOWN_SEND_STREAM_FEATURE: i32 = 1037;
    pub(crate) const BOOKMARK_SOURCE_NOT_ANCESTOR: i32 = 1039;
    pub(crate) const STREAM_TRUNCATED: i32 = 1040;
    pub(crate) const STREAM_LARGE_BLOCK_MISMATCH: i32 = 1041;
    /// A property's value that is none of its values.
    pub(crate) const BADPROP: i32 = 1044;
    /// `ECKSUM`: ZFS on Linux uses an otherwise unused number.
    pub(crate) const ECKSUM: i32 = libc::EBADE;
}

fn describe(errno: i32) -> String {
    if errno < 1024 {
        nix::errno::Errno::from_raw(errno).desc().to_owned()
    } else {
        format!("ZFS error {errno}")
    }
}

/// A name as it may reach a terminal: control characters escaped.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_that_names_operation_and_object() {
        for errno in [
            1, 2, 5, 11, 13, 16, 17, 18, 22, 28, 30, 52, 95, 122, 1029, 1044, 1999,
        ] {
            let error = Error::from_errno("rename", "tank/a\u{1b}[31m\nb", errno);
            let text = error.to_string();
            assert!(
                text.starts_with("cannot rename tank/a\\u{1b}[31m\\nb: "),
                "{text}"
            );
            assert!(!text.contains(['\u{1b}', '\n']), "{text}");
        }
    }

    #[test]
    fn error_numbers_are_classified() {
        for (errno, kind) in [
            (libc::ENOENT, ErrorKind::NotFound),
            (libc::ESRCH, ErrorKind::NotFound),
            (libc::EEXIST, ErrorKind::Exists),
            (libc::EBUSY, ErrorKind::Busy),
            (libc::EPERM, ErrorKind::PermissionDenied),
            (libc::EACCES, ErrorKind::KeyUnavailable),
            (libc::ENOSPC, ErrorKind::NoSpace),
            (libc::EDQUOT, ErrorKind::QuotaExceeded),
            (libc::EROFS, ErrorKind::ReadOnly),
            (libc::EAGAIN, ErrorKind::Suspended),
            (libc::EXDEV, ErrorKind::CrossesPools),
            (libc::EINVAL, ErrorKind::InvalidArgument),
            (1044, ErrorKind::InvalidArgument),
            (libc::ENOTSUP, ErrorKind::NotSupported),
            (1029, ErrorKind::NotSupported),
            (libc::EINTR, ErrorKind::Interrupted),
            (libc::ENAMETOOLONG, ErrorKind::TooLarge),
            (libc::EIO, ErrorKind::Io),
            (libc::EPIPE, ErrorKind::Other),
            (9999, ErrorKind::Other),
        ] {
            assert_eq!(Error::from_errno("x", "y", errno).kind(), kind, "{errno}");
        }
    }

    #[test]
    fn a_batch_error_names_every_failure() {
        let failure = |name: &str, errno| (name.to_owned(), Error::from_errno("hold", name, errno));
        let error = BatchError::new(
            "hold",
            vec![failure("a@s", libc::EEXIST), failure("b@s", libc::EROFS)],
        );
        assert_eq!(
            error.to_string(),
            "cannot hold a@s: a@s exists; cannot hold b@s: it is read-only"
        );
        assert_eq!(error.kind(), ErrorKind::Exists);
        assert_eq!(
            error.help(),
            Some("import the pool or set the dataset writable")
        );
    }
}
