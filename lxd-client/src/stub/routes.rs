//! Which request goes where, and what can be answered by looking.

use serde_json::{Value, json};

use super::server::{Answer, Ask, Lxd, Reply, refuse};
use super::world::{World, etag, listing, state_of};
use super::{exec, instances, operations, projects, snapshots, state};
use crate::wire::Server;

pub(super) async fn answer(lxd: &Lxd, ask: Ask) -> Answer {
    let segments: Vec<&str> = ask.segments.iter().map(String::as_str).collect();
    let begins = !matches!(ask.method.as_str(), "GET");
    if !begins {
        tokio::time::sleep(ask.trouble.delay).await;
    }
    match (ask.method.as_str(), segments.as_slice()) {
        ("GET", ["operations", id, "wait"]) => operations::wait(lxd, &ask, id).await,
        ("GET", ["operations"]) => operations::list(lxd, &ask),
        ("GET", ["operations", id]) => operations::get(lxd, id),
        ("DELETE", ["operations", id]) => operations::cancel(lxd, id),
        ("GET", ["instances", name, "logs", file]) => exec::read_log(lxd, name, file),
        ("DELETE", ["instances", name, "logs", file]) => exec::delete_log(lxd, name, file),
        ("GET", path) => look(&lxd.world(), &ask, path),
        ("POST", ["projects"]) => projects::create(lxd, &ask),
        ("PUT", ["projects", name]) => projects::update(lxd, &ask, name),
        ("DELETE", ["projects", name]) => projects::delete(lxd, name),
        ("POST", ["instances"]) => instances::create(lxd, &ask),
        ("PUT", ["instances", name]) => instances::update(lxd, &ask, name),
        ("PATCH", ["instances", name]) => instances::patch(lxd, &ask, name).await,
        ("POST", ["instances", name]) => instances::rename(lxd, &ask, name),
        ("DELETE", ["instances", name]) => instances::delete(lxd, &ask, name),
        ("PUT", ["instances", name, "state"]) => state::change(lxd, &ask, name),
        ("POST", ["instances", name, "exec"]) => exec::run(lxd, &ask, name),
        ("POST", ["instances", name, "snapshots"]) => snapshots::create(lxd, &ask, name),
        ("PUT" | "PATCH", ["instances", name, "snapshots", snapshot]) => {
            snapshots::update(lxd, &ask, name, snapshot)
        }
        ("DELETE", ["instances", name, "snapshots", snapshot]) => {
            snapshots::delete(lxd, &ask, name, snapshot)
        }
        _ => refuse(501, "the stub does not do this"),
    }
}

