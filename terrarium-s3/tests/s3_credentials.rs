//! Where credentials, region and endpoint come from. The environment is a process's, so each case is one.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use http::Method;
use terrarium_s3::{Credentials, S3Config, S3Store, Store, StoreError};

use support::server::Server;
use support::{BUCKET, keys};

const WHO: &str = "TERRARIUM_TEST_WHO";

/// Not a test of its own: what the processes of the others do.
#[tokio::test]
async fn as_the_environment_says() {
    let Ok(who) = std::env::var(WHO) else {
        return;
    };
    let credentials = match who.as_str() {
        "keys" => keys("CONFIGURED", "secret"),
        "environment" => Credentials::Environment,
        profile => Credentials::Profile(profile.into()),
    };
    let store = S3Store::open(S3Config {
        credentials,
        tries: 1,
        ..S3Config::new(BUCKET)
    });
    match store.await.unwrap().list("").await {
        Ok(_) => {}
        Err(StoreError::Denied { .. }) => println!("it is denied"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn keys_of_the_configuration_come_first() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "VARIABLE"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
    ];
    let (scope, _) = asked_as("keys", &variables).await;
    assert_eq!(scope.unwrap(), "CONFIGURED eu-west-3");
}

#[tokio::test]
async fn variables_give_keys_and_region() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "VARIABLE"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_REGION", "eu-west-1"),
    ];
    let (scope, _) = asked_as("environment", &variables).await;
    assert_eq!(scope.unwrap(), "VARIABLE eu-west-1");
}

#[tokio::test]
async fn a_profile_gives_keys_and_region_whatever_the_variables_say() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "VARIABLE"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_REGION", "eu-west-1"),
    ];
    let (scope, _) = asked_as("backup", &variables).await;
    assert_eq!(scope.unwrap(), "PROFILE eu-west-2");
}

#[tokio::test]
async fn the_default_profile_is_used_when_there_are_no_variables() {
    let (scope, _) = asked_as("environment", &[]).await;
    assert_eq!(scope.unwrap(), "DEFAULT eu-west-3");
}

#[tokio::test]
async fn an_instance_has_its_own() {
    let metadata = instance_metadata().await;
    let variables = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.as_str()),
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
    ];
    let (scope, _) = asked_as("environment", &variables).await;
    assert_eq!(scope.unwrap(), "INSTANCE us-east-1");
}

#[tokio::test]
async fn without_any_the_store_is_denied_and_not_asked() {
    for (who, file) in [("environment", "/nonexistent"), ("no-such-profile", "")] {
        let mut variables = vec![];
        if !file.is_empty() {
            variables = vec![
                ("AWS_CONFIG_FILE", file),
                ("AWS_SHARED_CREDENTIALS_FILE", file),
            ];
        }
        let (scope, output) = asked_as(who, &variables).await;
        assert_eq!(scope, None, "{who}");
        assert!(output.contains("it is denied"), "{output}");
    }
}

/// The access key and the region that a request came with, if one came, and what the process said.
async fn asked_as(who: &str, variables: &[(&str, &str)]) -> (Option<String>, String) {
    let server = Server::start().await;
    let home = tempfile::tempdir().expect("a folder");
    profiles(home.path());
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "as_the_environment_says", "--nocapture"])
        .env_clear()
        .env("HOME", home.path())
        .env("AWS_ENDPOINT_URL_S3", &server.endpoint)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(WHO, who)
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("no panic").expect("the process runs");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let scope = server.seen(Method::GET).first().map(|seen| {
        let header = seen.headers["authorization"].to_str().expect("text");
        let (_, credential) = header
            .split_once("Credential=")
            .expect("signed by version 4");
        let parts: Vec<&str> = credential.split('/').collect();
        format!("{} {}", parts[0], parts[2])
    });
    (scope, text)
}

fn profiles(home: &Path) {
    let folder = home.join(".aws");
    fs::create_dir(&folder).expect("a folder");
    let region = "[default]\nregion = eu-west-3\n[profile backup]\nregion = eu-west-2\n";
    let keys = ["default", "backup"].map(|name| {
        let key = if name == "backup" {
            "PROFILE"
        } else {
            "DEFAULT"
        };
        format!("[{name}]\naws_access_key_id = {key}\naws_secret_access_key = x\n")
    });
    fs::write(folder.join("config"), region).expect("a file");
    fs::write(folder.join("credentials"), keys.concat()).expect("a file");
}

/// Instance metadata, version 2, of an instance with a role.
async fn instance_metadata() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let length = connection.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let body = match path {
                "/latest/api/token" => "the-token",
                _ if !request.contains("x-aws-ec2-metadata-token: the-token") => "",
                path if path.ends_with("/security-credentials/")
                    || path.ends_with("/security-credentials-extended/") =>
                {
                    "role"
                }
                _ => concat!(
                    r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"INSTANCE","#,
                    r#""SecretAccessKey":"x","Token":"y","LastUpdated":"2026-01-01T00:00:00Z","#,
                    r#""Expiration":"2099-01-01T00:00:00Z"}"#
                ),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-aws-ec2-metadata-token-ttl-seconds: 600\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = connection.write_all((head + body).as_bytes()).await;
        }
    });
    format!("http://{address}")
}
