//! Uploads in parts.
//!
//! The completion is the one request whose lost answer matters: the object may be there, and the upload no longer is. A random token in
//! the object's metadata tells our object from another of the same key and size.

use super::bucket::{Bucket, etag, if_none_match, named, random_token, same_checksum, stream};
use super::create_only::{self, Completion, Identity};
use super::digest::{announced, shown_checksum, with_checksum};
use super::exchange::Exchange;
use super::failure::{Failure, RetryClass};
use super::retry::{Attempt, watched};
use crate::payload::body::{Payload, Progress};
use crate::storage::object::{IfExists, OnExisting, PutObject};
use crate::store::answer::{Part, StoreError, StoreErrorKind, Stored, UploadHandle};
use crate::store::create_only::CreateOnly;
use crate::store::traits::Multipart;
use async_trait::async_trait;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use aws_smithy_async::time::TimeSource;
use std::fmt;
use std::sync::Arc;

/// Answers to the creation of one upload that may be lost. Each may stand for an upload that nobody knows the id of. They are not looked for:
/// a listing shows no token, so that it might be another writer's upload of the same key that is aborted.
const MAX_LOST_CREATIONS: u32 = 5;

/// Attempts to abort: a store that is gone forgets the parts by its lifecycle rule.
const ABORT_ATTEMPTS: u32 = 3;

/// A multipart upload in progress.
pub(super) struct Upload {
    pub(super) bucket: Arc<Bucket>,
    pub(super) put: PutObject,
    id: String,
    pub(super) token: String,
    /// Whether another process may have completed it.
    pub(super) is_resumed: bool,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("key", &self.key()).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) async fn create(bucket: Arc<Bucket>, put: &PutObject) -> Result<Self, StoreError> {
        let key = put.key.as_str();
        let token = random_token()?;
        let algorithm = bucket.checksum.map(announced);
        let attempt = |attempt: &Attempt| {
            let exchange = Exchange::new(attempt);
            let request = bucket
                .options
                .on_create(bucket.sdk.create_multipart_upload(), put, &token, bucket.retry.clock.now())
                .bucket(&bucket.place.bucket)
                .key(key)
                .content_type(put.content_type.as_str())
                .set_checksum_algorithm(algorithm.clone())
                .customize()
                .interceptor(bucket.log(key, attempt.number))
                .interceptor(exchange.clone());
            let bucket = &bucket;
            async move {
                let send = async { request.send().await.map_err(|error| exchange.failed(&error, &bucket.place)) };
                let answer = bucket.answer_within(bucket.retry.timeouts.answer, send).await?;
                exchange.confirm(&bucket.place)?;
                named("upload id", answer.upload_id())
            }
        };
        let mut course = bucket.retry.course();
        let mut lost = 0;
        let id = loop {
            let mut failure = match attempt(&course.attempt()).await {
                Ok(id) => break id,
                Err(failure) => failure,
            };
            if failure.is_lost() {
                lost += 1;
                failure.class = if lost < MAX_LOST_CREATIONS { RetryClass::Lost } else { RetryClass::Final };
            }
            course.pause("CreateMultipartUpload", failure).await.map_err(|error| left_behind(error, lost))?;
        };
        if lost > 0 {
            tracing::warn!(key, answers = lost, "Answers to the creation of an upload were lost; {LEFT_BEHIND}.");
        }
        Ok(Self { put: put.clone(), bucket, id, token, is_resumed: false })
    }

    /// An upload that was begun elsewhere.
    pub(super) fn resume(bucket: Arc<Bucket>, put: &PutObject, handle: &UploadHandle) -> Self {
        Self { bucket, put: put.clone(), id: handle.id.clone(), token: handle.token.clone(), is_resumed: true }
    }

    pub(super) fn key(&self) -> &str {
        self.put.key.as_str()
    }

    pub(super) async fn try_complete(&self, parts: &CompletedMultipartUpload, attempt: &Attempt) -> Result<Stored, Failure> {
        let (bucket, exchange) = (&*self.bucket, Exchange::new(attempt));
        let request = bucket
            .sdk
            .complete_multipart_upload()
            .bucket(&bucket.place.bucket)
            .key(self.key())
            .upload_id(&self.id)
            .multipart_upload(parts.clone())
            .set_if_none_match(if_none_match(&self.put))
            .customize()
            .interceptor(bucket.log(self.key(), attempt.number))
            .interceptor(exchange.clone());
        let send = async { request.send().await.map_err(|error| exchange.failed(&error, &bucket.place)) };
        let answer = bucket.answer_within(bucket.retry.timeouts.complete, send).await?;
        Ok(Stored { etag: etag(answer.e_tag())?, checksum: None, was_there: false })
    }

    /// Completes it, unless the key has an object.
    async fn complete_where_nothing_is(
        &self,
        parts: &CompletedMultipartUpload,
        identity: Identity,
        on_existing: OnExisting,
    ) -> Result<Stored, StoreError> {
        let decisions = if self.is_resumed { CreateOnly::resumed(on_existing) } else { CreateOnly::completion(on_existing) };
        let completion = LastRequest { upload: self, parts };
        let stored = create_only::complete(&self.bucket, (&self.put, &self.token), &completion, identity, decisions).await?;
        if stored.was_there
            && let Err(error) = self.abort().await
        {
            // A refused completion leaves the upload at the store.
            let (key, error) = (self.key(), error.message);
            tracing::warn!(key, error, "The upload of an object that was there already could not be aborted; {LEFT_BEHIND}.");
        }
        Ok(stored)
    }

    /// The last attempt ended with `last`, and one went unanswered: is the object there, and is it ours?
    async fn settle(&self, bytes: u64, last: StoreError) -> Result<Stored, StoreError> {
        let bucket = &*self.bucket;
        let attempt = |attempt: Attempt| async move {
            let etag = bucket.head(self.key(), &self.token, bytes, &attempt).await?;
            Ok(Stored { etag, checksum: None, was_there: false })
        };
        bucket.retry.run("HeadObject", attempt).await.map_err(|head| StoreError {
            kind: StoreErrorKind::Unknown,
            message: format!(
                "{}; a request went unanswered and the outcome is unknown: the object may or may not be there ({})",
                last.message, head.message
            ),
        })
    }
}

