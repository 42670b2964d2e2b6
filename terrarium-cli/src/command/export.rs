//! `backup export`.

use terrarium_core::export::{ExportPlan, ExportTo, Exported};
use terrarium_core::plan::ChainPolicy;
use terrarium_core::{
    Begun, Coverage, Error, Host, InstanceRef, Instances, Inventory, Session, Streams,
};
use terrarium_s3::archive::{AnyStore, Archive, Catalog};
use terrarium_s3::crypto::HostKey;
use terrarium_s3::pipeline::Options;

use crate::archive::Session as Access;
use crate::archive::args::WorkArgs;
use crate::args::ExportArgs;
use crate::command::Context;
use crate::command::change::tell_recoveries;
use crate::exit::{Exit, Failure};
use crate::progress::{Steps, Transfer};
use crate::render::export::{Answer, Outcome, line};
use crate::render::{self, report};

/// Exports the instances one after another; one that fails does not keep the others back.
pub(crate) async fn export<Z: Streams, I: Instances>(
    host: &Host<Z, I>,
    args: &ExportArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let now = (context.clock)();
    let interrupt = context.interrupt.clone();
    let access = Access::new(&args.place, &context.console, now.clone(), interrupt).await?;
    let (archive, key) = context.interrupt.or(access.open_to_write()).await?;
    let looking = async {
        let planner = host.look(now).await?;
        Ok::<_, Failure>((planner, archive.catalog_as_exported().await?))
    };
    let (planner, catalog) = context.interrupt.or(looking).await?;
    let exporting = Exporting {
        archive,
        catalog,
        key,
        adopt: args.adopt,
        image_aware: args.image_aware,
        digest: args.digest,
        work: args.work,
    };
    let (wanted, mut outcomes) = wanted(planner.inventory(), &args.instances);
    for (instance, asked_for) in wanted {
        let outcome = if context.interrupt.is_raised() {
            Outcome::NotRun { instance }
        } else {
            let options = Options::default();
            let to = exporting.to(&options);
            let planning = planner.plan_export(&instance, &to);
            match context.interrupt.or(planning).await {
                Ok(plan) if args.dry_run => Outcome::Planned(Box::new(plan)),
                Ok(plan) if plan.is_settled() => Outcome::done(plan.settled()),
                Err(failure) if !asked_for && has_no_point(planner.inventory(), &instance) => {
                    Outcome::Skipped {
                        instance,
                        reason: failure.message,
                    }
                }
                Err(failure) => Outcome::failed(instance, failure),
                Ok(_) => match exporting.one(host, &instance, context).await {
                    Ok(exported) => Outcome::done(exported),
                    Err(failure) => Outcome::failed(instance, failure),
                },
            }
        };
        if !context.console.json {
            tell(&outcome, context)?;
        }
        outcomes.push(outcome);
    }
    let answer = Answer::new(args.dry_run, outcomes);
    if context.console.json {
        context.console.answer_json(&answer)?;
    }
    Ok(answer.exit())
}

fn tell(outcome: &Outcome, context: &Context) -> Result<(), Failure> {
    match outcome {
        Outcome::Failed { failure, .. } => context.console.tell(&render::failure(failure)),
        outcome => context.console.answer(&line(outcome))?,
    }
    Ok(())
}

/// The instances that were asked for; or all that can be exported, and why the others cannot.
fn wanted(
    inventory: &Inventory,
    asked_for: &[InstanceRef],
) -> (Vec<(InstanceRef, bool)>, Vec<Outcome>) {
    if !asked_for.is_empty() {
        let mut wanted: Vec<_> = asked_for.iter().map(|id| (id.clone(), true)).collect();
        wanted.sort();
        wanted.dedup();
        return (wanted, Vec::new());
    }
    let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
    for instance in &inventory.instances {
        let id = instance.record.id.clone();
        match &instance.coverage {
            Coverage::Covered(_) => wanted.push((id, false)),
            Coverage::NotCovered { reason } => skipped.push(Outcome::Skipped {
                instance: id,
                reason: reason.to_string(),
            }),
        }
    }
    (wanted, skipped)
}

fn has_no_point(inventory: &Inventory, instance: &InstanceRef) -> bool {
    let covered = inventory.covered(instance);
    covered.is_ok_and(|(_, covered)| covered.newest_live().is_none())
}

/// What all instances have in common.
struct Exporting {
    archive: Archive<AnyStore>,
    catalog: Catalog,
    key: HostKey,
    adopt: bool,
    image_aware: bool,
    digest: bool,
    work: WorkArgs,
}

impl Exporting {
    fn to<'a>(&'a self, options: &'a Options) -> ExportTo<'a, AnyStore> {
        ExportTo {
            archive: &self.archive,
            catalog: &self.catalog,
            key: Some(&self.key),
            adopt: self.adopt,
            policy: ChainPolicy {
                image_aware: self.image_aware,
                ..ChainPolicy::default()
            },
            digest: self.digest,
            options,
        }
    }

    /// Exports one instance, behind its lock and as it is by then.
    async fn one<Z: Streams, I: Instances>(
        &self,
        host: &Host<Z, I>,
        instance: &InstanceRef,
        context: &Context,
    ) -> Result<Exported, Failure> {
        let steps = Steps {
            console: &context.console,
            interrupt: &context.interrupt,
        };
        let ids = std::slice::from_ref(instance);
        let now = (context.clock)();
        let begun = host.begin_as(terrarium_core::Access::Export, ids, "export", now, &steps);
        let session = match begun.await? {
            Begun::Ready(session) => session,
            Begun::Stuck(report) => return Err(report::stuck(&report)),
        };
        tell_recoveries(session.planner().recovered(), context);
        let mut options = self.work.options();
        let to = self.to(&options);
        let planning = session.planner().plan_export(instance, &to);
        let plan = context.interrupt.or(planning).await?;
        let transfer = Transfer::begin(&context.console, "sent", plan.estimate);
        options.progress = Some(transfer.progress());
        let to = self.to(&options);
        carry_out(&session, &plan, &to, &transfer, context).await
    }
}

async fn carry_out<Z: Streams, I: Instances>(
    session: &Session<'_, Z, I>,
    plan: &ExportPlan,
    to: &ExportTo<'_, AnyStore>,
    transfer: &Transfer<'_>,
    context: &Context,
) -> Result<Exported, Failure> {
    let done = {
        let exporting = transfer.watch(session.export(plan, to));
        tokio::select! {
            biased;
            () = context.interrupt.wait() => None,
            done = exporting => Some(done),
        }
    };
    context.console.clear_status();
    match done {
        Some(done) => Ok(done?),
        None => {
            // If this fails the next export does it.
            let _ = session.abandon_export(plan).await;
            Err(Failure::from(Error::Interrupted)
                .with_help("export again: what is stored already is not sent again"))
        }
    }
}
