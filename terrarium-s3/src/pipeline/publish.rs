//! From parts in a store to a restore point that is found.

use jiff::Timestamp;
use terrarium_zfs::{SendFlags, SnapshotName, Txg};

use crate::crypto::HostKey;
use crate::format::{
    ArchiveId, Base, Definition, Document, Kind, Layout, Lineage, Manifest, Place, Sealed,
};
use crate::pipeline::error::PublishError;
use crate::pipeline::standing;
use crate::pipeline::write::Stored;
use crate::store::{Store, create_or_same};

/// What is known of a restore point beside its stream.
#[derive(Clone, Debug)]
pub struct Point {
    /// The archive.
    pub archive: ArchiveId,
    /// The version of Terrarium.
    pub terrarium: String,
    /// When it is exported: now.
    pub exported: Timestamp,
    /// The dataset's lineage.
    pub lineage: Lineage,
    /// The instance, or the name that the stream is stored under.
    pub instance: String,
    /// LXD's project.
    pub project: Option<String>,
    /// LXD's `volatile.uuid`.
    pub instance_uuid: Option<String>,
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// What the stream starts from. It must be what the stream itself says.
    pub base: Base,
    /// The transaction group that made the snapshot.
    pub createtxg: Option<Txg>,
    /// Who took the snapshot and why.
    pub kind: Kind,
    /// Its alias.
    pub alias: Option<String>,
    /// When the local snapshot is to be removed.
    pub expires: Option<Timestamp>,
    /// How the stream was sent.
    pub send_flags: Option<SendFlags>,
    /// The instance, as LXD has it; sealed.
    pub definition: Option<Definition>,
    /// The digest of the file tree; sealed.
    pub tree: Option<String>,
}

/// Publishes a stream that is stored whole: from now on it is a restore point. The sender must have ended
/// well; whether it did, the stream alone cannot say.
///
/// The manifest is created, never written over another; tried as often as the parts were. If it is there already
/// with equal bytes, that is a success. The journal is removed.
///
/// What the stream starts from must be in the archive, and nobody may be removing it ([`format::Removal`]).
///
/// [`format::Removal`]: crate::format::Removal
///
/// # Errors
/// [`PublishError`]; the point is not published then, except that after
/// [`StoreError::Unavailable`](crate::StoreError::Unavailable) it may be.
pub async fn publish<S: Store>(
    store: &S,
    layout: &Layout,
    stored: Stored,
    point: Point,
    key: Option<&HostKey>,
) -> Result<Manifest, PublishError> {
    let guid = stored.begin.to_guid();
    if point.base.guid() != stored.begin.from_guid() {
        return Err(PublishError::Mismatch("it starts from another snapshot"));
    }
    let creation = Timestamp::from_second(stored.begin.creation())
        .map_err(|_| PublishError::Mismatch("the time of its snapshot is out of range"))?;
    let sealed = Sealed {
        archive: point.archive,
        guid,
        definition: point.definition,
        stream_blake3: stored.stream_blake3,
        tree: point.tree,
    };
    let manifest = Manifest {
        archive: point.archive,
        terrarium: point.terrarium,
        exported: point.exported,
        lineage: point.lineage,
        instance: point.instance,
        project: point.project,
        instance_uuid: point.instance_uuid,
        snapshot: point.snapshot,
        guid,
        base: point.base,
        createtxg: point.createtxg,
        creation,
        kind: point.kind,
        alias: point.alias,
        expires: point.expires,
        send_flags: point.send_flags,
        stream_bytes: stored.stream_bytes,
        sealed: sealed.seal(&stored.recipients)?,
        recipients: stored.recipients.clone(),
        parts: stored.parts.clone(),
    };
    let body = manifest.write(key)?;
    let options = &stored.options;
    standing::check(store, layout, &manifest, &stored).await?;
    // What an earlier run has left, somebody else may have collected meanwhile.
    for part in manifest
        .parts
        .iter()
        .filter(|part| part.key.run != stored.run)
    {
        let key = layout.key(&Place::Part(part.key))?;
        let size = options.retry(|| store.size(&key)).await;
        if size.map_err(PublishError::Store)? != Some(part.stored_bytes) {
            return Err(PublishError::Gone { key });
        }
    }
    let at = layout.key(&manifest.place())?;
    options
        .retry(|| create_or_same(store, &at, body.clone()))
        .await
        .map_err(PublishError::Store)?;
    if let Some(journal) = stored.journal {
        journal.remove();
    }
    Ok(manifest)
}
