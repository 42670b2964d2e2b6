//! `archive put`: a send stream becomes a restore point.

mod decide;

use std::collections::HashSet;
use std::io::{self, Cursor, IsTerminal, Read};
use std::sync::Arc;

use serde::Serialize;
use terrarium_core::widen_pipe;
use terrarium_s3::archive::{AnyStore, Archive, ChainError};
use terrarium_s3::crypto::HostKey;
use terrarium_s3::format::{Base, Kind, Lineage};
use terrarium_s3::pipeline::{Ids, Options, Point, publish, write_stream};
use terrarium_zfs::stream::BeginRecord;
use terrarium_zfs::{Guid, SnapshotName};

use crate::archive::Session;
use crate::archive::args::PutArgs;
use crate::archive::points::{Listed, Points};
use crate::archive::put::decide::{Decision, Incoming, decide};
use crate::exit::{Exit, Failure};
use crate::progress::Transfer;
use crate::render::{self, JSON_VERSION, one_line};

/// What became of the stream.
#[derive(Serialize)]
struct Stored<'a> {
    version: u32,
    exit_code: u8,
    /// Not if it was there already.
    stored: bool,
    /// Parts that an earlier, interrupted run has stored.
    reused_parts: usize,
    point: &'a Listed,
}

/// The beginning of a stream that is to be stored.
pub(super) struct Arrived {
    first: [u8; BeginRecord::SIZE],
    snapshot: SnapshotName,
    incoming: Incoming,
}

/// What became of a stream.
pub(super) enum Taken {
    /// It was there already; nothing more of it was read.
    There(Box<Listed>),
    /// It is a restore point now. Of its parts so many were stored by an earlier, interrupted run.
    Stored(Box<Listed>, usize),
}

/// Stores the stream on standard input.
pub(super) async fn put(args: &PutArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    refuse_name(&args.name)?;
    let interrupt = &session.interrupt;
    if io::stdin().is_terminal() {
        let why = "a stream is to come from standard input, which is a terminal";
        return Err(Failure::new(Exit::Usage, why));
    }
    widen_pipe(io::stdin());
    let arriving = async {
        let first = tokio::task::spawn_blocking(|| Arrived::read(&mut io::stdin()));
        let lost = |error| Failure::new(Exit::Failed, format!("{error}"));
        first.await.map_err(lost)?
    };
    let arrived = interrupt.or(arriving).await?;
    let looking = async {
        let (archive, key) = session.open_to_write().await?;
        let points = Points::read(&archive).await?;
        Ok::<_, Failure>((archive, key, points))
    };
    let (archive, key, points) = interrupt.or(looking).await?;
    let into = Into {
        archive: &archive,
        key: &key,
        points: &points,
        sound: &HashSet::new(),
        args,
    };
    match into.take(arrived, io::stdin(), session).await? {
        Taken::Stored(point, reused) => shown(session, &point, true, reused),
        Taken::There(point) => {
            // Whoever sends must not see a broken pipe for it.
            let drained =
                tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
            interrupt
                .or(async { Ok::<_, Failure>(drained.await) })
                .await?
                .ok();
            shown(session, &point, false, 0)
        }
    }
}

/// Where a stream goes.
pub(super) struct Into<'a> {
    pub(super) archive: &'a Archive<AnyStore>,
    pub(super) key: &'a HostKey,
    pub(super) points: &'a Points,
    /// Those of them that were stored just now, and need not be looked at again.
    pub(super) sound: &'a HashSet<Guid>,
    pub(super) args: &'a PutArgs,
}

impl Into<'_> {
    /// Stores a stream, whose rest is to be read, and publishes it.
    pub(super) async fn take(
        &self,
        arrived: Arrived,
        rest: impl Read + Send + 'static,
        session: &Session<'_>,
    ) -> Result<Taken, Failure> {
        let (archive, incoming) = (self.archive, arrived.incoming);
        let deciding = async {
            let decision = decide(self.points, &incoming, self.args)?;
            if let Decision::Store { lineage, base } = &decision
                && base.guid().is_some_and(|guid| !self.sound.contains(&guid))
            {
                refuse_broken_base(archive, self.points, *lineage, *base).await?;
            }
            Ok::<_, Failure>(decision)
        };
        let (lineage, base) = match session.interrupt.or(deciding).await? {
            Decision::Store { lineage, base } => (lineage, base),
            Decision::There(point) => return Ok(Taken::There(point)),
        };
        let lineage = match lineage {
            Some(lineage) => lineage,
            None => Lineage::random().map_err(|error| {
                Failure::new(Exit::Failed, format!("no lineage can be drawn: {error}"))
            })?,
        };
        let ids = Ids {
            guid: incoming.guid,
            from: incoming.from,
        };
        let id = archive.document().id;
        let transfer = Transfer::begin(session.console, "stored", None);
        let options = Options {
            journal: Some(session.state.journal(id, ids)?),
            progress: Some(transfer.progress()),
            ..self.args.work.options()
        };
        let stored = write_stream(
            Arc::clone(archive.store()),
            archive.layout(),
            &archive.document().recipients,
            Cursor::new(arrived.first).chain(rest),
            Some(ids),
            &options,
        );
        let stored = tokio::select! {
            biased;
            () = session.interrupt.wait() => return Err(cut_off()),
            stored = transfer.watch(stored) => stored?,
        };
        let reused = stored.reused;
        let point = Point {
            archive: id,
            terrarium: env!("CARGO_PKG_VERSION").to_owned(),
            exported: session.now.timestamp(),
            lineage,
            instance: self.args.name.clone(),
            project: None,
            instance_uuid: None,
            snapshot: arrived.snapshot,
            base,
            createtxg: None,
            kind: Kind::Foreign,
            alias: self.args.alias.as_ref().map(ToString::to_string),
            expires: None,
            send_flags: None,
            definition: None,
            tree: None,
        };
        let store = archive.store();
        let manifest = publish(&**store, archive.layout(), stored, point, Some(self.key)).await?;
        let point = Listed::of_ours(manifest, self.key.verifying_key());
        Ok(Taken::Stored(Box::new(point), reused))
    }
}

