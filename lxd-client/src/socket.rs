//! Where LXD's socket is, in the order in which LXD's and Incus's own clients look.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The sockets to try, first to last, for an environment.
///
/// A variable that is set and not empty decides alone: `LXD_SOCKET`, `LXD_DIR`, `INCUS_SOCKET`, `INCUS_DIR`. Without
/// any, the places are those of LXD's snap, of LXD from a distribution, and of Incus.
pub fn candidates(env: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let set = |name| env(name).filter(|value| !value.is_empty());
    for (socket, dir) in [("LXD_SOCKET", "LXD_DIR"), ("INCUS_SOCKET", "INCUS_DIR")] {
        if let Some(path) = set(socket) {
            return vec![PathBuf::from(path)];
        }
        if let Some(dir) = set(dir) {
            return vec![Path::new(&dir).join("unix.socket")];
        }
    }
    [
        "/var/snap/lxd/common/lxd/unix.socket",
        "/var/lib/lxd/unix.socket",
        "/run/incus/unix.socket",
        "/var/lib/incus/unix.socket",
    ]
    .map(PathBuf::from)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Vec<String> {
        let found = candidates(|name| {
            let hit = variables.iter().find(|(known, _)| *known == name);
            hit.map(|(_, value)| OsString::from(value))
        });
        found
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn without_variables_the_snap_comes_before_the_distribution_and_lxd_before_incus() {
        assert_eq!(
            with(&[]),
            [
                "/var/snap/lxd/common/lxd/unix.socket",
                "/var/lib/lxd/unix.socket",
                "/run/incus/unix.socket",
                "/var/lib/incus/unix.socket",
            ]
        );
    }

    #[test]
    fn a_variable_decides_alone_and_the_socket_goes_before_the_directory() {
        assert_eq!(with(&[("LXD_DIR", "/srv/lxd")]), ["/srv/lxd/unix.socket"]);
        assert_eq!(
            with(&[("INCUS_DIR", "/srv/incus")]),
            ["/srv/incus/unix.socket"]
        );
        assert_eq!(
            with(&[
                ("LXD_DIR", "/srv/lxd"),
                ("LXD_SOCKET", "/tmp/s"),
                ("INCUS_SOCKET", "/tmp/i")
            ]),
            ["/tmp/s"]
        );
        assert_eq!(
            with(&[("INCUS_SOCKET", "/tmp/i"), ("INCUS_DIR", "/srv")]),
            ["/tmp/i"]
        );
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        assert_eq!(
            with(&[("LXD_SOCKET", ""), ("LXD_DIR", "/d")]),
            ["/d/unix.socket"]
        );
        assert_eq!(with(&[("LXD_SOCKET", ""), ("LXD_DIR", "")]).len(), 4);
    }
}
