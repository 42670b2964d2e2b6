//! Numbers that identify: guids and transaction groups.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! id {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// Shown as a decimal number. Serialised as a decimal *string*: JSON numbers lose bits above 2⁵³.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(u64);

        impl $type {
            #[doc = concat!("Makes a ", $what, " of a number.")]
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_decimal(text).map(Self).ok_or_else(|| IdError { what: $what, text: text.to_owned() })
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// The identity of a dataset, snapshot or bookmark: it survives renames and travels in send streams.
    Guid,
    "guid"
);
id!(
    /// A transaction group of one pool: the order of events within that pool, meaningless between pools.
    Txg,
    "transaction group"
);

/// A text that is not a decimal number of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is no {what}: a decimal number of 64 bits is expected", text.escape_debug())]
pub struct IdError {
    what: &'static str,
    text: String,
}

/// As ZFS prints numbers: digits only (`u64::from_str` would take a leading `+`).
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decimal_strings_in_json() {
        let guid = Guid::new(u64::MAX);
        let json = serde_json::to_string(&guid).expect("a guid serialises");
        assert_eq!(json, "\"18446744073709551615\"");
        assert_eq!(serde_json::from_str::<Guid>(&json).expect("and back"), guid);
        assert!(
            serde_json::from_str::<Guid>("5").is_err(),
            "a bare number may already have lost bits"
        );
    }

    #[test]
    fn only_plain_decimal_numbers_are_ids() {
        assert_eq!("0".parse::<Txg>(), Ok(Txg::new(0)));
        for text in [
            "",
            "+5",
            "-5",
            " 5",
            "5 ",
            "0x5",
            "18446744073709551616",
            "-",
            "5\u{1b}",
        ] {
            let error = text.parse::<Txg>().expect_err(text).to_string();
            assert!(
                !error.contains('\u{1b}'),
                "control characters are escaped: {error}"
            );
        }
    }
}
