//! Where the bucket is, who asks, and for how long.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::{ProvideRegion, RegionProviderChain};
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials as Keys;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

use super::{AddressingStyle, Attempt, Call, Inner, Key, StoreError, UNKNOWN};

/// How a bucket is reached.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The bucket, which must exist.
    pub bucket: String,
    /// What all keys begin with, as a folder; `None` for the top of the bucket.
    pub prefix: Option<Key>,
    /// The address of the service, as `https://minio.example:9000`; `None` for the one of the variables
    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`, else Amazon's.
    pub endpoint: Option<String>,
    /// The region; `None` for the one of the profile if that is who asks, else of the variables `AWS_REGION` or
    /// `AWS_DEFAULT_REGION`, else of the default profile, else `us-east-1`.
    pub region: Option<String>,
    /// Where the bucket's name stands in addresses.
    pub style: AddressingStyle,
    /// Who asks.
    pub credentials: Credentials,
    /// How long nothing may happen before a try is given up.
    pub patience: Duration,
    /// How often a request is made that fails with what may pass, at least once.
    pub tries: u32,
    /// How long to wait before the second try, at most; twice as long before the next one, up to 10 s.
    pub first_pause: Duration,
}

impl S3Config {
    /// A bucket of Amazon's, with the credentials of the environment; 60 s of patience, and eight tries within some
    /// 25 s.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: None,
            endpoint: None,
            region: None,
            style: AddressingStyle::Auto,
            credentials: Credentials::Environment,
            patience: Duration::from_secs(60),
            tries: 8,
            first_pause: Duration::from_millis(400),
        }
    }

    pub(super) async fn into_inner(self) -> Result<Inner, StoreError> {
        let prefix = self.prefix.map_or(String::new(), |key| format!("{key}/"));
        let place = format!("s3://{}/{prefix}", self.bucket);
        let place = place.trim_end_matches('/').to_owned();
        let refused = |detail: &str| StoreError::Refused {
            attempt: Attempt {
                call: Call::List,
                name: String::new(),
                place: place.clone(),
            },
            detail: detail.into(),
        };
        if self.bucket.is_empty() || self.bucket.contains(['/', '?', '#', '@', ':']) {
            return Err(refused("this cannot be the name of a bucket"));
        }
        let endpoint = self.endpoint.or_else(environments_endpoint);
        let https = match &endpoint {
            None => true,
            Some(endpoint) if endpoint.starts_with("https://") => true,
            Some(endpoint) if endpoint.starts_with("http://") => false,
            Some(_) => return Err(refused("the endpoint must begin with https:// or http://")),
        };
        let path_style = match self.style {
            AddressingStyle::Auto => endpoint.is_some(),
            AddressingStyle::Path => true,
            AddressingStyle::Virtual => false,
        };
        let region = match self.region {
            Some(region) => Region::new(region),
            None => self.credentials.region().await,
        };
        let http = HttpBuilder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http.clone())
            .region(region.clone());
        let loader = match self.credentials {
            Credentials::Environment => loader,
            Credentials::Profile(name) => {
                let config = ProviderConfig::without_region()
                    .with_http_client(http)
                    .with_region(Some(region.clone()));
                let profile = ProfileFileCredentialsProvider::builder()
                    .configure(&config)
                    .profile_name(name);
                loader.credentials_provider(profile.build())
            }
            Credentials::Keys {
                access_key,
                secret_key: Secret(secret_key),
                session_token,
            } => {
                let token = session_token.map(|Secret(token)| token);
                let keys = Keys::new(access_key, secret_key, token, None, "configuration");
                loader.credentials_provider(keys)
            }
        };
        let shared = loader.load().await;

        let stalled = StalledStreamProtectionConfig::enabled()
            .grace_period(self.patience)
            .build();
        let mut client = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(path_style)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(stalled)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = endpoint {
            client = client.endpoint_url(endpoint);
        }
        Ok(Inner {
            client: aws_sdk_s3::Client::from_conf(client.build()),
            bucket: self.bucket,
            prefix,
            place,
            region: region.to_string(),
            https,
            patience: self.patience,
            tries: self.tries,
            first_pause: self.first_pause,
            checksums: AtomicU8::new(UNKNOWN),
            bucket_seen: AtomicBool::new(false),
        })
    }
}

/// A server that is there answers to a connection sooner.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Who asks.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// These.
    Keys {
        /// The access key's id.
        access_key: String,
        /// The secret access key.
        secret_key: Secret,
        /// With temporary keys, their token.
        session_token: Option<Secret>,
    },
    /// Those of a profile in `~/.aws/config` and `~/.aws/credentials`.
    Profile(String),
    /// The first found of: the variables `AWS_ACCESS_KEY_ID` and so on, the default profile, a web identity's token,
    /// a container's, an instance's metadata.
    Environment,
}

impl Credentials {
    /// The region that goes with them, asked of nobody but this machine.
    async fn region(&self) -> Region {
        let found = match self {
            Self::Profile(name) => {
                let profile = ProfileFileRegionProvider::builder().profile_name(name);
                profile.build().region().await
            }
            Self::Keys { .. } | Self::Environment => {
                RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                    .or_else(ProfileFileRegionProvider::new())
                    .region()
                    .await
            }
        };
        found.unwrap_or(Region::from_static("us-east-1"))
    }
}

fn environments_endpoint() -> Option<String> {
    ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()))
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
