//! Whether everything is there that every restore point needs, and what depends on what is not.

mod graph;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use terrarium_zfs::{Guid, SnapshotName};

use crate::archive::error::is_damage;
use crate::archive::verify::graph::{Graph, Looked};
use crate::archive::{Archive, ArchiveError, Entry, Point};
use crate::crypto::{CryptoError, Identities};
use crate::format::{Base, Lineage, Manifest, ManifestPlace, OpenError, PartPlace, Place, Verdict};
use crate::pipeline::{Options, ReadError, read_stream};
use crate::store::{Key, Store};

/// How much is looked at.
#[derive(Clone, Debug)]
pub enum Depth {
    /// Whether each object is there and has the right size. Nothing but manifests is read.
    Shallow,
    /// Each stream is read back too: fetched, decrypted, decompressed, and checked as a whole.
    Deep(Arc<Identities>),
}

/// What was found.
#[derive(Debug)]
pub struct Verification {
    /// Each point that was looked at: by lineage, then from the oldest to the newest.
    pub points: Vec<PointReport>,
    /// What is wrong.
    pub damages: Vec<Damage>,
}

/// What is to be thought of a restore point.
#[derive(Clone, Debug)]
pub struct PointReport {
    /// Where its manifest stands.
    pub place: ManifestPlace,
    /// The name that it was stored under; none if its manifest cannot be read, as those that follow.
    pub instance: Option<String>,
    /// The snapshot.
    pub snapshot: Option<SnapshotName>,
    /// Who wrote the manifest.
    pub verdict: Option<Verdict>,
    /// Whether it can be restored.
    pub state: State,
}

/// Whether a restore point can be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Yes, as far as it was looked at.
    Whole,
    /// It was encrypted to others than the identities that were given: its content was not looked at.
    Unread,
    /// No: something of its own is damaged or missing. The [`Damage`]s say what.
    Damaged,
    /// No: these points that it builds upon are damaged.
    Affected(Vec<ManifestPlace>),
}

/// Something that is damaged or missing.
#[derive(Debug)]
pub struct Damage {
    /// What.
    pub problem: Problem,
    /// The point that it belongs to.
    pub point: ManifestPlace,
    /// All points that cannot be restored because of it, that one included.
    pub affects: Vec<ManifestPlace>,
}

/// What can be wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The manifest cannot be read.
    #[error("the manifest {key} cannot be used: {source}")]
    Manifest {
        /// Where it stands.
        key: Key,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// Nobody who may has signed the manifest.
    #[error("the manifest {key} is {}", match verdict {
        Verdict::Unsigned => "not signed, in an archive whose hosts sign",
        Verdict::UnknownKey(_) => "signed by a host that may not",
        _ => "not as its host has signed it",
    })]
    Signature {
        /// Where it stands.
        key: Key,
        /// Who wrote it.
        verdict: Verdict,
    },
    /// The point that its stream starts from is not in the archive, or starts from it in turn.
    #[error("the manifest of the snapshot {base}, which {key} starts from, is missing")]
    Base {
        /// The manifest that names it.
        key: Key,
        /// The snapshot.
        base: Guid,
    },
    /// The streams start from each other.
    #[error("{key} starts from itself, by way of others")]
    Circular {
        /// The manifest.
        key: Key,
    },
    /// A part is missing.
    #[error("{key} is missing")]
    Missing {
        /// The part.
        key: Key,
    },
    /// A part has another size than its manifest says.
    #[error("{key} has {found} bytes instead of {expected}")]
    Size {
        /// The part.
        key: Key,
        /// Its size according to the manifest, in bytes.
        expected: u64,
        /// Its size in bytes.
        found: u64,
    },
    /// The stream cannot be read back. The error names the part, if one is to blame.
    #[error(transparent)]
    Content(ReadError),
    /// The sealed section of the manifest is damaged.
    #[error("{key}: {source}")]
    Sealed {
        /// The manifest.
        key: Key,
        /// Why.
        #[source]
        source: OpenError,
    },
}

