//! What the tests of S3 have in common.
#![allow(dead_code, unreachable_pub)] // No test uses all of it.

pub mod seaweedfs;
pub mod server;

use std::time::Duration;

use terrarium_s3::{AddressingStyle, Credentials, Key, S3Config, Secret};

pub const BUCKET: &str = "archive";

/// The bucket at that address, with keys that are good for the in-process server, and little patience.
pub fn config(endpoint: &str) -> S3Config {
    S3Config {
        endpoint: Some(endpoint.into()),
        region: Some("eu-central-1".into()),
        style: AddressingStyle::Path,
        credentials: keys("AKIDTEST", "a secret key"),
        patience: Duration::from_secs(10),
        tries: 4,
        first_pause: Duration::from_millis(5),
        ..S3Config::new(BUCKET)
    }
}

pub fn keys(access_key: &str, secret_key: &str) -> Credentials {
    Credentials::Keys {
        access_key: access_key.into(),
        secret_key: Secret(secret_key.into()),
        session_token: None,
    }
}

pub fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}
