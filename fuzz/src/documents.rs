//! Documents of an archive: what they are made of, and what has to hold for each that is read.

use std::fmt::Debug;

use serde_json::Value;
use terrarium_s3::crypto::{HostKey, Identities, Recipients, VerifyingKey};
use terrarium_s3::format::{ArchiveId, Document, FormatError, Lineage, Place, RunId, Verdict};

/// An identity of the fuzz targets alone.
const IDENTITY: &[u8] =
    b"AGE-SECRET-KEY-13DF0UMX6PDLCWJQPU8HSK3QMDSZ3S455D0WDMNP9V6R5KA7DFCDS8C02XC";

/// Who can read.
pub fn identities() -> Identities {
    Identities::parse(IDENTITY, None).expect("an identity")
}

/// Whom is encrypted to.
pub fn recipients() -> Recipients {
    Recipients::parse(identities().recipients()).expect("a recipient")
}

/// Who signs.
pub fn host_key() -> HostKey {
    HostKey::parse(&format!("terrarium-host-secret-{}", "5a".repeat(32))).expect("a host key")
}

/// The archive of the seeds.
pub fn archive() -> ArchiveId {
    "5a4b7a0e-7d0f-4a57-9d3e-0d5f0d6d7c11"
        .parse()
        .expect("an id")
}

/// The lineage of the seeds.
pub fn lineage() -> Lineage {
    "0f5b8a31-9f35-4ba6-a4da-8cf6ed4fb8a6"
        .parse()
        .expect("a lineage")
}

/// The run of the seeds.
pub fn run() -> RunId {
    "92a009a9-f0d4-4ab8-b20e-820b5f642540"
        .parse()
        .expect("a run")
}

/// Reads a document wherever it says that it stands: the error of one at another place must name its own.
fn read<D: Document>(bytes: &[u8], place: Place, hosts: &[VerifyingKey]) -> Option<(D, Verdict)> {
    let (mut archive, mut place) = (archive(), place);
    // Two places that may be wrong.
    for _ in 0..3 {
        let expected = match D::read(bytes, archive, &place, hosts) {
            Ok(checked) => {
                assert_eq!(
                    (checked.document.archive(), checked.document.place()),
                    (archive, place)
                );
                return Some((checked.document, checked.verdict));
            }
            Err(FormatError::Misplaced { expected, .. }) => expected,
            Err(error) => {
                assert!(!error.to_string().contains(char::is_control), "{error:?}");
                return None;
            }
        };
        match expected.strip_prefix("the archive ") {
            Some(id) => archive = id.parse().expect("the error names an archive"),
            None => place = expected.parse().expect("the error names a place"),
        }
    }
    panic!("it is at another place than the one it says");
}

/// The body of a signed document.
fn body(bytes: &[u8]) -> Value {
    let mut document: Value = serde_json::from_slice(bytes).expect("it was read before");
    document["body"].take()
}

/// What has to hold for all bytes; whether they are such a document. `signed` are all that the host ever signed.
pub fn check<D: Document + Debug + PartialEq>(bytes: &[u8], place: Place, signed: &[D]) -> bool {
    let host = host_key();
    let Some((document, verdict)) = read::<D>(bytes, place, &[host.verifying_key()]) else {
        return false;
    };
    if let Verdict::Signed(_) = verdict {
        assert!(
            signed.contains(&document),
            "nobody has signed that: {document:?}"
        );
    }
    let unsigned = document.write(None).expect("what was read can be written");
    let by_host = document
        .write(Some(&host))
        .expect("what was read can be signed");
    for (written, expected) in [
        (&unsigned, Verdict::Unsigned),
        (&by_host, Verdict::Signed(host.verifying_key())),
    ] {
        let (again, verdict) = read::<D>(written, place, &[host.verifying_key()])
            .expect("what was written can be read");
        assert_eq!(
            again, document,
            "it is another after it was written and read"
        );
        assert_eq!(verdict, expected);
    }
    assert_eq!(body(&unsigned), body(&by_host));
    nothing_was_left_out(&body(bytes), &body(&unsigned));
    true
}

/// Reading is strict: of an accepted document there is nothing that was not understood.
pub fn nothing_was_left_out(read: &Value, written: &Value) {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            for (name, value) in read {
                let Some(written) = written.get(name) else {
                    panic!("the field {name:?} is not known, and was accepted");
                };
                nothing_was_left_out(value, written);
            }
        }
        // Recipients are a set.
        (Value::Array(read), Value::Array(written)) if read.len() == written.len() => {
            for (read, written) in read.iter().zip(written) {
                nothing_was_left_out(read, written);
            }
        }
        _ => {}
    }
}
