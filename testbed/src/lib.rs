//! A virtual machine with real ZFS and real LXD that the end-to-end tests run in.
//!
//! `testbed/vm` makes and runs the machine; `testbed/e2e` compiles the tests on the
//! host and runs them inside. This library is what the tests are written with:
//!
//! - [`run`] starts any command; [`lxc`], [`zfs`] and [`zpool`] must succeed and give
//!   their standard output, [`terrariumctl`] gives the [`Finished`] command to look at;
//! - [`Instance`] is a container of its own for a test, [`Pool`] a pool of its own;
//! - [`wait_until`] waits for what happens by itself.
//!
//! And with what was captured in the machine once, fast tests do without it: a [`Stream`] is a send
//! stream of the kernel's ZFS, [`Truth`] is what a file system holds by the kernel's account.
//!
//! Whatever fails panics with the command line, the exit status and both outputs, so
//! that the log of a run in the machine is enough to understand a failure.
//!
//! ```no_run
//! use testbed::{Instance, terrariumctl, zfs};
//!
//! let instance = Instance::launch("rewind");
//! instance.write_file("/root/note", "before");
//! zfs(["snapshot", &format!("{}@by-hand", instance.dataset())]);
//! instance.write_file("/root/note", "after");
//!
//! terrariumctl(["backup", "restore", "--instance", instance.name(), "--start", "--yes"])
//!     .succeeds();
//! assert_eq!(instance.read_file("/root/note"), "before");
//! ```

mod guest;
mod instance;
mod mount;
mod pool;
mod process;
mod streams;
mod truth;
mod wait;

pub use guest::{assert_in_guest, faulty_terrariumctl, lxc, terrariumctl, zfs, zpool};
pub use instance::{Image, Instance, unique_name};
pub use mount::Mount;
pub use pool::Pool;
pub use process::{Finished, Run, Running, run};
pub use streams::{Continued, Stream};
pub use truth::Truth;
pub use wait::wait_until;

use std::sync::atomic::{AtomicUsize, Ordering};

/// A number that no other guard of this test process has, for names.
fn next_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Whether what the current, failing test made should be left for a look
/// (`TERRARIUM_KEEP`, set by `testbed/e2e --keep`).
fn keep_for_a_look() -> bool {
    std::thread::panicking() && std::env::var_os("TERRARIUM_KEEP").is_some()
}
