//! What can go wrong between a request and its answer.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a request did not succeed.
///
/// `operation` is what was asked: the method and the address (`GET /1.0/instances/c1`), or the background operation's
/// own description. Messages are LXD's own words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No socket is at any of the places where LXD or Incus has one.
    #[error("no LXD socket found (tried {})", Paths(tried))]
    SocketNotFound {
        /// The places, in the order they were tried.
        tried: Vec<PathBuf>,
    },
    /// The socket is there, but this user may not use it.
    #[error("no permission to use the LXD socket {}", path.display())]
    PermissionDenied {
        /// The socket.
        path: PathBuf,
    },
    /// Nothing listens on the socket, or it does not answer. Nothing was asked: safe to retry.
    #[error("LXD does not answer on {}: {source}", path.display())]
    Unavailable {
        /// The socket.
        path: PathBuf,
        /// Why connecting failed.
        source: io::Error,
    },
    /// LXD answers, but does not trust this client.
    #[error("LXD on {} does not trust this client", path.display())]
    Untrusted {
        /// The socket.
        path: PathBuf,
    },
    /// What was asked for does not exist (404).
    #[error("{operation}: {}", OneLine(message))]
    NotFound {
        /// LXD's message.
        message: String,
        /// What was asked.
        operation: String,
    },
    /// The name is taken, or the object is in a state that forbids it (409).
    #[error("{operation}: {}", OneLine(message))]
    Conflict {
        /// LXD's message.
        message: String,
        /// What was asked.
        operation: String,
    },
    /// The object was changed since it was read: its ETag differs (412).
    #[error("{operation}: changed in the meantime: {}", OneLine(message))]
    PreconditionFailed {
        /// LXD's message.
        message: String,
        /// What was asked.
        operation: String,
    },
    /// Any other refusal.
    #[error("{operation}: {} (status {status})", OneLine(message))]
    Api {
        /// LXD's `error_code`, an HTTP status.
        status: u16,
        /// LXD's message.
        message: String,
        /// What was asked.
        operation: String,
    },
    /// The background operation ran and failed, or was cancelled.
    #[error("{operation}: {}", OneLine(message))]
    OperationFailed {
        /// LXD's code for the failure where it tells one, else 400; 401 if cancelled.
        status: u16,
        /// LXD's message.
        message: String,
        /// The operation's description.
        operation: String,
    },
    /// The background operation is no longer known, so how it ended is not known either: LXD forgets an operation 5
    /// seconds after its end, and all of them when it restarts.
    #[error("{operation}: LXD no longer knows how it ended")]
    OperationLost {
        /// The operation's description.
        operation: String,
    },
    /// The answer, or the end of the operation, did not come in time. What was asked for may still happen.
    #[error("{operation}: no answer within {}", Seconds(*after))]
    Timeout {
        /// What was asked, or the operation's description.
        operation: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection broke after the request was sent. What was asked for may have happened.
    #[error("{operation}: the connection broke before the answer was whole: {detail}")]
    Disconnected {
        /// What was asked.
        operation: String,
        /// How it broke.
        detail: String,
    },
    /// The answer is not one that LXD would give.
    #[error("{operation}: unexpected answer: {}", OneLine(detail))]
    Protocol {
        /// What was asked.
        operation: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A name that cannot be part of an address; nothing was asked.
    #[error("{} cannot be a name", OneLine(&format!("{name:?}")))]
    InvalidName {
        /// The name.
        name: String,
    },
}

/// A coarse sorting of [`Error`], to act on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// LXD is absent, not listening, or says that it is not ready (503): nothing happened, safe to retry.
    Unavailable,
    /// This user, or this project, may not.
    PermissionDenied,
    /// It does not exist.
    NotFound,
    /// It exists already, or is in the wrong state.
    Conflict,
    /// It was changed in the meantime: read it again.
    PreconditionFailed,
    /// LXD refused the request as it was made.
    Refused,
    /// It was tried and failed.
    Failed,
    /// It may or may not have happened, or is still going on: look before trying again.
    Unknown,
    /// The other side does not speak LXD's protocol.
    Protocol,
}

