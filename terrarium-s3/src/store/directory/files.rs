//! The files of a directory store, by calls relative to the directory that was opened. All of it may block.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::super::could_begin_a_key;
use super::{Key, Leftover, Object};

/// The directory that holds all objects.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

/// No key has this in it, so what begins with it is no object.
const TEMPORARY: u8 = b'~';

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        open_folder(fs::CWD, path).map(Self)
    }

    /// Whether the directory has been removed.
    pub(super) fn is_gone(&self) -> bool {
        fs::fstat(&self.0).map_or_else(|errno| errno == Errno::STALE, |stat| stat.st_nlink == 0)
    }

    pub(super) fn create(&self, key: &str, body: &[u8]) -> Result<(), Errno> {
        let (parent, name) = key.rsplit_once('/').unwrap_or((".", key));
        // A delete that empties the folder removes it; then it is made again.
        let mut tries = 0;
        loop {
            let created = self
                .make_folder(parent)
                .and_then(|folder| create_in(folder.as_fd(), name, body));
            tries += 1;
            match created {
                Err(Errno::NOENT) if tries < 16 && !self.is_gone() => {}
                other => return other,
            }
        }
    }

    pub(super) fn read(&self, key: &str) -> Result<Vec<u8>, Errno> {
        let (mut file, length) = self.open_object(key)?;
        let mut body = room(length)?;
        file.read_to_end(&mut body).map_err(errno)?;
        Ok(body)
    }

    pub(super) fn read_range(
        &self,
        key: &str,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, Errno> {
        let (mut file, size) = self.open_object(key)?;
        let mut body = room(size.saturating_sub(offset).min(length as u64))?;
        file.seek(SeekFrom::Start(offset)).map_err(errno)?;
        file.take(length as u64)
            .read_to_end(&mut body)
            .map_err(errno)?;
        Ok(body)
    }

    fn open_object(&self, key: &str) -> Result<(File, u64), Errno> {
        // Without waiting for a writer, should somebody have put a FIFO there.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(&self.0, key, flags, Mode::empty()).map_err(no_link)?;
        let length = object_size(&fs::fstat(&file)?).ok_or(Errno::NOENT)?;
        Ok((file.into(), length))
    }

    pub(super) fn size(&self, key: &str) -> Result<u64, Errno> {
        let stat = fs::statat(&self.0, key, AtFlags::SYMLINK_NOFOLLOW)?;
        object_size(&stat).ok_or(Errno::NOENT)
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<Object>, Errno> {
        if !could_begin_a_key(prefix) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        let start = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.walk(start, &mut |path, stat| {
            let Some(key) = path.to_str().and_then(|path| Key::new(path).ok()) else {
                return;
            };
            if key.as_str().starts_with(prefix) {
                let (size, modified) = (stat.st_size.unsigned_abs(), modified(stat));
                found.push(Object {
                    key,
                    size,
                    modified,
                });
            }
        })?;
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    pub(super) fn leftovers(&self) -> Result<Vec<Leftover>, Errno> {
        let mut found = Vec::new();
        self.walk("", &mut |path, stat| {
            if path.file_name().is_some_and(is_temporary) {
                found.push(Leftover {
                    path: path.to_owned(),
                    size: stat.st_size.unsigned_abs(),
                    modified: modified(stat),
                });
            }
        })?;
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    pub(super) fn remove_leftover(&self, path: &Path) -> Result<(), Errno> {
        let parent = path.parent().and_then(Path::to_str);
        let inside = parent.is_some_and(|parent| parent.is_empty() || Key::new(parent).is_ok());
        if !inside || !path.file_name().is_some_and(is_temporary) {
            return Err(Errno::INVAL);
        }
        match fs::unlinkat(&self.0, path, AtFlags::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            other => other,
        }
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), Errno> {
        let stat = fs::statat(&self.0, key, AtFlags::SYMLINK_NOFOLLOW)?;
        object_size(&stat).ok_or(Errno::NOENT)?;
        fs::unlinkat(&self.0, key, AtFlags::empty())?;
        let mut folder = key;
        while let Some((parent, _)) = folder.rsplit_once('/') {
            if fs::unlinkat(&self.0, parent, AtFlags::REMOVEDIR).is_err() {
                // Not empty, most often. What was removed within it is on the disk with it.
                return match open_folder(&self.0, Path::new(parent)) {
                    Ok(open) => fs::fsync(open),
                    Err(_) => Ok(()),
                };
            }
            folder = parent;
        }
        fs::fsync(&self.0)
    }

    /// Opens a folder, and makes it and those above it if they are missing.
    fn make_folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        match open_folder(&self.0, Path::new(path)) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let mut folder = open_folder(&self.0, Path::new("."))?;
        for segment in path.split('/') {
            match fs::mkdirat(&folder, segment, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            fs::fsync(&folder)?;
            folder = open_folder(&folder, Path::new(segment))?;
        }
        Ok(folder)
    }

    /// Visits every regular file below a folder. What vanishes on the way is left out, links are not followed.
    fn walk(&self, start: &str, visit: &mut impl FnMut(&Path, &Stat)) -> Result<(), Errno> {
        let mut folders = vec![PathBuf::from(start)];
        while let Some(path) = folders.pop() {
            let here = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                &path
            };
            let folder = match open_folder(&self.0, here) {
                Err(Errno::NOENT | Errno::NOTDIR) if !self.is_gone() => continue,
                other => other?,
            };
            let entries = fs::Dir::read_from(&folder)?;
            for entry in entries {
                let entry = entry?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                let stat = match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => continue,
                    other => other?,
                };
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => visit(&path.join(name), &stat),
                    FileType::Directory if name.to_str().is_some_and(|n| Key::new(n).is_ok()) => {
                        folders.push(path.join(name));
                    }
                    _ => {}
                }
            }
        }
        // A directory that was removed while it is open reads as an empty one.
        if self.is_gone() {
            Err(Errno::NOENT)
        } else {
            Ok(())
        }
    }
}

