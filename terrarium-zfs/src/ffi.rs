//! libnvpair and libzfs_core, opened at run time.
//!
//! Signatures are those of sys/nvpair.h and libzfs_core.h of OpenZFS 2.1.11, compared with 2.0.0
//! and 2.3.0: the functions bound here have the same ones in all three, and the libraries the same
//! names (`libnvpair.so.3`, `libzfs_core.so.3`). Opening instead of linking lets one binary start,
//! and say what is missing, on a machine without ZFS.
#![allow(unsafe_code, reason = "declares and loads the C functions")]

use std::ffi::{c_char, c_int, c_uchar, c_uint};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::error::{Attempt, Error};

/// An `nvlist_t`; only ever handled by pointer.
#[repr(C)]
pub(crate) struct RawList {
    _opaque: [u8; 0],
}

/// An `nvpair_t`, owned by its list.
#[repr(C)]
pub(crate) struct RawPair {
    _opaque: [u8; 0],
}

/// `boolean_t`: an enumeration of 0 and 1, hence as wide as an int.
pub(crate) type Boolean = c_uint;

macro_rules! library {
    (
        $(#[$doc:meta])*
        $name:ident from $soname:literal {
            $(fn $function:ident($($argument:ty),* $(,)?) $(-> $result:ty)?;)*
        }
    ) => {
        $(#[$doc])*
        pub(crate) struct $name {
            $(pub(crate) $function: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl $name {
            const SONAME: &str = $soname;

            fn load() -> Result<Self, libloading::Error> {
                // SAFETY: opening runs the library's initialisers; those of libnvpair and
                // libzfs_core and of what they link (libc, libuuid, libblkid …) have no
                // preconditions.
                let library = unsafe { libloading::Library::new(Self::SONAME)? };
                let table = Self {
                    $($function: {
                        let name = concat!(stringify!($function), "\0");
                        // SAFETY: the declared type is the function's signature in the header (see
                        // the head of this file).
                        let symbol = unsafe {
                            library.get::<unsafe extern "C" fn($($argument),*) $(-> $result)?>(
                                name.as_bytes(),
                            )
                        };
                        *symbol?
                    },)*
                };
                // The functions must stay valid for as long as the process runs.
                std::mem::forget(library);
                Ok(table)
            }
        }
    };
}

library! {
    /// The functions of libnvpair that are used here.
    NvPair from "libnvpair.so.3" {
        fn nvlist_alloc(*mut *mut RawList, c_uint, c_int) -> c_int;
        fn nvlist_free(*mut RawList);
        fn nvlist_dup(*mut RawList, *mut *mut RawList, c_int) -> c_int;
        fn nvlist_pack(*mut RawList, *mut *mut c_char, *mut usize, c_int, c_int) -> c_int;
        fn nvlist_unpack(*mut c_char, usize, *mut *mut RawList, c_int) -> c_int;
        fn nvlist_add_boolean(*mut RawList, *const c_char) -> c_int;
        fn nvlist_add_boolean_value(*mut RawList, *const c_char, Boolean) -> c_int;
        fn nvlist_add_int32(*mut RawList, *const c_char, i32) -> c_int;
        fn nvlist_add_int64(*mut RawList, *const c_char, i64) -> c_int;
        fn nvlist_add_uint64(*mut RawList, *const c_char, u64) -> c_int;
        fn nvlist_add_string(*mut RawList, *const c_char, *const c_char) -> c_int;
        fn nvlist_add_nvlist(*mut RawList, *const c_char, *mut RawList) -> c_int;
        fn nvlist_add_byte_array(*mut RawList, *const c_char, *mut c_uchar, c_uint) -> c_int;
        fn nvlist_add_uint64_array(*mut RawList, *const c_char, *mut u64, c_uint) -> c_int;
        fn nvlist_add_string_array(
            *mut RawList, *const c_char, *const *mut c_char, c_uint,
        ) -> c_int;
        fn nvlist_lookup_nvpair(*mut RawList, *const c_char, *mut *mut RawPair) -> c_int;
        fn nvlist_next_nvpair(*mut RawList, *mut RawPair) -> *mut RawPair;
        fn nvpair_name(*mut RawPair) -> *mut c_char;
        fn nvpair_type(*mut RawPair) -> c_int;
        fn nvpair_value_boolean_value(*mut RawPair, *mut Boolean) -> c_int;
        fn nvpair_value_int32(*mut RawPair, *mut i32) -> c_int;
        fn nvpair_value_uint32(*mut RawPair, *mut u32) -> c_int;
        fn nvpair_value_int64(*mut RawPair, *mut i64) -> c_int;
        fn nvpair_value_uint64(*mut RawPair, *mut u64) -> c_int;
        fn nvpair_value_string(*mut RawPair, *mut *mut c_char) -> c_int;
        fn nvpair_value_nvlist(*mut RawPair, *mut *mut RawList) -> c_int;
        fn nvpair_value_byte_array(*mut RawPair, *mut *mut c_uchar, *mut c_uint) -> c_int;
        fn nvpair_value_uint64_array(*mut RawPair, *mut *mut u64, *mut c_uint) -> c_int;
        fn nvpair_value_string_array(*mut RawPair, *mut *mut *mut c_char, *mut c_uint) -> c_int;
    }
}

library! {
    /// The functions of libzfs_core that are used here.
    ///
    /// All but `libzfs_core_init` abort the process unless `libzfs_core_init` succeeded before.
    LibZfsCore from "libzfs_core.so.3" {
        fn libzfs_core_init() -> c_int;
        fn lzc_exists(*const c_char) -> Boolean;
        fn lzc_create(*const c_char, c_uint, *mut RawList, *mut u8, c_uint) -> c_int;
        fn lzc_clone(*const c_char, *const c_char, *mut RawList) -> c_int;
        fn lzc_promote(*const c_char, *mut c_char, c_int) -> c_int;
        fn lzc_rename(*const c_char, *const c_char) -> c_int;
        fn lzc_destroy(*const c_char) -> c_int;
        fn lzc_rollback(*const c_char, *mut c_char, c_int) -> c_int;
        fn lzc_rollback_to(*const c_char, *const c_char) -> c_int;
        fn lzc_snapshot(*mut RawList, *mut RawList, *mut *mut RawList) -> c_int;
        fn lzc_destroy_snaps(*mut RawList, Boolean, *mut *mut RawList) -> c_int;
        fn lzc_hold(*mut RawList, c_int, *mut *mut RawList) -> c_int;
        fn lzc_release(*mut RawList, *mut *mut RawList) -> c_int;
        fn lzc_get_holds(*const c_char, *mut *mut RawList) -> c_int;
        fn lzc_bookmark(*mut RawList, *mut *mut RawList) -> c_int;
        fn lzc_get_bookmarks(*const c_char, *mut RawList, *mut *mut RawList) -> c_int;
        fn lzc_destroy_bookmarks(*mut RawList, *mut *mut RawList) -> c_int;
        fn lzc_send(*const c_char, *const c_char, c_int, c_uint) -> c_int;
        fn lzc_send_resume(*const c_char, *const c_char, c_int, c_uint, u64, u64) -> c_int;
        fn lzc_snaprange_space(*const c_char, *const c_char, *mut u64) -> c_int;
        fn lzc_send_space(*const c_char, *const c_char, c_uint, *mut u64) -> c_int;
        fn lzc_receive_with_cmdprops(
            *const c_char, *mut RawList, *mut RawList, *mut u8, c_uint, *const c_char, Boolean,
            Boolean, Boolean, c_int, *const u8, c_int, *mut u64, *mut u64, *mut u64,
            *mut *mut RawList,
        ) -> c_int;
        fn lzc_channel_program(
            *const c_char, *const c_char, u64, u64, *mut RawList, *mut *mut RawList,
        ) -> c_int;
        fn lzc_channel_program_nosync(
            *const c_char, *const c_char, u64, u64, *mut RawList, *mut *mut RawList,
        ) -> c_int;
    }
}

impl LibZfsCore {
    /// The library, loaded and initialised: `/dev/zfs` is open from the first success on.
    pub(crate) fn get() -> Result<&'static Self, Error> {
        static TABLE: OnceLock<Result<LibZfsCore, String>> = OnceLock::new();
        static READY: Mutex<bool> = Mutex::new(false);

        let library = TABLE
            .get_or_init(|| LibZfsCore::load().map_err(|error| error.to_string()))
            .as_ref()
            .map_err(|reason| unavailable(Self::SONAME, reason))?;
        // A failed start is tried again at the next call: the module may be loaded by then.
        let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
        if !*ready {
            // SAFETY: no preconditions; it opens /dev/zfs.
            match unsafe { (library.libzfs_core_init)() } {
                0 => *ready = true,
                libc::EACCES | libc::EPERM => {
                    return Err(Error::PermissionDenied(Attempt::new("open", DEVICE)));
                }
                errno => {
                    let reason = nix::errno::Errno::from_raw(errno).desc();
                    return Err(unavailable(DEVICE, reason));
                }
            }
        }
        Ok(library)
    }
}

const DEVICE: &str = "/dev/zfs";

impl NvPair {
    /// The library, loaded at the first call.
    pub(crate) fn get() -> Result<&'static Self, Error> {
        static TABLE: OnceLock<Result<NvPair, String>> = OnceLock::new();
        TABLE
            .get_or_init(|| NvPair::load().map_err(|error| error.to_string()))
            .as_ref()
            .map_err(|reason| unavailable(Self::SONAME, reason))
    }
}

fn unavailable(soname: &str, reason: &str) -> Error {
    Error::Unavailable {
        attempt: Attempt::new("open", soname),
        reason: reason.to_owned(),
    }
}
