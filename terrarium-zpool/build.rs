//! Compiles the engine against OpenZFS's headers and links it into the program, if they are there.
//!
//! Without them the program is built even so, and says what is missing when it is started: the rest
//! of the workspace needs none of this.

use std::path::{Path, PathBuf};

const SOURCES: [&str; 11] = [
    "abi.c",
    "datasets.c",
    "filesystem.c",
    "frames.c",
    "listing.c",
    "main.c",
    "occupied.c",
    "pool.c",
    "streams.c",
    "tree_walk.c",
    "tree_write.c",
];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(have_libzpool)");
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-env-changed=TERRARIUM_ZFS_INCLUDE");
    let include = std::env::var_os("TERRARIUM_ZFS_INCLUDE")
        .map_or_else(|| PathBuf::from("/usr/include"), PathBuf::from);
    println!(
        "cargo::rerun-if-changed={}",
        include.join("libzfs/sys/spa.h").display()
    );
    let missing = if include.join("libzfs/sys/spa.h").exists() {
        compile(&include).err()
    } else {
        Some("the headers of OpenZFS are missing (Debian: libzfslinux-dev)")
    };
    match missing {
        None => {
            println!("cargo::rustc-cfg=have_libzpool");
            let out = std::env::var("OUT_DIR").unwrap_or_default();
            for argument in [&format!("{out}/libengine.a"), "-lzpool", "-lnvpair"] {
                println!("cargo::rustc-link-arg-bins={argument}");
            }
        }
        Some(missing) => {
            println!("cargo::warning=the embedded engine is left out: {missing}");
        }
    }
    println!(
        "cargo::rustc-env=TERRARIUM_ZPOOL_MISSING={}",
        missing.unwrap_or_default()
    );
}

/// The version is checked by the compiler (c/abi.c), before anything else is compiled.
fn compile(include: &Path) -> Result<(), &'static str> {
    let mut version = build(include);
    version.file("c/abi.c");
    version
        .try_compile("version")
        .map_err(|_| "its headers are not those of OpenZFS 2.1, the only ones tried so far")?;
    let mut engine = build(include);
    engine.files(SOURCES.map(|source| Path::new("c").join(source)));
    engine
        .try_compile("engine")
        .map_err(|_| "it cannot be compiled; is there a C compiler?")
}

fn build(include: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build
        // Whoever links decides: the library of this package must not be linked with libzpool.
        .cargo_metadata(false)
        .std("gnu11")
        .define("_GNU_SOURCE", None)
        // As libzpool is compiled: they decide about the layout of structures.
        .define("DEBUG", None)
        .define("ZFS_DEBUG", None)
        .include("c/missing")
        // libspl's first: it has stand-ins for headers of the same name.
        .flag("-isystem")
        .flag(include.join("libspl"))
        .flag("-isystem")
        .flag(include.join("libzfs"))
        .flag("-Wno-unknown-pragmas")
        .flag("-Wno-sign-compare")
        .flag("-Wno-format-truncation")
        .opt_level(2)
        .debug(true);
    build
}
