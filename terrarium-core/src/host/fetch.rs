//! Fetch: an archived point comes back as a dataset of ours, beside what is there; nothing of that is touched.
//!
//! What is received stands in `staging` until the last stream is whole, then moves to `aside`, where it is a restore
//! point of its instance like any that a rewind moved there: restoring it is the ordinary, reversible restore. A point
//! of an instance that is gone stays in `staging` until the [plan](Planner::plan_recreate) that makes it anew.
//!
//! A chain that starts from an image, or from another origin, is received as a clone of that: of the snapshot of that guid
//! that is here, whoever made it; else of the one that is received into `origins` first.

mod error;
mod origins;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use terrarium_s3::crypto::Identities;
use terrarium_s3::format::{Base, Layout, Lineage, Manifest, Sealed};
use terrarium_s3::pipeline;
use terrarium_zfs::{DatasetName, Guid, SnapshotName};

pub use error::FetchError;
pub use origins::FetchedOrigin;

use origins::split_origins;

use super::Planner;
use crate::error::Error;
use crate::instances::{Definition, Instances, Profile};
use crate::inventory::Covered;
use crate::layout::PoolLayout;
use crate::names::{InstanceRef, OperationId};
use crate::plan::{IdentityPolicy, Plan, RecreateRequest, carried_properties, plan_recreate};
use crate::property;
use crate::streams::Streams;
use crate::throw_away::ThrowAway;

/// A point of an archive, and what it takes to read it.
#[derive(Clone, Debug)]
pub struct FetchRequest<S> {
    /// Where the archive's objects are.
    pub store: Arc<S>,
    /// How they are named.
    pub layout: Layout,
    /// The manifests that lead to the point: a full stream first, then each increment, the point's own last.
    pub chain: Vec<Manifest>,
    /// What decrypts them.
    pub identities: Arc<Identities>,
    /// How they are transferred.
    pub options: pipeline::Options,
}

/// What a fetch is going to do.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FetchPlan {
    /// The instance.
    pub instance: InstanceRef,
    /// The point.
    pub guid: Guid,
    /// A point of the chain that is here, or the origin that it starts from: only what came after it is read.
    pub onto: Option<SnapshotName>,
    /// The origins that the point builds on and that are not here, in the order in which they are received.
    pub origins: Vec<FetchedOrigin>,
    /// The streams of the instance that are read, in their order.
    pub streams: Vec<FetchedStream>,
    /// Where the point will be found.
    pub snapshot: SnapshotName,
    #[serde(skip)]
    pool: PoolLayout,
    /// It is for a drill: the snapshots get no marks and the dataset no place and no history.
    #[serde(skip)]
    thrown_away: bool,
    #[serde(skip)]
    staged: DatasetName,
    #[serde(skip)]
    place: Option<DatasetName>,
    #[serde(skip)]
    properties: BTreeMap<String, String>,
    /// The user properties that say which history it belongs to.
    #[serde(skip)]
    history: BTreeMap<String, Option<String>>,
}

/// One stream of a chain.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FetchedStream {
    /// The snapshot that it makes.
    pub guid: Guid,
    /// What the snapshot was called.
    pub name: String,
    /// The size of the stream in bytes: about what it takes in the pool.
    pub stream_bytes: u64,
    /// How much is read from the archive, in bytes.
    pub stored_bytes: u64,
}

type Fetching<T> = Result<T, FetchError>;

