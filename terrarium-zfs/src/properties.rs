//! Properties of datasets in the form that the kernel takes.
//!
//! `zfs get -Hp` prints texts; the calls that set properties ([`create`](crate::ZfsCore::create),
//! [`clone_snapshot`](crate::ZfsCore::clone_snapshot), [`receive`](crate::ZfsCore::receive)) want
//! numbers for everything but a few. [`Properties::set`] translates.

mod tables;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::parse_decimal;
use tables::Encoding;

/// User properties: names with a `:`, values of up to 8191 bytes.
pub type UserProperties = BTreeMap<String, String>;

/// A property's value as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PropertyValue {
    /// A number, or the number that stands for a word such as `lz4`.
    Number(u64),
    /// A text.
    Text(String),
}

/// Properties to set on a dataset, in the kernel's form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties(BTreeMap<String, PropertyValue>);

impl Properties {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a property from the text that `zfs get -Hp` prints for it.
    ///
    /// Known are the settable properties of filesystems and volumes of OpenZFS 2.0 to 2.3
    /// (zfsprops(7)), and user properties. Sizes are bytes, without a unit; `none` is understood
    /// where `zfs get` prints it. The words of *any* of these versions are known: a pool that does
    /// not support one refuses it when it is set.
    ///
    /// # Errors
    /// [`PropertyError`] if there is no such settable property, or the value is none of its values;
    /// nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), PropertyError> {
        let value = encode(name, value)?;
        self.0.insert(name.to_owned(), value);
        Ok(())
    }

    /// Sets a property in the kernel's form, unchecked.
    pub fn set_native(&mut self, name: impl Into<String>, value: PropertyValue) {
        self.0.insert(name.into(), value);
    }

    /// The value of a property, if it is set here.
    pub fn value(&self, name: &str) -> Option<&PropertyValue> {
        self.0.get(name)
    }

    /// The properties, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PropertyValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<(String, PropertyValue)> for Properties {
    fn extend<T: IntoIterator<Item = (String, PropertyValue)>>(&mut self, more: T) {
        self.0.extend(more);
    }
}

impl IntoIterator for Properties {
    type Item = (String, PropertyValue);
    type IntoIter = std::collections::btree_map::IntoIter<String, PropertyValue>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A property that cannot be set so; control characters are escaped in its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// No settable property has that name.
    #[error("there is no settable property \"{}\"", name.escape_debug())]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value is none that the property takes.
    #[error("property {name} cannot be \"{}\": {expected}", value.escape_debug())]
    Value {
        /// The property.
        name: String,
        /// The value.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The name is no legal name of a user property (zfsprops(7), User Properties).
    #[error("illegal name of a user property \"{}\": {rule}", name.escape_debug())]
    UserName {
        /// The name.
        name: String,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// The longest value of a property: `ZAP_MAXVALUELEN` less the terminating NUL.
const MAX_VALUE_LEN: usize = 8191;
/// The longest name of a property: `ZAP_MAXNAMELEN` less the terminating NUL.
const MAX_NAME_LEN: usize = 255;

fn encode(name: &str, value: &str) -> Result<PropertyValue, PropertyError> {
    if name.contains(':') {
        check_user_property(name, value)?;
        return Ok(PropertyValue::Text(value.to_owned()));
    }
    let refuse = |expected| PropertyError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    };
    let encoding = tables::encoding(name).ok_or_else(|| PropertyError::Unknown {
        name: name.to_owned(),
    })?;
    match encoding {
        Encoding::Text => {
            check_text(value).map_err(refuse)?;
            Ok(PropertyValue::Text(value.to_owned()))
        }
        Encoding::Number { none } => match none {
            Some(number) if value == "none" => Ok(PropertyValue::Number(number)),
            _ => parse_decimal(value)
                .map(PropertyValue::Number)
                .ok_or_else(|| refuse("a plain decimal number is expected")),
        },
        Encoding::Index(words) => words
            .iter()
            .find(|(word, _)| *word == value)
            .map(|(_, number)| PropertyValue::Number(*number))
            .ok_or_else(|| refuse("not one of its values")),
        Encoding::Compression => tables::compression(value)
            .map(PropertyValue::Number)
            .ok_or_else(|| refuse("no compression is called so")),
    }
}

/// Checks a user property against zfsprops(7): what the kernel would answer with `EINVAL` or `E2BIG`.
pub(crate) fn check_user_property(name: &str, value: &str) -> Result<(), PropertyError> {
    check_user_property_name(name)?;
    check_text(value).map_err(|expected| PropertyError::Value {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    })
}

pub(crate) fn check_user_property_name(name: &str) -> Result<(), PropertyError> {
    let legal = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, ':' | '-' | '_' | '.')
    };
    let rule = if !name.contains(':') {
        "it has no colon"
    } else if name.len() > MAX_NAME_LEN {
        "it is longer than 255 bytes"
    } else if name.starts_with('-') {
        "it starts with a dash"
    } else if !name.chars().all(legal) {
        "only lower-case letters, digits and \":\", \"-\", \"_\", \".\" are allowed"
    } else {
        return Ok(());
    };
    Err(PropertyError::UserName {
        name: name.to_owned(),
        rule,
    })
}

