//! Send streams as sequences of records, known here once more than in the library: to change single records, and to
//! make the checksums right afterwards. Without that almost every change ends at the next record's checksum.

use std::ops::Range;

use libfuzzer_sys::fuzzer_mutate;

use crate::pieces::Choices;

/// The size of a record without its payload.
const HEADER: usize = 312;
/// Where the checksum of all before it stands, in all but BEGIN.
const CHECKSUM: usize = 280;
const BEGIN: u32 = 0;
const END: u32 = 5;
const MAGIC: u64 = 0x2_f5ba_cbac;

/// A record in a stream.
#[derive(Clone, Debug)]
pub struct Span {
    /// `drr_type`.
    pub kind: u32,
    /// Whether its numbers begin with their highest byte.
    pub big: bool,
    /// Where it is, with its payload, which may be cut off.
    pub range: Range<usize>,
}

impl Span {
    /// Where its payload is.
    pub fn payload(&self) -> Range<usize> {
        self.range.start + HEADER..self.range.end
    }
}

/// The records of a stream, up to where it makes no sense any more.
pub fn walk(stream: &[u8]) -> Vec<Span> {
    let (mut spans, mut at, mut big) = (Vec::new(), 0, false);
    while let Some(header) = stream.get(at..).and_then(<[u8]>::first_chunk::<HEADER>) {
        if [false, true]
            .iter()
            .any(|&big| wide(header, 8, big) == MAGIC && word(header, 0, big) == BEGIN)
        {
            big = wide(header, 8, true) == MAGIC;
        } else if spans.is_empty() {
            break;
        }
        let kind = word(header, 0, big);
        let payload = payload_size(header, kind, big).min((stream.len() - at - HEADER) as u64);
        let end = at + HEADER + payload as usize;
        spans.push(Span {
            kind,
            big,
            range: at..end,
        });
        at = end;
    }
    spans
}

fn payload_size(header: &[u8; HEADER], kind: u32, big: bool) -> u64 {
    let word = |at| u64::from(word(header, at, big));
    let wide = |at| wide(header, at, big);
    let or = |size, otherwise| if size == 0 { otherwise } else { size };
    match kind {
        BEGIN => word(4),
        1 => or(word(36), word(28).next_multiple_of(8)),
        3 if header[50] != 0 => wide(96),
        3 => wide(32),
        7 => or(wide(40), wide(16)),
        8 => word(52).next_multiple_of(8),
        _ => 0,
    }
}

/// Makes the checksums right, and each END that of its stream. A record without a checksum (streams of before 2015,
/// headers of packages) gets none.
pub fn resum(stream: &mut [u8]) {
    let (mut sums, mut to_guid, mut open) = ([0; 4], 0, false);
    for span in walk(stream) {
        let start = span.range.start;
        let record = &mut stream[start..span.range.end];
        if span.kind == BEGIN {
            (sums, to_guid, open) = ([0; 4], wide(record, 40, span.big), true);
        } else if open {
            if span.kind == END {
                put_sums(record, 8, sums, span.big);
                put(record, 40, to_guid, span.big);
                open = false;
            }
            let before = fletcher4(sums, &record[..CHECKSUM], span.big);
            if record[CHECKSUM..HEADER].iter().any(|&byte| byte != 0) {
                put_sums(record, CHECKSUM, before, span.big);
            }
        }
        sums = fletcher4(sums, record, span.big);
    }
}

/// Changes a stream as libFuzzer would, or record by record; mostly with checksums that are right.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut choices = Choices::seeded(seed);
    let spans = walk(&data[..size]);
    let size = match choices.below(8) {
        0 => fuzzer_mutate(data, size, max_size),
        _ if spans.is_empty() => fuzzer_mutate(data, size, max_size),
        1 => {
            let range = spans[choices.below(spans.len())].range.clone();
            data.copy_within(range.end..size, range.start);
            size - range.len()
        }
        2 | 3 => {
            let range = spans[choices.below(spans.len())].range.clone();
            let at = spans[choices.below(spans.len())].range.start;
            insert(data, size, max_size, range, at)
        }
        4 if spans.iter().any(|span| !span.payload().is_empty()) => {
            let payloads = spans.iter().map(Span::payload);
            let payloads: Vec<_> = payloads.filter(|range| !range.is_empty()).collect();
            let payload = payloads[choices.below(payloads.len())].clone();
            fuzzer_mutate(&mut data[payload.clone()], payload.len(), payload.len());
            size
        }
        _ => {
            let start = spans[choices.below(spans.len())].range.start;
            fuzzer_mutate(&mut data[start..start + HEADER], HEADER, HEADER);
            size
        }
    };
    if choices.below(16) != 0 {
        resum(&mut data[..size]);
    }
    size
}

