//! Removes what was planned, as far as it still holds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use terrarium_zfs::Guid;
use tokio::task::JoinSet;

use crate::archive::prune::survey::Stray;
use crate::archive::prune::{PrunePlan, Survey, Target, plan_prune};
use crate::archive::retention::Reason;
use crate::archive::{Archive, ArchiveError};
use crate::crypto::HostKey;
use crate::format::{Document, Lineage, ManifestPlace, PartPlace, Place, Removal, RunId};
use crate::store::{Key, Store, StoreError, create_or_same};

/// What was removed.
#[derive(Debug, Default)]
pub struct Pruned {
    /// What became of each point that was to go, in the order of the plan.
    pub points: Vec<(ManifestPlace, Outcome)>,
    /// How many objects were removed that nobody named.
    pub strays: usize,
    /// The size of all that was removed, in bytes.
    pub freed_bytes: u64,
    /// Objects that nobody names any more, and that could not be removed. The next prune tries it again.
    pub failures: Vec<NotRemoved>,
    /// It was asked to stop.
    pub interrupted: bool,
    /// Why it ended early, if it did.
    pub ended_by: Option<ArchiveError>,
}

/// What became of a point that was to go.
#[derive(Debug)]
pub enum Outcome {
    /// It is gone.
    Removed,
    /// It was gone before: somebody else removes, too.
    Gone,
    /// It stays: since it was planned, there are reasons.
    Kept(Vec<Reason>),
    /// It could not be removed, or that is not known.
    Failed(StoreError),
    /// It was not its turn any more.
    NotRun,
}

/// An object that could not be removed.
#[derive(Debug)]
pub struct NotRemoved {
    /// Its key, or its path.
    pub name: String,
    /// Why.
    pub error: StoreError,
}

impl Pruned {
    /// How many points were removed.
    pub fn removed(&self) -> usize {
        let removed = |(_, outcome): &&(_, Outcome)| matches!(outcome, Outcome::Removed);
        self.points.iter().filter(removed).count()
    }

    /// Whether all went that was to go and had no new reason to stay.
    pub fn is_done(&self) -> bool {
        let done =
            |(_, outcome): &(_, Outcome)| !matches!(outcome, Outcome::Failed(_) | Outcome::NotRun);
        self.points.iter().all(done)
            && self.failures.is_empty()
            && !self.interrupted
            && self.ended_by.is_none()
    }
}

/// So many times in a row the store may be away before it is taken to stay so.
const MAX_AWAY: usize = 3;

/// How many objects are deleted at once.
const AT_ONCE: usize = 16;

impl<S: Store> Archive<S> {
    /// Carries out a plan. What has a new reason to stay since it was planned does, and nothing goes that was not in it.
    ///
    /// Between two objects it looks whether it shall `stop`. It tells what became of each point. Killed at any moment it
    /// leaves objects that nobody names, which the next one collects; and a notice, for the time of
    /// [`Removal::LIFE`], during which nobody builds upon what it names.
    ///
    /// # Errors
    /// [`ArchiveError`], and nothing was removed: [`ArchiveError::AppendOnly`] if these credentials may not. What goes
    /// wrong later is in [`Pruned`].
    pub async fn prune(
        &self,
        plan: &PrunePlan,
        key: Option<&HostKey>,
        stop: &(dyn Fn() -> bool + Send + Sync),
        tell: &(dyn Fn(&ManifestPlace, &Outcome) + Send + Sync),
    ) -> Result<Pruned, ArchiveError> {
        let mut pruned = Pruned::default();
        if plan.is_empty() {
            return Ok(pruned);
        }
        self.refuse_append_only().await?;
        let mut work = Work {
            archive: self,
            plan,
            stop,
            tell,
            left: plan.order.iter().copied().collect(),
            away: 0,
        };
        loop {
            let before = pruned.points.len() + pruned.strays;
            match work.round(key, &mut pruned).await {
                Ok(Round::LeaseIsOver) if before == pruned.points.len() + pruned.strays => {
                    pruned.ended_by = Some(ArchiveError::TooSlow);
                    break;
                }
                Ok(Round::LeaseIsOver) => {}
                Ok(Round::Done) => match work.left.is_empty() {
                    true => break,
                    false => continue,
                },
                Ok(Round::Ended) => break,
                Err(error) if pruned.points.is_empty() && pruned.strays == 0 => return Err(error),
                Err(error) => {
                    pruned.ended_by = Some(error);
                    break;
                }
            }
        }
        let left = work.left.into_iter();
        pruned
            .points
            .extend(left.map(|place| (place, Outcome::NotRun)));
        Ok(pruned)
    }

