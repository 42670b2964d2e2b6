//! terrarium-zfs: what `zfs get -Hp` prints, set in the kernel's form, is the same property.

use std::collections::BTreeMap;

use terrarium_zfs::{DatasetName, Properties};
use testbed::{Pool, zfs};

use crate::zfs_support::*;

/// Properties that can be changed on a filesystem, with all their values (zfsprops(7) of 2.1).
fn of_filesystems() -> BTreeMap<&'static str, Vec<String>> {
    let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let on_off = || words("on off");
    let sizes = (9..=20)
        .map(|bits| (1u64 << bits).to_string())
        .collect::<Vec<_>>();
    let mut compression = words("on off lzjb gzip zle lz4 zstd zstd-fast");
    compression.extend((1..=9).map(|level| format!("gzip-{level}")));
    compression.extend((1..=19).map(|level| format!("zstd-{level}")));
    let fast = (1..=10).chain((20..=100).step_by(10)).chain([500, 1000]);
    compression.extend(fast.map(|level| format!("zstd-fast-{level}")));
    BTreeMap::from([
        (
            "aclinherit",
            words("discard noallow restricted passthrough passthrough-x"),
        ),
        ("aclmode", words("discard groupmask passthrough restricted")),
        ("acltype", words("off posix nfsv4")),
        ("atime", on_off()),
        ("canmount", words("on off noauto")),
        (
            "checksum",
            words("on off fletcher2 fletcher4 sha256 noparity sha512 skein edonr"),
        ),
        ("compression", compression),
        ("context", words("none")),
        ("copies", words("1 2 3")),
        (
            "dedup",
            words(
                "on off verify sha256 sha256,verify sha512 sha512,verify skein skein,verify \
                 edonr,verify",
            ),
        ),
        ("devices", on_off()),
        ("dnodesize", words("legacy auto 1k 2k 4k 8k 16k")),
        ("exec", on_off()),
        ("filesystem_limit", words("none 0 7 18446744073709551614")),
        ("logbias", words("latency throughput")),
        (
            "mountpoint",
            vec!["none".into(), "legacy".into(), "/mnt/a b ü".into()],
        ),
        ("nbmand", on_off()),
        ("overlay", on_off()),
        ("primarycache", words("all none metadata")),
        ("quota", words("none 1073741824")),
        ("readonly", on_off()),
        ("recordsize", sizes.clone()),
        ("redundant_metadata", words("all most some none")),
        ("refquota", words("none 1073741824 12345678")),
        ("refreservation", words("none 65536")),
        ("relatime", on_off()),
        ("reservation", words("none 131072")),
        ("secondarycache", words("all none metadata")),
        ("setuid", on_off()),
        ("sharenfs", words("off")),
        ("sharesmb", words("off")),
        ("snapdev", words("hidden visible")),
        ("snapdir", words("hidden visible")),
        ("snapshot_limit", words("none 99")),
        (
            "special_small_blocks",
            [vec!["0".to_owned()], sizes].concat(),
        ),
        ("sync", words("standard always disabled")),
        (
            "t:user",
            vec!["a text".into(), "ü \"'\\".into(), "-".into(), "".into()],
        ),
        ("version", words("5")),
        ("volmode", words("default full geom dev none")),
        ("vscan", on_off()),
        ("xattr", words("on off sa dir")),
    ])
}

/// Creates datasets until each value of each property has been set once, copies what the listing
/// tells of them to clones, and compares.
fn round_trip(create: &[&str], values: &BTreeMap<&str, Vec<String>>) {
    let (core, pool) = (core(), Pool::create());
    let (sources, clones) = (made(&pool, "sources x"), made(&pool, "clones y"));
    let rounds = values
        .values()
        .map(Vec::len)
        .max()
        .expect("there are properties");
    for round in 0..rounds {
        let settings = values.iter().flat_map(|(name, values)| {
            [
                "-o".to_owned(),
                format!("{name}={}", values[round % values.len()]),
            ]
        });
        let name = sources.child(&round.to_string()).expect("a legal name");
        let arguments = create.iter().map(|argument| (*argument).to_owned());
        zfs(arguments.chain(settings).chain([name.to_string()]));
    }
    zfs(["snapshot", "-r", at(&sources, "s").as_str()]);
    let local = |parent: &DatasetName| -> BTreeMap<String, BTreeMap<String, String>> {
        let listed = core.list(parent, &[]).expect("listed").datasets.into_iter();
        listed
            .filter(|dataset| dataset.name != *parent)
            .map(|dataset| (dataset.name.leaf().to_owned(), dataset.local))
            .collect()
    };
    let set = local(&sources);
    assert_eq!(set.len(), rounds);
    for (leaf, local) in &set {
        for name in values.keys() {
            // The version is not kept as a property, so it has no source.
            assert!(
                local.contains_key(*name) || *name == "version",
                "{name} in {local:?}"
            );
        }
        let mut properties = Properties::new();
        for (name, value) in local {
            properties
                .set(name, value)
                .expect("what zfs get prints is understood");
        }
        let origin = at(&sources.child(leaf).expect("legal"), "s");
        let clone = clones.child(leaf).expect("legal");
        core.clone_snapshot(&clone, &origin, &properties)
            .expect("cloned");
    }
    assert_eq!(local(&clones), set);
}

#[test]
fn every_value_of_every_property_of_filesystems_is_copied() {
    round_trip(&["create", "-u"], &of_filesystems());
}

#[test]
fn properties_of_volumes_are_copied() {
    let mut values = of_filesystems();
    let shared = [
        "checksum",
        "copies",
        "logbias",
        "primarycache",
        "readonly",
        "refreservation",
        "reservation",
        "snapdev",
        "snapshot_limit",
        "sync",
        "t:user",
        "volmode",
    ];
    values.retain(|name, _| shared.contains(name));
    round_trip(&["create", "-s", "-V", "1M"], &values);
}

#[test]
fn a_dataset_for_containers_keeps_its_zoned_property() {
    let values = BTreeMap::from([("zoned", vec!["on".to_owned(), "off".to_owned()])]);
    round_trip(&["create", "-u"], &values);
}

#[test]
fn properties_that_are_fixed_at_creation_are_given_to_create() {
    let (core, pool) = (core(), Pool::create());
    for (n, (case, normalization, utf8only)) in [
        ("sensitive", "none", "off"),
        ("insensitive", "formC", "on"),
        ("mixed", "formD", "on"),
        ("sensitive", "formKC", "on"),
        ("sensitive", "formKD", "on"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = named(&pool, &format!("d{n}"));
        let wanted = [
            ("casesensitivity", case),
            ("normalization", normalization),
            ("utf8only", utf8only),
            ("version", "5"),
        ];
        core.create(&name, &properties(wanted)).expect("created");
        for (property, value) in wanted {
            assert_eq!(get(name.as_str(), property), value);
        }
    }
}
