//! What is stored already, noted on the machine that stores it.
//!
//! Encryption makes other bytes each time, so nobody can see in the store whether a part is the one that is
//! at hand. A line for each part says it: where it stands, and a BLAKE3 keyed with random bytes of the journal: of what the
//! part is in the BLAKE3 of the stream, or of its bytes if it is no node of that. The file can be read by its owner only.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use terrarium_zfs::Guid;

use crate::crypto::{Recipients, random};
use crate::format::{Part, hex};
use crate::pipeline::error::{Ids, WriteError};

/// How long what a journal names is relied on, from when the last part was stored.
///
/// Parts without a manifest are collected when they are older than a grace time, which is longer than this by a day at
/// least ([`MIN_GRACE`](crate::archive::MIN_GRACE)). So nobody relies on what somebody else collects.
pub const JOURNAL_LIFE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// How long an export may store nothing and still rely on the parts of an earlier run.
pub(super) const MAX_IDLE: Duration = Duration::from_secs(12 * 60 * 60);

/// Whether what was stored at `stored`, by the store's clock, may be relied on. What lies in the future by more than two
/// clocks may differ has an age that is not known.
pub(super) fn is_young(stored: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(stored);
    let life = SignedDuration::try_from(JOURNAL_LIFE).unwrap_or(SignedDuration::ZERO);
    age >= SignedDuration::from_hours(-1) && age <= life
}

/// A journal that is held by this process.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    key: blake3::Hash,
    known: HashMap<u32, Line>,
    /// When it was opened, or a part was stored since; by two clocks, of which one may stand still and one be set.
    active: (Instant, SystemTime),
}

#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    version: u64,
    guid: Guid,
    from: Option<Guid>,
    prefix: String,
    part_size: usize,
    recipients: Recipients,
    #[serde(with = "hex::hash")]
    key: blake3::Hash,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    part: Part,
    #[serde(with = "hex::hash")]
    plain: blake3::Hash,
}

impl Journal {
    /// Opens the journal of a stream. One of another stream, or of an earlier one that was cut differently, or that was
    /// last written to longer ago than [`JOURNAL_LIFE`], is begun anew.
    pub(super) fn open(
        path: &Path,
        ids: Ids,
        prefix: String,
        part_size: usize,
        recipients: &Recipients,
    ) -> Result<Self, WriteError> {
        let failed = |source| WriteError::Journal {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => WriteError::JournalInUse {
                path: path.to_owned(),
            },
            TryLockError::Error(source) => failed(source),
        })?;
        let mut head = Head {
            format: FORMAT.to_owned(),
            version: 2,
            guid: ids.guid,
            from: ids.from,
            prefix,
            part_size,
            recipients: recipients.clone(),
            key: blake3::Hash::from_bytes(random().map_err(WriteError::Random)?),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let written = file.metadata().and_then(|metadata| metadata.modified());
        let written = Timestamp::try_from(written.map_err(failed)?);
        if !written.is_ok_and(|written| is_young(written, Timestamp::now())) {
            bytes.clear();
        }
        let (known, length) = match read(&bytes, &head) {
            Some((key, known, length)) => {
                head.key = key;
                (known, length)
            }
            None => (HashMap::new(), 0),
        };
        // A line that was cut off goes, or it would spoil the next.
        file.set_len(length as u64).map_err(failed)?;
        file.seek(io::SeekFrom::End(0)).map_err(failed)?;
        if length == 0 {
            write_line(&mut file, &head).map_err(failed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            key: head.key,
            known,
            active: (Instant::now(), SystemTime::now()),
        })
    }

    /// What the plain hashes are keyed with.
    pub(super) fn key(&self) -> blake3::Hash {
        self.key
    }

    /// The part of that number, and the hash of its plain bytes, if it was stored.
    pub(super) fn known(&self, number: u32) -> Option<(Part, blake3::Hash)> {
        let line = self.known.get(&number)?;
        Some((line.part.clone(), line.plain))
    }

    /// Whether it knows of no part.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Forgets the other parts.
    pub(super) fn retain(&mut self, keep: impl Fn(&Part) -> bool) {
        self.known.retain(|_, line| keep(&line.part));
    }

    /// Notes that a part is stored.
    pub(super) fn add(&mut self, part: &Part, plain: blake3::Hash) -> Result<(), WriteError> {
        let line = Line {
            part: part.clone(),
            plain,
        };
        self.active = (Instant::now(), SystemTime::now());
        write_line(&mut self.file, &line).map_err(|source| WriteError::Journal {
            path: self.path.clone(),
            source,
        })
    }

    /// How long no part was stored.
    pub(super) fn idle(&self) -> Duration {
        let (by_one, by_other) = self.active;
        by_one.elapsed().max(by_other.elapsed().unwrap_or_default())
    }

    /// It is not needed any more.
    pub(super) fn remove(self) {
        // One that stays names parts that a manifest names too, and is begun anew by the next stream.
        let _ = std::fs::remove_file(&self.path);
    }
}

const FORMAT: &str = "terrarium-journal";

fn write_line(file: &mut File, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// The key, the parts, and how much of the file makes sense; `None` if it is of something else.
fn read(bytes: &[u8], expected: &Head) -> Option<(blake3::Hash, HashMap<u32, Line>, usize)> {
    let mut lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let first = lines.next().filter(|line| line.ends_with(b"\n"))?;
    let mut head: Head = serde_json::from_slice(first).ok()?;
    let key = std::mem::replace(&mut head.key, expected.key);
    if head != *expected {
        return None;
    }
    let mut known = HashMap::new();
    let mut length = first.len();
    for line in lines {
        let whole = line.ends_with(b"\n");
        let Some(entry) = serde_json::from_slice::<Line>(line).ok().filter(|_| whole) else {
            break;
        };
        let place = entry.part.key;
        if (place.guid, place.from) != (expected.guid, expected.from) {
            break;
        }
        length += line.len();
        known.insert(place.number, entry);
    }
    Some((key, known, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::NewIdentity;

    #[test]
    fn what_is_old_or_of_no_known_age_is_not_relied_on() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let stored = |text: &str| is_young(text.parse().unwrap(), now);
        assert!(stored("2026-11-23T11:59:59Z") && stored("2026-11-20T12:00:00Z"));
        assert!(!stored("2026-11-20T11:59:59Z") && !stored("1970-01-01T00:00:00Z"));
        assert!(stored("2026-11-23T12:59:59Z") && !stored("2026-11-23T13:00:01Z"));
    }

    #[test]
    fn a_journal_knows_how_long_nothing_was_stored_even_if_a_clock_stood_still() {
        let folder = tempfile::tempdir().unwrap();
        let recipients = Recipients::parse([NewIdentity::generate().recipient()]).unwrap();
        let ids = Ids {
            guid: Guid::new(1),
            from: None,
        };
        let path = folder.path().join("journal");
        let mut journal = Journal::open(&path, ids, String::new(), 4096, &recipients).unwrap();
        assert!(journal.idle() < Duration::from_secs(60));
        // The machine slept.
        journal.active.1 -= Duration::from_secs(100_000);
        assert!(journal.idle() >= Duration::from_secs(100_000));
        assert!(journal.idle() > MAX_IDLE);
    }
}
