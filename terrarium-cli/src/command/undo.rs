//! `backup undo`.

use terrarium_core::{Host, Instances, Zfs};

use crate::args::UndoArgs;
use crate::command::Context;
use crate::command::change::{Change, Doing, change};
use crate::exit::{Exit, Failure};

/// Takes back the last restore in place.
pub(crate) async fn undo<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &UndoArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let what = Change {
        instances: vec![args.instance.clone()],
        doing: Doing::Undo,
        dry_run: args.consent.dry_run,
        ask: !args.consent.yes,
    };
    change(host, &what, context, async |planner| {
        planner
            .plan_undo(&args.instance, args.start, args.stop.how())
            .await
    })
    .await
}
