//! Real streams of the kernel's ZFS, stored and read back, with everything going wrong that can.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use terrarium_s3::crypto::{CryptoError, HostKey, Identities, NewIdentity, Recipients};
use terrarium_s3::format::{
    ArchiveId, Base, Document, Kind, Layout, Lineage, Manifest, ManifestPlace, PartPlace, Place,
    Verdict,
};
use terrarium_s3::pipeline::{
    Ids, Options, Point, Progress, PublishError, ReadError, Stored, WriteError, publish,
    read_stream, write_stream,
};
use terrarium_s3::{Call, Fault, Faulty, Key, MemoryStore, Store, StoreError};
use terrarium_zfs::{BeginRecord, Guid, SnapshotName};

/// A captured stream.
fn stream(name: &str) -> Vec<u8> {
    let path = streams().join(format!("{name}.zfs"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn streams() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams")
}

fn begin(stream: &[u8]) -> BeginRecord {
    BeginRecord::parse_any(stream[..312].try_into().unwrap()).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

/// An archive in memory.
struct Archive {
    store: Arc<Faulty<MemoryStore>>,
    layout: Layout,
    id: ArchiveId,
    recipients: Recipients,
    identities: Arc<Identities>,
    host: HostKey,
    options: Options,
}

impl Archive {
    fn new() -> Self {
        let identity = NewIdentity::generate();
        Self {
            store: Arc::new(Faulty::new(MemoryStore::new())),
            layout: Layout::new(Some(Key::new("backups/host-1").unwrap())),
            id: ArchiveId::random().unwrap(),
            recipients: Recipients::parse([identity.recipient()]).unwrap(),
            identities: Arc::new(identity.into_identities()),
            host: HostKey::generate().unwrap(),
            options: Options {
                part_size: 16 << 10,
                pause: Duration::from_millis(1),
                ..Options::default()
            },
        }
    }

    /// With a journal in a folder that is to be kept.
    fn with_journal() -> (Self, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = Self::new();
        archive.options.journal = Some(folder.path().join("journal"));
        (archive, folder)
    }

    fn write(
        &self,
        stream: impl Read + Send + 'static,
    ) -> impl Future<Output = Result<Stored, WriteError>> {
        write_stream(
            self.store.clone(),
            &self.layout,
            &self.recipients,
            stream,
            None,
            &self.options,
        )
    }

    fn point(&self, stored: &Stored) -> Point {
        Point {
            archive: self.id,
            terrarium: "0.1.0".to_owned(),
            exported: jiff::Timestamp::UNIX_EPOCH,
            lineage: "01234567-89ab-4cde-8f01-23456789abcd"
                .parse::<Lineage>()
                .unwrap(),
            instance: "web".to_owned(),
            project: None,
            instance_uuid: None,
            snapshot: SnapshotName::new("tank/web@one").unwrap(),
            base: stored.begin.from_guid().map_or(Base::Full, Base::Point),
            createtxg: None,
            kind: Kind::OnDemand,
            alias: None,
            expires: None,
            send_flags: None,
            definition: None,
            tree: None,
        }
    }

    async fn publish(&self, stored: Stored) -> Result<Manifest, PublishError> {
        let point = self.point(&stored);
        publish(&*self.store, &self.layout, stored, point, Some(&self.host)).await
    }

    /// Stores and publishes, as if what it starts from had been stored before.
    async fn export(&self, stream: &[u8]) -> Manifest {
        let stored = self.write(io::Cursor::new(stream.to_vec())).await.unwrap();
        let base = stored.begin.from_guid().map(|guid| ManifestPlace {
            lineage: self.point(&stored).lineage,
            creation: 0,
            guid,
        });
        let key = base.map(|base| self.layout.key(&Place::Manifest(base)).unwrap());
        if let Some(key) = &key {
            self.store.inner().overwrite(key, "{}");
        }
        let published = self.publish(stored).await;
        key.map(|key| self.store.inner().vanish(&key));
        published.unwrap()
    }

    async fn read_with(
        &self,
        manifest: &Manifest,
        identities: &Arc<Identities>,
    ) -> Result<Vec<u8>, ReadError> {
        let output = Output::default();
        let sealed = manifest.open(&self.identities).unwrap();
        read_stream(
            self.store.clone(),
            &self.layout,
            manifest,
            identities.clone(),
            Some(sealed.stream_blake3),
            output.clone(),
            &self.options,
        )
        .await?;
        Ok(output.take())
    }

    async fn read(&self, manifest: &Manifest) -> Result<Vec<u8>, ReadError> {
        self.read_with(manifest, &self.identities).await
    }

    fn key(&self, part: &PartPlace) -> Key {
        self.layout.key(&Place::Part(*part)).unwrap()
    }

    fn manifests(&self) -> Vec<Key> {
        let keys = self.store.inner().keys().into_iter();
        keys.filter(|key| matches!(self.layout.place(key), Some(Place::Manifest(_))))
            .collect()
    }

    fn parts(&self) -> usize {
        self.store.inner().keys().len() - self.manifests().len()
    }
}

/// Takes what is written.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that fails after some bytes.
struct Fails(io::Cursor<Vec<u8>>);

impl Read for Fails {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            length => Ok(length),
        }
    }
}

#[test]
fn every_captured_stream_comes_back_as_it_was() {
    let mut seen = 0;
    for entry in std::fs::read_dir(streams()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "zfs") {
            continue;
        }
        let stream = stream(&name);
        let refused = name.starts_with("package-") || name == "content-one-resumed";
        if refused {
            continue;
        }
        for part_size in [4 << 10, 60_000, 32 << 20] {
            let mut archive = Archive::new();
            archive.options.part_size = part_size;
            run(async {
                let manifest = archive.export(&stream).await;
                assert_eq!(manifest.guid, begin(&stream).to_guid(), "{name}");
                assert_eq!(manifest.from_guid(), begin(&stream).from_guid(), "{name}");
                assert_eq!(manifest.stream_bytes, stream.len() as u64, "{name}");
                assert_eq!(
                    manifest.parts.len(),
                    stream.len().div_ceil(part_size),
                    "{name}"
                );

                let [key] = &archive.manifests()[..] else {
                    panic!("not one manifest");
                };
                let bytes = archive.store.read(key).await.unwrap();
                let hosts = [archive.host.verifying_key()];
                let place = archive.layout.place(key).unwrap();
                let read = Manifest::read(&bytes, archive.id, &place, &hosts).unwrap();
                assert_eq!(read.verdict, Verdict::Signed(hosts[0]));
                assert_eq!(read.document, manifest);
                assert!(archive.read(&manifest).await.unwrap() == stream, "{name}");
            });
        }
        seen += 1;
    }
    assert!(seen >= 15, "only {seen} streams");
}

