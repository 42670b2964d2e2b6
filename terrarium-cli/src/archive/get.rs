//! `archive get`: the stream of a restore point, or those of its chain.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use terrarium_core::{SelectError, select, widen_pipe};
use terrarium_s3::archive::{AnyStore, Archive, Point};
use terrarium_s3::crypto::Identities;
use terrarium_s3::pipeline::{Options, read_stream};
use terrarium_zfs::{Guid, SnapshotName};

use crate::archive::Session;
use crate::archive::args::GetArgs;
use crate::archive::identity::identities;
use crate::archive::list::no_such_name;
use crate::archive::points::{Listed, Points};
use crate::exit::{Exit, Failure};
use crate::progress::Transfer;
use crate::render::{JSON_VERSION, one_line};

/// What was written.
#[derive(Serialize)]
struct Got {
    version: u32,
    exit_code: u8,
    files: Vec<Written>,
}

#[derive(Serialize)]
struct Written {
    path: PathBuf,
    snapshot: SnapshotName,
    guid: Guid,
    stream_bytes: u64,
    verdict: &'static str,
}

/// Reads the streams back. Nothing is written before every manifest that is needed was read, and was decrypted.
pub(super) async fn get(args: &GetArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    let console = session.console;
    match &args.out {
        None if console.json => {
            let why = "a stream is written as it is, not as JSON; with --out the files are named";
            return Err(Failure::new(Exit::Usage, why));
        }
        None if io::stdout().is_terminal() => {
            let why = "the stream would go to standard output, which is a terminal";
            return Err(Failure::new(Exit::Usage, why).with_help("redirect it, or give --out DIR"));
        }
        _ => {}
    }
    let looking = async {
        let identities = Arc::new(identities(&args.identity).await?);
        let archive = session.open().await?;
        session.compare(&archive)?;
        let chain = choose(args, session, &archive).await?;
        for point in &chain {
            refuse_unsigned(&archive, point, args)?;
            point.manifest.open(&identities)?;
        }
        Ok::<_, Failure>((identities, archive, chain))
    };
    let (identities, archive, chain) = session.interrupt.or(looking).await?;
    let reading = Reading {
        archive,
        identities,
        options: args.work.options(),
    };
    let work = async {
        match &args.out {
            None => reading.to_standard_output(&chain, session).await,
            Some(folder) => reading.to_files(&chain, folder, session).await,
        }
    };
    tokio::select! {
        biased;
        () = session.interrupt.wait() => {
            let why = "interrupted; the stream is not whole";
            Err(Failure::new(Exit::Interrupted, why))
        }
        done = work => done,
    }
}

/// The points whose streams are wanted, in their order.
async fn choose(
    args: &GetArgs,
    session: &Session<'_>,
    archive: &Archive<AnyStore>,
) -> Result<Vec<Point>, Failure> {
    let points = Points::read(archive).await?;
    for damaged in &points.unreadable {
        let (object, error) = (&damaged.object, one_line(&damaged.error));
        session
            .console
            .tell(&format!("warning: {object} cannot be read: {error}"));
    }
    let of_name = points.of_name(&args.name);
    if of_name.is_empty() {
        return Err(no_such_name(&args.name, &points));
    }
    // What nobody signed is not the newest without being named.
    let signed: Vec<Listed> = match args.at.is_none() && !args.unverified {
        true => of_name
            .iter()
            .filter(|point| point.trusted)
            .cloned()
            .collect(),
        false => Vec::new(),
    };
    let among = if signed.is_empty() { &of_name } else { &signed };
    let selected = select(among, args.at.as_deref(), &session.now);
    let point = selected
        .map_err(|error| not_selected(&args.name, error))?
        .point;
    if args.chain {
        let chain = archive.chain(&points.catalog, point.lineage, point.guid);
        return Ok(chain.await?);
    }
    let entry = points.catalog.find(point.lineage, point.guid);
    let entry = entry.ok_or_else(|| no_such_name(&args.name, &points))?;
    Ok(vec![archive.point(entry).await?])
}

/// No point of a name is meant, or several.
pub(crate) fn not_selected(name: &str, error: SelectError) -> Failure {
    let help = match &error {
        SelectError::NotFound { nearest, .. } if !nearest.is_empty() => {
            format!("did you mean {}?", nearest.join(" or "))
        }
        SelectError::Ambiguous { .. } => "choose one by its guid".to_owned(),
        _ => "`terrariumctl archive list` shows them all".to_owned(),
    };
    let (why, details) = match error {
        SelectError::Ambiguous {
            selector,
            candidates,
        } => {
            let count = candidates.len();
            (
                format!("{selector:?} fits {count} restore points"),
                candidates,
            )
        }
        error => (error.to_string(), Vec::new()),
    };
    Failure {
        details,
        ..Failure::new(Exit::Refused, format!("{name:?}: {why}")).with_help(help)
    }
}

