//! What a host that writes keeps on its own disk: its key, and what the archives were when it last agreed
//! to them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::crypto::{CryptoError, HostKey, Recipients, VerifyingKey};
use crate::format::{self, ArchiveId};
use crate::pipeline::Ids;

/// The folder that a host keeps these things in.
///
/// ```text
/// host.key              the secret key that signs, mode 0600
/// archives/<hash>.json  the pin of an archive
/// journals/…            what of a stream that is being stored is stored already
/// ```
/// Files appear under their names when they are whole, and synced.
#[derive(Clone, Debug)]
pub struct HostState {
    folder: PathBuf,
}

/// What an archive was when this host agreed to it. Whoever can write to the store could exchange
/// `archive.json`, and so have new points encrypted to himself: the pin is compared before every write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Its id.
    pub archive: ArchiveId,
    /// Whom new points are encrypted to.
    pub recipients: Recipients,
    /// The hosts that may sign.
    pub host_keys: Vec<VerifyingKey>,
}

/// The archive is not what it was when this host agreed to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Difference {
    /// It is another one.
    #[error("that is the archive {found}, but this host knows it as {pinned}")]
    Archive {
        /// What this host knows.
        pinned: ArchiveId,
        /// What is there.
        found: ArchiveId,
    },
    /// New points would be encrypted to others.
    #[error(
        "the archive's recipients are now {}, but this host agreed to {}",
        list(found),
        list(pinned)
    )]
    Recipients {
        /// What this host knows.
        pinned: Recipients,
        /// What is there.
        found: Recipients,
    },
    /// Others may sign.
    #[error("the archive's host keys are not those that this host agreed to")]
    HostKeys,
}

/// A file of the host's state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others can read the secret key.
    #[error("{}: others can read it (mode {mode:04o})", path.display())]
    Exposed {
        /// Where the key is.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is damaged, or something else.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it; nothing of a secret.
        reason: String,
    },
    /// No key can be made.
    #[error(transparent)]
    Random(CryptoError),
}

impl StateError {
    /// What to do about it, if there is something.
    pub fn help(&self) -> Option<String> {
        match self {
            StateError::Exposed { path, .. } => Some(format!("chmod 600 {}", path.display())),
            StateError::File { .. } => None,
            StateError::Damaged { path, .. } => {
                Some(format!("bring {} back from a copy", path.display()))
            }
            StateError::Random(_) => None,
        }
    }
}

impl Pin {
    /// The pin of an archive as it is.
    pub fn of(archive: &format::Archive) -> Self {
        let mut host_keys = archive.host_keys.clone();
        host_keys.sort_by_key(ToString::to_string);
        host_keys.dedup();
        Self {
            archive: archive.id,
            recipients: archive.recipients.clone(),
            host_keys,
        }
    }

    /// Compares.
    ///
    /// # Errors
    /// [`Difference`].
    pub fn check(&self, archive: &format::Archive) -> Result<(), Difference> {
        let found = Pin::of(archive);
        if found.archive != self.archive {
            return Err(Difference::Archive {
                pinned: self.archive,
                found: found.archive,
            });
        }
        if found.recipients != self.recipients {
            return Err(Difference::Recipients {
                pinned: self.recipients.clone(),
                found: found.recipients,
            });
        }
        match found == *self {
            true => Ok(()),
            false => Err(Difference::HostKeys),
        }
    }
}

impl HostState {
    /// The state in a folder, which is made when something is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The key that this host signs with, if it has one.
    ///
    /// # Errors
    /// [`StateError`], also if others can read it.
    pub fn host_key(&self) -> Result<Option<HostKey>, StateError> {
        let path = self.folder.join(HOST_KEY);
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let text = zeroize::Zeroizing::new(text);
        let mode = fs::metadata(&path)
            .map_err(|source| file(&path, source))?
            .mode()
            & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StateError::Exposed { path, mode });
        }
        let key = HostKey::parse(&text).map_err(|error| StateError::Damaged {
            path,
            reason: error.to_string(),
        })?;
        Ok(Some(key))
    }

    /// The key that this host signs with; a new one if it has none.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn host_key_or_new(&self) -> Result<HostKey, StateError> {
        if let Some(key) = self.host_key()? {
            return Ok(key);
        }
        let key = HostKey::generate().map_err(StateError::Random)?;
        make_folder(&self.folder)?;
        let path = self.folder.join(HOST_KEY);
        if write(&path, key.to_file().as_bytes(), Existing::Stays)? {
            return Ok(key);
        }
        // Somebody else was faster.
        self.host_key()?.ok_or_else(|| StateError::Damaged {
            path,
            reason: "it came and went".to_owned(),
        })
    }

    /// The pin of the archive at a place.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn pin(&self, place: &str) -> Result<Option<Pin>, StateError> {
        let path = self.pin_file(place);
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let damaged = |reason: String| StateError::Damaged {
            path: path.clone(),
            reason,
        };
        let found: PinFile =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        match (found.format.as_str(), found.version, found.place == place) {
            (PIN, 1, true) => Ok(Some(found.pin)),
            _ => Err(damaged(format!("it is no pin of {place}"))),
        }
    }

    /// Pins the archive at a place, instead of what was pinned there before.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn set_pin(&self, place: &str, pin: &Pin) -> Result<(), StateError> {
        let path = self.pin_file(place);
        let found = PinFile {
            format: PIN.to_owned(),
            version: 1,
            place: place.to_owned(),
            pin: pin.clone(),
        };
        let mut text =
            serde_json::to_string_pretty(&found).map_err(|error| StateError::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            })?;
        text.push('\n');
        make_folder(&self.folder.join(ARCHIVES))?;
        write(&path, text.as_bytes(), Existing::Goes).map(drop)
    }

    /// Where the pin of the archive at a place is.
    pub fn pin_file(&self, place: &str) -> PathBuf {
        let hash = blake3::hash(place.as_bytes()).to_hex();
        self.folder.join(ARCHIVES).join(format!("{hash}.json"))
    }

    /// Where the journal of a stream is kept that is stored into an archive.
    ///
    /// # Errors
    /// [`StateError`] if its folder cannot be made.
    pub fn journal(&self, archive: ArchiveId, stream: Ids) -> Result<PathBuf, StateError> {
        let folder = self.folder.join(JOURNALS);
        make_folder(&folder)?;
        let from = stream
            .from
            .map_or("full".to_owned(), |from| from.to_string());
        Ok(folder.join(format!("{archive}-{}-{from}", stream.guid)))
    }
}

