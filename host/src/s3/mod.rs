//! Objects to a bucket: one put, or multipart. Takes only what the policy has authorised; never hears of tenants or wasm.
//!
//! Invariants: a [`Stored`] exists only for an object that the store has confirmed: with an ETag, or with the checksum of the bytes sent, or
//! by showing an object of that size and with our token. A checksum that the store names is that of the bytes sent. What cannot be settled is [`StoreErrorKind::Unknown`], never a guess. No message holds a secret.

mod answer;
mod clock;
mod codes;
mod connect;
mod credentials;
mod exchange;
mod failure;
mod inputs;
mod lookup;
mod multipart;
mod profiles;
mod proxy;
mod redirect;
mod request_log;
mod retry;
mod role;
mod secrets;
mod sizes;
mod transport;

#[cfg(test)]
mod tests;

pub use multipart::{Multipart, Part};
pub use sizes::{MAX_PART_BYTES, MIN_PART_BYTES};

use crate::bindings::StorageTarget;
use crate::clock::Clock;
use crate::local_store::LocalStore;
use crate::object::PutObject;
use crate::payload::{Payload, Progress};
use crate::policy::Authorized;
use crate::policy::metrics::RetryCounts;
use crate::scheduler::HostMeter;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ObjectCannedAcl, ServerSideEncryption};
#[cfg(test)]
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::body::SdkBody;
use aws_types::os_shim_internal::Env;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use connect::Connection;
use exchange::Exchange;
use failure::{Failure, Place};
use request_log::RequestLog;
use retry::{Attempt, Budget, Retry, watched};
use sizes::PartSizes;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// Bytes of an ETag or an upload id. They are kept until an object is confirmed, an ETag with its receipt. Real ones have some dozens.
const MAX_NAMED_BYTES: usize = 1 << 10;

/// The metadata key of the token that tells an object of ours from another.
const TOKEN_KEY: &str = "lakegate-upload";

/// How the store is reached, apart from what the spec says.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Use this embedded store instead of the network.
    pub embedded: Option<Arc<LocalStore>>,
    /// Make the bucket in the embedded store if it is not there yet.
    pub create_bucket: bool,
    /// Time limits.
    pub limits: Limits,
    /// The least size of a part: S3's, unless a test has a store that allows less. No spec or flag reaches it.
    pub min_part_bytes: u64,
    /// The largest part that a client may choose by itself: bounded by memory where there is no spill file.
    pub max_part_bytes: u64,
    /// Whether bytes are sent with a CRC32, where the target leaves it open.
    pub checksums: Checksums,
    /// Sign with these instead of what the default chain finds: for embedders with credentials of their own. A role of the spec is assumed
    /// on top.
    pub credentials: Option<SharedCredentialsProvider>,
    /// Take profiles from this file alone, in the form of AWS's shared files, instead of the user's: the one that the target names, or
    /// `default`. It is read when a client is made.
    pub credentials_file: Option<PathBuf>,
    /// A policy (JSON) that a role is assumed with: it can only take away from what the role may do.
    pub session_policy: Option<String>,
    /// The role of the target is assumed with the token in this file, which an identity provider signed, instead of other credentials.
    pub web_identity_token_file: Option<PathBuf>,
    /// Whether requests to the store may go where the environment (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`) or the shared files send them
    /// if the target names no endpoint. Without it they go to AWS.
    pub configured_endpoints: bool,
    /// Where it is counted what was tried again.
    pub retries: Arc<RetryCounts>,
    /// Whose account its connections are worked on; a single user's are not metered.
    pub(crate) meter: Option<HostMeter>,
    /// What time it is.
    clock: Clock,
    /// Who answers instead of the network.
    #[cfg(test)]
    answers: Option<SharedHttpClient>,
    /// Where variables (`AWS_CA_BUNDLE`, proxies, credentials) are read from: the process, or what a test gives.
    environment: Env,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            embedded: None,
            create_bucket: false,
            limits: Limits::default(),
            min_part_bytes: MIN_PART_BYTES,
            max_part_bytes: MAX_PART_BYTES,
            checksums: Checksums::Auto,
            credentials: None,
            credentials_file: None,
            session_policy: None,
            web_identity_token_file: None,
            configured_endpoints: true,
            meter: None,
            retries: Arc::default(),
            clock: Clock::default(),
            #[cfg(test)]
            answers: None,
            environment: Env::real(),
        }
    }
}

/// Whether bytes are sent with a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    /// A CRC32 with each object and part, compared with the store's where it names one; unless the environment
    /// (`AWS_REQUEST_CHECKSUM_CALCULATION`) or the profile says that only checksums that are required are sent.
    #[default]
    Auto,
    /// None, for stores that refuse requests with checksum headers. Bytes are sent with a Content-MD5, which all stores know.
    None,
}

