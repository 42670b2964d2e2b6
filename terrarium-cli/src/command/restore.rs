//! `backup restore`.

use terrarium_core::{Destination, Host, Instances, Zfs};

use crate::args::RestoreArgs;
use crate::command::Context;
use crate::command::change::{Change, Doing, change};
use crate::exit::{Exit, Failure};

/// Brings an instance back to a restore point, in place or as a new one.
pub(crate) async fn restore<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &RestoreArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    if args.pool.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "a point of this host is restored in the storage pool that it is in: --pool is for --source archive",
        ));
    }
    let request = args.request();
    let mut instances = vec![args.instance.clone()];
    let in_place = match &request.to {
        Destination::AsNew { new, .. } => {
            instances.push(new.clone());
            false
        }
        Destination::InPlace { .. } => true,
    };
    let what = Change {
        instances,
        doing: Doing::Restore,
        dry_run: args.consent.dry_run,
        ask: in_place && !args.consent.yes,
    };
    change(host, &what, context, async |planner| {
        planner.plan_restore(&args.instance, &request).await
    })
    .await
}
