//! Whether a stream that is stored still has what it builds upon.

use crate::format::{Base, Document, Layout, Manifest, ManifestPlace, Place, Removal};
use crate::pipeline::error::PublishError;
use crate::pipeline::journal::MAX_IDLE;
use crate::pipeline::write::Stored;
use crate::store::{Object, Store, StoreError};

/// Refuses a stream that starts from a point which is gone, or going.
///
/// The parts are stored by now. Whoever removes the point looks for such parts *after* it has said so ([`Removal`]):
/// either that is read here, or these parts are seen there. Notices are looked for first and the point after that: a
/// notice that is withdrawn in between leaves no point behind that could be seen.
pub(super) async fn check<S: Store>(
    store: &S,
    layout: &Layout,
    manifest: &Manifest,
    stored: &Stored,
) -> Result<(), PublishError> {
    let resumed = stored.reused > 0;
    if let (true, Some(journal)) = (resumed, &stored.journal)
        && journal.idle() > MAX_IDLE
    {
        let idle = journal.idle();
        return Err(PublishError::Stale { idle });
    }
    if manifest.base == Base::Full && !resumed {
        return Ok(());
    }
    let options = &stored.options;
    let list = async |prefix: String| {
        let listed = options.retry(|| store.list(&prefix)).await;
        listed.map_err(PublishError::Store)
    };
    let notices = list(layout.removals()).await?;
    if !notices.is_empty() {
        // No clock but the store's says how old a notice is: it is as old as it was when our last part was stored.
        let parts = list(layout.parts(manifest.guid, manifest.from_guid())).await?;
        let latest = parts.iter().map(|part| part.modified).max();
        let counts =
            |notice: &&Object| !latest.is_some_and(|now| Removal::is_dead(notice.modified, now));
        for notice in notices.iter().filter(counts) {
            refuse_named(store, layout, manifest, stored, notice).await?;
        }
    }
    let (guid, prefix) = match manifest.base {
        Base::Full => return Ok(()),
        Base::Point(guid) => (guid, layout.manifests_of(manifest.lineage)),
        Base::Origin(guid) => (guid, layout.manifests()),
    };
    let is_base = |object: &Object| matches!(layout.place(&object.key), Some(Place::Manifest(place)) if place.guid == guid);
    match list(prefix).await?.iter().any(is_base) {
        true => Ok(()),
        false => Err(PublishError::BaseGone { guid }),
    }
}

/// Refuses what a notice names. One that cannot be read names everything.
async fn refuse_named<S: Store>(
    store: &S,
    layout: &Layout,
    manifest: &Manifest,
    stored: &Stored,
    notice: &Object,
) -> Result<(), PublishError> {
    let Some(place @ Place::Removal(_)) = layout.place(&notice.key) else {
        return Ok(());
    };
    let refused = |guid| {
        let notice = notice.key.clone();
        Err(PublishError::BeingRemoved { notice, guid })
    };
    let bytes = match stored.options.retry(|| store.read(&notice.key)).await {
        // Whoever wrote it is done; what it removed will be missed.
        Err(StoreError::NotFound { .. }) => return Ok(()),
        read => read.map_err(PublishError::Store)?,
    };
    let Ok(found) = Removal::read(&bytes, manifest.archive, &place, &[]) else {
        return refused(manifest.base.guid().unwrap_or(manifest.guid));
    };
    let is_named = |place: &&ManifestPlace| match manifest.base {
        // What is left of an earlier point of the same snapshot is going, too.
        _ if place.guid == manifest.guid => true,
        Base::Full => false,
        Base::Point(guid) => place.guid == guid && place.lineage == manifest.lineage,
        Base::Origin(guid) => place.guid == guid,
    };
    match found.document.points.iter().find(is_named) {
        None => Ok(()),
        Some(place) => refused(place.guid),
    }
}
