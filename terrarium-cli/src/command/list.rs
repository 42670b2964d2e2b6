//! `backup list`.

use terrarium_core::{
    Coverage, Error, Host, InstanceRef, Instances, Inventory, NotCovered, PoolProblem, Zfs,
};

use crate::args::ListArgs;
use crate::command::Context;
use crate::exit::{Exit, Failure};
use crate::render;

/// Shows the restore points of all instances, or of those that were asked for.
pub(crate) async fn list<Z: Zfs, I: Instances>(
    host: &Host<Z, I>,
    args: &ListArgs,
    context: &Context,
) -> Result<Exit, Failure> {
    let now = (context.clock)();
    let mut inventory = host.observe(&now).await?;
    for id in &args.instances {
        match inventory.covered(id) {
            Ok(_) | Err(Error::NotCovered { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !args.instances.is_empty() {
        narrow(&mut inventory, &args.instances);
    }
    // What can be read is shown; a pool that cannot be read may well be back in a moment.
    let exit = match inventory.problems.is_empty() {
        true => Exit::Done,
        false => Exit::Unavailable,
    };
    let console = &context.console;
    if console.json {
        console.answer_json(&render::points::json(&inventory, exit))?;
    } else {
        console.answer(&render::points::text(&inventory, &now, &context.site))?;
    }
    Ok(exit)
}

/// Leaves only what concerns the instances that were asked for.
pub(super) fn narrow(inventory: &mut Inventory, instances: &[InstanceRef]) {
    let wanted = |id: &InstanceRef| instances.contains(id);
    inventory
        .instances
        .retain(|instance| wanted(&instance.record.id));
    inventory
        .pending
        .retain(|pending| wanted(&pending.intent.instance));
    inventory.orphans.clear();
    let concerns_them = |problem: &PoolProblem| {
        inventory.instances.iter().any(|instance| {
            matches!(&instance.coverage, Coverage::NotCovered {
                reason: NotCovered::PoolUnreadable { pool, .. }
            } if *pool == problem.lxd_pool)
        })
    };
    inventory.problems.retain(concerns_them);
}
