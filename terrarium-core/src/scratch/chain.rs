//! Whether streams make a chain, and where each belongs.

use terrarium_zfs::Guid;

use super::{Opened, ScratchError};

/// Where a stream is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the dataset.
    pub(super) dataset: usize,
    /// The number of the stream that makes the snapshot that the dataset is a clone of.
    pub(super) origin: Option<usize>,
}

/// Finds a place for every stream.
///
/// # Errors
/// Which one does not fit.
pub(super) fn places(streams: &[Opened<'_>]) -> Result<Vec<Place>, ScratchError> {
    let Some(last) = streams.last() else {
        return Err(ScratchError::NoStreams);
    };
    let made_before = |n: usize, guid: Guid| {
        let mut before = streams[..n].iter();
        before.position(|stream| stream.begin.to_guid() == guid)
    };
    let mut places: Vec<Place> = Vec::with_capacity(streams.len());
    let mut sources = Vec::with_capacity(streams.len());
    let mut datasets = 0;
    for (n, stream) in streams.iter().enumerate() {
        let guid = stream.begin.to_guid();
        if let Some(other) = made_before(n, guid) {
            return Err(ScratchError::Twice {
                stream: stream.name.clone(),
                other: streams[other].name.clone(),
                guid,
            });
        }
        let no_source = |from, why| ScratchError::NoSource {
            stream: stream.name.clone(),
            from,
            why,
        };
        let source = match stream.begin.from_guid() {
            None => None,
            Some(from) => Some(
                made_before(n, from)
                    .ok_or_else(|| no_source(from, "which no stream before it makes"))?,
            ),
        };
        let place = match (source, stream.begin.from_guid()) {
            (Some(source), Some(from)) if !stream.begin.is_clone() => {
                let dataset = places[source].dataset;
                let newest = places.iter().rposition(|place| place.dataset == dataset);
                if newest != Some(source) {
                    let why = "and another stream before it goes on from there already";
                    return Err(no_source(from, why));
                }
                Place {
                    dataset,
                    origin: None,
                }
            }
            (origin, _) => {
                datasets += 1;
                Place {
                    dataset: datasets - 1,
                    origin,
                }
            }
        };
        places.push(place);
        sources.push(source);
    }
    let mut wanted = vec![false; streams.len()];
    let mut next = Some(streams.len() - 1);
    while let Some(n) = next {
        wanted[n] = true;
        next = sources[n];
    }
    match wanted.iter().position(|wanted| !wanted) {
        Some(n) => Err(ScratchError::Unrelated {
            stream: streams[n].name.clone(),
            last: last.name.clone(),
        }),
        None => Ok(places),
    }
}
