//! What went wrong with a request, by status and S3's error code.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStreamError;

use super::{Attempt, StoreError, one_line};

/// Why a single request did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store answered with an error.
    Answer {
        status: u16,
        /// S3's code, empty if the answer had none.
        code: String,
        message: String,
        /// The region of the bucket, if the answer told it.
        region: Option<String>,
    },
    /// No answer, or not all of it.
    Broken(String),
    /// What came is not what was stored.
    Damaged(String),
    /// The bucket is missing.
    NoBucket,
    /// No credentials were found, or not in time.
    NoCredentials(String),
    /// The request could not be made.
    Impossible(String),
}

impl Failure {
    pub(super) fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match error {
            SdkError::ServiceError(context) => {
                let raw = context.raw();
                let header = |name| raw.headers().get(name).map(str::to_owned);
                let code = context.err().code().map(str::to_owned);
                Self::Answer {
                    status: raw.status().as_u16(),
                    code: code
                        .or_else(|| header("x-minio-error-code"))
                        .unwrap_or_default(),
                    message: context.err().message().unwrap_or_default().to_owned(),
                    region: header("x-amz-bucket-region"),
                }
            }
            SdkError::ResponseError(context) => match context.raw().status().as_u16() {
                // An error page of something in between, which is no XML.
                status if status >= 300 => Self::Answer {
                    status,
                    code: String::new(),
                    message: String::new(),
                    region: None,
                },
                _ => Self::Broken("an answer that is not S3's".into()),
            },
            SdkError::TimeoutError(_) => Self::Broken("no answer in time".into()),
            SdkError::ConstructionFailure(_) => Self::Impossible(chain(&error)),
            other => match credentials(&other) {
                Some(CredentialsError::ProviderTimedOut(_)) => {
                    Self::Broken("no credentials in time".into())
                }
                Some(found) => Self::NoCredentials(found.to_string()),
                None => Self::Broken(chain(&other)),
            },
        }
    }

    pub(super) fn cut_off(error: &ByteStreamError) -> Self {
        Self::Broken(chain(error))
    }

    pub(super) fn standstill(patience: Duration) -> Self {
        Self::Broken(format!("nothing came for {} s", patience.as_secs_f32()))
    }

    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether it is the object that is missing.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Answer { status: 404, code, .. } if code != "NoSuchBucket")
    }

    /// Whether the same request may succeed if it is made again.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Damaged(_) => true,
            Self::Answer { status, code, .. } => match code.as_str() {
                // The body did not arrive as it was sent, or not in time; another was creating the object just then.
                "BadDigest"
                | "XAmzContentSHA256Mismatch"
                | "RequestTimeout"
                | "IncompleteBody"
                | "ConditionalRequestConflict"
                | "OperationAborted" => true,
                "NotImplemented" => false,
                _ => matches!(status, 408 | 429 | 500 | 502..=504),
            },
            Self::NoBucket | Self::NoCredentials(_) | Self::Impossible(_) => false,
        }
    }

    /// Whether a header that the store does not know may be the reason.
    pub(super) fn may_be_for_a_header(&self) -> bool {
        let Self::Answer { status, code, .. } = self else {
            return false;
        };
        matches!(status, 400 | 501)
            && !self.may_pass()
            && !matches!(
                code.as_str(),
                "AuthorizationHeaderMalformed"
                    | "ExpiredToken"
                    | "InvalidToken"
                    | "InvalidBucketName"
                    | "RequestTimeTooSkewed"
                    | "EntityTooLarge"
            )
    }

    pub(super) fn into_error(self, attempt: Attempt, tried: u32, own: &str) -> StoreError {
        let often = |detail: String| match tried {
            1 => detail,
            tried => format!("{detail} (tried {tried} times)"),
        };
        let (status, code, message, region) = match self {
            Self::Answer {
                status,
                code,
                message,
                region,
            } => (status, code, message, region),
            Self::Broken(detail) => {
                let detail = often(detail);
                return StoreError::Unavailable { attempt, detail };
            }
            Self::Damaged(detail) => {
                let detail = often(detail);
                return StoreError::Corrupt { attempt, detail };
            }
            Self::NoBucket => return StoreError::NoSuchPlace { attempt },
            Self::NoCredentials(detail) => return StoreError::Denied { attempt, detail },
            Self::Impossible(detail) => return StoreError::Refused { attempt, detail },
        };
        let elsewhere = region.filter(|region| region != own);
        let detail = often(told(status, &code, &message));
        match (code.as_str(), status) {
            ("NoSuchBucket", _) => StoreError::NoSuchPlace { attempt },
            ("RequestTimeTooSkewed", _) => StoreError::ClockSkew { attempt },
            ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect", _)
            | ("IllegalLocationConstraintException", _)
            | (_, 301 | 307 | 308) => StoreError::WrongRegion {
                attempt,
                region: elsewhere,
            },
            ("", 400) if elsewhere.is_some() => StoreError::WrongRegion {
                attempt,
                region: elsewhere,
            },
            ("BadDigest" | "XAmzContentSHA256Mismatch", _) => {
                StoreError::Corrupt { attempt, detail }
            }
            ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientCapacity", _) | (_, 507) => {
                StoreError::NoSpace { attempt, detail }
            }
            ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => {
                StoreError::Denied { attempt, detail }
            }
            ("PreconditionFailed", _) | (_, 412) => StoreError::Exists { attempt },
            ("RequestTimeout" | "IncompleteBody" | "ConditionalRequestConflict", _)
            | ("OperationAborted", _) => StoreError::Unavailable { attempt, detail },
            ("NotImplemented", _) => StoreError::Refused { attempt, detail },
            (_, 401 | 403) => StoreError::Denied { attempt, detail },
            (_, 404) => StoreError::NotFound { attempt },
            (_, 408 | 429 | 500 | 502..=504) => StoreError::Unavailable { attempt, detail },
            _ => StoreError::Refused { attempt, detail },
        }
    }
}

/// What the store said, on one line.
fn told(status: u16, code: &str, message: &str) -> String {
    let code = if code.is_empty() {
        "no error code"
    } else {
        code
    };
    let message: String = message.chars().take(300).collect();
    match message.is_empty() {
        true => format!("{} (status {status})", one_line(code)),
        false => format!(
            "{} (status {status}): {}",
            one_line(code),
            one_line(&message)
        ),
    }
}

fn credentials<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    })
}

/// An error with its causes, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    one_line(&text)
}
