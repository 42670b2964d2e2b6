//! From a file to an engine that has its pool open.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use terrarium_zfs::nvlist::NvList;
use terrarium_zfs::{DatasetName, Error, NameError};

use crate::engine::{Engine, errno, number, text};
use crate::process::{Process, Silence, Stillborn};

/// The smallest pool that OpenZFS makes: 64 MiB (`SPA_MINDEVSIZE`).
pub const MIN_POOL_SIZE: u64 = 64 << 20;

/// The version of what is spoken with the program (`PROTOCOL` of c/main.c).
const PROTOCOL: u64 = 2;

/// How long a program that is of no use may take to end.
const END: Duration = Duration::from_secs(2);

/// How an engine is started, and how long its calls may take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The program `terrarium-zpool`; by default what `TERRARIUM_ZPOOL` names, or the one beside the
    /// running program, or the one in `PATH`.
    pub program: Option<PathBuf>,
    /// How long a call may take; one minute by default. After that the process is killed.
    pub call_limit: Duration,
    /// How long a stream or a tree may stand still, whoever is the reason; one hour by default.
    pub stream_limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            program: None,
            call_limit: Duration::from_secs(60),
            stream_limit: Duration::from_secs(3600),
        }
    }
}

/// Why a pool file could not be created or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The program is missing or cannot be started.
    #[error("cannot start {}: {reason}", path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// OpenZFS's library is missing, or was when the program was built.
    #[error("the embedded engine is not available: {reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
    },
    /// The library is of another version than the one that the program was compiled for.
    #[error("the embedded engine does not fit this OpenZFS: {reason}")]
    WrongVersion {
        /// What differs.
        reason: String,
    },
    /// Another process has the pool open, or the kernel has imported it.
    #[error("cannot open {}: another process has it open", .0.display())]
    Locked(PathBuf),
    /// The file is no pool, or is damaged where it says so.
    #[error("cannot open {}: it is no pool, or a damaged one", .0.display())]
    NoPool(PathBuf),
    /// A pool needs [`MIN_POOL_SIZE`].
    #[error("cannot create {}: a pool needs at least 64 MiB", .0.display())]
    TooSmall(PathBuf),
    /// A file of that name exists.
    #[error("cannot create {}: it exists", .0.display())]
    Exists(PathBuf),
    /// The name is none for a pool.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What ZFS or the system answered.
    #[error(transparent)]
    Zfs(#[from] Error),
}

impl OpenError {
    /// What to do about it, where there is something to do.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            OpenError::Program { .. } => "install terrarium-zpool, or set TERRARIUM_ZPOOL",
            OpenError::Unavailable { .. } => {
                "install libzpool5linux and, to build, libzfslinux-dev (Debian: from contrib)"
            }
            OpenError::WrongVersion { .. } => {
                "build terrarium-zpool anew for the installed library"
            }
            OpenError::Zfs(error) => return error.help(),
            _ => return None,
        })
    }
}

impl Options {
    /// Creates a pool in a new file of `size` bytes, all of them allocated at once.
    ///
    /// # Errors
    /// [`OpenError`]; then there is no file.
    pub fn create(&self, file: &Path, pool: &str, size: u64) -> Result<Engine, OpenError> {
        let pool = DatasetName::new(pool)?;
        if pool.parent().is_some() {
            let attempt = terrarium_zfs::Attempt::new("create pool", pool.as_str());
            return Err(Error::InvalidArgument(attempt).into());
        }
        if size < MIN_POOL_SIZE {
            return Err(OpenError::TooSmall(file.to_owned()));
        }
        // Whatever goes wrong later, what was there before is never taken for a half-made pool.
        if file.symlink_metadata().is_ok() {
            return Err(OpenError::Exists(file.to_owned()));
        }
        let mut request = NvList::new()?;
        request.add_str("pool", pool.as_str())?;
        request.add_u64("size", size)?;
        let begun = self.begin("create-pool", "create", file, request)?;
        Ok(begun.into_engine(pool.as_str().to_owned(), self))
    }

    /// Opens the pool in a file.
    ///
    /// # Errors
    /// [`OpenError`]; the file is unchanged.
    pub fn open(&self, file: &Path) -> Result<Engine, OpenError> {
        let begun = self.begin("open-pool", "open", file, NvList::new()?)?;
        let pool = text(&begun.answer, "pool").unwrap_or_default();
        Ok(begun.into_engine(pool, self))
    }

