//! `timers`: systemd calls `terrariumctl run`.

mod sanoid;
mod systemd;
mod units;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::timers::{FolderArgs, InstallArgs, RemoveArgs, Timers};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::render::{JSON_VERSION, one_line};

use systemd::Shown;
use units::{MARK, SERVICE, TIMER, Unit, units};

/// Where systemd looks for units of the administrator.
const SYSTEM: &str = "/etc/systemd/system";
/// Where packages put theirs. One of the administrator's hides it.
const PACKAGED: &str = "/usr/lib/systemd/system";

/// Carries out a command about the timer.
pub(crate) async fn timers(command: &Timers, console: &Console) -> Result<Exit, Failure> {
    match command {
        Timers::Install(args) => install(args, console).await,
        Timers::Remove(args) => remove(args, console),
        Timers::Status(args) => status(args, console),
    }
}

/// What was done, or would be.
#[derive(Serialize)]
struct Changed {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    /// The files, after whatever was done to them.
    units: Vec<Placed>,
    /// Whether systemd knows about it.
    active: bool,
}

#[derive(Serialize)]
struct Placed {
    path: PathBuf,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    Written,
    Unchanged,
    Removed,
    Absent,
}

/// Refuses a program that the service would not see, confined as it is.
fn refuse_unseen(program: &Path) -> Result<(), Failure> {
    const UNSEEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
    if !UNSEEN.iter().any(|folder| program.starts_with(folder)) {
        return Ok(());
    }
    let what = format!(
        "the service would not see {}: it is kept away from home folders and from those of temporary files",
        program.display()
    );
    let help = "install the program first, as /usr/local/bin/terrariumctl";
    Err(Failure::new(Exit::Refused, what).with_help(help))
}

async fn install(args: &InstallArgs, console: &Console) -> Result<Exit, Failure> {
    let folder = &args.folder.unit_dir;
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| {
            let what = format!("cannot tell where this program is: {error}");
            Failure::new(Exit::Failed, what).with_help("name it with --program")
        })?,
    };
    if !program.is_absolute() {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} is no absolute path", program.display()),
        ));
    }
    let units = units(&program);
    if args.dry_run && !console.json {
        for unit in &units {
            let path = folder.join(unit.name);
            console.answer(&format!("{}:\n\n{}\n", path.display(), unit.text))?;
        }
        return Ok(Exit::Done);
    }
    let mut placed = Vec::new();
    let mut new = Vec::new();
    for unit in &units {
        let path = folder.join(unit.name);
        let what = match found(&path)? {
            Found::Ours(text) if text == unit.text => What::Unchanged,
            Found::Foreign => return Err(foreign(&path)),
            Found::Nothing if is_packaged(folder, unit)? => {
                let path = Path::new(PACKAGED).join(unit.name);
                let what = What::Unchanged;
                placed.push(Placed { path, what });
                continue;
            }
            Found::Ours(_) | Found::Nothing => {
                new.push((path.clone(), unit));
                What::Written
            }
        };
        placed.push(Placed { path, what });
    }
    let is_systems = folder == Path::new(SYSTEM);
    if is_systems {
        refuse_unseen(&program)?;
        sanoid::refuse_a_running_one(console).await?;
    }
    if !args.dry_run {
        for (path, unit) in new {
            write(folder, &path, unit)?;
        }
        if is_systems {
            systemd::reload()?;
            systemd::enable(TIMER)?;
        }
    }
    let changed = Changed {
        version: JSON_VERSION,
        exit_code: Exit::Done.code(),
        dry_run: args.dry_run,
        units: placed,
        active: is_systems && !args.dry_run,
    };
    if console.json {
        console.answer_json(&changed)?;
        return Ok(Exit::Done);
    }
    let mut text = changed.lines();
    text.push_str(if is_systems {
        "every quarter of an hour `terrariumctl run` is called; `terrariumctl timers status` shows what became of it\n"
    } else {
        "systemd was not told: the folder is not its own\n"
    });
    console.answer(&text)?;
    Ok(Exit::Done)
}

fn remove(args: &RemoveArgs, console: &Console) -> Result<Exit, Failure> {
    let folder = &args.folder.unit_dir;
    let mut placed = Vec::new();
    for name in [TIMER, SERVICE] {
        let path = folder.join(name);
        let what = match found(&path)? {
            Found::Ours(_) => What::Removed,
            Found::Nothing => What::Absent,
            Found::Foreign => return Err(foreign(&path)),
        };
        placed.push(Placed { path, what });
    }
    let is_there = placed.iter().any(|unit| unit.what == What::Removed);
    let is_systems = folder == Path::new(SYSTEM);
    let is_packaged = is_systems && !is_there && are_packaged()?;
    if !args.dry_run && (is_there || is_packaged) {
        if is_systems {
            systemd::disable(TIMER)?;
        }
        for unit in placed.iter().filter(|unit| unit.what == What::Removed) {
            fs::remove_file(&unit.path).map_err(|error| cannot("remove", &unit.path, &error))?;
        }
        if is_systems {
            systemd::reload()?;
        }
    }
    let changed = Changed {
        version: JSON_VERSION,
        exit_code: Exit::Done.code(),
        dry_run: args.dry_run,
        units: placed,
        active: false,
    };
    if console.json {
        console.answer_json(&changed)?;
    } else if is_packaged {
        let would = if args.dry_run { "would be" } else { "is" };
        let text =
            format!("the timer {would} stopped; the units belong to the package, and stay\n");
        console.answer(&text)?;
    } else {
        console.answer(&changed.lines())?;
    }
    Ok(Exit::Done)
}

