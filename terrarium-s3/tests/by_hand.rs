//! What docs/archive-format.md says about restoring without Terrarium, done as it says.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use terrarium_s3::DirectoryStore;
use terrarium_s3::crypto::{HostKey, NewIdentity, Recipients};
use terrarium_s3::format::{ArchiveId, Base, Definition, Document, Kind, Layout, Lineage, Place};
use terrarium_s3::pipeline::{Options, Point, publish, write_stream};
use terrarium_zfs::SnapshotName;

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

struct Restored {
    folder: tempfile::TempDir,
    stream: Vec<u8>,
    part: PathBuf,
    script: String,
}

/// An archive in a folder, and a script that restores from it: the document's commands, with its places and
/// keys put in, and a `zfs` that keeps what it is given.
fn archive() -> Restored {
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    std::fs::create_dir(&backup).unwrap();
    let stream = std::fs::read(repository().join("testbed/streams/content-one.zfs")).unwrap();
    let identity = NewIdentity::generate();
    let recipients = Recipients::parse([identity.recipient()]).unwrap();
    std::fs::write(
        folder.path().join("identity.txt"),
        identity.to_file().as_bytes(),
    )
    .unwrap();
    let host = HostKey::generate().unwrap();

    let store = Arc::new(DirectoryStore::open(&backup).unwrap());
    let layout = Layout::default();
    let options = Options {
        part_size: 100_000,
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_time()
        .build()
        .unwrap();
    let manifest = runtime.block_on(async {
        let reader = std::io::Cursor::new(stream.clone());
        let stored =
            write_stream(store.clone(), &layout, &recipients, reader, None, &options).await;
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
        publish(&*store, &layout, stored.unwrap(), point, Some(&host))
            .await
            .unwrap()
    });
    let key = host.verifying_key().to_string();
    let script = commands()
        .replace("/mnt/backup", backup.to_str().unwrap())
        .replace("terrarium-host-HEX", &key);
    let script = format!(
        "zfs() {{ cat > received; }}\nMANIFEST={}\n{script}",
        manifest.place()
    );
    let part = backup.join(Place::Part(manifest.parts[3].key).to_string());
    Restored {
        folder,
        stream,
        part,
        script,
    }
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

#[test]
fn the_documents_commands_restore_a_stream() {
    let archive = archive();
    let output = archive.run();
    assert!(
        output.status.success(),
        "needs age, jq, openssl and zstd (scripts/setup test)"
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

#[test]
fn the_documents_commands_stop_at_a_part_that_is_missing_or_changed() {
    let archive = archive();
    let good = std::fs::read(&archive.part).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&archive.part, bad).unwrap();
    assert!(!archive.run().status.success());
    std::fs::remove_file(&archive.part).unwrap();
    assert!(!archive.run().status.success());
    assert!(!archive.folder.path().join("received").exists());
    std::fs::write(&archive.part, good).unwrap();
    assert!(archive.run().status.success());
}