/// The completion of an upload, as often as it is sent.
struct LastRequest<'a> {
    upload: &'a Upload,
    parts: &'a CompletedMultipartUpload,
}

#[async_trait]
impl Completion for LastRequest<'_> {
    async fn send(&self, attempt: &Attempt) -> Result<Stored, Failure> {
        self.upload.try_complete(self.parts, attempt).await
    }
}

#[async_trait]
impl Multipart for Upload {
    async fn put_part(&self, number: u32, body: Payload) -> Result<Part, StoreError> {
        let bucket = &*self.bucket;
        let digest = bucket.digest("UploadPart", &body).await?;
        let limits = bucket.retry.timeouts;
        let attempt = |attempt: Attempt| {
            let (body, digest) = (&body, &digest);
            async move {
                let (progress, exchange) = (Arc::new(Progress::default()), Exchange::new(&attempt));
                let request = with_checksum!(bucket.sdk.upload_part(), digest.checksum())
                    .bucket(&bucket.place.bucket)
                    .key(self.key())
                    .upload_id(&self.id)
                    .part_number(i32::try_from(number).unwrap_or(i32::MAX))
                    .content_length(i64::try_from(body.length()).unwrap_or(i64::MAX))
                    .set_content_md5(digest.md5().cloned())
                    .body(stream(body, &progress))
                    .customize()
                    .interceptor(bucket.log(self.key(), attempt.number))
                    .interceptor(exchange.clone());
                let send = async {
                    match request.send().await {
                        Ok(answer) => Ok(answer),
                        Err(error) => Err(exchange.failed(&error, &bucket.place).without_rows(body).await),
                    }
                };
                let answer = watched(send, &progress, body.length(), limits.stall, limits.answer).await?;
                if let Err(failure) = exchange.confirm(&bucket.place) {
                    return Err(failure.without_rows(body).await);
                }
                let checksum = digest.checksum().cloned();
                let theirs = checksum.as_ref().and_then(|ours| shown_checksum!(answer, ours.algorithm));
                same_checksum(checksum.as_ref(), theirs)?;
                let etag = etag(answer.e_tag()).map_err(|mut failure| {
                    failure.note(NAMELESS_PART);
                    failure
                })?;
                Ok(Part { number, bytes: body.length(), etag, checksum })
            }
        };
        bucket.retry.run("UploadPart", attempt).await
    }