#[test]
fn the_decrypted_parts_one_after_another_are_a_zstd_file_of_the_stream() {
    let archive = Archive::new();
    let stream = stream("content-two");
    run(async {
        let manifest = archive.export(&stream).await;
        assert!(manifest.parts.len() > 10);
        let mut file = Vec::new();
        for part in &manifest.parts {
            let body = archive.store.read(&archive.key(&part.key)).await.unwrap();
            file.extend_from_slice(&archive.identities.decrypt(&body).unwrap());
        }
        assert!(zstd::decode_all(&file[..]).unwrap() == stream);
    });
}

#[test]
fn what_is_not_the_whole_stream_of_one_snapshot_is_refused_before_anything_is_stored() {
    for name in [
        "package-intermediate",
        "package-properties",
        "package-recursive",
    ] {
        let archive = Archive::new();
        let error = run(archive.write(io::Cursor::new(stream(name)))).expect_err(name);
        assert!(matches!(error, WriteError::Package), "{name}: {error}");
        assert_eq!(archive.parts(), 0);
    }
    let archive = Archive::new();
    let rest = io::Cursor::new(stream("content-one-resumed"));
    let error = run(archive.write(rest)).expect_err("a rest");
    assert!(matches!(error, WriteError::Rest), "{error}");
    let error = run(archive.write(io::Cursor::new(vec![7; 100_000]))).expect_err("no stream");
    assert!(matches!(error, WriteError::Stream(_)), "{error}");
    let two = stream("content-two");
    let expected = Ids {
        guid: begin(&two).to_guid(),
        from: None,
    };
    let error = run(write_stream(
        archive.store.clone(),
        &archive.layout,
        &archive.recipients,
        io::Cursor::new(two),
        Some(expected),
        &archive.options,
    ))
    .expect_err("incremental");
    assert!(matches!(error, WriteError::Unexpected { .. }), "{error}");
    assert_eq!(archive.parts(), 0);
}

