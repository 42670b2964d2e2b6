//! Streams to measure with. What is measured is in `benches/`, and what it is compared with in `benches/peer`.

use std::io::{self, Write};

use terrarium_zfs::stream::{Event, Parser, RecordKind, StreamError};

/// Repeats all records between the first and the last, each with the checksum that it has there.
///
/// # Errors
/// The stream is damaged, or the output's.
pub fn stretch(input: &[u8], bytes: u64, output: impl Write) -> io::Result<()> {
    let damaged = |error: StreamError| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut records = Vec::new();
    let mut parser = Parser::new();
    let mut rest = input;
    while let Some(event) = parser.next(&mut rest).map_err(damaged)? {
        if let Event::Record(record) = event {
            // What was parsed is in memory.
            let start = record.offset as usize;
            let end = start + RECORD + record.payload as usize;
            records.push((record.body.kind(), start..end));
        }
    }
    parser.finish().map_err(damaged)?;
    let mut output = Summed {
        output,
        sums: [0; 4],
        bytes: 0,
    };
    for (kind, at) in &records {
        match kind {
            RecordKind::Begin => output.put(&input[at.clone()])?,
            RecordKind::End => {}
            _ => output.record(&input[at.clone()])?,
        }
    }
    let middle = records
        .iter()
        .filter(|(kind, _)| !matches!(kind, RecordKind::Begin | RecordKind::End));
    let mut again = middle.cycle();
    while let (true, Some((_, at))) = (output.bytes < bytes, again.next()) {
        output.record(&input[at.clone()])?;
    }
    let end = records.last().map_or(0..0, |(_, at)| at.clone());
    let mut end = input[end].to_vec();
    end[8..40].copy_from_slice(&bytes_of(output.sums));
    output.record(&end)
}

/// `sizeof (dmu_replay_record_t)`
const RECORD: usize = 312;
/// Where `drr_checksum` stands.
const CHECKSUM: usize = 280;

/// Writes, and sums up what went by.
struct Summed<W> {
    output: W,
    sums: [u64; 4],
    bytes: u64,
}

impl<W: Write> Summed<W> {
    fn record(&mut self, record: &[u8]) -> io::Result<()> {
        self.put(&record[..CHECKSUM])?;
        self.put(&bytes_of(self.sums))?;
        self.put(&record[RECORD..])
    }

    /// fletcher-4 of whole words, those of a machine of this byte order.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let [mut a, mut b, mut c, mut d] = self.sums;
        for word in bytes.as_chunks::<4>().0 {
            a = a.wrapping_add(u32::from_ne_bytes(*word).into());
            b = b.wrapping_add(a);
            c = c.wrapping_add(b);
            d = d.wrapping_add(c);
        }
        self.sums = [a, b, c, d];
        self.bytes += bytes.len() as u64;
        self.output.write_all(bytes)
    }
}

fn bytes_of(sums: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, sum) in bytes.chunks_exact_mut(8).zip(sums) {
        place.copy_from_slice(&sum.to_ne_bytes());
    }
    bytes
}
