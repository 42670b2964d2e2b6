//! Commands with captured output, a time limit and telling failures.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take unless [`Run::timeout`] says otherwise. Generous: the
/// machine is emulated, and only a hang should ever reach it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(180);

/// A command to run: `run("zfs").args(["list"]).finish()`.
///
/// Standard input is empty unless given; it is never the terminal's.
#[must_use = "nothing runs before `finish` or `spawn`"]
pub fn run(program: impl AsRef<OsStr>) -> Run {
    Run {
        command: Command::new(program),
        stdin: Vec::new(),
        timeout: DEFAULT_TIMEOUT,
    }
}

/// A command being put together by [`run`].
#[must_use = "nothing runs before `finish` or `spawn`"]
#[derive(Debug)]
pub struct Run {
    command: Command,
    stdin: Vec<u8>,
    timeout: Duration,
}

impl Run {
    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives the command its standard input.
    pub fn stdin(mut self, content: impl Into<Vec<u8>>) -> Self {
        self.stdin = content.into();
        self
    }

    /// Replaces the time limit of three minutes.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    /// If it cannot be started or outlives its time limit; not if it fails.
    #[must_use = "a failure goes unseen; `succeeds` and `fails_with` look at it"]
    pub fn finish(self) -> Finished {
        self.spawn().finish()
    }

    /// Starts the command and lets it run beside the test.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(mut self) -> Running {
        let line = command_line(&self.command);
        // Files instead of pipes: a command's left-over children cannot keep us waiting,
        // and no output is ever too large.
        let stdout = output_file();
        let stderr = output_file();
        let mut stdin = output_file();
        stdin
            .write_all(&self.stdin)
            .and_then(|()| stdin.rewind())
            .expect("standard input is written to a temporary file");
        let child = self
            .command
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(duplicate(&stdout)))
            .stderr(Stdio::from(duplicate(&stderr)))
            .spawn()
            .unwrap_or_else(|error| panic!("`{line}` could not be started: {error}"));
        Running {
            line,
            child,
            stdout,
            stderr,
            started: Instant::now(),
            timeout: self.timeout,
        }
    }
}

/// A command that runs beside the test; killed when dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    stdout: File,
    stderr: File,
    started: Instant,
    timeout: Duration,
}

impl Running {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the command has not ended yet.
    ///
    /// # Panics
    /// If the system cannot tell.
    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// Waits for the command's end.
    ///
    /// # Panics
    /// If it outlives its time limit, counted from its start.
    pub fn finish(mut self) -> Finished {
        loop {
            if let Some(status) = self.exit_status() {
                return self.finished(status);
            }
            if self.started.elapsed() > self.timeout {
                self.kill();
                let status = self.child.wait().expect("a killed child can be waited for");
                let killed = self.finished(status);
                panic!("still running after {:?}: {killed}", self.timeout);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGKILL; [`finish`](Self::finish) then tells what the command had said.
    pub fn kill(&mut self) {
        // Fails only if the process has ended, which is what was wanted.
        let _ = self.child.kill();
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child's state can be read")
    }

    fn finished(&mut self, status: ExitStatus) -> Finished {
        Finished {
            line: self.line.clone(),
            status,
            stdout: content(&mut self.stdout),
            stderr: content(&mut self.stderr),
            took: self.started.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// A command that has ended: how, and what it said.
///
/// Its [`Display`](fmt::Display) is the whole story, for use in assertion messages.
#[derive(Debug, Clone)]
pub struct Finished {
    line: String,
    status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// From the start to the end, as seen from outside.
    pub took: Duration,
}

impl Finished {
    /// The exit code, or `None` if a signal ended the command.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended the command, if one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Demands exit code 0.
    ///
    /// # Panics
    /// If the command ended otherwise.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert!(self.status.success(), "this should have succeeded:\n{self}");
        self
    }

    /// Demands this very exit code.
    ///
    /// # Panics
    /// If the command ended otherwise.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            Some(code),
            "this should have exited with {code}:\n{self}"
        );
        self
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            status,
            stdout,
            stderr,
            took,
        } = self;
        writeln!(f, "$ {line}\n{status}, after {took:.1?}")?;
        writeln!(f, "--- stdout ---\n{}", stdout.trim_end())?;
        write!(f, "--- stderr ---\n{}\n---", stderr.trim_end())
    }
}

/// The command as one would type it.
fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn output_file() -> File {
    tempfile::tempfile().expect("a temporary file can be made")
}

fn duplicate(file: &File) -> File {
    file.try_clone().expect("a file can be duplicated")
}

fn content(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .expect("a temporary file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Run {
        run("sh").args(["-c", script])
    }

    #[test]
    fn both_outputs_and_the_exit_code_are_kept() {
        let finished = sh("cat; echo problem >&2; exit 3").stdin("given").finish();
        assert_eq!(
            (
                finished.code(),
                finished.signal(),
                &*finished.stdout,
                &*finished.stderr
            ),
            (Some(3), None, "given", "problem\n"),
        );
        let told = finished.to_string();
        assert!(told.starts_with("$ sh -c 'cat; echo problem"), "{told}");
        assert!(
            told.contains("exit status: 3") && told.contains("problem"),
            "{told}"
        );
    }

    #[test]
    fn a_signal_is_told_from_an_exit_code() {
        let finished = sh("kill -KILL $$").finish();
        assert_eq!((finished.code(), finished.signal()), (None, Some(9)));
    }

    #[test]
    #[should_panic(expected = "still running after")]
    fn a_hanging_command_is_ended() {
        let _ = sh("echo begun; sleep 60")
            .timeout(Duration::from_millis(100))
            .finish();
    }

    #[test]
    fn a_left_over_child_does_not_keep_the_test_waiting() {
        let finished = sh("sleep 60 & echo done")
            .timeout(Duration::from_secs(20))
            .finish();
        assert_eq!(finished.succeeds().stdout, "done\n");
    }

    #[test]
    #[should_panic(expected = "should have succeeded")]
    fn a_failure_where_success_is_demanded_panics() {
        sh("exit 1").finish().succeeds();
    }

    #[test]
    fn odd_words_are_quoted_as_a_shell_needs_them() {
        assert_eq!(quoted(OsStr::new("tank/a@b")), "tank/a@b");
        assert_eq!(quoted(OsStr::new("it's x")), r"'it'\''s x'");
        assert_eq!(quoted(OsStr::new("")), "''");
    }
}
