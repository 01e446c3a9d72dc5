//! What a store answers: an object or a part that it has taken, or why not.

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
