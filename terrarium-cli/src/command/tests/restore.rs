use terrarium_zfs::{SnapshotName, UserProperties};

use super::scene;

const WEB: &str = "tank/containers/web";
const RESTORE: [&str; 5] = ["restore", "--instance", "web", "--at", "before upgrade"];

fn with<'a>(line: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [line, more].concat()
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let scene = scene().await;
    let asked_before = scene.fake.lxd().requests().len();
    let said = scene.run(&with(&RESTORE, &["--dry-run"])).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Plan: rewind web to snap-20261122-090000
      snap-20261122-090000 (before upgrade) was taken 2026-11-22 10:00:00 CET, 2h ago
      web runs and is stopped; if it does not shut down within 30s, nothing is changed
      web stays stopped afterwards, unless --start is given
      what is there now moves aside; for 24h it comes back by `terrariumctl backup undo --instance web`
      note: 2 newer restore points move aside, autosnap_2026-11-22_10:45:00_frequently the newest; they stay restorable

    Steps:
       1  make sure that tank/terrarium/staging and those above exist
            outside LXD's own tree
       2  clone tank/containers/web@snap-20261122-090000 as tank/terrarium/staging/20261122-110000-*
            the instance will continue from it; the intent is written with it
       3  save LXD's definitions for recovery and undo
            an undo rebuilds LXD's snapshot records from it
       4  check that tank/terrarium/staging/20261122-110000-* can be promoted
            better to find a busy snapshot now than when the instance is stopped
       5  make sure that tank/terrarium/aside/20261122-110000-* and those above exist
            what is there now moves below it
       6  stop web, within 30s
            its dataset must not be in use
       7  check that nobody has tank/containers/web mounted
            what is mounted elsewhere could still be written to
       8  take tank/containers/web@snap-20261122-110000
            an undo comes back to it
       9  rename tank/containers/web to tank/terrarium/aside/20261122-110000-*/web
            what is there now is kept
      10  rename tank/terrarium/staging/20261122-110000-* to tank/containers/web
            the clone takes its place
      11  promote tank/containers/web
            the history up to the point belongs to the instance again
      12  note that tank/containers/web@snap-20261122-090000 was used
            so that people see which points are of use
      13  remove the intent from tank/containers/web
            the rewind is complete

    This is a dry run: nothing was changed.
    ");
    assert_eq!(scene.note("web"), "after");
    let changes = ["PUT", "POST", "PATCH", "DELETE"];
    let requests = scene.fake.lxd().requests().split_off(asked_before);
    assert!(
        !requests
            .iter()
            .any(|request| changes.iter().any(|verb| request.starts_with(verb)))
    );
}

#[tokio::test]
async fn a_dry_run_as_json_is_the_plan() {
    let said = scene()
        .await
        .run(&with(&RESTORE, &["--dry-run", "--json"]))
        .await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&answer["version"], &answer["dry_run"]),
        (&1.into(), &true.into())
    );
    let steps = answer["plan"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["why"].is_string()));
    assert!(
        steps
            .iter()
            .any(|step| step["action"] == "promote" && step["clone"] == WEB)
    );
}

