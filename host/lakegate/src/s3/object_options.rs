//! What a target asks of every object: headers that a put has in common with the creation of a multipart upload.

use crate::storage::headers;
use crate::storage::object::{Purpose, PutObject};
use crate::storage::target::{Retention, StorageTarget};
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectCannedAcl, ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption, StorageClass};
use lakegate_base::clock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What stands in a tag as it is: everything else is encoded, as in the query of a URL.
const ENCODED_IN_TAGS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A day of a lock.
const DAY: Duration = Duration::from_hours(24);

/// See the module.
pub(super) struct ObjectOptions {
    acl: Option<ObjectCannedAcl>,
    encryption: Option<ServerSideEncryption>,
    kms_key_id: Option<String>,
    bucket_key: Option<bool>,
    storage_class: Option<StorageClass>,
    tags: Vec<(String, String)>,
    metadata: HashMap<String, String>,
    retention: Option<(ObjectLockMode, Duration)>,
    legal_hold: Option<ObjectLockLegalHoldStatus>,
}

/// Two builders of the SDK with the same methods and no trait for them.
macro_rules! with_options {
    ($request:expr, $options:expr, $put:expr, $token:expr, $now:expr) => {{
        let has_rows = $put.purpose == Purpose::Rows;
        let is_locked = $put.purpose != Purpose::Probe;
        let retention = $options.retention.as_ref().filter(|_| is_locked);
        $request
            .set_acl($options.acl.clone())
            .set_server_side_encryption($options.encryption.clone())
            .set_ssekms_key_id($options.kms_key_id.clone())
            .set_bucket_key_enabled($options.bucket_key)
            .set_storage_class($options.storage_class.clone().filter(|_| has_rows))
            .set_tagging($options.tagging($put))
            .set_metadata($options.metadata($put, $token))
            .set_object_lock_mode(retention.map(|(mode, _)| mode.clone()))
            .set_object_lock_retain_until_date(retention.map(|(_, length)| until($now, *length)))
            .set_object_lock_legal_hold_status($options.legal_hold.clone().filter(|_| is_locked))
    }};
}

impl ObjectOptions {
    pub(super) fn from_target(target: &StorageTarget) -> Self {
        let encryption = target.encryption.as_ref();
        let lock = target.object_lock.as_ref();
        let days = |retention: &Retention| DAY.saturating_mul(retention.days);
        Self {
            acl: target.acl.as_deref().map(ObjectCannedAcl::from),
            encryption: encryption.map(|encryption| encryption.algorithm.as_str().into()),
            kms_key_id: encryption.and_then(|encryption| encryption.kms_key_id.clone()).filter(|id| !id.is_empty()),
            bucket_key: encryption.and_then(|encryption| encryption.bucket_key),
            storage_class: target.storage_class.as_deref().map(StorageClass::from),
            // As they are for objects of no table; those of a table have their own.
            tags: target.tags.iter().map(|(key, value)| (key.clone(), headers::value_for(value, ""))).collect(),
            metadata: metadata_of_no_table(&target.metadata),
            retention: lock.and_then(|lock| lock.retention.as_ref()).map(|it| (it.mode.as_str().into(), days(it))),
            legal_hold: lock.is_some_and(|lock| lock.legal_hold).then_some(ObjectLockLegalHoldStatus::On),
        }
    }

    /// Checks the texts of a target that become headers, before the SDK sees them.
    pub(super) fn check(target: &StorageTarget) -> Result<(), String> {
        let encryption = target.encryption.as_ref();
        for (name, text) in [
            ("acl", target.acl.as_ref()),
            ("server_side_encryption", encryption.map(|it| &it.algorithm)),
            ("sse_kms_key_id", encryption.and_then(|it| it.kms_key_id.as_ref())),
        ] {
            if text.is_some_and(|text| !text.bytes().all(|byte| byte.is_ascii_graphic())) {
                return Err(format!("`{name}` must be made of letters, digits and signs of ASCII"));
            }
        }
        let unless = |good: bool, message: &str| if good { Ok(()) } else { Err(message.to_owned()) };
        let StorageTarget { storage_class, tags, metadata, object_lock, expected_bucket_owner, .. } = target;
        let is_class = storage_class.as_deref().is_none_or(headers::is_storage_class);
        unless(is_class, "`storage_class` must be the name of a storage class, such as STANDARD_IA")?;
        let are_tags = tags.len() <= headers::MAX_TAGS
            && tags.iter().all(|(key, value)| headers::is_tag_key(key) && headers::is_tag_value(&headers::value_for(value, A_TABLE)))
            && are_unique(tags);
        unless(are_tags, "`tags` must be at most 10 keys and values as S3 takes them")?;
        let is_metadata = headers::metadata_bytes(metadata) <= headers::MAX_METADATA_BYTES
            && metadata
                .iter()
                .all(|(name, value)| headers::is_metadata_name(name) && headers::is_metadata_value(&headers::value_for(value, A_TABLE)))
            && are_unique(metadata);
        unless(is_metadata, "`metadata` must be names and values that can stand in headers, as S3 takes them")?;
        let retention = object_lock.as_ref().and_then(|lock| lock.retention.as_ref());
        let is_lock =
            retention.is_none_or(|it| headers::LOCK_MODES.contains(&it.mode.as_str()) && (1..=headers::MAX_RETAIN_DAYS).contains(&it.days));
        unless(is_lock, "`object_lock` must be for 1 to 36500 days in the mode GOVERNANCE or COMPLIANCE")?;
        let is_account = expected_bucket_owner.as_deref().is_none_or(headers::is_account);
        unless(is_account, "`expected_bucket_owner` must be the twelve digits of an account")
    }