fn shown(
    session: &Session<'_>,
    point: &Listed,
    stored: bool,
    reused_parts: usize,
) -> Result<Exit, Failure> {
    let console = session.console;
    if console.json {
        console.answer_json(&Stored {
            version: JSON_VERSION,
            exit_code: Exit::Done.code(),
            stored,
            reused_parts,
            point,
        })?;
    } else {
        console.answer(&render::archive::stored(point, stored, reused_parts))?;
    }
    Ok(Exit::Done)
}

/// What the manifest would refuse only after everything is stored.
fn refuse_name(name: &str) -> Result<(), Failure> {
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        let why = "--name must have 1 to 255 bytes, and no control characters";
        return Err(Failure::new(Exit::Usage, why));
    }
    Ok(())
}

fn cut_off() -> Failure {
    let why = "interrupted; the stream is not in the archive";
    let help = "send it again: what was stored of it is not stored again";
    Failure::new(Exit::Interrupted, why).with_help(help)
}

impl Arrived {
    /// Reads the record that every stream begins with. It blocks.
    pub(super) fn read(stream: &mut impl Read) -> Result<Self, Failure> {
        let no_stream = |error: &dyn std::fmt::Display| {
            Failure::new(Exit::Refused, format!("that is no send stream: {error}"))
        };
        let mut first = [0; BeginRecord::SIZE];
        let read = stream.read_exact(&mut first);
        read.map_err(|error| no_stream(&error))?;
        let begin = BeginRecord::parse_any(first).map_err(|error| no_stream(&error))?;
        let refused = |why: &str| Err(Failure::new(Exit::Refused, why));
        if begin.is_package() {
            return refused(
                "that is a package of streams (zfs send -R, -I or -p), not the stream of one snapshot",
            );
        }
        if begin.is_resuming() {
            return refused(
                "that is the rest of an interrupted stream (zfs send -t), not a whole one",
            );
        }
        let snapshot = SnapshotName::new(&begin.to_name()).map_err(|error| {
            let why = format!("the stream's snapshot has no legal name: {error}");
            Failure::new(Exit::Refused, why)
        })?;
        Ok(Self {
            first,
            snapshot,
            incoming: Incoming {
                guid: begin.to_guid(),
                from: begin.from_guid(),
                is_clone: begin.is_clone(),
            },
        })
    }
}

/// A point that builds upon what cannot be restored would be none.
async fn refuse_broken_base(
    archive: &Archive<AnyStore>,
    points: &Points,
    lineage: Option<Lineage>,
    base: Base,
) -> Result<(), Failure> {
    let lineage = match (base, lineage) {
        (Base::Full, _) => return Ok(()),
        (Base::Point(_), Some(lineage)) => lineage,
        (Base::Origin(_) | Base::Point(_), _) => {
            let Some(origin) = points
                .catalog
                .entries()
                .find(|entry| Some(entry.place.guid) == base.guid())
            else {
                return Ok(());
            };
            origin.place.lineage
        }
    };
    let Some(guid) = base.guid() else {
        return Ok(());
    };
    let chain = archive.chain(&points.catalog, lineage, guid).await;
    let chain = chain.map_err(|error: ChainError| {
        let failure = Failure::from(error);
        let message = format!(
            "what the stream builds upon is not whole: {}",
            failure.message
        );
        let help = "send a full stream";
        Failure { message, ..failure }.with_help(help)
    })?;
    match chain.iter().find(|point| !archive.trusts(point.verdict)) {
        None => Ok(()),
        Some(point) => {
            let snapshot = one_line(point.manifest.snapshot.as_str());
            let why = format!(
                "the stream builds upon {snapshot} (guid {}), which no host of the archive has signed",
                point.manifest.guid
            );
            Err(Failure::new(Exit::Refused, why).with_help("send a full stream"))
        }
    }
}
