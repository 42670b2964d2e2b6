//! Disaster recovery: what was exported comes back, in place, as new, and after everything else is lost.

use std::path::Path;
use std::time::Duration;

use testbed::{
    Finished, Image, Instance, Mount, Pool, Running, faulty_terrariumctl, lxc, run, terrariumctl,
    unique_name, wait_until, zfs,
};

use crate::time_machine::{property, restore, snapshot, snapshots, undo};

/// An archive, and a folder with the identity that reads it.
pub(crate) struct Archive {
    folder: tempfile::TempDir,
    /// Where it is, as options.
    place: Vec<String>,
}

impl Archive {
    /// One in a folder of the guest.
    pub(crate) fn in_a_folder() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = folder.path().join("objects");
        std::fs::create_dir(&objects).expect("a folder");
        let place = [
            "--archive".to_owned(),
            format!("file://{}", objects.display()),
        ];
        Self::init(folder, place.into())
    }

    /// One in a bucket of a real S3 server, which runs on the host.
    pub(crate) fn in_s3() -> Self {
        let endpoint = std::env::var("TERRARIUM_E2E_S3_ENDPOINT").expect("`make e2e` sets it");
        let bucket = format!("s3://e2e/{}", unique_name("archive"));
        let place = [
            "--archive",
            &bucket,
            "--s3-endpoint",
            &endpoint,
            "--s3-region",
            "us-east-1",
        ];
        let folder = tempfile::tempdir().expect("a folder");
        Self::init(folder, place.map(str::to_owned).into())
    }

    fn init(folder: tempfile::TempDir, place: Vec<String>) -> Self {
        let archive = Self { folder, place };
        let identity = terrariumctl(["archive", "keygen"]).succeeds().stdout;
        let recipient = identity
            .lines()
            .find_map(|line| line.strip_prefix("# public key: "))
            .expect("its recipient");
        archive
            .command(&["archive", "init", "--recipient", recipient])
            .succeeds();
        std::fs::write(archive.path("identity.txt"), &identity).expect("written");
        archive
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Finished {
        let place = self.place.iter().map(String::as_str);
        terrariumctl(arguments.iter().copied().chain(place))
    }

    fn export(&self, instance: &Instance) -> Finished {
        self.command(&["backup", "export", "--instance", instance.name()])
    }

    pub(crate) fn drill(&self, instance: &Instance, more: &[&str]) -> Finished {
        terrariumctl(self.drilling(instance, more))
    }

    /// A drill that goes on beside the test.
    pub(crate) fn begin_drill(&self, instance: &Instance, more: &[&str]) -> Running {
        // No fault is asked for: it is the one that can be begun.
        faulty_terrariumctl(self.drilling(instance, more)).spawn()
    }

    fn drilling(&self, instance: &Instance, more: &[&str]) -> Vec<String> {
        let identity = self.path("identity.txt");
        let command = ["backup", "drill", "--identity", &identity, "--instance"];
        let command = command.into_iter().chain([instance.name()]);
        let command = command.chain(more.iter().copied()).map(str::to_owned);
        command.chain(self.place.iter().cloned()).collect()
    }

    pub(crate) fn restore(&self, instance: &str, more: &[&str]) -> Finished {
        let identity = self.path("identity.txt");
        let command = [
            "backup",
            "restore",
            "--source",
            "archive",
            "--yes",
            "--identity",
            &identity,
            "--instance",
            instance,
        ];
        self.command(&[&command[..], more].concat())
    }
}

/// A running container with two points in an archive: a full one, and an increment to it.
pub(crate) fn exported(stem: &str, archive: &Archive) -> (Instance, String, String) {
    let web = Instance::create(stem, Image::Busybox);
    web.set_config("user.note", "kept");
    web.start();
    web.sh("echo one > /root/f && chown 5:7 /root/f && head -c 3000000 /dev/urandom > /root/noise")
        .finish()
        .succeeds();
    let one = snapshot(&web, &[]);
    archive.export(&web).succeeds();
    web.sh("echo two > /root/f").finish().succeeds();
    let two = snapshot(&web, &[]);
    archive.export(&web).succeeds();
    (web, one, two)
}

