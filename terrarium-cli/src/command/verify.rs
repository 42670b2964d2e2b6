//! `backup verify`.

use std::collections::HashSet;
use std::sync::Arc;

use terrarium_core::{Instances, Zfs};
use terrarium_s3::archive::Depth;
use terrarium_s3::pipeline::Options;

use super::everywhere::everywhere;
use super::list_everywhere::observe;
use super::restore_archived::nothing_of;
use super::{Context, Here};
use crate::archive::Session;
use crate::archive::identity::identities;
use crate::archive::points::Points;
use crate::archive::verify::judge;
use crate::args::VerifyArgs;
use crate::exit::{Exit, Failure};
use crate::render;

/// Verifies the archive, and says what that means for each instance. That this host cannot be looked at keeps nothing
/// back: what the archive has can be told without it.
pub(crate) async fn verify<Z: Zfs, I: Instances>(
    here: Here<'_, Z, I>,
    args: &VerifyArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let now = (context.clock)();
    let console = &context.console;
    let interrupt = &context.interrupt;
    let session = Session::new(&args.place, console, now.clone(), interrupt.clone()).await?;
    let depth = match args.deep {
        true => Depth::Deep(Arc::new(interrupt.or(identities(&args.identity)).await?)),
        false => Depth::Shallow,
    };
    let looked = match here {
        Here::Host(host) => interrupt.or(observe(host, &now)).await.map(Some),
        Here::Unreachable(failure) => Err(failure),
        Here::NotAsked => Ok(None),
    };
    let (inventory, unreachable) = match looked {
        Ok(found) => (found, None),
        Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
        Err(failure) => (None, Some(failure)),
    };
    let reading = async {
        let (archive, _) = session.read().await?;
        let points = Points::read(&archive).await?;
        Ok::<_, Failure>((archive, points))
    };
    let (archive, points) = interrupt.or(reading).await?;
    let mut found = everywhere(inventory.as_ref(), &points);
    if !args.instances.is_empty() {
        for wanted in &args.instances {
            let archived = |of: &&super::everywhere::OfInstance<'_>| of.newest_archived().is_some();
            if !found.iter().filter(archived).any(|of| of.is(wanted)) {
                return Err(nothing_of(wanted, &points));
            }
        }
        found.retain(|of| args.instances.iter().any(|wanted| of.is(wanted)));
    }
    let archived = found.iter().flat_map(|of| &of.points);
    let archived = archived.filter_map(|point| Some(point.archived?.lineage));
    let mut lineages: HashSet<_> = archived.collect();
    // What cannot be read may be of any instance, if nothing in its lineage says otherwise.
    let known: HashSet<_> = points.listed.iter().map(|point| point.lineage).collect();
    let unreadable = points.unreadable.iter().map(|point| point.lineage);
    lineages.extend(unreadable.filter(|lineage| !known.contains(lineage)));
    let told = |place: &terrarium_s3::format::ManifestPlace| {
        if console.watched {
            console.tell(&format!("read back {}", place.guid));
        }
    };
    let options = Options::default();
    let verifying = archive.verify_lineages(&depth, &lineages, &options, told);
    let verified = interrupt.or(verifying).await?;
    let exit = judge(&verified)?;
    let shown = render::verified::Shown {
        verified: render::archive::Verified {
            found: &verified,
            deep: args.deep,
        },
        instances: &found,
        now: &now,
        looked_here: inventory.is_some(),
        unreachable: unreachable.as_ref(),
    };
    match console.json {
        true => console.answer_json(&shown.json(exit))?,
        false => console.answer(&shown.text())?,
    }
    if let Some(failure) = &unreachable {
        let why = render::one_line(&failure.message);
        console.remark(&format!("note: what is on this host is not known: {why}"));
    }
    Ok(exit)
}