/// Creates a file of that name with that content in a folder, on the disk when this returns, or [`Errno::EXIST`].
fn create_in(folder: impl AsFd, name: &str, body: &[u8]) -> Result<(), Errno> {
    // The answer is `link`'s alone; but most who come second need not write it all first.
    if fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(Errno::EXIST);
    }
    let mut temporary = Temporary::create(folder.as_fd())?;
    temporary.file.write_all(body).map_err(errno)?;
    // Before it has its name, so that no crash leaves half an object. Over NFS this also tells of errors of the writes.
    temporary.file.sync_all().map_err(errno)?;
    temporary.name_it(name)?;
    drop(temporary);
    fs::fsync(&folder)
}

/// A file under a temporary name, which goes when this is dropped.
struct Temporary<F: AsFd> {
    folder: F,
    path: String,
    file: File,
}

impl<F: AsFd> Temporary<F> {
    fn create(folder: F) -> Result<Self, Errno> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let time = Timestamp::now().as_nanosecond();
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = format!("~{}.{time}.{count}", std::process::id());
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match fs::openat(&folder, &path, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    let file = File::from(file);
                    return Ok(Self { folder, path, file });
                }
                // Another machine's process of the same number, at the same nanosecond.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Gives the file its name, unless that is taken.
    fn name_it(&self, name: &str) -> Result<(), Errno> {
        let (from, to) = (&self.folder, &self.folder);
        let linked = fs::linkat(from, &self.path, to, name, AtFlags::empty());
        match linked {
            Ok(()) => return Ok(()),
            // The reply to a link that was made may be lost over NFS, and what is asked again finds its own work.
            Err(_) if fs::fstat(&self.file).is_ok_and(|stat| stat.st_nlink == 2) => return Ok(()),
            // No links here, as on FAT or in some FUSE file systems.
            Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::MLINK) => {}
            Err(errno) => return Err(errno),
        }
        self.rename(name)
    }

    fn rename(&self, name: &str) -> Result<(), Errno> {
        let (from, to) = (&self.folder, &self.folder);
        match fs::renameat_with(from, &self.path, to, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::NOTSUP),
            other => other,
        }
    }
}

impl<F: AsFd> Drop for Temporary<F> {
    fn drop(&mut self) {
        // What stays is a leftover, and listed as such.
        let _ = fs::unlinkat(&self.folder, &self.path, AtFlags::empty());
    }
}

fn open_folder(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(at, path, flags, Mode::empty())
}

/// The length, if it is a regular file: nothing else is an object.
fn object_size(stat: &Stat) -> Option<u64> {
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    regular.then_some(stat.st_size.unsigned_abs())
}

fn modified(stat: &Stat) -> Timestamp {
    // Outside the years that a timestamp can hold: as old as can be.
    Timestamp::new(stat.st_mtime, 0).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&TEMPORARY)
}

fn room(length: u64) -> Result<Vec<u8>, Errno> {
    let mut body = Vec::new();
    let length = usize::try_from(length).map_err(|_| Errno::FBIG)?;
    body.try_reserve_exact(length).map_err(|_| Errno::NOMEM)?;
    Ok(body)
}

/// A symbolic link is no object.
fn no_link(errno: Errno) -> Errno {
    if errno == Errno::LOOP {
        Errno::NOENT
    } else {
        errno
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_links_a_rename_gives_the_name_and_does_not_replace() {
        let folder = tempfile::tempdir().unwrap();
        let open = open_folder(fs::CWD, folder.path()).unwrap();
        for (body, expected) in [("first", Ok(())), ("second", Err(Errno::EXIST))] {
            let mut temporary = Temporary::create(&open).unwrap();
            temporary.file.write_all(body.as_bytes()).unwrap();
            assert_eq!(temporary.rename("object"), expected);
        }
        let names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["object"], "no temporary name stays");
        let content = std::fs::read_to_string(folder.path().join("object"));
        assert_eq!(content.unwrap(), "first");
    }

    #[test]
    fn only_a_leftover_is_removed_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        root.create("a/object", b"x").unwrap();
        for path in ["a/object", "../~1", "a/../../~1", "/~1", "~1/object"] {
            let removed = root.remove_leftover(Path::new(path));
            assert_eq!(removed, Err(Errno::INVAL), "{path}");
        }
        assert_eq!(root.size("a/object"), Ok(1));
        assert_eq!(root.remove_leftover(Path::new("a/~1")), Ok(()));
    }
}
