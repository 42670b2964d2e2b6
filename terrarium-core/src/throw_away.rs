//! Throw-away instances: what a drill boots, how it is told from everything else, and what it must not have.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use terrarium_zfs::Dataset;

use crate::error::Error;
use crate::instances::{Definition, Device, InstanceRecord, Profile};
use crate::layout::PoolLayout;
use crate::names::{InstanceName, InstanceRef, OperationId, ProjectName};
use crate::property;

/// What the names of all of them begin with. The name alone says nothing: see [`of_record`] and [`of_dataset`].
const NAMES: &str = "terrarium-";
/// What the names of their operations begin with.
const OPERATIONS: &str = "drill-";
/// How many hexadecimal digits tell them apart.
const DIGITS: usize = 8;

/// Config keys, or beginnings of keys that end with a dot, without which the guest might not boot as it did. Whatever is
/// not named is left out: labels, `boot.autostart`, `cloud-init.*`, schedules, protections, `linux.*`, which changes the host,
/// and `raw.lxc`, which could bring back mounts and networks.
const KEPT: [&str; 8] = [
    "environment.",
    "limits.",
    "raw.idmap",
    "security.idmap.",
    "security.nesting",
    "security.privileged",
    "security.syscalls.",
    "volatile.base_image",
];

/// One of them, which may be there or not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ThrowAway {
    /// The instance.
    pub(crate) instance: InstanceRef,
    /// The operation of the drill, as its mark in LXD says it.
    pub(crate) operation: OperationId,
    /// The pool that it is in.
    pub(crate) layout: PoolLayout,
}

impl ThrowAway {
    /// A new one, in a project and a pool.
    pub(crate) fn new(project: &ProjectName, layout: PoolLayout) -> Result<Self, Error> {
        // Each `RandomState` is seeded anew. That the name is free is looked at all the same.
        let number = RandomState::new().hash_one(std::process::id()) as u32;
        let operation = format!("{OPERATIONS}{number:0DIGITS$x}");
        let name = InstanceName::new(&format!("{NAMES}{operation}"))?;
        Ok(Self {
            instance: InstanceRef::new(project.clone(), name),
            operation: OperationId::new(&operation)?,
            layout,
        })
    }

    /// The one of that name, if it is the name of one.
    pub(crate) fn named(instance: &InstanceRef, layout: &PoolLayout) -> Option<Self> {
        Some(Self {
            instance: instance.clone(),
            operation: operation(instance)?,
            layout: layout.clone(),
        })
    }

    /// The user property that marks its dataset.
    pub(crate) fn mark(&self) -> (String, String) {
        (property::DRILL.to_owned(), self.instance.to_string())
    }

    /// Whether LXD's record is of this one, by name and by mark.
    pub(crate) fn is(&self, record: &InstanceRecord) -> bool {
        record.id == self.instance && of_record(record).as_ref() == Some(&self.operation)
    }

    /// Whether the dataset is of this one, by place and by mark.
    pub(crate) fn has(&self, dataset: &Dataset) -> bool {
        of_dataset(&self.layout, dataset).as_ref() == Some(&self.instance)
    }
}

fn operation(instance: &InstanceRef) -> Option<OperationId> {
    let operation = instance.name.as_str().strip_prefix(NAMES)?;
    let digits = operation.strip_prefix(OPERATIONS)?;
    let legal = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    OperationId::new(operation).ok().filter(|_| legal)
}

/// The operation of the drill that an instance was made by. A copy under another name, which has the mark too, was not.
pub(crate) fn of_record(record: &InstanceRecord) -> Option<OperationId> {
    let operation = operation(&record.id)?;
    let mark = record.definition.config.get(property::LXD_DRILL)?;
    (mark == operation.as_str()).then_some(operation)
}

/// The instance that a drill made, or was about to make, of a dataset: it bears the mark, and stands where it belongs.
pub(crate) fn of_dataset(layout: &PoolLayout, dataset: &Dataset) -> Option<InstanceRef> {
    let instance: InstanceRef = dataset.local.get(property::DRILL)?.parse().ok()?;
    let operation = operation(&instance)?;
    let places = [layout.instance(&instance), layout.staging(&operation)];
    let stands = places.into_iter().flatten().any(|at| at == dataset.name);
    stands.then_some(instance)
}

/// What LXD is told of one: what the guest needs to boot as it did, and nothing by which it could be taken for its
/// source, reach anybody, or write elsewhere.
///
/// It has no profiles, so that none brings a network, a disk or a label: what those it had (`had`) held is set on
/// itself, as far as it stays.
pub(crate) fn definition(
    throw_away: &ThrowAway,
    source: &InstanceRef,
    archived: &Definition,
    had: &[Profile],
) -> Definition {
    let mut config = BTreeMap::new();
    for name in &archived.profiles {
        let profile = had.iter().find(|profile| profile.name == *name);
        config.extend(
            profile
                .into_iter()
                .flat_map(|profile| profile.config.clone()),
        );
    }
    config.extend(archived.config.clone());
    let idmap = config.get(property::LXD_IDMAP).cloned();
    config.retain(|key, _| is_kept(key));
    let set = [
        (property::LXD_DRILL, Some(throw_away.operation.to_string())),
        ("boot.autostart", Some("false".to_owned())),
        // From the first moment: with another map, a start would shift the files once more.
        (property::LXD_IDMAP, idmap),
    ];
    let set = set.into_iter();
    config.extend(set.filter_map(|(key, value)| Some((key.to_owned(), value?))));
    let root = [
        ("type", "disk"),
        ("path", "/"),
        ("pool", throw_away.layout.lxd_pool.as_str()),
    ];
    let root = root.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Definition {
        architecture: archived.architecture.clone(),
        config,
        devices: BTreeMap::from([("root".to_owned(), Device::from(root))]),
        profiles: Vec::new(),
        description: format!("a drill boots a restore point of {source}; removed when it ends"),
        ephemeral: false,
    }
}

