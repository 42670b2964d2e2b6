//! What ZFS does with a pool, and what it refuses.
//!
//! Each rule names the check in OpenZFS that it follows.

use std::collections::{BTreeMap, BTreeSet};

use terrarium_zfs::{
    Attempt, BookmarkName, DatasetName, Error, Guid, Properties, SnapshotName, UserProperties,
};

use super::pool::{Birth, Births, Frozen, Head, Mark, Pool};
use super::properties::{check_user_property, texts};

impl Pool {
    /// `dmu_objset_create_check`.
    pub(super) fn create(
        &mut self,
        births: &mut Births,
        name: &DatasetName,
        properties: &Properties,
    ) -> Result<(), Error> {
        self.check_free("create", name)?;
        let birth = births.next(self.next_txg());
        let mut head = Head::new(birth);
        head.local = texts(properties);
        self.heads.insert(name.clone(), head);
        Ok(())
    }

    /// `dsl_dataset_snapshot_check`, for each; nothing is done unless all pass. A transaction group can
    /// hold one snapshot of a dataset only.
    pub(super) fn take_snapshots(
        &mut self,
        births: &mut Births,
        wanted: &[(SnapshotName, UserProperties)],
    ) -> Result<(), Vec<(String, Error)>> {
        let mut seen = BTreeSet::new();
        let again = wanted
            .iter()
            .filter(|(name, _)| !seen.insert(name.dataset_str()));
        let refuse = |name: &SnapshotName, error| (name.to_string(), error);
        let mut failures: Vec<_> = again
            .map(|(name, _)| {
                let attempt = Attempt::new("snapshot", name.as_str());
                refuse(name, Error::InvalidArgument(attempt))
            })
            .collect();
        if failures.is_empty() {
            let check = |(name, properties): &(SnapshotName, UserProperties)| {
                let error = self.check_snapshot(name, properties).err()?;
                Some(refuse(name, error))
            };
            failures = wanted.iter().filter_map(check).collect();
        }
        if !failures.is_empty() {
            return Err(failures);
        }
        let txg = self.next_txg();
        for (name, properties) in wanted {
            let birth = births.next(txg);
            if let Some(head) = self.heads.get_mut(&name.dataset()) {
                head.snapshots.push(Frozen {
                    name: name.name().to_owned(),
                    birth,
                    content: head.content.clone(),
                    user_properties: properties.clone(),
                    holds: Default::default(),
                    busy: false,
                });
            }
        }
        Ok(())
    }

    fn check_snapshot(
        &self,
        name: &SnapshotName,
        properties: &UserProperties,
    ) -> Result<(), Error> {
        let attempt = || Attempt::new("snapshot", name.as_str());
        for (property, value) in properties {
            check_user_property(property, value)?;
        }
        let head = self.heads.get(&name.dataset());
        let head = head.ok_or_else(|| Error::NotFound(attempt()))?;
        if head.position(name.name()).is_some() {
            return Err(Error::Exists {
                attempt: attempt(),
                name: name.to_string(),
            });
        }
        Ok(())
    }

    /// `dsl_destroy_snapshot_check`, for each; nothing is done unless all pass. Absent ones are ignored.
    pub(super) fn destroy_snapshots(
        &mut self,
        names: &[SnapshotName],
    ) -> Result<(), Vec<(String, Error)>> {
        let check = |name: &SnapshotName| {
            let (head, position) = self.snapshot("destroy", name).ok()?;
            let error = self.in_the_way("destroy", name.as_str(), &head.snapshots[position])?;
            Some((name.to_string(), error))
        };
        let failures: Vec<_> = names.iter().filter_map(check).collect();
        if !failures.is_empty() {
            return Err(failures);
        }
        self.next_txg();
        for name in names {
            if let Some(head) = self.heads.get_mut(&name.dataset()) {
                head.snapshots.retain(|frozen| frozen.name != name.name());
            }
        }
        Ok(())
    }

    /// The same by itself for each, and only if it has that guid; those that stay, and why.
    pub(super) fn destroy_by_guid(
        &mut self,
        wanted: &[(SnapshotName, Guid)],
    ) -> Vec<(String, Error)> {
        let mut failures = Vec::new();
        for (name, guid) in wanted {
            match self.snapshot("destroy", name) {
                Ok((head, position)) if head.snapshots[position].birth.guid != *guid => {
                    let error = Error::Replaced(Attempt::new("destroy", name.as_str()));
                    failures.push((name.to_string(), error));
                }
                _ => failures.extend(
                    self.destroy_snapshots(std::slice::from_ref(name))
                        .err()
                        .unwrap_or_default(),
                ),
            }
        }
        failures
    }

