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
