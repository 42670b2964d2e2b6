//! `backup list --source` and `backup verify`, by the built binary: what is here, what is in the archive, and what
//! is left of it.

mod support;

use support::archive::{Archived, json};
use support::masked;

/// The names of an instance's points in an answer, each with where it is.
fn places(answer: &str, instance: &str) -> Vec<(String, String)> {
    let answer = json(answer);
    let instances = answer["instances"].as_array().expect("instances");
    let of = instances.iter().find(|of| of["name"] == instance);
    let points = of.expect("it")["restore_points"].as_array().cloned();
    let shown = points.expect("points").into_iter().map(|point| {
        let alias = match &point["local"]["alias"] {
            serde_json::Value::Null => &point["archived"]["alias"],
            alias => alias,
        };
        (
            alias.as_str().unwrap_or_default().to_owned(),
            point["where"].to_string(),
        )
    });
    shown.collect()
}

#[test]
fn a_point_that_is_here_and_archived_is_listed_once_and_says_so() {
    let archived = Archived::new();
    for alias in ["one", "two", "three"] {
        archived.snapshot(alias, alias);
        if alias != "three" {
            archived.export(&[]);
        }
    }
    let first = archived.done_here(&["backup", "list", "--json"]);
    let first = json(&first);
    let first = first["instances"][0]["restore_points"].as_array().cloned();
    let first = first.expect("points").pop().expect("the oldest");
    let first = format!(
        "{}@{}",
        first["dataset"].as_str().expect("a dataset"),
        first["name"].as_str().expect("a name")
    );
    let first = terrarium_zfs::SnapshotName::new(&first).expect("a name");
    let engine = archived.scene.engine();
    engine.destroy_snapshots(&[first]).expect("destroyed");
    drop(engine);

    let all = ["backup", "list", "--source", "all"];
    let answer = archived.done_here(&[&all[..], &["--json"]].concat());
    let expected = [
        ("three", r#"["local"]"#),
        ("two", r#"["local","archive"]"#),
        ("one", r#"["archive"]"#),
    ];
    let owned = |(alias, places): &(&str, &str)| ((*alias).to_owned(), (*places).to_owned());
    let expected: Vec<_> = expected.iter().map(owned).collect();
    assert_eq!(places(&answer, "web"), expected);
    assert_eq!(places(&answer, "shop"), []);
    let point = &json(&answer)["instances"][0]["restore_points"][1]["archived"];
    assert_eq!(point["verdict"], "signed");
    assert!(point["stored_bytes"].as_u64().expect("a number") > 0);

    let text = archived.done_here(&[&all[..], &["--instance", "web"]].concat());
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert_eq!(lines[0], "web (stopped, demo/containers/web)");
    assert!(
        lines[2].contains("  here  ") && lines[2].ends_with("three"),
        "{text}"
    );
    assert!(lines[3].contains("  here, archive  "), "{text}");
    assert!(lines[3].contains("  signed  "), "{text}");
    assert!(
        lines[4].contains("  archive  ") && lines[4].ends_with("one, pinned"),
        "{text}"
    );
}

#[test]
fn what_the_archive_has_is_listed_on_a_machine_that_has_nothing() {
    let archived = Archived::new();
    archived.snapshot("one", "before");
    archived.export(&[]);
    for source in ["archive", "s3"] {
        let text = archived.done(&["backup", "list", "--source", source]);
        let shown = masked(&text);
        assert!(shown.starts_with("web (archived)\n"), "{text}");
        assert!(
            text.contains("  signed  ") && text.contains("  before, pinned\n"),
            "{text}"
        );
    }
    // Neither is the pool looked at if it is not asked for.
    let here = ["backup", "list", "--source", "archive", "--instance", "web"];
    let mut command = archived.command(&here);
    let said = archived
        .scene
        .said(command.env("TERRARIUM_POOL_FILE", "/nonexistent"));
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");

    let unknown = [
        "backup",
        "list",
        "--source",
        "archive",
        "--instance",
        "t/web",
    ];
    let said = archived.run(&unknown);
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{said:?}");
    assert!(said.err.contains("it has those of web"), "{said:?}");
    let mut nowhere = archived.command(&["backup", "list", "--source", "archive"]);
    let said = archived.scene.said(nowhere.env_remove("TERRARIUM_ARCHIVE"));
    assert_eq!(said.code, 2, "{said:?}");
}

#[test]
fn what_cannot_be_reached_keeps_nothing_else_back() {
    let archived = Archived::new();
    archived.snapshot("one", "before");
    archived.export(&[]);
    let all = ["backup", "list", "--source", "all"];
    // Without LXD.
    let said = archived.run(&all);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.out.contains("  before, pinned\n"), "{said:?}");
    assert!(said.err.starts_with("warning: "), "{said:?}");
    assert!(said.err.contains("/nonexistent/lxd.socket"), "{said:?}");

    // Without the archive: its disk is not mounted, or its bucket does not answer.
    for (place, code) in [("file:///nonexistent", 3), ("s3://nowhere/web", 4)] {
        let mut command = archived.command(&all);
        command
            .args(["--archive", place, "--s3-endpoint", "http://127.0.0.1:1"])
            .env("TERRARIUM_POOL_FILE", archived.scene.file())
            .env("AWS_ACCESS_KEY_ID", "nobody")
            .env("AWS_SECRET_ACCESS_KEY", "nothing");
        let said = archived.scene.said(command.arg("--json"));
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.starts_with("warning: "), "{said:?}");
        assert_eq!(
            places(&said.out, "web"),
            [("before".to_owned(), r#"["local"]"#.to_owned())]
        );
        let answer = json(&said.out);
        assert_eq!(answer["exit_code"], code, "{said:?}");
        assert_eq!(answer["archive"], serde_json::Value::Null);
        assert_eq!(answer["unreachable"].as_array().map(Vec::len), Some(1));
    }

    // Without both there is nothing to show.
    let said = archived.run(&[&all[..], &["--archive", "file:///nonexistent"]].concat());
    assert_eq!((said.code, said.out.as_str()), (4, ""), "{said:?}");
}

#[test]
fn a_manifest_that_cannot_be_read_is_told_beside_those_that_can() {
    let archived = Archived::new();
    for alias in ["one", "two"] {
        archived.snapshot(alias, alias);
        archived.export(&[]);
    }
    std::fs::write(archived.manifest_of("one"), "{").expect("written");
    for line in [
        &["--source", "archive"][..],
        &["--source", "archive", "--instance", "web"],
    ] {
        let said = archived.run(&[&["backup", "list"], line].concat());
        assert_eq!(said.code, 1, "{said:?}");
        assert!(
            said.out
                .contains("Manifests of the archive that cannot be read"),
            "{said:?}"
        );
        assert!(
            said.out.contains("  two, pinned\n") && !said.out.contains("  one, pinned\n"),
            "{said:?}"
        );
    }
}

#[test]
fn a_verification_says_of_each_instance_what_is_lost_and_what_is_not_archived_yet() {
    let archived = Archived::new();
    for alias in ["one", "two"] {
        archived.snapshot(alias, alias);
        archived.export(&[]);
    }
    let verify = ["backup", "verify"];
    let text = archived.done_here(&verify);
    assert!(
        text.starts_with("web: its newest point is archived: snap-"),
        "{text}"
    );
    assert!(
        text.contains("\n  2 of 2 archived points are whole\n"),
        "{text}"
    );
    assert!(
        text.contains("\ntenant/shop: nothing of it is archived\n"),
        "{text}"
    );
    let deep = ["--deep", "--identity", "identity.txt"];
    let text = archived.done_here(&[&verify[..], &deep].concat());
    assert!(
        text.ends_with("2 restore points read back, all whole\n"),
        "{text}"
    );

    archived.snapshot("three", "three");
    let text = archived.done_here(&[&verify[..], &["--instance", "web"]].concat());
    assert!(
        text.contains("web: its newest point is not archived: snap-"),
        "{text}"
    );
    let answer = json(&archived.done_here(&[&verify[..], &["--json"]].concat()));
    let web = &answer["instances"][0];
    assert_eq!(web["newest_local_is_archived"], false, "{answer}");
    assert_eq!((&web["here"], &web["whole"]), (&true.into(), &2.into()));

    // What nobody needs for `two` is not lost with `two`; what `two` builds upon is.
    let two = archived.parts_of("two").swap_remove(0);
    let one = archived.parts_of("one").swap_remove(0);
    for (part, lost) in [(two, 1), (one, 2)] {
        let whole = std::fs::read(&part).expect("read");
        std::fs::remove_file(&part).expect("removed");
        let said = archived.run(&[&verify[..], &["--instance", "web"]].concat());
        assert_eq!(said.code, 1, "{said:?}");
        assert_eq!(
            said.out.matches("cannot be restored: snap-").count(),
            lost,
            "{said:?}"
        );
        assert!(said.out.contains("damaged: v1/streams/"), "{said:?}");
        let note = "note: what is on this host is not known: cannot reach LXD";
        assert!(said.err.starts_with(note), "{said:?}");
        let said = archived.run(&[&verify[..], &["--json"]].concat());
        let answer = json(&said.out);
        assert_eq!(answer["exit_code"], 1);
        let web = &answer["instances"][0];
        assert_eq!(web["lost"].as_array().map(Vec::len), Some(lost), "{answer}");
        assert_eq!(web["here"], serde_json::Value::Null, "nobody knows");
        std::fs::write(&part, whole).expect("written");
    }
    let said = archived.here(&[&verify[..], &["--instance", "tenant/shop"]].concat());
    assert_eq!(said.code, 3, "{said:?}");
    let other = archived.run(&["archive", "keygen"]);
    std::fs::write(archived.path("other.txt"), other.out).expect("written");
    let said = archived.here(&[&verify[..], &["--deep", "--identity", "other.txt"]].concat());
    assert_eq!(said.code, 3, "{said:?}");
    let said = archived.here(&[&verify[..], &["--deep"]].concat());
    assert_eq!(said.code, 2, "{said:?}");
}

#[test]
fn an_archived_point_follows_its_lineage_when_the_instance_has_another_name_now() {
    let archived = Archived::new();
    archived.snapshot("one", "old");
    archived.export(&[]);
    let engine = archived.scene.engine();
    let (web, renamed) = (
        support::named("demo/containers/web"),
        support::named("demo/containers/www"),
    );
    engine.rename(&web, &renamed).expect("renamed");
    engine
        .create(&web, &terrarium_zfs::Properties::new())
        .expect("created");
    drop(engine);
    let list = ["backup", "list", "--source", "all"];
    let answer = archived.done_here(&[&list[..], &["--json"]].concat());
    let point = |alias: &str, places: &str| vec![(alias.to_owned(), places.to_owned())];
    let both = r#"["local","archive"]"#;
    assert_eq!(places(&answer, "www"), point("old", both));
    assert_eq!(places(&answer, "web"), [], "it only has the name");
    let text = archived.done_here(&[&list[..], &["--instance", "www"]].concat());
    assert!(text.contains("stored as one of web\n"), "{text}");

    // The new one begins a lineage of its own; the archive now has two of the name.
    archived.snapshot("two", "new");
    archived.export(&[]);
    let answer = archived.done_here(&[&list[..], &["--json"]].concat());
    assert_eq!(places(&answer, "www"), point("old", both));
    assert_eq!(places(&answer, "web"), point("new", both));
    let text = archived.done(&["backup", "list", "--source", "archive"]);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let heading = lines
        .iter()
        .position(|line| line.starts_with("of another history, lineage "));
    let (new, old) = lines.split_at(heading.expect("a heading"));
    assert!(
        new.iter().any(|line| line.ends_with("  new, pinned")),
        "{text}"
    );
    assert!(
        old.iter().any(|line| line.ends_with("  old, pinned")),
        "{text}"
    );
}
