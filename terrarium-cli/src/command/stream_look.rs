//! `stream ls`, `stream cat` and `stream extract`: what is in the files of a chain of streams.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;
use terrarium_core::scratch::{Chain, Scratch, ScratchError, ScratchOptions, Source};
use terrarium_zfs::ErrorKind;
use terrarium_zfs::stream::{BeginRecord, Contents, Features, StreamError};
use terrarium_zfs::tree::{Entry, Kind};
use terrarium_zpool::{Content, ExtractError, Owners};

use crate::args::{CatArgs, ExtractArgs, Look, LsArgs};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::render;
use crate::signal::{self, Interrupt, interrupted};

/// How long after a signal the work may take to stop by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// Receives the chain into a pool of its own, and looks into its last snapshot.
pub(crate) async fn stream_look(
    command: &Look,
    console: &Arc<Console>,
    now: Zoned,
) -> Result<Exit, Failure> {
    let interrupt = Interrupt::default();
    signal::watch(&interrupt, console);
    let looking = Looking {
        console: Arc::clone(console),
        now,
        interrupt: interrupt.clone(),
    };
    let too_late = match command {
        Look::Ls(_) | Look::Cat(_) => interrupted(),
        Look::Extract(_) => {
            let what = "interrupted; what was extracted so far stays";
            Failure::new(Exit::Interrupted, what)
        }
    };
    let command = command.clone();
    let mut work = tokio::task::spawn_blocking(move || looking.look(&command));
    let done = tokio::select! {
        done = &mut work => done,
        // The pool's file has its name for a moment only: whoever stops in time leaves nothing.
        () = interrupt.wait() => match tokio::time::timeout(PATIENCE, work).await {
            Ok(done) => done,
            Err(_) => return Err(too_late),
        },
    };
    match done {
        Ok(outcome) => outcome,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(interrupted()),
        },
    }
}

/// What the looking needs besides the command.
struct Looking {
    console: Arc<Console>,
    now: Zoned,
    interrupt: Interrupt,
}

/// What is listed before it is shown.
const SHOWN_AT_ONCE: usize = 64 << 10;

impl Looking {
    fn look(&self, command: &Look) -> Result<Exit, Failure> {
        match command {
            Look::Cat(_) if self.console.json => {
                let why = "a file is written as it is, not as JSON";
                return Err(Failure::new(Exit::Usage, why));
            }
            // Not after minutes of receiving.
            Look::Extract(args) if is_occupied(&args.into) => {
                return Err(not_empty(&args.into));
            }
            _ => {}
        }
        let received = self.receive(command)?;
        match command {
            Look::Ls(args) => self.ls(args, &received),
            Look::Cat(args) => self.cat(args, &received),
            Look::Extract(args) => self.extract(args, &received),
        }
    }

