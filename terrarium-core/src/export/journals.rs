//! Where is noted what of a stream is stored already.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use terrarium_s3::format::{ArchiveId, Lineage};
use terrarium_s3::pipeline::Ids;

use crate::error::Error;

/// The journals of one instance's exports into one archive. Whoever uses them has the instance's lock.
pub(super) struct Journals {
    folder: PathBuf,
    of_it: String,
}

impl Journals {
    pub(super) fn new(folder: &Path, archive: ArchiveId, lineage: Lineage) -> Self {
        Self {
            folder: folder.to_owned(),
            of_it: format!("{archive}.{lineage}."),
        }
    }

    /// The journal of a stream; those of earlier streams go, which nobody will send again.
    pub(super) fn open(&self, stream: Ids) -> Result<PathBuf, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|source| self.failed(source))?;
        let from = stream
            .from
            .map_or("full".to_owned(), |from| from.to_string());
        let name = format!("{}{}.{from}.journal", self.of_it, stream.guid);
        self.remove_all_but(Some(&name))?;
        Ok(self.folder.join(name))
    }

    /// None is needed any more.
    pub(super) fn remove(&self) -> Result<(), Error> {
        self.remove_all_but(None)
    }

    fn remove_all_but(&self, kept: Option<&str>) -> Result<(), Error> {
        let files = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files.map_err(|source| self.failed(source))?,
        };
        for file in files {
            let file = file.map_err(|source| self.failed(source))?;
            let name = file.file_name();
            let of_it = name.to_str().is_some_and(|name| {
                name.starts_with(&self.of_it) && name.ends_with(".journal") && Some(name) != kept
            });
            if of_it {
                match fs::remove_file(file.path()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(self.failed(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> Error {
        let path = self.folder.clone();
        Error::File { path, source }
    }
}

#[cfg(test)]
mod tests {
    use terrarium_zfs::Guid;

    use super::*;

    #[test]
    fn a_journal_stays_as_long_as_its_stream_is_the_one_to_send() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("exports");
        let archive = ArchiveId::random().unwrap();
        let journals = |lineage| Journals::new(&folder, archive, lineage);
        let (web, db) = (Lineage::random().unwrap(), Lineage::random().unwrap());
        let stream = |guid, from: Option<u64>| Ids {
            guid: Guid::new(guid),
            from: from.map(Guid::new),
        };
        journals(web).remove().unwrap();
        let first = journals(web).open(stream(1, None)).unwrap();
        let other = journals(db).open(stream(1, None)).unwrap();
        fs::write(&first, "").unwrap();
        fs::write(&other, "").unwrap();
        assert_eq!(journals(web).open(stream(1, None)).unwrap(), first);
        assert!(first.exists());

        let second = journals(web).open(stream(1, Some(7))).unwrap();
        fs::write(&second, "").unwrap();
        assert!(!first.exists() && other.exists());
        journals(web).remove().unwrap();
        assert!(!second.exists() && other.exists());
    }
}
