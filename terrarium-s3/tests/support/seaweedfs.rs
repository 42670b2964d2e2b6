//! A real SeaweedFS on loopback, with signatures checked.
#![allow(clippy::print_stdout)] // What the server said, when a test fails.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::Builder;
use terrarium_s3::S3Config;

use super::{BUCKET, config, keys};

/// As `scripts/setup` installs it.
const VERSION: &str = "4.48";

/// The server, which is stopped with this, also when a test panics.
pub struct SeaweedFs {
    server: Child,
    folder: tempfile::TempDir,
    endpoint: String,
    access_key: String,
    secret_key: String,
}

impl SeaweedFs {
    /// Starts one, with an empty bucket.
    pub async fn start() -> Self {
        // A port may be taken by another between choosing and using it.
        for _ in 0..3 {
            let mut server = Self::spawn();
            if server.answers().await {
                return server;
            }
        }
        panic!("SeaweedFS does not start");
    }

    /// How to reach the bucket.
    pub fn config(&self) -> S3Config {
        S3Config {
            credentials: keys(&self.access_key, &self.secret_key),
            region: Some("us-east-1".into()),
            patience: Duration::from_secs(30),
            ..config(&self.endpoint)
        }
    }

    /// Where it is: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The access key and the secret key.
    pub fn keys(&self) -> (&str, &str) {
        (&self.access_key, &self.secret_key)
    }

    fn spawn() -> Self {
        let program = program();
        let folder = tempfile::tempdir().expect("a folder");
        let (access_key, secret_key) = (random("AK"), random("SK"));
        let identities = format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{access_key}","secretKey":"{secret_key}"}}],"actions":["Admin"]}}]}}"#
        );
        let credentials = folder.path().join("s3.json");
        fs::write(&credentials, identities).expect("a file");
        let listeners: [TcpListener; 8] =
            std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let ports = listeners.map(|it| it.local_addr().expect("an address").port());
        let log = || {
            File::options()
                .create(true)
                .append(true)
                .open(folder.path().join("log"))
        };
        // It goes with this process even if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
        command.args([
            "server",
            "-filer",
            "-s3",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]);
        command.args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.volumeSizeLimitMB=64",
        ]);
        command.args(["-master.telemetry=false", "-s3.autoCreateBucket=false"]);
        // By itself it takes no object once a hundredth of the disk is left, which can be gigabytes.
        command.arg("-volume.minFreeSpace=64MiB");
        command.arg(option("dir", folder.path()));
        command.arg(option("s3.config", &credentials));
        let services = ["master.port", "volume.port", "filer.port", "s3.port"];
        for (service, ports) in services.iter().zip(ports.chunks(2)) {
            command.arg(format!("-{service}={}", ports[0]));
            command.arg(format!("-{service}.grpc={}", ports[1]));
        }
        command.current_dir(folder.path());
        command
            .stdout(log().expect("a log"))
            .stderr(log().expect("a log"));
        let server = command.spawn().expect("SeaweedFS is started");
        Self {
            server,
            endpoint: format!("http://127.0.0.1:{}", ports[6]),
            folder,
            access_key,
            secret_key,
        }
    }

    /// Waits until there is a bucket that takes objects; `false` if the server has ended.
    async fn answers(&mut self) -> bool {
        let keys = aws_credential_types::Credentials::new(
            &self.access_key,
            &self.secret_key,
            None,
            None,
            "test",
        );
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(Builder::new().build_http())
            .credentials_provider(keys)
            .region(Region::from_static("us-east-1"))
            .endpoint_url(&self.endpoint)
            .force_path_style(true)
            .build();
        let client = Client::from_conf(config);
        let until = Instant::now() + Duration::from_secs(60);
        let mut there = false;
        loop {
            there = there || client.create_bucket().bucket(BUCKET).send().await.is_ok();
            // It makes buckets before it has room for what goes into them.
            let object = client.put_object().bucket(BUCKET).key("ready");
            let object = object.body(ByteStream::from_static(b"ready"));
            if there && object.send().await.is_ok() {
                let gone = client.delete_object().bucket(BUCKET).key("ready");
                gone.send().await.expect("the object is deleted");
                return true;
            }
            if self.server.try_wait().expect("a child").is_some() {
                return false;
            }
            assert!(
                Instant::now() < until,
                "SeaweedFS does not answer:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            println!(
                "SeaweedFS said last:\n{}",
                lines[lines.len().saturating_sub(20)..].join("\n")
            );
        }
    }
}

fn program() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = cache.or(home).expect("HOME is set");
    let program = cache.join(format!("terrarium-seaweedfs/{VERSION}/bin/weed"));
    let missing = "SeaweedFS is missing: run scripts/setup test";
    assert!(
        program.is_file(),
        "{missing} ({} is no file)",
        program.display()
    );
    program
}

fn option(name: &str, path: &Path) -> String {
    format!("-{name}={}", path.display())
}

fn random(start: &str) -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{start}{:016X}", RandomState::new().hash_one(start))
}
