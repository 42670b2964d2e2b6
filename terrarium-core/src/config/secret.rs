//! A text that is shown to nobody.

use std::fmt;

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// A text that `Debug`, `Display` and `Serialize` show as `(set)`, and that is wiped from memory with its owner.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for whoever needs it and shows it to nobody.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(set)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_by_no_way_but_the_one_that_says_so() {
        let secret = Secret::new("hunter2".to_owned());
        let json = serde_json::to_string(&secret).unwrap();
        for shown in [format!("{secret:?} {secret:#?} {secret}"), json] {
            assert!(
                shown.contains("(set)") && !shown.contains("hunter2"),
                "{shown}"
            );
        }
        assert_eq!(secret.expose(), "hunter2");
    }
}
