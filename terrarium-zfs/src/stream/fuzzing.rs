//! What the fuzz targets (`fuzz/`) reach that nobody else needs. Not part of the interface.

use crate::stream::packed::{PackedList, PackedValue};

/// A packed list, all of it.
pub type List = Vec<(Vec<u8>, Item)>;

/// A value of a packed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An unsigned number of 64 bits.
    Number(u64),
    /// A text.
    Text(Vec<u8>),
    /// A list.
    List(List),
    /// Anything else.
    Other,
}

/// Reads a packed list as those of streams are read; `None` if it is malformed.
pub fn packed_list(packed: &[u8]) -> Option<List> {
    PackedList::read(packed).map(all)
}

fn all(list: PackedList<'_>) -> List {
    let item = |value| match value {
        PackedValue::Number(number) => Item::Number(number),
        PackedValue::Text(text) => Item::Text(text.to_owned()),
        PackedValue::List(list) => Item::List(all(list)),
        PackedValue::Other => Item::Other,
    };
    let pairs = list.pairs();
    pairs
        .map(|(name, value)| (name.to_owned(), item(value)))
        .collect()
}