    /// What a put needs beside `s3:PutObject`, for who looks for the reason of a refusal.
    pub(super) fn needs(target: &StorageTarget) -> String {
        let lock = target.object_lock.as_ref();
        let permissions = [
            (target.acl.is_some(), ", s3:PutObjectAcl for `acl`"),
            (!target.tags.is_empty(), ", s3:PutObjectTagging for `tags`"),
            (lock.is_some_and(|lock| lock.retention.is_some()), ", s3:PutObjectRetention for `object_lock`"),
            (lock.is_some_and(|lock| lock.legal_hold), ", s3:PutObjectLegalHold for `object_lock.legal_hold`"),
        ];
        let mut needs: String = permissions.into_iter().filter(|(is_needed, _)| *is_needed).map(|(_, needed)| needed).collect();
        if let Some(owner) = &target.expected_bucket_owner {
            needs.push_str(&format!(", a bucket that the account {owner} owns (`expected_bucket_owner`)"));
        }
        needs
    }

    /// `now` is when a lock begins.
    pub(super) fn on_put(
        &self,
        request: PutObjectFluentBuilder,
        put: &PutObject,
        token: Option<&String>,
        now: SystemTime,
    ) -> PutObjectFluentBuilder {
        with_options!(request, self, put, token, now)
    }

    pub(super) fn on_create(
        &self,
        request: CreateMultipartUploadFluentBuilder,
        put: &PutObject,
        token: &String,
        now: SystemTime,
    ) -> CreateMultipartUploadFluentBuilder {
        with_options!(request, self, put, Some(token), now)
    }

    /// The tags of an object: the spec's, with those values that are the object's own.
    fn tagging(&self, put: &PutObject) -> Option<String> {
        let tags = self.tags.iter().map(|(key, value)| (key.as_str(), put.tags.get(key).unwrap_or(value).as_str()));
        (!self.tags.is_empty()).then(|| tagging(tags))
    }

    /// The user metadata of an object: the spec's, the put's own, and the token.
    fn metadata(&self, put: &PutObject, token: Option<&String>) -> Option<HashMap<String, String>> {
        let token = token.map(|token| (TOKEN_KEY.to_owned(), token.clone()));
        let all: HashMap<String, String> = self.metadata.clone().into_iter().chain(put.metadata.clone()).chain(token).collect();
        (!all.is_empty()).then_some(all)
    }
}

/// The metadata key of the token that tells an object of ours from another.
pub(super) const TOKEN_KEY: &str = "lakegate-upload";

/// The shortest name of a table, by which the rules for values of headers are tried.
const A_TABLE: &str = "t";

/// Metadata of an object without a table. A value that is nothing but the table is left out: an empty one is lost on the way.
fn metadata_of_no_table(metadata: &[(String, String)]) -> HashMap<String, String> {
    let rendered = metadata.iter().map(|(name, value)| (name.clone(), headers::value_for(value, "").trim().to_owned()));
    rendered.filter(|(_, value)| !value.is_empty()).collect()
}

/// Tags as a header has them.
fn tagging<'a>(tags: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, ENCODED_IN_TAGS).to_string();
    let pairs: Vec<String> = tags.map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
    pairs.join("&")
}

fn are_unique(pairs: &[(String, String)]) -> bool {
    pairs.iter().enumerate().all(|(number, (name, _))| pairs.iter().take(number).all(|(other, _)| other != name))
}

