//! Where the datasets of an LXD storage pool stand, and where ours stand beside them.

use serde::Serialize;
use terrarium_zfs::{DatasetName, Guid, NameError};

use crate::names::{InstanceRef, OperationId};

/// The tree of one LXD storage pool on ZFS.
///
/// ```text
/// <root>/containers/<volume>             LXD's
/// <root>/terrarium/aside/<op>/<volume>   datasets that a rewind moved aside
/// <root>/terrarium/graveyard/<op>/<volume>   datasets of destroyed instances
/// <root>/terrarium/staging/<op>          clones and received streams before they are swapped in
/// <root>/terrarium/origins/<guid>        origins of clones that came from an archive, because they were not here
/// ```
/// Nothing of ours ever stands below `containers`: LXD takes what is there for its own.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PoolLayout {
    /// LXD's name of the storage pool.
    pub lxd_pool: String,
    /// The dataset that LXD was given: `zfs.pool_name` of the storage pool.
    pub root: DatasetName,
}

impl PoolLayout {
    /// The layout of LXD's storage pool `lxd_pool` on the dataset `root`.
    pub fn new(lxd_pool: &str, root: DatasetName) -> Self {
        Self {
            lxd_pool: lxd_pool.to_owned(),
            root,
        }
    }

    /// The dataset of an instance's root disk.
    ///
    /// # Errors
    /// [`NameError`] if the whole name is longer than ZFS allows.
    pub fn instance(&self, instance: &InstanceRef) -> Result<DatasetName, NameError> {
        self.root
            .child(&format!("containers/{}", instance.volume_name()))
    }

    /// The root of everything that is ours in this pool.
    ///
    /// # Errors
    /// [`NameError`] if the whole name is longer than ZFS allows.
    pub fn terrarium(&self) -> Result<DatasetName, NameError> {
        self.root.child("terrarium")
    }

    /// Where `operation` moves datasets aside.
    ///
    /// # Errors
    /// [`NameError`] if the whole name is longer than ZFS allows.
    pub fn aside(&self, operation: &OperationId) -> Result<DatasetName, NameError> {
        self.root.child(&format!("terrarium/aside/{operation}"))
    }

    /// Where `operation` buries the dataset of the instance that it destroys.
    ///
    /// # Errors
    /// [`NameError`] if the whole name is longer than ZFS allows.
    pub fn graveyard(&self, operation: &OperationId) -> Result<DatasetName, NameError> {
        self.root.child(&format!("terrarium/graveyard/{operation}"))
    }

    /// Where `operation` prepares what it will swap in.
    ///
    /// # Errors
    /// [`NameError`] if the whole name is longer than ZFS allows.
    pub fn staging(&self, operation: &OperationId) -> Result<DatasetName, NameError> {
        self.root.child(&format!("terrarium/staging/{operation}"))
    }

    /// The parent of the origins of clones that came from archives.
    ///
    /// # Errors
    /// [`NameError`] if the whole name is longer than ZFS allows.
    pub fn origins(&self) -> Result<DatasetName, NameError> {
        self.root.child("terrarium/origins")
    }

    /// Where the origin of clones stands that came from an archive.
    ///
    /// # Errors
    /// [`NameError`] if the whole name is longer than ZFS allows.
    pub fn origin(&self, guid: Guid) -> Result<DatasetName, NameError> {
        self.root.child(&format!("terrarium/origins/{guid}"))
    }

    /// The guid in the name of the dataset of such an origin.
    pub fn origin_of(&self, dataset: &DatasetName) -> Option<Guid> {
        let path = dataset.relative_to(&self.root)?;
        let guid = path.strip_prefix("terrarium/origins/")?.parse().ok()?;
        let guid = Guid::new(guid);
        // Each has one spelling only.
        (self.origin(guid).ok()? == *dataset).then_some(guid)
    }

