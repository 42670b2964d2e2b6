//! Pools without room, and pools whose devices are gone.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use terrarium_zfs::{DatasetName, ErrorKind, PoolState, UserProperties, ZfsCore};
use testbed::{Instance, Mount, lxc, run, terrariumctl, unique_name, wait_until, zfs, zpool};

/// A pool that LXD uses as storage, on a device that can be made to fail.
struct Storage {
    name: String,
    file: PathBuf,
    loop_device: String,
}

const SECTORS: u64 = (160 << 20) / 512;

impl Storage {
    fn create(stem: &str) -> Self {
        testbed::assert_in_guest();
        let name = unique_name(stem);
        let file = PathBuf::from(format!("/var/tmp/{name}.img"));
        let made = fs::File::create(&file).and_then(|file| file.set_len(SECTORS * 512));
        made.expect("a sparse file");
        let loop_device = run("losetup")
            .args(["--find", "--show"])
            .arg(&file)
            .finish();
        let loop_device = loop_device.succeeds().stdout.trim().to_owned();
        let storage = Self {
            name,
            file,
            loop_device,
        };
        let table = storage.working();
        let create = ["create", "--noudevsync", &storage.name, "--table", &table];
        run("dmsetup").args(create).finish().succeeds();
        // No udev runs in the guest to do it.
        run("dmsetup")
            .args(["mknodes", &storage.name])
            .finish()
            .succeeds();
        let device = format!("/dev/mapper/{}", storage.name);
        zpool(["create", "-O", "mountpoint=none", &storage.name, &device]);
        let source = format!("source={}", storage.name);
        lxc(["storage", "create", &storage.name, "zfs", &source]);
        storage
    }

    fn working(&self) -> String {
        format!("0 {SECTORS} linear {} 0", self.loop_device)
    }

    /// Gives the device another table: what does not come from it any more fails.
    fn load(&self, table: &str) {
        let load = ["load", "--noudevsync", &self.name, "--table", table];
        run("dmsetup").args(load).finish().succeeds();
        let suspend = [
            "suspend",
            "--noflush",
            "--nolockfs",
            "--noudevsync",
            &self.name,
        ];
        run("dmsetup").args(suspend).finish().succeeds();
        let resume = ["resume", "--noudevsync", &self.name];
        run("dmsetup").args(resume).finish().succeeds();
    }

    fn instance(&self, stem: &str) -> Instance {
        let instance = Instance::adopt(unique_name(stem));
        lxc(["init", "busybox", instance.name(), "--storage", &self.name]);
        instance
    }

    fn dataset(&self, instance: &Instance) -> String {
        format!("{}/containers/{}", self.name, instance.name())
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.load(&self.working());
        let _ = run("zpool").args(["clear", &self.name]).finish();
        // What LXD keeps of the image.
        let volumes = run("lxc").args([
            "storage", "volume", "list", "-f", "csv", "-c", "tn", &self.name,
        ]);
        for line in volumes.finish().stdout.lines() {
            if let Some(image) = line.strip_prefix("image,") {
                let _ = run("lxc")
                    .args(["storage", "volume", "delete", &self.name])
                    .arg(format!("image/{image}"))
                    .finish();
            }
        }
        let _ = run("lxc").args(["storage", "delete", &self.name]).finish();
        let _ = run("zpool").args(["destroy", "-f", &self.name]).finish();
        let _ = run("dmsetup")
            .args(["remove", "--noudevsync", &self.name])
            .finish();
        let _ = run("losetup")
            .args(["--detach", &self.loop_device])
            .finish();
        let _ = fs::remove_file(&self.file);
    }
}

fn restore(instance: &Instance) -> testbed::Finished {
    terrariumctl([
        "backup",
        "restore",
        "--yes",
        "--instance",
        instance.name(),
        "--at",
        "point",
    ])
}

#[test]
fn a_full_pool_is_refused_and_nothing_is_changed() {
    let storage = Storage::create("full");
    let web = storage.instance("crammed");
    let dataset = storage.dataset(&web);
    zfs(["snapshot", &format!("{dataset}@point")]);
    {
        let mount = Mount::of(&dataset);
        let mut filler = fs::File::create(mount.path().join("rootfs/filler")).expect("a file");
        // What does not compress: every block another number.
        let block = |n: u64| -> Vec<u8> {
            let mut state = n + 1;
            let numbers = std::iter::repeat_with(|| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            });
            numbers.take(1 << 20).collect()
        };
        let full = (0..).find_map(|n| {
            let written = filler.write_all(&block(n)).and_then(|()| filler.sync_all());
            written.err()
        });
        assert_eq!(
            full.map(|error| error.kind()),
            Some(std::io::ErrorKind::StorageFull)
        );
    }
    let before = zfs(["list", "-Hr", "-t", "all", "-o", "name,guid", &storage.name]);

    let refused = restore(&web).fails_with(4);
    assert!(refused.stderr.contains("is full"), "{refused}");
    let copy = unique_name("copy");
    let arguments = [
        "backup",
        "restore",
        "--instance",
        web.name(),
        "--at",
        "point",
        "--as-new",
        &copy,
    ];
    let refused = terrariumctl(arguments).fails_with(4);
    assert!(refused.stderr.contains("is full"), "{refused}");
    let after = zfs(["list", "-Hr", "-t", "all", "-o", "name,guid", &storage.name]);
    assert_eq!(after, before);
}

#[test]
fn a_suspended_pool_is_told_of_and_does_not_hide_the_others() {
    let storage = Storage::create("suspended");
    let web = storage.instance("stranded");
    let dataset = storage.dataset(&web);
    zfs(["snapshot", &format!("{dataset}@point")]);
    let sound = Instance::create("sound", testbed::Image::Busybox);

    storage.load(&format!("0 {SECTORS} error"));
    // It is stuck until the device is back, so it is not waited for.
    let script = format!("zfs set t:a=b '{dataset}' > /dev/null 2>&1 &");
    run("sh").args(["-c", &script]).finish().succeeds();
    let zfs_core = ZfsCore::open().expect("the guest has ZFS");
    let state = || {
        zfs_core
            .pool_health(&storage.name)
            .expect("it is imported")
            .state
    };
    wait_until("the pool is suspended", Duration::from_secs(60), || {
        state() == PoolState::Suspended
    });
    let name = DatasetName::new(&dataset).expect("legal");
    let (kinds, snapshot) = (
        |error: terrarium_zfs::Error| error.kind(),
        name.snapshot("s"),
    );
    let snapshot = zfs_core.snapshot(&[snapshot.expect("legal")], &UserProperties::new());
    for refused in [
        zfs_core.list(&name, &[]).err().map(kinds),
        zfs_core.guid(&dataset).err().map(kinds),
        snapshot.err().map(|error| error.kind()),
    ] {
        assert_eq!(refused, Some(ErrorKind::Suspended));
    }

    let list = terrariumctl(["backup", "list"]);
    let refused = restore(&web);

    storage.load(&storage.working());
    zpool(["clear", &storage.name]);
    wait_until("the pool is back", Duration::from_secs(60), || {
        state() == PoolState::Online
    });
    // What can be read is shown; the exit code tells that it is not all.
    let list = list.fails_with(4);
    assert!(list.stdout.contains(sound.name()), "{list}");
    assert!(
        list.stdout.contains("suspended") || list.stderr.contains("suspended"),
        "{list}"
    );
    let refused = refused.fails_with(3);
    assert!(refused.stderr.contains("suspended"), "{refused}");
    restore(&web).succeeds();
}
