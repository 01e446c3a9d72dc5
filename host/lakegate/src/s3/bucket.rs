//! One bucket: what the requests of a client have in common, and the single requests that more than one operation is made of.

use super::digest::{Digest, shown_checksum, with_checksum};
use super::exchange::Exchange;
use super::failure::Failure;
use super::object_options::{ObjectOptions, TOKEN_KEY};
use super::place::StoreLocation;
use super::request_log::RequestLog;
use super::retry::{Attempt, Retry, watched};
use super::sizes::PartSizes;
use crate::payload::body::{Payload, Progress};
use crate::storage::checksum::{Checksum, ChecksumAlgorithm};
use crate::storage::object::{IfExists, PutObject};
use crate::store::answer::{ObjectInfo, StoreError, StoreErrorKind, Stored};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumMode, ServerSideEncryption};
use aws_smithy_async::time::TimeSource;
use aws_smithy_types::body::SdkBody;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lakegate_base::hex::to_hex;
use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes of an ETag or an upload id. They are kept until an object is confirmed, an ETag with its receipt. Real ones have some dozens.
const MAX_NAMED_BYTES: usize = 1 << 10;

/// What the requests of one client have in common.
pub(super) struct Bucket {
    pub(super) sdk: aws_sdk_s3::Client,
    pub(super) place: StoreLocation,
    pub(super) options: ObjectOptions,
    pub(super) sizes: PartSizes,
    /// What bytes are sent with; [`None`]: a Content-MD5.
    pub(super) checksum: Option<ChecksumAlgorithm>,
    pub(super) retry: Retry,
    pub(super) log_requests: bool,
    /// True once the store has confirmed an object without naming its ETag: from then on objects carry a token at once.
    pub(super) nameless: AtomicBool,
}

impl Bucket {
    /// One put. [`None`] if the store takes it, but names neither the object's ETag nor its checksum.
    pub(super) async fn try_put(
        &self,
        put: &PutObject,
        body: &Payload,
        digest: &Digest,
        token: Option<&String>,
        attempt: &Attempt,
    ) -> Result<Option<Stored>, Failure> {
        let PutObject { key, content_type, .. } = put;
        let limits = self.retry.timeouts;
        let (progress, exchange) = (Arc::new(Progress::default()), Exchange::new(attempt));
        let request = self
            .sdk
            .put_object()
            .bucket(&self.place.bucket)
            .key(key.as_str())
            .content_type(content_type.as_str())
            .content_length(i64::try_from(body.length()).unwrap_or(i64::MAX))
            .set_content_md5(digest.md5().cloned())
            .set_if_none_match(if_none_match(put))
            .body(stream(body, &progress));
        let request = with_checksum!(request, digest.checksum());
        let request = self.options.on_put(request, put, token, self.retry.clock.now());
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
        let checksum = digest.checksum().cloned();
        let theirs = checksum.as_ref().and_then(|ours| shown_checksum!(answer, ours.algorithm));
        same_checksum(checksum.as_ref(), theirs)?;
        match answer.e_tag().filter(|etag| !etag.is_empty()) {
            Some(etag) => Ok(Some(Stored { etag: self::etag(Some(etag))?, checksum, was_there: false })),
            // Who knows the checksum of the bytes has them.
            None if theirs.is_some() => Ok(Some(Stored { etag: String::new(), checksum, was_there: false })),
            None => Ok(None),
        }
    }

    /// The store has taken an object with `token` and has not named its ETag: does it show the object?
    pub(super) async fn confirmed(&self, put: &PutObject, token: &str, body: &Payload, digest: &Digest) -> Result<Stored, Failure> {
        const NAMELESS: &str = "the answer has no ETag";
        match self.head(put.key.as_str(), token, body.length(), &Attempt::first()).await {
            Ok(etag) => {
                self.nameless.store(true, Ordering::Relaxed);
                Ok(Stored { etag, checksum: digest.checksum().cloned(), was_there: false })
            }
            Err(head) => Err(Failure::doubtful(200, &format!("{NAMELESS}, and HEAD does not show the object either: {}", head.text()))),
        }
    }

    /// Asks for an object of ours of so many bytes. Answers its ETag, perhaps empty.
    pub(super) async fn head(&self, key: &str, token: &str, bytes: u64, attempt: &Attempt) -> Result<String, Failure> {
        let found = self.info(key, false, attempt).await?;
        if found.bytes == Some(bytes) && found.metadata.get(TOKEN_KEY).is_some_and(|theirs| theirs == token) {
            return Ok(found.etag);
        }
        Err(Failure::lasting(StoreErrorKind::Unknown, "another object has the key"))
    }

    /// What the store says of an object, with its checksum if asked to.
    pub(super) async fn info(&self, key: &str, with_checksum: bool, attempt: &Attempt) -> Result<ObjectInfo, Failure> {
        let exchange = Exchange::new(attempt);
        let mode = with_checksum.then_some(ChecksumMode::Enabled);
        let request = self.sdk.head_object().bucket(&self.place.bucket).key(key).set_checksum_mode(mode).customize();
        let request = request.interceptor(self.log(key, attempt.number)).interceptor(exchange.clone());
        let send = async { request.send().await.map_err(|error| exchange.failed(&error, &self.place).for_head()) };
        let answer = self.answer_within(self.retry.timeouts.answer, send).await?;
        let etag = answer.e_tag().filter(|etag| etag.len() <= MAX_NAMED_BYTES).unwrap_or_default().to_owned();
        Ok(ObjectInfo {
            bytes: answer.content_length().and_then(|length| u64::try_from(length).ok()),
            etag,
            checksums: ChecksumAlgorithm::ALL
                .into_iter()
                .filter_map(|algorithm| Some((algorithm, shown_checksum!(answer, algorithm).filter(|sum| sum.len() <= MAX_NAMED_BYTES)?)))
                .map(|(algorithm, sum)| (algorithm, sum.to_owned()))
                .collect(),
            content_type: answer.content_type().map(str::to_owned),
            is_kms_encrypted: answer.server_side_encryption().is_some_and(|kind| *kind != ServerSideEncryption::Aes256),
            metadata: answer.metadata.unwrap_or_default().into_iter().collect(),
        })
    }

