//! What a copy of an instance must not share with its source.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::instances::{Definition, Device, InstanceRecord, Profile};
use crate::property;

/// Which config keys route traffic to an instance, and what happens to its extra disks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdentityPolicy {
    /// Config keys that are left out of a copy; a `*` at the end stands for any rest.
    pub routing_labels: Vec<String>,
    /// Keep disk devices other than the root disk, read-only, instead of leaving them out.
    pub keep_disks: bool,
    /// Copy the contents in full, so that source and copy can be destroyed in any order, instead of sharing them.
    pub independent: bool,
}

impl Default for IdentityPolicy {
    fn default() -> Self {
        Self {
            routing_labels: vec!["user.proxy".to_owned(), "user.proxy.*".to_owned()],
            keep_disks: false,
            independent: false,
        }
    }
}

/// Something of the source that its copy does not have, or has differently.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Removal {
    /// The config key, device or device key.
    pub what: String,
    /// Why it is not carried over.
    pub why: String,
}

/// Settings of a network device that only one instance can have.
const NIC_IDENTITY: [&str; 8] = [
    "hwaddr",
    "host_name",
    "ipv4.address",
    "ipv6.address",
    "ipv4.routes",
    "ipv6.routes",
    "ipv4.routes.external",
    "ipv6.routes.external",
];

/// `volatile.*` keys that describe the root disk, not the instance.
const VOLATILE_OF_THE_DISK: [&str; 1] = ["volatile.base_image"];

/// The definition of a copy of `source`, and what was left out of it.
///
/// `profiles` are those of the target project; a profile that carries a routing label is replaced by its
/// contents, because an instance cannot unset what a profile sets.
pub(super) fn strip_identity(
    source: &InstanceRecord,
    profiles: &[Profile],
    policy: &IdentityPolicy,
) -> (Definition, Vec<Removal>) {
    let mut copy = source.definition.clone();
    let mut removals = Vec::new();
    dissolve_labelled_profiles(&mut copy, profiles, policy, &mut removals);

    copy.config.retain(|key, _| {
        let why = if is_routing_label(key, policy) {
            "it routes traffic to the source"
        } else if *key == property::LXD_OPERATION {
            return false;
        } else if key.starts_with("volatile.") && !VOLATILE_OF_THE_DISK.contains(&key.as_str()) {
            "it identifies the source"
        } else {
            return true;
        };
        removals.push(Removal {
            what: key.clone(),
            why: why.to_owned(),
        });
        false
    });

    let mut effective: BTreeMap<String, (bool, Device)> = BTreeMap::new();
    for profile in applied(&copy.profiles, profiles) {
        for (name, device) in &profile.devices {
            effective.insert(name.clone(), (false, device.clone()));
        }
    }
    for (name, device) in &copy.devices {
        effective.insert(name.clone(), (true, device.clone()));
    }
    for (name, (own, device)) in effective {
        match without_identity(&name, &device, policy, &mut removals) {
            Kept::AsItIs => {}
            Kept::Changed(changed) => {
                copy.devices.insert(name, changed);
            }
            Kept::Not if own && !in_a_profile(&name, &copy.profiles, profiles) => {
                copy.devices.remove(&name);
            }
            // A device of type `none` hides the profile's device of that name.
            Kept::Not => {
                copy.devices
                    .insert(name, Device::from([("type".to_owned(), "none".to_owned())]));
            }
        }
    }
    (copy, removals)
}

enum Kept {
    AsItIs,
    Changed(Device),
    Not,
}

fn without_identity(
    name: &str,
    device: &Device,
    policy: &IdentityPolicy,
    removals: &mut Vec<Removal>,
) -> Kept {
    let value = |key: &str| device.get(key).map(String::as_str).unwrap_or_default();
    let mut removed = |what: String, why: &str| {
        removals.push(Removal {
            what,
            why: why.to_owned(),
        });
    };
    match value("type") {
        "nic" if matches!(value("nictype"), "physical" | "sriov") => {
            removed(
                format!("device {name}"),
                "the source holds that network interface",
            );
            Kept::Not
        }
        "nic" => {
            let mut changed = device.clone();
            for key in NIC_IDENTITY {
                if changed.remove(key).is_some() {
                    removed(
                        format!("device {name}: {key}"),
                        "the source has that address",
                    );
                }
            }
            if changed == *device {
                Kept::AsItIs
            } else {
                Kept::Changed(changed)
            }
        }
        "proxy" if !matches!(value("bind"), "instance" | "guest" | "container") => {
            removed(
                format!("device {name}"),
                "the source listens on that address of the host",
            );
            Kept::Not
        }
        "disk" if value("path") != "/" && device.contains_key("source") => {
            if policy.keep_disks {
                removed(format!("device {name}: writing"), "the source writes to it");
                let mut changed = device.clone();
                changed.insert("readonly".to_owned(), "true".to_owned());
                Kept::Changed(changed)
            } else {
                removed(format!("device {name}"), "the source uses that disk");
                Kept::Not
            }
        }
        _ => Kept::AsItIs,
    }
}

