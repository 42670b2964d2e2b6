//! `backup edit` and `backup delete`.

use terrarium_core::{Host, Instances, Zfs};

use crate::args::{DeleteArgs, EditArgs};
use crate::command::Context;
use crate::command::change::{Change, Doing, change};
use crate::exit::{Exit, Failure};

/// Changes the alias and the expiry of a restore point.
pub(crate) async fn edit<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &EditArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let what = Change {
        instances: vec![args.instance.clone()],
        doing: Doing::Edit,
        dry_run: args.dry_run,
        ask: false,
    };
    change(host, &what, context, async |planner| {
        let (alias, expires) = (args.what.alias(), args.what.expires());
        planner
            .plan_edit(&args.instance, &args.at, alias, expires)
            .map(Some)
    })
    .await
}

/// Deletes restore points of an instance.
pub(crate) async fn delete<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &DeleteArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let what = Change {
        instances: vec![args.instance.clone()],
        doing: Doing::Delete,
        dry_run: args.consent.dry_run,
        ask: !args.consent.yes,
    };
    change(host, &what, context, async |planner| {
        let planned = planner.plan_delete(&args.instance, &args.at, args.force);
        planned.await.map(Some)
    })
    .await
}
