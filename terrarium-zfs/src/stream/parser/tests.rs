//! Streams made by hand: every kind of record, every kind of damage.

use super::*;
use crate::stream::record::RecordKind;
use crate::stream::testing::{self, Field, TO_GUID, Writer};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// The records and all payload, of a stream that comes in pieces.
fn parse(pieces: &[&[u8]]) -> Result<(Vec<Record>, Vec<u8>), StreamError> {
    let (mut records, mut payloads) = (Vec::new(), Vec::new());
    let mut parser = Parser::new();
    for mut piece in pieces.iter().copied() {
        while let Some(event) = parser.next(&mut piece)? {
            match event {
                Event::Record(record) => records.push(record),
                Event::Payload(payload) => payloads.extend_from_slice(payload),
            }
        }
    }
    parser.finish()?;
    Ok((records, payloads))
}

fn error_of(stream: &[u8]) -> StreamError {
    parse(&[stream]).expect_err("not sound")
}

#[test]
fn every_kind_of_record_is_read_in_both_byte_orders() {
    for order in ORDERS {
        let (records, payloads) = parse(&[&testing::stream(order)]).expect("a stream");
        let bodies: Vec<Body> = records.iter().map(|record| record.body.clone()).collect();
        let Body::Begin(begin) = &bodies[0] else {
            panic!("{:?}", bodies[0]);
        };
        assert_eq!(begin.byte_order(), order);
        assert_eq!(begin.to_guid().get(), TO_GUID);
        let expected = [
            Body::ObjectRange {
                first: 0,
                count: 32,
            },
            Body::Object {
                object: 7,
                kind: 19,
                block_size: 131_072,
            },
            Body::Object {
                object: 8,
                kind: 19,
                block_size: 0,
            },
            Body::FreeObjects {
                first: 9,
                count: 100,
            },
            Body::Write {
                object: 7,
                offset: 0,
                logical_size: 512,
                compression: None,
            },
            Body::Write {
                object: 7,
                offset: 131_072,
                logical_size: 131_072,
                compression: Some(15),
            },
            Body::Free {
                object: 7,
                offset: 262_144,
                length: u64::MAX,
            },
            Body::WriteByReference {
                object: 7,
                offset: 512,
                length: 512,
            },
            Body::Spill {
                object: 7,
                length: 512,
            },
            Body::Spill {
                object: 8,
                length: 1024,
            },
            Body::WriteEmbedded {
                object: 7,
                offset: 0,
                length: 512,
            },
            Body::Redact {
                object: 7,
                offset: 1024,
                length: 512,
            },
            Body::End,
        ];
        assert_eq!(bodies[1..], expected);
        let sizes: Vec<u64> = records.iter().map(|record| record.payload).collect();
        let expected = [0, 0, 16, 192, 0, 512, 1024, 0, 0, 512, 512, 64, 0, 0];
        assert_eq!(sizes, expected);
        assert_eq!(records[2].offset, 2 * 312);
        assert_eq!(records[3].offset, 3 * 312 + 16);
        let kinds = [1, 2, 3, 4, 5, 5, 6, 7].map(|n| n as u8);
        let lengths = [16, 192, 512, 1024, 512, 0, 512, 64];
        let expected: Vec<u8> = kinds
            .into_iter()
            .zip(lengths)
            .flat_map(|(kind, length)| std::iter::repeat_n(kind, length))
            .collect();
        assert_eq!(payloads, expected);
    }
}

#[test]
fn a_package_is_its_header_its_streams_and_an_end() {
    for order in ORDERS {
        let bytes = testing::package(order, &[9; 12]);
        let (records, _) = parse(&[&bytes]).expect("a package");
        let kinds: Vec<_> = records.iter().map(|record| record.body.kind()).collect();
        assert_eq!(
            kinds[..3],
            [RecordKind::Begin, RecordKind::End, RecordKind::Begin]
        );
        let last = [
            RecordKind::End,
            RecordKind::Begin,
            RecordKind::End,
            RecordKind::End,
        ];
        assert!(kinds.ends_with(&last), "{kinds:?}");
        assert_eq!(records[0].payload, 12);
    }
}

