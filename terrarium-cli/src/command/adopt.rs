//! `adopt`.

use terrarium_core::{Host, InstanceRef, Instances, Planner, Zfs};

use crate::args::AdoptArgs;
use crate::command::Context;
use crate::command::change::{Change, Doing, change};
use crate::command::prune::Seen;
use crate::exit::{Exit, Failure};
use crate::render::plan;
use crate::render::retention::AdoptJson;

/// Lets sanoid's snapshots count as scheduled ones of ours, or not any more.
pub(crate) async fn sanoid<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &AdoptArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let instances = match args.instances.is_empty() {
        true => host.look((context.clock)()).await?.covered_of(&[])?,
        false => args.instances.clone(),
    };
    if !args.undo && (args.consent.dry_run || !args.consent.yes) {
        let planner = context.interrupt.or(host.look((context.clock)())).await?;
        let seen = Seen::as_if_adopted(&planner, &instances).await?;
        if args.consent.dry_run {
            return show(&planner, &instances, &seen, context);
        }
        let would = seen.shown(&planner, &[]).question();
        if !would.is_empty() {
            context
                .console
                .tell(&format!("With that, `backup prune` would remove{would}"));
        }
    }
    let what = Change {
        instances,
        doing: Doing::Adopt,
        dry_run: args.consent.dry_run,
        ask: !args.consent.yes,
    };
    change(host, &what, context, async |planner| {
        planner.plan_adopt(&what.instances, args.undo).map(Some)
    })
    .await
}

/// What would be done, and what a prune would do then.
fn show<Z: Zfs, I: Instances>(
    planner: &Planner<'_, Z, I>,
    instances: &[InstanceRef],
    seen: &Seen,
    context: &Context,
) -> Result<Exit, Failure> {
    let plan = planner.plan_adopt(instances, false)?;
    let inventory = planner.inventory();
    let recoveries = plan::recoveries_first(inventory, instances);
    let shown = seen.shown(planner, &[]);
    if context.console.json {
        let plan = plan::Shown::new(Some(&plan), &recoveries);
        context.console.answer_json(&AdoptJson::new(plan, &shown))?;
        return Ok(Exit::Done);
    }
    let now = (context.clock)();
    let text = plan::text(&plan, inventory, &recoveries, &now, &context.site);
    context.console.answer(&format!(
        "{text}\nWith that, `backup prune` would do this:\n\n{}",
        shown.verdicts(&now)
    ))?;
    Ok(Exit::Done)
}