    async fn complete(&self, parts: Vec<Part>, bytes: u64) -> Result<Stored, StoreError> {
        let on_existing = match self.put.if_exists {
            IfExists::Keep(on_existing) => Some((on_existing, Identity::of_parts(bytes, &parts))),
            IfExists::Replace => None,
        };
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.iter().map(completed).collect())).build();
        if let Some((on_existing, identity)) = on_existing {
            return self.complete_where_nothing_is(&parts, identity, on_existing).await;
        }
        let mut course = self.bucket.retry.course();
        // True once an attempt may have taken effect without our hearing of it.
        let mut unanswered = self.is_resumed;
        // The same, and no answer at all; until the store has been asked for the object.
        let mut lost = false;
        loop {
            let failure = match self.try_complete(&parts, &course.attempt()).await {
                Ok(stored) => return Ok(stored),
                Err(failure) => failure,
            };
            // A refusal took no effect. A server error may have; and what is refused later (the upload is gone, the token has expired) says
            // nothing of the attempts before.
            unanswered |= failure.may_have_happened();
            // RADOS Gateway has nothing but server errors for an upload that is complete.
            if lost && failure.status.is_some_and(|status| status >= 500) {
                if let Ok(etag) = self.bucket.head(self.key(), &self.token, bytes, &Attempt::first()).await {
                    return Ok(Stored { etag, checksum: None, was_there: false });
                }
                lost = false;
            }
            lost |= failure.is_lost();
            if let Err(error) = course.pause("CompleteMultipartUpload", failure).await {
                return if unanswered { self.settle(bytes, error).await } else { Err(error) };
            }
        }
    }

    async fn abort(&self) -> Result<(), StoreError> {
        let bucket = &*self.bucket;
        let mut course = bucket.retry.course();
        loop {
            let attempt = course.attempt();
            let exchange = Exchange::new(&attempt);
            let request = bucket
                .sdk
                .abort_multipart_upload()
                .bucket(&bucket.place.bucket)
                .key(self.key())
                .upload_id(&self.id)
                .customize()
                .interceptor(bucket.log(self.key(), attempt.number))
                .interceptor(exchange.clone());
            let send = async { request.send().await.map_err(|error| exchange.failed(&error, &bucket.place)) };
            match bucket.answer_within(bucket.retry.timeouts.answer, send).await {
                Ok(_) => return Ok(()),
                // Done already: by an attempt whose answer was lost, or by the store.
                Err(failure) if failure.is("NoSuchUpload") => return Ok(()),
                Err(failure) if attempt.number >= ABORT_ATTEMPTS => {
                    return Err(failure.into_error("AbortMultipartUpload", attempt.number));
                }
                Err(failure) => course.pause("AbortMultipartUpload", failure).await?,
            }
        }
    }

    fn handle(&self) -> UploadHandle {
        UploadHandle { id: self.id.clone(), token: self.token.clone() }
    }
}

/// A part as the last request names it.
pub(super) fn completed(part: &Part) -> CompletedPart {
    let number = i32::try_from(part.number).unwrap_or(i32::MAX);
    with_checksum!(CompletedPart::builder(), part.checksum.as_ref()).part_number(number).e_tag(&part.etag).build()
}

/// Why parts cannot do without.
const NAMELESS_PART: &str = "an upload cannot be completed without the ETags of its parts; at such a store objects have to fit one put: raise \
                             `part_size`, or let them end sooner";

/// What becomes of uploads that nobody knows the ids of.
const LEFT_BEHIND: &str = "each may have left an empty upload of the key, which a lifecycle rule (AbortIncompleteMultipartUpload) removes";

fn left_behind(error: StoreError, lost: u32) -> StoreError {
    if lost == 0 {
        return error;
    }
    StoreError { message: format!("{}; {lost} answers were lost, and {LEFT_BEHIND}", error.message), ..error }
}
