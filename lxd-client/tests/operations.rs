//! Operations are waited for through whatever happens to the connection.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use lxd_client::stub::{NoStorage, Stub};
use lxd_client::{
    Client, CreateInstance, CreateSnapshot, Error, ErrorKind, Instance, InstancePut, Operation,
    Project, StateAction, StateChange,
};
use support::{Answer, Scripted, http, refusal, sync};

const BEGUN: &str = r#"{"type":"async","status":"Operation created","status_code":100,
    "operation":"/1.0/operations/abc?project=p","metadata":{"status_code":103,"metadata":null}}"#;

fn running() -> Answer {
    Answer::Bytes(sync(r#"{"id":"abc","status_code":103}"#))
}

/// Begins an operation that the server, asked for it again and again, tells of like this.
async fn begun(answer: impl Fn(usize, &str) -> Answer + Send + 'static) -> (Scripted, Operation) {
    let server = Scripted::start(move |number, line| match number {
        0 => Answer::Bytes(http("202 Accepted", BEGUN)),
        _ => answer(number, line),
    });
    let client = Client::connect_to(&server.socket()).await.expect("greeted");
    let operation = client.delete_instance("c1").await.expect("begun");
    assert_eq!(operation.id(), "abc", "from the address, if nowhere else");
    (server, operation)
}

#[tokio::test]
async fn a_connection_that_breaks_while_waiting_does_not_end_the_wait() {
    let (server, operation) = begun(|number, _| match number {
        1..=3 => Answer::Bytes(Vec::new()),
        4 => Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"type\"".to_vec()),
        5 => running(),
        _ => Answer::Bytes(sync(r#"{"id":"abc","status_code":200,"metadata":{"x":1}}"#)),
    })
    .await;
    let ended = operation.wait().await.expect("it succeeded");
    assert_eq!(ended.metadata["x"], 1);
    let waits = server.requests();
    assert!(
        waits[2].starts_with("GET /1.0/operations/abc/wait?timeout=10 "),
        "{}",
        waits[2]
    );
    assert_eq!(waits.len(), 2 + 6);
}

#[tokio::test]
async fn a_failure_is_told_with_lxds_message_and_status() {
    for (told, expected) in [
        (r#"{"status_code":400,"err":"no space"}"#, (400, "no space")),
        (
            r#"{"status_code":400,"err":"in use","err_code":409}"#,
            (409, "in use"),
        ),
        (
            r#"{"status_code":401,"status":"Cancelled"}"#,
            (401, "Cancelled"),
        ),
        (
            r#"{"status_code":400}"#,
            (400, "it failed without a message"),
        ),
        (
            r#"{"status_code":999999999}"#,
            (400, "it failed without a message"),
        ),
    ] {
        let (_server, operation) = begun(move |_, _| Answer::Bytes(sync(told))).await;
        let error = operation.wait().await.expect_err("it failed");
        let Error::OperationFailed {
            status,
            message,
            operation,
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!((*status, message.as_str()), expected);
        assert_eq!(operation, "DELETE /1.0/instances/c1");
        assert_eq!(error.kind(), ErrorKind::Failed);
    }
}

/// LXD 6 does so: the status is sent before the end is known, and an operation's failure is the answer to the wait.
#[tokio::test]
async fn a_wait_that_is_answered_with_an_error_is_followed_by_a_look_at_the_operation() {
    let (_server, operation) = begun(|number, line| match number {
        1 => Answer::Bytes(refusal("200 OK", 500, "context deadline exceeded")),
        2 => running(),
        3 => Answer::Bytes(refusal("200 OK", 404, "Instance not found")),
        _ => {
            assert!(line.starts_with("GET /1.0/operations/abc "), "{line}");
            Answer::Bytes(sync(
                r#"{"status_code":400,"err":"Instance not found","err_code":404}"#,
            ))
        }
    })
    .await;
    let error = operation.wait().await.expect_err("it failed");
    assert!(
        matches!(error, Error::OperationFailed { status: 404, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_operation_that_is_forgotten_is_neither_success_nor_failure() {
    let (_server, operation) =
        begun(|_, _| Answer::Bytes(refusal("404 Not Found", 404, "Operation not found"))).await;
    let error = operation.wait().await.expect_err("nobody knows");
    assert!(matches!(error, Error::OperationLost { .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Unknown);
}

#[tokio::test]
async fn a_server_that_does_at_once_what_was_asked_has_succeeded() {
    let server = Scripted::start(|_, _| Answer::Bytes(sync("{}")));
    let client = Client::connect_to(&server.socket()).await.expect("greeted");
    let operation = client.delete_instance("c1").await.expect("done");
    operation.wait().await.expect("it succeeded");
    assert_eq!(server.requests().len(), 2, "there is nothing to wait for");
}

#[tokio::test]
async fn an_operation_without_an_id_is_not_waited_for() {
    for body in [
        r#"{"type":"async","metadata":null}"#,
        r#"{"type":"async","operation":"/","metadata":{}}"#,
    ] {
        let server = Scripted::start(move |_, _| Answer::Bytes(http("202 Accepted", body)));
        let client = Client::connect_to(&server.socket()).await.expect("greeted");
        let error = client.delete_instance("c1").await.expect_err("no id");
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_limit_ends_the_wait_of_a_silent_server_too() {
    let (_server, operation) = begun(|_, _| Answer::Silence).await;
    let asked = Instant::now();
    let error = operation.wait_timeout(Duration::from_millis(300)).await;
    assert!(matches!(error, Err(Error::Timeout { .. })), "{error:?}");
    assert!(asked.elapsed() < Duration::from_secs(5));
}

async fn with_c1() -> (Stub, Client) {
    let stub = Stub::start(Arc::new(NoStorage)).await;
    let mut instance = Instance::default();
    instance.name = "c1".to_owned();
    instance.profiles = vec!["default".to_owned()];
    stub.add_instance("default", instance, false);
    let client = Client::connect_to(stub.socket()).await.expect("greeted");
    (stub, client)
}

#[tokio::test]
async fn the_stub_fails_as_a_test_asks_and_does_nothing_then() {
    let (stub, client) = with_c1().await;
    let start = StateChange::new(StateAction::Start);

    stub.fail_next("PUT", "/c1/state", 503, "not ready");
    let error = client.set_state("c1", &start).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    stub.fail_operation_next("PUT", "/c1/state", "no such luck");
    let failed = client
        .set_state("c1", &start)
        .await
        .expect("begun")
        .wait()
        .await;
    assert!(
        failed
            .expect_err("failed")
            .to_string()
            .contains("no such luck")
    );
    assert!(
        !stub
            .instance("default", "c1")
            .expect("it exists")
            .is_running()
    );

    stub.drop_reply_next("PUT", "/c1/state");
    let error = client.set_state("c1", &start).await.expect_err("no answer");
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        stub.instance("default", "c1")
            .expect("it exists")
            .is_running(),
        "but it was done"
    );
    let puts = stub.requests();
    let puts = puts
        .iter()
        .filter(|line| *line == "PUT /1.0/instances/c1/state");
    assert_eq!(puts.count(), 3);
}

#[tokio::test]
async fn the_stub_takes_its_time_and_forgets() {
    let (stub, client) = with_c1().await;
    stub.set_delay("POST", "snapshots", Duration::from_millis(300));
    let new = CreateSnapshot {
        name: "s".into(),
        ..CreateSnapshot::default()
    };
    let begun = client.create_snapshot("c1", &new).await.expect("begun");
    let early = begun.wait_timeout(Duration::from_millis(50)).await;
    assert!(matches!(early, Err(Error::Timeout { .. })), "{early:?}");
    begun.wait().await.expect("it succeeded");
    stub.forget_operations();
    let lost = begun.wait().await;
    assert!(matches!(lost, Err(Error::OperationLost { .. })), "{lost:?}");
}

#[tokio::test]
async fn a_start_that_meets_a_missing_volume_fails_and_a_record_without_a_snapshot_is_not_kept() {
    struct Missing;
    impl lxd_client::stub::StubStorage for Missing {
        fn create_volume(&self, _: &str, _: &str) -> Result<(), String> {
            Err("dataset already exists".into())
        }
        fn delete_volume(&self, _: &str, _: &str) -> Result<(), String> {
            Ok(())
        }
        fn rename_volume(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
            Err("dataset does not exist".into())
        }
        fn create_snapshot(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
            Err("dataset does not exist".into())
        }
        fn delete_snapshot(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
            Ok(())
        }
        fn start(&self, _: &str, _: &str) -> Result<(), String> {
            Err("dataset does not exist".into())
        }
        fn stop(&self, _: &str, _: &str) -> Result<(), String> {
            Ok(())
        }
    }
    let stub = Stub::start(Arc::new(Missing)).await;
    let mut instance = Instance::default();
    instance.name = "c1".to_owned();
    instance.profiles = vec!["default".to_owned()];
    stub.add_instance("default", instance, false);
    let client = Client::connect_to(stub.socket()).await.expect("greeted");
    let start = client
        .set_state("c1", &StateChange::new(StateAction::Start))
        .await;
    start
        .expect("begun")
        .wait()
        .await
        .expect_err("the volume is missing");
    let new = CreateSnapshot {
        name: "s".into(),
        ..CreateSnapshot::default()
    };
    let snapshot = client.create_snapshot("c1", &new).await;
    snapshot
        .expect("begun")
        .wait()
        .await
        .expect_err("the volume is missing");
    let c1 = stub.instance("default", "c1").expect("it exists");
    assert!(!c1.is_running());
    assert_eq!(c1.snapshots, Some(vec![]));
    let renamed = client.rename_instance("c1", "c2").await;
    renamed
        .expect("begun")
        .wait()
        .await
        .expect_err("the volume is missing");
    assert!(stub.instance("default", "c2").is_none());
}

#[tokio::test]
async fn a_project_with_limits_lets_nobody_set_the_id_map() {
    let (stub, client) = with_c1().await;
    let mut project = Project::default();
    project.name = "tenant".to_owned();
    project
        .config
        .insert("limits.containers".into(), "3".into());
    stub.add_project(project.clone());
    let tenant = client.project("tenant");
    let mut new = CreateInstance {
        name: "c2".to_owned(),
        ..CreateInstance::default()
    };
    new.settings.profiles = vec!["default".to_owned()];
    new.settings
        .config
        .insert("volatile.last_state.idmap".into(), "[{}]".into());
    let error = tenant.create_instance(&new).await.expect_err("forbidden");
    assert!(matches!(error, Error::Api { status: 500, .. }), "{error:?}");
    new.settings.config.clear();
    let begun = tenant.create_instance(&new).await.expect("begun");
    begun.wait().await.expect("created");

    let made = tenant.instance("c2").await.expect("it exists").value;
    let mut put = InstancePut::from(&made);
    put.config.remove("volatile.apply_template");
    let begun = tenant
        .update_instance("c2", &put, None)
        .await
        .expect("begun");
    begun.wait().await.expect("the same, or less, is allowed");
    let patch = serde_json::json!({"config": {"volatile.last_state.idmap": "[{}]"}});
    let error = tenant
        .patch_instance("c2", &patch)
        .await
        .expect_err("forbidden");
    assert!(error.to_string().contains("Changing"), "{error}");
    project
        .config
        .insert("restricted.containers.lowlevel".into(), "allow".into());
    stub.add_project(project);
    tenant
        .patch_instance("c2", &patch)
        .await
        .expect("allowed now");
}
