//! `backup drill`: whether a point of the archive can be restored, without restoring it anywhere.

mod boot;
mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Zoned;
use terrarium_core::drill::{DrillError, Expected, Verdict, drill_archived};
use terrarium_core::scratch::ScratchOptions;
use terrarium_core::tree::TreeDigest;
use terrarium_core::{FetchRequest, Folders, Instances, Streams, select};
use terrarium_s3::archive::{AnyStore, Archive};
use terrarium_s3::crypto::Identities;
use terrarium_s3::format::Manifest;
use terrarium_s3::pipeline::Options;
use terrarium_zfs::Guid;

use super::list_everywhere::observe;
use super::restore_archived::{nothing_of, refuse_unsigned};
use super::{Context, Here};
use crate::archive::Session;
use crate::archive::get::not_selected;
use crate::archive::identity::identities;
use crate::archive::list::no_such_name;
use crate::archive::points::{Listed, Points};
use crate::args::DrillArgs;
use crate::exit::{Exit, Failure};
use crate::progress::Transfer;
use crate::render::{self, one_line};
use crate::signal::interrupted;
use crate::site;

use record::Shown;
pub(crate) use record::{Boot, Compared, Record};

/// How long after a signal the drill may take to tidy up.
const PATIENCE: Duration = Duration::from_secs(2);

/// A point of the archive that was chosen.
struct Chosen {
    archive: Archive<AnyStore>,
    point: Listed,
    chain: Vec<Manifest>,
}

