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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_without_an_end_is_given_up_when_it_is_too_large() {
        let dir = std::env::temp_dir().join(format!("lxd-client-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let sent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            _ = stream.read(&mut [0; 4096]).await;
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head).await.unwrap();
            let chunk = [b"400\r\n".as_slice(), &[b' '; 1024], b"\r\n"].concat();
            let mut sent = 0;
            while stream.write_all(&chunk).await.is_ok() {
                sent += 1024;
            }
            sent
        });
        let transport = Transport {
            body_limit: 1 << 20,
            ..Transport::new(&path)
        };
        let call = Call {
            method: Method::GET,
            address: &Address::new(&[]).unwrap(),
            body: None,
            if_match: None,
            patience: Duration::ZERO,
        };
        let error = transport.send(&call).await.unwrap_err();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(
            matches!(&error, Error::Protocol { detail, .. } if detail.contains("larger than 1048576")),
            "{error:?}"
        );
        assert!(
            sent.await.unwrap() < 4 << 20,
            "the connection is closed at once"
        );
    }
}
