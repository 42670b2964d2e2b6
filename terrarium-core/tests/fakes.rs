//! The fakes do what the real things do, as far as the conformance suites say.

mod zfs {
    use std::any::Any;

    use terrarium_core::Zfs;
    use terrarium_core::conformance::zfs::{self as cases, ZfsRig};
    use terrarium_core::fake::FakeZfs;
    use terrarium_zfs::{BookmarkName, DatasetName, Guid, Listing, SnapshotName};

    struct Rig {
        zfs: FakeZfs,
        root: DatasetName,
    }

    impl Rig {
        fn new() -> Self {
            let zfs = FakeZfs::with_pool("tank");
            let root = DatasetName::new("tank/a case").expect("a legal name");
            zfs.create_all(&root);
            Self { zfs, root }
        }
    }

    fn tank() -> DatasetName {
        DatasetName::new("tank").expect("a legal name")
    }

    fn all(zfs: &FakeZfs) -> Listing {
        zfs.list(&tank()).expect("the pool is there")
    }

    fn guid(zfs: &FakeZfs, object: &str) -> Guid {
        let found = zfs.guid(object).expect("the pool is there");
        found.expect("the object is there")
    }

    /// Does something when it is dropped.
    struct Until<F: Fn()>(F);

    impl<F: Fn()> Drop for Until<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    impl ZfsRig for Rig {
        fn zfs(&self) -> &dyn Zfs {
            &self.zfs
        }

        fn root(&self) -> &DatasetName {
            &self.root
        }

        fn write(&self, dataset: &DatasetName, file: &str, bytes: &[u8]) {
            self.zfs.write(dataset, file, bytes);
        }

        fn read(&self, dataset: &DatasetName, file: &str) -> Option<Vec<u8>> {
            self.zfs.read(dataset, file)
        }

        fn hold(&self, snapshot: &SnapshotName) {
            self.zfs.hold(snapshot, "case");
        }

        fn release(&self, snapshot: &SnapshotName) {
            self.zfs.release(snapshot, "case");
        }

        fn bookmark(&self, bookmark: &BookmarkName, snapshot: &SnapshotName) {
            let made = self.zfs.bookmark(bookmark, snapshot);
            made.expect("the snapshot is there");
        }

        fn send(&self, snapshot: &SnapshotName) -> Box<dyn Any> {
            let guid = guid(&self.zfs, snapshot.as_str());
            self.zfs.set_busy(snapshot, true);
            let zfs = self.zfs.clone();
            Box::new(Until(move || {
                let snapshots = all(&zfs).snapshots.into_iter();
                for snapshot in snapshots.filter(|snapshot| snapshot.guid == guid) {
                    zfs.set_busy(&snapshot.name, false);
                }
            }))
        }

        fn mount(&self, dataset: &DatasetName) -> Box<dyn Any> {
            let guid = guid(&self.zfs, dataset.as_str());
            self.zfs.set_mounted(dataset, true);
            let zfs = self.zfs.clone();
            Box::new(Until(move || {
                let datasets = all(&zfs).datasets.into_iter();
                for dataset in datasets.filter(|dataset| dataset.guid == guid) {
                    zfs.set_mounted(&dataset.name, false);
                }
            }))
        }
    }

    macro_rules! tests {
        ($($case:ident)*) => {
            $(
                #[test]
                fn $case() {
                    cases::$case(&Rig::new());
                }
            )*
        };
    }
    terrarium_core::zfs_cases!(tests);
}

mod instances {
    use terrarium_core::InstanceRef;
    use terrarium_core::conformance::instances::{self as cases, InstancesRig};
    use terrarium_core::fake::FakeHost;

    struct Rig {
        _host: FakeHost,
        client: lxd_client::Client,
    }

    impl Rig {
        async fn new() -> Self {
            let host = FakeHost::start().await;
            host.instance("guest").create().await;
            host.instance("stubborn").create().await;
            host.lxd().ignore_graceful_stop("stubborn", true);
            Self {
                client: host.client(),
                _host: host,
            }
        }
    }

    fn id(name: &str) -> InstanceRef {
        name.parse().expect("a legal name")
    }

    impl InstancesRig for Rig {
        type Instances = lxd_client::Client;

        fn instances(&self) -> &lxd_client::Client {
            &self.client
        }

        fn guest(&self) -> InstanceRef {
            id("guest")
        }

        fn stubborn(&self) -> InstanceRef {
            id("stubborn")
        }

        fn free(&self) -> InstanceRef {
            id("free")
        }
    }

    macro_rules! tests {
        ($($case:ident)*) => {
            $(
                #[tokio::test]
                async fn $case() {
                    cases::$case(&Rig::new().await).await;
                }
            )*
        };
    }
    terrarium_core::instances_cases!(tests);
}