/// Requests that only read the database.
fn look(world: &World, ask: &Ask, path: &[&str]) -> Answer {
    let recursive = ask.recursion() > 0;
    let project = ask.project();
    let found = |value: Option<Value>, what: &str| match value {
        Some(value) => Ok(Reply::Sync(value)),
        None => refuse(404, format!("{what} not found")),
    };
    match path {
        [] => Ok(Reply::Sync(json!(server(project)))),
        ["projects"] => {
            let all = world.projects.iter();
            let all = all.map(|(name, project)| (format!("/1.0/projects/{name}"), project));
            Ok(Reply::Sync(listing(recursive, all)))
        }
        ["projects", name] => match world.projects.get(*name) {
            Some(project) => Ok(Reply::Tagged(json!(project), projects::etag(project))),
            None => refuse(404, "Project not found"),
        },
        ["profiles"] => {
            let home = world.profile_home(project);
            let own = world
                .profiles
                .iter()
                .filter(|((place, _), _)| place == home);
            let own = own.map(|((_, name), profile)| (format!("/1.0/profiles/{name}"), profile));
            Ok(Reply::Sync(listing(recursive, own)))
        }
        ["profiles", name] => found(world.profile(project, name).map(|it| json!(it)), "Profile"),
        ["storage-pools"] => {
            let all = world.pools.iter();
            let all = all.map(|(name, pool)| (format!("/1.0/storage-pools/{name}"), pool));
            Ok(Reply::Sync(listing(recursive, all)))
        }
        ["storage-pools", name] => {
            found(world.pools.get(*name).map(|it| json!(it)), "Storage pool")
        }
        ["storage-pools", pool, "volumes"] if world.pools.contains_key(*pool) => {
            let all = world.volumes(project, pool).into_iter().map(|volume| {
                let (kind, name) = (&volume.r#type, &volume.name);
                let address = format!("/1.0/storage-pools/{pool}/volumes/{kind}/{name}");
                (address, volume)
            });
            Ok(Reply::Sync(listing(recursive, all)))
        }
        ["storage-pools", pool, "volumes", kind, name] => {
            let mut volumes = world.volumes(project, pool).into_iter();
            let volume = volumes.find(|volume| volume.r#type == *kind && volume.name == *name);
            found(volume.map(|it| json!(it)), "Storage volume")
        }
        ["instances"] => Ok(Reply::Sync(instance_list(world, ask))),
        ["instances", name, rest @ ..] => one_instance(world, ask, name, rest),
        _ => refuse(404, "not found"),
    }
}

fn instance_list(world: &World, ask: &Ask) -> Value {
    let everywhere = ask
        .query
        .get("all-projects")
        .is_some_and(|value| value == "true");
    let here = world.instances.values();
    let here = here.filter(|instance| everywhere || instance.project == ask.project());
    match ask.recursion() {
        0 => here
            .map(|instance| json!(address(&instance.project, &instance.name)))
            .collect(),
        1 => here.map(|instance| json!(world.render(instance))).collect(),
        _ => here
            .map(|instance| json!(world.render_full(instance)))
            .collect(),
    }
}

fn one_instance(world: &World, ask: &Ask, name: &str, rest: &[&str]) -> Answer {
    let Some(instance) = world.guest(ask.project(), name) else {
        return refuse(404, "Instance not found");
    };
    let snapshots = instance.snapshots.iter().flatten();
    match rest {
        [] => {
            let shown = match ask.recursion() {
                0 => world.render(instance),
                _ => world.render_full(instance),
            };
            Ok(Reply::Tagged(json!(shown), etag(instance)))
        }
        ["state"] => Ok(Reply::Sync(json!(state_of(instance)))),
        ["snapshots"] => {
            let all =
                snapshots.map(|it| (format!("/1.0/instances/{name}/snapshots/{}", it.name), it));
            Ok(Reply::Sync(listing(ask.recursion() > 0, all)))
        }
        ["snapshots", wanted] => match snapshots.clone().find(|it| it.name == *wanted) {
            Some(snapshot) => Ok(Reply::Sync(json!(snapshot))),
            None => refuse(404, snapshots::missing(ask, name, wanted)),
        },
        _ => refuse(404, "not found"),
    }
}

fn address(project: &str, name: &str) -> String {
    match project {
        "default" => format!("/1.0/instances/{name}"),
        _ => format!("/1.0/instances/{name}?project={project}"),
    }
}

fn server(project: &str) -> Server {
    let extensions = [
        "etag",
        "patch",
        "projects",
        "snapshot_expiry",
        "instances",
        "container_exec_recording",
        "instance_all_projects",
        "instance_get_full",
    ];
    let mut server = Server {
        api_extensions: extensions.map(str::to_owned).to_vec(),
        api_status: "stable".to_owned(),
        api_version: "1.0".to_owned(),
        auth: "trusted".to_owned(),
        ..Server::default()
    };
    let environment = &mut server.environment;
    "lxd".clone_into(&mut environment.server);
    "5.0.2".clone_into(&mut environment.server_version);
    "stub".clone_into(&mut environment.server_name);
    "Linux".clone_into(&mut environment.kernel);
    "zfs".clone_into(&mut environment.storage);
    project.clone_into(&mut environment.project);
    server
}
