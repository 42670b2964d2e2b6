//! Name-value lists: the form in which libzfs_core takes arguments and gives results.
//!
//! [`NvList`] owns a list of libnvpair, [`NvListRef`] borrows one that lies in another. Keys are
//! unique. Reading yields [`Value`]s that borrow from the list.
//!
//! ```no_run
//! use terrarium_zfs::nvlist::{NvList, Value};
//!
//! let mut list = NvList::new()?;
//! list.add_u64("quota", 1 << 30)?;
//! list.add_str("note", "a text")?;
//! assert_eq!(list.value("quota"), Some(Value::U64(1 << 30)));
//! # Ok::<(), terrarium_zfs::Error>(())
//! ```
#![allow(
    unsafe_code,
    reason = "wraps libnvpair's lists in owned and borrowed types"
)]

mod read;

use std::ffi::{CString, c_char, c_int, c_uint};
use std::fmt;
use std::ptr::{self, NonNull};

use crate::error::{Attempt, Error};
use crate::ffi::{NvPair, RawList};
use crate::stream::is_well_formed;

pub use read::{Iter, NvListRef, Value};

/// `NV_UNIQUE_NAME`: adding a pair replaces the one of that name, of whatever type.
const UNIQUE_NAME: c_uint = 1;
/// `NV_ENCODE_NATIVE`.
const ENCODE_NATIVE: c_int = 0;
/// `NV_ENCODE_XDR`.
#[cfg(test)]
const ENCODE_XDR: c_int = 1;

/// An owned list.
pub struct NvList {
    library: &'static NvPair,
    raw: NonNull<RawList>,
}

// SAFETY: a list is plain heap memory without ties to a thread; every function of libnvpair used
// here touches that list only. (It is not `Sync`: even reading moves a cursor inside the list.)
unsafe impl Send for NvList {}

impl NvList {
    /// An empty list.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if libnvpair is not installed.
    pub fn new() -> Result<Self, Error> {
        let library = NvPair::get()?;
        let mut raw = ptr::null_mut();
        // SAFETY: `raw` is a valid place for the new list's address.
        let errno = unsafe { (library.nvlist_alloc)(&mut raw, UNIQUE_NAME, 0) };
        Self::adopt(library, raw, errno)
    }

    /// Reads a list from its packed form, as `nvlist_pack` makes it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the bytes are no packed list, or lists lie in lists more than 16 deep.
    pub fn unpack(packed: &[u8]) -> Result<Self, Error> {
        let library = NvPair::get()?;
        // libnvpair alone would follow texts out of the list.
        if !is_well_formed(packed) {
            return Err(Error::InvalidArgument(Attempt::new("build", "nvlist")));
        }
        // libnvpair aligns its reads to 8 bytes from the start of the buffer.
        let mut words = vec![0u64; packed.len().div_ceil(8)];
        // SAFETY: `words` has at least `packed.len()` bytes, does not overlap `packed`, and any
        // bytes are valid words.
        unsafe {
            ptr::copy_nonoverlapping(packed.as_ptr(), words.as_mut_ptr().cast(), packed.len());
        }
        let mut raw = ptr::null_mut();
        // SAFETY: the buffer is readable for `packed.len()` bytes and outlives the call, which
        // copies; `raw` is a valid place for the new list's address.
        let errno = unsafe {
            (library.nvlist_unpack)(words.as_mut_ptr().cast(), packed.len(), &mut raw, 0)
        };
        Self::adopt(library, raw, errno)
    }

    /// The packed form, in this machine's byte order.
    ///
    /// # Errors
    /// [`Error::Other`] if memory runs out.
    pub fn pack(&self) -> Result<Vec<u8>, Error> {
        self.pack_as(ENCODE_NATIVE)
    }

    /// The packed form that is the same on every machine.
    #[cfg(test)]
    pub(crate) fn pack_xdr(&self) -> Vec<u8> {
        self.pack_as(ENCODE_XDR).expect("packed")
    }

