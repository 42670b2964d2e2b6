//! A chain of send streams, received into a pool that exists only while somebody looks at it.
//!
//! Nothing of the machine is needed but OpenZFS's library and room in a folder: no kernel module, no root.
//! The pool's file has no name once it is made, so that it is gone with the process, however that ends.

mod chain;
mod error;
mod source;

use std::io::{self, PipeWriter, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use terrarium_zfs::stream::{BeginRecord, Inspector};
use terrarium_zfs::{DatasetName, Guid, ReceiveOptions, SnapshotName};
use terrarium_zpool::{Engine, MIN_POOL_SIZE};

pub use chain::Chain;
pub use error::ScratchError;
pub use source::Source;

use source::Opened;

/// How a scratch pool is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScratchOptions {
    /// The folder that has the room: as much as the streams and a quarter, and 256 MiB. By default the
    /// system's folder for temporary files.
    pub folder: PathBuf,
    /// The engine.
    pub engine: terrarium_zpool::Options,
}

impl Default for ScratchOptions {
    fn default() -> Self {
        Self {
            folder: std::env::temp_dir(),
            engine: terrarium_zpool::Options::default(),
        }
    }
}

/// A chain of streams that was received into a pool of its own. Dropping it removes the pool.
#[derive(Debug)]
pub struct Scratch {
    engine: Engine,
    points: Vec<Point>,
}

/// A snapshot that a stream has made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Point {
    /// Its name in the scratch pool.
    pub snapshot: SnapshotName,
    /// What its stream says of it: the name that it had, its guid, when it was taken.
    pub begin: BeginRecord,
}

