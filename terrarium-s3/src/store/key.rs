//! The names of objects.

use std::fmt;
use std::str::FromStr;

/// The name of an object: segments of `A-Z a-z 0-9 . _ = : -`, joined by `/`.
///
/// No segment is empty, `.` or `..`, so that as a path it stays within its folder; no segment is longer than 255 bytes
/// and the whole not than 900, so that it fits in a file name and in an S3 key with a prefix before it.
///
/// No object should be named as a "folder" of another (`a` beside `a/b`): S3 keeps both, a directory cannot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// The longest key, in bytes.
    pub const MAX_LENGTH: usize = 900;

    /// Parses a key.
    ///
    /// # Errors
    /// Says what a key must be if `text` is none.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKey> {
        let text = text.into();
        if text.len() <= Self::MAX_LENGTH && text.split('/').all(is_segment) {
            Ok(Self(text))
        } else {
            Err(InvalidKey { text })
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, from the first to the last.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::new(text)
    }
}

/// The text is not a [`Key`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} cannot be the name of an object: segments of letters, digits and '._=:-' joined by '/', \
     none empty, '.' or '..', at most {} bytes in all",
    Key::MAX_LENGTH
)]
pub struct InvalidKey {
    /// What was given.
    pub text: String,
}

/// Whether some key begins with `prefix`.
pub(crate) fn could_begin_a_key(prefix: &str) -> bool {
    let (folders, rest) = prefix
        .rsplit_once('/')
        .map_or((None, prefix), |(a, b)| (Some(a), b));
    prefix.len() <= Key::MAX_LENGTH
        && folders.is_none_or(|folders| folders.split('/').all(is_segment))
        && rest.len() <= MAX_SEGMENT
        && rest.bytes().all(is_allowed)
}

const MAX_SEGMENT: usize = 255;

fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && text.len() <= MAX_SEGMENT && text.bytes().all(is_allowed)
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._=:-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_leave_the_folder_or_not_be_a_file_name_is_no_key() {
        for text in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/..", "../a", "a/./b", "a b", "a\0", "a\n",
            "a%2e", "a~b", "ä", "a\\b", "a@b",
        ] {
            assert!(Key::new(text).is_err(), "{text:?}");
        }
        assert!(Key::new("a".repeat(256)).is_err());
        assert!(Key::new(vec!["a".repeat(100); 9].join("/")).is_err());
    }

    #[test]
    fn what_the_archive_uses_is_a_key() {
        for text in [
            "v1/archive.json",
            "v1/streams/1234/full/0b-1/000001.zst.age",
            "a=b/..c/.d",
            "manifests/web/autosnap_2026-04-19_10:00:00_hourly.json",
        ] {
            assert_eq!(Key::new(text).unwrap().as_str(), text);
        }
        assert!(Key::new(vec!["a".repeat(99); 9].join("/")).is_ok());
    }

    #[test]
    fn a_prefix_may_end_within_a_segment_but_not_leave_the_folder() {
        for prefix in ["", "v1/", "v1/ma", "v", "a/..", ".", ".."] {
            assert!(could_begin_a_key(prefix), "{prefix:?}");
        }
        for prefix in ["/", "../", "a/../", "a//", "a b", "a/./b"] {
            assert!(!could_begin_a_key(prefix), "{prefix:?}");
        }
    }
}
