//! `terrariumctl config`, with an LXD on a socket.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use lxd_client::stub::{NoStorage, Stub};

use support::{Said, terrariumctl};

mod support;

const SECRET: &str = "hunter2-do-not-show";

struct Scene {
    runtime: tokio::runtime::Runtime,
    stub: Stub,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let stub = runtime.block_on(Stub::start(Arc::new(NoStorage)));
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            runtime,
            stub,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("its owner's");
        path.to_str().expect("a name").to_owned()
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = terrariumctl();
        command.args(line).env("LXD_SOCKET", self.stub.socket());
        command.env("TERRARIUM_CONFIG", self.path("config.yaml"));
        command.env("TERRARIUM_STATE_DIR", self.path("state"));
        for variable in [
            "TERRARIUM_ARCHIVE",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_S3",
        ] {
            command.env_remove(variable);
        }
        command
    }

    fn run(&self, line: &[&str]) -> Said {
        self.said(&mut self.command(line))
    }

    /// What a command says, which is never the secret.
    fn said(&self, command: &mut Command) -> Said {
        let output = command.output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let said = Said {
            code: output.status.code().expect("no signal"),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        assert!(
            !said.out.contains(SECRET) && !said.err.contains(SECRET),
            "{said:?}"
        );
        said
    }

    fn stored(&self) -> Option<lxd_client::Project> {
        self.runtime.block_on(async {
            let client = lxd_client::Client::connect_to(self.stub.socket()).await;
            let client = client.expect("connected");
            client.project_info("terrarium").await.ok()
        })
    }
}

fn earlier() -> String {
    format!(
        "terrarium_lxd_pool_name: default\nterrarium_enable_s3: true\nterrarium_s3_bucket: b\n\
         terrarium_s3_access_key: AKID\nterrarium_s3_secret_key: {SECRET}\nterrarium_enable_syncoid: false\n"
    )
}

#[test]
fn an_earlier_file_is_imported_shown_without_its_secret_and_exported_with_it() {
    let scene = Scene::new();
    let file = scene.file("earlier.yaml", &earlier());
    let said = scene.run(&["config", "import", &file, "--dry-run"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out
            .contains("user.terrarium.s3.secret-key: not set -> (set)")
    );
    assert!(scene.stored().is_none(), "a dry run changes nothing");
    let said = scene.run(&["config", "import", &file]);
    assert_eq!(said.code, 3, "nobody can be asked: {said:?}");
    assert!(scene.stored().is_none());

    let said = scene.run(&["config", "import", &file, "--yes"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let project = scene.stored().expect("it was made");
    assert_eq!(project.config["user.terrarium.s3.secret-key"], SECRET);
    assert_eq!(project.config["features.images"], "true");
    assert_eq!(project.config["features.networks"], "true");
    let said = scene.run(&["config", "import", &file, "--yes"]);
    assert_eq!((said.code, said.out.as_str()), (0, "nothing to change\n"));

    let said = scene.run(&["config", "show", "--origin"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.contains("user.terrarium.s3.bucket = b  (LXD)\n"));
    assert!(
        said.out
            .contains("user.terrarium.s3.secret-key = (set)  (LXD)\n")
    );
    let said = scene.run(&["config", "show", "--json"]);
    assert!(said.out.contains("\"(set)\""), "{said:?}");

    let said = scene.run(&["config", "import", &file, "--dry-run", "--json"]);
    assert!(said.out.contains("\"changes\": []"), "{said:?}");

    let said = scene.run(&["config", "export", "--to", "/dev/stdout"]);
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{said:?}");
    let said = scene.run(&["config", "export"]);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:?}");
    let written = fs::read_to_string(scene.path("config.yaml")).expect("a file");
    assert!(written.contains(SECRET), "it is the copy to recover from");
    let mode = fs::metadata(scene.path("config.yaml"))
        .expect("a file")
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let file = scene.path("config.yaml");
    let file = file.to_str().expect("a name");
    let said = scene.run(&["config", "import", file, "--yes"]);
    assert_eq!((said.code, said.out.as_str()), (0, "nothing to change\n"));
}

#[test]
fn nothing_is_taken_of_a_file_in_which_anything_is_wrong() {
    let scene = Scene::new();
    let cases = [
        ("terrarium_s3_bukket: b", "terrarium_s3_bukket (file)"),
        (
            "terrarium_enable_syncoid: maybe",
            "terrarium_enable_syncoid (file)",
        ),
        ("terrarium_s3_bucket: [b]", "terrarium_s3_bucket (file)"),
        ("terrarium_enable_s3: true", "user.terrarium.s3.enable"),
        ("terrarium_s3_access_key: a", "user.terrarium.s3.access-key"),
        ("terrarium: [", "no YAML"),
    ];
    for (text, named) in cases {
        let text = format!("terrarium_lxd_pool_name: p\n{text}\n");
        let file = scene.file("bad.yaml", &text);
        let said = scene.run(&["config", "import", &file, "--yes"]);
        assert_eq!(said.code, 2, "{text}: {said:?}");
        assert!(said.err.contains(named), "{text}: {said:?}");
        assert!(scene.stored().is_none(), "{text}");
    }
    let file = scene.file("open.yaml", &earlier());
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("set");
    let said = scene.run(&["config", "import", &file, "--yes"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("chmod 600"), "{said:?}");
    let said = scene.run(&["config", "import", "/nonexistent/x.yaml", "--yes"]);
    assert_eq!(said.code, 3, "{said:?}");
}

#[test]
fn the_archive_of_the_settings_is_used_where_no_other_is_named() {
    let scene = Scene::new();
    let place = scene.path("archive");
    fs::create_dir(&place).expect("a folder");
    let url = format!("file://{}", place.display());
    let file = scene.file("a.yaml", &format!("terrarium_archive: {url}\n"));
    let said = scene.run(&["archive", "list"]);
    assert_eq!(said.code, 2, "{said:?}");
    let said = scene.run(&["config", "import", &file, "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    let keys = scene.run(&["archive", "keygen"]).out;
    let recipient = keys.lines().next().expect("a line");
    let recipient = recipient.trim_start_matches("# public key: ");
    let said = scene.run(&["archive", "init", "--recipient", recipient]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(place.join("v1/archive.json").exists());
    let said = scene.run(&["archive", "list"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let said = scene.run(&["archive", "list", "--archive", "file:///nonexistent"]);
    assert_eq!(said.code, 3, "a flag goes before: {said:?}");

    assert_eq!(scene.run(&["config", "export"]).code, 0);
    let mut without = scene.command(&["archive", "list"]);
    let said = scene.said(without.env("LXD_SOCKET", "/nonexistent/lxd.socket"));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("for LXD does not say them"), "{said:?}");
}
