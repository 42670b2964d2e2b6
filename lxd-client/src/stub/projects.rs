//! Projects are created, changed and deleted.

use serde_json::json;

use super::rules::check_name;
use super::server::{Answer, Ask, Lxd, Reply, refuse};
use super::world::quoted_hash;
use crate::wire::{Config, Profile, Project};

/// What LXD gives a project of its own if nothing is said of it.
const OWN: [&str; 3] = [
    "features.images",
    "features.profiles",
    "features.storage.volumes",
];

pub(super) fn create(lxd: &Lxd, ask: &Ask) -> Answer {
    let name = ask.text("name").to_owned();
    check_name(&name)?;
    let mut config = config_of(ask)?;
    let mut world = lxd.world();
    if world.projects.contains_key(&name) {
        return refuse(409, format!("The \"{name}\" entry already exists"));
    }
    for feature in OWN {
        let value = config.entry(feature.to_owned());
        value.or_insert_with(|| "true".to_owned());
    }
    if config["features.profiles"] == "true" {
        let profile = Profile {
            name: "default".to_owned(),
            ..Profile::default()
        };
        let key = (name.clone(), profile.name.clone());
        world.profiles.insert(key, profile);
    }
    let project = Project {
        name: name.clone(),
        description: ask.text("description").to_owned(),
        config,
        ..Project::default()
    };
    world.projects.insert(name, project);
    Ok(Reply::Sync(json!({})))
}

pub(super) fn update(lxd: &Lxd, ask: &Ask, name: &str) -> Answer {
    let config = config_of(ask)?;
    let mut world = lxd.world();
    let Some(project) = world.projects.get_mut(name) else {
        return refuse(404, "Project not found");
    };
    let now = etag(project);
    if let Some(expected) = ask.if_match.as_ref().filter(|tag| **tag != now) {
        return refuse(412, format!("ETag doesn't match: {now} vs {expected}"));
    }
    project.description = ask.text("description").to_owned();
    project.config = config;
    Ok(Reply::Sync(json!({})))
}

pub(super) fn delete(lxd: &Lxd, name: &str) -> Answer {
    let mut world = lxd.world();
    if name == "default" {
        return refuse(403, "The 'default' project cannot be deleted");
    }
    if world.instances.keys().any(|(project, _)| project == name) {
        return refuse(400, "Only empty projects can be removed");
    }
    if world.projects.remove(name).is_none() {
        return refuse(404, "Project not found");
    }
    world.profiles.retain(|(project, _), _| project != name);
    Ok(Reply::Sync(json!({})))
}

/// LXD's hash of what an update would overwrite.
pub(super) fn etag(project: &Project) -> String {
    quoted_hash(&json!([project.description, project.config]))
}

/// The config of a request, if LXD knows its keys.
fn config_of(ask: &Ask) -> Result<Config, super::server::Refusal> {
    let config = ask.body.get("config").cloned().unwrap_or_else(|| json!({}));
    let Ok(config) = serde_json::from_value::<Config>(config) else {
        return refuse(400, "the config is no map of texts");
    };
    let known = [
        "features.",
        "limits.",
        "restricted",
        "user.",
        "images.",
        "backups.",
    ];
    let unknown = config
        .keys()
        .find(|key| !known.iter().any(|beginning| key.starts_with(beginning)));
    match unknown {
        Some(key) => refuse(400, format!("Invalid project configuration key \"{key}\"")),
        None => Ok(config),
    }
}