fn is_kept(key: &str) -> bool {
    KEPT.iter().any(|kept| match kept.ends_with('.') {
        true => key.starts_with(kept),
        false => key == *kept,
    })
}

#[cfg(test)]
mod tests {
    use terrarium_zfs::DatasetName;

    use super::*;
    use crate::instances::{InstanceKind, InstanceState};

    fn throw_away() -> ThrowAway {
        let layout = PoolLayout::new("default", DatasetName::new("tank").unwrap());
        let tenant = ProjectName::new("tenant").unwrap();
        ThrowAway::new(&tenant, layout).unwrap()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn record(name: &str, mark: Option<&str>) -> InstanceRecord {
        let config = mark.map(|mark| (property::LXD_DRILL.to_owned(), mark.to_owned()));
        InstanceRecord {
            id: name.parse().unwrap(),
            kind: InstanceKind::Container,
            state: InstanceState::Stopped,
            definition: Definition {
                config: config.into_iter().collect(),
                ..Definition::default()
            },
            expanded_config: BTreeMap::new(),
            expanded_devices: BTreeMap::new(),
            snapshots: Vec::new(),
        }
    }

    #[test]
    fn only_name_and_mark_together_make_one_of_a_drill() {
        let drilled = |name, mark| of_record(&record(name, mark)).is_some();
        assert!(drilled("terrarium-drill-0123abcd", Some("drill-0123abcd")));
        assert!(!drilled("terrarium-drill-0123abcd", None));
        assert!(!drilled("terrarium-drill-0123abcd", Some("drill-0123abce")));
        assert!(!drilled("copy", Some("drill-0123abcd")), "a copy of one");
        assert!(!drilled("terrarium-drill-mine", Some("drill-mine")));
        assert!(!drilled(
            "terrarium-drill-0123abcd5",
            Some("drill-0123abcd5")
        ));
        let new = throw_away();
        let mark = new.operation.to_string();
        assert!(new.is(&record(&new.instance.to_string(), Some(&mark))));
        let elsewhere = new.instance.name.to_string();
        assert!(!new.is(&record(&elsewhere, Some(&mark))), "another project");
    }

    #[test]
    fn it_has_neither_network_nor_labels_nor_disks_of_the_host_from_wherever_they_come() {
        let profile = Profile {
            name: "edge".to_owned(),
            config: map(&[
                ("user.proxy", "https://web.example"),
                ("boot.autostart", "true"),
                ("snapshots.schedule", "@hourly"),
                ("limits.cpu", "2"),
                ("raw.lxc", "lxc.net.0.type = veth"),
            ]),
            devices: BTreeMap::from([
                (
                    "eth0".to_owned(),
                    map(&[("type", "nic"), ("network", "br0")]),
                ),
                (
                    "data".to_owned(),
                    map(&[("type", "disk"), ("source", "/srv"), ("path", "/srv")]),
                ),
            ]),
        };
        let archived = Definition {
            config: map(&[
                ("limits.memory", "64MiB"),
                ("security.nesting", "true"),
                ("security.protection.delete", "true"),
                ("user.owner", "me"),
                ("user.terrarium.operation", "x"),
                ("cloud-init.user-data", "#cloud-config"),
                ("volatile.eth0.hwaddr", "00:16:3e:00:00:01"),
                ("volatile.uuid", "x"),
                (property::LXD_IDMAP, "[{}]"),
            ]),
            devices: BTreeMap::from([(
                "web".to_owned(),
                map(&[("type", "proxy"), ("listen", "tcp:0.0.0.0:80")]),
            )]),
            profiles: vec!["edge".to_owned(), "gone".to_owned()],
            ephemeral: true,
            ..Definition::default()
        };
        let new = throw_away();
        let made = definition(&new, &"web".parse().unwrap(), &archived, &[profile]);
        let operation = new.operation.to_string();
        let wanted = map(&[
            ("boot.autostart", "false"),
            ("limits.cpu", "2"),
            ("limits.memory", "64MiB"),
            ("security.nesting", "true"),
            (property::LXD_DRILL, &operation),
            (property::LXD_IDMAP, "[{}]"),
        ]);
        assert_eq!(made.config, wanted);
        let root = map(&[("type", "disk"), ("path", "/"), ("pool", "default")]);
        assert_eq!(made.devices, BTreeMap::from([("root".to_owned(), root)]));
        assert!(made.profiles.is_empty() && !made.ephemeral);
    }
}
