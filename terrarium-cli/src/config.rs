//! `config`: the settings of this host, and what the commands of the archive take from them.

mod set;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lxd_client::{Client, ErrorKind};
use serde::Serialize;
use terrarium_core::config::{
    DEFAULT_FILE, FileError, Key, Layer, Origin, Settings, StoreError, Value, read_file, read_lxd,
    resolve, save_lxd, write_file,
};
use terrarium_core::with_causes;
use terrarium_s3::archive::{S3Keys, S3Options};

use crate::args::config::{Config, ExportArgs, ImportArgs, ShowArgs};
use crate::confirm::{self, Question};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::render::JSON_VERSION;
use crate::signal::Interrupt;

pub(crate) use set::set;

/// What the places say.
pub(crate) struct Observed {
    settings: Settings,
    /// Why LXD was not heeded.
    without_lxd: Option<String>,
    /// Whether there is a file.
    has_file: bool,
    file: Result<(), Failure>,
}

/// Asks every place: LXD and the file may be missing.
pub(crate) async fn observe() -> Observed {
    let mut layers = vec![Layer::of_environment(|name| std::env::var(name).ok())];
    let without_lxd = match lxd().await {
        Ok(layer) => {
            layers.push(layer);
            None
        }
        Err(failure) => Some(failure.message),
    };
    let (has_file, file) = match read_file(&default_file()) {
        Ok(Some(layer)) => {
            layers.push(layer);
            (true, Ok(()))
        }
        Ok(None) => (false, Ok(())),
        Err(error) => (false, Err(error.into())),
    };
    let settings = resolve(&layers);
    Observed {
        settings,
        without_lxd,
        has_file,
        file,
    }
}

impl Observed {
    /// The settings, if they can be relied on; what is passed over is told.
    pub(crate) fn into_use(self, console: &Console) -> Result<Settings, Failure> {
        self.tell(console);
        self.file?;
        let fatal: Vec<String> = self.settings.fatal().map(ToString::to_string).collect();
        refuse(&fatal, "the settings of this host cannot be used")?;
        Ok(self.settings)
    }

    fn tell(&self, console: &Console) {
        if let Some(why) = self.without_lxd.as_ref().filter(|_| self.has_file) {
            let file = default_file();
            let file = file.display();
            console.tell(&format!(
                "note: settings are those of {file}, for LXD does not say them: {why}"
            ));
        }
        let fatal: Vec<_> = self.settings.fatal().collect();
        for problem in &self.settings.problems {
            if !fatal.contains(&problem) {
                console.tell(&format!("warning: {problem}"));
            }
        }
    }
}

/// How the bucket of the settings is reached: what flags and environment say goes before.
pub(crate) fn reached(settings: &Settings, s3: S3Options) -> S3Options {
    // What the environment says is read where the store is opened.
    let stored = |key: Key| {
        let setting = settings.values.get(&key)?;
        let stored = matches!(setting.origin, Origin::Lxd | Origin::File);
        stored.then(|| setting.value.expose().to_owned())
    };
    let has_profile = std::env::var_os("AWS_PROFILE").is_some_and(|name| !name.is_empty());
    let is_key = |key: Key| matches!(key, Key::S3AccessKey | Key::S3SecretKey);
    reached_with(
        |key| stored(key).filter(|_| !(has_profile && is_key(key))),
        s3,
    )
}

/// How a bucket is reached with what is stored of it.
fn reached_with(stored: impl Fn(Key) -> Option<String>, mut s3: S3Options) -> S3Options {
    let endpoint = || stored(Key::S3Endpoint).map(|url| url.trim_end_matches('/').to_owned());
    s3.endpoint = s3.endpoint.or_else(endpoint);
    s3.region = s3.region.or_else(|| stored(Key::S3Region));
    if let (Some(access_key), Some(secret_key)) =
        (stored(Key::S3AccessKey), stored(Key::S3SecretKey))
    {
        s3.keys = Some(S3Keys {
            access_key,
            secret_key: secret_key.into(),
        });
    }
    s3
}

/// Carries out a command.
pub(crate) async fn config(command: &Config, console: &Console) -> Result<Exit, Failure> {
    match command {
        Config::Show(args) => show(args, console).await,
        Config::Export(args) => export(args, console).await,
        Config::Import(args) => import(args, console).await,
    }
}

async fn show(args: &ShowArgs, console: &Console) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Line<'a> {
        key: Key,
        value: &'a Value,
        origin: Origin,
    }
    #[derive(Serialize)]
    struct Shown<'a> {
        version: u32,
        exit_code: u8,
        settings: Vec<Line<'a>>,
        problems: Vec<String>,
    }
    let observed = observe().await;
    observed.tell(console);
    let settings = &observed.settings;
    let fatal: Vec<String> = settings.fatal().map(ToString::to_string).collect();
    let exit = match fatal.is_empty() && observed.file.is_ok() {
        true => Exit::Done,
        false => Exit::Usage,
    };
    for problem in &fatal {
        console.tell(&format!("error: {problem}"));
    }
    if let Err(failure) = &observed.file {
        console.tell(&format!("error: {}", failure.message));
    }
    if console.json {
        let lines = settings.values.iter().map(|(key, setting)| Line {
            key: *key,
            value: &setting.value,
            origin: setting.origin,
        });
        console.answer_json(&Shown {
            version: JSON_VERSION,
            exit_code: exit.code(),
            settings: lines.collect(),
            problems: settings.problems.iter().map(ToString::to_string).collect(),
        })?;
        return Ok(exit);
    }
    let mut text = String::new();
    for (key, setting) in &settings.values {
        let origin = match args.origin {
            true => format!("  ({})", setting.origin),
            false => String::new(),
        };
        text.push_str(&format!("{key} = {}{origin}\n", setting.value));
    }
    if text.is_empty() {
        text.push_str("nothing is set\n");
    }
    console.answer(&text)?;
    Ok(exit)
}

