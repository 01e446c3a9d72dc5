//! A grant in the store's own terms: the policy that a tenant's role is assumed with.

use super::grant::Grant;
use crate::storage::endpoint::Endpoint;
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
        statements.extend(self.record_statements(partition, &objects));
        statements.extend(self.acl_statement(&objects));
        statements.extend(self.kms_statement(partition));
        in_latin(&json!({"Version": "2012-10-17", "Statement": statements}).to_string())
    }

    /// Manifests are put under prefixes of their own; exactly-once delivery looks at the objects that have a key already.
    fn record_statements(&self, partition: &str, objects: &[String]) -> Vec<Value> {
        let records: Vec<String> = self
            .buckets
            .iter()
            .flat_map(|bucket| {
                self.manifest_prefixes.iter().map(move |prefix| format!("arn:{partition}:s3:::{bucket}/{}*", literal(prefix)))
            })
            .collect();
        let mut statements = Vec::new();
        if !records.is_empty() {
            statements.push(json!({"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": records}));
        }
        if !self.delivery.is_empty() {
            let read = [objects, records.as_slice()].concat();
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
