//! `archive prune`.

use terrarium_s3::archive::{AnyStore, Archive, PrunePlan, plan_prune};
use terrarium_s3::crypto::HostKey;

use crate::archive::Session;
use crate::archive::args::PruneArgs;
use crate::confirm::{self, Question};
use crate::exit::{Exit, Failure};
use crate::render::prune::{Done, Shown, not_removed, warnings};

/// Removes what need not be kept.
pub(super) async fn prune(args: &PruneArgs, session: &Session<'_>) -> Result<Exit, Failure> {
    let rules = args.rules()?;
    let console = session.console;
    let dry_run = args.consent.dry_run;
    let looking = async {
        let (archive, key): (Archive<AnyStore>, Option<HostKey>) = match dry_run {
            // Whoever may read may look.
            true => {
                let archive = session.open().await?;
                session.compare(&archive)?;
                (archive, None)
            }
            false => {
                let (archive, key) = session.open_to_write().await?;
                (archive, Some(key))
            }
        };
        let survey = archive.survey().await?;
        Ok::<_, Failure>((archive, key, survey))
    };
    let (archive, key, survey) = session.interrupt.or(looking).await?;
    let plan = plan_prune(&survey, rules, session.now.timestamp());
    drop(survey);
    for warning in warnings(&plan) {
        console.tell(&warning);
    }
    if dry_run || plan.is_empty() {
        return show(&plan, session, dry_run);
    }
    let shown = Shown {
        plan: &plan,
        dry_run: true,
    };
    if !args.consent.yes {
        confirm::refuse_unattended(console)?;
        let question = Question {
            text: shown.text(&session.now),
            destroys: true,
        };
        confirm::ask(&question, console, &session.interrupt).await?;
    }
    let interrupt = session.interrupt.clone();
    let stop = move || interrupt.is_raised();
    let (total, number) = (plan.order.len(), std::sync::atomic::AtomicUsize::new(0));
    let tell = |_: &_, _: &_| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        if console.watched {
            console.status(&format!("pruning: {number} of {total} restore points"));
        }
    };
    let pruned = archive.prune(&plan, key.as_ref(), &stop, &tell).await;
    console.clear_status();
    let done = Done {
        plan: &plan,
        pruned: &pruned?,
    };
    let exit = done.exit();
    match console.json {
        true => console.answer_json(&done.json())?,
        false => console.answer(&done.text(&session.now))?,
    }
    for line in not_removed(done.pruned) {
        console.tell(&line);
    }
    Ok(exit)
}

fn show(plan: &PrunePlan, session: &Session<'_>, dry_run: bool) -> Result<Exit, Failure> {
    let shown = Shown { plan, dry_run };
    match session.console.json {
        true => session.console.answer_json(&shown.json())?,
        false => session.console.answer(&shown.text(&session.now))?,
    }
    Ok(Exit::Done)
}
