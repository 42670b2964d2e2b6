//! Background operations by id.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::Client;
use crate::Error;
use crate::transport::Call;
use crate::wire::OperationInfo;

impl Client {
    /// The operations that LXD knows in the client's project: running, and those that ended some seconds ago.
    ///
    /// # Errors
    /// As any request; see [`Error`].
    pub async fn operations(&self) -> Result<Vec<OperationInfo>, Error> {
        let address = self.address(&["operations"])?.query("recursion", "1");
        // Grouped by status in words; a group may be null.
        let groups: Option<BTreeMap<String, Option<Vec<OperationInfo>>>> =
            self.get(address).await?;
        let groups = groups.unwrap_or_default();
        Ok(groups.into_values().flatten().flatten().collect())
    }

    /// One operation.
    ///
    /// # Errors
    /// [`Error::NotFound`]: also some seconds after its end.
    pub async fn operation(&self, id: &str) -> Result<OperationInfo, Error> {
        self.get(self.address(&["operations", id])?).await
    }

    /// Cancels an operation.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Api`] if it cannot be cancelled.
    pub async fn cancel_operation(&self, id: &str) -> Result<(), Error> {
        let address = self.address(&["operations", id])?;
        let reply = self.request(Method::DELETE, &address, None, None).await?;
        reply.metadata::<Value>().map(drop)
    }

    /// The operation as soon as it has ended, or as it is when the time is up.
    pub(crate) async fn wait_for_operation(
        &self,
        id: &str,
        limit: Duration,
    ) -> Result<OperationInfo, Error> {
        let address = self.address(&["operations", id, "wait"])?;
        let seconds = limit.as_secs().max(1);
        let address = address.query("timeout", &seconds.to_string());
        let call = Call {
            method: Method::GET,
            address: &address,
            body: None,
            if_match: None,
            patience: Duration::from_secs(seconds),
        };
        self.call(call).await?.metadata()
    }
}
