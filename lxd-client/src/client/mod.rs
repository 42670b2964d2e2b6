//! The client: where the server is, which project, and how requests become answers.

mod exec;
mod instances;
mod operations;
mod server;
mod snapshots;
mod storage;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::address::Address;
use crate::transport::{Answer, Call, Transport};
use crate::wire::{OperationInfo, Server, Tagged, nullable};
use crate::{Error, Operation, socket};

pub use exec::{Exec, ExecOutput};

/// A connection to LXD, in one project.
///
/// Cheap to clone; the clones share what was learnt about the server. Each request has a connection of its own, so a
/// client survives a restart of LXD.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
    project: Arc<str>,
}

#[derive(Debug)]
struct Shared {
    transport: Transport,
    api_extensions: Vec<String>,
}

impl Client {
    /// Finds LXD's socket as LXD's own client does and asks it for its API.
    ///
    /// The places are those of [`socket::candidates`]. One that is absent, not permitted or silent is passed over;
    /// if none answers, the error is the first that is not mere absence.
    ///
    /// # Errors
    /// [`Error::SocketNotFound`] with all the places, or what [`Client::connect_to`] says of one.
    pub async fn connect() -> Result<Client, Error> {
        let tried = socket::candidates(|name| std::env::var_os(name));
        let mut first = None;
        for path in &tried {
            match Client::connect_to(path).await {
                Err(Error::SocketNotFound { .. }) => {}
                Err(error @ (Error::PermissionDenied { .. } | Error::Unavailable { .. })) => {
                    first.get_or_insert(error);
                }
                decided => return decided,
            }
        }
        Err(first.unwrap_or(Error::SocketNotFound { tried }))
    }

    /// Asks the LXD behind this socket for its API.
    ///
    /// # Errors
    /// [`Error::SocketNotFound`], [`Error::PermissionDenied`], [`Error::Unavailable`] if nothing listens,
    /// [`Error::Untrusted`], [`Error::Protocol`] if it is not LXD that answers.
    pub async fn connect_to(path: &Path) -> Result<Client, Error> {
        let unconnected = Client {
            shared: Arc::new(Shared {
                transport: Transport::new(path),
                api_extensions: Vec::new(),
            }),
            project: Arc::from("default"),
        };
        let server = unconnected.server().await?;
        if server.auth == "untrusted" {
            return Err(Error::Untrusted {
                path: path.to_owned(),
            });
        }
        Ok(Client {
            shared: Arc::new(Shared {
                transport: Transport::new(path),
                api_extensions: server.api_extensions,
            }),
            project: unconnected.project,
        })
    }

    /// The same server, another project.
    pub fn project(&self, name: &str) -> Client {
        Client {
            shared: Arc::clone(&self.shared),
            project: Arc::from(name),
        }
    }

    /// The project that requests are made in: `default` unless chosen.
    pub fn project_name(&self) -> &str {
        &self.project
    }

    /// The same server and project, with another limit to how long an answer may take: one minute unless chosen.
    ///
    /// It does not limit operations; those are waited for as long as they take.
    pub fn with_request_limit(&self, limit: Duration) -> Client {
        Client {
            shared: Arc::new(Shared {
                transport: Transport {
                    request_limit: limit,
                    ..self.shared.transport.clone()
                },
                api_extensions: self.shared.api_extensions.clone(),
            }),
            project: Arc::clone(&self.project),
        }
    }

    /// Whether the server knew an addition to the API when the client connected, by LXD's name for it.
    pub fn has_extension(&self, name: &str) -> bool {
        self.shared.api_extensions.iter().any(|known| known == name)
    }

    /// An address in the client's project.
    fn address(&self, segments: &[&str]) -> Result<Address, Error> {
        let address = Address::new(segments)?;
        Ok(match &*self.project {
            "default" => address,
            project => address.query("project", project),
        })
    }

    async fn get<T: DeserializeOwned>(&self, address: Address) -> Result<T, Error> {
        self.get_tagged(address).await.map(|tagged| tagged.value)
    }

    async fn get_tagged<T: DeserializeOwned>(&self, address: Address) -> Result<Tagged<T>, Error> {
        let reply = self.request(Method::GET, &address, None, None).await?;
        reply.into_tagged()
    }

