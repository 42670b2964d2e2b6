//! From a snapshot to parts in a store.

use std::os::fd::AsFd;
use std::sync::Arc;

use terrarium_s3::Store;
use terrarium_s3::pipeline::{Ids, Options, Stored, write_stream};
use terrarium_zfs::{Error as ZfsError, SendSource, SnapshotName};

use super::{ExportError, ExportTo, FLAGS};
use crate::error::Error;
use crate::pipe::{is_broken_pipe, widen_pipe};
use crate::streams::Streams;

/// Sends a snapshot, and stores what comes. It is whole only if both ends say so.
pub(super) async fn send<Z: Streams, S: Store>(
    zfs: &Arc<Z>,
    snapshot: &SnapshotName,
    from: Option<SendSource>,
    ids: Ids,
    to: &ExportTo<'_, S>,
    options: &Options,
) -> Result<Stored, ExportError> {
    let (reader, writer) = std::io::pipe().map_err(|error| ExportError::Send {
        snapshot: snapshot.clone(),
        source: ZfsError::Io {
            attempt: terrarium_zfs::Attempt::new("send", snapshot.as_str()),
            errno: error.raw_os_error().unwrap_or_default(),
        },
    })?;
    widen_pipe(&reader);
    let sending = {
        let (zfs, snapshot) = (Arc::clone(zfs), snapshot.clone());
        // The writing end goes with the call: whoever reads sees the end of the stream.
        tokio::task::spawn_blocking(move || {
            zfs.send(&snapshot, from.as_ref(), FLAGS, writer.as_fd())
        })
    };
    let archive = to.archive;
    let recipients = &archive.document().recipients;
    let store = Arc::clone(archive.store());
    let written = write_stream(
        store,
        archive.layout(),
        recipients,
        reader,
        Some(ids),
        options,
    )
    .await;
    let sent = sending.await.map_err(|_| Error::Interrupted)?;
    match (sent, written) {
        (Ok(()), Ok(stored)) => Ok(stored),
        // It had nobody to write to any more: the reader says why.
        (Err(error), Err(source)) if is_broken_pipe(&error) => Err(ExportError::Write {
            snapshot: snapshot.clone(),
            source: Box::new(source),
        }),
        (Err(source), _) => Err(ExportError::Send {
            snapshot: snapshot.clone(),
            source,
        }),
        (Ok(()), Err(source)) => Err(ExportError::Write {
            snapshot: snapshot.clone(),
            source: Box::new(source),
        }),
    }
}
