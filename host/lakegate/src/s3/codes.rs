//! The error codes of S3 and of the stores that speak its protocol, and what each means.
//!
//! A code says more than the status that it comes with: stores send full disks as 400, 403 and 507. What is not listed here goes by its
//! status.

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Not now: the store has too much to do.
    Throttled,
    /// Not now.
    Transient,
    /// The bytes were damaged on their way.
    Damaged,
    /// The store no longer takes these credentials, or does not know them: there may be others by now.
    Credentials,
    /// The time of the signature.
    Clock,
    /// The secret key.
    Signature,
    /// A permission.
    Permission,
    /// The account behind the credentials: bills, contracts, features.
    Account,
    /// No room, or a quota.
    Full,
    /// What has the key may not be replaced.
    Locked,
    /// The key of server-side encryption.
    EncryptionKey,
    /// Another region.
    Region,
    /// The bucket is not there.
    NoBucket,
    /// The body is larger than the store takes.
    TooLarge,
    /// The connection is to be TLS.
    Insecure,
    /// Something else that stays.
    Lasting,
}

/// Letter by letter. `minio`: MinIO's, `ceph`: RADOS Gateway's, `gcs`: the XML interface of Google Cloud Storage; the rest are S3's or common.
const CODES: &[(Meaning, &[&str])] = &[
    (
        Meaning::Throttled,
        &[
            "SlowDown",
            "SlowDownRead",
            "SlowDownWrite",
            "TooManyRequests",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "BandwidthLimitExceeded",
            "PriorRequestNotComplete",
            // gcs
            "RateLimitExceeded",
            // Backblaze
            "too_busy",
        ],
    ),
    (
        Meaning::Transient,
        &[
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "ServiceUnavailable",
            "ServiceFailure",
            "Busy",
            "ServerBusy",
            "RequestTimeout",
            "RequestTimeoutException",
            "OperationAborted",
            "ConditionalRequestConflict",
            "TransactionInProgressException",
            // KMS
            "KMS.KMSInternalException",
            "KMS.InternalException",
            "KMS.DependencyTimeoutException",
            "KMS.KeyUnavailableException",
            // minio
            "XMinioServerNotInitialized",
            "XMinioBackendDown",
            "XMinioReadQuorum",
            "XMinioWriteQuorum",
            // Backblaze
            "internal_error",
            "service_unavailable",
        ],
    ),
    (
        Meaning::Damaged,
        &[
            "BadDigest",
            "XAmzContentChecksumMismatch",
            "XAmzContentSHA256Mismatch",
            "IncompleteBody",
            "ChecksumMismatch",
            // gcs
            "CrcMismatch",
        ],
    ),
    (
        Meaning::Credentials,
        &[
            "ExpiredToken",
            "ExpiredTokenException",
            "TokenRefreshRequired",
            "InvalidToken",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "Unauthorized",
            "unauthorized",
            "expired_auth_token",
            "bad_auth_token",
        ],
    ),
    (Meaning::Clock, &["RequestTimeTooSkewed", "RequestExpired", "ExpiredRequest", "RequestInTheFuture"]),
    (Meaning::Signature, &["SignatureDoesNotMatch"]),
    (
        Meaning::Permission,
        &[
            "AccessDenied",
            "AccessDeniedException",
            "AccessForbidden",
            "Forbidden",
            "UnauthorizedAccess",
            "InvalidSecurity",
            "access_denied",
        ],
    ),
    (
        Meaning::Account,
        &[
            "AccountProblem",
            "AllAccessDisabled",
            "NotSignedUp",
            "OptInRequired",
            "InvalidPayer",
            // ceph
            "UserSuspended",
            // gcs
            "UserProjectAccountProblem",
            "UserProjectMissing",
            "UserProjectInvalid",
            "BillingDisabled",
            // R2
            "NotEntitled",
            // Others
            "AccountSuspended",
            "AccountDisabled",
            "Suspended",
        ],
    ),
    (
        Meaning::Full,
        &[
            // minio
            "XMinioStorageFull",
            "XMinioStorageBackendFull",
            // Backblaze
            "cap_exceeded",
            "storage_cap_exceeded",
            "transaction_cap_exceeded",
            // Others
            "InsufficientStorage",
            "InsufficientCapacity",
            "StorageLimitExceeded",
            "TooManyObjects",
        ],
    ),
    (
        Meaning::Locked,
        &[
            "InvalidObjectState",
            "InvalidBucketState",
            "ObjectLocked",
            "ObjectLockConfigurationNotFoundError",
            "FileImmutable",
            // gcs
            "ObjectUnderActiveHold",
            "RetentionPolicyNotMet",
        ],
    ),
    (
        Meaning::EncryptionKey,
        &[
            "EncryptionTypeMismatch",
            "KMSNotConfigured",
            "XMinioKMSNotConfigured",
            "XMinioKMSKeyNotFoundException",
            "InvalidEncryptionAlgorithmError",
        ],
    ),
    (Meaning::Region, &["AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "InvalidRegion"]),
    (Meaning::NoBucket, &["NoSuchBucket", "no_such_bucket"]),
    (Meaning::TooLarge, &["EntityTooLarge", "MaxMessageLengthExceeded", "RequestEntityTooLarge", "MaxPostPreDataLengthExceeded"]),
    (Meaning::Insecure, &["InsecureTransportNotAllowed", "TLSRequired"]),
    (
        Meaning::Lasting,
        &["NotImplemented", "MethodNotAllowed", "InvalidArgument", "InvalidRequest", "NoSuchKey", "NoSuchUpload", "InvalidPart"],
    ),
];

impl Meaning {
    /// Of a code, if it is known.
    pub(super) fn from_code(code: &str) -> Option<Self> {
        if let Some((meaning, _)) = CODES.iter().find(|(_, codes)| codes.contains(&code)) {
            return Some(*meaning);
        }
        let lower = code.to_ascii_lowercase();
        // Families: KMS passes its own codes on, and every store has its own word for a quota.
        if lower.contains("throttl") || lower.starts_with("slowdown") {
            Some(Self::Throttled)
        } else if lower.contains("quota") || lower.contains("storagefull") {
            Some(Self::Full)
        } else if lower.starts_with("kms.") || lower.starts_with("kms:") || lower.starts_with("cloudkms") || lower.contains("kmskey") {
            Some(Self::EncryptionKey)
        } else {
            None
        }
    }

    /// Of the store's words, where its code is one of many uses.
    pub(super) fn from_text(words: &str) -> Option<Self> {
        let lower = words.to_ascii_lowercase();
        let says = |texts: &[&str]| texts.iter().any(|text| lower.contains(text));
        if says(INSECURE) {
            Some(Self::Insecure)
        } else if says(&["cap exceeded", "quota exceeded", "exceeded its quota", "storage limit"]) {
            Some(Self::Full)
        } else if says(&["worm protected", "object lock", "under retention", "legal hold"]) && says(&["overwrit", "delete", "protected"]) {
            Some(Self::Locked)
        } else {
            None
        }
    }
}

/// What servers say to HTTP on a port for HTTPS: Go's (MinIO, Caddy), nginx's, Apache's, Tomcat's, and of a policy that asks for TLS.
const INSECURE: &[&str] = &[
    "http request to an https server",
    "http request was sent to https port",
    "speaking plain http to an ssl-enabled",
    "combination of host and port requires tls",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_has_two_meanings() {
        let mut codes: Vec<&str> = CODES.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn families_are_known_by_their_words() {
        let check = |code, expected| assert_eq!(Meaning::from_code(code), expected, "{code}");
        check("KMS.ThrottlingException", Some(Meaning::Throttled));
        check("KMS.DisabledException", Some(Meaning::EncryptionKey));
        check("CloudKmsDisabledKey", Some(Meaning::EncryptionKey));
        check("QuotaExceeded", Some(Meaning::Full));
        check("XMinioAdminBucketQuotaExceeded", Some(Meaning::Full));
        check("XRustfsQuotaExceeded", Some(Meaning::Full));
        check("NobodyKnows", None);
        check("", None);
    }
}