/// Time limits of requests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Name, TCP, proxy and TLS together.
    pub connect: Duration,
    /// A body of which nothing moves for this long has stalled.
    pub stall: Duration,
    /// Wait for the answer to a put or a part once its body has left.
    pub answer: Duration,
    /// The same for the completion of an upload, which takes S3 minutes if there are many parts.
    pub complete: Duration,
    /// How long transient failures of one request are retried.
    pub retries: Duration,
    /// The same for a store that cannot be reached and never could: most likely a wrong endpoint.
    pub first_contact: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(20),
            answer: Duration::from_secs(30),
            complete: Duration::from_secs(180),
            retries: Duration::from_secs(120),
            first_contact: Duration::from_secs(10),
        }
    }
}

/// A connection to one bucket.
#[derive(Clone)]
pub struct S3Client(Arc<Bucket>);

impl fmt::Debug for S3Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Client").field("place", &self.0.place).finish_non_exhaustive()
    }
}

/// What the requests of one client have in common.
struct Bucket {
    sdk: aws_sdk_s3::Client,
    place: Place,
    acl: Option<ObjectCannedAcl>,
    encryption: Option<ServerSideEncryption>,
    kms_key_id: Option<String>,
    sizes: PartSizes,
    checksums: Checksums,
    retry: Retry,
    log_requests: bool,
    /// True once the store has confirmed an object without naming its ETag: from then on objects carry a token at once.
    nameless: AtomicBool,
}

/// What a body is sent with, so that damage on its way is seen: base64, one of the two.
#[derive(Debug, Clone, Default)]
struct Digest {
    crc32: Option<String>,
    md5: Option<String>,
}

/// A confirmed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The store's ETag; empty if it names none.
    pub etag: String,
    /// CRC32 of the object (single put) as base64, where known.
    pub checksum: Option<String>,
}

/// What went wrong at the store, and what it means for the sync.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// Whose fault, and what next.
    pub kind: StoreErrorKind,
    /// For the user: operation, status, code, the store's words. Never a secret.
    pub message: String,
}

/// Whose fault a failed request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Credentials are missing, expired for good, or refused (401, 403).
    Denied,
    /// Unreachable, or transient failures to the end of the retry budget.
    Unavailable,
    /// Refused: no such bucket, bad request, too large.
    Rejected,
    /// The request may or may not have taken effect, and cannot be settled.
    Unknown,
    /// A limit of ours (10,000 parts).
    Quota,
}

impl StoreErrorKind {
    /// The host's own words for it, which name nothing of whose store it is.
    pub fn words(self) -> &'static str {
        match self {
            Self::Denied => "the store does not allow the object",
            Self::Unavailable => "the store did not take the object in time",
            Self::Rejected => "the store refused the object",
            Self::Unknown => "the outcome is unknown: the store does not say whether it has the object",
            Self::Quota => "a limit is reached",
        }
    }
}

impl S3Client {
    /// Resolves credentials and makes a client for the target's bucket. Sends nothing to the bucket.
    ///
    /// # Errors
    /// [`StoreError`] if no credentials can be had or the target cannot be used.
    pub async fn connect(target: &StorageTarget, options: &ConnectOptions) -> Result<Self, StoreError> {
        let sizes = part_sizes(target, options)?;
        let Connection { sdk, place, checksums, credentials, clock } = connect::client(target, options).await?;
        // Other stores than AWS may demand equal parts.
        let sizes = if place.is_endpoint { sizes.equal() } else { sizes };
        let encryption = target.encryption.as_ref();
        Ok(Self(Arc::new(Bucket {
            sdk,
            place,
            acl: target.acl.as_deref().map(ObjectCannedAcl::from),
            encryption: encryption.map(|encryption| encryption.algorithm.as_str().into()),
            kms_key_id: encryption.and_then(|encryption| encryption.kms_key_id.clone()).filter(|id| !id.is_empty()),
            sizes,
            checksums,
            retry: Retry {
                budget: target
                    .max_retries
                    .map_or(Budget::Time(options.limits.retries), |retries| Budget::Attempts(retries.saturating_add(1))),
                max_pause: Duration::from_secs(u64::from(target.max_backoff_seconds)),
                limits: options.limits,
                answered: AtomicBool::new(false),
                counts: options.retries.clone(),
                credentials,
                clock,
                sent_on: AtomicBool::new(false),
            },
            log_requests: target.log_requests,
            nameless: AtomicBool::new(false),
        })))
    }

    /// Checks a target as far as that is possible without a request: its names, and what environment and shared files say of its endpoint and
    /// of proxies.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot work.
    pub async fn check(target: &StorageTarget, options: &ConnectOptions) -> Result<(), StoreError> {
        part_sizes(target, options)?;
        connect::check(target, options).await
    }

