//! What docs/archive-format.md says about restoring without Terrarium, done as it says.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use terrarium_s3::crypto::{HostKey, NewIdentity, Recipients};
use terrarium_s3::format::{
    ArchiveId, Base, Definition, Document, Kind, Layout, Lineage, Manifest, Place,
};
use terrarium_s3::pipeline::{Options, Point, publish, write_stream};
use terrarium_s3::{DirectoryStore, Key, S3Store, Store};
use terrarium_zfs::SnapshotName;

mod support;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The commands that the document has for a shell, one after another: those for all streams, and those for one that
/// is full, or starts from an origin.
fn commands(base: &str) -> String {
    let text = std::fs::read_to_string(repository().join("docs/archive-format.md")).unwrap();
    let blocks: Vec<_> = text
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n'))
        .filter(|(kind, _)| *kind == "sh" || *kind == format!("sh {base}"))
        .map(|(_, block)| block)
        .collect();
    assert!(blocks.len() >= 6, "the document has lost its commands");
    blocks.concat()
}

/// What the document has for S3, with curl: another `fetch`.
fn fetch_by_curl() -> String {
    let text = std::fs::read_to_string(repository().join("docs/archive-format.md")).unwrap();
    let mut lines = text.lines();
    let line = lines.find(|line| line.starts_with("fetch() { curl "));
    line.expect("the document has lost its curl").to_owned()
}

/// The call that a full stream is given to.
const FULL: &str = "receive -u tank|restored";

struct Restored {
    folder: tempfile::TempDir,
    stream: Vec<u8>,
    script: String,
}

/// A point in a store, and a script that restores it: the document's commands, with keys put in, and a `zfs` that
/// keeps what it is given. With an origin the point is a clone, and the store has that too.
async fn export<S: Store>(store: S, layout: Layout, with_origin: bool) -> (Restored, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let identity = NewIdentity::generate();
    let recipients = Recipients::parse([identity.recipient()]).unwrap();
    let file = identity.to_file();
    std::fs::write(folder.path().join("identity.txt"), file.as_bytes()).unwrap();
    let host = HostKey::generate().unwrap();
    let store = Arc::new(store);
    let options = Options {
        part_size: 100_000,
        ..Options::default()
    };
    let id = ArchiveId::random().unwrap();
    let publish = async |stream: Vec<u8>, lineage: Option<Lineage>, base| {
        let reader = std::io::Cursor::new(stream);
        let stored = write_stream(store.clone(), &layout, &recipients, reader, None, &options);
        let stored = stored.await.unwrap();
        let origin = Lineage::of_origin(stored.begin.to_guid());
        let point = Point {
            archive: id,
            terrarium: "0.1.0".to_owned(),
            exported: jiff::Timestamp::UNIX_EPOCH,
            lineage: lineage.unwrap_or(origin),
            instance: "wéb \"quoted\",\"signature\":null".to_owned(),
            project: Some("default".to_owned()),
            instance_uuid: None,
            snapshot: SnapshotName::new("tank/containers/web@one").unwrap(),
            base,
            createtxg: None,
            kind: Kind::OnDemand,
            alias: None,
            expires: None,
            send_flags: None,
            definition: Some(Definition {
                instance: [("description".to_owned(), "secret".into())]
                    .into_iter()
                    .collect(),
                profiles: Vec::new(),
            }),
            tree: None,
        };
        let published = publish(&*store, &layout, stored, point, Some(&host)).await;
        published.unwrap()
    };
    let own = Some(Lineage::random().unwrap());
    let (stream, origin, base) = if with_origin {
        let origin = publish(captured("origin"), None, Base::Full).await;
        let base = Base::Origin(origin.guid);
        (captured("clone"), origin.place().to_string(), base)
    } else {
        (captured("content-one"), String::new(), Base::Full)
    };
    let manifest = publish(stream.clone(), own, base).await;
    let key = host.verifying_key().to_string();
    let base = if with_origin { "origin" } else { "full" };
    let script = commands(base).replace("terrarium-host-HEX", &key);
    let script = format!(
        "zfs() {{ cat > \"received $(tr / '|' <<< \"$*\")\"; }}\nORIGIN={origin}\nMANIFEST={}\n{script}",
        manifest.place()
    );
    let restored = Restored {
        folder,
        stream,
        script,
    };
    (restored, manifest)
}

