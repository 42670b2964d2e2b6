//! Every operation is cut off before every step, and every recovery before every step of its own; and every step
//! fails once. Afterwards the host is as it was before the operation, or as the operation leaves it: never between.

mod support;

use support::{Scene, Stopping, What, web};
use terrarium_core::{Begun, Error, Silent};

/// A history to restore from: contents, LXD's snapshots with configs of their own, an alias.
async fn history(running: bool) -> Scene {
    let scene = Scene::new(running).await;
    scene.foreign("first");
    scene.set_config("user.note", "with x1").await;
    scene.write("one");
    scene.lxd_snapshot("x1").await;
    scene.set_config("user.note", "with x2").await;
    scene.write("two");
    scene.lxd_snapshot("x2").await;
    scene.set_config("user.note", "now").await;
    scene.write("three");
    scene.foreign("last");
    scene.write("head");
    scene
}

/// A way to a host on which something is going to be done, and what that is.
struct Case {
    name: &'static str,
    running: bool,
    before: &'static [What],
    what: What,
}

const CASES: &[Case] = &[
    Case {
        name: "a running instance is rewound past LXD's snapshots and started",
        running: true,
        before: &[],
        what: What::Restore {
            at: "x1",
            start: true,
        },
    },
    Case {
        name: "a stopped instance is rewound to its oldest point",
        running: false,
        before: &[],
        what: What::Restore {
            at: "first",
            start: false,
        },
    },
    Case {
        name: "a running instance is rewound to its newest point",
        running: true,
        before: &[],
        what: What::Restore {
            at: "last",
            start: false,
        },
    },
    Case {
        name: "an instance is restored to a point that was moved aside",
        running: true,
        before: &[What::Restore {
            at: "first",
            start: true,
        }],
        what: What::Restore {
            at: "x2",
            start: true,
        },
    },
    Case {
        name: "an instance is restored to a point two rewinds away",
        running: false,
        before: &[
            What::Restore {
                at: "x2",
                start: false,
            },
            What::Restore {
                at: "first",
                start: false,
            },
        ],
        what: What::Restore {
            at: "last",
            start: false,
        },
    },
    Case {
        name: "a rewind is undone",
        running: true,
        before: &[What::Restore {
            at: "first",
            start: true,
        }],
        what: What::Undo { start: true },
    },
    Case {
        name: "an undo is undone",
        running: false,
        before: &[
            What::Restore {
                at: "x1",
                start: false,
            },
            What::Undo { start: false },
        ],
        what: What::Undo { start: false },
    },
    Case {
        name: "an instance is rolled back",
        running: true,
        before: &[],
        what: What::DestroyNewer {
            at: "x1",
            start: true,
        },
    },
    Case {
        name: "a point is restored as new and started",
        running: true,
        before: &[],
        what: What::AsNew {
            at: "x1",
            start: true,
        },
    },
    Case {
        name: "a point is copied in full and started",
        running: true,
        before: &[],
        what: What::Copy {
            at: "x1",
            start: true,
        },
    },
    Case {
        name: "a point that was moved aside is copied in full",
        running: false,
        before: &[What::Restore {
            at: "first",
            start: false,
        }],
        what: What::Copy {
            at: "x2",
            start: false,
        },
    },
    Case {
        name: "a point that was moved aside is restored as new",
        running: false,
        before: &[What::Restore {
            at: "first",
            start: false,
        }],
        what: What::AsNew {
            at: "x2",
            start: false,
        },
    },
    Case {
        name: "a running instance is destroyed",
        running: true,
        before: &[],
        what: What::Destroy,
    },
    Case {
        name: "a stopped instance that was rewound is destroyed",
        running: false,
        before: &[What::Restore {
            at: "x1",
            start: false,
        }],
        what: What::Destroy,
    },
    Case {
        name: "a destroyed instance comes back and runs",
        running: true,
        before: &[What::Destroy],
        what: What::Resume { start: true },
    },
    Case {
        name: "a destroyed instance that was rewound comes back",
        running: false,
        before: &[
            What::Restore {
                at: "x1",
                start: false,
            },
            What::Destroy,
        ],
        what: What::Resume { start: true },
    },
];

impl Case {
    async fn scene(&self) -> Scene {
        let scene = history(self.running).await;
        for what in self.before {
            let report = scene.run(what).await;
            assert!(report.is_complete(), "{}: {report:#?}", self.name);
        }
        scene
    }

    /// The pictures of the host before and after, and the number of steps between.
    async fn ends(&self) -> (String, String, usize) {
        let scene = self.scene().await;
        let before = scene.picture();
        let report = scene.run(&self.what).await;
        assert!(report.is_complete(), "{}: {report:#?}", self.name);
        (before, scene.picture(), report.steps.len())
    }

    /// Does it and crashes before step `index`.
    async fn crash(&self, scene: &Scene, index: usize) {
        let session = scene.begin().await;
        let plan = self
            .what
            .plan(&session)
            .await
            .expect("a plan")
            .expect("nothing was recovered");
        let report = session.execute(&plan, &Stopping::crash_before(index)).await;
        assert!(
            matches!(report.error, Some(Error::Fault { .. })),
            "{report:#?}"
        );
    }
}

fn assert_either(picture: &str, ends: &(String, String, usize), when: &str) {
    let (before, after, _) = ends;
    assert!(
        picture == before || picture == after,
        "{when}:\n{picture}\n\nis neither before:\n{before}\n\nnor after:\n{after}"
    );
}

