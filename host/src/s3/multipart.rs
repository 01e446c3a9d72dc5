//! Uploads in parts.
//!
//! The completion is the one request whose lost answer matters: the object may be there, and the upload no longer is. A random token in
//! the object's metadata tells our object from another of the same key and size.

use super::failure::{Class, Failure};
use super::retry::watched;
use super::{Bucket, Checksums, StoreError, StoreErrorKind, Stored, etag, named, same_checksum, stream};
use crate::object::PutObject;
use crate::payload::{Payload, Progress};
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use std::fmt;
use std::sync::Arc;

/// The metadata key of the token.
const TOKEN_KEY: &str = "lakegate-upload";

/// Attempts to abort: a store that is gone forgets the parts by its lifecycle rule.
const ABORT_ATTEMPTS: u32 = 3;

/// A multipart upload in progress.
pub struct Multipart {
    bucket: Arc<Bucket>,
    key: String,
    id: String,
    token: String,
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multipart").field("key", &self.key).field("id", &self.id).finish_non_exhaustive()
    }
}

/// A part the store has taken.
#[derive(Debug, Clone)]
pub struct Part {
    /// From 1.
    pub number: u32,
    /// The store's ETag of the part.
    pub etag: String,
    /// CRC32 of the part, base64, where checksums are on.
    pub checksum: Option<String>,
}

impl Part {
    /// Bytes of what the store has named.
    pub(crate) fn named_bytes(&self) -> u64 {
        (self.etag.len() + self.checksum.as_ref().map_or(0, String::len)) as u64
    }
}

impl Multipart {
    pub(super) async fn create(bucket: Arc<Bucket>, put: &PutObject) -> Result<Self, StoreError> {
        let key = put.key.as_str();
        let token = token()?;
        let algorithm = (bucket.checksums == Checksums::Auto).then_some(ChecksumAlgorithm::Crc32);
        let attempt = |attempt| {
            let request = bucket
                .sdk
                .create_multipart_upload()
                .bucket(&bucket.place.bucket)
                .key(key)
                .content_type(put.content_type.as_str())
                .set_acl(bucket.acl.clone())
                .set_server_side_encryption(bucket.encryption.clone())
                .set_ssekms_key_id(bucket.kms_key_id.clone())
                .set_checksum_algorithm(algorithm.clone())
                .metadata(TOKEN_KEY, &token)
                .customize()
                .interceptor(bucket.log(key, attempt));
            let bucket = &bucket;
            async move {
                let send = async { request.send().await.map_err(|error| Failure::of(&error, &bucket.place)) };
                let answer = bucket.answer_within(bucket.retry.limits.answer, send).await?;
                named("upload id", answer.upload_id())
            }
        };
        let id = bucket.retry.run("CreateMultipartUpload", attempt).await?;
        Ok(Self { key: key.to_owned(), bucket, id, token })
    }

    /// Sends a part.
    ///
    /// # Errors
    /// [`StoreError`] after retries.
    pub async fn put_part(&self, number: u32, body: Payload) -> Result<Part, StoreError> {
        let bucket = &*self.bucket;
        let checksum = bucket.checksum("UploadPart", &body).await?;
        let limits = bucket.retry.limits;
        let attempt = |attempt| {
            let (body, checksum) = (&body, checksum.clone());
            async move {
                let progress = Arc::new(Progress::default());
                let request = bucket
                    .sdk
                    .upload_part()
                    .bucket(&bucket.place.bucket)
                    .key(&self.key)
                    .upload_id(&self.id)
                    .part_number(i32::try_from(number).unwrap_or(i32::MAX))
                    .content_length(i64::try_from(body.length()).unwrap_or(i64::MAX))
                    .set_checksum_crc32(checksum.clone())
                    .body(stream(body, &progress))
                    .customize()
                    .interceptor(bucket.log(&self.key, attempt));
                let send = async {
                    match request.send().await {
                        Ok(answer) => Ok(answer),
                        Err(error) => Err(Failure::of(&error, &bucket.place).without_rows(body).await),
                    }
                };
                let answer = watched(send, &progress, body.length(), limits.stall, limits.answer).await?;
                same_checksum(checksum.as_deref(), answer.checksum_crc32())?;
                Ok(Part { number, etag: etag(answer.e_tag())?, checksum })
            }
        };
        bucket.retry.run("UploadPart", attempt).await
    }