impl Scratch {
    /// Receives streams that make a [`Chain`]; whether they do is looked at before any work is done.
    ///
    /// `watch` is told the sum of the bytes that were read, again and again; if it breaks, so does this.
    ///
    /// The checksums are verified before the engine sees anything: a stream that is damaged, cut short or
    /// followed by something else is an error that says where.
    ///
    /// # Errors
    /// [`ScratchError`]; nothing is left behind then.
    pub fn receive(
        sources: Vec<Source<'_>>,
        options: &ScratchOptions,
        watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<Self, ScratchError> {
        Chain::new(sources)?.receive(options, watch)
    }

    fn of_chain(
        chain: Chain<'_>,
        options: &ScratchOptions,
        watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<Self, ScratchError> {
        go_on(watch, 0)?;
        let mut scratch = Self {
            engine: create_pool(options, chain.bytes())?,
            points: Vec::with_capacity(chain.streams.len()),
        };
        let mut before = 0;
        for stream in chain.streams {
            before += scratch.add(stream, &|bytes| watch(before + bytes))?;
        }
        Ok(scratch)
    }

    /// Receives a full stream into a pool that has room for `bytes` of streams: for chains whose streams are not all
    /// at hand at once. The others follow by [`push`](Self::push).
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn begin(
        first: Source<'_>,
        bytes: u64,
        options: &ScratchOptions,
        watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<Self, ScratchError> {
        go_on(watch, 0)?;
        let streams = first.open_all()?;
        let mut scratch = Self {
            engine: create_pool(options, bytes)?,
            points: Vec::with_capacity(1),
        };
        scratch.add_all(streams, watch)?;
        match scratch.points.is_empty() {
            true => Err(ScratchError::NoStreams),
            false => Ok(scratch),
        }
    }

    /// Receives one more stream, which starts from a snapshot that is there.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub fn push(
        &mut self,
        next: Source<'_>,
        watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<(), ScratchError> {
        let streams = next.open_all()?;
        self.add_all(streams, watch)
    }

    fn add_all(
        &mut self,
        streams: Vec<Opened<'_>>,
        watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<(), ScratchError> {
        for stream in streams {
            if let Some(from) = stream.begin.from_guid()
                && self.point(from).is_none()
            {
                let stream = stream.name;
                return Err(ScratchError::NoSource { stream, from });
            }
            let guid = stream.begin.to_guid();
            if let Some(other) = self.point(guid) {
                return Err(ScratchError::Twice {
                    stream: stream.name,
                    other: other.begin.to_name(),
                    guid,
                });
            }
            self.add(stream, watch)?;
        }
        Ok(())
    }

    /// The engine that holds the pool.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The snapshot that the last stream has made.
    pub fn last(&self) -> &Point {
        // A chain without streams is refused.
        &self.points[self.points.len() - 1]
    }

    /// The snapshots that the streams have made, in their order.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The snapshot of a guid.
    pub fn point(&self, guid: Guid) -> Option<&Point> {
        self.points
            .iter()
            .find(|point| point.begin.to_guid() == guid)
    }

    /// Receives one more stream, and says how many bytes it had.
    fn add(
        &mut self,
        stream: Opened<'_>,
        watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<u64, ScratchError> {
        let name = stream.name.clone();
        let begin = stream.begin.clone();
        let source = begin.from_guid().and_then(|guid| self.point(guid));
        let number = self.points.len();
        let (snapshot, origin) = match source {
            Some(source) if !begin.is_clone() => {
                (snapshot_name(source.snapshot.dataset_str(), number)?, None)
            }
            origin => (snapshot_name(&format!("{POOL}/{number}"), number)?, origin),
        };
        let how = ReceiveOptions {
            origin: origin.map(|origin| origin.snapshot.clone()),
            ..ReceiveOptions::default()
        };
        let (reader, writer) = io::pipe().map_err(|source| ScratchError::Read {
            stream: name.clone(),
            source,
        })?;
        let (pumped, received) = std::thread::scope(|scope| {
            let pump = scope.spawn(move || pump(stream, writer, watch));
            let received = self.engine.receive(&snapshot, &how, &reader);
            // Whoever still writes is to notice that nobody reads any more.
            drop(reader);
            let pumped = pump.join();
            let pumped = pumped.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (pumped, received)
        });
        // What is wrong with the stream explains what the engine made of it.
        let bytes = match pumped {
            Ok(Pumped::All(bytes)) => bytes,
            Ok(Pumped::NotAll) => 0,
            Err(error) => return Err(error),
        };
        received.map_err(|source| ScratchError::Receive {
            stream: name,
            source,
        })?;
        self.points.push(Point { snapshot, begin });
        Ok(bytes)
    }
}

enum Pumped {
    /// The stream was sound, and the engine has all of so many bytes.
    All(u64),
    /// The engine stopped reading, and will say why.
    NotAll,
}

/// Passes a stream on to the engine, each piece after it was checked.
fn pump(
    mut stream: Opened<'_>,
    mut output: PipeWriter,
    watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<Pumped, ScratchError> {
    let mut inspector = Inspector::new();
    let damaged = |source| ScratchError::Damaged {
        stream: stream.name.clone(),
        source,
    };
    let mut buffer = vec![0; PIECE];
    loop {
        let length = match stream.input.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(ScratchError::Read {
                    stream: stream.name,
                    source,
                });
            }
        };
        inspector.push(&buffer[..length]).map_err(damaged)?;
        go_on(watch, inspector.bytes())?;
        match output.write_all(&buffer[..length]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Pumped::NotAll),
            Err(source) => {
                return Err(ScratchError::Read {
                    stream: stream.name,
                    source,
                });
            }
        }
    }
    inspector.finish().map_err(damaged)?;
    Ok(Pumped::All(inspector.bytes()))
}

/// How much is read at once.
const PIECE: usize = 256 << 10;

/// The name of a scratch pool.
const POOL: &str = "scratch";

fn snapshot_name(dataset: &str, number: usize) -> Result<SnapshotName, ScratchError> {
    let dataset = DatasetName::new(dataset);
    let name = dataset.and_then(|dataset| dataset.snapshot(&number.to_string()));
    name.map_err(|error| ScratchError::Pool(error.into()))
}

/// A pool with room for streams of so many bytes. Its file has no name any more.
fn create_pool(options: &ScratchOptions, bytes: u64) -> Result<Engine, ScratchError> {
    let folder = Folder::new(&options.folder)?;
    let size = pool_size(bytes);
    let engine = options.engine.create(&folder.0.join("pool"), POOL, size);
    Ok(engine?)
}

/// What is in streams takes no more room in a pool than in them, but for the copies of metadata; and ZFS
/// keeps a part of the pool for itself (`spa_slop_shift`: a 32nd, at least 128 MiB of pools that are not tiny).
fn pool_size(bytes: u64) -> u64 {
    let size = bytes.saturating_add(bytes / 4).saturating_add(256 << 20);
    size.max(MIN_POOL_SIZE).next_multiple_of(1 << 20)
}

/// A folder of our own for as long as the pool's file needs a name.
struct Folder(PathBuf);

impl Folder {
    fn new(within: &Path) -> Result<Self, ScratchError> {
        let process = std::process::id();
        let mut attempt = 0u32;
        loop {
            let path = within.join(format!("terrarium-scratch-{process}-{attempt}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {
                    attempt += 1;
                }
                Err(source) => {
                    return Err(ScratchError::Folder {
                        path: within.to_owned(),
                        source,
                    });
                }
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed here is in nobody's way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn go_on(watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync), bytes: u64) -> Result<(), ScratchError> {
    match watch(bytes) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ScratchError::Interrupted),
    }
}
