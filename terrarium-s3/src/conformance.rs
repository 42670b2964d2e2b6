//! What every [`Store`] must do: one suite for the memory, the directory and S3 alike.
//!
//! A case gets a store without objects. It panics, as a test does, where the store differs from what the archive relies
//! on. [`store_cases!`](crate::store_cases) names them all.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::{Key, Store, StoreError, create_or_same, probe_create_only};

/// Names every case, to a macro of the caller that makes tests of them.
///
/// ```
/// macro_rules! count {
///     ($($case:ident)*) => { [$(stringify!($case)),*].len() };
/// }
/// assert!(terrarium_s3::store_cases!(count) > 10);
/// ```
#[macro_export]
macro_rules! store_cases {
    ($each:ident) => {
        $each! {
            an_object_is_read_as_it_was_created
            an_object_may_be_empty
            an_object_of_many_megabytes_comes_back_whole
            a_range_of_an_object_is_read
            every_character_of_a_key_is_kept
            what_is_not_there_is_not_found
            an_object_is_never_replaced
            of_many_who_create_at_once_one_wins
            our_own_object_is_no_clash
            a_listing_has_all_that_begin_with_the_prefix_in_order
            a_listing_of_more_than_a_page_is_whole
            a_listing_tells_size_and_time
            a_prefix_that_no_key_has_lists_nothing
            a_deleted_object_is_gone_and_may_be_created_again
            a_delete_of_what_is_not_there_is_no_error
            the_probe_finds_create_only_and_leaves_nothing
            an_error_names_the_call_and_the_object
        }
    };
}

/// What was created is what is read, and how long it is.
pub async fn an_object_is_read_as_it_was_created(store: &impl Store) {
    let (one, two) = (key("v1/one"), key("v1/two"));
    let body = Bytes::from((0..=255).collect::<Vec<u8>>());
    expect(store.create(&one, body.clone()).await);
    expect(store.create(&two, "other".into()).await);
    assert_eq!(expect(store.read(&one).await), body);
    assert_eq!(expect(store.size(&one).await), Some(256));
    assert_eq!(expect(store.read(&two).await), "other");
}

/// Nothing is something too.
pub async fn an_object_may_be_empty(store: &impl Store) {
    let empty = key("v1/empty");
    expect(store.create(&empty, Bytes::new()).await);
    assert_eq!(expect(store.read(&empty).await), Bytes::new());
    assert_eq!(expect(store.size(&empty).await), Some(0));
    assert_eq!(keys(store, "").await, ["v1/empty"]);
    assert_exists(store.create(&empty, "a".into()).await);
}

