//! A stream taken apart into its records, to be put together otherwise.
//!
//! The layout is that of `dmu_replay_record_t` of sys/zfs_ioctl.h, in this machine's byte order.

use testbed::Stream;

/// The length of a record without its payload.
const HEADER: usize = 312;
/// Where the checksum of all that precedes it stands, in each record but the first.
const CHECKSUM: usize = HEADER - 32;

const BEGIN: u32 = 0;
const OBJECT: u32 = 1;
const WRITE: u32 = 3;
const END: u32 = 5;
const SPILL: u32 = 7;
const WRITE_EMBEDDED: u32 = 8;

/// One record with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record(pub(crate) Vec<u8>);

/// The records of a stream that is neither raw nor redacted.
pub(crate) fn records(stream: &Stream) -> Vec<Record> {
    let bytes = stream.bytes();
    let mut rest = &bytes[..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (record, next) = rest.split_at(HEADER + payload(rest));
        records.push(Record(record.to_vec()));
        rest = next;
    }
    records
}

/// The records in a row, as they are.
pub(crate) fn joined(records: &[Record]) -> Vec<u8> {
    let each = records.iter().map(|record| &record.0[..]);
    each.collect::<Vec<_>>().concat()
}

/// The records in a row, with checksums that are right: a stream that somebody made up.
pub(crate) fn sealed(records: &[Record]) -> Vec<u8> {
    let mut sum = [0; 4];
    let mut bytes = Vec::new();
    for record in records {
        let start = bytes.len();
        bytes.extend_from_slice(&record.0);
        let record = &mut bytes[start..];
        if number(record, 0, 4) == u64::from(END) {
            put(&mut record[8..40], &sum);
        }
        fletcher4(&mut sum, &record[..CHECKSUM]);
        if number(record, 0, 4) != u64::from(BEGIN) {
            put(&mut record[CHECKSUM..HEADER], &sum);
        }
        fletcher4(&mut sum, &record[CHECKSUM..]);
    }
    bytes
}

/// How many bytes follow a record.
fn payload(record: &[u8]) -> usize {
    let field = |at: usize, length| number(record, 8 + at, length) as usize;
    match number(record, 0, 4) as u32 {
        BEGIN => number(record, 4, 4) as usize,
        OBJECT => field(20, 4).next_multiple_of(8),
        // Of the two lengths the second if it is compressed.
        WRITE if field(42, 1) == 0 => field(24, 8),
        WRITE => field(88, 8),
        SPILL => field(8, 8),
        WRITE_EMBEDDED => field(44, 4).next_multiple_of(8),
        _ => 0,
    }
}

fn number(record: &[u8], at: usize, length: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..length].copy_from_slice(&record[at..at + length]);
    u64::from_le_bytes(bytes)
}

fn put(to: &mut [u8], sum: &[u64; 4]) {
    for (bytes, word) in to.chunks_exact_mut(8).zip(sum) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
}

fn fletcher4([a, b, c, d]: &mut [u64; 4], bytes: &[u8]) {
    for word in bytes.chunks_exact(4) {
        *a = a.wrapping_add(number(word, 0, 4));
        *b = b.wrapping_add(*a);
        *c = c.wrapping_add(*b);
        *d = d.wrapping_add(*c);
    }
}
