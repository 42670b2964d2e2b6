//! Each stage of the archive's pipeline by itself, and all of them together with a store in memory.
//!
//! The stream is the largest of the testbed's captures, repeated; `TERRARIUM_BENCH_STREAM` names a file to take
//! instead, of which the first 64 MiB are measured (the whole pipeline: the capture).
//!
//! A line for each: the median of its runs, and the range. There is no library for it: the runs take tens of milliseconds
//! each, so that a clock is all that is needed.
#![allow(
    clippy::print_stdout,
    reason = "a program that reports what it measures"
)]

use std::hint::black_box;
use std::io::{self, Cursor, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use terrarium_s3::crypto::{HostKey, Identities, NewIdentity, Recipients};
use terrarium_s3::format::{ArchiveId, Base, Kind, Layout, Lineage, Manifest};
use terrarium_s3::pipeline::{Options, Point, publish, read_stream, write_stream};
use terrarium_s3::{Key, MemoryStore};
use terrarium_zfs::SnapshotName;
use terrarium_zfs::stream::Inspector;
use tokio::runtime::Runtime;

const SIZE: u64 = 64 << 20;

fn captured() -> io::Result<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams");
    let mut stream = Vec::new();
    benches::stretch(
        &std::fs::read(folder.join("content-one.zfs"))?,
        SIZE,
        &mut stream,
    )?;
    Ok(stream)
}

/// The bytes that stages by themselves are measured with: real ones, if there are.
fn sample(captured: &[u8]) -> io::Result<Vec<u8>> {
    match std::env::var_os("TERRARIUM_BENCH_STREAM") {
        Some(path) => {
            let mut sample = Vec::new();
            std::fs::File::open(path)?
                .take(SIZE)
                .read_to_end(&mut sample)?;
            Ok(sample)
        }
        None => Ok(captured.to_vec()),
    }
}

/// How often each is run.
const RUNS: usize = 9;

/// Runs something that works on so many bytes, and says how fast it was.
fn measure<T>(name: &str, bytes: usize, mut work: impl FnMut() -> T) {
    black_box(work());
    let mut times = [0.0; RUNS];
    for time in &mut times {
        let began = Instant::now();
        black_box(work());
        *time = began.elapsed().as_secs_f64();
    }
    times.sort_by(f64::total_cmp);
    let rate = |time: f64| bytes as f64 / time / 1e6;
    println!(
        "{name:24} {:6.0} MB/s   {:6.0} to {:.0}",
        rate(times[RUNS / 2]),
        rate(times[RUNS - 1]),
        rate(times[0])
    );
}

fn stages(sample: &[u8]) {
    let size = sample.len();
    measure("parse and fletcher-4", size, || {
        let mut inspector = Inspector::new();
        for piece in sample.chunks(64 << 10) {
            inspector.push(piece).expect("a sound stream");
        }
        inspector.bytes()
    });
    measure("BLAKE3", size, || blake3::hash(sample));
    measure("CRC-32", size, || crc32fast::hash(sample));
    for level in [1, 3] {
        let compressed = zstd::bulk::compress(sample, level).expect("compressed");
        measure(&format!("zstd -{level}"), size, || {
            zstd::bulk::compress(sample, level)
        });
        measure(&format!("zstd -d of -{level}"), size, || {
            zstd::bulk::decompress(&compressed, size)
        });
    }
    let identity = NewIdentity::generate();
    let recipients = Recipients::parse([identity.recipient()]).expect("a recipient");
    let identities = identity.into_identities();
    let encrypted = recipients.encrypt(sample).expect("encrypted");
    measure("age", size, || recipients.encrypt(sample));
    measure("age -d", size, || identities.decrypt(&encrypted));
}

/// An archive in memory.
struct Archive {
    runtime: Runtime,
    layout: Layout,
    recipients: Recipients,
    identities: Arc<Identities>,
    host: HostKey,
}

impl Archive {
    fn new() -> Self {
        let identity = NewIdentity::generate();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build();
        Self {
            runtime: runtime.expect("a runtime"),
            layout: Layout::new(Some(Key::new("bench").expect("a key"))),
            recipients: Recipients::parse([identity.recipient()]).expect("a recipient"),
            identities: Arc::new(identity.into_identities()),
            host: HostKey::generate().expect("random bytes"),
        }
    }

    fn put(&self, stream: &[u8], options: &Options) -> (Arc<MemoryStore>, Manifest) {
        let store = Arc::new(MemoryStore::new());
        let stream = Cursor::new(stream.to_vec());
        let manifest = self.runtime.block_on(async {
            let stored = write_stream(
                store.clone(),
                &self.layout,
                &self.recipients,
                stream,
                None,
                options,
            );
            let stored = stored.await.expect("stored");
            let point = point(stored.begin.from_guid().map_or(Base::Full, Base::Point));
            let published = publish(&*store, &self.layout, stored, point, Some(&self.host));
            published.await.expect("published")
        });
        (store, manifest)
    }

    fn get(&self, store: &Arc<MemoryStore>, manifest: &Manifest, options: &Options) {
        let read = read_stream(
            store.clone(),
            &self.layout,
            manifest,
            self.identities.clone(),
            None,
            io::sink(),
            options,
        );
        self.runtime.block_on(read).expect("whole and sound");
    }
}

fn point(base: Base) -> Point {
    let lineage = "01234567-89ab-4cde-8f01-23456789abcd".parse::<Lineage>();
    Point {
        archive: ArchiveId::random().expect("random bytes"),
        terrarium: env!("CARGO_PKG_VERSION").to_owned(),
        exported: "2026-01-01T00:00:00Z".parse().expect("a time"),
        lineage: lineage.expect("a lineage"),
        instance: "web".to_owned(),
        project: None,
        instance_uuid: None,
        snapshot: SnapshotName::new("tank/web@one").expect("a name"),
        base,
        createtxg: None,
        kind: Kind::Foreign,
        alias: None,
        expires: None,
        send_flags: None,
        definition: None,
        tree: None,
    }
}

/// One part at a time is what a part costs; two, with all that is read ahead, is the pipeline.
fn pipeline(stream: &[u8]) {
    let archive = Archive::new();
    for (name, workers, part_size) in [("one part", 1, 256 << 20), ("parts", 2, 8 << 20)] {
        let options = Options {
            workers: NonZeroUsize::new(workers),
            part_size,
            ..Options::default()
        };
        measure(&format!("write, {name}"), stream.len(), || {
            archive.put(stream, &options)
        });
        let (store, manifest) = archive.put(stream, &options);
        measure(&format!("read, {name}"), stream.len(), || {
            archive.get(&store, &manifest, &options)
        });
    }
}

fn main() {
    let captured = captured().expect("the testbed's captures");
    let sample = sample(&captured).expect("TERRARIUM_BENCH_STREAM can be read");
    stages(&sample);
    pipeline(&captured);
}
