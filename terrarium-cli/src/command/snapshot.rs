//! `backup snapshot`.

use terrarium_core::{Host, Instances, Zfs};

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
    let what = Change {
        instances: args.instances.clone(),
        doing: Doing::Snapshot,
        dry_run: args.dry_run,
        ask: false,
    };
    change(host, &what, context, async |planner| {
        planner
            .plan_snapshot(&args.instances, args.alias.clone(), args.expires)
            .map(Some)
    })
    .await
}
