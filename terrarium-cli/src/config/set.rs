//! `set`: settings that are tried before they are saved.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use terrarium_core::config::{Key, Value, save_lxd};
use terrarium_s3::archive::{Location, S3Options};
use terrarium_s3::format::RunId;
use terrarium_s3::probe_role;
use zeroize::Zeroizing;

use super::{connect, reached_with};
use crate::args::set::{Set, SetS3Args};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::render::JSON_VERSION;

/// A key of S3 has tens of characters.
const LONGEST: u64 = 4096;

/// Everything that says which archive is used, and by whom: what is not set anew is forgotten.
const PLACE: [Key; 8] = [
    Key::Archive,
    Key::EnableS3,
    Key::S3Endpoint,
    Key::S3Bucket,
    Key::S3Region,
    Key::S3Prefix,
    Key::S3AccessKey,
    Key::S3SecretKey,
];

/// Carries out a command.
pub(crate) async fn set(command: &Set, console: &Console) -> Result<Exit, Failure> {
    match command {
        Set::S3(args) => s3(args, console).await,
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    archive: &'a str,
    reads: bool,
    deletes: bool,
}

impl Answer<'_> {
    fn text(&self) -> String {
        let saved = match self.dry_run {
            true => "works; nothing was saved",
            false => "works, and is saved in LXD",
        };
        let mut text = format!("{} {saved}\n", self.archive);
        if !self.reads {
            text.push_str("  note: these keys cannot read: restore and verify with others\n");
        }
        if !self.deletes {
            text.push_str("  note: these keys cannot delete (append-only): prune elsewhere\n");
        }
        text
    }
}

async fn s3(args: &SetS3Args, console: &Console) -> Result<Exit, Failure> {
    let values = values(args)?;
    // LXD is asked first: a bucket that works is of no use if nothing can be saved.
    let client = connect().await?;
    let prefix = args.prefix.as_deref().unwrap_or_default();
    let archive = format!("s3://{}/{}", args.bucket, prefix.trim_matches('/'));
    let archive = archive.trim_end_matches('/');
    let location: Location = archive.parse()?;
    let value = |key| values.get(&key).map(|value| value.expose().to_owned());
    let options = reached_with(value, S3Options::default());
    let (store, layout) = location.open(&options).await?;
    let run = RunId::random().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let key = layout.probe(run);
    let key = key.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let role = probe_role(&store, &key).await?;
    if !role.create_only {
        let what = format!(
            "{archive} accepts a second object of one key: hosts could overwrite each other's backups"
        );
        let help = "use a store that knows conditional puts (If-None-Match)";
        return Err(Failure::new(Exit::Refused, what).with_help(help));
    }
    if !args.dry_run {
        let changes = PLACE.map(|key| (key, values.get(&key).cloned()));
        save_lxd(&client, &changes.into()).await?;
    }
    let answer = Answer {
        version: JSON_VERSION,
        exit_code: Exit::Done.code(),
        dry_run: args.dry_run,
        archive,
        reads: role.reads,
        deletes: role.deletes,
    };
    match console.json {
        true => console.answer_json(&answer)?,
        false => console.answer(&answer.text())?,
    }
    Ok(Exit::Done)
}

fn values(args: &SetS3Args) -> Result<BTreeMap<Key, Value>, Failure> {
    let mut texts = vec![(Key::EnableS3, "true".to_owned())];
    let given = [
        (Key::S3Bucket, Some(&args.bucket)),
        (Key::S3Prefix, args.prefix.as_ref()),
        (Key::S3Endpoint, args.endpoint.as_ref()),
        (Key::S3Region, args.region.as_ref()),
        (Key::S3AccessKey, args.access_key.as_ref()),
    ];
    let given = given.into_iter();
    texts.extend(given.filter_map(|(key, text)| Some((key, text?.clone()))));
    if let Some(file) = &args.secret_key_file {
        texts.push((Key::S3SecretKey, secret(file)?));
    }
    let parse = |(key, text)| {
        let parsed = Value::parse(key, text);
        let parsed = parsed.map_err(|why| Failure::new(Exit::Usage, format!("{key}: {why}")));
        Ok((key, parsed?))
    };
    texts.into_iter().map(parse).collect()
}

/// What is in the file, without the end of its line.
fn secret(path: &Path) -> Result<String, Failure> {
    let is_input = path == Path::new("-");
    let mut text = Zeroizing::new(String::new());
    let read = match is_input {
        true => io::stdin().lock().take(LONGEST).read_to_string(&mut text),
        false => File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)),
    };
    read.map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::NotFound => Exit::Refused,
            _ => Exit::Failed,
        };
        let of = match is_input {
            true => "standard input".to_owned(),
            false => path.display().to_string(),
        };
        Failure::new(exit, format!("cannot read the secret from {of}: {error}"))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
