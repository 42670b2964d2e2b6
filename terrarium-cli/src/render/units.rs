//! Sizes, ages and times as people read them.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A size in bytes with three digits: `712 B`, `1.21 MiB`, `35.0 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be rounded to 1024.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A span in its two largest units, as far as they matter: `45s`, `12m`, `3h 20m`, `2d 4h`, `41d`, `3y 12d`.
pub(crate) fn span(span: SignedDuration) -> String {
    let seconds = span.as_secs().unsigned_abs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: u64, one: &str, small: u64, other: &str| match small {
        0 => format!("{large}{one}"),
        _ => format!("{large}{one} {small}{other}"),
    };
    match days {
        0 if minutes == 0 => format!("{seconds}s"),
        0 if hours == 0 => format!("{minutes}m"),
        0 => pair(hours, "h", minutes % 60, "m"),
        1 if hours == 24 && minutes % 60 == 0 => "24h".to_owned(),
        1..=13 => pair(days, "d", hours % 24, "h"),
        14..=729 => format!("{days}d"),
        _ => pair(days / 365, "y", days % 365, "d"),
    }
}

/// How long ago something was; a clock that was set back since makes no nonsense.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    span(now.duration_since(then).max(SignedDuration::ZERO))
}

/// How far off something is: `in 3d 2h`, or `since 5m` if it is past.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> String {
    let left = then.duration_since(now);
    if left.is_positive() {
        format!("in {}", span(left))
    } else {
        format!("{} ago", span(left))
    }
}

/// A time to the second, with its zone.
pub(crate) fn time(at: Timestamp, zone: &TimeZone) -> String {
    terrarium_core::show(&at.to_zoned(zone.clone()))
}

/// A time for a column whose heading names the zone.
pub(crate) fn short_time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// What a zone is called: `Europe/Berlin`, or its abbreviation at that time.
pub(crate) fn zone_name(zone: &TimeZone, at: Timestamp) -> String {
    match zone.iana_name() {
        Some(name) => name.strip_prefix("Etc/").unwrap_or(name).to_owned(),
        None => at.to_zoned(zone.clone()).strftime("%Z").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_three_digits_at_most_and_the_unit_that_fits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (12_595, "12.3 KiB"),
            (1_048_064, "1.00 MiB"),
            (5 << 30, "5.00 GiB"),
            (700 << 30, "700 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn a_span_shows_no_more_than_matters() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (12_000, "3h 20m"),
            (86_400, "24h"),
            (187_200, "2d 4h"),
            (3_542_400, "41d"),
            (63_072_000, "2y"),
            (95_644_800, "3y 12d"),
        ] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), shown, "{seconds}");
        }
    }

    #[test]
    fn the_future_has_no_age_and_the_past_no_time_left() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (noon, one) = (at("2026-11-22T12:00:00Z"), at("2026-11-22T13:00:00Z"));
        assert_eq!(age(noon, one), "1h");
        assert_eq!(age(one, noon), "0s");
        assert_eq!(until(one, noon), "in 1h");
        assert_eq!(until(noon, one), "1h ago");
    }
}