/// A part of a stream is as long as this at most.
pub async fn an_object_of_many_megabytes_comes_back_whole(store: &impl Store) {
    let large = key("v1/large");
    let body: Bytes = (0..9_000_001_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    expect(store.create(&large, body.clone()).await);
    assert_eq!(expect(store.size(&large).await), Some(9_000_001));
    assert!(expect(store.read(&large).await) == body, "it differs");
}

/// Whoever reads a large object piece by piece gets each byte once.
pub async fn a_range_of_an_object_is_read(store: &impl Store) {
    let object = key("v1/object");
    let body = Bytes::from((0..=255).collect::<Vec<u8>>());
    expect(store.create(&object, body.clone()).await);
    for (offset, length, found) in [
        (0, 256, 0..256),
        (0, 1000, 0..256),
        (0, 1, 0..1),
        (100, 56, 100..156),
        (255, 2, 255..256),
        (256, 1, 256..256),
        (1000, 5, 256..256),
        (7, 0, 7..7),
    ] {
        let range = expect(store.read_range(&object, offset, length).await);
        assert_eq!(range, body.slice(found), "{length} bytes from {offset}");
    }
    let missing = store.read_range(&key("v1/objec"), 0, 1).await;
    assert!(
        matches!(missing, Err(StoreError::NotFound { .. })),
        "{missing:?}"
    );
}

/// Keys reach the store and come back as they are.
pub async fn every_character_of_a_key_is_kept(store: &impl Store) {
    let names = [
        "ABCXYZ/abcxyz/0189",
        "a.b/..c/...",
        "a=b/=",
        "a_b-c/_-",
        "autosnap_2026-04-19_10:00:00_hourly",
        "v1/streams/9223372036854775807/full/0190b1c4-7d3e/000001.zst.age",
    ];
    for name in names {
        expect(store.create(&key(name), Bytes::from(name)).await);
    }
    for name in names {
        assert_eq!(expect(store.read(&key(name)).await), name);
    }
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(keys(store, "").await, sorted);
    let longest = key(&[vec!["a".repeat(99); 8].join("/"), "b".repeat(60)].join("/"));
    expect(store.create(&longest, "long".into()).await);
    assert_eq!(expect(store.read(&longest).await), "long");
}

/// Also not if it is the folder of an object, or begins as one.
pub async fn what_is_not_there_is_not_found(store: &impl Store) {
    expect(store.create(&key("v1/folder/object"), "a".into()).await);
    for name in ["v1/folder/objec", "v1/folder", "v1/folder/object2", "other"] {
        let key = key(name);
        let read = store.read(&key).await;
        assert!(
            matches!(read, Err(StoreError::NotFound { .. })),
            "{name}: {read:?}"
        );
        assert_eq!(expect(store.size(&key).await), None, "{name}");
    }
}

/// Neither by another content nor by the same.
pub async fn an_object_is_never_replaced(store: &impl Store) {
    let key = key("v1/archive.json");
    expect(store.create(&key, "first".into()).await);
    assert_exists(store.create(&key, "second, longer".into()).await);
    assert_exists(store.create(&key, "first".into()).await);
    assert_eq!(expect(store.read(&key).await), "first");
}

/// Two hosts, or two runs, meet in the store alone.
pub async fn of_many_who_create_at_once_one_wins(store: &impl Store) {
    for round in 0..3 {
        let key = key(&format!("v1/race/{round}"));
        let bodies: [Bytes; 4] = std::array::from_fn(|n| vec![b'0' + n as u8; 10_000].into());
        let [a, b, c, d] = bodies.clone();
        let (a, b, c, d) = tokio::join!(
            store.create(&key, a),
            store.create(&key, b),
            store.create(&key, c),
            store.create(&key, d)
        );
        let outcomes = [a, b, c, d];
        let winners: Vec<usize> = (0..4).filter(|n| outcomes[*n].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let read = expect(store.read(&key).await);
        assert!(read == bodies[winners[0]], "another one's content");
        for lost in outcomes.into_iter().filter(Result::is_err) {
            assert_exists(lost);
        }
    }
}

/// An object of equal content is our own, whose reply was lost.
pub async fn our_own_object_is_no_clash(store: &impl Store) {
    let key = key("v1/own");
    expect(create_or_same(store, &key, "ours".into()).await);
    expect(create_or_same(store, &key, "ours".into()).await);
    assert_exists(create_or_same(store, &key, "another's".into()).await);
    assert_eq!(expect(store.read(&key).await), "ours");
}

/// In the order of the keys' bytes, in which `a-b/` comes before `a/`.
pub async fn a_listing_has_all_that_begin_with_the_prefix_in_order(store: &impl Store) {
    assert_eq!(keys(store, "").await, [""; 0]);
    for name in ["a/c", "b/1/x", "a/b/2", "a-b/1", "a/b/10", "a/bb", "B"] {
        expect(store.create(&key(name), "x".into()).await);
    }
    let all = ["B", "a-b/1", "a/b/10", "a/b/2", "a/bb", "a/c", "b/1/x"];
    assert_eq!(keys(store, "").await, all);
    assert_eq!(keys(store, "a/").await, all[2..6]);
    assert_eq!(keys(store, "a").await, all[1..6]);
    assert_eq!(keys(store, "a/b").await, all[2..5]);
    assert_eq!(keys(store, "a/b/").await, all[2..4]);
    assert_eq!(keys(store, "a/b/1").await, all[2..3]);
    assert_eq!(keys(store, "a/c").await, all[5..6]);
    assert_eq!(keys(store, "b/1").await, all[6..]);
}

/// S3 gives a thousand at a time.
pub async fn a_listing_of_more_than_a_page_is_whole(store: &impl Store) {
    let names: Vec<String> = (0..1005).map(|n| format!("many/{n:06}")).collect();
    for some in names.chunks(5) {
        let some: [Key; 5] = std::array::from_fn(|n| key(&some[n]));
        let create = |n: usize| store.create(&some[n], Bytes::from_static(b"x"));
        let (a, b, c, d, e) = tokio::join!(create(0), create(1), create(2), create(3), create(4));
        for created in [a, b, c, d, e] {
            expect(created);
        }
    }
    assert_eq!(keys(store, "many/").await, names);
}

/// To the second or better, by a clock that is not far off.
pub async fn a_listing_tells_size_and_time(store: &impl Store) {
    expect(store.create(&key("v1/dated"), "12345".into()).await);
    let listed = expect(store.list("v1/").await);
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].key.as_str(), listed[0].size), ("v1/dated", 5));
    let off = Timestamp::now().duration_since(listed[0].modified).abs();
    assert!(off < SignedDuration::from_mins(5), "off by {off:#}");
}

