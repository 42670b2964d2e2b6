//! Carrying out a fetch.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use terrarium_s3::Store;
use terrarium_s3::format::{Kind, Manifest, Sealed};
use terrarium_s3::pipeline::{ReadError, read_stream};
use terrarium_zfs::{DatasetName, ErrorKind, Listing, Properties, ReceiveOptions, SnapshotName};

use super::{FetchError, FetchPlan, FetchRequest, FetchedOrigin, Fetching};
use crate::error::Error;
use crate::host::Session;
use crate::host::boot::Halt;
use crate::instances::Instances;
use crate::pipe::widen_pipe;
use crate::property;
use crate::streams::Streams;

/// Streams that are received into one dataset.
struct Batch<'a> {
    /// Where they are received.
    staged: &'a DatasetName,
    /// Where that goes when it is whole.
    place: Option<&'a DatasetName>,
    /// What the first one starts from.
    onto: Option<&'a SnapshotName>,
    /// What is set on the dataset.
    properties: &'a BTreeMap<String, String>,
    links: &'a [Manifest],
    opened: &'a [Sealed],
    /// Ends it before its time.
    halt: &'a Halt,
}

impl<Z: Streams, I: Instances> Session<'_, Z, I> {
    /// Carries out the plan of a fetch. One that was interrupted goes on behind the last stream that came whole.
    ///
    /// Returns the sealed section of the point.
    ///
    /// # Errors
    /// [`FetchError`]. What has come is kept for the next try, unless it is not what it should be.
    pub async fn fetch<S: Store>(
        &self,
        plan: &FetchPlan,
        request: &FetchRequest<S>,
    ) -> Fetching<Sealed> {
        self.fetch_until(plan, request, &Halt::default()).await
    }

    /// The same, ended by `halt` before its time: on return nothing works on it any more.
    pub(crate) async fn fetch_until<S: Store>(
        &self,
        plan: &FetchPlan,
        request: &FetchRequest<S>,
        halt: &Halt,
    ) -> Fetching<Sealed> {
        let begin = request
            .chain
            .len()
            .saturating_sub(plan.all_streams().count());
        let mut missing = &request.chain[begin..];
        // A wrong identity is found out before anything is made.
        let mut opened = Vec::new();
        for link in missing {
            let sealed = link.open(&request.identities);
            opened.push(sealed.map_err(|source| FetchError::Sealed {
                snapshot: link.snapshot.clone(),
                source,
            })?);
        }
        let mut rest = opened.as_slice();
        let mut lock = match plan.uses_origins() {
            true => Some(halt.or(self.lock_origins(&plan.pool)).await??),
            false => None,
        };
        for origin in &plan.origins {
            let count = origin.streams.len().min(missing.len());
            let (links, after) = missing.split_at(count);
            let (sealed, rest_after) = rest.split_at(count);
            (missing, rest) = (after, rest_after);
            self.bring_origin(plan, request, origin, (links, sealed), halt)
                .await?;
        }
        let batch = Batch {
            staged: &plan.staged,
            place: plan.place.as_ref(),
            onto: plan.starts_from(),
            properties: &plan.properties,
            links: missing,
            opened: rest,
            halt,
        };
        let done = self.prepare(plan, &batch).await?;
        for index in done..missing.len() {
            self.receive(request, &batch, index).await?;
            // It has its clone.
            drop(lock.take());
        }
        drop(lock);
        // Those of an earlier run too: it may have died just before.
        if !plan.thrown_away {
            self.mark(plan, missing, rest).await?;
            self.give_place(plan).await?;
        }
        match opened.pop() {
            Some(sealed) => Ok(sealed),
            None => Err(Error::Interrupted.into()),
        }
    }

    /// Receives an origin beside LXD's own, and gives it its place when it is whole. Its lock is held.
    async fn bring_origin<S: Store>(
        &self,
        plan: &FetchPlan,
        request: &FetchRequest<S>,
        origin: &FetchedOrigin,
        (links, opened): (&[Manifest], &[Sealed]),
        halt: &Halt,
    ) -> Fetching<()> {
        let (snapshot, guid) = (origin.snapshot.clone(), origin.guid);
        let planner = &self.planner;
        let found = planner.on_zfs(move |zfs| zfs.guid(snapshot.as_str()));
        if found.await? == Some(guid) {
            // Another fetch was faster.
            return Ok(());
        }
        let properties = [("canmount", "off"), ("mountpoint", "none")];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let properties = BTreeMap::from(properties);
        let batch = Batch {
            staged: &origin.staged,
            place: Some(&origin.place),
            onto: origin.onto.as_ref(),
            properties: &properties,
            links,
            opened,
            halt,
        };
        let done = self.prepare(plan, &batch).await?;
        for index in done..links.len() {
            self.receive(request, &batch, index).await?;
        }
        let (staged, place) = (origin.staged.clone(), origin.place.clone());
        planner
            .on_zfs(move |zfs| {
                // A removal that was cut off has left it empty; else this fails.
                if zfs.guid(place.as_str())?.is_some() {
                    zfs.destroy(&place)?;
                }
                zfs.rename(&staged, &place)
            })
            .await?;
        Ok(())
    }

    /// Makes the dataset that is received into, or finds out how many of the streams are in it already.
    async fn prepare(&self, plan: &FetchPlan, batch: &Batch<'_>) -> Fetching<usize> {
        let planner = &self.planner;
        let root = plan.pool.root.clone();
        let listing = planner.on_zfs(move |zfs| zfs.list(&root)).await?;
        if let Some(done) = received(&listing, batch) {
            return Ok(done);
        }
        let has = |name: &DatasetName| listing.datasets.iter().any(|other| other.name == *name);
        if has(batch.staged) {
            self.discard(batch.staged).await?;
        }
        let mut parents: Vec<_> = std::iter::successors(batch.staged.parent(), DatasetName::parent)
            .take_while(|parent| plan.pool.is_ours(parent) && !has(parent))
            .collect();
        if let Some(place) = batch.place {
            let above = std::iter::successors(place.parent(), DatasetName::parent);
            let above = above.take_while(|parent| plan.pool.is_ours(parent) && !has(parent));
            parents.extend(above);
        }
        parents.sort();
        parents.dedup();
        planner
            .on_zfs(move |zfs| {
                let mut none = Properties::new();
                none.set("canmount", "off")?;
                none.set("mountpoint", "none")?;
                parents
                    .iter()
                    .try_for_each(|parent| zfs.create(parent, &none))
            })
            .await?;
        Ok(0)
    }

    async fn receive<S: Store>(
        &self,
        request: &FetchRequest<S>,
        batch: &Batch<'_>,
        index: usize,
    ) -> Fetching<()> {
        let (Some(link), Some(sealed)) = (batch.links.get(index), batch.opened.get(index)) else {
            return Ok(());
        };
        let planner = &self.planner;
        let name = |error: terrarium_zfs::NameError| terrarium_zfs::Error::from(error);
        let snapshot = batch.staged.snapshot(link.snapshot.name()).map_err(name)?;
        let mut options = ReceiveOptions::default();
        if index == 0 {
            // An increment to a point that is here makes a clone of that.
            options.origin = batch.onto.cloned();
            options.properties = properties(batch.properties)?;
        }
        let (reader, writer) = std::io::pipe().map_err(|source| Error::File {
            path: "a pipe".into(),
            source,
        })?;
        widen_pipe(&writer);
        let into = snapshot.clone();
        let receiving = planner.on_zfs(move |zfs| zfs.receive(&into, &options, reader.as_fd()));
        let reading = read_stream(
            Arc::clone(&request.store),
            &request.layout,
            link,
            Arc::clone(&request.identities),
            Some(sealed.stream_blake3),
            writer,
            &request.options,
        );
        // The receiver ends when its writer goes away.
        let (received, read) = tokio::join!(receiving, batch.halt.or(reading));
        let read = match read {
            Ok(read) => read,
            Err(interrupted) => {
                self.discard_snapshot(&snapshot).await?;
                return Err(interrupted.into());
            }
        };
        let verified = match (received, read) {
            (Ok(received), Ok(_)) if received.begin.to_guid() == link.guid => Ok(()),
            // The receiver went away: it says why.
            (Err(error), Err(ReadError::Output(_)) | Ok(_)) => Err(FetchError::Host(error)),
            (_, Err(source)) => Err(FetchError::Read {
                snapshot: link.snapshot.clone(),
                source: Box::new(source),
            }),
            (Ok(_), Ok(_)) => Err(FetchError::Host(Error::Changed {
                object: snapshot.to_string(),
                change: "another snapshot was received".to_owned(),
            })),
        };
        if let Err(error) = verified {
            // It may have been received to its end before the last hash was found to be wrong.
            self.discard_snapshot(&snapshot).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Notes at the snapshots what the archive knows of them.
    async fn mark(
        &self,
        plan: &FetchPlan,
        missing: &[Manifest],
        opened: &[Sealed],
    ) -> Fetching<()> {
        let mut marked = Vec::new();
        for (link, sealed) in missing.iter().zip(opened) {
            let snapshot = plan.staged.snapshot(link.snapshot.name());
            let snapshot = snapshot.map_err(terrarium_zfs::Error::from)?;
            marked.push((snapshot, marks(link, sealed)));
        }
        self.planner
            .on_zfs(move |zfs| {
                marked
                    .iter()
                    .filter(|(_, marks)| !marks.is_empty())
                    .try_for_each(|(snapshot, marks)| {
                        zfs.set_user_properties(snapshot.as_str(), marks)
                    })
            })
            .await?;
        Ok(())
    }

    /// What was received becomes a point of its instance, which from now on belongs to the point's lineage.
    async fn give_place(&self, plan: &FetchPlan) -> Fetching<()> {
        let live = match self.planner.inventory.instance(&plan.instance) {
            Some(_) => Some(self.planner.inventory.covered(&plan.instance)?.1),
            None => None,
        };
        let live = live.filter(|live| !live.dataset.local.contains_key(property::LINEAGE));
        let live = live.map(|live| live.dataset.name.clone());
        let (staged, place, history) = (
            plan.staged.clone(),
            plan.place.clone(),
            plan.history.clone(),
        );
        self.planner
            .on_zfs(move |zfs| {
                zfs.set_user_properties(staged.as_str(), &history)?;
                if let Some(live) = live {
                    zfs.set_user_properties(live.as_str(), &history)?;
                }
                match place {
                    Some(place) => zfs.rename(&staged, &place),
                    None => Ok(()),
                }
            })
            .await?;
        Ok(())
    }

    async fn discard_snapshot(&self, snapshot: &SnapshotName) -> Fetching<()> {
        let snapshot = snapshot.clone();
        self.planner
            .on_zfs(move |zfs| match zfs.guid(snapshot.as_str())? {
                Some(guid) => zfs
                    .destroy_by_guid(&[(snapshot, guid)])
                    .map_err(Error::from),
                None => Ok(()),
            })
            .await?;
        Ok(())
    }

    /// Destroys what an earlier fetch has left and is of no use.
    async fn discard(&self, staged: &DatasetName) -> Fetching<()> {
        let staged = staged.clone();
        self.planner
            .on_zfs(move |zfs| {
                let listing = zfs.list(&staged)?;
                let snapshots: Vec<_> = listing
                    .snapshots
                    .into_iter()
                    .map(|snapshot| (snapshot.name, snapshot.guid))
                    .collect();
                if !snapshots.is_empty() {
                    zfs.destroy_by_guid(&snapshots)?;
                }
                match zfs.destroy(&staged) {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    done => done.map_err(Error::from),
                }
            })
            .await?;
        Ok(())
    }
}

/// How many of the streams are in the dataset, whole and with nothing else; `None` if it has to be made anew.
fn received(listing: &Listing, batch: &Batch<'_>) -> Option<usize> {
    let (staged, onto, missing) = (batch.staged, batch.onto, batch.links);
    let dataset = listing
        .datasets
        .iter()
        .find(|dataset| dataset.name == *staged)?;
    let found: Vec<_> = listing
        .snapshots
        .iter()
        .filter(|snapshot| snapshot.name.dataset_str() == staged.as_str())
        .collect();
    let as_planned = dataset.origin.as_ref() == onto
        && found.len() <= missing.len()
        && found
            .iter()
            .zip(missing)
            .all(|(found, link)| found.guid == link.guid);
    as_planned.then_some(found.len())
}

/// What the archive knows of a snapshot, as it stands on one that was taken here.
fn marks(link: &Manifest, sealed: &Sealed) -> BTreeMap<String, Option<String>> {
    let kind = match link.kind {
        Kind::Scheduled => Some("scheduled"),
        Kind::OnDemand | Kind::Safety => Some("on-demand"),
        Kind::Lxd | Kind::Foreign => None,
    };
    let idmap = sealed.definition.as_ref().and_then(|definition| {
        definition
            .instance
            .get("config")?
            .get(property::LXD_IDMAP)?
            .as_str()
    });
    let marks = [
        (property::KIND, kind.map(str::to_owned)),
        (property::ALIAS, link.alias.clone()),
        (property::EXPIRES, link.expires.map(|time| time.to_string())),
        (property::IDMAP, idmap.map(str::to_owned)),
    ];
    let set = marks.into_iter().filter(|(_, value)| value.is_some());
    set.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn properties(wanted: &BTreeMap<String, String>) -> Result<Properties, Error> {
    let mut properties = Properties::new();
    for (name, value) in wanted {
        let set = properties.set(name, value);
        set.map_err(terrarium_zfs::Error::from)?;
    }
    Ok(properties)
}
