//! Files and directories of a dataset.

use terrarium_zfs::nvlist::{NvList, Value};
use terrarium_zfs::{Attempt, DatasetName, Error};

use crate::datasets::for_dataset;
use crate::engine::{Engine, number};

/// The largest file that is written in one call.
const MAX_FILE: usize = 64 << 20;
/// The largest file that is read in one call: it comes as one message.
const MAX_READ: usize = 512 << 20;

impl Engine {
    /// Writes a regular file, new or in place of an old one; its directory must exist. It belongs to
    /// root, and has the mode that is given.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the dataset or the directory does not exist; [`Error::InvalidArgument`]
    /// if something in the path is no directory, or the path names one; [`Error::Busy`] if the dataset
    /// is occupied; [`Error::NotSupported`] if the old file has other names too, or attributes in a
    /// directory of their own; [`Error::TooLarge`] above 64 MiB; [`Error::NoSpace`], and then the old file stays.
    pub fn write_file(
        &self,
        dataset: &DatasetName,
        path: &str,
        mode: u32,
        content: &[u8],
    ) -> Result<(), Error> {
        let operation = "write a file in";
        if content.len() > MAX_FILE {
            return Err(Error::TooLarge(Attempt::new(operation, dataset.as_str())));
        }
        let mut request = at_path(dataset, path, mode)?;
        if !content.is_empty() {
            request.add_bytes("content", content)?;
        }
        self.call("write-file", operation, dataset.as_str(), request)
            .map(drop)
    }

    /// Creates a directory; the one that it lies in must exist.
    ///
    /// # Errors
    /// As [`Engine::write_file`]; [`Error::Exists`] if there is anything of that name.
    pub fn create_directory(
        &self,
        dataset: &DatasetName,
        path: &str,
        mode: u32,
    ) -> Result<(), Error> {
        let request = at_path(dataset, path, mode)?;
        let operation = "create a directory in";
        self.call("create-directory", operation, dataset.as_str(), request)
            .map(drop)
    }

    /// The content of a regular file in a dataset or snapshot; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the dataset or snapshot does not exist; [`Error::TooLarge`] if the file
    /// has more than `limit` bytes, or than 512 MiB; [`Error::Io`] if it is damaged; [`Error::KeyUnavailable`];
    /// [`Error::NotSupported`] if it is a volume.
    pub fn read_file(
        &self,
        object: &str,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let operation = "read a file of";
        let mut request = NvList::new()?;
        request.add_str("object", object)?;
        request.add_str("path", path)?;
        request.add_u64("limit", limit.min(MAX_READ) as u64)?;
        let answer = self.call("read-file", operation, object, request)?;
        if number(answer.view(), "absent") != 0 {
            return Ok(None);
        }
        Ok(Some(match answer.value("content") {
            Some(Value::Bytes(content)) => content.to_vec(),
            _ => Vec::new(),
        }))
    }
}

fn at_path(dataset: &DatasetName, path: &str, mode: u32) -> Result<NvList, Error> {
    let mut request = for_dataset(dataset)?;
    request.add_str("path", path)?;
    request.add_u64("mode", mode.into())?;
    Ok(request)
}