#[test]
fn a_stream_that_ends_or_fails_at_any_byte_is_never_published() {
    let stream = stream("encrypted-two");
    let archive = Archive::new();
    run(async {
        let every =
            (0..stream.len()).filter(|at| at % 61 == 0 || stream.len() - at < 20 || *at < 5);
        for length in every {
            let cut = io::Cursor::new(stream[..length].to_vec());
            let error = archive.write(cut.clone()).await.expect_err("cut");
            assert!(matches!(error, WriteError::Stream(_)), "{length}: {error}");
            let error = archive.write(Fails(cut)).await.expect_err("fails");
            assert!(matches!(error, WriteError::Read(_)), "{length}: {error}");
        }
        let longer = [&stream[..], b"x"].concat();
        let error = archive
            .write(io::Cursor::new(longer))
            .await
            .expect_err("longer");
        assert!(matches!(error, WriteError::Stream(_)), "{error}");
        // It had all its bytes, but the sender did not end it.
        let fails = Fails(io::Cursor::new(stream.clone()));
        let error = archive.write(fails).await.expect_err("fails");
        assert!(matches!(error, WriteError::Read(_)), "{error}");
    });
    assert_eq!(archive.manifests(), []);
}

#[test]
fn a_stream_with_a_wrong_bit_is_never_published() {
    let stream = stream("encrypted-two");
    let archive = Archive::new();
    run(async {
        for at in (0..stream.len()).step_by(97) {
            let mut damaged = stream.clone();
            damaged[at] ^= 1 << (at % 8);
            let error = archive
                .write(io::Cursor::new(damaged))
                .await
                .expect_err("damaged");
            assert!(
                matches!(
                    error,
                    WriteError::Stream(_) | WriteError::Package | WriteError::Rest
                ),
                "{at}: {error}"
            );
        }
    });
    assert_eq!(archive.manifests(), []);
}

#[test]
fn whatever_happens_to_an_object_is_an_error_that_names_it() {
    let archive = Archive::new();
    let stream = stream("compressed-lz4");
    run(async {
        let manifest = archive.export(&stream).await;
        let store = archive.store.inner();
        let keys: Vec<Key> = manifest
            .parts
            .iter()
            .map(|part| archive.key(&part.key))
            .collect();
        assert!(keys.len() >= 4);
        for (n, key) in keys.iter().enumerate() {
            let good = store.get(key).unwrap();
            let other = store.get(&keys[(n + 1) % keys.len()]).unwrap();
            let mut same_size = other.to_vec();
            same_size.resize(good.len(), 0);
            let mut flipped = Vec::new();
            for at in [0, 40, good.len() / 2, good.len() - 1] {
                let mut bytes = good.to_vec();
                bytes[at] ^= 0x10;
                flipped.push(bytes);
            }
            let bad = [
                Vec::new(),
                good[..good.len() - 1].to_vec(),
                good[..good.len() / 2].to_vec(),
                [&good[..], b"x"].concat(),
                other.to_vec(),
                same_size,
            ];
            for bad in bad.into_iter().chain(flipped) {
                store.overwrite(key, bad);
                let error = archive.read(&manifest).await.expect_err("damaged");
                assert_eq!(error.key(), Some(key), "{error}");
                assert!(error.to_string().contains(key.as_str()), "{error}");
                let named = matches!(error, ReadError::Size { .. } | ReadError::Checksum { .. });
                assert!(named, "{error}");
            }
            store.vanish(key);
            let error = archive.read(&manifest).await.expect_err("missing");
            assert!(
                matches!(&error, ReadError::Missing { key: named } if named == key),
                "{error}"
            );
            store.overwrite(key, good);
        }
        assert!(archive.read(&manifest).await.unwrap() == stream);
    });
}

