//! One lock for each instance: at most one operation changes it at a time. Snapshots and exports share it, for neither
//! changes what an instance is, and an export may take hours in which snapshots must go on; of exports there is one at a
//! time, by a lock of their own. One for the origins that came into a pool from archives: one that has no clone yet is
//! not taken for one that has none any more. One for each pool that is pruned. And one for the run that the timer calls.
//!
//! A lock is an advisory lock (`flock(2)`) on a file that names its owner. The kernel gives it up when its
//! owner dies, so there is no stale lock: only a file that says who had it last.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::names::InstanceRef;

/// The directory that holds the lock files.
#[derive(Clone, Debug)]
pub struct LockDir {
    path: PathBuf,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
#[must_use = "the lock is given up when this is dropped"]
pub struct Lock {
    file: File,
    /// Whether the file says whose it is.
    is_named: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_named {
            // Whoever shares the lock later does not write its name, and must not be taken for this owner.
            let _ = self.file.set_len(0);
        }
    }
}

/// Somebody else holds the lock.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{what} is in use by another operation: {owner}")]
pub struct Held {
    what: String,
    owner: String,
    pid: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Owner {
    pid: u32,
    doing: String,
    since: Timestamp,
}

impl LockDir {
    /// The directory at `path`; it is created when the first lock is taken.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Takes the lock of one instance, or says who has it. Never waits.
    ///
    /// # Errors
    /// [`Error::Locked`] if another operation holds it, [`Error::File`] if the file cannot be used.
    pub fn instance(
        &self,
        instance: &InstanceRef,
        doing: &str,
        now: Timestamp,
    ) -> Result<Lock, Error> {
        self.take(
            &file_of(instance),
            &format!("{INSTANCE}{instance}"),
            doing,
            now,
        )
    }

    /// Removes the file of a lock that is held, of an instance that is not there any more and will never be again.
    #[cfg(feature = "archive")]
    pub(crate) fn forget(&self, instance: &InstanceRef) {
        // What stays is a file that nobody looks at.
        let _ = std::fs::remove_file(self.path.join(file_of(instance)));
    }

    /// Shares the lock of one instance with others that only take snapshots of it or send them. Never waits.
    ///
    /// # Errors
    /// [`Error::Locked`] if an operation holds it that changes the instance, [`Error::File`] if the file cannot be used.
    pub(crate) fn share_instance(
        &self,
        instance: &InstanceRef,
        doing: Option<&str>,
        now: Timestamp,
    ) -> Result<Lock, Error> {
        self.share(
            &file_of(instance),
            &format!("{INSTANCE}{instance}"),
            doing,
            now,
        )
    }

    /// Takes the lock that exports of one instance have among themselves.
    ///
    /// # Errors
    /// As [`LockDir::instance`].
    pub(crate) fn export(&self, instance: &InstanceRef, now: Timestamp) -> Result<Lock, Error> {
        let file = format!("{}.{}.export.lock", instance.project, instance.name);
        self.take(&file, &format!("the export of {instance}"), "export", now)
    }

    /// Takes the lock of the commands around snapshots of one instance: those of two snapshots do not mix.
    ///
    /// # Errors
    /// As [`LockDir::instance`].
    pub(crate) fn hooks(&self, instance: &InstanceRef, now: Timestamp) -> Result<Lock, Error> {
        let file = format!("{}.{}.hooks.lock", instance.project, instance.name);
        let what = format!("the commands around snapshots of {instance}");
        self.take(&file, &what, "snapshot", now)
    }

    /// Takes the lock of the run that the timer calls.
    ///
    /// # Errors
    /// As [`LockDir::instance`].
    pub fn run(&self, now: Timestamp) -> Result<Lock, Error> {
        // No project has an empty name.
        self.take(".run.lock", "the timer's run", "run", now)
    }

    /// Takes the lock of the origins that came from archives into one of LXD's storage pools.
    ///
    /// # Errors
    /// As [`LockDir::instance`].
    pub(crate) fn origins(
        &self,
        lxd_pool: &str,
        doing: &str,
        now: Timestamp,
    ) -> Result<Lock, Error> {
        // No project has an empty name.
        let file = format!(".origins.{}.lock", lxd_pool.replace('/', "%"));
        self.take(
            &file,
            &format!("terrarium/origins of {lxd_pool}"),
            doing,
            now,
        )
    }

    /// Takes the lock of pruning one of LXD's storage pools.
    ///
    /// # Errors
    /// As [`LockDir::instance`].
    pub(crate) fn pruning(
        &self,
        lxd_pool: &str,
        doing: &str,
        now: Timestamp,
    ) -> Result<Lock, Error> {
        let file = format!(".prune.{}.lock", lxd_pool.replace('/', "%"));
        self.take(&file, &format!("pruning pool {lxd_pool}"), doing, now)
    }

