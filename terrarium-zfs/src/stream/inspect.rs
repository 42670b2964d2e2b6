//! What is in a stream, counted while its bytes go by.

use std::io::{self, Read};

use crate::stream::begin::BeginRecord;
use crate::stream::error::StreamError;
use crate::stream::packed::PackedList;
use crate::stream::parser::{Event, Parser};
use crate::stream::record::{Body, Record, RecordKind};

/// Looks on while a stream, or a package of streams, goes by in pieces of any size: checks it as
/// [`Parser`] does, and says what is in it.
///
/// ```no_run
/// use terrarium_zfs::stream::Inspector;
///
/// let mut inspector = Inspector::new();
/// inspector.read(std::fs::File::open("web.zfs")?)?;
/// for stream in inspector.take_streams() {
///     println!("{}: {} bytes", stream.begin.to_name(), stream.bytes);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Inspector {
    parser: Parser,
    package: Option<Package>,
    current: Option<StreamSummary>,
    streams: Vec<StreamSummary>,
    /// The list behind the last BEGIN record, until it is whole.
    list: Option<Vec<u8>>,
}

/// A stream of one snapshot, as far as it went by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamSummary {
    /// What the stream is.
    pub begin: BeginRecord,
    /// Where it begins: 0, or its place in the package.
    pub offset: u64,
    /// Its size so far, in bytes.
    pub bytes: u64,
    /// Where the rest of an interrupted stream goes on.
    pub resumes_at: Option<ResumePoint>,
    /// It came to its end, and all checksums were right.
    pub is_whole: bool,
    /// Every record has a checksum of its own. Otherwise damage is found at the END record only.
    pub has_every_checksum: bool,
    counts: [Count; RecordKind::ALL.len()],
}

/// Where an interrupted stream was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResumePoint {
    /// The object's number.
    pub object: u64,
    /// Where in the object, in bytes.
    pub offset: u64,
}

/// How much there is of a kind of record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// How many records.
    pub records: u64,
    /// The size of their payloads, in bytes.
    pub payload: u64,
}

/// What the header of a package says of it. Each is `None` if the header does not say, or is too
/// large to be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Package {
    /// The header's record.
    pub begin: BeginRecord,
    /// The snapshot that all file systems are sent up to, without its dataset.
    pub to_snapshot: Option<String>,
    /// The snapshot that they are sent from.
    pub from_snapshot: Option<String>,
    /// How many file systems and volumes are in it.
    pub datasets: Option<usize>,
}

impl StreamSummary {
    /// How many records of a kind there are, and the size of their payloads.
    pub fn count(&self, kind: RecordKind) -> Count {
        self.counts[kind as usize]
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.counts.iter().map(|count| count.records).sum()
    }

    fn begun(begin: BeginRecord, offset: u64) -> Self {
        Self {
            begin,
            offset,
            bytes: 0,
            resumes_at: None,
            is_whole: false,
            has_every_checksum: true,
            counts: Default::default(),
        }
    }
}