    /// Deleting what is not there says whether it would be allowed.
    async fn refuse_append_only(&self) -> Result<(), ArchiveError> {
        let run = RunId::random().map_err(ArchiveError::Random)?;
        let nothing = self.layout.probe(run)?;
        match self.store.delete(&nothing).await {
            Err(source @ StoreError::Denied { .. }) => Err(ArchiveError::AppendOnly { source }),
            Err(StoreError::NotFound { .. }) => Ok(()),
            asked => Ok(asked?),
        }
    }
}

/// How a round ended.
#[derive(Clone, Copy, PartialEq)]
enum Round {
    Done,
    /// It took so long that its notice does not count any more.
    LeaseIsOver,
    /// There is no use in another one.
    Ended,
}

struct Work<'a, S> {
    archive: &'a Archive<S>,
    plan: &'a PrunePlan,
    stop: &'a (dyn Fn() -> bool + Send + Sync),
    tell: &'a (dyn Fn(&ManifestPlace, &Outcome) + Send + Sync),
    left: VecDeque<ManifestPlace>,
    /// How often in a row the store was.
    away: usize,
}

/// Since when a notice stands; by two clocks, of which one may stand still and one be set.
struct Lease(Instant, SystemTime);

impl Lease {
    fn is_over(&self) -> bool {
        let by_other: Duration = self.1.elapsed().unwrap_or_default();
        self.0.elapsed().max(by_other) > Removal::LEASE
    }
}

