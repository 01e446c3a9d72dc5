//! A grant in the store's own terms: the policy that a tenant's role is assumed with.

use super::grant::{Grant, LEGAL_HOLD};
use crate::storage::endpoint::Endpoint;
use crate::storage::headers::LOCK_MODES;
use serde_json::{Value, json};

impl Grant {
    /// The policy of a role's session: what this grant allows, in the store's own terms, so that a bug of ours still meets the store's check.
    ///
    /// Modes of encryption are bounded where a request names one; parts of an upload name none, so that their absence cannot be denied here.
    /// That is a denial with `Null`, not a permission with `StringEqualsIfExists`, which MinIO does not know.
    pub fn session_policy(&self) -> String {
        let partition = partition(&self.region);
        let objects: Vec<String> = self
            .buckets
            .iter()
            .flat_map(|bucket| self.key_prefixes.iter().map(move |prefix| format!("arn:{partition}:s3:::{bucket}/{}*", literal(prefix))))
            .collect();
        let put = json!({"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": objects});
        let mode = "s3:x-amz-server-side-encryption";
        let mut other_mode = json!({"Null": {mode: "false"}});
        if !self.encryption.is_empty() {
            other_mode["StringNotEquals"] = json!({mode: self.encryption});
        }
        let mut statements = vec![
            put,
            json!({"Effect": "Allow", "Action": ["s3:AbortMultipartUpload"], "Resource": objects}),
            json!({"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": [format!("arn:{partition}:s3:::*")], "Condition": other_mode}),
        ];
        let records = self.records(partition);
        statements.extend(self.record_statements(&objects, &records));
        statements.extend(self.acl_statement(&objects));
        statements.extend(self.header_statements(&[objects, records].concat()));
        statements.extend(self.kms_statement(partition));
        in_latin(&json!({"Version": "2012-10-17", "Statement": statements}).to_string())
    }

    /// Where manifests may be.
    fn records(&self, partition: &str) -> Vec<String> {
        let of = |bucket: &String| {
            let bucket = bucket.clone();
            self.manifest_prefixes.iter().map(move |prefix| format!("arn:{partition}:s3:::{bucket}/{}*", literal(prefix)))
        };
        self.buckets.iter().flat_map(of).collect()
    }

    /// Manifests are put under prefixes of their own; exactly-once delivery looks at the objects that have a key already.
    fn record_statements(&self, objects: &[String], records: &[String]) -> Vec<Value> {
        let mut statements = Vec::new();
        if !records.is_empty() {
            statements.push(json!({"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": records}));
        }
        if !self.delivery.is_empty() || !self.catalogs.is_empty() {
            let read = [objects, records].concat();
            statements.push(json!({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": read}));
        }
        statements
    }

    /// Canned ACLs as granted, and no grants in headers of their own, which name none. Other stores know no such condition.
    fn acl_statement(&self, objects: &[String]) -> Option<Value> {
        let mut statement = json!({"Effect": "Allow", "Action": ["s3:PutObjectAcl"], "Resource": objects});
        if self.is_at_aws() {
            statement["Condition"] = json!({"StringEquals": {"s3:x-amz-acl": self.acls}});
        }
        (!self.acls.is_empty()).then_some(statement)
    }

    /// Tags and locks as granted: each needs a permission beside that to put. Other stores than AWS need not know the conditions. A day more
    /// than granted leaves room for clocks that differ.
    fn header_statements(&self, places: &[String]) -> Vec<Value> {
        let allow = |action: &str, condition: Value| {
            let mut statement = json!({"Effect": "Allow", "Action": [action], "Resource": places});
            if self.is_at_aws() && !condition.is_null() {
                statement["Condition"] = condition;
            }
            statement
        };
        let modes: Vec<&String> = self.object_lock.iter().filter(|lock| LOCK_MODES.contains(&lock.as_str())).collect();
        let days = self.max_retain_days.unwrap_or_default().saturating_add(1).to_string();
        let tagging = allow("s3:PutObjectTagging", json!({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": self.tags}}));
        let retention = json!({
            "StringEquals": {"s3:object-lock-mode": modes},
            "NumericLessThanEquals": {"s3:object-lock-remaining-retention-days": days},
        });
        let hold = allow("s3:PutObjectLegalHold", Value::Null);
        [
            (!self.tags.is_empty()).then_some(tagging),
            (!modes.is_empty()).then(|| allow("s3:PutObjectRetention", retention)),
            self.object_lock.iter().any(|lock| lock == LEGAL_HOLD).then_some(hold),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn kms_statement(&self, partition: &str) -> Option<Value> {
        // Other stores have keys of their own, which a session need not be let at; MinIO refuses a policy that names AWS's.
        let asks = self.is_at_aws() && self.encryption.iter().any(|mode| mode.starts_with("aws:kms"));
        asks.then(|| use_of_keys(&self.kms_keys, partition, &self.region))
    }

    fn is_at_aws(&self) -> bool {
        is_at_aws(self.endpoint.as_deref())
    }
}

/// Leave to encrypt with these keys, by id or ARN; with none named, any.
pub(super) fn use_of_keys(keys: &[String], partition: &str, region: &str) -> Value {
    let arn = |key: &str| if key.starts_with("arn:") { key.to_owned() } else { format!("arn:{partition}:kms:{region}:*:key/{key}") };
    let keys: Vec<String> = if keys.is_empty() { vec![arn("*")] } else { keys.iter().map(|key| arn(key)).collect() };
    // Decrypt: the parts of an upload are put together by the store under the same key.
    json!({"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": keys})
}

/// Without an endpoint, or with one of AWS's own (FIPS, a private link).
pub(super) fn is_at_aws(endpoint: Option<&str>) -> bool {
    endpoint.is_none_or(|url| Endpoint::parse(url).is_ok_and(|endpoint| endpoint.is_at_aws()))
}

/// The AWS partition of a region.
pub(super) fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

/// A JSON text of the characters that STS takes; others are written as escapes, which mean the same.
pub(super) fn in_latin(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{ff}') {
            out.push(character);
        } else {
            out.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// A text that a policy takes letter by letter.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '*' | '?' | '$' => out.extend(["${", character.encode_utf8(&mut [0; 4]), "}"]),
            other => out.push(other),
        }
    }
    out
}