const HOST_KEY: &str = "host.key";
const ARCHIVES: &str = "archives";
const JOURNALS: &str = "journals";
const PIN: &str = "terrarium-pin";

#[derive(Serialize, Deserialize)]
struct PinFile {
    format: String,
    version: u32,
    place: String,
    pin: Pin,
}

#[derive(Clone, Copy, PartialEq)]
enum Existing {
    Stays,
    Goes,
}

fn file(path: &Path, source: io::Error) -> StateError {
    StateError::File {
        path: path.to_owned(),
        source,
    }
}

fn list(recipients: &Recipients) -> String {
    recipients.texts().collect::<Vec<_>>().join(", ")
}

fn read(path: &Path) -> Result<Option<String>, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file(path, error)),
    }
}

fn make_folder(path: &Path) -> Result<(), StateError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| file(path, source))
}

/// Writes a file that is there as a whole or not at all; `false` if there was one that stays.
fn write(path: &Path, content: &[u8], existing: Existing) -> Result<bool, StateError> {
    let failed = |source| file(path, source);
    let random: [u8; 8] = crate::crypto::random().map_err(failed)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", format::hex::encode(&random)));
    let temporary = PathBuf::from(name);
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut output = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        output.write_all(content)?;
        output.sync_all()?;
        match existing {
            Existing::Goes => fs::rename(&temporary, path).map(|()| true),
            Existing::Stays => match fs::hard_link(&temporary, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                linked => linked.map(|()| true),
            },
        }
    })();
    if !matches!((existing, &written), (Existing::Goes, Ok(_))) {
        let _ = fs::remove_file(&temporary);
    }
    let done = written.map_err(failed)?;
    if let Some(folder) = path.parent() {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed)?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::crypto::NewIdentity;

    fn archive() -> format::Archive {
        let recipients = Recipients::parse([NewIdentity::generate().recipient()]).unwrap();
        format::Archive {
            id: ArchiveId::random().unwrap(),
            created: jiff::Timestamp::UNIX_EPOCH,
            recipients,
            host_keys: vec![HostKey::generate().unwrap().verifying_key()],
        }
    }

    #[test]
    fn the_host_key_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = HostState::new(folder.path().join("state"));
        assert!(state.host_key().unwrap().is_none());
        let key = state.host_key_or_new().unwrap().verifying_key();
        assert_eq!(state.host_key_or_new().unwrap().verifying_key(), key);
        let path = state.folder().join("host.key");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let files = fs::read_dir(state.folder()).unwrap().count();
        assert_eq!(files, 1, "nothing else is left");

        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = state.host_key_or_new().unwrap_err();
        assert!(matches!(error, StateError::Exposed { .. }), "{error}");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&path, "").unwrap();
        let error = state.host_key_or_new().unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_pin_is_read_back_and_belongs_to_one_place() {
        let folder = tempfile::tempdir().unwrap();
        let state = HostState::new(folder.path());
        assert_eq!(state.pin("s3://a").unwrap(), None);
        let (one, two) = (Pin::of(&archive()), Pin::of(&archive()));
        state.set_pin("s3://a", &one).unwrap();
        state.set_pin("s3://b", &one).unwrap();
        state.set_pin("s3://b", &two).unwrap();
        assert_eq!(state.pin("s3://a").unwrap(), Some(one));
        assert_eq!(state.pin("s3://b").unwrap(), Some(two));
        fs::copy(state.pin_file("s3://a"), state.pin_file("s3://b")).unwrap();
        let error = state.pin("s3://b").unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    }

    #[test]
    fn whatever_of_an_archive_is_exchanged_is_noticed() {
        let archive = archive();
        let pin = Pin::of(&archive);
        assert_eq!(pin.check(&archive), Ok(()));
        let mut later = archive.clone();
        later.created = jiff::Timestamp::MAX;
        assert_eq!(pin.check(&later), Ok(()));
        let other = self::archive();
        let exchanged = |change: &dyn Fn(&mut format::Archive)| {
            let mut exchanged = archive.clone();
            change(&mut exchanged);
            pin.check(&exchanged).unwrap_err()
        };
        let error = exchanged(&|archive| archive.id = other.id);
        assert!(matches!(error, Difference::Archive { .. }), "{error}");
        let error = exchanged(&|archive| archive.recipients = other.recipients.clone());
        assert!(matches!(error, Difference::Recipients { .. }), "{error}");
        let error = exchanged(&|archive| archive.host_keys.extend(&other.host_keys));
        assert_eq!(error, Difference::HostKeys);
    }
}