    fn pack_as(&self, encoding: c_int) -> Result<Vec<u8>, Error> {
        let mut packed: *mut c_char = ptr::null_mut();
        let mut size = 0;
        // SAFETY: the list is valid; a null buffer asks for one, which is returned with its size.
        let errno = unsafe {
            let raw = self.raw.as_ptr();
            (self.library.nvlist_pack)(raw, &mut packed, &mut size, encoding, 0)
        };
        check("pack", errno)?;
        // SAFETY: success leaves `size` initialised bytes at `packed`.
        let bytes = unsafe { std::slice::from_raw_parts(packed.cast::<u8>(), size) }.to_vec();
        // SAFETY: libnvpair allocates the buffer with malloc and leaves it to the caller.
        unsafe { libc::free(packed.cast()) };
        Ok(bytes)
    }

    /// Takes over a list that the library made, together with the outcome of making it.
    pub(crate) fn adopt(
        library: &'static NvPair,
        raw: *mut RawList,
        errno: c_int,
    ) -> Result<Self, Error> {
        check("build", errno)?;
        match NonNull::new(raw) {
            Some(raw) => Ok(Self { library, raw }),
            None => Err(Error::unexpected("build", "nvlist", "no list was made")),
        }
    }

    /// Adds a name without a value (`DATA_TYPE_BOOLEAN`): its presence is the information.
    ///
    /// # Errors
    /// This and all other `add_…`: [`Error::InvalidArgument`] if the name or a text contains a
    /// NUL, [`Error::Other`] if memory runs out.
    pub fn add_flag(&mut self, name: &str) -> Result<(), Error> {
        let name = c_string(name)?;
        // SAFETY: the list and the name are valid for the call.
        check("add to", unsafe {
            (self.library.nvlist_add_boolean)(self.raw.as_ptr(), name.as_ptr())
        })
    }

    /// Adds a truth value (`DATA_TYPE_BOOLEAN_VALUE`).
    #[expect(clippy::missing_errors_doc, reason = "see add_flag")]
    pub fn add_bool(&mut self, name: &str, value: bool) -> Result<(), Error> {
        let name = c_string(name)?;
        // SAFETY: the list and the name are valid for the call.
        check("add to", unsafe {
            (self.library.nvlist_add_boolean_value)(self.raw.as_ptr(), name.as_ptr(), value.into())
        })
    }

    /// Adds an `int32`.
    #[expect(clippy::missing_errors_doc, reason = "see add_flag")]
    pub fn add_i32(&mut self, name: &str, value: i32) -> Result<(), Error> {
        let name = c_string(name)?;
        // SAFETY: the list and the name are valid for the call.
        check("add to", unsafe {
            (self.library.nvlist_add_int32)(self.raw.as_ptr(), name.as_ptr(), value)
        })
    }

    /// Adds an `int64`, the number that channel programs take.
    #[expect(clippy::missing_errors_doc, reason = "see add_flag")]
    pub fn add_i64(&mut self, name: &str, value: i64) -> Result<(), Error> {
        let name = c_string(name)?;
        // SAFETY: the list and the name are valid for the call.
        check("add to", unsafe {
            (self.library.nvlist_add_int64)(self.raw.as_ptr(), name.as_ptr(), value)
        })
    }

    /// Adds a `uint64`.
    #[expect(clippy::missing_errors_doc, reason = "see add_flag")]
    pub fn add_u64(&mut self, name: &str, value: u64) -> Result<(), Error> {
        let name = c_string(name)?;
        // SAFETY: the list and the name are valid for the call.
        check("add to", unsafe {
            (self.library.nvlist_add_uint64)(self.raw.as_ptr(), name.as_ptr(), value)
        })
    }

    /// Adds a text.
    #[expect(clippy::missing_errors_doc, reason = "see add_flag")]
    pub fn add_str(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let name = c_string(name)?;
        let value = c_string(value)?;
        // SAFETY: the list and both texts are valid for the call, which copies.
        check("add to", unsafe {
            (self.library.nvlist_add_string)(self.raw.as_ptr(), name.as_ptr(), value.as_ptr())
        })
    }

