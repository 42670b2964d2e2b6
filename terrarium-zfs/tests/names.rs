//! Names: the documented rules, one malformed case each, and libzfs's own check as the oracle.

use proptest::prelude::*;
use terrarium_zfs::{BookmarkName, DatasetName, NameRule, SnapshotName};

fn dataset(name: &str) -> DatasetName {
    DatasetName::new(name).expect("a legal name")
}

#[test]
fn every_rule_has_its_malformed_names() {
    let deep = |levels: usize| format!("tank{}", "/x".repeat(levels));
    let long = |bytes: usize| format!("tank/{}", "x".repeat(bytes - 5));
    let pool = |bytes: usize| "p".repeat(bytes);
    for (name, rule) in [
        ("", NameRule::EmptyComponent),
        ("/", NameRule::LeadingSlash),
        ("/tank", NameRule::LeadingSlash),
        ("tank/", NameRule::TrailingSlash),
        ("tank//a", NameRule::EmptyComponent),
        ("tank/./a", NameRule::SelfReference),
        ("tank/.", NameRule::SelfReference),
        ("tank/..", NameRule::ParentReference),
        ("tank/../a", NameRule::ParentReference),
        ("tank/a%b", NameRule::IllegalCharacter('%')),
        ("tank/%recv", NameRule::IllegalCharacter('%')),
        ("tank/a\tb", NameRule::IllegalCharacter('\t')),
        ("tank/a\nb", NameRule::IllegalCharacter('\n')),
        ("tank/a\0b", NameRule::IllegalCharacter('\0')),
        ("tank/ä", NameRule::IllegalCharacter('ä')),
        ("tank/a,b", NameRule::IllegalCharacter(',')),
        ("tank/a+b", NameRule::IllegalCharacter('+')),
        ("tank/$ORIGIN", NameRule::IllegalCharacter('$')),
        ("tank/a@b", NameRule::IllegalCharacter('@')),
        ("tank/a#b", NameRule::IllegalCharacter('#')),
        (&long(256), NameRule::TooLong),
        (&pool(240), NameRule::PoolTooLong),
        (&deep(50), NameRule::TooDeep),
        ("1tank/a", NameRule::PoolFirstLetter),
        ("-tank", NameRule::PoolFirstLetter),
        (" tank", NameRule::PoolFirstLetter),
        ("_tank", NameRule::PoolFirstLetter),
        ("mirror", NameRule::PoolReserved),
        ("raidz/a", NameRule::PoolReserved),
        ("draid", NameRule::PoolReserved),
    ] {
        let error = DatasetName::new(name).expect_err(name);
        assert_eq!(error.rule(), rule, "{error}");
        assert_eq!(error.name(), name);
        assert!(
            !error.to_string().contains(['\t', '\n', '\0']),
            "escaped: {error}"
        );
    }
    for name in [
        "tank",
        "Tank/A b/c-d_e.f:g/0",
        "tank/...",
        "tank/.a",
        "tank/-",
        "tank/ ",
        "tank ",
        "c0t0d0/a",
        // Reserved for new pools only: old ones of these names go on working.
        "mirror1/a",
        "spare",
        "logs",
        "log",
        &long(255),
        &pool(239),
        &deep(49),
    ] {
        assert_eq!(dataset(name).as_str(), name);
    }
}

