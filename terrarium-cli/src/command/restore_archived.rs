//! `backup restore --source archive`: the point comes from an archive, beside what is here, and is restored like any
//! other; an instance that is gone is made anew.

use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Zoned;
use serde::Serialize;
use terrarium_core::plan::Plan;
use terrarium_core::{
    Begun, Destination, Error, FetchPlan, FetchRequest, Host, InstanceRef, Instances, Planner,
    RestoreRequest, Session, Streams, select,
};
use terrarium_s3::archive::{AnyStore, Archive, Point};
use terrarium_s3::crypto::Identities;
use terrarium_s3::format::Manifest;
use terrarium_s3::pipeline::Options;

use crate::archive::Session as Access;
use crate::archive::identity::identities;
use crate::archive::points::{Listed, Points};
use crate::args::RestoreArgs;
use crate::command::Context;
use crate::command::change::{Change, Doing, tell_recoveries, tell_stuck};
use crate::confirm::{self, Question};
use crate::exit::{Exit, Failure};
use crate::progress::{Steps, Transfer};
use crate::render::{one_line, units};

/// A point of the archive that was chosen.
struct Chosen {
    archive: Archive<AnyStore>,
    point: Listed,
    chain: Vec<Manifest>,
}

/// Restores an instance from an archive, in place, as a new one, or anew.
pub(crate) async fn restore_archived<Z: Streams, I: Instances>(
    host: &Host<Z, I>,
    args: &RestoreArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let now = (context.clock)();
    let interrupt = &context.interrupt;
    let chosen = interrupt.or(choose(args, context, &now)).await?;
    let look = async { Ok::<_, Failure>(host.look(now.clone()).await?) };
    let planner = interrupt.or(look).await?;
    let known = planner.inventory().instance(&args.instance).is_some();
    let fetch = planner
        .plan_fetch(
            &args.instance,
            &args.restored(),
            &chosen.chain,
            args.pool.as_deref(),
        )
        .await?;
    let request = args.request();
    refuse_what_is_in_the_way(&planner, args, &request, fetch.is_some())?;
    let outlook = Outlook {
        args,
        chosen: &chosen,
        fetch: fetch.as_ref(),
        known,
        now: &now,
    };
    if args.consent.dry_run {
        return outlook.show(context);
    }
    let in_place = known && matches!(request.to, Destination::InPlace { .. });
    // What decrypts is read before anybody is asked, and before anything is changed.
    let identities = identities(&args.identity).await?;
    if in_place && !args.consent.yes {
        confirm::refuse_unattended(&context.console)?;
        let question = Question {
            text: outlook.text(),
            destroys: args.destroy_newer,
        };
        confirm::ask(&question, &context.console, &context.interrupt).await?;
    }
    drop(planner);
    carry_out(host, args, &chosen, identities, context).await
}

/// Finds the point, and what leads to it.
async fn choose(args: &RestoreArgs, context: &Context, now: &Zoned) -> Result<Chosen, Failure> {
    let interrupt = context.interrupt.clone();
    let access = Access::new(&args.place, &context.console, now.clone(), interrupt).await?;
    let archive = access.open().await?;
    access.compare(&archive)?;
    let points = Points::read(&archive).await?;
    for unreadable in &points.unreadable {
        let object = one_line(&unreadable.object);
        let why = one_line(&unreadable.error);
        context.console.tell(&format!("warning: {object}: {why}"));
    }
    let named = points.of_instance(&args.instance);
    if named.is_empty() {
        return Err(nothing_of(&args.instance, &points));
    }
    let selected = select(&named, args.at.as_deref(), now).map_err(|source| {
        let instance = args.instance.clone();
        Error::Select { instance, source }
    })?;
    let point = selected.point.clone();
    let chain = archive
        .chain(&points.catalog, point.lineage, point.guid)
        .await?;
    refuse_unsigned(&archive, &chain, args.unverified)?;
    let chain = chain.into_iter().map(|link| link.manifest).collect();
    Ok(Chosen {
        archive,
        point,
        chain,
    })
}

