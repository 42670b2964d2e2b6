//! Send streams: [`Parser`] and [`Inspector`].
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use terrarium_fuzz::pieces::{Choices, pieces};
use terrarium_fuzz::{records, seeds};
use terrarium_zfs::stream::{
    BeginRecord, Body, Event, Inspector, Package, Parser, RecordKind, StreamError, StreamSummary,
};

fuzz_target!(
    init: seeds::write_if_asked(seeds, |stream| inspect([stream]).outcome.is_ok()),
    |stream: &[u8]| {
        let seen = inspect([stream]);
        assert_eq!(seen, inspect(pieces(stream)), "the size of the pieces makes a difference");
        assert_eq!(seen.outcome, count(stream), "parser and inspector differ");
        if seen.outcome.is_ok() {
            all_was_counted(&seen, stream);
            no_change_goes_unnoticed(stream);
        }
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    records::mutate(data, size, max_size, seed)
});

fn seeds() -> Vec<seeds::Seed> {
    let captures = seeds::captures().into_iter();
    let thin = |(name, stream): seeds::Seed| {
        let swapped = records::swapped_ends(&stream);
        let thinned = records::thinned(&stream, 2, 4500);
        [(format!("{name}-swapped"), swapped), (name, thinned)]
    };
    // A package has its header's list behind BEGIN, which is not swapped.
    let whole = |(_, stream): &seeds::Seed| inspect([&stream[..]]).outcome.is_ok();
    let (seeds, refused): (Vec<_>, Vec<_>) = captures.flat_map(thin).partition(whole);
    for (name, _) in refused {
        assert!(name.ends_with("-swapped"), "thinning has spoilt {name}");
    }
    seeds
}

#[derive(Debug, PartialEq)]
struct Seen {
    outcome: Result<(), StreamError>,
    bytes: u64,
    package: Option<Package>,
    streams: Vec<StreamSummary>,
    unfinished: Option<StreamSummary>,
}

fn inspect<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut inspector = Inspector::new();
    let pushed = pieces
        .into_iter()
        .try_for_each(|piece| inspector.push(piece));
    if pushed.is_err() {
        assert_eq!(inspector.push(b"more"), pushed, "another error, later");
        assert_eq!(inspector.finish(), pushed, "another error, at the end");
    }
    let outcome = pushed.and_then(|()| inspector.finish());
    let bytes = match outcome {
        // That is known from the first byte that is wrong.
        Err(StreamError::NoStream) => 0,
        _ => inspector.bytes(),
    };
    Seen {
        outcome,
        bytes,
        package: inspector.package().cloned(),
        streams: inspector.take_streams(),
        unfinished: inspector.unfinished().cloned(),
    }
}

/// Reads it record by record: each is where the one before ends.
fn count(stream: &[u8]) -> Result<(), StreamError> {
    let (mut parser, mut rest) = (Parser::new(), stream);
    let (mut at, mut payload) = (0, 0);
    while let Some(event) = parser.next(&mut rest)? {
        match event {
            Event::Record(record) => {
                assert_eq!(
                    (record.offset, payload),
                    (at, 0),
                    "a record that is not the next one"
                );
                at += BeginRecord::SIZE as u64;
                payload = record.payload;
                if let Body::Begin(begin) = record.body {
                    assert_eq!(
                        BeginRecord::parse_any(*begin.as_bytes()).as_ref(),
                        Ok(&*begin)
                    );
                    assert!(begin.to_name().len() <= 3 * BeginRecord::SIZE);
                }
            }
            Event::Payload(bytes) => {
                assert!(!bytes.is_empty(), "an event of nothing");
                at += bytes.len() as u64;
                payload -= bytes.len() as u64;
            }
        }
        assert_eq!(parser.offset(), at);
    }
    assert!(rest.is_empty(), "not all was taken");
    assert_eq!(parser.finish().is_ok(), parser.is_finished());
    parser.finish()
}

fn all_was_counted(seen: &Seen, stream: &[u8]) {
    assert_eq!(seen.bytes, stream.len() as u64);
    assert_eq!(seen.unfinished, None);
    for stream in &seen.streams {
        let counts = RecordKind::ALL.map(|kind| stream.count(kind));
        let payload: u64 = counts.iter().map(|count| count.payload).sum();
        assert_eq!(
            stream.bytes,
            stream.records() * BeginRecord::SIZE as u64 + payload
        );
        assert!(stream.is_whole);
    }
}

/// One that is whole and sound is neither with a byte less or more, or a bit that is another.
fn no_change_goes_unnoticed(stream: &[u8]) {
    let mut choices = Choices::of(stream);
    let cut = choices.below(stream.len());
    let truncated = Err(StreamError::Truncated { offset: cut as u64 });
    assert_eq!(inspect([&stream[..cut]]).outcome, truncated);
    let offset = stream.len() as u64;
    assert_eq!(
        inspect([stream, b"x"]).outcome,
        Err(StreamError::Trailing { offset })
    );
    let (at, bit) = (choices.below(stream.len()), choices.below(8));
    let mut changed = stream.to_vec();
    changed[at] ^= 1 << bit;
    assert!(
        inspect([&changed[..]]).outcome.is_err(),
        "bit {bit} of byte {at} is another"
    );
}
