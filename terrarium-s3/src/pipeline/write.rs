//! From a stream to parts in a store.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use terrarium_zfs::stream::{BeginRecord, Inspector};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::crypto::Recipients;
use crate::format::{Layout, Part, PartPlace, Place, RunId};
use crate::pipeline::Options;
use crate::pipeline::codec::{self, Compressor, Encoded, OVERHEAD, Plain};
use crate::pipeline::error::{Ids, WriteError};
use crate::pipeline::journal::{Journal, is_young};
use crate::pipeline::memory::{Budget, Memory};
use crate::pipeline::pool::Pool;
use crate::pipeline::tree::{self, Node};
use crate::store::{Store, StoreError, create_or_same};

/// A stream whose parts are all in the store: it was whole, its END record was seen and all its checksums
/// were right. Nobody finds it before it is [published](crate::pipeline::publish).
pub struct Stored {
    /// What the stream says of itself.
    pub begin: BeginRecord,
    /// Its parts.
    pub parts: Vec<Part>,
    /// Its size in bytes.
    pub stream_bytes: u64,
    /// The BLAKE3 of all its bytes. It is a secret, as the content is.
    pub stream_blake3: blake3::Hash,
    /// How many of the parts an earlier, interrupted run has stored.
    pub reused: usize,
    pub(super) journal: Option<Journal>,
    pub(super) run: RunId,
    pub(super) recipients: Recipients,
    pub(super) options: Options,
}

impl Stored {
    /// The size of all parts as they are stored, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.stored_bytes).sum()
    }
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("begin", &self.begin)
            .field("stream_bytes", &self.stream_bytes)
            .field("parts", &self.parts.len())
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

