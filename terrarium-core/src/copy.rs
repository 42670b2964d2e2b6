//! A copy in full: a snapshot is sent and received within its pool.

use std::io::{PipeReader, PipeWriter};

use terrarium_zfs::{
    Attempt, BatchError, DatasetName, Error, Properties, ReceiveOptions, Received, SendFlags,
    SnapshotName,
};

use crate::pipe::{is_broken_pipe, widen_pipe};
use crate::zfs::Zfs;

/// Blocks stay as they are stored. What is encrypted is read with its key, and stored as its new place wants it.
pub(crate) const FLAGS: SendFlags = SendFlags {
    large_blocks: true,
    embedded: true,
    compressed: true,
    raw: false,
};

/// Lets `send` write the stream of `origin`, and `receive` make `target` of it. It stands whole, or not at all.
pub(crate) fn copy(
    zfs: &impl Zfs,
    target: &DatasetName,
    origin: &SnapshotName,
    properties: &Properties,
    send: impl FnOnce(PipeWriter) -> Result<(), Error> + Send,
    receive: impl FnOnce(&SnapshotName, &ReceiveOptions, PipeReader) -> Result<Received, Error>,
) -> Result<(), Error> {
    let attempt = || Attempt::new("copy to", target.as_str());
    if target.pool() != origin.pool() {
        return Err(Error::CrossesPools(attempt()));
    }
    let snapshot = target.snapshot(origin.name())?;
    let options = ReceiveOptions {
        properties: properties.clone(),
        ..ReceiveOptions::default()
    };
    let (reader, writer) = std::io::pipe().map_err(|error| Error::Io {
        attempt: attempt(),
        errno: error.raw_os_error().unwrap_or_default(),
    })?;
    widen_pipe(&reader);
    // Each end goes with its call: whoever is left sees that the other has ended.
    let (sent, received) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(writer));
        let received = receive(&snapshot, &options, reader);
        let sent = sending.join();
        let sent = sent.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (sent, received)
    });
    let problem = match (sent, received) {
        // It had nobody to write to any more: the other end says why.
        (Err(error), Err(why)) if is_broken_pipe(&error) => return Err(why),
        // A receive that failed leaves nothing.
        (Err(error), Err(_)) | (Ok(()), Err(error)) => return Err(error),
        (Ok(()), Ok(received)) if received.failed_properties.is_empty() => return Ok(()),
        (Ok(()), Ok(received)) => {
            let names = received.failed_properties.join(", ");
            Error::InvalidArgument(Attempt::new("set while copying", names))
        }
        (Err(error), Ok(_)) => error,
    };
    zfs.destroy_snapshots(&[snapshot]).map_err(first)?;
    zfs.destroy(target)?;
    Err(problem)
}

/// Why the only one of a batch failed.
fn first(batch: BatchError) -> Error {
    let attempt = Attempt::new(batch.operation, "what was copied");
    let mut failures = batch.failures.into_iter();
    failures
        .next()
        .map_or(Error::Busy(attempt), |(_, error)| error)
}
