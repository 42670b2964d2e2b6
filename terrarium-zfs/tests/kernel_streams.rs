//! The parser of streams, on the kernel's own (`testbed/streams`), against what `zstream dump` says
//! of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use terrarium_zfs::stream::{Event, Inspector, Parser, RecordKind, StreamError, StreamSummary};

/// The captured streams: their names and bytes.
fn streams() -> Vec<(String, Vec<u8>)> {
    let folder = folder();
    let entries = std::fs::read_dir(&folder).expect("the captured streams are in testbed/streams");
    let mut streams: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name()?.to_str()?.strip_suffix(".zfs")?.to_owned();
            Some((name, std::fs::read(&path).expect("read")))
        })
        .collect();
    streams.sort();
    assert!(streams.len() > 15, "streams are missing in {folder:?}");
    streams
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams")
}

fn inspected(bytes: &[u8]) -> Result<Inspector, StreamError> {
    let mut inspector = Inspector::new();
    inspector.push(bytes)?;
    inspector.finish()?;
    Ok(inspector)
}

fn dump(name: &str) -> String {
    let path = folder().join("dumps").join(format!("{name}.txt"));
    std::fs::read_to_string(path).expect("every stream has a dump")
}

/// The values of a field of BEGIN records, in order.
fn fields<'a>(dump: &'a str, field: &str) -> Vec<&'a str> {
    let lines = dump.lines().filter_map(|line| line.strip_prefix('\t'));
    lines
        .filter_map(|line| line.strip_prefix(field)?.strip_prefix(" = "))
        .collect()
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("a hexadecimal number")
}

