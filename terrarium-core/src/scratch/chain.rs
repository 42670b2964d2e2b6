//! Whether streams make a chain, and where each belongs.

use std::ops::ControlFlow;

use terrarium_zfs::Guid;
use terrarium_zfs::stream::BeginRecord;

use super::source::{Opened, Source};
use super::{Scratch, ScratchError, ScratchOptions};

/// Streams that fit together: a full one, then each incremental one after the one that it starts from. The
/// stream of a clone comes after the one of its origin.
#[derive(Debug)]
pub struct Chain<'a> {
    pub(super) streams: Vec<Opened<'a>>,
    left_out: Vec<BeginRecord>,
}

impl<'a> Chain<'a> {
    /// Looks at the first record of each stream. A package of streams (`zfs send -R`, `-I` or `-p`) in a file is
    /// read to its end, and its streams take its place in the chain.
    ///
    /// Every stream but the last must lead to the last, and none may be missing. Of a package only those count
    /// that lead there; if the package is the last, they are to lead to the snapshot that it is named after.
    ///
    /// # Errors
    /// [`ScratchError`]: which one does not fit, is damaged, or cannot be read.
    pub fn new(sources: Vec<Source<'a>>) -> Result<Self, ScratchError> {
        let mut streams = Vec::with_capacity(sources.len());
        for source in sources {
            source.open(&mut streams)?;
        }
        let target = target(&streams).ok_or(ScratchError::NoStreams)?;
        let wanted = leading_to(target, &streams)?;
        let mut chain = Self {
            streams: Vec::with_capacity(streams.len()),
            left_out: Vec::new(),
        };
        let last = streams[target].name.clone();
        for (n, stream) in streams.into_iter().enumerate() {
            if wanted[n] {
                chain.streams.push(stream);
            } else if stream.package.is_some() {
                chain.left_out.push(stream.begin);
            } else {
                let stream = stream.name;
                return Err(ScratchError::Unrelated { stream, last });
            }
        }
        Ok(chain)
    }

    /// What the last stream says: of what snapshot it is, and what that holds.
    pub fn last(&self) -> &BeginRecord {
        // There is at least the one that the others lead to.
        &self.streams[self.streams.len() - 1].begin
    }

    /// The streams of packages that do not lead to the last one, and are not received.
    pub fn left_out(&self) -> &[BeginRecord] {
        &self.left_out
    }

    /// The size of all streams that are received, in bytes.
    pub fn bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.size).sum()
    }

    /// As [`Scratch::receive`].
    ///
    /// # Errors
    /// [`ScratchError`]; nothing is left behind then.
    pub fn receive(
        self,
        options: &ScratchOptions,
        watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
    ) -> Result<Scratch, ScratchError> {
        Scratch::of_chain(self, options, watch)
    }
}

/// The stream whose snapshot is meant: the last one, or the one that a package in the last place is named after.
fn target(streams: &[Opened<'_>]) -> Option<usize> {
    let last = streams.len().checked_sub(1)?;
    let is_named = |stream: &Opened<'_>| match (stream.package, streams[last].package) {
        (Some(package), Some(of)) => package.number == of.number && package.is_named_after_it,
        _ => false,
    };
    Some(streams.iter().rposition(is_named).unwrap_or(last))
}

/// For each stream, whether the target is built on it.
fn leading_to(target: usize, streams: &[Opened<'_>]) -> Result<Vec<bool>, ScratchError> {
    for (n, stream) in streams.iter().enumerate() {
        let guid = stream.begin.to_guid();
        match made_before(n, guid, streams) {
            Some(other) if stream.package.is_none() => {
                return Err(ScratchError::Twice {
                    stream: stream.name.clone(),
                    other: streams[other].name.clone(),
                    guid,
                });
            }
            None if stream.package.is_none() => _ = source_of(n, streams)?,
            _ => {}
        }
    }
    let mut wanted = vec![false; streams.len()];
    let mut next = Some(target);
    while let Some(n) = next {
        wanted[n] = true;
        next = source_of(n, streams)?;
    }
    Ok(wanted)
}

/// The stream that makes the snapshot that a stream starts from.
fn source_of(n: usize, streams: &[Opened<'_>]) -> Result<Option<usize>, ScratchError> {
    let stream = &streams[n];
    let Some(from) = stream.begin.from_guid() else {
        return Ok(None);
    };
    match made_before(n, from, streams) {
        Some(source) => Ok(Some(source)),
        None => Err(ScratchError::NoSource {
            stream: stream.name.clone(),
            from,
        }),
    }
}

fn made_before(n: usize, guid: Guid, streams: &[Opened<'_>]) -> Option<usize> {
    let mut before = streams[..n].iter();
    before.position(|stream| stream.begin.to_guid() == guid)
}
