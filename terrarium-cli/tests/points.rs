//! The built binary on a pool file: restore points are edited and deleted on real OpenZFS.

mod support;

use serde_json::Value;
use support::{Scene, masked};

fn snapshot<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["backup", "snapshot", "--instance", "web"], more].concat()
}

fn points(scene: &Scene) -> Vec<Value> {
    let listed = scene.done(&["backup", "list", "--instance", "web", "--json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let points = &listed["instances"][0]["restore_points"];
    points.as_array().expect("a list").clone()
}

#[test]
fn a_point_is_renamed_found_by_it_and_deleted() {
    let scene = Scene::new();
    scene.done(&snapshot(&["--alias", "first"]));
    scene.write("two");
    scene.done(&snapshot(&["--alias", "second"]));
    let edit = ["backup", "edit", "--instance", "web", "--at", "first"];
    let mut said = scene.done(&[&edit[..], &["--alias", "release ü", "--expires", "30d"]].concat());
    let restored = scene.done(&[
        "backup",
        "restore",
        "--instance",
        "web",
        "--at",
        "release ü",
        "--as-new",
        "then",
    ]);
    assert!(restored.contains("as then"), "{restored}");
    assert_eq!(scene.note("then"), "one");

    let delete = |at| ["backup", "delete", "--instance", "web", "--yes", "--at", at];
    let refused = scene.run(&delete("release ü"));
    assert_eq!((refused.code, refused.out.as_str()), (3, ""));
    said += &refused.err;
    said += &scene.done(&delete("second"));
    insta::assert_snapshot!(masked(&said), @r"
    Changed snap-N-N of web, alias release ü, expires N-N-N N:N:N UTC
    error: cannot delete demo/containers/web@snap-N-N: it has clones: demo/containers/then
    help: what was made from it needs it; delete that first
    Deleted snap-N-N (second) of web, taken N-N-N N:N:N UTC, N B
    At least N B are free again.
      warning: snap-N-N is the newest restore point of web; after that it is snap-N-N
    ");
    let left = points(&scene);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["alias"], "release ü");
    assert!(left[0]["expires_at"].is_string());
}

#[test]
fn a_held_point_is_not_deleted_and_the_hold_is_named() {
    let scene = Scene::new();
    scene.done(&snapshot(&["--alias", "first"]));
    let point = points(&scene).remove(0);
    let name = format!(
        "demo/containers/web@{}",
        point["name"].as_str().expect("a name")
    );
    let name = terrarium_zfs::SnapshotName::new(&name).expect("a name");
    let held = scene.engine().hold(&[(name, "nightly copy".to_owned())]);
    held.expect("held");
    let said = scene.run(&[
        "backup",
        "delete",
        "--instance",
        "web",
        "--at",
        "first",
        "--yes",
    ]);
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    insta::assert_snapshot!(masked(&said.err), @r"
    error: cannot delete demo/containers/web@snap-N-N: it is held: nightly copy
    help: whoever holds it needs it; when it is not needed any more: `zfs release TAG 'demo/containers/web@snap-N-N'`
    ");
    assert_eq!(points(&scene).len(), 1);
}

#[test]
fn adoption_stands_on_the_instance_and_is_taken_back() {
    let scene = Scene::new();
    let adopt = |more: &[&'static str]| {
        scene.done(&[&["adopt", "sanoid", "--instance", "web", "--yes"], more].concat())
    };
    let listed = || {
        let name = terrarium_zfs::DatasetName::new("demo/containers/web").expect("a name");
        let listing = scene.engine().list(&name, &[]).expect("a listing");
        listing.datasets[0].local.get("terrarium:adopted").cloned()
    };
    adopt(&[]);
    assert_eq!(listed().as_deref(), Some("sanoid"));
    adopt(&["--undo"]);
    assert_eq!(listed(), None);
}

#[test]
fn what_has_expired_is_pruned_and_the_space_is_zfss_own_answer() {
    let scene = Scene::new();
    let name = |point: &Value| {
        let name = format!(
            "demo/containers/web@{}",
            point["name"].as_str().expect("a name")
        );
        terrarium_zfs::SnapshotName::new(&name).expect("a name")
    };
    for alias in ["one", "two", "three"] {
        scene.done(&snapshot(&["--alias", alias]));
        scene.write(alias);
    }
    let past = "2026-01-01T00:00:00Z".to_owned();
    let expired = std::collections::BTreeMap::from([("terrarium:expires".to_owned(), Some(past))]);
    {
        let all = points(&scene);
        let engine = scene.engine();
        for point in &all[1..] {
            let set = engine.set_user_properties(name(point).as_str(), &expired);
            set.expect("set");
        }
    }
    let planned = scene.done(&["backup", "prune", "--dry-run", "--json"]);
    let planned: Value = serde_json::from_str(&planned).expect("JSON");
    assert_eq!(planned["frees_exactly"], true);
    assert!(
        planned["frees_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 0),
        "{planned}"
    );
    assert_eq!(points(&scene).len(), 3);
    let said = scene.done(&["backup", "prune", "--yes"]);
    insta::assert_snapshot!(masked(&said), @r"
    web: frequently=N,hourly=N,daily=N,monthly=N (the default)
      NAME AGE KIND SIZE VERDICT
      snap-N-N Ns on-demand N.N KiB removed: expired N-N-NTN:N:NZ
      snap-N-N Ns on-demand N.N KiB removed: expired N-N-NTN:N:NZ
    Removed N of N restore points, which frees N.N KiB.
    ");
    let left = points(&scene);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["alias"], "three");
}