/// Drills one point, or shows the drills so far.
pub(crate) async fn drill<Z: Streams, I: Instances>(
    here: Here<'_, Z, I>,
    args: &DrillArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    if args.history {
        let folder = site::folders(Folders::default()).state;
        return history(&record::read(&folder)?, context);
    }
    let now = (context.clock)();
    let (console, interrupt) = (&context.console, &context.interrupt);
    let session = Session::new(&args.place, console, now.clone(), interrupt.clone()).await?;
    let identities = Arc::new(interrupt.or(identities(&args.identity)).await?);
    let chosen = interrupt.or(choose(args, &session, &now, context)).await?;
    let sealed = open(&chosen, &identities)?;
    if args.boot {
        let (Some(instance), Here::Host(host)) = (&args.instance, &here) else {
            let why = "nothing can be booted without this host's LXD";
            return Err(Failure::new(Exit::Unavailable, why));
        };
        let what = (chosen, identities);
        return boot::boot(host, (args, instance), what, &session, &now, context).await;
    }
    let looking = expected(here, args, sealed, chosen.point.guid, &now, context);
    let (expected, compared) = interrupt.or(looking).await?;
    let streams = chosen.chain.iter().map(|link| link.stream_bytes);
    let stream_bytes = streams.fold(0, u64::saturating_add);
    let transfer = Transfer::begin(console, "fetched", Some(stream_bytes));
    let request = FetchRequest {
        store: Arc::clone(chosen.archive.store()),
        layout: chosen.archive.layout().clone(),
        chain: chosen.chain,
        identities,
        options: Options {
            progress: Some(transfer.progress()),
            ..Options::default()
        },
    };
    let mut scratch = ScratchOptions::default();
    if let Some(folder) = &args.scratch {
        scratch.folder.clone_from(folder);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let report = {
        let drilling = transfer.watch(drill_archived(&request, expected, &scratch, &stop));
        let mut drilling = std::pin::pin!(drilling);
        tokio::select! {
            biased;
            () = interrupt.wait() => {
                // The pool's file has its name for a moment only: whoever stops in time leaves nothing.
                stop.store(true, Ordering::SeqCst);
                let _ = tokio::time::timeout(PATIENCE, drilling).await;
                console.clear_status();
                return Err(interrupted());
            }
            report = &mut drilling => report,
        }
    };
    if let Verdict::Failed(error) = &report.verdict
        && !error.is_of_the_point()
    {
        return Err(of_drill(error));
    }
    let shown = Shown {
        at: now.timestamp(),
        location: session.location(),
        archive: chosen.archive.document().id,
        point: &chosen.point,
        streams: request.chain.len(),
        stream_bytes,
    };
    let record = Record::new(&shown, compared, &report);
    let recorded = record::append(session.state().folder(), &record);
    let exit = match report.verdict.is_good() {
        true => Exit::Done,
        false => Exit::Failed,
    };
    match console.json {
        true => console.answer_json(&render::drill::json(&record, &report, exit))?,
        false => console.answer(&render::drill::text(&record, &report, &now))?,
    }
    tell_not_noted(recorded, &session, context);
    Ok(exit)
}

fn tell_not_noted(recorded: std::io::Result<()>, session: &Session<'_>, context: &Context) {
    if let Err(error) = recorded {
        let path = record::path(session.state().folder());
        let path = path.display();
        context.console.tell(&format!(
            "warning: the drill is not noted in {path}: {error}"
        ));
    }
}

fn history(drills: &record::History, context: &Context) -> Result<Exit, Failure> {
    let console = &context.console;
    if drills.illegible > 0 {
        let count = drills.illegible;
        console.tell(&format!("warning: {count} notes of drills cannot be read"));
    }
    match console.json {
        true => console.answer_json(&render::drill::history_json(&drills.records))?,
        false => console.answer(&render::drill::history(&drills.records, &(context.clock)()))?,
    }
    Ok(Exit::Done)
}

/// Finds the point, and what leads to it.
async fn choose(
    args: &DrillArgs,
    session: &Session<'_>,
    now: &Zoned,
    context: &Context,
) -> Result<Chosen, Failure> {
    let (archive, _) = session.read().await?;
    let points = Points::read(&archive).await?;
    for unreadable in &points.unreadable {
        let object = one_line(&unreadable.object);
        let why = one_line(&unreadable.error);
        context.console.tell(&format!("warning: {object}: {why}"));
    }
    let (name, named) = match (&args.instance, &args.name) {
        (Some(instance), _) => (instance.to_string(), points.of_instance(instance)),
        (None, Some(name)) => (name.clone(), points.of_name(name)),
        (None, None) => (String::new(), Vec::new()),
    };
    if named.is_empty() {
        return Err(match &args.instance {
            Some(instance) => nothing_of(instance, &points),
            None => no_such_name(&name, &points),
        });
    }
    refuse_several(&name, &named)?;
    // What nobody signed is not the newest without being named.
    let may_be_meant = |point: &&Listed| point.trusted || args.at.is_some() || args.unverified;
    let meant: Vec<_> = named.iter().filter(may_be_meant).cloned().collect();
    let among = if meant.is_empty() { &named } else { &meant };
    let selected = select(among, args.at.as_deref(), now);
    let point = selected.map_err(|error| not_selected(&name, error))?.point;
    let chain = archive.chain(&points.catalog, point.lineage, point.guid);
    let chain = chain.await?;
    refuse_unsigned(&archive, &chain, args.unverified)?;
    Ok(Chosen {
        archive,
        point: point.clone(),
        chain: chain.into_iter().map(|link| link.manifest).collect(),
    })
}

/// A name that instances of several projects have does not say which one is meant.
fn refuse_several(name: &str, named: &[Listed]) -> Result<(), Failure> {
    let mut projects: Vec<_> = named.iter().map(Listed::in_project).collect();
    projects.sort_unstable();
    projects.dedup();
    if projects.len() < 2 {
        return Ok(());
    }
    let why = format!("{name:?} is the name of instances of several projects");
    let ids = projects.iter().map(|project| format!("{project}/{name}"));
    Err(Failure {
        details: ids.collect(),
        ..Failure::new(Exit::Refused, why).with_help("say which one with --instance")
    })
}

/// The digest that was sealed with the point. A wrong identity is found out before anything is fetched.
fn open(chosen: &Chosen, identities: &Identities) -> Result<Option<String>, Failure> {
    let mut tree = None;
    for link in &chosen.chain {
        let sealed = link.open(identities).map_err(|source| {
            of_drill(&DrillError::Sealed {
                snapshot: link.snapshot.clone(),
                source,
            })
        })?;
        tree = sealed.tree;
    }
    Ok(tree)
}

/// What the point is to hold, and who says so.
async fn expected<Z: Streams, I: Instances>(
    here: Here<'_, Z, I>,
    args: &DrillArgs,
    sealed: Option<String>,
    guid: Guid,
    now: &Zoned,
    context: &Context,
) -> Result<(Expected, Option<Compared>), Failure> {
    if let Some(digest) = args.expect {
        return Ok((Expected::Digest(digest), Some(Compared::Given)));
    }
    match sealed.map(|text| text.parse::<TreeDigest>()) {
        Some(Ok(digest)) => return Ok((Expected::Digest(digest), Some(Compared::Sealed))),
        Some(Err(_)) => {
            let what =
                "note: the digest that was sealed with the point is none that this version knows";
            context.console.tell(what);
        }
        None => {}
    }
    let Here::Host(host) = here else {
        return Ok((Expected::Unknown, None));
    };
    let tell = |why: String| {
        let why = one_line(&why);
        let what = format!("note: no snapshot of this host can be compared: {why}");
        context.console.tell(&what);
    };
    let tree = match observe(host, now).await {
        Ok(inventory) => match host.tree(&inventory, guid).await {
            Ok(tree) => tree,
            Err(error) => {
                tell(error.to_string());
                None
            }
        },
        Err(failure) => {
            tell(failure.message);
            None
        }
    };
    Ok(match tree {
        Some(tree) => (Expected::Tree(tree), Some(Compared::Local)),
        None => (Expected::Unknown, None),
    })
}

fn of_drill(error: &DrillError) -> Failure {
    let failure = Failure::new(error.class().into(), error.to_string());
    match error {
        DrillError::Receive(error) => match error.help() {
            Some(help) => failure.with_help(help),
            None => failure,
        },
        DrillError::Sealed { .. } => {
            failure.with_help("give the identity of one of the recipients that it is encrypted to")
        }
        _ => failure,
    }
}
