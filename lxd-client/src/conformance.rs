//! What every LXD must do for this crate: run against the stub by `cargo test`, and against a real LXD by whoever has
//! one to spare.
//!
//! Each case panics, with what it expected, if the server behaves otherwise, and cleans up after itself if it does
//! not. Cases on the same [`Subject`] must not run at the same time.

mod changes;
mod lists;
mod projects;
mod runs;

use std::future::Future;
use std::pin::Pin;

use crate::{Client, Error, ErrorKind, ExecOutput, Operation, OperationInfo};

/// A server to examine, with what was prepared on it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// A client in the project that the instances are in.
    pub client: Client,
    /// A stopped container with the profile `default`, without snapshots, whose init heeds a request to shut down and
    /// which has a shell. Its config, snapshots and state are changed and put back.
    pub instance: String,
    /// A stopped container whose init ignores a request to shut down.
    pub stubborn: String,
    /// A name that no instance has, nor with `-2` appended; instances of these names are made and deleted.
    pub free: String,
}

/// A case: its name, and what it does.
pub type Case = (&'static str, fn(&Subject) -> Running<'_>);

/// A case under way.
pub type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// All cases.
pub fn cases() -> Vec<Case> {
    vec![
        ("the_server_says_what_it_is", |it| {
            Box::pin(lists::the_server_says_what_it_is(it))
        }),
        ("all_lists_know_the_instance", |it| {
            Box::pin(lists::all_lists_know_the_instance(it))
        }),
        ("pools_and_volumes_are_listed", |it| {
            Box::pin(lists::pools_and_volumes_are_listed(it))
        }),
        ("what_does_not_exist_is_not_found", |it| {
            Box::pin(lists::what_does_not_exist_is_not_found(it))
        }),
        ("a_project_is_created_changed_and_deleted", |it| {
            Box::pin(projects::a_project_is_created_changed_and_deleted(it))
        }),
        (
            "a_project_that_changed_meanwhile_is_not_overwritten",
            |it| Box::pin(projects::a_project_that_changed_meanwhile_is_not_overwritten(it)),
        ),
        ("an_update_replaces_and_a_patch_merges", |it| {
            Box::pin(changes::an_update_replaces_and_a_patch_merges(it))
        }),
        ("an_update_with_an_old_etag_is_refused", |it| {
            Box::pin(changes::an_update_with_an_old_etag_is_refused(it))
        }),
        ("an_update_that_lxd_cannot_accept_changes_nothing", |it| {
            Box::pin(changes::an_update_that_lxd_cannot_accept_changes_nothing(
                it,
            ))
        }),
        ("an_empty_instance_is_created_as_asked", |it| {
            Box::pin(changes::an_empty_instance_is_created_as_asked(it))
        }),
        ("an_instance_that_cannot_be_is_not_created", |it| {
            Box::pin(changes::an_instance_that_cannot_be_is_not_created(it))
        }),
        ("an_instance_is_renamed_and_deleted", |it| {
            Box::pin(changes::an_instance_is_renamed_and_deleted(it))
        }),
        ("a_snapshot_records_the_settings_of_its_moment", |it| {
            Box::pin(changes::a_snapshot_records_the_settings_of_its_moment(it))
        }),
        ("an_instance_starts_runs_commands_and_stops", |it| {
            Box::pin(runs::an_instance_starts_runs_commands_and_stops(it))
        }),
        ("a_stop_that_is_ignored_fails_and_force_works", |it| {
            Box::pin(runs::a_stop_that_is_ignored_fails_and_force_works(it))
        }),
        ("an_operation_can_be_watched_and_waited_for_again", |it| {
            Box::pin(runs::an_operation_can_be_watched_and_waited_for_again(it))
        }),
    ]
}

/// What the commands of the suite answer, for a server that runs none.
///
/// # Errors
/// For a command that does not exist.
pub fn exec(command: &[String]) -> Result<ExecOutput, String> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sh", "-c", runs::SCRIPT] => Ok(ExecOutput {
            exit_code: 3,
            stdout: "out\n".into(),
            stderr: "err\n".into(),
        }),
        _ => Err("Command not found".to_owned()),
    }
}

async fn done(begun: Result<Operation, Error>) -> OperationInfo {
    let ended = begun.expect("LXD accepts the request").wait().await;
    ended.expect("the operation succeeds")
}

/// The message of an operation that LXD accepts and that fails.
async fn fails(begun: Result<Operation, Error>) -> String {
    let ended = begun.expect("LXD accepts the request").wait().await;
    match ended.expect_err("the operation fails") {
        Error::OperationFailed {
            status, message, ..
        } => {
            assert!(status >= 400, "{status}");
            assert!(!message.is_empty());
            message
        }
        other => panic!("the operation fails otherwise: {other:?}"),
    }
}

#[track_caller]
fn is<T: std::fmt::Debug>(kind: ErrorKind, answer: Result<T, Error>) {
    let error = answer.expect_err("LXD refuses");
    assert_eq!(error.kind(), kind, "{error}");
}
