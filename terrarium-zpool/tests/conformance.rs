//! The engine does what terrarium-core's conformance suite says, as the kernel and the fake do.

mod support;

use std::any::Any;

use support::Scratch;
use terrarium_core::Zfs;
use terrarium_core::conformance::zfs::{self as cases, Sending, ZfsRig};
use terrarium_zfs::{BookmarkName, DatasetName, Properties, SendFlags, SnapshotName};

struct Rig {
    scratch: Scratch,
    root: DatasetName,
}

impl Rig {
    fn new() -> Self {
        let scratch = Scratch::new();
        let root = DatasetName::new("tank/a case").expect("a legal name");
        scratch
            .engine
            .create(&root, &Properties::new())
            .expect("created");
        Self { scratch, root }
    }
}

impl ZfsRig for Rig {
    fn zfs(&self) -> &dyn Zfs {
        &self.scratch.engine
    }

    fn root(&self) -> &DatasetName {
        &self.root
    }

    fn write(&self, dataset: &DatasetName, file: &str, bytes: &[u8]) {
        let written = self.scratch.engine.write_file(dataset, file, 0o644, bytes);
        written.expect("written");
    }

    fn read(&self, dataset: &DatasetName, file: &str) -> Option<Vec<u8>> {
        let read = self
            .scratch
            .engine
            .read_file(dataset.as_str(), file, 1 << 30);
        read.expect("read")
    }

    fn hold(&self, snapshot: &SnapshotName) {
        let hold = (snapshot.clone(), "case".to_owned());
        self.scratch.engine.hold(&[hold]).expect("held");
    }

    fn release(&self, snapshot: &SnapshotName) {
        let hold = (snapshot.clone(), "case".to_owned());
        self.scratch.engine.release(&[hold]).expect("released");
    }

    fn bookmark(&self, bookmark: &BookmarkName, snapshot: &SnapshotName) {
        let pair = (bookmark.clone(), snapshot.clone());
        self.scratch.engine.bookmark(&[pair]).expect("bookmarked");
    }

    fn send(&self, snapshot: &SnapshotName) -> Box<dyn Any> {
        let (engine, snapshot) = (self.scratch.engine.clone(), snapshot.clone());
        Box::new(Sending::begin(move |input| {
            // It is cut short by the reader.
            _ = engine.send(&snapshot, None, SendFlags::default(), &input);
        }))
    }

    fn mount(&self, dataset: &DatasetName) -> Box<dyn Any> {
        let occupied = self.scratch.engine.occupy(dataset);
        Box::new(occupied.expect("occupied"))
    }
}

macro_rules! tests {
    ($($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                cases::$case(&Rig::new());
            }
        )*
    };
}
terrarium_core::zfs_cases!(tests);
