//! `backup snapshot`.

use terrarium_core::{Error, Host, Instances, Zfs};

use crate::args::SnapshotArgs;
use crate::command::Context;
use crate::command::change::{Change, Doing, change};
use crate::exit::{Exit, Failure};

/// Takes a snapshot of one or several instances.
pub(crate) async fn snapshot<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &SnapshotArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let instances = match &args.group {
        Some(group) => {
            let planner = context.interrupt.or(host.look((context.clock)())).await?;
            planner.group(&group.project, &group.name)?
        }
        None => args.instances.clone(),
    };
    let what = Change {
        instances: instances.clone(),
        doing: Doing::Snapshot,
        dry_run: args.dry_run,
        ask: false,
    };
    change(host, &what, context, async |planner| {
        let (alias, expires) = (args.alias.clone(), args.expires);
        let Some(group) = &args.group else {
            let plan = planner.plan_snapshot(&instances, alias, expires);
            return plan.map(Some);
        };
        // Only these are locked.
        if planner.group(&group.project, &group.name)? != instances {
            return Err(Error::Changed {
                object: format!("group {}", group.name),
                change: "it has other instances now".to_owned(),
            });
        }
        let plan = planner.plan_snapshot_together(&instances, alias, expires);
        plan.map(Some)
    })
    .await
}
