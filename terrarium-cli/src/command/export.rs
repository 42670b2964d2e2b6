//! `backup export`: the newest point of each instance goes into the archive.

use std::fmt::Write as _;

use serde::Serialize;
use terrarium_core::export::{ExportError, ExportPlan, ExportTo, Exported};
use terrarium_core::plan::{Base, ChainPolicy, ExportDecision};
use terrarium_core::{Begun, Coverage, Host, InstanceRef, Instances, Inventory, Planner, Streams};
use terrarium_s3::archive::{AnyStore, Archive, Catalog};
use terrarium_s3::crypto::HostKey;
use terrarium_s3::pipeline::Options;

use crate::archive::Session as Access;
use crate::args::ExportArgs;
use crate::command::Context;
use crate::command::change::tell_recoveries;
use crate::exit::{Exit, Failure};
use crate::progress::{Steps, Transfer};
use crate::render::{self, JSON_VERSION, one_line, report, units};
use crate::signal::interrupted;

/// Where it goes, for all instances.
struct Target {
    archive: Archive<AnyStore>,
    key: HostKey,
    catalog: Catalog,
    adopt: bool,
}

/// What became of one instance, or would.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
#[expect(
    clippy::large_enum_variant,
    reason = "there are few, and most are the large ones"
)]
enum Outcome {
    Exported(Exported),
    Planned(ExportPlan),
    Failed {
        instance: InstanceRef,
        error: String,
        help: Option<String>,
        #[serde(rename = "exit_code", serialize_with = "code")]
        exit: Exit,
    },
}

fn code<S: serde::Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(exit.code())
}

#[derive(Serialize)]
struct Answer<'a> {
    version: u32,
    archive: String,
    dry_run: bool,
    exit_code: u8,
    instances: &'a [Outcome],
}

/// Exports instances. One that fails does not stop the others.
pub(crate) async fn export<Z: Streams, I: Instances>(
    host: &Host<Z, I>,
    args: &ExportArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let interrupt = &context.interrupt;
    let now = (context.clock)();
    let access = Access::new(
        &args.place,
        &context.console,
        now.clone(),
        interrupt.clone(),
    )?;
    let (archive, key) = interrupt.or(access.open_to_write()).await?;
    let catalog = interrupt.or(archive.catalog()).await?;
    let target = Target {
        archive,
        key,
        catalog,
        adopt: args.adopt,
    };
    let planner = interrupt.or(host.look(now)).await?;
    let instances = wanted(args, planner.inventory(), context);
    let mut outcomes = Vec::new();
    for instance in instances {
        let outcome = one(host, &planner, &instance, &target, args.dry_run, context).await;
        if interrupt.is_raised() && outcome.is_err() {
            tell(&outcomes, args, &target, context)?;
            return Err(interrupted());
        }
        let outcome = outcome.unwrap_or_else(|failure| {
            if !context.console.json {
                context.console.tell(&format!("{instance}:"));
                context.console.tell(&render::failure(&failure));
            }
            Outcome::Failed {
                instance,
                error: failure.message,
                help: failure.help,
                exit: failure.exit,
            }
        });
        if !context.console.json {
            context.console.answer(&text(&outcome))?;
        }
        outcomes.push(outcome);
    }
    tell(&outcomes, args, &target, context)
}

/// Those that were named, or all that are covered.
fn wanted(args: &ExportArgs, inventory: &Inventory, context: &Context) -> Vec<InstanceRef> {
    if !args.instances.is_empty() {
        let mut named = args.instances.clone();
        named.sort();
        named.dedup();
        return named;
    }
    let mut covered = Vec::new();
    for instance in &inventory.instances {
        let id = &instance.record.id;
        match &instance.coverage {
            Coverage::Covered(_) => covered.push(id.clone()),
            Coverage::NotCovered { reason } => {
                let reason = one_line(&reason.to_string());
                context
                    .console
                    .tell(&format!("{id} is not covered: {reason}"));
            }
        }
    }
    covered
}

