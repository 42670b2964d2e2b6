//! The state of one pool, and how a listing shows it.

use std::collections::{BTreeMap, BTreeSet};

use terrarium_zfs::{
    Attempt, Bookmark, Dataset, DatasetName, Error, Guid, Listing, PoolState, Snapshot,
    SnapshotName, Txg, UserProperties,
};

use super::content::Content;
use crate::property;

/// Bytes that a pool can hold; nothing but figures follows from it.
const SIZE: u64 = 1 << 30;

/// A pool: its datasets, and how far it got.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) heads: BTreeMap<DatasetName, Head>,
    pub(super) txg: u64,
    pub(super) state: PoolState,
    pub(super) readonly: bool,
    pub(super) full: bool,
}

/// What a dataset is now, with its past.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) birth: Birth,
    /// The birth of the snapshot it is a clone of: right whatever is renamed or promoted, and not that of its copies.
    pub(super) origin: Option<Birth>,
    pub(super) local: BTreeMap<String, String>,
    pub(super) content: Content,
    /// Oldest first.
    pub(super) snapshots: Vec<Frozen>,
    /// Oldest first.
    pub(super) bookmarks: Vec<Mark>,
    pub(super) mounted: bool,
}

/// A snapshot.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) name: String,
    pub(super) birth: Birth,
    pub(super) content: Content,
    pub(super) user_properties: UserProperties,
    pub(super) holds: BTreeSet<String>,
    /// Being sent, or mounted below `.zfs/snapshot`.
    pub(super) busy: bool,
}

/// A bookmark.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) name: String,
    pub(super) birth: Birth,
}

/// What identifies an object, and when it came to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Birth {
    pub(super) guid: Guid,
    pub(super) txg: Txg,
    pub(super) time: i64,
}

/// What objects get that come to be: the time, and guids.
#[derive(Debug)]
pub(super) struct Births {
    pub(super) now: i64,
    pub(super) count: u64,
}