#[test]
fn a_manifest_that_lies_about_its_parts_is_noticed_behind_the_checksums() {
    let archive = Archive::new();
    run(async {
        let stream = stream("compressed-lz4");
        let manifest = archive.export(&stream).await;

        // Two parts exchanged, and the manifest made to agree.
        let mut swapped = manifest.clone();
        let (one, two) = (swapped.parts[1].clone(), swapped.parts[2].clone());
        archive
            .store
            .inner()
            .swap(&archive.key(&one.key), &archive.key(&two.key));
        for (part, from) in [(1, two), (2, one)] {
            let key = swapped.parts[part].key;
            swapped.parts[part] = from;
            swapped.parts[part].key = key;
        }
        let error = archive.read(&swapped).await.expect_err("swapped");
        assert!(matches!(error, ReadError::Stream { .. }), "{error}");
        let key = archive.key(&swapped.parts[1].key);
        archive
            .store
            .inner()
            .swap(&key, &archive.key(&swapped.parts[2].key));

        // Another size.
        let mut sizes = manifest.clone();
        sizes.parts[0].stream_bytes -= 8;
        let error = archive.read(&sizes).await.expect_err("sizes");
        assert!(matches!(error, ReadError::Unpack { .. }), "{error}");
        assert_eq!(error.key(), Some(&archive.key(&sizes.parts[0].key)));
        sizes.parts[0].stream_bytes += 16;
        let error = archive.read(&sizes).await.expect_err("sizes");
        assert!(matches!(error, ReadError::Unpack { .. }), "{error}");

        // The last part left out.
        let mut short = manifest.clone();
        short.parts.pop();
        let error = archive.read(&short).await.expect_err("short");
        assert!(matches!(error, ReadError::Stream { .. }), "{error}");

        // Another snapshot's.
        let mut other = manifest.clone();
        other.guid = Guid::new(5);
        let error = read_stream(
            archive.store.clone(),
            &archive.layout,
            &other,
            archive.identities.clone(),
            None,
            io::sink(),
            &archive.options,
        )
        .await
        .expect_err("another");
        assert!(matches!(error, ReadError::Other(_)), "{error}");
        let error = read_stream(
            archive.store.clone(),
            &archive.layout,
            &manifest,
            archive.identities.clone(),
            Some(blake3::hash(b"another")),
            io::sink(),
            &archive.options,
        )
        .await
        .expect_err("another");
        assert!(matches!(error, ReadError::Other(_)), "{error}");
    });
}

#[test]
fn the_wrong_identity_is_told_apart_from_damage() {
    let archive = Archive::new();
    run(async {
        let manifest = archive.export(&stream("origin")).await;
        let stranger = Arc::new(NewIdentity::generate().into_identities());
        let error = archive
            .read_with(&manifest, &stranger)
            .await
            .expect_err("a stranger");
        let wrong = CryptoError::WrongIdentity;
        assert!(
            matches!(&error, ReadError::Decrypt { source, .. } if *source == wrong),
            "{error}"
        );
        assert_eq!(error.key(), Some(&archive.key(&manifest.parts[0].key)));
    });
}

