//! As much of an S3 server as the store asks for, over a store in memory, which misbehaves to order. It checks no
//! signatures; SeaweedFS does.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use terrarium_s3::{Key, MemoryStore, Store};
use tokio::net::TcpListener;

use super::BUCKET;

/// A server on loopback, for as long as the runtime of the test lives.
pub struct Server {
    pub endpoint: String,
    pub objects: MemoryStore,
    shared: Arc<Shared>,
}

struct Shared {
    objects: MemoryStore,
    traits: Traits,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
}

/// What kind of server it is.
#[derive(Clone, Default)]
pub struct Traits {
    /// It does not know conditional puts.
    pub ignores_conditions: bool,
    /// It answers with this status to requests with checksum headers.
    pub refuses_checksums: Option<u16>,
    /// It does not have the bucket.
    pub no_bucket: bool,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
}

/// What goes wrong, with which requests.
pub struct Rule {
    method: Method,
    times: usize,
    reaction: Reaction,
}

#[derive(Clone)]
pub enum Reaction {
    /// An error instead of doing it: status, S3's code, further headers.
    Error(u16, &'static str, &'static [(&'static str, &'static str)]),
    /// The connection breaks after so many bytes of the request's body.
    CutRequest(usize),
    /// The connection breaks after so many bytes of the answer's body.
    CutAnswer(usize),
    /// It is done, and the connection breaks instead of an answer.
    LoseReply,
    /// It is not done, and there is no answer for so long.
    Silence(Duration),
    /// The answer's body comes to a standstill after so many bytes.
    Standstill(usize),
    /// A bit of the answer's body is another.
    Damage,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Traits::default()).await
    }

    pub async fn with(traits: Traits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let objects = MemoryStore::new();
        let shared = Arc::new(Shared {
            objects: objects.clone(),
            traits,
            rules: Mutex::default(),
            seen: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let shared = Arc::clone(&served);
                tokio::spawn(async move {
                    let service = service_fn(|request| answer(Arc::clone(&shared), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http
                        .serve_connection(TokioIo::new(connection), service)
                        .await;
                });
            }
        });
        Self {
            endpoint: format!("http://{address}"),
            objects,
            shared,
        }
    }

    /// Lets the next requests of a method go wrong; of several rules, the first that is not used up.
    pub fn next(&self, method: Method, times: usize, reaction: Reaction) {
        let rule = Rule {
            method,
            times,
            reaction,
        };
        self.shared.rules.lock().expect("no panic").push(rule);
    }

    /// All requests of a method so far.
    pub fn seen(&self, method: Method) -> Vec<Seen> {
        let mut seen = self.shared.seen.lock().expect("no panic").clone();
        seen.retain(|seen| seen.method == method);
        seen
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, io::Error> {
    let (head, mut incoming) = request.into_parts();
    let target = head.uri.to_string();
    shared.seen.lock().expect("no panic").push(Seen {
        method: head.method.clone(),
        target: target.clone(),
        headers: head.headers.clone(),
    });
    let reaction = {
        let mut rules = shared.rules.lock().expect("no panic");
        let rule = rules
            .iter_mut()
            .find(|rule| rule.method == head.method && rule.times > 0);
        rule.map(|rule| {
            rule.times -= 1;
            rule.reaction.clone()
        })
    };
    let mut body = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            body.extend_from_slice(&data);
        }
        if let Some(Reaction::CutRequest(after)) = reaction
            && body.len() >= after
        {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
    match reaction {
        Some(Reaction::Error(status, code, headers)) => {
            let mut answer = error(status, code);
            for (name, value) in headers {
                answer
                    .headers_mut()
                    .insert(*name, value.parse().expect("a header"));
            }
            return Ok(answer.map(|body| body.for_method(&head.method)));
        }
        Some(Reaction::Silence(time)) => {
            tokio::time::sleep(time).await;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        _ => {}
    }
    let answer = serve(&shared, &head.method, &target, &head.headers, body.freeze()).await;
    Ok(match reaction {
        Some(Reaction::LoseReply) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Reaction::CutAnswer(after)) => answer.map(|body| body.cut(after, false)),
        Some(Reaction::Standstill(after)) => answer.map(|body| body.cut(after, true)),
        Some(Reaction::Damage) => answer.map(Answer::damaged),
        _ => answer.map(|body| body.for_method(&head.method)),
    })
}

async fn serve(
    shared: &Shared,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Response<Answer> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !header("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 ")) {
        return error(403, "AccessDenied");
    }
    let named = ["x-amz-checksum-crc32", "x-amz-checksum-mode"];
    let with_checksum = named.iter().any(|name| headers.contains_key(*name));
    if let Some(status) = shared.traits.refuses_checksums
        && with_checksum
    {
        return error(
            status,
            if status == 501 {
                "NotImplemented"
            } else {
                "InvalidArgument"
            },
        );
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = decode(path);
    let (bucket, key) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    if shared.traits.no_bucket || bucket != BUCKET {
        return error(404, "NoSuchBucket");
    }
    let objects = &shared.objects;
    if key.is_empty() {
        return match *method {
            Method::GET => listing(objects, query).await,
            _ => ok(Bytes::new()),
        };
    }
    let key = Key::new(key).expect("a key of ours");
    match *method {
        Method::PUT => {
            if let Some(sent) = header("x-amz-checksum-crc32")
                && sent != crc32(&body)
            {
                return error(400, "BadDigest");
            }
            match shared.traits.ignores_conditions || header("if-none-match") != Some("*") {
                true => objects.overwrite(&key, body),
                false if objects.create(&key, body).await.is_err() => {
                    return error(412, "PreconditionFailed");
                }
                false => {}
            }
            ok(Bytes::new())
        }
        Method::GET | Method::HEAD => {
            let Some(body) = objects.get(&key) else {
                return error(404, "NoSuchKey");
            };
            let sum = crc32(&body);
            if let Some(range) = header("range") {
                return part(&body, range);
            }
            let mut answer = ok(body);
            if header("x-amz-checksum-mode") == Some("ENABLED") {
                let sum = sum.parse().expect("a header");
                answer.headers_mut().insert("x-amz-checksum-crc32", sum);
            }
            answer
        }
        Method::DELETE => {
            objects.vanish(&key);
            let mut answer = ok(Bytes::new());
            *answer.status_mut() = http::StatusCode::NO_CONTENT;
            answer
        }
        _ => error(405, "MethodNotAllowed"),
    }
}

/// `bytes=FIRST-LAST`
fn part(body: &Bytes, range: &str) -> Response<Answer> {
    let numbers = range.strip_prefix("bytes=").and_then(|range| {
        let (first, last) = range.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    let (first, last): (usize, usize) = numbers.expect("a range of ours");
    if first >= body.len() {
        return error(416, "InvalidRange");
    }
    let end = last.saturating_add(1).min(body.len());
    let mut answer = ok(body.slice(first..end));
    *answer.status_mut() = http::StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {first}-{}/{}", end - 1, body.len());
    let range = range.parse().expect("a header");
    answer.headers_mut().insert("content-range", range);
    answer
}

async fn listing(objects: &MemoryStore, query: &str) -> Response<Answer> {
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| decode(value))
    };
    let prefix = parameter("prefix").unwrap_or_default();
    let after = parameter("continuation-token").unwrap_or_default();
    let mut found = objects.list(&prefix).await.expect("no faults");
    found.retain(|object| object.key.as_str() > after.as_str());
    let more = found.len() > 1000;
    found.truncate(1000);
    let mut xml = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    for object in &found {
        let (key, size, modified) = (&object.key, object.size, object.modified);
        xml += &format!(
            "<Contents><Key>{key}</Key><LastModified>{modified:.3}</LastModified><Size>{size}</Size></Contents>"
        );
    }
    if more && let Some(last) = found.last() {
        xml += &format!(
            "<NextContinuationToken>{}</NextContinuationToken>",
            last.key
        );
    }
    ok(format!("{xml}</ListBucketResult>").into())
}

fn ok(body: Bytes) -> Response<Answer> {
    let length = body.len();
    Response::builder()
        .header("content-length", length)
        .body(Answer::of(body))
        .expect("a response")
}

fn error(status: u16, code: &str) -> Response<Answer> {
    let xml = format!("<Error><Code>{code}</Code><Message>the server's words</Message></Error>");
    let mut answer = ok(xml.into());
    *answer.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    answer
}

/// The body of an answer, which may break off or stand still.
pub struct Answer {
    frames: VecDeque<Result<Bytes, io::ErrorKind>>,
    then_stands: bool,
}

impl Answer {
    fn of(body: Bytes) -> Self {
        Self {
            frames: VecDeque::from([Ok(body)]),
            then_stands: false,
        }
    }

    fn for_method(self, method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::of(Bytes::new()),
            _ => self,
        }
    }

    fn cut(self, after: usize, then_stands: bool) -> Self {
        let whole = self.whole();
        let mut frames = VecDeque::from([Ok(whole.slice(..after))]);
        if !then_stands {
            frames.push_back(Err(io::ErrorKind::ConnectionReset));
        }
        Self {
            frames,
            then_stands,
        }
    }

    fn damaged(self) -> Self {
        let mut body = self.whole().to_vec();
        let middle = body.len() / 2;
        body[middle] ^= 0x10;
        Self::of(body.into())
    }

    fn whole(&self) -> Bytes {
        let bodies = self.frames.iter().filter_map(|frame| frame.as_ref().ok());
        bodies.flatten().copied().collect()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.frames.pop_front() {
            Some(Ok(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Err(kind)) => Poll::Ready(Some(Err(kind.into()))),
            None if self.then_stands => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|digit| digit.unwrap_or(b'0'));
                let digits = std::str::from_utf8(&digits).expect("two digits");
                u8::from_str_radix(digits, 16).expect("two digits")
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).expect("text")
}

fn crc32(body: &[u8]) -> String {
    use aws_smithy_types::base64::encode;
    encode(crc32fast::hash(body).to_be_bytes())
}