#[test]
fn pieces_of_any_size_give_the_same_as_the_whole() {
    for bytes in [
        testing::stream(ByteOrder::Little),
        testing::package(ByteOrder::Big, &[9; 12]),
    ] {
        let whole = parse(&[&bytes]).expect("a stream");
        for size in (1..40).chain([311, 312, 313, 1000]) {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(parse(&pieces).as_ref(), Ok(&whole), "pieces of {size}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_short_anywhere_is_told_by_its_length() {
    for order in ORDERS {
        for bytes in [testing::stream(order), testing::package(order, &[9; 12])] {
            for end in 0..bytes.len() {
                let offset = end as u64;
                let expected = StreamError::Truncated { offset };
                assert_eq!(error_of(&bytes[..end]), expected);
            }
        }
    }
}

#[test]
fn a_stream_with_any_one_bit_wrong_is_refused_at_the_next_checksum() {
    for order in ORDERS {
        for bytes in [testing::stream(order), testing::package(order, &[9; 12])] {
            for position in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << (position % 8);
                let error = error_of(&damaged);
                let position = position as u64;
                if let StreamError::Checksum { since, offset } = error {
                    assert!((since..offset).contains(&position), "{position}: {error}");
                }
                // If a payload's size became another, it is missed later than at the next record.
                assert!(
                    error.offset() + 312 > position || error == StreamError::NoStream,
                    "{position}: {error}"
                );
            }
        }
    }
}

#[test]
fn records_that_are_missing_doubled_or_in_another_order_are_damage() {
    let mut writer = Writer::new(ByteOrder::Little);
    writer.begin(0, 0, &[]);
    for object in 0..4 {
        writer.record(2, &[Field::Wide(8, object), Field::Wide(16, 1)], &[]);
    }
    writer.end();
    let record = |n: usize| &writer.bytes[n * 312..(n + 1) * 312];
    for order in [
        &[0usize, 1, 3, 4, 5][..],
        &[0, 1, 1, 2, 3, 4, 5],
        &[0, 2, 1, 3, 4, 5],
        &[0, 1, 2, 3, 5],
        &[0, 5],
    ] {
        let bytes: Vec<u8> = order.iter().flat_map(|&n| record(n)).copied().collect();
        let error = error_of(&bytes);
        assert!(matches!(error, StreamError::Checksum { .. }), "{error}");
    }
    parse(&[&writer.bytes]).expect("a stream");
}

#[test]
fn bytes_after_the_end_are_an_error_and_another_stream_is_begun_anew() {
    let one = testing::stream(ByteOrder::Little);
    let offset = one.len() as u64;
    let longer = [&one[..], b"x"].concat();
    assert_eq!(error_of(&longer), StreamError::Trailing { offset });

    let two = [&one[..], &one].concat();
    assert_eq!(error_of(&two), StreamError::Trailing { offset });
    let mut parser = Parser::new();
    let mut rest = &two[..];
    while !parser.is_finished() {
        parser.next(&mut rest).expect("a stream");
    }
    assert_eq!(rest, one);
    assert_eq!(parser.finish(), Ok(()));
}

#[test]
fn what_is_no_stream_is_known_by_its_first_bytes() {
    for bytes in [
        &b"GIF89a"[..],
        &[0; 13],
        &[0; 400],
        &[0xff; 3],
        b"\x28\xb5\x2f\xfd",
    ] {
        assert_eq!(error_of(bytes), StreamError::NoStream, "{bytes:?}");
    }
    assert_eq!(error_of(&[]), StreamError::Truncated { offset: 0 });
    let mut end_only = Writer::new(ByteOrder::Little);
    end_only.end();
    assert_eq!(error_of(&end_only.bytes), StreamError::NoStream);
}

#[test]
fn after_an_error_there_is_nothing_but_that_error() {
    let mut bytes = testing::stream(ByteOrder::Little);
    bytes[1000] ^= 1;
    let mut parser = Parser::new();
    let mut rest = &bytes[..];
    let error = loop {
        match parser.next(&mut rest) {
            Ok(event) => assert!(event.is_some(), "the damage was missed"),
            Err(error) => break error,
        }
    };
    assert_eq!(parser.next(&mut &[0][..]), Err(error));
    assert_eq!(parser.next(&mut &[][..]), Err(error));
    assert_eq!(parser.finish(), Err(error));
}

#[test]
fn an_old_stream_has_its_checksum_in_the_end_only() {
    let mut writer = Writer::new(ByteOrder::Big);
    writer.checksums = false;
    writer.every_kind();
    parse(&[&writer.bytes]).expect("a stream");
    for position in 312..writer.bytes.len() {
        let mut damaged = writer.bytes.clone();
        damaged[position] ^= 0x10;
        error_of(&damaged);
    }
}

/// Their checksums are right: they were sent that way, by whoever means harm.
#[test]
fn records_that_make_no_sense_are_illegal() {
    use Field::{Byte, Wide, Word};
    for (kind, fields, reason) in [
        (0, &[][..], "a stream begins within another"),
        (11, &[], "there is no such kind of record"),
        (u32::MAX, &[], "there is no such kind of record"),
        (1, &[Word(28, 20_000)], "its bonus is larger than any dnode"),
        (
            1,
            &[Word(28, u32::MAX)],
            "its bonus is larger than any dnode",
        ),
        (
            1,
            &[Word(36, u32::MAX)],
            "its bonus is larger than any dnode",
        ),
        (
            1,
            &[Word(36, 9)],
            "its payload is not a multiple of 8 bytes",
        ),
        (2, &[Wide(8, 1), Wide(16, u64::MAX)], "its range has no end"),
        (
            3,
            &[Wide(32, (16 << 20) + 8)],
            "its block is larger than 16 MiB",
        ),
        (
            3,
            &[Byte(50, 1), Wide(96, u64::MAX)],
            "its block is larger than 16 MiB",
        ),
        (
            3,
            &[Wide(24, u64::MAX), Wide(32, 512)],
            "its range has no end",
        ),
        (
            3,
            &[Wide(32, 511)],
            "its payload is not a multiple of 8 bytes",
        ),
        (
            4,
            &[Wide(16, u64::MAX), Wide(24, 2)],
            "its range has no end",
        ),
        (7, &[Wide(16, u64::MAX)], "its block is larger than 16 MiB"),
        (7, &[Wide(40, 1 << 40)], "its block is larger than 16 MiB"),
        (
            8,
            &[Word(52, 113)],
            "it is larger than what fits into a block pointer",
        ),
        (9, &[Wide(8, 2), Wide(16, u64::MAX)], "its range has no end"),
    ] {
        let mut writer = Writer::new(ByteOrder::Little);
        writer.begin(0, 0, &[]);
        if kind == 0 {
            let begin = writer.bytes.clone();
            writer.bytes.extend(begin);
        } else {
            writer.record(kind, fields, &[]);
        }
        let error = error_of(&writer.bytes);
        let offset = 312;
        assert_eq!(
            error,
            StreamError::Illegal { offset, reason },
            "kind {kind}"
        );
    }
    let mut foreign = Writer::new(ByteOrder::Little);
    foreign.begin(0, 0, &[]);
    foreign.record(5, &[Wide(40, 1)], &[]);
    let error = error_of(&foreign.bytes);
    assert!(
        matches!(error, StreamError::Illegal { offset: 312, .. }),
        "{error}"
    );
    let mut nested = Writer::new(ByteOrder::Little);
    nested.package(&[]);
    nested.package(&[]);
    let error = error_of(&nested.bytes);
    assert!(
        matches!(error, StreamError::Illegal { offset: 624, .. }),
        "{error}"
    );
}
