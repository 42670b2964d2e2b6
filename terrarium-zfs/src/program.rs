//! Channel programs: Lua that runs in the kernel, in one transaction group (zfs-program(8)).
#![allow(unsafe_code, reason = "calls libzfs_core")]

use std::ffi::CString;

use crate::error::{Attempt, Error};
use crate::handle::ZfsCore;
use crate::nvlist::{NvList, Value};

/// What a channel program may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Lua instructions.
    pub instructions: u64,
    /// Bytes of memory, the result included.
    pub memory: u64,
}

impl Limits {
    /// As much as the kernel allows unless its parameters were changed (`zfs_lua_max_instrlimit`,
    /// `zfs_lua_max_memlimit` of zfs(4)).
    pub const MAX: Limits = Limits {
        instructions: 100_000_000,
        memory: 100 << 20,
    };
}

/// As `zfs program` has them: 10 million instructions, 10 MiB.
impl Default for Limits {
    fn default() -> Self {
        Self {
            instructions: 10_000_000,
            memory: 10 << 20,
        }
    }
}

impl ZfsCore {
    /// Runs a channel program that may change the pool; it returns when that is on disk.
    ///
    /// The arguments are the program's `...`, a table; what it returns stands in the result under
    /// `return`. The pool's other changes wait while it runs. Needs root.
    ///
    /// # Errors
    /// [`Error::Program`] with Lua's message if the program is wrong, fails, or exceeds a limit.
    /// What it did before it failed *stays done*, unless it was a syntax error. The kernel also
    /// answers so, with "Could not open pool", if the pool has no space left.
    /// [`Error::NotFound`] if there is no such pool; [`Error::ReadOnly`]; [`Error::Suspended`];
    /// [`Error::InvalidArgument`] if a limit is zero or above what the kernel allows.
    pub fn channel_program(
        &self,
        pool: &str,
        program: &str,
        limits: Limits,
        arguments: &NvList,
    ) -> Result<NvList, Error> {
        self.run(
            self.library.lzc_channel_program,
            pool,
            program,
            limits,
            arguments,
        )
    }

    /// Runs a channel program that changes nothing, without waiting for a transaction group.
    ///
    /// The functions of `zfs.check` check *less* here: `zfs.check.promote`, for one, finds neither
    /// conflicts nor busy snapshots. Each run is written to the pool's history, program text
    /// included; on a pool imported read-only none runs. Needs root.
    ///
    /// # Errors
    /// As [`ZfsCore::channel_program`]; calling `zfs.sync` is an error of the program.
    pub fn channel_program_nosync(
        &self,
        pool: &str,
        program: &str,
        limits: Limits,
        arguments: &NvList,
    ) -> Result<NvList, Error> {
        self.run(
            self.library.lzc_channel_program_nosync,
            pool,
            program,
            limits,
            arguments,
        )
    }

    fn run(
        &self,
        call: ChannelProgram,
        pool: &str,
        program: &str,
        limits: Limits,
        arguments: &NvList,
    ) -> Result<NvList, Error> {
        let refused = |_| Error::InvalidArgument(Attempt::new(OPERATION, pool));
        let c_pool = CString::new(pool).map_err(refused)?;
        let c_program = CString::new(program).map_err(refused)?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the library is initialised; texts and list outlive the call, which keeps none;
        // `raw` takes the address of a new list or stays null.
        let errno = unsafe {
            let (pool, program) = (c_pool.as_ptr(), c_program.as_ptr());
            call(
                pool,
                program,
                limits.instructions,
                limits.memory,
                arguments.as_ptr(),
                &mut raw,
            )
        };
        let result = if raw.is_null() {
            NvList::new()?
        } else {
            NvList::adopt(self.nvpair, raw, 0)?
        };
        program_result(pool, errno, result)
    }
}

/// The answer of a channel program: an error number, and a list with the result or with Lua's message.
///
/// # Errors
/// As [`ZfsCore::channel_program`].
pub fn program_result(pool: &str, errno: i32, result: NvList) -> Result<NvList, Error> {
    let message = match result.value("error") {
        Some(Value::Str(text)) => Some(text.to_string_lossy().into_owned()),
        Some(other) => Some(format!("{other:?}")),
        None => None,
    };
    let limit = match errno {
        0 => return Ok(result),
        libc::ETIME => Some("it took more instructions than allowed"),
        libc::ENOSPC => Some("it took more memory than allowed"),
        libc::ENOMEM => Some("its result is larger than allowed"),
        _ => None,
    };
    match message.or(limit.map(str::to_owned)) {
        Some(message) => Err(Error::Program {
            attempt: Attempt::new(OPERATION, pool),
            message,
        }),
        None => Err(Error::from_errno(OPERATION, pool, errno)),
    }
}

const OPERATION: &str = "run a channel program on";

type ChannelProgram = unsafe extern "C" fn(
    *const std::ffi::c_char,
    *const std::ffi::c_char,
    u64,
    u64,
    *mut crate::ffi::RawList,
    *mut *mut crate::ffi::RawList,
) -> std::ffi::c_int;
