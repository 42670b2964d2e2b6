//! The files of the demo's containers: made and broken.

use terrarium_zfs::tree::{Entry, Kind, Time};
use terrarium_zfs::{DatasetName, Error};
use terrarium_zpool::{Engine, TreeWriter};

/// When the files of a container were made: what is later differs from one run to the next.
const MADE: i64 = 1_750_000_000;
/// When the upgrade went wrong.
const BROKEN: i64 = 1_760_000_000;

/// How many pages the web server has.
const PAGES: usize = 100;

/// A web server: configuration, pages, links, a program with capabilities, a sparse image.
pub(crate) fn write_web(engine: &Engine, web: &DatasetName) -> Result<(), Error> {
    let mut files = Files::into(engine, web, MADE);
    files.directories(&[
        "rootfs",
        "rootfs/etc",
        "rootfs/etc/nginx",
        "rootfs/etc/nginx/sites-available",
        "rootfs/etc/nginx/sites-enabled",
        "rootfs/etc/ssl",
        "rootfs/usr",
        "rootfs/usr/bin",
        "rootfs/usr/sbin",
        "rootfs/var",
        "rootfs/var/lib",
        "rootfs/var/log",
        "rootfs/var/www",
    ]);
    files.file("rootfs/etc/hostname", 0o644, b"web\n");
    let listen = "server { listen 443 ssl; root /var/www; }\n";
    files.file(
        "rootfs/etc/nginx/nginx.conf",
        0o644,
        "worker_processes auto;\n".repeat(20).as_bytes(),
    );
    files.file(
        "rootfs/etc/nginx/sites-available/web",
        0o644,
        listen.as_bytes(),
    );
    files.symlink(
        "rootfs/etc/nginx/sites-enabled/web",
        "../sites-available/web",
    );
    files.file("rootfs/etc/ssl/web.key", 0o600, &noise(1, 1704));
    files.program("rootfs/usr/bin/ping", &noise(2, 77_000));
    files.file("rootfs/usr/sbin/nginx", 0o755, &noise(3, 1_240_000));
    files
        .tree
        .link("rootfs/usr/bin/nginx", "rootfs/usr/sbin/nginx");
    files.sparse("rootfs/var/lib/cache.img", 16 << 20, &noise(4, 4096));
    files.file(
        "rootfs/var/log/access.log",
        0o640,
        "GET / 200\n".repeat(20_000).as_bytes(),
    );
    for page in 0..PAGES {
        let text = format!("<h1>Page {page}</h1>\n").repeat(page + 1);
        files.file(
            &format!("rootfs/var/www/{page:03}.html"),
            0o644,
            text.as_bytes(),
        );
    }
    files.tree.finish()
}

/// A database: a few large files and their log.
pub(crate) fn write_db(engine: &Engine, db: &DatasetName) -> Result<(), Error> {
    let mut files = Files::into(engine, db, MADE);
    files.directories(&[
        "rootfs",
        "rootfs/etc",
        "rootfs/var",
        "rootfs/var/lib",
        "rootfs/var/lib/db",
    ]);
    files.file("rootfs/etc/hostname", 0o644, b"db\n");
    for table in 0..12 {
        let path = format!("rootfs/var/lib/db/table-{table:02}");
        files.file(
            &path,
            0o600,
            &noise(100 + table as u64, 300_000 + table * 10_007),
        );
    }
    files.file("rootfs/var/lib/db/log", 0o600, &noise(5, 1 << 20));
    files.tree.finish()
}

/// What a failed upgrade leaves: configuration and pages overwritten, a key for all to read, half a program. Returns the
/// number of files that it touched.
pub(crate) fn break_web(engine: &Engine, web: &DatasetName) -> Result<usize, Error> {
    let mut files = Files::into(engine, web, BROKEN);
    files.file("rootfs/etc/nginx/nginx.conf", 0o644, b"");
    files.file("rootfs/etc/ssl/web.key", 0o644, &noise(1, 1704));
    files.program("rootfs/usr/bin/ping", &noise(2, 30_000));
    for page in 0..PAGES {
        let path = format!("rootfs/var/www/{page:03}.html");
        files.file(&path, 0o644, b"<h1>It works!</h1>\n");
    }
    files.tree.finish()?;
    Ok(PAGES + 3)
}

/// Bytes that cannot be compressed and are the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    // Xorshift (Marsaglia 2003): good enough to look random.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let bytes = std::iter::repeat_with(next).flatten();
    bytes.take(length).collect()
}

/// Files that are being written into a dataset.
struct Files {
    tree: TreeWriter,
    time: Time,
}

impl Files {
    fn into(engine: &Engine, dataset: &DatasetName, seconds: i64) -> Self {
        Self {
            tree: engine.write_tree(dataset),
            time: Time {
                seconds,
                nanoseconds: 123_456_789,
            },
        }
    }

    fn entry(&self, path: &str, kind: Kind, mode: u32) -> Entry {
        let mut entry = Entry::new(path, kind, mode);
        // As LXD maps root of an unprivileged container.
        (entry.uid, entry.gid) = (1_000_000, 1_000_000);
        (entry.accessed, entry.modified) = (self.time, self.time);
        entry
    }

    /// These below the root, which is one too.
    fn directories(&mut self, paths: &[&str]) {
        for path in [""].iter().chain(paths) {
            let entry = self.entry(path, Kind::Directory, 0o755);
            self.tree.add(&entry);
        }
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        let entry = self.entry(path, Kind::File, mode);
        self.add(entry, content);
    }

    /// A program that may do what its capability says.
    fn program(&mut self, path: &str, content: &[u8]) {
        let mut entry = self.entry(path, Kind::File, 0o755);
        // VFS_CAP_REVISION_2, effective, CAP_NET_RAW permitted (capabilities(7)).
        let capability = [
            1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let name = b"security.capability".to_vec();
        entry.attributes.insert(name, capability.to_vec());
        self.add(entry, content);
    }

    fn add(&mut self, mut entry: Entry, content: &[u8]) {
        entry.size = content.len() as u64;
        self.tree.add(&entry);
        if !content.is_empty() {
            self.tree.content(0, content);
        }
    }

    /// A file of which nothing is there but its end.
    fn sparse(&mut self, path: &str, size: u64, end: &[u8]) {
        let mut entry = self.entry(path, Kind::File, 0o644);
        entry.size = size;
        self.tree.add(&entry);
        self.tree.content(size - end.len() as u64, end);
    }

    fn symlink(&mut self, path: &str, target: &str) {
        let mut entry = self.entry(path, Kind::Symlink, 0o777);
        entry.target = Some(target.into());
        self.tree.add(&entry);
    }
}
