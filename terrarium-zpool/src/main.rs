//! The program that holds a pool file; [`terrarium_zpool::Engine`] starts it and talks to it.
#![allow(unsafe_code, reason = "calls the engine, which is written in C")]
#![allow(clippy::print_stderr, reason = "a program that says why it ends")]

#[cfg(have_libzpool)]
fn main() {
    unsafe extern "C" {
        fn terrarium_zpool_main() -> std::ffi::c_int;
    }
    // SAFETY: no preconditions but that nothing of ZFS has run in this process, and nothing has.
    let code = unsafe { terrarium_zpool_main() };
    std::process::exit(code);
}

#[cfg(not(have_libzpool))]
fn main() {
    eprintln!(
        "terrarium-zpool was built without OpenZFS: {}",
        env!("TERRARIUM_ZPOOL_MISSING")
    );
    std::process::exit(terrarium_zpool::BUILT_WITHOUT);
}
