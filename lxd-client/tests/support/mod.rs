//! A server that answers each connection with bytes that a test wrote.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// What to do with one request: answer these bytes and close, or never answer.
pub(crate) enum Answer {
    Bytes(Vec<u8>),
    Silence,
}

pub(crate) struct Scripted {
    dir: TempDir,
    requests: Arc<Mutex<Vec<String>>>,
    listener: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Scripted {
    /// Greets a client that connects; whatever it asks next, `answer` answers, told the number of the request (0, 1, …)
    /// and its first line.
    pub(crate) fn start(answer: impl Fn(usize, &str) -> Answer + Send + 'static) -> Self {
        let mut greeted = false;
        let mut number = 0;
        Self::raw(move |line| {
            if !greeted {
                greeted = true;
                return Answer::Bytes(sync(r#"{"api_version": "1.0", "auth": "trusted"}"#));
            }
            number += 1;
            answer(number - 1, line)
        })
    }

    /// The same without the greeting.
    pub(crate) fn raw(mut answer: impl FnMut(&str) -> Answer + Send + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("socket")).expect("a socket");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let listener = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read_buf(&mut request).await {
                        Ok(1..) => {}
                        _ => break,
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let line = text.lines().next().unwrap_or_default().to_owned();
                log.lock().expect("no test panicked").push(text);
                match answer(&line) {
                    // The client may have heard enough before the end.
                    Answer::Bytes(bytes) => _ = stream.write_all(&bytes).await,
                    Answer::Silence => open.push(stream),
                }
            }
        });
        Scripted {
            dir,
            requests,
            listener,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// The heads of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no test panicked").clone()
    }
}

pub(crate) fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// LXD's envelope around an answer.
pub(crate) fn sync(metadata: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":{metadata}}}"#
    );
    http("200 OK", &body)
}

/// LXD's envelope around an error.
pub(crate) fn refusal(status: &str, code: u16, message: &str) -> Vec<u8> {
    let body =
        format!(r#"{{"type":"error","error_code":{code},"error":"{message}","metadata":null}}"#);
    http(status, &body)
}