#[tokio::test]
async fn without_a_terminal_it_is_refused_unless_yes_is_given() {
    let scene = scene().await;
    let said = scene.run(&RESTORE).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    insta::assert_snapshot!(said.err, @r"
    error: this needs a confirmation, and there is no terminal to ask on; nothing was changed
    help: look at it with --dry-run, then give --yes
    ");
    assert_eq!(scene.note("web"), "after");

    let said = scene
        .run(&["restore", "--instance", "web", "--at", "nonsense"])
        .await;
    assert_eq!(said.code, 3);
    insta::assert_snapshot!(said.err, @r#"
    error: instance web: no restore point fits "nonsense"
    help: `terrariumctl backup list` shows them all
    "#);
}

#[tokio::test]
async fn with_yes_it_is_restored_and_says_what_to_do_next() {
    let scene = scene().await;
    let said = scene.run(&with(&RESTORE, &["--yes"])).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Restored web to snap-20261122-090000.
      snap-20261122-090000 (before upgrade) was taken 2026-11-22 10:00:00 CET, 2h ago
      note: 2 newer restore points move aside, autosnap_2026-11-22_10:45:00_frequently the newest; they stay restorable
    web is stopped. To start it:  lxc start web
    To undo this, until 2026-11-23 12:00:00 CET:  terrariumctl backup undo --instance web
    ");
    assert_eq!(scene.note("web"), "before");

    let said = scene
        .run(&["undo", "--instance", "web", "--yes", "--start"])
        .await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Undid the last restore of web: it is back at snap-20261122-110000.
      snap-20261122-110000 was taken 2026-11-22 12:00:00 CET, 0s ago
    web is running.
    To undo this, until 2026-11-23 12:00:00 CET:  terrariumctl backup undo --instance web
    ");
    assert_eq!(scene.note("web"), "after");
}

#[tokio::test]
async fn on_a_terminal_it_asks_and_shows_each_step() {
    let scene = scene().await;
    let said = scene
        .typing(
            "y\n",
            &with(&RESTORE, &["--start", "--force", "--timeout", "2m"]),
        )
        .await;
    assert_eq!(said.code, 0);
    insta::assert_snapshot!(said.err, @r"
    About to rewind web to snap-20261122-090000
      snap-20261122-090000 (before upgrade) was taken 2026-11-22 10:00:00 CET, 2h ago
      web runs and is stopped, by force if it does not shut down within 120s
      web is started afterwards
      what is there now moves aside; for 24h it comes back by `terrariumctl backup undo --instance web`
      note: 2 newer restore points move aside, autosnap_2026-11-22_10:45:00_frequently the newest; they stay restorable
    Go on? [y/N] Rewind web to snap-20261122-090000:
       1/14  make sure that tank/terrarium/staging and those above exist
       2/14  clone tank/containers/web@snap-20261122-090000 as tank/terrarium/staging/20261122-110000-*
       3/14  save LXD's definitions for recovery and undo
       4/14  check that tank/terrarium/staging/20261122-110000-* can be promoted
       5/14  make sure that tank/terrarium/aside/20261122-110000-* and those above exist
       6/14  stop web, by force after 120s
       7/14  check that nobody has tank/containers/web mounted
       8/14  take tank/containers/web@snap-20261122-110000
       9/14  rename tank/containers/web to tank/terrarium/aside/20261122-110000-*/web
      10/14  rename tank/terrarium/staging/20261122-110000-* to tank/containers/web
      11/14  promote tank/containers/web
      12/14  start web
      13/14  note that tank/containers/web@snap-20261122-090000 was used
      14/14  remove the intent from tank/containers/web
    ");
    assert!(said.out.contains("web is running.\n"), "{}", said.out);
}

#[tokio::test]
async fn whoever_does_not_say_yes_changes_nothing() {
    for answer in ["n\n", "\n", "", "yess\n"] {
        let scene = scene().await;
        let said = scene.typing(answer, &RESTORE).await;
        assert_eq!((said.code, said.out.as_str()), (3, ""), "{answer:?}");
        assert!(
            said.err
                .ends_with("error: not confirmed; nothing was changed\n"),
            "{}",
            said.err
        );
        assert_eq!(scene.note("web"), "after");
    }
}

#[tokio::test]
async fn what_changed_since_the_question_is_asked_again() {
    let scene = scene().await;
    let zfs = scene.fake.zfs().clone();
    let another = move || {
        let name = SnapshotName::new("tank/containers/web@another").unwrap();
        zfs.snapshot(&[(name, UserProperties::new())]).unwrap();
    };
    use terrarium_core::Zfs;
    let said = scene.typing_after("y\nn\n", another, &RESTORE).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    let (before, after) = said
        .err
        .split_once("Something has changed since you were asked.\n")
        .unwrap();
    assert!(
        before.contains("2 newer restore points move aside"),
        "{before}"
    );
    assert!(
        after.contains("3 newer restore points move aside"),
        "{after}"
    );
    assert_eq!(scene.note("web"), "after");
}

#[tokio::test]
async fn destroying_needs_a_whole_yes() {
    let scene = scene().await;
    scene
        .fake
        .zfs()
        .release("tank/containers/web@manual", "keep");
    let line = with(&RESTORE, &["--destroy-newer"]);
    let said = scene.typing("y\n", &line).await;
    assert_eq!(said.code, 3);
    insta::assert_snapshot!(said.err, @r"
    About to roll web back to snap-20261122-090000, destroying what is newer
      snap-20261122-090000 (before upgrade) was taken 2026-11-22 10:00:00 CET, 2h ago
      web runs and is stopped; if it does not shut down within 30s, nothing is changed
      web stays stopped afterwards, unless --start is given
      warning: tank/containers/web@manual will be destroyed
      warning: tank/containers/web@autosnap_2026-11-22_10:45:00_frequently will be destroyed
      warning: what was written since the point will be lost; this cannot be undone
    This cannot be undone. Type yes to go on: error: not confirmed; nothing was changed
    ");

    let said = scene.typing("yes\n", &line).await;
    assert_eq!(said.code, 0);
    insta::assert_snapshot!(said.out, @r"
    Rolled web back to snap-20261122-090000.
      snap-20261122-090000 (before upgrade) was taken 2026-11-22 10:00:00 CET, 2h ago
      warning: tank/containers/web@manual will be destroyed
      warning: tank/containers/web@autosnap_2026-11-22_10:45:00_frequently will be destroyed
      warning: what was written since the point will be lost; this cannot be undone
    web is stopped. To start it:  lxc start web
    ");
    assert_eq!(scene.note("web"), "before");
}

#[tokio::test]
async fn as_new_asks_nothing_and_says_what_is_left_out() {
    let scene = scene().await;
    let said = scene
        .run(&with(
            &RESTORE,
            &["--as-new", "copy", "--target-project", "tenant"],
        ))
        .await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r"
    Restored snap-20261122-090000 of web as tenant/copy.
      snap-20261122-090000 (before upgrade) was taken 2026-11-22 10:00:00 CET, 2h ago
      not carried over, it identifies the source: volatile.cloud-init.instance-id, volatile.eth0.hwaddr, volatile.idmap.base, volatile.idmap.current, volatile.idmap.next, volatile.last_state.idmap, volatile.last_state.power, volatile.uuid
    tenant/copy is stopped. To start it:  lxc start copy --project tenant
    ");
    assert_eq!(scene.note("tenant/copy"), "before");
    assert_eq!(scene.note("web"), "after");

    let said = scene
        .run(&with(
            &RESTORE,
            &["--as-new", "copy", "--target-project", "tenant"],
        ))
        .await;
    assert_eq!(said.code, 3);
    assert_eq!(said.err, "error: an instance tenant/copy exists already\n");
}

#[tokio::test]
async fn a_selector_that_fits_several_lists_them_one_a_line() {
    let said = scene()
        .await
        .run(&["restore", "--instance", "web", "--at", "autosnap", "--yes"])
        .await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    let lines: Vec<_> = said.err.lines().collect();
    assert_eq!(
        lines[0],
        "error: instance web: \"autosnap\" fits 2 restore points"
    );
    assert!(
        lines[1].starts_with("  tank/containers/web@autosnap_2026-11-21_10:00:00_hourly (guid ")
    );
    assert!(
        lines[2]
            .starts_with("  tank/containers/web@autosnap_2026-11-22_10:45:00_frequently (guid ")
    );
    assert_eq!(lines[3], "help: choose one by its guid, or as dataset@name");
}

#[tokio::test]
async fn with_verbose_every_step_is_shown_with_what_became_of_it() {
    let said = scene()
        .await
        .run(&with(&RESTORE, &["--yes", "--verbose"]))
        .await;
    assert_eq!(said.code, 0);
    assert!(
        said.err
            .starts_with("Rewind web to snap-20261122-090000:\n   1  "),
        "{}",
        said.err
    );
    assert!(
        said.err
            .lines()
            .skip(1)
            .all(|line| line.contains(": done") || line.contains(": skipped, "))
    );
}

#[tokio::test]
async fn nothing_to_undo_is_3() {
    let said = scene()
        .await
        .run(&["undo", "--instance", "web", "--yes"])
        .await;
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    insta::assert_snapshot!(said.err, @r"
    error: instance web has no rewind that can be undone
    help: a rewind can be undone until the datasets it moved aside are purged
    ");
}