/// Puts a copy of a range somewhere else, if there is room.
fn insert(data: &mut [u8], size: usize, max_size: usize, range: Range<usize>, at: usize) -> usize {
    let grown = size + range.len();
    if grown > max_size {
        return size;
    }
    let copy = data[range].to_vec();
    data.copy_within(at..size, at + copy.len());
    data[at..at + copy.len()].copy_from_slice(&copy);
    grown
}

/// The same stream with at most `most` records of each kind in a row, and none longer than `longest`.
pub fn thinned(stream: &[u8], most: usize, longest: usize) -> Vec<u8> {
    let mut thin = Vec::new();
    let mut had = Vec::new();
    for span in walk(stream) {
        let had_of_kind = had.iter().filter(|&&kind| kind == span.kind).count();
        let must_stay = matches!(span.kind, BEGIN | END);
        if span.kind == BEGIN {
            had.clear();
        }
        had.push(span.kind);
        if must_stay || had_of_kind < most && span.range.len() <= longest {
            thin.extend_from_slice(&stream[span.range]);
        }
    }
    resum(&mut thin);
    thin
}

/// The same stream as a machine of the other byte order would send it: BEGIN and END, for the numbers of the other
/// records differ in their widths.
pub fn swapped_ends(stream: &[u8]) -> Vec<u8> {
    let mut swapped = Vec::new();
    for span in walk(stream) {
        let record = &stream[span.range.clone()];
        let mut copy = record.to_vec();
        match span.kind {
            BEGIN if span.payload().is_empty() => {
                for (start, end) in [
                    (0, 4),
                    (4, 8),
                    (8, 16),
                    (16, 24),
                    (24, 32),
                    (32, 36),
                    (36, 40),
                    (40, 48),
                    (48, 56),
                ] {
                    copy[start..end].reverse();
                }
            }
            END => copy[..4].reverse(),
            _ => continue,
        }
        swapped.extend(copy);
    }
    resum(&mut swapped);
    swapped
}

fn fletcher4([mut a, mut b, mut c, mut d]: [u64; 4], bytes: &[u8], big: bool) -> [u64; 4] {
    for bytes in bytes.as_chunks::<4>().0 {
        let word = if big {
            u32::from_be_bytes(*bytes)
        } else {
            u32::from_le_bytes(*bytes)
        };
        a = a.wrapping_add(word.into());
        b = b.wrapping_add(a);
        c = c.wrapping_add(b);
        d = d.wrapping_add(c);
    }
    [a, b, c, d]
}

fn word(bytes: &[u8], at: usize, big: bool) -> u32 {
    let bytes = *bytes[at..].first_chunk().expect("within a record");
    if big {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}

fn wide(bytes: &[u8], at: usize, big: bool) -> u64 {
    let bytes = *bytes[at..].first_chunk().expect("within a record");
    if big {
        u64::from_be_bytes(bytes)
    } else {
        u64::from_le_bytes(bytes)
    }
}

fn put(bytes: &mut [u8], at: usize, number: u64, big: bool) {
    let number = if big {
        number.to_be_bytes()
    } else {
        number.to_le_bytes()
    };
    bytes[at..at + 8].copy_from_slice(&number);
}

fn put_sums(record: &mut [u8], at: usize, sums: [u64; 4], big: bool) {
    for (number, sum) in sums.into_iter().enumerate() {
        put(record, at + 8 * number, sum, big);
    }
}