    /// Starts the process and makes the first call.
    fn begin(
        &self,
        op: &str,
        operation: &'static str,
        file: &Path,
        mut request: NvList,
    ) -> Result<Begun, OpenError> {
        // ZFS wants the path from the root, and keeps it.
        let absolute =
            std::path::absolute(file).map_err(|error| system(operation, file, &error))?;
        let path = absolute.to_str().ok_or_else(|| {
            let attempt = terrarium_zfs::Attempt::new(operation, file.to_string_lossy());
            Error::InvalidArgument(attempt)
        })?;
        request.add_str("path", path)?;
        let process = self.start()?;
        let answer = process
            .ask(op, request, None, self.call_limit)
            .map_err(|silence| {
                // Whoever made half a pool leaves none.
                process.hang_up(Duration::ZERO);
                if operation == "create" && !matches!(silence, Silence::Request(_)) {
                    _ = std::fs::remove_file(&absolute);
                }
                crate::engine::silence(operation, path, silence)
            })?;
        match errno(&answer) {
            0 => Ok(Begun { process, answer }),
            error => {
                process.hang_up(self.call_limit);
                Err(refused(operation, file, path, error))
            }
        }
    }

    fn start(&self) -> Result<std::sync::Arc<Process>, OpenError> {
        let program = self.program();
        let started = Process::start(&program, self.call_limit);
        let started = started.map_err(|error| OpenError::Program {
            path: program.clone(),
            reason: error.to_string(),
        })?;
        let (process, hello) = started.map_err(|stillborn| unavailable(&program, stillborn))?;
        let reason = match (errno(&hello), number(hello.view(), "protocol")) {
            (0, PROTOCOL) => return Ok(process),
            (0, other) => format!("it speaks protocol {other} instead of {PROTOCOL}"),
            _ => text(&hello, "why").unwrap_or_default(),
        };
        process.hang_up(END);
        Err(OpenError::WrongVersion { reason })
    }

    fn program(&self) -> PathBuf {
        const NAME: &str = "terrarium-zpool";
        let named = || std::env::var_os("TERRARIUM_ZPOOL").map(PathBuf::from);
        let beside = || {
            let sibling = std::env::current_exe().ok()?.with_file_name(NAME);
            sibling.exists().then_some(sibling)
        };
        self.program
            .clone()
            .or_else(named)
            .or_else(beside)
            .unwrap_or_else(|| PathBuf::from(NAME))
    }
}

/// A process that has its pool open, and what it answered to that.
struct Begun {
    process: std::sync::Arc<Process>,
    answer: NvList,
}

impl Begun {
    fn into_engine(self, pool: String, options: &Options) -> Engine {
        Engine::new(self.process, pool, options.clone())
    }
}

/// The dynamic linker ends a program whose library is missing with 127.
fn unavailable(program: &Path, stillborn: Stillborn) -> OpenError {
    let words = stillborn.last_words;
    match stillborn.status.and_then(|status| status.code()) {
        Some(127 | crate::BUILT_WITHOUT) => OpenError::Unavailable { reason: words },
        _ => OpenError::Program {
            path: program.to_owned(),
            reason: if words.is_empty() {
                "it ended without a word".to_owned()
            } else {
                words
            },
        },
    }
}

fn refused(operation: &'static str, file: &Path, path: &str, error: i32) -> OpenError {
    match error {
        crate::engine::refusal::LOCKED => OpenError::Locked(file.to_owned()),
        crate::engine::refusal::NO_POOL => OpenError::NoPool(file.to_owned()),
        // What an import answers when the labels are fine and nothing behind them is.
        libc::ENXIO | libc::EBADE | libc::EIO | libc::EINVAL if operation == "open" => {
            OpenError::NoPool(file.to_owned())
        }
        libc::EEXIST if operation == "create" => OpenError::Exists(file.to_owned()),
        libc::EOVERFLOW => OpenError::TooSmall(file.to_owned()),
        error => Error::from_errno(operation, path, error).into(),
    }
}

fn system(operation: &'static str, file: &Path, error: &io::Error) -> OpenError {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    Error::from_errno(operation, file.to_string_lossy(), errno).into()
}
