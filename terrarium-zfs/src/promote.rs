//! Promoting clones, and the check whether that would work.
#![allow(unsafe_code, reason = "calls libzfs_core")]

use std::collections::BTreeSet;

use crate::command;
use crate::datasets::{NAME_LEN, text};
use crate::error::{Attempt, Error};
use crate::handle::{CName, ZfsCore};
use crate::ids::{Txg, parse_decimal};
use crate::names::{DatasetName, SnapshotName};
use crate::nvlist::NvList;
use crate::program::Limits;

impl ZfsCore {
    /// Makes a clone the owner of its origin and of all snapshots and bookmarks before it.
    ///
    /// The dataset it was cloned from becomes a clone of it. Snapshots of the origin's dataset
    /// that are automounted below `.zfs/snapshot` are unmounted.
    ///
    /// Two bookmarks of one name are looked for here, before the call: the kernel (2.1 to 2.3 at
    /// least) misses them and panics. What makes bookmarks must not run at the same time.
    ///
    /// # Errors
    /// [`Error::Exists`] with the name (the part after `@` or `#`) of the first snapshot or
    /// bookmark that both datasets have; [`Error::Busy`] if one of the snapshots that would move is
    /// being sent or is mounted; [`Error::InvalidArgument`] if it is no clone;
    /// [`Error::QuotaExceeded`] and [`Error::NoSpace`] if the moved space does not fit its quotas;
    /// [`Error::NotSupported`] if that would change the encryption root.
    pub fn promote(&self, dataset: &DatasetName) -> Result<(), Error> {
        self.refuse_bookmark_clash(dataset)?;
        let c_name = dataset.c();
        let mut conflict = [0u8; NAME_LEN];
        // SAFETY: the library is initialised; the name outlives the call, which writes at most
        // `NAME_LEN` bytes, with a NUL, to `conflict`.
        let errno = unsafe {
            let (name, conflict) = (c_name.as_ptr(), conflict.as_mut_ptr().cast());
            (self.library.lzc_promote)(name, conflict, NAME_LEN as i32)
        };
        match errno {
            0 => Ok(()),
            errno => Err(promote_error(dataset, errno, Some(text(&conflict)))),
        }
    }

    /// Finds out whether [`ZfsCore::promote`] would succeed, without promoting.
    ///
    /// A synchronous channel program that only checks: the open context would check too little.
    ///
    /// # Errors
    /// Those of [`ZfsCore::promote`].
    pub fn check_promote(&self, dataset: &DatasetName) -> Result<(), Error> {
        self.refuse_bookmark_clash(dataset)?;
        let mut arguments = NvList::new()?;
        arguments.add_str("clone", dataset.as_str())?;
        let result =
            self.channel_program(dataset.pool(), CHECK_PROMOTE, Limits::default(), &arguments)?;
        check_promote_result(dataset, &result)
    }

    /// Refuses a promotion that would bring two bookmarks of one name together.
    ///
    /// All bookmarks up to the origin move to the clone. The kernel means to check their names, but
    /// looks at the bookmarks of the origin, which as a snapshot has none, instead of those of the
    /// origin's dataset; then moving them fails an assertion and the pool stands still until the
    /// machine is started again.
    fn refuse_bookmark_clash(&self, clone: &DatasetName) -> Result<(), Error> {
        let bookmarks = |dataset: &DatasetName| match self.bookmarks(dataset) {
            // The call itself says so better.
            Err(Error::NotFound(_)) => Ok(Vec::new()),
            other => other,
        };
        let mine: BTreeSet<String> = bookmarks(clone)?
            .iter()
            .map(|bookmark| bookmark.name.name().to_owned())
            .collect();
        if mine.is_empty() {
            return Ok(());
        }
        let Some(origin) = property(clone.as_str(), "origin")? else {
            return Ok(());
        };
        let origin = SnapshotName::new(&origin)?;
        let mut theirs = bookmarks(&origin.dataset())?;
        theirs.retain(|bookmark| mine.contains(bookmark.name.name()));
        if theirs.is_empty() {
            return Ok(());
        }
        let createtxg = property(origin.as_str(), "createtxg")?;
        let createtxg = createtxg.as_deref().and_then(parse_decimal).map(Txg::new);
        match theirs
            .iter()
            .find(|bookmark| createtxg.is_none_or(|txg| bookmark.createtxg <= txg))
        {
            Some(clash) => Err(promote_error(
                clone,
                libc::EEXIST,
                Some(clash.name.name().to_owned()),
            )),
            None => Ok(()),
        }
    }
}

/// A property as `zfs get` prints it; `None` if it is not set.
fn property(object: &str, property: &str) -> Result<Option<String>, Error> {
    let arguments = ["get", "-Hp", "-o", "value", property, "--", object];
    let lines = command::lines("promote", object, "zfs", &arguments)?;
    Ok(lines.into_iter().next().filter(|value| value != "-"))
}

/// What [`CHECK_PROMOTE`] returned.
///
/// # Errors
/// Those of [`ZfsCore::promote`].
pub fn check_promote_result(dataset: &DatasetName, result: &NvList) -> Result<(), Error> {
    let answer = result.value("return").and_then(|value| value.list());
    let errno = answer.and_then(|answer| answer.value("errno")?.integer());
    match errno.and_then(|errno| i32::try_from(errno).ok()) {
        Some(0) => Ok(()),
        Some(errno) => {
            let conflict = answer.and_then(|answer| answer.value("conflict")?.text());
            Err(promote_error(dataset, errno, conflict))
        }
        None => Err(Error::unexpected(
            "promote",
            dataset.as_str(),
            format!("{result:?}"),
        )),
    }
}

/// The error of a promotion; `conflict` is the name both sides have, where one is known.
pub fn promote_error(dataset: &DatasetName, errno: i32, conflict: Option<String>) -> Error {
    let attempt = Attempt::new("promote", dataset.as_str());
    match errno {
        libc::EEXIST => Error::Exists {
            attempt,
            name: conflict.unwrap_or_default(),
        },
        libc::EXDEV => Error::NotSupported(attempt),
        errno => Error::from_errno("promote", dataset.as_str(), errno),
    }
}

/// Whether the clone `arguments.clone` can be promoted; the conflicts come as an array of names.
pub const CHECK_PROMOTE: &str = r"
local arguments = ...
local errno, conflicts = zfs.check.promote(arguments.clone)
local answer = { errno = errno }
if conflicts ~= nil then
    answer.conflict = conflicts[1]
end
return answer
";
