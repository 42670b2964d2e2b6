//! Writing a tree.

use std::io::{self, BufWriter, PipeWriter};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::JoinHandle;

use terrarium_zfs::nvlist::{NvList, Value};
use terrarium_zfs::tree::Entry;
use terrarium_zfs::{Attempt, DatasetName, Error};

use super::frames::{PIECE, Writer};
use super::walk::pipe;
use crate::datasets::for_dataset;
use crate::engine::{Engine, errno, error_of};

const OPERATION: &str = "write files into";

impl Engine {
    /// Writes entries into a dataset, parents first. Much faster than a call for each: all of them are on
    /// disk when [`TreeWriter::finish`] returns, before that any number may be.
    ///
    /// A file takes the place of an old one, a directory that is there gets the attributes of its entry;
    /// no directory's times change by what is written into it.
    pub fn write_tree(&self, dataset: &DatasetName) -> TreeWriter {
        TreeWriter {
            engine: self.clone(),
            dataset: dataset.clone(),
            replace: true,
            running: None,
        }
    }
}

/// A tree that is being written. Errors are told at the end; after one nothing more is written. Dropped
/// before the end, it leaves what was written so far.
#[derive(Debug)]
pub struct TreeWriter {
    engine: Engine,
    dataset: DatasetName,
    replace: bool,
    running: Option<Result<Running, Error>>,
}

struct Running {
    frames: Writer<BufWriter<PipeWriter>>,
    call: JoinHandle<Result<NvList, Error>>,
    /// The first error of the pipe: the call knows why.
    failed: Option<io::Error>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl TreeWriter {
    /// An entry whose name is taken is an error from now on.
    #[must_use]
    pub fn without_replacing(mut self) -> Self {
        self.replace = false;
        self
    }

    /// Adds an entry; its size, if it is a file, is what its content must fit in. A second name is added by
    /// [`TreeWriter::link`]: `object` and `links` are not looked at.
    pub fn add(&mut self, entry: &Entry) {
        let replace = self.replace;
        self.put(|frames| frames.entry(entry, replace));
    }

    /// Adds content of the file that was added last. What is not added is zero.
    pub fn content(&mut self, offset: u64, bytes: &[u8]) {
        self.put(|frames| frames.content(offset, bytes));
    }

    /// Makes `path` another name of what `of` leads to.
    pub fn link(&mut self, path: impl AsRef<Path>, of: impl AsRef<Path>) {
        self.put(|frames| frames.link(path.as_ref(), of.as_ref()));
    }

    /// Ends the tree, and waits until it is on disk.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the dataset or a directory does not exist; [`Error::Exists`] if a directory's
    /// name is taken by something else, or any name that may not be [replaced](Self::without_replacing);
    /// [`Error::InvalidArgument`] if something in a path is no directory, a name is none, content does not
    /// fit in its file, or a directory stands where a file is to be; [`Error::NotSupported`] if the old file
    /// has other names too, or attributes in a directory of their own, or the dataset is a volume;
    /// [`Error::TooLarge`] for names above
    /// 255 bytes and attributes above 64 KiB; [`Error::Busy`] if the dataset is occupied;
    /// [`Error::NoSpace`]. What was added before the entry that failed is there.
    pub fn finish(mut self) -> Result<(), Error> {
        self.put(Writer::end);
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let Running {
            frames,
            call,
            failed,
        } = running?;
        // The engine sees the end of the pipe, whatever it waits for.
        drop(frames);
        let answer = match call.join() {
            Ok(answer) => answer?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match (errno(&answer), failed) {
            (0, None) => Ok(()),
            // Its end never came: what could not be put into the pipe was refused here.
            (0 | libc::EPIPE, Some(error)) => Err(error_of(
                OPERATION,
                self.dataset.as_str(),
                error.raw_os_error().unwrap_or(libc::EINVAL),
            )),
            (error, _) => Err(self.error_of(error, &answer)),
        }
    }

    fn error_of(&self, error: i32, answer: &NvList) -> Error {
        let path = match answer.value("path") {
            Some(Value::Bytes([path @ .., 0])) if !path.is_empty() => {
                String::from_utf8_lossy(path).into_owned()
            }
            _ => return error_of(OPERATION, self.dataset.as_str(), error),
        };
        let object = format!("{}: {path}", self.dataset);
        match error {
            libc::EEXIST => Error::Exists {
                attempt: Attempt::new("write", object),
                name: path,
            },
            error => error_of("write", &object, error),
        }
    }

    fn put(&mut self, put: impl FnOnce(&mut Writer<BufWriter<PipeWriter>>) -> io::Result<()>) {
        if self.running.is_none() {
            self.running = Some(start(&self.engine, &self.dataset));
        }
        if let Some(Ok(running)) = &mut self.running
            && running.failed.is_none()
        {
            running.failed = put(&mut running.frames).err();
        }
    }
}

fn start(engine: &Engine, dataset: &DatasetName) -> Result<Running, Error> {
    let request = for_dataset(dataset)?;
    let (output, input) = pipe().map_err(|error| Error::Io {
        attempt: Attempt::new(OPERATION, dataset.as_str()),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    })?;
    let (engine, name) = (engine.clone(), dataset.clone());
    let call = std::thread::spawn(move || {
        engine.ask(
            "write",
            OPERATION,
            name.as_str(),
            request,
            Some(output.as_fd()),
        )
    });
    Ok(Running {
        frames: Writer::new(BufWriter::with_capacity(PIECE, input)),
        call,
        failed: None,
    })
}