#[test]
fn every_stream_is_whole_and_sound_and_named_as_zstream_names_it() {
    for (name, bytes) in streams() {
        let mut inspector = inspected(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(inspector.bytes(), bytes.len() as u64, "{name}");
        let streams = inspector.take_streams();
        assert!(streams.iter().all(|stream| stream.is_whole), "{name}");
        let all_have = |stream: &StreamSummary| stream.has_every_checksum;
        assert!(streams.iter().all(all_have), "{name}");

        let package = inspector.package().map(|package| &package.begin);
        let begins: Vec<_> = package
            .into_iter()
            .chain(streams.iter().map(|stream| &stream.begin))
            .collect();
        let dump = dump(&name);
        assert_eq!(fields(&dump, "toname").len(), begins.len(), "{name}");
        for (n, begin) in begins.into_iter().enumerate() {
            let field = |field| fields(&dump, field)[n];
            assert_eq!(begin.to_name(), field("toname"), "{name}");
            assert_eq!(begin.to_guid().get(), hex(field("toguid")), "{name}");
            let from = begin.from_guid().map_or(0, |guid| guid.get());
            assert_eq!(from, hex(field("fromguid")), "{name}");
            assert_eq!(begin.features().bits(), hex(field("features")), "{name}");
            let creation = begin.creation() as u64;
            assert_eq!(creation, hex(field("creation_time")), "{name}");
            let is_package = field("hdrtype") == "2";
            assert_eq!(begin.is_package(), is_package, "{name}");
            let size = begin.payload_size().to_string();
            assert_eq!(size, field("payloadlen"), "{name}");
        }
    }
}

#[test]
fn records_and_payloads_are_counted_as_zstream_counts_them() {
    for (name, bytes) in streams() {
        let mut counts: BTreeMap<RecordKind, (u64, u64)> = BTreeMap::new();
        let mut parser = Parser::new();
        let mut rest = &bytes[..];
        let mut payloads = 0;
        while let Some(event) = parser.next(&mut rest).expect("sound") {
            match event {
                Event::Record(record) => {
                    let count = counts.entry(record.body.kind()).or_default();
                    count.0 += 1;
                    count.1 += record.payload;
                }
                Event::Payload(payload) => payloads += payload.len(),
            }
        }
        let dump = dump(&name);
        // It has no line for the kinds of records that were added last.
        for kind in RecordKind::ALL {
            let (records, size) = counts.get(&kind).copied().unwrap_or_default();
            let said = format!("Total DRR_{} records = ", kind.name());
            if let Some((_, said)) = dump.split_once(&said) {
                let ours = format!("{records} ({size} bytes)");
                assert!(said.starts_with(&ours), "{name}: {kind:?} {ours}");
            }
        }
        let records: u64 = counts.values().map(|(records, _)| records).sum();
        for said in [
            format!("\tTotal records = {records}\n"),
            format!("\tTotal payload size = {payloads} ("),
            format!("\tTotal stream length = {} (", bytes.len()),
        ] {
            assert!(dump.contains(&said), "{name}: {said}");
        }
    }
}

#[test]
fn what_only_some_streams_have_is_told() {
    let summary = |name: &str| {
        let bytes = std::fs::read(folder().join(format!("{name}.zfs"))).expect("a stream");
        inspected(&bytes).expect("sound")
    };
    let resumed = summary("content-one-resumed").take_streams().remove(0);
    assert!(resumed.begin.is_resuming());
    let at = resumed.resumes_at.expect("it says where");
    // Where exactly differs from one capture to the next.
    assert!(at.object > 1, "{at:?}");

    let clone = summary("clone").take_streams().remove(0);
    assert!(clone.begin.is_clone());
    assert!(clone.begin.from_guid().is_some());

    let raw = summary("encrypted-one").take_streams().remove(0);
    assert!(raw.begin.is_raw());
    assert!(raw.count(RecordKind::ObjectRange).records > 0);

    let redacted = summary("redacted").take_streams().remove(0);
    assert!(redacted.count(RecordKind::Redact).records > 0);

    let mut package = summary("package-recursive");
    assert_eq!(package.take_streams().len(), 4);
    let header = package.package().expect("a package");
    assert_eq!(header.to_snapshot.as_deref(), Some("t"));
    assert_eq!(header.datasets, Some(2));
}

#[test]
fn a_stream_in_pieces_is_the_same_stream() {
    for (name, bytes) in streams() {
        for size in [1, 7, 311, 4096] {
            if size < 300 && bytes.len() > 100_000 {
                continue;
            }
            let mut pieces = Inspector::new();
            for piece in bytes.chunks(size) {
                pieces.push(piece).expect("sound");
            }
            let mut whole = inspected(&bytes).expect("sound");
            assert_eq!(pieces.finish(), Ok(()), "{name}");
            assert_eq!(pieces.take_streams(), whole.take_streams(), "{name}");
            assert_eq!(pieces.package(), whole.package(), "{name}");
        }
    }
}

proptest! {
    #[test]
    fn a_stream_that_is_cut_short_is_never_taken_for_whole(
        which in any::<prop::sample::Index>(),
        end in any::<prop::sample::Index>(),
    ) {
        let streams = streams();
        let (name, bytes) = which.get(&streams);
        let end = end.index(bytes.len());
        let error = inspected(&bytes[..end]).expect_err(name);
        prop_assert_eq!(error, StreamError::Truncated { offset: end as u64 });
    }

    #[test]
    fn a_stream_with_one_bit_wrong_is_never_taken_for_sound(
        which in any::<prop::sample::Index>(),
        position in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let streams = streams();
        let (name, bytes) = which.get(&streams);
        let position = position.index(bytes.len());
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << bit;
        let error = inspected(&damaged).expect_err(name);
        // The payload that the bit lies in is over at the latest after 16 MiB and a record.
        let place = position as u64;
        match error {
            StreamError::Checksum { since, offset } => {
                prop_assert!((since..offset).contains(&place), "{}: {}", name, error);
            }
            StreamError::NoStream => prop_assert!(place < 312),
            _ => prop_assert!(error.offset() + 312 > place, "{}: {}", name, error),
        }
    }
}