/// Stores the stream that is to be read, and checks it on the way. It must be the whole stream of one
/// snapshot; with `expected`, of that one.
///
/// With a journal ([`Options::journal`]) what an interrupted run has stored already is not stored again,
/// if the same stream comes again. It is to be called from within a Tokio runtime with time enabled; the stream is
/// read by a thread of its own. When this fails, or is dropped, that thread ends with its next read.
///
/// That the *sender* ended well is for the caller to see to, before it publishes.
///
/// # Errors
/// [`WriteError`]. Parts that are stored then are leftovers, for the journal's next run or to be collected.
pub async fn write_stream<S: Store>(
    store: Arc<S>,
    layout: &Layout,
    recipients: &Recipients,
    stream: impl Read + Send + 'static,
    expected: Option<Ids>,
    options: &Options,
) -> Result<Stored, WriteError> {
    let part_size = options.part_size;
    if !(MIN_PART..=Part::MAX_STREAM as usize).contains(&part_size) {
        return Err(WriteError::PartSize { part_size });
    }
    // What comes from the stream has a budget of its own, and so has what is made of it: a part waits for room for its
    // object while it keeps its bytes, and objects wait for the store alone.
    let plain_memory = options.memory / 2;
    let object_memory = options.memory - plain_memory;
    let (plain, _plain_ends) = Budget::new(plain_memory);
    let (objects, _objects_end) = Budget::new(object_memory);
    let most = |memory: usize, size: usize| Arc::new(Pool::new((memory / size).max(1)));
    let buffers = most(plain_memory, part_size.saturating_add(OVERHEAD));
    let bodies = most(object_memory, codec::encoded_bound(part_size, recipients));
    let (sender, mut pieces) = mpsc::channel(1);
    let cutter = Cutter {
        memory: plain,
        buffers: buffers.clone(),
        sender,
        part_size,
        expected,
        options: options.clone(),
        runtime: Handle::current(),
    };
    let reading = tokio::task::spawn_blocking(move || cutter.run(stream));

    let run = RunId::random().map_err(WriteError::Random)?;
    let mut writing = Arc::new(Writing {
        store,
        layout: layout.clone(),
        recipients: recipients.clone(),
        options: options.clone(),
        coding: Arc::new(Semaphore::new(options.workers())),
        buffers,
        objects,
        bodies,
        compressors: Arc::new(Pool::new(options.workers())),
        run,
        plain_key: None,
    });
    let mut tasks: JoinSet<Result<Done, WriteError>> = JoinSet::new();
    let mut journal: Option<Journal> = None;
    let mut parts = BTreeMap::new();
    let mut nodes = BTreeMap::new();
    let mut reused = 0;
    let mut failed = None;
    let mut more = true;
    while more || !tasks.is_empty() {
        let step = tokio::select! {
            biased;
            Some(done) = tasks.join_next() => match done {
                Ok(Ok(done)) => {
                    reused += usize::from(done.reused);
                    let noted = match (&mut journal, done.plain) {
                        (Some(journal), Some(plain)) if !done.reused => {
                            journal.add(&done.part, plain)
                        }
                        _ => Ok(()),
                    };
                    nodes.extend(done.node.map(|node| (done.number, node)));
                    parts.insert(done.number, done.part);
                    noted
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(WriteError::Interrupted),
            },
            piece = pieces.recv(), if more => match piece {
                Some(piece) => {
                    let mut opened = Ok(());
                    if let (Some(path), None) = (&options.journal, &journal) {
                        match open(&writing, path, piece.ids).await {
                            Ok(new) => {
                                Arc::make_mut(&mut writing).plain_key = Some(new.key());
                                journal = Some(new);
                            }
                            Err(error) => opened = Err(error),
                        }
                    }
                    if opened.is_ok() {
                        let known = journal.as_ref().and_then(|journal| journal.known(piece.number));
                        tasks.spawn(writing.clone().write(piece, known));
                    }
                    opened
                }
                None => {
                    more = false;
                    Ok(())
                }
            },
        };
        if let Err(error) = step {
            // What is on its way still may arrive, and need not be stored again.
            failed.get_or_insert(error);
            pieces.close();
            more = false;
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let end = reading.await.map_err(|_| WriteError::Interrupted)??;
    let nodes: Vec<Node> = nodes.into_values().collect();
    let blake3 = end.blake3.or_else(|| tree::root(&nodes));
    Ok(Stored {
        begin: end.begin,
        parts: parts.into_values().collect(),
        stream_bytes: end.bytes,
        stream_blake3: blake3.ok_or(WriteError::Interrupted)?,
        reused,
        journal,
        run,
        recipients: recipients.clone(),
        options: options.clone(),
    })
}

const MIN_PART: usize = 4 << 10;

/// By how much a buffer grows, until it is as large as a part.
const STEP: usize = 1 << 20;

/// Opens the journal, and forgets what is not in the store as it was.
async fn open<S: Store>(
    writing: &Writing<S>,
    path: &Path,
    ids: Ids,
) -> Result<Journal, WriteError> {
    let prefix = writing.layout.parts(ids.guid, ids.from);
    let mut journal = Journal::open(
        path,
        ids,
        prefix.clone(),
        writing.options.part_size,
        &writing.recipients,
    )?;
    if !journal.is_empty() {
        let objects = writing.retry(0, || writing.store.list(&prefix)).await?;
        // What nobody names is collected after a while.
        let newest = objects.iter().map(|object| object.modified).max();
        let young = newest.is_some_and(|newest| is_young(newest, Timestamp::now()));
        let there: HashMap<_, _> = objects
            .into_iter()
            .filter(|_| young)
            .filter_map(|object| Some((writing.layout.place(&object.key)?, object.size)))
            .collect();
        journal.retain(|part| there.get(&Place::Part(part.key)) == Some(&part.stored_bytes));
    }
    Ok(journal)
}

/// A part's bytes, before anything was done with them.
struct Piece {
    number: u32,
    ids: Ids,
    plain: Plain,
    memory: Memory,
}

/// What is known once the stream has ended well.
struct End {
    begin: BeginRecord,
    bytes: u64,
    /// Unless it follows from the parts.
    blake3: Option<blake3::Hash>,
}

/// Reads the stream, checks it, and cuts it into parts.
struct Cutter {
    memory: Budget,
    buffers: Arc<Pool>,
    sender: mpsc::Sender<Piece>,
    part_size: usize,
    expected: Option<Ids>,
    options: Options,
    runtime: Handle,
}

impl Cutter {
    fn run(self, mut stream: impl Read) -> Result<End, WriteError> {
        let mut inspector = Inspector::new();
        let mut hasher = (!tree::are_nodes(self.part_size)).then(blake3::Hasher::new);
        let mut begin: Option<BeginRecord> = None;
        for number in 0.. {
            let memory = self
                .runtime
                .block_on(self.memory.take(self.part_size.saturating_add(OVERHEAD)))
                .ok_or(WriteError::Interrupted)?;
            let mut buffer = self.buffers.take(self.part_size);
            let mut filled = 0;
            let mut ended = false;
            while filled < self.part_size && !ended {
                if filled == buffer.len() {
                    // Only what is read takes memory. A buffer that was used is as long as it became.
                    buffer.resize(self.part_size.min(filled + STEP), 0);
                }
                let most = buffer.len().min(self.part_size);
                let length = read(&mut stream, &mut buffer[filled..most])?;
                let new = &buffer[filled..filled + length];
                inspector.push(new)?;
                if let Some(hasher) = &mut hasher {
                    hasher.update(new);
                }
                self.options.progressed(length as u64, 0);
                filled += length;
                ended = length == 0;
            }
            if ended {
                inspector.finish()?;
            }
            let begin = match &begin {
                Some(begin) => begin,
                None => {
                    let found = self.look_at(&mut inspector)?;
                    begin.insert(found)
                }
            };
            if filled > 0 {
                if number > PartPlace::MAX_NUMBER {
                    let part_size = self.part_size;
                    return Err(WriteError::TooLong { part_size });
                }
                let piece = Piece {
                    number,
                    ids: ids(begin),
                    plain: Plain {
                        buffer,
                        length: filled,
                    },
                    memory,
                };
                let sent = self.sender.blocking_send(piece);
                sent.map_err(|_| WriteError::Interrupted)?;
            }
            if ended {
                return Ok(End {
                    begin: begin.clone(),
                    bytes: inspector.bytes(),
                    blake3: hasher.map(|hasher| hasher.finalize()),
                });
            }
        }
        // The numbers do not end before the loop does.
        Err(WriteError::Interrupted)
    }

    /// What the first record says, before anything is stored.
    fn look_at(&self, inspector: &mut Inspector) -> Result<BeginRecord, WriteError> {
        if inspector.package().is_some() {
            return Err(WriteError::Package);
        }
        let streams = inspector.take_streams();
        let stream = inspector.unfinished().or(streams.first());
        let begin = &stream.ok_or(WriteError::Interrupted)?.begin;
        if begin.is_resuming() {
            return Err(WriteError::Rest);
        }
        let found = ids(begin);
        match self.expected {
            Some(expected) if expected != found => Err(WriteError::Unexpected { expected, found }),
            _ => Ok(begin.clone()),
        }
    }
}

fn ids(begin: &BeginRecord) -> Ids {
    Ids {
        guid: begin.to_guid(),
        from: begin.from_guid(),
    }
}

fn read(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize, WriteError> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(WriteError::Read),
        }
    }
}

/// What all parts of a stream have in common.
struct Writing<S> {
    store: Arc<S>,
    layout: Layout,
    recipients: Recipients,
    options: Options,
    coding: Arc<Semaphore>,
    buffers: Arc<Pool>,
    /// The memory of what is to be stored: of an object as much as may be needed for any, since it is used again.
    objects: Budget,
    bodies: Arc<Pool>,
    /// Those that wait for a part.
    compressors: Arc<Pool<Compressor>>,
    run: RunId,
    plain_key: Option<blake3::Hash>,
}

impl<S> Clone for Writing<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            layout: self.layout.clone(),
            recipients: self.recipients.clone(),
            options: self.options.clone(),
            coding: self.coding.clone(),
            buffers: self.buffers.clone(),
            objects: self.objects.clone(),
            bodies: self.bodies.clone(),
            compressors: self.compressors.clone(),
            run: self.run,
            plain_key: self.plain_key,
        }
    }
}

