//! What a checked spec says, in types of the host's own: those of the world are generated, and known to the sandbox alone.

use super::object::OnExisting;
use serde::{Deserialize, Serialize};

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
    /// The storage class of objects with rows; [`None`]: the store's own choice.
    pub storage_class: Option<String>,
    /// Tags of every object: keys and values.
    pub tags: Vec<(String, String)>,
    /// User metadata of every object: names without `x-amz-meta-`, and values.
    pub metadata: Vec<(String, String)>,
    /// How objects with rows, manifests and markers are locked; [`None`]: as the bucket is configured.
    pub object_lock: Option<ObjectLock>,
    /// The account that has to own the bucket, for any request to be served.
    pub expected_bucket_owner: Option<String>,
    /// Whether requests are paid for by who sends them.
    pub requester_pays: bool,
    /// How requests are signed.
    pub credentials: CredentialSource,
    /// Retries after the first attempt; [`None`]: transient failures are retried for up to two minutes.
    pub max_retries: Option<u32>,
    /// The longest pause between retries, in seconds.
    pub max_backoff_seconds: u32,
    /// Bytes of a part of an upload; [`None`]: the host chooses.
    pub part_size_bytes: Option<u64>,
    /// The checksum that objects and parts are sent with, by the name of a [`ChecksumAlgorithm`](super::checksum::ChecksumAlgorithm), or `none`;
    /// [`None`]: as the host is configured.
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
                bucket_key: encryption.bucket_key,
            }),
            storage_class: record.storage_class,
            tags: record.tags,
            metadata: record.metadata,
            object_lock: record.object_lock.map(|lock| $crate::storage::target::ObjectLock {
                retention: lock.retention.map(|it| $crate::storage::target::Retention { mode: it.mode, days: it.days }),
                legal_hold: lock.legal_hold,
            }),
            expected_bucket_owner: record.expected_bucket_owner,
            requester_pays: record.requester_pays,
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
    /// Whether the bucket has a key of its own, made with that of KMS; [`None`]: as the bucket is configured.
    pub bucket_key: Option<bool>,
}

/// What keeps a version of an object from being deleted or replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectLock {
    /// For some time.
    pub retention: Option<Retention>,
    /// Until someone lifts it.
    pub legal_hold: bool,
}

/// A lock for some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// `GOVERNANCE`, which who has the permission may lift, or `COMPLIANCE`, which nobody may.
    pub mode: String,
    /// Days from the put.
    pub days: u32,
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
    /// The `Content-Encoding` of every object.
    pub content_encoding: Option<String>,
    /// Whether rows of one table may go into several objects at the same time.
    pub splittable: bool,
    /// How the objects become one commit.
    pub commit: CommitPlan,
    /// The catalog in which the objects of each table become a snapshot; [`None`] if there is none.
    pub catalog: Option<CatalogPlan>,
    /// Rows of a table that may be in quarantine in one write; [`None`] if none may.
    pub quarantine_rows: Option<u64>,
    /// What the component opens a session with; the host does not look into it.
    pub settings: String,
    /// What the spec says and nobody heeds.
    pub warnings: Vec<SpecProblem>,
}

/// How the objects of a sync become one commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitPlan {
    /// The name of the commit, the same in every attempt at it; empty where nothing depends on it.
    pub id: String,
    /// For exactly-once delivery: objects are created and never replaced, and which count as written where there is one already.
    pub create_only: Option<OnExisting>,
    /// Where nothing is to be seen before every table has succeeded: the key of the record that is created then.
    pub pending: Option<String>,
    /// For a manifest of each table.
    pub manifest: Option<ManifestPlan>,
    /// Objects by which is seen whether the store creates without replacing: one by a put, one by an upload.
    pub probes: Vec<ObjectAttributes>,
}

/// What is written about the objects of a commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ManifestPlan {
    /// Whether the manifest may say more than Redshift's COPY asks for.
    pub extra: bool,
}

/// Where the records of a commit go that concern one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitKeys {
    /// The manifest.
    pub manifest: Option<String>,
    /// The list of the objects' URLs.
    pub symlink_list: Option<String>,
    /// The marker of success, which several tables may share.
    pub success_marker: Option<String>,
    /// The table of a catalog that the objects become part of.
    #[serde(default)]
    pub catalog_table: Option<CatalogTable>,
}

/// The catalog of a sync's tables, as a spec asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogPlan {
    /// The address of its REST interface.
    pub uri: String,
    /// Which warehouse of it.
    pub warehouse: Option<String>,
    /// The levels of the namespace.
    pub namespace: Vec<String>,
    /// How requests prove who sends them.
    pub auth: CatalogAuth,
    /// Whether tables are created that are not there.
    pub create: bool,
    /// Whether columns are added that a table lacks; else it fails.
    pub adds_columns: bool,
    /// Whether times of day and UUIDs are text.
    pub athena: bool,
    /// What keys take from rows, in the order of the path.
    pub partition: Vec<PartitionSource>,
}

/// How requests to a catalog prove who sends them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogAuth {
    /// Not at all.
    None,
    /// A token.
    Bearer(SecretSource),
    /// A client's id and secret, with a colon between, for which there is a token (OAuth2 client credentials).
    OAuth2 {
        /// Where they are.
        credential: SecretSource,
        /// Where tokens are given; [`None`]: the catalog itself.
        token_uri: Option<String>,
        /// What the token is to be good for.
        scope: Option<String>,
    },
    /// AWS's signatures, for the service of this name.
    SigV4(String),
}

