//! Lists of libnvpair: what is added is read back, also through the packed form.
//!
//! Needs libnvpair (Debian: libnvpair3linux, in contrib), not the kernel module; fails without it.

use proptest::prelude::*;
use terrarium_zfs::ErrorKind;
use terrarium_zfs::nvlist::{NvList, Value};

fn list() -> NvList {
    NvList::new().expect("libnvpair is installed (package libnvpair3linux)")
}

#[test]
fn every_type_is_read_back_as_it_was_added() {
    let mut inner = list();
    inner.add_str("deep", "well").expect("add");
    let mut list = list();
    list.add_flag("flag").expect("add");
    list.add_bool("yes", true).expect("add");
    list.add_bool("no", false).expect("add");
    list.add_i32("i32", -5).expect("add");
    list.add_i64("i64", i64::MIN).expect("add");
    list.add_u64("u64", u64::MAX).expect("add");
    list.add_str("str", "").expect("add");
    list.add_list("list", &inner).expect("add");
    list.add_bytes("bytes", &[0, 255, 7]).expect("add");
    list.add_u64s("u64s", &[1, u64::MAX]).expect("add");
    list.add_strs("strs", &["a", "", "c d"]).expect("add");
    list.add_bytes("no bytes", &[]).expect("add");
    list.add_u64s("no u64s", &[]).expect("add");
    list.add_strs("no strs", &[]).expect("add");

    let unpacked = NvList::unpack(&list.pack().expect("pack")).expect("unpack");
    for list in [&list, &unpacked] {
        assert_eq!(list.value("flag"), Some(Value::Flag));
        assert_eq!(list.value("yes"), Some(Value::Bool(true)));
        assert_eq!(list.value("no"), Some(Value::Bool(false)));
        assert_eq!(list.value("i32"), Some(Value::I32(-5)));
        assert_eq!(list.value("i64"), Some(Value::I64(i64::MIN)));
        assert_eq!(list.value("u64"), Some(Value::U64(u64::MAX)));
        assert_eq!(list.value("str"), Some(Value::Str(c"")));
        assert_eq!(list.value("list"), Some(Value::List(inner.view())));
        assert_eq!(list.value("bytes"), Some(Value::Bytes(&[0, 255, 7])));
        assert_eq!(list.value("u64s"), Some(Value::U64s(&[1, u64::MAX])));
        let Some(Value::Strs(strs)) = list.value("strs") else {
            panic!("strs are strs")
        };
        assert!(strs.iter().eq([c"a", c"", c"c d"]));
        assert_eq!(list.value("no bytes"), Some(Value::Bytes(&[])));
        assert_eq!(list.value("no u64s"), Some(Value::U64s(&[])));
        let Some(Value::Strs(strs)) = list.value("no strs") else {
            panic!("strs are strs")
        };
        assert_eq!(strs.iter().count(), 0);
        assert_eq!(list.value("absent"), None);
        let names: Vec<_> = list
            .iter()
            .map(|(name, _)| name.to_str().expect("ascii"))
            .collect();
        assert_eq!(
            names[..3],
            ["flag", "yes", "no"],
            "in the order they were added"
        );
        assert_eq!(names.len(), 14);
    }
}

#[test]
fn adding_a_name_again_replaces_its_value_and_type() {
    let mut list = list();
    list.add_u64("name", 1).expect("add");
    list.add_str("name", "text").expect("add");
    assert_eq!(list.iter().count(), 1);
    assert_eq!(list.value("name"), Some(Value::Str(c"text")));
}

#[test]
fn a_nul_in_a_name_or_text_is_refused_and_changes_nothing() {
    let mut list = list();
    for error in [
        list.add_flag("a\0b").expect_err("NUL in a name"),
        list.add_str("a", "b\0").expect_err("NUL in a text"),
        list.add_strs("a", &["b", "\0"])
            .expect_err("NUL in a text of an array"),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!error.to_string().contains('\0'));
    }
    assert_eq!(list.iter().count(), 0);
    assert_eq!(list.value("a\0b"), None);
}

#[test]
fn damaged_packed_lists_are_refused() {
    let mut whole = list();
    whole
        .add_str("name", "a text that takes some room")
        .expect("add");
    let packed = whole.pack().expect("pack");
    for cut in 0..packed.len() {
        assert!(
            NvList::unpack(&packed[..cut]).is_err(),
            "cut to {cut} bytes"
        );
    }
    assert!(NvList::unpack(b"neither XDR nor native").is_err());
}