impl<Z: Streams, I: Instances> Planner<'_, Z, I> {
    /// Plans how the last point of `chain` comes here, for `instance`, or for `new` that is to be made from it.
    /// `None`: it is here.
    ///
    /// An instance that is not here comes to LXD's storage pool of the name `pool`; by default to the only one, or to the
    /// one of several that is called `default`.
    ///
    /// # Errors
    /// [`FetchError::Incomplete`], [`FetchError::OtherLineage`], [`FetchError::StoragePool`]; [`Error::NotCovered`]; a
    /// pool that cannot be written to, or has no room; for an instance that is not here, a host without a storage pool
    /// on ZFS.
    pub async fn plan_fetch(
        &self,
        instance: &InstanceRef,
        new: &InstanceRef,
        chain: &[Manifest],
        pool: Option<&str>,
    ) -> Fetching<Option<FetchPlan>> {
        let Some(target) = chain.last() else {
            return Err(FetchError::Empty);
        };
        let (record, covered) = match self.inventory.instance(instance) {
            Some(_) => self
                .inventory
                .covered(instance)
                .map(|(a, b)| (Some(a), Some(b)))?,
            None => (None, None),
        };
        if let Some(covered) = covered {
            refuse_other_lineage(instance, covered, target.lineage)?;
        }
        let pool = match (covered, pool) {
            (Some(covered), Some(other)) if covered.layout.lxd_pool != other => {
                return Err(FetchError::StoragePool {
                    pool: other.to_owned(),
                    why: format!(
                        "cannot be where it comes to: {instance} is here, in {}",
                        covered.layout.lxd_pool
                    ),
                });
            }
            (Some(covered), _) => covered.layout.clone(),
            (None, pool) => self.pool_for(instance, pool)?,
        };
        let here = |index: usize, link: &Manifest| {
            let points = covered.map_or(&[][..], |covered| &covered.points);
            let point = points.iter().find(|point| point.guid == link.guid);
            let is_origin = chain
                .get(index + 1)
                .is_some_and(|next| next.base == Base::Origin(link.guid));
            let origin = || self.origin_here(&pool, link.guid).filter(|_| is_origin);
            point.map(|point| &point.snapshot).or_else(origin)
        };
        let links = chain.iter().enumerate().rev();
        let known = links
            .filter_map(|(index, link)| Some((index, here(index, link)?)))
            .next();
        let missing = &chain[known.map_or(0, |(index, _)| index + 1)..];
        if missing.is_empty() {
            return Ok(None);
        }
        let onto = known.map(|(_, snapshot)| snapshot.clone());
        refuse_gaps(known.map(|(index, _)| chain[index].guid), missing)?;
        let (origins, missing) = split_origins(&pool, onto.as_ref(), missing)?;
        let operation = operation(target.guid)?;
        let staged = pool
            .staging(&operation)
            .map_err(terrarium_zfs::Error::from)?;
        let place = match covered {
            Some(covered) => Some(
                pool.aside(&operation)
                    .and_then(|aside| aside.child(covered.live.leaf()))
                    .map_err(terrarium_zfs::Error::from)?,
            ),
            None => None,
        };
        let mut properties = match covered {
            Some(covered) => carried_properties(&covered.dataset.local, true),
            None => BTreeMap::new(),
        };
        for (name, value) in [("canmount", "noauto"), ("mountpoint", "legacy")] {
            properties.insert(name.to_owned(), value.to_owned());
        }
        let mut history = BTreeMap::new();
        // A copy begins a history of its own.
        let lineage = (covered.is_some() || new == instance).then(|| target.lineage.to_string());
        history.insert(property::LINEAGE.to_owned(), lineage);
        let uuid = record.and_then(|record| record.definition.config.get(property::LXD_UUID));
        history.insert(property::LINEAGE_OF.to_owned(), uuid.cloned());
        let plan = FetchPlan {
            instance: instance.clone(),
            guid: target.guid,
            onto,
            origins,
            snapshot: place
                .as_ref()
                .unwrap_or(&staged)
                .snapshot(target.snapshot.name())
                .map_err(terrarium_zfs::Error::from)?,
            streams: missing.iter().map(FetchedStream::of).collect(),
            pool,
            thrown_away: false,
            staged,
            place,
            properties,
            history,
        };
        self.refuse_no_room_for(&plan).await?;
        Ok(Some(plan))
    }

    /// Plans the instance that a fetched point makes, where LXD has none of that name: the same one, or a copy.
    ///
    /// # Errors
    /// [`FetchError::NoDefinition`]; those of the [planner](crate::plan::plan_recreate); LXD's and ZFS's.
    pub async fn plan_recreate(
        &self,
        fetched: &FetchPlan,
        sealed: &Sealed,
        new: &InstanceRef,
        identity: &IdentityPolicy,
        start: bool,
    ) -> Fetching<Plan> {
        self.refuse_start(new, start)?;
        let (definition, had) = archived_definition(&fetched.instance, sealed)?;
        let dataset = fetched.staged.clone();
        let staged = self.on_zfs(move |zfs| zfs.guid(dataset.as_str())).await?;
        let staged = staged.ok_or_else(|| Error::Changed {
            object: fetched.staged.to_string(),
            change: "it does not exist any more".to_owned(),
        })?;
        Ok(plan_recreate(
            &self.inventory,
            &RecreateRequest {
                operation: self.operation(),
                instance: fetched.instance.clone(),
                new: new.clone(),
                identity: identity.clone(),
                start,
                layout: fetched.pool.clone(),
                point: fetched.snapshot.clone(),
                guid: fetched.guid,
                staged,
                definition,
                had,
                profiles: self.host.instances.profiles(&new.project).await?,
            },
        )?)
    }

    /// The pool that a point of an instance is drilled in: that of the instance, if it is here.
    pub(super) fn pool_of_drill(&self, instance: &InstanceRef) -> Fetching<PoolLayout> {
        match self.inventory.covered(instance) {
            Ok((_, covered)) => Ok(covered.layout.clone()),
            Err(_) => self.pool_for(instance, None),
        }
    }

    /// Plans how the last point of `chain` comes here for a drill: from the archive, even if it is here; but for an
    /// image, as for a restore.
    pub(super) async fn plan_throw_away(
        &self,
        throw_away: &ThrowAway,
        instance: &InstanceRef,
        chain: &[Manifest],
    ) -> Fetching<FetchPlan> {
        let Some(target) = chain.last() else {
            return Err(FetchError::Empty);
        };
        let pool = &throw_away.layout;
        let starts = chain.windows(2).enumerate().rev();
        let known = starts
            .filter_map(|(index, links)| {
                let is_origin = links[1].base == Base::Origin(links[0].guid);
                let here = is_origin.then(|| self.origin_here(pool, links[0].guid));
                Some((index, here.flatten()?))
            })
            .next();
        let missing = &chain[known.map_or(0, |(index, _)| index + 1)..];
        let onto = known.map(|(_, snapshot)| snapshot.clone());
        refuse_gaps(known.map(|(index, _)| chain[index].guid), missing)?;
        let (origins, missing) = split_origins(pool, onto.as_ref(), missing)?;
        let staged = pool.staging(&throw_away.operation);
        let staged = staged.map_err(terrarium_zfs::Error::from)?;
        let set = [("canmount", "noauto"), ("mountpoint", "legacy")];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let snapshot = staged.snapshot(target.snapshot.name());
        let plan = FetchPlan {
            instance: instance.clone(),
            guid: target.guid,
            onto,
            origins,
            snapshot: snapshot.map_err(terrarium_zfs::Error::from)?,
            streams: missing.iter().map(FetchedStream::of).collect(),
            pool: pool.clone(),
            thrown_away: true,
            staged,
            place: None,
            properties: set.into_iter().chain([throw_away.mark()]).collect(),
            history: BTreeMap::new(),
        };
        self.refuse_no_room_for(&plan).await?;
        Ok(plan)
    }

    /// The pool that an instance which is not here is to come to: that one, or the only one, or the one that LXD makes.
    fn pool_for(&self, instance: &InstanceRef, wanted: Option<&str>) -> Fetching<PoolLayout> {
        let pools = &self.inventory.pools;
        let called = |name: &str| pools.iter().find(|pool| pool.layout.lxd_pool == name);
        let names = || {
            let names = pools.iter().map(|pool| pool.layout.lxd_pool.as_str());
            names.collect::<Vec<_>>().join(", ")
        };
        let found = match (wanted, pools.as_slice()) {
            (_, []) => {
                return Err(Error::Pool {
                    pool: wanted.unwrap_or("for it").to_owned(),
                    problem: "is missing: LXD has no storage pool on ZFS".to_owned(),
                }
                .into());
            }
            (Some(wanted), _) => called(wanted).ok_or_else(|| FetchError::StoragePool {
                pool: wanted.to_owned(),
                why: format!("is none of those that LXD has on ZFS: {}", names()),
            })?,
            (None, [only]) => only,
            (None, _) => called("default").ok_or_else(|| FetchError::StoragePool {
                pool: "default".to_owned(),
                why: format!(
                    "is missing, and of {} none is meant for {instance}",
                    names()
                ),
            })?,
        };
        Ok(found.layout.clone())
    }

    async fn refuse_no_room_for(&self, plan: &FetchPlan) -> Fetching<()> {
        let pool = plan.pool.root.pool().to_owned();
        let what = "what is fetched";
        Ok(self.refuse_no_room(pool, what, plan.stream_bytes()).await?)
    }

    /// Runs a ZFS call, which blocks, where it holds nobody up.
    pub(crate) async fn on_zfs<T, E>(
        &self,
        call: impl FnOnce(&Z) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        E: Send + 'static,
        Error: From<E>,
    {
        let zfs = Arc::clone(&self.host.zfs);
        let running = tokio::task::spawn_blocking(move || call(&zfs));
        Ok(running.await.map_err(|_| Error::Interrupted)??)
    }
}

