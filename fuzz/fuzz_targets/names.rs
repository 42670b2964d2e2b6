//! Texts that are parsed once: of each there is one form only, which is shown as it was read.
#![no_main]

use std::fmt::{Debug, Display};
use std::pin::pin;
use std::str::FromStr;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use terrarium_fuzz::seeds;
use terrarium_s3::archive::{Location, S3Options};
use terrarium_s3::crypto::{Recipients, VerifyingKey};
use terrarium_s3::format::{ArchiveId, Layout, Lineage, Place, RunId};
use terrarium_s3::{Key, StoreError};
use terrarium_zfs::{BookmarkName, DatasetName, Guid, ResumeToken, SnapshotName, Txg};

fuzz_target!(init: seeds::write_if_asked(seeds, is_anything), |bytes: &[u8]| {
    is_anything(bytes);
});

fn is_anything(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let datasets = [dataset(text), snapshot(text), bookmark(text)];
    let numbers = [loose::<Guid>(text).is_some(), loose::<Txg>(text).is_some()];
    let ids = [
        same::<ArchiveId>(text).is_some(),
        same::<Lineage>(text).is_some(),
        same::<RunId>(text).is_some(),
        same::<VerifyingKey>(text).is_some(),
    ];
    let rest = [
        key(text),
        location(text),
        recipient(text),
        loose_token(text),
    ];
    datasets
        .into_iter()
        .chain(numbers)
        .chain(ids)
        .chain(rest)
        .any(|is| is)
}

/// Parses it; whatever is wrong is said on one line.
fn parsed<T: FromStr<Err: Display>>(text: &str) -> Option<T> {
    match text.parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "{message:?}");
            None
        }
    }
}

/// Parses what is shown exactly as it was read.
fn same<T: FromStr<Err: Display> + Display>(text: &str) -> Option<T> {
    let parsed = parsed::<T>(text)?;
    assert_eq!(parsed.to_string(), text);
    Some(parsed)
}

/// Parses what may be written in several ways, but is shown in one.
fn loose<T: FromStr<Err: Display + Debug> + Display + PartialEq + Debug>(text: &str) -> Option<T> {
    let parsed = parsed::<T>(text)?;
    let again = parsed
        .to_string()
        .parse::<T>()
        .expect("what is shown can be parsed");
    assert_eq!(again, parsed);
    Some(parsed)
}

fn dataset(text: &str) -> bool {
    let Some(name) = same::<DatasetName>(text) else {
        return false;
    };
    assert!(name.is_within(&name.pool_dataset()));
    match name.parent() {
        Some(parent) => {
            assert_eq!(parent.child(name.leaf()).as_ref(), Ok(&name));
            assert_eq!(name.relative_to(&parent), Some(name.leaf()));
            same::<DatasetName>(parent.as_str()).expect("a dataset lies in a dataset");
        }
        None => assert_eq!(name.leaf(), name.pool()),
    }
    json(&name);
    true
}

fn snapshot(text: &str) -> bool {
    same::<SnapshotName>(text).is_some_and(|name| {
        assert_eq!(name.dataset().snapshot(name.name()).as_ref(), Ok(&name));
        assert_eq!(name.dataset().pool(), name.pool());
        json(&name);
        true
    })
}

fn bookmark(text: &str) -> bool {
    same::<BookmarkName>(text).is_some_and(|name| {
        assert_eq!(name.dataset().bookmark(name.name()).as_ref(), Ok(&name));
        json(&name);
        true
    })
}

fn json<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(value: &T) {
    let json = serde_json::to_string(value).expect("JSON");
    assert_eq!(
        serde_json::from_str::<T>(&json).expect("it was written"),
        *value
    );
}

/// A key and, if it is one, a place in an archive.
fn key(text: &str) -> bool {
    let place = same::<Place>(text);
    let key = same::<Key>(text);
    if let Some(key) = &key {
        assert!(
            !key.segments()
                .any(|segment| matches!(segment, "" | "." | ".."))
        );
        assert_eq!(Layout::default().place(key), place);
    }
    if let Some(place) = place {
        let layout = Layout::new(key.clone());
        // Its own text as a prefix before it: a place again, or too long.
        if let Ok(key) = layout.key(&place) {
            assert_eq!(layout.place(&key), Some(place));
        }
    }
    key.is_some()
}

fn location(text: &str) -> bool {
    let Some(location) = loose::<Location>(text) else {
        return false;
    };
    // This program is built without S3. It says so, at once.
    if let Location::S3 { .. } = location {
        let options = S3Options::default();
        let opened = pin!(location.open(&options)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(
            opened,
            Poll::Ready(Err(StoreError::NotBuiltIn { .. }))
        ));
    }
    true
}

fn recipient(text: &str) -> bool {
    let Ok(recipients) = Recipients::parse([text]) else {
        return false;
    };
    assert_eq!(
        Recipients::parse(recipients.texts()).as_ref(),
        Ok(&recipients)
    );
    true
}

fn loose_token(text: &str) -> bool {
    parsed::<ResumeToken>(text).is_some()
}

fn seeds() -> Vec<seeds::Seed> {
    let id = "0f5b8a31-9f35-4ba6-a4da-8cf6ed4fb8a6";
    let recipient = terrarium_fuzz::documents::recipients();
    let texts = [
        "tank/containers/my web_1.2:3-4".to_owned(),
        "tank/web@autosnap_2026-04-19_10:00:00_hourly".to_owned(),
        "tank/web#b".to_owned(),
        format!("t{}@s", "/d".repeat(49)),
        u64::MAX.to_string(),
        id.to_owned(),
        terrarium_fuzz::documents::host_key()
            .verifying_key()
            .to_string(),
        recipient.texts().collect(),
        "v1/archive.json".to_owned(),
        format!("v1/manifests/{id}/00000000001782222222-18446744073709551615.json"),
        format!("v1/annotations/{id}/5/12.json"),
        format!("v1/streams/5/full/{id}/000000.zst.age"),
        format!("v1/streams/5/7/{id}/999999.zst.age"),
        "s3://bucket/a/b/".to_owned(),
        "file:///mnt/my backups/".to_owned(),
    ];
    let numbered = texts.into_iter().enumerate();
    numbered
        .map(|(number, text)| (number.to_string(), text.into_bytes()))
        .collect()
}