    /// Adds a copy of another list.
    #[expect(clippy::missing_errors_doc, reason = "see add_flag")]
    pub fn add_list(&mut self, name: &str, value: &NvList) -> Result<(), Error> {
        let name = c_string(name)?;
        // SAFETY: both lists and the name are valid for the call, which copies; they are distinct
        // lists because `self` is borrowed exclusively.
        check("add to", unsafe {
            let (raw, value) = (self.raw.as_ptr(), value.raw.as_ptr());
            (self.library.nvlist_add_nvlist)(raw, name.as_ptr(), value)
        })
    }

    /// Adds bytes.
    #[expect(clippy::missing_errors_doc, reason = "see add_flag")]
    pub fn add_bytes(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        let name = c_string(name)?;
        let length = length(value)?;
        // SAFETY: the list, the name and `length` bytes are valid for the call, which copies and
        // does not write to them although its signature lacks the `const`.
        check("add to", unsafe {
            let value = value.as_ptr().cast_mut();
            (self.library.nvlist_add_byte_array)(self.raw.as_ptr(), name.as_ptr(), value, length)
        })
    }

    /// Adds an array of `uint64`.
    #[expect(clippy::missing_errors_doc, reason = "see add_flag")]
    pub fn add_u64s(&mut self, name: &str, value: &[u64]) -> Result<(), Error> {
        let name = c_string(name)?;
        let length = length(value)?;
        // SAFETY: as for `add_bytes`.
        check("add to", unsafe {
            let value = value.as_ptr().cast_mut();
            (self.library.nvlist_add_uint64_array)(self.raw.as_ptr(), name.as_ptr(), value, length)
        })
    }

    /// Adds an array of texts.
    #[expect(clippy::missing_errors_doc, reason = "see add_flag")]
    pub fn add_strs(&mut self, name: &str, value: &[&str]) -> Result<(), Error> {
        let name = c_string(name)?;
        let length = length(value)?;
        let texts = value
            .iter()
            .map(|text| c_string(text))
            .collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<_> = texts.iter().map(|text| text.as_ptr().cast_mut()).collect();
        // SAFETY: the list, the name and `length` pointers to texts are valid for the call
        // (the shadowed `texts` owns them until the end of the function); it copies them.
        check("add to", unsafe {
            let (raw, texts) = (self.raw.as_ptr(), texts.as_ptr());
            (self.library.nvlist_add_string_array)(raw, name.as_ptr(), texts, length)
        })
    }

    /// Borrows the list.
    pub fn view(&self) -> NvListRef<'_> {
        // SAFETY: the list is valid for as long as it is borrowed from its owner.
        unsafe { NvListRef::new(self.library, self.raw) }
    }

    /// The value of a name.
    pub fn value(&self, name: &str) -> Option<Value<'_>> {
        self.view().value(name)
    }

    /// The pairs, in the order they were added.
    pub fn iter(&self) -> Iter<'_> {
        self.view().iter()
    }

    /// For a call that takes a list; the callee must not keep or change it.
    pub(crate) fn as_ptr(&self) -> *mut RawList {
        self.raw.as_ptr()
    }
}

impl<'a> IntoIterator for &'a NvList {
    type Item = (&'a std::ffi::CStr, Value<'a>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Drop for NvList {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and nothing borrows from it any more.
        unsafe { (self.library.nvlist_free)(self.raw.as_ptr()) };
    }
}

impl fmt::Debug for NvList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::InvalidArgument(Attempt::new("use in an nvlist", text)))
}

fn length<T>(array: &[T]) -> Result<c_uint, Error> {
    // libnvpair refuses pairs above 2 GiB itself; the count must merely fit its argument.
    array
        .len()
        .try_into()
        .map_err(|_| Error::TooLarge(Attempt::new("add to", "nvlist")))
}

fn check(operation: &'static str, errno: c_int) -> Result<(), Error> {
    match errno {
        0 => Ok(()),
        errno => Err(Error::from_errno(operation, "nvlist", errno)),
    }
}