    fn take(&self, file: &str, what: &str, doing: &str, now: Timestamp) -> Result<Lock, Error> {
        let (path, mut file) = self.open(file)?;
        let failed = |source| Error::File {
            path: path.clone(),
            source,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked(held_by(&mut file, what, now)));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        name(&mut file, doing, now).map_err(failed)?;
        Ok(Lock {
            file,
            is_named: true,
        })
    }

    /// One of those who share a lock can write its name: the one that keeps it for long.
    fn share(
        &self,
        file: &str,
        what: &str,
        doing: Option<&str>,
        now: Timestamp,
    ) -> Result<Lock, Error> {
        let (path, mut file) = self.open(file)?;
        let failed = |source| Error::File {
            path: path.clone(),
            source,
        };
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked(held_by(&mut file, what, now)));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        if let Some(doing) = doing {
            name(&mut file, doing, now).map_err(failed)?;
        }
        Ok(Lock {
            file,
            is_named: doing.is_some(),
        })
    }

    fn open(&self, file: &str) -> Result<(PathBuf, File), Error> {
        let path = self.path.join(file);
        let failed = |source| Error::File {
            path: path.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(failed)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        Ok((path, file))
    }
}

/// What is said before an instance's name: others share its lock without a name of theirs.
const INSTANCE: &str = "instance ";

fn name(file: &mut File, doing: &str, now: Timestamp) -> io::Result<()> {
    let owner = Owner {
        pid: std::process::id(),
        doing: doing.to_owned(),
        since: now,
    };
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(serde_json::to_string(&owner).unwrap_or_default().as_bytes())
}

fn file_of(instance: &InstanceRef) -> String {
    format!("{}.{}.lock", instance.project, instance.name)
}

fn held_by(file: &mut File, what: &str, now: Timestamp) -> Held {
    let mut text = String::new();
    let _ = file.rewind();
    let _ = file.read_to_string(&mut text);
    let owner: Option<Owner> = serde_json::from_str(&text).ok();
    // One that was killed could not take its name away.
    let owner = owner.filter(|owner| Path::new("/proc").join(owner.pid.to_string()).exists());
    Held {
        what: what.to_owned(),
        pid: owner.as_ref().map(|owner| owner.pid),
        owner: match owner {
            Some(owner) => format!(
                "{} (process {}, for {}s)",
                owner.doing,
                owner.pid,
                now.duration_since(owner.since).as_secs().max(0)
            ),
            None if what.starts_with(INSTANCE) => {
                "a snapshot is being taken, or its owner is just starting".to_owned()
            }
            None => "its owner is just starting".to_owned(),
        },
    }
}

impl Held {
    pub(crate) fn help(&self) -> String {
        match self.pid {
            Some(pid) => format!("wait until it is done, or look at it with `ps -fp {pid}`"),
            None => "try again in a moment".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_of_the_same_instance_is_refused_with_owner_and_age() {
        let parent = tempfile::tempdir().unwrap();
        let locks = LockDir::new(parent.path().join("locks"));
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let web = "web".parse().unwrap();

        let first = locks
            .instance(&web, "rewind", at("2026-11-22T10:00:00Z"))
            .unwrap();
        let second = locks
            .instance(&web, "undo", at("2026-11-22T10:00:07Z"))
            .unwrap_err();
        let expected = format!(
            "instance web is in use by another operation: rewind (process {}, for 7s)",
            std::process::id()
        );
        assert_eq!(second.to_string(), expected);
        let _other = locks
            .instance(
                &"t/web".parse().unwrap(),
                "rewind",
                at("2026-11-22T10:00:00Z"),
            )
            .unwrap();

        drop(first);
        let _again = locks
            .instance(&web, "undo", at("2026-11-22T10:00:09Z"))
            .unwrap();
    }

    #[test]
    fn snapshots_and_an_export_share_an_instance_and_nobody_else_gets_it_meanwhile() {
        let parent = tempfile::tempdir().unwrap();
        let locks = LockDir::new(parent.path().join("locks"));
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let web = "web".parse().unwrap();

        let exporting = locks.share_instance(&web, Some("export"), now).unwrap();
        let snapshot = locks.share_instance(&web, None, now).unwrap();
        let refused = locks.instance(&web, "rewind", now).unwrap_err().to_string();
        assert!(
            refused.contains("another operation: export (process"),
            "{refused}"
        );
        drop(exporting);
        let refused = locks.instance(&web, "rewind", now).unwrap_err().to_string();
        assert!(refused.contains("a snapshot is being taken"), "{refused}");
        drop(snapshot);
        let alone = locks.instance(&web, "rewind", now).unwrap();
        let refused = locks
            .share_instance(&web, None, now)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("another operation: rewind (process"),
            "{refused}"
        );
        drop(alone);

        let _first = locks.export(&web, now).unwrap();
        let refused = locks.export(&web, now).unwrap_err().to_string();
        assert!(
            refused.starts_with("the export of web is in use"),
            "{refused}"
        );
    }
}
