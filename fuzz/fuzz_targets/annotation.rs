//! Annotations.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use terrarium_fuzz::{documents, seeds};
use terrarium_s3::format::{Annotation, Document};
use terrarium_zfs::Guid;

fuzz_target!(init: seeds::write_if_asked(seeds, is_annotation), |bytes: &[u8]| {
    is_annotation(bytes);
});

static SIGNED: LazyLock<Annotation> = LazyLock::new(|| Annotation {
    archive: documents::archive(),
    lineage: documents::lineage(),
    guid: Guid::new(5),
    number: 3,
    written: "2026-11-22T21:00:00Z".parse().expect("a time"),
    alias: Some("before".to_owned()),
    note: Some("two\nlines".to_owned()),
    pinned: true,
});

fn is_annotation(bytes: &[u8]) -> bool {
    documents::check(bytes, SIGNED.place(), &[SIGNED.clone()])
}

fn seeds() -> Vec<seeds::Seed> {
    let bare = Annotation {
        alias: None,
        note: None,
        ..SIGNED.clone()
    };
    let signed = SIGNED.write(Some(&documents::host_key())).expect("written");
    let unsigned = bare.write(None).expect("written");
    vec![
        ("signed".to_owned(), signed.to_vec()),
        ("unsigned".to_owned(), unsigned.to_vec()),
    ]
}
