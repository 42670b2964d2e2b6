//! Recovery: finish an operation that was cut off, or put everything back.
//!
//! Planned from the intent and the state that is found, whichever step was the last: after a crash in the
//! next run, after a failure at once.

mod grave;

use std::collections::BTreeSet;

use jiff::Timestamp;
use terrarium_zfs::{Dataset, DatasetName, Snapshot};

use super::rewind::set_idmap;
use super::{Action, Notice, Plan, Purpose, Steps, as_new, parents, rewind, rollback};
use crate::details::Details;
use crate::error::Error;
use crate::instances::{InstanceRecord, InstanceState};
use crate::intent::{AsNewGoal, Goal, Intent, RewindGoal, RollbackGoal};
use crate::inventory::{Pending, Pool};
use crate::point::{LXD_SNAPSHOT_PREFIX, lxd_record_name};
use crate::property;

/// Which way a recovery goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// On if what was wanted is in place already, else back: after a crash.
    Nearest,
    /// Back, wherever it stopped: after a failure that was seen.
    Back,
}

/// Plans the recovery of one operation.
///
/// `record` is what LXD says of the instance that the operation changes: for a new one, that one. `details` are
/// the operation's own, if its file is there.
///
/// # Errors
/// [`Error::Changed`] if what the intent speaks of is not there any more.
pub fn plan_recovery(
    pending: &Pending,
    pool: &Pool,
    record: Option<&InstanceRecord>,
    details: Option<Details>,
    direction: Direction,
    now: Timestamp,
) -> Result<Plan, Error> {
    let intent = &pending.intent;
    let scene = Scene {
        pending,
        pool,
        record,
        details: details.unwrap_or_default(),
    };
    let mut steps = Steps::default();
    let forward = match &intent.goal {
        Goal::Rewind(goal) => scene.rewind(&mut steps, goal, direction)?,
        // A rollback that happened cannot be taken back, so there is only one way to go.
        Goal::Rollback(goal) => scene.rollback(&mut steps, goal),
        Goal::AsNew(goal) => scene.as_new(&mut steps, goal, direction),
        Goal::Destroy(goal) => scene.destroy(&mut steps, goal, direction),
        Goal::Resume(goal) => scene.resume(&mut steps, goal, direction),
    };
    let what = match &intent.goal {
        Goal::AsNew(goal) => format!("the restore of {} as {}", intent.instance, goal.new),
        Goal::Rewind(goal) if goal.undo => {
            format!("the undo of {} to {}", intent.instance, intent.target.name)
        }
        Goal::Destroy(_) => format!("the destroy of {}", intent.instance),
        Goal::Resume(_) => format!("the resume of {}", intent.instance),
        _ => format!(
            "the restore of {} to {}",
            intent.instance, intent.target.name
        ),
    };
    let (purpose, title) = if forward {
        (Purpose::Finish, format!("finish {what}"))
    } else {
        (Purpose::TakeBack, format!("take back {what}"))
    };
    Ok(Plan {
        operation: intent.operation.clone(),
        purpose,
        title,
        made_at: now,
        steps: steps.0,
        notices: vec![Notice::info(format!(
            "{what} began at {} and did not finish",
            intent.at.strftime("%Y-%m-%d %H:%M:%S UTC")
        ))],
        removals: Vec::new(),
        layout: Some(pending.layout.clone()),
        intent: Some(intent.clone()),
        details: scene.details,
    })
}

/// The intent and the state that was found.
struct Scene<'a> {
    pending: &'a Pending,
    pool: &'a Pool,
    record: Option<&'a InstanceRecord>,
    details: Details,
}