/// In a folder; and the file of a part.
async fn in_a_folder(with_origin: bool) -> (Restored, PathBuf) {
    let backup = tempfile::tempdir().unwrap().keep();
    let store = DirectoryStore::open(&backup).unwrap();
    let (mut restored, manifest) = export(store, Layout::default(), with_origin).await;
    // It goes with the rest.
    let place = restored.folder.path().join("backup");
    std::fs::rename(&backup, &place).unwrap();
    let folder = place.to_str().unwrap();
    restored.script = restored.script.replace("/mnt/backup", folder);
    let last = manifest.parts.last().unwrap();
    let part = place.join(Place::Part(last.key).to_string());
    (restored, part)
}

impl Restored {
    fn run(&self) -> Output {
        let output = Command::new("bash")
            .args(["-euc", &self.script])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        println!("{}", String::from_utf8_lossy(&output.stdout));
        println!("{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// What a call of `zfs` with these arguments was given.
    fn received(&self, arguments: &str) -> Option<Vec<u8>> {
        let file = format!("received {arguments}");
        std::fs::read(self.folder.path().join(file)).ok()
    }

    fn received_nothing(&self) -> bool {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names = files.map(|file| file.unwrap().file_name());
        !names.any(|name| name.to_string_lossy().starts_with("received"))
    }
}

/// A stream that the kernel's ZFS has sent.
fn captured(name: &str) -> Vec<u8> {
    std::fs::read(repository().join(format!("testbed/streams/{name}.zfs"))).unwrap()
}

fn check(archive: &Restored, output: &Output) {
    assert!(
        output.status.success(),
        "needs age, curl, jq, openssl and zstd (scripts/setup test)"
    );
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    assert!(text.contains("verified successfully"), "{text}");
    assert!(archive.received(FULL).unwrap() == archive.stream);
    let sealed = std::fs::read_to_string(archive.folder.path().join("sealed.json")).unwrap();
    assert!(sealed.contains("\"description\": \"secret\""), "{sealed}");
    assert!(
        sealed.contains(blake3::hash(&archive.stream).to_hex().as_str()),
        "{sealed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_commands_restore_a_stream() {
    let (archive, _) = in_a_folder(false).await;
    check(&archive, &archive.run());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_commands_restore_a_stream_from_s3_with_curl() {
    let server = support::seaweedfs::SeaweedFs::start().await;
    let store = S3Store::open(server.config()).await.unwrap();
    let layout = Layout::new(Some(Key::new("backups/host-1").unwrap()));
    let (mut archive, _) = export(store, layout, false).await;
    let (access_key, secret_key) = server.keys();
    // The server has no TLS; all else is as the document says.
    let fetch = fetch_by_curl()
        .replace("https://ENDPOINT", server.endpoint())
        .replace("BUCKET", support::BUCKET)
        .replace("PREFIX", "backups/host-1")
        .replace("REGION", "us-east-1");
    let folder = "fetch() { cat \"/mnt/backup/$1\"; }";
    assert!(archive.script.contains(folder));
    archive.script = archive.script.replace(folder, &fetch);
    let keys = format!("AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key}\n");
    archive.script.insert_str(0, &keys);
    check(&archive, &archive.run());
    archive.script = archive.script.replace(secret_key, "another");
    let received = archive.folder.path().join(format!("received {FULL}"));
    std::fs::remove_file(received).unwrap();
    assert!(!archive.run().status.success());
    assert!(archive.received_nothing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_commands_stop_at_a_part_that_is_missing_or_changed() {
    let (archive, part) = in_a_folder(false).await;
    let good = std::fs::read(&part).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&part, bad).unwrap();
    assert!(!archive.run().status.success());
    std::fs::remove_file(&part).unwrap();
    assert!(!archive.run().status.success());
    assert!(archive.received_nothing());
    std::fs::write(&part, good).unwrap();
    assert!(archive.run().status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_commands_restore_a_clone_and_its_origin() {
    let (archive, _) = in_a_folder(true).await;
    assert!(archive.run().status.success());
    let origin = archive.received("receive -u tank|its-origin@origin");
    assert!(origin.unwrap() == captured("origin"));
    let clone = "receive -u -o origin=tank|its-origin@origin tank|restored";
    assert!(archive.received(clone).unwrap() == archive.stream);
}
