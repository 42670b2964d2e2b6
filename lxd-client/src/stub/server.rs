//! The stub's socket: requests in, LXD's envelopes out.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::StubStorage;
use super::faults::Trouble;
use super::world::World;

/// The stub's insides, shared by all connections and operations.
#[derive(Clone)]
pub(super) struct Lxd {
    world: Arc<Mutex<World>>,
    pub(super) storage: Arc<dyn StubStorage>,
    changes: Arc<watch::Sender<()>>,
}

impl std::fmt::Debug for Lxd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lxd")
            .field("world", &self.world)
            .finish_non_exhaustive()
    }
}

impl Lxd {
    pub(super) fn new(world: World, storage: Arc<dyn StubStorage>) -> Self {
        Lxd {
            world: Arc::new(Mutex::new(world)),
            storage,
            changes: Arc::new(watch::channel(()).0),
        }
    }

    /// The database. Never held while the storage is asked: that may look at the stub itself.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        // A test that panicked with the lock has failed already.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for something in the database.
    pub(super) fn changed(&self) {
        self.changes.send_replace(());
    }

    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// The path's segments after `/1.0`, decoded.
    pub(super) segments: Vec<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) if_match: Option<String>,
    pub(super) body: Value,
    pub(super) trouble: Trouble,
}

impl Ask {
    pub(super) fn project(&self) -> &str {
        self.query.get("project").map_or("default", String::as_str)
    }

    pub(super) fn recursion(&self) -> u8 {
        let level = self
            .query
            .get("recursion")
            .and_then(|level| level.parse().ok());
        level.unwrap_or(0)
    }

    /// A text field of the body.
    pub(super) fn text(&self, field: &str) -> &str {
        self.body
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    pub(super) fn flag(&self, field: &str) -> bool {
        self.body
            .get(field)
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }
}

/// What is answered, before it is put into an envelope.
#[derive(Debug)]
pub(super) enum Reply {
    Sync(Value),
    Tagged(Value, String),
    Begun(String),
    File(Vec<u8>),
}

/// What is refused at once.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
}

pub(super) type Answer = Result<Reply, Refusal>;

pub(super) fn refuse<T>(status: u16, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        status,
        message: message.into(),
    })
}

pub(super) fn listen(socket: &Path, lxd: Lxd) -> io::Result<JoinHandle<()>> {
    let listener = UnixListener::bind(socket)?;
    Ok(tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, lxd.clone()));
        }
    }))
}

async fn serve(stream: UnixStream, lxd: Lxd) {
    let answer = service_fn(|request| respond(request, lxd.clone()));
    // An error here is a connection that one side has given up.
    _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// Why an answer is not sent: a test wants the connection to break.
#[derive(Debug, thiserror::Error)]
#[error("the answer is dropped, as asked")]
struct Dropped;

async fn respond(request: Request<Incoming>, lxd: Lxd) -> Result<Response<Full<Bytes>>, Dropped> {
    let (head, body) = request.into_parts();
    let address = head.uri.path_and_query().map_or("/", |text| text.as_str());
    let trouble = {
        let mut world = lxd.world();
        world.requests.push(format!("{} {address}", head.method));
        world.trouble(head.method.as_str(), address)
    };
    let drop_reply = trouble.drop_reply;
    if let Some((status, message)) = trouble.refuse {
        return Ok(envelope(refuse(status, message), &lxd));
    }
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Err(Dropped),
    };
    let body = if body.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_slice(&body)
    };
    let answer = match body {
        Err(error) => refuse(400, error.to_string()),
        Ok(body) => {
            let if_match = head.headers.get(header::IF_MATCH);
            let path = head.uri.path();
            let path = path.strip_prefix("/1.0").unwrap_or(path);
            let ask = Ask {
                method: head.method,
                segments: path
                    .split('/')
                    .filter(|part| !part.is_empty())
                    .map(decode)
                    .collect(),
                query: pairs(head.uri.query().unwrap_or_default()),
                if_match: if_match
                    .and_then(|tag| tag.to_str().ok())
                    .map(str::to_owned),
                body,
                trouble,
            };
            super::routes::answer(&lxd, ask).await
        }
    };
    if drop_reply {
        return Err(Dropped);
    }
    Ok(envelope(answer, &lxd))
}

fn envelope(answer: Answer, lxd: &Lxd) -> Response<Full<Bytes>> {
    let mut response = Response::builder();
    let body = match answer {
        Ok(Reply::File(bytes)) => {
            response = response.header(header::CONTENT_TYPE, "application/octet-stream");
            return whole(response, bytes);
        }
        Ok(Reply::Sync(metadata)) => done(metadata),
        Ok(Reply::Tagged(metadata, etag)) => {
            response = response.header(header::ETAG, etag);
            done(metadata)
        }
        Ok(Reply::Begun(id)) => {
            let address = format!("/1.0/operations/{id}");
            response = response.status(202).header(header::LOCATION, &address);
            let info = lxd
                .world()
                .operations
                .get(&id)
                .map(|record| record.info.clone());
            json!({
                "type": "async", "status": "Operation created", "status_code": 100,
                "operation": address, "error_code": 0, "error": "", "metadata": info,
            })
        }
        Err(Refusal { status, message }) => {
            response = response.status(status);
            json!({
                "type": "error", "status": "", "status_code": 0, "operation": "",
                "error_code": status, "error": message, "metadata": null,
            })
        }
    };
    let response = response.header(header::CONTENT_TYPE, "application/json");
    whole(response, body.to_string().into_bytes())
}

fn done(metadata: Value) -> Value {
    json!({
        "type": "sync", "status": "Success", "status_code": 200, "operation": "",
        "error_code": 0, "error": "", "metadata": metadata,
    })
}

fn whole(response: http::response::Builder, body: Vec<u8>) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(body));
    // Only a status or header that a test made up can be wrong.
    response
        .body(body.clone())
        .unwrap_or_else(|_| Response::new(body))
}

fn pairs(query: &str) -> BTreeMap<String, String> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(key), decode(value))
        })
        .collect()
}

/// Undoes percent-encoding; what is not such stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
