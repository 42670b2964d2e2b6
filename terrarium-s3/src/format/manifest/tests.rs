use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::crypto::{HostKey, NewIdentity, VerifyingKey};
use crate::format::RunId;
use crate::format::{Checked, Definition, Verdict};

fn part(guid: Guid, from: Option<Guid>, run: RunId, number: u32, sizes: (u64, u64)) -> Part {
    let body = number.to_le_bytes();
    Part {
        key: PartPlace {
            guid,
            from,
            run,
            number,
        },
        stream_bytes: sizes.0,
        stored_bytes: sizes.1,
        crc32: crc32fast::hash(&body),
        blake3: blake3::hash(&body),
    }
}

fn sealed(archive: ArchiveId, guid: Guid) -> Sealed {
    let object = |value: serde_json::Value| value.as_object().expect("an object").clone();
    Sealed {
        archive,
        guid,
        definition: Some(Definition {
            instance: object(json!({
                "config": {"environment.PASSWORD": "hunter2", "limits.cpu": "2"},
                "devices": {"root": {"type": "disk", "path": "/"}},
            })),
            profiles: vec![json!({"name": "default", "config": {}})],
        }),
        stream_blake3: blake3::hash(b"stream"),
        tree: Some("00".repeat(32)),
    }
}

fn manifest(recipients: &Recipients) -> Manifest {
    let archive = ArchiveId::random().expect("random bytes");
    let run = RunId::random().expect("random bytes");
    let (guid, from) = (Guid::new(u64::MAX), Guid::new(7));
    Manifest {
        archive,
        terrarium: "0.1.0".to_owned(),
        exported: "2026-11-22T21:00:00.5Z".parse().expect("a time"),
        lineage: Lineage::random().expect("random bytes"),
        instance: "web".to_owned(),
        project: Some("default".to_owned()),
        instance_uuid: None,
        snapshot: SnapshotName::new("tank/containers/web@snap-1").expect("a name"),
        guid,
        base: Base::Point(from),
        createtxg: Some(Txg::new(12)),
        creation: "2026-11-22T20:00:00Z".parse().expect("a time"),
        kind: Kind::OnDemand,
        alias: Some("before \"upgrade\" é".to_owned()),
        expires: None,
        send_flags: Some(SendFlags {
            large_blocks: true,
            ..SendFlags::default()
        }),
        stream_bytes: 33,
        parts: vec![
            part(guid, Some(from), run, 0, (32, 300)),
            part(guid, Some(from), run, 1, (1, 250)),
        ],
        recipients: recipients.clone(),
        sealed: sealed(archive, guid).seal(recipients).expect("sealed"),
    }
}

fn recipients() -> (Identities, Recipients) {
    let key = NewIdentity::generate();
    let recipients = Recipients::parse([key.recipient()]).expect("a recipient");
    (key.into_identities(), recipients)
}

fn read(
    bytes: &[u8],
    like: &Manifest,
    hosts: &[VerifyingKey],
) -> Result<Checked<Manifest>, FormatError> {
    Manifest::read(bytes, like.archive, &like.place(), hosts)
}

#[test]
fn it_is_read_as_it_was_written_and_the_verdict_says_who_wrote_it() {
    let (_, recipients) = recipients();
    let manifest = manifest(&recipients);
    let [host, other] = [(); 2].map(|()| HostKey::generate().expect("random bytes"));
    let keys = [&host, &other].map(HostKey::verifying_key);

    let signed = manifest.write(Some(&host)).expect("written");
    let read_back = read(&signed, &manifest, &keys).expect("read");
    assert_eq!(read_back.document, manifest);
    assert_eq!(read_back.verdict, Verdict::Signed(keys[0]));
    let read_back = read(&signed, &manifest, &keys[1..]).expect("read");
    assert_eq!(read_back.verdict, Verdict::UnknownKey(keys[0]));

    let unsigned = manifest.write(None).expect("written");
    let read_back = read(&unsigned, &manifest, &keys).expect("read");
    assert_eq!(read_back.verdict, Verdict::Unsigned);

    // Another's signature under the first one's name.
    let text = String::from_utf8(manifest.write(Some(&other)).expect("written").to_vec());
    let forged = text
        .expect("text")
        .replace(&keys[1].to_string(), &keys[0].to_string());
    let read_back = read(forged.as_bytes(), &manifest, &keys).expect("read");
    assert_eq!(read_back.verdict, Verdict::Wrong(keys[0]));
    assert_eq!(read_back.verdict.as_str(), "wrong");
}

