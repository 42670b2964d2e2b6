#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{Call, Fault, Faulty, MemoryStore};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// `one` is a full stream, `two:one` one that starts from `one`; each has its stream.
async fn archive(prefix: &str, points: &[&str]) -> MemoryStore {
    let store = MemoryStore::new();
    for point in points {
        let (name, parent) = match point.split_once(':') {
            Some((name, parent)) => (name, Some(parent)),
            None => (*point, None),
        };
        let object = format!("{prefix}streams/web/{name}.zfs.zst");
        let manifest = serde_json::json!({
            "instance": "web", "dataset": "tank/containers/web", "snapshot": name,
            "parent_snapshot": parent, "object_key": object, "full": parent.is_none(),
            "created_at": "2026-04-19T10:00:00Z",
        });
        store
            .create(&key(&object), name.to_owned().into())
            .await
            .unwrap();
        let manifest = serde_json::to_vec(&manifest).unwrap().into();
        let at = key(&format!("{prefix}manifests/web/{name}.json"));
        store.create(&at, manifest).await.unwrap();
    }
    store
}

fn names(found: &Found) -> Vec<&str> {
    found
        .points
        .iter()
        .map(|point| point.snapshot.as_str())
        .collect()
}

#[tokio::test]
async fn points_come_after_what_they_start_from_whatever_their_names() {
    let store = archive("", &["a:b", "b:c", "c", "x:c", "second", "z:a"]).await;
    let found = find(&store, &Layout::default()).await.unwrap();
    assert_eq!(names(&found), ["c", "second", "b", "x", "a", "z"]);
    assert_eq!(found.broken, []);
    let first = &found.points[0];
    assert_eq!((first.parent.as_deref(), first.stored_bytes), (None, 1));
}

#[tokio::test]
async fn below_a_prefix_streams_are_found_by_either_spelling_of_their_key() {
    let store = archive("backups/", &["one", "two:one"]).await;
    let layout = Layout::new(Some(key("backups")));
    let at = key("backups/manifests/web/two.json");
    store.tamper(&at, |text| {
        let shorter = String::from_utf8(text.clone())
            .unwrap()
            .replace("backups/streams", "streams");
        *text = shorter.into_bytes();
    });
    let found = find(&store, &layout).await.unwrap();
    assert_eq!(names(&found), ["one", "two"]);
    assert_eq!(
        found.points[1].object,
        key("backups/streams/web/two.zfs.zst")
    );
}

#[tokio::test]
async fn whatever_leads_to_nothing_is_named_with_all_that_builds_upon_it() {
    let store = archive(
        "",
        &[
            "one",
            "two:one",
            "three:two",
            "four:gone",
            "six:five",
            "five:six",
        ],
    )
    .await;
    store.vanish(&key("streams/web/two.zfs.zst"));
    store
        .create(&key("manifests/web/seven.json"), "{}".into())
        .await
        .unwrap();
    let other = store.get(&key("manifests/web/one.json")).unwrap();
    store
        .create(&key("manifests/db/one.json"), other)
        .await
        .unwrap();
    let found = find(&store, &Layout::default()).await.unwrap();
    assert_eq!(names(&found), ["one"]);
    let broken: Vec<_> = found
        .broken
        .iter()
        .map(|broken| broken.manifest.as_str())
        .collect();
    let named = [
        "db/one",
        "web/five",
        "web/four",
        "web/seven",
        "web/six",
        "web/three",
        "web/two",
    ];
    assert_eq!(broken, named.map(|name| format!("manifests/{name}.json")));
    let whys: Vec<_> = found
        .broken
        .iter()
        .map(|broken| broken.why.as_str())
        .collect();
    assert_eq!(
        whys[2],
        "the snapshot gone, which it builds upon, is missing"
    );
    assert_eq!(
        whys[5],
        "the snapshot two, which it builds upon, is missing"
    );
    assert_eq!(whys[6], "its stream streams/web/two.zfs.zst is missing");
}

#[tokio::test]
async fn a_store_that_is_away_is_not_taken_for_an_empty_one() {
    let store = Faulty::new(archive("", &["one"]).await);
    for call in [Call::List, Call::Read] {
        store.inject(Fault::dropped(call));
        let error = find(&store, &Layout::default()).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_of_several_pieces_is_read_as_it_is_and_a_shorter_one_is_an_error() {
    // Of no regularity, so that it stays as large as it is.
    let mut state = 1u64;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(20 << 20)
    .collect();
    let packed = zstd::encode_all(&content[..], 1).unwrap();
    let store = Arc::new(Faulty::new(MemoryStore::new()));
    let point = EarlierPoint {
        instance: "web".to_owned(),
        snapshot: "one".to_owned(),
        parent: None,
        object: key("streams/web/one.zfs.zst"),
        stored_bytes: packed.len() as u64,
    };
    store.create(&point.object, packed.into()).await.unwrap();
    let read = || {
        let mut stream = stream(store.clone(), &point, Handle::current()).unwrap();
        tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            stream.read_to_end(&mut read).map(|_| read)
        })
    };
    assert!(read().await.unwrap().unwrap() == content);
    store.inject(Fault::truncated(5).nth(1));
    let error = read().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    store.inject(Fault::dropped(Call::Read).nth(2));
    assert!(read().await.unwrap().is_err());
}
