//! Identities that are drawn at random: of archives, lineages and runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use terrarium_zfs::Guid;

use crate::format::hex;

macro_rules! random_id {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// Its text is a UUID in lower case.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type([u8; 16]);

        impl $type {
            #[doc = concat!("Draws a new ", $what, " (a UUID of version 4).")]
            ///
            /// # Errors
            /// The kernel's: it gives no random bytes.
            pub fn random() -> std::io::Result<Self> {
                random_uuid().map(Self)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&uuid_text(&self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_uuid(text).map(Self).ok_or_else(|| IdError { what: $what, text: text.to_owned() })
            }
        }

        impl TryFrom<String> for $type {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.to_string()
            }
        }
    };
}

random_id!(
    /// The identity of an archive, drawn when it is made.
    ArchiveId,
    "archive id"
);
random_id!(
    /// The identity of the history of one dataset. It is kept in the dataset's user property
    /// `terrarium:lineage`; a dataset that is made anew under the same name gets a new one.
    Lineage,
    "lineage"
);
random_id!(
    /// One attempt to store a stream, which may be interrupted and resumed.
    RunId,
    "run"
);

impl Lineage {
    /// The history that the origin of clones has in an archive, such as the snapshot of an image: of that snapshot
    /// alone.
    ///
    /// It follows from the snapshot's guid (a UUID of version 8 that holds it), so that an archive has one place for
    /// it, whoever exports it first.
    pub fn of_origin(guid: Guid) -> Self {
        let [a, b, c, d, e, f, g, h] = guid.get().to_be_bytes();
        let [o, r, i, x, y, n] = *b"origin";
        let version = 0x80 | g >> 4;
        let middle = g << 4 | h >> 4;
        let variant = 0x80 | h & 0x0f;
        Self([
            a, b, c, d, e, f, version, middle, variant, 0, o, r, i, x, y, n,
        ])
    }
}

/// A text that is no UUID in lower case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: a UUID in lower case is expected")]
pub struct IdError {
    what: &'static str,
    text: String,
}

fn random_uuid() -> std::io::Result<[u8; 16]> {
    let mut bytes = crate::crypto::random::<16>()?;
    // RFC 9562: version 4, variant 10.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(bytes)
}

fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = hex::encode(bytes);
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    text
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    hex::decode(&digits).filter(|bytes| uuid_text(bytes) == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_in_one_way_only() {
        let id = Lineage::random().expect("random bytes");
        let text = id.to_string();
        assert_eq!((text.len(), text.as_bytes()[14]), (36, b'4'), "{text}");
        assert_eq!(text.parse(), Ok(id));
        for text in [
            text.replace('-', ""),
            "0123456-789ab-4cde-8f01-23456789abcd".to_owned(),
            "01234567-89AB-4cde-8f01-23456789abcd".to_owned(),
            format!("{text}-"),
            String::new(),
        ] {
            assert!(text.parse::<Lineage>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_lineage_of_an_origin_holds_its_guid() {
        let text = |guid| Lineage::of_origin(Guid::new(guid)).to_string();
        assert_eq!(
            text(0x0123_4567_89ab_cdef),
            "01234567-89ab-8cde-8f00-6f726967696e"
        );
        assert_eq!(text(u64::MAX), "ffffffff-ffff-8fff-8f00-6f726967696e");
        assert_ne!(text(1), text(16));
    }
}
