//! Files of a snapshot that is not mounted anywhere.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use jiff::{Timestamp, Zoned};
use serde::Serialize;
use terrarium_zfs::Guid;
use terrarium_zfs::stream::BeginRecord;
use terrarium_zfs::tree::{Entry, Kind, Time};
use terrarium_zpool::{Extracted, Part};

use crate::exit::Failure;
use crate::render::{ErrorShown, JSON_VERSION, one_line, units};

/// A listing as `ls -l` and `tar -tv` have it, a line at a time: a tree may be of any size.
pub(crate) struct Listing {
    now: Zoned,
    lines: u64,
    /// For JSON.
    kept: Vec<EntryShown>,
}

impl Listing {
    /// An empty one; times are shown in the zone of `now`.
    pub(crate) fn new(now: Zoned) -> Self {
        Self {
            now,
            lines: 0,
            kept: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    pub(crate) fn heading(&self) -> String {
        let zone = units::zone_name(self.now.time_zone(), self.now.timestamp());
        let modified = format!("MODIFIED ({zone})");
        format!(
            "{:<10}  {:<11}  {:>12}  {modified:<19}  NAME\n",
            "MODE", "OWNER:GROUP", "SIZE"
        )
    }

    pub(crate) fn line(&mut self, entry: &Entry) -> String {
        self.lines += 1;
        let owner = format!("{}:{}", entry.uid, entry.gid);
        let size = match (entry.kind, entry.device) {
            (Kind::File, _) => entry.size.to_string(),
            (_, Some(device)) => format!("{},{}", device.major, device.minor),
            _ => "-".to_owned(),
        };
        let modified = match time(entry.modified) {
            Some(time) => units::short_time(time, self.now.time_zone()),
            None => "?".to_owned(),
        };
        let name = match entry.path.as_os_str().is_empty() {
            true => ".".to_owned(),
            false => one_line(&entry.path.to_string_lossy()),
        };
        let mut line = format!(
            "{}  {owner:<11}  {size:>12}  {modified:<19}  {name}",
            mode(entry)
        );
        if let Some(target) = &entry.target {
            let _ = write!(line, " -> {}", one_line(&target.to_string_lossy()));
        }
        line + "\n"
    }

    /// Keeps an entry for [`Listing::json`].
    pub(crate) fn keep(&mut self, entry: Entry) {
        self.lines += 1;
        self.kept.push(EntryShown::new(&entry));
    }

    /// The same for programs.
    pub(crate) fn json<'a>(
        &'a self,
        begin: &BeginRecord,
        failure: Option<&'a Failure>,
    ) -> ListingShown<'a> {
        ListingShown {
            version: JSON_VERSION,
            exit_code: failure.map_or(0, |failure| failure.exit.code()),
            snapshot: begin.to_name(),
            guid: begin.to_guid(),
            entries: &self.kept,
            error: failure.map(ErrorShown::new),
        }
    }
}

/// As `ls -l` shows kind and mode.
fn mode(entry: &Entry) -> String {
    let mut text = String::with_capacity(10);
    text.push(match entry.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::CharacterDevice => 'c',
        Kind::BlockDevice => 'b',
    });
    for (shift, special, set, alone) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let bits = entry.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (entry.mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => alone,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

fn time(time: Time) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanoseconds.try_into().ok()?).ok()
}

/// What `stream ls --json` answers.
#[derive(Serialize)]
pub(crate) struct ListingShown<'a> {
    version: u32,
    exit_code: u8,
    snapshot: String,
    guid: Guid,
    entries: &'a [EntryShown],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorShown<'a>>,
}

#[derive(Serialize)]
struct EntryShown {
    path: String,
    /// The bytes of the path in hexadecimal, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    links: u64,
    /// The same for all names of a file.
    object: u64,
    modified_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<String>,
}

impl EntryShown {
    fn new(entry: &Entry) -> Self {
        let names = entry.attributes.keys();
        Self {
            path: entry.path.to_string_lossy().into_owned(),
            path_bytes: entry.path.to_str().is_none().then(|| hex(&entry.path)),
            kind: kind(entry.kind),
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size,
            links: entry.links,
            object: entry.object,
            modified_at: time(entry.modified),
            target: entry
                .target
                .as_ref()
                .map(|target| target.to_string_lossy().into_owned()),
            device: entry.device.map(|device| (device.major, device.minor)),
            attributes: names
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
        }
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::CharacterDevice => "character-device",
        Kind::BlockDevice => "block-device",
    }
}

