//! Packed name-value lists, as streams have them, read without libnvpair.
//!
//! The kernel packs in its own layout and byte order, `zfs send -R` in XDR (RFC 4506): both as
//! observed of `nvlist_pack`, checked against it in the tests.

use crate::stream::fields::ByteOrder;

/// A packed list that was found to be well formed.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedList<'a> {
    pairs: &'a [u8],
    coding: Coding,
}

/// A value of a list, as far as streams are understood by it.
#[derive(Clone, Copy, Debug)]
pub(super) enum PackedValue<'a> {
    /// An unsigned number of 64 bits.
    Number(u64),
    /// A text, without its NUL.
    Text(&'a [u8]),
    /// A list.
    List(PackedList<'a>),
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, Debug)]
enum Coding {
    Xdr,
    Native(ByteOrder),
}

/// Whether that is a packed list, as far as it can be known without libnvpair: which of a list in its native form
/// believes what the list says of the sizes of its texts, and reads beyond it (2.1.11).
pub(crate) fn is_well_formed(packed: &[u8]) -> bool {
    PackedList::read(packed).is_some()
}

impl<'a> PackedList<'a> {
    /// Reads the whole once, so that what is in it can be looked at without doubts later.
    pub(super) fn read(packed: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = packed.split_at_checked(4)?;
        let coding = match (head[0], head[1]) {
            (1, _) => Coding::Xdr,
            (0, 1) => Coding::Native(ByteOrder::Little),
            (0, 0) => Coding::Native(ByteOrder::Big),
            _ => return None,
        };
        // Version and flags.
        take(&mut rest, 8)?;
        let list = list(&mut rest, coding, 0)?;
        rest.is_empty().then_some(list)
    }

    /// The pairs, in their order.
    pub(super) fn pairs(self) -> impl Iterator<Item = (&'a [u8], PackedValue<'a>)> {
        let mut rest = self.pairs;
        // It was read before: `None` is the end.
        std::iter::from_fn(move || pair(&mut rest, self.coding, 0)?)
    }

    fn value(self, name: &str) -> Option<PackedValue<'a>> {
        let named = |(found, _): &(&[u8], _)| *found == name.as_bytes();
        self.pairs().find(named).map(|(_, value)| value)
    }

    pub(super) fn number(self, name: &str) -> Option<u64> {
        match self.value(name)? {
            PackedValue::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn text(self, name: &str) -> Option<String> {
        match self.value(name)? {
            PackedValue::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        }
    }

    pub(super) fn list(self, name: &str) -> Option<PackedList<'a>> {
        match self.value(name)? {
            PackedValue::List(list) => Some(list),
            _ => None,
        }
    }
}

/// How deep lists may lie in lists; streams go to four.
const MAX_DEPTH: usize = 16;

/// Reads the pairs of a list and what ends them.
fn list<'a>(rest: &mut &'a [u8], coding: Coding, depth: usize) -> Option<PackedList<'a>> {
    if depth > MAX_DEPTH {
        return None;
    }
    let pairs = *rest;
    while pair(rest, coding, depth)?.is_some() {}
    let length = pairs.len() - rest.len();
    Some(PackedList {
        pairs: &pairs[..length],
        coding,
    })
}

/// A name and its value.
type Pair<'a> = (&'a [u8], PackedValue<'a>);

