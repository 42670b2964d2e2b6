//! `terrariumctl set s3`, with an LXD on a socket and a server of S3's protocol in this process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use hyper::Method;
use lxd_client::stub::{NoStorage, Stub};
use server::{Reaction, Server, Traits};
use support::{Said, terrariumctl};

#[path = "../../terrarium-s3/tests/support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "no test uses all of it")]
mod server;
mod support;

/// The server's bucket.
const BUCKET: &str = "archive";
const SECRET: &str = "hunter2-do-not-show";

struct Scene {
    runtime: tokio::runtime::Runtime,
    stub: Stub,
    server: Server,
    folder: tempfile::TempDir,
}

impl Scene {
    fn with(traits: Traits) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let stub = runtime.block_on(Stub::start(Arc::new(NoStorage)));
        let server = runtime.block_on(Server::with(traits));
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).expect("written");
        Self {
            runtime,
            stub,
            server,
            folder,
        }
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = terrariumctl();
        command.env_clear().args(line).env("TZ", "UTC");
        command.env("LXD_SOCKET", self.stub.socket());
        command.env("HOME", self.folder.path());
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("TERRARIUM_CONFIG", self.folder.path().join("config.yaml"));
        command.env("TERRARIUM_STATE_DIR", self.folder.path().join("state"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// What a command says, which is never the secret.
    fn run(&self, line: &[&str]) -> Said {
        let output = self.command(line).output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let said = Said {
            code: output.status.code().expect("no signal"),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        let shown = format!("{said:?}");
        assert!(!shown.contains(SECRET), "the secret is shown");
        said
    }

    fn set(&self, more: &[&str]) -> Said {
        let endpoint = self.server.endpoint.clone();
        let line = ["set", "s3", "--bucket", BUCKET, "--endpoint", &endpoint];
        let keys = ["--access-key", "AKID", "--secret-key-file", "secret"];
        let region = ["--region", "eu-central-1"];
        self.run(&[&line, &keys[..], &region, more].concat())
    }

    fn stored(&self) -> Option<lxd_client::Config> {
        self.runtime.block_on(async {
            let client = lxd_client::Client::connect_to(self.stub.socket()).await;
            let project = client.expect("connected").project_info("terrarium").await;
            project.ok().map(|project| project.config)
        })
    }
}

#[test]
fn a_bucket_is_tried_and_then_the_commands_of_the_archive_use_it() {
    let scene = Scene::with(Traits::default());
    let said = scene.set(&["--prefix", "/host1/", "--dry-run"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "s3://archive/host1 works; nothing was saved\n")
    );
    assert_eq!(scene.stored(), None);

    let said = scene.set(&["--prefix", "/host1/"]);
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "s3://archive/host1 works, and is saved in LXD\n")
    );
    let stored = scene.stored().expect("saved");
    assert_eq!(
        stored["user.terrarium.s3.secret-key"], SECRET,
        "without the end of its line"
    );

    let keys = scene.run(&["archive", "keygen"]).out;
    let recipient = keys.lines().next().expect("a line");
    let recipient = recipient.trim_start_matches("# public key: ");
    let said = scene.run(&["archive", "init", "--recipient", recipient]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = scene.run(&["archive", "list", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("s3://archive/host1"), "{said:?}");

    // Another place has nothing of the one before.
    let said = scene.set(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        !scene
            .stored()
            .expect("saved")
            .contains_key("user.terrarium.s3.prefix")
    );
}

#[test]
fn keys_that_may_only_add_will_do_and_that_is_said() {
    let scene = Scene::with(Traits::default());
    scene
        .server
        .next(Method::DELETE, 9, Reaction::Error(403, "AccessDenied", &[]));
    let said = scene.set(&["--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let answer: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(
        (&answer["reads"], &answer["deletes"]),
        (&true.into(), &false.into())
    );
    let said = scene.set(&[]);
    assert!(said.out.contains("prune elsewhere"), "{said:?}");
    assert!(scene.stored().is_some());
}

#[test]
fn what_does_not_work_is_not_saved() {
    let no_bucket = Traits {
        no_bucket: true,
        ..Traits::default()
    };
    let overwrites = Traits {
        ignores_conditions: true,
        ..Traits::default()
    };
    for (traits, why) in [
        (no_bucket, "does not exist"),
        (overwrites, "accepts a second object of one key"),
    ] {
        let scene = Scene::with(traits);
        let said = scene.set(&[]);
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.err.contains(why), "{said:?}");
        assert_eq!(scene.stored(), None);
    }
    let scene = Scene::with(Traits::default());
    scene
        .server
        .next(Method::PUT, 9, Reaction::Error(403, "AccessDenied", &[]));
    let said = scene.set(&[]);
    assert!(matches!(said.code, 3 | 4), "{said:?}");
    assert_eq!(scene.stored(), None);
}

#[test]
fn a_secret_is_no_argument_and_has_to_be_there() {
    let scene = Scene::with(Traits::default());
    for (line, code) in [
        (&["--access-key", "AKID"] as &[&str], 2),
        (&["--access-key", "AKID", "--secret-key", SECRET], 2),
        (&["--access-key", "AKID", "--secret-key-file", "nowhere"], 3),
        (&["--access-key", "AKID", "--secret-key-file", "-"], 2),
        (&["--access-key", "", "--secret-key-file", "secret"], 2),
        (&["--region", "a\nb"], 2),
    ] {
        let output = scene
            .command(&[&["set", "s3", "--bucket", "archive"], line].concat())
            .output();
        let output = output.expect("it starts");
        assert_eq!(output.status.code(), Some(code), "{line:?}: {output:?}");
    }
    assert_eq!(scene.stored(), None);
    assert!(
        !Path::new("secret").exists(),
        "the scene has a folder of its own"
    );
}
