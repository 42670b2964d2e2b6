//! Waiting until LXD is done with an instance.
//!
//! A stop is reported when the guest has stopped; LXD then still unmounts and tidies up, and refuses every other
//! operation on the instance until that is done.

use std::time::Duration;

use lxd_client::Error;
use tokio::time::{Instant, sleep};

/// How long LXD may take to be done.
const LIMIT: Duration = Duration::from_secs(30);

/// Says how long to ask again, from when it was made.
pub(super) struct Patience {
    deadline: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            deadline: Instant::now() + LIMIT,
        }
    }

    /// Whether LXD answered that the instance is busy, and is worth asking again; a moment later then.
    pub(super) async fn asks_again(&self, answer: &Result<(), Error>) -> bool {
        let again = answer.as_ref().is_err_and(is_busy) && Instant::now() < self.deadline;
        if again {
            sleep(Duration::from_millis(200)).await;
        }
        again
    }
}

/// The one thing that only LXD's text tells: it has no status of its own for it (`operationlock` of LXD 5.0).
fn is_busy(error: &Error) -> bool {
    let (Error::OperationFailed { message, .. } | Error::Api { message, .. }) = error else {
        return false;
    };
    message.contains("Instance is busy running a")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(message: &str) -> Error {
        Error::OperationFailed {
            status: 400,
            message: message.to_owned(),
            operation: "Updating instance".to_owned(),
        }
    }

    const BUSY: &str =
        "Failed to create instance update operation: Instance is busy running a \"stop\" operation";

    #[tokio::test]
    async fn only_a_busy_instance_is_asked_again_and_not_for_ever() {
        let patience = Patience::new();
        assert!(!patience.asks_again(&Ok(())).await);
        assert!(!patience.asks_again(&Err(failed("no such key"))).await);
        assert!(patience.asks_again(&Err(failed(BUSY))).await);
        let worn_out = Patience {
            deadline: Instant::now(),
        };
        assert!(!worn_out.asks_again(&Err(failed(BUSY))).await);
    }
}