    /// As [`Self::info`], tried again as long as that may help. [`None`] if there is no such object.
    pub(super) async fn find(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let attempt = |attempt: Attempt| async move {
            match self.info(key, true, &attempt).await {
                Ok(found) => Ok(Some(found)),
                Err(failure) if failure.status == Some(404) && !failure.is("NoSuchBucket") => Ok(None),
                Err(failure) => Err(failure),
            }
        };
        self.retry.run("HeadObject", attempt).await
    }

    /// A part of the object that has this ETag.
    pub(super) async fn read(&self, key: &str, etag: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let attempt = |attempt: Attempt| self.try_read(key, etag, range.clone(), attempt);
        self.retry.run("GetObject", attempt).await
    }

    async fn try_read(&self, key: &str, etag: &str, range: Range<u64>, attempt: Attempt) -> Result<Bytes, Failure> {
        let exchange = Exchange::new(&attempt);
        let same = Some(etag).filter(|etag| !etag.is_empty()).map(str::to_owned);
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.sdk.get_object().bucket(&self.place.bucket).key(key).range(bytes).set_if_match(same);
        let request = request.customize().interceptor(self.log(key, attempt.number)).interceptor(exchange.clone());
        let read = async {
            let answer = request.send().await.map_err(|error| exchange.failed(&error, &self.place))?;
            let body = answer.body.collect().await.map_err(|error| Failure::transient(format!("the object cannot be read: {error}")))?;
            Ok(body.into_bytes())
        };
        let bytes = self.answer_within(self.retry.timeouts.answer, read).await?;
        let wanted = range.end - range.start;
        if bytes.len() as u64 == wanted {
            return Ok(bytes);
        }
        Err(Failure::doubtful(206, &format!("the answer has {} bytes instead of {wanted}", bytes.len())))
    }

    /// What a body is sent with.
    pub(super) async fn digest(&self, operation: &str, body: &Payload) -> Result<Digest, StoreError> {
        let digest = match self.checksum {
            Some(algorithm) => body.checksum(algorithm).await.map(Digest::Checksum),
            None => body.md5().await.map(|md5| Digest::Md5(STANDARD.encode(md5))),
        };
        digest.map_err(|error| {
            let failure = Failure::lasting(StoreErrorKind::Unavailable, format!("the spill file cannot be read: {error}"));
            failure.into_error(operation, 1)
        })
    }

    pub(super) fn log(&self, key: &str, attempt: u32) -> RequestLog {
        RequestLog { enabled: self.log_requests, key: key.to_owned(), attempt, asked: Mutex::default() }
    }

    /// A request without a body, bounded by the wait for its answer.
    pub(super) async fn answer_within<T>(&self, limit: Duration, send: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        watched(send, &Progress::default(), 0, self.retry.timeouts.stall.min(limit), limit).await
    }
}

/// The condition of a put that replaces nothing.
pub(super) fn if_none_match(put: &PutObject) -> Option<String> {
    matches!(put.if_exists, IfExists::Keep(_)).then(|| "*".to_owned())
}

/// The body of a request, readable again if the SDK has to.
pub(super) fn stream(body: &Payload, progress: &Arc<Progress>) -> ByteStream {
    let (body, progress) = (body.clone(), progress.clone());
    ByteStream::new(SdkBody::retryable(move || SdkBody::from_body_1_x(body.body(progress.clone()))))
}

/// Tells an object of ours from another of the same key and size.
pub(super) fn random_token() -> Result<String, StoreError> {
    let mut random = [0; 16];
    match getrandom::fill(&mut random) {
        Ok(()) => Ok(to_hex(&random)),
        Err(error) => {
            Err(StoreError { kind: StoreErrorKind::Unavailable, message: format!("the machine gives no random numbers: {error}") })
        }
    }
}

/// The ETag, without which an answer says little: proxies and dying stores send an empty 200.
pub(super) fn etag(etag: Option<&str>) -> Result<String, Failure> {
    named("ETag", etag)
}

/// What a store has to name in its answer, in a few bytes.
pub(super) fn named(what: &str, value: Option<&str>) -> Result<String, Failure> {
    let wrong = match value {
        Some(value) if !value.is_empty() && value.len() <= MAX_NAMED_BYTES => return Ok(value.to_owned()),
        Some(value) if !value.is_empty() => {
            format!("the answer's {what} has {} bytes; at most {MAX_NAMED_BYTES} are accepted", value.len())
        }
        _ => format!("the answer has no {what}"),
    };
    Err(Failure::doubtful(200, &wrong))
}

/// A store need not name a checksum; one that it names is that of the bytes sent.
pub(super) fn same_checksum(ours: Option<&Checksum>, theirs: Option<&str>) -> Result<(), Failure> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.value != theirs => {
            Err(Failure::doubtful(200, "the store's checksum is not that of the bytes sent"))
        }
        _ => Ok(()),
    }
}
