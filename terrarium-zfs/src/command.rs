//! The programs `zfs` and `zpool`, for what libzfs_core cannot tell.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::error::{Attempt, Error};
use crate::names::DatasetName;
use crate::pool::{self, PoolState};

/// Runs a program and gives the lines of its output.
///
/// # Errors
/// Those of [`for_each_line`].
pub(crate) fn lines(
    operation: &'static str,
    object: &str,
    program: &'static str,
    arguments: &[&str],
) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for_each_line(operation, object, program, arguments, |line| {
        lines.push(line.to_owned());
        Ok(())
    })?;
    Ok(lines)
}

/// Runs a program and hands over each line of its output, with U+FFFD for what is not UTF-8.
///
/// # Errors
/// [`Error::Unavailable`] if the program is not installed; what `line` answers; if the program
/// fails, [`Error::Suspended`] or [`Error::NotFound`] if the pool says so, else what it complained.
pub(crate) fn for_each_line(
    operation: &'static str,
    object: &str,
    program: &'static str,
    arguments: &[&str],
    mut line: impl FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let io_error = |error: &io::Error| Error::io(operation, object, error);
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Unavailable {
                attempt: Attempt::new(operation, object),
                reason: format!("the program {program} is not installed"),
            },
            _ => io_error(&error),
        })?;
    let (Some(stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::unexpected(
            operation,
            object,
            "no output of a process",
        ));
    };
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let read = || -> Result<(), Error> {
        let mut stdout = BufReader::with_capacity(1 << 16, stdout);
        let mut bytes = Vec::new();
        while stdout
            .read_until(b'\n', &mut bytes)
            .map_err(|error| io_error(&error))?
            > 0
        {
            if bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            line(&String::from_utf8_lossy(&bytes))?;
            bytes.clear();
        }
        Ok(())
    };
    // Leaving early closes the program's output, which ends it.
    let read = read();
    let status = child.wait().map_err(|error| io_error(&error))?;
    let complaints = complaints.join().unwrap_or_default();
    read?;
    if status.success() {
        return Ok(());
    }
    Err(failure(operation, object, complaints.trim()))
}

/// Why a program failed: from the pool's state, since its exit status does not tell.
fn failure(operation: &'static str, object: &str, complaint: &str) -> Error {
    let attempt = Attempt::new(operation, object);
    let pool = object.split(['/', '@', '#']).next().unwrap_or(object);
    match pool::state(pool) {
        None => return Error::NotFound(attempt),
        Some(PoolState::Suspended) => return Error::Suspended(attempt),
        Some(_) => {}
    }
    let exists = crate::ZfsCore::open().map(|core| core.exists(object));
    if DatasetName::new(pool).is_ok() && exists == Ok(false) {
        return Error::NotFound(attempt);
    }
    Error::unexpected(operation, object, complaint)
}