fn check_text(value: &str) -> Result<(), &'static str> {
    if value.len() > MAX_VALUE_LEN {
        Err("longer than 8191 bytes")
    } else if value.contains('\0') {
        Err("it contains a NUL")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(name: &str, value: &str) -> Option<u64> {
        match encode(name, value) {
            Ok(PropertyValue::Number(number)) => Some(number),
            Ok(PropertyValue::Text(_)) | Err(_) => None,
        }
    }

    #[test]
    fn words_become_the_numbers_that_are_stored_on_disk() {
        for (name, word, stored) in [
            ("compression", "off", 2),
            ("compression", "gzip", 10),
            ("compression", "gzip-1", 5),
            ("compression", "gzip-9", 13),
            ("compression", "lz4", 15),
            ("compression", "zstd", 16),
            ("compression", "zstd-1", 16 | 1 << 7),
            ("compression", "zstd-19", 16 | 19 << 7),
            ("compression", "zstd-fast", 16 | 103 << 7),
            ("compression", "zstd-fast-1", 16 | 103 << 7),
            ("compression", "zstd-fast-10", 16 | 112 << 7),
            ("compression", "zstd-fast-20", 16 | 113 << 7),
            ("compression", "zstd-fast-1000", 16 | 123 << 7),
            ("checksum", "blake3", 14),
            ("dedup", "sha256,verify", 8 | 256),
            ("canmount", "noauto", 2),
            ("atime", "off", 0),
            ("xattr", "on", 1),
            ("xattr", "sa", 2),
            ("recordsize", "1048576", 1 << 20),
            ("quota", "none", 0),
            ("quota", "0", 0),
            ("filesystem_limit", "none", u64::MAX),
            ("normalization", "formKC", 0x60),
        ] {
            assert_eq!(number(name, word), Some(stored), "{name}={word}");
        }
        let text = |value: &str| Ok(PropertyValue::Text(value.to_owned()));
        assert_eq!(encode("mountpoint", "/a b ü"), text("/a b ü"));
        assert_eq!(encode("terrarium:note", "-"), text("-"));
    }

    #[test]
    fn what_is_no_value_of_a_property_is_refused() {
        for (name, value) in [
            ("compression", "zstd-0"),
            ("compression", "zstd-20"),
            ("compression", "zstd-03"),
            ("compression", "zstd-fast-11"),
            ("compression", "zstd-"),
            ("compression", "gzip-10"),
            ("compression", "LZ4"),
            ("atime", "yes"),
            ("atime", ""),
            ("recordsize", "1M"),
            ("recordsize", "none"),
            ("quota", "-1"),
            ("quota", "+1"),
            ("quota", "18446744073709551616"),
            ("mountpoint", "a\0b"),
            ("t:a", "a\0b"),
        ] {
            let error = encode(name, value).expect_err(value);
            assert!(matches!(error, PropertyError::Value { .. }), "{error}");
            assert!(!error.to_string().contains('\0'), "{error}");
        }
        assert!(encode("t:a", &"x".repeat(8191)).is_ok());
        assert!(encode("t:a", &"x".repeat(8192)).is_err());
        for name in [
            "used",
            "guid",
            "origin",
            "clones",
            "userquota@1",
            "Quota",
            "",
            "filesystem_count",
        ] {
            let error = encode(name, "1").expect_err(name);
            assert!(matches!(error, PropertyError::Unknown { .. }), "{error}");
        }
    }

    #[test]
    fn a_refused_value_changes_nothing() {
        let mut properties = Properties::new();
        properties.set("quota", "1").expect("a number");
        properties.set("quota", "1M").expect_err("a unit");
        assert_eq!(properties.value("quota"), Some(&PropertyValue::Number(1)));
    }

    #[test]
    fn names_of_user_properties_follow_the_rules() {
        for name in ["a:b", ":", "terrarium:last-used", "0:_.-"] {
            check_user_property_name(name).expect(name);
        }
        check_user_property_name(&format!("a:{}", "b".repeat(253))).expect("255 bytes");
        for name in [
            "ab", "", "A:b", "a:B", "a b:c", "-a:b", "ä:b", "a:\n", "a:b@c",
        ] {
            let error = check_user_property_name(name).expect_err(name).to_string();
            assert!(!error.contains('\n'), "{error}");
        }
        check_user_property_name(&format!("a:{}", "b".repeat(254))).expect_err("256 bytes");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn plain_numbers_and_texts_are_taken_as_they_are(value in any::<u64>(), text in "[^\0]*") {
            prop_assert_eq!(number("refquota", &value.to_string()), Some(value));
            prop_assert_eq!(encode("sharenfs", &text), Ok(PropertyValue::Text(text.clone())));
            prop_assert_eq!(encode("t:a", &text), Ok(PropertyValue::Text(text)));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(name in "\\PC*", value in "\\PC*") {
            let _ = encode(&name, &value);
        }
    }
}