    /// `dsl_dataset_space_wouldfree`: what no snapshot beside the range shares, each file once.
    pub(super) fn space_of_range(
        &self,
        first: &SnapshotName,
        last: &SnapshotName,
    ) -> Result<u64, Error> {
        let what = "find out the space of";
        let (head, to) = self.snapshot(what, last)?;
        let (_, from) = self.snapshot(what, first)?;
        if first.dataset_str() != last.dataset_str() || from > to {
            return Err(Error::InvalidArgument(Attempt::new(what, last.as_str())));
        }
        let contents = head.snapshots.iter().map(|frozen| &frozen.content);
        let contents: Vec<_> = contents.chain([&head.content]).collect();
        let before = from.checked_sub(1).map(|before| contents[before]);
        // What several share is counted for the last that has it.
        let alone = (from..=to).map(|at| {
            let others = before
                .into_iter()
                .chain(contents[at + 1..=to + 1].iter().copied());
            contents[at].unshared(others)
        });
        Ok(alone.sum())
    }

    /// What keeps a snapshot from being destroyed (`dsl_destroy_snapshot_check_impl`).
    fn in_the_way(&self, what: &'static str, object: &str, snapshot: &Frozen) -> Option<Error> {
        let attempt = Attempt::new(what, object);
        if snapshot.busy || !snapshot.holds.is_empty() {
            Some(Error::Busy(attempt))
        } else if self.has_clones(snapshot.birth) {
            Some(Error::HasClones(attempt))
        } else {
            None
        }
    }

    /// `dmu_objset_clone_check`.
    pub(super) fn clone_snapshot(
        &mut self,
        births: &mut Births,
        target: &DatasetName,
        origin: &SnapshotName,
        properties: &Properties,
    ) -> Result<(), Error> {
        self.check_free("clone to", target)?;
        if target.pool() != origin.pool() {
            return Err(Error::CrossesPools(Attempt::new(
                "clone to",
                target.as_str(),
            )));
        }
        let (source, position) = self.snapshot("clone", origin)?;
        let frozen = &source.snapshots[position];
        let (branch, content) = (frozen.birth, frozen.content.branch());

        let birth = births.next(self.next_txg());
        let mut head = Head::new(birth);
        head.origin = Some(branch);
        head.content = content;
        head.local = texts(properties);
        self.heads.insert(target.clone(), head);
        Ok(())
    }

    /// A full stream that is received: the content is its own, the snapshot has its source's guid.
    pub(super) fn copy_snapshot(
        &mut self,
        births: &mut Births,
        target: &DatasetName,
        origin: &SnapshotName,
        properties: &Properties,
    ) -> Result<(), Error> {
        self.check_free("copy to", target)?;
        if target.pool() != origin.pool() {
            return Err(Error::CrossesPools(Attempt::new(
                "copy to",
                target.as_str(),
            )));
        }
        let (source, position) = self.snapshot("send", origin)?;
        let frozen = &source.snapshots[position];
        let (guid, content) = (frozen.birth.guid, frozen.content.copy());

        let txg = self.next_txg();
        let mut head = Head::new(births.next(txg));
        head.local = texts(properties);
        head.snapshots.push(Frozen {
            name: origin.name().to_owned(),
            birth: Birth {
                guid,
                ..births.next(txg)
            },
            content: content.clone(),
            user_properties: UserProperties::new(),
            holds: BTreeSet::new(),
            busy: false,
        });
        head.content = content;
        self.heads.insert(target.clone(), head);
        Ok(())
    }