impl<S: Store> Work<'_, S> {
    /// Says what goes, looks once more, and removes it.
    async fn round(
        &mut self,
        key: Option<&HostKey>,
        pruned: &mut Pruned,
    ) -> Result<Round, ArchiveError> {
        let archive = self.archive;
        let count = self.left.len().min(Removal::MAX_POINTS);
        let removal = Removal {
            archive: archive.document.id,
            run: RunId::random().map_err(ArchiveError::Random)?,
            written: Timestamp::now(),
            points: self.left.iter().copied().take(count).collect(),
        };
        let at = archive.layout.key(&removal.place())?;
        let body = removal.write(key).map_err(|source| ArchiveError::Format {
            key: at.clone(),
            source,
        })?;
        let lease = Lease(Instant::now(), SystemTime::now());
        let done = match create_or_same(&*archive.store, &at, body).await {
            Ok(()) => self.remove(&at, &lease, count, pruned).await,
            Err(error) => Err(error.into()),
        };
        // Also if it is not known whether it was created.
        if let (Err(error), Ok(_)) = (archive.store.delete(&at).await, &done) {
            let name = at.to_string();
            pruned.failures.push(NotRemoved { name, error });
        }
        done
    }

    async fn remove(
        &mut self,
        notice: &Key,
        lease: &Lease,
        count: usize,
        pruned: &mut Pruned,
    ) -> Result<Round, ArchiveError> {
        let survey = self.archive.survey().await?;
        let own = survey.notices.iter().find(|found| found.key == *notice);
        let now = own.ok_or_else(|| ArchiveError::NotListed {
            key: notice.clone(),
        })?;
        let mut fresh = Fresh::new(&survey, plan_prune(&survey, self.plan.rules, now.modified));
        for _ in 0..count {
            if (self.stop)() {
                pruned.interrupted = true;
                return Ok(Round::Ended);
            }
            if lease.is_over() {
                return Ok(Round::LeaseIsOver);
            }
            let Some(place) = self.left.pop_front() else {
                break;
            };
            let outcome = self.remove_point(place, &mut fresh, lease, pruned).await?;
            (self.tell)(&place, &outcome);
            let ends = self.is_away(match &outcome {
                Outcome::Failed(error) => Some(error),
                _ => None,
            });
            pruned.points.push((place, outcome));
            if ends {
                return Ok(Round::Ended);
            }
        }
        match self.left.is_empty() {
            true => self.remove_strays(&fresh.plan, lease, pruned).await,
            false => Ok(Round::Done),
        }
    }

    async fn remove_point(
        &self,
        place: ManifestPlace,
        fresh: &mut Fresh<'_>,
        lease: &Lease,
        pruned: &mut Pruned,
    ) -> Result<Outcome, ArchiveError> {
        let Some(reasons) = fresh.reasons.get(&place) else {
            return Ok(Outcome::Gone);
        };
        if !reasons.is_empty() {
            return Ok(Outcome::Kept(reasons.clone()));
        }
        if let Some(child) = fresh.child(&place) {
            return Ok(Outcome::Kept(vec![Reason::NeededBy(child)]));
        }
        let key = self.archive.layout.key(&Place::Manifest(place))?;
        if let Err(error) = self.archive.store.delete(&key).await {
            return Ok(Outcome::Failed(error));
        }
        let (said, parts) = fresh.remove(&place);
        // Were the same snapshot stored once more, what was said of this one would be said of that.
        self.delete(said, lease, pruned).await;
        self.delete(parts, lease, pruned).await;
        Ok(Outcome::Removed)
    }

    async fn remove_strays(
        &mut self,
        fresh: &PrunePlan,
        lease: &Lease,
        pruned: &mut Pruned,
    ) -> Result<Round, ArchiveError> {
        let planned: HashSet<_> = self.plan.strays.iter().map(|stray| &stray.name).collect();
        let mut objects = Vec::new();
        let mut files = Vec::new();
        for stray in &fresh.strays {
            match &stray.target {
                _ if !planned.contains(&stray.name) => {}
                Target::Object(key) => objects.push((key.clone(), stray.size)),
                Target::File(file) => files.push(file),
            }
        }
        let before = pruned.failures.len();
        pruned.strays += self.delete(objects, lease, pruned).await;
        for file in files {
            if (self.stop)() {
                break;
            }
            match self.archive.store.remove_leftover(file).await {
                Ok(()) => {
                    pruned.strays += 1;
                    pruned.freed_bytes = pruned.freed_bytes.saturating_add(file.size);
                }
                Err(error) => {
                    let name = file.path.to_string_lossy().into_owned();
                    pruned.failures.push(NotRemoved { name, error });
                }
            }
        }
        if (self.stop)() {
            pruned.interrupted = true;
            return Ok(Round::Ended);
        }
        match lease.is_over() && pruned.failures.len() == before {
            true => Ok(Round::LeaseIsOver),
            false => Ok(Round::Done),
        }
    }

    /// Deletes objects that nobody names any more; says how many.
    async fn delete(&self, objects: Objects, lease: &Lease, pruned: &mut Pruned) -> usize {
        let mut deleted = 0;
        let mut away = 0;
        for some in objects.chunks(AT_ONCE) {
            // What is left is collected by another round, or another prune.
            if lease.is_over() || (self.stop)() || away >= MAX_AWAY {
                break;
            }
            let mut tasks = JoinSet::new();
            for (key, size) in some {
                let (store, key, size) = (Arc::clone(&self.archive.store), key.clone(), *size);
                tasks.spawn(async move {
                    let deleted = store.delete(&key).await;
                    (key, size, deleted)
                });
            }
            while let Some(done) = tasks.join_next().await {
                match done {
                    Ok((_, size, Ok(()))) => {
                        deleted += 1;
                        pruned.freed_bytes = pruned.freed_bytes.saturating_add(size);
                    }
                    Ok((key, _, Err(error))) => {
                        away += usize::from(matches!(error, StoreError::Unavailable { .. }));
                        let name = key.to_string();
                        pruned.failures.push(NotRemoved { name, error });
                    }
                    Err(_) => pruned.ended_by = Some(ArchiveError::Interrupted),
                }
            }
        }
        deleted
    }

    fn is_away(&mut self, error: Option<&StoreError>) -> bool {
        self.away = match error {
            Some(StoreError::Unavailable { .. }) => self.away + 1,
            _ => 0,
        };
        self.away >= MAX_AWAY
    }
}

