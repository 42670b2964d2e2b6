//! Objects in a bucket, by S3's protocol.

mod answer;
mod config;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_smithy_types::timeout::TimeoutConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use self::answer::Failure;
pub use self::config::{Credentials, S3Config, Secret};
use super::addressing::AddressingStyle;
use super::{Attempt, Call, Key, Object, Store, StoreError, could_begin_a_key, one_line};

/// A store whose objects are in a bucket of S3, or of anything that speaks its protocol. Clones share connections.
///
/// - **Create-only** is asked for by `If-None-Match: *`. A store that ignores that is found by
///   [`probe_create_only`](crate::probe_create_only) alone.
/// - **CRC32** of the body goes along as `x-amz-checksum-crc32`, and is checked here when the store sends it back. A
///   store that refuses those headers (400 or 501 with them, not without) is asked without them from then on; the body
///   is then covered by the signature's SHA-256.
/// - **Retries**: what may pass (a broken connection, no answer in time, 429, 500, 502, 503, 504, a body that was cut off
///   or damaged) is tried again, after a random part of a growing time. A `create` whose reply was lost is tried again
///   too and then says [`StoreError::Exists`]; hence [`create_or_same`](crate::create_or_same).
/// - **Time**: an answer must begin within the patience of the [`S3Config`], plus the time that the body takes at
///   64 KiB/s; a body that stands still for as long as the patience is given up.
#[derive(Clone)]
pub struct S3Store {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    bucket: String,
    /// Before every key: empty, or ending in `/`.
    prefix: String,
    place: String,
    region: String,
    https: bool,
    patience: Duration,
    tries: u32,
    first_pause: Duration,
    checksums: AtomicU8,
    bucket_seen: AtomicBool,
}

/// What is known of the store's checksum headers, in [`Inner::checksums`].
const UNKNOWN: u8 = 0;
const ACCEPTED: u8 = 1;
const REFUSED: u8 = 2;

/// A slower body than this, in bytes per second, is given up.
const SLOWEST: u64 = 64 << 10;

/// No pause between two tries is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl S3Store {
    /// A store as configured. Nothing is asked of it yet, except for credentials that come from elsewhere.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the configuration cannot be one.
    pub async fn open(config: S3Config) -> Result<Self, StoreError> {
        let inner = config.into_inner().await?;
        let inner = Arc::new(inner);
        Ok(Self { inner })
    }

    /// Whether the store takes checksum headers; `None` before the first body went there or came from it.
    pub fn accepts_checksums(&self) -> Option<bool> {
        match self.inner.checksums.load(Ordering::Relaxed) {
            UNKNOWN => None,
            known => Some(known == ACCEPTED),
        }
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("place", &self.inner.place)
            .finish_non_exhaustive()
    }
}