    /// `dsl_dataset_promote_check`: the origin, if nothing is in the way.
    pub(super) fn check_promote(&self, clone: &DatasetName) -> Result<(DatasetName, usize), Error> {
        let attempt = || Attempt::new("promote", clone.as_str());
        let head = self.head("promote", clone)?;
        let origin = head.origin.and_then(|birth| self.find(birth));
        let (dataset, position) = origin.ok_or_else(|| Error::InvalidArgument(attempt()))?;
        let moving = &self.heads[dataset].snapshots[..=position];
        if moving.iter().any(|frozen| frozen.busy) {
            return Err(Error::Busy(attempt()));
        }
        let mut snapshots = moving.iter().map(|frozen| &frozen.name);
        let branch = moving.last().map(|frozen| frozen.birth.txg);
        let bookmarks = self.heads[dataset].bookmarks.iter();
        let mut bookmarks = bookmarks
            .filter(|mark| Some(mark.birth.txg) <= branch)
            .map(|mark| &mark.name);
        let clash = snapshots
            .find(|name| head.position(name).is_some())
            .or_else(|| bookmarks.find(|name| head.bookmarks.iter().any(|own| own.name == **name)));
        if let Some(clash) = clash {
            return Err(Error::Exists {
                attempt: attempt(),
                name: clash.clone(),
            });
        }
        Ok((dataset.clone(), position))
    }

    /// `dsl_dataset_promote_sync`: the snapshots up to the origin change hands, with the bookmarks of that time.
    ///
    /// Other clones of those snapshots follow by themselves, since they name their origin by its birth.
    pub(super) fn promote(&mut self, clone: &DatasetName) -> Result<(), Error> {
        let (origin, position) = self.check_promote(clone)?;
        self.next_txg();
        let parent = self.head_mut("promote", &origin)?;
        let mut snapshots: Vec<Frozen> = parent.snapshots.drain(..=position).collect();
        let Some(branch) = snapshots.last().map(|frozen| frozen.birth) else {
            return Ok(());
        };
        let all = std::mem::take(&mut parent.bookmarks);
        let (mut bookmarks, later): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|mark| mark.birth.txg <= branch.txg);
        parent.bookmarks = later;
        let origin_of_both = parent.origin.replace(branch);

