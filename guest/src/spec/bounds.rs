//! What fields of a spec may hold: said by the rules, and by the JSON Schema.

/// The canned ACLs of S3.
pub(super) const ACLS: [&str; 7] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];

/// The algorithms of S3's server-side encryption. The first needs no key.
pub(super) const ENCRYPTION_ALGORITHMS: [&str; 3] = [AES256, "aws:kms", "aws:kms:dsse"];
pub(super) const AES256: &str = "AES256";

/// Retries of one request. At the default back-off this many would take a working day.
pub(super) const MAX_RETRIES: i64 = 1_000;

/// The longest wait between two attempts that can be asked for: a day.
pub(super) const MAX_BACKOFF_SECONDS: i64 = 86_400;

/// The smallest part that S3 takes anywhere but at the end.
pub(super) const MIN_PART_SIZE_BYTES: i64 = 5 << 20;

/// The largest part that S3 takes.
pub(super) const MAX_PART_SIZE_BYTES: i64 = 5 << 30;

/// The checksums that objects can be sent with; the second is for stores that refuse requests with checksum headers.
pub(super) const CHECKSUM_ALGORITHMS: [&str; 2] = ["crc32", "none"];
