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
            host.lxd().answer_exec(|command| {
                let ended = cases::answer(command)?;
                Ok(lxd_client::ExecOutput {
                    exit_code: ended.exit_code,
                    stdout: ended.stdout.into(),
                    stderr: ended.stderr.into(),
                })
            });
            let slow = std::time::Duration::from_secs(20);
            host.lxd().set_delay("POST", "stubborn/exec", slow);
            Self {
                client: host.client(),
                _host: host,
            }
        }
    }

    impl InstancesRig for Rig {
        type Instances = lxd_client::Client;

        fn instances(&self) -> &lxd_client::Client {
            &self.client
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

/// What the host in memory does beside what the suites ask for: LXD's ways with its pool, and what a test can see.
mod host {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use terrarium_core::fake::FakeHost;
    use terrarium_core::property::LXD_IDMAP;
    use terrarium_core::{InstanceRef, Instances, Stop, Zfs};
    use terrarium_zfs::{DatasetName, Properties};

    const STOP: Stop = Stop::Graceful(Duration::from_secs(5));

    fn web() -> InstanceRef {
        "web".parse().expect("a legal name")
    }

    fn dataset(name: &str) -> DatasetName {
        DatasetName::new(name).expect("a legal name")
    }

    #[tokio::test]
    async fn an_instance_is_a_clone_of_its_image_where_lxd_would_put_it() {
        let host = FakeHost::start_on("tank/lxd").await;
        host.add_project("tenant");
        host.instance("tenant/web").file("a", "1").create().await;
        let listing = host.zfs().list(&dataset("tank")).unwrap();
        let mut datasets = listing.datasets.iter();
        let made = datasets.find(|found| found.name == host.dataset("tenant/web"));
        let made = made.expect("it is listed");
        assert_eq!(made.name.as_str(), "tank/lxd/containers/tenant_web");
        assert_eq!(made.local["canmount"], "noauto");
        assert_eq!(made.local["mountpoint"], "legacy");
        let origin = made.origin.as_ref().expect("it is a clone");
        assert_eq!(origin.name(), "readonly");
        assert!(origin.dataset_str().starts_with("tank/lxd/images/"));
        assert_eq!(host.content("tenant/web")["a"], "1");
    }

    #[tokio::test]
    async fn a_guest_writes_to_what_was_mounted_at_its_start_wherever_it_is_by_now() {
        let host = FakeHost::start().await;
        host.instance("web").running(true).create().await;
        host.zfs().create_all("tank/aside");
        let aside = dataset("tank/aside/web");
        host.zfs().rename(&host.dataset("web"), &aside).unwrap();
        host.write("web", "a", "1");
        assert_eq!(
            host.zfs().read(&aside, "rootfs/a").as_deref(),
            Some(&b"1"[..])
        );
        assert!(host.zfs().mounted_at(&aside).unwrap().is_some());

        host.client().stop(&web(), STOP).await.unwrap();
        assert_eq!(host.zfs().mounted_at(&aside).unwrap(), None);
    }

    #[tokio::test]
    async fn a_start_with_the_wrong_id_map_is_seen() {
        let host = FakeHost::start().await;
        host.instance("web").running(true).create().await;
        let client = host.client();
        client.stop(&web(), STOP).await.unwrap();
        let right = client.get(&web()).await.unwrap().unwrap().definition.config[LXD_IDMAP].clone();
        for (told, ids_right) in [(right.as_str(), true), ("[]", false)] {
            let change = BTreeMap::from([(LXD_IDMAP.to_owned(), Some(told.to_owned()))]);
            client.set_config(&web(), &change).await.unwrap();
            client.start(&web()).await.unwrap();
            client.stop(&web(), STOP).await.unwrap();
            let starts = host.starts();
            let last = starts.last().expect("it was started");
            assert_eq!(
                (last.idmap.as_str(), last.ids_right),
                (right.as_str(), ids_right)
            );
        }
    }

    #[tokio::test]
    async fn lxd_moves_a_deleted_instance_out_of_the_way_if_its_snapshots_have_clones() {
        let host = FakeHost::start().await;
        host.instance("web").create().await;
        let point = host.snapshot("web", "mine");
        let clone = dataset("tank/clone");
        host.zfs()
            .clone_snapshot(&clone, &point, &Properties::new())
            .unwrap();
        host.client().delete(&web()).await.unwrap();

        assert_eq!(host.zfs().guid(host.dataset("web").as_str()).unwrap(), None);
        let listing = host.zfs().list(&clone).unwrap();
        let origin = listing.datasets[0].origin.clone().expect("it is a clone");
        assert!(
            origin.as_str().starts_with("tank/deleted/containers/"),
            "{origin}"
        );
    }

    #[tokio::test]
    async fn lxd_renames_a_deleted_snapshot_that_has_clones() {
        let host = FakeHost::start().await;
        host.instance("web").create().await;
        host.lxd_snapshot("web", "x").await;
        let point = host.dataset("web").snapshot("snapshot-x").unwrap();
        let clone = dataset("tank/clone");
        host.zfs()
            .clone_snapshot(&clone, &point, &Properties::new())
            .unwrap();
        Instances::delete_snapshot(&host.client(), &web(), "x")
            .await
            .unwrap();
        let listing = host.zfs().list(&clone).unwrap();
        let origin = listing.datasets[0].origin.clone().expect("it is a clone");
        assert!(origin.name().starts_with("deleted-"), "{origin}");
    }

    #[tokio::test]
    async fn lxd_takes_no_snapshot_of_a_name_that_the_pool_has_already() {
        let host = FakeHost::start().await;
        host.instance("web").create().await;
        host.snapshot("web", "snapshot-x");
        let taken = Instances::create_snapshot(&host.client(), &web(), "x", None).await;
        assert!(taken.is_err());
        let found = host
            .client()
            .get(&web())
            .await
            .unwrap()
            .expect("it is there");
        assert_eq!(found.snapshots, []);
    }

    #[tokio::test]
    async fn lxd_describes_an_instance_beside_its_files() {
        let host = FakeHost::start().await;
        host.instance("web").running(true).create().await;
        let point = host.snapshot("web", "now");
        let file = host
            .zfs()
            .read_file(&point, "backup.yaml", 1 << 20)
            .unwrap();
        let file = String::from_utf8(file.expect("LXD has written it")).unwrap();
        let found = host
            .client()
            .get(&web())
            .await
            .unwrap()
            .expect("it is there");
        let map = &found.definition.config[LXD_IDMAP];
        let quoted = serde_json::to_string(map).unwrap();
        assert!(file.contains(&quoted), "{file}");
    }

    #[tokio::test]
    async fn what_lxd_does_to_its_pool_is_no_call_of_ours() {
        let host = FakeHost::start().await;
        host.instance("web").create().await;
        host.lxd_snapshot("web", "x").await;
        host.client().delete(&web()).await.unwrap();
        assert_eq!(host.zfs().calls(), [""; 0]);
    }
}

/// What a test makes go wrong with the ZFS in memory.
mod trouble {
    use terrarium_core::Zfs;
    use terrarium_core::fake::FakeZfs;
    use terrarium_zfs::{
        Attempt, DatasetName, Error, ErrorKind, PoolState, Properties, UserProperties,
    };

    fn dataset(name: &str) -> DatasetName {
        DatasetName::new(name).expect("a legal name")
    }

    fn create(zfs: &FakeZfs, name: &str) -> Option<ErrorKind> {
        let done = zfs.create(&dataset(name), &Properties::new());
        done.err().map(|error| error.kind())
    }

    #[test]
    fn a_call_that_is_to_fail_fails_once_and_does_nothing() {
        let zfs = FakeZfs::with_pool("tank");
        let error = Error::Busy(Attempt::new("create", "tank/a"));
        zfs.fail_next("create", error);
        assert_eq!(zfs.guid("tank/a"), Ok(None));
        assert_eq!(create(&zfs, "tank/a"), Some(ErrorKind::Busy));
        assert_eq!(zfs.guid("tank/a"), Ok(None));
        assert_eq!(create(&zfs, "tank/a"), None);
        let calls = [
            "guid tank/a",
            "create tank/a",
            "guid tank/a",
            "create tank/a",
        ];
        assert_eq!(zfs.calls(), calls);
    }

    #[test]
    fn a_full_pool_takes_nothing_new_but_can_be_put_in_order() {
        let zfs = FakeZfs::with_pool("tank");
        assert_eq!(create(&zfs, "tank/a"), None);
        zfs.set_full("tank", true);
        assert_eq!(create(&zfs, "tank/b"), Some(ErrorKind::NoSpace));
        let point = dataset("tank/a").snapshot("s").unwrap();
        let taken = zfs.snapshot(&[(point, UserProperties::new())]);
        assert_eq!(taken.map_err(|error| error.kind()), Err(ErrorKind::NoSpace));
        assert_eq!(zfs.pool_health("tank").unwrap().free, 0);
        zfs.rename(&dataset("tank/a"), &dataset("tank/b")).unwrap();
        zfs.destroy(&dataset("tank/b")).unwrap();
    }

    #[test]
    fn a_suspended_pool_answers_nothing_but_its_health() {
        let zfs = FakeZfs::with_pool("tank");
        zfs.add_pool("other");
        zfs.set_pool_state("tank", PoolState::Suspended);
        assert_eq!(create(&zfs, "tank/a"), Some(ErrorKind::Suspended));
        let listed = zfs.list(&dataset("tank"));
        assert_eq!(
            listed.map_err(|error| error.kind()),
            Err(ErrorKind::Suspended)
        );
        assert_eq!(zfs.pool_health("tank").unwrap().state, PoolState::Suspended);
        assert_eq!(create(&zfs, "other/a"), None);
    }

    #[test]
    fn a_pool_that_is_read_only_can_be_read() {
        let zfs = FakeZfs::with_pool("tank");
        zfs.set_readonly("tank", true);
        assert_eq!(create(&zfs, "tank/a"), Some(ErrorKind::ReadOnly));
        assert!(zfs.list(&dataset("tank")).is_ok());
        assert!(zfs.pool_health("tank").unwrap().readonly);
    }
}