/// Reads a pair, or the mark at the end of the pairs; `None` if it is malformed.
fn pair<'a>(rest: &mut &'a [u8], coding: Coding, depth: usize) -> Option<Option<Pair<'a>>> {
    match coding {
        Coding::Xdr => xdr::pair(rest, depth),
        Coding::Native(order) => native::pair(rest, order, depth),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// `data_type_t` of sys/nvpair.h, as far as values differ in how they are read.
mod data_type {
    pub(super) const BOOLEAN: u32 = 1;
    pub(super) const INT64: u32 = 7;
    pub(super) const UINT64: u32 = 8;
    pub(super) const STRING: u32 = 9;
    pub(super) const BYTE_ARRAY: u32 = 10;
    pub(super) const INT64_ARRAY: u32 = 15;
    pub(super) const UINT64_ARRAY: u32 = 16;
    pub(super) const STRING_ARRAY: u32 = 17;
    pub(super) const HRTIME: u32 = 18;
    pub(super) const NVLIST: u32 = 19;
    pub(super) const NVLIST_ARRAY: u32 = 20;
    pub(super) const DOUBLE: u32 = 27;
    /// Signed, unsigned and truth values of at most 32 bits, alone and in arrays.
    pub(super) const SMALL: [u32; 8] = [2, 3, 4, 5, 6, 21, 22, 23];
    pub(super) const SMALL_ARRAYS: [u32; 7] = [11, 12, 13, 14, 24, 25, 26];
}

mod xdr {
    use super::{Coding, PackedValue, Pair, data_type, list, take};

    pub(super) fn pair<'a>(rest: &mut &'a [u8], depth: usize) -> Option<Option<Pair<'a>>> {
        // The sizes of the pair, here and in memory: the second one alone tells libnvpair where a list ends.
        let _encoded = number(rest)?;
        let decoded = number(rest)?;
        if decoded == 0 {
            return Some(None);
        }
        let name = text(rest)?;
        let kind = number(rest)?;
        let count = number(rest)? as usize;
        let value = match kind {
            data_type::BOOLEAN => PackedValue::Other,
            data_type::UINT64 => PackedValue::Number(wide(rest)?),
            data_type::INT64 | data_type::HRTIME | data_type::DOUBLE => {
                wide(rest)?;
                PackedValue::Other
            }
            data_type::STRING => PackedValue::Text(text(rest)?),
            data_type::BYTE_ARRAY => {
                take(rest, count.checked_next_multiple_of(4)?)?;
                PackedValue::Other
            }
            data_type::UINT64_ARRAY | data_type::INT64_ARRAY => {
                let count = number(rest)? as usize;
                take(rest, count.checked_mul(8)?)?;
                PackedValue::Other
            }
            data_type::STRING_ARRAY => {
                for _ in 0..count {
                    text(rest)?;
                }
                PackedValue::Other
            }
            data_type::NVLIST => PackedValue::List(inner(rest, depth)?),
            data_type::NVLIST_ARRAY => {
                for _ in 0..count {
                    inner(rest, depth)?;
                }
                PackedValue::Other
            }
            kind if data_type::SMALL.contains(&kind) => {
                number(rest)?;
                PackedValue::Other
            }
            kind if data_type::SMALL_ARRAYS.contains(&kind) => {
                let count = number(rest)? as usize;
                take(rest, count.checked_mul(4)?)?;
                PackedValue::Other
            }
            _ => return None,
        };
        Some(Some((name, value)))
    }

    /// A list in a list begins with its version and flags.
    fn inner<'a>(rest: &mut &'a [u8], depth: usize) -> Option<super::PackedList<'a>> {
        take(rest, 8)?;
        list(rest, Coding::Xdr, depth + 1)
    }

    fn number(rest: &mut &[u8]) -> Option<u32> {
        let bytes = take(rest, 4)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    }

    fn wide(rest: &mut &[u8]) -> Option<u64> {
        let bytes = take(rest, 8)?.first_chunk()?;
        Some(u64::from_be_bytes(*bytes))
    }

    /// A length, the bytes, and zeros up to a multiple of 4. A NUL within ends it, as it does for libnvpair.
    fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = number(rest)? as usize;
        let padded = take(rest, length.checked_next_multiple_of(4)?)?;
        padded.get(..length)?.split(|&byte| byte == 0).next()
    }
}

mod native {
    use super::{ByteOrder, Coding, PackedValue, Pair, data_type, list, take};

    /// The size of `nvpair_t`.
    const PAIR: usize = 16;
    /// The size of `nvlist_t`.
    const LIST: usize = 24;
    /// The size of a pointer.
    const POINTER: usize = 8;

