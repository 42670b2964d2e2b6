//! Streams of the kernel's ZFS, damaged in every way, and an engine that is killed while it receives.
//!
//! Where it happens is random. A failure tells the seed; `TERRARIUM_SEED` repeats it.
#![allow(clippy::print_stdout, reason = "for whoever looks at a failure")]

#[path = "support/records.rs"]
mod records;
mod support;

use std::fs::File;
use std::io::{PipeWriter, Seek, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use records::{Record, joined, records, sealed};
use support::Scratch;
use terrarium_zfs::{BeginRecord, Error, Listing, ReceiveOptions, SnapshotName};
use terrarium_zpool::{Content, Engine};
use testbed::Stream;

/// Numbers that look random, the same for a seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("TERRARIUM_SEED").ok().map_or_else(
            || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                now.expect("a clock").as_nanos() as u64
            },
            |seed| seed.parse().expect("TERRARIUM_SEED is a number"),
        );
        println!("TERRARIUM_SEED={seed}");
        // Whatever it is, it has ones and zeros, and is not zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// A pool that has what a stream builds on, and what it was like before the stream came.
struct Target {
    scratch: Scratch,
    point: SnapshotName,
    stream: Stream,
    before: Listing,
    lost: u32,
}

impl Target {
    /// For the last of some streams, with the others received.
    fn new(chain: &[&str]) -> Self {
        let (last, earlier) = chain.split_last().expect("a stream");
        let scratch = limited();
        for name in earlier {
            let stream = Stream::named(name);
            let done = receive(&scratch.engine, &of(&stream), stream.file());
            done.expect("received");
        }
        let stream = Stream::named(last);
        Self {
            point: of(&stream),
            before: listed(&scratch.engine),
            scratch,
            stream,
            lost: 0,
        }
    }

    /// Receives damaged bytes; they must be refused and leave nothing.
    #[track_caller]
    fn refuses(&mut self, bytes: &[u8], damage: &str) {
        match receive(&self.scratch.engine, &self.point, file_of(bytes)) {
            Ok(()) => panic!("{}, {damage}: it was taken", self.stream.name),
            Err(error) => self.is_as_before(&error, damage),
        }
    }

    /// Receives bytes that may make sense; what is refused must leave nothing.
    #[track_caller]
    fn survives(&mut self, bytes: &[u8], damage: &str) {
        match receive(&self.scratch.engine, &self.point, file_of(bytes)) {
            Ok(()) => {
                self.walks(damage);
                self.forget(damage);
            }
            Err(error) => self.is_as_before(&error, damage),
        }
    }