#[derive(Serialize)]
struct Exported<'a> {
    version: u32,
    exit_code: u8,
    file: &'a Path,
    /// How many.
    settings: usize,
}

/// What an import changes, or would.
#[derive(Serialize)]
struct Imported<'a> {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    changes: Vec<Changed<'a>>,
}

#[derive(Serialize)]
struct Changed<'a> {
    key: Key,
    before: Option<&'a Value>,
    after: &'a Value,
}

impl Imported<'_> {
    fn text(&self) -> String {
        let line = |change: &Changed<'_>| {
            let before = change.before.map_or("not set".to_owned(), Value::to_string);
            format!("{}: {before} -> {}\n", change.key, change.after)
        };
        match self.changes.is_empty() {
            true => "nothing to change\n".to_owned(),
            false => self.changes.iter().map(line).collect(),
        }
    }
}

async fn export(args: &ExportArgs, console: &Console) -> Result<Exit, Failure> {
    let layer = lxd().await?;
    let problems: Vec<String> = layer.problems.iter().map(ToString::to_string).collect();
    refuse(
        &problems,
        "the settings in LXD cannot be exported as they are",
    )?;
    let path = args.to.clone().unwrap_or_else(default_file);
    // What is no file cannot be replaced by one, and a terminal would show the secrets.
    if path.exists() && !path.is_file() {
        let what = format!("{} is there and is no file", path.display());
        return Err(Failure::new(Exit::Refused, what));
    }
    write_file(&path, &layer)?;
    let count = layer.values.len();
    if console.json {
        console.answer_json(&Exported {
            version: JSON_VERSION,
            exit_code: Exit::Done.code(),
            file: &path,
            settings: count,
        })?;
    } else {
        let path = path.display();
        console.remark(&format!(
            "wrote {count} settings to {path}, secrets included; only its owner may read it"
        ));
    }
    Ok(Exit::Done)
}

async fn import(args: &ImportArgs, console: &Console) -> Result<Exit, Failure> {
    let interrupt = Interrupt::default();
    let path = args.file.display();
    let Some(file) = read_file(&args.file)? else {
        return Err(Failure::new(
            Exit::Refused,
            format!("there is no file {path}"),
        ));
    };
    let client = connect().await?;
    let stored = read_lxd(&client).await?;
    // As LXD would be: what the file does not name stays.
    let mut after = stored.clone();
    after.values.extend(file.values.clone());
    let found = file
        .problems
        .iter()
        .chain(&resolve(&[after]).problems)
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    refuse(&found, &format!("nothing of {path} was taken"))?;
    let changes: BTreeMap<Key, Value> = file
        .values
        .into_iter()
        .filter(|(key, value)| stored.values.get(key) != Some(value))
        .collect();
    let imported = Imported {
        version: JSON_VERSION,
        exit_code: Exit::Done.code(),
        dry_run: args.consent.dry_run,
        changes: changes
            .iter()
            .map(|(key, after)| Changed {
                key: *key,
                before: stored.values.get(key),
                after,
            })
            .collect(),
    };
    if !args.consent.dry_run && !changes.is_empty() {
        if !args.consent.yes {
            confirm::refuse_unattended(console)?;
            let question = Question {
                text: imported.text(),
                destroys: false,
            };
            confirm::ask(&question, console, &interrupt).await?;
        }
        let changes = changes
            .iter()
            .map(|(key, value)| (*key, Some(value.clone())));
        save_lxd(&client, &changes.collect()).await?;
    }
    match console.json {
        true => console.answer_json(&imported)?,
        false => console.answer(&imported.text())?,
    }
    Ok(Exit::Done)
}

fn refuse(problems: &[String], message: &str) -> Result<(), Failure> {
    if problems.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(Exit::Usage, message);
    failure.details = problems.to_vec();
    Err(failure.with_help("docs/configuration.md has all settings"))
}

fn default_file() -> PathBuf {
    let named = std::env::var_os("TERRARIUM_CONFIG").filter(|path| !path.is_empty());
    named.map_or_else(|| DEFAULT_FILE.into(), PathBuf::from)
}

async fn lxd() -> Result<Layer, Failure> {
    Ok(read_lxd(&connect().await?).await?)
}

async fn connect() -> Result<Client, Failure> {
    Client::connect()
        .await
        .map_err(|error| Failure::new(Exit::Unavailable, with_causes(&error)))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match error.source.kind() {
            ErrorKind::Unavailable => Exit::Unavailable,
            ErrorKind::Failed | ErrorKind::Unknown => Exit::Failed,
            _ => Exit::Refused,
        };
        Failure::new(exit, with_causes(&error))
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        let help = match &error {
            FileError::Exposed(path) => Some(format!("chmod 600 {}", path.display())),
            _ => None,
        };
        let exit = match &error {
            FileError::Exposed(_) => Exit::Refused,
            FileError::Malformed { .. } => Exit::Usage,
            _ => Exit::Failed,
        };
        Failure {
            help,
            ..Failure::new(exit, error.to_string())
        }
    }
}