fn dissolve_labelled_profiles(
    copy: &mut Definition,
    profiles: &[Profile],
    policy: &IdentityPolicy,
    removals: &mut Vec<Removal>,
) {
    let is_labelled = |profile: &&Profile| {
        profile
            .config
            .keys()
            .any(|key| is_routing_label(key, policy))
    };
    let Some(first) = applied(&copy.profiles, profiles).position(|profile| is_labelled(&profile))
    else {
        return;
    };
    // Whatever applies after the first labelled profile must go on applying after it.
    let names = copy.profiles.clone();
    let dissolved: Vec<&Profile> = applied(&names, profiles).skip(first).collect();
    let mut config = BTreeMap::new();
    let mut devices = BTreeMap::new();
    for profile in &dissolved {
        config.extend(profile.config.clone());
        devices.extend(profile.devices.clone());
        removals.push(Removal {
            what: format!("profile {}", profile.name),
            why: if is_labelled(profile) {
                "it carries a routing label; its other contents are set on the copy itself".to_owned()
            } else {
                "it applies after one that carries a routing label; its contents are set on the copy itself".to_owned()
            },
        });
    }
    config.append(&mut copy.config);
    devices.append(&mut copy.devices);
    copy.config = config;
    copy.devices = devices;
    let dissolved: Vec<&str> = dissolved
        .iter()
        .map(|profile| profile.name.as_str())
        .collect();
    copy.profiles
        .retain(|name| !dissolved.contains(&name.as_str()));
}

/// The profiles of these names, in the order they apply.
fn applied<'a>(names: &'a [String], profiles: &'a [Profile]) -> impl Iterator<Item = &'a Profile> {
    names
        .iter()
        .filter_map(move |name| profiles.iter().find(|profile| profile.name == *name))
}

fn in_a_profile(device: &str, names: &[String], profiles: &[Profile]) -> bool {
    applied(names, profiles).any(|profile| profile.devices.contains_key(device))
}

