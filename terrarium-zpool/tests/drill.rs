//! Drills: equal, different, readable, failed.

mod support;

use std::io::Read;
use std::ops::ControlFlow;

use support::Scratch as Pool;
use terrarium_core::drill::{DrillError, DrillReport, Expected, Verdict, drill};
use terrarium_core::scratch::{ScratchError, ScratchOptions, Source};
use terrarium_core::tree::{Difference, hash_snapshot};
use terrarium_zfs::tree::{Entry, Kind};
use terrarium_zfs::{DatasetName, Properties, SendFlags, SendSource, SnapshotName, UserProperties};
use terrarium_zpool::Engine;

fn web() -> DatasetName {
    DatasetName::new("tank/web").expect("a legal name")
}

fn content() -> Vec<u8> {
    (1..=1_000_000_u32).map(|n| (n % 251) as u8 | 1).collect()
}

fn write(engine: &Engine, path: &str, content: &[u8]) {
    let mut file = Entry::new(path, Kind::File, 0o644);
    file.size = content.len() as u64;
    let mut tree = engine.write_tree(&web());
    tree.add(&file);
    tree.content(0, content);
    tree.finish().expect("written");
}

/// A dataset with some files, and its stream.
struct Web {
    pool: Pool,
    point: SnapshotName,
    stream: Vec<u8>,
}

fn taken(engine: &Engine, name: &str) -> SnapshotName {
    let point = web().snapshot(name).expect("a legal name");
    let points = [(point.clone(), UserProperties::new())];
    engine.snapshot(&points).expect("taken");
    point
}

fn sent(engine: &Engine, point: &SnapshotName, from: Option<&SnapshotName>) -> Vec<u8> {
    let from = from.map(|from| SendSource::Snapshot(from.clone()));
    let mut file = support::sent(engine, point, from, SendFlags::default());
    let mut stream = Vec::new();
    file.read_to_end(&mut stream).expect("read");
    stream
}

impl Web {
    fn new() -> Self {
        let pool = Pool::new();
        let engine = &pool.engine;
        engine.create(&web(), &Properties::new()).expect("created");
        for directory in ["etc", "srv", "srv/deep"] {
            let mut tree = engine.write_tree(&web());
            tree.add(&Entry::new(directory, Kind::Directory, 0o755));
            tree.finish().expect("written");
        }
        write(engine, "etc/hosts", b"127.0.0.1 localhost\n");
        write(engine, "srv/deep/data", &content());
        let point = taken(engine, "s");
        let stream = sent(engine, &point, None);
        Self {
            point,
            stream,
            pool,
        }
    }
}

fn drilled(streams: &[&[u8]], expected: &Expected) -> DrillReport {
    let mut options = ScratchOptions::default();
    options.engine = support::options();
    let sources = streams.iter().enumerate();
    let sources =
        sources.map(|(n, stream)| Source::new(format!("stream {n}"), stream.len() as u64, *stream));
    drill(sources.collect(), expected, &options, &|_| {
        ControlFlow::Continue(())
    })
}

#[test]
fn what_comes_back_as_it_was_is_equal() {
    let web = Web::new();
    let tree = hash_snapshot(&web.pool.engine, web.point.as_str()).expect("read");
    let digest = tree.listing.digest();
    let report = drilled(&[&web.stream], &Expected::Digest(digest));
    assert!(matches!(report.verdict, Verdict::Equal), "{report:?}");
    assert!(report.verdict.is_good());
    assert_eq!(report.digest, Some(digest));
    assert_eq!((report.entries, report.bytes), (6, 1_000_020));
    assert_eq!(
        report.guid,
        web.pool.engine.guid(web.point.as_str()).expect("it works")
    );
    assert!(report.received_in.as_nanos() > 0 && report.read_in.as_nanos() > 0);
    let report = drilled(&[&web.stream], &Expected::Tree(tree.listing));
    assert_eq!(report.verdict.to_string(), "equal");
}

/// The archive has what was there before; the source lost a block and knows nothing of it.
#[test]
fn a_block_of_zeros_in_the_source_is_a_difference() {
    let web = Web::new();
    let engine = &web.pool.engine;
    let mut damaged = content();
    damaged[131_072..135_168].fill(0);
    write(engine, "srv/deep/data", &damaged);
    let now = hash_snapshot(engine, "tank/web").expect("read").listing;
    let report = drilled(&[&web.stream], &Expected::Digest(now.digest()));
    assert_eq!(report.verdict.to_string(), "differs");
    assert!(!report.verdict.is_good());
    let report = drilled(&[&web.stream], &Expected::Tree(now));
    assert_eq!(report.verdict.to_string(), "differs: srv/deep/data");
    let Verdict::Differs(Some(differences)) = report.verdict else {
        panic!("{report:?}");
    };
    assert_eq!(
        differences.first,
        [Difference::Changed("srv/deep/data".into())]
    );
}

#[test]
fn without_anything_to_compare_with_it_is_readable() {
    let web = Web::new();
    let report = drilled(&[&web.stream], &Expected::Unknown);
    assert_eq!(report.verdict.to_string(), "readable, not compared");
    assert!(report.verdict.is_good() && report.digest.is_some());
}

#[test]
fn the_last_snapshot_of_a_chain_counts() {
    let web = Web::new();
    let engine = &web.pool.engine;
    write(engine, "etc/hosts", b"changed");
    let second = taken(engine, "t");
    let increment = sent(engine, &second, Some(&web.point));
    let tree = hash_snapshot(engine, second.as_str()).expect("read");
    let expected = Expected::Tree(tree.listing);
    let report = drilled(&[&web.stream, &increment], &expected);
    assert_eq!(report.verdict.to_string(), "equal");
    let report = drilled(&[&web.stream], &expected);
    assert_eq!(report.verdict.to_string(), "differs: etc/hosts");
    let report = drilled(&[&increment], &expected);
    assert!(
        matches!(
            report.verdict,
            Verdict::Failed(DrillError::Receive(ScratchError::NoSource { .. }))
        ),
        "{report:?}"
    );
}

#[test]
fn a_stream_that_is_damaged_or_cut_short_has_failed() {
    let web = Web::new();
    let mut damaged = web.stream.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for stream in [&damaged[..], &web.stream[..middle], b"no stream", b""] {
        let report = drilled(&[stream], &Expected::Unknown);
        assert!(
            matches!(
                report.verdict,
                Verdict::Failed(DrillError::Receive(ScratchError::Damaged { .. }))
            ),
            "{report:?}"
        );
        assert_eq!((report.digest, report.entries), (None, 0));
    }
}

/// Each takes a block of the pool though it is much smaller.
#[test]
fn many_tiny_files_find_room() {
    let pool = Pool::of_size(512 << 20);
    let engine = &pool.engine;
    engine.create(&web(), &Properties::new()).expect("created");
    let mut tree = engine.write_tree(&web());
    let mut state = 1_u64;
    for n in 0..40_000 {
        let mut file = Entry::new(n.to_string(), Kind::File, 0o644);
        let mut content = [0; 120];
        for byte in &mut content {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *byte = (state >> 56) as u8;
        }
        file.size = content.len() as u64;
        tree.add(&file);
        tree.content(0, &content);
    }
    tree.finish().expect("written");
    let stream = sent(engine, &taken(engine, "s"), None);
    let report = drilled(&[&stream], &Expected::Unknown);
    assert_eq!(report.verdict.to_string(), "readable, not compared");
    assert_eq!(report.entries, 40_001);
}
