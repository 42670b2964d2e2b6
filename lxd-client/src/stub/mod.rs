//! An LXD for tests: the same API on a real unix socket, its database in memory, its storage whatever a test puts there.
//!
//! It behaves as LXD 5.0.2 was seen to behave where that matters to a client: what is asynchronous and what is not,
//! which failures come at once and which from the operation, what LXD does on the storage at which moment, what it
//! puts into `volatile.*`. `conformance` holds both to the same.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use std::sync::Arc;
//! use lxd_client::stub::{NoStorage, Stub};
//! use lxd_client::{Client, Instance};
//!
//! let stub = Stub::start(Arc::new(NoStorage)).await;
//! let mut instance = Instance::default();
//! instance.name = "c1".to_owned();
//! stub.add_instance("default", instance, true);
//!
//! let client = Client::connect_to(stub.socket()).await?;
//! assert!(client.instance("c1").await?.value.is_running());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod exec;
mod faults;
mod instances;
mod invent;
mod operations;
mod projects;
mod routes;
mod rules;
mod server;
mod snapshots;
mod state;
mod world;

use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::ExecOutput;
use crate::wire::{Instance, Profile, Project, StoragePool};
use faults::{Fault, Outcome};
use server::Lxd;
use world::World;

/// What LXD does on its storage, called at the moments when LXD does it.
///
/// Errors are messages; the operation that runs into one fails with it.
pub trait StubStorage: Send + Sync + 'static {
    /// Makes an instance's empty volume.
    ///
    /// # Errors
    /// If something is there already. LXD then deletes what is there.
    fn create_volume(&self, project: &str, instance: &str) -> Result<(), String>;
    /// Deletes an instance's volume with all its snapshots; nothing to do if it is absent.
    ///
    /// # Errors
    /// If it cannot be deleted.
    fn delete_volume(&self, project: &str, instance: &str) -> Result<(), String>;
    /// Renames an instance's volume.
    ///
    /// # Errors
    /// If it is absent, or the other name is taken.
    fn rename_volume(&self, project: &str, from: &str, to: &str) -> Result<(), String>;
    /// Snapshots an instance's volume.
    ///
    /// # Errors
    /// If the volume is absent, or has a snapshot of that name.
    fn create_snapshot(&self, project: &str, instance: &str, snapshot: &str) -> Result<(), String>;
    /// Deletes a snapshot of an instance's volume; nothing to do if it is absent.
    ///
    /// # Errors
    /// If it cannot be deleted.
    fn delete_snapshot(&self, project: &str, instance: &str, snapshot: &str) -> Result<(), String>;
    /// Mounts an instance's volume for its start.
    ///
    /// # Errors
    /// If it is absent or empty.
    fn start(&self, project: &str, instance: &str) -> Result<(), String>;
    /// Unmounts an instance's volume after its stop.
    ///
    /// # Errors
    /// If it is busy.
    fn stop(&self, project: &str, instance: &str) -> Result<(), String>;
}

/// A storage where everything succeeds and nothing is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStorage;

