//! The commands of the guest, and the check that this is the guest.

use std::ffi::OsStr;
use std::path::Path;

use crate::process::{Finished, Run, run};

/// What only the guest has (see `testbed/image`).
const MARKER: &str = "/etc/terrarium-testbed";

/// Refuses to go on outside the throwaway guest: the tests create pools and delete
/// instances, which nobody's own machine should suffer.
///
/// # Panics
/// Outside the guest.
#[track_caller]
pub fn assert_in_guest() {
    assert!(
        Path::new(MARKER).exists(),
        "{MARKER} is missing, so this is not the testbed's guest: \
         the end-to-end tests run there only; start them with `make e2e`"
    );
}

/// Runs `lxc`, which must succeed, and gives its standard output.
///
/// # Panics
/// If it fails, or outside the guest.
#[track_caller]
pub fn lxc(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    guest_command("lxc", arguments).finish().succeeds().stdout
}

/// Runs `zfs`, which must succeed, and gives its standard output.
///
/// # Panics
/// If it fails, or outside the guest.
#[track_caller]
pub fn zfs(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    guest_command("zfs", arguments).finish().succeeds().stdout
}

/// Runs `zpool`, which must succeed, and gives its standard output.
///
/// # Panics
/// If it fails, or outside the guest.
#[track_caller]
pub fn zpool(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    guest_command("zpool", arguments).finish().succeeds().stdout
}

/// Runs the terrariumctl that was built for the tests; it may fail.
///
/// # Panics
/// If it cannot be run, hangs, or outside the guest.
#[track_caller]
#[must_use = "a failure goes unseen; `succeeds` and `fails_with` look at it"]
pub fn terrariumctl(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Finished {
    guest_command(binary("TERRARIUM_E2E_CTL"), arguments).finish()
}

/// The terrariumctl with the feature `fault-injection`, not yet started: the test
/// says by [`Run::env`] where it is to stop.
///
/// # Panics
/// Outside the guest.
#[track_caller]
pub fn faulty_terrariumctl(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
    guest_command(binary("TERRARIUM_E2E_CTL_FAULTY"), arguments)
}

#[track_caller]
fn guest_command(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Run {
    assert_in_guest();
    run(program).args(arguments)
}

#[track_caller]
fn binary(variable: &str) -> std::ffi::OsString {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} does not name the binary; `make e2e` sets it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "start them with `make e2e`")]
    fn the_tests_refuse_a_machine_that_is_not_the_guest() {
        zfs(["list"]);
    }
}
