//! `adopt`.

use terrarium_core::{Coverage, Host, Instances, Zfs};

use crate::args::AdoptArgs;
use crate::command::Context;
use crate::command::change::{Change, Doing, change};
use crate::exit::{Exit, Failure};

/// Lets sanoid's snapshots count as scheduled ones of ours, or not any more.
pub(crate) async fn sanoid<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &AdoptArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let mut instances = args.instances.clone();
    if instances.is_empty() {
        let inventory = host.observe(&(context.clock)()).await?;
        let covered = inventory.instances.iter();
        let covered = covered.filter(|one| matches!(one.coverage, Coverage::Covered(_)));
        instances.extend(covered.map(|one| one.record.id.clone()));
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
