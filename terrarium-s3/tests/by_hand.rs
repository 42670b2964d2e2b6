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

/// The commands that the document has for a shell, one after another.
fn commands() -> String {
    let text = std::fs::read_to_string(repository().join("docs/archive-format.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    let blocks: Vec<_> = blocks
        .map(|block| block.split("```").next().unwrap())
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

struct Restored {
    folder: tempfile::TempDir,
    stream: Vec<u8>,
    script: String,
}

/// A point in a store, and a script that restores it: the document's commands, with keys put in, and a `zfs` that
/// keeps what it is given.
async fn export<S: Store>(store: S, layout: Layout) -> (Restored, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let stream = std::fs::read(repository().join("testbed/streams/content-one.zfs")).unwrap();
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
    let reader = std::io::Cursor::new(stream.clone());
    let stored = write_stream(store.clone(), &layout, &recipients, reader, None, &options).await;
    let point = Point {
        archive: ArchiveId::random().unwrap(),
        terrarium: "0.1.0".to_owned(),
        exported: jiff::Timestamp::UNIX_EPOCH,
        lineage: Lineage::random().unwrap(),
        instance: "wéb \"quoted\",\"signature\":null".to_owned(),
        project: Some("default".to_owned()),
        instance_uuid: None,
        snapshot: SnapshotName::new("tank/containers/web@one").unwrap(),
        base: Base::Full,
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
    let manifest = publish(&*store, &layout, stored.unwrap(), point, Some(&host)).await;
    let manifest = manifest.unwrap();
    let key = host.verifying_key().to_string();
    let script = commands().replace("terrarium-host-HEX", &key);
    let script = format!(
        "zfs() {{ cat > received; }}\nMANIFEST={}\n{script}",
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
async fn in_a_folder() -> (Restored, PathBuf) {
    let backup = tempfile::tempdir().unwrap().keep();
    let store = DirectoryStore::open(&backup).unwrap();
    let (mut restored, manifest) = export(store, Layout::default()).await;
    // It goes with the rest.
    let place = restored.folder.path().join("backup");
    std::fs::rename(&backup, &place).unwrap();
    let folder = place.to_str().unwrap();
    restored.script = restored.script.replace("/mnt/backup", folder);
    let part = place.join(Place::Part(manifest.parts[3].key).to_string());
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
}

fn check(archive: &Restored, output: &Output) {
    assert!(
        output.status.success(),
        "needs age, curl, jq, openssl and zstd (scripts/setup test)"
    );
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    assert!(text.contains("verified successfully"), "{text}");
    let received = std::fs::read(archive.folder.path().join("received")).unwrap();
    assert!(received == archive.stream);
    let sealed = std::fs::read_to_string(archive.folder.path().join("sealed.json")).unwrap();
    assert!(sealed.contains("\"description\": \"secret\""), "{sealed}");
    assert!(
        sealed.contains(blake3::hash(&archive.stream).to_hex().as_str()),
        "{sealed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_commands_restore_a_stream() {
    let (archive, _) = in_a_folder().await;
    check(&archive, &archive.run());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_commands_restore_a_stream_from_s3_with_curl() {
    let server = support::seaweedfs::SeaweedFs::start().await;
    let store = S3Store::open(server.config()).await.unwrap();
    let layout = Layout::new(Some(Key::new("backups/host-1").unwrap()));
    let (mut archive, _) = export(store, layout).await;
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
    std::fs::remove_file(archive.folder.path().join("received")).unwrap();
    assert!(!archive.run().status.success());
    assert!(!archive.folder.path().join("received").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_commands_stop_at_a_part_that_is_missing_or_changed() {
    let (archive, part) = in_a_folder().await;
    let good = std::fs::read(&part).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&part, bad).unwrap();
    assert!(!archive.run().status.success());
    std::fs::remove_file(&part).unwrap();
    assert!(!archive.run().status.success());
    assert!(!archive.folder.path().join("received").exists());
    std::fs::write(&part, good).unwrap();
    assert!(archive.run().status.success());
}
