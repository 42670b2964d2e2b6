//! What S3 and the network can do to a store, and what the store makes of it.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use terrarium_s3::{S3Config, S3Store, Store, StoreError, create_or_same, probe_create_only};

use support::server::{Reaction, Server, Traits};
use support::{config, key, keys};

#[tokio::test]
async fn a_body_that_is_cut_off_on_the_way_here_is_read_again() {
    let (server, store) = server().await;
    let body = Bytes::from(vec![9; 100_000]);
    store.create(&key("v1/a"), body.clone()).await.unwrap();
    server.next(Method::GET, 2, Reaction::CutAnswer(50_000));
    assert!(store.read(&key("v1/a")).await.unwrap() == body);
    assert_eq!(server.seen(Method::GET).len(), 3);

    server.next(Method::GET, usize::MAX, Reaction::CutAnswer(50_000));
    let error = store.read(&key("v1/a")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().ends_with("(tried 4 times)"), "{error}");
}

#[tokio::test]
async fn a_body_that_is_cut_off_on_the_way_there_is_sent_again() {
    let (server, store) = server().await;
    let body = Bytes::from(vec![9; 3_000_000]);
    server.next(Method::PUT, 2, Reaction::CutRequest(1_000_000));
    store.create(&key("v1/a"), body.clone()).await.unwrap();
    assert!(server.objects.get(&key("v1/a")).unwrap() == body);
    assert_eq!(server.seen(Method::PUT).len(), 3);
}

#[tokio::test]
async fn a_server_in_trouble_is_asked_again() {
    for (status, code) in [
        (500, "InternalError"),
        (503, "SlowDown"),
        (503, ""),
        (429, "TooManyRequests"),
        (502, ""),
        (504, ""),
        (400, "RequestTimeout"),
        (409, "ConditionalRequestConflict"),
    ] {
        let (server, store) = server().await;
        for method in [Method::PUT, Method::GET, Method::DELETE, Method::HEAD] {
            server.next(method, 2, Reaction::Error(status, code, &[]));
        }
        store.create(&key("v1/a"), "x".into()).await.unwrap();
        assert_eq!(store.read(&key("v1/a")).await.unwrap(), "x");
        server.next(Method::GET, 1, Reaction::Error(status, code, &[]));
        assert_eq!(store.list("").await.unwrap().len(), 1);
        // Without a body, nothing but the status tells.
        if status >= 429 {
            assert_eq!(store.size(&key("v1/a")).await.unwrap(), Some(1));
        }
        store.delete(&key("v1/a")).await.unwrap();
        assert_eq!(server.seen(Method::PUT).len(), 3, "{status} {code}");
    }
}

#[tokio::test]
async fn a_server_that_stays_in_trouble_is_given_up() {
    let (server, store) = server().await;
    server.next(
        Method::PUT,
        usize::MAX,
        Reaction::Error(503, "SlowDown", &[]),
    );
    let error = store.create(&key("v1/a"), "x".into()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        "cannot create v1/a in s3://archive: SlowDown (status 503): the server's words (tried 4 times)"
    );
    assert_eq!(server.seen(Method::PUT).len(), 4);
}

#[tokio::test]
async fn what_is_not_allowed_is_named_and_not_tried_again() {
    let (server, store) = server().await;
    for method in [Method::PUT, Method::GET, Method::DELETE, Method::HEAD] {
        let denied = Reaction::Error(403, "AccessDenied", &[]);
        server.next(method, usize::MAX, denied);
    }
    for (error, call) in every_call(&store).await {
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
        let help = error.help().unwrap();
        assert!(help.contains(&format!("may {call}")), "{help}");
    }
    assert_eq!(server.seen(Method::PUT).len(), 1);
    assert_eq!(server.seen(Method::GET).len(), 2);
}

#[tokio::test]
async fn a_bucket_of_another_region_is_named_with_its_region() {
    let region = &[("x-amz-bucket-region", "eu-west-3")];
    for (status, code) in [
        (301, "PermanentRedirect"),
        (400, "AuthorizationHeaderMalformed"),
        (307, "TemporaryRedirect"),
    ] {
        let (server, store) = server().await;
        for method in [Method::PUT, Method::GET, Method::DELETE, Method::HEAD] {
            server.next(method, usize::MAX, Reaction::Error(status, code, region));
        }
        for (error, _) in every_call(&store).await {
            assert!(matches!(error, StoreError::WrongRegion { .. }), "{error:?}");
            assert_eq!(error.help().unwrap(), "set the region to eu-west-3");
        }
    }
    let (server, store) = server().await;
    let malformed = Reaction::Error(400, "AuthorizationHeaderMalformed", &[]);
    server.next(Method::PUT, 1, malformed);
    let error = store.create(&key("v1/a"), "x".into()).await.unwrap_err();
    assert!(matches!(
        error,
        StoreError::WrongRegion { region: None, .. }
    ));
}

