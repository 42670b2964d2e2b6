//! The origins that a chain builds on: found here, or split off to be received first.

use serde::Serialize;
use terrarium_s3::format::{Base, Manifest};
use terrarium_zfs::{DatasetName, Guid, SnapshotName};

use super::{FetchedStream, Fetching};
use crate::error::Error;
use crate::host::Planner;
use crate::instances::Instances;
use crate::layout::PoolLayout;
use crate::names::OperationId;
use crate::streams::Streams;

/// The origin of clones that comes from an archive: an image, that is here no more or never was.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FetchedOrigin {
    /// The snapshot that clones are made of.
    pub guid: Guid,
    /// Where it will be found.
    pub snapshot: SnapshotName,
    /// The streams that are read, in their order.
    pub streams: Vec<FetchedStream>,
    /// What its own first stream starts from.
    #[serde(skip)]
    pub(super) onto: Option<SnapshotName>,
    #[serde(skip)]
    pub(super) staged: DatasetName,
    #[serde(skip)]
    pub(super) place: DatasetName,
}

impl<Z: Streams, I: Instances> Planner<'_, Z, I> {
    /// Where the snapshot of that guid is that clones can be made of: the image that LXD has, before anything else.
    pub(super) fn origin_here(&self, layout: &PoolLayout, guid: Guid) -> Option<&SnapshotName> {
        let pool = self.inventory.pool(layout)?;
        let found = pool.listing.snapshots.iter();
        let found = found.filter(|snapshot| snapshot.guid == guid);
        let ranked = found.filter_map(|snapshot| {
            let dataset = DatasetName::new(snapshot.name.dataset_str()).ok()?;
            let rank = match () {
                () if layout.image_of(&dataset).is_some() => 0,
                () if layout.origin_of(&dataset).is_some() => 1,
                () if layout.is_staged(&dataset) => return None,
                () => 2,
            };
            Some((rank, &snapshot.name))
        });
        ranked.min().map(|(_, name)| name)
    }
}

/// Splits off the links that lead to origins: each new dataset begins with a stream that starts from one.
pub(super) fn split_origins<'a>(
    pool: &PoolLayout,
    onto: Option<&SnapshotName>,
    missing: &'a [Manifest],
) -> Fetching<(Vec<FetchedOrigin>, &'a [Manifest])> {
    let (mut origins, mut rest): (Vec<FetchedOrigin>, _) = (Vec::new(), missing);
    let begins = |link: &Manifest| matches!(link.base, Base::Origin(_));
    while let Some(length) = rest.iter().skip(1).position(begins) {
        let (links, after) = rest.split_at(length + 1);
        rest = after;
        let Some(last) = links.last() else { break };
        let guid = last.guid;
        let place = pool.origin(guid).map_err(terrarium_zfs::Error::from)?;
        let snapshot = place.snapshot(last.snapshot.name());
        let before = origins.last().map(|origin| origin.snapshot.clone());
        origins.push(FetchedOrigin {
            guid,
            snapshot: snapshot.map_err(terrarium_zfs::Error::from)?,
            streams: links.iter().map(FetchedStream::of).collect(),
            onto: before.or_else(|| onto.cloned()),
            staged: pool
                .staging(&OperationId::new(&format!("origin-{guid}")).map_err(Error::from)?)
                .map_err(terrarium_zfs::Error::from)?,
            place,
        });
    }
    Ok((origins, rest))
}
