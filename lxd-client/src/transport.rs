//! One request and its answer over the unix socket: bounded in size and in time.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::Error;
use crate::address::Address;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// Holds the records of some 50,000 snapshots.
const BODY_LIMIT: usize = 256 << 20;

/// How to reach the server.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    pub(crate) path: PathBuf,
    pub(crate) request_limit: Duration,
    pub(crate) body_limit: usize,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) address: &'a Address,
    pub(crate) body: Option<Bytes>,
    pub(crate) if_match: Option<&'a str>,
    /// How much longer than usual the server may take: it was asked to wait.
    pub(crate) patience: Duration,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call<'_> {
    /// How errors name it.
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.method, self.address.as_str())
    }
}

impl Transport {
    pub(crate) fn new(path: &Path) -> Self {
        Transport {
            path: path.to_owned(),
            request_limit: REQUEST_LIMIT,
            body_limit: BODY_LIMIT,
        }
    }

    /// Sends a request over a connection of its own and reads the whole answer.
    ///
    /// A unix socket's connection costs less than keeping one alive and finding out that the server has closed it.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let request = build(call)?;
        let stream = self.connect().await?;
        let limit = self.request_limit.saturating_add(call.patience);
        timeout(limit, self.exchange(call, stream, request))
            .await
            .unwrap_or_else(|_| {
                Err(Error::Timeout {
                    operation: call.label(),
                    after: limit,
                })
            })
    }

    pub(crate) async fn connect(&self) -> Result<UnixStream, Error> {
        let unavailable = |source| Error::Unavailable {
            path: self.path.clone(),
            source,
        };
        match timeout(CONNECT_LIMIT, UnixStream::connect(&self.path)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::SocketNotFound {
                    tried: vec![self.path.clone()],
                },
                io::ErrorKind::PermissionDenied => Error::PermissionDenied {
                    path: self.path.clone(),
                },
                _ => unavailable(error),
            }),
            Err(_) => Err(unavailable(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        stream: UnixStream,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Error> {
        let broken = |error| classify(error, call);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let (head, body) = response.into_parts();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: self.collect(body, call).await?,
            })
        };
        // The connection is driven here, not by a task of its own: dropping this future drops the connection with it.
        let mut answer = std::pin::pin!(answer);
        let mut connection = std::pin::pin!(connection);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                _ = &mut connection, if open => open = false,
            }
        }
    }

    async fn collect(&self, mut body: Incoming, call: &Call<'_>) -> Result<Bytes, Error> {
        let too_large = || Error::Protocol {
            operation: call.label(),
            detail: format!("the answer is larger than {} bytes", self.body_limit),
        };
        let announced = body.size_hint().lower();
        if announced > self.body_limit as u64 {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| classify(error, call))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if whole.len() + data.len() > self.body_limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }
}

fn build(call: &Call<'_>) -> Result<Request<Full<Bytes>>, Error> {
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(call.address.as_str())
        .header(header::HOST, "lxd")
        .header(
            header::USER_AGENT,
            concat!("lxd-client/", env!("CARGO_PKG_VERSION")),
        );
    if call.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(etag) = call.if_match {
        request = request.header(header::IF_MATCH, etag);
    }
    request
        .body(Full::new(call.body.clone().unwrap_or_default()))
        // Addresses are encoded, so what is left is an ETag that no server sent.
        .map_err(|error| Error::Protocol {
            operation: call.label(),
            detail: error.to_string(),
        })
}

/// Garbage from the other side is one thing, a connection that ended another.
fn classify(error: hyper::Error, call: &Call<'_>) -> Error {
    let operation = call.label();
    let detail = error.to_string();
    if error.is_parse() || error.is_parse_status() {
        Error::Protocol { operation, detail }
    } else {
        Error::Disconnected { operation, detail }
    }
}