fn refuse_unsigned(
    archive: &Archive<AnyStore>,
    point: &Point,
    args: &GetArgs,
) -> Result<(), Failure> {
    if args.unverified || archive.trusts(point.verdict) {
        return Ok(());
    }
    let why = format!(
        "{} (guid {}) was not signed by a host of the archive: its signature is {}",
        point.manifest.snapshot,
        point.manifest.guid,
        match point.verdict.as_str() {
            "unsigned" => "missing",
            other => other,
        }
    );
    let help = "somebody else may have made or changed it; --unverified takes it all the same";
    Err(Failure::new(Exit::Refused, why).with_help(help))
}

struct Reading {
    archive: Archive<AnyStore>,
    identities: Arc<Identities>,
    options: Options,
}

impl Reading {
    async fn to_standard_output(
        &self,
        chain: &[Point],
        session: &Session<'_>,
    ) -> Result<Exit, Failure> {
        widen_pipe(io::stdout());
        for point in chain {
            // Not the standard library's own, which looks for ends of lines.
            let output = io::stdout().as_fd().try_clone_to_owned();
            let output = output.map_err(|error| {
                Failure::new(
                    Exit::Failed,
                    format!("cannot write to standard output: {error}"),
                )
            })?;
            self.read(point, File::from(output), session).await?;
            session.console.remark(&told(point, "read"));
        }
        Ok(Exit::Done)
    }

    async fn to_files(
        &self,
        chain: &[Point],
        folder: &Path,
        session: &Session<'_>,
    ) -> Result<Exit, Failure> {
        let cannot = |path: &Path, error: io::Error| {
            Failure::new(
                Exit::Failed,
                format!("cannot write {}: {error}", path.display()),
            )
        };
        let files: Vec<_> = chain
            .iter()
            .enumerate()
            .map(|(number, point)| format!("{number:03}-{}.zfs", point.manifest.guid))
            .collect();
        if let Some(there) = files
            .iter()
            .map(|file| folder.join(file))
            .find(|path| path.exists())
        {
            let why = format!("{} is there already", there.display());
            return Err(Failure::new(Exit::Refused, why).with_help("choose another folder"));
        }
        fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;
        let mut written = Vec::new();
        for (point, file) in chain.iter().zip(files) {
            let path = folder.join(&file);
            let partial = Partial(folder.join(format!(".{file}.partial")));
            let output = File::create(&partial.0).map_err(|error| cannot(&partial.0, error))?;
            let synced = output
                .try_clone()
                .map_err(|error| cannot(&partial.0, error))?;
            self.read(point, output, session).await?;
            let named = synced
                .sync_all()
                .and_then(|()| fs::rename(&partial.0, &path));
            named.map_err(|error| cannot(&path, error))?;
            if !session.console.json {
                let what = format!("wrote {}:", path.display());
                session.console.answer(&(told(point, &what) + "\n"))?;
            }
            written.push(Written {
                path,
                snapshot: point.manifest.snapshot.clone(),
                guid: point.manifest.guid,
                stream_bytes: point.manifest.stream_bytes,
                verdict: point.verdict.as_str(),
            });
        }
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| cannot(folder, error))?;
        if session.console.json {
            session.console.answer_json(&Got {
                version: JSON_VERSION,
                exit_code: Exit::Done.code(),
                files: written,
            })?;
        }
        Ok(Exit::Done)
    }

    async fn read(
        &self,
        point: &Point,
        output: impl Write + Send + 'static,
        session: &Session<'_>,
    ) -> Result<(), Failure> {
        let manifest = &point.manifest;
        let sealed = manifest.open(&self.identities)?;
        let transfer = Transfer::begin(session.console, "read", Some(manifest.stream_bytes));
        let options = Options {
            progress: Some(transfer.progress()),
            ..self.options.clone()
        };
        let read = read_stream(
            Arc::clone(self.archive.store()),
            self.archive.layout(),
            manifest,
            Arc::clone(&self.identities),
            Some(sealed.stream_blake3),
            output,
            &options,
        );
        transfer.watch(read).await?;
        Ok(())
    }
}

fn told(point: &Point, what: &str) -> String {
    let manifest = &point.manifest;
    format!(
        "{what} {} (guid {}), {}",
        one_line(manifest.snapshot.as_str()),
        manifest.guid,
        point.verdict.as_str()
    )
}

/// A file that is not whole yet, and goes if it never is.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename there is nothing of this name.
        let _ = fs::remove_file(&self.0);
    }
}
