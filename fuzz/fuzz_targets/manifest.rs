//! Manifests.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use terrarium_fuzz::{documents, seeds};
use terrarium_s3::format::{Base, Document, Kind, Manifest, Part, PartPlace, Place, SealedBytes};
use terrarium_zfs::{Guid, SendFlags, Txg};

fuzz_target!(init: seeds::write_if_asked(seeds, is_manifest), |bytes: &[u8]| {
    is_manifest(bytes);
});

static SIGNED: LazyLock<Vec<Manifest>> = LazyLock::new(|| vec![incremental(), full()]);

fn is_manifest(bytes: &[u8]) -> bool {
    documents::check(bytes, place(), &SIGNED)
}

fn place() -> Place {
    SIGNED[0].place()
}

fn seeds() -> Vec<seeds::Seed> {
    let host = documents::host_key();
    let mut seeds = Vec::new();
    for (name, manifest) in ["incremental", "full"].into_iter().zip(SIGNED.iter()) {
        for (signed, key) in [("signed", Some(&host)), ("unsigned", None)] {
            let bytes = manifest.write(key).expect("written");
            seeds.push((format!("{name}-{signed}"), bytes.to_vec()));
        }
    }
    seeds
}

fn incremental() -> Manifest {
    let (guid, from) = (Guid::new(u64::MAX), Some(Guid::new(7)));
    let part = |number: u32, stream_bytes: u64| Part {
        key: PartPlace {
            guid,
            from,
            run: documents::run(),
            number,
        },
        stream_bytes,
        stored_bytes: 300,
        crc32: number,
        blake3: [0xa5; 32].into(),
    };
    Manifest {
        archive: documents::archive(),
        terrarium: "0.1.0".to_owned(),
        exported: "2026-11-22T21:00:00.5Z".parse().expect("a time"),
        lineage: documents::lineage(),
        instance: "web".to_owned(),
        project: Some("default".to_owned()),
        instance_uuid: Some("e1f0a4b4-0000-4000-8000-000000000001".to_owned()),
        snapshot: "tank/containers/web@snap-1".parse().expect("a name"),
        guid,
        base: Base::Point(Guid::new(7)),
        createtxg: Some(Txg::new(12)),
        creation: "2026-11-22T20:00:00Z".parse().expect("a time"),
        kind: Kind::OnDemand,
        alias: Some("before \"upgrade\" é".to_owned()),
        expires: Some("2027-11-22T20:00:00Z".parse().expect("a time")),
        send_flags: Some(SendFlags {
            large_blocks: true,
            ..SendFlags::default()
        }),
        stream_bytes: 33,
        parts: vec![part(0, 32), part(1, 1)],
        recipients: documents::recipients(),
        sealed: SealedBytes::try_from("YWdlIQ==".to_owned()).expect("base64"),
    }
}

fn full() -> Manifest {
    let mut full = incremental();
    full.base = Base::Full;
    full.kind = Kind::Scheduled;
    (full.project, full.instance_uuid, full.alias) = (None, None, None);
    (full.createtxg, full.expires, full.send_flags) = (None, None, None);
    full.stream_bytes = 32;
    full.parts.truncate(1);
    full.parts[0].key.from = None;
    full
}
