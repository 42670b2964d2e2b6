//! What is kept of a drill: one line of JSON.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use terrarium_core::drill::{DrillReport, Verdict};
use terrarium_core::tree::TreeDigest;
use terrarium_core::{BootReport, BootVerdict};
use terrarium_s3::archive::Location;
use terrarium_s3::format::{ArchiveId, Lineage};
use terrarium_zfs::{Guid, SnapshotName};

use crate::archive::points::Listed;
use crate::exit::{Exit, Failure};

/// Who said what a point is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Compared {
    /// The digest that was sealed when it was exported.
    Sealed,
    /// The snapshot on this host.
    Local,
    /// Whoever asked.
    Given,
}

/// A drill that has shown something of a point. Nothing of what is encrypted in the archive is in it but the digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) at: Timestamp,
    pub(crate) location: String,
    pub(crate) archive: ArchiveId,
    pub(crate) project: Option<String>,
    pub(crate) name: String,
    pub(crate) lineage: Lineage,
    pub(crate) snapshot: SnapshotName,
    pub(crate) guid: Guid,
    pub(crate) created_at: Timestamp,
    pub(crate) streams: usize,
    pub(crate) stream_bytes: u64,
    /// `equal`, `differs`, `readable` or `failed`; of a boot `booted`, `not-started`, `check-failed`, `check-timed-out`,
    /// `check-not-run` or `failed`.
    pub(crate) verdict: String,
    pub(crate) compared_with: Option<Compared>,
    pub(crate) digest: Option<TreeDigest>,
    pub(crate) differences: Option<u64>,
    pub(crate) error: Option<String>,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// How long it took to fetch and receive the streams.
    pub(crate) receive_ms: u64,
    /// How long it took to read the files.
    pub(crate) read_ms: u64,
    /// What is known if it was booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) boot: Option<Boot>,
}

/// What is kept of a boot. Neither the check nor what it printed: they may hold secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// The throw-away instance.
    pub(crate) instance: String,
    /// How long it took from its start until LXD reported it as running.
    pub(crate) running_ms: Option<u64>,
    /// How long the check took.
    pub(crate) check_ms: Option<u64>,
    /// The exit code of the check.
    pub(crate) exit_code: Option<i32>,
    /// Whether the instance could not be removed.
    pub(crate) left: bool,
}

/// What a record is made of.
pub(crate) struct Shown<'a> {
    pub(crate) at: Timestamp,
    pub(crate) location: &'a Location,
    pub(crate) archive: ArchiveId,
    pub(crate) point: &'a Listed,
    pub(crate) streams: usize,
    pub(crate) stream_bytes: u64,
}

impl Record {
    pub(crate) fn new(shown: &Shown<'_>, compared: Option<Compared>, report: &DrillReport) -> Self {
        let (verdict, differences, error) = match &report.verdict {
            Verdict::Equal => ("equal", None, None),
            Verdict::Differs(found) => ("differs", found.as_ref().map(|found| found.in_all), None),
            Verdict::Readable => ("readable", None, None),
            Verdict::Failed(error) => ("failed", None, Some(error.to_string())),
        };
        Self {
            compared_with: compared,
            digest: report.digest,
            differences,
            entries: report.entries,
            bytes: report.bytes,
            receive_ms: millis(report.received_in),
            read_ms: millis(report.read_in),
            ..Self::of(shown, verdict, error)
        }
    }

    pub(crate) fn booted(shown: &Shown<'_>, report: &BootReport) -> Self {
        let (verdict, error) = match &report.verdict {
            BootVerdict::Booted => ("booted", None),
            BootVerdict::NotStarted(why) => ("not-started", Some(why.clone())),
            BootVerdict::CheckFailed(_) => ("check-failed", None),
            BootVerdict::CheckTimedOut => ("check-timed-out", None),
            BootVerdict::CheckNotRun(why) => ("check-not-run", Some(why.clone())),
            BootVerdict::Failed(error) => ("failed", Some(error.to_string())),
        };
        let exit_code = match &report.verdict {
            BootVerdict::Booted => report.checked_in.map(|_| 0),
            BootVerdict::CheckFailed(output) => Some(output.exit_code),
            _ => None,
        };
        Self {
            receive_ms: millis(report.received_in),
            boot: Some(Boot {
                instance: report.instance.to_string(),
                running_ms: report.running_in.map(millis),
                check_ms: report.checked_in.map(millis),
                exit_code,
                left: report.left.is_some(),
            }),
            ..Self::of(shown, verdict, error)
        }
    }

    fn of(shown: &Shown<'_>, verdict: &str, error: Option<String>) -> Self {
        let point = shown.point;
        Self {
            version: 1,
            at: shown.at,
            location: shown.location.to_string(),
            archive: shown.archive,
            project: point.project.clone(),
            name: point.name.clone(),
            lineage: point.lineage,
            snapshot: point.snapshot.clone(),
            guid: point.guid,
            created_at: point.created,
            streams: shown.streams,
            stream_bytes: shown.stream_bytes,
            verdict: verdict.to_owned(),
            compared_with: None,
            digest: None,
            differences: None,
            error,
            entries: 0,
            bytes: 0,
            receive_ms: 0,
            read_ms: 0,
            boot: None,
        }
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The drills so far, the earliest first.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) records: Vec<Record>,
    /// Lines that are none: somebody was killed while writing one.
    pub(crate) illegible: usize,
}

pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join("drills.jsonl")
}

/// Adds a line, which is on the disk when this returns. A line that was cut off before does not spoil it.
pub(crate) fn append(folder: &Path, record: &Record) -> io::Result<()> {
    let mut made = DirBuilder::new();
    made.recursive(true).mode(0o700).create(folder)?;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = options.open(path(folder))?;
    // Two drills end at one moment now and then.
    file.lock()?;
    let mut line = Vec::new();
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            line.push(b'\n');
        }
    }
    serde_json::to_writer(&mut line, record)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// Reads all.
///
/// # Errors
/// [`Failure`] if there is a file and it cannot be read.
pub(crate) fn read(folder: &Path) -> Result<History, Failure> {
    let path = path(folder);
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
        Err(error) => {
            let why = format!("cannot read {}: {error}", path.display());
            return Err(Failure::new(Exit::Refused, why));
        }
    };
    let mut history = History::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str(line) {
            Ok(record) => history.records.push(record),
            Err(_) => history.illegible += 1,
        }
    }
    Ok(history)
}