        let head = self.head_mut("promote", clone)?;
        snapshots.append(&mut head.snapshots);
        head.snapshots = snapshots;
        bookmarks.append(&mut head.bookmarks);
        head.bookmarks = bookmarks;
        head.origin = origin_of_both;
        Ok(())
    }

    /// `dsl_dir_rename_check`: everything below goes along, and what is mounted stays mounted.
    pub(super) fn rename(&mut self, from: &DatasetName, to: &DatasetName) -> Result<(), Error> {
        let attempt = || Attempt::new("rename", from.as_str());
        self.head("rename", from)?;
        if from.pool() != to.pool() {
            return Err(Error::CrossesPools(attempt()));
        }
        if from.parent().is_none() || (to.is_within(from) && to != from) {
            return Err(Error::InvalidArgument(attempt()));
        }
        if self.heads.contains_key(to) {
            return Err(Error::Exists {
                attempt: attempt(),
                name: to.to_string(),
            });
        }
        self.check_parent("rename to", to)?;
        let mut moves = Vec::new();
        for (name, head) in self.subtree(from) {
            let new = match name.relative_to(from) {
                None | Some("") => to.clone(),
                Some(path) => to
                    .child(path)
                    .map_err(|_too_long| Error::TooLarge(attempt()))?,
            };
            for frozen in &head.snapshots {
                new.snapshot(&frozen.name)
                    .map_err(|_too_long| Error::TooLarge(attempt()))?;
            }
            moves.push((name.clone(), new));
        }
        self.next_txg();
        for (old, new) in moves {
            if let Some(head) = self.heads.remove(&old) {
                self.heads.insert(new, head);
            }
        }
        Ok(())
    }

    /// `dsl_destroy_head_check_impl`; bookmarks do not keep a dataset.
    pub(super) fn destroy(&mut self, name: &DatasetName) -> Result<(), Error> {
        let attempt = || Attempt::new("destroy", name.as_str());
        let head = self.head("destroy", name)?;
        if head.mounted || !head.snapshots.is_empty() {
            return Err(Error::Busy(attempt()));
        }
        if self.subtree(name).count() > 1 {
            return Err(Error::HasChildren(attempt()));
        }
        if name.parent().is_none() {
            return Err(Error::InvalidArgument(attempt()));
        }
        self.next_txg();
        self.heads.remove(name);
        Ok(())
    }

    /// What `zfs destroy -r` does: everything below goes, unless a snapshot is held or cloned from outside.
    pub(super) fn destroy_recursively(&mut self, name: &DatasetName) -> Result<(), Error> {
        self.head("destroy", name)?;
        for (dataset, head) in self.subtree(name) {
            if head.mounted {
                return Err(Error::Busy(Attempt::new("destroy", dataset.as_str())));
            }
            for frozen in &head.snapshots {
                let object = format!("{dataset}@{}", frozen.name);
                match self.in_the_way("destroy", &object, frozen) {
                    Some(Error::HasClones(_)) if !self.cloned_from_outside(name, frozen) => {}
                    Some(error) => return Err(error),
                    None => {}
                }
            }
        }
        self.next_txg();
        self.heads.retain(|other, _| !other.is_within(name));
        Ok(())
    }

    fn cloned_from_outside(&self, tree: &DatasetName, snapshot: &Frozen) -> bool {
        let mut heads = self.heads.iter();
        heads.any(|(name, head)| head.origin == Some(snapshot.birth) && !name.is_within(tree))
    }

    /// What `zfs rollback -r` does: newer snapshots and bookmarks go, and so does what was written since.
    pub(super) fn roll_back_to(&mut self, to: &SnapshotName) -> Result<(), Error> {
        let (head, position) = self.snapshot("roll back to", to)?;
        let txg = head.snapshots[position].birth.txg;
        let mut newer = head.snapshots[position + 1..].iter();
        let refused = newer.find_map(|frozen| {
            let object = format!("{}@{}", to.dataset(), frozen.name);
            self.in_the_way("destroy", &object, frozen)
        });
        if let Some(error) = refused {
            return Err(error);
        }
        self.next_txg();
        let head = self.head_mut("roll back to", &to.dataset())?;
        head.snapshots.truncate(position + 1);
        head.bookmarks.retain(|mark| mark.birth.txg <= txg);
        head.content = head.snapshots[position].content.branch();
        Ok(())
    }

    /// `zfs.sync.set_prop` and `zfs.sync.inherit`, after all changes were checked.
    pub(super) fn set_user_properties(
        &mut self,
        object: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), Error> {
        for (name, value) in changes {
            check_user_property(name, value.as_deref().unwrap_or_default())?;
        }
        let properties = if object.contains('@') {
            let name = SnapshotName::new(object)?;
            &mut self
                .snapshot_mut("set properties of", &name)?
                .user_properties
        } else {
            let name = DatasetName::new(object)?;
            &mut self.head_mut("set properties of", &name)?.local
        };
        for (name, value) in changes {
            match value {
                Some(value) => properties.insert(name.clone(), value.clone()),
                None => properties.remove(name),
            };
        }
        self.next_txg();
        Ok(())
    }

    /// `dsl_bookmark_create_check`: the bookmark of a snapshot of the same dataset.
    pub(super) fn bookmark(
        &mut self,
        name: &BookmarkName,
        snapshot: &SnapshotName,
    ) -> Result<(), Error> {
        let attempt = || Attempt::new("bookmark", name.as_str());
        if name.dataset() != snapshot.dataset() {
            return Err(Error::NotAncestor(attempt()));
        }
        let (head, position) = self.snapshot("bookmark", snapshot)?;
        let birth = head.snapshots[position].birth;
        if head.bookmarks.iter().any(|mark| mark.name == name.name()) {
            return Err(Error::Exists {
                attempt: attempt(),
                name: name.to_string(),
            });
        }
        self.next_txg();
        let head = self.head_mut("bookmark", &name.dataset())?;
        let later = |mark: &Mark| mark.birth.txg > birth.txg;
        let position = head.bookmarks.iter().position(later);
        let position = position.unwrap_or(head.bookmarks.len());
        head.bookmarks.insert(
            position,
            Mark {
                name: name.name().to_owned(),
                birth,
            },
        );
        Ok(())
    }

    fn check_free(&self, what: &'static str, name: &DatasetName) -> Result<(), Error> {
        if self.heads.contains_key(name) {
            return Err(Error::Exists {
                attempt: Attempt::new(what, name.as_str()),
                name: name.to_string(),
            });
        }
        self.check_parent(what, name)
    }

    fn check_parent(&self, what: &'static str, name: &DatasetName) -> Result<(), Error> {
        match name.parent() {
            Some(parent) if self.heads.contains_key(&parent) => Ok(()),
            _ => Err(Error::NotFound(Attempt::new(what, name.as_str()))),
        }
    }
}