/// The end of a lock, in whole seconds; at most the end of the last year that can be written.
fn until(from: SystemTime, length: Duration) -> DateTime {
    let end = from.checked_add(length).map_or(from, clock::bounded);
    let seconds = end.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    DateTime::from_secs(i64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::target::ObjectLock;

    #[test]
    fn a_lock_ends_so_many_days_after_the_put_and_before_the_last_year() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(until(at(86_400), DAY * 2), DateTime::from_secs(3 * 86_400));
        let last = until(at(253_370_764_799), DAY.saturating_mul(headers::MAX_RETAIN_DAYS));
        assert!(last.to_string().starts_with("9999-"), "{last}");
    }

    #[test]
    fn tags_are_encoded_as_in_a_query() {
        let tags = [("a b", "x=y/z+@"), ("größe", "")];
        assert_eq!(tagging(tags.into_iter()), "a%20b=x%3Dy%2Fz%2B%40&gr%C3%B6%C3%9Fe=");
    }

    #[test]
    fn a_refusal_is_explained_by_all_that_was_asked_for() {
        assert_eq!(ObjectOptions::needs(&StorageTarget::default()), "");
        let target = StorageTarget {
            acl: Some("private".into()),
            tags: vec![("a".into(), "b".into())],
            object_lock: Some(ObjectLock { retention: Some(Retention::default()), legal_hold: true }),
            expected_bucket_owner: Some("123456789012".into()),
            ..StorageTarget::default()
        };
        let needs = ObjectOptions::needs(&target);
        for name in ["Acl", "Tagging", "Retention", "LegalHold"] {
            assert!(needs.contains(&format!("s3:PutObject{name} for ")), "{needs}");
        }
        assert!(needs.ends_with(", a bucket that the account 123456789012 owns (`expected_bucket_owner`)"), "{needs}");
    }

    #[test]
    fn what_names_a_table_is_each_objects_own_and_nothing_without_one() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let tags = vec![pair("team", "data"), pair("of", "x-{{TABLE}}")];
        let metadata = vec![pair("owner", "me"), pair("table", "{{TABLE_HYPHEN}}"), pair("both", "a {{TABLE}}")];
        let target = StorageTarget { tags, metadata, ..StorageTarget::default() };
        assert_eq!(ObjectOptions::check(&target), Ok(()));
        let options = ObjectOptions::from_target(&target);
        let bare = PutObject::parse("k", "text/csv").unwrap();
        let put = headers::TableHeaders::new(&target.tags, &target.metadata).on_put(bare.clone(), "a_b").unwrap();
        let sent = |put: &PutObject| {
            (options.tagging(put).unwrap(), options.metadata(put, None).unwrap().into_iter().collect::<std::collections::BTreeMap<_, _>>())
        };
        let all = [pair("both", "a a_b"), pair("owner", "me"), pair("table", "a-b")];
        assert_eq!(sent(&put), ("team=data&of=x-a_b".to_owned(), all.into()));
        assert_eq!(sent(&bare), ("team=data&of=x-".to_owned(), [pair("both", "a"), pair("owner", "me")].into()));
    }

    /// A component of a user's own may say anything.
    #[test]
    fn what_cannot_stand_in_a_header_is_refused_by_name() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let lock = |mode: &str, days| Some(ObjectLock { retention: Some(Retention { mode: mode.to_owned(), days }), legal_hold: false });
        let good = StorageTarget {
            storage_class: Some("GLACIER".into()),
            tags: vec![pair("team", "a b")],
            metadata: vec![pair("owner", "me")],
            object_lock: lock("GOVERNANCE", 1),
            expected_bucket_owner: Some("123456789012".into()),
            ..StorageTarget::default()
        };
        assert!(ObjectOptions::check(&good).is_ok());
        let check = |name: &str, target: StorageTarget| {
            let error = ObjectOptions::check(&target).expect_err(name);
            assert!(error.starts_with(&format!("`{name}` must be")), "{error}");
        };
        check("acl", StorageTarget { acl: Some("a\n".into()), ..good.clone() });
        check("storage_class", StorageTarget { storage_class: Some("A\r\nx: y".into()), ..good.clone() });
        for tags in [vec![pair("a\n", "")], vec![pair("a", "\n")], vec![pair("a", ""), pair("a", "b")], vec![pair("a", ""); 11]] {
            check("tags", StorageTarget { tags, ..good.clone() });
        }
        let long = "x".repeat(headers::MAX_METADATA_BYTES);
        for metadata in [vec![pair("A", "x")], vec![pair("a", "x\n")], vec![pair("lakegate-upload", "x")], vec![pair("a", &long)]] {
            check("metadata", StorageTarget { metadata, ..good.clone() });
        }
        for (mode, days) in [("governance", 1), ("GOVERNANCE", 0), ("COMPLIANCE", headers::MAX_RETAIN_DAYS + 1)] {
            check("object_lock", StorageTarget { object_lock: lock(mode, days), ..good.clone() });
        }
        check("expected_bucket_owner", StorageTarget { expected_bucket_owner: Some("me".into()), ..good });
    }
}
