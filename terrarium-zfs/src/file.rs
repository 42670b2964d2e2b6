//! Reading single files of datasets and snapshots that need not be mounted.
#![allow(
    unsafe_code,
    reason = "fsopen(2), fsconfig(2) and fsmount(2) have no wrapper"
)]

use std::ffi::{CString, c_int, c_uint};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::error::{Attempt, Error};
use crate::handle::ZfsCore;
use crate::names::{DatasetName, SnapshotName};

impl ZfsCore {
    /// Reads a regular file of a filesystem; `path` is relative to the filesystem's root. `None` if
    /// there is no such file.
    ///
    /// The filesystem is mounted for the time of the call, read-only and without a place in the
    /// file system tree: no one else sees the mount, and it goes with its descriptor, even if the
    /// process is killed. Symbolic links are not followed and no other file system is entered.
    /// While it is mounted the dataset is busy: until this returns, or, if another thread forks meanwhile, until that
    /// child has called `execve`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the dataset does not exist; [`Error::TooLarge`] if the file exceeds
    /// `limit` bytes; [`Error::InvalidArgument`] if the path leads through a symbolic link or out
    /// of the dataset, or what it leads to is no regular file; [`Error::KeyUnavailable`];
    /// [`Error::PermissionDenied`] without `CAP_SYS_ADMIN`; [`Error::Io`].
    pub fn read_file(
        &self,
        dataset: &DatasetName,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        read_file(dataset.as_str(), path, limit)
    }

    /// Reads a regular file of a filesystem as it was in a snapshot; see [`ZfsCore::read_file`].
    ///
    /// # Errors
    /// Those of [`ZfsCore::read_file`].
    pub fn read_snapshot_file(
        &self,
        snapshot: &SnapshotName,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        read_file(snapshot.as_str(), path, limit)
    }

    /// Mounts a snapshot of a filesystem read-only, as [`ZfsCore::read_file`] does: the descriptor of its root
    /// directory, with which the mount goes. Meanwhile the snapshot cannot be destroyed.
    ///
    /// # Errors
    /// Those of [`ZfsCore::read_file`] that concern the dataset.
    pub fn mount_snapshot(&self, snapshot: &SnapshotName) -> Result<OwnedFd, Error> {
        mounted("read the files of", snapshot.as_str())
    }
}

const OPERATION: &str = "read a file of";

fn read_file(source: &str, path: &str, limit: usize) -> Result<Option<Vec<u8>>, Error> {
    let attempt = || Attempt::new(OPERATION, source);
    let io_error = |error: &io::Error| Error::io(OPERATION, source, error);
    let root = mounted(OPERATION, source)?;
    let how = OpenHow::new()
        // Without O_NONBLOCK, opening a FIFO would wait for its writer.
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    let file = match openat2(&root, path, how) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(Errno::ELOOP | Errno::EXDEV | Errno::EINVAL | Errno::ENXIO) => {
            return Err(Error::InvalidArgument(attempt()));
        }
        Err(errno) => return Err(io_error(&errno.into())),
    };
    let metadata = file.metadata().map_err(|error| io_error(&error))?;
    if !metadata.is_file() {
        return Err(Error::InvalidArgument(attempt()));
    }
    let mut content = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    (&file)
        .take(most)
        .read_to_end(&mut content)
        .map_err(|error| io_error(&error))?;
    if content.len() > limit {
        return Err(Error::TooLarge(attempt()));
    }
    Ok(Some(content))
}

fn mounted(operation: &'static str, source: &str) -> Result<OwnedFd, Error> {
    mount(source).map_err(|errno| match errno {
        Errno::ENODEV => Error::Unavailable {
            attempt: Attempt::new(operation, source),
            reason: "the kernel does not know the file system zfs".to_owned(),
        },
        errno => Error::from_errno(operation, source, errno as i32),
    })
}

/// Mounts a dataset or snapshot nowhere: the descriptor of its root directory.
fn mount(source: &str) -> Result<OwnedFd, Errno> {
    match mount_superblock(source, true) {
        // It is mounted writable elsewhere, and one dataset has one superblock: share that, and
        // make only this mount read-only.
        Err(Errno::EBUSY) => mount_superblock(source, false),
        other => other,
    }
}

fn mount_superblock(source: &str, readonly: bool) -> Result<OwnedFd, Errno> {
    let source = CString::new(source).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the name ends in NUL and outlives the call.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"zfs".as_ptr(), FSOPEN_CLOEXEC) };
    let context = owned(context)?;
    let configure = |command: c_uint, key: Option<&std::ffi::CStr>, value: Option<&CString>| {
        // SAFETY: key and value end in NUL and outlive the call, or are null where the command
        // takes none.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                command,
                key.map_or(std::ptr::null(), |key| key.as_ptr()),
                value.map_or(std::ptr::null(), |value| value.as_ptr()),
                0 as c_int,
            )
        };
        Errno::result(result).map(|_| ())
    };
    configure(FSCONFIG_SET_STRING, Some(c"source"), Some(&source))?;
    if readonly {
        configure(FSCONFIG_SET_FLAG, Some(c"ro"), None)?;
    }
    configure(FSCONFIG_CMD_CREATE, None, None)?;
    let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    // SAFETY: takes three numbers.
    let mount = unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attributes,
        )
    };
    owned(mount)
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(result)?;
    let fd = c_int::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

// linux/mount.h
const FSOPEN_CLOEXEC: c_uint = 1;
const FSMOUNT_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;
const MOUNT_ATTR_RDONLY: c_uint = 1;
const MOUNT_ATTR_NOSUID: c_uint = 2;
const MOUNT_ATTR_NODEV: c_uint = 4;
const MOUNT_ATTR_NOEXEC: c_uint = 8;
