//! The commands on a host in memory: what they do, what they say, and their exit codes.

mod failures;
mod graveyard;
mod guard;
mod list;
mod points;
mod prune;
mod restore;
mod run;
mod snapshot;

use crate::testing::Scene;

/// `web` with a history, and `shop` in another project.
async fn scene() -> Scene {
    let scene = Scene::new().await;
    let web = scene.fake.instance("web").file("note", "before");
    web.running(true).create().await;
    scene.fake.add_project("tenant");
    scene.fake.instance("tenant/shop").create().await;
    scene.snapshot(
        "tank/containers/web@autosnap_2026-11-21_10:00:00_hourly",
        "2026-11-21T10:00:02Z",
        &[],
    );
    scene.snapshot(
        "tank/containers/web@snap-20261122-090000",
        "2026-11-22T09:00:00Z",
        &[
            ("terrarium:kind", "on-demand"),
            ("terrarium:alias", "before upgrade"),
            ("terrarium:expires", "2026-12-22T11:00:00Z"),
        ],
    );
    scene.fake.write("web", "note", "after");
    scene.snapshot("tank/containers/web@manual", "2026-11-22T10:00:00Z", &[]);
    scene.fake.zfs().hold("tank/containers/web@manual", "keep");
    scene.snapshot(
        "tank/containers/web@autosnap_2026-11-22_10:45:00_frequently",
        "2026-11-22T10:45:03Z",
        &[("terrarium:kind", "scheduled")],
    );
    scene
}