impl Error {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::SocketNotFound { .. } | Error::Unavailable { .. } => ErrorKind::Unavailable,
            Error::PermissionDenied { .. } | Error::Untrusted { .. } => ErrorKind::PermissionDenied,
            Error::NotFound { .. } => ErrorKind::NotFound,
            Error::Conflict { .. } => ErrorKind::Conflict,
            Error::PreconditionFailed { .. } => ErrorKind::PreconditionFailed,
            Error::Api { status, .. } => match status {
                401 | 403 => ErrorKind::PermissionDenied,
                503 => ErrorKind::Unavailable,
                500.. => ErrorKind::Failed,
                _ => ErrorKind::Refused,
            },
            Error::OperationFailed { .. } => ErrorKind::Failed,
            Error::OperationLost { .. } | Error::Timeout { .. } | Error::Disconnected { .. } => {
                ErrorKind::Unknown
            }
            Error::Protocol { .. } => ErrorKind::Protocol,
            Error::InvalidName { .. } => ErrorKind::Refused,
        }
    }

    /// What to do about it, where there is something to do.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Error::SocketNotFound { .. } => {
                Some("install LXD or Incus, or name its socket in LXD_SOCKET")
            }
            Error::PermissionDenied { .. } => {
                Some("run as root, or as a member of the group that owns the socket")
            }
            Error::Unavailable { .. } => Some("check that the LXD service is running"),
            Error::PreconditionFailed { .. } => Some("try again"),
            Error::OperationLost { .. } | Error::Timeout { .. } | Error::Disconnected { .. } => {
                Some("look at the instance before trying again: it may have happened")
            }
            _ => None,
        }
    }

    pub(crate) fn from_status(status: u16, message: String, operation: String) -> Self {
        match status {
            404 => Error::NotFound { message, operation },
            409 => Error::Conflict { message, operation },
            412 => Error::PreconditionFailed { message, operation },
            _ => Error::Api {
                status,
                message,
                operation,
            },
        }
    }
}

struct Paths<'a>(&'a [PathBuf]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", path.display())?;
        }
        Ok(())
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_nanos() {
            0 => write!(f, "{} s", self.0.as_secs()),
            _ => write!(f, "{:.1} s", self.0.as_secs_f64()),
        }
    }
}

/// A message of the server without what would break the line or act on a terminal.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.trim_end().chars() {
            match character {
                '\n' | '\r' | '\t' => f.write_str(" ")?,
                control if control.is_control() => write!(f, "{}", control.escape_default())?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_is_shown_in_one_and_cannot_act_on_a_terminal() {
        let error = Error::Api {
            status: 500,
            message: "Failed to run: zfs\ncannot \x1b[31mopen\n".into(),
            operation: "PUT /1.0/instances/c1".into(),
        };
        assert_eq!(
            error.to_string(),
            "PUT /1.0/instances/c1: Failed to run: zfs cannot \\u{1b}[31mopen (status 500)"
        );
    }

    #[test]
    fn the_status_decides_the_kind() {
        let kind = |status| Error::from_status(status, String::new(), String::new()).kind();
        assert_eq!(kind(400), ErrorKind::Refused);
        assert_eq!(kind(403), ErrorKind::PermissionDenied);
        assert_eq!(kind(404), ErrorKind::NotFound);
        assert_eq!(kind(409), ErrorKind::Conflict);
        assert_eq!(kind(412), ErrorKind::PreconditionFailed);
        assert_eq!(kind(500), ErrorKind::Failed);
        assert_eq!(kind(503), ErrorKind::Unavailable);
    }

    #[test]
    fn the_places_that_were_tried_are_named() {
        let error = Error::SocketNotFound {
            tried: vec!["/a/unix.socket".into(), "/b/unix.socket".into()],
        };
        assert_eq!(
            error.to_string(),
            "no LXD socket found (tried /a/unix.socket, /b/unix.socket)"
        );
    }

    #[test]
    fn a_name_that_cannot_be_one_is_shown_quoted() {
        let error = Error::InvalidName { name: "..".into() };
        assert_eq!(error.to_string(), "\"..\" cannot be a name");
    }
}
