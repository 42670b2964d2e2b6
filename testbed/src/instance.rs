//! An LXD container of a test's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::time::Duration;

use crate::guest::lxc;
use crate::mount::Mount;
use crate::process::{Finished, Run, run};
use crate::{keep_for_a_look, next_number};

/// The storage pool's dataset that LXD keeps containers in.
const CONTAINERS: &str = "tank/containers";

/// The container images of the guest: busybox and nothing else, a megabyte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// Stops at once when asked to.
    Busybox,
    /// Ignores the request to stop, as a hung system does; only force ends it.
    Stubborn,
}

impl Image {
    /// The image's alias in LXD.
    #[must_use]
    pub fn alias(self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Stubborn => "stubborn",
        }
    }
}

/// A container with a name of its own, deleted with force when dropped (see
/// `TERRARIUM_KEEP`).
#[derive(Debug)]
pub struct Instance {
    name: String,
}

impl Instance {
    /// Makes and starts a container of the well-behaved image. `stem` begins its name.
    ///
    /// # Panics
    /// If LXD cannot do it.
    #[track_caller]
    #[must_use]
    pub fn launch(stem: &str) -> Self {
        let instance = Self::create(stem, Image::Busybox);
        instance.start();
        instance
    }

    /// Makes a container and leaves it stopped, for tests that configure it first.
    ///
    /// # Panics
    /// If LXD cannot do it.
    #[track_caller]
    #[must_use]
    pub fn create(stem: &str, image: Image) -> Self {
        let instance = Self::adopt(unique_name(stem));
        lxc(["init", image.alias(), instance.name()]);
        instance
    }

    /// Takes charge of an instance that something else makes or has made, such as a
    /// restore as new, so that it is deleted in the end. See [`unique_name`].
    #[must_use]
    pub fn adopt(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// The instance's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The full name of its dataset.
    #[must_use]
    pub fn dataset(&self) -> String {
        format!("{CONTAINERS}/{}", self.name)
    }

    /// Starts it.
    ///
    /// # Panics
    /// If LXD cannot do it.
    #[track_caller]
    pub fn start(&self) {
        lxc(["start", &self.name]);
    }

    /// Ends it without asking.
    ///
    /// # Panics
    /// If LXD cannot do it.
    #[track_caller]
    pub fn stop_by_force(&self) {
        lxc(["stop", "--force", &self.name]);
    }

    /// Asks it to stop, and waits that long for it; LXD fails if it does not.
    #[track_caller]
    #[must_use = "a failure goes unseen; `succeeds` and `fails_with` look at it"]
    pub fn stop_gracefully(&self, timeout: Duration) -> Finished {
        run("lxc")
            .args([
                "stop",
                &self.name,
                "--timeout",
                &timeout.as_secs().to_string(),
            ])
            .finish()
    }

    /// Its state as LXD spells it: `RUNNING`, `STOPPED`.
    ///
    /// # Panics
    /// If LXD does not know the instance.
    #[track_caller]
    #[must_use]
    pub fn state(&self) -> String {
        lxc([
            "list",
            "--format=csv",
            "--columns=s",
            &format!("^{}$", self.name),
        ])
        .trim()
        .to_owned()
    }

    /// One key of its own configuration; empty if it is not set.
    ///
    /// # Panics
    /// If LXD does not know the instance.
    #[track_caller]
    #[must_use]
    pub fn config(&self, key: &str) -> String {
        lxc(["config", "get", &self.name, key])
            .trim_end()
            .to_owned()
    }

    /// Sets one key of its own configuration.
    ///
    /// # Panics
    /// If LXD refuses.
    #[track_caller]
    pub fn set_config(&self, key: &str, value: &str) {
        lxc(["config", "set", &self.name, &format!("{key}={value}")]);
    }

    /// A shell script to run inside, as root; the container must be running.
    pub fn sh(&self, script: &str) -> Run {
        run("lxc").args(["exec", "-T", &self.name, "--", "sh", "-c", script])
    }

    /// Writes a file inside, owned by whom its directory belongs to; the container may be
    /// stopped.
    ///
    /// Not by `lxc file push`: after that LXD keeps the container mounted for 15 s.
    ///
    /// # Panics
    /// If it cannot be written.
    #[track_caller]
    pub fn write_file(&self, path: &str, content: impl AsRef<[u8]>) {
        let mount = Mount::of(&self.dataset());
        let file = inside(&mount, path);
        let written = fs::write(&file, content).and_then(|()| {
            let owner = fs::metadata(file.parent().expect("it is in a directory"))?;
            chown(&file, Some(owner.uid()), Some(owner.gid()))
        });
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// Reads a file inside; the container may be stopped.
    ///
    /// # Panics
    /// If it cannot be read.
    #[track_caller]
    #[must_use]
    pub fn read_file(&self, path: &str) -> String {
        let mount = Mount::of(&self.dataset());
        let file = inside(&mount, path);
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }
}

/// Where a path of a container is in its dataset.
fn inside(mount: &Mount, path: &str) -> PathBuf {
    mount
        .path()
        .join("rootfs")
        .join(path.trim_start_matches('/'))
}

impl Drop for Instance {
    #[allow(clippy::print_stderr, reason = "tells the person at the test run")]
    fn drop(&mut self) {
        if keep_for_a_look() {
            eprintln!("kept: instance {}, dataset {}", self.name, self.dataset());
            return;
        }
        let deleted = run("lxc").args(["delete", "--force", &self.name]).finish();
        if deleted.code() != Some(0) {
            eprintln!("not cleaned up: {deleted}");
        }
    }
}

/// A name that no other instance has, for one that the code under test is to make.
#[must_use]
pub fn unique_name(stem: &str) -> String {
    format!("{stem}-{}-{}", std::process::id(), next_number())
}