    pub(super) fn pair<'a>(
        rest: &mut &'a [u8],
        order: ByteOrder,
        depth: usize,
    ) -> Option<Option<Pair<'a>>> {
        let size = number(rest.get(..4)?, order)? as usize;
        if size == 0 {
            take(rest, 4)?;
            return Some(None);
        }
        let pair = take(rest, size)?;
        let name_length = usize::from(short(pair.get(4..6)?, order)?);
        let count = number(pair.get(8..12)?, order)? as usize;
        let kind = number(pair.get(12..16)?, order)?;
        let name = pair.get(PAIR..PAIR + name_length)?;
        let name = name.strip_suffix(&[0])?.split(|&byte| byte == 0).next()?;
        let value = pair.get((PAIR + name_length).next_multiple_of(8)..);
        let value = value.unwrap_or_default();
        let value = match kind {
            data_type::UINT64 => PackedValue::Number(wide(value.get(..8)?, order)?),
            data_type::STRING => {
                let end = value.iter().position(|&byte| byte == 0)?;
                PackedValue::Text(&value[..end])
            }
            // The pairs of a list in the list come after the pair.
            data_type::NVLIST => {
                value.get(..LIST)?;
                PackedValue::List(list(rest, Coding::Native(order), depth + 1)?)
            }
            data_type::NVLIST_ARRAY => {
                value.get(..count.checked_mul(POINTER + LIST)?)?;
                for _ in 0..count {
                    list(rest, Coding::Native(order), depth + 1)?;
                }
                PackedValue::Other
            }
            // Room for pointers, and the texts.
            data_type::STRING_ARRAY => {
                let mut texts = value.get(count.checked_mul(POINTER)?..)?;
                for _ in 0..count {
                    let end = texts.iter().position(|&byte| byte == 0)?;
                    texts = &texts[end + 1..];
                }
                PackedValue::Other
            }
            data_type::BOOLEAN => PackedValue::Other,
            kind => {
                let (width, is_array) = width(kind)?;
                let count = if is_array { count } else { 1 };
                value.get(..count.checked_mul(width)?)?;
                PackedValue::Other
            }
        };
        Some(Some((name, value)))
    }

    /// How many bytes a number has, or each one of an array of them; and whether it is an array.
    fn width(kind: u32) -> Option<(usize, bool)> {
        Some(match kind {
            2 | 22 | 23 => (1, false),
            3 | 4 => (2, false),
            5 | 6 | 21 => (4, false),
            data_type::INT64 | data_type::HRTIME | data_type::DOUBLE => (8, false),
            data_type::BYTE_ARRAY | 25 | 26 => (1, true),
            11 | 12 => (2, true),
            13 | 14 | 24 => (4, true),
            data_type::INT64_ARRAY | data_type::UINT64_ARRAY => (8, true),
            _ => return None,
        })
    }

    fn short(bytes: &[u8], order: ByteOrder) -> Option<u16> {
        let bytes = *bytes.first_chunk()?;
        Some(match order {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        })
    }

    fn number(bytes: &[u8], order: ByteOrder) -> Option<u32> {
        let bytes = *bytes.first_chunk()?;
        Some(match order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        })
    }

    fn wide(bytes: &[u8], order: ByteOrder) -> Option<u64> {
        let bytes = *bytes.first_chunk()?;
        Some(match order {
            ByteOrder::Little => u64::from_le_bytes(bytes),
            ByteOrder::Big => u64::from_be_bytes(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nvlist::NvList;

    /// A list with every type that can be added.
    fn sample() -> NvList {
        let mut inner = NvList::new().expect("libnvpair is installed (package libnvpair3linux)");
        inner.add_u64("x", 0x1122_3344_5566_7788).expect("added");
        let mut middle = NvList::new().expect("a list");
        middle.add_list("inner", &inner).expect("added");
        let mut list = NvList::new().expect("a list");
        list.add_flag("flag").expect("added");
        list.add_bool("truth", true).expect("added");
        list.add_u64("number", u64::MAX).expect("added");
        list.add_list("middle", &middle).expect("added");
        list.add_bytes("bytes", &[1, 2, 3]).expect("added");
        list.add_u64s("numbers", &[1, 2, 3]).expect("added");
        list.add_strs("texts", &["a", "bcd", ""]).expect("added");
        list.add_list("empty", &NvList::new().expect("a list"))
            .expect("added");
        list.add_str("text", "the last one").expect("added");
        list
    }

    fn packed() -> [Vec<u8>; 2] {
        let list = sample();
        [list.pack().expect("packed"), list.pack_xdr()]
    }

    #[test]
    fn what_libnvpair_packs_is_understood() {
        for packed in packed() {
            let list = PackedList::read(&packed).expect("a list");
            let names: Vec<_> = list.pairs().map(|(name, _)| name).collect();
            let expected = [
                "flag", "truth", "number", "middle", "bytes", "numbers", "texts", "empty", "text",
            ];
            assert_eq!(names, expected.map(str::as_bytes));
            assert_eq!(list.number("number"), Some(u64::MAX));
            assert_eq!(list.text("text").as_deref(), Some("the last one"));
            assert_eq!(list.text("number"), None, "another type");
            let inner = list.list("middle").and_then(|list| list.list("inner"));
            let inner = inner.expect("a list in a list");
            assert_eq!(inner.number("x"), Some(0x1122_3344_5566_7788));
            assert_eq!(list.list("empty").expect("a list").pairs().count(), 0);
        }
    }

    #[test]
    fn a_list_that_is_cut_short_or_too_long_is_none() {
        for packed in packed() {
            for end in 0..packed.len() {
                assert!(PackedList::read(&packed[..end]).is_none(), "{end}");
            }
            let longer = [&packed[..], &[0; 4]].concat();
            assert!(PackedList::read(&longer).is_none());
        }
    }

    #[test]
    fn a_name_or_a_text_ends_at_its_first_nul() {
        let mut list = NvList::new().expect("libnvpair is installed (package libnvpair3linux)");
        list.add_str("tosnap", "snap").expect("added");
        let mut packed = list.pack_xdr();
        for wanted in [&b"tosnap"[..], b"snap"] {
            let found = packed
                .windows(wanted.len())
                .rposition(|bytes| bytes == wanted);
            packed[found.expect("it is in the list") + 2] = 0;
        }
        let by_libnvpair = NvList::unpack(&packed).expect("libnvpair takes it");
        let text = by_libnvpair.value("to").and_then(|value| value.text());
        assert_eq!(text.as_deref(), Some("sn"));
        let list = PackedList::read(&packed).expect("a list");
        assert_eq!(list.text("to"), text);
    }

    #[test]
    fn a_list_ends_where_it_ends_for_libnvpair() {
        let mut list = NvList::new().expect("libnvpair is installed (package libnvpair3linux)");
        list.add_u64("number", 5).expect("added");
        let mut packed = list.pack_xdr();
        // The size in memory of the first pair, and of the end.
        let (first, end) = (16, packed.len() - 8);
        packed[end..end + 4].copy_from_slice(&[0x1b, 0, 0, 0]);
        assert!(NvList::unpack(&packed).is_ok());
        let read = PackedList::read(&packed).expect("a list");
        assert_eq!(read.number("number"), Some(5));
        packed[first..first + 4].fill(0);
        assert!(
            PackedList::read(&packed).is_none(),
            "an empty list, and something after it"
        );
    }

    #[test]
    fn a_text_that_leaves_its_list_is_refused_before_libnvpair_follows_it() {
        let mut list = NvList::new().expect("libnvpair is installed (package libnvpair3linux)");
        list.add_strs("texts", &["one", "two", "the last"])
            .expect("added");
        let mut packed = list.pack().expect("packed");
        assert!(NvList::unpack(&packed).is_ok());
        let last = packed.windows(9).rposition(|bytes| bytes == b"the last\0");
        // The text's end and all up to the list's.
        let end = packed.len() - 4;
        packed[last.expect("it is in the list") + 8..end].fill(b'x');
        assert!(PackedList::read(&packed).is_none());
        assert!(NvList::unpack(&packed).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic_or_go_on_for_ever() {
        for packed in packed() {
            for position in 0..packed.len() {
                for wrong in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut damaged = packed.clone();
                    damaged[position] = wrong;
                    if let Some(list) = PackedList::read(&damaged) {
                        for (_, value) in list.pairs() {
                            if let PackedValue::List(list) = value {
                                list.pairs().for_each(drop);
                            }
                        }
                    }
                }
            }
        }
        // Lists in lists without end.
        let mut deep = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        for _ in 0..10_000 {
            deep.extend([0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 0]);
            deep.extend([0, 0, 0, 19, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
        assert!(PackedList::read(&deep).is_none());
    }
}
