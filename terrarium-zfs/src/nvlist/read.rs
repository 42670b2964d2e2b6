//! Reading lists.
#![allow(unsafe_code, reason = "reads pairs of libnvpair's lists")]

use std::ffi::{CStr, CString};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use crate::error::Error;
use crate::ffi::{NvPair, RawList, RawPair};
use crate::nvlist::NvList;

/// `data_type_t` of sys/nvpair.h, as far as it is read here; part of the packed format.
mod data_type {
    pub(super) const BOOLEAN: i32 = 1;
    pub(super) const INT32: i32 = 5;
    pub(super) const UINT32: i32 = 6;
    pub(super) const INT64: i32 = 7;
    pub(super) const UINT64: i32 = 8;
    pub(super) const STRING: i32 = 9;
    pub(super) const BYTE_ARRAY: i32 = 10;
    pub(super) const UINT64_ARRAY: i32 = 16;
    pub(super) const STRING_ARRAY: i32 = 17;
    pub(super) const NVLIST: i32 = 19;
    pub(super) const BOOLEAN_VALUE: i32 = 21;
}

/// A list borrowed from its owner.
#[derive(Clone, Copy)]
pub struct NvListRef<'a> {
    library: &'static NvPair,
    raw: NonNull<RawList>,
    owner: PhantomData<&'a super::NvList>,
}

/// A value of a list, of one of the types that ZFS uses.
///
/// Texts are bytes without NUL: ZFS lets user properties hold any.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// A name without a value.
    Flag,
    /// A truth value.
    Bool(bool),
    /// A number of 32 bits.
    I32(i32),
    /// A number of 32 bits.
    U32(u32),
    /// A number of 64 bits.
    I64(i64),
    /// A number of 64 bits.
    U64(u64),
    /// A text.
    Str(&'a CStr),
    /// A list in the list.
    List(NvListRef<'a>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// Numbers of 64 bits.
    U64s(&'a [u64]),
    /// Texts.
    Strs(Strs<'a>),
    /// A type that is not read here, by its number in sys/nvpair.h (`data_type_t`).
    Other(i32),
}

impl<'a> Value<'a> {
    /// The text, with U+FFFD for what is not UTF-8; `None` for another type.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Str(text) => Some(text.to_string_lossy().into_owned()),
            _ => None,
        }
    }

    /// A number of whatever width, if it fits.
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Value::I32(number) => Some(number.into()),
            Value::U32(number) => Some(number.into()),
            Value::I64(number) => Some(number),
            Value::U64(number) => number.try_into().ok(),
            _ => None,
        }
    }

    /// The list; `None` for another type.
    pub fn list(&self) -> Option<NvListRef<'a>> {
        match *self {
            Value::List(list) => Some(list),
            _ => None,
        }
    }
}

impl<'a> NvListRef<'a> {
    /// # Safety
    /// `raw` must be a valid list that is neither changed nor freed for `'a`, nor used by another
    /// thread.
    pub(super) unsafe fn new(library: &'static NvPair, raw: NonNull<RawList>) -> Self {
        Self {
            library,
            raw,
            owner: PhantomData,
        }
    }