/// Each manifest that leads to a point is to be of a host of the archive.
pub(super) fn refuse_unsigned(
    archive: &Archive<AnyStore>,
    chain: &[Point],
    unverified: bool,
) -> Result<(), Failure> {
    for link in chain {
        if !archive.trusts(link.verdict) && !unverified {
            let why = format!(
                "the manifest of {} is {}: no host of the archive wrote it as it is",
                link.manifest.snapshot,
                link.verdict.as_str()
            );
            return Err(Failure::new(Exit::Refused, why)
                .with_help("choose another point, or take it all the same with --unverified"));
        }
    }
    Ok(())
}

/// The archive has no point of an instance.
pub(super) fn nothing_of(instance: &InstanceRef, points: &Points) -> Failure {
    let why = format!("the archive has no restore point of {instance}");
    let names: Vec<_> = points.names().into_iter().map(one_line).collect();
    Failure::new(Exit::Refused, why).with_help(match names.as_slice() {
        [] => "it is empty: is it the right one?".to_owned(),
        names => format!("it has those of {}", names.join(", ")),
    })
}

/// What would only turn out after the download.
fn refuse_what_is_in_the_way<Z: Streams, I: Instances>(
    planner: &Planner<'_, Z, I>,
    args: &RestoreArgs,
    request: &RestoreRequest,
    to_be_fetched: bool,
) -> Result<(), Failure> {
    if let Destination::AsNew { new, .. } = &request.to
        && planner.inventory().instance(new).is_some()
    {
        return Err(Error::NameTaken {
            instance: new.clone(),
        }
        .into());
    }
    if to_be_fetched && args.destroy_newer {
        let why = format!(
            "{} cannot be rolled back to a point that is not in its own history here",
            args.instance
        );
        return Err(Failure::new(Exit::Refused, why)
            .with_help("leave out --destroy-newer: what is here moves aside"));
    }
    Ok(())
}

async fn carry_out<Z: Streams, I: Instances>(
    host: &Host<Z, I>,
    args: &RestoreArgs,
    chosen: &Chosen,
    identities: Identities,
    context: &Context,
) -> Result<Exit, Failure> {
    let request = args.request();
    let mut instances = vec![args.instance.clone()];
    if let Destination::AsNew { new, .. } = &request.to {
        instances.push(new.clone());
    }
    let what = Change {
        instances,
        doing: Doing::Restore,
        dry_run: false,
        ask: false,
    };
    let steps = Steps {
        console: &context.console,
        interrupt: &context.interrupt,
    };
    context.interrupt.work_begins();
    let begun = host.begin(
        &what.instances,
        what.doing.name(),
        (context.clock)(),
        &steps,
    );
    let mut session = match begun.await? {
        Begun::Ready(session) => session,
        Begun::Stuck(report) => return tell_stuck(&report, context),
    };
    tell_recoveries(session.planner().recovered(), context);
    let plan = fetch_and_plan(&mut session, args, &request, chosen, identities, context).await?;
    let planner = session.planner();
    let Some(plan) = plan else {
        return what.tell_recovered(planner.recovered(), planner.inventory(), context);
    };
    let report = session.execute(&plan, &steps).await;
    what.tell(
        &report,
        planner.recovered(),
        planner.inventory(),
        None,
        context,
    )
}

