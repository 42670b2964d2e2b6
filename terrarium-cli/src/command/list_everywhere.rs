//! `backup list --source archive` and `--source all`.

use terrarium_core::{Host, InstanceRef, Instances, Inventory, Zfs};

use super::everywhere::{OfInstance, everywhere};
use super::restore_archived::nothing_of;
use super::{Context, Here, list};
use crate::archive::Session;
use crate::archive::points::{Points, Unreadable};
use crate::args::{ListArgs, Sources};
use crate::exit::{Exit, Failure};
use crate::render;

/// Shows the restore points of instances, wherever they are. What cannot be reached is told, and keeps nothing else
/// back; if nothing can be reached, that is an error.
pub(crate) async fn list<Z: Zfs, I: Instances>(
    here: Here<'_, Z, I>,
    args: &ListArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let now = (context.clock)();
    let console = &context.console;
    let interrupt = &context.interrupt;
    let session = Session::new(&args.place, console, now.clone(), interrupt.clone()).await?;
    let mut unreachable = Vec::new();
    let inventory = match here {
        Here::Host(host) if args.source == Sources::All => {
            let look = interrupt.or(observe(host, &now)).await;
            reached(look, &mut unreachable)?
        }
        Here::Unreachable(failure) => {
            unreachable.push(failure);
            None
        }
        _ => None,
    };
    let reading = async {
        let (archive, pinned) = session.read().await?;
        Ok::<_, Failure>((Points::read(&archive).await?, pinned))
    };
    let read = reached(interrupt.or(reading).await, &mut unreachable)?;
    if let (None, None, Some(failure)) = (&inventory, &read, unreachable.first()) {
        return Err(failure.clone());
    }
    let (points, pinned) = read.unzip();
    let points = points.unwrap_or_default();
    let mut found = everywhere(inventory.as_ref(), &points);
    let mut besides = inventory.clone();
    if !args.instances.is_empty() {
        for wanted in &args.instances {
            let known = besides
                .as_ref()
                .is_some_and(|all| all.instance(wanted).is_some());
            if !known && !found.iter().any(|of| of.is(wanted)) {
                let failure = unreachable.first().cloned();
                return Err(failure.unwrap_or_else(|| nothing_of(wanted, &points)));
            }
        }
        found.retain(|of| args.instances.iter().any(|wanted| of.is(wanted)));
        if let Some(besides) = &mut besides {
            list::narrow(besides, &args.instances);
        }
    }
    let unreadable = concerning(&args.instances, &found, &points);
    let shown = render::everywhere::Shown {
        location: session.location(),
        pinned,
        now: &now,
        with_local: args.source == Sources::All,
        instances: &found,
        unreadable: &unreadable,
        besides: besides.as_ref(),
        unreachable: &unreachable,
    };
    let mut exit = unreachable.iter().map(|failure| failure.exit).max();
    if besides
        .as_ref()
        .is_some_and(|besides| !besides.problems.is_empty())
    {
        exit = exit.max(Some(Exit::Unavailable));
    }
    if !unreadable.is_empty() {
        exit = exit.max(Some(Exit::Failed));
    }
    let exit = exit.unwrap_or_default();
    match console.json {
        true => console.answer_json(&shown.json(exit))?,
        false => console.answer(&shown.text())?,
    }
    for failure in &unreachable {
        console.tell(&render::warning(failure));
    }
    Ok(exit)
}

pub(super) async fn observe<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    now: &jiff::Zoned,
) -> Result<Inventory, Failure> {
    Ok(host.observe(now).await?)
}

/// What was found, if it could be reached.
///
/// # Errors
/// That a signal came.
fn reached<T>(
    looked: Result<T, Failure>,
    unreachable: &mut Vec<Failure>,
) -> Result<Option<T>, Failure> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
        Err(failure) => {
            unreachable.push(failure);
            Ok(None)
        }
    }
}

/// The manifests that cannot be read and that may be of these instances: nothing else of their lineage says whose
/// they are, or it says that they are.
fn concerning<'a>(
    wanted: &[InstanceRef],
    found: &[OfInstance<'_>],
    points: &'a Points,
) -> Vec<&'a Unreadable> {
    let is_theirs = |unreadable: &&Unreadable| {
        let of = unreadable.lineage;
        let mut theirs = found.iter().flat_map(|found| &found.points);
        wanted.is_empty()
            || !points.listed.iter().any(|point| point.lineage == of)
            || theirs.any(|point| point.archived.is_some_and(|point| point.lineage == of))
    };
    points.unreadable.iter().filter(is_theirs).collect()
}
