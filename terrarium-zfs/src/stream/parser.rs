//! From bytes to records, checked on the way.

use crate::stream::begin::BeginRecord;
use crate::stream::error::StreamError;
use crate::stream::fields::{ByteOrder, Fields, RECORD_SIZE};
use crate::stream::fletcher::Fletcher4;
use crate::stream::record::{self, Body, Record};

/// Reads a stream, or a package of streams, from bytes that come in pieces of any size.
///
/// It does no input or output, keeps one record's 312 bytes and nothing of any payload, and checks
/// everything on the way: order and sizes of the records, and the fletcher-4 checksum that each
/// record has of all that came before it. What it gives out is checked once a later record came, and
/// all of it once the stream [is finished](Parser::is_finished).
///
/// ```
/// use terrarium_zfs::stream::{Event, Parser, StreamError};
///
/// fn count(pieces: &[&[u8]]) -> Result<(u64, usize), StreamError> {
///     let (mut records, mut payload) = (0, 0);
///     let mut parser = Parser::new();
///     for mut piece in pieces.iter().copied() {
///         while let Some(event) = parser.next(&mut piece)? {
///             match event {
///                 Event::Record(_) => records += 1,
///                 Event::Payload(bytes) => payload += bytes.len(),
///             }
///         }
///     }
///     parser.finish()?;
///     Ok((records, payload))
/// }
/// assert_eq!(count(&[b"GIF89a"]), Err(StreamError::NoStream));
/// ```
#[derive(Clone, Debug)]
pub struct Parser {
    state: State,
    offset: u64,
    header: Header,
    order: ByteOrder,
    checksum: Fletcher4,
    sound: u64,
    every_checksum: bool,
    in_package: bool,
    to_guid: u64,
}

/// What a parser found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A record. As many bytes of payload as it says follow.
    Record(Record),
    /// Some bytes of the payload of the record before.
    Payload(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// A stream begins here, or a package ends.
    Between,
    /// A stream goes on: there is a record next.
    Within,
    /// So many bytes of a payload are still to come.
    Payload(u64),
    Finished,
    Failed(StreamError),
}