    fn receive(&self, command: &Look) -> Result<Received, Failure> {
        let args = command.chain();
        let mut options = ScratchOptions::default();
        if let Some(folder) = &args.scratch {
            options.folder.clone_from(folder);
        }
        let sources = args.files.iter().map(|file| open(file, &options.folder));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let chain = Chain::new(sources)?;
        let name = chain.last().to_name();
        refuse_what_has_no_files(chain.last(), &name)?;
        let left_out = chain.left_out();
        if let Some(first) = left_out.first() {
            let more = match left_out.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            let first = render::one_line(&first.to_name());
            self.console
                .tell(&format!("note: not looked into: {first}{more}"));
        }
        let scratch = chain.receive(&options, &|_| match self.interrupt.is_raised() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })?;
        Ok(Received { scratch, name })
    }

    fn ls(&self, args: &LsArgs, received: &Received) -> Result<Exit, Failure> {
        let path = args.path.as_deref().unwrap_or(Path::new(""));
        let mut walk = received.walk(path, Content::Skip)?;
        let mut shown = render::tree::Listing::new(self.now.clone());
        let mut text = shown.heading();
        let mut damaged = Vec::new();
        while let Some(entry) = walk.next_entry().map_err(|error| received.failed(&error))? {
            self.go_on()?;
            // What of a directory cannot be read is told after it.
            if entry.kind == Kind::Directory
                && let Err(error) = walk.next_content()
            {
                match error.kind() {
                    ErrorKind::Io => damaged.push(entry.path.display().to_string()),
                    _ => return Err(received.failed(&error)),
                }
            }
            if self.console.json {
                shown.keep(entry);
                continue;
            }
            text.push_str(&shown.line(&entry));
            if text.len() > SHOWN_AT_ONCE {
                self.console.answer(&std::mem::take(&mut text))?;
            }
        }
        if shown.is_empty() {
            return Err(received.absent(path));
        }
        let failure = (!damaged.is_empty()).then(|| Failure {
            details: damaged,
            ..Failure::new(
                Exit::Failed,
                "not everything can be read: directories are damaged",
            )
        });
        if self.console.json {
            let begin = &received.scratch.last().begin;
            self.console
                .answer_json(&shown.json(begin, failure.as_ref()))?;
            return Ok(failure.map_or(Exit::Done, |failure| failure.exit));
        }
        self.console.answer(&text)?;
        failure.map_or(Ok(Exit::Done), Err)
    }

    fn cat(&self, args: &CatArgs, received: &Received) -> Result<Exit, Failure> {
        let failed = |error: &terrarium_zfs::Error| received.failed(error);
        let object = received.scratch.last().snapshot.as_str();
        let engine = received.scratch.engine();
        let walk = engine.walk_one(object, &args.path, Content::Read);
        let mut walk = walk.map_err(|error| failed(&error))?;
        let Some(entry) = walk.next_entry().map_err(|error| failed(&error))? else {
            return Err(received.absent(&args.path));
        };
        if entry.kind != Kind::File {
            return Err(no_file(&entry, received));
        }
        let mut written = 0;
        while let Some((offset, bytes)) =
            walk.next_content().map_err(|error| match error.kind() {
                ErrorKind::Io => damaged_file(&entry.path, written),
                _ => failed(&error),
            })?
        {
            self.go_on()?;
            if !(self.zeros(offset.saturating_sub(written))? && self.console.answer_bytes(bytes)?) {
                return Ok(Exit::Done);
            }
            written = offset + bytes.len() as u64;
        }
        self.zeros(entry.size.saturating_sub(written))?;
        Ok(Exit::Done)
    }

    /// A hole; whether anybody still reads.
    fn zeros(&self, mut count: u64) -> Result<bool, Failure> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        while count > 0 {
            self.go_on()?;
            let some = count.min(ZEROS.len() as u64);
            if !self.console.answer_bytes(&ZEROS[..some as usize])? {
                return Ok(false);
            }
            count -= some;
        }
        Ok(true)
    }

    fn extract(&self, args: &ExtractArgs, received: &Received) -> Result<Exit, Failure> {
        let path = args.path.as_deref().unwrap_or(Path::new(""));
        let object = received.scratch.last().snapshot.as_str();
        let engine = received.scratch.engine();
        let extracted = engine.extract(object, path, &args.into, Owners::as_tar());
        let extracted = extracted.map_err(|error| match error {
            ExtractError::Absent { .. } => received.absent(path),
            ExtractError::NotEmpty(_) => not_empty(&args.into),
            ExtractError::Engine(error) => received.failed(&error),
            error => Failure::new(Exit::Failed, error.to_string()),
        })?;
        let why = match extracted.is_damaged() {
            true => "not everything can be read: files are damaged",
            false => "not everything could be extracted",
        };
        let failure = extracted
            .is_incomplete()
            .then(|| Failure::new(Exit::Failed, why));
        if self.console.json {
            let begin = &received.scratch.last().begin;
            let shown = render::tree::extracted_json(&extracted, begin, failure.as_ref());
            self.console.answer_json(&shown)?;
            return Ok(failure.map_or(Exit::Done, |failure| failure.exit));
        }
        let name = &received.name;
        self.console
            .answer(&render::tree::extracted_text(&extracted, name, &args.into))?;
        failure.map_or(Ok(Exit::Done), Err)
    }

    fn go_on(&self) -> Result<(), Failure> {
        match self.interrupt.is_raised() {
            true => Err(ScratchError::Interrupted.into()),
            false => Ok(()),
        }
    }
}