    /// The name of the image whose dataset that is, still in LXD's use or not.
    pub fn image_of<'a>(&self, dataset: &'a DatasetName) -> Option<&'a str> {
        let path = dataset.relative_to(&self.root)?;
        let path = path.strip_prefix("deleted/").unwrap_or(path);
        path.strip_prefix("images/")
    }

    /// Whether `dataset` is one of ours: moved aside, or staged.
    pub fn is_ours(&self, dataset: &DatasetName) -> bool {
        dataset
            .relative_to(&self.root)
            .is_some_and(|path| path == "terrarium" || path.starts_with("terrarium/"))
    }

    /// Whether `dataset` was moved aside by an operation.
    pub fn is_aside(&self, dataset: &DatasetName) -> bool {
        let path = dataset.relative_to(&self.root);
        path.is_some_and(|path| path.starts_with("terrarium/aside/"))
            && self.operation_of(dataset).is_some()
    }

    /// Whether `dataset` is being prepared by an operation.
    pub fn is_staged(&self, dataset: &DatasetName) -> bool {
        let path = dataset.relative_to(&self.root);
        path.is_some_and(|path| path.starts_with("terrarium/staging/"))
    }

    /// The operation that buried `dataset`, if it stands in the graveyard.
    pub fn grave_of(&self, dataset: &DatasetName) -> Option<OperationId> {
        let path = dataset.relative_to(&self.root)?;
        let (operation, volume) = path.strip_prefix("terrarium/graveyard/")?.split_once('/')?;
        if volume.contains('/') {
            return None;
        }
        OperationId::new(operation).ok()
    }

    /// The operation that moved `dataset` aside or staged it, if it stands there.
    pub fn operation_of(&self, dataset: &DatasetName) -> Option<OperationId> {
        let path = dataset
            .relative_to(&self.root)?
            .strip_prefix("terrarium/")?;
        let operation = match path.strip_prefix("staging/") {
            Some(operation) => operation,
            None => path.strip_prefix("aside/")?.split_once('/')?.0,
        };
        OperationId::new(operation).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> PoolLayout {
        PoolLayout::new("default", DatasetName::new("tank/lxd").unwrap())
    }

    #[test]
    fn datasets_stand_where_lxd_and_the_design_put_them() {
        let layout = layout();
        let operation = OperationId::new("20261122-100005-beef").unwrap();
        let instance = |text: &str| layout.instance(&text.parse().unwrap()).unwrap().to_string();
        assert_eq!(instance("web"), "tank/lxd/containers/web");
        assert_eq!(instance("tenant/web"), "tank/lxd/containers/tenant_web");
        assert_eq!(
            layout.aside(&operation).unwrap().to_string(),
            "tank/lxd/terrarium/aside/20261122-100005-beef"
        );
    }

    #[test]
    fn only_a_volume_below_an_operation_belongs_to_it() {
        let layout = layout();
        let operation = |name: &str| layout.operation_of(&DatasetName::new(name).unwrap());
        assert_eq!(
            operation("tank/lxd/terrarium/aside/op-1/web"),
            Some(OperationId::new("op-1").unwrap())
        );
        assert_eq!(operation("tank/lxd/terrarium/aside/op-1"), None);
        assert_eq!(
            operation("tank/lxd/terrarium/staging/op-1"),
            Some(OperationId::new("op-1").unwrap())
        );
        assert_eq!(operation("tank/lxd/containers/web"), None);
        assert_eq!(operation("tank/terrarium/aside/op-1/web"), None);
    }

    #[test]
    fn a_grave_is_told_by_its_operation_and_is_neither_aside_nor_staged() {
        let layout = layout();
        let operation = OperationId::new("op-1").unwrap();
        let place = layout.graveyard(&operation).unwrap();
        let grave = place.child("web").unwrap();
        assert_eq!(grave.to_string(), "tank/lxd/terrarium/graveyard/op-1/web");
        assert_eq!(layout.grave_of(&grave), Some(operation));
        assert_eq!(layout.grave_of(&place), None);
        assert_eq!(layout.grave_of(&grave.child("x").unwrap()), None);
        assert!(layout.is_ours(&grave) && layout.operation_of(&grave).is_none());
    }

    #[test]
    fn an_origin_is_told_by_its_guid_and_an_image_by_its_name() {
        let layout = layout();
        let origin = layout.origin(Guid::new(17)).unwrap();
        assert_eq!(origin.to_string(), "tank/lxd/terrarium/origins/17");
        assert!(layout.is_ours(&origin) && layout.operation_of(&origin).is_none());
        let of = |name: &str| layout.origin_of(&DatasetName::new(name).unwrap());
        assert_eq!(of(origin.as_str()), Some(Guid::new(17)));
        assert_eq!(of("tank/lxd/terrarium/origins/017"), None);
        assert_eq!(of("tank/lxd/terrarium/origins/17/x"), None);
        assert_eq!(of("tank/lxd/images/17"), None);
        let dataset = |name: &str| DatasetName::new(name).unwrap();
        let image = |name: &str| layout.image_of(&dataset(name)).map(str::to_owned);
        assert_eq!(image("tank/lxd/images/ab12").as_deref(), Some("ab12"));
        assert_eq!(
            image("tank/lxd/deleted/images/ab12").as_deref(),
            Some("ab12")
        );
        assert_eq!(image("tank/lxd/containers/web"), None);
    }

    #[test]
    fn a_neighbour_whose_name_begins_like_ours_is_not_ours() {
        let ours = |name: &str| layout().is_ours(&DatasetName::new(name).unwrap());
        assert!(ours("tank/lxd/terrarium"));
        assert!(ours("tank/lxd/terrarium/staging/op/web"));
        assert!(!ours("tank/lxd/terrarium-notes"));
    }
}