impl StubStorage for NoStorage {
    fn create_volume(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn delete_volume(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn rename_volume(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn create_snapshot(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn delete_snapshot(&self, _: &str, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn start(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
    fn stop(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// A running stub. Dropping it ends it and removes its socket.
#[derive(Debug)]
pub struct Stub {
    socket: PathBuf,
    lxd: Lxd,
    listener: JoinHandle<()>,
    _dir: TempDir,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Stub {
    /// Starts an LXD with the project `default`, the pool `default` (driver `zfs`, dataset `tank`) and the profile
    /// `default` (a network interface `eth0`, the root disk on that pool).
    ///
    /// It serves on the tokio runtime that this is called on.
    ///
    /// # Panics
    /// If there is no place for the socket.
    pub async fn start(storage: Arc<dyn StubStorage>) -> Stub {
        let dir = tempfile::Builder::new()
            .prefix("lxd-stub-")
            .tempdir()
            .expect("a temporary directory for the stub's socket");
        let socket = dir.path().join("unix.socket");
        let lxd = Lxd::new(World::new(), storage);
        let listener = server::listen(&socket, lxd.clone()).expect("the stub's socket");
        Stub {
            socket,
            lxd,
            listener,
            _dir: dir,
        }
    }

    /// The socket to connect to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Adds a project, or replaces it.
    pub fn add_project(&self, project: Project) {
        let name = project.name.clone();
        self.world().projects.insert(name, project);
    }

    /// Adds a profile to a project, or replaces it.
    pub fn add_profile(&self, project: &str, profile: Profile) {
        let key = (project.to_owned(), profile.name.clone());
        self.world().profiles.insert(key, profile);
    }

    /// Adds a storage pool, or replaces it.
    pub fn add_pool(&self, pool: StoragePool) {
        let name = pool.name.clone();
        self.world().pools.insert(name, pool);
    }

    /// Adds an instance that is there already, or replaces it. Its volume is taken for granted: the storage is not
    /// asked.
    ///
    /// What is missing is filled in as LXD would have: type, architecture, creation, `volatile.*`.
    pub fn add_instance(&self, project: &str, instance: Instance, running: bool) {
        self.world().adopt(project, instance, running);
        self.lxd.changed();
    }

    /// An instance as a client would see it, with its snapshots.
    pub fn instance(&self, project: &str, name: &str) -> Option<Instance> {
        let world = self.world();
        let guest = world.guest(project, name)?;
        Some(world.render_full(guest))
    }

    /// All requests so far, oldest first: `PUT /1.0/instances/c1/state`, with the query if there was one.
    pub fn requests(&self) -> Vec<String> {
        self.world().requests.clone()
    }

    /// The next request with this method, and this text in its address, is refused; nothing is done.
    pub fn fail_next(&self, method: &str, path_contains: &str, status: u16, message: &str) {
        let message = message.to_owned();
        self.fault(method, path_contains, Outcome::Refuse { status, message });
    }

    /// The next operation begun by such a request fails; nothing is done.
    pub fn fail_operation_next(&self, method: &str, path_contains: &str, message: &str) {
        self.fault(
            method,
            path_contains,
            Outcome::FailOperation(message.to_owned()),
        );
    }

    /// The next such request is carried out, but its answer never arrives: the connection is cut.
    pub fn drop_reply_next(&self, method: &str, path_contains: &str) {
        self.fault(method, path_contains, Outcome::DropReply);
    }

    /// Such requests, or the operations that they begin, take this much longer from now on.
    pub fn set_delay(&self, method: &str, path_contains: &str, delay: Duration) {
        self.world()
            .delays
            .push((method.to_owned(), path_contains.to_owned(), delay));
    }

    /// The instances of that name (in any project) ignore a request to shut down, or heed it again. Force works.
    pub fn ignore_graceful_stop(&self, instance: &str, ignore: bool) {
        let mut world = self.world();
        if ignore {
            world.stubborn.insert(instance.to_owned());
        } else {
            world.stubborn.remove(instance);
        }
    }

    /// What commands run in instances answer; an error fails the operation with that message. Without this every
    /// command succeeds and prints nothing.
    pub fn answer_exec(
        &self,
        answer: impl Fn(&[String]) -> Result<ExecOutput, String> + Send + Sync + 'static,
    ) {
        self.world().exec = Arc::new(answer);
    }

    /// Forgets all operations, as LXD does some seconds after their end or when it restarts.
    pub fn forget_operations(&self) {
        self.world().operations.clear();
        self.lxd.changed();
    }

    fn fault(&self, method: &str, path_contains: &str, outcome: Outcome) {
        self.world().faults.push(Fault {
            method: method.to_owned(),
            path_contains: path_contains.to_owned(),
            outcome,
        });
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.lxd.world()
    }
}