#[tokio::test]
async fn a_missing_bucket_is_not_a_missing_object() {
    let traits = Traits {
        no_bucket: true,
        ..Traits::default()
    };
    let (_server, store) = server_with(traits).await;
    for (error, _) in every_call(&store).await {
        assert!(matches!(error, StoreError::NoSuchPlace { .. }), "{error:?}");
        assert!(
            error.to_string().ends_with("s3://archive does not exist"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_named() {
    let (server, store) = server().await;
    for method in [Method::PUT, Method::GET] {
        let skewed = Reaction::Error(403, "RequestTimeTooSkewed", &[]);
        server.next(method, usize::MAX, skewed);
    }
    let errors = [
        store.create(&key("v1/a"), "x".into()).await.unwrap_err(),
        store.list("").await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::ClockSkew { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_full_store_is_named() {
    for (status, code) in [(507, "XMinioStorageFull"), (403, "QuotaExceeded")] {
        let (server, store) = server().await;
        server.next(Method::PUT, usize::MAX, Reaction::Error(status, code, &[]));
        let error = store.create(&key("v1/a"), "x".into()).await.unwrap_err();
        assert!(matches!(error, StoreError::NoSpace { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_put_whose_reply_was_lost_is_found_to_be_our_own() {
    let (server, store) = server().await;
    server.next(Method::PUT, 1, Reaction::LoseReply);
    let created = store.create(&key("v1/a"), "ours".into()).await;
    assert!(
        matches!(created, Err(StoreError::Exists { .. })),
        "{created:?}"
    );

    server.next(Method::PUT, 1, Reaction::LoseReply);
    create_or_same(&store, &key("v1/b"), "ours".into())
        .await
        .unwrap();

    server.objects.overwrite(&key("v1/c"), "another's");
    server.next(Method::PUT, 1, Reaction::LoseReply);
    let clash = create_or_same(&store, &key("v1/c"), "ours".into()).await;
    assert!(matches!(clash, Err(StoreError::Exists { .. })), "{clash:?}");
    assert_eq!(server.objects.get(&key("v1/c")).unwrap(), "another's");
}

#[tokio::test]
async fn a_store_that_ignores_create_only_is_found() {
    let traits = Traits {
        ignores_conditions: true,
        ..Traits::default()
    };
    let (server, store) = server_with(traits).await;
    assert!(!probe_create_only(&store, &key("v1/probe")).await.unwrap());
    assert!(server.objects.keys().is_empty(), "the probe stays");
}

#[tokio::test]
async fn a_probe_that_may_not_delete_says_what_it_found() {
    let (server, store) = server().await;
    let denied = Reaction::Error(403, "AccessDenied", &[]);
    server.next(Method::DELETE, usize::MAX, denied);
    assert!(probe_create_only(&store, &key("v1/probe")).await.unwrap());
}

#[tokio::test]
async fn checksums_go_along_and_are_checked_on_both_ways() {
    let (server, store) = server().await;
    assert_eq!(store.accepts_checksums(), None);
    store
        .create(&key("v1/a"), "123456789".into())
        .await
        .unwrap();
    assert_eq!(store.accepts_checksums(), Some(true));
    let put = &server.seen(Method::PUT)[0];
    assert_eq!(put.headers["x-amz-checksum-crc32"], "y/Q5Jg==");
    assert_eq!(put.headers["if-none-match"], "*");

    server.next(Method::PUT, 1, Reaction::Error(400, "BadDigest", &[]));
    store.create(&key("v1/b"), "x".into()).await.unwrap();

    server.next(Method::GET, 1, Reaction::Damage);
    assert_eq!(store.read(&key("v1/a")).await.unwrap(), "123456789");
    server.next(Method::GET, usize::MAX, Reaction::Damage);
    let error = store.read(&key("v1/a")).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(
        error.to_string().contains("the store says y/Q5Jg=="),
        "{error}"
    );
}

#[tokio::test]
async fn a_store_that_refuses_checksum_headers_is_found_once() {
    for status in [400, 501] {
        let traits = Traits {
            refuses_checksums: Some(status),
            ..Traits::default()
        };
        let (server, store) = server_with(traits.clone()).await;
        for n in 0..3 {
            let key = key(&format!("v1/{n}"));
            store.create(&key, "x".into()).await.unwrap();
            assert_eq!(store.read(&key).await.unwrap(), "x");
        }
        assert_eq!(store.accepts_checksums(), Some(false));
        let with = |method, header| {
            let seen = server.seen(method);
            seen.iter()
                .filter(|seen| seen.headers.contains_key(header))
                .count()
        };
        assert_eq!(with(Method::PUT, "x-amz-checksum-crc32"), 1);
        assert_eq!(with(Method::GET, "x-amz-checksum-mode"), 0);
        // Then the signature covers the body.
        for put in server.seen(Method::PUT) {
            assert_ne!(put.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
        }

        let (_server, reader) = {
            let (server, store) = server_with(traits).await;
            server.objects.overwrite(&key("v1/a"), "x");
            assert_eq!(store.read(&key("v1/a")).await.unwrap(), "x");
            (server, store)
        };
        assert_eq!(reader.accepts_checksums(), Some(false));
    }
}

#[tokio::test]
async fn a_request_that_is_bad_for_another_reason_does_not_end_checksums() {
    let (server, store) = server().await;
    server.next(Method::PUT, 2, Reaction::Error(400, "InvalidRequest", &[]));
    let error = store.create(&key("v1/a"), "x".into()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
    assert_eq!(store.accepts_checksums(), None);
    store.create(&key("v1/a"), "x".into()).await.unwrap();
    assert_eq!(store.accepts_checksums(), Some(true));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let (server, _) = server().await;
    let store = S3Store::open(S3Config {
        patience: Duration::from_millis(200),
        tries: 2,
        ..config(&server.endpoint)
    });
    let store = store.await.unwrap();
    store
        .create(&key("v1/a"), vec![7; 1000].into())
        .await
        .unwrap();
    let forever = Duration::from_secs(60);
    server.next(Method::PUT, 2, Reaction::Silence(forever));
    server.next(Method::GET, 2, Reaction::Silence(forever));
    server.next(Method::GET, 2, Reaction::Standstill(500));
    let began = Instant::now();
    let errors = [
        store.create(&key("v1/b"), "x".into()).await.unwrap_err(),
        store.list("").await.unwrap_err(),
        store.read(&key("v1/a")).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(store.read(&key("v1/a")).await.unwrap().len(), 1000);
}

#[tokio::test]
async fn where_nothing_or_no_tls_listens_the_store_is_unavailable() {
    let (server, _) = server().await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for endpoint in [
        format!("http://{closed}"),
        server.endpoint.replace("http://", "https://"),
    ] {
        let store = S3Store::open(S3Config {
            tries: 2,
            ..config(&endpoint)
        });
        for (error, _) in every_call(&store.await.unwrap()).await {
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_a_configuration_is_refused_or_denied_without_a_panic() {
    for bucket in ["", "a/b", "a?b"] {
        let bucket = bucket.to_owned();
        let opened = S3Store::open(S3Config {
            bucket,
            ..config("http://127.0.0.1:1")
        })
        .await;
        assert!(
            matches!(opened, Err(StoreError::Refused { .. })),
            "{opened:?}"
        );
    }
    for endpoint in ["", "127.0.0.1:9000", "ftp://host", "file:///x"] {
        let opened = S3Store::open(config(endpoint)).await;
        assert!(
            matches!(opened, Err(StoreError::Refused { .. })),
            "{opened:?}"
        );
    }
    for endpoint in ["http://", "http://a b", "http://[::", "http://host:99999"] {
        if let Ok(store) = S3Store::open(S3Config {
            tries: 1,
            ..config(endpoint)
        })
        .await
        {
            store.list("").await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn no_text_shows_a_secret() {
    let (server, _) = server().await;
    let secret = "s3cr3t-of-a-test";
    let credentials = keys("AKIDTEST", secret);
    let config = S3Config {
        credentials,
        ..config(&server.endpoint)
    };
    let mut texts = vec![format!("{config:?}")];
    let store = S3Store::open(config).await.unwrap();
    texts.push(format!("{store:?}"));
    for method in [Method::PUT, Method::GET, Method::DELETE, Method::HEAD] {
        server.next(
            method,
            usize::MAX,
            Reaction::Error(403, "SignatureDoesNotMatch", &[]),
        );
    }
    for (error, _) in every_call(&store).await {
        texts.extend([
            format!("{error:?}"),
            error.to_string(),
            error.help().unwrap(),
        ]);
    }
    for text in texts {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn what_others_keep_in_the_bucket_is_not_listed() {
    let (server, _) = server().await;
    let prefix = Some(key("backups"));
    let store = S3Store::open(S3Config {
        prefix,
        ..config(&server.endpoint)
    });
    let store = store.await.unwrap();
    server.objects.overwrite(&key("v1/not-ours"), "x");
    server.objects.overwrite(&key("backups2/v1/not-ours"), "x");
    server.objects.overwrite(&key("backups/v1/ours"), "x");
    let listed = store.list("").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].key.as_str(), "v1/ours");
}

async fn server() -> (Server, S3Store) {
    server_with(Traits::default()).await
}

async fn server_with(traits: Traits) -> (Server, S3Store) {
    let server = Server::with(traits).await;
    let store = S3Store::open(config(&server.endpoint)).await;
    (server, store.expect("a store"))
}

/// Every call, each of which must fail, with the words for what it is.
async fn every_call(store: &S3Store) -> [(StoreError, &'static str); 5] {
    let key = key("v1/a");
    [
        (
            store.create(&key, "x".into()).await.expect_err("create"),
            "create",
        ),
        (store.read(&key).await.expect_err("read"), "read"),
        (store.size(&key).await.expect_err("size"), "see the size of"),
        (store.list("v1/").await.expect_err("list"), "list"),
        (store.delete(&key).await.expect_err("delete"), "delete"),
    ]
}
