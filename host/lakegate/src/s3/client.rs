//! The client of one bucket: connecting, and putting whole objects.

use super::bucket::{Bucket, random_token};
use super::connect::{self, Connection};
use super::create_only;
use super::failure::Failure;
use super::multipart;
use super::object_options::ObjectOptions;
use super::options::ConnectOptions;
use super::probe;
use super::retry::{Attempt, Budget, Retry};
use super::sizes::{MAX_PART_BYTES, PartSizes};
use crate::payload::body::Payload;
use crate::policy::authorize::Authorized;
use crate::storage::object::{IfExists, ObjectKey, PutObject};
use crate::storage::target::StorageTarget;
use crate::store::answer::{ObjectInfo, StoreError, StoreErrorKind, Stored, UploadHandle};
use crate::store::traits::{Connect, Multipart, Store};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A connection to one bucket.
#[derive(Clone)]
pub(crate) struct S3Client(Arc<Bucket>);

impl fmt::Debug for S3Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Client").field("place", &self.0.place).finish_non_exhaustive()
    }
}

impl S3Client {
    /// Resolves credentials and makes a client for the target's bucket. Sends nothing to the bucket.
    ///
    /// # Errors
    /// [`StoreError`] if no credentials can be had or the target cannot be used.
    pub(crate) async fn connect(target: &StorageTarget, options: &ConnectOptions) -> Result<Self, StoreError> {
        let sizes = part_sizes(target, options)?;
        let Connection { sdk, place, checksum, credentials, clock } = connect::client(target, options).await?;
        // Other stores than AWS may demand equal parts.
        let sizes = if place.is_endpoint { sizes.equal() } else { sizes };
        Ok(Self(Arc::new(Bucket {
            sdk,
            place,
            options: ObjectOptions::from_target(target),
            sizes,
            checksum,
            retry: Retry {
                budget: target
                    .max_retries
                    .map_or(Budget::Time(options.timeouts.retries), |retries| Budget::Attempts(retries.saturating_add(1))),
                max_pause: Duration::from_secs(u64::from(target.max_backoff_seconds)),
                timeouts: options.timeouts,
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
    pub(crate) async fn check(target: &StorageTarget, options: &ConnectOptions) -> Result<(), StoreError> {
        part_sizes(target, options)?;
        connect::check(target, options).await
    }
}

#[async_trait]
impl Connect for ConnectOptions {
    async fn connect(&self, target: &StorageTarget) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(S3Client::connect(target, self).await?))
    }

    async fn check(&self, target: &StorageTarget) -> Result<(), StoreError> {
        S3Client::check(target, self).await
    }
}

#[async_trait]
impl Store for S3Client {
    async fn put(&self, put: &Authorized<PutObject>, body: Payload) -> Result<Stored, StoreError> {
        let bucket = &*self.0;
        let put = put.get();
        if let IfExists::Keep(on_existing) = put.if_exists {
            return create_only::put(bucket, put, &body, on_existing).await;
        }
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

    async fn create(&self, put: &Authorized<PutObject>) -> Result<Arc<dyn Multipart>, StoreError> {
        Ok(Arc::new(multipart::Upload::create(self.0.clone(), put.get()).await?))
    }

    fn resume(&self, put: &Authorized<PutObject>, upload: &UploadHandle) -> Arc<dyn Multipart> {
        Arc::new(multipart::Upload::resume(self.0.clone(), put.get(), upload))
    }

    async fn head(&self, key: &Authorized<ObjectKey>) -> Result<Option<ObjectInfo>, StoreError> {
        self.0.find(key.get().as_str()).await
    }

    async fn read(&self, key: &Authorized<ObjectKey>, object: &ObjectInfo, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.0.read(key.get().as_str(), &object.etag, range).await
    }

    async fn probe_create_only(&self, by_put: &Authorized<PutObject>, by_upload: &Authorized<PutObject>) -> Result<(), StoreError> {
        probe::create_only(&self.0, by_put.get(), by_upload.get()).await
    }

    fn part_bytes(&self, number: u32) -> Option<u64> {
        self.0.sizes.part_bytes(number)
    }

    fn too_many_parts(&self, bytes: u64) -> String {
        self.0.sizes.too_many_parts(bytes)
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