impl Changed {
    fn lines(&self) -> String {
        let would = if self.dry_run { "would be " } else { "" };
        let line = |unit: &Placed| {
            let what = match unit.what {
                What::Written => format!("{would}written"),
                What::Removed => format!("{would}removed"),
                What::Unchanged => "as it should be".to_owned(),
                What::Absent => "not there".to_owned(),
            };
            format!("{}: {what}\n", unit.path.display())
        };
        self.units.iter().map(line).collect()
    }
}

/// What the timer is like.
#[derive(Serialize)]
struct Status {
    version: u32,
    exit_code: u8,
    /// Whether both units are there and ours, or those of a package.
    installed: bool,
    /// What systemd says of them; nothing if it cannot be asked.
    #[serde(flatten)]
    shown: Option<Shown>,
}

fn status(args: &FolderArgs, console: &Console) -> Result<Exit, Failure> {
    let mut installed = true;
    for name in [SERVICE, TIMER] {
        installed &= matches!(found(&args.unit_dir.join(name))?, Found::Ours(_));
    }
    let is_systems = args.unit_dir == Path::new(SYSTEM);
    installed |= is_systems && are_packaged()?;
    let shown = if installed && is_systems {
        Some(systemd::show()?)
    } else {
        None
    };
    let exit = match &shown {
        Some(shown) if shown.is_well() => Exit::Done,
        Some(_) => Exit::Failed,
        None if installed => Exit::Done,
        None => Exit::Refused,
    };
    if console.json {
        console.answer_json(&Status {
            version: JSON_VERSION,
            exit_code: exit.code(),
            installed,
            shown,
        })?;
        return Ok(exit);
    }
    let text = match (&shown, installed) {
        (_, false) => {
            "the timer is not installed: `terrariumctl timers install`, as root\n".to_owned()
        }
        (None, true) => {
            "the units are there; systemd does not know them, the folder is not its own\n"
                .to_owned()
        }
        (Some(shown), true) => one_line_each(&shown.lines()),
    };
    console.answer(&text)?;
    Ok(exit)
}

fn one_line_each(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("{}\n", one_line(line)))
        .collect()
}

/// What stands where a unit of ours belongs.
enum Found {
    Nothing,
    Ours(String),
    Foreign,
}

fn found(path: &Path) -> Result<Found, Failure> {
    match fs::read_to_string(path) {
        Ok(text) if text.starts_with(MARK) => Ok(Found::Ours(text)),
        Ok(_) => Ok(Found::Foreign),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Found::Foreign),
        Err(error) => Err(cannot("read", path, &error)),
    }
}

/// Whether a package has put the same unit where systemd finds it too.
fn is_packaged(folder: &Path, unit: &Unit) -> Result<bool, Failure> {
    let found = found(&Path::new(PACKAGED).join(unit.name))?;
    Ok(folder == Path::new(SYSTEM) && matches!(found, Found::Ours(text) if text == unit.text))
}

/// Whether a package has put both units there, whatever they say.
fn are_packaged() -> Result<bool, Failure> {
    let mut all = true;
    for name in [SERVICE, TIMER] {
        all &= matches!(found(&Path::new(PACKAGED).join(name))?, Found::Ours(_));
    }
    Ok(all)
}

fn foreign(path: &Path) -> Failure {
    let what = format!("{} is not ours: its first line is another", path.display());
    Failure::new(Exit::Refused, what).with_help("look at it, and move it away")
}

/// Writes a unit so that it is there in full or not at all.
fn write(folder: &Path, path: &Path, unit: &Unit) -> Result<(), Failure> {
    let temporary = folder.join(format!(".{}.{}", unit.name, std::process::id()));
    let written = (|| {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(unit.text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        fs::File::open(folder)?.sync_all()
    })();
    written.map_err(|error| {
        _ = fs::remove_file(&temporary);
        cannot("write", path, &error)
    })
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(
        match error.kind() {
            io::ErrorKind::NotFound => Exit::Refused,
            io::ErrorKind::PermissionDenied => Exit::Unavailable,
            _ => Exit::Failed,
        },
        format!("cannot {what} {}: {error}", path.display()),
    );
    match error.kind() {
        io::ErrorKind::PermissionDenied => failure.with_help("run it as root"),
        _ => failure,
    }
}
