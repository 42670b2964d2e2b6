//! Trees of files: read out of datasets and snapshots, written into datasets, extracted to this machine.

mod extract;
mod frames;
mod walk;
mod write;

pub use extract::{ExtractError, Extracted, LeftOut, Owners, Part};
pub use walk::{Content, Walk};
pub use write::TreeWriter;

use std::time::SystemTime;

use terrarium_zfs::tree::{Entry, Kind, Time};
use terrarium_zfs::{Attempt, DatasetName, Error};

use crate::engine::Engine;

impl Engine {
    /// Writes a regular file, new or in place of an old one; its directory must exist, and keeps its
    /// times. The file belongs to root, and has the mode that is given.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the dataset or the directory does not exist; [`Error::InvalidArgument`]
    /// if something in the path is no directory, or the path names one; [`Error::Busy`] if the dataset
    /// is occupied; [`Error::NotSupported`] if the old file has other names too, or attributes in a
    /// directory of their own; [`Error::NoSpace`], and then the old file stays.
    pub fn write_file(
        &self,
        dataset: &DatasetName,
        path: &str,
        mode: u32,
        content: &[u8],
    ) -> Result<(), Error> {
        let mut file = Entry::new(path, Kind::File, mode);
        file.size = content.len() as u64;
        touch(&mut file);
        let mut tree = self.write_tree(dataset);
        tree.add(&file);
        tree.content(0, content);
        tree.finish()
    }

    /// Creates a directory; the one that it lies in must exist, and keeps its times.
    ///
    /// # Errors
    /// As [`Engine::write_file`]; [`Error::Exists`] if there is anything of that name.
    pub fn create_directory(
        &self,
        dataset: &DatasetName,
        path: &str,
        mode: u32,
    ) -> Result<(), Error> {
        let mut directory = Entry::new(path, Kind::Directory, mode);
        touch(&mut directory);
        let mut tree = self.write_tree(dataset).without_replacing();
        tree.add(&directory);
        tree.finish()
    }

    /// The content of a regular file in a dataset or snapshot; `None` if there is none of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the dataset or snapshot does not exist; [`Error::TooLarge`] if the file
    /// has more than `limit` bytes; [`Error::Io`] if it is damaged; [`Error::KeyUnavailable`];
    /// [`Error::NotSupported`] if it is a volume.
    pub fn read_file(
        &self,
        object: &str,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let mut walk = self.walk_one(object, path, Content::Read)?;
        let Some(entry) = walk.next_entry()? else {
            return Ok(None);
        };
        if entry.kind != Kind::File {
            return Ok(None);
        }
        let size = usize::try_from(entry.size).unwrap_or(usize::MAX);
        if size > limit {
            return Err(Error::TooLarge(Attempt::new("read a file of", object)));
        }
        let mut content = vec![0; size];
        while let Some((offset, bytes)) = walk.next_content()? {
            // The engine tells no content beyond the size.
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            if let Some(room) = content.get_mut(at..at.saturating_add(bytes.len())) {
                room.copy_from_slice(bytes);
            }
        }
        Ok(Some(content))
    }
}

fn touch(entry: &mut Entry) {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = Time {
        seconds: now.as_secs().try_into().unwrap_or_default(),
        nanoseconds: now.subsec_nanos(),
    };
    (entry.accessed, entry.modified, entry.changed) = (now, now, now);
}
