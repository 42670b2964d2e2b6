//! The time machine, shown on a pool in a file: `make demo`.
//!
//! Two containers of real files are snapshotted, broken, rewound, brought forward again and restored as new, by the very
//! commands that are shown. After each of them every file is read and compared by hash with what must be there. The
//! exit code is 0 only if all were equal.
//!
//! ```console
//! $ cargo build --workspace --all-features --bins --example demo
//! $ target/debug/examples/demo            # or: demo FOLDER, which is then left to be looked at
//! ```
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "shows what it does"
)]

mod containers;
mod story;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use story::Story;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    // This program is in `examples`, beside which cargo puts the others.
    let program = std::env::current_exe()?;
    let programs = program.parent().and_then(|examples| examples.parent());
    let programs = programs.ok_or("this program has no place")?;
    let kept = std::env::args_os().nth(1).map(PathBuf::from);
    let temporary;
    let folder = match &kept {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            folder.canonicalize()?
        }
        None => {
            temporary = tempfile::Builder::new()
                .prefix("terrarium-demo-")
                .tempdir()?;
            temporary.path().to_owned()
        }
    };
    Story::new(programs, &folder).tell(&mut std::io::stdout())?;
    println!("    ({:.1} s)", begun.elapsed().as_secs_f64());
    if kept.is_some() {
        println!(
            "The pool is left in {}; terrariumctl is in {}.",
            folder.join(story::POOL_FILE).display(),
            programs.display()
        );
    }
    Ok(())
}
