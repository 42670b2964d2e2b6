//! Instances are started and stopped, run commands, and are waited for.

use std::time::{Duration, Instant};

use super::{Subject, done, fails, is};
use crate::{
    Client, CreateSnapshot, Error, ErrorKind, Exec, OperationStatus, StateAction, StateChange,
};

/// The script that a shell in the instance is given.
pub(super) const SCRIPT: &str = "echo out; echo err >&2; exit 3";

const LONG_ENOUGH: Duration = Duration::from_secs(60);

fn stop_within(limit: Duration) -> StateChange {
    StateChange {
        timeout: Some(limit),
        ..StateChange::new(StateAction::Stop)
    }
}

fn kill() -> StateChange {
    StateChange {
        force: true,
        ..StateChange::new(StateAction::Stop)
    }
}

async fn status(client: &Client, name: &str) -> i64 {
    let state = client.instance_state(name).await;
    state.expect("it exists").status_code
}

pub(super) async fn an_instance_starts_runs_commands_and_stops(subject: &Subject) {
    let Subject {
        client, instance, ..
    } = subject;
    let start = StateChange::new(StateAction::Start);
    is(
        ErrorKind::Refused,
        client.exec(instance, &Exec::new(["true"])).await,
    );
    done(client.set_state(instance, &start).await).await;
    let running = client
        .instance_full(instance)
        .await
        .expect("it exists")
        .value;
    assert!(running.is_running());
    assert!(running.state.as_ref().is_some_and(|state| state.pid > 0));
    assert!(running.last_used_at.is_some());
    let config = &running.config;
    let next = &config["volatile.idmap.next"];
    assert_eq!(
        &config["volatile.last_state.idmap"], next,
        "the ids on disk were brought there"
    );
    assert_eq!(&config["volatile.idmap.current"], next);
    assert!(!config.contains_key("volatile.apply_template"));

    fails(client.set_state(instance, &start).await).await;
    is(ErrorKind::Refused, client.delete_instance(instance).await);
    assert_eq!(status(client, instance).await, 103);

    let output = client
        .exec(instance, &Exec::new(["sh", "-c", SCRIPT]))
        .await;
    let output = output.expect("it runs");
    assert_eq!(
        (output.exit_code, output.stdout_text(), output.stderr_text()),
        (3, "out\n".to_owned(), "err\n".to_owned())
    );
    is(
        ErrorKind::Failed,
        client.exec(instance, &Exec::new(["no-such-command"])).await,
    );

    for (action, status_code) in [(StateAction::Freeze, 110), (StateAction::Unfreeze, 103)] {
        done(client.set_state(instance, &StateChange::new(action)).await).await;
        assert_eq!(status(client, instance).await, status_code);
    }
    done(client.set_state(instance, &stop_within(LONG_ENOUGH)).await).await;
    assert_eq!(status(client, instance).await, 102);
    fails(client.set_state(instance, &stop_within(LONG_ENOUGH)).await).await;
    fails(client.set_state(instance, &kill()).await).await;
    let stopped = client.instance(instance).await.expect("it exists").value;
    assert_eq!(&stopped.config["volatile.last_state.idmap"], next);
    assert_eq!(stopped.config["volatile.last_state.power"], "STOPPED");
}

pub(super) async fn a_stop_that_is_ignored_fails_and_force_works(subject: &Subject) {
    let Subject {
        client, stubborn, ..
    } = subject;
    let start = StateChange::new(StateAction::Start);
    done(client.set_state(stubborn, &start).await).await;
    let asked = Instant::now();
    let stop = stop_within(Duration::from_millis(1100));
    fails(client.set_state(stubborn, &stop).await).await;
    let waited = asked.elapsed();
    assert!(
        waited >= Duration::from_secs(2),
        "rounded up to seconds, but {waited:?}"
    );
    assert_eq!(status(client, stubborn).await, 103, "it runs on");

    let patient = client.set_state(stubborn, &stop_within(LONG_ENOUGH)).await;
    let patient = patient.expect("LXD accepts the request");
    let early = patient.wait_timeout(Duration::from_millis(300)).await;
    assert!(matches!(early, Err(Error::Timeout { .. })), "{early:?}");
    done(client.set_state(stubborn, &kill()).await).await;
    assert_eq!(status(client, stubborn).await, 102);
    patient.wait().await.expect("what it waited for has come");
}

pub(super) async fn an_operation_can_be_watched_and_waited_for_again(subject: &Subject) {
    let Subject {
        client, instance, ..
    } = subject;
    let new = CreateSnapshot {
        name: "watched".into(),
        ..CreateSnapshot::default()
    };
    let begun = client.create_snapshot(instance, &new).await;
    let begun = begun.expect("LXD accepts the request");
    assert!(!begun.id().is_empty());
    assert!(!begun.info().description.is_empty());
    let mut seen = Vec::new();
    let watched = begun.wait_with_progress(|info| seen.push(info.status()));
    let ended = watched.await.expect("the operation succeeds");
    assert_eq!(ended.id, begun.id());
    assert_eq!(seen.last(), Some(&OperationStatus::Succeeded));
    let again = begun
        .wait_timeout(LONG_ENOUGH)
        .await
        .expect("it is known for some seconds");
    assert_eq!(again.status(), OperationStatus::Succeeded);
    let listed = client.operations().await.expect("a list");
    assert!(listed.iter().any(|info| info.id == begun.id()));
    let alone = client
        .operation(begun.id())
        .await
        .expect("it is known for some seconds");
    assert_eq!(alone.description, begun.info().description);
    begun.cancel().await.expect_err("it has ended");
    done(client.delete_snapshot(instance, "watched").await).await;
}