#[test]
fn snapshots_and_bookmarks_have_exactly_one_mark() {
    for (name, rule) in [
        ("tank/a", NameRule::MissingMark('@')),
        ("tank/a#b", NameRule::MissingMark('@')),
        ("tank/a@b@c", NameRule::SeveralMarks),
        ("tank/a@b#c", NameRule::SeveralMarks),
        ("tank/a#b@c", NameRule::SeveralMarks),
        ("tank/a@b/c", NameRule::SlashAfterMark('@')),
        ("tank/a@", NameRule::EmptyComponent),
        ("@a", NameRule::EmptyComponent),
        ("tank/@a", NameRule::TrailingSlash),
        ("tank/a@.", NameRule::SelfReference),
        ("tank/a@..", NameRule::ParentReference),
        ("tank/.@a", NameRule::SelfReference),
        ("tank/a@b%c", NameRule::IllegalCharacter('%')),
        ("tank/a@b\u{1b}c", NameRule::IllegalCharacter('\u{1b}')),
        ("mirror@a", NameRule::PoolReserved),
        (&format!("tank@{}", "x".repeat(251)), NameRule::TooLong),
    ] {
        let error = SnapshotName::new(name).expect_err(name);
        assert_eq!(error.rule(), rule, "{error}");
        assert!(
            error.to_string().starts_with("illegal snapshot name"),
            "{error}"
        );
        let name = name.replace('@', "\0").replace('#', "@").replace('\0', "#");
        BookmarkName::new(&name).expect_err("the same rules hold for bookmarks");
    }
    let snapshot = SnapshotName::new("tank/a b@c d").expect("legal");
    assert_eq!(snapshot.dataset(), dataset("tank/a b"));
    assert_eq!((snapshot.name(), snapshot.pool()), ("c d", "tank"));
    let bookmark = BookmarkName::new("tank#c").expect("legal");
    assert_eq!(
        (bookmark.dataset(), bookmark.name()),
        (dataset("tank"), "c")
    );
    SnapshotName::new(&format!("tank@{}", "x".repeat(250))).expect("255 bytes are legal");
}

#[test]
fn names_know_their_place() {
    let (pool, a, ab) = (dataset("tank"), dataset("tank/a"), dataset("tank/a/b c"));
    assert_eq!(ab.pool_dataset(), pool);
    assert_eq!(ab.parent(), Some(a.clone()));
    assert_eq!(pool.parent(), None);
    assert_eq!((ab.leaf(), pool.leaf()), ("b c", "tank"));
    assert_eq!(pool.child("a/b c"), Ok(ab.clone()));
    assert!(a.child("").is_err() && a.child("../x").is_err() && a.child("/x").is_err());
    assert!(ab.is_within(&a) && ab.is_within(&ab) && ab.is_within(&pool) && !a.is_within(&ab));
    assert!(
        !dataset("tank/ab").is_within(&a),
        "a common beginning is not enough"
    );
    assert_eq!(ab.relative_to(&pool), Some("a/b c"));
    assert_eq!(ab.relative_to(&ab), Some(""));
    assert_eq!(a.relative_to(&ab), None);
    assert_eq!(a.snapshot("s").map(String::from), Ok("tank/a@s".to_owned()));
    assert_eq!(a.bookmark("s").map(String::from), Ok("tank/a#s".to_owned()));
    assert!(a.snapshot("s@t").is_err() && a.snapshot("").is_err());
}

#[test]
fn names_are_texts_in_json_and_checked_on_the_way_in() {
    let snapshot = SnapshotName::new("tank/a b@c").expect("legal");
    let json = serde_json::to_string(&snapshot).expect("serialised");
    assert_eq!(json, "\"tank/a b@c\"");
    assert_eq!(
        serde_json::from_str::<SnapshotName>(&json).expect("read back"),
        snapshot
    );
    assert!(serde_json::from_str::<SnapshotName>("\"tank\"").is_err());
    assert!(serde_json::from_str::<DatasetName>("\"/tank\"").is_err());
    assert_eq!("tank/a".parse(), Ok(dataset("tank/a")));
    assert_eq!(
        DatasetName::try_from("tank/a".to_owned()),
        Ok(dataset("tank/a"))
    );
}

#[test]
fn snapshots_are_ordered_by_dataset_first() {
    let mut names = ["tank/a b@a", "tank/a@z", "tank/a/b@a", "tank/a@a"]
        .map(|name| SnapshotName::new(name).expect("legal"));
    names.sort();
    let sorted = names.map(String::from);
    assert_eq!(sorted, ["tank/a@a", "tank/a@z", "tank/a b@a", "tank/a/b@a"]);
}

/// The check that the `zfs` program applies, in libzfs (Debian: libzfs4linux).
struct Libzfs(libloading::Library);