#[test]
fn an_instance_that_is_gone_with_its_dataset_is_made_anew_from_s3_and_runs() {
    let archive = Archive::in_s3();
    let (web, one, two) = exported("lost", &archive);
    let noise = web.sh("md5sum /root/noise").finish().succeeds().stdout;
    let (address, dataset) = (web.config("volatile.eth0.hwaddr"), web.dataset());
    lxc(["delete", "--force", web.name()]);
    assert_eq!(run("zfs").args(["list", &dataset]).finish().code(), Some(1));

    archive.restore(web.name(), &["--start"]).succeeds();
    assert_eq!(web.state(), "RUNNING");
    assert_eq!(web.read_file("/root/f"), "two\n");
    assert_eq!(
        web.sh("stat -c %u:%g /root/f").finish().succeeds().stdout,
        "5:7\n"
    );
    assert_eq!(
        web.sh("md5sum /root/noise").finish().succeeds().stdout,
        noise
    );
    assert_eq!(web.config("user.note"), "kept");
    assert_eq!(
        web.config("volatile.eth0.hwaddr"),
        address,
        "it is the same on its network"
    );
    assert_eq!(web.config("user.terrarium.operation"), "");
    assert_eq!(
        snapshots(&dataset),
        [one.as_str(), two.as_str()],
        "with its history"
    );

    // The next export goes on where the archive ends.
    web.sh("echo three > /root/f").finish().succeeds();
    snapshot(&web, &[]);
    let done = archive.export(&web).succeeds();
    assert!(!done.stdout.contains("full"), "{done}");

    // A point that is here already is not read again: an older one, in place, and back.
    archive
        .restore(web.name(), &["--at", &one, "--start"])
        .succeeds();
    assert_eq!(web.read_file("/root/f"), "one\n");
    undo(&web, &["--start"]).succeeds();
    assert_eq!(web.read_file("/root/f"), "three\n");
}

#[test]
fn what_is_missing_here_comes_from_s3_in_place_and_as_new() {
    let archive = Archive::in_s3();
    let (web, one, two) = exported("partly", &archive);
    web.sh("echo later > /root/f").finish().succeeds();
    let later = snapshot(&web, &[]);
    zfs(["destroy", &format!("{}@{two}", web.dataset())]);

    let copy = Instance::adopt(unique_name("copy"));
    archive
        .restore(
            web.name(),
            &["--at", &two, "--as-new", copy.name(), "--start"],
        )
        .succeeds();
    assert_eq!(copy.read_file("/root/f"), "two\n");
    assert_ne!(
        copy.config("volatile.eth0.hwaddr"),
        web.config("volatile.eth0.hwaddr")
    );
    assert_eq!(
        (web.state().as_str(), web.read_file("/root/f").as_str()),
        ("RUNNING", "later\n")
    );

    archive
        .restore(web.name(), &["--at", &two, "--start"])
        .succeeds();
    assert_eq!(
        (web.state().as_str(), web.read_file("/root/f").as_str()),
        ("RUNNING", "two\n")
    );
    undo(&web, &["--start"]).succeeds();
    assert_eq!(web.read_file("/root/f"), "later\n");
    let here = snapshots(&web.dataset());
    assert!(here.contains(&one) && here.contains(&later), "{here:?}");
}

#[test]
fn a_damaged_archive_changes_nothing_and_the_instance_runs_on() {
    let archive = Archive::in_a_folder();
    let (web, _, two) = exported("damaged", &archive);
    let dataset = web.dataset();
    zfs(["destroy", &format!("{dataset}@{two}")]);
    let largest = run("sh")
        .args([
            "-c",
            "find \"$1\" -name '*.age' -printf '%T@ %p\\n' | sort -n | tail -n 1",
            "sh",
        ])
        .arg(archive.path("objects"))
        .finish()
        .succeeds()
        .stdout;
    let part = largest.trim().split_once(' ').expect("a part").1.to_owned();
    let content = std::fs::read(&part).expect("a part");
    std::fs::remove_file(&part).expect("removed");
    std::fs::write(&part, &content[..content.len() - 1]).expect("written");

    let failed = archive.restore(web.name(), &["--at", &two]).fails_with(1);
    let name = Path::new(&part)
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert!(failed.stderr.contains(&name), "it is named: {failed}");
    assert_eq!(
        (web.state().as_str(), web.read_file("/root/f").as_str()),
        ("RUNNING", "two\n")
    );
    let verified = archive.command(&["archive", "verify"]).fails_with(1);
    assert!(
        format!("{verified}").contains(&two),
        "the point is named: {verified}"
    );
}

