//! Changes of an archive, and notices of removal.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use terrarium_fuzz::{documents, seeds};
use terrarium_s3::format::{Change, Document, ManifestPlace, Removal};
use terrarium_zfs::Guid;

fuzz_target!(init: seeds::write_if_asked(seeds, is_change), |bytes: &[u8]| {
    is_change(bytes);
});

static CHANGE: LazyLock<Change> = LazyLock::new(|| Change {
    archive: documents::archive(),
    number: 3,
    written: "2026-11-22T21:00:00Z".parse().expect("a time"),
    recipients: documents::recipients(),
    host_keys: vec![documents::host_key().verifying_key()],
});

static REMOVAL: LazyLock<Removal> = LazyLock::new(|| Removal {
    archive: documents::archive(),
    run: documents::run(),
    written: "2026-11-22T21:00:00Z".parse().expect("a time"),
    points: vec![ManifestPlace {
        lineage: documents::lineage(),
        creation: 1_700_000_000,
        guid: Guid::new(5),
    }],
});

fn is_change(bytes: &[u8]) -> bool {
    let change = documents::check(bytes, CHANGE.place(), &[CHANGE.clone()]);
    change || documents::check(bytes, REMOVAL.place(), &[REMOVAL.clone()])
}

fn seeds() -> Vec<seeds::Seed> {
    let host = documents::host_key();
    let written = |written: Result<_, _>| Vec::from(written.expect("written"));
    vec![
        ("change".to_owned(), written(CHANGE.write(Some(&host)))),
        ("removal".to_owned(), written(REMOVAL.write(Some(&host)))),
        ("unsigned".to_owned(), written(REMOVAL.write(None))),
    ]
}
