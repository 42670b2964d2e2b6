//! Objects as files of a directory: a disk, a mount, or a place for tests.

mod files;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rustix::io::Errno;

use self::files::Root;
use super::{Attempt, Call, Key, Object, Store, StoreError};

/// A store whose objects are files of a directory, in folders as the keys' segments say.
///
/// A file is written under a temporary name in the folder it will be in, synced, and given its name by `link`, which
/// never replaces; where the file system has no links, by `renameat2(RENAME_NOREPLACE)`; where it has neither, creating
/// is refused. Then the folder is synced. All of it holds for several processes at once, and over NFS, where the reply
/// to a link that was made may be lost. Files have mode 0600, folders 0700.
///
/// What a killed write leaves behind is never an object: its name cannot be a [`Key`]. [`leftovers`](Store::leftovers)
/// lists such files; one that is older than any write can take is of no use to anybody.
///
/// The directory is opened once. What happens below its path afterwards (a disk unmounted, another mounted) does not
/// lead the store elsewhere. Folders that a delete leaves empty are removed.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: Arc<Root>,
    place: Arc<str>,
}

/// What a write that did not end has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// Where it is, below the directory.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written to.
    pub modified: Timestamp,
}

impl DirectoryStore {
    /// Opens a directory that is there.
    ///
    /// # Errors
    /// [`StoreError::NoSuchPlace`] if it is missing or no directory; [`StoreError::Denied`] if it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let place: Arc<str> = path.to_string_lossy().into();
        let root = Root::open(path).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR => StoreError::NoSuchPlace {
                attempt: Attempt::listing("", &*place),
            },
            other => of_errno(other, Attempt::listing("", &*place)),
        })?;
        let root = Arc::new(root);
        Ok(Self { root, place })
    }

    /// Runs `work` where it may block. It is not stopped if the caller no longer waits.
    async fn blocking<T: Send + 'static>(
        &self,
        attempt: Attempt,
        work: impl FnOnce(&Root, &str) -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, StoreError> {
        let root = Arc::clone(&self.root);
        let name = attempt.name.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&root, &name).map_err(|errno| (errno, root.is_gone()))
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err((Errno::NOENT | Errno::NOTDIR | Errno::STALE, true))) => {
                Err(StoreError::NoSuchPlace { attempt })
            }
            Ok(Err((errno, _))) => Err(of_errno(errno, attempt)),
            Err(stopped) => Err(StoreError::Unavailable {
                attempt,
                detail: stopped.to_string(),
            }),
        }
    }
}

impl Store for DirectoryStore {
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let attempt = Attempt::on(Call::Create, key, &*self.place);
        self.blocking(attempt, move |root, name| root.create(name, &body))
            .await
    }

    async fn read(&self, key: &Key) -> Result<Bytes, StoreError> {
        let attempt = Attempt::on(Call::Read, key, &*self.place);
        self.blocking(attempt, |root, name| root.read(name))
            .await
            .map(Bytes::from)
    }

    async fn read_range(&self, key: &Key, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        let attempt = Attempt::on(Call::Read, key, &*self.place);
        self.blocking(attempt, move |root, name| {
            root.read_range(name, offset, length)
        })
        .await
        .map(Bytes::from)
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        let attempt = Attempt::on(Call::Size, key, &*self.place);
        match self.blocking(attempt, |root, name| root.size(name)).await {
            Ok(size) => Ok(Some(size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let attempt = Attempt::listing(prefix, &*self.place);
        self.blocking(attempt, |root, prefix| root.list(prefix))
            .await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let attempt = Attempt::on(Call::Delete, key, &*self.place);
        match self.blocking(attempt, |root, name| root.delete(name)).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        self.blocking(Attempt::listing("", &*self.place), |root, _| {
            root.leftovers()
        })
        .await
    }

    async fn remove_leftover(&self, leftover: &Leftover) -> Result<(), StoreError> {
        let attempt = Attempt {
            call: Call::Delete,
            name: leftover.path.to_string_lossy().into_owned(),
            place: self.place.to_string(),
        };
        let path = leftover.path.clone();
        self.blocking(attempt, move |root, _| root.remove_leftover(&path))
            .await
    }
}

/// What an errno of a file system means for a store.
fn of_errno(errno: Errno, attempt: Attempt) -> StoreError {
    let detail = std::io::Error::from(errno).to_string();
    match errno {
        Errno::EXIST if attempt.call == Call::Create => StoreError::Exists { attempt },
        // A file where the key has a folder: there cannot be an object of that key.
        Errno::NOENT | Errno::NOTDIR if attempt.call != Call::Create => {
            StoreError::NotFound { attempt }
        }
        Errno::NOTDIR => StoreError::Refused {
            attempt,
            detail: "another object has the name of its folder".into(),
        },
        Errno::NOTSUP => StoreError::Refused {
            attempt,
            detail: "the file system can neither link nor rename without replacing".into(),
        },
        Errno::ACCESS | Errno::PERM | Errno::ROFS => StoreError::Denied { attempt, detail },
        Errno::NOSPC | Errno::DQUOT => StoreError::NoSpace { attempt, detail },
        Errno::IO if attempt.call == Call::Read => StoreError::Corrupt { attempt, detail },
        Errno::STALE | Errno::TIMEDOUT | Errno::HOSTDOWN | Errno::NOTCONN | Errno::AGAIN => {
            StoreError::Unavailable { attempt, detail }
        }
        _ => StoreError::Refused { attempt, detail },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_are_told_apart() {
        let told = |errno, call| {
            let key = Key::new("a").unwrap();
            let error = of_errno(errno, Attempt::on(call, &key, "/mnt"));
            let text = format!("{error:?}");
            text.split(' ').next().unwrap_or_default().to_owned()
        };
        for (errno, create, read) in [
            (Errno::EXIST, "Exists", "Refused"),
            (Errno::NOENT, "Refused", "NotFound"),
            (Errno::NOTDIR, "Refused", "NotFound"),
            (Errno::NOTSUP, "Refused", "Refused"),
            (Errno::ACCESS, "Denied", "Denied"),
            (Errno::PERM, "Denied", "Denied"),
            (Errno::ROFS, "Denied", "Denied"),
            (Errno::NOSPC, "NoSpace", "NoSpace"),
            (Errno::DQUOT, "NoSpace", "NoSpace"),
            (Errno::IO, "Refused", "Corrupt"),
            (Errno::STALE, "Unavailable", "Unavailable"),
        ] {
            assert_eq!(told(errno, Call::Create), create, "{errno:?}");
            assert_eq!(told(errno, Call::Read), read, "{errno:?}");
        }
    }
}
