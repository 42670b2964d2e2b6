//! Packed lists, as streams have them, read without libnvpair; and compared with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrarium_fuzz::{lists, seeds};
use terrarium_zfs::nvlist::{NvList, NvListRef, Value};
use terrarium_zfs::stream::fuzzing::{Item, List, packed_list};

fuzz_target!(init: seeds::write_if_asked(lists::seeds, is_list), |packed: &[u8]| {
    is_list(packed);
});

fn is_list(packed: &[u8]) -> bool {
    let Some(list) = packed_list(packed) else {
        return false;
    };
    if let Ok(by_libnvpair) = NvList::unpack(packed) {
        assert_eq!(
            list,
            all(by_libnvpair.view()),
            "libnvpair reads something else"
        );
    }
    true
}

fn all(list: NvListRef<'_>) -> List {
    let item = |value| match value {
        Value::U64(number) => Item::Number(number),
        Value::Str(text) => Item::Text(text.to_bytes().to_owned()),
        Value::List(list) => Item::List(all(list)),
        _ => Item::Other,
    };
    list.iter()
        .map(|(name, value)| (name.to_bytes().to_owned(), item(value)))
        .collect()
}