fn is_routing_label(key: &str, policy: &IdentityPolicy) -> bool {
    policy
        .routing_labels
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => key.starts_with(start),
            None => key == pattern,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::{InstanceKind, InstanceState};

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn source(
        config: &[(&str, &str)],
        devices: &[(&str, Device)],
        profiles: &[&str],
    ) -> InstanceRecord {
        InstanceRecord {
            id: "web".parse().unwrap(),
            kind: InstanceKind::Container,
            state: InstanceState::Running,
            definition: Definition {
                config: map(config),
                devices: devices
                    .iter()
                    .map(|(name, device)| ((*name).to_owned(), device.clone()))
                    .collect(),
                profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
                ..Definition::default()
            },
            expanded_config: BTreeMap::new(),
            expanded_devices: BTreeMap::new(),
            snapshots: Vec::new(),
        }
    }

    fn profile(name: &str, config: &[(&str, &str)], devices: &[(&str, Device)]) -> Profile {
        Profile {
            name: name.to_owned(),
            config: map(config),
            devices: devices
                .iter()
                .map(|(name, device)| ((*name).to_owned(), device.clone()))
                .collect(),
        }
    }

    fn whats(removals: &[Removal]) -> Vec<&str> {
        removals
            .iter()
            .map(|removal| removal.what.as_str())
            .collect()
    }

    #[test]
    fn labels_and_volatile_keys_go_limits_and_other_labels_stay() {
        let source = source(
            &[
                ("limits.memory", "1GiB"),
                ("user.owner", "me"),
                ("user.proxy", "https://app.example"),
                ("user.proxy.2", "https://b.example"),
                ("user.proxyfoo", "kept"),
                ("volatile.base_image", "abc"),
                ("volatile.eth0.hwaddr", "00:16:3e:00:00:01"),
                ("volatile.uuid", "x"),
            ],
            &[],
            &["default"],
        );
        let (copy, removals) = strip_identity(&source, &[], &IdentityPolicy::default());
        let kept: Vec<_> = copy.config.keys().map(String::as_str).collect();
        assert_eq!(
            kept,
            [
                "limits.memory",
                "user.owner",
                "user.proxyfoo",
                "volatile.base_image"
            ]
        );
        assert_eq!(
            whats(&removals),
            [
                "user.proxy",
                "user.proxy.2",
                "volatile.eth0.hwaddr",
                "volatile.uuid"
            ]
        );
        assert_eq!(copy.profiles, ["default"]);
    }

    #[test]
    fn static_addresses_go_wherever_the_network_device_is_defined() {
        let nic = map(&[
            ("type", "nic"),
            ("network", "br0"),
            ("ipv4.address", "10.0.0.5"),
            ("hwaddr", "aa:bb"),
        ]);
        let stripped = map(&[("type", "nic"), ("network", "br0")]);
        let own = source(&[], &[("eth0", nic.clone())], &[]);
        let (copy, removals) = strip_identity(&own, &[], &IdentityPolicy::default());
        assert_eq!(copy.devices["eth0"], stripped);
        assert_eq!(
            whats(&removals),
            ["device eth0: hwaddr", "device eth0: ipv4.address"]
        );

        let shared = source(&[], &[], &["net"]);
        let profiles = [profile("net", &[], &[("eth0", nic)])];
        let (copy, _) = strip_identity(&shared, &profiles, &IdentityPolicy::default());
        assert_eq!(
            copy.devices["eth0"], stripped,
            "the copy overrides the profile's device"
        );
    }

    #[test]
    fn a_proxy_that_listens_on_the_host_goes_and_one_inside_the_instance_stays() {
        let host = map(&[
            ("type", "proxy"),
            ("listen", "tcp:0.0.0.0:80"),
            ("connect", "tcp:127.0.0.1:80"),
        ]);
        let mut inside = host.clone();
        inside.insert("bind".to_owned(), "instance".to_owned());
        let source = source(&[], &[("p1", host), ("p2", inside)], &[]);
        let (copy, removals) = strip_identity(&source, &[], &IdentityPolicy::default());
        assert_eq!(copy.devices.keys().collect::<Vec<_>>(), ["p2"]);
        assert_eq!(whats(&removals), ["device p1"]);
    }

    #[test]
    fn disks_other_than_the_root_go_or_become_read_only() {
        let root = map(&[("type", "disk"), ("path", "/"), ("pool", "default")]);
        let data = map(&[
            ("type", "disk"),
            ("path", "/data"),
            ("pool", "default"),
            ("source", "vol"),
        ]);
        let source = source(
            &[],
            &[("root", root.clone()), ("data", data.clone())],
            &["disks"],
        );
        let profiles = [profile("disks", &[], &[("data", data)])];

        let (copy, removals) = strip_identity(&source, &profiles, &IdentityPolicy::default());
        assert_eq!(copy.devices["root"], root);
        assert_eq!(
            copy.devices["data"],
            map(&[("type", "none")]),
            "the profile's disk is hidden"
        );
        assert_eq!(whats(&removals), ["device data"]);

        let policy = IdentityPolicy {
            keep_disks: true,
            ..IdentityPolicy::default()
        };
        let (copy, _) = strip_identity(&source, &profiles, &policy);
        assert_eq!(copy.devices["data"]["readonly"], "true");
    }

    #[test]
    fn a_profile_with_a_routing_label_is_replaced_by_the_rest_of_its_contents() {
        let source = source(&[("limits.cpu", "4")], &[], &["base", "public", "last"]);
        let profiles = [
            profile("base", &[("limits.memory", "1GiB")], &[]),
            profile(
                "public",
                &[
                    ("user.proxy", "https://app.example"),
                    ("limits.cpu", "2"),
                    ("a", "public"),
                ],
                &[],
            ),
            profile("last", &[("a", "last")], &[]),
        ];
        let (copy, removals) = strip_identity(&source, &profiles, &IdentityPolicy::default());
        assert_eq!(copy.profiles, ["base"]);
        assert_eq!(copy.config, map(&[("limits.cpu", "4"), ("a", "last")]));
        assert_eq!(
            whats(&removals),
            ["profile public", "profile last", "user.proxy"]
        );
    }
}