/// How LXD had an instance, and the profiles that it had, as they are sealed with a point.
pub(super) fn archived_definition(
    instance: &InstanceRef,
    sealed: &Sealed,
) -> Fetching<(Definition, Vec<Profile>)> {
    let no_definition = |why: String| FetchError::NoDefinition {
        instance: instance.clone(),
        why,
    };
    let archived = sealed.definition.as_ref();
    let archived = archived.ok_or_else(|| no_definition("there is none".to_owned()))?;
    let definition = serde_json::from_value(archived.instance.clone().into());
    let definition = definition.map_err(|error| no_definition(error.to_string()))?;
    let had = archived
        .profiles
        .iter()
        .cloned()
        .map(serde_json::from_value);
    let had = had.collect::<Result<_, _>>();
    let had = had.map_err(|error| no_definition(error.to_string()))?;
    Ok((definition, had))
}

impl FetchedStream {
    fn of(manifest: &Manifest) -> Self {
        Self {
            guid: manifest.guid,
            name: manifest.snapshot.name().to_owned(),
            stream_bytes: manifest.stream_bytes,
            stored_bytes: manifest.parts.iter().map(|part| part.stored_bytes).sum(),
        }
    }
}

impl FetchPlan {
    /// All streams that are read, in their order.
    pub fn all_streams(&self) -> impl Iterator<Item = &FetchedStream> {
        let of_origins = self.origins.iter().flat_map(|origin| &origin.streams);
        of_origins.chain(&self.streams)
    }

