//! Secrets that come from outside: an identity, and its passphrase.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use terrarium_s3::crypto::{CryptoError, Identities, Passphrase};
use zeroize::Zeroizing;

use crate::archive::args::IdentityArgs;
use crate::exit::{Exit, Failure};

/// Reads the identity that was named. If a passphrase protects it, that is read from its file, or asked for on the
/// terminal.
///
/// # Errors
/// [`Exit::Usage`] if none was named, [`Exit::Refused`] if it cannot be used.
pub(crate) async fn identities(args: &IdentityArgs) -> Result<Identities, Failure> {
    let Some(path) = &args.file else {
        let why = "what is encrypted needs --identity FILE to be read";
        return Err(Failure::new(Exit::Usage, why));
    };
    let file = read(path, "the identity")?;
    let given = match &args.passphrase_file {
        Some(path) => Some(passphrase(&read(path, "the passphrase")?)?),
        None => None,
    };
    match Identities::parse(&file, given.as_ref()) {
        Err(CryptoError::PassphraseNeeded) => {
            let asked = ask(&path.display().to_string()).await?;
            Ok(Identities::parse(&file, Some(&passphrase(&asked)?))?)
        }
        parsed => Ok(parsed?),
    }
}

fn read(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let input: io::Result<Box<dyn Read>> = match path == Path::new("-") {
        true => Ok(Box::new(io::stdin())),
        false => File::open(path).map(|file| Box::new(file) as Box<dyn Read>),
    };
    // Taken at once, so that no smaller copy of a secret is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(Identities::MAX_FILE + 1));
    let limit = Identities::MAX_FILE as u64 + 1;
    let read = input.and_then(|input| input.take(limit).read_to_end(&mut bytes));
    read.map_err(|error| {
        let why = format!("cannot read {what} {}: {error}", path.display());
        Failure::new(Exit::Refused, why)
    })?;
    Ok(bytes)
}

/// The first line.
fn passphrase(bytes: &[u8]) -> Result<Passphrase, Failure> {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(line) => Ok(Passphrase::new(line.to_owned())),
        Err(_) => Err(Failure::new(Exit::Refused, "the passphrase is not UTF-8")),
    }
}

/// Asks on the process's terminal, whatever its standard streams are, without showing what is typed.
async fn ask(of: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let no_terminal = |_| {
        let why =
            format!("the identity {of} is protected by a passphrase, and there is no terminal");
        Failure::new(Exit::Refused, why).with_help("give --passphrase-file FILE")
    };
    let mut terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(no_terminal)?;
    let of = crate::render::one_line(of);
    let cannot = |error: io::Error| {
        Failure::new(
            Exit::Failed,
            format!("cannot ask for the passphrase: {error}"),
        )
    };
    let hidden = Hidden::begin(terminal.try_clone().map_err(cannot)?).map_err(cannot)?;
    write!(terminal, "Passphrase of {of}: ").map_err(cannot)?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut line = Zeroizing::new(Vec::with_capacity(4096));
        let read = BufReader::new(&terminal).read_until(b'\n', &mut line);
        let _ = writeln!(terminal);
        read.map(|_| line)
    });
    // This future may be given up at a signal: the terminal is then put right by `hidden`.
    let line = reading.await.map_err(io::Error::other).flatten();
    drop(hidden);
    line.map_err(cannot)
}

/// A terminal that shows nothing of what is typed, for as long as this lives.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn begin(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(terminal.as_fd())?;
        let mut hidden = before.clone();
        hidden.local_flags.remove(LocalFlags::ECHO);
        hidden.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(terminal.as_fd(), SetArg::TCSAFLUSH, &hidden)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal.as_fd(), SetArg::TCSAFLUSH, &self.before);
    }
}
