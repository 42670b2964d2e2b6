//! Waiting for what happens by itself.

use std::time::{Duration, Instant};

/// Waits until `condition` holds, and gives back how long that took.
///
/// # Panics
/// If it does not hold within `limit`; the message then names `what` was waited for.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < limit,
            "waited {limit:?} in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    started.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_as_soon_as_the_condition_holds() {
        let mut left = 3;
        wait_until("three were counted", Duration::from_secs(20), || {
            left -= 1;
            left == 0
        });
        assert_eq!(left, 0);
    }

    #[test]
    #[should_panic(expected = "in vain until the moon is blue")]
    fn waiting_in_vain_panics() {
        wait_until("the moon is blue", Duration::from_millis(1), || false);
    }
}
