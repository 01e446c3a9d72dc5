//! What a spec says of the storage: the part of it that goes to the host.

use super::document::Field;

use super::raw::{RawCredentials, RawEncryption, RawObjectLock, RawSpec};

/// The storage a spec asks for. Mirrors `storage-target` of `wit/destination.wit`, where the fields are explained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented in the WIT")]
pub struct Target {
    pub bucket: String,
    pub region: String,
    pub endpoint: Option<String>,
    pub skip_tls_verify: bool,
    pub path_style: bool,
    pub acl: Option<String>,
    pub encryption: Option<Encryption>,
    pub storage_class: Option<String>,
    pub tags: Vec<(String, String)>,
    pub metadata: Vec<(String, String)>,
    pub object_lock: Option<ObjectLock>,
    pub expected_bucket_owner: Option<String>,
    pub requester_pays: bool,
    pub credentials: CredentialSource,
    pub max_retries: Option<u32>,
    pub max_backoff_seconds: u32,
    pub part_size_bytes: Option<u64>,
    pub checksum_algorithm: Option<String>,
    pub log_requests: bool,
}

/// Server-side encryption that every object asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub algorithm: String,
    /// Absent only for `AES256`.
    pub kms_key_id: Option<String>,
    /// Absent: as the bucket is configured.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    /// Days from the put.
    pub days: u32,
}

/// How requests are signed; absent fields leave the choice to the host's default chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "AWS's own names")]
pub struct CredentialSource {
    pub profile: Option<String>,
    pub role_arn: Option<String>,
    pub role_session_name: Option<String>,
    pub external_id: Option<String>,
}

impl Target {
    /// Takes the fields of a checked form. [`None`]: one that has to be there is missing, which was reported.
    pub(super) fn from_raw(raw: &RawSpec) -> Option<Self> {
        let encryption = raw.server_side_encryption_configuration.given().map(|it| {
            let RawEncryption { sse_kms_key_id, server_side_encryption, bucket_key_enabled } = it;
            let bucket_key = bucket_key_enabled.given().copied();
            Some(Encryption { algorithm: server_side_encryption.text()?, kms_key_id: sse_kms_key_id.text(), bucket_key })
        });
        Some(Self {
            bucket: raw.bucket.text()?,
            region: raw.region.text()?,
            endpoint: raw.endpoint.text(),
            skip_tls_verify: raw.endpoint_skip_tls_verify.is_true(),
            path_style: raw.use_path_style.is_true(),
            acl: raw.acl.text(),
            encryption: encryption.flatten(),
            storage_class: raw.storage_class.text(),
            // Made of the sync, too: see `headers`.
            tags: Vec::new(),
            metadata: Vec::new(),
            object_lock: locked(&raw.object_lock),
            expected_bucket_owner: raw.expected_bucket_owner.text(),
            requester_pays: raw.request_payer.filled().is_some(),
            credentials: CredentialSource::from_raw(raw),
            max_retries: raw.max_retries.number(),
            max_backoff_seconds: raw.max_backoff.number()?,
            part_size_bytes: raw.part_size.number(),
            checksum_algorithm: raw.checksum_algorithm.text(),
            log_requests: raw.aws_debug.is_true(),
        })
    }
}

impl CredentialSource {
    /// `local_profile` at the top is short for the one inside `credentials`.
    fn from_raw(raw: &RawSpec) -> Self {
        let nested = raw.credentials.given().map(|it| {
            let RawCredentials { local_profile, role_arn, role_session_name, external_id } = it;
            Self {
                profile: local_profile.text(),
                role_arn: role_arn.text(),
                role_session_name: role_session_name.text(),
                external_id: external_id.text(),
            }
        });
        let nested = nested.unwrap_or_default();
        Self { profile: raw.local_profile.text().or(nested.profile), ..nested }
    }
}

/// As the host has it. [`None`]: nothing is locked, or what is wrong was reported.
fn locked(lock: &Field<RawObjectLock>) -> Option<ObjectLock> {
    let RawObjectLock { mode, retain_days, legal_hold } = lock.given()?;
    let retention = mode.text().zip(retain_days.number()).map(|(mode, days)| Retention { mode, days });
    Some(ObjectLock { retention, legal_hold: legal_hold.is_true() })
}

/// A [`Target`] as the record `storage-target` of the world, in whatever types `$types` has for it: those of the guest's bindings, or in tests
/// of the host. One list of fields, so that no field is forgotten in one of them.
#[macro_export]
macro_rules! storage_target {
    ($target:expr, $types:ident) => {{
        let $crate::spec::Target {
            bucket,
            region,
            endpoint,
            skip_tls_verify,
            path_style,
            acl,
            encryption,
            storage_class,
            tags,
            metadata,
            object_lock,
            expected_bucket_owner,
            requester_pays,
            credentials,
            max_retries,
            max_backoff_seconds,
            part_size_bytes,
            checksum_algorithm,
            log_requests,
        } = $target;
        let $crate::spec::CredentialSource { profile, role_arn, role_session_name, external_id } = credentials;
        $types::StorageTarget {
            bucket,
            region,
            endpoint,
            skip_tls_verify,
            path_style,
            acl,
            encryption: encryption.map(|$crate::spec::Encryption { algorithm, kms_key_id, bucket_key }| $types::Encryption {
                algorithm,
                kms_key_id,
                bucket_key,
            }),
            storage_class,
            tags,
            metadata,
            object_lock: object_lock.map(|$crate::spec::ObjectLock { retention, legal_hold }| $types::ObjectLock {
                retention: retention.map(|$crate::spec::Retention { mode, days }| $types::Retention { mode, days }),
                legal_hold,
            }),
            expected_bucket_owner,
            requester_pays,
            credentials: $types::CredentialSource { profile, role_arn, role_session_name, external_id },
            max_retries,
            max_backoff_seconds,
            part_size_bytes,
            checksum_algorithm,
            log_requests,
        }
    }};
}
