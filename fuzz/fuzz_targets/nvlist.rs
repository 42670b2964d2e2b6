//! Packed lists, as libnvpair reads them for [`NvList`] and for resume tokens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrarium_fuzz::{lists, seeds};
use terrarium_zfs::ResumeToken;
use terrarium_zfs::nvlist::{NvList, NvListRef, Value};
use terrarium_zfs::stream::fuzzing::packed_list;

fuzz_target!(init: seeds::write_if_asked(lists::seeds, is_list), |packed: &[u8]| {
    is_list(packed);
    // Its steps lead libFuzzer, who sees none of libnvpair's.
    let _ = packed_list(packed);
    let _ = lists::token(packed).parse::<ResumeToken>();
});

fn is_list(packed: &[u8]) -> bool {
    let Ok(list) = NvList::unpack(packed) else {
        return false;
    };
    let packed = list.pack().expect("what was unpacked can be packed");
    // libnvpair asks for the version of a list in a list in its native form alone.
    let Ok(again) = NvList::unpack(&packed) else {
        return true;
    };
    assert_eq!(list.view(), again.view());
    look_at_all(list.view());
    // A name that is there twice is in the copy once.
    look_at_all(
        list.view()
            .to_owned_list()
            .expect("it can be copied")
            .view(),
    );
    true
}

fn look_at_all(list: NvListRef<'_>) {
    for (name, value) in list {
        assert!(!format!("{name:?}").is_empty());
        match value {
            Value::List(list) => look_at_all(list),
            Value::Strs(texts) => {
                assert!(texts.iter().all(|text| text.to_bytes().len() < usize::MAX))
            }
            other => assert!(!format!("{other:?}").is_empty()),
        }
    }
}