    /// Puts a whole object with one request.
    ///
    /// # Errors
    /// [`StoreError`] after retries.
    pub async fn put(&self, put: &Authorized<PutObject>, body: Payload) -> Result<Stored, StoreError> {
        let bucket = &*self.0;
        let put = put.get();
        let digest = bucket.digest("PutObject", &body).await?;
        // Set at the first answer without an ETag; a dying store gives one as well as one that never names any.
        let token: OnceLock<String> = OnceLock::new();
        if bucket.nameless.load(Ordering::Relaxed) {
            let _ = token.set(random_token()?);
        }
        let attempt = |attempt: Attempt| {
            let (body, digest, token) = (&body, &digest, &token);
            async move {
                let first = bucket.try_put(put, body, digest, token.get(), &attempt).await?;
                if let Some(stored) = first {
                    return Ok(stored);
                }
                if let Some(token) = token.get() {
                    return bucket.confirmed(put, token, body, digest).await;
                }
                let made = random_token().map_err(|error| Failure::lasting(error.kind, error.message))?;
                match bucket.try_put(put, body, digest, Some(token.get_or_init(|| made)), &attempt).await? {
                    Some(stored) => Ok(stored),
                    None => bucket.confirmed(put, token.get().map_or("", String::as_str), body, digest).await,
                }
            }
        };
        bucket.retry.run("PutObject", attempt).await
    }

    /// Begins a multipart upload. From here on someone must complete or abort it.
    ///
    /// # Errors
    /// [`StoreError`] after retries.
    pub async fn create(&self, put: &Authorized<PutObject>) -> Result<Multipart, StoreError> {
        Multipart::create(self.0.clone(), put.get()).await
    }

    /// How many bytes part `number` (from 1) is to have; `None` past the last part that the store's limit of 10,000 allows.
    pub fn part_bytes(&self, number: u32) -> Option<u64> {
        self.0.sizes.part_bytes(number)
    }

    /// The words for an object that has `bytes` already and needs more parts than the store allows; names the part size that would fit.
    pub fn too_many_parts(&self, bytes: u64) -> String {
        self.0.sizes.too_many_parts(bytes)
    }
}

impl Bucket {
    /// One put. [`None`] if the store takes it, but names neither the object's ETag nor its checksum.
    async fn try_put(
        &self,
        put: &PutObject,
        body: &Payload,
        digest: &Digest,
        token: Option<&String>,
        attempt: &Attempt,
    ) -> Result<Option<Stored>, Failure> {
        let PutObject { key, content_type } = put;
        let limits = self.retry.limits;
        let (progress, exchange) = (Arc::new(Progress::default()), Exchange::of(attempt));
        let mut request = self
            .sdk
            .put_object()
            .bucket(&self.place.bucket)
            .key(key.as_str())
            .content_type(content_type.as_str())
            .content_length(i64::try_from(body.length()).unwrap_or(i64::MAX))
            .set_acl(self.acl.clone())
            .set_server_side_encryption(self.encryption.clone())
            .set_ssekms_key_id(self.kms_key_id.clone())
            .set_checksum_crc32(digest.crc32.clone())
            .set_content_md5(digest.md5.clone())
            .body(stream(body, &progress));
        if let Some(token) = token {
            request = request.metadata(TOKEN_KEY, token);
        }
        let request = request.customize().interceptor(self.log(key.as_str(), attempt.number)).interceptor(exchange.clone());
        let send = async {
            match request.send().await {
                Ok(answer) => Ok(answer),
                Err(error) => Err(exchange.failed(&error, &self.place).without_rows(body).await),
            }
        };
        let answer = watched(send, &progress, body.length(), limits.stall, limits.answer).await?;
        if let Err(failure) = exchange.confirm(&self.place) {
            return Err(failure.without_rows(body).await);
        }
        let (ours, theirs) = (digest.crc32.as_deref(), answer.checksum_crc32());
        same_checksum(ours, theirs)?;
        let checksum = digest.crc32.clone();
        match answer.e_tag().filter(|etag| !etag.is_empty()) {
            Some(etag) => Ok(Some(Stored { etag: self::etag(Some(etag))?, checksum })),
            // Who knows the checksum of the bytes has them.
            None if ours.is_some() && ours == theirs => Ok(Some(Stored { etag: String::new(), checksum })),
            None => Ok(None),
        }
    }

    /// The store has taken an object with `token` and has not named its ETag: does it show the object?
    async fn confirmed(&self, put: &PutObject, token: &str, body: &Payload, digest: &Digest) -> Result<Stored, Failure> {
        const NAMELESS: &str = "the answer has no ETag";
        match self.head(put.key.as_str(), token, body.length(), &Attempt::first()).await {
            Ok(etag) => {
                self.nameless.store(true, Ordering::Relaxed);
                Ok(Stored { etag, checksum: digest.crc32.clone() })
            }
            Err(head) => Err(Failure::doubtful(200, &format!("{NAMELESS}, and HEAD does not show the object either: {}", head.text()))),
        }
    }

