//! What a file system holds: the entries of its tree, as ZFS has them on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

impl Kind {
    /// The kind that a mode tells (`S_IFMT`, inode(7)); `None` if the bits mean nothing.
    pub fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFSOCK => Kind::Socket,
            libc::S_IFCHR => Kind::CharacterDevice,
            libc::S_IFBLK => Kind::BlockDevice,
            _ => return None,
        })
    }

    /// The bits of a mode that tell this kind.
    pub fn mode_bits(self) -> u32 {
        match self {
            Kind::File => libc::S_IFREG,
            Kind::Directory => libc::S_IFDIR,
            Kind::Symlink => libc::S_IFLNK,
            Kind::Fifo => libc::S_IFIFO,
            Kind::Socket => libc::S_IFSOCK,
            Kind::CharacterDevice => libc::S_IFCHR,
            Kind::BlockDevice => libc::S_IFBLK,
        }
    }

    /// Whether it is a device, which has a number.
    pub fn is_device(self) -> bool {
        matches!(self, Kind::CharacterDevice | Kind::BlockDevice)
    }
}

/// A moment, as file systems have it: whatever was set, before 1970 too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after that, below 1,000,000,000 unless the file system is damaged.
    pub nanoseconds: u32,
}

/// The number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// One name in a tree, and what it leads to. The content of files is not part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the root of the dataset, without a leading slash; empty for the root itself. Any bytes but
    /// zero can be in it.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// The twelve permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// When its content was last read, as far as that was kept.
    pub accessed: Time,
    /// When its content was last changed.
    pub modified: Time,
    /// When anything of it was last changed.
    pub changed: Time,
    /// The size of a file in bytes.
    pub size: u64,
    /// How many names it has; of a directory, how many directories know it.
    pub links: u64,
    /// Its number in the dataset: two names that lead to the same file have the same.
    pub object: u64,
    /// The number of a device.
    pub device: Option<Device>,
    /// Where a symbolic link leads to.
    pub target: Option<PathBuf>,
    /// Extended attributes by their full name (xattr(7)), such as `user.note`; access control lists are
    /// among them as `system.posix_acl_access` and `system.posix_acl_default`.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Entry {
    /// An entry of root's, with nothing but a path, a kind and a mode.
    pub fn new(path: impl Into<PathBuf>, kind: Kind, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            accessed: Time::default(),
            modified: Time::default(),
            changed: Time::default(),
            size: 0,
            links: 1,
            object: 0,
            device: None,
            target: None,
            attributes: BTreeMap::new(),
        }
    }

    /// Whether other names lead to the same file.
    pub fn has_other_names(&self) -> bool {
        self.kind != Kind::Directory && self.links > 1
    }
}
