//! The handle that all calls go through, and what the calls have in common.

use std::ffi::CString;

use crate::error::{Attempt, BatchError, Error};
use crate::ffi::{LibZfsCore, NvPair, RawList};
use crate::names::{BookmarkName, DatasetName, SnapshotName};
use crate::nvlist::{NvList, NvListRef};
use crate::properties::{Properties, PropertyValue, UserProperties};

/// ZFS on this machine, through libzfs_core.
///
/// Cheap to clone, and usable from several threads at once: libzfs_core keeps no state but the open
/// `/dev/zfs`, and the kernel orders what belongs together. Every call blocks until it is done; one
/// that changes something returns when the change is on disk (its transaction group is synced).
#[derive(Clone, Copy)]
pub struct ZfsCore {
    pub(crate) library: &'static LibZfsCore,
    pub(crate) nvpair: &'static NvPair,
}

impl ZfsCore {
    /// Opens libzfs_core and `/dev/zfs`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the library, or the device because the module is not loaded, is
    /// absent; [`Error::PermissionDenied`] if the device may not be opened.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            library: LibZfsCore::get()?,
            nvpair: NvPair::get()?,
        })
    }
}

impl std::fmt::Debug for ZfsCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ZfsCore")
    }
}

/// Names that libzfs_core takes as C strings.
pub(crate) trait CName: AsRef<str> {
    /// The name as a C string; names have been parsed and contain no NUL.
    fn c(&self) -> CString {
        // An empty name, which ZFS refuses, in the impossible case.
        CString::new(self.as_ref()).unwrap_or_default()
    }
}

impl CName for DatasetName {}
impl CName for SnapshotName {}
impl CName for BookmarkName {}

/// The answer of a call without a result.
pub(crate) fn done(operation: &'static str, object: &str, errno: i32) -> Result<(), Error> {
    match errno {
        0 => Ok(()),
        errno => Err(Error::from_errno(operation, object, errno)),
    }
}

/// The list of properties that a call takes.
///
/// # Errors
/// [`Error::InvalidArgument`] if a text contains a NUL.
pub fn properties_to_nvlist(properties: &Properties) -> Result<NvList, Error> {
    let mut list = NvList::new()?;
    for (name, value) in properties.iter() {
        match value {
            PropertyValue::Number(number) => list.add_u64(name, *number)?,
            PropertyValue::Text(text) => list.add_str(name, text)?,
        }
    }
    Ok(list)
}

pub(crate) fn user_properties_to_nvlist(properties: &UserProperties) -> Result<NvList, Error> {
    let mut list = NvList::new()?;
    for (name, value) in properties {
        crate::properties::check_user_property(name, value)?;
        list.add_str(name, value)?;
    }
    Ok(list)
}

/// A call on several objects of one pool.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The operation as a verb.
    pub operation: &'static str,
    /// The pool that all objects lie in.
    pub pool: String,
}

impl Batch {
    /// Starts a call on `objects`, given with their pools; `None` if there are none.
    ///
    /// # Errors
    /// Names the objects that lie in another pool than the first: libzfs_core takes one pool only.
    pub fn new<'a>(
        operation: &'static str,
        objects: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, BatchError> {
        let mut objects = objects.into_iter().peekable();
        let Some(&(_, pool)) = objects.peek() else {
            return Ok(None);
        };
        let strangers: Vec<_> = objects
            .filter(|(_, other)| *other != pool)
            .map(|(object, _)| {
                let error = Error::CrossesPools(Attempt::new(operation, object));
                (object.to_owned(), error)
            })
            .collect();
        if strangers.is_empty() {
            Ok(Some(Self {
                operation,
                pool: pool.to_owned(),
            }))
        } else {
            Err(BatchError::new(operation, strangers))
        }
    }

    /// The call failed before it reached ZFS, or as a whole.
    pub fn whole(&self, error: Error) -> BatchError {
        BatchError::whole(self.operation, &self.pool, error)
    }

    /// Makes the call and reads its error list: names of objects with error numbers.
    ///
    /// `classify` gives the error of one object; most calls use [`by_errno`].
    pub(crate) fn call(
        &self,
        core: &ZfsCore,
        classify: fn(&'static str, &str, i32) -> Error,
        call: impl FnOnce(&LibZfsCore, *mut *mut RawList) -> i32,
    ) -> Result<(), BatchError> {
        let mut raw = std::ptr::null_mut();
        let errno = call(core.library, &mut raw);
        let list = if raw.is_null() {
            None
        } else {
            Some(NvList::adopt(core.nvpair, raw, 0).map_err(|error| self.whole(error))?)
        };
        self.outcome(errno, list.as_ref().map(NvList::view), classify)
    }

    /// Reads the answer of a call: its error number and its error list.
    ///
    /// # Errors
    /// Names the objects of the error list; the pool if there is only a number.
    pub fn outcome(
        &self,
        errno: i32,
        errors: Option<NvListRef<'_>>,
        classify: fn(&'static str, &str, i32) -> Error,
    ) -> Result<(), BatchError> {
        let mut failures = Vec::new();
        if let Some(list) = errors {
            for (name, value) in list {
                let name = name.to_string_lossy();
                if name == MORE_ERRORS {
                    continue;
                }
                let errno = value
                    .integer()
                    .and_then(|n| i32::try_from(n).ok())
                    .unwrap_or(errno);
                failures.push((name.to_string(), classify(self.operation, &name, errno)));
            }
        }
        match (errno, failures.is_empty()) {
            (0, true) => Ok(()),
            (0, false) => Err(BatchError {
                operation: self.operation,
                failures,
                others_done: true,
            }),
            (errno, true) => Err(self.whole(classify(self.operation, &self.pool, errno))),
            (_, false) => Err(BatchError::new(self.operation, failures)),
        }
    }
}

/// The error of an object whose call gives no number a meaning of its own.
pub fn by_errno(operation: &'static str, object: &str, errno: i32) -> Error {
    Error::from_errno(operation, object, errno)
}

/// `ZPROP_N_MORE_ERRORS`: stands in an error list for those that did not fit.
const MORE_ERRORS: &str = "N_MORE_ERRORS";
