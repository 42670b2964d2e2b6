//! Archives that an earlier `terrariumctl` has written: found and read, never written.
//!
//! ```text
//! <prefix>/manifests/<instance>/<snapshot>.json    what a stream is, and what it starts from, by names
//! <prefix>/streams/<instance>/<snapshot>.zfs.zst   the stream, compressed, in one object
//! ```
//! Nothing in them tells whether a stream is whole: an upload that was cut off has a manifest too. So nothing of them is
//! believed but what the stream itself says, once it was read to its end.

mod object;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read};
use std::sync::Arc;

use serde::Deserialize;
use tokio::runtime::Handle;

use crate::format::Layout;
use crate::store::{Key, Store, StoreError};

/// What an earlier archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its points: of each instance those that others start from first.
    pub points: Vec<EarlierPoint>,
    /// What cannot be restored, by what can be told without reading streams.
    pub broken: Vec<Broken>,
}

/// A restore point of an earlier archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierPoint {
    /// The instance.
    pub instance: String,
    /// The snapshot's name, without its dataset.
    pub snapshot: String,
    /// The snapshot that its stream starts from.
    pub parent: Option<String>,
    /// Where its stream is.
    pub object: Key,
    /// The size of that, in bytes.
    pub stored_bytes: u64,
}

/// A manifest that leads to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where it stands.
    pub manifest: Key,
    /// What is wrong.
    pub why: String,
}

/// Looks through an earlier archive: two listings, and every manifest.
///
/// # Errors
/// The store's. A manifest that is damaged is [`Broken`].
pub async fn find<S: Store>(store: &S, layout: &Layout) -> Result<Found, StoreError> {
    let below = |path: &str| match layout.prefix() {
        Some(prefix) => format!("{prefix}/{path}"),
        None => path.to_owned(),
    };
    let streams = store.list(&below("streams/")).await?;
    let streams: HashMap<Key, u64> = streams
        .into_iter()
        .map(|object| (object.key, object.size))
        .collect();
    let manifests = below("manifests/");
    let mut found = Found::default();
    let mut instances: BTreeMap<String, HashMap<String, (Key, EarlierPoint)>> = BTreeMap::new();
    for object in store.list(&manifests).await? {
        let read = match store.read(&object.key).await {
            Ok(bytes) => read(&bytes, &object.key, &manifests),
            Err(error @ (StoreError::NotFound { .. } | StoreError::Corrupt { .. })) => {
                Err(error.to_string())
            }
            Err(error) => return Err(error),
        };
        let point = read.and_then(|written| {
            let object = [written.object_key.clone(), below(&written.object_key)];
            let mut object = object.into_iter().filter_map(|key| Key::new(key).ok());
            let object = object.find_map(|key| Some((streams.get(&key)?, key)));
            let (&stored_bytes, object) =
                object.ok_or_else(|| format!("its stream {} is missing", written.object_key))?;
            Ok(EarlierPoint {
                instance: written.instance,
                snapshot: written.snapshot,
                parent: written.parent_snapshot.filter(|_| !written.full),
                object,
                stored_bytes,
            })
        });
        match point {
            Ok(point) => {
                let of = instances.entry(point.instance.clone()).or_default();
                of.insert(point.snapshot.clone(), (object.key, point));
            }
            Err(why) => found.broken.push(Broken {
                manifest: object.key,
                why,
            }),
        }
    }
    for points in instances.into_values() {
        in_order(&points, &mut found);
    }
    found
        .broken
        .sort_by(|one, other| one.manifest.cmp(&other.manifest));
    Ok(found)
}

/// The stream of a point, decompressed while it is read. It is to be read where it may block, on a thread of a
/// runtime; how far it can be read says nothing about whether it is whole.
///
/// # Errors
/// [`io::Error`] if there is no memory for it; the store's come while it is read.
pub fn stream<S: Store>(
    store: Arc<S>,
    point: &EarlierPoint,
    runtime: Handle,
) -> io::Result<impl Read + Send + use<S>> {
    let object = object::Reader::new(store, point.object.clone(), point.stored_bytes, runtime);
    zstd::Decoder::with_buffer(object)
}

#[derive(Deserialize)]
struct Written {
    instance: String,
    snapshot: String,
    parent_snapshot: Option<String>,
    object_key: String,
    full: bool,
}

/// The largest manifest that is read, in bytes.
const MAX_SIZE: usize = 1 << 20;

fn read(bytes: &[u8], key: &Key, manifests: &str) -> Result<Written, String> {
    if bytes.len() > MAX_SIZE {
        return Err("it is too large".to_owned());
    }
    let mut written: Written =
        serde_json::from_slice(bytes).map_err(|error| format!("it is damaged: {error}"))?;
    for name in [
        Some(&mut written.snapshot),
        written.parent_snapshot.as_mut(),
    ] {
        let Some(name) = name else { continue };
        // Whether with its dataset or without, the format does not say.
        if let Some((_, own)) = name.rsplit_once('@') {
            *name = own.to_owned();
        }
    }
    let own = format!("{manifests}{}/{}.json", written.instance, written.snapshot);
    if own != key.as_str() {
        return Err(format!("it says that it is {own}"));
    }
    Ok(written)
}

/// Sorts the points of one instance, and tells those apart whose chain does not begin with a full stream.
fn in_order(points: &HashMap<String, (Key, EarlierPoint)>, found: &mut Found) {
    // How many streams come before it; none if there is no way to restore it.
    let mut depths: HashMap<&str, Result<usize, String>> = HashMap::new();
    for name in points.keys() {
        let mut path = Vec::new();
        let mut seen = HashSet::new();
        let mut at = name.as_str();
        let mut end = loop {
            if let Some(known) = depths.get(at) {
                break known.clone();
            }
            if !seen.insert(at) {
                break Err(format!(
                    "the streams start from each other: {at} comes twice"
                ));
            }
            let Some((_, point)) = points.get(at) else {
                break Err(format!(
                    "the snapshot {at}, which it builds upon, is missing"
                ));
            };
            path.push(at);
            match &point.parent {
                Some(parent) => at = parent,
                // One more for the stream itself, below.
                None => break Ok(0),
            }
        };
        for name in path.into_iter().rev() {
            end = end.map(|depth| depth + 1);
            depths.insert(name, end.clone());
        }
    }
    let mut whole = Vec::new();
    for (name, (manifest, point)) in points {
        match depths.get(name.as_str()) {
            Some(Ok(depth)) => whole.push((*depth, point)),
            other => {
                let why = other.and_then(|depth| depth.as_ref().err());
                found.broken.push(Broken {
                    manifest: manifest.clone(),
                    why: why.cloned().unwrap_or_default(),
                });
            }
        }
    }
    whole.sort_by(|one, other| (one.0, &one.1.snapshot).cmp(&(other.0, &other.1.snapshot)));
    found
        .points
        .extend(whole.into_iter().map(|(_, point)| point.clone()));
}

#[cfg(test)]
mod tests;