impl Scene<'_> {
    fn intent(&self) -> &Intent {
        &self.pending.intent
    }

    fn is_running(&self) -> bool {
        self.record
            .is_some_and(|record| record.state != InstanceState::Stopped)
    }

    fn idmap_now(&self) -> Option<&String> {
        self.record?.definition.config.get(property::LXD_IDMAP)
    }

    /// Whether the instance bears the mark of the operation: it was made for it.
    fn is_marked(&self) -> bool {
        let config = self.record.map(|record| &record.definition.config);
        let mark = config.and_then(|config| config.get(property::LXD_OPERATION));
        mark.is_some_and(|mark| *mark == self.intent().operation.as_str())
    }

    /// Whether LXD is still to be told which ids the files have: it knew others, nobody has told it, and it has not
    /// started with what it knew.
    fn must_tell(&self, before: Option<&String>) -> bool {
        let holder = self.dataset(|dataset| dataset.name == self.pending.holder);
        let told = holder.is_some_and(|holder| holder.local.contains_key(property::TOLD));
        rewind::is_shifted(self.intent(), before) && !told && !self.is_running()
    }

    fn dataset(&self, found: impl Fn(&&Dataset) -> bool) -> Option<&Dataset> {
        self.pool.listing.datasets.iter().find(found)
    }

    fn snapshots<'b>(&'b self, dataset: &'b DatasetName) -> impl Iterator<Item = &'b Snapshot> {
        let of_it = move |snapshot: &&Snapshot| snapshot.name.dataset_str() == dataset.as_str();
        self.pool.listing.snapshots.iter().filter(of_it)
    }

    fn has_record(&self, name: &str) -> bool {
        let known = |record: &InstanceRecord| {
            record
                .snapshots
                .iter()
                .any(|snapshot| snapshot.name == name)
        };
        self.record.is_some_and(known)
    }

    fn rewind(
        &self,
        steps: &mut Steps,
        goal: &RewindGoal,
        direction: Direction,
    ) -> Result<bool, Error> {
        let holder = &self.pending.holder;
        let missing = |object: String| Error::Changed {
            object,
            change: "it does not exist any more".to_owned(),
        };
        let staged = self
            .dataset(|dataset| dataset.name == *holder)
            .ok_or_else(|| missing(holder.to_string()))?;
        let before = self
            .dataset(|dataset| dataset.guid == goal.live_guid)
            .ok_or_else(|| {
                missing(format!(
                    "the dataset with guid {} of {}",
                    goal.live_guid, goal.live
                ))
            })?;
        if direction == Direction::Nearest && *holder == goal.live {
            self.rewind_on(steps, goal, staged);
            Ok(true)
        } else {
            self.rewind_back(steps, goal, staged, before);
            Ok(false)
        }
    }

    fn rewind_on(&self, steps: &mut Steps, goal: &RewindGoal, staged: &Dataset) {
        let intent = self.intent();
        let in_chain = |name: &str| {
            let same = |dataset: &&Dataset| dataset.name.as_str() == name;
            self.dataset(same)
                .is_some_and(|dataset| goal.chain.iter().any(|link| link.guid == dataset.guid))
        };
        if staged
            .origin
            .as_ref()
            .is_some_and(|origin| in_chain(origin.dataset_str()))
        {
            steps.then(
                Action::Promote {
                    clone: goal.live.clone(),
                },
                "the history up to the point belongs to the instance again",
            );
        }
        let tell = self.must_tell(goal.idmap_before.as_ref());
        let start = intent.start && !self.is_running();
        rewind::wake_steps(steps, intent, &goal.live, tell, start);
        let mut goal = goal.clone();
        goal.records_to_drop.retain(|name| self.has_record(name));
        rewind::finish_steps(steps, intent, &goal, &self.pending.layout);
    }

    fn rewind_back(
        &self,
        steps: &mut Steps,
        goal: &RewindGoal,
        staged: &Dataset,
        before: &Dataset,
    ) {
        let intent = self.intent();
        let layout = &self.pending.layout;
        let instance = || intent.instance.clone();
        let swapped = staged.name == goal.live;
        if swapped && self.is_running() {
            steps.then(
                Action::Stop {
                    instance: instance(),
                    how: goal.stop,
                },
                "its dataset must not be in use",
            );
        }
        // Each dataset takes back what the clone took over, the point's own first.
        let mut taken_over = BTreeSet::from([staged.name.as_str()]);
        for link in &goal.chain {
            let Some(dataset) = self.dataset(|dataset| dataset.guid == link.guid) else {
                continue;
            };
            let origin = dataset.origin.as_ref().map(|origin| origin.dataset_str());
            if origin.is_some_and(|origin| taken_over.contains(origin)) {
                steps.then(
                    Action::Promote {
                        clone: dataset.name.clone(),
                    },
                    "it takes its snapshots back",
                );
            }
            taken_over.insert(dataset.name.as_str());
        }
        let mut clone = staged.name.clone();
        if swapped {
            steps.then(
                Action::MakeParents {
                    datasets: parents(layout, &goal.staged),
                },
                "the clone goes back there",
            );
            steps.then(
                Action::RenameStaged {
                    from: goal.live.clone(),
                    to: goal.staged.clone(),
                },
                "it gives the instance's name free",
            );
            clone = goal.staged.clone();
        }
        if before.name != goal.live {
            steps.then(
                Action::Rename {
                    from: before.name.clone(),
                    guid: before.guid,
                    to: goal.live.clone(),
                },
                "the instance as it was",
            );
        }
        if !self.is_running() || swapped {
            // LXD does not let go of an id map once it has one.
            if goal.idmap_before.is_some() && self.idmap_now() != goal.idmap_before.as_ref() {
                steps.then(
                    set_idmap(&intent.instance, goal.idmap_before.clone()),
                    "the files have the ids of before",
                );
            }
            self.unmake_records(steps, goal, staged, before);
        }
        for safety in self.snapshots(&before.name) {
            let by = safety.user_properties.get(property::OPERATION);
            if by.is_some_and(|by| *by == intent.operation.as_str())
                && let Ok(snapshot) = goal.live.snapshot(safety.name.name())
            {
                steps.then(
                    Action::DestroySafety {
                        snapshot,
                        guid: safety.guid,
                    },
                    "there is nothing to come back from",
                );
            }
        }
        if goal.was_running && (!self.is_running() || swapped) {
            steps.then(
                Action::Start {
                    instance: instance(),
                },
                "it ran before",
            );
        }
        if let Some(parent) = goal.aside.parent() {
            steps.then(
                Action::RemoveParent { dataset: parent },
                "nothing is left in it",
            );
        }
        steps.then(Action::RemoveDetails, "there is nothing left to undo");
        steps.then(
            Action::DestroyStaged { dataset: clone },
            "everything is as before; the intent goes with it",
        );
    }

    /// Takes back the snapshots that LXD was asked for; they are younger than the clone.
    fn unmake_records(
        &self,
        steps: &mut Steps,
        goal: &RewindGoal,
        staged: &Dataset,
        before: &Dataset,
    ) {
        let intent = self.intent();
        for name in &goal.records_to_make {
            let made = self.snapshots(&before.name).any(|snapshot| {
                lxd_record_name(&snapshot.name) == Some(name)
                    && snapshot.createtxg > staged.createtxg
            });
            if made || self.has_record(name) {
                steps.then(
                    Action::UnmakeRecord {
                        instance: intent.instance.clone(),
                        record: name.clone(),
                        dataset: goal.live.clone(),
                    },
                    format!("{LXD_SNAPSHOT_PREFIX}{name} was made for the sake of its record"),
                );
            }
        }
        let differs = |record: &InstanceRecord| {
            record.definition.without_volatile() != self.details.definition.without_volatile()
        };
        if !goal.records_to_make.is_empty()
            && self.details != Details::default()
            && self.record.is_some_and(differs)
        {
            steps.then(
                Action::RestoreDefinition {
                    instance: intent.instance.clone(),
                },
                "it was changed for the sake of a record",
            );
        }
    }

    fn rollback(&self, steps: &mut Steps, goal: &RollbackGoal) -> bool {
        let intent = self.intent();
        let newest = self
            .snapshots(&goal.live)
            .max_by_key(|snapshot| snapshot.createtxg);
        let done = newest.is_some_and(|newest| newest.guid == intent.target.guid);
        if done {
            let mut goal = goal.clone();
            goal.records_to_drop.retain(|name| self.has_record(name));
            let mut intent = intent.clone();
            intent.start &= !self.is_running();
            let tell = self.must_tell(goal.idmap_before.as_ref());
            rollback::finish_steps(steps, &intent, &goal, tell);
            return true;
        }
        if goal.was_running && !self.is_running() {
            steps.then(
                Action::Start {
                    instance: intent.instance.clone(),
                },
                "it ran before",
            );
        }
        steps.then(
            Action::ClearIntent {
                dataset: goal.live.clone(),
            },
            "nothing was rolled back",
        );
        false
    }

    fn as_new(&self, steps: &mut Steps, goal: &AsNewGoal, direction: Direction) -> bool {
        let intent = self.intent();
        let marked = self.is_marked();
        let placed = self.pending.holder == goal.dataset;
        let has_history = self.snapshots(&self.pending.holder).next().is_some();
        if placed && self.record.is_some() && (direction == Direction::Nearest || has_history) {
            let mut intent = intent.clone();
            intent.start &= !self.is_running();
            as_new::finish_steps(steps, &intent, marked);
            steps.then(
                Action::ClearIntent {
                    dataset: goal.dataset.clone(),
                },
                "the new instance is complete",
            );
            return true;
        }
        if marked || (placed && self.record.is_some()) {
            steps.then(
                Action::DeleteInstance {
                    instance: goal.new.clone(),
                    dataset: goal.dataset.clone(),
                },
                "it is not complete",
            );
        }
        // What a copy received is ours to destroy; in its place it has none.
        let received = goal.copied && !placed;
        if has_history && !received {
            // No clone: it was fetched from elsewhere, and serves the next try.
            if placed {
                steps.then(
                    Action::RenameStaged {
                        from: goal.dataset.clone(),
                        to: goal.staged.clone(),
                    },
                    "nobody but its instance may stand there",
                );
            }
            steps.then(
                Action::ClearIntent {
                    dataset: goal.staged.clone(),
                },
                "everything is as before",
            );
        } else if !placed || self.record.is_none() {
            steps.then(
                Action::DestroyStaged {
                    dataset: self.pending.holder.clone(),
                },
                "everything is as before; the intent goes with it",
            );
        }
        false
    }
}