/// What was found behind the notice, kept in step with what is removed.
struct Fresh<'a> {
    plan: PrunePlan,
    reasons: HashMap<ManifestPlace, Vec<Reason>>,
    /// Which points start from one.
    children: HashMap<ManifestPlace, HashSet<ManifestPlace>>,
    bases: HashMap<ManifestPlace, ManifestPlace>,
    parts_of: HashMap<ManifestPlace, &'a [PartPlace]>,
    /// How many manifests name a part: two lineages of one dataset may share some.
    named: HashMap<PartPlace, usize>,
    stored: HashMap<PartPlace, &'a Stray>,
    /// Of these nobody knows which parts are theirs.
    unreadable: HashSet<Guid>,
    annotations: HashMap<(Lineage, Guid), Objects>,
}

/// Keys, and sizes in bytes.
type Objects = Vec<(Key, u64)>;

impl<'a> Fresh<'a> {
    fn new(survey: &'a Survey, plan: PrunePlan) -> Self {
        let reasons = plan.points.iter();
        let reasons = reasons.map(|point| (point.place, point.reasons.clone()));
        let mut fresh = Self {
            reasons: reasons.collect(),
            plan,
            children: HashMap::new(),
            bases: HashMap::new(),
            parts_of: HashMap::new(),
            named: HashMap::new(),
            stored: survey.parts().collect(),
            unreadable: HashSet::new(),
            annotations: HashMap::new(),
        };
        for seen in &survey.points {
            let Some(facts) = &seen.facts else {
                fresh.unreadable.insert(seen.place.guid);
                continue;
            };
            if let Some(base) = survey.catalog.base(seen.place.lineage, facts.base) {
                let of = fresh.children.entry(base.place).or_default();
                of.insert(seen.place);
                fresh.bases.insert(seen.place, base.place);
            }
            for part in &facts.parts {
                *fresh.named.entry(*part).or_default() += 1;
            }
            fresh.parts_of.insert(seen.place, &facts.parts);
        }
        for stray in &survey.annotations {
            if let Some(Place::Annotation(place)) = stray.place {
                let of = fresh.annotations.entry((place.lineage, place.guid));
                of.or_default().push((stray.key.clone(), stray.size));
            }
        }
        fresh
    }

    fn child(&self, place: &ManifestPlace) -> Option<ManifestPlace> {
        self.children.get(place)?.iter().next().copied()
    }

    /// Its manifest is gone; gives what belongs to it alone: what was said of it, and its parts.
    fn remove(&mut self, place: &ManifestPlace) -> (Objects, Objects) {
        if let Some(of) = self
            .bases
            .remove(place)
            .and_then(|base| self.children.get_mut(&base))
        {
            of.remove(place);
        }
        let same = |other: &ManifestPlace| {
            other.lineage == place.lineage && other.guid == place.guid && other != place
        };
        let said = match self.reasons.keys().any(same) {
            true => None,
            false => self.annotations.remove(&(place.lineage, place.guid)),
        };
        let said = said.unwrap_or_default();
        let mut parts = Vec::new();
        let readable = !self.unreadable.contains(&place.guid);
        for part in self.parts_of.remove(place).unwrap_or_default() {
            let count = self.named.entry(*part).or_default();
            *count = count.saturating_sub(1);
            if *count == 0
                && readable
                && let Some(stray) = self.stored.remove(part)
            {
                parts.push((stray.key.clone(), stray.size));
            }
        }
        (said, parts)
    }
}