/// An image of a test's own, with a megabyte that does not compress.
struct OwnImage {
    alias: String,
}

impl OwnImage {
    fn publish() -> Self {
        let image = Self {
            alias: unique_name("image"),
        };
        let base = Instance::create("base", Image::Busybox);
        let mut noise = vec![0; 1_000_000];
        let mut source = std::fs::File::open("/dev/urandom").expect("a device");
        std::io::Read::read_exact(&mut source, &mut noise).expect("random bytes");
        base.write_file("/root/noise", &noise);
        let publish = ["publish", base.name(), "--alias", &image.alias];
        lxc(publish.into_iter().chain(["--compression", "none"]));
        image
    }

    fn instance(&self, stem: &str) -> Instance {
        let instance = Instance::adopt(unique_name(stem));
        lxc(["init", &self.alias, instance.name()]);
        instance
    }
}

impl Drop for OwnImage {
    fn drop(&mut self) {
        // It may be gone.
        let _ = run("lxc").args(["image", "delete", &self.alias]).finish();
    }
}

#[test]
fn containers_of_one_image_are_stored_with_it_once_and_come_back_where_it_is_another() {
    let (full, aware) = (Archive::in_a_folder(), Archive::in_a_folder());
    let image = OwnImage::publish();
    let all: Vec<_> = (0..5).map(|_| image.instance("clone")).collect();
    for (number, instance) in all.iter().enumerate() {
        instance.write_file("/root/f", format!("{number}\n"));
        snapshot(instance, &[]);
    }
    let names = all.iter().flat_map(|one| ["--instance", one.name()]);
    let export = ["backup", "export"].into_iter().chain(names);
    let export: Vec<_> = export.collect();
    full.command(&export).succeeds();
    let done = aware.command(&[&export[..], &["--image-aware"]].concat());
    let done = done.succeeds();
    assert_eq!(
        done.stdout.matches("stored once for all").count(),
        1,
        "{done}"
    );
    let stored = |archive: &Archive| -> u64 {
        let told = run("du").args(["-sb", &archive.path("objects")]);
        let told = told.finish().succeeds().stdout;
        let bytes = told.split_whitespace().next().expect("a number");
        bytes.parse().expect("a number")
    };
    let (in_full, once) = (stored(&full), stored(&aware));
    println!("five containers of one image: {in_full} bytes in full, {once} aware of the image");
    assert!(in_full > 10_000_000 && once < 3_000_000, "{in_full} {once}");

    // LXD loses all of it, and gets the image again: the same fingerprint, another snapshot.
    let fingerprint = all[0].config("volatile.base_image");
    let of_image = format!("tank/images/{fingerprint}@readonly");
    let guid = property(&of_image, "guid");
    lxc(["image", "export", &image.alias, &aware.path("image")]);
    for instance in &all {
        lxc(["delete", "--force", instance.name()]);
    }
    lxc(["image", "delete", &image.alias]);
    let gone = run("zfs").args(["list", &of_image]).finish();
    assert_eq!(gone.code(), Some(1), "{gone}");
    let files = std::fs::read_dir(aware.folder.path()).expect("a folder");
    let file = files
        .map(|file| file.expect("a file").path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("image"))
        })
        .expect("exported");
    let file = file.display().to_string();
    lxc(["image", "import", &file, "--alias", &image.alias]);
    let other = image.instance("other");
    assert_ne!(property(&of_image, "guid"), guid);

    let origins = format!("tank/terrarium/origins/{guid}");
    let came_back = |number: usize| {
        let instance = &all[number];
        aware.restore(instance.name(), &["--start"]).succeeds();
        assert_eq!(instance.state(), "RUNNING");
        assert_eq!(instance.read_file("/root/f"), format!("{number}\n"));
        let origin = property(&instance.dataset(), "origin");
        assert_eq!(origin, format!("{origins}@readonly"));
    };
    came_back(1);
    let sum = |instance: &Instance| {
        let mount = Mount::of(&instance.dataset());
        std::fs::read(mount.path().join("rootfs/root/noise")).expect("read")
    };
    assert!(sum(&all[1]) == sum(&other), "it is the same image");
    // With its last clone it goes.
    lxc(["delete", "--force", all[1].name()]);
    // While another test fetches, nobody tidies up.
    wait_until("the origin is gone", Duration::from_secs(120), || {
        snapshot(&other, &[]);
        run("zfs").args(["list", &origins]).finish().code() == Some(1)
    });

    // It is not of the container's family: a rewind leaves it where it is.
    came_back(0);
    let web = &all[0];
    let first = snapshots(&web.dataset()).remove(0);
    web.sh("echo later > /root/f").finish().succeeds();
    snapshot(web, &[]);
    restore(web, &["--at", &first, "--start"]).succeeds();
    assert_eq!(web.read_file("/root/f"), "0\n");
    undo(web, &["--start"]).succeeds();
    assert_eq!(web.read_file("/root/f"), "later\n");
    let origin = property(&web.dataset(), "origin");
    assert_eq!(origin, format!("{origins}@readonly"));
    let export = [
        "backup",
        "export",
        "--image-aware",
        "--instance",
        web.name(),
    ];
    let next = aware.command(&export).succeeds();
    assert!(next.stdout.contains("(stream 3 of its chain)"), "{next}");

    by_hand(&aware, &all[2]);
}