/// Nor does it lead out of the store.
pub async fn a_prefix_that_no_key_has_lists_nothing(store: &impl Store) {
    expect(store.create(&key("a/b"), "x".into()).await);
    for prefix in [
        "c", "a/c", "a/b/", "a/b/c", "/", "../", "a/../", "a//", "./", "a b", "a\n",
    ] {
        assert_eq!(keys(store, prefix).await, [""; 0], "{prefix:?}");
    }
}

/// And its neighbours stay.
pub async fn a_deleted_object_is_gone_and_may_be_created_again(store: &impl Store) {
    let (one, two) = (key("v1/a/one"), key("v1/a/two"));
    expect(store.create(&one, "1".into()).await);
    expect(store.create(&two, "2".into()).await);
    expect(store.delete(&one).await);
    assert_eq!(expect(store.size(&one).await), None);
    assert_eq!(keys(store, "").await, ["v1/a/two"]);
    expect(store.delete(&two).await);
    assert_eq!(keys(store, "").await, [""; 0]);
    expect(store.create(&one, "again".into()).await);
    assert_eq!(expect(store.read(&one).await), "again");
}

/// Nor does it delete what begins so.
pub async fn a_delete_of_what_is_not_there_is_no_error(store: &impl Store) {
    expect(store.create(&key("v1/folder/object"), "a".into()).await);
    for name in ["v1/folder", "v1/folder/obj", "nothing/at/all"] {
        expect(store.delete(&key(name)).await);
    }
    assert_eq!(keys(store, "").await, ["v1/folder/object"]);
}

/// As `archive init` does it.
pub async fn the_probe_finds_create_only_and_leaves_nothing(store: &impl Store) {
    assert!(expect(probe_create_only(store, &key("v1/probe")).await));
    assert_eq!(keys(store, "").await, [""; 0]);
}

/// So that a report need not.
pub async fn an_error_names_the_call_and_the_object(store: &impl Store) {
    let error = store.read(&key("v1/missing")).await.expect_err("missing");
    let text = error.to_string();
    assert!(text.starts_with("cannot read v1/missing in "), "{text}");
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap_or_else(|error| panic!("{error}"))
}

fn expect<T>(result: Result<T, StoreError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn assert_exists(result: Result<(), StoreError>) {
    assert!(
        matches!(result, Err(StoreError::Exists { .. })),
        "expected that it exists already: {result:?}"
    );
}

async fn keys(store: &impl Store, prefix: &str) -> Vec<String> {
    let listed = expect(store.list(prefix).await);
    listed.iter().map(|object| object.key.to_string()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_named() {
        macro_rules! names {
            ($($case:ident)*) => { [$(stringify!($case)),*] };
        }
        let lines = include_str!("conformance.rs").lines();
        let written =
            lines.filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next());
        assert!(written.eq(store_cases!(names)));
    }
}
