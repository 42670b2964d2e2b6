//! LXD's times: RFC 3339, where Go's zero time and the epoch mean "not set".

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de};

const ZERO: &str = "0001-01-01T00:00:00Z";

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Timestamp>, D::Error> {
    match Option::<String>::deserialize(from)? {
        None => Ok(None),
        Some(text) => parse(&text).map_err(de::Error::custom),
    }
}

pub(crate) fn serialize<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format(*time))
}

/// LXD's spelling of a time, or of none.
pub(crate) fn format(time: Option<Timestamp>) -> String {
    time.map_or_else(|| ZERO.to_owned(), |time| time.to_string())
}

/// LXD's own test for "is set" is a positive number of seconds since the epoch.
fn parse(text: &str) -> Result<Option<Timestamp>, jiff::Error> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<Timestamp>() {
        Ok(time) => Ok((time > Timestamp::UNIX_EPOCH).then_some(time)),
        // Go writes the last hours of the year 9999, which jiff has no room for: as good as never reached.
        Err(_) if text.starts_with("9999-12-3") => Ok(Some(Timestamp::MAX)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_with_nanoseconds_and_an_offset_is_read() {
        let time = parse("2026-04-19T12:00:00.123456789+02:00")
            .unwrap()
            .unwrap();
        assert_eq!(time.to_string(), "2026-04-19T10:00:00.123456789Z");
    }

    #[test]
    fn the_zero_time_the_epoch_and_no_text_mean_not_set() {
        for text in [
            ZERO,
            "1970-01-01T00:00:00Z",
            "0001-01-01T01:00:00+01:00",
            "",
        ] {
            assert_eq!(parse(text).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn the_last_hours_of_9999_are_the_greatest_time_not_an_error() {
        assert_eq!(parse("9999-12-31T23:59:59Z").unwrap(), Some(Timestamp::MAX));
    }

    #[test]
    fn what_is_no_time_is_an_error() {
        for text in ["yesterday", "2026-13-01T00:00:00Z", "99999-12-31T00:00:00Z"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_time_is_written_as_the_zero_time() {
        assert_eq!(format(None), ZERO);
    }
}
