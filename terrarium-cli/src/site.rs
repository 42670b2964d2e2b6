//! What the commands work on: this host with its LXD, or a pool in a file.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use terrarium_core::{Error, Folders, Host, InstancesError, PoolFile};
use terrarium_zpool::{Engine, OpenError, Options};

use crate::args::Backup;
use crate::exit::{Exit, Failure};

/// How long somebody else may go on having the pool open: a command that was killed just before leaves a process
/// that closes it.
const PATIENCE: Duration = Duration::from_secs(2);

const WHAT_IT_TAKES: &str = "--pool-file takes a file that a pool was made in";

/// What the commands work on.
#[derive(Clone, Debug)]
pub(crate) enum Site {
    /// This host: its ZFS, its LXD.
    Host,
    /// A pool in a file, where nothing runs.
    PoolFile(File),
}

/// The pool file that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct File {
    path: PathBuf,
    /// Given as an option, which whoever types the next command has to give again.
    is_option: bool,
}

impl Site {
    /// What `--pool-file` or the environment asks for.
    pub(crate) fn asked_for(option: Option<PathBuf>) -> Self {
        let file = |path, is_option| Site::PoolFile(File { path, is_option });
        match (option, set("TERRARIUM_POOL_FILE")) {
            (Some(path), _) => file(path, true),
            (None, Some(path)) => file(path, false),
            (None, None) => Site::Host,
        }
    }

    /// A command line of ours, for somebody to type.
    pub(crate) fn command(&self, arguments: &str) -> String {
        match self {
            Site::PoolFile(file) if file.is_option => {
                let path = shell_word(&file.path.to_string_lossy());
                format!("terrariumctl --pool-file {path} {arguments}")
            }
            _ => format!("terrariumctl {arguments}"),
        }
    }

    /// Whether instances can be started.
    pub(crate) fn runs_instances(&self) -> bool {
        matches!(self, Site::Host)
    }
}

impl File {
    /// A start that is asked for is refused before the pool is even opened.
    ///
    /// # Errors
    /// [`Exit::Usage`].
    pub(crate) fn refuse_start(&self, command: &Backup) -> Result<(), Failure> {
        if matches!(command, Backup::Drill(args) if args.boot) {
            let what = "cannot boot a drill: instances of a pool file do not run";
            let help = "leave out --boot: the files are read and compared then";
            return Err(Failure::new(Exit::Usage, what).with_help(help));
        }
        match command.starts() {
            Some(instance) => Err(Error::from(InstancesError::DoesNotRun { instance }).into()),
            None => Ok(()),
        }
    }

    /// Opens the pool.
    ///
    /// # Errors
    /// [`Failure`] that says what is wrong with the file, or what is missing on this machine.
    pub(crate) fn open(&self) -> Result<Host<Engine, PoolFile>, Failure> {
        // What stands beside the file is found by whatever name the file is called.
        let found = self.path.canonicalize();
        let found = found.and_then(|path| Ok((path.metadata()?.is_file(), path)));
        let (is_file, path) = found.map_err(|error| self.not_there(&error))?;
        if !is_file {
            // Above all no disk: a kernel may have its pool imported, and heeds no lock of ours.
            let path = self.path.display();
            let what = format!("cannot open the pool file {path}: it is no regular file");
            return Err(Failure::new(Exit::Refused, what).with_help(WHAT_IT_TAKES));
        }
        let until = Instant::now() + PATIENCE;
        let engine = loop {
            match Options::default().open(&path) {
                Err(OpenError::Locked(_)) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                opened => break opened.map_err(|error| not_opened(&error))?,
            }
        };
        let mut beside = OsString::from(&path);
        beside.push(".terrarium");
        let beside = PathBuf::from(beside);
        let folders = folders(Folders {
            state: beside.clone(),
            run: beside,
        });
        let instances = PoolFile::new(engine.clone()).map_err(Error::from)?;
        Ok(Host::new(engine, instances, &folders))
    }

    fn not_there(&self, error: &io::Error) -> Failure {
        let (exit, help) = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                (Exit::Refused, WHAT_IT_TAKES)
            }
            io::ErrorKind::PermissionDenied => (
                Exit::Unavailable,
                "run it as the user whom the file belongs to",
            ),
            _ => (Exit::Failed, "look at the path"),
        };
        let path = self.path.display();
        Failure::new(exit, format!("cannot open the pool file {path}: {error}")).with_help(help)
    }
}

fn not_opened(error: &OpenError) -> Failure {
    let exit = match error {
        OpenError::Program { .. }
        | OpenError::Unavailable { .. }
        | OpenError::WrongVersion { .. }
        | OpenError::Locked(_) => Exit::Unavailable,
        OpenError::Zfs(error) => Error::from(error.clone()).class().into(),
        // To try again does not help.
        _ => Exit::Failed,
    };
    let help = match error {
        OpenError::Locked(_) => Some("wait until the other one is done".to_owned()),
        OpenError::NoPool(path) => Some(format!(
            "look at the path; `zdb -l {}` shows what is left of its labels",
            shell_word(&path.to_string_lossy())
        )),
        OpenError::Zfs(terrarium_zfs::Error::PermissionDenied(_)) => {
            Some("run it as the user whom the file belongs to".to_owned())
        }
        error => error.help().map(Into::into),
    };
    Failure {
        help,
        ..Failure::new(exit, error.to_string())
    }
}

/// Where our own files are, unless the environment says otherwise.
pub(crate) fn folders(usual: Folders) -> Folders {
    Folders {
        state: set("TERRARIUM_STATE_DIR").unwrap_or(usual.state),
        run: set("TERRARIUM_RUN_DIR").unwrap_or(usual.run),
    }
}

fn set(variable: impl AsRef<OsStr>) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(Path::new(&value).to_owned())
}

/// A word that a shell takes as it is.
pub(crate) fn shell_word(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_.+:@%,/".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use terrarium_zfs::Attempt;
    use terrarium_zfs::Error as Zfs;

    use super::*;

    #[test]
    fn a_pool_that_cannot_be_opened_is_4_only_where_trying_again_can_help() {
        let reason = || "it is so".to_owned();
        let attempt = || Attempt::new("open", "/srv/pool");
        let path = || PathBuf::from("/srv/pool");
        let opened = |error: OpenError| not_opened(&error).exit.code();
        assert_eq!(opened(OpenError::Locked(path())), 4);
        assert_eq!(opened(OpenError::Unavailable { reason: reason() }), 4);
        assert_eq!(opened(OpenError::WrongVersion { reason: reason() }), 4);
        let (path, reason) = (path(), reason());
        assert_eq!(opened(OpenError::NoPool(path.clone())), 1);
        assert_eq!(opened(OpenError::Program { path, reason }), 4);
        assert_eq!(opened(Zfs::PermissionDenied(attempt()).into()), 4);
        assert_eq!(opened(Zfs::NotFound(attempt()).into()), 3);
        assert_eq!(opened(Zfs::TimedOut(attempt()).into()), 1);
    }

    #[test]
    fn a_word_is_quoted_where_a_shell_would_read_it_differently() {
        for plain in ["pool", "/srv/my-pool_1.img", "a:b@c%d,e+f"] {
            assert_eq!(shell_word(plain), plain);
        }
        assert_eq!(shell_word("my pool"), "'my pool'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("$HOME"), "'$HOME'");
    }
}
