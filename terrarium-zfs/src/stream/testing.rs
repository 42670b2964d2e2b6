//! Streams made by hand, for kinds of records and senders that no test machine has.

use crate::stream::fields::{ByteOrder, RECORD_SIZE};
use crate::stream::fletcher::Fletcher4;

/// Writes records one after another, with the checksums that belong to them.
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
    order: ByteOrder,
    checksum: Fletcher4,
    /// Whether each record has a checksum.
    pub(super) checksums: bool,
}

/// A field of a record: where, and what.
pub(super) enum Field {
    Byte(usize, u8),
    Word(usize, u32),
    Wide(usize, u64),
    Text(usize, &'static str),
}

use Field::{Byte, Text, Wide, Word};

pub(super) const TO_GUID: u64 = 0xfedc_ba98_7654_3210;
const SUBSTREAM: u64 = 1;
const PACKAGE: u64 = 2;
const MAGIC: u64 = 0x2_f5ba_cbac;

impl Writer {
    pub(super) fn new(order: ByteOrder) -> Self {
        Self {
            bytes: Vec::new(),
            order,
            checksum: Fletcher4::default(),
            checksums: true,
        }
    }

    pub(super) fn record(&mut self, kind: u32, fields: &[Field], payload: &[u8]) {
        let mut raw = [0; RECORD_SIZE];
        let order = self.order;
        let sums = |checksum: Fletcher4, at: usize| {
            let sums = checksum.sums();
            [0, 1, 2, 3].map(|n| Wide(at + 8 * n, sums[n]))
        };
        put(&mut raw, order, &[Word(0, kind)]);
        put(&mut raw, order, fields);
        match kind {
            0 => self.checksum = Fletcher4::default(),
            5 => put(&mut raw, order, &sums(self.checksum, 8)),
            _ => {}
        }
        if kind != 0 && self.checksums {
            let mut checksum = self.checksum;
            checksum.update(&raw[..280], order);
            put(&mut raw, order, &sums(checksum, 280));
        }
        self.checksum.update(&raw, order);
        self.checksum.update(payload, order);
        self.bytes.extend_from_slice(&raw);
        self.bytes.extend_from_slice(payload);
    }

    /// BEGIN of a stream of a snapshot.
    pub(super) fn begin(&mut self, features: u64, from_guid: u64, list: &[u8]) {
        let fields = [
            Word(4, list.len() as u32),
            Wide(8, MAGIC),
            Wide(16, SUBSTREAM | features << 2),
            Wide(24, 1_700_000_000),
            Word(32, 2),
            Word(36, 0xc),
            Wide(40, TO_GUID),
            Wide(48, from_guid),
            Text(56, "tank/a b@s1"),
        ];
        self.record(0, &fields, list);
    }

    /// BEGIN and END of a package's header.
    pub(super) fn package(&mut self, list: &[u8]) {
        let fields = [
            Word(4, list.len() as u32),
            Wide(8, MAGIC),
            Wide(16, PACKAGE | 4 << 2),
            Text(56, "tank/a b@s1"),
        ];
        self.record(0, &fields, list);
        let checksums = std::mem::replace(&mut self.checksums, false);
        self.record(5, &[], &[]);
        self.checksums = checksums;
    }

    pub(super) fn end(&mut self) {
        self.record(5, &[Wide(40, TO_GUID)], &[]);
    }

    /// END of a package.
    pub(super) fn end_of_package(&mut self) {
        let mut raw = [0; RECORD_SIZE];
        put(&mut raw, self.order, &[Word(0, 5)]);
        self.bytes.extend_from_slice(&raw);
    }

    /// One record of each kind between BEGIN and END.
    pub(super) fn every_kind(&mut self) {
        self.begin(1 << 2 | 1 << 16 | 1 << 21 | 1 << 24, 5, &[]);
        // A range of objects, two objects, one of them with a raw bonus.
        self.record(9, &[Wide(8, 0), Wide(16, 32), Wide(24, TO_GUID)], &[]);
        let object = [
            Wide(8, 7),
            Word(16, 19),
            Word(20, 44),
            Word(24, 131_072),
            Word(28, 13),
            Wide(40, TO_GUID),
        ];
        self.record(1, &object, &[1; 16]);
        let object = [Wide(8, 8), Word(16, 19), Word(28, 13), Word(36, 192)];
        self.record(1, &object, &[2; 192]);
        self.record(2, &[Wide(8, 9), Wide(16, 100), Wide(24, TO_GUID)], &[]);
        // As it is, and compressed.
        let write = [Wide(8, 7), Word(16, 19), Wide(24, 0), Wide(32, 512)];
        self.record(3, &write, &[3; 512]);
        let write = [
            Wide(8, 7),
            Word(16, 19),
            Wide(24, 131_072),
            Wide(32, 131_072),
            Byte(50, 15),
            Wide(96, 1024),
        ];
        self.record(3, &write, &[4; 1024]);
        self.record(4, &[Wide(8, 7), Wide(16, 262_144), Wide(24, u64::MAX)], &[]);
        let write = [Wide(8, 7), Wide(16, 512), Wide(24, 512), Wide(40, 5)];
        self.record(6, &write, &[]);
        self.record(7, &[Wide(8, 7), Wide(16, 512)], &[5; 512]);
        self.record(7, &[Wide(8, 8), Wide(16, 1024), Wide(40, 512)], &[6; 512]);
        let write = [Wide(8, 7), Wide(24, 512), Word(48, 80), Word(52, 57)];
        self.record(8, &write, &[7; 64]);
        self.record(10, &[Wide(8, 7), Wide(16, 1024), Wide(24, 512)], &[]);
        self.end();
    }
}

fn put(raw: &mut [u8; RECORD_SIZE], order: ByteOrder, fields: &[Field]) {
    let little = order == ByteOrder::Little;
    let mut copy = |at: usize, bytes: &[u8]| raw[at..at + bytes.len()].copy_from_slice(bytes);
    for field in fields {
        match *field {
            Byte(at, byte) => copy(at, &[byte]),
            Word(at, word) if little => copy(at, &word.to_le_bytes()),
            Word(at, word) => copy(at, &word.to_be_bytes()),
            Wide(at, wide) if little => copy(at, &wide.to_le_bytes()),
            Wide(at, wide) => copy(at, &wide.to_be_bytes()),
            Text(at, text) => copy(at, text.as_bytes()),
        }
    }
}

/// A stream with every kind of record.
pub(super) fn stream(order: ByteOrder) -> Vec<u8> {
    let mut writer = Writer::new(order);
    writer.every_kind();
    writer.bytes
}

/// A package of two streams.
pub(super) fn package(order: ByteOrder, list: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(order);
    writer.package(list);
    writer.every_kind();
    writer.begin(0, 0, &[]);
    writer.end();
    writer.end_of_package();
    writer.bytes
}
