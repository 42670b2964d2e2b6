//! `terrariumctl archive` on a bucket: a server of S3's protocol in this process.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use server::{Server, Traits};
use terrarium_s3::Store;

#[path = "../../terrarium-s3/tests/support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "no test uses all of it")]
mod server;

/// The server's bucket.
const BUCKET: &str = "archive";

struct Scene {
    runtime: tokio::runtime::Runtime,
    server: Server,
    folder: tempfile::TempDir,
}

impl Scene {
    fn with(traits: Traits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let server = runtime.block_on(Server::with(traits));
        let folder = tempfile::tempdir().expect("a folder");
        let scene = Self {
            runtime,
            server,
            folder,
        };
        let (code, identity, _) = scene.run(&["keygen"], &[]);
        assert_eq!(code, 0);
        std::fs::write(scene.folder.path().join("identity.txt"), identity).expect("a file");
        scene
    }

    fn recipient(&self) -> String {
        let file = std::fs::read_to_string(self.folder.path().join("identity.txt"));
        let file = file.expect("an identity");
        let first = file.lines().next().expect("a line");
        first.trim_start_matches("# public key: ").to_owned()
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_terrariumctl"));
        command.arg("archive").args(arguments);
        command.args(["--archive", "s3://archive/backups/web"]);
        command.args(["--s3-endpoint", &self.server.endpoint]);
        command.args(["--s3-region", "eu-central-1"]);
        command.env_clear().env("TZ", "UTC");
        command.env("AWS_ACCESS_KEY_ID", "AKIDTEST");
        command.env("AWS_SECRET_ACCESS_KEY", "a secret key");
        command.env("HOME", self.folder.path());
        command.env("TERRARIUM_STATE_DIR", self.folder.path().join("state"));
        command.current_dir(self.folder.path());
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().expect("it ends")
        });
        let code = output.status.code().expect("no signal");
        let err = String::from_utf8(output.stderr).expect("text");
        (code, output.stdout, err)
    }

    fn keys(&self) -> Vec<String> {
        let listed = self.runtime.block_on(self.server.objects.list(""));
        let listed = listed.expect("a listing");
        listed.iter().map(|object| object.key.to_string()).collect()
    }
}

fn stream(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/streams");
    std::fs::read(folder.join(format!("{name}.zfs"))).expect("a captured stream")
}

#[test]
fn a_chain_goes_into_a_bucket_and_comes_back() {
    let scene = Scene::with(Traits::default());
    let recipient = scene.recipient();
    let (code, _, err) = scene.run(&["init", "--recipient", &recipient], &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(scene.keys(), ["backups/web/v1/archive.json"]);
    let streams = ["content-one", "content-two"].map(stream);
    for stream in &streams {
        let (code, _, err) = scene.run(&["put", "--name", "web"], stream);
        assert_eq!((code, err.as_str()), (0, ""));
    }
    let identity = ["--identity", "identity.txt"];
    let line = [&["get", "--name", "web", "--chain"][..], &identity].concat();
    let (code, out, err) = scene.run(&line, &[]);
    assert!(code == 0 && out == streams.concat(), "{err}");
    let line = [&["verify", "--deep"][..], &identity].concat();
    let (code, out, err) = scene.run(&line, &[]);
    assert_eq!(code, 0, "{} {err}", String::from_utf8_lossy(&out));
    let secret = std::fs::read_to_string(scene.folder.path().join("identity.txt"));
    let secret = secret
        .expect("an identity")
        .lines()
        .last()
        .map(str::to_owned);
    let secret = secret.expect("a line");
    for key in scene.keys() {
        let body = scene.server.objects.get(&key.parse().expect("a key"));
        let body = body.expect("an object");
        let has = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(
            !has(&secret) && !has("a secret key") && !has("secret-"),
            "{key}"
        );
    }
}

#[test]
fn a_server_that_ignores_conditions_gets_no_archive() {
    let scene = Scene::with(Traits {
        ignores_conditions: true,
        ..Traits::default()
    });
    let recipient = scene.recipient();
    let (code, out, err) = scene.run(&["init", "--recipient", &recipient], &[]);
    assert_eq!((code, out.len()), (3, 0), "{err}");
    assert!(
        err.contains("not create-only") && err.contains("If-None-Match"),
        "{err}"
    );
    assert_eq!(scene.keys(), [""; 0]);
}

#[test]
fn a_bucket_that_is_missing_is_named() {
    let scene = Scene::with(Traits {
        no_bucket: true,
        ..Traits::default()
    });
    let (code, _, err) = scene.run(&["list"], &[]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("s3://archive"), "{err}");
}