#[test]
fn a_part_is_tried_again_alone() {
    let archive = Archive::new();
    let stream = stream("compressed-lz4");
    run(async {
        archive.store.inject(
            Fault::dropped(Call::Create)
                .matching("000001.zst.age")
                .times(3),
        );
        archive
            .store
            .inject(Fault::lost_reply(Call::Create).matching("000002.zst.age"));
        archive
            .store
            .inject(Fault::lost_reply(Call::Create).matching("manifests"));
        let stored = archive
            .write(io::Cursor::new(stream.clone()))
            .await
            .unwrap();
        let parts = stored.parts.len();
        assert_eq!(archive.store.count(Call::Create), parts + 4);
        // The reply is lost; asked again, the manifest of the same bytes is there.
        let manifest = archive.publish(stored).await.unwrap();
        let listed = archive.manifests();
        assert_eq!(listed.len(), 1);
        let bytes = archive.store.inner().get(&listed[0]).unwrap();
        let place = archive.layout.place(&listed[0]).unwrap();
        let found = Manifest::read(&bytes, manifest.archive, &place, &[]).unwrap();
        assert_eq!(found.document, manifest);

        archive.store.inject(
            Fault::dropped(Call::Read)
                .matching("000001.zst.age")
                .times(4),
        );
        assert!(archive.read(&manifest).await.unwrap() == stream);
        archive.store.inject(
            Fault::dropped(Call::Read)
                .matching("000001.zst.age")
                .always(),
        );
        let error = archive.read(&manifest).await.expect_err("dropped");
        let key = archive.key(&manifest.parts[1].key);
        assert!(
            matches!(&error, ReadError::Store { key: named, .. } if *named == key),
            "{error}"
        );
    });
}

#[test]
fn what_the_store_refuses_ends_it_and_names_the_part() {
    let stream = stream("compressed-lz4");
    for fault in [
        Fault::denied(Call::Create),
        Fault::no_space(),
        Fault::dropped(Call::Create).always(),
    ] {
        let archive = Archive::new();
        archive.store.inject(fault.matching("000002.zst.age"));
        let error = run(archive.write(io::Cursor::new(stream.clone()))).expect_err("refused");
        assert!(
            matches!(error, WriteError::Store { number: 2, .. }),
            "{error}"
        );
        assert_eq!(archive.manifests(), []);
    }
}

#[test]
fn a_write_that_failed_at_any_part_goes_on_where_it_was() {
    let stream = stream("compressed-lz4");
    let parts = stream.len().div_ceil(16 << 10);
    for failing in 0..parts {
        let (archive, _folder) = Archive::with_journal();
        run(async {
            let name = format!("{failing:06}.zst.age");
            archive
                .store
                .inject(Fault::dropped(Call::Create).matching(name).always());
            let cut = io::Cursor::new(stream.clone());
            archive.write(cut.clone()).await.expect_err("dropped");
            archive.store.heal();
            let there = archive.parts();
            let before = archive.store.count(Call::Create);
            let stored = archive.write(cut).await.unwrap();
            assert_eq!(stored.reused, there, "part {failing}");
            assert_eq!(archive.store.count(Call::Create) - before, parts - there);
            assert!(there >= failing, "{there} parts before {failing}");
            let manifest = archive.publish(stored).await.unwrap();
            assert_eq!(archive.parts(), parts, "no leftovers");
            assert!(archive.read(&manifest).await.unwrap() == stream);
            assert!(!archive.options.journal.as_ref().unwrap().exists());
        });
    }
}

/// A future that is dropped after it was polled so often.
struct Polls<F>(Pin<Box<F>>, usize);

impl<F: Future> Future for Polls<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.1 == 0 {
            return Poll::Ready(None);
        }
        self.1 -= 1;
        self.0.as_mut().poll(context).map(Some)
    }
}

#[test]
fn a_write_that_was_dropped_at_any_point_is_resumed_and_whole() {
    let stream = stream("compressed-lz4");
    let mut finished = 0;
    let mut reused = 0;
    for polls in 0..40 {
        let (archive, _folder) = Archive::with_journal();
        run(async {
            let reader = io::Cursor::new(stream.clone());
            let writing = Polls(Box::pin(archive.write(reader.clone())), polls);
            if let Some(done) = writing.await {
                done.unwrap();
                finished += 1;
            }
            assert_eq!(archive.manifests(), []);
            let stored = archive.write(reader).await.unwrap();
            reused += stored.reused;
            let manifest = archive.publish(stored).await.unwrap();
            assert!(archive.read(&manifest).await.unwrap() == stream);
        });
    }
    assert!((1..40).contains(&finished), "{finished} came to their end");
    assert!(reused > 0);
}

