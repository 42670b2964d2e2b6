//! Recovery of a destroy or a resume that was cut off or failed.

use std::collections::BTreeMap;

use super::{Direction, Scene};
use crate::instances::InstanceRecord;
use crate::intent::{DestroyGoal, ResumeGoal};
use crate::plan::resume::Left;
use crate::plan::{Action, Steps, destroy, parents, resume};
use crate::property;

impl Scene<'_> {
    /// Once the dataset is in the graveyard and the instance is not wanted back, or cannot be had back, LXD forgets it.
    pub(super) fn destroy(
        &self,
        steps: &mut Steps,
        goal: &DestroyGoal,
        direction: Direction,
    ) -> bool {
        let intent = self.intent();
        let buried = self.pending.holder == goal.grave;
        let occupied = self.dataset(|dataset| dataset.name == goal.live).is_some();
        let same = |record: &&InstanceRecord| {
            let uuid = record.definition.config.get(property::LXD_UUID);
            goal.uuid.is_none() || uuid.is_none() || uuid == goal.uuid.as_ref()
        };
        let another = self.record.is_some_and(|record| !same(&record)) || (buried && occupied);
        if buried && (self.record.is_none() || another || direction == Direction::Nearest) {
            // What is left of one that LXD does not list any more goes with it.
            destroy::finish_steps(steps, intent, goal, !another);
            return true;
        }
        if buried {
            steps.then(
                Action::Rename {
                    from: goal.grave.clone(),
                    guid: goal.live_guid,
                    to: goal.live.clone(),
                },
                "the instance as it was",
            );
        }
        for safety in self.snapshots(&self.pending.holder) {
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
        if goal.was_running && !self.is_running() {
            steps.then(
                Action::Start {
                    instance: intent.instance.clone(),
                },
                "it ran before",
            );
        }
        if let Some(parent) = goal.grave.parent() {
            steps.then(
                Action::RemoveParent { dataset: parent },
                "nothing is left in it",
            );
        }
        steps.then(Action::RemoveDetails, "there is nothing to resume");
        steps.then(
            Action::ClearIntent {
                dataset: goal.live.clone(),
            },
            "everything is as before",
        );
        false
    }

    /// Once the dataset is in its place, the resume is finished; before, or after a failure, the dataset goes back to
    /// the graveyard and LXD forgets what it made.
    pub(super) fn resume(
        &self,
        steps: &mut Steps,
        goal: &ResumeGoal,
        direction: Direction,
    ) -> bool {
        let intent = self.intent();
        let instance = || intent.instance.clone();
        let placed = self.pending.holder == goal.dataset;
        let value = |key: &str| self.record.and_then(|it| it.definition.config.get(key));
        let marked = self.is_marked();
        let made_by_us = marked || value(property::LXD_UUID) == Some(&goal.uuid);
        if placed && self.record.is_some() && (direction == Direction::Nearest || !marked) {
            let left = match (marked, self.is_running()) {
                (false, _) => Left::Tidying,
                (true, true) => Left::Mark,
                // It was made with its map. Another one is what a start has made of the files.
                (true, false) if self.idmap_now().is_some() => Left::Start,
                (true, false) => Left::All,
            };
            resume::finish_steps(steps, intent, goal, left);
            return true;
        }
        if placed {
            if self.is_running() {
                steps.then(
                    Action::Stop {
                        instance: instance(),
                        how: goal.stop,
                    },
                    "its dataset must not be in use",
                );
                steps.then(
                    Action::CheckUnmounted {
                        dataset: goal.dataset.clone(),
                    },
                    "what is mounted elsewhere could still be written to",
                );
            }
            if let Some(idmap) = self.idmap_now()
                && intent.idmap.as_ref() != Some(idmap)
            {
                let changes = [(property::IDMAP.to_owned(), Some(idmap.clone()))];
                steps.then(
                    Action::SetProperties {
                        object: goal.dataset.to_string(),
                        guid: goal.guid,
                        changes: changes.into(),
                    },
                    "a start has shifted the files",
                );
            }
            steps.then(
                Action::MakeParents {
                    datasets: parents(&self.pending.layout, &goal.grave),
                },
                "it goes back there",
            );
            steps.then(
                Action::RenameStaged {
                    from: goal.dataset.clone(),
                    to: goal.grave.clone(),
                },
                "LXD destroys with an instance all that is in its tree",
            );
        }
        if self.record.is_some() && made_by_us {
            if !placed {
                steps.then(
                    Action::DestroyStandIn {
                        instance: instance(),
                        dataset: goal.dataset.clone(),
                        records: goal.records.clone(),
                    },
                    "it was made for the resume",
                );
            }
            if value(property::LXD_PROTECTION).is_none_or(|value| value != "false") {
                steps.then(
                    Action::SetConfig {
                        instance: instance(),
                        changes: BTreeMap::from([(
                            property::LXD_PROTECTION.to_owned(),
                            Some("false".to_owned()),
                        )]),
                    },
                    "it is not complete",
                );
            }
            steps.then(
                Action::ForgetInstance {
                    instance: instance(),
                    live: goal.dataset.clone(),
                    grave: goal.grave.clone(),
                    guid: goal.guid,
                    uuid: Some(goal.uuid.clone()),
                },
                "it is not complete",
            );
        }
        steps.then(
            Action::ClearIntent {
                dataset: goal.grave.clone(),
            },
            "it is in the graveyard as before",
        );
        false
    }
}
