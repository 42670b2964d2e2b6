//! Each stage of the archive's pipeline by itself, and all of them together with a store in memory.
//!
//! The stream is the largest of the testbed's captures, repeated; `TERRARIUM_BENCH_STREAM` names a file to take
//! instead, of which the first 64 MiB are measured (the whole pipeline: the capture).
//!
//! By criterion: `cargo bench … --bench stages -- FILTER`, and what it was the last time to compare with.

use std::io::{self, Cursor, Read};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
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

fn stages(sample: &[u8], group: &mut BenchmarkGroup<'_, WallTime>) {
    let size = sample.len();
    group.bench_function("parse and fletcher-4", |bencher| {
        bencher.iter(|| {
            let mut inspector = Inspector::new();
            for piece in sample.chunks(64 << 10) {
                inspector.push(piece).expect("a sound stream");
            }
            inspector.bytes()
        });
    });
    group.bench_function("BLAKE3", |bencher| bencher.iter(|| blake3::hash(sample)));
    group.bench_function("CRC-32", |bencher| {
        bencher.iter(|| crc32fast::hash(sample));
    });
    for level in [1, 3] {
        let compressed = zstd::bulk::compress(sample, level).expect("compressed");
        group.bench_function(format!("zstd -{level}"), |bencher| {
            bencher.iter(|| zstd::bulk::compress(sample, level));
        });
        group.bench_function(format!("zstd -d of -{level}"), |bencher| {
            bencher.iter(|| zstd::bulk::decompress(&compressed, size));
        });
    }
    let identity = NewIdentity::generate();
    let recipients = Recipients::parse([identity.recipient()]).expect("a recipient");
    let identities = identity.into_identities();
    let encrypted = recipients.encrypt(sample).expect("encrypted");
    group.bench_function("age", |bencher| {
        bencher.iter(|| recipients.encrypt(sample));
    });
    group.bench_function("age -d", |bencher| {
        bencher.iter(|| identities.decrypt(&encrypted));
    });
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
fn pipeline(stream: &[u8], group: &mut BenchmarkGroup<'_, WallTime>) {
    let archive = Archive::new();
    for (name, workers, part_size) in [("one part", 1, 256 << 20), ("parts", 2, 8 << 20)] {
        let options = Options {
            workers: NonZeroUsize::new(workers),
            part_size,
            ..Options::default()
        };
        group.bench_function(format!("write, {name}"), |bencher| {
            bencher.iter(|| archive.put(stream, &options));
        });
        let (store, manifest) = archive.put(stream, &options);
        group.bench_function(format!("read, {name}"), |bencher| {
            bencher.iter(|| archive.get(&store, &manifest, &options));
        });
    }
}

fn main() {
    let captured = captured().expect("the testbed's captures");
    let sample = sample(&captured).expect("TERRARIUM_BENCH_STREAM can be read");
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();

    let mut group = criterion.benchmark_group("stage");
    group.throughput(Throughput::Bytes(sample.len() as u64));
    stages(&sample, &mut group);
    group.finish();

    let mut group = criterion.benchmark_group("pipeline");
    group.throughput(Throughput::Bytes(captured.len() as u64));
    pipeline(&captured, &mut group);
    group.finish();

    criterion.final_summary();
}
