//! `stream info`: what a send stream is, and whether it is whole and sound.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::path::Path;

use jiff::Zoned;
use terrarium_zfs::stream::{Inspector, StreamError};

use crate::args::StreamInfoArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::render;

/// Reads the whole stream, and shows each stream of a package as it ends. What was read before damage is shown too.
pub(crate) fn stream_info(
    args: &StreamInfoArgs,
    console: &Console,
    now: &Zoned,
) -> Result<Exit, Failure> {
    let mut input = open(&args.file)?;
    let mut inspector = Inspector::new();
    let mut shown = render::stream::Shown::default();
    let mut buffer = vec![0; 256 << 10];
    let outcome = loop {
        let step = match input.read(&mut buffer) {
            Ok(0) => {
                break inspector
                    .finish()
                    .map_err(|error| damage(&args.file, error));
            }
            Ok(length) => inspector
                .push(&buffer[..length])
                .map_err(|error| damage(&args.file, error)),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(cannot_read(&args.file, &error)),
        };
        shown.add(&mut inspector);
        if !console.json {
            console.answer(&shown.take_text(now.time_zone()))?;
        }
        if step.is_err() {
            break step;
        }
    };
    let failure = outcome.err();
    if console.json {
        console.answer_json(&shown.json(&inspector, failure.as_ref()))?;
        return Ok(failure.map_or(Exit::Done, |failure| failure.exit));
    }
    console.answer(&shown.end_of_text(&inspector, now.time_zone()))?;
    match failure {
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}

/// A file, or standard input for `-`.
fn open(path: &Path) -> Result<Box<dyn Read>, Failure> {
    if path == Path::new("-") {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let why = "a stream is to come from standard input, which is a terminal";
            return Err(Failure::new(Exit::Usage, why));
        }
        return Ok(Box::new(stdin.lock()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(cannot_read(path, &error)),
    }
}

fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::IsADirectory => {
            Exit::Refused
        }
        _ => Exit::Failed,
    };
    Failure::new(exit, format!("cannot read {}: {error}", path.display()))
}

fn damage(path: &Path, error: StreamError) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("{}: {error}", path.display()));
    match error {
        StreamError::NoStream => failure.with_help(
            "if it is compressed or encrypted, pass on what is inside: \
             zstd -dc FILE | terrariumctl stream info -",
        ),
        _ => failure,
    }
}