#[test]
fn a_journal_is_private_held_by_one_and_forgets_what_is_gone() {
    let (archive, _folder) = Archive::with_journal();
    let path = archive.options.journal.clone().unwrap();
    let stream = stream("compressed-lz4");
    run(async {
        let reader = io::Cursor::new(stream.clone());
        let stored = archive.write(reader.clone()).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        for chunk in stream.chunks(16 << 10) {
            let plain = blake3::hash(chunk).to_hex();
            assert!(
                !text.contains(plain.as_str()),
                "a plain hash tells what is stored"
            );
        }
        let error = archive.write(reader.clone()).await.expect_err("held");
        assert!(matches!(error, WriteError::JournalInUse { .. }), "{error}");

        // Killed before it was published; a part was collected, another was replaced, and the last
        // line of the journal is torn.
        let all = stored.parts.len();
        // Parts are noted as they come to be stored, so the last line may be of any of them.
        let torn = text.lines().last().unwrap();
        let others: Vec<_> = stored
            .parts
            .iter()
            .filter(|part| !torn.contains(&part.key.to_string()))
            .map(|part| archive.key(&part.key))
            .collect();
        assert_eq!(others.len(), all - 1);
        drop(stored);
        archive.store.inner().vanish(&others[0]);
        archive.store.inner().overwrite(&others[1], "short");
        let length = std::fs::metadata(&path).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length - 10).unwrap();
        let stored = archive.write(reader.clone()).await.unwrap();
        assert_eq!(stored.reused, all - 3);
        let manifest = archive.publish(stored).await.unwrap();
        assert!(archive.read(&manifest).await.unwrap() == stream);
    });
}

#[test]
fn a_journal_of_something_else_is_begun_anew() {
    let (mut archive, _folder) = Archive::with_journal();
    run(async {
        let lz4 = io::Cursor::new(stream("compressed-lz4"));
        drop(archive.write(lz4.clone()).await.unwrap());
        let other = archive
            .write(io::Cursor::new(stream("origin")))
            .await
            .unwrap();
        assert_eq!(other.reused, 0);
        drop(other);
        drop(archive.write(lz4.clone()).await.unwrap());
        archive.options.part_size *= 2;
        let cut = archive.write(lz4.clone()).await.unwrap();
        assert_eq!(cut.reused, 0);
        drop(cut);
        let again = archive.write(lz4.clone()).await.unwrap();
        assert_eq!(again.reused, again.parts.len());
        drop(again);
        archive.recipients = Recipients::parse([NewIdentity::generate().recipient()]).unwrap();
        assert_eq!(archive.write(lz4.clone()).await.unwrap().reused, 0);
        std::fs::write(archive.options.journal.as_ref().unwrap(), "no journal").unwrap();
        assert_eq!(archive.write(lz4).await.unwrap().reused, 0);
    });
}

#[test]
fn a_part_that_was_collected_before_the_manifest_stood_is_noticed() {
    let (archive, _folder) = Archive::with_journal();
    run(async {
        let reader = io::Cursor::new(stream("compressed-lz4"));
        drop(archive.write(reader.clone()).await.unwrap());
        let stored = archive.write(reader).await.unwrap();
        assert_eq!(stored.reused, stored.parts.len());
        let key = archive.key(&stored.parts[1].key);
        archive.store.inner().vanish(&key);
        let error = archive.publish(stored).await.expect_err("gone");
        assert!(
            matches!(&error, PublishError::Gone { key: gone } if *gone == key),
            "{error}"
        );
        assert_eq!(archive.manifests(), []);
    });
}