/// The streams of a chain, received with nothing but `zfs`.
fn by_hand(archive: &Archive, instance: &Instance) {
    let (identity, folder) = (archive.path("identity.txt"), archive.path("streams"));
    let get = ["archive", "get", "--chain", "--name", instance.name()];
    let to = ["--identity", &identity, "--out", &folder];
    archive.command(&[get.as_slice(), &to].concat()).succeeds();
    let mut streams: Vec<_> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|file| file.expect("a file").path())
        .collect();
    streams.sort();
    let [origin, clone] = &streams[..] else {
        panic!("{streams:?}");
    };
    let pool = Pool::create();
    let (image, restored) = (pool.dataset("its-origin"), pool.dataset("restored"));
    let receive = |script: &str, stream: &Path| {
        run("sh")
            .args(["-euc", script, "sh", &image, &restored])
            .arg(stream)
            .finish()
            .succeeds();
    };
    receive("zfs receive -u \"$1@origin\" < \"$3\"", origin);
    receive(
        "zfs receive -u -o \"origin=$1@origin\" \"$2\" < \"$3\"",
        clone,
    );
    zfs(["set", "mountpoint=legacy", &restored]);
    let mount = Mount::of(&restored);
    let note = std::fs::read_to_string(mount.path().join("rootfs/root/f"));
    assert_eq!(note.expect("read"), "2\n");
}

#[test]
fn a_drill_compares_with_the_snapshot_here_and_with_what_was_sealed() {
    let archive = Archive::in_a_folder();
    let (web, _, two) = exported("drill", &archive);
    // Later than the point, and no part of it.
    web.sh("rm /root/noise").finish().succeeds();
    let said = archive.drill(&web, &[]).succeeds();
    assert!(
        said.stdout
            .contains("): equal to the snapshot on this host"),
        "{said}"
    );

    let three = snapshot(&web, &[]);
    let export = ["backup", "export", "--digest", "--instance", web.name()];
    archive.command(&export).succeeds();
    for point in [two, three] {
        // Nobody has it mounted any more.
        zfs(["destroy", &format!("{}@{point}", web.dataset())]);
    }
    let said = archive.drill(&web, &[]).succeeds();
    assert!(
        said.stdout.contains("): equal to what was exported"),
        "{said}"
    );
    assert_eq!(web.state(), "RUNNING");

    let history = terrariumctl(["backup", "drill", "--history"]).succeeds();
    assert!(history.stdout.matches(web.name()).count() >= 2, "{history}");
}
