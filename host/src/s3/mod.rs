//! Objects to a bucket: one put, or multipart. Takes only what the policy has authorised; never hears of tenants or wasm.

use crate::bindings::StorageTarget;
use crate::local_store::LocalStore;
use crate::object::PutObject;
use crate::payload::Payload;
use crate::policy::Authorized;
use std::sync::Arc;

/// How the store is reached, apart from what the spec says.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// Use this embedded store instead of the network.
    pub embedded: Option<Arc<LocalStore>>,
}

/// A connection to one bucket.
#[derive(Debug, Clone)]
pub struct S3Client {}

/// A confirmed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The store's ETag.
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

/// A multipart upload in progress.
#[derive(Debug)]
pub struct Multipart {}

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

impl S3Client {
    /// Resolves credentials and makes a client for the target's bucket. Sends nothing to the bucket.
    ///
    /// # Errors
    /// [`StoreError`] if no credentials can be had or the target cannot be used.
    pub async fn connect(target: &StorageTarget, options: &ConnectOptions) -> Result<Self, StoreError> {
        let _ = (target, options);
        Err(StoreError { kind: StoreErrorKind::Unavailable, message: "not built yet".into() })
    }

    /// Puts a whole object with one request.
    ///
    /// # Errors
    /// [`StoreError`] after retries.
    pub async fn put(&self, put: &Authorized<PutObject>, body: Payload) -> Result<Stored, StoreError> {
        let _ = (put, body);
        Err(StoreError { kind: StoreErrorKind::Unavailable, message: "not built yet".into() })
    }

    /// Begins a multipart upload. From here on someone must complete or abort it.
    ///
    /// # Errors
    /// [`StoreError`] after retries.
    pub async fn create(&self, put: &Authorized<PutObject>) -> Result<Multipart, StoreError> {
        let _ = put;
        Err(StoreError { kind: StoreErrorKind::Unavailable, message: "not built yet".into() })
    }

    /// The words for an object that needs more parts than the store allows; names the part size that would fit.
    pub fn too_many_parts(&self, bytes: u64) -> String {
        format!("{bytes} bytes")
    }

    /// How many bytes part `number` (from 1) is to have; `None` past the last part that the store's limit of 10,000 allows.
    pub fn part_bytes(&self, number: u32) -> Option<u64> {
        let _ = number;
        None
    }
}

impl Multipart {
    /// Sends a part.
    ///
    /// # Errors
    /// [`StoreError`] after retries.
    pub async fn put_part(&self, number: u32, body: Payload) -> Result<Part, StoreError> {
        let _ = (number, body);
        Err(StoreError { kind: StoreErrorKind::Unavailable, message: "not built yet".into() })
    }

    /// Makes the object of its parts (in order), `bytes` in all; settles an unanswered request by HEAD.
    ///
    /// # Errors
    /// [`StoreError`]; `Unknown` if the outcome cannot be told.
    pub async fn complete(&self, parts: Vec<Part>, bytes: u64) -> Result<Stored, StoreError> {
        let _ = (parts, bytes);
        Err(StoreError { kind: StoreErrorKind::Unavailable, message: "not built yet".into() })
    }

    /// Gives the upload up, so that the store forgets its parts. Waits for nothing else: parts in flight must have ended.
    ///
    /// # Errors
    /// [`StoreError`]; the caller warns once with key and upload id.
    pub async fn abort(&self) -> Result<(), StoreError> {
        Err(StoreError { kind: StoreErrorKind::Unavailable, message: "not built yet".into() })
    }

    /// The store's id of the upload.
    pub fn id(&self) -> &str {
        ""
    }
}