    /// Makes the object of its parts (in order), `bytes` in all; settles an unanswered request by HEAD.
    ///
    /// # Errors
    /// [`StoreError`]; `Unknown` if the outcome cannot be told.
    pub async fn complete(&self, parts: Vec<Part>, bytes: u64) -> Result<Stored, StoreError> {
        let parts = parts.into_iter().map(|part| {
            CompletedPart::builder()
                .part_number(i32::try_from(part.number).unwrap_or(i32::MAX))
                .e_tag(part.etag)
                .set_checksum_crc32(part.checksum)
                .build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let mut course = self.bucket.retry.course();
        // True once an attempt may have taken effect without our hearing of it.
        let mut unanswered = false;
        loop {
            let failure = match self.try_complete(&parts, course.attempts + 1).await {
                Ok(stored) => return Ok(stored),
                Err(failure) => failure,
            };
            // A refusal took no effect. A server error may have; and what is refused later (the upload is gone, the token has expired) says
            // nothing of the attempts before.
            unanswered |= matches!(failure.class, Class::Transient | Class::Throttled);
            if let Err(error) = course.pause("CompleteMultipartUpload", failure).await {
                return if unanswered { self.settle(bytes, error).await } else { Err(error) };
            }
        }
    }

    async fn try_complete(&self, parts: &CompletedMultipartUpload, attempt: u32) -> Result<Stored, Failure> {
        let bucket = &*self.bucket;
        let request = bucket
            .sdk
            .complete_multipart_upload()
            .bucket(&bucket.place.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .multipart_upload(parts.clone())
            .customize()
            .interceptor(bucket.log(&self.key, attempt));
        let send = async { request.send().await.map_err(|error| Failure::of(&error, &bucket.place)) };
        let answer = bucket.answer_within(bucket.retry.limits.complete, send).await?;
        Ok(Stored { etag: etag(answer.e_tag())?, checksum: None })
    }

    /// The last attempt ended with `last`, and one went unanswered: is the object there, and is it ours?
    async fn settle(&self, bytes: u64, last: StoreError) -> Result<Stored, StoreError> {
        let bucket = &*self.bucket;
        let attempt = |attempt| {
            let request = bucket
                .sdk
                .head_object()
                .bucket(&bucket.place.bucket)
                .key(&self.key)
                .customize()
                .interceptor(bucket.log(&self.key, attempt));
            async move {
                let send = async { request.send().await.map_err(|error| Failure::of(&error, &bucket.place)) };
                let answer = bucket.answer_within(bucket.retry.limits.answer, send).await?;
                let token = answer.metadata().and_then(|metadata| metadata.get(TOKEN_KEY));
                let same_size = answer.content_length().and_then(|length| u64::try_from(length).ok()) == Some(bytes);
                if same_size && token == Some(&self.token) {
                    Ok(Stored { etag: etag(answer.e_tag())?, checksum: None })
                } else {
                    Err(Failure::lasting(StoreErrorKind::Unknown, "another object has the key"))
                }
            }
        };
        bucket.retry.run("HeadObject", attempt).await.map_err(|head| StoreError {
            kind: StoreErrorKind::Unknown,
            message: format!(
                "{}; a request went unanswered and the outcome is unknown: the object may or may not be there ({})",
                last.message, head.message
            ),
        })
    }

    /// Gives the upload up, so that the store forgets its parts. Waits for nothing else: parts in flight must have ended.
    ///
    /// # Errors
    /// [`StoreError`]; the caller warns once with key and upload id.
    pub async fn abort(&self) -> Result<(), StoreError> {
        let bucket = &*self.bucket;
        let mut course = bucket.retry.course();
        loop {
            let attempt = course.attempts + 1;
            let request = bucket
                .sdk
                .abort_multipart_upload()
                .bucket(&bucket.place.bucket)
                .key(&self.key)
                .upload_id(&self.id)
                .customize()
                .interceptor(bucket.log(&self.key, attempt));
            let send = async { request.send().await.map_err(|error| Failure::of(&error, &bucket.place)) };
            match bucket.answer_within(bucket.retry.limits.answer, send).await {
                Ok(_) => return Ok(()),
                // Done already: by an attempt whose answer was lost, or by the store.
                Err(failure) if failure.is("NoSuchUpload") => return Ok(()),
                Err(failure) if attempt >= ABORT_ATTEMPTS => return Err(failure.into_error("AbortMultipartUpload", attempt)),
                Err(failure) => course.pause("AbortMultipartUpload", failure).await?,
            }
        }
    }

    /// The store's id of the upload.
    pub fn id(&self) -> &str {
        &self.id
    }
}

fn token() -> Result<String, StoreError> {
    let mut random = [0; 16];
    match getrandom::fill(&mut random) {
        Ok(()) => Ok(random.iter().map(|byte| format!("{byte:02x}")).collect()),
        Err(error) => {
            Err(StoreError { kind: StoreErrorKind::Unavailable, message: format!("the machine gives no random numbers: {error}") })
        }
    }
}
