//! Sockets that are not there, and servers that answer wrongly, late or not at all.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lxd_client::{Client, Error, ErrorKind};
use support::{Answer, Scripted, http, refusal, sync};

async fn refused(path: &Path) -> Error {
    Client::connect_to(path).await.expect_err("no LXD is there")
}

/// What the client makes of these bytes as the answer to a request.
async fn answer_to(bytes: impl Into<Vec<u8>>) -> Error {
    let bytes = bytes.into();
    let server = Scripted::start(move |_, _| Answer::Bytes(bytes.clone()));
    let client = Client::connect_to(&server.socket()).await.expect("greeted");
    client.instance("c1").await.expect_err("no instance came")
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named() {
    let path = Path::new("/nonexistent/lxd/unix.socket");
    let error = refused(path).await;
    assert!(
        matches!(&error, Error::SocketNotFound { tried } if tried == &[path]),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.help().is_some());
}

#[tokio::test]
async fn a_socket_that_nothing_listens_on_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let dead = dir.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let error = refused(&dead).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = refused(&file).await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let error = refused(&file.join("socket")).await;
    assert!(matches!(error, Error::SocketNotFound { .. }), "{error:?}");
}

/// Root may connect to any socket, so root runs this test once more as somebody else.
#[tokio::test]
async fn a_socket_that_is_not_permitted_says_so() {
    const SOCKET: &str = "LXD_CLIENT_TEST_SOCKET";
    if let Some(path) = std::env::var_os(SOCKET) {
        let error = refused(Path::new(&path)).await;
        assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let allow = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(dir.path(), 0o755);
    allow(&path, 0o600);
    let mine = std::fs::metadata(&path).unwrap();
    if mine.uid() != 0 {
        allow(&path, 0);
        let error = refused(&path).await;
        assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
        return;
    }
    let program = dir.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    allow(&program, 0o755);
    let mut again = Command::new(&program);
    again.args(["--exact", "a_socket_that_is_not_permitted_says_so"]);
    again
        .env(SOCKET, &path)
        .current_dir("/")
        .uid(65534)
        .gid(65534);
    let output = again.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_trust_the_client_is_told_from_one_that_refuses() {
    let body = r#"{"api_version": "1.0", "auth": "untrusted"}"#;
    let server = Scripted::raw(move |_| Answer::Bytes(sync(body)));
    let error = refused(&server.socket()).await;
    assert!(matches!(error, Error::Untrusted { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let server = Scripted::raw(|_| Answer::Bytes(refusal("403 Forbidden", 403, "no")));
    let error = refused(&server.socket()).await;
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
}

#[tokio::test]
async fn what_is_not_lxd_is_told_so() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n".into(),
        "\0\0\0\0\r\n\r\n".into(),
        http("200 OK", "<html>hello</html>"),
        http("200 OK", ""),
        http("200 OK", "{}"),
        http("200 OK", "[]"),
        http("200 OK", "null"),
        http("200 OK", r#"{"type":"sync","metadata":{"config":[1]}}"#),
        http("200 OK", r#"{"type":"sync","metadata":{"config":{"a":1}}}"#),
        http(
            "200 OK",
            r#"{"type":"sync","metadata":{"created_at":"soon"}}"#,
        ),
        http("200 OK", r#"{"type":"sync","metadata":null}"#),
        http(
            "200 OK",
            &format!(r#"{{"type":"sync","metadata":{}"#, "[".repeat(100_000)),
        ),
        http(
            "200 OK",
            "{\"type\":\"sync\",\"metadata\":{\"name\":\"\u{FFFF}\\ud800\"}}",
        ),
        http(
            "500 Internal Server Error",
            r#"{"type":"sync","metadata":{}}"#,
        ),
    ] {
        let error = answer_to(garbage.clone()).await;
        let text = String::from_utf8_lossy(&garbage);
        assert!(matches!(error, Error::Protocol { .. }), "{text}: {error:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_by_its_status_even_without_lxds_envelope() {
    let error = answer_to(refusal("404 Not Found", 404, "Instance not found")).await;
    let Error::NotFound { message, operation } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (message.as_str(), operation.as_str()),
        ("Instance not found", "GET /1.0/instances/c1")
    );
    assert_eq!(
        error.to_string(),
        "GET /1.0/instances/c1: Instance not found"
    );

    let plain = answer_to(http("502 Bad Gateway", "bad gateway\n")).await;
    assert!(
        matches!(&plain, Error::Api { status: 502, message, .. } if message == "bad gateway"),
        "{plain:?}"
    );
    // A server that has begun to answer cannot change the status any more.
    let late = answer_to(refusal("200 OK", 409, "taken")).await;
    assert!(matches!(late, Error::Conflict { .. }), "{late:?}");
    let odd = answer_to(refusal("400 Bad Request", 0, "odd")).await;
    assert!(matches!(odd, Error::Api { status: 400, .. }), "{odd:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_is_told_from_a_refusal() {
    let whole = sync(r#"{"name": "c1"}"#);
    for length in [0, 5, 20, 40, whole.len() - 1] {
        let error = answer_to(&whole[..length]).await;
        assert!(
            matches!(error, Error::Disconnected { .. }),
            "{length}: {error:?}"
        );
        assert_eq!(error.kind(), ErrorKind::Unknown);
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let announced = "HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n{";
    let error = answer_to(announced).await;
    assert!(
        matches!(&error, Error::Protocol { detail, .. } if detail.contains("larger")),
        "{error:?}"
    );
    let mut head = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
    head.resize(8 << 20, b'x');
    let error = answer_to(head).await;
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_silent_is_not_waited_for_longer_than_asked() {
    let server = Scripted::start(|number, _| match number {
        0 => Answer::Silence,
        _ => Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{".to_vec()),
    });
    let client = Client::connect_to(&server.socket()).await.expect("greeted");
    let hasty = client.with_request_limit(Duration::from_millis(200));
    let error = hasty.instance("c1").await.expect_err("silence");
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "GET /1.0/instances/c1: no answer within 0.2 s"
    );
    let endless = client.with_request_limit(Duration::MAX);
    let error = endless.instance("c1").await.expect_err("half an answer");
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
}

#[tokio::test]
async fn names_reach_the_server_encoded() {
    let server = Scripted::start(|_, _| Answer::Bytes(refusal("404 Not Found", 404, "no")));
    let client = Client::connect_to(&server.socket()).await.expect("greeted");
    let client = client.project("a&b");
    client.snapshot("c 1/x", "ü?#%").await.expect_err("404");
    let requests = server.requests();
    let last = requests.last().expect("a request");
    assert!(
        last.starts_with(
            "GET /1.0/instances/c%201%2Fx/snapshots/%C3%BC%3F%23%25?project=a%26b HTTP/1.1\r\n"
        ),
        "{last}"
    );
}