impl Problem {
    /// The object that is to blame: it is damaged, missing, or names another that is.
    pub fn object(&self) -> Option<&Key> {
        match self {
            Problem::Manifest { key, .. }
            | Problem::Signature { key, .. }
            | Problem::Base { key, .. }
            | Problem::Circular { key }
            | Problem::Missing { key }
            | Problem::Size { key, .. }
            | Problem::Sealed { key, .. } => Some(key),
            Problem::Content(error) => error.key(),
        }
    }
}

impl Verification {
    /// Whether every point that was looked at can be restored.
    pub fn is_whole(&self) -> bool {
        let whole = |report: &PointReport| report.state == State::Whole;
        self.points.iter().all(whole)
    }
}

impl<S: Store> Archive<S> {
    /// Verifies all points, or those of the lineages that have points of one name, with all that they build
    /// upon. `done` is told of each point whose stream was read back.
    ///
    /// What is damaged is no error but a result.
    ///
    /// # Errors
    /// [`ArchiveError`] if the store cannot be asked.
    pub async fn verify(
        &self,
        depth: &Depth,
        name: Option<&str>,
        options: &Options,
        done: impl FnMut(&ManifestPlace),
    ) -> Result<Verification, ArchiveError> {
        let graph = self.look().await?;
        let named = name.map(|name| graph.named(name));
        let wanted = graph.wanted(named.as_ref());
        self.look_deeper(graph, wanted, depth, options, done).await
    }

    /// Verifies the points of some lineages, with all that they build upon; otherwise as
    /// [`verify`](Self::verify).
    ///
    /// # Errors
    /// As those of [`verify`](Self::verify).
    pub async fn verify_lineages(
        &self,
        depth: &Depth,
        lineages: &HashSet<Lineage>,
        options: &Options,
        done: impl FnMut(&ManifestPlace),
    ) -> Result<Verification, ArchiveError> {
        let graph = self.look().await?;
        let wanted = graph.wanted(Some(lineages));
        self.look_deeper(graph, wanted, depth, options, done).await
    }

    /// Looks at all points, shallowly.
    async fn look(&self) -> Result<Graph, ArchiveError> {
        let catalog = self.catalog().await?;
        // After the manifests: what is published meanwhile is not missed.
        let mut parts = HashMap::new();
        for object in self.store.list(&self.layout.streams()).await? {
            if let Some(Place::Part(place)) = self.layout.place(&object.key) {
                parts.insert(place, object.size);
            }
        }
        let shallow = Shallow {
            archive: self.clone(),
            parts,
        };
        let entries: Vec<_> = catalog.entries().cloned().collect();
        let looked = self.points(entries, move |entry, point| shallow.look(entry, point));
        let looked: Result<Vec<Looked>, _> = looked.await.into_iter().collect();
        let mut graph = Graph::new(looked?, &catalog);
        graph.check_bases(self)?;
        Ok(graph)
    }

    async fn look_deeper(
        &self,
        mut graph: Graph,
        wanted: Vec<ManifestPlace>,
        depth: &Depth,
        options: &Options,
        mut done: impl FnMut(&ManifestPlace),
    ) -> Result<Verification, ArchiveError> {
        if let Depth::Deep(identities) = depth {
            for &place in &wanted {
                let Some(looked) = graph.points.get_mut(&place) else {
                    continue;
                };
                if looked.problems.is_empty() {
                    match self.read_back(&looked.entry, identities, options).await? {
                        Some(problems) => looked.problems = problems,
                        None => looked.unread = true,
                    }
                    done(&place);
                }
            }
        }
        if graph
            .points
            .values()
            .any(|looked| !looked.problems.is_empty())
        {
            // What a prune has removed meanwhile is not damaged.
            let catalog = self.catalog().await?;
            let still: HashSet<_> = catalog.entries().map(|entry| entry.place).collect();
            graph.points.retain(|place, _| still.contains(place));
        }
        Ok(graph.report(&wanted))
    }