fn hex(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// What was extracted, and what was not.
pub(crate) fn extracted_text(extracted: &Extracted, name: &str, into: &Path) -> String {
    let mut text = format!(
        "Extracted {} {} ({}) of {} into {}.\n",
        extracted.entries,
        if extracted.entries == 1 {
            "entry"
        } else {
            "entries"
        },
        units::size(extracted.bytes),
        one_line(name),
        one_line(&into.display().to_string())
    );
    for left_out in &extracted.left_out {
        let path = one_line(&left_out.path.to_string_lossy());
        let _ = writeln!(
            text,
            "  not extracted: {path}{}: {}",
            part(&left_out.part),
            one_line(&left_out.reason)
        );
    }
    let more = extracted.left_out_in_all - extracted.left_out.len() as u64;
    if more > 0 {
        let _ = writeln!(text, "  not extracted: {more} more");
    }
    text
}

fn part(part: &Part) -> String {
    match part {
        Part::Content | Part::Entry => String::new(),
        Part::Attribute(name) => {
            let name = String::from_utf8_lossy(name);
            format!(" (attribute {})", one_line(&name))
        }
    }
}

/// What `stream extract --json` answers.
#[derive(Serialize)]
pub(crate) struct ExtractedShown<'a> {
    version: u32,
    exit_code: u8,
    snapshot: String,
    guid: Guid,
    entries: u64,
    bytes: u64,
    left_out: Vec<LeftOutShown<'a>>,
    left_out_in_all: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorShown<'a>>,
}

#[derive(Serialize)]
struct LeftOutShown<'a> {
    path: String,
    part: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribute: Option<String>,
    reason: &'a str,
}

/// The same as [`extracted_text`], for programs.
pub(crate) fn extracted_json<'a>(
    extracted: &'a Extracted,
    begin: &BeginRecord,
    failure: Option<&'a Failure>,
) -> ExtractedShown<'a> {
    let left_out = extracted.left_out.iter();
    ExtractedShown {
        version: JSON_VERSION,
        exit_code: failure.map_or(0, |failure| failure.exit.code()),
        snapshot: begin.to_name(),
        guid: begin.to_guid(),
        entries: extracted.entries,
        bytes: extracted.bytes,
        left_out: left_out
            .map(|left_out| LeftOutShown {
                path: left_out.path.to_string_lossy().into_owned(),
                part: match left_out.part {
                    Part::Content => "content",
                    Part::Entry => "entry",
                    Part::Attribute(_) => "attribute",
                },
                attribute: match &left_out.part {
                    Part::Attribute(name) => Some(String::from_utf8_lossy(name).into_owned()),
                    _ => None,
                },
                reason: &left_out.reason,
            })
            .collect(),
        left_out_in_all: extracted.left_out_in_all,
        error: failure.map(ErrorShown::new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_ls_shows_them() {
        for (kind, bits, shown) in [
            (Kind::File, 0o644, "-rw-r--r--"),
            (Kind::Directory, 0o1777, "drwxrwxrwt"),
            (Kind::File, 0o4755, "-rwsr-xr-x"),
            (Kind::File, 0o6644, "-rwSr-Sr--"),
            (Kind::Directory, 0o1660, "drw-rw---T"),
            (Kind::Symlink, 0o777, "lrwxrwxrwx"),
            (Kind::BlockDevice, 0o600, "brw-------"),
        ] {
            assert_eq!(mode(&Entry::new("x", kind, bits)), shown);
        }
    }

    #[test]
    fn names_cannot_control_the_terminal() {
        let mut listing = Listing::new("2026-11-22T12:00:00Z[UTC]".parse().unwrap());
        let mut link = Entry::new("a\u{1b}[2J\nb", Kind::Symlink, 0o777);
        link.target = Some("c\u{9b}d".into());
        let line = listing.line(&link);
        assert!(
            line.ends_with("  1970-01-01 00:00:00  a\\u001b[2J\\u000ab -> c\\u009bd\n"),
            "{line}"
        );
    }
}