impl Store for S3Store {
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        let attempt = Attempt::on(Call::Create, key, &self.inner.place);
        let crc32 = header(crc32fast::hash(&body));
        let once = || {
            self.inner
                .with_checksums_if_taken(|checksums| self.inner.put(key, &body, &crc32, checksums))
        };
        self.inner.retrying(&attempt, once).await
    }

    async fn read(&self, key: &Key) -> Result<Bytes, StoreError> {
        let attempt = Attempt::on(Call::Read, key, &self.inner.place);
        let once = || {
            self.inner
                .with_checksums_if_taken(|checksums| self.inner.get(key, None, checksums))
        };
        self.inner.retrying(&attempt, once).await
    }

    async fn read_range(&self, key: &Key, offset: u64, length: usize) -> Result<Bytes, StoreError> {
        if length == 0 {
            // There is no way to ask for nothing.
            return Ok(Bytes::new());
        }
        let last = offset.saturating_add(length as u64 - 1);
        let attempt = Attempt::on(Call::Read, key, &self.inner.place);
        let range = format!("bytes={offset}-{last}");
        let once = || self.inner.get(key, Some(range.clone()), false);
        self.inner.retrying(&attempt, once).await
    }

    async fn size(&self, key: &Key) -> Result<Option<u64>, StoreError> {
        let attempt = Attempt::on(Call::Size, key, &self.inner.place);
        self.inner.retrying(&attempt, || self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        if !could_begin_a_key(prefix) {
            return Ok(Vec::new());
        }
        let attempt = Attempt::listing(prefix, &self.inner.place);
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = || self.inner.page(prefix, after.as_deref());
            let (objects, next) = self.inner.retrying(&attempt, page).await?;
            found.extend(objects);
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        found.sort_by(|a: &Object, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let attempt = Attempt::on(Call::Delete, key, &self.inner.place);
        let once = || self.inner.remove(key);
        self.inner.retrying(&attempt, once).await
    }
}

impl Inner {
    /// Asks until the answer is final, with a random part of a growing time in between.
    async fn retrying<T, F>(&self, attempt: &Attempt, once: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let mut pause = self.first_pause;
        let mut tried = 1;
        loop {
            let failure = match once().await {
                Ok(answer) => {
                    self.bucket_seen.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            if !failure.may_pass() || tried >= self.tries {
                return Err(failure.into_error(attempt.clone(), tried, &self.region));
            }
            tokio::time::sleep(random_part(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            tried += 1;
        }
    }

    /// Asks with checksum headers, unless the store is known to refuse them; without them if that is why it refused.
    async fn with_checksums_if_taken<T, F>(&self, ask: impl Fn(bool) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let known = self.checksums.load(Ordering::Relaxed);
        let answer = ask(known != REFUSED).await;
        let learned = match &answer {
            _ if known != UNKNOWN => return answer,
            Ok(_) => ACCEPTED,
            Err(failure) if failure.may_be_for_a_header() => {
                let plain = ask(false).await;
                if plain.as_ref().is_err_and(Failure::may_be_for_a_header) {
                    return plain;
                }
                self.checksums.store(REFUSED, Ordering::Relaxed);
                return plain;
            }
            Err(_) => return answer,
        };
        self.checksums.store(learned, Ordering::Relaxed);
        answer
    }

    async fn put(
        &self,
        key: &Key,
        body: &Bytes,
        crc32: &str,
        checksums: bool,
    ) -> Result<(), Failure> {
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key.as_str()))
            .if_none_match("*")
            .set_checksum_crc32(checksums.then(|| crc32.to_owned()))
            .body(ByteStream::from(body.clone()))
            .customize()
            .config_override(self.limit(body.len() as u64));
        // Over TLS the CRC32 is enough, and saves hashing everything once more.
        let request = match self.https && checksums {
            true => request.disable_payload_signing(),
            false => request,
        };
        request.send().await.map(drop).map_err(Failure::of)
    }

    async fn get(
        &self,
        key: &Key,
        range: Option<String>,
        checksums: bool,
    ) -> Result<Bytes, Failure> {
        let partly = range.is_some();
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.full(key.as_str()))
            .set_range(range)
            .customize()
            .config_override(self.limit(0))
            // Not by the library's own option: it would check, and its error could not be told from a broken connection.
            .mutate_request(move |request| {
                if checksums {
                    request
                        .headers_mut()
                        .insert("x-amz-checksum-mode", "ENABLED");
                }
            });
        let answer = match request.send().await.map_err(Failure::of) {
            // It ends before the range begins.
            Err(failure) if partly && failure.status() == Some(416) => return Ok(Bytes::new()),
            answer => answer?,
        };
        if partly && answer.content_range.is_none() {
            return Err(Failure::Damaged("all of it instead of a range".into()));
        }
        let length = answer
            .content_length
            .and_then(|length| usize::try_from(length).ok());
        let mut stream = answer.body;
        let mut body = BytesMut::with_capacity(length.unwrap_or(0).min(LARGEST_AT_ONCE));
        loop {
            match tokio::time::timeout(self.patience, stream.next()).await {
                Ok(Some(Ok(some))) => body.extend_from_slice(&some),
                Ok(Some(Err(error))) => return Err(Failure::cut_off(&error)),
                Ok(None) => break,
                Err(_) => return Err(Failure::standstill(self.patience)),
            }
        }
        if let Some(length) = length
            && body.len() != length
        {
            let detail = format!("{} bytes of {length}", body.len());
            return Err(Failure::Damaged(detail));
        }
        // One of several parts is a checksum of checksums, `…-3`: ours are never uploaded so.
        let whole = answer
            .checksum_crc32
            .filter(|sent| !partly && !sent.contains('-'));
        if let Some(sent) = whole {
            let found = header(crc32fast::hash(&body));
            if sent != found {
                let detail = format!("its CRC32 is {found}, the store says {sent}");
                return Err(Failure::Damaged(detail));
            }
        }
        Ok(body.freeze())
    }

    async fn head(&self, key: &Key) -> Result<Option<u64>, Failure> {
        let request = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(self.full(key.as_str()))
            .customize()
            .config_override(self.limit(0));
        match request.send().await.map_err(Failure::of) {
            Ok(answer) => match answer.content_length.map(u64::try_from) {
                Some(Ok(length)) => Ok(Some(length)),
                _ => Err(Failure::Damaged("an answer without a length".into())),
            },
            Err(failure) if failure.status() == Some(404) => {
                self.find_bucket().await?;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// An answer to HEAD has no body, so that a 404 does not tell whether it is the object or the bucket that is missing.
    async fn find_bucket(&self) -> Result<(), Failure> {
        if self.bucket_seen.load(Ordering::Relaxed) {
            return Ok(());
        }
        let request = self
            .client
            .head_bucket()
            .bucket(&self.bucket)
            .customize()
            .config_override(self.limit(0));
        match request.send().await.map_err(Failure::of) {
            Err(failure) if failure.status() == Some(404) => Err(Failure::NoBucket),
            Err(failure) if failure.may_pass() => Err(failure),
            // Whoever may not see the bucket may be allowed to see the object.
            _ => Ok(()),
        }
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<(Vec<Object>, Option<String>), Failure> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.full(prefix))
            .set_continuation_token(after.map(str::to_owned))
            .customize()
            .config_override(self.limit(0));
        let answer = request.send().await.map_err(Failure::of)?;
        let truncated = answer.is_truncated == Some(true);
        let next = answer.next_continuation_token.filter(|_| truncated);
        if truncated && (next.is_none() || next.as_deref() == after) {
            return Err(Failure::Damaged("a listing that does not go on".into()));
        }
        let mut found = Vec::new();
        for object in answer.contents.unwrap_or_default() {
            let full = object.key.unwrap_or_default();
            // What is no key is somebody else's.
            let Some(Ok(key)) = full.strip_prefix(&self.prefix).map(Key::new) else {
                continue;
            };
            if !key.as_str().starts_with(prefix) {
                continue;
            }
            let size = object.size.and_then(|size| u64::try_from(size).ok());
            let (Some(size), Some(modified)) = (size, object.last_modified.and_then(timestamp))
            else {
                let detail = format!("a listing without size or time of {key}");
                return Err(Failure::Damaged(detail));
            };
            found.push(Object {
                key,
                size,
                modified,
            });
        }
        Ok((found, next))
    }

    async fn remove(&self, key: &Key) -> Result<(), Failure> {
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.full(key.as_str()))
            .customize()
            .config_override(self.limit(0));
        match request.send().await.map_err(Failure::of) {
            Err(failure) if failure.is_absence() => Ok(()),
            other => other.map(drop),
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// How long an answer may take to begin, after a body of that many bytes.
    fn limit(&self, bytes: u64) -> Builder {
        let limit = self.patience + Duration::from_secs(bytes / SLOWEST);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.patience.min(config::CONNECT_PATIENCE))
            .operation_attempt_timeout(limit)
            .build();
        Builder::new().timeout_config(timeouts)
    }
}

/// Memory for a body is not taken on the store's word alone.
const LARGEST_AT_ONCE: usize = 64 << 20;

fn timestamp(time: DateTime) -> Option<Timestamp> {
    let nanoseconds = i32::try_from(time.subsec_nanos()).ok()?;
    Timestamp::new(time.secs(), nanoseconds).ok()
}

/// A CRC32 as S3's headers have it.
fn header(crc32: u32) -> String {
    STANDARD.encode(crc32.to_be_bytes())
}

/// Between half and all of a pause, so that workers that failed together do not come back together.
fn random_part(pause: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(()) as u32;
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crc32_is_written_as_s3_does() {
        // The check value of CRC-32/ISO-HDLC, and its base64 by coreutils.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(header(0xcbf4_3926), "y/Q5Jg==");
        assert_eq!(header(0), "AAAAAA==");
        assert_eq!(header(u32::MAX), "/////w==");
    }

    #[test]
    fn a_pause_is_at_least_half_as_long_as_asked() {
        let pause = Duration::from_millis(100);
        for _ in 0..100 {
            let part = random_part(pause);
            assert!(part >= pause / 2 && part <= pause, "{part:?}");
        }
    }
}