/// Where a secret is. No spec holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a variable of the environment.
    Environment(String),
    /// In a file.
    File(String),
}

/// What a key takes from rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSource {
    /// The column.
    pub column: String,
    /// What of its values.
    pub part: PartitionPart,
}

/// What of a column's value tells partitions apart. Times are in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub enum PartitionPart {
    Value,
    Year,
    Month,
    Day,
    Hour,
    Minute,
}

/// A table of a catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogTable {
    /// Its name in the namespace.
    pub name: String,
    /// The folder in which all its objects lie, without a slash at its end.
    pub folder: String,
}

/// What a sync is an attempt at.
///
/// A text stands for a sync with that id and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncContext {
    /// The identity of the sync (`{{SYNC_ID}}`); empty if there is none.
    pub sync_id: String,
    /// What the client calls the commit; empty if it has no name for it. A spec may name another.
    pub commit_id: String,
    /// What clock placeholders stand for in every attempt, in seconds since 1970.
    pub commit_time: Option<u64>,
    /// Whether another attempt would bring the same rows in the same order: files do, plugins do not.
    pub repeatable: bool,
    /// Which part of the sync this is, of how many, from 1.
    pub shard: Option<(u32, u32)>,
}

impl From<&str> for SyncContext {
    fn from(sync_id: &str) -> Self {
        Self { sync_id: sync_id.to_owned(), ..Self::default() }
    }
}

impl From<&String> for SyncContext {
    fn from(sync_id: &String) -> Self {
        Self::from(sync_id.as_str())
    }
}

/// What a component says of an object that it opens. The host checks all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// The key.
    pub key: String,
    /// The `Content-Type`.
    pub content_type: String,
    /// The `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// The partition of its rows: names and values.
    pub partition: Vec<(String, Option<String>)>,
    /// Whether it holds rows that could not be written.
    pub is_quarantine: bool,
}

/// What a component says of an object that it has finished.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFacts {
    /// Rows in it.
    pub rows: u64,
    /// Facts of its columns, as many as there are.
    pub columns: Vec<ColumnFacts>,
    /// Offsets at which it can be split.
    pub split_offsets: Vec<u64>,
}

/// What a component says of a column of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnFacts {
    /// The names down to the field, joined with dots.
    pub path: String,
    /// Values, null ones included.
    pub values: u64,
    /// Values that are null.
    pub nulls: u64,
    /// Values that are not a number.
    pub nans: Option<u64>,
    /// A bound that no value is below.
    pub lower: Option<Vec<u8>>,
    /// A bound that no value is above.
    pub upper: Option<Vec<u8>>,
    /// Bytes that the column takes in the object.
    pub encoded_bytes: Option<u64>,
}

/// Columns of an object's facts at most.
const MAX_FACT_COLUMNS: usize = 1_000;

/// Bytes of a bound, and of a column's path.
const MAX_BOUND_BYTES: usize = 64;
const MAX_PATH_BYTES: usize = 4_096;

/// Offsets at which an object can be split, at most.
const MAX_SPLIT_OFFSETS: usize = 10_000;

/// Values of a partition, and bytes of each, at most.
const MAX_PARTITION_VALUES: usize = 16;
const MAX_PARTITION_BYTES: usize = 1_024;

impl ObjectAttributes {
    /// What is wrong with what is no key and no type.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.partition.len() > MAX_PARTITION_VALUES {
            return Some(format!("a partition has {} values; at most {MAX_PARTITION_VALUES} are accepted", self.partition.len()));
        }
        let bytes = |(name, value): &(String, Option<String>)| name.len().max(value.as_ref().map_or(0, String::len));
        let is_long = self.partition.iter().any(|value| bytes(value) > MAX_PARTITION_BYTES);
        is_long.then(|| format!("a partition has a value of more than {MAX_PARTITION_BYTES} bytes"))
    }
}

impl ObjectFacts {
    /// What makes no sense, or is too much.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.columns.len() > MAX_FACT_COLUMNS {
            return Some(format!("facts of {} columns; at most {MAX_FACT_COLUMNS} are accepted", self.columns.len()));
        }
        if self.split_offsets.len() > MAX_SPLIT_OFFSETS || !self.split_offsets.is_sorted() {
            return Some(format!("{} split offsets; at most {MAX_SPLIT_OFFSETS} are accepted, rising", self.split_offsets.len()));
        }
        self.columns.iter().find_map(ColumnFacts::problem)
    }
}

impl ColumnFacts {
    fn problem(&self) -> Option<String> {
        let bounds = [&self.lower, &self.upper];
        if self.path.len() > MAX_PATH_BYTES || bounds.into_iter().flatten().any(|bound| bound.len() > MAX_BOUND_BYTES) {
            return Some(format!(
                "facts of a column whose path has more than {MAX_PATH_BYTES} bytes or whose bound more than {MAX_BOUND_BYTES}"
            ));
        }
        (self.nulls.saturating_add(self.nans.unwrap_or_default()) > self.values)
            .then(|| "facts of a column with more nulls and NaNs than values".to_owned())
    }
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
