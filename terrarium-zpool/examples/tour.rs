//! A pool in a file: written to, broken, rolled back. Stays there to be looked at.
//!
//! ```console
//! $ cargo build -p terrarium-zpool
//! $ TERRARIUM_ZPOOL=target/debug/terrarium-zpool cargo run -p terrarium-zpool --example tour -- /tmp/pool
//! ```
#![allow(clippy::print_stdout, reason = "shows what it does")]

use std::error::Error;
use std::path::PathBuf;

use terrarium_zfs::{DatasetName, Properties, SendFlags, SnapshotName, UserProperties};
use terrarium_zpool::Options;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("usage: tour POOL-FILE")?;
    let engine = Options::default().create(&PathBuf::from(&file), "demo", 256 << 20)?;
    println!(
        "pool {} in {file}, held by process {}",
        engine.pool(),
        engine.process_id()
    );

    let web = DatasetName::new("demo/web")?;
    engine.create(&web, &Properties::new())?;
    engine.create_directory(&web, "etc", 0o755)?;
    engine.write_file(&web, "etc/motd", 0o644, b"all is well\n")?;
    let before = web.snapshot("before")?;
    let note = UserProperties::from([("example:why".to_owned(), "upgrade".to_owned())]);
    engine.snapshot(&[(before.clone(), note)])?;

    engine.write_file(&web, "etc/motd", 0o644, b"all is lost\n")?;
    engine.write_file(&web, "large", 0o600, &vec![7; 5 << 20])?;
    let after = web.snapshot("after")?;
    engine.snapshot(&[(after.clone(), UserProperties::new())])?;
    for snapshot in engine.list(&web, &["example:why"])?.snapshots {
        let why = snapshot.user_properties.get("example:why");
        println!("{}  guid {}  {why:?}", snapshot.name, snapshot.guid);
    }

    // Out through a pipe and into another dataset, at the same time.
    let (output, input) = std::io::pipe()?;
    let copy = SnapshotName::new("demo/copy@after")?;
    let sender = engine.clone();
    let sent = std::thread::spawn(move || sender.send(&after, None, SendFlags::default(), &input));
    let received = engine.receive(&copy, &Default::default(), &output)?;
    sent.join().expect("no panic")?;
    println!("{} bytes of stream became {copy}", received.bytes);

    engine.rollback_to(&before)?;
    let motd = engine.read_file(web.as_str(), "etc/motd", 1000)?;
    let motd = motd.map(String::from_utf8).transpose()?;
    println!("rolled back: {motd:?}");
    engine.close()?;
    Ok(())
}
