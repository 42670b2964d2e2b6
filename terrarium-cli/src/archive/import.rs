//! `archive import`: what an earlier terrariumctl has exported becomes restore points of this archive.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;
use terrarium_s3::archive::{AnyStore, Archive};
use terrarium_s3::crypto::HostKey;
use terrarium_s3::earlier::{self, EarlierPoint, Found};
use terrarium_zfs::Guid;
use tokio::runtime::Handle;

use crate::archive::Session;
use crate::archive::args::{ImportArgs, PutArgs, WorkArgs};
use crate::archive::points::{Listed, Points};
use crate::archive::put::{Arrived, Into, Taken};
use crate::exit::{Exit, Failure};
use crate::render::{JSON_VERSION, one_line, units};

#[derive(Serialize)]
struct Imported {
    version: u32,
    exit_code: u8,
    dry_run: bool,
    from: String,
    points: Vec<One>,
}

/// What became of one point.
#[derive(Serialize)]
struct One {
    /// None if its manifest does not say.
    instance: Option<String>,
    snapshot: Option<String>,
    /// The stream, or the manifest if that leads to none.
    object: String,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
enum Outcome {
    /// It would be read.
    Found { stored_bytes: u64 },
    /// It is a restore point now.
    Imported(Box<Listed>),
    /// It was one already.
    There(Box<Listed>),
    /// It is none.
    Failed {
        error: String,
        #[serde(skip)]
        exit: Exit,
    },
}

/// Takes over all of them, or those of some instances.
pub(super) async fn import(args: &ImportArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    let interrupt = &session.interrupt;
    let looking = async {
        let (store, layout) = args.from.open(&session.s3).await?;
        let found = earlier::find(&store, &layout).await?;
        Ok::<_, Failure>((Arc::new(store), found))
    };
    let (store, found) = interrupt.or(looking).await?;
    let chosen = choose(args, &found)?;
    let of_chosen = |broken: &&earlier::Broken| {
        let mut names = args.names.iter().map(|name| format!("manifests/{name}/"));
        args.names.is_empty() || names.any(|folder| broken.manifest.as_str().contains(&folder))
    };
    let broken = found.broken.iter().filter(of_chosen);
    let mut ones: Vec<_> = broken.map(One::broken).collect();
    if args.dry_run {
        ones.extend(chosen.into_iter().map(One::found));
    } else {
        let writing = async {
            let (archive, key) = session.open_to_write().await?;
            let points = Points::read(&archive).await?;
            Ok::<_, Failure>((archive, key, points))
        };
        let (archive, key, points) = interrupt.or(writing).await?;
        let mut run = Run {
            session,
            store,
            archive,
            key,
            points,
            sound: HashSet::new(),
            work: args.work,
        };
        for point in chosen {
            let outcome = match run.one(point).await {
                Ok(outcome) => outcome,
                // What is stored of it is not stored again.
                Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
                Err(failure) => Outcome::Failed {
                    error: failure.message,
                    exit: failure.exit,
                },
            };
            let one = One::of(point, outcome);
            if !session.console.json {
                session.console.answer(&one.line())?;
            }
            ones.push(one);
        }
    }
    let exit = ones.iter().map(One::exit).fold(Exit::Done, Exit::merge);
    if session.console.json {
        session.console.answer_json(&Imported {
            version: JSON_VERSION,
            exit_code: exit.code(),
            dry_run: args.dry_run,
            from: args.from.to_string(),
            points: ones,
        })?;
        return Ok(exit);
    }
    let mut text = String::new();
    for one in ones.iter().filter(|one| one.is_untold()) {
        text.push_str(&one.line());
    }
    if ones.is_empty() {
        let _ = writeln!(
            text,
            "{} holds nothing of an earlier terrariumctl",
            args.from
        );
    }
    session.console.answer(&text)?;
    Ok(exit)
}

fn choose<'a>(args: &ImportArgs, found: &'a Found) -> Result<Vec<&'a EarlierPoint>, Failure> {
    for name in &args.names {
        if !found.points.iter().any(|point| point.instance == *name) {
            let why = format!("{} has no restorable point of {name:?}", args.from);
            let help = "--dry-run without --name shows what is there";
            return Err(Failure::new(Exit::Refused, why).with_help(help));
        }
    }
    let chosen =
        |point: &&EarlierPoint| args.names.is_empty() || args.names.contains(&point.instance);
    Ok(found.points.iter().filter(chosen).collect())
}

