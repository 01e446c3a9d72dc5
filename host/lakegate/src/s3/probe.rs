//! Whether a store honours `If-None-Match: *`. Some ignore it, in silence, on one request or the other: no list says which, so they are asked.
//!
//! Two empty objects stay in the bucket, one made by a put and one by an upload: some stores honour the condition only where the object was
//! made by the same request. Once they are there, a probe writes nothing.

use super::bucket::{Bucket, random_token};
use super::failure::{Failure, RetryClass};
use super::multipart::{Upload, completed};
use super::retry::Attempt;
use crate::payload::body::{Payload, Piece};
use crate::storage::object::PutObject;
use crate::store::answer::{Part, StoreError, StoreErrorKind};
use crate::store::traits::Multipart;
use aws_sdk_s3::types::CompletedMultipartUpload;
use bytes::Bytes;
use std::sync::Arc;

/// The ETag of a part that was never sent.
const NO_PART: &str = "00000000000000000000000000000000";

/// How a conditional request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// 412: it is honoured.
    Honoured,
    /// The request was taken: there was no object, or the condition is ignored.
    Taken,
    /// Refused for what it asks; says nothing.
    Refused,
}

/// Asks for both requests.
pub(super) async fn create_only(bucket: &Arc<Bucket>, by_put: &PutObject, by_upload: &PutObject) -> Result<(), StoreError> {
    // The first may create the object; the second finds it.
    if !(put(bucket, by_put).await? || put(bucket, by_put).await?) {
        return Err(ignored("PutObject"));
    }
    if without_part(bucket, by_upload).await? {
        return Ok(());
    }
    if with_part(bucket, by_upload).await? || with_part(bucket, by_upload).await? {
        Ok(())
    } else {
        Err(ignored("CompleteMultipartUpload"))
    }
}

/// An empty put. True if the condition is honoured.
async fn put(bucket: &Bucket, put: &PutObject) -> Result<bool, StoreError> {
    let body = Payload::default();
    let (digest, token) = (bucket.digest("PutObject", &body).await?, random_token()?);
    let attempt = |attempt: Attempt| {
        let (body, digest, token) = (&body, &digest, &token);
        async move { condition(bucket.try_put(put, body, digest, Some(token), &attempt).await) }
    };
    refusal_is_final("PutObject", bucket.retry.run("PutObject", attempt).await?)
}

/// A completion with a part that was never sent: it cannot succeed, so that it leaves nothing where the store looks at the condition first.
/// False if the answer says nothing of the condition.
async fn without_part(bucket: &Arc<Bucket>, put: &PutObject) -> Result<bool, StoreError> {
    let upload = Upload::create(bucket.clone(), put).await?;
    let never_sent = Part { number: 1, bytes: 0, etag: NO_PART.to_owned(), checksum: None };
    let answer = complete(bucket, &upload, &never_sent).await;
    abort(&upload).await;
    Ok(answer? == Condition::Honoured)
}

/// A completion with a real part of one byte.
async fn with_part(bucket: &Arc<Bucket>, put: &PutObject) -> Result<bool, StoreError> {
    let upload = Upload::create(bucket.clone(), put).await?;
    let answer = async {
        let part = upload.put_part(1, Payload::new(vec![Piece::Memory(Bytes::from_static(PART))])).await?;
        complete(bucket, &upload, &part).await
    };
    let answer = answer.await;
    // Never after it was taken: then there is no upload any more.
    if !matches!(answer, Ok(Condition::Taken)) {
        abort(&upload).await;
    }
    refusal_is_final("CompleteMultipartUpload", answer?)
}

/// The content of the object that is made by an upload.
const PART: &[u8] = b"\n";

async fn complete(bucket: &Bucket, upload: &Upload, part: &Part) -> Result<Condition, StoreError> {
    let parts = &CompletedMultipartUpload::builder().parts(completed(part)).build();
    let attempt = |attempt: Attempt| async move { condition(upload.try_complete(parts, &attempt).await) };
    bucket.retry.run("CompleteMultipartUpload", attempt).await
}

/// Who may not abort leaves an empty upload behind, which the bucket's lifecycle rule removes; that is no reason to refuse the store.
async fn abort(upload: &Upload) {
    if let Err(error) = upload.abort().await {
        tracing::debug!(key = upload.key(), error = error.message, "The upload of a probe could not be aborted.");
    }
}

/// A failure that may pass is one still.
fn condition<T>(answer: Result<T, Failure>) -> Result<Condition, Failure> {
    match answer {
        Ok(_) => Ok(Condition::Taken),
        Err(failure) if failure.is_precondition() => Ok(Condition::Honoured),
        // It was taken by an attempt whose answer was lost.
        Err(failure) if failure.is("NoSuchUpload") => Ok(Condition::Taken),
        Err(failure) if matches!(failure.status, Some(400 | 501)) => Ok(Condition::Refused),
        // Another probe of the same objects is under way.
        Err(mut failure) if failure.is_conflict() => {
            failure.class = RetryClass::Transient;
            Err(failure)
        }
        Err(failure) => Err(failure),
    }
}

fn refusal_is_final(operation: &str, condition: Condition) -> Result<bool, StoreError> {
    match condition {
        Condition::Honoured => Ok(true),
        Condition::Taken => Ok(false),
        Condition::Refused => Err(unsupported(format!("the store refuses {operation} with If-None-Match: *"))),
    }
}

fn ignored(operation: &str) -> StoreError {
    unsupported(format!("the store ignores If-None-Match: * on {operation}: of two writers of one key, the second would replace the first"))
}

fn unsupported(what: String) -> StoreError {
    let message = format!("`delivery: exactly_once` and `visibility: on_commit` need a store that creates without replacing, and {what}");
    StoreError { kind: StoreErrorKind::Unsupported, message }
}
