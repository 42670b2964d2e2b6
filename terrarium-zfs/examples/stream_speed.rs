//! How fast a stream is checked: reads a file into memory and inspects it a few times.
//!
//! ```console
//! $ cargo run --release -p terrarium-zfs --example stream_speed -- STREAM
//! ```
#![allow(clippy::print_stdout, reason = "shows what it measures")]

use std::error::Error;
use std::time::Instant;

use terrarium_zfs::stream::Inspector;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args()
        .nth(1)
        .ok_or("usage: stream_speed STREAM")?;
    let stream = std::fs::read(file)?;
    for _ in 0..5 {
        let begun = Instant::now();
        let mut inspector = Inspector::new();
        for piece in stream.chunks(1 << 20) {
            inspector.push(piece)?;
        }
        inspector.finish()?;
        let rate = stream.len() as f64 / begun.elapsed().as_secs_f64() / 1e9;
        println!("{rate:.2} GB/s");
    }
    for stream in inspector_of(&stream)?.take_streams() {
        println!("{stream:#?}");
    }
    Ok(())
}

fn inspector_of(stream: &[u8]) -> Result<Inspector, Box<dyn Error>> {
    let mut inspector = Inspector::new();
    inspector.read(stream)?;
    Ok(inspector)
}
