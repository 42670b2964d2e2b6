//! The id map that a point's files have on disk.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::property;

/// The longest backup.yaml that is read, in bytes: snapshots each take some kilobytes in it.
pub(crate) const LONGEST: usize = 16 << 20;

/// The part of LXD's backup.yaml that is of interest. LXD writes `container:`, and `instance:` since 5.21; both
/// hold the config as it was when the file was written.
#[derive(Deserialize)]
struct BackupFile {
    #[serde(alias = "instance")]
    container: Option<Described>,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    config: BTreeMap<String, String>,
}

/// The id map in the text of a backup.yaml; `None` if it has none or is no backup.yaml.
pub(crate) fn from_backup_yaml(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let file: BackupFile = serde_yaml_ng::from_str(text).ok()?;
    let map = file.container?.config.remove(property::LXD_IDMAP)?;
    (!map.is_empty()).then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_the_instances_own_and_not_that_of_one_of_its_snapshots() {
        let text = br#"container:
  architecture: x86_64
  config:
    image.os: busybox
    volatile.last_state.idmap: '[{"Isuid":true,"Hostid":1000000}]'
  devices: {}
pool:
  config:
    source: tank
snapshots:
- config:
    volatile.last_state.idmap: '[]'
  name: x
"#;
        let map = from_backup_yaml(text);
        assert_eq!(map.as_deref(), Some(r#"[{"Isuid":true,"Hostid":1000000}]"#));
    }

    #[test]
    fn whatever_is_no_backup_file_has_no_map() {
        for text in [
            &b""[..],
            b"\xff",
            b"container: 1",
            b"container:\n  config: {}\n",
            b"[1, 2",
        ] {
            assert_eq!(from_backup_yaml(text), None);
        }
    }
}