impl Births {
    pub(super) fn next(&mut self, txg: u64) -> Birth {
        self.count += 1;
        // The guids of ZFS use all 64 bits. This is one step of splitmix64: no two are equal.
        let mut guid = self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        guid = (guid ^ (guid >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        guid = (guid ^ (guid >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Birth {
            guid: Guid::new(guid ^ (guid >> 31)),
            txg: Txg::new(txg),
            time: self.now,
        }
    }
}

impl Head {
    pub(super) fn new(birth: Birth) -> Self {
        Self {
            birth,
            origin: None,
            local: BTreeMap::new(),
            content: Content::default(),
            snapshots: Vec::new(),
            bookmarks: Vec::new(),
            mounted: false,
        }
    }

    pub(super) fn position(&self, snapshot: &str) -> Option<usize> {
        let mut names = self.snapshots.iter();
        names.position(|frozen| frozen.name == snapshot)
    }
}

impl Pool {
    pub(super) fn new(name: DatasetName, births: &mut Births) -> Self {
        let root = Head::new(births.next(1));
        Self {
            heads: BTreeMap::from([(name, root)]),
            txg: 1,
            state: PoolState::Online,
            readonly: false,
            full: false,
        }
    }

    /// The transaction group of a change: no two changes share one.
    pub(super) fn next_txg(&mut self) -> u64 {
        self.txg += 1;
        self.txg
    }

    pub(super) fn head(&self, what: &'static str, name: &DatasetName) -> Result<&Head, Error> {
        let missing = || Error::NotFound(Attempt::new(what, name.as_str()));
        self.heads.get(name).ok_or_else(missing)
    }

    pub(super) fn head_mut(
        &mut self,
        what: &'static str,
        name: &DatasetName,
    ) -> Result<&mut Head, Error> {
        let missing = || Error::NotFound(Attempt::new(what, name.as_str()));
        self.heads.get_mut(name).ok_or_else(missing)
    }

    /// A snapshot: its dataset, and its place among that dataset's.
    pub(super) fn snapshot(
        &self,
        what: &'static str,
        name: &SnapshotName,
    ) -> Result<(&Head, usize), Error> {
        let missing = || Error::NotFound(Attempt::new(what, name.as_str()));
        let head = self.heads.get(&name.dataset()).ok_or_else(missing)?;
        let position = head.position(name.name()).ok_or_else(missing)?;
        Ok((head, position))
    }

    pub(super) fn snapshot_mut(
        &mut self,
        what: &'static str,
        name: &SnapshotName,
    ) -> Result<&mut Frozen, Error> {
        let missing = || Error::NotFound(Attempt::new(what, name.as_str()));
        let head = self.heads.get_mut(&name.dataset()).ok_or_else(missing)?;
        let position = head.position(name.name()).ok_or_else(missing)?;
        Ok(&mut head.snapshots[position])
    }

    /// Where a snapshot stands now.
    pub(super) fn find(&self, birth: Birth) -> Option<(&DatasetName, usize)> {
        self.heads.iter().find_map(|(name, head)| {
            let mut snapshots = head.snapshots.iter();
            let position = snapshots.position(|frozen| frozen.birth == birth)?;
            Some((name, position))
        })
    }

    pub(super) fn has_clones(&self, snapshot: Birth) -> bool {
        let mut heads = self.heads.values();
        heads.any(|head| head.origin == Some(snapshot))
    }

    /// The datasets below `name`, and itself.
    pub(super) fn subtree(
        &self,
        name: &DatasetName,
    ) -> impl Iterator<Item = (&DatasetName, &Head)> {
        let heads = self.heads.iter();
        heads.filter(move |(other, _)| other.is_within(name))
    }

    /// Bytes that can still be written.
    pub(super) fn free(&self) -> u64 {
        let mut roots = self.heads.keys().filter(|name| name.parent().is_none());
        match roots.next() {
            Some(root) if !self.full => SIZE.saturating_sub(self.used(root)),
            _ => 0,
        }
    }

    /// Everything at and below `root`.
    pub(super) fn list(&self, root: &DatasetName) -> Listing {
        let mut datasets = Vec::new();
        let mut snapshots = Vec::new();
        let mut bookmarks = Vec::new();
        for (name, head) in self.subtree(root) {
            datasets.push(self.dataset(name, head));
            for position in 0..head.snapshots.len() {
                snapshots.extend(self.listed_snapshot(name, head, position));
            }
            bookmarks.extend(head.bookmarks.iter().filter_map(|mark| {
                let Birth { guid, txg, time } = mark.birth;
                Some(Bookmark::new(
                    name.bookmark(&mark.name).ok()?,
                    guid,
                    txg,
                    time,
                ))
            }));
        }
        Listing::new(datasets, snapshots, bookmarks)
    }

    fn dataset(&self, name: &DatasetName, head: &Head) -> Dataset {
        let Birth { guid, txg, time } = head.birth;
        let origin = head.origin.and_then(|birth| self.find(birth));
        let mut listed = Dataset::new(name.clone(), guid, txg, time);
        listed.origin = origin.and_then(|(dataset, position)| {
            let snapshot = &self.heads[dataset].snapshots[position];
            dataset.snapshot(&snapshot.name).ok()
        });
        listed.referenced = head.content.referenced();
        listed.written = match self.before(head, head.snapshots.len()) {
            Some(before) => head.content.unshared([before]),
            None => listed.referenced,
        };
        listed.used = self.used(name);
        listed.available = self.free();
        listed.mounted = head.mounted;
        listed.local = head.local.clone();
        listed
    }

    fn listed_snapshot(
        &self,
        dataset: &DatasetName,
        head: &Head,
        position: usize,
    ) -> Option<Snapshot> {
        let frozen = &head.snapshots[position];
        let Birth { guid, txg, time } = frozen.birth;
        let before = self.before(head, position);
        let after = head.snapshots.get(position + 1);
        let after = after.map_or(&head.content, |next| &next.content);
        let clones = self
            .heads
            .iter()
            .filter(|(_, head)| head.origin == Some(frozen.birth));

        let mut listed = Snapshot::new(dataset.snapshot(&frozen.name).ok()?, guid, txg, time);
        listed.referenced = frozen.content.referenced();
        listed.written = match before {
            Some(before) => frozen.content.unshared([before]),
            None => listed.referenced,
        };
        listed.used = frozen.content.unshared(before.into_iter().chain([after]));
        listed.userrefs = frozen.holds.len() as u64;
        listed.clones = clones.map(|(name, _)| name.clone()).collect();
        let told = frozen.user_properties.iter();
        let told = told.filter(|(name, _)| property::OF_SNAPSHOTS.contains(&name.as_str()));
        listed.user_properties = told.map(|(n, v)| (n.clone(), v.clone())).collect();
        Some(listed)
    }

    /// What stood before the snapshot at `position`: the snapshot before it, or the origin.
    fn before<'a>(&'a self, head: &'a Head, position: usize) -> Option<&'a Content> {
        if let Some(earlier) = position.checked_sub(1) {
            return Some(&head.snapshots[earlier].content);
        }
        let (dataset, position) = self.find(head.origin?)?;
        Some(&self.heads[dataset].snapshots[position].content)
    }

    /// Space that a dataset takes with its snapshots and children, as far as its origin does not hold it.
    fn used(&self, name: &DatasetName) -> u64 {
        let own = |head: &Head| -> u64 {
            let mut counted: Vec<&Content> = self.before(head, 0).into_iter().collect();
            let mut used = 0;
            let past = head.snapshots.iter().map(|frozen| &frozen.content);
            for content in past.chain([&head.content]) {
                used += content.unshared(counted.iter().copied());
                counted.push(content);
            }
            used
        };
        self.subtree(name).map(|(_, head)| own(head)).sum()
    }
}
