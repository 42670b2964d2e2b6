//! Packed name-value lists.

use std::fmt::Write;

use terrarium_zfs::nvlist::NvList;

use crate::records;
use crate::seeds::{Seed, captures};

/// Those of the kernel, in the captures, and one with every type that can be added.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = vec![(
        "every-type".to_owned(),
        every_type().pack().expect("packed"),
    )];
    for (name, stream) in captures() {
        for (number, span) in records::walk(&stream).into_iter().enumerate() {
            if span.kind == 0 && !span.payload().is_empty() {
                seeds.push((format!("{name}-{number}"), stream[span.payload()].to_vec()));
            }
        }
    }
    seeds
}

fn every_type() -> NvList {
    let empty = || NvList::new().expect("libnvpair is installed (package libnvpair3linux)");
    let mut inner = empty();
    inner.add_u64("x", 0x1122_3344_5566_7788).expect("added");
    let mut list = empty();
    let added = [
        list.add_flag("flag"),
        list.add_bool("truth", true),
        list.add_i32("i32", -5),
        list.add_i64("i64", i64::MIN),
        list.add_u64("number", u64::MAX),
        list.add_list("list", &inner),
        list.add_list("empty", &empty()),
        list.add_bytes("bytes", &[1, 2, 3]),
        list.add_u64s("numbers", &[1, 2, 3]),
        list.add_strs("texts", &["a", "bcd", ""]),
        list.add_str("text", "the last one"),
    ];
    assert!(added.iter().all(Result::is_ok));
    list
}

/// The resume token of a packed list.
pub fn token(packed: &[u8]) -> String {
    let compressed = miniz_oxide::deflate::compress_to_vec_zlib(packed, 0);
    let words = compressed.as_chunks::<4>().0;
    let sum = words
        .iter()
        .map(|&word| u64::from(u32::from_ne_bytes(word)));
    let sum = sum.fold(0u64, u64::wrapping_add);
    let mut token = format!("1-{sum:x}-{:x}-", packed.len());
    for byte in compressed {
        write!(token, "{byte:02x}").expect("written to memory");
    }
    token
}