impl Inspector {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// As [`Parser::next`].
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), StreamError> {
        loop {
            let event = self.parser.next(&mut bytes);
            if let Some(stream) = &mut self.current {
                stream.bytes = self.parser.offset() - stream.offset;
            }
            match event? {
                Some(Event::Record(record)) => self.record(record),
                Some(Event::Payload(payload)) => self.payload(payload),
                None => return Ok(()),
            }
        }
    }

    /// There are no more bytes.
    ///
    /// # Errors
    /// As [`Parser::finish`].
    pub fn finish(&self) -> Result<(), StreamError> {
        self.parser.finish()
    }

    /// Takes everything that there is to read, up to the end of the input.
    ///
    /// # Errors
    /// [`InspectError`].
    pub fn read(&mut self, mut input: impl Read) -> Result<(), InspectError> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return Ok(self.finish()?),
                Ok(length) => self.push(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(InspectError::Read(error)),
            }
        }
    }

    /// The streams that have ended since this was asked last. A package may have any number:
    /// whoever asks often keeps few.
    pub fn take_streams(&mut self) -> Vec<StreamSummary> {
        std::mem::take(&mut self.streams)
    }

    /// The stream that has begun and not ended.
    pub fn unfinished(&self) -> Option<&StreamSummary> {
        self.current.as_ref()
    }

    /// What the header says, if it is a package.
    pub fn package(&self) -> Option<&Package> {
        self.package.as_ref()
    }

    /// How many bytes went by.
    pub fn bytes(&self) -> u64 {
        self.parser.offset()
    }

    fn record(&mut self, record: Record) {
        let kind = record.body.kind();
        if let Body::Begin(begin) = record.body {
            self.list = (1..=MAX_LIST)
                .contains(&record.payload)
                .then(|| Vec::with_capacity(record.payload.min(4096) as usize));
            if begin.is_package() {
                self.package = Some(Package {
                    begin: (*begin).clone(),
                    to_snapshot: None,
                    from_snapshot: None,
                    datasets: None,
                });
            }
            self.current = Some(StreamSummary::begun(*begin, record.offset));
        }
        let Some(stream) = &mut self.current else {
            // The END of a package.
            return;
        };
        let count = &mut stream.counts[kind as usize];
        count.records += 1;
        count.payload += record.payload;
        stream.bytes = self.parser.offset() - stream.offset;
        stream.has_every_checksum = self.parser.has_every_checksum();
        if kind == RecordKind::End {
            stream.is_whole = true;
            if let Some(stream) = self.current.take()
                && !stream.begin.is_package()
            {
                self.streams.push(stream);
            }
        }
    }

    fn payload(&mut self, payload: &[u8]) {
        let (Some(list), Some(stream)) = (&mut self.list, &mut self.current) else {
            return;
        };
        list.extend_from_slice(payload);
        if (list.len() as u64) < stream.begin.payload_size().into() {
            return;
        }
        if let Some(list) = PackedList::read(list) {
            match &mut self.package {
                Some(package) if stream.begin.is_package() => {
                    package.to_snapshot = list.text("tosnap");
                    package.from_snapshot = list.text("fromsnap");
                    package.datasets = list.list("fss").map(|all| all.pairs().count());
                }
                _ => {
                    stream.resumes_at = list
                        .number("resume_object")
                        .zip(list.number("resume_offset"))
                        .map(|(object, offset)| ResumePoint { object, offset });
                }
            }
        }
        self.list = None;
    }
}

/// A list that is larger is not looked into. 50,000 snapshots in a package make some 10 MB.
const MAX_LIST: u64 = 32 << 20;

