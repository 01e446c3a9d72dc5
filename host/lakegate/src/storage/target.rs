//! What a checked spec says, in types of the host's own: those of the world are generated, and known to the sandbox alone.

/// Where objects go, as a spec asks for it. A grant decides whether it may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageTarget {
    /// The bucket's name.
    pub bucket: String,
    /// The code of the bucket's region.
    pub region: String,
    /// Where requests go instead of AWS: a URL.
    pub endpoint: Option<String>,
    /// Whether any certificate of the endpoint is accepted.
    pub skip_tls_verify: bool,
    /// Whether the bucket stands in the path of the URL.
    pub path_style: bool,
    /// A canned ACL.
    pub acl: Option<String>,
    /// Server-side encryption that every object asks for.
    pub encryption: Option<Encryption>,
    /// How requests are signed.
    pub credentials: CredentialSource,
    /// Retries after the first attempt; [`None`]: transient failures are retried for up to two minutes.
    pub max_retries: Option<u32>,
    /// The longest pause between retries, in seconds.
    pub max_backoff_seconds: u32,
    /// Bytes of a part of an upload; [`None`]: the host chooses.
    pub part_size_bytes: Option<u64>,
    /// The checksum that objects and parts are sent with: `crc32`, or `none`; [`None`]: as the host is configured.
    pub checksum_algorithm: Option<String>,
    /// Whether every request is logged at debug level.
    pub log_requests: bool,
}

/// The record `storage-target` of the world as a [`StorageTarget`]. Its type is generated, and only the sandbox names it; the list of its fields
/// stands here all the same, beside the type that has to have them.
macro_rules! from_record {
    ($record:expr) => {{
        let record = $record;
        $crate::storage::target::StorageTarget {
            bucket: record.bucket,
            region: record.region,
            endpoint: record.endpoint,
            skip_tls_verify: record.skip_tls_verify,
            path_style: record.path_style,
            acl: record.acl,
            encryption: record.encryption.map(|encryption| $crate::storage::target::Encryption {
                algorithm: encryption.algorithm,
                kms_key_id: encryption.kms_key_id,
            }),
            credentials: $crate::storage::target::CredentialSource {
                profile: record.credentials.profile,
                role_arn: record.credentials.role_arn,
                role_session_name: record.credentials.role_session_name,
                external_id: record.credentials.external_id,
            },
            max_retries: record.max_retries,
            max_backoff_seconds: record.max_backoff_seconds,
            part_size_bytes: record.part_size_bytes,
            checksum_algorithm: record.checksum_algorithm,
            log_requests: record.log_requests,
        }
    }};
}
pub(crate) use from_record;

/// How requests are signed; what is absent is left to the default chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialSource {
    /// A profile of AWS's shared files.
    pub profile: Option<String>,
    /// A role to assume.
    pub role_arn: Option<String>,
    /// The name of the role's session.
    pub role_session_name: Option<String>,
    /// The external ID that the role asks for.
    pub external_id: Option<String>,
}

/// Server-side encryption.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encryption {
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub algorithm: String,
    /// The key of KMS; empty or [`None`] for the account's own.
    pub kms_key_id: Option<String>,
}

/// A checked spec: what the host needs of it, and what a session is opened with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Where objects go.
    pub target: StorageTarget,
    /// An empty object to put before anything else, to see that the bucket can be written.
    pub test_object: Option<ObjectAttributes>,
    /// The format, by its name in a spec.
    pub format: String,
    /// The `Content-Type` of every object.
    pub content_type: String,
    /// Whether rows of one table may go into several objects at the same time.
    pub splittable: bool,
    /// What the component opens a session with; the host does not look into it.
    pub settings: String,
    /// What the spec says and nobody heeds.
    pub warnings: Vec<SpecProblem>,
}

/// What a component says of an object that it opens. The host checks all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// The key.
    pub key: String,
    /// The `Content-Type`.
    pub content_type: String,
}

/// One thing wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// The field, as a dotted path (`credentials.role_arn`); empty for the spec as a whole.
    pub field: String,
    /// What is wrong, and what would be accepted.
    pub message: String,
}

/// Why the host did not take something of a component's: whose fault it is, in words that a component may hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PutError {
    /// The grant does not allow it. Trying again does not help.
    Denied(String),
    /// A limit of the host is reached; the words name it.
    Quota(String),
    /// The request is malformed, or comes at the wrong time.
    Invalid(String),
    /// The store cannot be reached, or did not answer in time.
    Unavailable(String),
    /// The store refused the object.
    Rejected(String),
}

impl PutError {
    /// The words.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Denied(text) | Self::Quota(text) | Self::Invalid(text) | Self::Unavailable(text) | Self::Rejected(text) => text,
        }
    }
}
