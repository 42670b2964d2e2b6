//! What LXD refuses, as far as the stub checks it.

use std::collections::BTreeSet;

use super::server::{Refusal, refuse};
use super::world::World;
use crate::wire::{Config, InstancePut};

pub(super) fn missing_profile<'a>(
    world: &World,
    project: &str,
    put: &'a InstancePut,
) -> Option<&'a str> {
    let mut wanted = put.profiles.iter().map(String::as_str);
    wanted.find(|name| world.profile(project, name).is_none())
}

pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    let problem = if name.is_empty() || name.len() > 63 {
        "Name must be 1-63 characters long"
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        "Name can only contain alphanumeric and hyphen characters"
    } else if name.starts_with('-') {
        "Name must not start with \"-\" character"
    } else {
        return Ok(());
    };
    refuse(400, format!("Invalid instance name: {problem}"))
}

/// As seen: a project that is restricted, or has any limit, lets nobody set or change most of `volatile.*`.
pub(super) fn check_volatile(
    world: &World,
    project: &str,
    name: &str,
    wanted: &Config,
    current: &Config,
) -> Result<(), Refusal> {
    let config = world.projects.get(project).map(|project| &project.config);
    let set = |key: &str, value: &str| {
        config
            .and_then(|config| config.get(key))
            .is_some_and(|found| found == value)
    };
    let limited = config.is_some_and(|config| config.keys().any(|key| key.starts_with("limits.")));
    if !(limited || set("restricted", "true")) || set("restricted.containers.lowlevel", "allow") {
        return Ok(());
    }
    let is_safe = |key: &str| {
        let safe = [
            "volatile.apply_template",
            "volatile.base_image",
            "volatile.last_state.power",
        ];
        safe.contains(&key) || key.ends_with(".hwaddr") || key.ends_with(".apply_quota")
    };
    let mut guarded = wanted.iter();
    let forbidden = guarded.find(|(key, value)| {
        key.starts_with("volatile.") && !is_safe(key) && current.get(*key) != Some(value)
    });
    match forbidden {
        None => Ok(()),
        Some((key, _)) => {
            let verb = if current.contains_key(key) {
                "Changing"
            } else {
                "Setting"
            };
            refuse(
                500,
                format!("{verb} {key:?} on container {name:?} in project {project:?} is forbidden"),
            )
        }
    }
}

/// A light form of LXD's validation: a key belongs to a known family, `volatile` ones are known themselves.
pub(super) fn check_config(config: &Config) -> Result<(), String> {
    let families = [
        "agent.",
        "boot.",
        "cloud-init.",
        "cluster.",
        "environment.",
        "image.",
        "limits.",
        "linux.",
        "migration.",
        "nvidia.",
        "raw.",
        "security.",
        "snapshots.",
        "user.",
    ];
    let volatile = BTreeSet::from([
        "apply_nvram",
        "apply_quota",
        "apply_template",
        "base_image",
        "cloud-init.instance-id",
        "evacuate.origin",
        "idmap.base",
        "idmap.current",
        "idmap.next",
        "last_state.idmap",
        "last_state.power",
        "uuid",
        "vsock_id",
    ]);
    let device_keys = [
        ".hwaddr",
        ".host_name",
        ".apply_quota",
        ".ceph_rbd",
        ".last_state.created",
        ".name",
    ];
    let unknown = config
        .keys()
        .find(|key| match key.strip_prefix("volatile.") {
            Some(rest) => {
                !volatile.contains(rest) && !device_keys.iter().any(|end| rest.ends_with(end))
            }
            None => !families.iter().any(|family| key.starts_with(family)),
        });
    match unknown {
        Some(key) => Err(format!("Invalid config: Unknown configuration key: {key}")),
        None => Ok(()),
    }
}
