//! `status`: whether every instance has what its policy wants.

use serde::Serialize;
use terrarium_core::status::{Status, assess};
use terrarium_core::{Host, Instances, RunRecord, Zfs};

use crate::args::StatusArgs;
use crate::command::Context;
use crate::exit::{Exit, Failure};
use crate::render::{self, JSON_VERSION, status};

/// Shows it, and writes it where a monitoring system looks.
pub(crate) async fn show<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &StatusArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Answer<'a> {
        version: u32,
        exit_code: u8,
        #[serde(flatten)]
        status: &'a Status,
        last_run: Option<&'a RunRecord>,
    }
    let now = (context.clock)();
    let planner = host.look(now.clone()).await?;
    let policies = planner.policies().await?;
    let found = assess(planner.inventory(), &policies, &now);
    let (last_run, unread) = match host.last_run() {
        Ok(record) => (record, None),
        Err(error) => (None, Some(Failure::from(error))),
    };
    let ran = last_run.as_ref().is_none_or(|run| run.complete);
    let exit = match found.is_well() && ran && unread.is_none() {
        true => Exit::Done,
        false => Exit::Failed,
    };
    if let Some(path) = &args.metrics {
        super::write_whole(path, &status::metrics(&found, last_run.as_ref()))?;
    }
    if context.console.json {
        context.console.answer_json(&Answer {
            version: JSON_VERSION,
            exit_code: exit.code(),
            status: &found,
            last_run: last_run.as_ref(),
        })?;
    } else {
        let text = status::text(&found, last_run.as_ref(), &now);
        context.console.answer(&text)?;
        if let Some(unread) = unread {
            context.console.tell(&render::warning(&unread));
        }
    }
    Ok(exit)
}
