//! What is worked on: this host with its LXD, or a pool in a file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lxd_client::Client;
use serde::Deserialize;
use terrarium_core::{Error, Folders, Host, InstancesError, PoolFile};
use terrarium_zfs::ZfsCore;
use terrarium_zpool::{Engine, OpenError, Options};

use crate::failure::Failure;

/// How long somebody else may go on having the pool open.
const PATIENCE: Duration = Duration::from_secs(10);

/// The settings of a `Terrarium`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    pub(crate) pool_file: Option<PathBuf>,
    lxd_socket: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    /// The program `terrarium-zpool`.
    zpool_program: Option<PathBuf>,
}

impl Site {
    pub(crate) async fn host(&self) -> Result<Host<ZfsCore, Client>, Failure> {
        let client = match &self.lxd_socket {
            Some(path) => Client::connect_to(path).await,
            None => Client::connect().await,
        };
        let client = client.map_err(|source| {
            Error::from(InstancesError::Lxd {
                operation: "reach",
                target: "LXD".to_owned(),
                source,
            })
        })?;
        let zfs = ZfsCore::open().map_err(Error::from)?;
        Ok(Host::new(zfs, client, &self.folders(Folders::default())))
    }

    pub(crate) fn pool(&self, file: &Path) -> Result<Host<Engine, PoolFile>, Failure> {
        let engine = self.engine(file)?;
        let mut beside = OsString::from(file);
        beside.push(".terrarium");
        let beside = PathBuf::from(beside);
        let folders = self.folders(Folders {
            state: beside.clone(),
            run: beside,
        });
        let instances = PoolFile::new(engine.clone()).map_err(Error::from)?;
        Ok(Host::new(engine, instances, &folders))
    }

    /// Opens the pool; one that somebody else has open is waited for.
    pub(crate) fn engine(&self, file: &Path) -> Result<Engine, Failure> {
        // Above all no disk: a kernel may have its pool imported, and heeds no lock of ours.
        if !file.is_file() {
            let what = format!(
                "cannot open the pool file {}: it is no file",
                file.display()
            );
            return Err(Failure::refused(what));
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.options().open(file) {
                Err(OpenError::Locked(_)) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                opened => return opened.map_err(|error| not_opened(&error)),
            }
        }
    }

    pub(crate) fn create(&self, file: &Path) -> Result<Engine, Failure> {
        let created = self.options().create(file, "demo", 128 << 20);
        created.map_err(|error| not_opened(&error))
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        if self.zpool_program.is_some() {
            options.program.clone_from(&self.zpool_program);
        }
        options
    }

    fn folders(&self, usual: Folders) -> Folders {
        Folders {
            state: self.state_dir.clone().unwrap_or(usual.state),
            run: self.run_dir.clone().unwrap_or(usual.run),
        }
    }
}

fn not_opened(error: &OpenError) -> Failure {
    let help = error.help().map(Into::into);
    match error {
        OpenError::Program { .. }
        | OpenError::Unavailable { .. }
        | OpenError::WrongVersion { .. }
        | OpenError::Locked(_) => Failure::unavailable(error.to_string()).with_help(help),
        OpenError::Zfs(error) => Error::from(error.clone()).into(),
        _ => Failure::failed(error.to_string()).with_help(help),
    }
}