    /// Whatever was received, reading it comes to an end.
    #[track_caller]
    fn walks(&mut self, damage: &str) {
        let done = self
            .scratch
            .engine
            .walk(self.point.as_str(), "", Content::Read);
        let mut walk = done.expect("begun");
        let end = loop {
            match walk.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        drop(walk);
        match end {
            Some(Error::EngineLost { .. }) => {
                self.lost += 1;
                self.open_again(damage);
            }
            Some(error @ Error::TimedOut(_)) => panic!("{}, {damage}: {error}", self.stream.name),
            _ => {}
        }
    }

    #[track_caller]
    fn is_as_before(&mut self, error: &Error, damage: &str) {
        match error {
            Error::EngineLost { .. } => {
                self.lost += 1;
                self.open_again(damage);
            }
            Error::TimedOut(_) => panic!("{}, {damage}: {error}", self.stream.name),
            _ => {}
        }
        self.has_what_it_had(damage);
    }

    #[track_caller]
    fn has_what_it_had(&self, damage: &str) {
        let after = listed(&self.scratch.engine);
        assert_eq!(after, self.before, "{}, {damage}", self.stream.name);
    }

    #[track_caller]
    fn open_again(&mut self, damage: &str) {
        let opened = support::options().open(&self.scratch.file());
        self.scratch.engine =
            opened.unwrap_or_else(|error| panic!("{}, {damage}: {error}", self.stream.name));
    }

    /// Takes back what was received.
    fn forget(&mut self, damage: &str) {
        let engine = &self.scratch.engine;
        let undone = if self.before.datasets.len() == listed(engine).datasets.len() {
            let taken_back = engine.destroy_snapshots(std::slice::from_ref(&self.point));
            taken_back.expect("destroyed");
            let newest = self.before.snapshots.last().expect("it has one");
            engine.rollback_to(&newest.name)
        } else {
            let taken_back = engine.destroy_snapshots(std::slice::from_ref(&self.point));
            taken_back.expect("destroyed");
            engine.destroy(&self.point.dataset())
        };
        if let Err(error) = undone {
            panic!("{}, {damage}: {error}", self.stream.name);
        }
    }

    /// In the end the undamaged stream is taken.
    fn ends_well(self) {
        let Self { scratch, .. } = self;
        receive(&scratch.engine, &self.point, self.stream.file()).expect("received");
        let guid = scratch.engine.guid(self.point.as_str());
        assert_eq!(guid, Ok(Some(self.stream.guid())));
        println!(
            "{}: {} streams ended the process",
            self.stream.name, self.lost
        );
    }
}

/// An engine whose receives cannot take as long as a test may.
fn limited() -> Scratch {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = support::options();
    options.stream_limit = Duration::from_secs(30);
    let engine = options.create(&folder.path().join("pool"), "tank", support::SIZE);
    let engine = engine.expect("created");
    Scratch { engine, folder }
}

fn of(stream: &Stream) -> SnapshotName {
    let name = format!("tank/{}", stream.snapshot);
    SnapshotName::new(&name).expect("a legal name")
}

fn receive(engine: &Engine, point: &SnapshotName, stream: File) -> Result<(), Error> {
    let done = engine.receive(point, &ReceiveOptions::default(), stream);
    done.map(drop)
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file.rewind().expect("a file");
    file
}

/// All of the pool, but for what it writes for itself.
fn listed(engine: &Engine) -> Listing {
    let root = engine.pool().parse().expect("a name");
    let mut listing = engine.list(&root, &[]).expect("listed");
    for dataset in &mut listing.datasets {
        dataset.available = 0;
        if dataset.name == root {
            (dataset.used, dataset.referenced, dataset.written) = (0, 0, 0);
        }
    }
    listing
}

/// Full and incremental, of file systems and a volume, plain, compressed, raw.
const CHAINS: [&[&str]; 6] = [
    &["origin"],
    &["content-one", "content-two"],
    &["volume-one", "volume-two"],
    &["encrypted-one"],
    &["encrypted-one", "encrypted-two"],
    &["large-one", "large-two"],
];

#[test]
fn a_stream_that_is_cut_anywhere_is_refused() {
    let mut random = Random::new();
    for chain in CHAINS {
        let mut target = Target::new(chain);
        let bytes = target.stream.bytes();
        for _ in 0..8 {
            let end = random.below(bytes.len());
            target.refuses(&bytes[..end], &format!("cut at {end}"));
        }
        target.ends_well();
    }
}

#[test]
fn a_stream_with_a_bit_wrong_is_refused() {
    let mut random = Random::new();
    for chain in CHAINS {
        let mut target = Target::new(chain);
        let mut bytes = target.stream.bytes();
        for _ in 0..8 {
            let (at, bit) = (random.below(bytes.len()), random.below(8));
            bytes[at] ^= 1 << bit;
            target.refuses(&bytes, &format!("bit {bit} at {at}"));
            bytes[at] ^= 1 << bit;
        }
        target.ends_well();
    }
}

#[test]
fn a_stream_with_bytes_of_something_else_is_refused() {
    let mut random = Random::new();
    let other = Stream::named("content-one").bytes();
    for chain in CHAINS {
        let mut target = Target::new(chain);
        let bytes = target.stream.bytes();
        for _ in 0..4 {
            // Not in the last record: if zeros take the place of that one's own checksum, ZFS does not
            // look at it, and all before it is sound.
            let at = 1 + random.below(bytes.len() - BeginRecord::SIZE);
            let (from, length) = (random.below(other.len() - 5000), 1 + random.below(5000));
            let (front, back) = bytes.split_at(at);
            let foreign = &other[from..from + length];
            let put_in = [front, foreign, back].concat();
            target.refuses(&put_in, &format!("{length} bytes from {from} at {at}"));
            let gone_on = [front, &other[from..]].concat();
            target.refuses(&gone_on, &format!("from {at} on other bytes from {from}"));
        }
        target.ends_well();
    }
}

/// Those that can be taken apart.
const PLAIN: [&[&str]; 4] = [
    &["origin"],
    &["content-one", "content-two"],
    &["volume-one", "volume-two"],
    &["large-one", "large-two"],
];

#[test]
fn a_stream_whose_records_are_in_another_order_is_refused() {
    let mut random = Random::new();
    for chain in PLAIN {
        let mut target = Target::new(chain);
        let ordered = records(&target.stream);
        assert!(sealed(&ordered) == target.stream.bytes());
        for _ in 0..6 {
            let (a, b) = two(&mut random, &ordered);
            let mut records = ordered.clone();
            records.swap(a, b);
            target.refuses(&joined(&records), &format!("{a} and {b} changed places"));
            let mut records = ordered.clone();
            records.remove(a);
            target.refuses(&joined(&records), &format!("{a} is missing"));
        }
        target.ends_well();
    }
}

/// Two records that differ, neither the first nor the last.
fn two(random: &mut Random, records: &[Record]) -> (usize, usize) {
    loop {
        let mut one = || 1 + random.below(records.len() - 2);
        let (a, b) = (one(), one());
        if records[a] != records[b] {
            return (a, b);
        }
    }
}

/// Their checksums are right, so that only ZFS's own sense can refuse them.
#[test]
fn a_stream_that_was_made_up_harms_nothing() {
    let mut random = Random::new();
    for chain in PLAIN {
        let mut target = Target::new(chain);
        let ordered = records(&target.stream);
        for _ in 0..6 {
            let (a, b) = two(&mut random, &ordered);
            let mut records = ordered.clone();
            records.swap(a, b);
            target.survives(&sealed(&records), &format!("sealed: {a} and {b} swapped"));
            let mut records = ordered.clone();
            records.remove(a);
            target.survives(&sealed(&records), &format!("sealed: without {a}"));
            let mut records = ordered.clone();
            let (at, bit) = (8 + random.below(96), random.below(8));
            records[a].0[at] ^= 1 << bit;
            target.survives(
                &sealed(&records),
                &format!("sealed: {a}, bit {bit} at {at}"),
            );
        }
        target.ends_well();
    }
}

/// It has read up to a random byte and waits for more, or is about to end.
#[test]
fn an_engine_that_is_killed_while_it_receives_loses_nothing() {
    let mut random = Random::new();
    for chain in CHAINS {
        let mut target = Target::new(chain);
        let bytes = target.stream.bytes();
        for round in 0..4 {
            let end = match round {
                0 => bytes.len(),
                // The first record is read before the engine is asked.
                _ => BeginRecord::SIZE + random.below(bytes.len() - BeginRecord::SIZE),
            };
            let delay = Duration::from_micros(random.below(30_000) as u64);
            killed_at(&mut target, &bytes[..end], delay);
        }
        target.ends_well();
    }
}

fn killed_at(target: &mut Target, bytes: &[u8], delay: Duration) {
    let damage = format!("killed at {}, after {delay:?}", bytes.len());
    let (output, input) = std::io::pipe().expect("a pipe");
    let engine = target.scratch.engine.clone();
    let point = target.point.clone();
    let receiver = std::thread::spawn(move || {
        let done = engine.receive(&point, &ReceiveOptions::default(), output);
        done.map(drop)
    });
    // It stays open: the engine waits for what is missing.
    let input = fed(input, bytes);
    std::thread::sleep(delay);
    let id = i32::try_from(target.scratch.engine.process_id()).expect("a process id");
    kill(Pid::from_raw(id), Signal::SIGKILL).expect("it runs");
    let done = receiver.join().expect("no panic");
    drop(input);
    match done {
        Err(Error::EngineLost { .. }) => {
            target.open_again(&damage);
            if target.scratch.engine.guid(target.point.as_str()) == Ok(Some(target.stream.guid())) {
                // All was done but for the answer.
                target.forget(&damage);
            } else {
                target.has_what_it_had(&damage);
            }
        }
        Ok(()) => {
            target.open_again(&damage);
            let guid = target.scratch.engine.guid(target.point.as_str());
            assert_eq!(guid, Ok(Some(target.stream.guid())), "{damage}");
            target.forget(&damage);
        }
        Err(error) => panic!("{damage}: {error}"),
    }
}

fn fed(mut input: PipeWriter, bytes: &[u8]) -> PipeWriter {
    input.write_all(bytes).expect("it reads");
    input
}