    /// The value of a name.
    pub fn value(&self, name: &str) -> Option<Value<'a>> {
        let name = CString::new(name).ok()?;
        let mut pair = ptr::null_mut();
        // SAFETY: the list is valid (see `new`), the name for the call, `pair` takes an address.
        let errno = unsafe {
            (self.library.nvlist_lookup_nvpair)(self.raw.as_ptr(), name.as_ptr(), &mut pair)
        };
        let pair = if errno == 0 { NonNull::new(pair) } else { None };
        pair.map(|pair| self.read(pair))
    }

    /// A copy that owns itself.
    ///
    /// # Errors
    /// [`Error::Other`] if memory runs out.
    pub fn to_owned_list(&self) -> Result<NvList, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: the list is valid (see `new`); `raw` takes the address of a new list.
        let errno = unsafe { (self.library.nvlist_dup)(self.raw.as_ptr(), &mut raw, 0) };
        NvList::adopt(self.library, raw, errno)
    }

    /// The pairs, in the order they were added.
    pub fn iter(&self) -> Iter<'a> {
        Iter {
            list: *self,
            last: ptr::null_mut(),
        }
    }

    /// Reads a pair of this list.
    fn read(&self, pair: NonNull<RawPair>) -> Value<'a> {
        let pair = pair.as_ptr();
        let library = self.library;
        macro_rules! number {
            ($function:ident, $variant:ident) => {{
                let mut number = 0;
                // SAFETY: the pair belongs to the valid list, `number` takes the value.
                match unsafe { (library.$function)(pair, &mut number) } {
                    0 => Some(Value::$variant(number)),
                    _ => None,
                }
            }};
        }
        macro_rules! array {
            ($function:ident) => {{
                let mut start = ptr::null_mut();
                let mut length = 0;
                // SAFETY: as for a number; the array lies in the pair and lives as long as it.
                match unsafe { (library.$function)(pair, &mut start, &mut length) } {
                    // SAFETY: success gives `length` values at `start`, aligned, unchanged for
                    // `'a`; an empty array may have a null or dangling start and is not touched.
                    0 if length > 0 => Some(unsafe {
                        std::slice::from_raw_parts(start.cast_const(), length as usize)
                    }),
                    0 => Some(&[][..]),
                    _ => None,
                }
            }};
        }
        // SAFETY: the pair belongs to the valid list.
        let kind = unsafe { (library.nvpair_type)(pair) };
        let value = match kind {
            data_type::BOOLEAN => Some(Value::Flag),
            data_type::INT32 => number!(nvpair_value_int32, I32),
            data_type::UINT32 => number!(nvpair_value_uint32, U32),
            data_type::INT64 => number!(nvpair_value_int64, I64),
            data_type::UINT64 => number!(nvpair_value_uint64, U64),
            data_type::STRING => {
                let mut text = ptr::null_mut();
                // SAFETY: as for a number; the text lies in the pair and lives as long as it.
                match unsafe { (library.nvpair_value_string)(pair, &mut text) } {
                    // SAFETY: success gives a text that ends in NUL, unchanged for `'a`.
                    0 => Some(Value::Str(unsafe { CStr::from_ptr(text) })),
                    _ => None,
                }
            }
            data_type::BYTE_ARRAY => array!(nvpair_value_byte_array).map(Value::Bytes),
            data_type::UINT64_ARRAY => array!(nvpair_value_uint64_array).map(Value::U64s),
            data_type::STRING_ARRAY => {
                array!(nvpair_value_string_array).map(|texts| Value::Strs(Strs(texts)))
            }
            data_type::NVLIST => {
                let mut list = ptr::null_mut();
                // SAFETY: as for a number; the inner list lives as long as the outer one.
                match unsafe { (library.nvpair_value_nvlist)(pair, &mut list) } {
                    // SAFETY: success gives a list that is part of this one.
                    0 => NonNull::new(list)
                        .map(|list| Value::List(unsafe { NvListRef::new(library, list) })),
                    _ => None,
                }
            }
            data_type::BOOLEAN_VALUE => {
                let mut truth = 0;
                // SAFETY: as for a number.
                match unsafe { (library.nvpair_value_boolean_value)(pair, &mut truth) } {
                    0 => Some(Value::Bool(truth != 0)),
                    _ => None,
                }
            }
            _ => None,
        };
        value.unwrap_or(Value::Other(kind))
    }
}

impl PartialEq for NvListRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a> IntoIterator for NvListRef<'a> {
    type Item = (&'a CStr, Value<'a>);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for NvListRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The pairs of a list: names and values.
pub struct Iter<'a> {
    list: NvListRef<'a>,
    last: *mut RawPair,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a CStr, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let library = self.list.library;
        // SAFETY: the list is valid and unchanged, `last` is null or the pair it gave before.
        let next = unsafe { (library.nvlist_next_nvpair)(self.list.raw.as_ptr(), self.last) };
        let pair = NonNull::new(next)?;
        self.last = next;
        // SAFETY: the pair's name ends in NUL and lives as long as the list.
        let name = unsafe { CStr::from_ptr((library.nvpair_name)(next)) };
        Some((name, self.list.read(pair)))
    }
}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter")
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

/// The texts of an array.
#[derive(Clone, Copy)]
pub struct Strs<'a>(&'a [*mut std::ffi::c_char]);

impl<'a> Strs<'a> {
    /// The texts, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a CStr> + use<'a> {
        // SAFETY: each pointer of the pair's array leads to a text in the pair, which ends in NUL
        // and is unchanged for `'a`.
        self.0.iter().map(|&text| unsafe { CStr::from_ptr(text) })
    }
}

impl PartialEq for Strs<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Strs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