/// As much as there is of the next record.
#[derive(Clone, Debug)]
struct Header {
    raw: [u8; RECORD_SIZE],
    filled: usize,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self {
            state: State::Between,
            offset: 0,
            header: Header {
                raw: [0; RECORD_SIZE],
                filled: 0,
            },
            order: ByteOrder::Little,
            checksum: Fletcher4::default(),
            sound: 0,
            every_checksum: true,
            in_package: false,
            to_guid: 0,
        }
    }

    /// Takes what it can use from the front of `input`. `None` if all was taken and more is needed.
    ///
    /// # Errors
    /// [`StreamError`], and the same one ever after; never [`StreamError::Truncated`], which only
    /// [`Parser::finish`] can know. Once the stream is finished any byte is
    /// [`StreamError::Trailing`]; whoever expects another stream there
    /// [asks first](Parser::is_finished) and begins anew.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Event<'i>>, StreamError> {
        let step = self.step(input);
        if let Err(error) = step {
            self.state = State::Failed(error);
        }
        step
    }

    fn step<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Event<'i>>, StreamError> {
        match self.state {
            State::Failed(error) => Err(error),
            State::Finished if input.is_empty() => Ok(None),
            State::Finished => Err(StreamError::Trailing {
                offset: self.offset,
            }),
            State::Payload(left) => {
                let length =
                    usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                if length == 0 {
                    return Ok(None);
                }
                let (payload, rest) = input.split_at(length);
                *input = rest;
                self.offset += length as u64;
                self.checksum.update(payload, self.order);
                self.expect_payload(left - length as u64);
                Ok(Some(Event::Payload(payload)))
            }
            State::Between | State::Within => {
                let length = (RECORD_SIZE - self.header.filled).min(input.len());
                let (head, rest) = input.split_at(length);
                *input = rest;
                let filled = self.header.filled + length;
                self.header.raw[self.header.filled..filled].copy_from_slice(head);
                self.header.filled = filled;
                self.offset += length as u64;
                if self.begins_foreign() {
                    return Err(StreamError::NoStream);
                }
                if filled < RECORD_SIZE {
                    return Ok(None);
                }
                self.header.filled = 0;
                self.record().map(Event::Record).map(Some)
            }
        }
    }

    /// Whether the stream, or the package, has come to its end and is sound.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    /// There are no more bytes.
    ///
    /// # Errors
    /// [`StreamError::Truncated`] if the stream is not finished, or the error that was found before.
    pub fn finish(&self) -> Result<(), StreamError> {
        match self.state {
            State::Finished => Ok(()),
            State::Failed(error) => Err(error),
            _ => Err(StreamError::Truncated {
                offset: self.offset,
            }),
        }
    }

    /// How many bytes were taken, all in all.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether every record of the present stream had a checksum of its own so far. Those of before
    /// 2015 have but one, in the END record.
    pub fn has_every_checksum(&self) -> bool {
        self.every_checksum
    }

    /// Whether what there is of the very first record shows that it is none.
    fn begins_foreign(&self) -> bool {
        self.offset <= RECORD_SIZE as u64
            && !BeginRecord::may_begin_with(&self.header.raw[..self.header.filled])
    }

    fn record(&mut self) -> Result<Record, StreamError> {
        match self.state {
            State::Within => self.record_within(),
            _ => self.record_between(),
        }
    }

    /// The first record of a stream, or the last one of a package.
    fn record_between(&mut self) -> Result<Record, StreamError> {
        let offset = self.offset - RECORD_SIZE as u64;
        let illegal = |reason| StreamError::Illegal { offset, reason };
        if self.in_package && self.fields().u32(0) == END {
            self.nothing_but_the_kind()?;
            self.state = State::Finished;
            return Ok(Record {
                offset,
                payload: 0,
                body: Body::End,
            });
        }
        let begin = match BeginRecord::parse_any(self.header.raw) {
            Ok(begin) => begin,
            Err(_) if offset == 0 => return Err(StreamError::NoStream),
            Err(_) => {
                return Err(illegal(
                    "neither a stream begins there nor does the package end",
                ));
            }
        };
        if begin.is_package() && self.in_package {
            return Err(illegal("a package begins within another"));
        }
        let payload = record::list_size(&begin).map_err(illegal)?;
        self.in_package |= begin.is_package();
        self.order = begin.byte_order();
        self.to_guid = begin.to_guid().get();
        self.every_checksum = true;
        self.checksum = Fletcher4::default();
        self.checksum.update(&self.header.raw, self.order);
        self.expect_payload(payload);
        Ok(Record {
            offset,
            payload,
            body: Body::Begin(Box::new(begin)),
        })
    }

    /// A record of a stream after its first.
    fn record_within(&mut self) -> Result<Record, StreamError> {
        let offset = self.offset - RECORD_SIZE as u64;
        let before = self.checksum.sums();
        // Nothing of it is believed before the checksum, which has all up to itself.
        let mut checksum = self.checksum;
        checksum.update(&self.header.raw[..CHECKSUM], self.order);
        let stored = self.fields().checksum(CHECKSUM);
        let is_end = self.fields().u32(0) == END;
        if stored == [0; 4] {
            // The END record of a package's header never has one.
            self.every_checksum &= is_end;
        } else if stored == checksum.sums() {
            self.sound = offset + CHECKSUM as u64;
        } else {
            return Err(self.damaged());
        }
        checksum.update(&self.header.raw[CHECKSUM..], self.order);
        if is_end {
            if self.fields().checksum(8) != before {
                return Err(self.damaged());
            }
            self.end_of_stream(offset, stored == [0; 4])?;
        }
        let (body, payload) = record::read(self.fields())
            .map_err(|reason| StreamError::Illegal { offset, reason })?;
        self.checksum = checksum;
        if is_end {
            self.sound = self.offset;
            self.state = if self.in_package {
                State::Between
            } else {
                State::Finished
            };
        } else {
            self.expect_payload(payload);
        }
        Ok(Record {
            offset,
            payload,
            body,
        })
    }

    /// What an END record has besides checksums: the guid of its stream, and nothing else.
    fn end_of_stream(&self, offset: u64, unchecked: bool) -> Result<(), StreamError> {
        let fields = self.fields();
        if fields.u64(40) != self.to_guid {
            let reason = "it ends another stream than the one that began";
            return Err(StreamError::Illegal { offset, reason });
        }
        let rest = &self.header.raw[48..CHECKSUM];
        if unchecked && (fields.u32(4) != 0 || rest.iter().any(|&byte| byte != 0)) {
            return Err(self.damaged());
        }
        Ok(())
    }

    /// The END record of a package has no checksum; but then, it has nothing at all.
    fn nothing_but_the_kind(&self) -> Result<(), StreamError> {
        if self.header.raw[4..].iter().all(|&byte| byte == 0) {
            return Ok(());
        }
        Err(self.damaged())
    }

    fn damaged(&self) -> StreamError {
        StreamError::Checksum {
            since: self.sound,
            offset: self.offset,
        }
    }

    fn expect_payload(&mut self, size: u64) {
        self.state = match size {
            0 => State::Within,
            size => State::Payload(size),
        };
    }

    fn fields(&self) -> Fields<'_> {
        Fields {
            raw: &self.header.raw,
            order: self.order,
        }
    }
}

/// `DRR_END`.
const END: u32 = 5;
/// Where in a record the checksum of all before it stands (`drr_checksum`), in every kind but BEGIN.
const CHECKSUM: usize = 280;

#[cfg(test)]
mod tests;
