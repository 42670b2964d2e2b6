//! `backup drill --boot`: the point is not only read, it runs: as a throw-away instance, which is asked and removed.

use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;
use terrarium_core::{
    BootReport, BootRequest, BootVerdict, FetchRequest, Halt, Host, InstanceRef, Instances, Streams,
};
use terrarium_s3::crypto::Identities;
use terrarium_s3::pipeline::Options;

use super::record::{self, Record, Shown};
use super::{Chosen, Context, tell_not_noted};
use crate::archive::Session;
use crate::args::DrillArgs;
use crate::exit::{Exit, Failure};
use crate::progress::Transfer;
use crate::render::{self, one_line};

/// How long the start, and then the check, may take, unless told otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// Boots a point.
pub(super) async fn boot<Z: Streams, I: Instances>(
    host: &Host<Z, I>,
    (args, instance): (&DrillArgs, &InstanceRef),
    (chosen, identities): (Chosen, Arc<Identities>),
    session: &Session<'_>,
    now: &Zoned,
    context: &Context,
) -> Result<Exit, Failure> {
    let (console, interrupt) = (&context.console, &context.interrupt);
    let streams = chosen.chain.iter().map(|link| link.stream_bytes);
    let stream_bytes = streams.fold(0, u64::saturating_add);
    let transfer = Transfer::begin(console, "fetched", Some(stream_bytes));
    let from = FetchRequest {
        store: Arc::clone(chosen.archive.store()),
        layout: chosen.archive.layout().clone(),
        chain: chosen.chain,
        identities,
        options: Options {
            progress: Some(transfer.progress()),
            ..Options::default()
        },
    };
    let request = BootRequest {
        instance: instance.clone(),
        check: args.check.clone(),
        limit: args.timeout.unwrap_or(LIMIT),
    };
    let halt = Halt::default();
    interrupt.work_begins();
    let report = {
        let booting = host.drill_boot(&from, &request, now.clone(), &halt);
        let mut booting = std::pin::pin!(transfer.watch(booting));
        tokio::select! {
            biased;
            () = interrupt.wait() => {
                halt.raise();
                booting.await
            }
            report = &mut booting => report,
        }
    };
    let report = report?;
    tell_what_is_left(&report, context);
    if report.verdict.not_of_the_point().is_some()
        && let BootVerdict::Failed(error) = report.verdict
    {
        return Err(error.into());
    }
    let shown = Shown {
        at: now.timestamp(),
        location: session.location(),
        archive: chosen.archive.document().id,
        point: &chosen.point,
        streams: from.chain.len(),
        stream_bytes,
    };
    let record = Record::booted(&shown, &report);
    let recorded = record::append(session.state().folder(), &record);
    let exit = match report.verdict.is_good() && report.left.is_none() {
        true => Exit::Done,
        false => Exit::Failed,
    };
    match console.json {
        true => console.answer_json(&render::drill::boot_json(&record, &report, exit))?,
        false => console.answer(&render::drill::boot_text(&record, &report, now))?,
    }
    tell_not_noted(recorded, session, context);
    Ok(exit)
}

fn tell_what_is_left(report: &BootReport, context: &Context) {
    let tell = |what: String| context.console.tell(&what);
    for instance in &report.removed {
        tell(format!(
            "note: {instance}, which a drill that was cut off had left behind, is removed"
        ));
    }
    for stuck in &report.stuck {
        let stuck = one_line(stuck);
        tell(format!(
            "warning: what a drill had left behind stays: {stuck}"
        ));
    }
    if let Some(why) = &report.left {
        tell(format!(
            "warning: {} is not removed, the next drill with --boot tries again: {}",
            report.instance,
            one_line(why)
        ));
    }
}
