//! Changes of an archive: who may make them, and what they change.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use terrarium_s3::archive::{Archive, ArchiveError, Difference, Pin};
use terrarium_s3::crypto::{HostKey, NewIdentity, Recipients, VerifyingKey};
use terrarium_s3::format::{self, ArchiveId, Change, Document, Layout, Verdict};
use terrarium_s3::{Call, Fault, Faulty, Key, MemoryStore, Store, StoreError};

type Memory = Faulty<MemoryStore>;

fn recipients() -> Recipients {
    Recipients::parse([NewIdentity::generate().recipient()]).unwrap()
}

fn host() -> HostKey {
    HostKey::generate().unwrap()
}

fn layout() -> Layout {
    Layout::new(Some(Key::new("backups").unwrap()))
}

async fn made(host: &HostKey) -> Archive<Memory> {
    let document = format::Archive {
        id: ArchiveId::random().unwrap(),
        created: Timestamp::UNIX_EPOCH,
        recipients: recipients(),
        host_keys: vec![host.verifying_key()],
    };
    let store = Arc::new(Faulty::new(MemoryStore::new()));
    Archive::init(store, layout(), document).await.unwrap()
}

async fn opened(archive: &Archive<Memory>) -> Archive<Memory> {
    let opened = Archive::open(archive.store().clone(), layout()).await;
    opened.unwrap()
}

fn key(number: u32) -> Key {
    Key::new(format!("backups/v1/changes/{number}.json")).unwrap()
}

/// A change as somebody puts it there who can write to the store.
async fn put(
    archive: &Archive<Memory>,
    number: u32,
    hosts: Vec<VerifyingKey>,
    by: Option<&HostKey>,
) {
    let change = Change {
        archive: archive.document().id,
        number,
        written: Timestamp::UNIX_EPOCH,
        recipients: recipients(),
        host_keys: hosts,
    };
    let body = change.write(by).unwrap();
    archive.store().create(&key(number), body).await.unwrap();
}

#[tokio::test]
async fn whoever_may_sign_changes_recipients_and_lets_others_in_who_change_them_again() {
    let (one, two) = (host(), host());
    let archive = made(&one).await;
    let pin = Pin::of(archive.document());
    let wanted = recipients();
    let hosts = vec![one.verifying_key(), two.verifying_key()];
    let changed = archive.change(wanted.clone(), hosts.clone(), &one, Timestamp::UNIX_EPOCH);
    let changed = changed.await.unwrap();
    let found = opened(&archive).await;
    assert_eq!(found.document(), changed.document());
    assert_eq!(found.document().recipients, wanted);
    assert_eq!(found.document().host_keys, hosts);
    assert_eq!(found.document().id, archive.document().id);
    assert!(found.trusts(Verdict::Signed(two.verifying_key())));
    let difference = pin.check(found.document()).unwrap_err();
    assert!(matches!(difference, Difference::Recipients { .. }));

    let last = recipients();
    let only = vec![two.verifying_key()];
    let changed = found.change(last.clone(), only.clone(), &two, Timestamp::UNIX_EPOCH);
    changed.await.unwrap();
    let found = opened(&archive).await;
    assert_eq!(
        (&found.document().recipients, &found.document().host_keys),
        (&last, &only)
    );
    // The one that may not sign any more changes nothing.
    put(&found, 3, hosts, Some(&one)).await;
    let found = opened(&archive).await;
    assert_eq!(
        (&found.document().recipients, &found.document().host_keys),
        (&last, &only)
    );
    assert_eq!(found.ignored()[0].key, key(3));
}

#[tokio::test]
async fn what_is_damaged_or_not_signed_does_not_count_and_stops_nobody() {
    let (one, stranger) = (host(), host());
    let archive = made(&one).await;
    let before = archive.document().clone();
    let theirs = vec![stranger.verifying_key()];
    put(&archive, 1, theirs.clone(), None).await;
    put(&archive, 2, theirs.clone(), Some(&stranger)).await;
    let rubbish = Bytes::from_static(b"{\"format\":\"terrarium-change\",\"version\":2}");
    archive.store().create(&key(3), rubbish).await.unwrap();
    // A change of another archive, and one that was put at another place.
    let other = made(&one).await;
    let changed = other.change(recipients(), theirs, &one, Timestamp::UNIX_EPOCH);
    changed.await.unwrap();
    let body = other.store().read(&key(1)).await.unwrap();
    archive.store().create(&key(4), body).await.unwrap();

    let found = opened(&archive).await;
    assert_eq!(found.document(), &before);
    let ignored: Vec<_> = found.ignored().iter().map(|ignored| &ignored.key).collect();
    assert_eq!(ignored, [&key(1), &key(2), &key(3), &key(4)]);
    let wanted = recipients();
    let hosts = before.host_keys.clone();
    let changed = found.change(wanted.clone(), hosts, &one, Timestamp::UNIX_EPOCH);
    changed.await.unwrap();
    assert_eq!(opened(&archive).await.document().recipients, wanted);
}

#[tokio::test]
async fn two_changes_at_once_are_one_and_a_refusal_and_a_lost_reply_is_none() {
    let one = host();
    let archive = made(&one).await;
    let hosts = || vec![one.verifying_key()];
    let first = recipients();
    let changed = archive.change(first.clone(), hosts(), &one, Timestamp::UNIX_EPOCH);
    changed.await.unwrap();
    let second = archive.change(recipients(), hosts(), &one, Timestamp::UNIX_EPOCH);
    let error = second.await.unwrap_err();
    assert!(
        matches!(error, ArchiveError::ChangedMeanwhile { .. }),
        "{error}"
    );
    assert!(error.help().is_some());
    assert_eq!(opened(&archive).await.document().recipients, first);

    let found = opened(&archive).await;
    let third = recipients();
    let store = archive.store();
    store.inject(Fault::lost_reply(Call::Create).matching("changes/2"));
    let error = found.change(third.clone(), hosts(), &one, Timestamp::UNIX_EPOCH);
    let error = error.await.unwrap_err();
    assert!(
        matches!(error, ArchiveError::Store(StoreError::Unavailable { .. })),
        "{error}"
    );
    // Whoever tries the same again finds that it was done.
    let again = found.change(third.clone(), hosts(), &one, Timestamp::UNIX_EPOCH);
    again.await.unwrap();
    assert_eq!(opened(&archive).await.document().recipients, third);
}

#[tokio::test]
async fn a_change_that_cannot_be_read_now_is_not_taken_for_none() {
    let one = host();
    let archive = made(&one).await;
    let hosts = vec![one.verifying_key()];
    let changed = archive.change(recipients(), hosts, &one, Timestamp::UNIX_EPOCH);
    changed.await.unwrap();
    let store = archive.store();
    store.inject(Fault::dropped(Call::Read).matching("changes/1"));
    let error = Archive::open(store.clone(), layout()).await.unwrap_err();
    let unavailable = matches!(error, ArchiveError::Store(StoreError::Unavailable { .. }));
    assert!(unavailable, "{error}");
}
