//! Drills of archived points: the streams come out of the archive one after another, and are stored nowhere but in the
//! scratch pool.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use terrarium_s3::Store;
use terrarium_s3::format::{Manifest, Sealed};
use terrarium_s3::pipeline::{ReadError, read_stream};

use super::{DrillError, DrillReport, Expected, Verdict};
use crate::host::fetch::FetchRequest;
use crate::scratch::{Scratch, ScratchError, ScratchOptions, Source};

/// Fetches the last point of the request's chain with all that leads to it, receives it into a scratch pool, reads
/// every file, and compares. Each part is verified before a byte of it is received, each stream as a whole after it.
///
/// `stop` ends the drill before its time; whatever goes wrong is a verdict. Dropped at any moment it leaves nothing.
pub async fn drill_archived<S: Store>(
    request: &FetchRequest<S>,
    expected: Expected,
    options: &ScratchOptions,
    stop: &Arc<AtomicBool>,
) -> DrillReport {
    let given_up = GivenUp(Arc::clone(stop));
    let mut report = DrillReport::begun();
    let began = Instant::now();
    let received = receive(request, options, stop).await;
    report.received_in = began.elapsed();
    let scratch = match received {
        Ok(scratch) => scratch,
        Err(error) => {
            report.verdict = Verdict::Failed(error);
            return report;
        }
    };
    let mut concluded = DrillReport::begun();
    concluded.received_in = report.received_in;
    let reading = tokio::task::spawn_blocking(move || {
        concluded.conclude(&scratch, &expected);
        concluded
    });
    match reading.await {
        Ok(concluded) => report = concluded,
        Err(_) => report.verdict = Verdict::Failed(ScratchError::Interrupted.into()),
    }
    drop(given_up);
    report
}

/// Whoever drops a drill wants its threads to end, too.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn receive<S: Store>(
    request: &FetchRequest<S>,
    options: &ScratchOptions,
    stop: &Arc<AtomicBool>,
) -> Result<Scratch, DrillError> {
    // A wrong identity is found out before anything is made.
    let mut links = Vec::with_capacity(request.chain.len());
    for link in &request.chain {
        let sealed = link.open(&request.identities);
        let sealed = sealed.map_err(|source| DrillError::Sealed {
            snapshot: link.snapshot.clone(),
            source,
        })?;
        links.push((link, sealed));
    }
    let sizes = request.chain.iter().map(|link| link.stream_bytes);
    let bytes = sizes.fold(0, u64::saturating_add);
    let mut scratch = None;
    for (link, sealed) in &links {
        let receiving = Receiving {
            scratch: scratch.take(),
            bytes,
            options: options.clone(),
            stop: Arc::clone(stop),
        };
        scratch = Some(receiving.add(request, link, sealed).await?);
    }
    scratch.ok_or_else(|| ScratchError::NoStreams.into())
}

/// What one more stream is received into.
struct Receiving {
    scratch: Option<Scratch>,
    bytes: u64,
    options: ScratchOptions,
    stop: Arc<AtomicBool>,
}

impl Receiving {
    async fn add<S: Store>(
        self,
        request: &FetchRequest<S>,
        link: &Manifest,
        sealed: &Sealed,
    ) -> Result<Scratch, DrillError> {
        let name = link.snapshot.to_string();
        let (reader, writer) = io::pipe().map_err(|source| ScratchError::Read {
            stream: name.clone(),
            source,
        })?;
        let source = Source::new(name, link.stream_bytes, reader);
        let receiving = tokio::task::spawn_blocking(move || self.receive(source));
        let reading = read_stream(
            Arc::clone(&request.store),
            &request.layout,
            link,
            Arc::clone(&request.identities),
            Some(sealed.stream_blake3),
            writer,
            &request.options,
        );
        let (received, read) = tokio::join!(receiving, reading);
        let received = received.unwrap_or(Err(ScratchError::Interrupted));
        match (received, read) {
            (Ok(scratch), Ok(_)) => Ok(scratch),
            (Err(ScratchError::Interrupted), _) => Err(ScratchError::Interrupted.into()),
            // The receiver went away: it says why.
            (Err(error), Ok(_) | Err(ReadError::Output(_))) => Err(error.into()),
            (_, Err(source)) => Err(DrillError::Fetch {
                snapshot: link.snapshot.clone(),
                source: Box::new(source),
            }),
        }
    }

    fn receive(self, source: Source<'_>) -> Result<Scratch, ScratchError> {
        let watch = |_| match self.stop.load(Ordering::SeqCst) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        match self.scratch {
            None => Scratch::begin(source, self.bytes, &self.options, &watch),
            Some(mut scratch) => {
                scratch.push(source, &watch)?;
                Ok(scratch)
            }
        }
    }
}