/// A chain that was received, and the name that its last snapshot had.
struct Received {
    scratch: Scratch,
    name: String,
}

impl Received {
    fn walk(&self, path: &Path, content: Content) -> Result<terrarium_zpool::Walk, Failure> {
        let object = self.scratch.last().snapshot.as_str();
        let walk = self.scratch.engine().walk(object, path, content);
        walk.map_err(|error| self.failed(&error))
    }

    fn absent(&self, path: &Path) -> Failure {
        let why = format!("{} has nothing at {}", self.name, path.display());
        Failure::new(Exit::Refused, why)
    }

    fn failed(&self, error: &terrarium_zfs::Error) -> Failure {
        let name = &self.name;
        let why = format!("cannot read the files of {name}: {error}");
        Failure::new(Exit::Failed, why)
    }
}

fn refuse_what_has_no_files(begin: &BeginRecord, name: &str) -> Result<(), Failure> {
    let why = if begin.contents() != Contents::FileSystem {
        "is no file system: there are no files in it"
    } else if begin.is_raw() {
        "is encrypted: without its key its files cannot be read"
    } else if begin.features().contains(Features::REDACTED) {
        "is redacted: with parts of it left out its files cannot be read"
    } else {
        return Ok(());
    };
    Err(Failure::new(Exit::Refused, format!("{name} {why}")))
}

fn open(file: &Path, folder: &Path) -> Result<Source<'static>, Failure> {
    if file != Path::new("-") {
        return Ok(Source::file(file, folder)?);
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let why = "a stream is to come from standard input, which is a terminal";
        return Err(Failure::new(Exit::Usage, why));
    }
    Ok(Source::spooled("-", stdin, folder)?)
}

fn no_file(entry: &Entry, received: &Received) -> Failure {
    let path = entry.path.display();
    let what = match &entry.target {
        Some(target) => format!("a symbolic link to {}", target.display()),
        None if entry.kind == Kind::Directory => "a directory".to_owned(),
        None => "no regular file".to_owned(),
    };
    let why = format!("{path} in {} is {what}", received.name);
    Failure::new(Exit::Refused, why)
}

fn damaged_file(path: &Path, written: u64) -> Failure {
    let path = path.display();
    Failure::new(
        Exit::Failed,
        format!("{path} is damaged after {written} bytes"),
    )
}

fn is_occupied(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        // What is there and no directory.
        Err(_) => directory
            .symlink_metadata()
            .is_ok_and(|found| !found.is_dir()),
    }
}

fn not_empty(directory: &Path) -> Failure {
    let path = PathBuf::from(directory);
    let why = ExtractError::NotEmpty(path).to_string();
    Failure::new(Exit::Refused, why).with_help("name a directory that is empty or does not exist")
}

impl From<ScratchError> for Failure {
    fn from(error: ScratchError) -> Self {
        let failure = Failure::new(error.class().into(), error.to_string());
        let no_stream = matches!(
            error,
            ScratchError::Damaged {
                source: StreamError::NoStream,
                ..
            }
        );
        match error.help() {
            _ if no_stream => failure.with_help(
                "if it is compressed or encrypted, pass on what is inside: \
                 zstd -dc FILE | terrariumctl stream ls -",
            ),
            Some(help) => failure.with_help(help),
            None => failure,
        }
    }
}
