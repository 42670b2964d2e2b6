//! Makes send streams to measure with, on standard output.
//!
//! ```console
//! $ bench-stream send POOL-FILE BYTES FOLDER…    # so many bytes of the files in the folders, written into a new pool and sent
//! $ bench-stream stretch STREAM BYTES            # the records of a stream, again and again, until there are so many bytes
//! ```
//! The first is what OpenZFS makes of real files. The second is for streams that no disk has room for: whole and sound,
//! with all checksums.

use std::error::Error;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use terrarium_zfs::tree::{Entry, Kind};
use terrarium_zfs::{DatasetName, SendFlags, UserProperties};
use terrarium_zpool::{Engine, Options};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["send", pool, bytes, ref folders @ ..] if !folders.is_empty() => {
            send(Path::new(pool), bytes.parse()?, folders)
        }
        ["stretch", stream, bytes] => {
            let mut output = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            benches::stretch(&fs::read(stream)?, bytes.parse()?, &mut output)?;
            Ok(output.flush()?)
        }
        _ => Err(
            "usage: bench-stream send POOL-FILE BYTES FOLDER… | bench-stream stretch STREAM BYTES"
                .into(),
        ),
    }
}

/// Writes files into a pool without compression and sends it as `terrariumctl backup export` does.
fn send(pool: &Path, bytes: u64, folders: &[&str]) -> Outcome<()> {
    let room = bytes + bytes / 4 + (256 << 20);
    let engine = Options::default().create(pool, "source", room)?;
    let web = DatasetName::new("source/web")?;
    let mut plain = terrarium_zfs::Properties::new();
    plain.set("compression", "off")?;
    engine.create(&web, &plain)?;
    write(&engine, &web, bytes, folders)?;
    let point = web.snapshot("s")?;
    engine.snapshot(&[(point.clone(), UserProperties::new())])?;
    let flags = SendFlags {
        large_blocks: true,
        embedded: true,
        compressed: true,
        raw: false,
    };
    engine.send(&point, None, flags, io::stdout())?;
    engine.close()?;
    Ok(fs::remove_file(pool)?)
}

fn write(engine: &Engine, dataset: &DatasetName, bytes: u64, folders: &[&str]) -> Outcome<()> {
    let mut files = Vec::new();
    for folder in folders {
        find(Path::new(folder), &mut files)?;
    }
    // A mixture of all, the same each time.
    files.sort_by_cached_key(|path| {
        let start = 0xcbf2_9ce4_8422_2325_u64;
        let hash = path.as_os_str().as_encoded_bytes().iter();
        hash.fold(start, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    });
    let mut tree = engine.write_tree(dataset);
    let mut written = 0;
    for (number, path) in files.iter().enumerate() {
        if written >= bytes {
            break;
        }
        if number % 256 == 0 {
            let name = format!("{:04}", number / 256);
            tree.add(&Entry::new(name, Kind::Directory, 0o755));
        }
        let Ok(content) = fs::read(path) else {
            continue;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{:04}/{number}-{name}", number / 256);
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        let mut file = Entry::new(name, Kind::File, mode);
        file.size = content.len() as u64;
        tree.add(&file);
        tree.content(0, &content);
        written += file.size;
    }
    Ok(tree.finish()?)
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Outcome<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            find(&entry.path(), files)?;
        } else if kind.is_file() && entry.path().as_os_str().len() < 200 {
            files.push(entry.path());
        }
    }
    Ok(())
}