/// Why a stream could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// It is damaged, or none.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The input cannot be read.
    #[error("cannot read the stream: {0}")]
    Read(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nvlist::NvList;
    use crate::stream::fields::ByteOrder;
    use crate::stream::testing::{self, Writer};

    fn inspected(bytes: &[u8]) -> Inspector {
        let mut inspector = Inspector::new();
        inspector.read(bytes).expect("whole and sound");
        inspector
    }

    #[test]
    fn records_are_counted_by_kind_with_their_payload() {
        let bytes = testing::stream(ByteOrder::Big);
        let mut inspector = inspected(&bytes);
        assert_eq!(inspector.bytes(), bytes.len() as u64);
        assert_eq!(inspector.package(), None);
        assert_eq!(inspector.unfinished(), None);
        let [stream] = &inspector.take_streams()[..] else {
            panic!("not one stream");
        };
        assert!(stream.is_whole && stream.has_every_checksum);
        assert_eq!((stream.offset, stream.bytes), (0, bytes.len() as u64));
        assert_eq!(stream.records(), 14);
        let counts = RecordKind::ALL.map(|kind| {
            let count = stream.count(kind);
            (count.records, count.payload)
        });
        let expected = [
            (1, 0),
            (2, 208),
            (1, 0),
            (2, 1536),
            (1, 0),
            (1, 0),
            (1, 0),
            (2, 1024),
            (1, 64),
            (1, 0),
            (1, 0),
        ];
        assert_eq!(counts, expected);
        assert_eq!(inspector.take_streams(), []);
    }

    #[test]
    fn a_package_says_what_is_in_it() {
        let mut list = NvList::new().expect("libnvpair is installed (package libnvpair3linux)");
        list.add_str("tosnap", "s1").expect("added");
        let mut all = NvList::new().expect("a list");
        for guid in ["0x1", "0x2", "0x3"] {
            all.add_list(guid, &NvList::new().expect("a list"))
                .expect("added");
        }
        list.add_list("fss", &all).expect("added");
        let bytes = testing::package(ByteOrder::Little, &list.pack_xdr());
        let mut inspector = inspected(&bytes);
        let streams = inspector.take_streams();
        assert_eq!(streams.len(), 2);
        let end = bytes.len() as u64 - 312;
        assert_eq!(streams[1].offset + streams[1].bytes, end);
        assert_eq!(streams[0].offset + streams[0].bytes, streams[1].offset);
        let package = inspector.package().expect("a package");
        assert_eq!(package.to_snapshot.as_deref(), Some("s1"));
        assert_eq!(package.from_snapshot, None);
        assert_eq!(package.datasets, Some(3));
        assert_eq!(package.begin.to_name(), "tank/a b@s1");
    }

    #[test]
    fn the_rest_of_an_interrupted_stream_says_where_it_goes_on() {
        let mut list = NvList::new().expect("libnvpair is installed (package libnvpair3linux)");
        list.add_u64("resume_object", 128).expect("added");
        list.add_u64("resume_offset", 1 << 40).expect("added");
        let mut writer = Writer::new(ByteOrder::Little);
        writer.begin(1 << 20, 0, &list.pack().expect("packed"));
        writer.end();
        let stream = &inspected(&writer.bytes).take_streams()[0];
        assert!(stream.begin.is_resuming());
        let expected = ResumePoint {
            object: 128,
            offset: 1 << 40,
        };
        assert_eq!(stream.resumes_at, Some(expected));

        let mut writer = Writer::new(ByteOrder::Little);
        writer.begin(1 << 20, 0, b"no list at all..");
        writer.end();
        assert_eq!(inspected(&writer.bytes).take_streams()[0].resumes_at, None);
    }

    #[test]
    fn what_went_by_before_the_damage_is_still_told() {
        let mut bytes = testing::package(ByteOrder::Little, &[9; 12]);
        let second = bytes.len() - 3 * 312;
        bytes[second + 350] ^= 1;
        let mut inspector = Inspector::new();
        let error = inspector.read(&bytes[..]).expect_err("damaged");
        assert!(
            matches!(error, InspectError::Stream(StreamError::Checksum { .. })),
            "{error}"
        );
        assert_eq!(inspector.take_streams().len(), 1);
        let begun = inspector.unfinished().expect("the second one");
        assert_eq!(begun.offset, second as u64);
        assert!(!begun.is_whole);
        assert_eq!(begun.bytes, 624);
    }

    /// A stream of some records with payloads.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let order = prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)];
        let writes = prop::collection::vec((any::<u64>(), 0..40usize), 0..12);
        (order, writes, any::<bool>()).prop_map(|(order, writes, checksums)| {
            let mut writer = Writer::new(order);
            writer.checksums = checksums;
            writer.begin(0, 0, &[]);
            for (n, (object, words)) in writes.into_iter().enumerate() {
                let size = 8 * words as u64;
                let fields = [
                    testing::Field::Wide(8, object),
                    testing::Field::Wide(24, n as u64 * 512),
                    testing::Field::Wide(32, size),
                ];
                let payload: Vec<u8> = (0..size).map(|n| (n ^ object) as u8).collect();
                writer.record(3, &fields, &payload);
            }
            writer.end();
            writer.bytes
        })
    }

    proptest! {
        #[test]
        fn the_size_of_the_pieces_makes_no_difference(
            stream in streams(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let mut inspector = Inspector::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([stream.len()]) {
                inspector.push(&stream[from..cut]).expect("sound");
                from = cut;
            }
            inspector.finish().expect("whole");
            prop_assert_eq!(inspector.take_streams(), inspected(&stream).take_streams());
        }

        #[test]
        fn whatever_is_changed_is_noticed(
            stream in streams(),
            at in any::<prop::sample::Index>(),
            removed in 0..700usize,
            put in prop::collection::vec(any::<u8>(), 0..700),
        ) {
            let at = at.index(stream.len());
            let end = (at + removed).min(stream.len());
            let changed = [&stream[..at], &put, &stream[end..]].concat();
            prop_assume!(changed != stream);
            let mut inspector = Inspector::new();
            prop_assert!(inspector.read(&changed[..]).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(
            begins in any::<bool>(),
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            let mut writer = Writer::new(ByteOrder::Little);
            writer.checksums = false;
            if begins {
                writer.begin(0, 0, &[]);
            }
            writer.bytes.extend(bytes);
            let mut inspector = Inspector::new();
            prop_assert!(inspector.read(&writer.bytes[..]).is_err());
        }
    }
}
