//! One lock for each instance: at most one operation changes it at a time. And one for the origins that came into a pool
//! from archives: one that has no clone yet is not taken for one that has none any more.
//!
//! A lock is an advisory lock (`flock(2)`) on a file that names its owner. The kernel gives it up when its
//! owner dies, so there is no stale lock: only a file that says who had it last.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

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
    _file: File,
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
        let file = format!("{}.{}.lock", instance.project, instance.name);
        self.take(&file, &format!("instance {instance}"), doing, now)
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

    fn take(&self, file: &str, what: &str, doing: &str, now: Timestamp) -> Result<Lock, Error> {
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
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked(held_by(&mut file, what, now)));
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let owner = Owner {
            pid: std::process::id(),
            doing: doing.to_owned(),
            since: now,
        };
        file.set_len(0).map_err(failed)?;
        file.write_all(serde_json::to_string(&owner).unwrap_or_default().as_bytes())
            .map_err(failed)?;
        Ok(Lock { _file: file })
    }
}

fn held_by(file: &mut File, what: &str, now: Timestamp) -> Held {
    let mut text = String::new();
    let _ = file.rewind();
    let _ = file.read_to_string(&mut text);
    let owner: Option<Owner> = serde_json::from_str(&text).ok();
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
}