#[test]
fn of_two_that_publish_the_same_point_the_second_is_refused() {
    let archive = Archive::new();
    run(async {
        let stream = stream("origin");
        let first = archive.export(&stream).await;
        let stored = archive
            .write(io::Cursor::new(stream.clone()))
            .await
            .unwrap();
        let error = archive.publish(stored).await.expect_err("the second");
        assert!(
            matches!(error, PublishError::Store(StoreError::Exists { .. })),
            "{error}"
        );
        assert!(archive.read(&first).await.unwrap() == stream);

        let stored = archive.write(io::Cursor::new(stream)).await.unwrap();
        let mut point = archive.point(&stored);
        point.base = Base::Point(Guid::new(1));
        let result = publish(&*archive.store, &archive.layout, stored, point, None).await;
        assert!(matches!(result, Err(PublishError::Mismatch(_))));
    });
}

#[test]
fn parts_are_transferred_at_the_same_time_but_no_more_than_the_memory_allows() {
    let stream = stream("content-one");
    let mut most = Vec::new();
    for parts in [1, 3] {
        let mut archive = Archive::new();
        archive.options.part_size = 64 << 10;
        archive.options.memory = parts * ((64 << 10) + (4 << 20));
        // A worker more than there is memory for.
        archive.options.workers = Some(16.try_into().unwrap());
        archive.options.progress = Some(Arc::new(Progress::default()));
        let slow = Duration::from_millis(20);
        archive
            .store
            .inject(Fault::delayed(Call::Read, slow).always());
        run(async {
            let manifest = archive.export(&stream).await;
            let progress = archive.options.progress.clone().unwrap();
            assert_eq!(progress.stream_bytes(), stream.len() as u64);
            let stored: u64 = manifest.parts.iter().map(|part| part.stored_bytes).sum();
            assert_eq!(progress.stored_bytes(), stored);
            assert!(archive.read(&manifest).await.unwrap() == stream);
        });
        most.push(archive.store.most_at_once());
    }
    assert_eq!(most[0], 1);
    assert!((2..=3).contains(&most[1]), "{most:?}");
}

#[test]
fn what_does_not_compress_is_stored_at_its_own_size_and_what_does_as_zstd_does_it() {
    let archive = Archive {
        options: Options::default(),
        ..Archive::new()
    };
    run(async {
        for (name, most) in [("compressed-zstd", 1.01), ("content-one", 0.5)] {
            let stream = stream(name);
            let stored = archive
                .write(io::Cursor::new(stream.clone()))
                .await
                .unwrap();
            let zstd = zstd::encode_all(&stream[..], 3).unwrap().len() as f64;
            let share = stored.stored_bytes() as f64 / stream.len() as f64;
            assert!(share <= most, "{name}: {share}");
            assert!(
                stored.stored_bytes() as f64 <= 1.03 * zstd + 500.0,
                "{name}: {share}"
            );
        }
    });
}

#[test]
fn nothing_in_the_store_tells_the_content() {
    let archive = Archive::new();
    run(async {
        let stream = stream("content-one");
        let manifest = archive.export(&stream).await;
        let bytes = archive.store.inner().get(&archive.manifests()[0]).unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let sealed = manifest.open(&archive.identities).unwrap();
        assert_eq!(sealed.stream_blake3, blake3::hash(&stream));
        assert!(!text.contains(sealed.stream_blake3.to_hex().as_str()));
        for part in stream.chunks(16 << 10) {
            assert!(!text.contains(blake3::hash(part).to_hex().as_str()));
            assert!(!text.contains(&format!("{:08x}", crc32fast::hash(part))));
        }
    });
}

#[test]
fn a_receiver_that_stops_is_an_error_of_its_own() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.checked_sub(bytes.len()) {
                Some(left) => {
                    self.0 = left;
                    Ok(bytes.len())
                }
                None => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let archive = Archive::new();
    run(async {
        let stream = stream("compressed-lz4");
        let manifest = archive.export(&stream).await;
        for room in [0, 20_000, stream.len() - 1] {
            let error = read_stream(
                archive.store.clone(),
                &archive.layout,
                &manifest,
                archive.identities.clone(),
                None,
                Full(room),
                &archive.options,
            )
            .await
            .expect_err("full");
            assert!(matches!(error, ReadError::Output(_)), "{error}");
        }
    });
}