    /// How much is read from the archive, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.all_streams().map(|stream| stream.stored_bytes).sum()
    }

    /// The size of the streams in bytes: about what they take in the pool.
    pub fn stream_bytes(&self) -> u64 {
        self.all_streams().map(|stream| stream.stream_bytes).sum()
    }

    /// What the first stream of the instance starts from.
    fn starts_from(&self) -> Option<&SnapshotName> {
        let origin = self.origins.last().map(|origin| &origin.snapshot);
        origin.or(self.onto.as_ref())
    }

    /// Whether it must not happen meanwhile that an origin goes because it has no clones.
    fn uses_origins(&self) -> bool {
        let stands_there = |snapshot: &SnapshotName| {
            let dataset = DatasetName::new(snapshot.dataset_str());
            dataset.is_ok_and(|dataset| self.pool.origin_of(&dataset).is_some())
        };
        !self.origins.is_empty() || self.onto.as_ref().is_some_and(stands_there)
    }
}

/// A fetch of the same point always works in the same place, so that one that was interrupted is found again.
pub(super) fn operation(point: Guid) -> Result<OperationId, Error> {
    Ok(OperationId::new(&format!("fetch-{point}"))?)
}

fn refuse_other_lineage(
    instance: &InstanceRef,
    covered: &Covered,
    archived: Lineage,
) -> Fetching<()> {
    match covered.dataset.local.get(property::LINEAGE) {
        Some(here) if *here != archived.to_string() => Err(FetchError::OtherLineage {
            instance: instance.clone(),
            here: here.clone(),
            archived,
        }),
        _ => Ok(()),
    }
}

/// Each stream must start where the one before it ends.
fn refuse_gaps(onto: Option<Guid>, missing: &[Manifest]) -> Fetching<()> {
    let mut before = onto;
    for link in missing {
        let fits = match link.base {
            Base::Full => before.is_none(),
            Base::Point(from) | Base::Origin(from) => before == Some(from),
        };
        if let (false, Some(missing)) = (fits, link.from_guid().or(before)) {
            return Err(FetchError::Incomplete {
                snapshot: link.snapshot.clone(),
                missing,
            });
        }
        before = Some(link.guid);
    }
    Ok(())
}
