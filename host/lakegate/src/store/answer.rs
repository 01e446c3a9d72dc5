//! What a store answers: an object or a part that it has taken, or why not.

use crate::storage::checksum::{Checksum, ChecksumAlgorithm};
use crate::storage::object::ObjectKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A confirmed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The store's ETag; empty if it names none.
    pub etag: String,
    /// Of the object, where known.
    pub checksum: Option<Checksum>,
    /// True if the object was there before, and counts as written.
    pub was_there: bool,
}

/// What a store says of an object without its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its size, if named.
    pub bytes: Option<u64>,
    /// The store's ETag; empty if it names none.
    pub etag: String,
    /// The checksums that are shown, as [`Checksum::value`] has them.
    pub checksums: BTreeMap<ChecksumAlgorithm, String>,
    /// The `Content-Type`.
    pub content_type: Option<String>,
    /// User metadata, by its names without `x-amz-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// Whether the ETag is no MD5, because the object is encrypted with a key of KMS.
    pub is_kms_encrypted: bool,
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
    /// The key has another object, and the put may replace none.
    Exists,
    /// The store lacks an ability that is asked for.
    Unsupported,
    /// A limit of ours (10,000 parts).
    Quota,
}

impl StoreErrorKind {
    /// The host's own words for it, which name nothing of whose store it is.
    pub fn message(self) -> &'static str {
        match self {
            Self::Denied => "the store does not allow the object",
            Self::Unavailable => "the store did not take the object in time",
            Self::Rejected => "the store refused the object",
            Self::Unknown => "the outcome is unknown: the store does not say whether it has the object",
            Self::Exists => "the key has another object, and nothing is replaced",
            Self::Unsupported => "the store lacks an ability that the spec asks for",
            Self::Quota => "a limit is reached",
        }
    }
}

/// The error for an object that is larger than what is read of it.
pub(crate) fn too_large(key: &ObjectKey, most_bytes: u64) -> StoreError {
    StoreError { kind: StoreErrorKind::Quota, message: format!("the object {:?} has more than {most_bytes} bytes", key.as_str()) }
}

/// What an upload is found again by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadHandle {
    /// The store's id of it.
    pub id: String,
    /// What tells its object from others of the same key.
    pub token: String,
}

/// A part the store has taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// From 1.
    pub number: u32,
    /// Bytes of it.
    pub bytes: u64,
    /// The store's ETag of the part.
    pub etag: String,
    /// The checksum that the part was sent with, if any.
    pub checksum: Option<Checksum>,
}

impl Part {
    /// Bytes of what the store has named.
    pub(crate) fn named_bytes(&self) -> u64 {
        (self.etag.len() + self.checksum.as_ref().map_or(0, |sum| sum.value.len())) as u64
    }
}
