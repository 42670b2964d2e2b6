//! A second storage pool of LXD. Alone, and the last: LXD may keep its record when the pool is gone, and whoever lists
//! is told so from then on.

use std::path::{Path, PathBuf};

use testbed::{lxc, run, unique_name};

use crate::archive::{Archive, exported};
use crate::time_machine::snapshots;

/// Another storage pool of LXD, on a pool of its own.
struct SecondPool {
    name: String,
    file: PathBuf,
}

impl SecondPool {
    fn create() -> Self {
        let name = unique_name("second");
        let file = Path::new("/var/tmp").join(format!("{name}.img"));
        let opened = std::fs::File::create(&file).expect("a file");
        opened.set_len(512 << 20).expect("room");
        run("zpool")
            .args(["create", "-O", "mountpoint=none", &name])
            .arg(&file)
            .finish()
            .succeeds();
        lxc(["storage", "create", &name, "zfs", &format!("source={name}")]);
        Self { name, file }
    }
}

impl Drop for SecondPool {
    fn drop(&mut self) {
        // LXD deletes no storage pool that holds more than it began with: what we moved aside, and what LXD itself
        // keeps of a deleted instance, because that was its origin.
        for left in ["terrarium", "deleted/containers"] {
            let left = format!("{}/{left}", self.name);
            let _ = run("zfs").args(["destroy", "-R", &left]).finish();
        }
        let containers = format!("{}/deleted/containers", self.name);
        let _ = run("zfs").args(["create", &containers]).finish();
        let deleted = run("lxc").args(["storage", "delete", &self.name]).finish();
        let left = run("zfs").args(["list", "-r", &self.name]).finish();
        let _ = run("zpool").args(["destroy", "-f", &self.name]).finish();
        let _ = std::fs::remove_file(&self.file);
        let fine = deleted.code() == Some(0) || std::thread::panicking();
        assert!(fine, "LXD keeps the storage pool: {deleted}\n{left}");
    }
}

#[test]
fn an_instance_that_is_gone_comes_from_s3_to_a_second_empty_pool() {
    let archive = Archive::in_s3();
    let second = SecondPool::create();
    let (web, one, two) = exported("moved", &archive);
    let noise = web.sh("md5sum /root/noise").finish().succeeds().stdout;

    // What is here stays where it is.
    let refused = archive.restore(web.name(), &["--at", &one, "--pool", &second.name]);
    let refused = refused.fails_with(3);
    assert!(refused.stderr.contains("is here, in default"), "{refused}");

    lxc(["delete", "--force", web.name()]);
    let unknown = archive.restore(web.name(), &["--pool", "nowhere"]);
    let unknown = unknown.fails_with(3);
    assert!(unknown.stderr.contains(&second.name), "{unknown}");

    archive
        .restore(web.name(), &["--pool", &second.name, "--start"])
        .succeeds();
    let read = || web.sh("cat /root/f").finish().succeeds().stdout;
    assert_eq!(
        (web.state().as_str(), read().as_str()),
        ("RUNNING", "two\n")
    );
    assert_eq!(
        web.sh("md5sum /root/noise").finish().succeeds().stdout,
        noise
    );
    let dataset = format!("{}/containers/{}", second.name, web.name());
    assert_eq!(snapshots(&dataset), [one.as_str(), two.as_str()]);

    // And it is restored there, as anywhere.
    web.sh("echo three > /root/f").finish().succeeds();
    archive
        .restore(web.name(), &["--at", &one, "--start"])
        .succeeds();
    assert_eq!(read(), "one\n");
    lxc(["delete", "--force", web.name()]);
}
