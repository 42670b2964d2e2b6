//! terrarium-zfs: the state of pools, and single files of datasets.

use std::os::unix::fs::symlink;

use terrarium_zfs::{DatasetName, ErrorKind, PoolState, Properties};
use testbed::{Pool, run, zfs, zpool};

use crate::zfs_support::*;

#[test]
fn a_pools_state_is_told() {
    let (core, pool) = (core(), Pool::create());
    let health = core.pool_health(pool.name()).expect("examined");
    assert_eq!(health.state, PoolState::Online);
    assert!(!health.readonly);
    assert_eq!(health.free.to_string(), get(pool.name(), "available"));
    assert_eq!(kind(core.pool_health("absent pool")), ErrorKind::NotFound);
    assert_eq!(kind(core.pool_health("../zfs")), ErrorKind::NotFound);
    assert_eq!(
        kind(core.pool_health(&pool.dataset("x"))),
        ErrorKind::NotFound
    );

    zpool(["export", pool.name()]);
    zpool([
        "import",
        "-d",
        "/var/tmp",
        "-N",
        "-o",
        "readonly=on",
        pool.name(),
    ]);
    assert!(core.pool_health(pool.name()).expect("examined").readonly);
}

#[test]
fn a_pool_without_one_of_its_mirrors_is_degraded() {
    let core = core();
    let files = ["a", "b"].map(|side| format!("/var/tmp/mirror-{}-{side}.img", std::process::id()));
    for file in &files {
        run("truncate")
            .args(["-s", "64M", file])
            .finish()
            .succeeds();
    }
    let name = format!("in two files {}", std::process::id());
    zpool([
        "create",
        "-O",
        "mountpoint=none",
        &name,
        "mirror",
        &files[0],
        &files[1],
    ]);
    zpool(["offline", &name, &files[1]]);
    let state = core.pool_health(&name).map(|health| health.state);
    zpool(["destroy", &name]);
    for file in files {
        std::fs::remove_file(file).expect("removed");
    }
    assert_eq!(state, Ok(PoolState::Degraded));
}

#[test]
fn files_are_read_from_mounted_and_unmounted_datasets_and_from_snapshots() {
    let (core, pool) = (core(), Pool::create());
    let dataset = made(&pool, "a b");
    let place = format!("/mnt/{}", pool.name());
    zfs(["set", &format!("mountpoint={place}"), dataset.as_str()]);
    std::fs::create_dir(format!("{place}/dir")).expect("made");
    std::fs::write(format!("{place}/dir/file"), "old").expect("written");
    let snapshot = taken(&dataset, "s 1");
    std::fs::write(format!("{place}/dir/file"), "new").expect("written");
    std::fs::write(format!("{place}/empty"), "").expect("written");
    symlink("dir/file", format!("{place}/link")).expect("linked");
    symlink("/etc/passwd", format!("{place}/escape")).expect("linked");
    symlink("dir", format!("{place}/dirlink")).expect("linked");
    run("mkfifo")
        .arg(format!("{place}/fifo"))
        .finish()
        .succeeds();
    // A child mounted below is another file system.
    let child = made(&pool, "a b/child");
    std::fs::write(format!("{place}/child/secret"), "x").expect("written");

    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("read");
    for mounted in [true, false] {
        if !mounted {
            zfs(["unmount", child.as_str()]);
            zfs(["unmount", dataset.as_str()]);
        }
        let before = mounts();
        let read = |path: &str| core.read_file(&dataset, path, 10);
        assert_eq!(read("dir/file"), Ok(Some(b"new".to_vec())));
        assert_eq!(read("empty"), Ok(Some(Vec::new())));
        assert_eq!(read("absent"), Ok(None));
        assert_eq!(read("dir/file/below"), Ok(None));
        assert_eq!(
            core.read_file(&dataset, "dir/file", 3),
            Ok(Some(b"new".to_vec()))
        );
        assert_eq!(
            kind(core.read_file(&dataset, "dir/file", 2)),
            ErrorKind::TooLarge
        );
        for path in [
            "link",
            "escape",
            "dirlink/file",
            "fifo",
            "dir",
            "../x",
            "/etc/passwd",
            ".",
        ] {
            assert_eq!(kind(read(path)), ErrorKind::InvalidArgument, "{path}");
        }
        assert_eq!(read(""), Ok(None));
        assert!(
            !matches!(read("child/secret"), Ok(Some(_))),
            "another dataset's file"
        );
        assert!(
            !matches!(read(".zfs/snapshot/s 1/dir/file"), Ok(Some(_))),
            "another mount"
        );
        assert_eq!(
            core.read_snapshot_file(&snapshot, "dir/file", 10),
            Ok(Some(b"old".to_vec()))
        );
        assert_eq!(core.read_snapshot_file(&snapshot, "empty", 10), Ok(None));
        assert_eq!(mounts(), before, "nothing stays mounted");
    }
    zfs(["destroy", "-r", dataset.as_str()]);
    assert_eq!(kind(core.read_file(&dataset, "x", 1)), ErrorKind::NotFound);
    assert_eq!(
        kind(core.read_snapshot_file(&snapshot, "x", 1)),
        ErrorKind::NotFound
    );
    let nowhere = DatasetName::new("absent pool").expect("legal");
    assert_eq!(kind(core.read_file(&nowhere, "x", 1)), ErrorKind::NotFound);
}

/// Alone: a program that another test starts has, until it runs, what this process has open, the mount too.
mod alone {
    use super::*;

    #[test]
    fn a_dataset_is_free_as_soon_as_its_file_is_read() {
        let (core, pool) = (core(), Pool::create());
        let dataset = named(&pool, "a");
        for _ in 0..10 {
            core.create(&dataset, &Properties::new()).expect("created");
            assert_eq!(core.read_file(&dataset, "x", 1), Ok(None));
            core.destroy(&dataset).expect("not busy any more");
        }
    }
}

#[test]
fn a_file_of_a_volume_cannot_be_read() {
    let (core, pool) = (core(), Pool::create());
    let volume = named(&pool, "v");
    zfs(["create", "-V", "1M", volume.as_str()]);
    assert!(core.read_file(&volume, "x", 1).is_err());
}