/// Brings the point here, and plans its restore.
async fn fetch_and_plan<Z: Streams, I: Instances>(
    session: &mut Session<'_, Z, I>,
    args: &RestoreArgs,
    request: &RestoreRequest,
    chosen: &Chosen,
    identities: Identities,
    context: &Context,
) -> Result<Option<Plan>, Failure> {
    let planner = session.planner();
    let known = planner.inventory().instance(&args.instance).is_some();
    let fetch = planner
        .plan_fetch(
            &args.instance,
            &args.restored(),
            &chosen.chain,
            args.pool.as_deref(),
        )
        .await?;
    let mut sealed = None;
    if let Some(fetch) = &fetch {
        let transfer = Transfer::begin(&context.console, "fetched", Some(fetch.stream_bytes()));
        let from = FetchRequest {
            store: Arc::clone(chosen.archive.store()),
            layout: chosen.archive.layout().clone(),
            chain: chosen.chain.clone(),
            identities: Arc::new(identities),
            options: Options {
                progress: Some(transfer.progress()),
                ..args.work.options()
            },
        };
        let fetching = session.fetch(fetch, &from);
        sealed = Some(context.interrupt.or(transfer.watch(fetching)).await?);
        session.refresh().await?;
    }
    let planner = session.planner();
    if let (false, Some(fetch), Some(sealed)) = (known, &fetch, &sealed) {
        let (new, identity) = match &request.to {
            Destination::AsNew { new, identity } => (new, identity.clone()),
            Destination::InPlace { .. } => (&args.instance, Default::default()),
        };
        let plan = planner.plan_recreate(fetch, sealed, new, &identity, request.start);
        return Ok(Some(plan.await?));
    }
    let request = RestoreRequest {
        at: Some(chosen.point.guid.to_string()),
        ..request.clone()
    };
    Ok(planner.plan_restore(&args.instance, &request).await?)
}

/// What is about to happen.
struct Outlook<'a> {
    args: &'a RestoreArgs,
    chosen: &'a Chosen,
    fetch: Option<&'a FetchPlan>,
    known: bool,
    now: &'a Zoned,
}

#[derive(Serialize)]
struct Shown<'a> {
    version: u32,
    instance: &'a InstanceRef,
    point: &'a Listed,
    fetch: Option<&'a FetchPlan>,
    outcome: &'static str,
}

impl Outlook<'_> {
    fn outcome(&self) -> &'static str {
        match (self.known, &self.args.as_new) {
            (_, Some(_)) => "as-new",
            (true, None) => "in-place",
            (false, None) => "anew",
        }
    }

    fn text(&self) -> String {
        let point = &self.chosen.point;
        let zone = self.now.time_zone();
        let instance = &self.args.instance;
        let name = one_line(point.snapshot.name());
        let mut text = match &self.args.as_new {
            Some(new) => {
                format!("About to restore {name} of {instance} from the archive as {new}\n")
            }
            None => format!("About to restore {instance} to {name} from the archive\n"),
        };
        let _ = writeln!(
            text,
            "  taken {} ({} ago), archived {}",
            units::time(point.created, zone),
            units::age(point.created, self.now.timestamp()),
            units::time(point.exported, zone),
        );
        match self.fetch {
            None => {
                text.push_str("  it is here already: nothing has to be read from the archive\n")
            }
            Some(fetch) => {
                let streams = fetch.all_streams().count();
                let _ = writeln!(
                    text,
                    "  reads {} in {streams} stream{}, which take about {} in the pool",
                    units::size(fetch.stored_bytes()),
                    if streams == 1 { "" } else { "s" },
                    units::size(fetch.stream_bytes()),
                );
                if let Some(onto) = &fetch.onto {
                    let _ = writeln!(text, "  onto {onto}, which is here");
                }
                for origin in &fetch.origins {
                    let _ = writeln!(
                        text,
                        "  among them its image, which is not here: it comes to {}",
                        origin.snapshot
                    );
                }
            }
        }
        text.push_str(match self.outcome() {
            "in-place" if self.args.destroy_newer => "  what is newer here will be destroyed",
            "in-place" => {
                "  what is here now moves aside, and can be brought back with backup undo"
            }
            "anew" => "  there is no such instance here: it is made anew, as it was",
            _ => "  nothing that is here is touched",
        });
        text
    }

    fn show(&self, context: &Context) -> Result<Exit, Failure> {
        if context.console.json {
            context.console.answer_json(&Shown {
                version: 1,
                instance: &self.args.instance,
                point: &self.chosen.point,
                fetch: self.fetch,
                outcome: self.outcome(),
            })?;
        } else {
            context.console.answer(&(self.text() + "\n"))?;
        }
        Ok(Exit::Done)
    }
}
