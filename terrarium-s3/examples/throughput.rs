//! How fast a stream is stored and read back, and how much memory that takes.
//!
//! ```console
//! # cargo build --release -p terrarium-s3 --example throughput
//! # zfs send -L tank/data@snap | target/release/examples/throughput write /mnt/backup > manifest
//! # target/release/examples/throughput read /mnt/backup < manifest > /dev/null
//! ```
//! `write` wants an empty folder. It leaves the identity in it: this is for measuring, not for backups.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output")]

use std::error::Error;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use terrarium_s3::DirectoryStore;
use terrarium_s3::crypto::{Identities, NewIdentity, Recipients};
use terrarium_s3::format::{ArchiveId, Base, Document, Kind, Layout, Lineage, Manifest};
use terrarium_s3::pipeline::{Options, Point, publish, read_stream, write_stream};
use terrarium_zfs::SnapshotName;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut options = Options::default();
    if let Some(workers) = arguments.get(2) {
        options.workers = Some(workers.parse()?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()?;
    let began = Instant::now();
    let (stream, stored) = match &arguments[..] {
        [verb, folder, ..] if verb == "write" => {
            runtime.block_on(write(Path::new(folder), &options))?
        }
        [verb, folder, ..] if verb == "read" => {
            runtime.block_on(read(Path::new(folder), &options))?
        }
        _ => return Err("usage: throughput write|read FOLDER [WORKERS]".into()),
    };
    let seconds = began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM"));
    eprintln!(
        "{:.0} MB in {seconds:.1} s: {:.0} MB/s, stored {:.1} %, {}",
        stream as f64 / 1e6,
        stream as f64 / 1e6 / seconds,
        100.0 * stored as f64 / stream as f64,
        peak.unwrap_or_default()
    );
    Ok(())
}

async fn write(folder: &Path, options: &Options) -> Result<(u64, u64), Box<dyn Error>> {
    let identity = NewIdentity::generate();
    std::fs::write(folder.join("identity"), identity.to_file().as_bytes())?;
    let recipients = Recipients::parse([identity.recipient()])?;
    let store = Arc::new(DirectoryStore::open(folder)?);
    let layout = Layout::default();
    let stored = write_stream(
        store.clone(),
        &layout,
        &recipients,
        std::io::stdin(),
        None,
        options,
    )
    .await?;
    let sizes = (stored.stream_bytes, stored.stored_bytes());
    let point = Point {
        archive: ArchiveId::random()?,
        terrarium: env!("CARGO_PKG_VERSION").to_owned(),
        exported: jiff::Timestamp::UNIX_EPOCH,
        lineage: Lineage::random()?,
        instance: "measured".to_owned(),
        project: None,
        instance_uuid: None,
        snapshot: SnapshotName::new("tank/measured@now")?,
        base: stored.begin.from_guid().map_or(Base::Full, Base::Point),
        createtxg: None,
        kind: Kind::OnDemand,
        alias: None,
        expires: None,
        send_flags: None,
        definition: None,
        tree: None,
    };
    let manifest = publish(&*store, &layout, stored, point, None).await?;
    println!("{} {}", manifest.archive, manifest.place());
    Ok(sizes)
}

async fn read(folder: &Path, options: &Options) -> Result<(u64, u64), Box<dyn Error>> {
    let line = std::io::read_to_string(std::io::stdin())?;
    let (archive, place) = line.trim().split_once(' ').ok_or("no manifest")?;
    let bytes = std::fs::read(folder.join(place))?;
    let manifest = Manifest::read(&bytes, archive.parse()?, &place.parse()?, &[])?.document;
    let file = std::fs::read(folder.join("identity"))?;
    let identities = Arc::new(Identities::parse(&file, None)?);
    let sealed = manifest.open(&identities)?;
    let store = Arc::new(DirectoryStore::open(folder)?);
    // Not line by line.
    let output = std::fs::File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let content = read_stream(
        store,
        &Layout::default(),
        &manifest,
        identities,
        Some(sealed.stream_blake3),
        output,
        options,
    )
    .await?;
    let stored = manifest.parts.iter().map(|part| part.stored_bytes).sum();
    Ok((content.stream_bytes, stored))
}