#[test]
fn two_iterations_of_one_list_do_not_disturb_each_other() {
    let mut list = list();
    for name in ["a", "b", "c"] {
        list.add_flag(name).expect("add");
    }
    let pairs = list
        .iter()
        .flat_map(|(a, _)| list.iter().map(move |(b, _)| (a, b)))
        .count();
    assert_eq!(pairs, 9);
}

#[test]
fn a_list_can_be_read_in_another_thread() {
    let mut list = list();
    list.add_u64("n", 7).expect("add");
    let read = std::thread::spawn(move || list.value("n") == Some(Value::U64(7)));
    assert!(read.join().expect("the thread ends"));
}

#[derive(Clone, Debug)]
enum Added {
    Flag,
    Bool(bool),
    I32(i32),
    I64(i64),
    U64(u64),
    Str(String),
    Bytes(Vec<u8>),
    U64s(Vec<u64>),
    Strs(Vec<String>),
    List(Vec<(String, Added)>),
}

fn added() -> impl Strategy<Value = Added> {
    let text = "[^\0]{0,20}";
    prop_oneof![
        Just(Added::Flag),
        any::<bool>().prop_map(Added::Bool),
        any::<i32>().prop_map(Added::I32),
        any::<i64>().prop_map(Added::I64),
        any::<u64>().prop_map(Added::U64),
        text.prop_map(Added::Str),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Added::Bytes),
        prop::collection::vec(any::<u64>(), 0..10).prop_map(Added::U64s),
        prop::collection::vec(text, 0..5).prop_map(Added::Strs),
    ]
    .prop_recursive(3, 30, 6, move |inner| {
        prop::collection::vec(("[a-z@/ :]{0,8}", inner), 0..6).prop_map(Added::List)
    })
}

fn build(pairs: &[(String, Added)]) -> NvList {
    let mut list = list();
    for (name, value) in pairs {
        match value {
            Added::Flag => list.add_flag(name),
            Added::Bool(value) => list.add_bool(name, *value),
            Added::I32(value) => list.add_i32(name, *value),
            Added::I64(value) => list.add_i64(name, *value),
            Added::U64(value) => list.add_u64(name, *value),
            Added::Str(value) => list.add_str(name, value),
            Added::Bytes(value) => list.add_bytes(name, value),
            Added::U64s(value) => list.add_u64s(name, value),
            Added::Strs(value) => {
                list.add_strs(name, &value.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Added::List(pairs) => list.add_list(name, &build(pairs)),
        }
        .expect("add");
    }
    list
}

fn same(value: Value<'_>, added: &Added) -> bool {
    match (value, added) {
        (Value::Flag, Added::Flag) => true,
        (Value::Bool(a), Added::Bool(b)) => a == *b,
        (Value::I32(a), Added::I32(b)) => a == *b,
        (Value::I64(a), Added::I64(b)) => a == *b,
        (Value::U64(a), Added::U64(b)) => a == *b,
        (Value::Str(a), Added::Str(b)) => a.to_bytes() == b.as_bytes(),
        (Value::Bytes(a), Added::Bytes(b)) => a == b,
        (Value::U64s(a), Added::U64s(b)) => a == b,
        (Value::Strs(a), Added::Strs(b)) => a
            .iter()
            .map(|text| text.to_bytes())
            .eq(b.iter().map(String::as_bytes)),
        (Value::List(list), Added::List(pairs)) => {
            let last = |name: &str| pairs.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v);
            let names: std::collections::BTreeSet<_> = pairs.iter().map(|(n, _)| n).collect();
            list.iter().count() == names.len()
                && list.iter().all(|(name, value)| {
                    last(name.to_str().expect("ascii")).is_some_and(|added| same(value, added))
                })
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_added_is_read_back(pairs in prop::collection::vec(("[a-z]{0,4}", added()), 0..8)) {
        let list = build(&pairs);
        let added = Added::List(pairs);
        prop_assert!(same(Value::List(list.view()), &added));
        let unpacked = NvList::unpack(&list.pack().expect("pack")).expect("unpack");
        prop_assert!(same(Value::List(unpacked.view()), &added));
    }

    #[test]
    fn garbage_never_unpacks_into_a_crash(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // Whatever comes of it, reading it must end.
        if let Ok(list) = NvList::unpack(&bytes) {
            let _ = list.iter().count();
        }
    }
}
