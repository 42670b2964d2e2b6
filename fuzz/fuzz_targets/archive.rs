//! `archive.json`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use terrarium_fuzz::{documents, seeds};
use terrarium_s3::format::Archive;

fuzz_target!(init: seeds::write_if_asked(seeds, is_archive), |bytes: &[u8]| {
    is_archive(bytes);
});

fn is_archive(bytes: &[u8]) -> bool {
    let archive = match Archive::read(bytes) {
        Ok(archive) => archive,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            return false;
        }
    };
    let written = archive.write().expect("what was read can be written");
    assert_eq!(Archive::read(&written), Ok(archive));
    let [read, written] =
        [bytes, &written].map(|json| serde_json::from_slice(json).expect("it was read before"));
    documents::nothing_was_left_out(&read, &written);
    true
}

fn seeds() -> Vec<seeds::Seed> {
    let mut archive = Archive {
        id: documents::archive(),
        created: "2026-11-22T21:00:00Z".parse().expect("a time"),
        recipients: documents::recipients(),
        host_keys: Vec::new(),
    };
    let write = |archive: &Archive| archive.write().expect("written").to_vec();
    let unsigned = write(&archive);
    archive
        .host_keys
        .push(documents::host_key().verifying_key());
    vec![
        ("signed".to_owned(), write(&archive)),
        ("unsigned".to_owned(), unsigned),
    ]
}
