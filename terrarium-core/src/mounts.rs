//! Who has a dataset mounted, in whatever mount namespace.
//!
//! The `mounted` property tells of one namespace only. A dataset that stays mounted in another one (a snap's,
//! a container's that did not end) can still be written to, so it must not be moved aside.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use terrarium_zfs::DatasetName;

/// A process in whose mount namespace `dataset` is mounted, as `name (process n)`; `None` if there is none.
///
/// Reads `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)) once for each namespace. Processes that end meanwhile
/// are passed over.
///
/// # Errors
/// [`io::Error`] if `/proc` cannot be read.
pub(crate) fn mounted_by(dataset: &DatasetName) -> io::Result<Option<String>> {
    let mut seen = HashSet::new();
    for entry in fs::read_dir("/proc")? {
        let process: PathBuf = entry?.path();
        let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let Some(pid) = process
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|name| is_process(name))
        else {
            continue;
        };
        let namespace = fs::read_link(process.join("ns/mnt"));
        if !namespace.is_ok_and(|namespace| seen.insert(namespace)) {
            continue;
        }
        let Ok(mounts) = fs::read_to_string(process.join("mountinfo")) else {
            continue;
        };
        if mounts
            .lines()
            .any(|line| mounts_dataset(line, dataset.as_str()))
        {
            let command = fs::read_to_string(process.join("comm")).unwrap_or_default();
            return Ok(Some(format!("{} (process {pid})", command.trim())));
        }
    }
    Ok(None)
}

/// Whether a line of mountinfo is about `dataset` itself: `… - zfs <source> <options>`, spaces as `\040`.
fn mounts_dataset(line: &str, dataset: &str) -> bool {
    let Some((_, file_system)) = line.split_once(" - ") else {
        return false;
    };
    let mut fields = file_system.split(' ');
    fields.next() == Some("zfs")
        && fields
            .next()
            .is_some_and(|source| source.replace("\\040", " ") == dataset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_recognised_by_its_source_and_not_by_part_of_it() {
        let line = r"36 35 0:41 / /mnt/my\040web rw,noatime shared:1 - zfs tank/containers/my\040web rw,xattr";
        assert!(mounts_dataset(line, "tank/containers/my web"));
        assert!(!mounts_dataset(line, "tank/containers/my"));
        assert!(!mounts_dataset(
            &line.replace("- zfs", "- ext4"),
            "tank/containers/my web"
        ));
        assert!(!mounts_dataset("", "tank"));
    }

    #[test]
    fn a_dataset_that_nobody_has_mounted_is_mounted_by_nobody() {
        let dataset = DatasetName::new("no-such-pool/no-such-dataset").unwrap();
        assert_eq!(mounted_by(&dataset).unwrap(), None);
    }
}