async fn one<Z: Streams, I: Instances>(
    host: &Host<Z, I>,
    planner: &Planner<'_, Z, I>,
    instance: &InstanceRef,
    target: &Target,
    dry_run: bool,
    context: &Context,
) -> Result<Outcome, Failure> {
    let interrupt = &context.interrupt;
    let options = Options::default();
    let plan = interrupt
        .or(planner.plan_export(instance, &target.to(&options)))
        .await?;
    if dry_run {
        return Ok(Outcome::Planned(plan));
    }
    if plan.is_settled() {
        return Ok(Outcome::Exported(plan.settled()));
    }
    let steps = Steps {
        console: &context.console,
        interrupt,
    };
    interrupt.work_begins();
    let now = (context.clock)();
    let one = std::slice::from_ref(instance);
    let session = match host.begin(one, "export", now, &steps).await? {
        Begun::Ready(session) => session,
        Begun::Stuck(stuck) => return Err(report::stuck(&stuck)),
    };
    tell_recoveries(session.planner().recovered(), context);
    let to = target.to(&options);
    let plan = session.planner().plan_export(instance, &to);
    let plan = interrupt.or(plan).await?;
    let transfer = Transfer::begin(&context.console, "sent", 0);
    let options = Options {
        progress: Some(transfer.progress()),
        ..Options::default()
    };
    let to = target.to(&options);
    let exporting = session.export(&plan, &to);
    let exported = interrupt.or(transfer.watch(exporting)).await?;
    Ok(Outcome::Exported(exported))
}

impl Target {
    fn to<'a>(&'a self, options: &'a Options) -> ExportTo<'a, AnyStore> {
        ExportTo {
            archive: &self.archive,
            catalog: &self.catalog,
            key: Some(&self.key),
            adopt: self.adopt,
            policy: ChainPolicy::default(),
            options,
        }
    }
}

fn text(outcome: &Outcome) -> String {
    let (instance, snapshot, decision, notices) = match outcome {
        Outcome::Failed { .. } => return String::new(),
        Outcome::Exported(done) => (
            &done.instance,
            &done.snapshot,
            &done.decision,
            &done.notices,
        ),
        Outcome::Planned(plan) => (
            &plan.instance,
            &plan.snapshot,
            &plan.decision,
            &plan.notices,
        ),
    };
    let name = one_line(snapshot.name());
    let mut text = match (outcome, decision) {
        (_, ExportDecision::UpToDate { .. }) => {
            format!("{instance}: {name} is in the archive already\n")
        }
        (Outcome::Planned(_), ExportDecision::Send { .. }) => {
            format!("{instance}: {name} would be exported\n")
        }
        (_, ExportDecision::Send { .. }) => format!("Exported {name} of {instance}.\n"),
    };
    if let ExportDecision::Send { base, .. } = decision {
        let _ = match base {
            Base::Full { why } => writeln!(text, "  full: {}", one_line(&why.to_string())),
            Base::Increment { from, length, .. } => {
                let from = one_line(from.as_str());
                writeln!(text, "  since {from}, {length} streams in the chain")
            }
        };
    }
    if let Outcome::Exported(done) = outcome {
        if let Some(stored) = &done.stored {
            let stream = units::size(stored.stream_bytes);
            let size = units::size(stored.stored_bytes);
            let _ = writeln!(text, "  {stream} of stream as {size}");
        }
        if let Some(why) = &done.new_lineage {
            let _ = writeln!(text, "  a new lineage: {}", one_line(&why.to_string()));
        }
    }
    for notice in notices {
        text.push_str(&render::notice(notice));
    }
    text
}

/// The exit code, and in JSON everything.
fn tell(
    outcomes: &[Outcome],
    args: &ExportArgs,
    target: &Target,
    context: &Context,
) -> Result<Exit, Failure> {
    let exits = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Failed { exit, .. } => Some(*exit),
        _ => None,
    });
    let exits: Vec<Exit> = exits.collect();
    // If nothing was done at all, the reason of the first says more than that something failed.
    let exit = match exits.first() {
        None => Exit::Done,
        Some(first) if exits.len() == outcomes.len() && exits.iter().all(|exit| exit == first) => {
            *first
        }
        Some(_) => Exit::Failed,
    };
    if context.console.json {
        context.console.answer_json(&Answer {
            version: JSON_VERSION,
            archive: target.archive.document().id.to_string(),
            dry_run: args.dry_run,
            exit_code: exit.code(),
            instances: outcomes,
        })?;
    } else if outcomes.is_empty() {
        context
            .console
            .answer("There is no instance to export.\n")?;
    }
    Ok(exit)
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Host(error) => error.into(),
            error => {
                let message = terrarium_core::with_causes(&error);
                let failure = Failure::new(error.class().into(), message);
                match error.help() {
                    Some(help) => failure.with_help(help),
                    None => failure,
                }
            }
        }
    }
}