/// `zfs_type_t` of sys/fs/zfs.h.
const FILESYSTEM: i32 = 1;
const SNAPSHOT: i32 = 2;
const POOL: i32 = 8;
const BOOKMARK: i32 = 16;

impl Libzfs {
    #[allow(unsafe_code, reason = "calls the oracle")]
    fn open() -> Self {
        // SAFETY: libzfs's initialisers have no preconditions.
        let library = unsafe { libloading::Library::new("libzfs.so.4") };
        Self(library.expect("libzfs is installed (package libzfs4linux)"))
    }

    #[allow(unsafe_code, reason = "calls the oracle")]
    fn accepts(&self, name: &str, kind: i32) -> bool {
        type Check = unsafe extern "C" fn(*const std::ffi::c_char, i32) -> i32;
        let name = std::ffi::CString::new(name).expect("no NUL");
        // SAFETY: `int zfs_name_valid(const char *, zfs_type_t)` of libzfs.h; it reads the name.
        unsafe {
            self.0.get::<Check>(b"zfs_name_valid\0").expect("exported")(name.as_ptr(), kind) != 0
        }
    }

    /// The rules of a name of something that exists or may be made: those of the name itself, and
    /// those of its pool.
    fn accepts_in_pool(&self, name: &str, kind: i32) -> bool {
        let pool = name.split(['/', '@', '#']).next().expect("never empty");
        // What is reserved for new pools only is put out of the way.
        let reserved = ["mirror", "raidz", "draid", "spare"];
        let old = pool == "log"
            || reserved
                .iter()
                .any(|prefix| pool.starts_with(prefix) && pool != *prefix)
            || pool == "spare";
        let pool = if old {
            &format!("p{}", &pool[1..])
        } else {
            pool
        };
        // The name check lets `tank/.@a` pass, whose dataset can never exist.
        let dataset = name.split(['@', '#']).next().expect("never empty");
        self.accepts(name, kind)
            && self.accepts(dataset, FILESYSTEM)
            && self.accepts(pool, POOL)
            && !name.contains('%')
            && name.matches('/').count() < 50
    }
}

fn nearly_names() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        8 => "[a-c0 ._:-]{0,4}",
        2 => prop::sample::select(vec![".", "..", "mirror", "raidz", "draid", "log", "spare", "mirror2"])
            .prop_map(str::to_owned),
        1 => "[ -~]{0,3}",
        1 => "\\PC{0,2}",
        1 => (100usize..260).prop_map(|length| "x".repeat(length)),
    ];
    let separator = prop::sample::select(vec!["/", "/", "/", "@", "#", "//", ""]);
    prop::collection::vec((component, separator), 1..5).prop_map(|parts| {
        let mut name: String = parts
            .iter()
            .flat_map(|(part, mark)| [part.as_str(), mark])
            .collect();
        if let Some((_, mark)) = parts.last() {
            name.truncate(name.len() - mark.len());
        }
        name
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn names_are_legal_exactly_when_libzfs_says_so(name in nearly_names()) {
        thread_local!(static LIBZFS: Libzfs = Libzfs::open());
        LIBZFS.with(|libzfs| {
            prop_assert_eq!(DatasetName::new(&name).is_ok(), libzfs.accepts_in_pool(&name, FILESYSTEM));
            prop_assert_eq!(SnapshotName::new(&name).is_ok(), libzfs.accepts_in_pool(&name, SNAPSHOT));
            prop_assert_eq!(BookmarkName::new(&name).is_ok(), libzfs.accepts_in_pool(&name, BOOKMARK));
            Ok(())
        })?;
    }

    #[test]
    fn a_parsed_name_says_what_was_parsed(name in nearly_names()) {
        if let Ok(snapshot) = SnapshotName::new(&name) {
            prop_assert_eq!(format!("{}@{}", snapshot.dataset(), snapshot.name()), name);
        } else if let Ok(dataset) = DatasetName::new(&name) {
            prop_assert_eq!(dataset.to_string(), name);
            if let Some(parent) = dataset.parent() {
                prop_assert_eq!(parent.child(dataset.leaf()).expect("legal"), dataset);
            }
        }
    }
}
