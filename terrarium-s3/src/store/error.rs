//! What can go wrong with an object store.

use std::fmt;

use super::Key;

/// Why a call on a store did not succeed.
///
/// Classified by HTTP status, S3's error code or errno, never by a message's text. `detail` is for people to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is an object of that key already; it stays as it is.
    #[error("{attempt}: it exists already")]
    Exists {
        /// What was tried.
        attempt: Attempt,
    },
    /// There is no object of that key.
    #[error("{attempt}: no such object")]
    NotFound {
        /// What was tried.
        attempt: Attempt,
    },
    /// The credentials or the permissions do not allow it, or there are no credentials.
    #[error("{attempt}: not allowed: {detail}")]
    Denied {
        /// What was tried.
        attempt: Attempt,
        /// What the store said.
        detail: String,
    },
    /// The store cannot be reached, does not answer in time, or is overloaded, after all retries. The call may have
    /// taken effect; trying again is safe.
    #[error("{attempt}: {detail}")]
    Unavailable {
        /// What was tried.
        attempt: Attempt,
        /// How it failed the last time.
        detail: String,
    },
    /// The bucket or the folder is missing.
    #[error("{attempt}: {} does not exist", one_line(&attempt.place))]
    NoSuchPlace {
        /// What was tried.
        attempt: Attempt,
    },
    /// The place is a bucket, and this program was built without them (feature `s3`).
    #[error("{attempt}: this program was built without S3")]
    NotBuiltIn {
        /// What was tried.
        attempt: Attempt,
    },
    /// The bucket is in another region than the one configured.
    #[error("{attempt}: the bucket is in another region{}", Named(region))]
    WrongRegion {
        /// What was tried.
        attempt: Attempt,
        /// The right one, if the store told it.
        region: Option<String>,
    },
    /// This machine's clock and the store's differ by too much for a signature to be accepted.
    #[error("{attempt}: this machine's clock differs too much from the store's")]
    ClockSkew {
        /// What was tried.
        attempt: Attempt,
    },
    /// What arrived is not what was sent: a checksum or a length differs.
    #[error("{attempt}: damaged: {detail}")]
    Corrupt {
        /// What was tried.
        attempt: Attempt,
        /// What differs.
        detail: String,
    },
    /// The store is full, or the quota is used up.
    #[error("{attempt}: no space left: {detail}")]
    NoSpace {
        /// What was tried.
        attempt: Attempt,
        /// What the store said.
        detail: String,
    },
    /// Anything else that the store refused.
    #[error("{attempt}: {detail}")]
    Refused {
        /// What was tried.
        attempt: Attempt,
        /// What the store said.
        detail: String,
    },
}

impl StoreError {
    /// What was tried.
    pub fn attempt(&self) -> &Attempt {
        match self {
            Self::Exists { attempt }
            | Self::NotFound { attempt }
            | Self::Denied { attempt, .. }
            | Self::Unavailable { attempt, .. }
            | Self::NoSuchPlace { attempt }
            | Self::NotBuiltIn { attempt }
            | Self::WrongRegion { attempt, .. }
            | Self::ClockSkew { attempt }
            | Self::Corrupt { attempt, .. }
            | Self::NoSpace { attempt, .. }
            | Self::Refused { attempt, .. } => attempt,
        }
    }

    /// What to do about it, if there is something to do.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Exists { .. } | Self::NotFound { .. } | Self::Refused { .. } => return None,
            Self::Denied { attempt, .. } => format!(
                "check the credentials, and that they may {} in {}",
                attempt.call, attempt.place
            ),
            Self::Unavailable { .. } => {
                "try again later; check the endpoint if it never answers".into()
            }
            Self::NoSuchPlace { attempt } => {
                format!("create {} first, or check its spelling", attempt.place)
            }
            Self::NotBuiltIn { .. } => {
                "build terrarium-s3 with its feature `s3`, or take a directory".into()
            }
            Self::WrongRegion {
                region: Some(region),
                ..
            } => format!("set the region to {region}"),
            Self::WrongRegion { region: None, .. } => "set the region of the bucket".into(),
            Self::ClockSkew { .. } => "set this machine's clock, for example by NTP".into(),
            Self::Corrupt { attempt, .. } if attempt.call == Call::Create => {
                "try again; if it stays, the network or this machine's memory damages data".into()
            }
            Self::Corrupt { .. } => {
                "the stored object is damaged, or the way to it; a verify says what depends on it"
                    .into()
            }
            Self::NoSpace { attempt, .. } => format!("make room in {}", attempt.place),
        })
    }

    /// Whether the same call may succeed if it is made again soon.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Corrupt { attempt, .. } => attempt.call == Call::Create,
            _ => false,
        }
    }
}