    /// Asks for an object of ours of so many bytes. Answers its ETag, perhaps empty.
    async fn head(&self, key: &str, token: &str, bytes: u64, attempt: &Attempt) -> Result<String, Failure> {
        let exchange = Exchange::of(attempt);
        let request = self.sdk.head_object().bucket(&self.place.bucket).key(key).customize();
        let request = request.interceptor(self.log(key, attempt.number)).interceptor(exchange.clone());
        let send = async { request.send().await.map_err(|error| exchange.failed(&error, &self.place).of_head()) };
        let answer = self.answer_within(self.retry.limits.answer, send).await?;
        let theirs = answer.metadata().and_then(|metadata| metadata.get(TOKEN_KEY)).map(String::as_str);
        let same_size = answer.content_length().and_then(|length| u64::try_from(length).ok()) == Some(bytes);
        if same_size && theirs == Some(token) {
            let etag = answer.e_tag().unwrap_or_default();
            return Ok(if etag.len() <= MAX_NAMED_BYTES { etag.to_owned() } else { String::new() });
        }
        Err(Failure::lasting(StoreErrorKind::Unknown, "another object has the key"))
    }

    /// What a body is sent with.
    async fn digest(&self, operation: &str, body: &Payload) -> Result<Digest, StoreError> {
        let digest = match self.checksums {
            Checksums::Auto => body.crc32().await.map(|crc| Digest { crc32: Some(STANDARD.encode(crc.to_be_bytes())), md5: None }),
            Checksums::None => body.md5().await.map(|md5| Digest { crc32: None, md5: Some(STANDARD.encode(md5)) }),
        };
        digest.map_err(|error| {
            let failure = Failure::lasting(StoreErrorKind::Unavailable, format!("the spill file cannot be read: {error}"));
            failure.into_error(operation, 1)
        })
    }

    fn log(&self, key: &str, attempt: u32) -> RequestLog {
        RequestLog { enabled: self.log_requests, key: key.to_owned(), attempt, asked: Mutex::default() }
    }

    /// A request without a body, bounded by the wait for its answer.
    async fn answer_within<T>(&self, limit: Duration, send: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        watched(send, &Progress::default(), 0, self.retry.limits.stall.min(limit), limit).await
    }
}

fn part_sizes(target: &StorageTarget, options: &ConnectOptions) -> Result<PartSizes, StoreError> {
    let least = options.min_part_bytes;
    match target.part_size_bytes {
        Some(size) if (least..=MAX_PART_BYTES).contains(&size) => Ok(PartSizes::Equal(size)),
        Some(size) => Err(StoreError {
            kind: StoreErrorKind::Rejected,
            message: format!("`part_size: {size}` is not usable: {least} to {MAX_PART_BYTES} bytes are"),
        }),
        None => Ok(PartSizes::Doubling { first: least, cap: options.max_part_bytes.clamp(least, MAX_PART_BYTES) }),
    }
}

/// The body of a request, readable again if the SDK has to.
fn stream(body: &Payload, progress: &Arc<Progress>) -> ByteStream {
    let (body, progress) = (body.clone(), progress.clone());
    ByteStream::new(SdkBody::retryable(move || SdkBody::from_body_1_x(body.body(progress.clone()))))
}

/// Tells an object of ours from another of the same key and size.
fn random_token() -> Result<String, StoreError> {
    let mut random = [0; 16];
    match getrandom::fill(&mut random) {
        Ok(()) => Ok(random.iter().map(|byte| format!("{byte:02x}")).collect()),
        Err(error) => {
            Err(StoreError { kind: StoreErrorKind::Unavailable, message: format!("the machine gives no random numbers: {error}") })
        }
    }
}

/// The ETag, without which an answer says little: proxies and dying stores send an empty 200.
fn etag(etag: Option<&str>) -> Result<String, Failure> {
    named("ETag", etag)
}

/// What a store has to name in its answer, in a few bytes.
fn named(what: &str, value: Option<&str>) -> Result<String, Failure> {
    let wrong = match value {
        Some(value) if !value.is_empty() && value.len() <= MAX_NAMED_BYTES => return Ok(value.to_owned()),
        Some(value) if !value.is_empty() => {
            format!("the answer's {what} has {} bytes; at most {MAX_NAMED_BYTES} are accepted", value.len())
        }
        _ => format!("the answer has no {what}"),
    };
    Err(Failure::doubtful(200, &wrong))
}

fn same_checksum(ours: Option<&str>, theirs: Option<&str>) -> Result<(), Failure> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Failure::doubtful(200, "the store's checksum is not that of the bytes sent")),
        _ => Ok(()),
    }
}
