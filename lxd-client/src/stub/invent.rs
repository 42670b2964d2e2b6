//! Values that LXD makes up: id maps, UUIDs, MAC addresses.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The text of a map of one range, as LXD writes it into `volatile.*`.
pub(super) fn idmap_text(host: u64, range: u64) -> String {
    let half = |uid: bool| {
        format!(
            r#"{{"Isuid":{uid},"Isgid":{},"Hostid":{host},"Nsid":0,"Maprange":{range}}}"#,
            !uid
        )
    };
    format!("[{},{}]", half(true), half(false))
}

/// Random enough for names that must not clash.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

pub(super) fn random_uuid() -> String {
    let (a, b) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 48) & 0x3fff,
        b & 0xffff_ffff_ffff
    )
}

pub(super) fn random_mac() -> String {
    let [a, b, c, ..] = random().to_be_bytes();
    format!("00:16:3e:{a:02x}:{b:02x}:{c:02x}")
}
