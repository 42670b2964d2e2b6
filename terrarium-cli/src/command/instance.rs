//! `instance destroy` and `instance resume`.

use terrarium_core::{Host, Instances, Zfs};

use crate::args::{DestroyArgs, ResumeArgs};
use crate::command::change::{Change, Doing, change};
use crate::command::{Context, graveyard};
use crate::exit::{Exit, Failure};

/// Destroys an instance: to the graveyard, or for ever if that was agreed to.
pub(crate) async fn destroy<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &DestroyArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let what = Change {
        instances: vec![args.instance.clone()],
        doing: Doing::Destroy,
        dry_run: args.consent.dry_run,
        ask: !args.consent.yes,
    };
    let request = args.request();
    let exit = change(host, &what, context, async |planner| {
        planner.plan_destroy(&args.instance, &request).await
    })
    .await?;
    if args.consent.dry_run || exit != Exit::Done {
        return Ok(exit);
    }
    graveyard::purge_at_once(host, &args.instance, context).await
}

/// Brings a destroyed instance back.
pub(crate) async fn resume<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &ResumeArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    // Nothing that is there is replaced by it, so there is nothing to ask.
    let what = Change {
        instances: vec![args.instance.clone()],
        doing: Doing::Resume,
        dry_run: args.consent.dry_run,
        ask: false,
    };
    change(host, &what, context, async |planner| {
        let from = args.from.as_ref();
        planner
            .plan_resume(&args.instance, from, !args.no_start)
            .await
    })
    .await
}
