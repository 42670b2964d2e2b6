//! What a drill costs: many small files, sent, received into another pool file, and every one read.
//!
//! `cargo run --release -p terrarium-zpool --example measure_drill -- [FILES] [BYTES OF EACH]`
#![allow(
    clippy::print_stdout,
    reason = "a program that reports what it measures"
)]

use std::io::{Read, Seek};
use std::time::Instant;

use terrarium_core::tree::hash_snapshot;
use terrarium_zfs::tree::{Entry, Kind};
use terrarium_zfs::{DatasetName, ReceiveOptions, SendFlags, SnapshotName, UserProperties};
use terrarium_zpool::{Engine, Options};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize| match arguments.next() {
        Some(text) => text.parse::<usize>(),
        None => Ok(usual),
    };
    let (files, size) = (number(25_600)?, number(4096)?);
    let folder = tempfile::tempdir()?;
    let room = (files * size.max(4096) * 3) as u64 + (512 << 20);
    let source = Options::default().create(&folder.path().join("source"), "source", room)?;
    let web = DatasetName::new("source/web")?;
    source.create(&web, &Default::default())?;
    timed("written", || write(&source, &web, files, size))?;
    let point = web.snapshot("s")?;
    source.snapshot(&[(point.clone(), UserProperties::new())])?;
    let mut stream = tempfile::tempfile()?;
    timed("sent", || {
        Ok(source.send(&point, None, SendFlags::default(), &stream)?)
    })?;
    stream.rewind()?;
    println!("{} bytes of stream", stream.metadata()?.len());
    source.close()?;

    let began = Instant::now();
    let target = timed("pool made", || {
        Ok(Options::default().create(&folder.path().join("target"), "target", room)?)
    })?;
    let copy = SnapshotName::new("target/copy@s")?;
    timed("received", || {
        Ok(target.receive(&copy, &ReceiveOptions::default(), &stream)?)
    })?;
    let tree = timed("read", || Ok(hash_snapshot(&target, copy.as_str())?))?;
    println!(
        "{} entries, {} bytes",
        tree.listing.len(),
        tree.listing.bytes()
    );
    println!("{}", tree.listing.digest());
    println!("drill in all: {:.2} s", began.elapsed().as_secs_f64());
    println!("peak of the engine: {}", peak(target.process_id())?);
    println!("peak of the caller: {}", peak(std::process::id())?);
    timed("closed", || Ok(target.close()?))
}

fn write(engine: &Engine, dataset: &DatasetName, files: usize, size: usize) -> Outcome<()> {
    let mut tree = engine.write_tree(dataset);
    let mut content = vec![0; size];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for n in 0..files {
        if n % 256 == 0 {
            let name = format!("{:04}", n / 256);
            tree.add(&Entry::new(name, Kind::Directory, 0o755));
        }
        let mut file = Entry::new(format!("{:04}/{n}", n / 256), Kind::File, 0o644);
        file.size = size as u64;
        for byte in content.iter_mut() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        tree.add(&file);
        tree.content(0, &content);
    }
    Ok(tree.finish()?)
}

fn timed<T>(what: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let began = Instant::now();
    let done = work()?;
    println!("{what}: {:.2} s", began.elapsed().as_secs_f64());
    Ok(done)
}

fn peak(process: u32) -> Outcome<String> {
    let mut status = String::new();
    std::fs::File::open(format!("/proc/{process}/status"))?.read_to_string(&mut status)?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    Ok(line.unwrap_or("unknown").to_owned())
}
