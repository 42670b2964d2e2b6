//! Where a dataset is mounted, in whatever mount namespace.
//!
//! The `mounted` property tells of one namespace only. A dataset that stays mounted in another one (a snap's,
//! a container's that did not end) can still be written to, so it must not be moved aside.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use terrarium_zfs::DatasetName;

/// Where `dataset` is mounted, as `on this host at <path>` or `in the mount namespace of <name> (process <n>) at
/// <path>`; `None` if it is not.
///
/// Reads `/proc/<pid>/mountinfo` (proc_pid_mountinfo(5)) once for each namespace. Processes that end meanwhile
/// are passed over.
///
/// # Errors
/// [`io::Error`] if `/proc` cannot be read.
pub(crate) fn mounted_at(dataset: &DatasetName) -> io::Result<Option<String>> {
    let of_host = fs::read_link("/proc/1/ns/mnt").ok();
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
        let Ok(namespace) = fs::read_link(process.join("ns/mnt")) else {
            continue;
        };
        if !seen.insert(namespace.clone()) {
            continue;
        }
        let Ok(mounts) = fs::read_to_string(process.join("mountinfo")) else {
            continue;
        };
        let path = mounts
            .lines()
            .find_map(|line| mount_point(line, dataset.as_str()));
        if let Some(path) = path {
            let whose = if of_host.as_ref() == Some(&namespace) {
                "on this host".to_owned()
            } else {
                let command = fs::read_to_string(process.join("comm")).unwrap_or_default();
                let command = command.trim();
                format!("in the mount namespace of {command} (process {pid})")
            };
            return Ok(Some(format!("{whose} at {path}")));
        }
    }
    Ok(None)
}

/// Where a line of mountinfo mounts `dataset` itself: `<id> <id> <device> <root> <mount point> … - zfs <source>
/// <options>`, spaces as `\040`.
fn mount_point(line: &str, dataset: &str) -> Option<String> {
    let plain = |field: &str| field.replace("\\040", " ");
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = file_system.split(' ');
    if fields.next() != Some("zfs") || plain(fields.next()?) != dataset {
        return None;
    }
    mount.split(' ').nth(4).map(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_recognised_by_its_source_and_not_by_part_of_it() {
        let line = r"36 35 0:41 / /mnt/my\040web rw,noatime shared:1 - zfs tank/containers/my\040web rw,xattr";
        let at = |line: &str, dataset: &str| mount_point(line, dataset);
        assert_eq!(
            at(line, "tank/containers/my web").as_deref(),
            Some("/mnt/my web")
        );
        assert_eq!(at(line, "tank/containers/my"), None);
        let other = line.replace("- zfs", "- ext4");
        assert_eq!(at(&other, "tank/containers/my web"), None);
        assert_eq!(at("", "tank"), None);
    }

    #[test]
    fn a_dataset_that_nobody_has_mounted_is_mounted_nowhere() {
        let dataset = DatasetName::new("no-such-pool/no-such-dataset").unwrap();
        assert_eq!(mounted_at(&dataset).unwrap(), None);
    }
}