/// One import.
struct Run<'a> {
    session: &'a Session<'a>,
    store: Arc<AnyStore>,
    archive: Archive<AnyStore>,
    key: HostKey,
    points: Points,
    /// What was stored in this run.
    sound: HashSet<Guid>,
    work: WorkArgs,
}

impl Run<'_> {
    async fn one(&mut self, point: &EarlierPoint) -> Result<Outcome, Failure> {
        let (store, of) = (Arc::clone(&self.store), point.clone());
        let runtime = Handle::current();
        let opening = async {
            let opened = tokio::task::spawn_blocking(move || {
                let unreadable =
                    |error| Failure::new(Exit::Failed, format!("it cannot be read: {error}"));
                let mut stream = earlier::stream(store, &of, runtime).map_err(unreadable)?;
                Ok::<_, Failure>((Arrived::read(&mut stream)?, stream))
            });
            let lost = |error| Failure::new(Exit::Failed, format!("{error}"));
            opened.await.map_err(lost)?
        };
        let (arrived, rest) = self.session.interrupt.or(opening).await?;
        let args = PutArgs {
            name: point.instance.clone(),
            alias: None,
            new_lineage: false,
            lineage: None,
            work: self.work,
        };
        let into = Into {
            archive: &self.archive,
            key: &self.key,
            points: &self.points,
            sound: &self.sound,
            args: &args,
        };
        match into.take(arrived, rest, self.session).await? {
            Taken::There(there) => Ok(Outcome::There(there)),
            Taken::Stored(stored, _) => {
                self.sound.insert(stored.guid);
                self.points.listed.push((*stored).clone());
                Ok(Outcome::Imported(stored))
            }
        }
    }
}

impl One {
    fn of(point: &EarlierPoint, outcome: Outcome) -> Self {
        Self {
            instance: Some(point.instance.clone()),
            snapshot: Some(point.snapshot.clone()),
            object: point.object.to_string(),
            outcome,
        }
    }

    fn found(point: &EarlierPoint) -> Self {
        let stored_bytes = point.stored_bytes;
        Self::of(point, Outcome::Found { stored_bytes })
    }

    fn broken(broken: &earlier::Broken) -> Self {
        Self {
            instance: None,
            snapshot: None,
            object: broken.manifest.to_string(),
            outcome: Outcome::Failed {
                error: broken.why.clone(),
                exit: Exit::Failed,
            },
        }
    }

    fn exit(&self) -> Exit {
        match &self.outcome {
            // Others were taken over: "nothing was changed" is not to be promised.
            Outcome::Failed { exit, .. } if *exit != Exit::Unavailable => Exit::Failed,
            Outcome::Failed { exit, .. } => *exit,
            _ => Exit::Done,
        }
    }

    /// Whether nobody was told while it went on.
    fn is_untold(&self) -> bool {
        matches!(self.outcome, Outcome::Found { .. }) || self.instance.is_none()
    }

    fn line(&self) -> String {
        let name = match (&self.instance, &self.snapshot) {
            (Some(instance), Some(snapshot)) => {
                format!("{} of {}", one_line(snapshot), one_line(instance))
            }
            _ => self.object.clone(),
        };
        match &self.outcome {
            Outcome::Found { stored_bytes } => {
                format!("would import {name}: {}\n", units::size(*stored_bytes))
            }
            Outcome::Imported(point) => {
                let stream = units::size(point.stream_bytes);
                let stored = units::size(point.stored_bytes);
                format!("imported {name}: {stream} as {stored}\n")
            }
            Outcome::There(_) => format!("{name} is in the archive already\n"),
            Outcome::Failed { error, .. } => {
                format!("{name} cannot be imported: {}\n", one_line(error))
            }
        }
    }
}
