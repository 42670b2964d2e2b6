//! The handle that all calls go through, and what the calls have in common.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use terrarium_zfs::engine::Programs;
use terrarium_zfs::nvlist::{NvList, NvListRef};
use terrarium_zfs::{Attempt, Error, PoolHealth, PoolState};

use crate::open::Options;
use crate::process::{Process, Silence};

/// What the process refuses before it asks ZFS (`enum refusal` of c/engine.h).
pub(crate) mod refusal {
    pub(crate) const NEEDS_LARGE_BLOCKS: i32 = 4001;
    pub(crate) const NO_POOL: i32 = 4002;
    pub(crate) const LOCKED: i32 = 4003;
    pub(crate) const NO_FILESYSTEM: i32 = 4005;
}

/// OpenZFS on a pool file, in a process of its own.
///
/// Cheap to clone, and usable from several threads at once; the last clone that is dropped closes the
/// pool. Every call blocks until it is done, or its limit is over; one that changes something returns
/// when the change is on disk.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    process: Arc<Process>,
    pool: String,
    options: Options,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.process.hang_up(self.options.call_limit);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("pool", &self.inner.pool)
            .finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(process: Arc<Process>, pool: String, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                process,
                pool,
                options,
            }),
        }
    }

    /// The name of the pool.
    pub fn pool(&self) -> &str {
        &self.inner.pool
    }

    /// The number of the process.
    pub fn process_id(&self) -> u32 {
        self.inner.process.id()
    }

    /// Closes the pool and ends the process; calls of clones fail from then on.
    ///
    /// It waits for calls that are under way.
    ///
    /// # Errors
    /// [`Error::Busy`] if a dataset is still occupied: then the pool stays open.
    pub fn close(&self) -> Result<(), Error> {
        let request = NvList::new()?;
        self.call("close-pool", "close", self.pool(), request)?;
        self.inner.process.hang_up(self.inner.options.call_limit);
        Ok(())
    }

    /// The state of a pool.
    ///
    /// # Errors
    /// [`Error::NotFound`] if that is not the pool of this engine.
    pub fn pool_health(&self, pool: &str) -> Result<PoolHealth, Error> {
        let operation = "examine pool";
        if pool != self.pool() {
            return Err(Error::NotFound(Attempt::new(operation, pool)));
        }
        let mut request = NvList::new()?;
        request.add_str("pool", pool)?;
        let answer = self.call("pool-health", operation, pool, request)?;
        Ok(PoolHealth::new(
            PoolState::parse(&text(&answer, "state").unwrap_or_default()),
            number(answer.view(), "readonly") != 0,
            number(answer.view(), "free"),
        ))
    }

    /// A call whose error numbers have no meaning of their own.
    pub(crate) fn call(
        &self,
        op: &str,
        operation: &'static str,
        object: &str,
        request: NvList,
    ) -> Result<NvList, Error> {
        let answer = self.ask(op, operation, object, request, None)?;
        match errno(&answer) {
            0 => Ok(answer),
            error => Err(error_of(operation, object, error)),
        }
    }

    /// A call whose error number the caller reads.
    pub(crate) fn ask(
        &self,
        op: &str,
        operation: &'static str,
        object: &str,
        request: NvList,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<NvList, Error> {
        let limit = self.limit(fd.is_some());
        let asked = self.inner.process.ask(op, request, fd, limit);
        asked.map_err(|error| silence(operation, object, error))
    }

    fn limit(&self, is_stream: bool) -> Duration {
        if is_stream {
            self.inner.options.stream_limit
        } else {
            self.inner.options.call_limit
        }
    }
}

impl Programs for Engine {
    fn run_synchronous(
        &self,
        pool: &str,
        program: &str,
        arguments: &NvList,
    ) -> Result<NvList, Error> {
        let operation = "run a channel program on";
        let mut request = NvList::new()?;
        request.add_str("pool", pool)?;
        request.add_str("program", program)?;
        request.add_list("arguments", arguments)?;
        let answer = self.ask("program", operation, pool, request, None)?;
        let result = answer.value("result").and_then(|result| result.list());
        let result = result.map_or_else(NvList::new, copy)?;
        terrarium_zfs::engine::program_result(pool, errno(&answer), result)
    }
}

/// The error of an object whose call gives no number a meaning of its own.
pub(crate) fn error_of(operation: &'static str, object: &str, errno: i32) -> Error {
    match errno {
        // A checksum does not fit (`ECKSUM`, which has this number on Linux).
        libc::EBADE => Error::Io {
            attempt: Attempt::new(operation, object),
            errno: libc::EIO,
        },
        refusal::NO_FILESYSTEM => Error::NotSupported(Attempt::new(operation, object)),
        libc::ENOTDIR | libc::EISDIR => Error::InvalidArgument(Attempt::new(operation, object)),
        errno => Error::from_errno(operation, object, errno),
    }
}

pub(crate) fn silence(operation: &'static str, object: &str, silence: Silence) -> Error {
    let attempt = Attempt::new(operation, object);
    match silence {
        Silence::TimedOut => Error::TimedOut(attempt),
        Silence::Ended(reason) => Error::EngineLost { attempt, reason },
        Silence::Request(error) => error,
    }
}

pub(crate) fn errno(answer: &NvList) -> i32 {
    let errno = answer.value("errno").and_then(|errno| errno.integer());
    errno
        .and_then(|errno| errno.try_into().ok())
        .unwrap_or(libc::EPROTO)
}

pub(crate) fn text(answer: &NvList, name: &str) -> Option<String> {
    answer.value(name)?.text()
}

/// A number that is always there.
pub(crate) fn number(list: NvListRef<'_>, name: &str) -> u64 {
    match list.value(name) {
        Some(terrarium_zfs::nvlist::Value::U64(number)) => number,
        _ => 0,
    }
}

/// What a channel program returned, out of the answer it came in.
fn copy(list: NvListRef<'_>) -> Result<NvList, Error> {
    list.to_owned_list()
}
