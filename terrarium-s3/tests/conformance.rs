//! Every store does what the suite says.

mod memory {
    use terrarium_s3::{MemoryStore, conformance};

    macro_rules! tests {
        ($($case:ident)*) => { $(
            #[tokio::test]
            async fn $case() {
                conformance::$case(&MemoryStore::new()).await;
            }
        )* };
    }
    terrarium_s3::store_cases!(tests);
}

mod directory {
    use terrarium_s3::{DirectoryStore, conformance};

    macro_rules! tests {
        ($($case:ident)*) => { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                conformance::$case(&DirectoryStore::open(folder.path()).unwrap()).await;
            }
        )* };
    }
    terrarium_s3::store_cases!(tests);
}

#[cfg(feature = "s3")]
mod support;

/// S3 on a server in this process.
#[cfg(feature = "s3")]
mod s3 {
    use terrarium_s3::{Key, S3Config, S3Store, conformance};

    use super::support::config;
    use super::support::server::Server;

    macro_rules! tests {
        ($($case:ident)*) => { $(
            #[tokio::test]
            async fn $case() {
                let server = Server::start().await;
                let prefix = Some(Key::new("backups/host").unwrap());
                let config = S3Config { prefix, ..config(&server.endpoint) };
                conformance::$case(&S3Store::open(config).await.unwrap()).await;
            }
        )* };
    }
    terrarium_s3::store_cases!(tests);
}

/// S3 as SeaweedFS does it.
#[cfg(feature = "s3")]
mod seaweedfs {
    use std::time::Instant;

    use terrarium_s3::{Key, S3Config, S3Store, StoreError, conformance};

    use super::support::keys;
    use super::support::seaweedfs::SeaweedFs;

    // One server for all cases, each under a prefix of its own: to start it takes longer than they do.
    #[tokio::test]
    async fn does_what_the_suite_says() {
        let server = SeaweedFs::start().await;
        macro_rules! run {
            ($($case:ident)*) => { $(
                let began = Instant::now();
                let prefix = Some(Key::new(stringify!($case)).unwrap());
                let config = S3Config { prefix, ..server.config() };
                let store = S3Store::open(config).await.unwrap();
                println!("{}", stringify!($case));
                conformance::$case(&store).await;
                println!("  {} ms", began.elapsed().as_millis());
                assert_ne!(store.accepts_checksums(), Some(false));
            )* };
        }
        terrarium_s3::store_cases!(run);
        credentials_and_buckets_are_checked(&server).await;
    }

    async fn credentials_and_buckets_are_checked(server: &SeaweedFs) {
        use terrarium_s3::Store;
        let key = Key::new("v1/archive.json").expect("a key");
        let bucket = "another".to_owned();
        let elsewhere = S3Config {
            bucket,
            ..server.config()
        };
        let elsewhere = S3Store::open(elsewhere).await.expect("opened");
        let credentials = keys("AKIDTEST", "a wrong key");
        let denied = S3Config {
            credentials,
            ..server.config()
        };
        let denied = S3Store::open(denied).await.expect("opened");
        for (store, wanted) in [(elsewhere, "NoSuchPlace"), (denied, "Denied")] {
            let errors: [StoreError; 4] = [
                store.create(&key, "x".into()).await.expect_err("refused"),
                store.read(&key).await.expect_err("refused"),
                store.size(&key).await.expect_err("refused"),
                store.list("").await.expect_err("refused"),
            ];
            for error in errors {
                let is = format!("{error:?}");
                assert!(is.starts_with(wanted), "{is}");
            }
        }
    }
}