#[test]
fn whatever_bit_is_flipped_it_is_wrong_or_an_error() {
    let (_, recipients) = recipients();
    let mut manifest = manifest(&recipients);
    manifest.sealed = SealedBytes::try_from("YWdl".to_owned()).expect("base64");
    let host = HostKey::generate().expect("random bytes");
    let signed = manifest.write(Some(&host)).expect("written").to_vec();
    let mut wrong = 0;
    for bit in 0..signed.len() * 8 {
        let mut flipped = signed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(read) = read(&flipped, &manifest, &[host.verifying_key()]) {
            assert_eq!(read.verdict.as_str(), "wrong", "bit {bit}");
            wrong += 1;
        }
    }
    assert!(wrong > 1000, "the signature decided of {wrong} bits only");
    for length in 0..signed.len() {
        assert!(
            read(&signed[..length], &manifest, &[]).is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn at_another_place_or_in_another_archive_it_is_refused() {
    let (_, recipients) = recipients();
    let manifest = manifest(&recipients);
    let bytes = manifest.write(None).expect("written");
    let mut other = manifest.clone();
    other.lineage = Lineage::random().expect("random bytes");
    let archive = ArchiveId::random().expect("random bytes");
    for error in [
        Manifest::read(&bytes, manifest.archive, &other.place(), &[]).expect_err("moved"),
        Manifest::read(&bytes, archive, &manifest.place(), &[]).expect_err("moved"),
    ] {
        assert!(matches!(error, FormatError::Misplaced { .. }), "{error}");
    }
}

#[test]
fn versions_and_fields_that_are_not_known_are_refused() {
    let (_, recipients) = recipients();
    let manifest = manifest(&recipients);
    let text = String::from_utf8(manifest.write(None).expect("written").to_vec()).expect("text");
    let newer = text.replace("\"version\":1", "\"version\":2");
    let error = read(newer.as_bytes(), &manifest, &[]).expect_err("newer");
    assert!(
        matches!(
            error,
            FormatError::Version {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    for damaged in [
        text.replace("\"alias\":", "\"more\":1,\"alias\":"),
        text.replace("\"stored_bytes\":", "\"more\":1,\"stored_bytes\":"),
        text.replace("\"large_blocks\":", "\"more\":1,\"large_blocks\":"),
        text.replace(",\"signature\":null", ""),
        text.replace("\"expires\":null,", ""),
        text.replace(
            "\"stream_bytes\":33,",
            "\"stream_bytes\":33,\"stream_bytes\":33,",
        ),
        text.replace("on-demand", "demanded"),
    ] {
        assert_ne!(damaged, text);
        let error = read(damaged.as_bytes(), &manifest, &[]).expect_err("damaged");
        assert!(matches!(error, FormatError::Damaged { .. }), "{error}");
    }
}

#[test]
fn rules_hold_when_it_is_written_and_when_it_is_read() {
    let (_, recipients) = recipients();
    let good = manifest(&recipients);
    let text = String::from_utf8(good.write(None).expect("written").to_vec()).expect("text");
    for (from, to) in [
        ("\"stream_bytes\":33", "\"stream_bytes\":34"),
        ("\"stream_bytes\":1,", "\"stream_bytes\":0,"),
        ("000001.zst.age", "000002.zst.age"),
        (
            "\"stored_bytes\":250",
            "\"stored_bytes\":18446744073709551615",
        ),
        ("\"instance\":\"web\"", "\"instance\":\"\""),
        ("\"instance\":\"web\"", "\"instance\":\"a\\nb\""),
        ("{\"point\":\"7\"}", "\"full\""),
        ("{\"point\":\"7\"}", "{\"point\":\"18446744073709551615\"}"),
        (
            "\"creation\":\"2026-11-22T20:00:00Z\"",
            "\"creation\":\"1926-11-22T20:00:00Z\"",
        ),
    ] {
        let bad = text.replace(from, to);
        assert_ne!(bad, text, "{from}");
        let error = read(bad.as_bytes(), &good, &[]).expect_err(to);
        assert!(
            matches!(error, FormatError::Illegal { .. }),
            "{to}: {error}"
        );
    }
    let changes: [fn(&mut Manifest); 4] = [
        |bad| bad.parts.clear(),
        |bad| bad.parts.swap(0, 1),
        |bad| bad.alias = Some("x".repeat(256)),
        |bad| bad.stream_bytes = 0,
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(bad.write(None).is_err());
    }
}

#[test]
fn what_is_sealed_opens_for_its_recipients_at_its_own_manifest_only() {
    let (identities, recipients) = recipients();
    let one = manifest(&recipients);
    let opened = one.open(&identities).expect("opened");
    assert_eq!(opened, sealed(one.archive, one.guid));
    assert!(!format!("{opened:?} {one:?}").contains("hunter2"));
    let bytes = one.write(None).expect("written");
    assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"));

    let mut other = manifest(&recipients);
    other.sealed = one.sealed.clone();
    let error = other.open(&identities).expect_err("of another");
    assert!(
        matches!(error, OpenError::Format(FormatError::Misplaced { .. })),
        "{error}"
    );

    let (stranger, _) = self::recipients();
    let error = one.open(&stranger).expect_err("a stranger");
    assert_eq!(
        error,
        OpenError::Decrypt(crate::crypto::CryptoError::WrongIdentity)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_manifest_is_read_as_it_was_written(
        guids in any::<(u64, u64)>(),
        base in 0..3,
        kind in 0..5usize,
        creation in 0..4_000_000_000i64,
        names in ["\\PC{1,60}", "\\PC{1,60}"],
        alias in prop::option::of("\\PC{1,60}"),
        sizes in prop::collection::vec((1..=Part::MAX_STREAM, 1..=Part::MAX_STORED), 1..40),
    ) {
        prop_assume!(guids.0 != guids.1);
        let (_, recipients) = recipients();
        let mut manifest = manifest(&recipients);
        manifest.guid = Guid::new(guids.0);
        manifest.base = match base {
            0 => Base::Full,
            1 => Base::Point(Guid::new(guids.1)),
            _ => Base::Origin(Guid::new(guids.1)),
        };
        manifest.kind = [Kind::Scheduled, Kind::OnDemand, Kind::Safety, Kind::Lxd, Kind::Foreign][kind];
        manifest.creation = Timestamp::from_second(creation).expect("a time");
        [manifest.instance, manifest.terrarium] = names;
        manifest.alias = alias;
        let run = RunId::random().expect("random bytes");
        let from = manifest.from_guid();
        manifest.stream_bytes = sizes.iter().map(|size| size.0).sum();
        manifest.parts = (0..).zip(sizes).map(|(n, sizes)| part(manifest.guid, from, run, n, sizes)).collect();
        prop_assume!(manifest.check().is_ok());
        let host = HostKey::generate().expect("random bytes");
        let bytes = manifest.write(Some(&host)).expect("written");
        let back = read(&bytes, &manifest, &[host.verifying_key()]).expect("read");
        prop_assert_eq!(back.verdict.as_str(), "signed");
        prop_assert_eq!(back.document, manifest);
    }

    #[test]
    fn no_bytes_make_it_panic(
        cut in any::<prop::sample::Index>(),
        removed in 0..40usize,
        put in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), "[\\[\\]{}\":,0-9a-z]{0,40}".prop_map(String::into_bytes)],
    ) {
        let (_, recipients) = recipients();
        let manifest = manifest(&recipients);
        let bytes = manifest.write(None).expect("written");
        let cut = cut.index(bytes.len());
        let end = (cut + removed).min(bytes.len());
        let changed = [&bytes[..cut], &put[..], &bytes[end..]].concat();
        let _ = read(&changed, &manifest, &[]);
        let _ = read(&put, &manifest, &[]);
    }
}
