//! Carries out what was planned.

use std::sync::Arc;

use serde_json::{Map, Value};
use terrarium_s3::Store;
use terrarium_s3::archive::ArchiveError;
use terrarium_s3::format::{self, Lineage};
use terrarium_s3::pipeline::{self, Ids, publish};
use terrarium_zfs::{BatchError, ErrorKind, Guid, SendSource, SnapshotName};

use super::journals::Journals;
use super::plan::{bookmark_of, uuid};
use super::{
    ExportError, ExportPlan, ExportTo, Exported, ExportedOrigin, FLAGS, HOLD, StoredStream, send,
};
use crate::error::Error;
use crate::host::Session;
use crate::instances::Instances;
use crate::names::Alias;
use crate::plan::{Base, ExportDecision};
use crate::point::Kind;
use crate::property;
use crate::streams::Streams;

impl<Z: Streams, I: Instances> Session<'_, Z, I> {
    /// Carries out an export that was [planned](crate::Planner::plan_export) in this session.
    ///
    /// Dropped at any moment it leaves nothing that is taken for a restore point; the next export of the instance
    /// tidies up and goes on with what is stored already.
    ///
    /// # Errors
    /// [`ExportError`]. Except after [`ExportError::Unsettled`] the point is not in the archive; if the store became
    /// unavailable while it took the manifest, it may be.
    pub async fn export<S: Store>(
        &self,
        plan: &ExportPlan,
        to: &ExportTo<'_, S>,
    ) -> Result<Exported, ExportError> {
        let mut exported = plan.settled();
        exported.released = self.release_ours(plan.held.clone()).await?;
        let (lineage, stored) = match &plan.decision {
            ExportDecision::UpToDate { .. } => (plan.lineage, None),
            ExportDecision::Send { base, .. } => {
                let lineage = match plan.lineage {
                    Some(lineage) => {
                        self.claim_lineage(plan).await?;
                        lineage
                    }
                    None => self.begin_lineage(plan).await?,
                };
                exported.new_lineage.clone_from(&plan.new_lineage);
                let (origin, stored) = self.store(plan, lineage, base, to).await?;
                exported.origin = origin;
                (Some(lineage), Some(stored))
            }
        };
        exported.lineage = lineage;
        exported.stored = stored;
        let unsettled = |source| ExportError::Unsettled {
            snapshot: plan.snapshot.clone(),
            source: Box::new(source),
        };
        if stored.is_some() || plan.missing_bookmark.is_some() {
            self.bookmark(plan).await.map_err(unsettled)?;
        }
        if stored.is_some() {
            let target = vec![plan.snapshot.clone()];
            self.release_ours(target).await.map_err(unsettled)?;
        }
        if let Some(lineage) = lineage {
            self.journals(lineage, to).remove().map_err(unsettled)?;
        }
        self.sweep_origins().await;
        Ok(exported)
    }

    /// Lets go of what an export held that was dropped on its way. Without this the next export does it.
    ///
    /// # Errors
    /// ZFS's.
    pub async fn abandon_export(&self, plan: &ExportPlan) -> Result<(), Error> {
        self.release_ours(vec![plan.snapshot.clone()])
            .await
            .map(drop)
    }

    /// Holds the snapshot, sends it, publishes it. If that fails the hold goes again: the next export may be of a
    /// newer one.
    async fn store<S: Store>(
        &self,
        plan: &ExportPlan,
        lineage: Lineage,
        base: &Base,
        to: &ExportTo<'_, S>,
    ) -> Result<(Option<ExportedOrigin>, StoredStream), ExportError> {
        let definition = self.definition(plan).await?;
        self.hold(&plan.snapshot).await?;
        let stored = async {
            let origin = self.provide_origin(plan, base, to).await?;
            let stored = self.send_and_publish(plan, lineage, base, definition, to);
            Ok((origin, stored.await?))
        };
        let stored = stored.await;
        if stored.is_err() {
            // What failed is worth more than whether this does, and the next export tries it again.
            let _ = self.release_ours(vec![plan.snapshot.clone()]).await;
        }
        stored
    }

    /// Sees to it that the archive has what the stream is to start from, if that is an origin.
    async fn provide_origin<S: Store>(
        &self,
        plan: &ExportPlan,
        base: &Base,
        to: &ExportTo<'_, S>,
    ) -> Result<Option<ExportedOrigin>, ExportError> {
        let Base::Origin {
            from,
            guid,
            is_archived,
            ..
        } = base
        else {
            return Ok(None);
        };
        let stored = match is_archived {
            true => None,
            false => self.store_origin(plan, from, *guid, to).await?,
        };
        Ok(Some(ExportedOrigin {
            snapshot: from.clone(),
            guid: *guid,
            stored,
        }))
    }

    async fn send_and_publish<S: Store>(
        &self,
        plan: &ExportPlan,
        lineage: Lineage,
        base: &Base,
        definition: format::Definition,
        to: &ExportTo<'_, S>,
    ) -> Result<StoredStream, ExportError> {
        let point = &plan.point;
        let (from, base) = match base {
            Base::Full { .. } => (None, format::Base::Full),
            Base::Increment { from, guid, .. } => (Some(from.clone()), format::Base::Point(*guid)),
            Base::Origin { from, guid, .. } => {
                let from = SendSource::Snapshot(from.clone());
                (Some(from), format::Base::Origin(*guid))
            }
        };
        let ids = Ids {
            guid: point.guid,
            from: base.guid(),
        };
        let options = pipeline::Options {
            journal: Some(self.journals(lineage, to).open(ids)?),
            ..to.options.clone()
        };
        let key = to.signing_key()?;
        let tree = self.digest(plan, to).await?;
        let zfs = &self.planner.host.zfs;
        let stored = send::send(zfs, &plan.snapshot, from, ids, to, &options).await?;
        let report = StoredStream::of(&stored);
        let point = pipeline::Point {
            archive: to.archive.document().id,
            terrarium: env!("CARGO_PKG_VERSION").to_owned(),
            exported: self.planner.now.timestamp(),
            lineage,
            instance: plan.instance.name.to_string(),
            project: Some(plan.instance.project.to_string()),
            instance_uuid: uuid(&plan.record).map(str::to_owned),
            snapshot: plan.snapshot.clone(),
            base,
            createtxg: Some(point.createtxg),
            kind: kind(&point.kind),
            // Anybody who may set properties can set one that no manifest could hold.
            alias: point
                .alias
                .clone()
                .filter(|alias| Alias::new(alias).is_ok()),
            expires: point.expires,
            send_flags: Some(FLAGS),
            definition: Some(definition),
            tree,
        };
        let archive = to.archive;
        let published = publish(&**archive.store(), archive.layout(), stored, point, key).await;
        published.map_err(|source| ExportError::Publish {
            snapshot: plan.snapshot.clone(),
            source: Box::new(source),
        })?;
        Ok(report)
    }

    /// Gives the instance a history of its own, before anything of it is stored.
    async fn begin_lineage(&self, plan: &ExportPlan) -> Result<Lineage, ExportError> {
        let lineage = Lineage::random().map_err(ArchiveError::Random)?;
        let uuid = uuid(&plan.record).map(str::to_owned);
        let changes = [
            (property::LINEAGE.to_owned(), Some(lineage.to_string())),
            (property::LINEAGE_OF.to_owned(), uuid),
        ];
        let dataset = &plan.covered.dataset;
        let (name, guid) = (dataset.name.to_string(), dataset.guid);
        self.zfs(move |zfs| {
            same(zfs, &name, guid)?;
            zfs.set_user_properties(&name, &changes.into())?;
            Ok(())
        })
        .await?;
        Ok(lineage)
    }

    /// Notes whose lineage it is, if it came from an archive without saying so.
    async fn claim_lineage(&self, plan: &ExportPlan) -> Result<(), ExportError> {
        let dataset = &plan.covered.dataset;
        let Some(uuid) = uuid(&plan.record) else {
            return Ok(());
        };
        if dataset.local.contains_key(property::LINEAGE_OF) {
            return Ok(());
        }
        let changes = [(property::LINEAGE_OF.to_owned(), Some(uuid.to_owned()))];
        let (name, guid) = (dataset.name.to_string(), dataset.guid);
        self.zfs(move |zfs| {
            same(zfs, &name, guid)?;
            zfs.set_user_properties(&name, &changes.into())?;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// The instance as LXD has it now, and what is in its profiles.
    async fn definition(&self, plan: &ExportPlan) -> Result<format::Definition, Error> {
        let definition = &plan.record.definition;
        let known = self
            .planner
            .host
            .instances
            .profiles(&plan.instance.project)
            .await?;
        let used = definition.profiles.iter();
        let used = used.filter_map(|name| known.iter().find(|profile| profile.name == *name));
        // Structs and maps of strings always serialise.
        let profiles = used.filter_map(|profile| serde_json::to_value(profile).ok());
        let instance = match serde_json::to_value(definition) {
            Ok(Value::Object(instance)) => instance,
            _ => Map::new(),
        };
        Ok(format::Definition {
            instance,
            profiles: profiles.collect(),
        })
    }

    async fn hold(&self, snapshot: &SnapshotName) -> Result<(), Error> {
        let holds = vec![(snapshot.clone(), HOLD.to_owned())];
        self.zfs(move |zfs| match zfs.hold(&holds) {
            // An export that was killed has left it.
            Err(error) if is(&error, ErrorKind::Exists) => Ok(()),
            held => held.map_err(Into::into),
        })
        .await
    }

    /// Releases the holds of exports among those that snapshots have; says of which there was one.
    async fn release_ours(&self, held: Vec<SnapshotName>) -> Result<Vec<SnapshotName>, Error> {
        self.zfs(move |zfs| {
            let mut released = Vec::new();
            for snapshot in held {
                match zfs.release(&[(snapshot.clone(), HOLD.to_owned())]) {
                    Ok(()) => released.push(snapshot),
                    Err(error) if is(&error, ErrorKind::NotFound) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(released)
        })
        .await
    }

    /// The point can be a base as long as its bookmark stays, whatever becomes of the snapshot.
    async fn bookmark(&self, plan: &ExportPlan) -> Result<(), Error> {
        let bookmark = bookmark_of(&plan.covered.live, plan.point.guid)?;
        let wanted = vec![(bookmark, plan.snapshot.clone())];
        self.zfs(move |zfs| match zfs.bookmark(&wanted) {
            // Its name is its guid.
            Err(error) if is(&error, ErrorKind::Exists) => Ok(()),
            made => made.map_err(Into::into),
        })
        .await
    }

    pub(super) fn journals<S: Store>(&self, lineage: Lineage, to: &ExportTo<'_, S>) -> Journals {
        let archive = to.archive.document().id;
        Journals::new(&self.planner.host.exports, archive, lineage)
    }

    /// Runs calls of ZFS, which block.
    async fn zfs<T: Send + 'static>(
        &self,
        calls: impl FnOnce(&Z) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let zfs = Arc::clone(&self.planner.host.zfs);
        let calling = tokio::task::spawn_blocking(move || calls(&zfs));
        calling.await.map_err(|_| Error::Interrupted)?
    }
}

/// Refuses a dataset that is not the one that was planned for.
fn same<Z: Streams>(zfs: &Z, dataset: &str, expected: Guid) -> Result<(), Error> {
    if zfs.guid(dataset)? == Some(expected) {
        return Ok(());
    }
    Err(Error::Changed {
        object: dataset.to_owned(),
        change: format!("its guid is not {expected} any more"),
    })
}

fn is(error: &BatchError, kind: ErrorKind) -> bool {
    error.failures.iter().all(|(_, error)| error.kind() == kind)
}

fn kind(kind: &Kind) -> format::Kind {
    match kind {
        Kind::Scheduled => format::Kind::Scheduled,
        Kind::OnDemand => format::Kind::OnDemand,
        Kind::Safety(_) => format::Kind::Safety,
        Kind::Lxd => format::Kind::Lxd,
        Kind::Foreign => format::Kind::Foreign,
    }
}
