//! Properties between the two forms they have: the kernel's, and the text of a listing.

use std::collections::BTreeMap;

use terrarium_zfs::{Properties, PropertyError, PropertyValue};

/// What the kernel asks of a user property's name and value.
pub(super) fn check_user_property(name: &str, value: &str) -> Result<(), PropertyError> {
    if name.contains(':') {
        return Properties::new().set(name, value);
    }
    Err(PropertyError::UserName {
        name: name.to_owned(),
        rule: "it has no colon",
    })
}

/// Properties as `zfs get -Hp` prints them.
pub(super) fn texts(properties: &Properties) -> BTreeMap<String, String> {
    let text = |(name, value): (&str, &PropertyValue)| (name.to_owned(), text(name, value));
    properties.iter().map(text).collect()
}

/// The words of those properties that stand as numbers in the kernel and as words in a listing.
const WORDS: &[&str] = &[
    "off",
    "on",
    "noauto",
    "none",
    "metadata",
    "all",
    "standard",
    "always",
    "disabled",
    "latency",
    "throughput",
    "lz4",
    "gzip",
    "zstd",
    "zle",
    "lzjb",
    "zstd-fast",
    "hidden",
    "visible",
    "discard",
    "restricted",
    "passthrough",
    "posix",
    "nfsv4",
    "dir",
    "sa",
    "legacy",
    "auto",
    "fletcher4",
    "sha256",
    "sha512",
    "verify",
    "most",
];

/// The text that [`Properties::set`] turns into this value.
fn text(name: &str, value: &PropertyValue) -> String {
    let number = match value {
        PropertyValue::Text(text) => return text.clone(),
        PropertyValue::Number(number) => number.to_string(),
    };
    let means_it = |word: &&str| {
        let mut properties = Properties::new();
        properties.set(name, word).is_ok() && properties.value(name) == Some(value)
    };
    let words = [number.as_str()].into_iter().chain(WORDS.iter().copied());
    let mut words = words.filter(|word| means_it(word));
    words.next().unwrap_or(&number).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_shown_in_the_words_they_were_set_with() {
        let pairs = [
            ("canmount", "noauto"),
            ("mountpoint", "legacy"),
            ("refquota", "1048576"),
            ("compression", "lz4"),
            ("sync", "disabled"),
            ("copies", "2"),
            ("terrarium:lineage", "x"),
        ];
        let mut properties = Properties::new();
        for (name, value) in pairs {
            properties.set(name, value).unwrap();
        }
        let shown = texts(&properties);
        for (name, value) in pairs {
            assert_eq!(shown[name], value, "{name}");
        }
    }
}
