//! Send streams, out of and into any file descriptor.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use terrarium_zfs::engine::{properties_to_nvlist, read_begin, receive_error, send_error};
use terrarium_zfs::nvlist::{NvList, Value};
use terrarium_zfs::{
    Attempt, BeginRecord, Error, ReceiveOptions, Received, SendFlags, SendSource, SnapshotName,
};

use crate::engine::{Engine, errno, number, refusal};

impl Engine {
    /// Writes the stream of a snapshot, full or since `from`, to a file descriptor.
    ///
    /// # Errors
    /// As [`ZfsCore::send`](terrarium_zfs::ZfsCore::send); [`Error::BadStream`] if the dataset has
    /// blocks above 128 KiB and is sent without `large_blocks`, which libzpool cannot do.
    pub fn send(
        &self,
        snapshot: &SnapshotName,
        from: Option<&SendSource>,
        flags: SendFlags,
        output: impl AsFd,
    ) -> Result<(), Error> {
        let request = what_to_send(snapshot, from, flags)?;
        let output = Some(output.as_fd());
        let answer = self.ask("send", "send", snapshot.as_str(), request, output)?;
        match errno(&answer) {
            0 => Ok(()),
            refusal::NEEDS_LARGE_BLOCKS => Err(Error::BadStream {
                attempt: Attempt::new("send", snapshot.as_str()),
                reason: "it has blocks above 128 KiB: send it with large blocks (-L)",
            }),
            error => Err(send_error("send", snapshot, error)),
        }
    }

    /// Estimates the size of a stream in bytes, full or from a snapshot.
    ///
    /// # Errors
    /// As [`ZfsCore::send_space`](terrarium_zfs::ZfsCore::send_space); a bookmark is not found here.
    pub fn send_space(
        &self,
        snapshot: &SnapshotName,
        from: Option<&SendSource>,
        flags: SendFlags,
    ) -> Result<u64, Error> {
        let request = what_to_send(snapshot, from, flags)?;
        let operation = "estimate the stream of";
        let answer = self.ask("estimate", operation, snapshot.as_str(), request, None)?;
        match errno(&answer) {
            0 => Ok(number(answer.view(), "bytes")),
            error => Err(send_error(operation, snapshot, error)),
        }
    }

    /// Receives the stream of one snapshot as `snapshot`.
    ///
    /// # Errors
    /// As [`ZfsCore::receive`](terrarium_zfs::ZfsCore::receive).
    pub fn receive(
        &self,
        snapshot: &SnapshotName,
        options: &ReceiveOptions,
        input: impl AsFd,
    ) -> Result<Received, Error> {
        let begin = self.read_begin(snapshot, input.as_fd())?;
        let mut request = NvList::new()?;
        request.add_str("dataset", snapshot.dataset_str())?;
        request.add_str("snapshot", snapshot.name())?;
        request.add_bytes("begin", begin.as_bytes())?;
        request.add_list("properties", &properties_to_nvlist(&options.properties)?)?;
        if let Some(origin) = &options.origin {
            request.add_str("origin", origin.as_str())?;
        }
        for (name, set) in [("force", options.force), ("resumable", options.resumable)] {
            if set {
                request.add_flag(name)?;
            }
        }
        let input = Some(input.as_fd());
        let answer = self.ask("receive", "receive", snapshot.as_str(), request, input)?;
        match errno(&answer) {
            0 => {
                let bytes = number(answer.view(), "bytes") + BeginRecord::SIZE as u64;
                let failed = answer.value("failed").and_then(|failed| failed.list());
                let failed = failed.into_iter().flat_map(|failed| failed.iter());
                let failed = failed.map(|(name, _)| name.to_string_lossy().into_owned());
                Ok(Received::new(bytes, begin, failed.collect()))
            }
            error => Err(receive_error(snapshot, error)),
        }
    }
    /// The engine reads it, so that a source that stands still is noticed.
    fn read_begin(
        &self,
        snapshot: &SnapshotName,
        input: BorrowedFd<'_>,
    ) -> Result<BeginRecord, Error> {
        let request = NvList::new()?;
        let answer = self.ask(
            "read-begin",
            "receive",
            snapshot.as_str(),
            request,
            Some(input),
        )?;
        match errno(&answer) {
            0 => {}
            error => return Err(receive_error(snapshot, error)),
        }
        match answer.value("begin") {
            Some(Value::Bytes(record)) => read_begin(snapshot, record),
            _ => read_begin(snapshot, io::empty()),
        }
    }
}

fn what_to_send(
    snapshot: &SnapshotName,
    from: Option<&SendSource>,
    flags: SendFlags,
) -> Result<NvList, Error> {
    let mut request = NvList::new()?;
    request.add_str("snapshot", snapshot.as_str())?;
    if let Some(from) = from {
        request.add_str("from", from.as_str())?;
    }
    for (name, set) in [
        ("large_blocks", flags.large_blocks),
        ("embedded", flags.embedded),
        ("compressed", flags.compressed),
        ("raw", flags.raw),
    ] {
        if set {
            request.add_flag(name)?;
        }
    }
    Ok(request)
}
