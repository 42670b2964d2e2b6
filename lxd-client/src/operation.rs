//! A background operation that this client began: wait for it, watch it, cancel it.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::wire::{OperationInfo, OperationStatus};
use crate::{Client, Error};

/// How long one request waits for the end. Short enough to notice a lost connection, long enough to cost nothing.
const POLL: Duration = Duration::from_secs(10);
/// The same, when somebody watches.
const WATCHED_POLL: Duration = Duration::from_secs(1);
/// How long a server that does not answer is asked again.
const GIVE_UP: Duration = Duration::from_secs(30);
/// Between two requests that the server answered at once.
const PAUSE: Duration = Duration::from_millis(100);

/// A background operation.
///
/// Dropping it changes nothing: the operation goes on in LXD.
#[derive(Clone, Debug)]
#[must_use = "an operation has only begun: wait for it"]
pub struct Operation {
    client: Client,
    info: OperationInfo,
    label: String,
}

impl Operation {
    pub(crate) fn new(client: Client, info: OperationInfo, label: String) -> Self {
        Operation {
            client,
            info,
            label,
        }
    }

    /// What a server did at once, as an operation without id that has succeeded.
    pub(crate) fn finished(client: Client, label: String) -> Self {
        let info = OperationInfo {
            status_text: "Success".to_owned(),
            status_code: 200,
            ..OperationInfo::default()
        };
        Operation::new(client, info, label)
    }

    /// Its UUID; empty if the server did at once what was asked.
    pub fn id(&self) -> &str {
        &self.info.id
    }

    /// What LXD said of it when it began.
    pub fn info(&self) -> &OperationInfo {
        &self.info
    }

    /// Waits for its end, however long that takes.
    ///
    /// Survives a connection that breaks: the operation is asked for again.
    ///
    /// # Errors
    /// [`Error::OperationFailed`] if it failed or was cancelled, [`Error::OperationLost`] if LXD no longer knows it,
    /// [`Error::Unavailable`] or [`Error::Disconnected`] if LXD could not be reached for half a minute.
    pub async fn wait(&self) -> Result<OperationInfo, Error> {
        self.follow(POLL, |_| {}).await
    }

    /// Waits for its end, but no longer than this.
    ///
    /// # Errors
    /// As [`Operation::wait`], and [`Error::Timeout`] when the time is up: the operation goes on, and can be waited
    /// for again or cancelled.
    pub async fn wait_timeout(&self, limit: Duration) -> Result<OperationInfo, Error> {
        let end = self.follow(limit.min(POLL), |_| {});
        timeout(limit, end).await.unwrap_or_else(|_| {
            Err(Error::Timeout {
                operation: self.describe(),
                after: limit,
            })
        })
    }

    /// Waits for its end and shows it about every second, and at the end, to `watch`.
    ///
    /// [`OperationInfo::progress`] has LXD's words for how far it is.
    ///
    /// # Errors
    /// As [`Operation::wait`].
    pub async fn wait_with_progress(
        &self,
        watch: impl FnMut(&OperationInfo) + Send,
    ) -> Result<OperationInfo, Error> {
        self.follow(WATCHED_POLL, watch).await
    }

    /// Asks LXD to cancel it. Few operations can be: see [`OperationInfo::may_cancel`].
    ///
    /// # Errors
    /// [`Error::Api`] if it cannot be cancelled, [`Error::NotFound`] if it has ended.
    pub async fn cancel(&self) -> Result<(), Error> {
        self.client.cancel_operation(self.id()).await
    }

    async fn follow(
        &self,
        poll: Duration,
        mut watch: impl FnMut(&OperationInfo),
    ) -> Result<OperationInfo, Error> {
        if self.info.status() == OperationStatus::Succeeded {
            return Ok(self.info.clone());
        }
        let mut heard = Instant::now();
        loop {
            let asked = Instant::now();
            match self.ask(poll).await {
                Ok(info) => {
                    heard = Instant::now();
                    watch(&info);
                    match info.status() {
                        OperationStatus::Running => {}
                        OperationStatus::Succeeded => return Ok(info),
                        OperationStatus::Failed | OperationStatus::Cancelled => {
                            return Err(self.failure(&info));
                        }
                    }
                }
                Err(error) if is_passing(&error) && heard.elapsed() < GIVE_UP => {}
                Err(error) => return Err(error),
            }
            if asked.elapsed() < PAUSE {
                sleep(PAUSE).await;
            }
        }
    }

    /// The operation when it has ended or `limit` is over.
    async fn ask(&self, limit: Duration) -> Result<OperationInfo, Error> {
        let waited = self.client.wait_for_operation(self.id(), limit).await;
        // LXD 6 answers a wait with the operation's own failure, or with an error when the time is up: only the
        // operation itself tells which.
        match waited {
            Err(
                Error::Api { .. }
                | Error::NotFound { .. }
                | Error::Conflict { .. }
                | Error::PreconditionFailed { .. },
            ) => match self.client.operation(self.id()).await {
                Err(Error::NotFound { .. }) => Err(Error::OperationLost {
                    operation: self.describe(),
                }),
                read => read,
            },
            other => other,
        }
    }

    fn failure(&self, info: &OperationInfo) -> Error {
        let told = u16::try_from(info.err_code).ok().filter(|code| *code > 0);
        let status = u16::try_from(info.status_code).unwrap_or(400);
        let message = if !info.err.is_empty() {
            &info.err
        } else if !info.status_text.is_empty() {
            &info.status_text
        } else {
            "it failed without a message"
        };
        Error::OperationFailed {
            status: told.unwrap_or(status),
            message: message.to_owned(),
            operation: self.describe(),
        }
    }

    /// What was asked, and the operation it became.
    fn describe(&self) -> String {
        match self.info.description.as_str() {
            "" => self.label.clone(),
            description => format!("{description} ({})", self.label),
        }
    }
}

/// Whether asking again may help.
fn is_passing(error: &Error) -> bool {
    matches!(
        error,
        Error::Disconnected { .. }
            | Error::Unavailable { .. }
            | Error::SocketNotFound { .. }
            | Error::Timeout { .. }
    )
}
