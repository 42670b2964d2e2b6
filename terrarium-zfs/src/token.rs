//! Resume tokens: where an interrupted resumable receive stands.
//!
//! The text of the property `receive_resume_token` is
//! `1-<checksum>-<size>-<payload>`, the numbers in hexadecimal: the payload is a packed nvlist of
//! `size` bytes, compressed with zlib and written in hexadecimal; the checksum is the first word
//! of fletcher4 over the compressed bytes.

use std::fmt;
use std::str::FromStr;

use crate::ids::Guid;
use crate::nvlist::{NvList, Value};
use crate::send::SendFlags;
use crate::stream::{ByteOrder, Fletcher4};

/// A decoded resume token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeToken {
    to_name: String,
    to_guid: Guid,
    from_guid: Option<Guid>,
    object: u64,
    offset: u64,
    bytes: u64,
    flags: SendFlags,
}

impl ResumeToken {
    /// The guid of the snapshot that is being received.
    pub fn to_guid(&self) -> Guid {
        self.to_guid
    }

    /// The guid of the incremental source.
    pub fn from_guid(&self) -> Option<Guid> {
        self.from_guid
    }

    /// The full name that the snapshot had on the sending side when the first stream was sent.
    pub fn to_name(&self) -> &str {
        &self.to_name
    }

    /// Bytes of stream received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the interrupted stream contained, which is what its rest may contain. A flag that it
    /// was sent with but that made no difference is not among them.
    pub fn flags(&self) -> SendFlags {
        self.flags
    }

    /// Object and offset to go on at.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.object, self.offset)
    }
}

impl FromStr for ResumeToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.splitn(4, '-');
        let mut part = || parts.next().ok_or(TokenError::Form);
        let (version, checksum, size, payload) = (part()?, part()?, part()?, part()?);
        if version != "1" {
            return Err(TokenError::Version);
        }
        let checksum = hex_number(checksum).ok_or(TokenError::Form)?;
        let size = hex_number(size).and_then(|size| usize::try_from(size).ok());
        let size = size
            .filter(|&size| size <= MAX_SIZE)
            .ok_or(TokenError::Form)?;
        let compressed = hex_bytes(payload).ok_or(TokenError::Form)?;
        if fletcher4_first(&compressed) != checksum {
            return Err(TokenError::Checksum);
        }
        let packed = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(&compressed, size)
            .ok()
            .filter(|packed| packed.len() == size)
            .ok_or(TokenError::Payload)?;
        let list = NvList::unpack(&packed).map_err(|error| match error {
            crate::Error::Unavailable { .. } => TokenError::NoLibrary,
            _ => TokenError::Payload,
        })?;
        Self::from_list(&list).ok_or(TokenError::Payload)
    }
}

impl ResumeToken {
    fn from_list(list: &NvList) -> Option<Self> {
        let number = |name| match list.value(name) {
            Some(Value::U64(number)) => Some(number),
            _ => None,
        };
        let flag = |name| list.value(name).is_some();
        Some(Self {
            to_name: list.value("toname")?.text()?,
            to_guid: Guid::new(number("toguid")?),
            from_guid: number("fromguid").filter(|&guid| guid != 0).map(Guid::new),
            object: number("object")?,
            offset: number("offset")?,
            bytes: number("bytes")?,
            flags: SendFlags {
                large_blocks: flag("largeblockok"),
                embedded: flag("embedok"),
                compressed: flag("compressok"),
                raw: flag("rawok"),
            },
        })
    }
}

/// Real tokens hold some hundred bytes; a forged size must not take the memory.
const MAX_SIZE: usize = 1 << 20;

/// Why a text is no resume token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// Not of the form of a token.
    Form,
    /// A version other than 1.
    Version,
    /// The checksum is wrong: a character was changed or lost.
    Checksum,
    /// The checksum is right, but the contents are not what they should be.
    Payload,
    /// libnvpair, which reads the contents, is not installed.
    NoLibrary,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TokenError::Form => "that is no resume token",
            TokenError::Version => "the resume token is of an unknown version",
            TokenError::Checksum => "the resume token is damaged: its checksum is wrong",
            TokenError::Payload => "the resume token's contents are not understood",
            TokenError::NoLibrary => "reading a resume token needs libnvpair, which is missing",
        })
    }
}