#[tokio::test]
async fn a_crash_before_any_step_leaves_what_the_next_session_finishes_or_takes_back() {
    for case in CASES {
        let ends = case.ends().await;
        assert_ne!(ends.0, ends.1, "{}", case.name);
        let (mut finished, mut taken_back) = (0, 0);
        for index in 0..ends.2 {
            let scene = case.scene().await;
            case.crash(&scene, index).await;
            drop(scene.begin().await);
            let picture = scene.picture();
            assert_either(
                &picture,
                &ends,
                &format!("{}, crashed before step {index}", case.name),
            );
            *(if picture == ends.1 {
                &mut finished
            } else {
                &mut taken_back
            }) += 1;
        }
        assert!(
            finished > 0 && taken_back > 0,
            "{}: {finished} finished, {taken_back} taken back",
            case.name
        );
    }
}

#[tokio::test]
async fn a_crash_before_any_step_of_a_recovery_is_recovered_from_too() {
    for case in CASES {
        let ends = case.ends().await;
        for index in 1..ends.2 {
            for second in 0.. {
                let scene = case.scene().await;
                case.crash(&scene, index).await;
                let stopping = Stopping::crash_before(second);
                let begun = scene
                    .host
                    .begin(&[web()], "test", scene.now(), &stopping)
                    .await
                    .unwrap();
                let Begun::Stuck(report) = begun else { break };
                assert!(
                    matches!(report.error, Some(Error::Fault { .. })),
                    "{report:#?}"
                );
                drop(scene.begin().await);
                let when = format!(
                    "{}, crashed before step {index} and {second} of the recovery",
                    case.name
                );
                assert_either(&scene.picture(), &ends, &when);
            }
        }
    }
}

#[tokio::test]
async fn a_step_that_fails_is_put_back_at_once_unless_the_goal_was_reached() {
    for case in CASES {
        let ends = case.ends().await;
        for index in 0..ends.2 {
            let scene = case.scene().await;
            let session = scene.begin().await;
            let plan = case.what.plan(&session).await.unwrap().unwrap();
            let report = session.execute(&plan, &Stopping::fail_at(index)).await;
            let when = format!(
                "{}, step {index} ({}) failed",
                case.name, plan.steps[index].action
            );
            assert!(report.class().is_some(), "{when}");
            if report.is_effective() {
                drop(session);
                drop(scene.begin().await);
                assert_eq!(
                    scene.picture(),
                    ends.1,
                    "{when}: the next session tidies up"
                );
            } else {
                let rolled_back = matches!(case.what, What::DestroyNewer { .. })
                    && plan.steps[..index]
                        .iter()
                        .any(|step| step.action.name() == "rollback");
                let expected = if rolled_back { &ends.1 } else { &ends.0 };
                assert_eq!(&scene.picture(), expected, "{when}: {report:#?}");
            }
        }
    }
}

#[tokio::test]
async fn the_command_that_was_cut_off_can_simply_be_given_again() {
    for case in CASES {
        let ends = case.ends().await;
        for index in 0..ends.2 {
            let scene = case.scene().await;
            case.crash(&scene, index).await;
            let session = scene.begin().await;
            let plan = case.what.plan(&session).await.unwrap();
            if let Some(plan) = plan {
                let report = session.execute(&plan, &Silent).await;
                assert!(report.is_complete(), "{}, {index}: {report:#?}", case.name);
            }
            assert_eq!(
                scene.picture(),
                ends.1,
                "{}, crashed before step {index}, then again",
                case.name
            );
        }
    }
}

/// Another map than the one the instance was made with.
const OTHER_MAP: &str =
    r#"[{"Isuid":true,"Isgid":true,"Hostid":7000000,"Nsid":0,"Maprange":65536}]"#;

/// How far LXD has come to know that an instance is to have other ids from now on.
#[derive(Clone, Copy, Debug)]
enum OtherIds {
    /// With its next start.
    Next,
    /// It was started with them: they are not those of its earlier points.
    Since,
}

impl Case {
    async fn scene_with(&self, ids: OtherIds) -> Scene {
        // It ran before its first point: what never ran has no map that could be known.
        let scene = history(true).await;
        scene.set_config("volatile.idmap.next", OTHER_MAP).await;
        if matches!(ids, OtherIds::Since) {
            scene.reboot().await;
            scene.start(&web()).await;
        }
        if !self.running {
            scene.reboot().await;
        }
        for what in self.before {
            let report = scene.run(what).await;
            assert!(report.is_complete(), "{}: {report:#?}", self.name);
        }
        scene
    }
}

/// LXD shifts the files at a start, and then the map that was right before is wrong.
#[tokio::test]
async fn the_files_keep_their_owners_if_the_host_goes_down_after_any_step() {
    for case in CASES {
        for ids in [OtherIds::Next, OtherIds::Since] {
            let scene = case.scene_with(ids).await;
            let steps = scene.run(&case.what).await.steps.len();
            scene.owners_are_right(case.name).await;
            for index in 0..steps {
                let when = format!("{}, {ids:?}, crashed before step {index}", case.name);
                let scene = case.scene_with(ids).await;
                case.crash(&scene, index).await;
                scene.reboot().await;
                drop(scene.begin().await);
                scene.owners_are_right(&when).await;
            }
        }
    }
}

#[tokio::test]
async fn the_files_keep_their_owners_if_any_step_fails() {
    for case in CASES {
        for ids in [OtherIds::Next, OtherIds::Since] {
            let scene = case.scene_with(ids).await;
            let steps = scene.run(&case.what).await.steps.len();
            for index in 0..steps {
                let when = format!("{}, {ids:?}, step {index} failed", case.name);
                let scene = case.scene_with(ids).await;
                let session = scene.begin().await;
                let plan = case.what.plan(&session).await.unwrap().unwrap();
                session.execute(&plan, &Stopping::fail_at(index)).await;
                drop(session);
                drop(scene.begin().await);
                scene.owners_are_right(&when).await;
            }
        }
    }
}
