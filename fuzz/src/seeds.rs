//! What the fuzzing starts from.
//!
//! Each target makes its own seeds, from the captures of `testbed/streams` and by the library itself, so that they
//! never fall behind the format. `fuzz/smoke` has them written before it runs a target.

use std::path::{Path, PathBuf};
use std::{env, fs, process};

/// The variable that names the folder for the seeds.
const FOLDER: &str = "TERRARIUM_FUZZ_SEEDS";

/// An input, and a name for its file.
pub type Seed = (String, Vec<u8>);

/// Writes the seeds and ends the process, if the environment says where to. Otherwise does nothing.
///
/// A seed that the library refuses would leave all that lies behind unfuzzed, and nobody would notice.
pub fn write_if_asked(seeds: impl FnOnce() -> Vec<Seed>, is_accepted: impl Fn(&[u8]) -> bool) {
    let Some(folder) = env::var_os(FOLDER) else {
        return;
    };
    let seeds = seeds();
    for (name, bytes) in &seeds {
        assert!(is_accepted(bytes), "the seed {name} is refused");
        fs::write(Path::new(&folder).join(name), bytes)
            .expect("the folder for the seeds can be written");
    }
    println!("{} seeds", seeds.len());
    process::exit(i32::from(seeds.is_empty()));
}

/// The streams that a real kernel sent, by name.
pub fn captures() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams");
    let files = fs::read_dir(&folder).expect("testbed/streams is there");
    let files = files.map(|file| file.expect("listed").path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "zfs"))
        .collect();
    files.sort();
    let named = |path: PathBuf| {
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, fs::read(&path).expect("a capture can be read"))
    };
    files.into_iter().map(named).collect()
}