impl std::error::Error for TokenError {}

fn hex_number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u64::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |pair: &[u8; 2]| {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()
    };
    pairs.iter().map(byte).collect()
}

/// The first word of fletcher4. The bytes after the last whole word do not count.
fn fletcher4_first(bytes: &[u8]) -> u64 {
    let mut checksum = Fletcher4::default();
    checksum.update(bytes, ByteOrder::OF_THIS_MACHINE);
    let [first, ..] = checksum.sums();
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token as the kernel makes it.
    fn token(change: impl FnOnce(&mut NvList)) -> String {
        let mut list = NvList::new().expect("libnvpair is installed (package libnvpair3linux)");
        list.add_str("toname", "tank/a b@s 1").expect("added");
        for (name, number) in [
            ("toguid", u64::MAX),
            ("fromguid", 7),
            ("object", 128),
            ("offset", 1 << 40),
            ("bytes", 123_456_789),
        ] {
            list.add_u64(name, number).expect("added");
        }
        list.add_flag("compressok").expect("added");
        list.add_flag("rawok").expect("added");
        change(&mut list);
        let packed = list.pack().expect("packed");
        let compressed = miniz_oxide::deflate::compress_to_vec_zlib(&packed, 6);
        let hex: String = compressed
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!(
            "1-{:x}-{:x}-{hex}",
            fletcher4_first(&compressed),
            packed.len()
        )
    }

    #[test]
    fn a_token_says_where_a_receive_stands() {
        let token: ResumeToken = token(|_| {}).parse().expect("a token");
        assert_eq!(token.to_name(), "tank/a b@s 1");
        assert_eq!(token.to_guid(), Guid::new(u64::MAX));
        assert_eq!(token.from_guid(), Some(Guid::new(7)));
        assert_eq!(token.position(), (128, 1 << 40));
        assert_eq!(token.bytes(), 123_456_789);
        let flags = SendFlags {
            compressed: true,
            raw: true,
            ..SendFlags::default()
        };
        assert_eq!(token.flags(), flags);
    }

    #[test]
    fn a_token_of_a_full_stream_has_no_source() {
        let token = token(|list| list.add_u64("fromguid", 0).expect("added"));
        assert_eq!(
            token.parse::<ResumeToken>().expect("a token").from_guid(),
            None
        );
    }

    #[test]
    fn a_token_with_anything_changed_is_refused() {
        let whole = token(|_| {});
        for at in 0..whole.len() {
            for replacement in ["", "0", "f", "-", "é"] {
                let damaged = format!("{}{replacement}{}", &whole[..at], &whole[at + 1..]);
                if !damaged.eq_ignore_ascii_case(&whole) && whole[at..=at] != *replacement {
                    damaged.parse::<ResumeToken>().expect_err(&damaged);
                }
            }
        }
        for cut in 0..whole.len() {
            whole[..cut].parse::<ResumeToken>().expect_err("cut short");
        }
    }

    #[test]
    fn what_is_wrong_with_a_token_is_told() {
        let refused = |text: &str| text.parse::<ResumeToken>().expect_err(text);
        assert_eq!(refused(""), TokenError::Form);
        assert_eq!(refused("-"), TokenError::Form);
        assert_eq!(refused("1-2-3"), TokenError::Form);
        assert_eq!(refused("2-0-0-"), TokenError::Version);
        assert_eq!(refused("1-+5-0-"), TokenError::Form);
        assert_eq!(refused("1-0-0-abc"), TokenError::Form, "half a byte");
        assert_eq!(refused("1-1-0-"), TokenError::Checksum);
        assert_eq!(refused("1-0-0-"), TokenError::Payload);
        assert_eq!(
            refused(&format!("1-0-{:x}-", u64::MAX)),
            TokenError::Form,
            "a forged size"
        );
        let without = token(|list| list.add_str("toguid", "no number").expect("added"));
        assert_eq!(refused(&without), TokenError::Payload);
        let larger = token(|_| {}).replacen("-", "-0", 1);
        assert!(
            larger.parse::<ResumeToken>().is_ok(),
            "a leading zero is no change"
        );
    }
}
