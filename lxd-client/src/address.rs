//! Addresses of the API: path segments and query values, percent-encoded.

use std::fmt::Write;

use crate::Error;

/// An address under construction: `/1.0`, then segments, then a query.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    text: String,
    has_query: bool,
}

impl Address {
    /// `/1.0` and these segments, each encoded as one.
    pub(crate) fn new(segments: &[&str]) -> Result<Self, Error> {
        let mut text = String::from("/1.0");
        for segment in segments {
            // A dot segment would be resolved as one even if encoded, an empty one dropped.
            if matches!(*segment, "" | "." | "..") {
                return Err(Error::InvalidName {
                    name: (*segment).to_owned(),
                });
            }
            text.push('/');
            encode(segment, &mut text);
        }
        Ok(Address {
            text,
            has_query: false,
        })
    }

    /// The address with one more query parameter.
    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        encode(key, &mut self.text);
        self.text.push('=');
        encode(value, &mut self.text);
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Encodes everything but RFC 3986's unreserved characters.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(byte.into());
            }
            // Writing to a string cannot fail.
            _ => _ = write!(into, "%{byte:02X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one_whatever_is_in_it() {
        let address = Address::new(&["instances", "a/b?c=d#e&f %+é", "state"]).unwrap();
        assert_eq!(
            address.as_str(),
            "/1.0/instances/a%2Fb%3Fc%3Dd%23e%26f%20%25%2B%C3%A9/state"
        );
    }

    #[test]
    fn a_query_value_cannot_add_a_parameter() {
        let address = Address::new(&["instances"])
            .unwrap()
            .query("recursion", "2")
            .query("project", "p&all-projects=true");
        assert_eq!(
            address.as_str(),
            "/1.0/instances?recursion=2&project=p%26all-projects%3Dtrue"
        );
    }

    #[test]
    fn what_would_change_the_path_is_refused() {
        for name in ["", ".", ".."] {
            let refused = Address::new(&["instances", name]);
            assert!(
                matches!(refused, Err(Error::InvalidName { .. })),
                "{name:?}"
            );
        }
    }
}