    /// A request that LXD answers with a background operation.
    async fn start(
        &self,
        method: Method,
        address: Address,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Operation, Error> {
        let reply = self.request(method, &address, body, if_match).await?;
        reply.into_operation(self)
    }

    async fn request(
        &self,
        method: Method,
        address: &Address,
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Reply, Error> {
        let body = body.map(|value| Bytes::from(value.to_string()));
        self.call(Call {
            method,
            address,
            body,
            if_match,
            patience: Duration::ZERO,
        })
        .await
    }

    async fn call(&self, call: Call<'_>) -> Result<Reply, Error> {
        let label = call.label();
        let answer = self.shared.transport.send(&call).await?;
        Reply::parse(answer, label)
    }
}

/// LXD's envelope around every JSON answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Envelope {
    #[serde(deserialize_with = "nullable")]
    r#type: String,
    #[serde(deserialize_with = "nullable")]
    error: String,
    #[serde(deserialize_with = "nullable")]
    error_code: i64,
    operation: Option<String>,
    metadata: Option<Box<RawValue>>,
}

/// An answer that is not an error.
#[derive(Debug)]
struct Reply {
    label: String,
    headers: HeaderMap,
    envelope: Envelope,
}

impl Reply {
    fn parse(answer: Answer, label: String) -> Result<Self, Error> {
        let http_status = answer.status.as_u16();
        let envelope: Envelope = match serde_json::from_slice(&answer.body) {
            Ok(envelope) => envelope,
            // A refusal that LXD's own code did not write: a status, and some text or none.
            Err(_) if http_status >= 400 => {
                let message = excerpt(&answer.body);
                return Err(Error::from_status(http_status, message, label));
            }
            Err(error) => {
                return Err(Error::Protocol {
                    operation: label,
                    detail: error.to_string(),
                });
            }
        };
        // The body decides: newer servers send "200 OK" before they know how a wait ends.
        match envelope.r#type.as_str() {
            "sync" | "async" if http_status < 400 => Ok(Reply {
                label,
                headers: answer.headers,
                envelope,
            }),
            "error" => {
                let status = u16::try_from(envelope.error_code).ok();
                let status = status.filter(|code| *code >= 400).unwrap_or(http_status);
                Err(Error::from_status(status, envelope.error, label))
            }
            other => Err(Error::Protocol {
                operation: label,
                detail: format!("status {http_status} with a body of type {other:?}"),
            }),
        }
    }

    fn metadata<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let text = self
            .envelope
            .metadata
            .as_ref()
            .map_or("null", |raw| raw.get());
        serde_json::from_str(text).map_err(|error| Error::Protocol {
            operation: self.label.clone(),
            detail: error.to_string(),
        })
    }

    fn into_tagged<T: DeserializeOwned>(self) -> Result<Tagged<T>, Error> {
        let etag = self.headers.get(header::ETAG);
        Ok(Tagged {
            value: self.metadata()?,
            etag: etag.and_then(|tag| tag.to_str().ok()).map(str::to_owned),
        })
    }

    /// The operation that was begun. A server that did it at once is taken for one that has finished.
    fn into_operation(self, client: &Client) -> Result<Operation, Error> {
        if self.envelope.r#type == "sync" {
            return Ok(Operation::finished(client.clone(), self.label));
        }
        let mut info: OperationInfo = self.metadata()?;
        if info.id.is_empty() {
            let address = self.envelope.operation.as_deref().unwrap_or_default();
            let path = address.split('?').next().unwrap_or_default();
            info.id = path.rsplit('/').next().unwrap_or_default().to_owned();
        }
        if info.id.is_empty() {
            return Err(Error::Protocol {
                operation: self.label,
                detail: "an operation without an id".to_owned(),
            });
        }
        Ok(Operation::new(client.clone(), info, self.label))
    }
}

/// The beginning of a body that is not JSON, for a message.
fn excerpt(body: &[u8]) -> String {
    let beginning = &body[..body.len().min(200)];
    String::from_utf8_lossy(beginning).trim().to_owned()
}

impl Client {
    /// What the server is and what it can do.
    ///
    /// # Errors
    /// As any request; see [`Error`].
    pub async fn server(&self) -> Result<Server, Error> {
        self.get(self.address(&[])?).await
    }
}