    /// What is wrong with the stream of a point; `None` if it was encrypted to others.
    async fn read_back(
        &self,
        entry: &Entry,
        identities: &Arc<Identities>,
        options: &Options,
    ) -> Result<Option<Vec<Problem>>, ArchiveError> {
        let key = self.layout.key(&Place::Manifest(entry.place))?;
        let manifest = match self.point(entry).await {
            Ok(point) => point.manifest,
            Err(source) if source.is_damage() => {
                return Ok(Some(vec![Problem::Manifest { key, source }]));
            }
            Err(error) => return Err(error),
        };
        let sealed = match manifest.open(identities) {
            Ok(sealed) => sealed,
            Err(OpenError::Decrypt(CryptoError::WrongIdentity))
                if !names_one_of(&manifest, identities) =>
            {
                return Ok(None);
            }
            Err(source) => return Ok(Some(vec![Problem::Sealed { key, source }])),
        };
        let read = read_stream(
            Arc::clone(&self.store),
            &self.layout,
            &manifest,
            Arc::clone(identities),
            Some(sealed.stream_blake3),
            io::sink(),
            options,
        );
        let error = match read.await {
            Ok(_) => return Ok(Some(Vec::new())),
            Err(ReadError::Store { source, .. }) if !is_damage(&source) => {
                return Err(source.into());
            }
            Err(ReadError::Interrupted | ReadError::Output(_)) => {
                return Err(ArchiveError::Interrupted);
            }
            Err(ReadError::Key(error)) => return Err(error.into()),
            Err(error) => error,
        };
        // It stopped at the first; all that are damaged are to be known.
        let mut problems = self.stored_parts(&manifest).await?;
        let known = |problem: &Problem| problem.object() == error.key();
        if error.key().is_none() || !problems.iter().any(known) {
            problems.insert(0, Problem::Content(error));
        }
        Ok(Some(problems))
    }

    /// The parts that are not what was stored.
    async fn stored_parts(&self, manifest: &Manifest) -> Result<Vec<Problem>, ArchiveError> {
        let mut problems = Vec::new();
        for part in &manifest.parts {
            let key = self.layout.key(&Place::Part(part.key))?;
            match self.store.read(&key).await {
                Ok(body) if body.len() as u64 != part.stored_bytes => {
                    problems.push(Problem::Size {
                        key,
                        expected: part.stored_bytes,
                        found: body.len() as u64,
                    });
                }
                Ok(body) if blake3::hash(&body) != part.blake3 => {
                    let checksum = "BLAKE3";
                    problems.push(Problem::Content(ReadError::Checksum { key, checksum }));
                }
                Ok(_) => {}
                Err(source) if is_damage(&source) => {
                    problems.push(Problem::Content(ReadError::Store { key, source }));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(problems)
    }
}

fn names_one_of(manifest: &Manifest, identities: &Identities) -> bool {
    identities
        .recipients()
        .any(|own| manifest.recipients.texts().any(|text| text == own))
}

/// Looks whether what the manifests name is there.
struct Shallow<S> {
    archive: Archive<S>,
    parts: HashMap<PartPlace, u64>,
}

impl<S: Store> Shallow<S> {
    fn look(
        &self,
        entry: Entry,
        point: Result<Point, ArchiveError>,
    ) -> Result<Looked, ArchiveError> {
        let layout = &self.archive.layout;
        let key = layout.key(&Place::Manifest(entry.place))?;
        let mut looked = Looked {
            entry,
            instance: None,
            snapshot: None,
            verdict: None,
            base: Base::Full,
            problems: Vec::new(),
            unread: false,
        };
        let point = match point {
            Ok(point) => point,
            Err(source) if source.is_damage() => {
                looked.problems.push(Problem::Manifest { key, source });
                return Ok(looked);
            }
            Err(error) => return Err(error),
        };
        looked.instance = Some(point.manifest.instance);
        looked.snapshot = Some(point.manifest.snapshot);
        looked.verdict = Some(point.verdict);
        if !self.archive.trusts(point.verdict) {
            // Nothing that it says is to be followed.
            let verdict = point.verdict;
            looked.problems.push(Problem::Signature { key, verdict });
            return Ok(looked);
        }
        looked.base = point.manifest.base;
        for part in &point.manifest.parts {
            let key = layout.key(&Place::Part(part.key))?;
            match self.parts.get(&part.key) {
                None => looked.problems.push(Problem::Missing { key }),
                Some(&found) if found != part.stored_bytes => {
                    looked.problems.push(Problem::Size {
                        key,
                        expected: part.stored_bytes,
                        found,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(looked)
    }
}