/// A part that is in the store.
struct Done {
    number: u32,
    part: Part,
    node: Option<Node>,
    plain: Option<blake3::Hash>,
    reused: bool,
}

impl<S: Store> Writing<S> {
    async fn write(
        self: Arc<Self>,
        piece: Piece,
        known: Option<(Part, blake3::Hash)>,
    ) -> Result<Done, WriteError> {
        let Piece {
            number,
            ids,
            plain: bytes,
            memory,
        } = piece;
        let size = bytes.len() as u64;
        // While it has no turn, others may store what they have.
        let bound = codec::encoded_bound(bytes.len(), &self.recipients);
        let object = self.objects.take(bound).await;
        let _object = object.ok_or(WriteError::Interrupted)?;
        let turn = self.coding.clone().acquire_owned().await;
        let turn = turn.map_err(|_| WriteError::Interrupted)?;

        let (key, part_size) = (self.plain_key, self.options.part_size);
        let hashing = tokio::task::spawn_blocking(move || {
            let node = Node::new(&bytes, number, part_size);
            let hashed = key.map(|key| {
                let bytes = node.as_ref().map_or(&bytes[..], Node::as_bytes);
                blake3::keyed_hash(key.as_bytes(), bytes)
            });
            (node, hashed, bytes)
        });
        let (node, plain, bytes) = hashing.await.map_err(|_| WriteError::Interrupted)?;
        if let Some((part, known)) = known
            && plain == Some(known)
            && part.stream_bytes == size
        {
            self.options.progressed(0, part.stored_bytes);
            return Ok(Done {
                number,
                part,
                node,
                plain,
                reused: true,
            });
        }

        let writing = self.clone();
        let encoding = tokio::task::spawn_blocking(move || writing.encode(bytes, memory));
        let encoded = encoding.await.map_err(|_| WriteError::Interrupted)?;
        let Encoded {
            body,
            crc32,
            blake3,
        } = encoded.map_err(|source| WriteError::Encode { number, source })?;
        drop(turn);

        let place = PartPlace {
            guid: ids.guid,
            from: ids.from,
            run: self.run,
            number,
        };
        let part = Part {
            key: place,
            stream_bytes: size,
            stored_bytes: body.len() as u64,
            crc32,
            blake3,
        };
        let key = self.layout.key(&Place::Part(place))?;
        let store = &*self.store;
        self.retry(number, || create_or_same(store, &key, body.clone()))
            .await?;
        codec::give_back(body, &self.bodies);
        self.options.progressed(0, part.stored_bytes);
        Ok(Done {
            number,
            part,
            node,
            plain,
            reused: false,
        })
    }

    /// The memory is that of the plain bytes, which goes with them.
    fn encode(&self, plain: Plain, _memory: Memory) -> io::Result<Encoded> {
        let encode = |plain, compressor: &mut Compressor| {
            codec::encode(
                plain,
                &self.recipients,
                compressor,
                &self.buffers,
                &self.bodies,
            )
        };
        if !codec::compresses(&plain)? {
            return encode(plain, &mut Compressor::fastest()?);
        }
        let mut compressor = match self.compressors.take_used() {
            Some(compressor) => compressor,
            None => Compressor::new(self.options.level)?,
        };
        let encoded = encode(plain, &mut compressor)?;
        self.compressors.give(compressor);
        Ok(encoded)
    }

    async fn retry<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        number: u32,
        call: impl FnMut() -> F,
    ) -> Result<T, WriteError> {
        let done = self.options.retry(call).await;
        done.map_err(|source| WriteError::Store { number, source })
    }
}
