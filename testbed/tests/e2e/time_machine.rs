//! What the tests of restores are written with: the commands, and what is there afterwards.

use testbed::{Finished, Instance, lxc, run, terrariumctl, zfs};

/// `terrariumctl backup restore` of an instance, confirmed.
pub(crate) fn restore(instance: &Instance, more: &[&str]) -> Finished {
    let command = ["backup", "restore", "--yes", "--instance", instance.name()];
    terrariumctl([&command[..], more].concat())
}

/// `terrariumctl backup undo` of an instance, confirmed.
pub(crate) fn undo(instance: &Instance, more: &[&str]) -> Finished {
    let command = ["backup", "undo", "--yes", "--instance", instance.name()];
    terrariumctl([&command[..], more].concat())
}

/// Takes an on-demand snapshot and gives its name.
pub(crate) fn snapshot(instance: &Instance, more: &[&str]) -> String {
    let before = snapshots(&instance.dataset());
    let command = ["backup", "snapshot", "--instance", instance.name()];
    terrariumctl([&command[..], more].concat()).succeeds();
    let mut new = snapshots(&instance.dataset());
    new.retain(|name| !before.contains(name));
    assert_eq!(new.len(), 1, "one snapshot is taken: {new:?}");
    new.remove(0)
}

/// The names of a dataset's snapshots, oldest first.
pub(crate) fn snapshots(dataset: &str) -> Vec<String> {
    zfs([
        "list",
        "-H",
        "-o",
        "name",
        "-s",
        "createtxg",
        "-t",
        "snapshot",
        "-d",
        "1",
        dataset,
    ])
    .lines()
    .filter_map(|line| Some(line.split_once('@')?.1.to_owned()))
    .collect()
}

/// LXD's own snapshots of an instance, as LXD has them on record, sorted.
pub(crate) fn records(instance: &Instance) -> Vec<String> {
    let answer = lxc([
        "query",
        &format!("/1.0/instances/{}/snapshots", instance.name()),
    ]);
    let mut names: Vec<String> = answer
        .split('"')
        .filter_map(|part| Some(part.split_once("/snapshots/")?.1.to_owned()))
        .collect();
    names.sort();
    names
}

/// The value of a property of a dataset or snapshot.
pub(crate) fn property(object: &str, name: &str) -> String {
    zfs(["get", "-Hp", "-o", "value", name, object])
        .trim_end()
        .to_owned()
}

/// All datasets and snapshots of the pool with their guids: equal before and after if nothing was changed.
pub(crate) fn tree() -> String {
    zfs([
        "list",
        "-Hp",
        "-t",
        "all",
        "-r",
        "-o",
        "name,guid,origin",
        "tank/containers",
        "tank/terrarium",
    ])
}

/// Makes sure that `tank/terrarium` exists, for [`tree`] before the first restore.
pub(crate) fn prepare_tree() {
    run("sh")
        .args(["-c", "zfs list tank/terrarium || zfs create -o canmount=off -o mountpoint=none tank/terrarium"])
        .finish()
        .succeeds();
}

/// The datasets that the rewinds of an instance have moved aside or left in staging.
pub(crate) fn ours(instance: &Instance) -> Vec<String> {
    let end = format!("/{}", instance.name());
    zfs(["list", "-H", "-o", "name", "-r", "tank"])
        .lines()
        .filter(|name| name.starts_with("tank/terrarium/") && name.ends_with(&end))
        .map(str::to_owned)
        .collect()
}