/// A call on a store, with what it was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The call.
    pub call: Call,
    /// The key, or the prefix that was listed.
    pub name: String,
    /// The store: `s3://bucket/prefix` or a folder.
    pub place: String,
}

impl Attempt {
    /// A call about one object.
    pub(crate) fn on(call: Call, key: &Key, place: impl Into<String>) -> Self {
        Self {
            call,
            name: key.to_string(),
            place: place.into(),
        }
    }

    /// A listing.
    pub(crate) fn listing(prefix: &str, place: impl Into<String>) -> Self {
        Self {
            call: Call::List,
            name: prefix.into(),
            place: place.into(),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A prefix is the only name that is not a key, and may hold anything.
        let (name, place) = (one_line(&self.name), one_line(&self.place));
        match self.name.is_empty() {
            true => write!(f, "cannot {} {place}", self.call),
            false => write!(f, "cannot {} {name} in {place}", self.call),
        }
    }
}

/// The calls of a [`Store`](super::Store).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`Store::create`](super::Store::create)
    Create,
    /// [`Store::read`](super::Store::read)
    Read,
    /// [`Store::size`](super::Store::size)
    Size,
    /// [`Store::list`](super::Store::list)
    List,
    /// [`Store::delete`](super::Store::delete)
    Delete,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Size => "see the size of",
            Self::List => "list",
            Self::Delete => "delete",
        })
    }
}

/// A region in parentheses, if there is one.
struct Named<'a>(&'a Option<String>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(region) => write!(f, " ({})", one_line(region)),
            None => Ok(()),
        }
    }
}

/// A text that may hold anything, for a line on a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_on_one_line_what_was_tried_and_what_to_do() {
        let attempt = |call| Attempt {
            call,
            name: "v1/a".into(),
            place: "s3://archive".into(),
        };
        let detail = || "AccessDenied (status 403)".to_owned();
        let errors = [
            StoreError::Exists {
                attempt: attempt(Call::Create),
            },
            StoreError::NotFound {
                attempt: attempt(Call::Read),
            },
            StoreError::Denied {
                attempt: attempt(Call::List),
                detail: detail(),
            },
            StoreError::Unavailable {
                attempt: attempt(Call::Size),
                detail: "no answer in time".into(),
            },
            StoreError::NoSuchPlace {
                attempt: attempt(Call::Delete),
            },
            StoreError::NotBuiltIn {
                attempt: Attempt::listing("", "s3://archive"),
            },
            StoreError::WrongRegion {
                attempt: attempt(Call::Create),
                region: Some("eu-west-3".into()),
            },
            StoreError::WrongRegion {
                attempt: attempt(Call::Create),
                region: None,
            },
            StoreError::ClockSkew {
                attempt: attempt(Call::Read),
            },
            StoreError::Corrupt {
                attempt: attempt(Call::Read),
                detail: "its CRC32 is AAAAAA==, the store says /////w==".into(),
            },
            StoreError::NoSpace {
                attempt: attempt(Call::Create),
                detail: "No space left on device".into(),
            },
            StoreError::Refused {
                attempt: Attempt::listing("a\n\u{1b}[2J", "/mnt/it's"),
                detail: "InvalidRequest (status 400)".into(),
            },
        ];
        let lines: Vec<String> = errors
            .iter()
            .map(|error| match error.help() {
                Some(help) => format!("{error}\n  help: {help}"),
                None => error.to_string(),
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
