//! The sealed section of a manifest: whoever knows the recipients, who are no secret, can encrypt one.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use terrarium_fuzz::{documents, seeds};
use terrarium_s3::crypto::{Identities, Recipients};
use terrarium_s3::format::{Base, Kind, Manifest, SealedBytes};
use terrarium_zfs::Guid;

fuzz_target!(init: seeds::write_if_asked(seeds, is_sealed), |plain: &[u8]| {
    is_sealed(plain);
});

static RECIPIENTS: LazyLock<Recipients> = LazyLock::new(documents::recipients);
static IDENTITIES: LazyLock<Identities> = LazyLock::new(documents::identities);

fn is_sealed(plain: &[u8]) -> bool {
    let encrypted = RECIPIENTS.encrypt(plain).expect("encrypted");
    let sealed = SealedBytes::try_from(STANDARD.encode(encrypted)).expect("base64");
    let manifest = manifest(sealed);
    let sealed = match manifest.open(&IDENTITIES) {
        Ok(sealed) => sealed,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            return false;
        }
    };
    let again = manifest_of(
        sealed
            .seal(&RECIPIENTS)
            .expect("what was opened can be sealed"),
    );
    assert!(
        again == sealed,
        "it is another after it was sealed and opened"
    );
    let read: Value = serde_json::from_slice(plain).expect("it was read before");
    let written = serde_json::to_value(&sealed).expect("what was opened is JSON");
    documents::nothing_was_left_out(&read["body"], &written);
    true
}

fn manifest_of(sealed: SealedBytes) -> terrarium_s3::format::Sealed {
    manifest(sealed)
        .open(&IDENTITIES)
        .expect("what was sealed can be opened")
}

fn manifest(sealed: SealedBytes) -> Manifest {
    let time = "2026-11-22T20:00:00Z".parse().expect("a time");
    Manifest {
        archive: documents::archive(),
        terrarium: "0.1.0".to_owned(),
        exported: time,
        lineage: documents::lineage(),
        instance: "web".to_owned(),
        project: None,
        instance_uuid: None,
        snapshot: "tank/web@snap-1".parse().expect("a name"),
        guid: Guid::new(5),
        base: Base::Full,
        createtxg: None,
        creation: time,
        kind: Kind::Foreign,
        alias: None,
        expires: None,
        send_flags: None,
        stream_bytes: 0,
        parts: Vec::new(),
        recipients: RECIPIENTS.clone(),
        sealed,
    }
}

fn seeds() -> Vec<seeds::Seed> {
    let definition = json!({
        "instance": {
            "config": {"environment.PASSWORD": "hunter2", "limits.cpu": "2"},
            "devices": {"root": {"type": "disk", "path": "/"}},
        },
        "profiles": [{"name": "default", "config": {}}],
    });
    let document = |definition, tree| {
        let body = json!({
            "archive": documents::archive(), "guid": "5", "definition": definition,
            "stream_blake3": "a5".repeat(32), "tree": tree,
        });
        json!({"format": "terrarium-sealed", "version": 1, "body": body})
            .to_string()
            .into_bytes()
    };
    let digest = json!("00".repeat(32));
    vec![
        ("instance".to_owned(), document(definition, digest)),
        ("stream".to_owned(), document(Value::Null, Value::Null)),
    ]
}
