//! The kernel's ZFS and the real LXD do what terrarium-core's conformance suites say, as its fakes do.

mod zfs {
    use std::any::Any;

    use terrarium_core::Zfs;
    use terrarium_core::conformance::zfs::{self as cases, Sending, ZfsRig};
    use terrarium_zfs::{BookmarkName, DatasetName, SendFlags, SnapshotName, ZfsCore};
    use testbed::{Mount, Pool};

    /// All cases share a pool; each has a dataset of its own in it.
    struct Rig<'a> {
        zfs: ZfsCore,
        root: DatasetName,
        pool: &'a Pool,
    }

    #[test]
    fn the_kernel_does_what_the_fake_does() {
        let pool = Pool::create();
        let rig = |case: &str| {
            println!("{case}");
            let root = pool.create_dataset(&case.replace('_', " "));
            Rig {
                zfs: ZfsCore::open().expect("the guest has ZFS"),
                root: DatasetName::new(&root).expect("a legal name"),
                pool: &pool,
            }
        };
        macro_rules! each {
            ($($case:ident)*) => {
                $(cases::$case(&rig(stringify!($case)));)*
            };
        }
        terrarium_core::zfs_cases!(each);
    }

    impl ZfsRig for Rig<'_> {
        fn zfs(&self) -> &dyn Zfs {
            &self.zfs
        }

        fn root(&self) -> &DatasetName {
            &self.root
        }

        fn write(&self, dataset: &DatasetName, file: &str, bytes: &[u8]) {
            let mount = Mount::of(dataset.as_str());
            std::fs::write(mount.path().join(file), bytes).expect("the file is written");
            drop(mount);
            self.pool.sync();
        }

        fn read(&self, dataset: &DatasetName, file: &str) -> Option<Vec<u8>> {
            std::fs::read(Mount::of(dataset.as_str()).path().join(file)).ok()
        }

        fn hold(&self, snapshot: &SnapshotName) {
            let hold = (snapshot.clone(), "case".to_owned());
            self.zfs.hold(&[hold]).expect("held");
        }

        fn release(&self, snapshot: &SnapshotName) {
            let hold = (snapshot.clone(), "case".to_owned());
            self.zfs.release(&[hold]).expect("released");
        }

        fn bookmark(&self, bookmark: &BookmarkName, snapshot: &SnapshotName) {
            let pair = (bookmark.clone(), snapshot.clone());
            self.zfs.bookmark(&[pair]).expect("bookmarked");
        }

        fn send(&self, snapshot: &SnapshotName) -> Box<dyn Any> {
            let (zfs, snapshot) = (self.zfs, snapshot.clone());
            Box::new(Sending::begin(move |input| {
                // It is cut short by the reader.
                _ = zfs.send(&snapshot, None, SendFlags::default(), &input);
            }))
        }

        fn mount(&self, dataset: &DatasetName) -> Box<dyn Any> {
            Box::new(Mount::of(dataset.as_str()))
        }
    }
}

mod instances {
    use std::time::Duration;

    use lxd_client::Client;
    use terrarium_core::conformance::instances::{self as cases, InstancesRig};
    use terrarium_core::{Definition, InstanceRef, Instances, InstancesError, Stop};
    use testbed::{Image, Instance, run, unique_name};

    /// All cases share the instances: to make them takes longer than to use them.
    struct Rig {
        client: Client,
        guest: Instance,
        as_made: Definition,
        stubborn: Instance,
        free: String,
    }

    impl Rig {
        async fn new() -> Self {
            testbed::assert_in_guest();
            let client = Client::connect().await.expect("LXD answers");
            let guest = Instance::create("heeds", Image::Busybox);
            let made = client.get(&id(guest.name())).await.expect("LXD answers");
            Self {
                as_made: made.expect("it was made").definition,
                client,
                guest,
                stubborn: Instance::create("ignores", Image::Stubborn),
                free: unique_name("free"),
            }
        }

        /// Takes back what a case did.
        async fn reset(&self) -> Result<(), InstancesError> {
            let (guest, free) = (self.guest(), self.free());
            self.client.delete(&free).await?;
            let force = Stop::ThenForce(Duration::from_secs(5));
            self.client.stop(&guest, force).await?;
            self.client.set_definition(&guest, &self.as_made).await?;
            let found = self.client.get(&guest).await?;
            for snapshot in found.into_iter().flat_map(|found| found.snapshots) {
                Instances::delete_snapshot(&self.client, &guest, &snapshot.name).await?;
            }
            Ok(())
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            // There is one only if a case failed.
            _ = run("lxc").args(["delete", "--force", &self.free]).finish();
        }
    }

    #[test]
    fn the_real_lxd_does_what_the_fake_does() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let rig = Rig::new().await;
            macro_rules! each {
                ($($case:ident)*) => {
                    $(
                        println!(stringify!($case));
                        cases::$case(&rig).await;
                        rig.reset().await.expect("what the case did is taken back");
                    )*
                };
            }
            terrarium_core::instances_cases!(each);
        });
    }

    fn id(name: &str) -> InstanceRef {
        name.parse().expect("a legal name")
    }

    impl InstancesRig for Rig {
        type Instances = Client;

        fn instances(&self) -> &Client {
            &self.client
        }

        fn guest(&self) -> InstanceRef {
            id(self.guest.name())
        }

        fn stubborn(&self) -> InstanceRef {
            id(self.stubborn.name())
        }

        fn free(&self) -> InstanceRef {
            id(&self.free)
        }
    }
}
