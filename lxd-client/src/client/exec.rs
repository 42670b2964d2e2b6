//! Run a command in an instance and read what it printed.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{Client, Reply};
use crate::address::Address;
use crate::transport::Call;
use crate::wire::OperationInfo;
use crate::{Error, Operation};

/// A command to run in an instance.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exec {
    /// The program and its arguments; no shell is involved.
    pub command: Vec<String>,
    /// Environment variables, beside those that LXD sets.
    pub environment: BTreeMap<String, String>,
    /// The user id inside: root unless chosen.
    pub user: u32,
    /// The group id inside: root's unless chosen.
    pub group: u32,
    /// The working directory: the user's home if none.
    pub cwd: Option<String>,
    /// How long to wait for its end: for ever if none. LXD cannot stop a command, so it runs on when the time is up.
    pub timeout: Option<Duration>,
}

impl Exec {
    /// A command as root, without a time limit.
    pub fn new<I: Into<String>>(command: impl IntoIterator<Item = I>) -> Self {
        Exec {
            command: command.into_iter().map(Into::into).collect(),
            ..Exec::default()
        }
    }
}

/// How a command ended and what it printed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExecOutput {
    /// Its exit code; 128 + n for one that died by signal n.
    pub exit_code: i32,
    /// What it wrote to standard output.
    pub stdout: Bytes,
    /// What it wrote to standard error.
    pub stderr: Bytes,
}

impl ExecOutput {
    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl Client {
    /// Runs a command in a running instance, waits for its end and returns what it printed.
    ///
    /// LXD records the output in files beside the instance's logs; they are read and removed. Standard input is
    /// empty. An exit code other than 0 is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Api`] if the instance does not run, [`Error::OperationFailed`] if the command
    /// could not be run, [`Error::Timeout`].
    pub async fn exec(&self, instance: &str, exec: &Exec) -> Result<ExecOutput, Error> {
        let address = self.address(&["instances", instance, "exec"])?;
        let body = json!({
            "command": exec.command,
            "environment": exec.environment,
            "user": exec.user,
            "group": exec.group,
            "cwd": exec.cwd.as_deref().unwrap_or_default(),
            "interactive": false,
            "wait-for-websocket": false,
            "record-output": true,
        });
        let operation = self.start(Method::POST, address, Some(&body), None).await?;
        let ended = match exec.timeout {
            None => operation.wait().await,
            Some(limit) => operation.wait_timeout(limit).await,
        };
        match ended {
            Ok(info) => self.exec_output(instance, &operation, &info).await,
            Err(error) => {
                if matches!(error, Error::OperationFailed { .. }) {
                    self.forget_recorded(instance, &operation).await;
                }
                Err(error)
            }
        }
    }

    async fn exec_output(
        &self,
        instance: &str,
        operation: &Operation,
        info: &OperationInfo,
    ) -> Result<ExecOutput, Error> {
        let code = info.metadata.get("return").and_then(Value::as_i64);
        let Some(exit_code) = code.and_then(|code| i32::try_from(code).ok()) else {
            return Err(Error::Protocol {
                operation: format!("exec in {instance} ({})", operation.id()),
                detail: "no exit code".to_owned(),
            });
        };
        let mut output = ExecOutput {
            exit_code,
            ..ExecOutput::default()
        };
        for (number, stream) in [("1", &mut output.stdout), ("2", &mut output.stderr)] {
            let recorded = info
                .metadata
                .get("output")
                .and_then(|urls| urls.get(number));
            let Some(url) = recorded.and_then(Value::as_str) else {
                continue;
            };
            let address = self.log_address(instance, url)?;
            *stream = self.read_file(&address).await?;
            // The output is what counts; a leftover is removed with the instance.
            _ = self.request(Method::DELETE, &address, None, None).await;
        }
        Ok(output)
    }

    /// The address of a log file that LXD named. Only the file's name and folder are taken from what it said.
    ///
    /// LXD 5.0 keeps recordings in `logs`, later ones and Incus in `logs/exec-output`.
    fn log_address(&self, instance: &str, url: &str) -> Result<Address, Error> {
        let path = url.split('?').next().unwrap_or_default();
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        if folder.ends_with("/logs/exec-output") {
            self.address(&["instances", instance, "logs", "exec-output", file])
        } else {
            self.address(&["instances", instance, "logs", file])
        }
    }

    async fn read_file(&self, address: &Address) -> Result<Bytes, Error> {
        let call = Call {
            method: Method::GET,
            address,
            body: None,
            if_match: None,
            patience: Duration::ZERO,
        };
        let label = call.label();
        let answer = self.shared.transport.send(&call).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        Err(match Reply::parse(answer, label.clone()) {
            Err(error) => error,
            Ok(_) => Error::Protocol {
                operation: label,
                detail: "neither a file nor an error".to_owned(),
            },
        })
    }

    /// Removes the recordings of a command that could not be run; LXD does not tell their names then.
    async fn forget_recorded(&self, instance: &str, operation: &Operation) {
        for stream in ["stdout", "stderr"] {
            let file = format!("exec_{}.{stream}", operation.id());
            for folder in ["logs", "logs/exec-output"] {
                let url = format!("/{folder}/{file}");
                if let Ok(address) = self.log_address(instance, &url) {
                    _ = self.request(Method::DELETE, &address, None, None).await;
                }
            }
        }
    }
}
